"""First-order autoregression over integer positions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar

import numpy as np
from scipy.special import expit, log_expit

from bayesv.linalg import Array
from bayesv.structures.antedependence import ChainRoot
from bayesv.structures.coordinate_maps import CORRELATION, SHARE, CoordinateMap, sech
from bayesv.structures.coordinate_priors import BetaShare, CoordinatePrior, HalfBeta
from bayesv.structures.family import mean_where
from bayesv.structures.stationary import Lagged

__all__ = ["Autoregressive", "HeterogeneousAutoregressive"]


@dataclass(frozen=True)
class Autoregressive(ChainRoot, Lagged):
    """ρ to the power of the lag; ρ = tanh z may be negative, and is Beta(η, η) on (1 + ρ)/2.

    Parameters
    ----------
    positive : bool, optional
        Whether ρ is held to be ≥ 0, then ρ = logit⁻¹(z) and the density is that of ρ given its
        sign. If left out: where all lags are even, because the sign does not show in them.
    """

    kind: ClassVar[str] = "ar1"
    positive: bool | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        if self.positive is None:
            even = bool(self.distinct_lags) and all(lag % 2 == 0 for lag in self.distinct_lags)
            object.__setattr__(self, "positive", even)

    @property
    def maps(self) -> tuple[CoordinateMap, ...]:  # noqa: D102
        return (SHARE if self.positive else CORRELATION,)

    def own_priors(self, eta: float) -> tuple[CoordinatePrior, ...]:  # noqa: D102
        return (HalfBeta(eta) if self.positive else BetaShare(eta, eta, 2.0),)

    def psi_of(self, corr: Array) -> Array:  # noqa: D102
        if not self.distinct_lags:
            return np.zeros((*corr.shape[:-2], 1))
        shortest = self.distinct_lags[0]
        size = np.abs(self.mean_at_lag(corr, shortest)) ** (1.0 / shortest)
        odd = self.lags % 2 == 1
        if self.positive or not odd.any():
            return np.asarray(size[..., None])
        odd &= self.lags == self.lags[odd].min()
        sign = np.where(mean_where(corr, odd) < 0.0, -1.0, 1.0)
        return np.asarray((sign * size)[..., None])

    def corr_labels(self, columns: Sequence[str]) -> tuple[str, ...]:  # noqa: D102
        return ("rho",)

    def at_lags(self, psi: Array, lags: Array) -> Array:  # noqa: D102
        return np.asarray(psi.reshape(psi.shape[:-1] + (1,) * np.ndim(lags)) ** lags)

    def first_at_lags(self, psi: Array, lags: Array) -> Array:  # noqa: D102
        return np.asarray(lags * psi[0] ** np.maximum(lags - 1.0, 0.0))[None]

    def second_at_lags(self, psi: Array, lags: Array) -> Array:  # noqa: D102
        return np.asarray(lags * (lags - 1.0) * psi[0] ** np.maximum(lags - 2.0, 0.0))[None, None]

    @property
    def is_chain(self) -> bool:  # noqa: D102
        return self.increases

    @cached_property
    def _gaps(self) -> Array:
        return np.diff(np.asarray(self.positions, dtype=float))

    def neighbours(self, z: Array) -> tuple[Array, Array]:  # noqa: D102
        gaps = self._gaps
        with np.errstate(divide="ignore"):
            log_square = 2.0 * log_expit(z) if self.positive else np.log1p(-(sech(z) ** 2))
        adjacent = self.natural(z) ** gaps
        return np.asarray(adjacent), np.sqrt(-np.expm1(gaps * log_square))

    def neighbour_slopes(self, z: Array) -> tuple[Array, Array]:  # noqa: D102
        gaps, rho = self._gaps, self.natural(z)
        slope = expit(z) * expit(-z) if self.positive else sech(z) ** 2
        adjacent, rest = self.neighbours(z)
        by_z = gaps * rho ** (gaps - 1.0) * slope
        with np.errstate(divide="ignore", invalid="ignore"):
            rest_by_z = np.where(rest > 0.0, -adjacent * by_z / rest, 0.0)
        return by_z[:, None], rest_by_z[:, None]


@dataclass(frozen=True)
class HeterogeneousAutoregressive(Autoregressive):
    """First-order autoregression with a standard deviation for each position."""

    kind: ClassVar[str] = "ar1h"
    heterogeneous: ClassVar[bool] = True
