"""Mixtures of multivariate t distributions, adapted to a target by population Monte Carlo.

They are mixtures in coordinates that are straightened one by one: log SDs have long left tails
where data do not rule out zero.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.special import gammaln

from bayesv.inference.target import width_root
from bayesv.linalg import Array, log_sum

__all__ = ["Mixture", "Part", "Proposal", "Warp", "merged", "spread"]

_FEW = 10  # coordinates, up to which
_NU = 8.0  # degrees of freedom are these: heavier tails than any posterior of the vocabulary
_MOST_BENT = 4.0
_WIDE_SCALE = 9.0  # scale of the covariance of the wide component
_LEAST_POINTS = 10.0  # effective points from which a part is adapted
_LEAST_SHARE = 0.01  # of a part, whatever the last sample said


@dataclass(frozen=True, eq=False)
class Mixture:
    """Mixture of multivariate t distributions."""

    weights: Array  # (K,)
    means: Array  # (K, d)
    factors: Array  # (K, d, d), lower Cholesky factors of the scale matrices
    wide: float  # share of the wide component in what is adapted from this

    @property
    def nu(self) -> float:
        """Degrees of freedom.

        They grow with the number d of coordinates, because the distance from the centre varies
        relatively by √(2/d) under a normal and by √(2/d + 2/ν) or so under a t distribution.
        """
        return _NU * max(1.0, float(self.means.shape[1]) / _FEW)

    def sample(self, rng: np.random.Generator, size: int) -> Array:
        """Draw points, shape (size, d), component by component."""
        counts = rng.multinomial(size, self.weights)
        z = rng.standard_normal((size, self.means.shape[1]))
        z *= np.sqrt(self.nu / rng.chisquare(self.nu, size))[:, None]
        stops = np.cumsum(counts)
        for mean, L, stop, count in zip(self.means, self.factors, stops, counts, strict=True):
            part = slice(stop - count, stop)
            z[part] = mean + z[part] @ L.T
        return z

    def distances(self, x: Array) -> Array:
        """Return Mahalanobis distances² from the components, shape (S, K)."""
        from bayesv.inference.loops import distances  # compiled: loaded when it is needed

        squares = np.empty((len(x), len(self.means)))
        distances(x, self.means, self._inverses, squares)
        return squares

    def log_density(self, x: Array, warp: Warp | None = None) -> Array:
        """Return log densities, shape (S,), at points (S, d) whose coordinates may be warped."""
        from bayesv.inference.loops import log_mixture  # compiled: loaded when it is needed

        logs, warp = np.empty(len(x)), warp or Warp.none(x.shape[1])
        log_mixture(
            x, warp.centre, warp.kappa, self.means, self._inverses, self._constants, self.nu, logs
        )
        return logs

    @property
    def _half(self) -> float:
        return 0.5 * (self.nu + float(self.means.shape[1]))

    @cached_property
    def _inverses(self) -> Array:
        return np.linalg.inv(self.factors)

    @cached_property
    def _constants(self) -> Array:
        """Log densities at the centres, with weights."""
        d, nu, half = self.means.shape[1], self.nu, self._half
        norm = gammaln(half) - gammaln(nu / 2) - d / 2 * np.log(nu * np.pi)
        logs = np.log(np.diagonal(self.factors, axis1=1, axis2=2)).sum(axis=1)
        return np.asarray(np.log(self.weights) + norm - logs)

    def adapted(self, x: Array, weights: Array) -> Mixture:
        """One step of population Monte Carlo towards the weighted sample (Cappé et al. 2008)."""
        squares = self.distances(x).T
        log = self._constants[:, None] - self._half * np.log1p(squares / self.nu)
        share = np.exp(log - log_sum(log)) * weights
        gamma = 2.0 * self._half / (self.nu + squares)
        total = share.sum(axis=1)
        alive = total > 5.0 / len(x)
        share, gamma, total = share[alive], gamma[alive], total[alive]
        centre = weights @ x
        away = x - centre
        w = share * gamma
        steps = w @ away / w.sum(axis=1, keepdims=True)
        # A wide component covers tails such as log SD towards −∞ that the sample has not met.
        w = np.vstack([w, weights])
        moments = (w[:, None, :] * away.T) @ away
        moments[:-1] -= w[:-1].sum(axis=1)[:, None, None] * steps[:, :, None] * steps[:, None, :]
        moments[:-1] /= total[:, None, None]
        factors = width_root(moments)
        factors[-1] *= np.sqrt(_WIDE_SCALE)
        means = centre + np.vstack([steps, np.zeros_like(centre)])
        portions = np.append((1 - self.wide) * total / total.sum(), self.wide)
        return Mixture(portions, means, factors, self.wide)


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

    def to_z(self, x: Array) -> Array:
        """Return z, shape (S, d)."""
        t = x - self.centre
        bent = self.kappa * t < 0
        slope = np.sqrt(np.where(bent, 1.0 - 2.0 * self.kappa * t, 1.0))
        kappa = np.where(self.kappa == 0, 1.0, self.kappa)
        return np.where(bent, (1.0 - slope) / kappa, t)


@dataclass(frozen=True, eq=False)
class Part:
    """A mixture in warped coordinates."""

    mixture: Mixture
    warp: Warp

    def sample(self, rng: np.random.Generator, size: int) -> Array:
        """Draw points, shape (size, d)."""
        return self.warp.to_x(self.mixture.sample(rng, size))

    def log_density(self, x: Array) -> Array:
        """Return log densities, shape (S,)."""
        return self.mixture.log_density(x, self.warp)

    def adapted(self, x: Array, weights: Array) -> Part:
        """Return the mixture adapted to a weighted sample of its own draws, same coordinates."""
        return Part(self.mixture.adapted(self.warp.to_z(x), weights), self.warp)

    def straightened(self, x: Array, weights: Array, rng: np.random.Generator) -> Part:
        """Return a new mixture, in new coordinates, from a weighted sample."""
        warp = Warp.of(x, weights)
        z = warp.to_z(x)
        mean = weights @ z
        L = width_root((weights[:, None] * (z - mean)).T @ (z - mean))
        return Part(spread(mean, L, rng, self.mixture.wide).adapted(z, weights), warp)


@dataclass(frozen=True, eq=False)
class Proposal:
    """A mixture of straightened mixtures, one for each mode, and of a defence.

    Attributes
    ----------
    shares : ndarray, shape (K + 1,)
        Of the parts and, last, of the defence.
    parts : tuple of Part
    defence : Mixture
        Covers the bulk of the prior, so that a mode there cannot be missed. It is not adapted.
    """

    shares: Array
    parts: tuple[Part, ...]
    defence: Mixture

    @property
    def _laws(self) -> tuple[Part | Mixture, ...]:
        return (*self.parts, self.defence)

    def sample(self, rng: np.random.Generator, size: int) -> Array:
        """Draw points, shape (size, d)."""
        counts = rng.multinomial(size, self.shares)
        x = [law.sample(rng, count) for law, count in zip(self._laws, counts, strict=True)]
        return np.asarray(rng.permutation(np.concatenate(x)))

    def log_density(self, x: Array) -> Array:
        """Return log densities, shape (S,)."""
        return log_sum(self.log_parts(x))

    def adapted(self, x: Array, weights: Array) -> Proposal:
        """Return the proposal adapted to a weighted sample, same coordinates."""
        return self._each(weights, self.log_parts(x), lambda part, w: part.adapted(x, w))

    def straightened(
        self, x: Array, weights: Array, log_parts: Array, rng: np.random.Generator
    ) -> Proposal:
        """Return the proposal with new mixtures in new coordinates, from a weighted sample.

        ``log_parts`` are its own at x.
        """
        return self._each(weights, log_parts, lambda part, w: part.straightened(x, w, rng))

    def _each(
        self, weights: Array, log_parts: Array, change: Callable[[Part, Array], Part]
    ) -> Proposal:
        """Change every part on its share of the sample; the shares become those of the sample."""
        log = log_parts[:-1]
        owned = np.exp(log - log_sum(log)) * weights
        total = owned.sum(axis=1)
        # A part that a handful of points speak for is left as it is, and keeps a small share.
        spoken = total**2 > _LEAST_POINTS * (owned**2).sum(axis=1)
        parts = tuple(
            change(part, owned[k] / total[k]) if spoken[k] else part
            for k, part in enumerate(self.parts)
        )
        shares = np.maximum(total, _LEAST_SHARE)
        shares *= (1.0 - self.shares[-1]) / shares.sum()
        return Proposal(np.append(shares, self.shares[-1]), parts, self.defence)

    def log_parts(self, x: Array) -> Array:
        """Return log densities of the parts and the defence, with their shares, (K + 1, S)."""
        log = np.array([law.log_density(x) for law in self._laws])
        return np.asarray(log + np.log(self.shares)[:, None])


def merged(proposals: Sequence[Proposal]) -> Proposal:
    """Return the mixture of proposals with the same defence, in equal shares."""
    shares = [proposal.shares[:-1] / len(proposals) for proposal in proposals]
    defence = np.mean([proposal.shares[-1] for proposal in proposals])
    parts = tuple(part for proposal in proposals for part in proposal.parts)
    return Proposal(np.append(np.concatenate(shares), defence), parts, proposals[0].defence)


def spread(mean: Array, L: Array, rng: np.random.Generator, wide: float) -> Mixture:
    """Return a mixture of a main component and three that adaptation can move elsewhere."""
    # A step of one SD in each of many coordinates is so long that it leads to where nothing is.
    length = min(1.0, _FEW / len(mean))
    means = [mean] + [mean + length * (L @ rng.normal(size=len(mean))) for _ in range(3)]
    return Mixture(np.array([0.7, 0.1, 0.1, 0.1]), np.array(means), np.stack([L] * 4), wide)


def _quantiles(x: Array, weights: Array, probabilities: tuple[float, ...]) -> Array:
    """Quantiles of each column of a weighted sample, shape (probabilities, d)."""
    order = np.argsort(x, axis=0)
    reached = np.cumsum(weights[order], axis=0)
    places = [(reached < q).sum(axis=0).clip(max=len(x) - 1) for q in probabilities]
    return np.array([np.take_along_axis(x, order, 0)[a, np.arange(x.shape[1])] for a in places])
