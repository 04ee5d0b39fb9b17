"""What draws say of β and u: conditional moments given each draw of (Σ, σ²)."""

from __future__ import annotations

import numpy as np
import pandas as pd

from bayesv.covariance import ComponentDraws
from bayesv.errors import DataError
from bayesv.gram import draw_effects
from bayesv.inference.density import MarginalLikelihood
from bayesv.linalg import Array, evenly_spaced
from bayesv.support.progress import progress

__all__ = ["gls_draws", "random_effects"]


def gls_draws(values: ComponentDraws, likelihood: MarginalLikelihood) -> tuple[Array, Array]:
    """Return β̂_GLS(V) and (X'V⁻¹X)⁻¹ of every draw, shapes (S, p) and (S, p, p).

    Under a normal prior of β they are mean and covariance of β given (Σ, σ², y).

    Parameters
    ----------
    values : ComponentDraws, shape (S,)
    likelihood : MarginalLikelihood
    """
    given_v = likelihood.at(values)
    fixed, half = likelihood.stats.fixed, np.linalg.inv(given_v.root)
    return fixed.to_beta(given_v.mean), fixed.cov_beta(np.swapaxes(half, 1, 2) @ half)


def random_effects(
    values: ComponentDraws, likelihood: MarginalLikelihood, draws: int, seed: int
) -> pd.DataFrame:
    """Return posterior means and SDs of u; see `Posterior.random_effects`.

    Parameters
    ----------
    values : ComponentDraws, shape (S,)
    likelihood : MarginalLikelihood
    draws, seed : int
    """
    design, rng = values.design, np.random.default_rng(seed)
    if not design.terms:
        raise DataError("This model has no random effects.")
    kept = values.take(evenly_spaced(values.size, draws))
    gamma = likelihood.stats.fixed.to_gamma(kept.beta)
    mean, square, var = (np.zeros(design.q) for _ in range(3))
    relative = likelihood.stats.in_basis(kept.relative_roots())
    with progress("random effects of draws", kept.size) as step:
        for s, (point, sigma) in enumerate(zip(kept, kept.sigma, strict=True)):
            stats = likelihood.statistics(point)
            effects = draw_effects(stats, [lam[s] for lam in relative], float(sigma), gamma[s], rng)
            center = np.concatenate([m.ravel() for m in effects.mean])
            mean += center / kept.size
            square += center**2 / kept.size
            var += np.concatenate([v.ravel() for v in effects.var]) / kept.size
            step(1)
    sd = np.sqrt(var + np.clip(square - mean**2, 0.0, None))
    return pd.DataFrame({"mean": mean, "sd": sd}, index=design.effect_labels)
