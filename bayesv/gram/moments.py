"""Sums over rows of the products of [Z X y]: one pass, and the sums of parts add up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesv.design.residual import Residual
from bayesv.gram.scaling import Grouping, Index, RowBatch, Scaling
from bayesv.linalg import Array
from bayesv.support.integers import distinct
from bayesv.support.memory import refuse_unless

__all__ = [
    "Moments",
    "Pairs",
    "accumulate",
    "merge",
    "permute",
    "recode",
    "spread",
    "weighted",
]

Hash = NDArray[np.uint64]

_COPIES = 3  # of the sums, while they are brought into the order of elimination
_ROWS = 1 << 17  # transformed at a time: temporaries stay in the cache


@dataclass(frozen=True, eq=False)
class Pairs:
    """Z_f'WZ_g of two factors where they meet: blocks (c, k_f, k_g) at levels i of f and j of g."""

    i: Index
    j: Index
    blocks: Array

    @property
    def transposed(self) -> Pairs:
        """The same with f and g exchanged."""
        return Pairs(self.j, self.i, np.swapaxes(self.blocks, 1, 2))


@dataclass(frozen=True, eq=False)
class Moments:
    """Sums over rows, in given units; those of two parts of the rows can be added.

    Attributes
    ----------
    n : int
    log_weights : float
        Σ log w.
    total : float
        y'Wy of the response as given: what rounding is measured against.
    C : ndarray, shape (p + 1, p + 1)
        [X y]'W[X y].
    A, B : tuple of ndarray, shapes (J, k, k) and (J, k, p + 1)
        Z_j'WZ_j and Z_j'W[X y] of every level j of each factor.
    hashes : tuple of ndarray of uint64, shape (J, 2)
        Of the rows (z, w) of each level, whatever their order: equal for equal rows.
    pairs : mapping of (f, g) to Pairs
        For each pair of factors f < g.
    """

    n: int
    log_weights: float
    total: float
    C: Array
    A: tuple[Array, ...]
    B: tuple[Array, ...]
    hashes: tuple[Hash, ...]
    pairs: Mapping[tuple[int, int], Pairs]


def accumulate(rows: RowBatch, scaling: Scaling) -> Moments:
    """Sum the products of the rows, in one pass over them."""
    from bayesv.gram.rows import add_hashes, add_products  # compiled: loaded when it is needed

    n, m = len(rows.y), rows.X.shape[1] + 1
    groupings = rows.groupings
    _refuse_too_many(groupings, m)
    C = np.zeros((m, m))
    A = [np.zeros((g.n_levels, g.k, g.k)) for g in groupings]
    B = [np.zeros((g.n_levels, g.k, m)) for g in groupings]
    hashes = [np.zeros((g.n_levels, 2), dtype=np.uint64) for g in groupings]
    cells = {(f, g): _cells(groupings[f], groupings[g]) for f, g in _pairs(groupings)}
    blocks = {
        (f, g): np.zeros((len(i), groupings[f].k, groupings[g].k))
        for (f, g), (_, i, _) in cells.items()
    }
    for start in range(0, n, _ROWS):
        span = slice(start, start + _ROWS)
        residual = rows.residual.take(span)
        fixed = residual.whiten(scaling.fixed(rows.X[span], rows.y[span]))
        Z = [residual.whiten(scaling.columns(f, g.values[span])) for f, g in enumerate(groupings)]
        C += fixed.T @ fixed
        for f, grouping in enumerate(groupings):
            codes = grouping.codes[span]
            add_products(codes, Z[f], Z[f], A[f])
            add_products(codes, Z[f], fixed, B[f])
            add_hashes(codes, _bits(grouping.values[span], residual), hashes[f])
        for (f, g), (cell, _, _) in cells.items():
            add_products(cell[span], Z[f], Z[g], blocks[f, g])
    return Moments(
        n=n,
        log_weights=0.0 - rows.residual.log_det,  # 0 − 0 is not −0
        total=float((rows.residual.weights * rows.y**2).sum()),
        C=C,
        A=tuple(A),
        B=tuple(B),
        hashes=tuple(hashes),
        pairs={key: Pairs(i, j, blocks[key]) for key, (_, i, j) in cells.items()},
    )


def _refuse_too_many(groupings: Sequence[Grouping], m: int) -> None:
    """Refuse sums that memory does not hold: of each level, and of each two that meet."""
    if not groupings:
        return
    levels = [g.n_levels * g.k * (g.k + m) for g in groupings]
    meeting = sum(
        min(len(f.codes), f.n_levels * g.n_levels) * f.k * g.k
        for f, g in combinations(groupings, 2)
    )
    largest = groupings[int(np.argmax(levels))]
    refuse_unless(
        8.0 * (_COPIES * sum(levels) + meeting),
        f"Sums over the rows of each level (the largest random term has {largest.n_levels:,} "
        f"levels × {largest.k} columns)",
        "Give the term fewer columns, or merge levels of its grouping factor.",
    )


def merge(a: Moments, b: Moments) -> Moments:
    """Add two parts in the same units and with the same codes; later levels may be new in b."""
    return Moments(
        n=a.n + b.n,
        log_weights=a.log_weights + b.log_weights,
        total=a.total + b.total,
        C=a.C + b.C,
        A=tuple(_add(x, y) for x, y in zip(a.A, b.A, strict=True)),
        B=tuple(_add(x, y) for x, y in zip(a.B, b.B, strict=True)),
        hashes=tuple(_add(x, y) for x, y in zip(a.hashes, b.hashes, strict=True)),
        pairs={key: _merge_pairs(a.pairs[key], b.pairs[key]) for key in a.pairs},
    )


