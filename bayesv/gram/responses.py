"""The statistics of one design for many responses: what does not depend on y is summed up once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise

import numpy as np
from scipy import sparse

from bayesv.design.residual import Residual
from bayesv.gram.scaling import Index, RowBatch, times_inverse
from bayesv.gram.statistics import GramStatistics
from bayesv.gram.tables import Sums
from bayesv.linalg import Array

__all__ = ["Responses"]


@dataclass(frozen=True, eq=False)
class Responses:
    """Gram statistics with X'Wy, Z'Wy and y'Wy exchanged, at the cost of these three products.

    Attributes
    ----------
    stats : GramStatistics
        Of the same rows with any response.
    residual : Residual
        R/σ² = W⁻¹.
    Q : ndarray, shape (n, p)
        W^½X in the units of the statistics, orthonormal.
    Z : scipy.sparse.csr_array, shape (q, n)
        Z'W^½ in the units of the statistics, term by term.
    shapes : tuple of tuple of int
        Numbers of levels and columns of each term.
    """

    stats: GramStatistics
    residual: Residual
    Q: Array
    Z: sparse.csr_array
    shapes: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, rows: RowBatch, stats: GramStatistics) -> Responses:
        """Prepare for other responses of the rows that ``stats`` summed up."""
        n = len(rows.y)
        whiten = rows.residual.whiten
        Q = whiten(times_inverse(rows.X[:, stats.fixed.kept], stats.fixed.upper))
        parts = [sparse.csr_array((0, n))]
        for grouping, basis in zip(rows.groupings, stats.bases, strict=True):
            values = whiten(times_inverse(grouping.values, basis))
            k = grouping.k
            places = grouping.codes[:, None] * k + np.arange(k)
            shape = (n, grouping.n_levels * k)
            starts = np.arange(n + 1) * k
            parts.append(sparse.csr_array((values.ravel(), places.ravel(), starts), shape).T)
        Z = sparse.csr_array(sparse.vstack(parts, format="csr"))
        shapes = tuple((g.n_levels, g.k) for g in rows.groupings)
        return cls(stats, rows.residual, Q, Z, shapes)

    def statistics(self, y: Array) -> GramStatistics:
        """Return the statistics of a response.

        Parameters
        ----------
        y : ndarray, shape (n,)
            Response less the offset.

        Notes
        -----
        With W^½X = QU, start = U⁻¹Q'W^½y, and what is left of y is y − X start. Taking it off a
        second time removes the rounding of the first.
        """
        stats, Q = self.stats, self.Q
        rest = self.residual.whiten(y)
        total = float(rest @ rest)
        gamma = np.zeros(stats.p)
        for _ in range(2):
            step = Q.T @ rest
            gamma += step
            rest = rest - Q @ step
        C = stats.sums.C.copy()
        C[:-1, -1] = C[-1, :-1] = Q.T @ rest
        C[-1, -1] = rest @ rest
        sums = self._with_products(self.Z @ rest)._replace(C=C)
        fixed = stats.fixed.with_start(gamma)
        new = replace(stats, fixed=fixed, sums=sums, total=total, parts=(), totals=())
        # Only couplings change: the rest need not be merged again.
        (H,) = stats.layout.merged_couplings([sums.H])
        new.__dict__.update(merged=sums._replace(A=stats.merged.A, H=H), squares=stats.squares)
        return new

    def _with_products(self, products: Array) -> Sums:
        """Return the sums with Z'Wy, shape (q,), of another response."""
        stats, layout = self.stats, self.stats.layout
        if any(L is not None for L in layout.loadings):
            terms = zip(self.slices, self.shapes, strict=True)
            products = np.concatenate(
                [
                    layout.from_levels(term, products[own].reshape(shape)).ravel()
                    for term, (own, shape) in enumerate(terms)
                ]
            )
        H = stats.sums.H.copy()
        to, of = self._places
        H[to] = products[of]
        if not layout.border:
            return stats.sums._replace(H=H)
        B_border = stats.sums.B_border.copy()
        B_border[:, -1] = np.concatenate([products[self.slices[t]] for t in layout.border_terms])
        return stats.sums._replace(H=H, B_border=B_border)

    @cached_property
    def slices(self) -> list[slice]:
        """Places of each term in Z'Wy."""
        stops = np.cumsum([0, *(J * k for J, k in self.shapes)]).tolist()
        return [slice(*ends) for ends in pairwise(stops)]

    @cached_property
    def _places(self) -> tuple[Index, Index]:
        """Where Z'Wy of the chain stands in `Sums.H`, and where each comes from."""
        layout, (to, of) = self.stats.layout, (list[Index](), list[Index]())
        everywhere = self.stats.sums._replace(H=np.arange(len(self.stats.sums.H), dtype=float))
        for factor, part in zip(layout.chain, layout.by_factor(everywhere), strict=True):
            own = np.arange(len(self.Z.indptr) - 1)[self.slices[factor.term]]
            to.append(part.H[:, :, -1].ravel().astype(np.intp))
            of.append(own.reshape(self.shapes[factor.term])[factor.order].ravel())
        none = np.zeros(0, dtype=np.intp)
        return np.concatenate([none, *to]), np.concatenate([none, *of])
