"""Rows as numbers, and coordinates of [Z X y] in which sums of products keep their digits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_triangular

from bayesv.design.residual import Homoscedastic, Residual
from bayesv.linalg import Array, independent_columns
from bayesv.structures.level_root import LevelRoot

__all__ = ["Grouping", "Index", "RowBatch", "Scaling", "times_inverse"]

Index = NDArray[np.intp]

_SAMPLE = 1 << 18  # rows that are enough to find good units; exactness does not depend on them
_NARROW = 6  # columns


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
    """Coordinates found from a first batch of rows: X nearly orthonormal, y nearly a residual.

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
        whiten = rows.residual.whiten
        upper = _triangle(rows.X, rows.residual)
        E = whiten(times_inverse(rows.X, upper))
        target = whiten(rows.y[:, None])
        gamma = np.zeros((upper.shape[1], 1))
        for _ in range(2):  # the second pass removes the rounding of the first
            gamma += np.linalg.lstsq(E.T @ E, E.T @ (target - E @ gamma))[0]
        return cls(upper, gamma[:, 0], tuple(_basis(g.values, g.blocks) for g in rows.groupings))

    def fixed(self, X: Array, y: Array) -> Array:
        """Return [X y] in these units, shape (n, p + 1)."""
        E = times_inverse(X, self.upper)
        return np.column_stack([E, y - E @ self.gamma])

    def columns(self, f: int, values: Array) -> Array:
        """Return the columns of random term f in these units, shape (n, k)."""
        return times_inverse(values, self.bases[f])


def _triangle(X: Array, residual: Residual) -> Array:
    """U of QU = W^½X, scaled to mean square 1; columns not determined are only scaled."""
    n, p = X.shape
    full = np.zeros((p, p))
    # Coordinates of the ones and of all columns among orthonormal ones
    white = residual.whiten(np.column_stack([np.ones(n), X]))
    triangle = np.linalg.qr(white, mode="r") / np.sqrt(n)
    coordinates = triangle[:, 1:]
    upper = np.linalg.qr(coordinates, mode="r")
    full[: len(upper)] = upper * np.where(np.diagonal(upper) < 0, -1.0, 1.0)[:, None]
    size = np.sqrt((full**2).sum(axis=0))
    for j in np.setdiff1d(np.arange(p), independent_columns(coordinates, triangle[:, 0])):
        full[j] = 0.0
        full[:, j] = 0.0
        full[j, j] = size[j] if size[j] > 0 else 1.0
    return full


def _basis(values: Array, blocks: Sequence[Sequence[int]]) -> Array:
    basis = np.eye(values.shape[1])
    for block in blocks:
        columns = np.array(block)
        basis[np.ix_(columns, columns)] = _triangle(values[:, columns], Homoscedastic(len(values)))
    return basis


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
