"""Which directions of (Σ_f, σ²) the data say nothing of: linear algebra on the statistics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isqrt, prod

import numpy as np

from bayesv.gram.chain import ChainFactor, FactorSums
from bayesv.gram.layout import BorderTerm
from bayesv.gram.moments import Pairs
from bayesv.gram.scaling import Index
from bayesv.gram.statistics import GramStatistics
from bayesv.linalg import Array, Mask, symmetrize

__all__ = ["Elements", "flat_directions"]

_FLAT = 1e-10  # eigenvalue of the information about V in units of its diagonal
_AT_ONCE = 1 << 22  # numbers in a temporary


@dataclass(frozen=True, eq=False)
class Elements:
    """The parameters: elements of each Σ_f that may differ from 0, then σ².

    Attributes
    ----------
    rows, columns : tuple of ndarray of int
        Of every term, with column ≤ row.
    sizes : tuple of ndarray, shape (k,)
        Root of the sum of squares of each of the user's columns.
    grams : tuple of ndarray, shape (k, k)
        Products of the user's columns of every term, each of size 1.
    """

    rows: tuple[Index, ...]
    columns: tuple[Index, ...]
    sizes: tuple[Array, ...]
    grams: tuple[Array, ...]

    @property
    def stops(self) -> Index:
        """Where the elements of each term start; σ² comes last."""
        return np.cumsum([0, *(len(rows) for rows in self.rows)])

    def matrix(self, term: int, k: int, part: Array) -> Array:
        """Return the symmetric matrix of a term's elements."""
        full = np.zeros((k, k))
        full[self.rows[term], self.columns[term]] = part
        full[self.columns[term], self.rows[term]] = part
        return full


def flat_directions(
    stats: GramStatistics, masks: Sequence[Mask], *, fixed: bool = True
) -> tuple[Elements, Array]:
    """Return the parameters and directions of them that leave the likelihood as it is.

    Parameters
    ----------
    stats : GramStatistics
    masks : sequence of ndarray of bool, shape (k, k)
        Which elements of each Σ_f may differ from 0.
    fixed : bool
        Whether fixed effects are integrated out (REML, a flat prior) or V is seen whole (ML).

    Returns
    -------
    elements : Elements
    directions : ndarray, shape (parameters, d)
        Of the user's columns at size 1, orthonormal; d = 0 if all of (Σ_f, σ²) is identified.

    Notes
    -----
    V is linear in its parameters, V = Σ θ_i V_i, and the restricted likelihood sees MVM with
    M = I − X(X'X)⁻¹X' only. A direction is flat, everywhere and exactly, if it is in the null space
    of tr(M V_i M V_j). That is a sum over pairs of levels of two factors,
    Σ_jl (z_ja'Mz_lc)(z_jb'Mz_ld).
    """
    elements = _elements(stats, masks)
    places = list(zip(elements.rows, elements.columns, strict=True))
    stops, k = elements.stops, [len(mask) for mask in masks]
    size = int(stops[-1]) + 1
    F, whole = np.zeros((size, size)), np.zeros(size)
    means = _by_fixed(stats, fixed)
    for f, g, pairs in _pairs(stats):
        tensor = _products(pairs, means[f], means[g])
        block = _symmetric(tensor, places[f], places[g])
        F[stops[f] : stops[f + 1], stops[g] : stops[g + 1]] = block
        F[stops[g] : stops[g + 1], stops[f] : stops[f + 1]] = block.T
        if f == g:
            none = np.zeros((len(means[f]), k[f], 0))
            plain = _symmetric(_products(pairs, none, none), places[f], places[f])
            whole[stops[f] : stops[f + 1]] = np.diagonal(plain)
            own = pairs.blocks[pairs.i == pairs.j]  # levels that are related meet others too
            trace = own.sum(axis=0) - np.einsum("jap,jbp->ab", means[f], means[f])
            doubled = np.where(places[f][0] == places[f][1], 1.0, 2.0)
            F[stops[f] : stops[f + 1], -1] = F[-1, stops[f] : stops[f + 1]] = (
                trace[places[f]] * doubled
            )
    F[-1, -1] = stats.n - (stats.p if fixed else 0)
    whole[-1] = stats.n
    scale = np.sqrt(np.where(whole > 0, whole, 1.0))
    values, vectors = np.linalg.eigh(symmetrize(F / np.outer(scale, scale)))
    null = vectors[:, values < _FLAT] / scale[:, None]
    if not null.shape[1]:
        return elements, null
    for f in range(len(masks)):
        # From the basis of the statistics to the user's columns, at size 1
        back = elements.sizes[f][:, None] * np.linalg.inv(stats.bases[f])
        rows = slice(stops[f], stops[f + 1])
        for d in range(null.shape[1]):
            moved = back @ elements.matrix(f, k[f], null[rows, d]) @ back.T
            null[rows, d] = moved[places[f]]
    null[-1] *= stats.n  # as if σ² belonged to a term with a level for each row
    return elements, np.linalg.qr(null)[0]


