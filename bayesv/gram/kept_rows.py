"""Statistics by residual parameters where rows are weighed anew: R⁻¹ as a sparse matrix."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import sparse

from bayesv.design.design import Design
from bayesv.design.residual import Index
from bayesv.design.row_covariances import RowCovariances
from bayesv.design.structured import Parameters, StructuredResidual
from bayesv.gram.arrange import gram_statistics
from bayesv.gram.chain import FactorSums, flattened
from bayesv.gram.layout import Layout
from bayesv.gram.pieces import Pieces, Precision
from bayesv.gram.residual_rows import ByResidual, Weighted, rows_without_residual
from bayesv.gram.scaling import RowBatch, times_inverse
from bayesv.gram.statistics import GramStatistics
from bayesv.gram.tables import Sums
from bayesv.linalg import Array

__all__ = ["KeptRows", "in_units"]


@dataclass(frozen=True, eq=False)
class KeptRows(ByResidual):
    """Rows W = [Z X y] in the units of the statistics, and the pattern of R⁻¹.

    An evaluation forms R⁻¹W, and sums up W'R⁻¹W by level. With Ā the derivative by the sums, in
    place for the level of a series, that by the elements of its R⁻¹ is WĀW'.

    Attributes
    ----------
    form : StructuredResidual
    stats : GramStatistics
        With R = σ²I.
    pieces : tuple of Pieces
    rows : RowCovariances
        Of a set of each pattern.
    log_weights : float
        Σ log w of known weights.
    columns : ndarray, shape (n, w)
        W: columns of the chain's factors, finest first, then [X y].
    units : tuple of ndarray of int, shape (n,)
        Unit of each row, for each factor of the chain.
    """

    form: StructuredResidual
    stats: GramStatistics
    pieces: tuple[Pieces, ...]
    rows: RowCovariances
    log_weights: float
    columns: Array
    units: tuple[Index, ...]

    @classmethod
    def of(cls, design: Design, pieces: tuple[Pieces, ...], elimination: str = "auto") -> KeptRows:
        """Keep the rows of a design whose layout has no border."""
        form, batch, log_weights = rows_without_residual(design)
        stats = gram_statistics(batch, elimination, dedupe=False)
        sets = [part.rows[part.first] for part in pieces]
        columns, units = in_units(batch, stats)
        rows = RowCovariances.of(form, sets)
        return cls(form, stats, pieces, rows, log_weights, columns, units)

    @cached_property
    def _elements(self) -> tuple[Index, Index, tuple[Index, ...]]:
        """Rows and columns of the elements of R⁻¹, and the place of each piece's, (N, T, T)."""
        n = len(self.columns)
        keys = [
            (part.rows[:, :, None] * np.int64(n) + part.rows[:, None, :]) for part in self.pieces
        ]
        seen, place = np.unique(np.concatenate([k.ravel() for k in keys]), return_inverse=True)
        stops = np.cumsum([k.size for k in keys])[:-1]
        i, j = np.divmod(seen, n)
        parts = zip(np.split(place.ravel(), stops), keys, strict=True)
        return i, j, tuple(own.reshape(key.shape) for own, key in parts)

    def at(self, parameters: Parameters) -> Weighted:
        """Return the statistics at parameters."""
        precision = Precision.at(self.pieces, self.rows, parameters)
        if np.isnan(precision.log_det):
            raise np.linalg.LinAlgError("R of some rows is not positive definite")
        i, j, places = self._elements
        values = np.zeros(len(i))
        for part, place, inverse in zip(self.pieces, places, precision.inverses, strict=True):
            elements = part.sign * inverse[part.pattern]
            values += np.bincount(place.ravel(), elements.ravel(), len(i))
        n = len(self.columns)
        indptr = np.searchsorted(i, np.arange(n + 1))
        P = sparse.csr_array((values, j, indptr), shape=(n, n))
        sums = self._summed(P @ self.columns)
        log_weights, total = self.log_weights - float(precision.log_det), float(sums.C[-1, -1])
        stats = GramStatistics(self.stats.layout, self.stats.fixed, sums, log_weights, total)

        def pullback(by_sums: Sums, by_log_det: float) -> Parameters:
            slopes = self._by_element(by_sums)
            bars = [
                part.sign * _by_pattern(slopes[place], part)
                for part, place in zip(self.pieces, places, strict=True)
            ]
            return precision.pullback(bars, by_log_det)

        return Weighted(stats, pullback)

    def _summed(self, weighted: Array) -> Sums:
        """Return the sums of W'(R⁻¹W)."""
        from bayesv.gram.rows import add_products  # compiled: loaded when it is needed

        m, parts, start = self.stats.p + 1, [], 0
        for factor, units in zip(self.stats.layout.chain, self.units, strict=True):
            J, stop = factor.n_units, start + factor.k
            left = np.ascontiguousarray(self.columns[:, start:stop])
            both = np.zeros((J, factor.k, factor.k + factor.width))
            add_products(units, left, np.ascontiguousarray(weighted[:, start:]), both)
            A = both[:, :, : factor.k]
            A = 0.5 * (A + np.swapaxes(A, 1, 2))
            parts.append(FactorSums(A, both[:, :, factor.k :], np.zeros((0, factor.k))))
            start = stop
        C = self.columns[:, -m:].T @ weighted[:, -m:]
        none = np.zeros((0, 0)), np.zeros((0, m))
        return Sums(*flattened(parts), *none, 0.5 * (C + C.T))

    def _by_element(self, by_sums: Sums) -> Array:
        """Return the derivative by each element of R⁻¹."""
        from bayesv.gram.rows import dots, times_blocks  # compiled: loaded when it is needed

        i, j, _ = self._elements
        blocks = _of_finest_unit(self.stats.layout, by_sums)
        units = self.units[0] if self.units else np.zeros(len(self.columns), np.intp)
        left, slopes = np.empty_like(self.columns), np.empty(len(i))
        times_blocks(units, self.columns, blocks, left)
        dots(i, j, left, self.columns, slopes)
        return slopes


