"""A chain of nested factors: its units in post-order, for the compiled loops."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bayesv.gram.scaling import Index
from bayesv.gram.tables import Tables
from bayesv.linalg import Array

__all__ = [
    "ChainFactor",
    "FactorSums",
    "Merging",
    "Plan",
    "flattened",
    "merging_of",
    "plan_of",
]

_CHUNK = 8192  # units that are worth a task of their own
_CHUNK_WITH_BORDER = 256  # units


@dataclass(frozen=True, eq=False)
class ChainFactor:
    """One grouping factor of the chain; a *unit* is one of its levels.

    Units are ordered so that those below one unit of the next factor follow each other.

    Attributes
    ----------
    term : int
        Position of the factor among the design's terms.
    k : int
        Number of columns of a unit.
    width : int
        Number of columns that a unit is coupled to: Z of coarser chain factors, X and y, where of
        a coarser factor only the unit above is not zero.
    order : ndarray of int, shape (J,)
        Level of each unit.
    parent : ndarray of int, shape (J,)
        Unit of the next coarser factor; zeros for the coarsest.
    edges : ndarray of int, shape (J + 1,)
        Where each unit's columns of the border start in ``columns``.
    columns : ndarray of int, shape (nnz,)
        Columns of the border, ascending within a unit.
    """

    term: int
    k: int
    width: int
    order: Index
    parent: Index
    edges: Index
    columns: Index

    @property
    def n_units(self) -> int:
        """Number of units J."""
        return len(self.order)


class FactorSums(NamedTuple):
    """Sums of one factor's units: A (J, k, k), couplings H (J, k, s), and E (nnz, k)."""

    A: Array
    H: Array
    E: Array


def flattened(parts: Sequence[FactorSums]) -> tuple[Array, Array, Array]:
    """Return A, H and E of all factors, as in `Sums`.

    E of factors with fewer columns is padded by zeros.
    """
    k = max((part.E.shape[1] for part in parts), default=1)
    E = [np.pad(part.E, ((0, 0), (0, k - part.E.shape[1]))) for part in parts]
    return (
        np.concatenate([np.zeros(0), *(part.A.ravel() for part in parts)]),
        np.concatenate([np.zeros(0), *(part.H.ravel() for part in parts)]),
        np.vstack([np.zeros((0, k)), *E]),
    )


@dataclass(frozen=True, eq=False)
class Merging:
    """Which units of the finest factor stand for equal ones.

    Attributes
    ----------
    members : ndarray of int, shape (J,)
        All units, class by class.
    counts : ndarray of int, shape (classes,)
        How many units each class has.
    n_sums : int
        Of how many sums units are equal.
    """

    members: Index
    counts: Index
    n_sums: int = 1

    @cached_property
    def first(self) -> Index:
        """A unit of each class."""
        return np.asarray(self.members[np.cumsum(self.counts) - self.counts])

    def kept(self, k: int, width: int) -> Index:
        """Return how many couplings of k columns each class keeps, shape (classes,)."""
        return np.minimum(self.counts, self.n_sums * k * width)

    def couplings(self, parts: Sequence[Array]) -> list[Array]:
        """Return the couplings of the classes, of those of all units, (J, k, s), for each sum.

        Of a class only Σ H'DH is needed, H = Σ_m c_m H_m: more than M k s couplings of M sums are
        replaced by the triangular factor of their stack side by side, which has the same sum for
        every D and c.
        """
        from bayesv.gram.stacks import shorten  # compiled: loaded when it is needed

        J, k, s = parts[0].shape
        rows = np.hstack([H.reshape(J, k * s) for H in parts])
        kept = self.kept(k, s)
        short = np.empty((int(kept.sum()), rows.shape[1]))
        shorten(rows, self.members, self.counts, kept, short)
        shape = (len(short), len(parts), k, s)
        return [np.ascontiguousarray(H) for H in np.swapaxes(short.reshape(shape), 0, 1)]


