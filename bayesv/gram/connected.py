"""Sets of a border's columns that no row joins, as in disconnected designs: eliminated one by one.

A matrix of the border then has one row for each column of the border, as always, but only as many
columns as the largest set has: element (i, j) stands at [i, own[j]].
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from bayesv.gram.scaling import Index
from bayesv.gram.tables import BorderTable
from bayesv.linalg import Array, connected

__all__ = ["Connected", "connected_of", "elements"]


class Connected(NamedTuple):
    """Which columns of a border are in one set.

    Attributes
    ----------
    members : ndarray of int, shape (q,)
        Columns, set by set, ascending within each.
    starts : ndarray of int, shape (sets + 1,)
        Where each set starts among them.
    own : ndarray of int, shape (q,)
        Place of each column in its set.
    levels : ndarray of int, shape (J,)
        Levels of the border, set by set, ascending within each.
    level_starts : ndarray of int, shape (sets + 1,)
    """

    members: Index
    starts: Index
    own: Index
    levels: Index
    level_starts: Index

    @property
    def sizes(self) -> Index:
        """Number of columns of each set."""
        return np.diff(self.starts)

    @property
    def width(self) -> int:
        """Number of columns of the largest set."""
        return int(self.sizes.max())

    @property
    def work(self) -> float:
        """Sum of the cubes of the numbers of columns."""
        return float((self.sizes.astype(float) ** 3).sum())


def connected_of(edges: Index, columns: Index, levels: BorderTable) -> Connected | None:
    """Return the sets of columns that units join; None if there is only one.

    Parameters
    ----------
    edges, columns : ndarray of int
        Columns of the border that each unit of the chain meets, as in `Tables`. A row has a unit
        of every factor of the chain, so that units join all that rows do.
    levels : BorderTable
    """
    of_column = np.repeat(np.arange(len(levels.starts)), levels.widths)
    met = of_column[columns]
    first = np.repeat(met[np.minimum(edges[:-1], len(met) - 1)], np.diff(edges))
    of_level = connected(len(levels.starts), first, met)
    if not of_level.any():
        return None
    counts = np.bincount(of_level)
    sizes = np.bincount(of_level, levels.widths).astype(np.intp)
    starts, level_starts = (np.cumsum([0, *n]).astype(np.intp) for n in (sizes, counts))
    members = np.argsort(of_level[of_column], kind="stable").astype(np.intp)
    own = np.empty_like(members)
    own[members] = np.arange(len(members)) - np.repeat(starts[:-1], sizes)
    return Connected(members, starts, own, np.argsort(of_level, kind="stable"), level_starts)


def elements(sets: Connected, A: Array) -> tuple[Index, Index, Array]:
    """Return rows, columns and values of all that is within the sets, column by column."""
    sizes = np.repeat(sets.sizes, sets.sizes)  # of the set of each member
    rows = np.repeat(sets.members, sizes)
    within = np.arange(len(rows)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    columns = sets.members[np.repeat(np.repeat(sets.starts[:-1], sets.sizes), sizes) + within]
    return rows, columns, A[rows, within]
