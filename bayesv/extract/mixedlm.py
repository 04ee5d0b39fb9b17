"""Fits of mixedlm's ``lmer``, rebuilt from their formula and data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from bayesv.design.design import Design
from bayesv.errors import ExtractionError
from bayesv.extract.point import PointFit, by_factor, rebuilt, reml_fit
from bayesv.reml import RemlFit

__all__ = ["extract_mixedlm"]


def extract_mixedlm(obj: Any, design: Design | None, names: Mapping[str, str]) -> RemlFit:
    """Read an ``LmerResult``; see `bayesv.extract`."""
    if type(obj).__name__ != "LmerResult":
        raise ExtractionError(
            f"A mixedlm {type(obj).__name__} cannot be extracted: only the result of lmer() has "
            "V = Z G Z' + R with a Gaussian response and R = σ²/w."
        )
    matrices = obj.matrices
    _check_representable(matrices)
    levels = matrices.category_levels or {}
    groups = obj.VarCorr().groups.values()
    parts = [
        (s.grouping_factor.replace("/", ":"), _labelled(s.term_names, levels), group.cov)
        for s, group in zip(matrices.random_structures, groups, strict=True)
    ]
    fixed = _labelled(matrices.fixed_names, levels)
    point = PointFit(
        origin="mixedlm",
        method="REML" if obj.REML else "ML",
        converged=bool(obj.converged),
        y=np.asarray(matrices.y, dtype=float),
        blocks=by_factor(parts),
        sigma2=float(obj.sigma) ** 2,
        beta=pd.Series(np.asarray(obj.beta, dtype=float), fixed).dropna(),
        cov_beta=np.asarray(obj.vcov(), dtype=float),
        criterion=float(obj.get_deviance()),
    )
    return reml_fit(point.renamed(names), _rebuilt(obj) if design is None else design)


def _check_representable(matrices: Any) -> None:
    kinds = {s.cov_type for s in matrices.random_structures} - {"us"}
    if kinds:
        raise ExtractionError(
            f"This mixedlm fit has random effects of covariance type {', '.join(sorted(kinds))}; "
            "(columns | factor) is unstructured or, with ||, diagonal."
        )
    if matrices.contrasts:
        raise ExtractionError(
            f"This mixedlm fit has contrasts for {', '.join(matrices.contrasts)}; its labels "
            "number them, so that they cannot be matched by name. Refit with treatment contrasts."
        )


def _labelled(names: Sequence[str], levels: Mapping[str, Sequence[str]]) -> list[str]:
    """Return names with levels for mixedlm's numbers: ``f.1`` is the first contrast, ``f[b]``.

    >>> _labelled(["x", "f.1", "f.2"], {"f": ["a", "b", "c"]})
    ['x', 'f[b]', 'f[c]']
    >>> _labelled(["f.1", "f.2"], {"f": ["1", "2"]})
    ['f[1]', 'f[2]']
    """
    parts = {part for name in names for part in name.split(":")}
    texts: dict[str, str] = {}
    for factor, known in levels.items():
        indicators = {f"{factor}.{level}": f"{factor}[{level}]" for level in known}
        contrasts = {f"{factor}.{k}": f"{factor}[{level}]" for k, level in enumerate(known) if k}
        texts |= indicators if set(indicators) <= parts else contrasts
    return [":".join(texts.get(part, part) for part in name.split(":")) for name in names]


def _rebuilt(obj: Any) -> Design:
    """Return the design of the formula and the rows that were fitted, in their places."""
    matrices = obj.matrices
    weights = np.asarray(matrices.weights, dtype=float)
    known = None if (weights == 1).all() else weights
    design = rebuilt("mixedlm", str(obj.formula), matrices.frame, known)
    offset = np.asarray(matrices.offset, dtype=float)
    omitted = matrices.na_info.omitted_indices if matrices.na_info else []
    n_given = len(matrices.y) + len(omitted)
    rows = np.setdiff1d(np.arange(n_given), omitted)[design.rows]
    return replace(
        design,
        offset=offset[design.rows] if offset.any() else None,
        rows=rows,
        row_labels=pd.Index(rows),
        n_rows_given=n_given,
    )