def in_units(batch: RowBatch, stats: GramStatistics) -> tuple[Array, tuple[Index, ...]]:
    """Return W in the units of the statistics, and the unit of each row for each factor."""
    columns, units = [], []
    for factor in stats.layout.chain:
        grouping = batch.groupings[factor.term]
        columns.append(times_inverse(grouping.values, stats.bases[factor.term]))
        rank = np.empty(factor.n_units, dtype=np.intp)
        rank[factor.order] = np.arange(factor.n_units)
        units.append(rank[grouping.codes])
    fixed = stats.fixed
    X = batch.X[:, fixed.kept]
    rest = batch.y - X @ fixed.start
    return np.column_stack([*columns, times_inverse(X, fixed.upper), rest]), tuple(units)


def _of_finest_unit(layout: Layout, by_sums: Sums) -> Array:
    """Return the derivative by W'R⁻¹W of each unit of the finest factor, (J, w, w), symmetric."""
    m, chain = layout.p + 1, layout.chain
    w = sum(factor.k for factor in chain) + m
    units = np.arange(chain[0].n_units) if chain else np.zeros(1, np.intp)
    blocks, start = np.zeros((len(units), w, w)), 0
    for factor, part in zip(chain, layout.by_factor(by_sums), strict=True):
        stop = start + factor.k
        blocks[:, start:stop, start:stop] = part.A[units]
        half = 0.5 * part.H[units]
        blocks[:, start:stop, stop:] = half
        blocks[:, stop:, start:stop] = np.swapaxes(half, 1, 2)
        units, start = factor.parent[units], stop
    blocks[:, start:, start:] = by_sums.C
    return blocks


def _by_pattern(slopes: Array, part: Pieces) -> Array:
    """Return sums of (N, T, T) by pattern, (P, T, T), symmetric."""
    P, T = len(part.first), part.rows.shape[1]
    places = part.pattern[:, None] * T * T + np.arange(T * T)
    sums = np.bincount(places.ravel(), slopes.ravel(), P * T * T).reshape(P, T, T)
    return 0.5 * (sums + np.swapaxes(sums, 1, 2))
