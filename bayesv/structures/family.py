"""What the families on positions share: coordinates, priors and derivatives by C(ψ)."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from bayesv.errors import DataError
from bayesv.linalg import Array, cov_to_sd_corr
from bayesv.structures.coordinate_maps import CoordinateMap
from bayesv.structures.coordinate_priors import CoordinatePrior
from bayesv.structures.natural_form import ProductForm
from bayesv.structures.nearest import nearest_member
from bayesv.structures.roots import cholesky_pullback, cholesky_root
from bayesv.structures.structure import CovarianceStructure

__all__ = ["Family", "Positions", "positions_of"]

_ROUNDING = 1e-9  # of a parameter, between it and the nearest in the family

Positions = tuple[float, ...] | tuple[tuple[float, ...], ...]


def positions_of(values: int | Iterable[Any] | NDArray[Any]) -> Positions:
    """Return positions as families keep them; a number stands for visits from 0 on.

    >>> positions_of(3), positions_of([0.0, 2.5]), positions_of([[0, 0], [1, 2]])
    ((0, 1, 2), (0.0, 2.5), ((0, 0), (1, 2)))
    """
    if isinstance(values, int):
        return tuple(range(values))
    table = np.asarray(values if isinstance(values, np.ndarray) else list(values)).tolist()
    if table and isinstance(table[0], list):
        return tuple(tuple(place) for place in table)
    return tuple(table)


@dataclass(frozen=True)
class Family(ProductForm, CovarianceStructure):
    """Covariances D C(ψ) D of rows at positions, with few parameters ψ.

    Parameters
    ----------
    positions : tuple
        Of the r rows: numbers of visits, times, or tuples of coordinates, see `positions_of`.
    priors : tuple of CoordinatePrior, optional
        Of each coordinate z in place of the family's own; η then has no say.

    Notes
    -----
    ψ are the correlation parameters of SAS's PROC MIXED. The same ψ give C at other positions
    (`on`): of a cluster in which some are missing, or of new rows.
    """

    heterogeneous: ClassVar[bool] = False
    """Whether each position has a standard deviation of its own."""
    eta_counts: ClassVar[bool] = True
    """Whether the η of LKJ(η) changes the family's own priors."""

    positions: Positions
    priors: tuple[CoordinatePrior, ...] | None = field(default=None, kw_only=True)

    # --- what each family says -------------------------------------------------------------------

    @property
    @abstractmethod
    def maps(self) -> tuple[CoordinateMap, ...]:
        """Map of each coordinate to its parameter."""

    @abstractmethod
    def own_priors(self, eta: float) -> tuple[CoordinatePrior, ...]:
        """Return the prior of each coordinate under LKJ(η) restricted to the family."""

    @abstractmethod
    def psi_of(self, corr: Array) -> Array:
        """Return ψ of correlations near the family, (..., r, r) → (..., m); NaN is ignored."""

    def check(self) -> None:
        """Refuse positions from which ψ cannot be told.

        Raises
        ------
        DataError
        """
        if len(set(self.positions)) < self.size:
            twice = sorted({p for p in self.positions if self.positions.count(p) > 1})
            raise DataError(
                f"'{self.kind}' has two rows at position {_listed(twice)}: each position can be "
                "there once. Give positions that differ, or average such rows."
            )
        if self.size < 2:
            raise DataError(
                f"'{self.kind}' has {self.size} position(s): two at least are needed for a "
                "correlation. Leave the structure out."
            )

    # --- the contract ----------------------------------------------------------------------------

    @property
    def size(self) -> int:  # type: ignore[override]  # noqa: D102
        return len(self.positions)

    @property
    def n_sds(self) -> int:  # noqa: D102
        return self.size if self.heterogeneous else 1

    @property
    def n_corrs(self) -> int:  # noqa: D102
        return len(self.maps)

    @cached_property
    def variance_of_row(self) -> NDArray[np.intp]:  # type: ignore[override]  # noqa: D102
        return np.arange(self.size) if self.heterogeneous else np.zeros(self.size, np.intp)

    @property
    def sd_of_row(self) -> NDArray[np.intp]:  # noqa: D102
        return self.variance_of_row

    def on(self, positions: Positions) -> Self:
        """Return the family with the same parameters at other positions."""
        return replace(self, positions=positions)

    def natural(self, z: Array) -> Array:  # noqa: D102
        return _by_coordinate([m.value(z[..., k]) for k, m in enumerate(self.maps)], z)

    def nearest_z(self, psi: Array) -> Array:
        """Return z of parameters ψ, or of the end of the range that they are beyond."""
        return _by_coordinate([m.inverse(psi[..., k]) for k, m in enumerate(self.maps)], psi)

    def from_natural(self, psi: Array) -> Array:  # noqa: D102
        psi = np.asarray(psi, dtype=float)
        z = self.nearest_z(psi)
        far = np.abs(self.natural(z) - psi) > _ROUNDING * np.maximum(1.0, np.abs(psi))
        if far.any() or not np.isfinite(psi).all():
            row = psi.reshape(-1, self.n_corrs)[np.argmax(far.reshape(-1, self.n_corrs).any(1))]
            raise DataError(
                f"{self.ranges(row)} Correlations would not be positive definite: give parameters "
                f"of '{self.kind}' that are in their range."
            )
        return z

    def ranges(self, psi: Array) -> str:
        """Say which of the parameters ψ, (m,), is out of range."""
        labels = self.corr_labels([str(p) for p in self.positions])
        for label, value, bounds in zip(labels, psi, self.maps, strict=True):
            low, high = bounds.ends
            if not low <= value <= high:
                return (
                    f"{label} of '{self.kind}' with {self.size} positions is {value:g}, and must "
                    f"be between {low:g} and {high:g}."
                )
        values = ", ".join(f"{label} {value:g}" for label, value in zip(labels, psi, strict=True))
        return f"No '{self.kind}' has {values}."

    def jacobian(self, z: Array) -> Array:
        """Return ∂ψ/∂z', shape (m, m)."""
        return np.diag(_by_coordinate([m.slope(z[k]) for k, m in enumerate(self.maps)], z))

    def log_jacobian(self, z: Array) -> Array:
        """Return log|∂ψ/∂z'|, (..., m) → (...)."""
        logs = [m.log_slope(z[..., k]) for k, m in enumerate(self.maps)]
        return _by_coordinate(logs, z).sum(axis=-1)

    def corr(self, z: Array) -> Array:
        """Return C, (..., m) → (..., r, r)."""
        return self.correlations(self.natural(z))

    def corr_derivatives(self, z: Array) -> Array:
        """Return ∂C/∂z, shape (m, r, r), at one z."""
        by_psi = self.corr_first(self.natural(z))
        return np.asarray(np.einsum("ab,aij->bij", self.jacobian(z), by_psi))

    def corr_pullback(self, z: Array, bar: Array) -> Array:
        """Return the derivative by z, (m,), of what has derivative ``bar`` by C, (r, r)."""
        return np.asarray(np.einsum("kij,ij->k", self.corr_derivatives(z), bar))

    def root(self, z: Array) -> Array:  # noqa: D102
        return cholesky_root(self.corr(z))

    def pullback(self, z: Array, bar: Array) -> Array:  # noqa: D102
        return self.corr_pullback(z, cholesky_pullback(self.root(z), bar))

    def coordinates(self, corr: Array) -> Array:  # noqa: D102
        return self.nearest_z(self.psi_of(corr))

    def coordinate_priors(self, eta: float) -> tuple[CoordinatePrior, ...]:
        """Return the prior of each coordinate."""
        return self.own_priors(eta) if self.priors is None else self.priors

    def log_density(  # noqa: D102
        self, z: Array, eta: float, *, by_coordinates: bool = True
    ) -> Array:
        logs = [p.log_density(z[..., k]) for k, p in enumerate(self.coordinate_priors(eta))]
        total = _by_coordinate(logs, z).sum(axis=-1)
        return np.asarray(total if by_coordinates else total - self.log_jacobian(z))

    def log_density_gradient(self, z: Array, eta: float) -> Array:  # noqa: D102
        slopes = [p.gradient(z[k]) for k, p in enumerate(self.coordinate_priors(eta))]
        return _by_coordinate(slopes, z)

    def draw(self, rng: np.random.Generator, count: int, eta: float) -> Array:  # noqa: D102
        draws = [p.draw(rng, count) for p in self.coordinate_priors(eta)]
        return _by_coordinate(draws, np.zeros((count, self.n_corrs)))

    def sd_labels(self, columns: Sequence[str]) -> tuple[str, ...]:  # noqa: D102
        return tuple(columns) if self.heterogeneous else ("all",)

    def project(self, cov: Array) -> Array:
        """Return the member with the least Stein loss tr(Σ⁻¹S) + log|Σ|, for each S of ``cov``.

        The member under which normal vectors of covariance S are likeliest on average.
        """
        stack = cov.reshape(-1, self.size, self.size)
        return np.array([nearest_member(self, S) for S in stack]).reshape(cov.shape)

    # --- natural parameters ----------------------------------------------------------------------

    def theta_labels(self, columns: Sequence[str]) -> tuple[str, ...]:  # noqa: D102
        names = [f"variance {c}" for c in columns] if self.heterogeneous else ["variance"]
        return (*names, *self.corr_labels(columns))

    def theta(self, free_sds: Array, z: Array) -> Array:  # noqa: D102
        return np.concatenate([np.asarray(free_sds) ** 2, self.natural(z)])

    def is_member(self, cov: Array, tolerance: float = 1e-12) -> bool:
        """Whether one covariance (r, r) is in the family, to a part of its SDs."""
        sds, corr = cov_to_sd_corr(cov)
        scale = np.outer(sds, sds)
        if not self.heterogeneous and np.ptp(sds**2) > tolerance * sds.max() ** 2:
            return False
        member = scale * self.corr(self.coordinates(corr))
        return bool(np.all(np.abs(member - cov) <= tolerance * scale))


def _by_coordinate(values: Sequence[Array], like: Array) -> Array:
    """Stack what belongs to each coordinate, (...) each, as the last axis; none is (..., 0)."""
    return np.stack(values, axis=-1) if values else np.zeros((*like.shape[:-1], 0))


def _listed(places: Sequence[object]) -> str:
    """Name a few of these."""
    names = ", ".join(str(place) for place in places[:5])
    return names if len(places) <= 5 else f"{names} and {len(places) - 5} more"


def mean_where(corr: Array, where: NDArray[np.bool_]) -> Array:
    """Return the mean of elements (..., r, r) → (...) without NaN; 0 if there is none."""
    values = corr[..., where]
    known = np.isfinite(values)
    total = np.where(known, values, 0.0).sum(axis=-1)
    return np.asarray(total / np.maximum(known.sum(axis=-1), 1))
