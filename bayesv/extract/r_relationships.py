"""Known relationships of levels in a fit made in R."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from bayesv.errors import DataError, ExtractionError
from bayesv.extract.r_design import RTerm
from bayesv.extract.r_files import AGAIN, read_columns
from bayesv.structures.relationship import Relationship, known_relationship

__all__ = ["relationships_of"]

_FILE = "relationships.csv.gz"


def relationships_of(folder: Path, terms: Iterable[list[RTerm]]) -> dict[str, Relationship]:
    """Return K of each grouping factor whose levels are related.

    Parameters
    ----------
    folder : Path
        Of the export; relationships.csv.gz has the elements of each K on and below its diagonal, by
        the number of the term and of its levels.
    terms : iterable of list of RTerm
        Those of one grouping factor together.

    Raises
    ------
    ExtractionError
        If only some terms of a factor have a K, or it is damaged.
    """
    related = [parts for parts in terms if any(term.related for term in parts)]
    if not related:
        return {}
    table = read_columns(folder, _FILE)
    number = table.numbers("term")
    found: dict[str, Relationship] = {}
    for parts in related:
        first = parts[0]
        if len(parts) > 1:
            raise ExtractionError(
                f"{first.record.place}: {first.group!r} has {len(parts)} terms, and the levels of "
                "one are related by a known matrix: Σ ⊗ K is of one term. Refit with the factor "
                "under two names, once with and once without the relationship."
            )
        own = table.take(number == first.number)
        if not len(own):
            raise ExtractionError(f"{table.place} has no elements of term {first.number}. {AGAIN}")
        size = len(first.levels)
        i, j = own.whole("row", size) - 1, own.whole("column", size) - 1
        K = np.zeros((size, size))
        K[i, j] = K[j, i] = own.numbers("value")
        try:
            found[first.group] = known_relationship(K, first.levels)
        except DataError as error:
            raise ExtractionError(f"{table.place}, {first.group!r}: {error}") from error
    return found
