"""The order of elimination: which factors are a chain, which a border, and of what kind it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from bayesv.errors import BayesvError, none_of
from bayesv.gram.chain import ChainFactor, FactorSums, flattened
from bayesv.gram.column_sets import (
    ColumnSets,
    close_levels,
    column_sets,
    connected_levels,
    sets_are_sought,
)
from bayesv.gram.flat import flat_columns
from bayesv.gram.layout import BorderTerm, Iteration, border_table
from bayesv.gram.moments import Moments, Pairs
from bayesv.gram.ordering import ordering_of
from bayesv.gram.probes import Probes
from bayesv.gram.scaling import Index
from bayesv.gram.tables import Sums
from bayesv.linalg import Array
from bayesv.support.integers import order_of
from bayesv.support.memory import refuse_unless

__all__ = ["DENSE_COLUMNS", "ELIMINATIONS", "EliminationOrder", "check_elimination"]

ELIMINATIONS = ("auto", "single", "nested", "crossed", "iterative")
_COPIES_OF_BORDER = 6  # in an evaluation with its gradient
DENSE_COLUMNS = 2000
"""Columns of a dense block, beyond which ``"auto"`` iterates; or eliminates disconnected sets of
columns one by one, where they take no longer than that block."""
_SPARSE = 1.5  # times so many columns that a block may have if its factor is mostly empty
_SETS = 4  # times the memory of that block, that disconnected sets may take


def check_elimination(elimination: str) -> None:
    """Refuse an order of elimination that does not exist."""
    if elimination not in ELIMINATIONS:
        raise BayesvError(none_of("elimination", elimination, ELIMINATIONS))


def _split(moments: Moments, elimination: str) -> tuple[list[int], list[int]]:
    """Split terms into the chain that starts at the largest term, and the border.

    Terms whose levels meet each other are in the border.
    """
    check_elimination(elimination)
    sizes = [len(a) for a in moments.A]
    border = [i for i in range(len(sizes)) if (i, i) in moments.pairs]
    order = sorted(set(range(len(sizes))) - set(border), key=lambda i: -moments.A[i][:, 0].size)
    chain = order[:1]
    for term in sorted(order[1:], key=lambda i: -sizes[i]):
        if elimination != "crossed" and _is_nested(moments, chain[-1], term):
            chain.append(term)
        else:
            border.append(term)
    if elimination == "single" and len(sizes) > 1:
        raise BayesvError(
            f"elimination='single' needs one grouping factor; there are {len(sizes)}. Use 'auto'."
        )
    if elimination == "iterative" and not border:
        raise BayesvError(
            "elimination='iterative' is for crossed grouping factors; there are none. Use 'auto'."
        )
    if elimination == "nested" and border:
        raise BayesvError(
            "elimination='nested' needs every grouping factor nested in the next; some are "
            "crossed. Use 'auto' or 'crossed'."
        )
    return chain, border


def _is_nested(moments: Moments, fine: int, coarse: int) -> bool:
    pairs = moments.pairs[min(fine, coarse), max(fine, coarse)]
    return len(pairs.i) == len(moments.A[fine]) >= len(moments.A[coarse])


class EliminationOrder:
    """The order of elimination of some moments, in which sums of the same levels are brought."""

    def __init__(self, moments: Moments, elimination: str, m: int, *, dense: bool) -> None:
        # Sums that are combined, or of related levels, stay in a dense block.
        self._shapes = [a.shape[:2] for a in moments.A]
        self._pairs = moments.pairs
        self._orders: dict[tuple[int, int], tuple[Index, Index, Index]] = {}
        chain, border = _split(moments, elimination)
        self._edge_orders: dict[int, Index] = {}
        self.border = self._places(border)
        self.chain = self._factors(chain, m)
        iterates, large = elimination == "iterative", self._size > DENSE_COLUMNS
        self.connected = self._connected() if large and not iterates else None
        if elimination == "auto" and large and self.connected is None and not dense:
            iterates = not self._is_sparse()
        self.iteration = self._iteration(moments, chain[0], border) if iterates else None
        if not iterates and self.connected is None:
            self._refuse_large()

    def _meeting(self, f: int, g: int) -> tuple[Index, Index, Index]:
        """Return levels of f and g that meet, by level of f, then of g, and their places."""
        if (f, g) not in self._orders:
            i, j = _levels(self._pairs, f, g)
            order = order_of(i.astype(np.int64) * self._shapes[g][0] + j)
            self._orders[f, g] = i[order], j[order], order
        return self._orders[f, g]

    def _blocks(self, moments: Moments, f: int, g: int) -> Array:
        """Return Z_f'WZ_g where f and g meet."""
        pairs = moments.pairs[f, g] if f < g else moments.pairs[g, f].transposed
        return pairs.blocks[self._meeting(f, g)[2]]

    def _places(self, terms: Sequence[int]) -> tuple[BorderTerm, ...]:
        places, start = [], 0
        for term in terms:
            J, k = self._shapes[term]
            places.append(BorderTerm(term, start, J, k))
            start += J * k
        return tuple(places)

    @property
    def _size(self) -> int:
        """Number of columns of the border."""
        return sum(place.n_levels * place.k for place in self.border)

    def _connected(self) -> ColumnSets | None:
        """Return disconnected sets of columns, if there are some and these are small."""
        if not self.chain:
            return None
        coarsest = self.chain[-1]  # its units meet all that finer ones meet
        if np.diff(coarsest.edges).max(initial=0) > DENSE_COLUMNS:
            return None
        levels = border_table(self.border)
        sets = column_sets(connected_levels(coarsest.edges, coarsest.columns, levels), levels)
        most = float(DENSE_COLUMNS)
        small = sets.work <= most**3 and float(self._size) * sets.width <= _SETS * most**2
        return sets if small and len(sets.sizes) > 1 else None

    def _is_sparse(self) -> bool:
        """Whether the factor of a block, not much too large, is mostly empty in some order."""
        if not self.chain or self._size > _SPARSE * DENSE_COLUMNS:
            return False
        coarsest = self.chain[-1]
        levels = border_table(self.border)
        return ordering_of(coarsest.edges, coarsest.columns, levels) is not None

    def _refuse_large(self) -> None:
        """Refuse a dense block that does not fit into memory."""
        sizes = " + ".join(f"{place.n_levels:,} × {place.k}" for place in self.border)
        refuse_unless(
            8.0 * _COPIES_OF_BORDER * self._size**2,
            "The dense block of the grouping factors that are related, or crossed with the "
            f"largest one, has {self._size:,} columns (levels × columns: {sizes}) and",
            "Use elimination='iterative', which has no such block; of levels that are related, "
            "leave out some.",
        )

    def _factors(self, terms: Sequence[int], m: int) -> tuple[ChainFactor, ...]:
        """Return the factors of the chain, units ordered below their parents."""
        factors: list[ChainFactor] = []
        rank, width = np.zeros(1, dtype=np.intp), m  # rank of each level of the coarser factor
        for depth in reversed(range(len(terms))):
            term = terms[depth]
            J, k = self._shapes[term]
            parent = np.zeros(J, dtype=np.intp)
            if factors:
                parent = rank[self._meeting(term, terms[depth + 1])[1]]
            order = np.argsort(parent, kind="stable")
            rank = np.empty(J, dtype=np.intp)
            rank[order] = np.arange(J)
            edges, columns = self._edges(term, rank)
            factors.append(ChainFactor(term, k, width, order, parent[order], edges, columns))
            width += k
        return tuple(reversed(factors))

    def _edges(self, term: int, rank: Index) -> tuple[Index, Index]:
        """Return where each unit's columns of the border start, and these."""
        J = len(rank)
        if not self.border:
            return np.zeros(J + 1, dtype=np.intp), np.zeros(0, dtype=np.intp)
        units, columns = [], []
        for part in self.border:
            i, j, _ = self._meeting(term, part.term)
            units.append(np.repeat(rank[i], part.k))
            columns.append((part.start + j[:, None] * part.k + np.arange(part.k)).ravel())
        unit, column = np.concatenate(units), np.concatenate(columns)
        order = order_of(unit.astype(np.int64) * (int(column.max(initial=0)) + 1) + column)
        self._edge_orders[term] = order
        edges = np.concatenate([[0], np.cumsum(np.bincount(unit, minlength=J))]).astype(np.intp)
        return edges, column[order].astype(np.intp)

    def sums(self, moments: Moments, transform: Array) -> Sums:
        """Return sums of the same levels in this order, [X y] transformed."""
        B, m = [b @ transform for b in moments.B], transform.shape[1]
        parts = []
        for depth, factor in enumerate(self.chain):
            term = factor.term
            coarser = [self._blocks(moments, term, f.term) for f in self.chain[depth + 1 :]]
            A = moments.A[term][factor.order]
            H = np.concatenate([*coarser, B[term]], axis=2)[factor.order]
            parts.append(FactorSums(A, H, self._couplings(moments, term)))
        return Sums(
            *flattened(parts),
            self._border_block(moments) if self.iteration is None else self._products(moments),
            np.vstack([np.zeros((0, m)), *(B[t.term].reshape(-1, m) for t in self.border)]),
            np.ascontiguousarray(transform.T @ moments.C @ transform),
        )

    def _couplings(self, moments: Moments, term: int) -> Array:
        """Return Z_j'WZ_border where units meet the border, transposed."""
        k = self._shapes[term][1]
        if not self.border:
            return np.zeros((0, k))
        blocks = [self._blocks(moments, term, part.term) for part in self.border]
        values = [np.swapaxes(block, 1, 2).reshape(-1, k) for block in blocks]
        return np.asarray(np.concatenate(values)[self._edge_orders[term]])

    def _iteration(self, moments: Moments, chain: int, terms: Sequence[int]) -> Iteration:
        """Return where the products of the border's columns stand, row by row."""
        rows, columns = self._border_places()
        order = order_of(rows.astype(np.int64) * (int(columns.max(initial=0)) + 1) + columns)
        counts = np.bincount(rows, minlength=self._size)
        self._product_order = order
        finest, levels = self.chain[0], border_table(self.border)
        of_level = np.arange(len(levels.starts))
        if sets_are_sought(finest.edges):
            E, A = self._couplings(moments, finest.term), moments.A[finest.term][finest.order]
            of_level = close_levels(finest.edges, finest.columns, E, A, levels)
        return Iteration(
            rows=np.concatenate([[0], np.cumsum(counts)]).astype(np.intp),
            places=columns[order],
            sets=column_sets(of_level, levels),
            probes=Probes(),
            flat=flat_columns(chain, terms, self._shapes, lambda f, g: self._meeting(f, g)[:2]),
        )

    def _border_places(self) -> tuple[Index, Index]:
        """Return rows and columns of all products of the border, as `_products` has them."""
        rows, columns = [], []
        for b, one in enumerate(self.border):
            levels = np.arange(one.n_levels)
            pairs = [(one, levels, one, levels)]
            for other in self.border[:b]:
                i, j, _ = self._meeting(one.term, other.term)
                pairs += [(one, i, other, j), (other, j, one, i)]
            for f, i, g, j in pairs:
                row, column = np.broadcast_arrays(*_positions(f, i, g, j))
                rows.append(row.ravel())
                columns.append(column.ravel())
        return np.concatenate(rows), np.concatenate(columns)

    def _products(self, moments: Moments) -> Array:
        """Return Z_b'WZ_b of a sparse border where it is not 0."""
        parts = []
        for b, one in enumerate(self.border):
            parts.append(moments.A[one.term].ravel())
            for other in self.border[:b]:
                blocks = self._blocks(moments, one.term, other.term)
                parts += [blocks.ravel(), np.swapaxes(blocks, 1, 2).ravel()]
        return np.asarray(np.concatenate(parts)[self._product_order])

    def _border_block(self, moments: Moments) -> Array:
        own = np.arange(self._size) if self.connected is None else self.connected.own
        A = np.zeros((self._size, int(own.max(initial=-1)) + 1))

        def put(f: BorderTerm, i: Index, g: BorderTerm, j: Index, blocks: Array) -> None:
            rows, columns = _positions(f, i, g, j)
            A[rows, own[columns]] = blocks

        for b, one in enumerate(self.border):
            levels = np.arange(one.n_levels)
            put(one, levels, one, levels, moments.A[one.term])
            if (one.term, one.term) in moments.pairs:
                meeting = moments.pairs[one.term, one.term]
                put(one, meeting.i, one, meeting.j, meeting.blocks)
                put(one, meeting.j, one, meeting.i, np.swapaxes(meeting.blocks, 1, 2))
            for other in self.border[:b]:
                i, j, _ = self._meeting(one.term, other.term)
                blocks = self._blocks(moments, one.term, other.term)
                put(one, i, other, j, blocks)
                put(other, j, one, i, np.swapaxes(blocks, 1, 2))
        return A


def _levels(pairs: Mapping[tuple[int, int], Pairs], f: int, g: int) -> tuple[Index, Index]:
    if f < g:
        return pairs[f, g].i, pairs[f, g].j
    return pairs[g, f].j, pairs[g, f].i


def _positions(f: BorderTerm, i: Index, g: BorderTerm, j: Index) -> tuple[Index, Index]:
    """Return rows and columns of the blocks of levels i of f and j of g."""
    rows = f.start + i[:, None] * f.k + np.arange(f.k)
    columns = g.start + j[:, None] * g.k + np.arange(g.k)
    return rows[:, :, None], columns[:, None, :]
