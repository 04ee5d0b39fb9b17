"""GLS, log|V| and the trace of V from Gram statistics, without rows."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from bayesv.covariance.components import VarianceComponents
from bayesv.covariance.draws import ComponentDraws
from bayesv.covariance.functionals import log_determinant
from bayesv.covariance.gls import gls
from bayesv.design.design import Design
from bayesv.gram import GramStatistics, eliminate_many

__all__ = ["AtV", "at_v", "same_fixed", "same_rows"]


@dataclass(frozen=True, eq=False)
class AtV:
    """What a V says: GLS, log|V| and its trace.

    Attributes
    ----------
    beta : Series, shape (p,)
    cov : DataFrame, shape (p, p)
        (X'V⁻¹X)⁻¹.
    log_det, trace : float
        The trace is NaN where rows are gone and have unequal weights.
    """

    beta: pd.Series
    cov: pd.DataFrame
    log_det: float
    trace: float

    @cached_property
    def se(self) -> pd.Series:
        """Standard errors of β̂ given V, shape (p,)."""
        return pd.Series(np.sqrt(np.diagonal(self.cov)), self.beta.index, name="se")


def at_v(design: Design, vc: VarianceComponents, stats: GramStatistics | None) -> AtV:
    """Return what V says at some components: of rows, or of sums where rows are gone.

    Parameters
    ----------
    design : Design
    vc : VarianceComponents
        Aligned with it.
    stats : GramStatistics or None
        Of the design; needed only where it has no rows.
    """
    if design.has_rows or stats is None:
        fit = gls(design, vc)
        return AtV(fit.beta, fit.cov, fit.V.logdet(), fit.V.trace())
    point = ComponentDraws.of(design, vc, np.zeros(design.p)).flat
    _, T = eliminate_many(stats, stats.in_basis(point.relative_roots()))
    p, names = stats.p, list(design.fixed_names)
    inverse = np.linalg.inv(T[0, :p, :p])
    beta = stats.fixed.to_beta(inverse @ T[0, :p, p])
    cov = stats.fixed.cov_beta(vc.sigma2 * inverse)
    return AtV(
        pd.Series(beta, names, name="beta"),
        pd.DataFrame(0.5 * (cov + cov.T), names, names),
        float(log_determinant(point, stats)[0]),
        _trace(design, vc, stats),
    )


def _trace(design: Design, vc: VarianceComponents, stats: GramStatistics) -> float:
    """Return tr V = Σ_f tr(Σ_f Σ_i z_i z_i') + nσ²."""
    if (weights := design.known_weights) is not None and weights != (1.0, 1.0):
        return float("nan")
    total = design.n * vc.sigma2
    for term, basis, blocks in zip(design.terms, stats.bases, stats.squares, strict=True):
        # A row of the statistics is z times the inverse of the basis.
        total += float((vc.block_for(term) * (basis.T @ blocks.sum(axis=0) @ basis)).sum())
    return total


def same_rows(one: Design, two: Design, sums: tuple[GramStatistics, GramStatistics]) -> bool:
    """Whether designs without rows are of the same rows and response, by what these sum up to."""
    a, b = sums
    equal = one.n == two.n and one.response == two.response
    pairs = (a.total, b.total), (a.log_weights, b.log_weights), (one.response_sd, two.response_sd)
    return equal and all(np.isclose(x, y, rtol=1e-9, atol=1e-9) for x, y in pairs)


def same_fixed(one: Design, two: Design, sums: tuple[GramStatistics, GramStatistics]) -> bool:
    """Whether designs of the same rows, which are gone, have the same X, by X'WX."""
    if tuple(one.fixed_names) != tuple(two.fixed_names):
        return False
    a, b = (stats.fixed for stats in sums)
    squares = [fixed.upper.T @ fixed.upper for fixed in (a, b)]
    scale = np.sqrt(np.outer(*2 * [np.diagonal(squares[0])]))
    near = np.abs(squares[0] - squares[1]) <= 1e-9 * scale
    return bool(near.all())
