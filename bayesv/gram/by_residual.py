"""Which way the statistics of a design are found as a function of its residuals' parameters."""

from __future__ import annotations

from collections.abc import Sequence

from bayesv.design.design import Design
from bayesv.design.structured import StructuredResidual
from bayesv.errors import DataError
from bayesv.gram.by_pattern import ByPattern
from bayesv.gram.kept_rows import KeptRows
from bayesv.gram.of_design import refuse_crossed_clusters
from bayesv.gram.pieces import Pieces, pieces_of
from bayesv.gram.residual_rows import ByResidual
from bayesv.gram.summed_classes import SummedClasses

__all__ = ["statistics_by_residual"]

_MOST_CLASSES = 400  # each is a pass over its rows
_MOST_NUMBERS = 1 << 27  # of all classes: 1 GiB


def statistics_by_residual(design: Design, elimination: str = "auto") -> ByResidual:
    """Return the statistics of a design as a function of the parameters of its residuals.

    Parameters
    ----------
    design : Design
        With a `StructuredResidual`.
    elimination : {"auto", "single", "nested", "crossed"}

    Raises
    ------
    DataError
        If residuals are correlated across levels of a grouping factor, or have no structure.

    Notes
    -----
    Where R⁻¹ has few different elements, as of ar1 with a few gaps, strata, cs, and families over
    visits with few missingness patterns, rows are summed up once by element. Without random terms
    many patterns are summed up, too, each on its own. Else rows are kept, and weighed anew at each
    evaluation.
    """
    form = design.residual
    if not isinstance(form, StructuredResidual):
        raise DataError("The residuals of this design have no structure.")
    refuse_crossed_clusters(design)
    pieces = pieces_of(form)
    kept = _numbers_kept(design, pieces) < _numbers_summed(design, pieces)
    few = sum(part.n_classes for part in pieces) <= _MOST_CLASSES
    if (few and not kept) or any(term.related is not None for term in design.terms):
        return SummedClasses.of(design, pieces, elimination)
    if form.by_visit and not design.terms:
        return ByPattern.of(design, elimination)
    rows = KeptRows.of(design, pieces, elimination)
    return SummedClasses.of(design, pieces, elimination) if rows.stats.layout.border else rows


def _numbers_summed(design: Design, pieces: Sequence[Pieces]) -> int:
    """Return how many numbers the sums of all classes are."""
    width = design.p + 1 + sum(term.n_columns for term in design.terms)
    of_unit = sum(term.n_levels * term.n_columns for term in design.terms) * width
    return sum(part.n_classes for part in pieces) * (of_unit + (design.p + 1) ** 2)


def _numbers_kept(design: Design, pieces: Sequence[Pieces]) -> int:
    """Return about how many operations an evaluation on rows takes."""
    width = design.p + 1 + sum(term.n_columns for term in design.terms)
    elements = sum(part.rows.size * part.rows.shape[1] for part in pieces)
    return int(width * (2 * elements + design.n * width))
