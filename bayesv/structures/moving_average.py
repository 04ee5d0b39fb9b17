"""Moving averages: MA(1), and ARMA(1, 1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from bayesv.linalg import Array
from bayesv.structures.coordinate_maps import CORRELATION, CoordinateMap, Interval
from bayesv.structures.coordinate_priors import BetaShare
from bayesv.structures.natural_form import LinearForm
from bayesv.structures.stationary import Lagged

__all__ = ["AutoregressiveMovingAverage", "MovingAverage", "lag_one"]


def lag_one(theta: float, phi: float = 0.0) -> float:
    """Return the correlation at lag 1 of an ARMA(1, 1) process, SAS's γ; of MA(1) with φ = 0.

    Invertible processes, |θ| < 1, have it between (φ − 1)/2 and (φ + 1)/2, and each value there
    is of one θ.

    >>> lag_one(0.5), round(lag_one(-0.3, phi=0.5), 6)
    (0.4, 0.21519)
    """
    return (1.0 + phi * theta) * (phi + theta) / (1.0 + 2.0 * phi * theta + theta**2)


@dataclass(frozen=True)
class MovingAverage(LinearForm, Lagged):
    """MA(1): correlation ρ₁ = θ/(1 + θ²) at lag 1, none beyond; SAS's TOEP(2) as far as it is MA.

    ρ₁ = tanh(z)/2, so that z = 2 atanh θ; |ρ₁| < ½ is positive definite for every number of
    positions. ½ + ρ₁ is Beta(η, η): uniform over the correlation matrices for η = 1.
    θ of the covariance are the variance and the covariance at lag 1.
    """

    kind: ClassVar[str] = "ma1"

    def check(self) -> None:  # noqa: D102
        super().check()
        if 1 not in self.distinct_lags:
            self.refuse_lags([1])

    @property
    def maps(self) -> tuple[CoordinateMap, ...]:  # noqa: D102
        return (Interval(-0.5, 0.5, 2.0),)

    def own_priors(self, eta: float) -> tuple[BetaShare, ...]:  # noqa: D102
        return (BetaShare(eta, eta, 2.0),)

    def psi_of(self, corr: Array) -> Array:  # noqa: D102
        return self.mean_at_lag(corr, 1.0)[..., None]

    def corr_labels(self, columns: Sequence[str]) -> tuple[str, ...]:  # noqa: D102
        return ("lag 1",)

    def at_lags(self, psi: Array, lags: Array) -> Array:  # noqa: D102
        first = psi.reshape(psi.shape[:-1] + (1,) * np.ndim(lags))
        return np.asarray(np.where(lags == 0.0, 1.0, np.where(lags == 1.0, first, 0.0)))

    def first_at_lags(self, psi: Array, lags: Array) -> Array:  # noqa: D102
        return np.asarray(lags == 1.0, dtype=float)[None]

    def second_at_lags(self, psi: Array, lags: Array) -> Array:  # noqa: D102
        return np.zeros((1, 1, *np.shape(lags)))

    def theta_labels(self, columns: Sequence[str]) -> tuple[str, ...]:  # noqa: D102
        return ("variance", "covariance lag 1")

    def theta(self, free_sds: Array, z: Array) -> Array:  # noqa: D102
        return np.asarray(free_sds[0] ** 2 * np.array([1.0, self.natural(z)[0]]))

    def basis(self) -> Array:  # noqa: D102
        return np.stack([self.lags == 0.0, self.lags == 1.0]).astype(float)


@dataclass(frozen=True)
class AutoregressiveMovingAverage(Lagged):
    """ARMA(1, 1): correlation γφ^(h−1) at lag h ≥ 1, with γ of `lag_one`.

    φ = tanh z₁ and γ = (φ + u)/2 with u = tanh z₂ = tanh(z₁ + 2 atanh θ): stationary, invertible.
    (1 + φ)/2 and (1 + u)/2 are independent Beta(η, η): uniform by (φ, γ) for η = 1. MA(1) is
    φ = 0; AR(1) is γ = φ, u = φ.
    """

    kind: ClassVar[str] = "arma11"

    def check(self) -> None:  # noqa: D102
        super().check()
        missing = [lag for lag in (1, 2) if lag not in self.distinct_lags]
        if missing:
            self.refuse_lags(missing)

    @property
    def maps(self) -> tuple[CoordinateMap, ...]:  # noqa: D102
        return (CORRELATION, CORRELATION)

    def own_priors(self, eta: float) -> tuple[BetaShare, ...]:  # noqa: D102
        return (BetaShare(eta, eta, 2.0),) * 2

    def natural(self, z: Array) -> Array:  # noqa: D102
        phi, u = np.tanh(z[..., 0]), np.tanh(z[..., 1])
        return np.stack([phi, 0.5 * (phi + u)], axis=-1)

    def nearest_z(self, psi: Array) -> Array:  # noqa: D102
        phi = psi[..., 0]
        return super().nearest_z(np.stack([phi, 2.0 * psi[..., 1] - phi], axis=-1))

    def ranges(self, psi: Array) -> str:  # noqa: D102
        if abs(psi[0]) > 1.0:
            return super().ranges(psi)
        low, high = 0.5 * (psi[0] - 1.0), 0.5 * (psi[0] + 1.0)
        return (
            f"lag 1 of 'arma11' is {psi[1]:g}, and with phi {psi[0]:g} must be between {low:g} and "
            f"{high:g}."
        )

    def jacobian(self, z: Array) -> Array:  # noqa: D102
        return np.asarray(np.array([[1.0, 0.0], [0.5, 0.5]]) @ super().jacobian(z))

    def log_jacobian(self, z: Array) -> Array:  # noqa: D102
        return np.asarray(super().log_jacobian(z) - np.log(2.0))

    def psi_of(self, corr: Array) -> Array:  # noqa: D102
        one, two = self.mean_at_lag(corr, 1.0), self.mean_at_lag(corr, 2.0)
        if 2 not in self.distinct_lags:
            return np.stack([one, one], axis=-1)
        # Where there is no correlation at lag 1, φ does not show.
        phi = np.where(one == 0.0, 0.0, two / np.where(one == 0.0, 1.0, one))
        return np.stack([np.clip(phi, -1.0, 1.0), one], axis=-1)

    def corr_labels(self, columns: Sequence[str]) -> tuple[str, ...]:  # noqa: D102
        return ("phi", "lag 1")

    def at_lags(self, psi: Array, lags: Array) -> Array:  # noqa: D102
        shape = psi.shape[:-1] + (1,) * np.ndim(lags)
        phi, first = psi[..., 0].reshape(shape), psi[..., 1].reshape(shape)
        beyond = first * phi ** np.maximum(lags - 1.0, 0.0)
        return np.asarray(np.where(lags == 0.0, 1.0, beyond))

    def first_at_lags(self, psi: Array, lags: Array) -> Array:  # noqa: D102
        beyond = np.maximum(lags - 1.0, 0.0)
        by_phi = psi[1] * beyond * psi[0] ** np.maximum(beyond - 1.0, 0.0)
        return np.stack([by_phi, np.where(lags == 0.0, 0.0, psi[0] ** beyond)])

    def second_at_lags(self, psi: Array, lags: Array) -> Array:  # noqa: D102
        beyond = np.maximum(lags - 1.0, 0.0)
        power = beyond * psi[0] ** np.maximum(beyond - 1.0, 0.0)
        twice = psi[1] * beyond * (beyond - 1.0) * psi[0] ** np.maximum(beyond - 2.0, 0.0)
        return np.stack([np.stack([twice, power]), np.stack([power, np.zeros_like(power)])])
