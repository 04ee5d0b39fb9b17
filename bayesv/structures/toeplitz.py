"""Toeplitz correlations: one for each lag, positive definite by construction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar

import numpy as np

from bayesv.errors import DataError
from bayesv.linalg import Array
from bayesv.structures.coordinate_maps import CORRELATION, CoordinateMap, sech
from bayesv.structures.coordinate_priors import BetaShare
from bayesv.structures.durbin import (
    autocorrelation_slopes,
    autocorrelations,
    lattice_pullback,
    lattice_root,
    reflections,
)
from bayesv.structures.natural_form import LinearForm
from bayesv.structures.stationary import Lagged

__all__ = ["HeterogeneousToeplitz", "Toeplitz"]


@dataclass(frozen=True)
class _Lags(Lagged):
    """ρ_h for every lag h, by partial autocorrelations r_j = tanh z_j (Durbin–Levinson).

    Parameters
    ----------
    order : int, optional
        The longest lag; that of the positions if left out.

    Notes
    -----
    With m = order + 1 positions in a row, |C| = Π_j (1 − r_j²)^(m−j) and
    |∂ρ/∂r| = Π_j (1 − r_j²)^(m−1−j), so that LKJ(η) restricted to the family, ∝ |C|^(η−1) by ρ,
    makes the r_j independent: (1 + r_j)/2 is Beta((m−j)η, (m−j)η).
    """

    order: int = field(default=0, kw_only=True)

    def __post_init__(self) -> None:
        if not self.order:
            object.__setattr__(self, "order", int(self.lags.max()))

    def check(self) -> None:
        super().check()
        missing = sorted(set(range(1, self.order + 1)) - set(self.distinct_lags))
        if missing:
            self.refuse_lags(missing)

    @property
    def maps(self) -> tuple[CoordinateMap, ...]:
        return (CORRELATION,) * self.order

    def own_priors(self, eta: float) -> tuple[BetaShare, ...]:
        powers = [k * eta for k in range(self.order, 0, -1)]
        return tuple(BetaShare(power, power, 2.0) for power in powers)

    def natural(self, z: Array) -> Array:
        return autocorrelations(np.tanh(z))

    def nearest_z(self, psi: Array) -> Array:
        return super().nearest_z(reflections(psi))

    def jacobian(self, z: Array) -> Array:
        return autocorrelation_slopes(np.tanh(z)) * sech(z) ** 2

    def log_jacobian(self, z: Array) -> Array:
        powers = np.arange(self.order, 0, -1)
        return np.asarray(2.0 * np.log(sech(z)) @ powers)

    def psi_of(self, corr: Array) -> Array:
        means = [self.mean_at_lag(corr, float(h)) for h in range(1, self.order + 1)]
        return np.stack(means, axis=-1) if means else np.zeros((*corr.shape[:-2], 0))

    def corr_labels(self, columns: Sequence[str]) -> tuple[str, ...]:
        return tuple(f"lag {h}" for h in range(1, self.order + 1))

    def at_lags(self, psi: Array, lags: Array) -> Array:
        if np.max(lags, initial=0.0) > self.order:
            raise DataError(
                f"'{self.kind}' has correlations up to lag {self.order}, and there are positions "
                f"{np.max(lags):g} apart. Leave these rows out, or take 'ar1' or 'arma11', which "
                "go on."
            )
        whole = np.concatenate([np.ones((*psi.shape[:-1], 1)), psi], axis=-1)
        return np.asarray(whole[..., np.asarray(lags, dtype=np.intp)])

    def first_at_lags(self, psi: Array, lags: Array) -> Array:
        h = np.arange(1, self.order + 1).reshape(-1, *(1,) * np.ndim(lags))
        return np.asarray(lags == h, dtype=float)

    def second_at_lags(self, psi: Array, lags: Array) -> Array:
        return np.zeros((self.order, self.order, *np.shape(lags)))

    @cached_property
    def _is_complete(self) -> bool:
        """Whether positions follow each other without gaps, from the first on."""
        return self.increases and int(self.lags.max()) == self.size - 1

    def root(self, z: Array) -> Array:
        if not self._is_complete:
            return super().root(z)
        z = z[..., : self.size - 1]
        return lattice_root(np.tanh(z), sech(z))

    def pullback(self, z: Array, bar: Array) -> Array:
        if not self._is_complete:
            return super().pullback(z, bar)
        used = z[: self.size - 1]
        by_z = np.zeros_like(z)
        by_z[: self.size - 1] = lattice_pullback(np.tanh(used), sech(used), bar)
        return by_z


@dataclass(frozen=True)
class Toeplitz(LinearForm, _Lags):
    """One variance; θ are the variance and the covariance of each lag."""

    kind: ClassVar[str] = "toep"

    def theta_labels(self, columns: Sequence[str]) -> tuple[str, ...]:  # noqa: D102
        return ("variance", *(f"covariance {label}" for label in self.corr_labels(columns)))

    def theta(self, free_sds: Array, z: Array) -> Array:  # noqa: D102
        return np.asarray(free_sds[0] ** 2 * np.concatenate([[1.0], self.natural(z)]))

    def basis(self) -> Array:  # noqa: D102
        return np.array([self.lags == h for h in range(self.order + 1)], dtype=float)


@dataclass(frozen=True)
class HeterogeneousToeplitz(_Lags):
    """A correlation for each lag, and a standard deviation for each position."""

    kind: ClassVar[str] = "toeph"
    heterogeneous: ClassVar[bool] = True
