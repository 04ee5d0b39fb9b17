"""Proposals adapted to a target by population Monte Carlo, from its modes and its prior."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from bayesv.errors import BayesvError
from bayesv.inference.modes import Mode, laplace_shares
from bayesv.inference.proposal import Mixture, Part, Proposal, Warp, spread
from bayesv.linalg import Array, log_sum

__all__ = [
    "Effort",
    "ProposalError",
    "adapt",
    "covering",
    "efficiency",
    "first_proposal",
    "log_mean",
    "truncated",
]

_MAX_ROUNDS = 5
_SMALL_ROUNDS = 2  # of half the size: they find where the density is
_ENOUGH_EFFICIENCY = 0.4  # importance ESS per draw at which adaptation stops
_FIRST_SHARE = 0.05  # of a mode, whatever its normal approximation says


class ProposalError(BayesvError):
    """The adapted proposal does not cover the posterior; says Pareto k̂ and acceptance."""


@dataclass(frozen=True)
class Effort:
    """What adaptation may cost.

    Attributes
    ----------
    size : int
        Draws of a round; the first ones are half as large.
    wide : float
        Share of the components that are wider than a mode.
    defence : float
        Share of the component that covers the prior.
    """

    size: int
    wide: float
    defence: float


def covering(prior: Array) -> Mixture:
    """Return the defence, which covers the bulk of a sample of the prior, (S, d)."""
    low, mean, high = np.quantile(prior, [0.05, 0.5, 0.95], axis=0)
    sd = np.maximum(np.maximum(high - mean, mean - low) / 1.6, 1e-3)
    return Mixture(np.ones(1), mean[None], np.diag(sd)[None], 0.0)


def first_proposal(
    modes: Sequence[Mode], defence: Mixture, rng: np.random.Generator, effort: Effort
) -> Proposal:
    """Return the proposal to start with: at the modes, and where the prior is."""
    d = defence.means.shape[1]
    parts = tuple(Part(spread(mode.x, mode.root, rng, effort.wide), Warp.none(d)) for mode in modes)
    shares = np.maximum(laplace_shares(modes), _FIRST_SHARE)
    shares *= (1.0 - effort.defence) / shares.sum()
    return Proposal(np.append(shares, effort.defence), parts, defence)


def adapt(
    log_density: Callable[[Array], Array],
    proposal: Proposal,
    rng: np.random.Generator,
    size: int,
) -> tuple[Proposal, Array]:
    """Return the adapted proposal and a resampled population.

    Parameters
    ----------
    log_density : callable
        Of the target, shape (S,) at points (S, d).
    proposal : Proposal
        To start with.
    rng : Generator
    size : int
        Draws of a round.

    Notes
    -----
    Each round adapts to the points of all rounds, weighted by the mixture of the proposals that
    they came from (Cornuet et al. 2012, https://doi.org/10.1111/j.1467-9469.2011.00756.x). What
    is adapted to a good sample is better still; of bad ones the best that was seen stands.
    """
    best: tuple[float, Proposal, Array] | None = None
    d = proposal.parts[0].mixture.means.shape[1]
    points, values = np.empty((0, d)), np.empty(0)
    used: list[Proposal] = []
    laws: list[Array] = []  # log densities of the parts of each at all points
    sizes: list[int] = []
    for step in range(_MAX_ROUNDS):
        count = size // 2 if step < _SMALL_ROUNDS else size
        x = proposal.sample(rng, count)
        value = log_density(x)
        points, values = np.concatenate([points, x]), np.concatenate([values, value])
        laws = [np.hstack([law, one.log_parts(x)]) for law, one in zip(laws, used, strict=True)] + [
            proposal.log_parts(points)
        ]
        used, sizes = [*used, proposal], [*sizes, count]
        densities = np.array([log_sum(law) for law in laws])
        own = value - densities[-1, -count:]
        if not np.isfinite(own).any():
            raise ProposalError("the density is not finite around its mode")
        fraction = efficiency(own)
        population = x[rng.choice(count, 200, p=np.exp(own - log_sum(own)))]
        log_w = values - log_sum(densities + np.log(np.array(sizes) / len(points))[:, None])
        # A sample with fewer effective points than a covariance has elements says less of it than
        # the curvature at the mode: what is adapted to it may be worse.
        few = efficiency(log_w) * len(points) < d * (d + 1) / 2
        if (step or few) and (best is None or fraction > best[0]):
            best = fraction, proposal, population
        proposal = proposal.straightened(points, truncated(log_w), laws[-1], rng)
        if fraction > _ENOUGH_EFFICIENCY and not few:
            return proposal, population
    if best is None or not best[0] > 0:
        raise ProposalError("no proposal has a finite density")
    return best[1:]


def log_mean(log_w: Array) -> float:
    """Return the log of the mean weight."""
    return float(log_sum(log_w) - np.log(len(log_w)))


def efficiency(log_w: Array) -> float:
    """Return the importance ESS of weighted draws over their number."""
    return float(np.exp(2 * log_sum(log_w) - log_sum(2 * log_w)) / len(log_w))


def truncated(log_w: Array) -> Array:
    """Weights with the largest cut (Ionides 2008): no lucky point takes over the next proposal."""
    limit = log_mean(log_w) + 0.5 * np.log(len(log_w))
    weights = np.exp(np.minimum(log_w, limit) - limit)
    return np.asarray(weights / weights.sum())
