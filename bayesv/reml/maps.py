"""Coordinates of λ_f in which REML and ML search: without bounds, boundaries inside."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from bayesv.design.design import RandomTerm
from bayesv.linalg import Array, Mask, cov_to_sd_corr
from bayesv.reml.elements import ElementTable
from bayesv.structures import CovarianceStructure
from bayesv.structures.coordinate_maps import Interval
from bayesv.structures.family import Family
from bayesv.structures.partials import FARTHEST

__all__ = ["Elements", "Parameters", "TermMap", "map_of"]

Index = NDArray[np.intp]

_BOUNDARY = 1e-3  # in units of 1/rms of the column: a smaller SD relative to σ is tried at 0
_NEAR_END = 0.03  # cosine of the angle of a correlation that is tried at the end of its range
_LARGEST_START = 2.0  # coordinate of a correlation to start from
_LEAST_INFORMATION = 1e-3


class TermMap(ABC):
    """The map from a term's coordinates x to its λ, in the basis of the statistics."""

    size: int
    k: int

    @abstractmethod
    def lambdas(self, x: Array) -> Array:
        """Return λ at S points, (S, d) → (S, k, k)."""

    @abstractmethod
    def root(self, x: Array) -> Array:
        """Return λ by the user's columns, (d,) → (k, k)."""

    @abstractmethod
    def pullback(self, x: Array, bar: Array) -> Array:
        """Return the derivative by x, (d,), of what has derivative ``bar`` by λ, (k, k)."""

    @abstractmethod
    def start(self, scale: float, decay: float) -> Array:
        """Return x of SDs that are ``scale`` relative to σ, and correlations ``decay`` ^ lag."""

    @abstractmethod
    def near(self, root: Array) -> Array:
        """Return x of a member near λλ' = root root', in the basis of the statistics."""

    @abstractmethod
    def curvature(self, x: Array) -> Array:
        """Return about the second derivatives of the criterion: Fisher's information of levels.

        With m rows, and one column, it is 4 (mλ/(1 + mλ²))², where m is the mean over levels.
        """

    @abstractmethod
    def sizes(self, x: Array) -> Array:
        """Return the relative SD that each coordinate is of; 1 for correlations."""

    @abstractmethod
    def same_sign(self, x: Array) -> Array:
        """Return the same λλ' by coordinates of one sign."""

    @abstractmethod
    def ends(self, x: Array) -> dict[int, float]:
        """Return coordinates next to a boundary, and where on it."""


def map_of(term: RandomTerm, basis: Array, scale: Array, n: int) -> TermMap:
    """Return the map of a term.

    Parameters
    ----------
    term : RandomTerm
    basis : ndarray, shape (k, k)
        Of the statistics: their λ is ``basis @`` that of the user's columns.
    scale : ndarray, shape (k,)
        Root mean squares of the columns in that basis.
    n : int
        Number of rows.
    """
    structure = term.structure
    if structure.is_free:
        return Elements(structure.mask, basis, scale, term.n_levels, n)
    return Parameters(structure, basis, term.rms, term.n_levels, n)


class Elements(TermMap):
    """Families that are any covariances, or any within blocks: x are the elements of λ.

    They are divided by the rms of the column of Z that they act on, and so free of units. λ is
    lower triangular without bounds: the criterion does not change with the sign of a column, and 0
    is an interior point.
    """

    def __init__(self, mask: Mask, basis: Array, scale: Array, n_levels: int, n: int) -> None:
        self.rows, self.columns = np.nonzero(np.tril(mask))
        self.back, self.size, self.k = np.linalg.inv(basis), len(self.rows), len(mask)
        self.diagonal = self.rows == self.columns
        own = np.flatnonzero(self.diagonal)
        self.levels, self.m = n_levels, n / n_levels
        self.table = ElementTable(
            size=self.k**2,
            places=self.rows * self.k + self.columns,
            units=1.0 / scale[self.rows],
            of_row=own[self.rows],
            of_column=own[self.columns],
            terms=np.array([[0, self.k, n_levels]]),
        )

    def lambdas(self, x: Array) -> Array:  # noqa: D102
        flat = np.zeros((len(x), self.k**2))
        flat[:, self.table.places] = x * self.table.units
        return flat.reshape(len(x), self.k, self.k)

    def root(self, x: Array) -> Array:  # noqa: D102
        return np.asarray(self.back @ self.lambdas(x[None])[0])

    def pullback(self, x: Array, bar: Array) -> Array:  # noqa: D102
        return np.asarray(bar[self.rows, self.columns] * self.table.units)

    def start(self, scale: float, decay: float) -> Array:  # noqa: D102
        return np.where(self.diagonal, scale, 0.0)

    def near(self, root: Array) -> Array:  # noqa: D102
        # QR of the transpose gives the lower factor without squaring.
        upper = np.linalg.qr(root.T, mode="r")
        lower = upper.T * np.sign(np.diagonal(upper))
        return np.asarray(lower[self.rows, self.columns] / self.table.units)

    def curvature(self, x: Array) -> Array:  # noqa: D102
        size = np.maximum(np.abs(x[self.table.of_row]), 0.05)
        return np.asarray(4.0 * self.levels * (self.m * size / (1.0 + self.m * size**2)) ** 2)

    def sizes(self, x: Array) -> Array:  # noqa: D102
        return np.asarray(np.sqrt(np.bincount(self.rows, x**2))[self.rows])

    def same_sign(self, x: Array) -> Array:  # noqa: D102
        return np.where(x[self.table.of_column] < 0, -x, x)

    def ends(self, x: Array) -> dict[int, float]:  # noqa: D102
        near_zero = np.flatnonzero(self.diagonal & (np.abs(x) < _BOUNDARY))
        return {int(i): 0.0 for i in near_zero}


