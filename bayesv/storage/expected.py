"""What is read must fit together: estimates and priors with the design that they are of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from bayesv.design.design import Design
from bayesv.errors import DataError
from bayesv.priors.families import Flat, Normal
from bayesv.priors.priors import ResolvedPriors
from bayesv.reml import Certificate
from bayesv.support.arguments import FLAG, TEXT, TEXTS, Demand, a, choice, optional

__all__ = ["check_design", "check_fit", "check_priors"]

_FIT: dict[str, Demand] = {
    "design": a(Design), "method": choice("REML", "ML"), "beta": a(pd.Series),
    "cov_beta": a(pd.DataFrame), "criterion": a(float, int), "singular": FLAG, "converged": FLAG,
    "n_evaluations": a(int), "gradient_norm": a(float, int), "origin": TEXT, "problems": TEXTS,
    "notes": TEXTS, "reported_cov_beta": optional(a(pd.DataFrame)),
    "certificate": optional(a(Certificate)),
}  # fmt: skip

_CERTIFICATE: dict[str, Demand] = {
    "shift": a(pd.Series), "criterion_se": a(float, int), "n_probes": a(int),
    "tolerance": a(float, int), "residual": a(float, int),
}  # fmt: skip


def check_design(design: Any) -> None:
    """Refuse numbers that no model has: it takes finite ones alone.

    Raises
    ------
    DataError
    """
    if not isinstance(design, Design):
        return  # a summary, whose sums are checked as they are made
    for name in ("y", "X", "offset"):
        values = getattr(design, name)
        if values is not None and not np.isfinite(values).all():
            raise DataError(f"design.{name} has values that are no finite numbers")
    if design.rows.shape != (design.n,) or design.rows.dtype.kind not in "iu":
        raise DataError(f"design.rows are no places of {design.n} rows")
    for term in design.terms:
        if not np.isfinite(term.values).all():
            raise DataError(f"the columns of {term.group} have values that are no finite numbers")


def check_fit(parts: Mapping[str, Any]) -> None:
    """Refuse parts of a fit of wrong kinds, and estimates with labels of another design.

    Raises
    ------
    BayesvError
    """
    for name, rule in _FIT.items():
        if name in parts and name != "design":
            rule(f"RemlFit.{name}", parts[name])
    if (certificate := parts.get("certificate")) is not None:
        for name, rule in _CERTIFICATE.items():
            rule(f"Certificate.{name}", getattr(certificate, name))
    design = parts["design"]
    check_design(design)
    names = list(design.fixed_names)
    tables = [parts["cov_beta"], parts.get("reported_cov_beta")]
    numbers = [parts["beta"].dtype]
    numbers += [kind for table in tables if table is not None for kind in table.dtypes]
    if any(kind != np.float64 for kind in numbers):
        raise DataError("the estimates are no floating-point numbers")
    labels = [parts["beta"].index]
    labels += [side for table in tables if table is not None for side in table.axes]
    if any(list(map(str, side)) != names for side in labels):
        raise DataError(f"the estimates are not of the fixed effects {', '.join(names)}")


def check_priors(priors: ResolvedPriors, design: Design) -> None:
    """Refuse priors of other parameters than the design has.

    Raises
    ------
    DataError
    """
    check_design(design)
    is_of = len(priors.beta) == design.p and all(isinstance(b, Flat | Normal) for b in priors.beta)
    for term in design.terms:
        structure, r = term.structure, term.n_columns
        basis = priors.basis(term)
        is_of &= len(priors.sd.get(term.group, ())) == structure.n_sds
        is_of &= basis.map.shape == (r, r) and basis.units.shape == (r,)
        is_of &= len(basis.labels) == r
    if not is_of:
        raise DataError("the priors are not of the parameters of the design")
