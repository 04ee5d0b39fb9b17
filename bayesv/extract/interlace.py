"""Fits of interlace, rebuilt from their formula, random terms and data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from bayesv.design.design import Design
from bayesv.errors import ExtractionError
from bayesv.extract.point import PointFit, by_factor, rebuilt, reml_fit
from bayesv.linalg import Array
from bayesv.names import INTERCEPT
from bayesv.reml import RemlFit

__all__ = ["extract_interlace"]


def extract_interlace(obj: Any, design: Design | None, names: Mapping[str, str]) -> RemlFit:
    """Read a ``CrossedLMEResult``; see `bayesv.extract`.

    Its result does not keep weights and offset: with these a design is needed.
    """
    if type(obj).__name__ != "CrossedLMEResult":
        raise ExtractionError(
            f"An interlace {type(obj).__name__} cannot be extracted: only the Gaussian mixed model "
            "of interlace.fit() has V = Z G Z' + R."
        )
    if obj.correlation_params:
        raise ExtractionError(
            f"This interlace fit has correlated residuals ({', '.join(obj.correlation_params)}); "
            "R = σ²/w has none."
        )
    if obj.disp_params is not None or obj.dispersion is not None:
        raise ExtractionError(
            "This interlace fit models the residual variance (dispformula); R = σ²/w has one σ²."
        )
    if design is None:
        design = rebuilt("interlace", _formula(obj), obj.model.data.frame)
    kenward_roger = obj.df_method == "kenward-roger"
    point = PointFit(
        origin="interlace",
        method=obj.method,
        converged=bool(obj.converged),
        y=np.asarray(obj.model.endog, dtype=float),
        blocks=by_factor(_parts(obj)),
        sigma2=float(obj.scale),
        beta=obj.fe_params,
        cov_beta=None if kenward_roger else np.asarray(obj.fe_cov, dtype=float),
        # With weights its likelihood is that of √w y, without log|W|.
        criterion=-2.0 * float(obj.llf) + design.residual.log_det,
    )
    return reml_fit(point.renamed(names), design)


def _parts(obj: Any) -> list[tuple[str, list[str], Array]]:
    """Return group, labels and covariance of each term, from the relative factors in theta.

    ``variance_components`` keeps one term per factor only.
    """
    parts, start = [], 0
    for spec in obj._random_specs:
        labels = [*([INTERCEPT] if spec.intercept else []), *spec.predictors]
        r = len(labels)
        rows, columns = np.tril_indices(r) if spec.correlated else np.diag_indices(r)
        root = np.zeros((r, r))
        root[rows, columns] = obj.theta[start : start + len(rows)]
        start += len(rows)
        parts.append((spec.group, labels, obj.scale * root @ root.T))
    return parts


def _formula(obj: Any) -> str:
    """Return the formula in lme4's language: interlace's (x | g) has no intercept, lme4's has."""
    terms = [
        f"({' + '.join(['1' if spec.intercept else '0', *spec.predictors])} "
        f"{'|' if spec.correlated else '||'} {spec.group})"
        for spec in obj._random_specs
    ]
    return " + ".join([str(obj.model.formula), *terms])