@dataclass(frozen=True, eq=False)
class Parameters(TermMap):
    """Families with parameters: x are SDs relative to σ and angles of the correlation, by part.

    Of a part with one SD it is x/rms of either sign, of one with several x²/rms each: Σ is smooth
    at 0, although its slope by one SD there is not 0 where others are positive. The coordinate z
    of a correlation is c atanh(sin x), so that the ends of its range are inside, too, and Σ is
    smooth there; c makes it so. Parameters without an upper end are their z.

    Parameters
    ----------
    structure : CovarianceStructure
    basis : ndarray, shape (k, k)
    rms : ndarray, shape (k,)
        Of the user's columns.
    n_levels, n : int
        Numbers of levels and of rows.
    """

    structure: CovarianceStructure
    basis: Array
    rms: Array
    n_levels: int
    n: int

    @cached_property
    def size(self) -> int:  # type: ignore[override]
        """Number of coordinates."""
        return self.structure.n_sds + self.structure.n_corrs

    @property
    def k(self) -> int:  # type: ignore[override]
        """Number of columns."""
        return len(self.basis)

    @cached_property
    def _parts(self) -> list[_Part]:
        parts, start = [], 0
        for rows, family in self.structure.parts:
            units = 1.0 / np.where(self.rms > 0, self.rms, 1.0)[list(rows)]
            parts.append(_Part(np.array(rows), family, family.free_sds(units), start))
            start += family.n_sds + family.n_corrs
        return parts

    def lambdas(self, x: Array) -> Array:  # noqa: D102
        return np.asarray(self.basis @ self._roots(x))

    def root(self, x: Array) -> Array:  # noqa: D102
        return np.asarray(self._roots(x[None])[0])

    def _roots(self, x: Array) -> Array:
        """Return λ by the user's columns at S points, shape (S, k, k)."""
        root = np.zeros((len(x), *self.basis.shape))
        for part in self._parts:
            own = part.family.sds(part.sds(x))[..., None] * part.family.root(part.z(x))
            root[:, part.rows[:, None], part.rows] = own
        return root

    def pullback(self, x: Array, bar: Array) -> Array:  # noqa: D102
        by_root, slopes = self.basis.T @ bar, np.zeros(len(x))
        for part in self._parts:
            family, z = part.family, part.z(x)
            own = by_root[np.ix_(part.rows, part.rows)]
            by_sd = family.sds_pullback((own * family.root(z)).sum(axis=1))
            slopes[part.sd_places] = by_sd * part.sd_slopes(x)
            rows = family.sds(part.sds(x))[:, None]
            slopes[part.z_places] = family.pullback(z, rows * own) * part.z_slopes(x)
        return slopes

    def start(self, scale: float, decay: float) -> Array:  # noqa: D102
        x = np.zeros(self.size)
        for part in self._parts:
            lags = np.abs(np.subtract.outer(*[np.arange(part.family.size)] * 2))
            part.put(x, np.full(part.family.n_sds, scale) * part.units, decay ** lags.astype(float))
        return x

    def near(self, root: Array) -> Array:  # noqa: D102
        half, x = np.linalg.solve(self.basis, root), np.zeros(self.size)
        cov = half @ half.T
        for part in self._parts:
            sds, corr = cov_to_sd_corr(cov[np.ix_(part.rows, part.rows)])
            corr = np.where(np.eye(len(corr)) > 0, 1.0, np.nan_to_num(corr))
            part.put(x, part.family.free_sds(sds), corr)
        return x

    def curvature(self, x: Array) -> Array:  # noqa: D102
        n_levels, total = self.n_levels, np.zeros(len(x))
        m = self.n / n_levels
        for part in self._parts:
            size = np.clip(part.sds(x) / part.units, 0.05, None)
            by_sd = 4.0 * n_levels * (m * size / (1.0 + m * size**2)) ** 2
            inner = np.maximum(np.abs(part.sd_slopes(x) / part.units), 0.3)
            counts = np.bincount(part.family.sd_of_row, minlength=part.family.n_sds)
            total[part.sd_places] = by_sd * counts * inner**2
            shares = (m * size**2 / (1.0 + m * size**2)).mean()
            total[part.z_places] = n_levels * part.family.size * shares**2 + _LEAST_INFORMATION
        return total

    def sizes(self, x: Array) -> Array:  # noqa: D102
        sizes = np.ones(len(x))
        for part in self._parts:
            sizes[part.sd_places] = np.abs(x[part.sd_places])
        return sizes

    def same_sign(self, x: Array) -> Array:  # noqa: D102
        x = x.copy()
        for part in self._parts:
            x[part.sd_places] = np.abs(x[part.sd_places])
            angles = x[part.z_places]
            x[part.z_places] = np.where(part.bends > 0, np.arcsin(np.sin(angles)), angles)
        return x

    def ends(self, x: Array) -> dict[int, float]:  # noqa: D102
        ends: dict[int, float] = {}
        for part in self._parts:
            relative = part.sds(x) / part.units
            places = np.arange(len(x))[part.sd_places]
            ends |= {int(i): 0.0 for i in places[relative < _BOUNDARY]}
            angles = x[part.z_places]
            near_end = (part.bends > 0) & (np.abs(np.cos(angles)) < _NEAR_END)
            places = np.arange(len(x))[part.z_places]
            for i, angle in zip(places[near_end], angles[near_end], strict=True):
                ends[int(i)] = float(np.pi * (np.floor(angle / np.pi) + 0.5))
        return ends


