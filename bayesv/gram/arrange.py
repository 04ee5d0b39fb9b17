"""Bring sums over rows into the order of elimination."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from bayesv.errors import BayesvError, none_of
from bayesv.gram.chain import ChainFactor, FactorSums, flattened, merging_of
from bayesv.gram.fixed import FixedCoordinates
from bayesv.gram.flat import flat_columns
from bayesv.gram.layout import BorderTerm, Iteration, Layout
from bayesv.gram.moments import Moments, Pairs, accumulate, spread, weighted
from bayesv.gram.probes import Probes
from bayesv.gram.related import independent_effects, loadings_of
from bayesv.gram.scaling import Index, RowBatch, Scaling
from bayesv.gram.statistics import GramStatistics
from bayesv.gram.tables import Sums, combined
from bayesv.linalg import Array, independent_columns, psd_root
from bayesv.structures.level_root import LevelRoot
from bayesv.support.integers import order_of
from bayesv.support.memory import refuse_unless

__all__ = [
    "DENSE_COLUMNS",
    "ELIMINATIONS",
    "after_fixed",
    "arrange",
    "check_elimination",
    "gram_statistics",
]

ELIMINATIONS = ("auto", "single", "nested", "crossed", "iterative")
_COPIES_OF_BORDER = 6  # in an evaluation with its gradient
_DIFFERS = 1e-7  # root mean square, of columns in their units
DENSE_COLUMNS = 2000
"""Columns of a dense block, beyond which ``"auto"`` iterates."""


def check_elimination(elimination: str) -> None:
    """Refuse an order of elimination that does not exist."""
    if elimination not in ELIMINATIONS:
        raise BayesvError(none_of("elimination", elimination, ELIMINATIONS))


def gram_statistics(
    rows: RowBatch, elimination: str = "auto", *, dedupe: bool = True
) -> GramStatistics:
    """Accumulate the statistics of all rows at once; rows are not needed afterwards.

    Parameters
    ----------
    rows : RowBatch
    elimination : {"auto", "single", "nested", "crossed", "iterative"}
    dedupe : bool
        Whether levels with equal rows are eliminated once.
    """
    scaling = Scaling.of(rows)
    roots = [grouping.root for grouping in rows.groupings]
    return arrange(accumulate(rows, scaling), scaling, elimination, dedupe=dedupe, roots=roots)


def arrange(
    moments: Moments | Sequence[Moments],
    scaling: Scaling,
    elimination: str = "auto",
    *,
    dedupe: bool = True,
    reference: Sequence[float] | None = None,
    roots: Sequence[LevelRoot | None] | None = None,
) -> GramStatistics:
    """Bring sums over rows into the form that is eliminated.

    Parameters
    ----------
    moments : Moments, or sequence of Moments
        Of all rows, in ``scaling``; or K sums with the same levels, whose linear combinations are
        eliminated (see `GramStatistics.at`). n and log w add up: of sums over rows that others
        count already they are 0.
    scaling : Scaling
    elimination : {"auto", "single", "nested", "crossed", "iterative"}
        ``crossed`` eliminates the largest factor and puts all others into the dense block, even if
        they are nested; ``auto`` chooses the longest chain from the largest factor. ``iterative``
        does, too, and has Krylov spaces and probes in place of the dense block, as ``auto`` beyond
        some thousand columns.
    dedupe : bool
        Whether levels of the finest factor with equal rows of (z, w), in all sums, are eliminated
        once.
    reference : sequence of float, optional
        Coefficients at which X is orthonormal and y a residual, for all sums; ones if left out.
    roots : sequence of LevelRoot or None, optional
        Of each term whose levels are related.

    Raises
    ------
    BayesvError
        If the design does not allow the order asked for.
    """
    parts = [moments] if isinstance(moments, Moments) else list(moments)
    coefficients = [1.0] * len(parts) if reference is None else list(reference)
    whole = parts[0] if len(parts) == 1 and reference is None else weighted(parts, coefficients)
    one = whole is parts[0]
    transform, fixed = _orthonormal(whole, scaling)
    loadings, rotated = loadings_of(whole, roots or [None] * len(whole.A), rotate=one)
    effects = independent_effects(whole, loadings, rotated=rotated)
    related = any(L is not None for L in loadings)
    if related and elimination == "iterative":
        raise BayesvError("elimination='iterative' is not for levels that are related. Use 'auto'.")
    order = _Order(effects, elimination, len(fixed.kept) + 1, dense=related or not one)
    of_parts = [effects]
    if not one:
        of_parts = [
            independent_effects(spread(part, whole), loadings, rotated=False) for part in parts
        ]
    several = [order.sums(part, transform) for part in of_parts]
    sums = several[0] if one else combined(several, coefficients)
    merging = None
    # With a border, equal rows of the finest factor meet different columns of it.
    if dedupe and order.chain and not order.border:
        finest = order.chain[0]
        hashes = [part.hashes[finest.term][finest.order] for part in of_parts]
        merging = merging_of(finest, np.hstack(hashes))
    layout = Layout(
        n=whole.n,
        p=len(fixed.kept),
        chain=order.chain,
        border=order.border,
        merging=merging,
        scales=tuple(_rms(a, whole.n) for a in whole.A),
        bases=scaling.bases,
        iteration=order.iteration,
        loadings=loadings,
    )
    return GramStatistics(
        layout,
        fixed,
        sums,
        log_weights=whole.log_weights,
        total=whole.total,
        parts=() if one else tuple(several),
        totals=() if one else tuple(part.total for part in parts),
    )


def _orthonormal(moments: Moments, scaling: Scaling) -> tuple[Array, FixedCoordinates]:
    """Return the transform that makes [X y] orthonormal and a residual, and its coordinates."""
    # With LL' = S of the columns E = X U₀⁻¹, L'U₀ = QU has the U of the columns themselves.
    p = len(scaling.upper)
    L = psd_root(moments.C[:p, :p])
    # In these units columns that differ have mean square 1, wherever their zero was.
    differs = np.diagonal(moments.C)[:p] > _DIFFERS**2 * moments.n
    kept = independent_columns(L.T * differs, np.zeros(p))
    Q, upper = np.linalg.qr(L.T @ scaling.upper[:, kept])
    to_orthonormal = np.linalg.solve(upper.T, scaling.upper[:, kept].T).T
    gamma = to_orthonormal.T @ moments.C[:p, p]
    taken = Q.T @ (L.T @ scaling.gamma)
    transform = np.zeros((p + 1, len(kept) + 1))
    transform[:p, :-1] = to_orthonormal
    transform[:p, -1] = -to_orthonormal @ gamma
    if len(kept) < p:
        # What the units took off the response along a dropped column is put back: that column may
        # be determined to 7 digits only, and the response still depend on the others.
        transform[:p, -1] += scaling.gamma - scaling.upper[:, kept] @ np.linalg.solve(upper, taken)
    transform[p, -1] = 1.0
    return transform, FixedCoordinates(upper, np.linalg.solve(upper, taken + gamma), kept)


def after_fixed(moments: Moments, scaling: Scaling) -> float:
    """Return Σ w r² of the response after X."""
    last = _orthonormal(moments, scaling)[0][:, -1]
    return float(last @ moments.C @ last)


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


class _Order:
    """The order of elimination of some moments, in which sums of the same levels are brought."""

    def __init__(self, moments: Moments, elimination: str, m: int, *, dense: bool) -> None:
        # Sums that are combined, or of related levels, stay in a dense block.
        self._shapes = [a.shape[:2] for a in moments.A]
        self._pairs = moments.pairs
        self._orders: dict[tuple[int, int], tuple[Index, Index, Index]] = {}
        chain, border = _split(moments, elimination)
        size = sum(J * k for J, k in (self._shapes[term] for term in border))
        iterates = elimination == "auto" and size > DENSE_COLUMNS and not dense
        iterates |= elimination == "iterative"
        self.border = self._places(border, dense=not iterates)
        self.iteration = self._iteration(chain[0], border) if iterates else None
        self._edge_orders: dict[int, Index] = {}
        self.chain = self._factors(chain, m)

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

    def _places(self, terms: Sequence[int], *, dense: bool) -> tuple[BorderTerm, ...]:
        places, start = [], 0
        for term in terms:
            J, k = self._shapes[term]
            places.append(BorderTerm(term, start, J, k))
            start += J * k
        if not dense:
            return tuple(places)
        sizes = " + ".join(f"{place.n_levels:,} × {place.k}" for place in places)
        refuse_unless(
            8.0 * _COPIES_OF_BORDER * start**2,
            "The dense block of the grouping factors that are related, or crossed with the "
            f"largest one, has {start:,} columns (levels × columns: {sizes}) and",
            "Use elimination='iterative', which has no such block; of levels that are related, "
            "leave out some.",
        )
        return tuple(places)

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

    def _iteration(self, chain: int, terms: Sequence[int]) -> Iteration:
        """Return where the products of the border's columns stand, row by row."""
        rows, columns = self._border_places()
        order = order_of(rows.astype(np.int64) * (int(columns.max(initial=0)) + 1) + columns)
        widths = [np.full(t.n_levels * t.k, t.k) for t in self.border]
        starts = [t.start + np.repeat(np.arange(t.n_levels) * t.k, t.k) for t in self.border]
        counts = np.bincount(rows, minlength=sum(len(width) for width in widths))
        self._product_order = order
        return Iteration(
            rows=np.concatenate([[0], np.cumsum(counts)]).astype(np.intp),
            places=columns[order],
            starts=np.concatenate(starts).astype(np.intp),
            widths=np.concatenate(widths).astype(np.intp),
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
        size = sum(part.n_levels * part.k for part in self.border)
        A = np.zeros((size, size))
        for b, one in enumerate(self.border):
            levels = np.arange(one.n_levels)
            _put(A, one, levels, one, levels, moments.A[one.term])
            if (one.term, one.term) in moments.pairs:
                meeting = moments.pairs[one.term, one.term]
                _put(A, one, meeting.i, one, meeting.j, meeting.blocks)
                both = np.swapaxes(meeting.blocks, 1, 2)
                _put(A, one, meeting.j, one, meeting.i, both)
            for other in self.border[:b]:
                i, j, _ = self._meeting(one.term, other.term)
                blocks = self._blocks(moments, one.term, other.term)
                _put(A, one, i, other, j, blocks)
                _put(A, other, j, one, i, np.swapaxes(blocks, 1, 2))
        return A


def _levels(pairs: Mapping[tuple[int, int], Pairs], f: int, g: int) -> tuple[Index, Index]:
    if f < g:
        return pairs[f, g].i, pairs[f, g].j
    return pairs[g, f].j, pairs[g, f].i


def _put(A: Array, f: BorderTerm, i: Index, g: BorderTerm, j: Index, blocks: Array) -> None:
    A[_positions(f, i, g, j)] = blocks


def _positions(f: BorderTerm, i: Index, g: BorderTerm, j: Index) -> tuple[Index, Index]:
    """Return rows and columns of the blocks of levels i of f and j of g."""
    rows = f.start + i[:, None] * f.k + np.arange(f.k)
    columns = g.start + j[:, None] * g.k + np.arange(g.k)
    return rows[:, :, None], columns[:, None, :]


def _rms(A: Array, n: int) -> Array:
    """Root mean square of a term's columns, from the sums over its levels."""
    rms = np.sqrt(np.einsum("jaa->a", A) / n)
    return np.where(rms > 0, rms, 1.0)
