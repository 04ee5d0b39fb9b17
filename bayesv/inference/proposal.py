"""Mixtures of multivariate t distributions, adapted to a target by population Monte Carlo."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import gammaln, logsumexp

from bayesv.errors import BayesvError
from bayesv.inference.target import factor
from bayesv.linalg import Array

__all__ = ["Mixture", "ProposalError", "adapt", "log_mean", "truncated"]

_NU = 5.0  # degrees of freedom: heavier tails than any posterior of the vocabulary
_ROUNDS = 5
_ENOUGH = 0.6  # importance ESS per draw at which adaptation stops
_WIDE, _WIDE_WEIGHT = 9.0, 0.15  # scale (of the covariance) and share of the wide component


class ProposalError(BayesvError):
    """The adapted proposal does not cover the posterior; says Pareto k̂ and acceptance."""


@dataclass(frozen=True, eq=False)
class Mixture:
    """Mixture of multivariate t distributions with _NU degrees of freedom."""

    weights: Array  # (K,)
    means: Array  # (K, d)
    factors: Array  # (K, d, d), lower Cholesky factors of the scale matrices

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
        portions = np.append((1 - _WIDE_WEIGHT) * total / total.sum(), _WIDE_WEIGHT)
        return Mixture(portions, np.array(means), np.array(factors))


def adapt(
    log_density: Callable[[Array], Array],
    mode: Array,
    L: Array,
    rng: np.random.Generator,
    size: int,
) -> tuple[Mixture, float, Array]:
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
    """
    d = len(mode)
    spread = [mode] + [mode + L @ rng.normal(size=d) for _ in range(3)]
    proposal = Mixture(np.array([0.7, 0.1, 0.1, 0.1]), np.array(spread), np.stack([L] * 4))
    best = (0.0, proposal, mode[None])
    for step in range(_ROUNDS):
        x = proposal.sample(rng, size)
        log_w = log_density(x) - proposal.log_density(x)
        if not np.isfinite(log_w).any():
            raise ProposalError("the density is not finite around its mode")
        weights = truncated(log_w)
        log_w -= logsumexp(log_w)
        fraction = float(1.0 / (np.exp(2 * log_w).sum() * size))
        if step and fraction > best[0]:
            best = (fraction, proposal, x[rng.choice(size, 200, p=np.exp(log_w))])
        if fraction > _ENOUGH and step > 1:
            break
        proposal = proposal.adapted(x, weights)
    fraction, proposal, population = best
    if not fraction > 0:
        raise ProposalError("no proposal has a finite density")
    return proposal, fraction, population


def log_mean(log_w: Array) -> float:
    """Return the log of the mean weight."""
    return float(logsumexp(log_w) - np.log(len(log_w)))


def truncated(log_w: Array) -> Array:
    """Weights with the largest cut (Ionides 2008): no lucky point takes over the next proposal."""
    limit = log_mean(log_w) + 0.5 * np.log(len(log_w))
    weights = np.exp(np.minimum(log_w, limit) - limit)
    return np.asarray(weights / weights.sum())


def _log_sum(log: Array) -> Array:
    """Log of the sum of exponentials over the last axis, of finite numbers."""
    top = log.max(axis=1)
    return np.asarray(top + np.log(np.exp(log - top[:, None]).sum(axis=1)))
