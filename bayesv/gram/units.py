"""Rows as numbers, and coordinates of [Z X y] in which sums of products keep their digits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_triangular

from bayesv.linalg import Array, independent_columns

__all__ = ["Grouping", "Index", "Rows", "Units", "times_inverse"]

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
    """

    codes: Index
    values: Array
    n_levels: int
    blocks: tuple[tuple[int, ...], ...]

    @property
    def k(self) -> int:
        """Number of columns."""
        return int(self.values.shape[1])

    def take(self, rows: slice | Index) -> Grouping:
        """Return the grouping of some of the rows."""
        return Grouping(self.codes[rows], self.values[rows], self.n_levels, self.blocks)


@dataclass(frozen=True, eq=False)
class Rows:
    """A batch of rows.

    Attributes
    ----------
    X : ndarray, shape (n, p)
    y : ndarray, shape (n,)
        Response less offset.
    weights : ndarray, shape (n,), or None
        Known w in R = σ² diag(1/w).
    groupings : tuple of Grouping
        One per random term.
    """

    X: Array
    y: Array
    weights: Array | None
    groupings: tuple[Grouping, ...]

    def take(self, at: slice | Index) -> Rows:
        """Return some of the rows."""
        return Rows(
            self.X[at],
            self.y[at],
            None if self.weights is None else self.weights[at],
            tuple(g.take(at) for g in self.groupings),
        )


@dataclass(frozen=True, eq=False)
class Units:
    """Coordinates found from a first batch of rows: X nearly orthonormal, y nearly a residual.

    Offsets and scales of columns then cost no digits. Random columns that are correlated with each
    other are nearly orthonormal, too: a random slope over x far from 0 is nearly collinear with its
    intercept. Only correlated columns may be mixed, because Λ must stay as free as λ.

    Attributes
    ----------
    R : ndarray, shape (p, p)
        Upper triangular; the columns in these units are X R⁻¹.
    gamma : ndarray, shape (p,)
        The response in these units is y − X R⁻¹γ.
    bases : tuple of ndarray, shape (k, k)
        Random columns as given are those in these units times the basis.
    """

    R: Array
    gamma: Array
    bases: tuple[Array, ...]

    @classmethod
    def of(cls, rows: Rows) -> Units:
        """Return good units for rows like these."""
        rows = rows.take(slice(None, None, -(-len(rows.y) // _SAMPLE)))
        root = 1.0 if rows.weights is None else np.sqrt(rows.weights)[:, None]
        R = _triangle(rows.X, root)
        E = times_inverse(rows.X, R) * root
        target = rows.y[:, None] * root
        gamma = np.zeros((R.shape[1], 1))
        for _ in range(2):  # the second pass removes the rounding of the first
            gamma += np.linalg.lstsq(E.T @ E, E.T @ (target - E @ gamma))[0]
        return cls(R, gamma[:, 0], tuple(_basis(g.values, g.blocks) for g in rows.groupings))

    def fixed(self, X: Array, y: Array) -> Array:
        """Return [X y] in these units, shape (n, p + 1)."""
        E = times_inverse(X, self.R)
        return np.column_stack([E, y - E @ self.gamma])

    def columns(self, f: int, values: Array) -> Array:
        """Return the columns of random term f in these units, shape (n, k)."""
        return times_inverse(values, self.bases[f])


def _triangle(X: Array, root: Array | float = 1.0) -> Array:
    """R of QR = root X, scaled to mean square 1; columns not determined are only scaled.

    ``root``, (n, 1), are roots of weights.
    """
    n, p = X.shape
    full = np.zeros((p, p))
    # Coordinates of the ones and of all columns among orthonormal ones
    triangle = np.linalg.qr(np.column_stack([np.ones(n), X]) * root, mode="r") / np.sqrt(n)
    coordinates = triangle[:, 1:]
    R = np.linalg.qr(coordinates, mode="r")
    full[: len(R)] = R * np.where(np.diagonal(R) < 0, -1.0, 1.0)[:, None]
    size = np.sqrt((full**2).sum(axis=0))
    for j in np.setdiff1d(np.arange(p), independent_columns(coordinates, triangle[:, 0])):
        full[j] = 0.0
        full[:, j] = 0.0
        full[j, j] = size[j] if size[j] > 0 else 1.0
    return full


def _basis(values: Array, blocks: Sequence[Sequence[int]]) -> Array:
    basis = np.eye(values.shape[1])
    for block in blocks:
        at = np.array(block)
        R = _triangle(values[:, at])
        basis[np.ix_(at, at)] = R
    return basis


def times_inverse(X: Array, R: Array) -> Array:
    """Return X R⁻¹ for an upper triangular R."""
    if len(R) <= _NARROW:
        # Column by column over all rows: LAPACK is slow for so few unknowns in so many rows.
        out = np.empty(X.shape)
        for j in range(len(R)):
            rest = X[:, j] - sum(out[:, i] * R[i, j] for i in range(j) if R[i, j])
            out[:, j] = rest / R[j, j]
        return out
    return np.ascontiguousarray(solve_triangular(R, X.T, trans="T", check_finite=False).T)
