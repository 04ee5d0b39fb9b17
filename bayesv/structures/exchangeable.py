"""Compound symmetry: every pair has the same correlation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from scipy.special import expit

from bayesv.errors import PriorError
from bayesv.linalg import Array
from bayesv.structures.coordinate_maps import Interval
from bayesv.structures.coordinate_priors import BetaShare
from bayesv.structures.family import Family, mean_where
from bayesv.structures.natural_form import LinearForm

__all__ = ["CompoundSymmetry", "HeterogeneousCompoundSymmetry"]


@dataclass(frozen=True)
class _Exchangeable(Family):
    """ρ between −a and 1, with a = 1/(largest − 1): ρ = (1 + a) logit⁻¹(z) − a.

    Parameters
    ----------
    largest : int, optional
        Rows of the largest cluster, on which the range of ρ depends; the number of positions if
        left out.

    Notes
    -----
    |C| = (1 − ρ)^(r−1) (1 + (r − 1)ρ), so that LKJ(η) restricted to the family, ∝ |C|^(η−1) by ρ,
    is Beta(η, (r − 1)(η − 1) + 1) on (ρ + a)/(1 + a) with r = ``largest``: uniform for η = 1, and
    proper for η > (r − 2)/(r − 1) only.
    """

    largest: int = field(default=0, kw_only=True)

    def __post_init__(self) -> None:
        if not self.largest:
            object.__setattr__(self, "largest", len(self.positions))

    @property
    def maps(self) -> tuple[Interval, ...]:
        return (Interval(-1.0 / (self.largest - 1), 1.0),) if self.largest > 1 else ()

    def own_priors(self, eta: float) -> tuple[BetaShare, ...]:
        if self.largest < 2:
            return ()
        power = (self.largest - 1) * (eta - 1.0) + 1.0
        if power <= 0.0:
            raise PriorError(
                f"LKJ({eta:g}) is improper for '{self.kind}' with {self.largest} positions: its "
                f"density ∝ |C|^(η − 1) by ρ needs η > {(self.largest - 2) / (self.largest - 1):g}."
                " Take LKJ(1), which is uniform over the range of ρ, or a larger η."
            )
        return (BetaShare(eta, power),)

    def psi_of(self, corr: Array) -> Array:
        pairs = ~np.eye(self.size, dtype=bool)
        return (
            np.stack([mean_where(corr, pairs)] * self.n_corrs, axis=-1)
            if self.maps
            else (np.zeros((*corr.shape[:-2], 0)))
        )

    def corr_labels(self, columns: Sequence[str]) -> tuple[str, ...]:
        return ("rho",) * self.n_corrs

    def correlations(self, psi: Array) -> Array:
        eye = np.eye(self.size)
        rho = psi[..., :1, None] if self.maps else np.zeros((*psi.shape[:-1], 1, 1))
        return np.asarray(eye + rho * (1.0 - eye))

    def corr_first(self, psi: Array) -> Array:
        return np.tile(1.0 - np.eye(self.size), (self.n_corrs, 1, 1))

    def corr_second(self, psi: Array) -> Array:
        return np.zeros((self.n_corrs, self.n_corrs, self.size, self.size))

    def _pivots(self, z: Array) -> tuple[Array, Array, Array]:
        """Return 1 − ρ, (...), and 1 + jρ and j(ρ + a)/(1 + jρ) of each row j, (..., r).

        Without cancellation at the ends of the range.
        """
        a = 1.0 / (self.largest - 1)
        p, q = expit(z[..., 0]), expit(-z[..., 0])
        j = np.arange(self.size)
        least = np.where(j == self.largest - 1, 0.0, 1.0 - j * a)
        above = j * (1.0 + a) * p[..., None]
        # Where the least is 0, the ratio is 1 down to ρ = −a.
        ratios = np.where(least == 0.0, 1.0, above / np.where(least == 0.0, 1.0, least + above))
        return (1.0 + a) * q, least + above, ratios

    def root(self, z: Array) -> Array:
        root = np.zeros((*z.shape[:-1], self.size, self.size))
        root[..., 0, 0] = 1.0
        if self.size == 1:
            return root
        rest, sums, _ = self._pivots(z)
        rho = self.natural(z)[..., 0]
        root[..., 1:, 0] = rho[..., None]
        for j in range(1, self.size):
            root[..., j, j] = np.sqrt(rest * sums[..., j] / sums[..., j - 1])
            if j < self.size - 1:
                root[..., j + 1 :, j] = (root[..., j, j] * rho / sums[..., j])[..., None]
        return root

    def pullback(self, z: Array, bar: Array) -> Array:
        if self.size == 1:
            return np.zeros(self.n_corrs)
        root, rho = self.root(z), self.natural(z)[0]
        _, sums, ratios = self._pivots(z)
        p, q = expit(z[0]), expit(-z[0])
        slope = self.maps[0].slope(z[0])
        total = bar[1:, 0].sum() * slope
        for j in range(1, self.size):
            # Of log L_jj by z: what ρ + a and 1 − ρ are multiplied by stays finite at the ends.
            log_slope = 0.5 * (-p + q * (ratios[j] - ratios[j - 1]))
            pivot_slope = root[j, j] * log_slope
            total += bar[j, j] * pivot_slope
            if j < self.size - 1:
                below = pivot_slope * rho / sums[j] + root[j, j] * slope / sums[j] ** 2
                total += bar[j + 1 :, j].sum() * below
        return np.array([total])


@dataclass(frozen=True)
class CompoundSymmetry(LinearForm, _Exchangeable):
    """One variance and one correlation; θ are the covariance and what the variance has more."""

    kind: ClassVar[str] = "cs"

    def theta_labels(self, columns: Sequence[str]) -> tuple[str, ...]:  # noqa: D102
        return ("covariance", "residual")[-1 - self.n_corrs :]

    def theta(self, free_sds: Array, z: Array) -> Array:  # noqa: D102
        variance = free_sds[0] ** 2
        covariances = variance * self.natural(z)
        return np.array([*covariances, variance - covariances.sum()])

    def basis(self) -> Array:  # noqa: D102
        both = np.stack([np.ones((self.size, self.size)), np.eye(self.size)])
        return both[-1 - self.n_corrs :]

    def project(self, cov: Array) -> Array:
        """Return the means of variances and of covariances: the member of least Stein loss."""
        off = ~np.eye(self.size, dtype=bool)
        variance = np.diagonal(cov, axis1=-2, axis2=-1).mean(axis=-1)[..., None, None]
        pairs = cov[..., off].mean(axis=-1)[..., None, None] if self.size > 1 else variance
        if self.largest > self.size:
            pairs = np.maximum(pairs, -variance / (self.largest - 1))
        return np.asarray(np.where(off, pairs, variance))


@dataclass(frozen=True)
class HeterogeneousCompoundSymmetry(_Exchangeable):
    """One correlation, and a standard deviation for each position."""

    kind: ClassVar[str] = "csh"
    heterogeneous: ClassVar[bool] = True
