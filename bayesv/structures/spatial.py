"""Spatial families and CAR(1): correlations that decay with distance, with or without a nugget."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import scipy  # .optimize is loaded when it is used

from bayesv.errors import DataError
from bayesv.linalg import Array
from bayesv.structures.antedependence import ChainRoot
from bayesv.structures.coordinate_maps import SHARE, CoordinateMap, PerUnit, Positive
from bayesv.structures.coordinate_priors import BetaShare, CoordinatePrior, RangePC
from bayesv.structures.decay import Decay, Exponential, Gaussian, Matern, Power
from bayesv.structures.family import Positions
from bayesv.structures.stationary import Stationary

__all__ = [
    "ContinuousAutoregressive",
    "Ranged",
    "SpatialExponential",
    "SpatialGaussian",
    "SpatialMatern",
    "SpatialPower",
]


@dataclass(frozen=True)
class Spatial(Stationary):
    """C = (1 − ν) f(d; ψ₁) off the diagonal, with distances d of positions.

    Positions are times or tuples of Cartesian coordinates. Priors have no η: the share of the
    nugget is uniform, and a range or a correlation has the prior of its family.

    Parameters
    ----------
    nugget : bool
        Whether there is a share ν of the variance that is of each row alone; 0 if not.
    unit : float, optional
        Range at which the first coordinate is 0, so that in another unit of distance it is the
        same. If left out, the median distance to the nearest neighbour.
    """

    eta_counts: ClassVar[bool] = False
    parameter_label: ClassVar[str]
    nugget: bool = field(default=False, kw_only=True)
    unit: float = field(default=0.0, kw_only=True)

    def __post_init__(self) -> None:
        if self.unit == 0.0:
            object.__setattr__(self, "unit", _apart(self.positions))

    @property
    @abstractmethod
    def decay(self) -> Decay:
        """The correlation function."""

    @property
    @abstractmethod
    def first_map(self) -> CoordinateMap:
        """Map of the first coordinate."""

    @abstractmethod
    def first_prior(self) -> CoordinatePrior:
        """Return the prior of the first coordinate."""

    def check(self) -> None:
        super().check()
        places = np.asarray(self.positions)
        if places.dtype.kind not in "biuf" or not np.isfinite(places.astype(float)).all():
            raise DataError(
                f"'{self.kind}' needs numbers as positions, because distances are measured; there "
                f"is {self.positions[0]!r}. Take 'ar1' or 'us' for visits."
            )
        # More places than a simplex has corners are at two different distances at least.
        corners = places.shape[1] + 1 if places.ndim > 1 else 2
        if self.nugget and len(places) <= corners and len(np.unique(self.lags)) < 3:
            raise DataError(
                f"'{self.kind}' with a nugget needs two different distances at least: with one, "
                f"{self.parameter_label} and nugget cannot be told apart. Leave the nugget out."
            )

    @property
    def maps(self) -> tuple[CoordinateMap, ...]:
        return (self.first_map, SHARE) if self.nugget else (self.first_map,)

    def own_priors(self, eta: float) -> tuple[CoordinatePrior, ...]:
        first = self.first_prior()
        return (first, BetaShare(1.0, 1.0)) if self.nugget else (first,)

    def corr_labels(self, columns: Sequence[str]) -> tuple[str, ...]:
        return (self.parameter_label, "nugget")[: self.n_corrs]

    def at_lags(self, psi: Array, lags: Array) -> Array:
        shape = psi.shape[:-1] + (1,) * np.ndim(lags)
        decayed = self.decay.value(psi[..., 0].reshape(shape), lags)
        if not self.nugget:
            return decayed
        share = psi[..., 1].reshape(shape)
        return np.asarray(np.where(lags > 0.0, (1.0 - share) * decayed, 1.0))

    def first_at_lags(self, psi: Array, lags: Array) -> Array:
        by_first = self.decay.first(float(psi[0]), lags)
        if not self.nugget:
            return by_first[None]
        by_share = np.where(lags > 0.0, -self.decay.value(psi[0], lags), 0.0)
        return np.stack([(1.0 - psi[1]) * by_first, by_share])

    def second_at_lags(self, psi: Array, lags: Array) -> Array:
        twice = self.decay.second(float(psi[0]), lags)
        if not self.nugget:
            return twice[None, None]
        mixed = -self.decay.first(float(psi[0]), lags)
        return np.stack(
            [np.stack([(1.0 - psi[1]) * twice, mixed]), np.stack([mixed, np.zeros_like(twice)])]
        )

    # --- parameters of a correlation -------------------------------------------------------------

    def psi_of(self, corr: Array) -> Array:
        """Return ψ: of the pair whose correlation tells most, by least squares with a nugget."""
        first, second = np.triu_indices(self.size, 1)
        if not len(first):
            return np.full((*corr.shape[:-2], self.n_corrs), 0.5)
        pairs, distances = corr[..., first, second], self.lags[first, second]
        telling = np.argmin(np.nan_to_num(np.abs(pairs - 0.5), nan=2.0), axis=-1)
        best = np.take_along_axis(pairs, telling[..., None], axis=-1)[..., 0]
        psi = self.decay.parameter(np.nan_to_num(best, nan=0.5), distances[telling])[..., None]
        if not self.nugget:
            return psi
        stack = pairs.reshape(-1, len(first))
        fits = [
            self._least_squares(values, distances, float(start))
            for values, start in zip(stack, psi.ravel(), strict=True)
        ]
        return np.array(fits).reshape(*psi.shape[:-1], 2)

    def _least_squares(self, pairs: Array, distances: Array, start: float) -> Array:
        """Return (ψ₁, ν) nearest to the correlations of pairs."""
        known = np.isfinite(pairs)
        lags = distances[known]

        def residuals(z: Array) -> Array:
            return self.at_lags(self.natural(z), lags) - pairs[known]

        def slopes(z: Array) -> Array:
            return np.asarray((self.jacobian(z).T @ self.first_at_lags(self.natural(z), lags)).T)

        first = float(np.clip(self.first_map.inverse(np.array(start)), -15.0, 15.0))
        settings: dict[str, Any] = {"xtol": 1e-15, "ftol": 1e-15, "gtol": 1e-15, "max_nfev": 200}
        fits = [
            scipy.optimize.least_squares(residuals, (first + shift, -1.0), slopes, **settings)
            for shift in (0.0, 1.0)
        ]
        return self.natural(min(fits, key=lambda fit: float(fit.cost)).x)

    # --- natural parameters ----------------------------------------------------------------------

    def theta_labels(self, columns: Sequence[str]) -> tuple[str, ...]:
        labels = ("variance", self.parameter_label)
        return (*labels, "nugget variance") if self.nugget else labels

    def theta(self, free_sds: Array, z: Array) -> Array:
        """Return θ: with a nugget, SAS's partial sill, ψ₁ and variance of the nugget."""
        if not self.nugget:
            return super().theta(free_sds, z)
        variance, (first, share) = free_sds[0] ** 2, self.natural(z)
        return np.array([variance * (1.0 - share), first, variance * share])

    def natural_covariance(self, theta: Array) -> Array:
        if not self.nugget:
            return super().natural_covariance(theta)
        return np.asarray(
            theta[0] * self.decay.value(theta[1], self.lags) + theta[2] * np.eye(self.size)
        )

    def first(self, theta: Array) -> Array:
        if not self.nugget:
            return super().first(theta)
        decayed = self.decay.value(theta[1], self.lags)
        slope = theta[0] * self.decay.first(float(theta[1]), self.lags)
        return np.stack([decayed, slope, np.eye(self.size)])

    def second(self, theta: Array) -> Array:
        if not self.nugget:
            return super().second(theta)
        curvature = np.zeros((3, 3, self.size, self.size))
        curvature[0, 1] = curvature[1, 0] = self.decay.first(float(theta[1]), self.lags)
        curvature[1, 1] = theta[0] * self.decay.second(float(theta[1]), self.lags)
        return curvature


