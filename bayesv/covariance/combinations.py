"""Combinations of random effects, with what the largest term takes part in computed by level."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from bayesv.covariance.iterative_factor import IterativeFactor
from bayesv.linalg import Array

__all__ = ["Combinations"]

Index = NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Combinations:
    """Rows of A, the diagonal of whose AM⁻¹A' is wanted: that of FDF' + CS⁻¹C', C = rest − FP.

    F has the effects of the largest term, which is eliminated, and P what they stand for among the
    rest. A level that meets many others has a long row of P, and many rows of A: C is never made.

    Attributes
    ----------
    rows : ndarray of int, shape (m,)
        Which of the rows they are.
    F : scipy.sparse array, shape (m, columns)
    rest : scipy.sparse array, shape (m, q)
        Scaled, as S is.
    P : scipy.sparse array, shape (columns, q)
    D : scipy.sparse array, shape (columns, columns)
        M⁻¹ of the largest term by itself.
    """

    rows: Index
    F: sparse.csr_array
    rest: sparse.csr_array
    P: sparse.csr_array
    D: sparse.csr_array

    @classmethod
    def of(cls, parts: IterativeFactor, A: sparse.csr_array) -> Combinations:
        """Return all rows of A."""
        scale = sparse.diags_array(parts.scale)
        P = sparse.csr_array(parts.inverse @ parts.between.T @ scale)
        rest = sparse.csr_array(A[:, parts.rest] @ scale)
        return cls(np.arange(A.shape[0]), A[:, parts.first], rest, P, parts.inverse)

    def take(self, rows: Index) -> Combinations:
        """Return some of the rows, with what of P and D they need."""
        F = sparse.csr_array(self.F[rows])
        used, columns = np.unique(F.indices, return_inverse=True)
        F = sparse.csr_array((F.data, columns, F.indptr), shape=(len(rows), len(used)))
        D = sparse.csr_array(self.D[used][:, used])
        return Combinations(self.rows[rows], F, self.rest[rows], self.P[used], D)

    def batches(self, columns: int, rows: int) -> Iterator[Combinations]:
        """Yield all rows, with so many columns of the largest term and so many rows at a time."""
        n = np.diff(self.F.indptr)
        first = np.full(len(n), -1, dtype=np.intp)
        first[n > 0] = self.F.indices[self.F.indptr[:-1][n > 0]]
        order = np.argsort(first, kind="stable")
        widest = max(int(n.max(initial=1)), 1)
        level = np.cumsum(np.diff(first[order], prepend=-1) != 0)
        batch = level // max(columns // widest, 1)
        for some in np.split(order, np.flatnonzero(np.diff(batch)) + 1):
            for start in range(0, len(some), max(rows, 1)):
                yield self.take(some[start : start + max(rows, 1)])

    def known(self) -> Array:
        """Return the diagonal of FDF', shape (m,)."""
        return np.asarray((self.F @ self.D).multiply(self.F).sum(axis=1)).ravel()

    def times(self, M: Array) -> Array:
        """Return CM, shape (m, columns of M)."""
        return np.asarray(self.rest @ M - self.F @ (self.P @ M))

    def squares(self) -> Array:
        """Return the squares of the rows of C added up, shape (m,)."""
        own, (row, x, y) = self.rest.multiply(self.rest).sum(axis=1), _pairs(self.F, self.rest)
        met = np.asarray(self.P[self.F.indices[x], self.rest.indices[y]]).ravel()
        crossed = np.bincount(row, self.F.data[x] * self.rest.data[y] * met, len(self.rows))
        return np.asarray(own).ravel() - 2.0 * crossed + self._of_levels(self.P)

    def forms(self, inverse: Array) -> Array:
        """Return the diagonal of CS⁻¹C' given S⁻¹, shape (m,)."""
        Y, m = self.P @ inverse, len(self.rows)
        row, x, y = _pairs(self.rest, self.rest)
        among = inverse[self.rest.indices[x], self.rest.indices[y]]
        own = np.bincount(row, self.rest.data[x] * self.rest.data[y] * among, m)
        row, x, y = _pairs(self.F, self.rest)
        met = Y[self.F.indices[x], self.rest.indices[y]]
        crossed = np.bincount(row, self.F.data[x] * self.rest.data[y] * met, m)
        return own - 2.0 * crossed + self._of_levels(Y)

    def _of_levels(self, Y: Array | sparse.csr_array) -> Array:
        """Return the diagonal of FPY'F', shape (m,)."""
        row, x, y = _pairs(self.F, self.F)
        size = len(self.P.indptr)
        pair = self.F.indices[x].astype(np.int64) * size + self.F.indices[y]
        different, which = np.unique(pair, return_inverse=True)
        products = self.P[different // size].multiply(Y[different % size]).sum(axis=1)
        met = np.asarray(products).ravel()[which]
        return np.bincount(row, self.F.data[x] * self.F.data[y] * met, len(self.rows))


def _pairs(one: sparse.csr_array, other: sparse.csr_array) -> tuple[Index, Index, Index]:
    """Return row, and places in both, of all pairs of numbers of the same row."""
    n = np.diff(other.indptr)
    counts = np.diff(one.indptr) * n
    row = np.repeat(np.arange(len(counts)), counts)
    within = np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts)
    x, y = np.divmod(within, np.maximum(n[row], 1))
    return row, one.indptr[row] + x, other.indptr[row] + y
