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
    "efficiency",
    "first_proposal",
    "log_mean",
    "truncated",
]

_MAX_ROUNDS = 5
_STRAIGHTENING_ROUND = 1  # round after which coordinates are straightened at the latest
_ENOUGH_EFFICIENCY = 0.6  # importance ESS per draw at which adaptation stops
_FIRST_SHARE = 0.05  # of a mode, whatever its normal approximation says


class ProposalError(BayesvError):
    """The adapted proposal does not cover the posterior; says Pareto k̂ and acceptance."""


@dataclass(frozen=True)
class Effort:
    """What adaptation may cost.

    Attributes
    ----------
    size : int
        Draws of each round.
    wide : float
        Share of the components that are wider than a mode.
    defence : float
        Share of the component that covers the prior.
    """

    size: int
    wide: float
    defence: float


def first_proposal(
    modes: Sequence[Mode], prior: Array, rng: np.random.Generator, effort: Effort
) -> Proposal:
    """Return the proposal to start with: at the modes, and at a sample of the prior, (S, d)."""
    mean = np.median(prior, axis=0)
    low, high = np.quantile(prior, [0.05, 0.95], axis=0)
    sd = np.maximum(np.maximum(high - mean, mean - low) / 1.6, 1e-3)
    defence = Mixture(np.ones(1), mean[None], np.diag(sd)[None], 0.0)
    d = len(mean)
    parts = tuple(Part(spread(mode.x, mode.root, rng, effort.wide), Warp.none(d)) for mode in modes)
    shares = np.maximum(laplace_shares(modes), _FIRST_SHARE)
    shares *= (1.0 - effort.defence) / shares.sum()
    return Proposal(np.append(shares, effort.defence), parts, defence)


def adapt(
    log_density: Callable[[Array], Array],
    proposal: Proposal,
    rng: np.random.Generator,
    size: int,
) -> tuple[Proposal, float, Array]:
    """Return the adapted proposal, its importance ESS per draw, and a resampled population.

    Parameters
    ----------
    log_density : callable
        Of the target, shape (S,) at points (S, d).
    proposal : Proposal
        To start with.
    rng : Generator
    size : int
        Draws of each round.
    """
    best = (0.0, proposal, proposal.parts[0].mixture.means[:1])
    d, straight = proposal.parts[0].mixture.means.shape[1], False
    for step in range(_MAX_ROUNDS):
        x = proposal.sample(rng, size)
        log_w = log_density(x) - proposal.log_density(x)
        if not np.isfinite(log_w).any():
            raise ProposalError("the density is not finite around its mode")
        weights = truncated(log_w)
        fraction = efficiency(log_w)
        # A sample with fewer effective points than a covariance has elements says less of it than
        # the curvature at the mode: what is adapted to it may be worse.
        few = fraction * size < d * (d + 1) / 2
        if (step or few) and fraction > best[0]:
            share = np.exp(log_w - log_sum(log_w))
            best = (fraction, proposal, x[rng.choice(size, 200, p=share)])
        enough = fraction > _ENOUGH_EFFICIENCY
        if enough and straight:
            break
        if not straight and (enough or step == _STRAIGHTENING_ROUND):
            proposal, straight = proposal.straightened(x, weights, rng), True
        else:
            proposal = proposal.adapted(x, weights)
    fraction, proposal, population = best
    if not fraction > 0:
        raise ProposalError("no proposal has a finite density")
    return proposal, fraction, population


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