def recode(moments: Moments, codes: Sequence[Index], n_levels: Sequence[int]) -> Moments:
    """Move level j of factor f to codes[f][j] of n_levels[f] levels; codes may not collide."""

    def moved(values: Any, f: int) -> Any:
        spread = np.zeros((n_levels[f], *values.shape[1:]), dtype=values.dtype)
        spread[codes[f]] = values
        return spread

    return replace(
        moments,
        A=tuple(moved(a, f) for f, a in enumerate(moments.A)),
        B=tuple(moved(b, f) for f, b in enumerate(moments.B)),
        hashes=tuple(moved(h, f) for f, h in enumerate(moments.hashes)),
        pairs={
            (f, g): Pairs(codes[f][pairs.i], codes[g][pairs.j], pairs.blocks)
            for (f, g), pairs in moments.pairs.items()
        },
    )


def permute(moments: Moments, order: Sequence[int]) -> Moments:
    """Return the moments with factor order[f] in place f."""
    pairs = {}
    for f, g in combinations(range(len(order)), 2):
        a, b = order[f], order[g]
        pairs[f, g] = moments.pairs[a, b] if a < b else moments.pairs[b, a].transposed
    return replace(
        moments,
        A=tuple(moments.A[f] for f in order),
        B=tuple(moments.B[f] for f in order),
        hashes=tuple(moments.hashes[f] for f in order),
        pairs=pairs,
    )


def _pairs(groupings: Sequence[Grouping]) -> list[tuple[int, int]]:
    return list(combinations(range(len(groupings)), 2))


def _cells(f: Grouping, g: Grouping) -> tuple[Index, Index, Index]:
    """Return the cell of each row, and the levels of f and g of each cell."""
    for fine, coarse, swap in ((f, g, False), (g, f, True)):
        partner = np.full(fine.n_levels, -1, dtype=np.intp)
        partner[fine.codes] = coarse.codes
        if (partner[fine.codes] == coarse.codes).all():  # nested: cells are levels of the finer
            seen = np.flatnonzero(partner >= 0)
            number = np.cumsum(partner >= 0) - 1
            i, j = (partner[seen], seen) if swap else (seen, partner[seen])
            return number[fine.codes], i, j
    key = f.codes.astype(np.int64) * g.n_levels + g.codes
    seen, cell = distinct(key)
    i, j = np.divmod(seen, g.n_levels)
    return cell, i.astype(np.intp), j.astype(np.intp)


def _merge_pairs(a: Pairs, b: Pairs) -> Pairs:
    i, j = np.concatenate([a.i, b.i]), np.concatenate([a.j, b.j])
    width = int(j.max()) + 1 if len(j) else 1
    seen, cell = distinct(i.astype(np.int64) * width + j)
    blocks = np.zeros((len(seen), *a.blocks.shape[1:]))
    np.add.at(blocks, cell[: len(a.i)], a.blocks)
    np.add.at(blocks, cell[len(a.i) :], b.blocks)
    return Pairs((seen // width).astype(np.intp), (seen % width).astype(np.intp), blocks)


def _add(a: Any, b: Any) -> Any:
    """Add arrays whose first axes may differ: levels that one part has not met count as 0."""
    if len(a) < len(b):
        a, b = b, a
    total = a.copy()
    total[: len(b)] += b
    return total


def _bits(values: Array, residual: Residual) -> Hash:
    columns = values if residual.iid else np.column_stack([values, residual.weights])
    # + 0.0 makes −0.0 the same bits as 0.0.
    return np.ascontiguousarray(columns + 0.0).view(np.uint64)


def weighted(parts: Sequence[Moments], coefficients: Sequence[float]) -> Moments:
    """Return Σ_k c_k of the products of K sums with the same codes; n and Σ log w just add up."""
    scaled = [
        replace(
            part,
            total=c * part.total,
            C=c * part.C,
            A=tuple(c * a for a in part.A),
            B=tuple(c * b for b in part.B),
            pairs={key: Pairs(x.i, x.j, c * x.blocks) for key, x in part.pairs.items()},
        )
        for part, c in zip(parts, coefficients, strict=True)
    ]
    return reduce(merge, scaled)


def spread(part: Moments, whole: Moments) -> Moments:
    """Return sums of some rows with zeros at the levels and meetings that only others have."""
    if part is whole:
        return part
    sizes = [len(a) for a in whole.A]
    codes = [np.arange(len(a), dtype=np.intp) for a in part.A]
    pairs = {key: _spread_pairs(part.pairs[key], whole.pairs[key]) for key in whole.pairs}
    return replace(recode(part, codes, sizes), pairs=pairs)


def _spread_pairs(part: Pairs, whole: Pairs) -> Pairs:
    width = int(whole.j.max()) + 1
    keys = whole.i.astype(np.int64) * width + whole.j
    order = np.argsort(keys)
    wanted = part.i.astype(np.int64) * width + part.j
    blocks = np.zeros((len(keys), *whole.blocks.shape[1:]))
    blocks[order[np.searchsorted(keys, wanted, sorter=order)]] = part.blocks
    return Pairs(whole.i, whole.j, blocks)
