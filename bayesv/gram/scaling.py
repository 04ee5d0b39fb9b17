"""Rows as numbers, and coordinates of [Z X y] in which sums of products keep their digits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import sqrt

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_triangular

from bayesv.design.residual import Residual
from bayesv.linalg import Array, independent_columns
from bayesv.structures.level_root import LevelRoot
from bayesv.support.memory import refuse_unless

__all__ = ["Grouping", "Index", "RowBatch", "Scaling", "Triangles", "times_inverse"]

Index = NDArray[np.intp]

_SAMPLE = 1 << 18  # rows that are enough to find good units; exactness does not depend on them
_NARROW = 6  # columns
_ROUNDING = 1e-14  # of a column's size
_COPIES = 6  # of the columns, while they are orthogonalised


@dataclass(frozen=True, eq=False)
class Grouping:
    """One grouping factor.

    Attributes
    ----------
    codes : ndarray of int, shape (n,)
        Level of each row.
    values : ndarray, shape (n, k)
        Columns that vary over levels.
    n_levels : int
    blocks : tuple of tuple of int
        Which columns are correlated with each other.
    root : LevelRoot, optional
        Of the known relationship of the levels; None if they are not related.
    """

    codes: Index
    values: Array
    n_levels: int
    blocks: tuple[tuple[int, ...], ...]
    root: LevelRoot | None = None

    @property
    def k(self) -> int:
        """Number of columns."""
        return int(self.values.shape[1])

    def take(self, rows: slice | Index) -> Grouping:
        """Return the grouping of some of the rows."""
        return replace(self, codes=self.codes[rows], values=self.values[rows])


@dataclass(frozen=True, eq=False)
class RowBatch:
    """A batch of rows.

    Attributes
    ----------
    X : ndarray, shape (n, p)
    y : ndarray, shape (n,)
        Response less offset.
    residual : Residual
        R/σ²; its independent families only, whose w weigh the products.
    groupings : tuple of Grouping
        One per random term.
    """

    X: Array
    y: Array
    residual: Residual
    groupings: tuple[Grouping, ...]

    def take(self, rows: slice | Index) -> RowBatch:
        """Return some of the rows."""
        return RowBatch(
            self.X[rows],
            self.y[rows],
            self.residual.take(rows),
            tuple(g.take(rows) for g in self.groupings),
        )


@dataclass(frozen=True, eq=False)
class Scaling:
    """Coordinates found from rows: X nearly orthonormal, y nearly a residual.

    Offsets and scales of columns then cost no digits. Random columns that are correlated with each
    other are nearly orthonormal, too: a random slope over x far from 0 is nearly collinear with its
    intercept. Only correlated columns may be mixed, because Λ must stay as free as λ.

    Attributes
    ----------
    upper : ndarray, shape (p, p)
        U, upper triangular; the columns in these units are X U⁻¹.
    gamma : ndarray, shape (p,)
        The response in these units is y − X U⁻¹γ.
    bases : tuple of ndarray, shape (k, k)
        Random columns as given are those in these units times the basis.
    """

    upper: Array
    gamma: Array
    bases: tuple[Array, ...]

    @classmethod
    def of(cls, rows: RowBatch) -> Scaling:
        """Return good units for rows like these."""
        rows = rows.take(slice(None, None, -(-len(rows.y) // _SAMPLE)))
        return Triangles.of(rows).scaling([g.blocks for g in rows.groupings])

    def fixed(self, X: Array, y: Array) -> Array:
        """Return [X y] in these units, shape (n, p + 1)."""
        E = times_inverse(X, self.upper)
        return np.column_stack([E, y - E @ self.gamma])

    def columns(self, f: int, values: Array) -> Array:
        """Return the columns of random term f in these units, shape (n, k)."""
        return times_inverse(values, self.bases[f])


@dataclass(frozen=True, eq=False)
class Triangles:
    """Triangular factors of columns over rows; those of two parts of the rows add up.

    They have all digits of the columns, where sums of products have those of the squares.

    Attributes
    ----------
    n : int
        Number of rows.
    fixed : ndarray, shape (≤ p + 2, p + 2)
        R of W^½[1 X y] = QR.
    random : tuple of ndarray, shape (≤ k + 1, k + 1)
        R of [1 Z] of the columns of each random term.
    """

    n: int
    fixed: Array
    random: tuple[Array, ...]

    @classmethod
    def of(cls, rows: RowBatch) -> Triangles:
        """Return the factors of rows."""
        n = len(rows.y)
        columns = max([rows.X.shape[1], *(g.k for g in rows.groupings)])
        refuse_unless(
            8.0 * _COPIES * n * (columns + 2.0),
            f"The QR of {columns:,} columns of {n:,} rows",
            "Use fewer columns, or read the data in batches.",
        )
        ones = np.ones(n)
        fixed = rows.residual.whiten(np.column_stack([ones, rows.X, rows.y]))
        random = [np.column_stack([ones, g.values]) for g in rows.groupings]
        return cls(n, _triangle(fixed), tuple(map(_triangle, random)))

    def __add__(self, other: Triangles) -> Triangles:
        return Triangles(
            self.n + other.n,
            _triangle(self.fixed, other.fixed),
            tuple(_triangle(a, b) for a, b in zip(self.random, other.random, strict=True)),
        )

    @property
    def independent(self) -> Index:
        """Columns of X that those before them do not determine."""
        return independent_columns(self.fixed[:, 1:-1], self.fixed[:, 0])

    def of_columns(self, kept: Index) -> Triangles:
        """Return the factors with some columns of X only."""
        last = self.fixed.shape[1] - 1
        return replace(self, fixed=_triangle(self.fixed[:, [0, *(1 + kept), last]]))

    def scaling(
        self, blocks: Sequence[Sequence[Sequence[int]]], *, of_a_part: bool = False
    ) -> Scaling:
        """Return good units.

        Parameters
        ----------
        blocks : sequence
            For each random term, which of its columns are correlated with each other.
        of_a_part : bool
            Whether sums in these units will be brought to units of more rows. Otherwise Λ is in
            them, and random columns that others determine are only scaled: effects of what is left
            of them by rounding would have any size.
        """
        units = _units(self.fixed[:, 1:], self.n)
        bases = []
        for triangle, correlated in zip(self.random, blocks, strict=True):
            basis = np.eye(triangle.shape[1] - 1)
            for block in correlated:
                columns = np.array(block)
                part, ones = triangle[:, 1 + columns], triangle[:, 0]
                kept = None if of_a_part else independent_columns(part, ones)
                basis[np.ix_(columns, columns)] = _units(part, self.n, kept)
            bases.append(basis)
        return Scaling(units[:-1, :-1], units[:-1, -1], tuple(bases))


def _triangle(*parts: Array) -> Array:
    return np.asarray(np.linalg.qr(np.vstack(parts), mode="r"))


def _units(columns: Array, n: int, kept: Index | None = None) -> Array:
    """Return the upper triangle U for which columns U⁻¹ have mean square 1 over n rows.

    A column that those before determine to rounding has its own size for unit, and the others
    nothing of it: what these rows leave of it says nothing, and other rows may leave more. Columns
    that are not kept are only scaled.

    Notes
    -----
    Gram–Schmidt, twice for accuracy. Unlike Householder's triangle it has no row of a column that
    is determined, which would take its part of later columns along.
    """
    m, p = columns.shape
    upper, basis = np.zeros((p, p)), np.zeros((m, p))
    for j in range(p):
        rest = columns[:, j].copy()
        size = sqrt(rest @ rest)
        if kept is not None and j not in kept:
            upper[j, j] = size
            continue
        for _ in range(2):
            part = basis.T @ rest
            rest -= basis @ part
            upper[:, j] += part
        left = sqrt(rest @ rest)
        if left > _ROUNDING * size:
            basis[:, j] = rest / left
        upper[j, j] = left if left > _ROUNDING * size else size
    upper /= np.sqrt(n)
    upper[np.diag_indices(p)] += np.diagonal(upper) == 0.0
    return upper


def times_inverse(X: Array, upper: Array) -> Array:
    """Return X U⁻¹ for an upper triangular U."""
    if len(upper) <= _NARROW:
        # Column by column over all rows: LAPACK is slow for so few unknowns in so many rows.
        columns = np.empty(X.shape)
        for j in range(len(upper)):
            rest = X[:, j] - sum(columns[:, i] * upper[i, j] for i in range(j) if upper[i, j])
            columns[:, j] = rest / upper[j, j]
        return columns
    return np.ascontiguousarray(solve_triangular(upper, X.T, trans="T", check_finite=False).T)
