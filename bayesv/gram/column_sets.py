"""Sets of a border's columns, within which a matrix is eliminated or scaled exactly.

Sets that no row joins, as in disconnected designs, are eliminated one by one; an iteration is
scaled by sets that rows join closely, such as the teachers of a school that few students leave. A
matrix of the sets has one row for each column of the border, but only as many columns as the
largest set has: element (i, j) stands at [i, own[j]].
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import sparse

from bayesv.gram.scaling import Index
from bayesv.gram.tables import BorderTable
from bayesv.linalg import Array, connected

__all__ = [
    "ColumnSets",
    "close_levels",
    "column_sets",
    "connected_levels",
    "elements",
    "sets_are_sought",
]

_WIDEST = (32, 64, 128)  # columns of a set of levels that are joined closely, at most
_PRODUCTS = 1e7  # of pairs of levels that units meet: more, and to look for sets costs
# Nanoseconds or so of a step of an iteration for each column of the border: without sets, for each
# unit that meets it, and for each column of its set.
_STEP, _OF_UNIT, _OF_SET = 20.0, 4.0, 2.0


class ColumnSets(NamedTuple):
    """Which columns of a border are in one set.

    Attributes
    ----------
    of_level : ndarray of int, shape (J,)
        The set of each level of the border.
    of_column : ndarray of int, shape (q,)
        The set of each column.
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

    of_level: Index
    of_column: Index
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
        return int(self.sizes.max(initial=0))

    @property
    def work(self) -> float:
        """Sum of the cubes of the numbers of columns."""
        return float((self.sizes.astype(float) ** 3).sum())


def column_sets(of_level: Index, levels: BorderTable) -> ColumnSets:
    """Return the sets of columns, given the set of each level, numbered from 0."""
    of_level = of_level.astype(np.intp)
    of_column = np.repeat(of_level, levels.widths)
    sizes = np.bincount(of_column)
    starts, level_starts = (
        np.concatenate([[0], np.cumsum(n)]).astype(np.intp) for n in (sizes, np.bincount(of_level))
    )
    members = np.argsort(of_column, kind="stable").astype(np.intp)
    own = np.empty_like(members)
    own[members] = np.arange(len(members)) - np.repeat(starts[:-1], sizes)
    by_set = np.argsort(of_level, kind="stable").astype(np.intp)
    return ColumnSets(of_level, of_column, members, starts, own, by_set, level_starts)


def connected_levels(edges: Index, columns: Index, levels: BorderTable) -> Index:
    """Return which levels of a border units join, directly or by way of others: sets from 0.

    Parameters
    ----------
    edges, columns : ndarray of int
        Columns of the border that each unit of the chain meets, as in `Tables`. A row has a unit
        of every factor of the chain, so that units join all that rows do.
    levels : BorderTable
    """
    met = np.repeat(np.arange(len(levels.starts)), levels.widths)[columns]
    first = met[np.repeat(edges[:-1], np.diff(edges))]
    return connected(len(levels.starts), first, met)


def sets_are_sought(edges: Index) -> bool:
    """Whether `close_levels` takes little time, of units that meet columns between these edges."""
    return float((np.diff(edges).astype(float) ** 2).sum()) <= _PRODUCTS


def close_levels(edges: Index, columns: Index, E: Array, A: Array, levels: BorderTable) -> Index:
    """Return sets of levels that units join closely, from 0; each level is one where few are.

    Parameters
    ----------
    edges, columns : ndarray of int
        Columns of the border that each unit meets.
    E : ndarray, shape (nnz, k)
        Their products with those of the unit.
    A : ndarray, shape (units, k, k)
        Products of the unit's own columns.
    levels : BorderTable

    Notes
    -----
    Units correlate levels; the closest pairs are joined first, as long as a set has few columns.
    The probes that are needed are as many as the squared correlations between sets are of all, and
    how many columns a set has at most is what makes them take least.
    """
    from bayesv.gram.by_set import join_closest  # compiled: loaded when it is needed

    n, of_column = len(levels.starts), np.repeat(np.arange(len(levels.starts)), levels.widths)
    size = np.sqrt(np.repeat(np.maximum(np.einsum("jaa->j", A), 1e-300), np.diff(edges)))
    shape = (len(edges) - 1, n)
    half = sparse.csr_array((np.linalg.norm(E, axis=1) / size, of_column[columns], edges), shape)
    joint = sparse.coo_array(half.T @ half)
    diagonal = np.bincount(joint.row, joint.data * (joint.row == joint.col), n)
    above = joint.row < joint.col
    one, two = joint.row[above].astype(np.intp), joint.col[above].astype(np.intp)
    close = joint.data[above] / np.sqrt(diagonal[one] * diagonal[two])
    order = np.argsort(-close, kind="stable")
    one, two, squared = one[order], two[order], close[order] ** 2
    each = _STEP + _OF_UNIT * len(columns) / max(len(of_column), 1)
    best, least = np.arange(n), each
    for most in _WIDEST:
        root = join_closest(one, two, levels.widths, most)
        between = float(squared[root[one] != root[two]].sum()) / max(float(squared.sum()), 1e-300)
        _, of_level = np.unique(root, return_inverse=True)
        width = int(np.bincount(of_level, levels.widths).max())
        if (work := between * (each + _OF_SET * width)) < least:
            best, least = of_level, work
    return np.asarray(best)


def elements(sets: ColumnSets, A: Array) -> tuple[Index, Index, Array]:
    """Return rows, columns and values of all that is within the sets, column by column."""
    sizes = np.repeat(sets.sizes, sets.sizes)  # of the set of each member
    rows = np.repeat(sets.members, sizes)
    within = np.arange(len(rows)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    columns = sets.members[np.repeat(np.repeat(sets.starts[:-1], sets.sizes), sizes) + within]
    return rows, columns, A[rows, within]
