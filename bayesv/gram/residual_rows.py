"""What statistics by residual parameters have in common: their face, and rows as they are."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import ClassVar, NamedTuple

import numpy as np

from bayesv.design.design import Design
from bayesv.design.residual import Homoscedastic
from bayesv.design.structured import Parameters, StructuredResidual
from bayesv.errors import DataError
from bayesv.gram.elimination import eliminate
from bayesv.gram.of_design import groupings_of
from bayesv.gram.scaling import RowBatch
from bayesv.gram.statistics import GramStatistics, keeps_digits
from bayesv.gram.tables import Sums
from bayesv.linalg import Array

__all__ = ["ByResidual", "Weighted", "rows_without_residual"]


class Weighted(NamedTuple):
    """Statistics at some parameters of the residuals, and the way back to these.

    Attributes
    ----------
    stats : GramStatistics
        Of R as the parameters say; its ``log_weights`` are −log|R/σ²|.
    pullback : callable
        ``pullback(by_sums, by_log_det)``: the derivative by log SDs, z and exponents, as
        `Parameters`, of what has the derivatives ``by_sums``, as of `Elimination.adjoint`, and
        ``by_log_det`` by log|R/σ²|.
    """

    stats: GramStatistics
    pullback: Callable[[Sums, float], Parameters]


class ByResidual(ABC):
    """Statistics of [Z X y] with weights R⁻¹σ² as a function of the parameters of R.

    Attributes
    ----------
    form : StructuredResidual
    stats : GramStatistics
        With R = σ²I: layout and coordinates are those at all parameters.
    """

    form: StructuredResidual
    stats: GramStatistics

    summed: ClassVar[bool] = False
    """Whether an evaluation takes no pass over the rows."""

    @property
    def cost(self) -> float:
        """Operations of an evaluation, about, where they are more than those of eliminating."""
        return 0.0

    @abstractmethod
    def at(self, parameters: Parameters) -> Weighted:
        """Return the statistics at parameters.

        Raises
        ------
        numpy.linalg.LinAlgError
            If R is not positive definite.
        """

    def eliminate_many(
        self, parameters: Parameters, lambdas: Sequence[Array], step: Callable[[int], None]
    ) -> tuple[Array, Array]:
        """Return log|M| + log|R/σ²|, shape (S,), and T, shape (S, p + 1, p + 1), at S points.

        Parameters
        ----------
        parameters : Parameters
            With a leading axis, (S, ...).
        lambdas : sequence of ndarray, shapes (S, k, k)
            λ_f of each term in the basis of the statistics.
        step : callable
            Told how many values are done.

        Notes
        -----
        log|M| + log|R/σ²| is NaN where R is not positive definite, or rounding leaves fewer than
        3 digits of y'V⁻¹y.
        """

        def one(s: int) -> tuple[float, Array]:
            step(1)
            try:
                stats = self.at(Parameters(*(part[s] for part in parameters))).stats
            except np.linalg.LinAlgError:
                return np.nan, np.full((self.stats.p + 1,) * 2, np.nan)
            done = eliminate(stats, [lam[s] for lam in lambdas])
            kept = keeps_digits(done.T[-1, -1], stats.rounding)
            return (done.logdet - stats.log_weights if kept else np.nan), done.T

        points = [one(s) for s in range(len(parameters.sds))]
        return np.array([point[0] for point in points]), np.array([point[1] for point in points])


def rows_without_residual(design: Design) -> tuple[StructuredResidual, RowBatch, float]:
    """Return the residuals without known weights, rows times √w, and Σ log w.

    Raises
    ------
    DataError
        If the residuals have no structure.
    """
    form = design.residual
    if not isinstance(form, StructuredResidual):
        raise DataError("The residuals of this design have no structure.")
    root = np.ones(design.n) if form.known is None else np.sqrt(form.known)
    groupings = tuple(
        replace(grouping, values=root[:, None] * grouping.values)
        for grouping in groupings_of(design)
    )
    X, y = root[:, None] * design.X, root * design.target
    batch = RowBatch(X, y, Homoscedastic(design.n), groupings)
    return replace(form, known=None), batch, 2.0 * float(np.log(root).sum())
