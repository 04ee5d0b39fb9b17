"""A chain of nested factors: its units in post-order, in the flat arrays of the compiled loops."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from bayesv.gram.units import Index
from bayesv.linalg import Array

__all__ = ["Chain", "ChainLevel", "pack"]

_CHUNK = 8192  # units that are worth a task of their own
_CHUNK_WITH_BORDER = 256


@dataclass(frozen=True, eq=False)
class ChainLevel:
    """Statistics of one factor of the chain; a *unit* is one of its levels.

    Units are ordered so that those below one unit of the next factor follow each other.

    Attributes
    ----------
    term : int
        Position of the factor among the design's terms.
    order : ndarray of int, shape (J,)
        Level of each unit.
    A : ndarray, shape (J, k, k)
        Z_j'WZ_j of every unit j.
    H : ndarray, shape (J, k, s)
        Z_j'W[Z of coarser chain factors, X, y], where only the unit above j is not zero.
    parent : ndarray of int, shape (J,)
        Unit of the next coarser factor; zeros for the coarsest.
    edges : ndarray of int, shape (J + 1,)
        Where each unit's columns of the border start in ``columns``.
    columns : ndarray of int, shape (nnz,)
        Columns of the border, ascending within a unit.
    E : ndarray, shape (nnz, k)
        Z_j'WZ_border at these columns, transposed.
    """

    term: int
    order: Index
    A: Array
    H: Array
    parent: Index
    edges: Index
    columns: Index
    E: Array

    @property
    def k(self) -> int:
        """Number of columns of a unit."""
        return int(self.A.shape[1])


@dataclass(frozen=True, eq=False)
class Merging:
    """Which units of the finest factor stand for equal ones.

    Attributes
    ----------
    members : ndarray of int, shape (J,)
        All units, class by class.
    counts : ndarray of int, shape (classes,)
        How many units each class has.
    """

    members: Index
    counts: Index

    def couplings(self, H: Array) -> Array:
        """Return the couplings of the classes, for those of all units, shape (J, k, s).

        Of a class only Σ H'DH is needed: more than k s couplings are replaced by the triangular
        factor of their stack, which has the same sum for every D.
        """
        k, s = H.shape[1:]
        stacked, counts = H[self.members], self.counts
        if not (counts > k * s).any():
            return stacked
        stops, parts, done = np.cumsum(counts), [], 0
        for c in np.flatnonzero(counts > k * s):
            start = stops[c] - counts[c]
            stack = stacked[start : stops[c]].reshape(counts[c], -1)
            parts += [stacked[done:start], np.linalg.qr(stack, mode="r").reshape(-1, k, s)]
            done = stops[c]
        return np.concatenate([*parts, stacked[done:]])


@dataclass(frozen=True, eq=False)
class Chain:
    """The chain as the compiled loops want it; see `bayesv.gram.compiled`.

    Attributes
    ----------
    table : ndarray of int, shape (factors, 7)
    A, H : ndarray, flat
        Blocks of all units and couplings, factor after factor.
    mult : ndarray, shape (units,)
        How many equal units each stands for.
    pointer : ndarray of int, shape (units + 1,)
        Where the couplings of each unit start: merged units keep several.
    factor, unit : ndarray of int, shape (units,)
        What is eliminated, in post-order.
    stops : ndarray of int
        Ends of chunks of events that do not share a unit of the coarsest factor.
    edges, columns, slots, E : ndarray
        Couplings to the border of all units, and where each stands at the unit's parent.
    width : int
        Size of the frontal matrix.
    n_leaves : int
        Units of the finest factor after merging.
    merging : Merging or None
        None if no units are equal.
    """

    table: Index
    A: Array
    H: Array
    mult: Array
    pointer: Index
    factor: NDArray[np.int32]
    unit: NDArray[np.int32]
    stops: Index
    edges: Index
    columns: Index
    slots: Index
    E: Array
    width: int
    n_leaves: int
    merging: Merging | None

    def with_couplings(self, levels: Sequence[ChainLevel]) -> Chain:
        """Return the same chain with other couplings H: those of another response."""
        return replace(self, H=_flat_couplings(levels, self.merging))

    @property
    def spans(self) -> list[tuple[int, int]]:
        """Events of each task."""
        stops = self.stops.tolist()
        return list(zip([0, *stops[:-1]], stops, strict=True))


@dataclass(frozen=True, eq=False)
class _Units:
    """Units of one factor after merging: A, multiplicity, number of couplings, and the parent."""

    A: Array
    mult: Array
    counts: Index  # couplings of each unit
    parent: Index


def pack(levels: Sequence[ChainLevel], m: int, hashes: NDArray[np.uint64] | None) -> Chain:
    """Lay out a chain for the compiled loops.

    Parameters
    ----------
    levels : sequence of ChainLevel
        Finest factor first.
    m : int
        p + 1.
    hashes : ndarray of uint64, shape (J, 2), or None
        Of the finest factor's units: equal ones below the same parent are merged. None: no merging.
    """
    parts = [
        _Units(x.A, np.ones(len(x.A)), np.ones(len(x.A), dtype=np.intp), x.parent) for x in levels
    ]
    merging = None
    if hashes is not None:
        parts[0], merging = _merge(levels[0], hashes)
    H = _flat_couplings(levels, merging)
    table = np.zeros((len(levels), 7), dtype=np.intp)
    a, h, u, lam = 0, 0, 0, 0
    place = 0
    for f, (level, part) in enumerate(zip(levels, parts, strict=True)):
        k, s = level.k, level.H.shape[2]
        table[f] = (k, s, place, a, h, u, lam)
        a, u, lam = a + part.A.size, u + len(part.A), lam + k * k
        h += int(part.counts.sum()) * k * s
        place += k if f else 0
    crossed = any(len(level.columns) for level in levels)
    factor, unit, stops = _post_order(
        [part.parent for part in parts], _CHUNK_WITH_BORDER if crossed else _CHUNK
    )
    return Chain(
        table=table,
        A=np.concatenate([part.A.ravel() for part in parts]),
        H=H,
        mult=np.concatenate([part.mult for part in parts]),
        pointer=np.concatenate([[0], np.cumsum(np.concatenate([p.counts for p in parts]))]).astype(
            np.intp
        ),
        factor=factor,
        unit=unit,
        stops=stops,
        edges=_joined_edges(levels),
        columns=np.concatenate([level.columns for level in levels]),
        slots=_slots(levels),
        E=_joined_E(levels),
        width=place + m,
        n_leaves=len(parts[0].A),
        merging=merging,
    )


def _flat_couplings(levels: Sequence[ChainLevel], merging: Merging | None) -> Array:
    H = [level.H for level in levels]
    if merging is not None:
        H[0] = merging.couplings(H[0])
    return np.concatenate([h.ravel() for h in H])


def _merge(level: ChainLevel, hashes: NDArray[np.uint64]) -> tuple[_Units, Merging | None]:
    """Merge units with equal rows below the same parent; they share N, D and log|N|."""
    keys = np.column_stack([level.parent.astype(np.uint64), hashes])
    _, first, merged, counts = np.unique(
        keys, axis=0, return_index=True, return_inverse=True, return_counts=True
    )
    k, s = level.H.shape[1:]
    if len(first) == len(level.A):
        ones = np.ones(len(first), dtype=np.intp)
        return _Units(level.A, np.ones(len(ones)), ones, level.parent), None
    members = np.argsort(merged.ravel(), kind="stable").astype(np.intp)
    kept = np.minimum(counts, k * s)
    units = _Units(level.A[first], counts.astype(float), kept, level.parent[first])
    return units, Merging(members, counts)


def _post_order(
    parents: Sequence[Index], chunk: int
) -> tuple[NDArray[np.int32], NDArray[np.int32], Index]:
    """Return factor and unit of every event, and ends of chunks of about so many events."""
    last = np.arange(len(parents[0]))  # the last leaf below each unit
    lasts = [last]
    for f in range(1, len(parents)):
        above = np.zeros(len(parents[f]), dtype=np.intp)
        np.maximum.at(above, parents[f - 1], lasts[f - 1])
        lasts.append(above)
    factor = np.concatenate([np.full(len(x), f, dtype=np.int32) for f, x in enumerate(lasts)])
    unit = np.concatenate([np.arange(len(x), dtype=np.int32) for x in lasts])
    if len(parents) > 1:
        order = np.lexsort([factor, np.concatenate(lasts)])
        factor, unit = factor[order], unit[order]
    ends = np.flatnonzero(factor == len(parents) - 1) + 1
    # The end of the first tree at or after every multiple of the chunk size.
    wanted = np.arange(chunk, len(factor) + chunk, chunk)
    at = np.minimum(np.searchsorted(ends, wanted), len(ends) - 1)
    return factor, unit, np.unique(ends[at]).astype(np.intp)


def _joined_edges(levels: Sequence[ChainLevel]) -> Index:
    starts = np.cumsum([0, *(len(level.columns) for level in levels)])
    parts = [level.edges[:-1] + start for level, start in zip(levels, starts[:-1], strict=True)]
    return np.concatenate([*parts, starts[-1:]]).astype(np.intp)


def _joined_E(levels: Sequence[ChainLevel]) -> Array:
    """Stack E of all factors; factors with fewer columns are padded by zeros."""
    k = max(level.k for level in levels)
    return np.vstack([np.pad(level.E, ((0, 0), (0, k - level.k))) for level in levels])


def _slots(levels: Sequence[ChainLevel]) -> Index:
    """Position of each edge among those of the parent, which has all of its children's columns."""
    starts = np.cumsum([0, *(len(level.columns) for level in levels)])
    slots = np.zeros(starts[-1], dtype=np.intp)
    for f, (level, above) in enumerate(pairwise(levels)):
        width = 1 + max(level.columns.max(initial=0), above.columns.max(initial=0))
        own = np.repeat(level.parent, np.diff(level.edges)) * width + level.columns
        there = np.repeat(np.arange(len(above.A)), np.diff(above.edges)) * width + above.columns
        slots[starts[f] : starts[f + 1]] = starts[f + 1] + np.searchsorted(there, own)
    return slots
