"""Gram statistics of a design that keeps its rows."""

from __future__ import annotations

from bayesv.design import Design
from bayesv.gram.statistics import GramStatistics, gram_statistics
from bayesv.gram.units import Grouping, Rows

__all__ = ["statistics_of"]


def statistics_of(
    design: Design, structure: str = "auto", *, dedupe: bool = True
) -> GramStatistics:
    """Return the Gram statistics of a design's rows; see `gram_statistics`."""
    groupings = tuple(Grouping(t.codes, t.values, t.n_levels, t.blocks) for t in design.terms)
    rows = Rows(design.X, design.target, design.weights, groupings)
    return gram_statistics(rows, structure, dedupe=dedupe)
