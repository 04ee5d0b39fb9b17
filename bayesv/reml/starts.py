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
_BOUNDS = np.concatenate([[0.0], _SIZES, [np.inf]])
_NONE = 2  # place of the correlation 0
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

    @cached_property
    def whole(self) -> tuple[Index, Array]:
        """All points, shape (size, 2 rows), and λ there, shape (size, d)."""
        places, counts = zip(*self.choices, strict=True)
        points = np.full((self.size, 2 * self.n_rows), _NONE, dtype=np.intp)
        points[:, places] = np.indices(counts).reshape(len(counts), -1).T
        return points, self.coordinates(points)

    def coordinates(self, points: Index) -> Array:
        """Return λ, shape (S, d), at points of the lattice, shape (S, 2 rows)."""
        size, corr = _SIZES[points[:, self.row]], _CORRELATIONS[points[:, self.n_rows + self.row]]
        share = np.where(self.diagonal, np.sqrt(1.0 - corr**2), corr)
        return np.asarray(np.where(self.used, size * share, 0.0))

    def same_cell(self, points: Index, x: Array) -> NDArray[np.bool_]:
        """Whether x lies between the neighbours of each point in every direction."""
        size = np.sqrt(np.bincount(self.row, x**2, self.n_rows))
        at_first = x[self.column == self.first[self.row]]
        diagonal = x[self.diagonal]
        corr = at_first * np.sign(diagonal[self.first]) / np.where(size > 0, size, 1.0)
        places = points[:, : self.n_rows]
        same = ((_BOUNDS[places] <= size) & (size <= _BOUNDS[places + 2])).all(axis=1)
        wanted = _CORRELATIONS[points[:, self.n_rows :]][:, self.correlated]
        # Where a row is next to nothing, its correlation is too.
        differs = (np.abs(wanted - corr[self.correlated]) > 1.0) & (size[self.correlated] > 0.1)
        return np.asarray(same & ~differs.any(axis=1))


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
        self._known: dict[Any, float] = {}  # values at points of the lattice

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
        most = value + _LOSS * max(lows[0] - value, 0.0) + _MORE
        elsewhere = (lows < value) | ~lattice.same_cell(points, known)
        valleys = x[(lows <= most) & elsewhere]
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
            lowest &= table == table.min(axis=axis, keepdims=True)
        found = np.flatnonzero(lowest)
        lows = table.ravel()[found]
        order = np.argsort(lows, kind="stable")
        return points[found[order]], x[found[order]], lows[order]

    def _valleys(self, n: int) -> tuple[Index, Array, Array]:
        """Return points that no change of one choice improves, λ there, and their values."""
        points = self._scattered(n)
        lows = self._values(points)
        for _ in range(_SWEEPS):
            before = lows.sum()
            for place, n_choices in self.lattice.choices:
                trials = np.repeat(points[:, None], n_choices, axis=1)
                trials[:, :, place] = np.arange(n_choices)
                values = self._values(trials.reshape(-1, points.shape[1])).reshape(-1, n_choices)
                best, lowest = values.argmin(axis=1), values.min(axis=1)
                better = lowest < lows
                points[better, place] = best[better]
                lows[better] = lowest[better]
            if lows.sum() == before:
                break
            kept = list(dict(zip(_keys(points), range(len(points)), strict=True)).values())
            points, lows = points[kept], lows[kept]
        order = np.argsort(lows, kind="stable")
        return points[order], self.lattice.coordinates(points[order]), lows[order]

    def _values(self, points: Index) -> Array:
        """Return the criterion at points of the lattice, (S,); searches meet, and ask once."""
        keys = _keys(points)
        new = {key: i for i, key in enumerate(keys) if key not in self._known}
        if new:
            values = self.values(self.lattice.coordinates(points[list(new.values())]))
            self._known.update(zip(new, values.tolist(), strict=True))
        return np.array([self._known[key] for key in keys])

    def _scattered(self, n: int) -> Index:
        """Return points with rows of one size, then with rows of any sizes; always the same."""
        rng = np.random.default_rng(0)
        points = np.full((n, 2 * self.lattice.n_rows), _NONE, dtype=np.intp)
        points[:, : self.lattice.n_rows] = np.arange(n)[:, None] % len(_SIZES)
        for place, n_choices in self.lattice.choices:
            points[len(_SIZES) :, place] = rng.integers(0, n_choices, max(n - len(_SIZES), 0))
        return points


def _keys(points: Index) -> list[Any]:
    """Return a key of each point, equal for equal ones."""
    kinds = np.dtype((np.void, points.shape[1]))
    keys: list[Any] = points.astype(np.int8).view(kinds).ravel().tolist()
    return keys
