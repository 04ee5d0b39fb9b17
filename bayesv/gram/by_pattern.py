"""Statistics by residual parameters from sums by missingness pattern, without random effects."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from bayesv.design.design import Design
from bayesv.design.structured import Parameters, StructuredResidual
from bayesv.gram.arrange import gram_statistics
from bayesv.gram.kept_rows import in_units
from bayesv.gram.patterns import PatternSums, pattern_sums
from bayesv.gram.residual_rows import ByResidual, Weighted, rows_without_residual
from bayesv.gram.statistics import GramStatistics
from bayesv.gram.tables import Sums
from bayesv.linalg import Array, block_diagonal

__all__ = ["ByPattern"]

_NUMBERS = 1 << 20  # elements of inverses of R, of a batch of points


@dataclass(frozen=True, eq=False)
class ByPattern(ByResidual):
    """Sums by missingness pattern: an evaluation takes no rows, however many series there are.

    Attributes
    ----------
    form : StructuredResidual
        Over visits, without SDs of strata or powers.
    stats : GramStatistics
        With R = σ²I, of a design without random terms.
    sums : PatternSums
        Of [X y] in the units of the statistics; visits of different groups are different visits.
    log_weights : float
        Σ log w of known weights.
    """

    form: StructuredResidual
    stats: GramStatistics
    sums: PatternSums
    log_weights: float

    summed: ClassVar[bool] = True

    @classmethod
    def of(cls, design: Design, elimination: str = "auto") -> ByPattern:
        """Sum up the rows of a design whose residuals are a function of visits alone."""
        form, batch, log_weights = rows_without_residual(design)
        assert form.sequential is not None
        series, v = form.sequential.series, form.sequential.structure.size
        stats = gram_statistics(batch, elimination, dedupe=False)
        columns, _ = in_units(batch, stats)
        visits = series.group * v + series.visit
        sums = pattern_sums(visits, series.codes, columns, form.sequential.n_groups * v)
        return cls(form, stats, sums, log_weights)

    @property
    def cost(self) -> float:
        """Operations of an evaluation, about."""
        return float(self.sums.products.size)

    def at(self, parameters: Parameters) -> Weighted:
        """Return the statistics at parameters."""
        blocks = self._blocks(parameters)
        done = self.sums.whiten(block_diagonal(blocks))
        sums = self.stats.sums._replace(C=done.T)
        log_weights, total = self.log_weights - done.logdet, float(done.T[-1, -1])
        stats = GramStatistics(self.stats.layout, self.stats.fixed, sums, log_weights, total)

        def pullback(by_sums: Sums, by_log_det: float) -> Parameters:
            return self._by_blocks(parameters, blocks, done.gradient(by_sums.C, by_log_det))

        return Weighted(stats, pullback)

    def eliminate_many(
        self, parameters: Parameters, lambdas: Sequence[Array], step: Callable[[int], None]
    ) -> tuple[Array, Array]:
        """Return log|R/σ²| and T at S points."""
        numbers = sum(part.visits.size * part.visits.shape[1] for part in self.sums.patterns)
        S, size = len(parameters.sds), max(1, _NUMBERS // numbers)
        logdet, T = np.empty(S), np.empty((S, self.sums.m, self.sums.m))
        for start in range(0, S, size):
            points = slice(start, start + size)
            blocks = self._blocks(Parameters(*(part[points] for part in parameters)))
            logdet[points], T[points] = self.sums.whiten_many(block_diagonal(blocks))
            step(len(blocks))
        return logdet - self.log_weights, T

    def _blocks(self, parameters: Parameters) -> Array:
        """Return R/σ² of all visits of each group, (..., groups, v, v)."""
        sds, corr = self._parts(parameters)
        return np.asarray(sds[..., :, None] * corr * sds[..., None, :])

    def _parts(self, parameters: Parameters) -> tuple[Array, Array]:
        """Return SDs over σ, (..., groups, v), and correlations of visits of each group."""
        part = self.form.sequential
        assert part is not None
        free = parameters.sds.reshape(*parameters.sds.shape[:-1], part.n_groups, -1)
        return part.structure.sds(free), part.structure.corr(parameters.z)

    def _by_blocks(self, parameters: Parameters, blocks: Array, by_R: Array) -> Parameters:
        """Return the derivative by log SDs, z and exponents, of which there are none."""
        part = self.form.sequential
        assert part is not None
        structure, v = part.structure, part.structure.size
        all_sds, _ = self._parts(parameters)
        by_sd, by_z = [], np.zeros(parameters.z.shape)
        for g, (block, sds) in enumerate(zip(blocks, all_sds, strict=True)):
            bar = by_R[g * v : (g + 1) * v, g * v : (g + 1) * v]
            by_sd.append(structure.sds_pullback(2.0 * (bar * block).sum(axis=1)))
            by_corr = sds[:, None] * bar * sds
            np.fill_diagonal(by_corr, 0.0)
            if by_z.size:
                by_z[g] = structure.corr_pullback(parameters.z[g], by_corr)
        # One SD without a label is σ itself, which is not among the parameters.
        slopes = np.concatenate(by_sd) if self.form.sd_labels else np.zeros(1)
        return Parameters(slopes, by_z, np.zeros(0))
