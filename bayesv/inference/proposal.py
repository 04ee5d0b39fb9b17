"""Mixtures of multivariate t distributions, adapted to a target by population Monte Carlo.

They are mixtures in coordinates that are straightened one by one: log SDs have long left tails
where data do not rule out zero.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import gammaln, logsumexp

from bayesv.errors import BayesvError
from bayesv.inference.target import factor
from bayesv.linalg import Array

__all__ = [
    "Mixture",
    "Proposal",
    "ProposalError",
    "Warp",
    "adapt",
    "efficiency",
    "log_mean",
    "truncated",
]

_NU = 5.0  # degrees of freedom: heavier tails than any posterior of the vocabulary
_ROUNDS = 5
_STRAIGHTEN = 1  # round after which coordinates are straightened
_MOST_BENT = 4.0
_ENOUGH = 0.6  # importance ESS per draw at which adaptation stops
_WIDE = 9.0  # scale of the covariance of the wide component


class ProposalError(BayesvError):
    """The adapted proposal does not cover the posterior; says Pareto k̂ and acceptance."""


@dataclass(frozen=True, eq=False)
class Mixture:
    """Mixture of multivariate t distributions with _NU degrees of freedom."""

    weights: Array  # (K,)
    means: Array  # (K, d)
    factors: Array  # (K, d, d), lower Cholesky factors of the scale matrices
    wide: float  # share of the wide component in what is adapted from this

    def sample(self, rng: np.random.Generator, size: int) -> Array:
        """Draw points, shape (size, d)."""
        component = rng.choice(len(self.weights), size, p=self.weights)
        z = rng.normal(size=(size, self.means.shape[1]))
        heavy = np.sqrt(_NU / rng.chisquare(_NU, size))
        steps = np.einsum("sij,sj->si", self.factors[component], z)
        return np.asarray(self.means[component] + heavy[:, None] * steps)

    def parts(self, x: Array) -> tuple[Array, Array]:
        """Return log densities with weights, (S, K), and Mahalanobis distances², (S, K)."""
        d = x.shape[1]
        log, distance = [], []
        for weight, mean, L in zip(self.weights, self.means, self.factors, strict=True):
            m2 = (((x - mean) @ np.linalg.inv(L).T) ** 2).sum(axis=1)
            norm = gammaln((_NU + d) / 2) - gammaln(_NU / 2) - d / 2 * np.log(_NU * np.pi)
            norm -= np.log(np.diagonal(L)).sum()
            log.append(np.log(weight) + norm - (_NU + d) / 2 * np.log1p(m2 / _NU))
            distance.append(m2)
        return np.stack(log, axis=1), np.stack(distance, axis=1)

    def log_density(self, x: Array) -> Array:
        """Return log densities, shape (S,)."""
        return _log_sum(self.parts(x)[0])

    def adapted(self, x: Array, weights: Array) -> Mixture:
        """One step of population Monte Carlo towards the weighted sample (Cappé et al. 2008)."""
        log, distance = self.parts(x)
        share = np.exp(log - _log_sum(log)[:, None]) * weights[:, None]
        gamma = (_NU + x.shape[1]) / (_NU + distance)
        alive = share.sum(axis=0) > 5.0 / len(x)
        means, factors = [], []
        for k in np.flatnonzero(alive):
            w = share[:, k] * gamma[:, k]
            mean = w @ x / w.sum()
            away = x - mean
            scale = (w[:, None] * away).T @ away / share[:, k].sum()
            means.append(mean)
            factors.append(factor(scale))
        total = share[:, alive].sum(axis=0)
        # A wide component covers tails such as log SD towards −∞ that the sample has not met.
        mean = weights @ x
        away = x - mean
        means.append(mean)
        factors.append(np.sqrt(_WIDE) * factor((weights[:, None] * away).T @ away))
        portions = np.append((1 - self.wide) * total / total.sum(), self.wide)
        return Mixture(portions, np.array(means), np.array(factors), self.wide)


@dataclass(frozen=True, eq=False)
class Warp:
    """Coordinates z with x = centre + z − κz²/2 where κz < 0, and x = centre + z elsewhere."""

    centre: Array  # (d,)
    kappa: Array  # (d,), positive: a long left tail, negative: a long right tail, 0: neither

    @classmethod
    def none(cls, d: int) -> Warp:
        """Return the warp that changes nothing."""
        return cls(np.zeros(d), np.zeros(d))

    @classmethod
    def of(cls, x: Array, weights: Array) -> Warp:
        """Straighten a weighted sample: the 5 % and 95 % quantiles are as far from the median."""
        low, centre, high = _quantiles(x, weights, (0.05, 0.5, 0.95))
        down, up = np.maximum(centre - low, 1e-12), np.maximum(high - centre, 1e-12)
        short = np.minimum(down, up)
        # t = z − κz²/2 takes z = −short to the longer distance.
        kappa = 2.0 * (down - up) / short**2
        return cls(centre, np.clip(kappa, -_MOST_BENT / short, _MOST_BENT / short))

    def to_x(self, z: Array) -> Array:
        """Return x, shape (S, d)."""
        return np.asarray(self.centre + z - 0.5 * z * np.minimum(self.kappa * z, 0.0))

    def to_z(self, x: Array) -> tuple[Array, Array]:
        """Return z and log |dx/dz|, shapes (S, d) and (S,)."""
        t = x - self.centre
        bent = self.kappa * t < 0
        slope = np.sqrt(np.where(bent, 1.0 - 2.0 * self.kappa * t, 1.0))
        kappa = np.where(self.kappa == 0, 1.0, self.kappa)
        return np.where(bent, (1.0 - slope) / kappa, t), np.log(slope).sum(axis=1)


@dataclass(frozen=True, eq=False)
class Proposal:
    """A mixture in warped coordinates."""

    mixture: Mixture
    warp: Warp

    def sample(self, rng: np.random.Generator, size: int) -> Array:
        """Draw points, shape (size, d)."""
        return self.warp.to_x(self.mixture.sample(rng, size))

    def log_density(self, x: Array) -> Array:
        """Return log densities, shape (S,)."""
        z, log_jacobian = self.warp.to_z(x)
        return self.mixture.log_density(z) - log_jacobian

    def adapted(self, x: Array, weights: Array) -> Proposal:
        """Return the mixture adapted to a weighted sample of its own draws, same coordinates."""
        return Proposal(self.mixture.adapted(self.warp.to_z(x)[0], weights), self.warp)

    def straightened(self, x: Array, weights: Array, rng: np.random.Generator) -> Proposal:
        """Return a new mixture, in new coordinates, from a weighted sample."""
        warp = Warp.of(x, weights)
        z = warp.to_z(x)[0]
        mean = weights @ z
        L = factor((weights[:, None] * (z - mean)).T @ (z - mean))
        return Proposal(_spread(mean, L, rng, self.mixture.wide), warp)


def adapt(
    log_density: Callable[[Array], Array],
    mode: Array,
    L: Array,
    rng: np.random.Generator,
    size: int,
    wide: float,
) -> tuple[Proposal, float, Array]:
    """Return the adapted proposal, its importance ESS per draw, and a resampled population.

    Parameters
    ----------
    log_density : callable
        Of the target, shape (S,) at points (S, d).
    mode, L : ndarray
        Its mode and a factor of the inverse Hessian there.
    rng : Generator
    size : int
        Draws of each round.
    wide : float
        Share of the component that is wider than the posterior.
    """
    proposal = Proposal(_spread(mode, L, rng, wide), Warp.none(len(mode)))
    best = (0.0, proposal, mode[None])
    for step in range(_ROUNDS):
        x = proposal.sample(rng, size)
        log_w = log_density(x) - proposal.log_density(x)
        if not np.isfinite(log_w).any():
            raise ProposalError("the density is not finite around its mode")
        weights = truncated(log_w)
        fraction = efficiency(log_w)
        if step and fraction > best[0]:
            share = np.exp(log_w - logsumexp(log_w))
            best = (fraction, proposal, x[rng.choice(size, 200, p=share)])
        if fraction > _ENOUGH and step > 1:
            break
        if step == _STRAIGHTEN:
            proposal = proposal.straightened(x, weights, rng)
        else:
            proposal = proposal.adapted(x, weights)
    fraction, proposal, population = best
    if not fraction > 0:
        raise ProposalError("no proposal has a finite density")
    return proposal, fraction, population


def _spread(mean: Array, L: Array, rng: np.random.Generator, wide: float) -> Mixture:
    """Return a mixture of a main component and three that adaptation can move elsewhere."""
    means = [mean] + [mean + L @ rng.normal(size=len(mean)) for _ in range(3)]
    return Mixture(np.array([0.7, 0.1, 0.1, 0.1]), np.array(means), np.stack([L] * 4), wide)


def _quantiles(x: Array, weights: Array, probabilities: tuple[float, ...]) -> Array:
    """Quantiles of each column of a weighted sample, shape (probabilities, d)."""
    order = np.argsort(x, axis=0)
    reached = np.cumsum(weights[order], axis=0)
    at = [(reached < q).sum(axis=0).clip(max=len(x) - 1) for q in probabilities]
    return np.array([np.take_along_axis(x, order, 0)[a, np.arange(x.shape[1])] for a in at])


def log_mean(log_w: Array) -> float:
    """Return the log of the mean weight."""
    return float(logsumexp(log_w) - np.log(len(log_w)))


def efficiency(log_w: Array) -> float:
    """Return the importance ESS of weighted draws over their number."""
    return float(np.exp(2 * logsumexp(log_w) - logsumexp(2 * log_w)) / len(log_w))


def truncated(log_w: Array) -> Array:
    """Weights with the largest cut (Ionides 2008): no lucky point takes over the next proposal."""
    limit = log_mean(log_w) + 0.5 * np.log(len(log_w))
    weights = np.exp(np.minimum(log_w, limit) - limit)
    return np.asarray(weights / weights.sum())


def _log_sum(log: Array) -> Array:
    """Log of the sum of exponentials over the last axis, of finite numbers."""
    top = log.max(axis=1)
    return np.asarray(top + np.log(np.exp(log - top[:, None]).sum(axis=1)))
