"""M⁻¹ by Krylov spaces, with the face of a factor: M of crossed factors whose factor would fill."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from bayesv.design.design import Design
from bayesv.errors import DataError
from bayesv.gram import EIGHT, krylov
from bayesv.linalg import Array

__all__ = ["IterativeFactor", "crossed_columns"]

_TOLERANCE = 1e-12  # of residuals, relative
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
        1 over the root of the diagonal of what elimination leaves at the rest.
    """

    first: NDArray[np.intp]
    rest: NDArray[np.intp]
    inverse: sparse.csr_array
    between: sparse.csr_array
    within: sparse.csr_array
    scale: Array

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
        return cls(first, rest, inverse, between, within, scale)

    def solve(self, b: Array) -> Array:
        """Return M⁻¹b, b of shape (q,) or (q, m)."""
        columns = b.reshape(len(b), -1)
        x = np.empty(columns.shape)
        for start in range(0, columns.shape[1], EIGHT):
            part = columns[:, start : start + EIGHT]
            x[:, start : start + EIGHT] = self._solve(part)
        return x.reshape(b.shape)

    def _solve(self, b: Array) -> Array:
        below = self.inverse @ b[self.first]
        sides = np.zeros((len(self.rest), EIGHT))
        sides[:, : b.shape[1]] = self.scale[:, None] * (b[self.rest] - self.between @ below)
        space = krylov(self._times, sides, np.full(EIGHT, _TOLERANCE), _MOST_STEPS)
        if space.residual > 1e-6:
            raise DataError(
                f"V⁻¹ of crossed grouping factors did not converge in {_MOST_STEPS} steps "
                f"(residual {space.residual:.1g}): the random effects' variances are too large "
                "beside sigma2."
            )
        x = np.empty(b.shape)
        x[self.rest] = self.scale[:, None] * space.apply(np.reciprocal)[:, : b.shape[1]]
        x[self.first] = below - self.inverse @ (self.between.T @ x[self.rest])
        return x

    def _times(self, x: Array) -> Array:
        """Return what elimination of the largest term leaves, scaled, times x."""
        w = self.scale[:, None] * x
        product = self.within @ w - self.between @ (self.inverse @ (self.between.T @ w))
        return np.asarray(self.scale[:, None] * product)

    @property
    def U(self) -> sparse.dia_array:
        """There is none.

        Raises
        ------
        DataError
        """
        raise DataError(
            "log|V| of crossed grouping factors with so many levels is not computed from V: its "
            "factor would fill. fit.criterion has it, by probes."
        )
