"""Gram statistics of a design that keeps its rows, for its response or for others."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from bayesv.design.design import Design
from bayesv.design.residual import Homoscedastic
from bayesv.errors import DataError
from bayesv.gram.arrange import gram_statistics
from bayesv.gram.responses import Responses
from bayesv.gram.scaling import Grouping, RowBatch
from bayesv.gram.statistics import GramStatistics

__all__ = ["groupings_of", "refuse_crossed_clusters", "responses_of", "statistics_of"]


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


def refuse_crossed_clusters(design: Design) -> None:
    """Refuse residuals that are correlated across the levels of a grouping factor.

    Raises
    ------
    DataError
    """
    clusters = design.residual.clusters
    if clusters is None:
        return
    for term in design.terms:
        n_clusters = int(clusters.max(initial=-1)) + 1
        low, high = np.full(n_clusters, term.n_levels), np.full(n_clusters, -1)
        np.minimum.at(low, clusters, term.codes)
        np.maximum.at(high, clusters, term.codes)
        if (mixed := low < high).any():
            rows = np.flatnonzero(clusters == np.flatnonzero(mixed)[0])
            first = rows[term.codes[rows] != term.codes[rows[0]]][0]
            raise DataError(
                f"Residuals of rows {design.row_labels[rows[0]]} and {design.row_labels[first]} "
                f"are correlated, and the rows are in levels {term.levels[term.codes[rows[0]]]!r} "
                f"and {term.levels[term.codes[first]]!r} of {term.group!r}: there is no way yet to "
                "fit residuals that are correlated across levels. Let series lie within the levels "
                f"of {term.group!r}, or leave one of the two out."
            )


def _whitened(design: Design) -> RowBatch:
    """Return L⁻¹ times the rows, of R = σ²LL'."""
    refuse_crossed_clusters(design)
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


def groupings_of(design: Design) -> tuple[Grouping, ...]:
    """Return the grouping factors of a design's random terms."""
    return tuple(
        Grouping(
            t.codes,
            t.values,
            t.n_levels,
            t.structure.blocks,
            None if t.related is None else t.related.root,
        )
        for t in design.terms
    )


def _rows(design: Design) -> RowBatch:
    return RowBatch(design.X, design.target, design.residual, groupings_of(design))