def _elements(stats: GramStatistics, masks: Sequence[Mask]) -> Elements:
    places = [np.nonzero(np.tril(mask)) for mask in masks]
    totals = [blocks.sum(axis=0) for blocks in stats.squares]
    grams = [basis.T @ total @ basis for basis, total in zip(stats.bases, totals, strict=True)]
    sizes = [np.sqrt(np.diagonal(gram)) for gram in grams]
    return Elements(
        tuple(p[0] for p in places),
        tuple(p[1] for p in places),
        tuple(sizes),
        tuple(
            gram / np.where(np.outer(size, size) > 0, np.outer(size, size), 1.0)
            for gram, size in zip(grams, sizes, strict=True)
        ),
    )


def _by_fixed(stats: GramStatistics, fixed: bool) -> list[Array]:
    """Return Z_j'WX of all levels of every term, shape (J, k, p), in the order of its units."""
    p = stats.p if fixed else 0
    layout = stats.layout
    means = [np.zeros((0, 0, 0))] * len(stats.bases)
    for factor, part in zip(layout.chain, layout.by_factor(stats.sums), strict=True):
        s = factor.width - stats.p - 1
        means[factor.term] = part.H[:, :, s : s + p]
    for term in layout.border:
        B = stats.sums.B_border[term.slice, :p]
        means[term.term] = B.reshape(term.n_levels, term.k, p)
    return means


def _pairs(stats: GramStatistics) -> list[tuple[int, int, Pairs]]:
    """Return Z_f'WZ_g of all pairs of terms, and of each term with itself."""
    chain, border = stats.layout.chain, stats.layout.border
    parts, all_pairs = stats.layout.by_factor(stats.sums), []
    for depth, (factor, part) in enumerate(zip(chain, parts, strict=True)):
        units = np.arange(factor.n_units, dtype=np.intp)
        all_pairs.append((factor.term, factor.term, Pairs(units, units, part.A)))
        ancestor, start = units, 0
        for finer, other in zip(chain[depth:], chain[depth + 1 :], strict=False):
            ancestor = finer.parent[ancestor]
            blocks = part.H[:, :, start : start + other.k]
            all_pairs.append((factor.term, other.term, Pairs(units, ancestor, blocks)))
            start += other.k
        all_pairs += [(factor.term, term.term, _edges(factor, part, term)) for term in border]
    layout, A = stats.layout, stats.sums.A_border
    dense = layout.iteration is None and layout.connected is None
    products = None if dense else layout.products(A)
    for b, one in enumerate(border):
        for two in border[: b + 1]:
            if products is not None:
                all_pairs.append((one.term, two.term, _sparse(*products, one, two)))
                continue
            block = A[one.slice, two.slice]
            blocks = np.swapaxes(block.reshape(one.n_levels, one.k, two.n_levels, two.k), 1, 2)
            i, j = np.nonzero((blocks != 0).any(axis=(2, 3)))
            all_pairs.append((one.term, two.term, Pairs(i, j, blocks[i, j])))
    return all_pairs