def merging_of(factor: ChainFactor, hashes: NDArray[np.uint64]) -> Merging | None:
    """Merge units with equal hashes, (J, 2 M), below the same parent; None if no two are equal.

    They share N, D and log|N|, whatever the coefficients of the M sums.
    """
    members = np.lexsort([*hashes.T[::-1], factor.parent])
    keys = np.column_stack([factor.parent.astype(np.uint64), hashes])[members]
    first = np.flatnonzero(np.append(True, (keys[1:] != keys[:-1]).any(axis=1)))
    if len(first) == factor.n_units:
        return None
    counts = np.diff(np.append(first, len(members)))
    return Merging(members, counts, hashes.shape[1] // 2)


@dataclass(frozen=True, eq=False)
class Plan:
    """In what order the units of a chain are eliminated.

    Attributes
    ----------
    tables : Tables
    spans : list of (int, int)
        Events of each task: they share no unit of the coarsest factor.
    width : int
        Size of the frontal matrix.
    n_leaves : int
        Units of the finest factor, after merging.
    """

    tables: Tables
    spans: list[tuple[int, int]]
    width: int
    n_leaves: int

    @property
    def n_events(self) -> int:
        """Number of units that are eliminated."""
        return len(self.tables.unit)

    @property
    def starts_and_stops(self) -> Index:
        """The spans as an array, shape (tasks, 2)."""
        return np.array(self.spans, dtype=np.intp).reshape(-1, 2)


def plan_of(
    factors: Sequence[ChainFactor], m: int, merging: Merging | None, own: Index | None = None
) -> Plan:
    """Lay out a chain for the compiled loops.

    Parameters
    ----------
    factors : sequence of ChainFactor
        Finest factor first; may be empty.
    m : int
        p + 1.
    merging : Merging or None
        Of the finest factor's units.
    own : ndarray of int, shape (q,), optional
        Where each column of the border stands in a matrix of it; left out: in its own place.
    """
    parents = [factor.parent for factor in factors]
    mult = [np.ones(factor.n_units) for factor in factors]
    counts = [np.ones(factor.n_units, dtype=np.intp) for factor in factors]  # of couplings
    if merging is not None:
        finest = factors[0]
        parents[0] = finest.parent[merging.first]
        mult[0] = merging.counts.astype(float)
        counts[0] = merging.kept(finest.k, finest.width)
    table = np.zeros((len(factors), 7), dtype=np.intp)
    a, h, u, lam, place = 0, 0, 0, 0, 0
    for f, factor in enumerate(factors):
        k, s = factor.k, factor.width
        table[f] = (k, s, place, a, h, u, lam)
        a, u, lam = a + len(mult[f]) * k * k, u + len(mult[f]), lam + k * k
        h += int(counts[f].sum()) * k * s
        place += k if f else 0
    crossed = any(len(factor.columns) for factor in factors)
    depth, unit, stops = _post_order(parents, _CHUNK_WITH_BORDER if crossed else _CHUNK)
    starts = [0, *stops[:-1]]
    columns = np.concatenate([np.zeros(0, dtype=np.intp), *(f.columns for f in factors)])
    return Plan(
        Tables(
            table=table,
            mult=np.concatenate([np.zeros(0), *mult]),
            pointer=np.cumsum(np.concatenate([[0], *counts])).astype(np.intp),
            depth=depth,
            unit=unit,
            edges=_joined_edges(factors),
            columns=columns,
            slots=_slots(factors),
            places=columns if own is None else own[columns],
        ),
        spans=list(zip(starts, stops, strict=True)),
        width=place + m,
        n_leaves=len(mult[0]) if factors else 0,
    )


def _post_order(
    parents: Sequence[Index], chunk: int
) -> tuple[NDArray[np.int32], NDArray[np.int32], list[int]]:
    """Return depth and unit of every event, and ends of chunks of about so many events."""
    if not parents:
        return np.zeros(0, dtype=np.int32), np.zeros(0, dtype=np.int32), [0]
    last = np.arange(len(parents[0]))  # the last leaf below each unit
    lasts = [last]
    for f in range(1, len(parents)):
        above = np.zeros(len(parents[f]), dtype=np.intp)
        np.maximum.at(above, parents[f - 1], lasts[f - 1])
        lasts.append(above)
    depth = np.concatenate([np.full(len(x), f, dtype=np.int32) for f, x in enumerate(lasts)])
    unit = np.concatenate([np.arange(len(x), dtype=np.int32) for x in lasts])
    if len(parents) > 1:
        order = np.lexsort([depth, np.concatenate(lasts)])
        depth, unit = depth[order], unit[order]
    ends = np.flatnonzero(depth == len(parents) - 1) + 1
    # The end of the first tree at or after every multiple of the chunk size.
    wanted = np.arange(chunk, len(depth) + chunk, chunk)
    nearest = np.minimum(np.searchsorted(ends, wanted), len(ends) - 1)
    return depth, unit, np.unique(ends[nearest]).tolist()


def _joined_edges(factors: Sequence[ChainFactor]) -> Index:
    starts = np.cumsum([0, *(len(factor.columns) for factor in factors)])
    parts = [factor.edges[:-1] + start for factor, start in zip(factors, starts, strict=False)]
    return np.concatenate([*parts, starts[-1:]]).astype(np.intp)


def _slots(factors: Sequence[ChainFactor]) -> Index:
    """Position of each edge among those of the parent, which has all of its children's columns."""
    starts = np.cumsum([0, *(len(factor.columns) for factor in factors)])
    slots = np.zeros(starts[-1], dtype=np.intp)
    for f, (factor, above) in enumerate(pairwise(factors)):
        width = 1 + max(factor.columns.max(initial=0), above.columns.max(initial=0))
        wanted = np.repeat(factor.parent, np.diff(factor.edges)) * width + factor.columns
        there = np.repeat(np.arange(above.n_units), np.diff(above.edges)) * width + above.columns
        slots[starts[f] : starts[f + 1]] = starts[f + 1] + np.searchsorted(there, wanted)
    return slots
