"""Fits of statsmodels' ``MixedLM``, read from the arrays that were fitted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from bayesv.design.design import Design
from bayesv.design.residual import Residual
from bayesv.errors import ExtractionError
from bayesv.extract.point import PointFit, reml_fit
from bayesv.extract.statsmodels_variances import Piece, merged, variance_pieces
from bayesv.linalg import Array
from bayesv.names import INTERCEPT, factors_of, level_label, unquoted
from bayesv.reml import RemlFit
from bayesv.structures import of_linked

__all__ = ["extract_statsmodels"]

# By what a result's class is named for.
_REFUSED = {
    "GEE": "GEE has a working correlation of the residuals and no random effects",
    "BayesMixedGLM": "its family is not Gaussian",
    "GLM": "it has no random effects",
    "OLS": "it has no random effects",
    "Regression": "it has no random effects",
}


def extract_statsmodels(obj: Any, design: Design | None, names: Mapping[str, str]) -> RemlFit:
    """Read a ``MixedLMResults``; see `bayesv.extract`.

    Notes
    -----
    ``cov_re``, ``vcomp`` and ``scale`` are in units of y² (``params`` and ``cov_re_unscaled`` are
    relative to ``scale``), so that V = Z cov_re Z' + vcomp + scale·I.
    """
    results = getattr(obj, "_results", obj)
    _check_readable(results)
    model = results.model
    frame = _frame(model)
    group = _group_name(model, frame)
    components = variance_pieces(model, np.asarray(results.vcomp), group, frame)
    terms, blocks = merged([*_random_columns(results, group), *components])
    fixed = [INTERCEPT if n == "const" else unquoted(str(n)) for n in model.exog_names]
    source = _design(model, fixed, terms)
    if design is not None:
        blocks = _by_partition(blocks, source, design, names)
    point = PointFit(
        origin="statsmodels",
        method=results.method,
        converged=bool(results.converged),
        y=source.y,
        blocks=blocks,
        sigma2=float(results.scale),
        beta=pd.Series(np.asarray(results.fe_params), fixed),
        cov_beta=_cov_beta(results),
        criterion=-2.0 * float(results.llf),
    )
    return reml_fit(point.renamed(names), source if design is None else design)


def _check_readable(results: Any) -> None:
    name = type(results).__name__
    if name != "MixedLMResults":
        if name == "MixedLM":
            raise ExtractionError("This is a model, not a fit; pass the result of its fit().")
        known = (reason for part, reason in _REFUSED.items() if part in name)
        why = next(known, "only MixedLM has V = Z G Z' + R")
        raise ExtractionError(f"A statsmodels {name} cannot be extracted: {why}.")
    model = results.model
    if getattr(model, "endog", None) is None or getattr(model, "exog", None) is None:
        raise ExtractionError(
            "The data were removed from this statsmodels result (remove_data); refit, or keep them."
        )
    if model.fe_pen is not None or results.cov_pen is not None:
        raise ExtractionError(
            "This statsmodels fit is penalised (fe_pen or cov_pen); its estimates are neither REML "
            "nor ML."
        )


def _cov_beta(results: Any) -> Array | None:
    """Return (X'V⁻¹X)⁻¹: what ``cov_params()`` would be if β̂ and the variances were orthogonal.

    statsmodels inverts the observed information of all parameters; its block of β is X'V⁻¹X.
    """
    cov = np.asarray(results.cov_params(), dtype=float)
    free = np.flatnonzero(np.diagonal(cov) != 0)  # fit(free=…) has zeros for what was fixed
    cov, p = cov[np.ix_(free, free)], results.k_fe
    if not np.isfinite(cov).all() or np.linalg.cond(cov) > 1e12:
        return None
    return np.asarray(np.linalg.inv(np.linalg.inv(cov)[:p, :p]))


def _frame(model: Any) -> pd.DataFrame | None:
    """Return the data of the formula interface, if they are the rows of the model."""
    frame = getattr(model.data, "frame", None)
    return frame if isinstance(frame, pd.DataFrame) and len(frame) == len(model.endog) else None


def _group_name(model: Any, frame: pd.DataFrame | None) -> str:
    """Return the name of the groups; statsmodels keeps it only where there is an intercept."""
    if isinstance(model.groups, pd.Series) and model.groups.name is not None:
        return str(model.groups.name)
    if frame is None:
        return "Group"
    groups = np.asarray(model.groups)
    ones = [] if model.exog_re is None else (np.asarray(model.exog_re) == 1).all(axis=0)
    written = [str(n) for n, one in zip(model.data.exog_re_names, ones, strict=False) if one]
    same = [str(c) for c in frame.columns if np.array_equal(frame[c].to_numpy(), groups)]
    # "Group" is also what statsmodels writes for want of a name.
    named = [name for name in written if name != "Group"]
    return next(iter([*named, *sorted(same, key=lambda name: name != "Group"), "Group"]))


def _random_columns(results: Any, group: str) -> list[Piece]:
    """Return the columns of ``exog_re`` with their covariance; none if there are none."""
    model = results.model
    if not results.k_re:
        return []
    values = np.asarray(model.exog_re, dtype=float)
    cov = np.asarray(results.cov_re, dtype=float)
    columns = tuple(
        INTERCEPT if (column == 1).all() else unquoted(str(name))
        for name, column in zip(model.data.exog_re_names, values.T, strict=True)
    )
    levels = np.array([level_label(g) for g in np.asarray(model.groups)], dtype=object)
    linked = np.ones_like(cov)
    if results.freepat is not None:  # fit(free=…): a fixed covariance of 0 is no parameter
        linked = (np.asarray(results.freepat.cov_re) != 0) | (cov != 0)
    return [Piece(group, levels, columns, values, cov, of_linked(linked))]


def _design(model: Any, fixed: list[str], terms: tuple[Any, ...]) -> Design:
    """Return the design of the arrays, its formula written in lme4's language."""
    n = len(model.endog)
    labels = model.data.row_labels
    written = getattr(model, "formula", None) or f"{model.endog_names} ~ {_sum(fixed)}"
    random = [
        f"({_sum([term.columns[i] for i in block])} | {term.group})"
        for term in terms
        for block in term.structure.blocks
    ]
    return Design(
        formula=" + ".join([unquoted(str(written)), *random]),
        response=str(model.endog_names),
        y=np.asarray(model.endog, dtype=float),
        X=np.asarray(model.exog, dtype=float),
        fixed_names=tuple(fixed),
        terms=terms,
        residual=Residual.of_weights(None, n),
        offset=None,
        rows=np.arange(n),
        row_labels=pd.RangeIndex(n) if labels is None else pd.Index(labels),
        n_rows_given=n,
    )


def _sum(columns: Sequence[str]) -> str:
    """Return columns as a side of a formula.

    >>> _sum(["Intercept", "x"]), _sum(["x"])
    ('1 + x', '0 + x')
    """
    slopes = [name for name in columns if name != INTERCEPT]
    return " + ".join(["1" if len(slopes) < len(columns) else "0", *slopes])


def _by_partition(
    blocks: dict[str, pd.DataFrame], source: Design, design: Design, names: Mapping[str, str]
) -> dict[str, pd.DataFrame]:
    """Rename ``cls:sch`` to ``cls`` where a design writes it so: nesting is implicit in labels."""
    known = {factors_of(group) for group in design.groups}
    renamed = {}
    for group, block in blocks.items():
        alike = [group]
        if factors_of(names.get(group, group)) not in known:
            codes = source.term(group).codes
            alike = [term.group for term in design.terms if term.splits_as(codes)] or alike
        renamed[alike[0]] = block
    return renamed
