"""Where the rows of a model come from: a data frame, batches, or a design without either."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

from bayesv.design.design import Design
from bayesv.design.known import Known
from bayesv.errors import DataError
from bayesv.formula.build import ModelFrame, build
from bayesv.formula.sources import open_source
from bayesv.formula.stream import read_batches
from bayesv.gram import (
    GramStatistics,
    Moments,
    Responses,
    Scaling,
    arrange,
    responses_of,
    statistics_of,
)
from bayesv.support.process import computing

__all__ = ["Origin"]


@dataclass(frozen=True, eq=False)
class Asked:
    """What a model of a data frame was asked for, as it was given; see `bayesv.Model`."""

    formula: str
    data: Any
    var_weights: Any
    namespace: Mapping[str, Any] | None
    residual: str | Known | None
    residual_sd: str | None
    relationship: Mapping[str, Any] | None


@dataclass(frozen=True, eq=False)
class Origin:
    """A design, with the data frame or the sums over rows that it was made from.

    Attributes
    ----------
    design : Design
        Of batches, a summary that answers to the same names; those of rows raise an error.
    asked : Asked or None
        None for designs that were made elsewhere, and of batches.
    """

    design: Design
    asked: Asked | None = None
    _frame: ModelFrame | None = None
    _frame_is_older: bool = False  # than the response
    _sums: tuple[Moments, Scaling] | None = None

    @classmethod
    @computing
    def read(
        cls,
        formula: str,
        data: Any,
        var_weights: Any,
        namespace: Mapping[str, Any] | None,
        residual: str | Known | None = None,
        residual_sd: str | None = None,
        relationship: Mapping[str, Any] | None = None,
    ) -> Origin:
        """Evaluate a formula on data, at once or in batches; see `bayesv.Model`."""
        batches = open_source(data)
        if batches is None:
            asked = Asked(
                formula, data, var_weights, namespace, residual, residual_sd, relationship
            )
            design, frame = build(*vars(asked).values())
            return cls(design, asked, frame)
        if relationship is not None:
            raise DataError(
                "Data in batches cannot have related levels: they are sums of levels that are not. "
                "Pass a data frame."
            )
        if residual is not None or residual_sd is not None:
            raise DataError(
                "Data in batches cannot have structured residuals: sums of rows depend on their "
                "parameters. Pass a data frame."
            )
        summary, moments, scaling = read_batches(formula, batches, var_weights, namespace)
        return cls(cast(Design, summary), _sums=(moments, scaling))

    def with_response(self, y: Any) -> Origin:
        """Return the origin of the same rows with another response."""
        return replace(self, design=self.design.with_response(y), _frame_is_older=True)

    def statistics(self, elimination: str, *, dedupe: bool) -> GramStatistics:
        """Return the Gram statistics of all rows."""
        if self._sums is None:
            return statistics_of(self.design, elimination, dedupe=dedupe)
        return arrange(*self._sums, elimination, dedupe=dedupe)

    def responses(self, stats: GramStatistics) -> Responses:
        """Return what the statistics of all responses on this design share."""
        if self._sums is not None:
            raise DataError(
                "This model was read in batches and keeps no rows, so that Z'Wy of another "
                "response cannot be summed up. Build it from a data frame."
            )
        return responses_of(self.design, stats)

    @property
    def frame(self) -> ModelFrame:
        """The formula with the data it was evaluated on."""
        if self._frame is not None:
            return self._frame.with_response(self.design.y) if self._frame_is_older else self._frame
        if self._sums is None:
            raise DataError(
                "This model was made from a design and has no data frame, which Bambi needs. Use "
                "another engine, or build it by bv.Model(formula, data)."
            )
        raise DataError(
            "This model was read in batches and keeps no rows; PyMC and Bambi models of the "
            "conditional likelihood need a data frame. engine='collapsed' and "
            "bv.to_pymc(model, marginal=True) do not."
        )
