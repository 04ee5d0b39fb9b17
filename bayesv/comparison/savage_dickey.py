"""Prior over posterior density of a standard deviation at 0."""

from __future__ import annotations

import numpy as np
from scipy.special import logsumexp

from bayesv.comparison.without_effect import Effect
from bayesv.diagnostics.convergence import pareto_k
from bayesv.inference.density import MarginalDensity
from bayesv.inference.log_prior import LogPrior, coordinates_for
from bayesv.inference.target import Target
from bayesv.linalg import Array, evenly_spaced
from bayesv.posterior.posterior import Posterior

__all__ = ["savage_dickey"]

_LEAST, _MOST = -7.0, 7.0  # log SD over σ of a column of size 1, of the grid
_ROWS_OF_LEAST = 100.0  # rows for which the least is small enough
_STEP = 0.2
_STEP_IN_SD = 0.7  # in SDs of a log SD that J levels leave, 1/√(2J)
_EVALUATIONS = 90_000
_DRAWS = (50, 900)
_ZERO = -250.0  # log of an SD that is 0 but for rounding
_MAX_KHAT = 0.7


@np.errstate(under="ignore")
def savage_dickey(
    post: Posterior, density: MarginalDensity, effect: Effect
) -> tuple[float, float, list[str]]:
    """Return log π(0)/p(0 | y) of the SD of an effect, its Monte Carlo error, and notes.

    Parameters
    ----------
    post : Posterior
    density : MarginalDensity
    effect : Effect

    Notes
    -----
    p(τ = 0 | y) = E[p(τ = 0 | θ, y) | y] over draws of all other parameters θ (Rao and Blackwell),
    with p(τ | θ, y) ∝ p(y | τ, θ) π(τ) normalised by quadrature over log τ.
    """
    prior = density.priors.sd[effect.term.group][effect.place]
    at_zero = float(prior.log_density(np.zeros(())))
    if not np.isfinite(at_zero):
        return (
            np.nan,
            np.nan,
            [f"no Savage–Dickey ratio: the prior {prior} has density {np.exp(at_zero):g} at 0"],
        )
    if density.stats.large_border:
        return np.nan, np.nan, ["no Savage–Dickey ratio: evaluating the density takes long"]
    log_p = _log_densities_at_zero(post, density, effect)
    khat = pareto_k(log_p)
    if khat > _MAX_KHAT:
        return (
            np.nan,
            np.nan,
            [
                "no Savage–Dickey ratio: the draws never come near an SD of 0 (Pareto k̂ "
                f"{khat:.2f} of the densities there)"
            ],
        )
    p = np.exp(log_p - log_p.max())
    mcse = float(p.std() / p.mean() / np.sqrt(len(p)))
    return at_zero - float(logsumexp(log_p) - np.log(len(log_p))), mcse, []


def _log_densities_at_zero(post: Posterior, density: MarginalDensity, effect: Effect) -> Array:
    """Return log p(τ = 0 | θ, y) at draws of θ, shape (S,)."""
    priors = density.priors
    # Coordinates of the effects that priors speak of: other SDs stay as this one moves.
    coordinates = next(c for c in coordinates_for(priors) if LogPrior(priors, c).is_stated)
    target = Target(density, coordinates=coordinates)
    part = coordinates.parts[list(priors.design.groups).index(effect.term.group)]
    least = _LEAST - 0.5 * np.log(max(priors.design.n / _ROWS_OF_LEAST, 1.0))
    step = min(_STEP, _STEP_IN_SD / np.sqrt(2.0 * effect.term.n_levels))
    grid = np.append(_ZERO, np.arange(least, _MOST, step))
    wanted = int(np.clip(_EVALUATIONS // len(grid), *_DRAWS))
    values = post.values.flat
    draws = values.take(evenly_spaced(values.size, wanted))
    x = np.maximum(coordinates.from_values(draws), _ZERO)
    points = np.repeat(x[:, None], len(grid), axis=1)
    points[..., part.sds.start + effect.place] = grid
    points = points.reshape(-1, target.size)
    _, conditional = target.evaluate(points)
    likelihood = conditional.log_likelihood.reshape(len(x), -1)
    log_sigma = np.log(coordinates.to_lambdas(points)[1]).reshape(len(x), -1)
    log_sd = grid - part.log_units[effect.place] + log_sigma
    prior = priors.sd[effect.term.group][effect.place]
    joint = likelihood + prior.log_density(np.exp(log_sd))
    joint = np.where(np.isfinite(joint), joint, -np.inf)
    # The integral by log τ, and what is below the grid, where the integrand is constant.
    inside = logsumexp(joint[:, 1:] + log_sd[:, 1:], axis=1) + np.log(step)
    below = joint[:, 1] + log_sd[:, 1] - 0.5 * step
    return np.asarray(joint[:, 0] - np.logaddexp(inside, below))
