"""Gram statistics of a design that keeps its rows, for its response or for others."""

from __future__ import annotations

from dataclasses import replace

from bayesv.design.design import Design
from bayesv.design.residual import Homoscedastic
from bayesv.gram.arrange import gram_statistics
from bayesv.gram.responses import Responses
from bayesv.gram.scaling import Grouping, RowBatch
from bayesv.gram.statistics import GramStatistics

__all__ = ["responses_of", "statistics_of"]


def statistics_of(
    design: Design, elimination: str = "auto", *, dedupe: bool = True
) -> GramStatistics:
    """Return the Gram statistics of a design's rows; see `gram_statistics`.

    Of correlated residuals rows are whitened first, which keeps their form where series lie within
    levels: those of a row's series are those of the row.
    """
    if design.residual.clusters is None:
        return gram_statistics(_rows(design), elimination, dedupe=dedupe)
    stats = gram_statistics(_whitened(design), elimination, dedupe=dedupe)
    return replace(stats, log_weights=-design.residual.log_det)


def _whitened(design: Design) -> RowBatch:
    """Return L⁻¹ times the rows, of R = σ²LL'."""
    whiten = design.residual.whiten
    known = replace(
        design,
        y=whiten(design.target),
        X=whiten(design.X),
        offset=None,
        terms=tuple(replace(term, values=whiten(term.values)) for term in design.terms),
        residual=Homoscedastic(design.n),
    )
    return _rows(known)


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
    groupings = tuple(
        Grouping(t.codes, t.values, t.n_levels, t.structure.blocks) for t in design.terms
    )
    return RowBatch(design.X, design.target, design.residual, groupings)
