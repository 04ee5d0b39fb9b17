"""Where else to start: lattice points in other valleys of the criterion, found by values alone."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, lru_cache
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesv.linalg import Array

__all__ = ["Lattice", "Screen", "lattice_of"]

Index = NDArray[np.intp]

# Size of a row of λ in column units of rms 1, and its correlation with the block's first row.
_SIZES = np.array([0.02, 0.15, 0.5, 1.5, 5.0, 20.0, 80.0])
_CORRELATIONS = np.array([-0.999, -0.9, 0.0, 0.9, 0.999])
_BOUNDS = [0.0, *_SIZES.tolist(), np.inf]
_NONE = 2  # place of the correlation 0
_DIAGONAL = np.outer(_SIZES, np.sqrt(1.0 - _CORRELATIONS**2)).ravel()
_AT_FIRST = np.outer(_SIZES, _CORRELATIONS).ravel()
_LARGEST = 1 << 62  # number of a point that is an integer of the machine
_SWEEPS = 6
# Of a valley's lowest lattice point, how far it may lie above a known minimum and still be worth a
# descent: so many times what the lowest of all lies above it, and so much more.
_LOSS, _MORE = 2.5, 4.0


@lru_cache(maxsize=64)
def lattice_of(row: tuple[int, ...], column: tuple[int, ...]) -> Lattice:
    """Return the lattice of coordinates in these rows and columns of λ, counted over all terms."""
    return Lattice(np.array(row), np.array(column))


class Lattice:
    """Few values of the size of each row of λ and of its correlation with its block's first row.

    Parameters
    ----------
    row, column : ndarray of int, shape (d,)
        Row and column of λ of every coordinate, counted over all terms.
    """

    def __init__(self, row: Index, column: Index) -> None:
        self.row, self.column = row, column
        self.n_rows = int(row.max()) + 1
        # The first column that a row reaches is that of its block's first row.
        self.first = np.array([column[row == i].min() for i in range(self.n_rows)])
        self.diagonal = row == column
        self.used = self.diagonal | (column == self.first[row])
        self.correlated = np.flatnonzero(self.first < np.arange(self.n_rows))
        self.choices: list[tuple[int, int]] = [
            *((i, len(_SIZES)) for i in range(self.n_rows)),
            *((self.n_rows + int(i), len(_CORRELATIONS)) for i in self.correlated),
        ]
        self.size = prod(n for _, n in self.choices)  # points of the lattice
        self.a_start = 3 * sum(n for _, n in self.choices)  # values of a search from one, about
        kind: Any = np.int64 if self.size < _LARGEST else object
        self.strides = np.zeros(2 * self.n_rows, dtype=kind)  # of the number of a point
        places, counts = zip(*self.choices, strict=True)
        self.strides[list(places)] = [prod(counts[i + 1 :]) for i in range(len(counts))]

    @cached_property
    def whole(self) -> tuple[Index, Array]:
        """All points, shape (size, 2 rows), and λ there, shape (size, d)."""
        places, counts = zip(*self.choices, strict=True)
        points = np.full((self.size, 2 * self.n_rows), _NONE, dtype=np.intp)
        points[:, places] = np.indices(counts).reshape(len(counts), -1).T
        return points, self.coordinates(points)

    def coordinates(self, points: Index) -> Array:
        """Return λ, shape (S, d), at points of the lattice, shape (S, 2 rows)."""
        # Of every coordinate, size × share of its row, by the places of both.
        places = points[:, self.row] * len(_CORRELATIONS) + points[:, self.n_rows + self.row]
        own = np.where(self.diagonal, _DIAGONAL[places], _AT_FIRST[places])
        return np.asarray(np.where(self.used, own, 0.0))

    def same_cell(self, x: Array) -> Callable[[Index], bool]:
        """Return whether x lies between the neighbours of a point in every direction."""
        size = np.sqrt(np.bincount(self.row, x**2, self.n_rows))
        at_first = x[self.column == self.first[self.row]]
        corr = at_first * np.sign(x[self.diagonal][self.first]) / np.where(size > 0, size, 1.0)
        sizes, n = size.tolist(), self.n_rows
        # Where a row is next to nothing, its correlation is too.
        told = [(n + i, float(corr[i])) for i in self.correlated.tolist() if sizes[i] > 0.1]

        def same(point: Index) -> bool:
            places = point.tolist()
            near = zip(places, sizes, strict=False)
            return all(_BOUNDS[p] <= own <= _BOUNDS[p + 2] for p, own in near) and not any(
                abs(_CORRELATIONS[places[i]] - wanted) > 1.0 for i, wanted in told
            )

        return same


class Screen:
    """Minimisation of a criterion over a coarse lattice, from many of its points at once.

    Parameters
    ----------
    values : callable
        The criterion at S points, shape (S,) for (S, d).
    lattice : Lattice
    """

    def __init__(self, values: Callable[[Array], Array], lattice: Lattice) -> None:
        self.values, self.lattice = values, lattice
        self._known: dict[int, float] = {}  # values at points of the lattice, by their numbers

    @property
    def values_a_start(self) -> int:
        """About how many values the search from one point takes, which no more than all take."""
        return min(self.lattice.a_start, self.lattice.size)

    def starts(self, n: int, known: Array, value: float, boundary: bool) -> Array:
        """Return lowest points of valleys, except that of a known minimum, the lowest first.

        From a minimum on the boundary, what it would be with one correlation of the other sign
        comes last.

        Parameters
        ----------
        n : int
            Points of the lattice to search from.
        known : ndarray, shape (d,)
        value : float
            Of the criterion at ``known``.
        boundary : bool
            Whether ``known`` is on the boundary.
        """
        lattice = self.lattice
        whole = lattice.size <= n * lattice.a_start
        points, x, lows = self._all_valleys() if whole else self._valleys(n)
        most = value + _LOSS * max(float(lows[0]) - value, 0.0) + _MORE
        same, near = lattice.same_cell(known), int(np.searchsorted(lows, most, side="right"))
        valleys = x[[i for i in range(near) if lows[i] < value or not same(points[i])]]
        if not boundary or not len(lattice.correlated):
            return np.asarray(valleys)
        beside_first = lattice.column < lattice.row
        below = (lattice.row == lattice.correlated[:, None]) & beside_first
        reversed_ = np.where(below, -known, known)
        return np.asarray(np.concatenate([valleys, reversed_[self.values(reversed_) <= most]]))

    def _all_valleys(self) -> tuple[Index, Array, Array]:
        """Return all points that no change of one choice improves, λ there, and their values."""
        points, x = self.lattice.whole
        table = self.values(x).reshape([n for _, n in self.lattice.choices])
        lowest = np.ones(table.shape, dtype=bool)
        for axis in range(table.ndim):
            lowest &= table == np.minimum.reduce(table, axis=axis, keepdims=True)
        found = np.flatnonzero(lowest)
        lows = table.ravel()[found]
        order = np.argsort(lows, kind="stable")
        return points[found[order]], x[found[order]], lows[order]

    def _valleys(self, n: int) -> tuple[Index, Array, Array]:
        """Return points that no change of one choice improves, λ there, and their values."""
        points = self._scattered(n)
        lows = self._values(points, points @ self.lattice.strides)
        for _ in range(_SWEEPS):
            before = lows.sum()
            for place, n_choices in self.lattice.choices:
                values = self._along(points, place, n_choices)
                best, lowest = values.argmin(axis=1), values.min(axis=1)
                better = lowest < lows
                points[better, place] = best[better]
                lows[better] = lowest[better]
            if lows.sum() == before:
                break
            numbers = (points @ self.lattice.strides).tolist()
            kept = list(dict(zip(numbers, range(len(points)), strict=True)).values())
            points, lows = points[kept], lows[kept]
        order = np.argsort(lows, kind="stable")
        return points[order], self.lattice.coordinates(points[order]), lows[order]

    def _along(self, points: Index, place: int, n: int) -> Array:
        """Return the criterion at S points with each of n choices in one place, (S, n)."""
        strides, choice = self.lattice.strides, np.arange(n)
        steps = (choice - points[:, place, None]).astype(strides.dtype)
        numbers = (points @ strides)[:, None] + strides[place] * steps
        trials = np.repeat(points, n, axis=0)
        trials[:, place] = np.tile(choice, len(points))
        return self._values(trials, numbers.ravel()).reshape(-1, n)

    def _values(self, points: Index, numbers: NDArray[Any]) -> Array:
        """Return the criterion at points with these numbers, (S,); searches meet, and ask once."""
        known, asked = self._known, numbers.tolist()
        new = {number: i for i, number in enumerate(asked) if number not in known}
        if new:
            values = self.values(self.lattice.coordinates(points[list(new.values())]))
            known.update(zip(new, values.tolist(), strict=True))
        return np.array([known[number] for number in asked])

    def _scattered(self, n: int) -> Index:
        """Return points with rows of one size, then with rows of any sizes; always the same."""
        rng = np.random.default_rng(0)
        points = np.full((n, 2 * self.lattice.n_rows), _NONE, dtype=np.intp)
        points[:, : self.lattice.n_rows] = np.arange(n)[:, None] % len(_SIZES)
        for place, n_choices in self.lattice.choices:
            points[len(_SIZES) :, place] = rng.integers(0, n_choices, max(n - len(_SIZES), 0))
        return points
