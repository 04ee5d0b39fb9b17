"""M⁻¹ by Krylov spaces, with the face of a factor: M of crossed factors whose factor would fill."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.linalg import block_diag

from bayesv.design.design import Design
from bayesv.errors import DataError
from bayesv.gram import EIGHT, krylov
from bayesv.linalg import Array

__all__ = ["IterativeFactor", "crossed_columns"]

_TOLERANCE = 1e-12  # of residuals, relative
_SOLVED = 1e-6  # residuals that are called solutions
_MOST_STEPS = 1000


def crossed_columns(design: Design) -> int:
    """Return the number of columns of terms that are crossed with the largest one."""
    terms = sorted(design.terms, key=lambda term: -term.n_levels * term.n_columns)
    if not terms:
        return 0
    inner, crossed = terms[0], 0
    for term in sorted(terms[1:], key=lambda term: -term.n_levels):
        above = np.zeros(inner.n_levels, dtype=np.intp)
        above[inner.codes] = term.codes
        if (above[inner.codes] == term.codes).all():
            inner = term
        else:
            crossed += term.n_levels * term.n_columns
    return crossed


@dataclass(frozen=True, eq=False)
class IterativeFactor:
    """Solves with M = I + N'N: the largest term is eliminated, the rest are solved for.

    Attributes
    ----------
    first, rest : ndarray of int
        Columns of the largest term, and all others.
    inverse : scipy.sparse array
        Of M at the first, block by block.
    between : scipy.sparse array
        M at the rest and the first.
    within : scipy.sparse array
        M at the rest.
    scale : ndarray
        1 over the root of the diagonal of what elimination leaves at the rest, S.
    flat : ndarray, shape (rest, K)
        Constants of each column of each term, over ``scale``: nearly in the null space of S scaled.
    """

    first: NDArray[np.intp]
    rest: NDArray[np.intp]
    inverse: sparse.csr_array
    between: sparse.csr_array
    within: sparse.csr_array
    scale: Array
    flat: Array

    @classmethod
    def of(cls, design: Design, N: sparse.csr_array) -> IterativeFactor:
        """Prepare for solves with I + N'N of N, shape (n, q), whose columns are those of terms."""
        q = N.shape[1]
        M = sparse.csr_array(N.T @ N + sparse.eye_array(q))
        sizes = [term.n_levels * term.n_columns for term in design.terms]
        largest = int(np.argmax(sizes))
        k, start = design.terms[largest].n_columns, sum(sizes[:largest])
        first = np.arange(start, start + sizes[largest])
        rest = np.setdiff1d(np.arange(q), first)
        own = M[first][:, first].tobsr((k, k))
        own.sort_indices()
        inverse = sparse.bsr_array(
            (np.linalg.inv(own.data), own.indices, own.indptr), shape=own.shape
        ).tocsr()
        between, within = sparse.csr_array(M[rest][:, first]), sparse.csr_array(M[rest][:, rest])
        lost = np.asarray(between.multiply(between @ inverse).sum(axis=1)).ravel()
        scale = 1.0 / np.sqrt(within.diagonal() - lost)
        constants = [np.tile(np.eye(term.n_columns), (term.n_levels, 1)) for term in design.terms]
        del constants[largest]
        flat = block_diag(*constants) if constants else np.zeros((0, 0))
        return cls(first, rest, inverse, between, within, scale, flat / scale[:, None])

    def solve(self, b: Array) -> Array:
        """Return M⁻¹b, b of shape (q,) or (q, m)."""
        columns = b.reshape(len(b), -1)
        below = self.inverse @ columns[self.first]
        sides = self.scale[:, None] * (columns[self.rest] - self.between @ below)
        x = np.empty(columns.shape)
        x[self.rest] = self.scale[:, None] * self.solve_scaled(sides)
        x[self.first] = below - self.inverse @ (self.between.T @ x[self.rest])
        return x.reshape(b.shape)

    def solve_scaled(self, b: Array) -> Array:
        """Return the inverse of S, scaled, times b, shape (rest, m)."""
        m, x = b.shape[1], np.empty(b.shape)
        for start in range(0, m, EIGHT):
            some = b[:, start : start + EIGHT]
            sides = np.zeros((len(b), EIGHT))
            sides[:, : some.shape[1]] = some
            space = krylov(self._times, sides, np.full(EIGHT, _TOLERANCE), _MOST_STEPS)
            if space.residual > _SOLVED:
                raise DataError(
                    "V⁻¹ of crossed grouping factors did not converge in "
                    f"{len(space.alpha)} steps (residual {space.residual:.1g}): the random "
                    "effects' variances are too large beside sigma2."
                )
            x[:, start : start + EIGHT] = space.apply(np.reciprocal)[:, : some.shape[1]]
        return x

    def scaled(self) -> sparse.csr_array:
        """Return S, scaled to a diagonal of ones."""
        S = self.within - self.between @ self.inverse @ self.between.T
        scale = sparse.diags_array(self.scale)
        return sparse.csr_array(scale @ S @ scale)

    def _times(self, x: Array) -> Array:
        """Return what elimination of the largest term leaves, scaled, times x."""
        w = self.scale[:, None] * x
        product = self.within @ w - self.between @ (self.inverse @ (self.between.T @ w))
        return np.asarray(self.scale[:, None] * product)
