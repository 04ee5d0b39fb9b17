"""Replicated responses, draw by draw."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bayesv.covariance import ComponentDraws
from bayesv.design.simulation import response
from bayesv.formula.prediction import PredictedRows
from bayesv.gram import draw_effects
from bayesv.inference.density import MarginalLikelihood
from bayesv.linalg import Array
from bayesv.support.memory import refuse_unless
from bayesv.support.progress import progress

__all__ = ["responses"]

_COPIES = 1.5  # of the predictions, while they are labelled


def responses(
    values: ComponentDraws,
    rows: PredictedRows,
    likelihood: MarginalLikelihood,
    rng: np.random.Generator,
    *,
    new_levels: bool,
    of: str = "response",
) -> Array:
    """Return one response of the rows, or its mean, per draw, shape (S, m).

    Parameters
    ----------
    values : ComponentDraws, shape (S,)
    rows : PredictedRows
    likelihood : MarginalLikelihood
        Of the fit, for u of fitted levels given y.
    rng : Generator
    new_levels : bool
        Whether all levels are new.
    of : {"mean", "response"}
        See `Posterior.predict`.

    Raises
    ------
    MemoryNeededError
    """
    refuse_unless(
        _COPIES * 8.0 * values.size * len(rows.labels),
        f"Predictions of {len(rows.labels):,} rows from {values.size:,} draws",
        "Predict fewer rows at a time, or pass a smaller draws=.",
    )
    all_roots, all_lambdas = values.roots(), values.relative_roots()
    y = np.empty((values.size, len(rows.labels)))
    with progress("predicting from draws", values.size) as step:
        for s, point in enumerate(values):
            roots = [root[s] for root in all_roots]
            fitted: list[Array | None] = [None] * len(roots)
            if not new_levels and roots:
                stats = likelihood.statistics(point)
                gamma = stats.fixed.to_gamma(point.beta)
                lambdas = stats.in_basis([lam[s] for lam in all_lambdas])
                drawn = draw_effects(stats, lambdas, float(point.sigma), gamma, rng, moments=False)
                fitted = list(drawn.u)
            effects = [
                term.effects(u, root, rng)
                for term, u, root in zip(rows.terms, fitted, roots, strict=True)
            ]
            z = np.zeros(len(rows.labels)) if of == "mean" else rng.normal(size=len(rows.labels))
            residuals = _residuals(point, rows, None if new_levels else fitted, z)
            y[s] = response(rows, point.beta, effects, residuals)
            step(1)
    return y


def _residuals(
    point: ComponentDraws,
    rows: PredictedRows,
    fitted: Sequence[Array | None] | None,
    z: Array,
) -> Array:
    """Return residuals of rows: of rows that continue fitted series given the residuals of these.

    ``fitted`` are the effects of the fitted levels; None where all series are new. ``z`` are
    standard normal scores, shape (m,); of zeros the mean is returned.
    """
    sigma = float(point.sigma)
    form = point.design.structured_residual
    if point.residual is None or form is None:
        return np.asarray(sigma * rows.residual.draw(z))
    if rows.continued is None:
        return np.asarray(sigma * form.member_of(point.residual).draw(z))
    design, known = point.design, None
    if fitted is not None:
        known = design.target - design.X @ point.beta
        for term, u in zip(design.terms, fitted, strict=True):
            assert u is not None
            known = known - (term.values * u[term.codes]).sum(axis=1)
        known = known / sigma
    joint = rows.continued.joint
    parameters = joint.of_numbers(point.residual.sds, form.numbers(point.residual))
    return sigma * rows.continued.draw(parameters, known, z)