@dataclass(frozen=True)
class Ranged(Spatial):
    """A spatial family whose parameter is a range.

    Parameters
    ----------
    range_prior : RangePC, optional
        If left out, P(range < half the median distance to the nearest neighbour) = 0.05.
    """

    parameter_label: ClassVar[str] = "range"
    range_prior: RangePC | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.range_prior is None:
            span = 0.5 * _apart(self.positions)
            first = self.positions[0]
            dimension = len(first) if isinstance(first, tuple) else 1
            object.__setattr__(self, "range_prior", RangePC.below(span, dimension=dimension))

    @property
    def first_map(self) -> CoordinateMap:  # noqa: D102
        return Positive(self.unit)

    def first_prior(self) -> CoordinatePrior:  # noqa: D102
        assert self.range_prior is not None
        return replace(self.range_prior, unit=self.unit)


def _apart(positions: Positions) -> float:
    """Return the median distance to the nearest other place; 1 if there is none."""
    places = np.asarray(positions)
    if len(places) < 2 or places.dtype.kind not in "biuf":  # which `check` refuses
        return 1.0
    from scipy.spatial import KDTree  # takes a while to load

    places = places.reshape(len(places), -1).astype(float)
    if not np.isfinite(places).all():
        return 1.0
    return float(np.median(KDTree(places).query(places, k=2)[0][:, 1])) or 1.0


