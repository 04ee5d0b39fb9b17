"""The statistics of one design for many responses: what does not depend on y is summed up once."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy import sparse

from bayesv.gram.statistics import GramStatistics
from bayesv.gram.units import Rows, times_inverse
from bayesv.linalg import Array

__all__ = ["Responses"]


@dataclass(frozen=True, eq=False)
class Responses:
    """Gram statistics with X'Wy, Z'Wy and y'Wy exchanged, at the cost of these three products.

    Attributes
    ----------
    stats : GramStatistics
        Of the same rows with any response.
    root : ndarray, shape (n,)
        W^½.
    Q : ndarray, shape (n, p)
        W^½X in the units of the statistics, orthonormal.
    Z : scipy.sparse.csr_array, shape (q, n)
        Z'W^½ in the units of the statistics, term by term.
    shapes : tuple of tuple of int
        Numbers of levels and columns of each term.
    """

    stats: GramStatistics
    root: Array
    Q: Array
    Z: sparse.csr_array
    shapes: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, rows: Rows, stats: GramStatistics) -> Responses:
        """Prepare for other responses of the rows that ``stats`` summed up."""
        n = len(rows.y)
        root = np.ones(n) if rows.weights is None else np.sqrt(rows.weights)
        Q = times_inverse(rows.X[:, stats.kept], stats.R) * root[:, None]
        parts = []
        for grouping, basis in zip(rows.groupings, stats.bases, strict=True):
            values = times_inverse(grouping.values, basis) * root[:, None]
            k = grouping.k
            at = grouping.codes[:, None] * k + np.arange(k)
            shape = (n, grouping.n_levels * k)
            columns = sparse.csr_array((values.ravel(), at.ravel(), np.arange(n + 1) * k), shape)
            parts.append(columns.T)
        Z = sparse.csr_array(sparse.vstack(parts, format="csr"))
        return cls(stats, root, Q, Z, tuple((g.n_levels, g.k) for g in rows.groupings))

    def statistics(self, y: Array) -> GramStatistics:
        """Return the statistics of a response.

        Parameters
        ----------
        y : ndarray, shape (n,)
            Response less the offset.

        Notes
        -----
        With W^½X = QR, start = R⁻¹Q'W^½y, and what is left of y is y − X start. Taking it off a
        second time removes the rounding of the first.
        """
        stats, Q = self.stats, self.Q
        rest = self.root * y
        total = float(rest @ rest)
        gamma = np.zeros(stats.p)
        for _ in range(2):
            step = Q.T @ rest
            gamma += step
            rest = rest - Q @ step
        C = stats.C.copy()
        C[:-1, -1] = C[-1, :-1] = Q.T @ rest
        C[-1, -1] = rest @ rest
        stops = np.cumsum([J * k for J, k in self.shapes])[:-1]
        parts = np.split(self.Z @ rest, stops)
        B = [part.reshape(shape) for part, shape in zip(parts, self.shapes, strict=True)]
        levels = []
        for level in stats.levels:
            H = level.H.copy()
            H[:, :, -1] = B[level.term][level.order]
            levels.append(replace(level, H=H))
        B_border = stats.B_border
        if stats.border:
            B_border = B_border.copy()
            B_border[:, -1] = np.concatenate([B[part.term].ravel() for part in stats.border])
        new = replace(
            stats,
            levels=tuple(levels),
            chain=stats.chain.with_couplings(levels),
            B_border=B_border,
            C=C,
            start=np.linalg.solve(stats.R, gamma),
            total=total,
        )
        new.__dict__["remembered"] = stats.remembered
        return new
