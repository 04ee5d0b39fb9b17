"""Replicated responses, draw by draw."""

from __future__ import annotations

import numpy as np

from bayesv.covariance import ComponentDraws
from bayesv.design.simulation import response
from bayesv.formula.prediction import PredictedRows
from bayesv.gram import GramStatistics, draw_effects
from bayesv.linalg import Array

__all__ = ["responses"]


def responses(
    values: ComponentDraws,
    rows: PredictedRows,
    stats: GramStatistics,
    rng: np.random.Generator,
    *,
    new_levels: bool,
) -> Array:
    """Return one response of the rows per draw, shape (S, m); see `Posterior.predict`.

    Parameters
    ----------
    values : ComponentDraws, shape (S,)
    rows : PredictedRows
    stats : GramStatistics
        Of the fit, for u of fitted levels given y.
    rng : Generator
    new_levels : bool
        Whether all levels are new.
    """
    all_roots, all_lambdas = values.roots(), values.relative_roots()
    y = np.empty((values.size, len(rows.labels)))
    for s, (sigma, beta) in enumerate(zip(values.sigma, values.beta, strict=True)):
        roots = [root[s] for root in all_roots]
        fitted: list[Array | None] = [None] * len(roots)
        if not new_levels:
            gamma = stats.fixed.to_gamma(beta)
            lambdas = stats.in_basis([lam[s] for lam in all_lambdas])
            drawn = draw_effects(stats, lambdas, float(sigma), gamma, rng, moments=False)
            fitted = list(drawn.u)
        effects = [
            term.effects(u, root, rng)
            for term, u, root in zip(rows.terms, fitted, roots, strict=True)
        ]
        residuals = sigma * rows.residual.draw(rng.normal(size=y.shape[1]))
        y[s] = response(rows, beta, effects, residuals)
    return y