@dataclass(frozen=True)
class _SpatialChain(ChainRoot, Spatial):
    """Correlations that fall as exp(−rate · d): over times a Markov chain, unless with a nugget."""

    @property
    def is_markov(self) -> bool:
        return not self.nugget and np.ndim(self.positions) == 1

    @property
    def is_chain(self) -> bool:
        return self.increases and not self.nugget

    @cached_property
    def _gaps(self) -> Array:
        return np.diff(np.asarray(self.positions, dtype=float))

    def neighbours(self, z: Array) -> tuple[Array, Array]:
        exponents = self._gaps * PerUnit(self.unit).rate(z)
        return np.exp(-exponents), np.sqrt(-np.expm1(-2.0 * exponents))

    def neighbour_slopes(self, z: Array) -> tuple[Array, Array]:
        adjacent, rest = self.neighbours(z)
        by_z = adjacent * self._gaps * PerUnit(self.unit).rate(z)
        rest_by_z = -adjacent * by_z / np.maximum(rest, np.finfo(float).tiny)
        return by_z[:, None], rest_by_z[:, None]


@dataclass(frozen=True)
class SpatialExponential(_SpatialChain, Ranged):
    """exp(−d/range)."""

    kind: ClassVar[str] = "sp_exp"

    @property
    def decay(self) -> Decay:  # noqa: D102
        return Exponential()


@dataclass(frozen=True)
class SpatialGaussian(Ranged):
    """exp(−d²/range²)."""

    kind: ClassVar[str] = "sp_gau"

    @property
    def decay(self) -> Decay:  # noqa: D102
        return Gaussian()


@dataclass(frozen=True)
class SpatialMatern(Ranged):
    """Matérn's correlation with a smoothness that is held fixed, by SAS's range: x = d/range.

    Parameters
    ----------
    smoothness : float
        ν; ½ is `SpatialExponential`.
    """

    kind: ClassVar[str] = "sp_mat"
    smoothness: float = field(default=1.5, kw_only=True)

    @property
    def decay(self) -> Decay:  # noqa: D102
        return Matern(self.smoothness)


@dataclass(frozen=True)
class SpatialPower(_SpatialChain):
    """ρ^d with 0 < ρ < 1, uniform a priori."""

    kind: ClassVar[str] = "sp_pow"
    parameter_label: ClassVar[str] = "rho"

    @property
    def decay(self) -> Decay:  # noqa: D102
        return Power()

    @property
    def first_map(self) -> CoordinateMap:  # noqa: D102
        return PerUnit(self.unit)

    def first_prior(self) -> CoordinatePrior:  # noqa: D102
        return RangePC(1.0, 2, self.unit)  # −log ρ, the inverse of the range, is exponential


@dataclass(frozen=True)
class ContinuousAutoregressive(SpatialPower):
    """CAR(1) over real times: φ to the power of the time between, 0 < φ < 1, uniform a priori."""

    kind: ClassVar[str] = "car1"
    parameter_label: ClassVar[str] = "phi"

    def check(self) -> None:  # noqa: D102
        if any(isinstance(place, tuple) for place in self.positions):
            raise DataError(
                "'car1' needs one time for each row, and there are several coordinates. Take "
                "'sp_pow', which is the same over distances."
            )
        super().check()
