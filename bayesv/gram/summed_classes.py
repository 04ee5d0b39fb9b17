"""Statistics by residual parameters as linear combinations of sums over classes of rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from bayesv.design.design import Design
from bayesv.design.residual import Homoscedastic, Index
from bayesv.design.row_covariances import RowCovariances
from bayesv.design.structured import Parameters, StructuredResidual
from bayesv.gram.arrange import arrange
from bayesv.gram.many import eliminate_many
from bayesv.gram.moments import Moments, accumulate
from bayesv.gram.pieces import Pieces, Precision
from bayesv.gram.residual_rows import ByResidual, Weighted, rows_without_residual
from bayesv.gram.scaling import RowBatch, Scaling
from bayesv.gram.statistics import GramStatistics, keeps_digits
from bayesv.gram.tables import Sums
from bayesv.linalg import Array

__all__ = ["SummedClasses"]


@dataclass(frozen=True, eq=False)
class SummedClasses(ByResidual):
    """Sums over classes of rows and of differences of rows: rows are not needed afterwards.

    Products w_s w_t' + w_t w_s' are w_s w_s' + w_t w_t' less the square of w_s − w_t, so that with
    P = R⁻¹ of a set of rows Σ_st P_st w_s w_t' = Σ_s (Σ_t P_st) w_s w_s' − Σ_{s<t} P_st d_st d_st'.
    Sets of the same pattern share P, and only the sums of their squares are kept.

    Attributes
    ----------
    form : StructuredResidual
    stats : GramStatistics
        With a sum for each class.
    pieces : tuple of Pieces
    rows : RowCovariances
        Of a set of each pattern.
    log_weights : float
        Σ log w of known weights.
    """

    form: StructuredResidual
    stats: GramStatistics
    pieces: tuple[Pieces, ...]
    rows: RowCovariances
    log_weights: float

    summed: ClassVar[bool] = True

    @classmethod
    def of(
        cls, design: Design, pieces: tuple[Pieces, ...], elimination: str = "auto"
    ) -> SummedClasses:
        """Sum up the rows of a design with structured residuals."""
        form, batch, log_weights = rows_without_residual(design)
        scaling = Scaling.of(batch)
        parts, reference = list[Moments](), list[float]()
        for part in pieces:
            for rows, other, coefficient in _classes(part):
                moments = accumulate(_derived(batch, rows, other), scaling)
                n = 0 if parts else design.n
                parts.append(replace(moments, n=n, log_weights=0.0))
                reference.append(coefficient)
        roots = [grouping.root for grouping in batch.groupings]
        stats = arrange(parts, scaling, elimination, reference=reference, roots=roots)
        sets = [part.rows[part.first] for part in pieces]
        return cls(form, stats, pieces, RowCovariances.of(form, sets), log_weights)

    def at(self, parameters: Parameters) -> Weighted:
        """Return the statistics at parameters."""
        precision = Precision.at(self.pieces, self.rows, parameters)
        if np.isnan(precision.log_det):
            raise np.linalg.LinAlgError("R of some rows is not positive definite")
        log_weights = self.log_weights - float(precision.log_det)
        stats = self.stats.at(self._coefficients(precision), log_weights)

        def pullback(by_sums: Sums, by_log_det: float) -> Parameters:
            slopes = self.stats.by_coefficients(by_sums)
            bars, start = [], 0
            for part in self.pieces:
                stop = start + part.n_classes
                bars.append(_by_inverse(part, slopes[start:stop]))
                start = stop
            return precision.pullback(bars, by_log_det)

        return Weighted(stats, pullback)

    def eliminate_many(
        self, parameters: Parameters, lambdas: Sequence[Array], step: Callable[[int], None]
    ) -> tuple[Array, Array]:
        """Return log|M| + log|R/σ²| and T at S points."""
        precision = Precision.at(self.pieces, self.rows, parameters)
        coefficients = self._coefficients(precision)
        logdet, T = eliminate_many(self.stats, lambdas, step, coefficients=coefficients)
        kept = keeps_digits(T[:, -1, -1], self.stats.roundings(coefficients))
        return np.where(kept, logdet + precision.log_det - self.log_weights, np.nan), T

    def _coefficients(self, precision: Precision) -> Array:
        pairs = zip(self.pieces, precision.inverses, strict=True)
        return np.concatenate([_coefficients(part, P) for part, P in pairs], axis=-1)


def _classes(part: Pieces) -> list[tuple[Index, Index | None, float]]:
    """Return for each class its rows, those they are less (or sets to sum up), and c at R = σ²I.

    Of exchangeable sets: all rows, and their sums by set, as rows (N, T).
    """
    T = part.rows.shape[1]
    order = np.argsort(part.pattern, kind="stable")
    classes: list[tuple[Index, Index | None, float]] = []
    for own in np.split(part.rows[order], np.cumsum(part.counts).astype(int)[:-1]):
        if part.exchangeable and T > 1:
            classes += [(own.ravel(), None, part.sign), (own, None, 0.0)]
            continue
        classes += [(own[:, s], None, part.sign) for s in range(T)]
        pairs = zip(*part.pairs, strict=True)
        classes += [(own[:, s], own[:, t], 0.0) for s, t in pairs]
    return classes


def _derived(batch: RowBatch, rows: Index, other: Index | None) -> RowBatch:
    """Return rows, their differences from other rows, or the sums of rows of each set, (N, T)."""
    if rows.ndim == 2:
        return RowBatch(
            batch.X[rows].sum(axis=1),
            batch.y[rows].sum(axis=1),
            Homoscedastic(len(rows)),
            tuple(
                replace(g, codes=g.codes[rows[:, 0]], values=g.values[rows].sum(axis=1))
                for g in batch.groupings
            ),
        )
    chosen = batch.take(rows)
    if other is None:
        return chosen
    less = batch.take(other)
    groupings = tuple(
        replace(one, values=one.values - two.values)
        for one, two in zip(chosen.groupings, less.groupings, strict=True)
    )
    return replace(chosen, X=chosen.X - less.X, y=chosen.y - less.y, groupings=groupings)


def _coefficients(part: Pieces, inverses: Array) -> Array:
    """Return the coefficients of all classes, (..., K), of R⁻¹ of every pattern, (..., P, T, T)."""
    T, leading = inverses.shape[-1], inverses.shape[:-3]
    if part.exchangeable and T > 1:
        between = inverses[..., 0, 1]
        of_pattern = np.stack([inverses[..., 0, 0] - between, between], axis=-1)
    else:
        of_pattern = part.sign * inverses.sum(axis=-1)
        if T > 1:
            differences = -part.sign * inverses[..., *part.pairs]
            of_pattern = np.concatenate([of_pattern, differences], axis=-1)
    return np.asarray(of_pattern.reshape(*leading, -1))


def _by_inverse(part: Pieces, slopes: Array) -> Array:
    """Return the derivative by R⁻¹ of every pattern, symmetric, given that by coefficients."""
    P, T = len(part.first), part.rows.shape[1]
    by_class = part.sign * slopes.reshape(P, -1)
    if T == 1:
        return by_class[:, :, None]
    bars = np.zeros((P, T, T))
    if part.exchangeable:
        bars[:, 0, 0] = by_class[:, 0]
        bars[:, 0, 1] = by_class[:, 1] - by_class[:, 0]
    else:
        bars += by_class[:, :T, None]
        bars[:, *part.pairs] -= by_class[:, T:]
    return 0.5 * (bars + np.swapaxes(bars, 1, 2))