def _sparse(row: Index, column: Index, values: Array, one: BorderTerm, two: BorderTerm) -> Pairs:
    """Return the products of two factors, of all rows, columns and values of a sparse border."""
    row, column = row - one.start, column - two.start
    inside = (row >= 0) & (row < one.n_levels * one.k)
    inside &= (column >= 0) & (column < two.n_levels * two.k)
    row, column, values = row[inside], column[inside], values[inside]
    # Blocks are whole: every row of a level has the same columns.
    rows = [values[row % one.k == a].reshape(-1, two.k) for a in range(one.k)]
    first = (row % one.k == 0) & (column % two.k == 0)
    return Pairs(row[first] // one.k, column[first] // two.k, np.stack(rows, axis=1))


def _edges(factor: ChainFactor, sums: FactorSums, term: BorderTerm) -> Pairs:
    """Return the products of a factor of the chain with one of the border."""
    units = np.repeat(np.arange(factor.n_units, dtype=np.intp), np.diff(factor.edges))
    inside = (factor.columns >= term.slice.start) & (factor.columns < term.slice.stop)
    # All columns of a level of the border stand together.
    blocks = sums.E[inside].reshape(-1, term.k, factor.k)
    levels = (factor.columns[inside] - term.start) // term.k
    return Pairs(units[inside][:: term.k], levels[:: term.k], np.swapaxes(blocks, 1, 2))


def _products(pairs: Pairs, f: Array, g: Array) -> Array:
    """Return Σ_jl (z_ja'Mz_lc)(z_jb'Mz_ld), shape (a, b, c, d)."""
    S, p = pairs.blocks, f.shape[2]
    shape = (f.shape[1], f.shape[1], g.shape[1], g.shape[1])
    total = _summed(S, S).transpose(0, 2, 1, 3)
    if p == 0:
        return np.asarray(total)
    step = max(1, _AT_ONCE // (p * (f.shape[1] + g.shape[1])))
    for start in range(0, len(S), step):
        rows = slice(start, start + step)
        explained = f[pairs.i[rows]] @ np.swapaxes(g[pairs.j[rows]], 1, 2)
        cross = _summed(S[rows], explained).transpose(0, 2, 1, 3)
        total = total - cross - cross.transpose(1, 0, 3, 2)
    # Σ_pq (Σ_j f_jap f_jbq)(Σ_l g_lcp g_ldq)
    left, right = _summed(f, f), _summed(g, g)
    both = np.tensordot(left, right, ((1, 3), (1, 3)))
    return np.asarray(total + both.reshape(shape))


def _summed(f: Array, g: Array) -> Array:
    """Return Σ_j f_jab g_jcd, shape (a, b, c, d)."""
    one, other = (each.reshape(len(each), prod(each.shape[1:])) for each in (f, g))
    return np.asarray((one.T @ other).reshape(*f.shape[1:], *g.shape[1:]))


def _symmetric(tensor: Array, f: tuple[Index, Index], g: tuple[Index, Index]) -> Array:
    """Return the sums for the symmetric elements (a, b) of f and (c, d) of g."""
    k, m = tensor.shape[0], tensor.shape[2]
    rows = _both_ways(tensor.reshape(k * k, m * m), *f)
    return _both_ways(np.ascontiguousarray(rows.T), *g).T


def _both_ways(rows: Array, i: Index, j: Index) -> Array:
    """Return the rows of elements (i, j), added to those of (j, i) where these are others."""
    k = isqrt(len(rows))
    return np.asarray(rows[i * k + j] + np.where(i == j, 0.0, 1.0)[:, None] * rows[j * k + i])