@dataclass(frozen=True, eq=False)
class _Part:
    """Rows of a term with one family: coordinates of SDs from ``start`` on, then angles."""

    rows: Index
    family: CovarianceStructure
    units: Array
    start: int

    @property
    def sd_places(self) -> slice:
        return slice(self.start, self.start + self.family.n_sds)

    @property
    def z_places(self) -> slice:
        return slice(self.sd_places.stop, self.sd_places.stop + self.family.n_corrs)

    @cached_property
    def power(self) -> int:
        return 1 if self.family.n_sds == 1 else 2

    @cached_property
    def bends(self) -> Array:
        """The c of each coordinate z = c atanh(sin x); 0 where z = x."""
        if not isinstance(self.family, Family):
            return np.ones(self.family.n_corrs)
        return np.array(
            [2.0 / one.steepness if isinstance(one, Interval) else 0.0 for one in self.family.maps]
        )

    def sds(self, x: Array) -> Array:
        return np.asarray(np.abs(x[..., self.sd_places]) ** self.power * self.units)

    def sd_slopes(self, x: Array) -> Array:
        own = x[self.sd_places]
        return np.asarray(np.sign(own) * self.units if self.power == 1 else 2.0 * own * self.units)

    def z(self, x: Array) -> Array:
        own = x[..., self.z_places]
        least = 1.0 / np.sinh(FARTHEST)
        folded = np.arcsinh(np.sin(own) / np.maximum(np.abs(np.cos(own)), least))
        return np.where(self.bends > 0, self.bends * folded, own)

    def z_slopes(self, x: Array) -> Array:
        own, z = x[self.z_places], self.z(x)
        turned = np.where(np.cos(own) < 0, -1.0, 1.0)
        steep = np.cosh(z / np.where(self.bends > 0, self.bends, np.inf))
        return np.where(self.bends > 0, self.bends * turned * steep, 1.0)

    def put(self, x: Array, sds: Array, corr: Array) -> None:
        """Write coordinates of SDs and of a correlation near the family, inside their ranges."""
        x[self.sd_places] = (sds / self.units) ** (1.0 / self.power)
        z = np.clip(self.family.coordinates(corr), -_LARGEST_START, _LARGEST_START)
        bends = np.where(self.bends > 0, self.bends, 1.0)
        x[self.z_places] = np.where(self.bends > 0, np.arctan(np.sinh(z / bends)), z)
