"""Gram statistics of a design that keeps its rows, for its response or for others."""

from __future__ import annotations

from bayesv.design.design import Design
from bayesv.gram.arrange import gram_statistics
from bayesv.gram.responses import Responses
from bayesv.gram.scaling import Grouping, RowBatch
from bayesv.gram.statistics import GramStatistics

__all__ = ["responses_of", "statistics_of"]


def statistics_of(
    design: Design, elimination: str = "auto", *, dedupe: bool = True
) -> GramStatistics:
    """Return the Gram statistics of a design's rows; see `gram_statistics`."""
    return gram_statistics(_rows(design), elimination, dedupe=dedupe)


def responses_of(design: Design, stats: GramStatistics) -> Responses:
    """Return what makes the statistics of the same design with other responses.

    Parameters
    ----------
    design : Design
    stats : GramStatistics
        Of the design.
    """
    return Responses.of(_rows(design), stats)


def _rows(design: Design) -> RowBatch:
    groupings = tuple(Grouping(t.codes, t.values, t.n_levels, t.blocks) for t in design.terms)
    return RowBatch(design.X, design.target, design.residual, groupings)
