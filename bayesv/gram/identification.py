"""Which directions of (Σ_f, σ²) the data say nothing of: linear algebra on the statistics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bayesv.gram.chain import ChainLevel
from bayesv.gram.moments import Pairs
from bayesv.gram.statistics import BorderTerm, GramStatistics
from bayesv.gram.units import Index
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
            trace = pairs.blocks.sum(axis=0) - np.einsum("jap,jbp->ab", means[f], means[f])
            doubled = np.where(places[f][0] == places[f][1], 1.0, 2.0)
            F[stops[f] : stops[f + 1], -1] = F[-1, stops[f] : stops[f + 1]] = (
                trace[places[f]] * doubled
            )
    F[-1, -1] = stats.n - (stats.p if fixed else 0)
    whole[-1] = stats.n
    scale = np.sqrt(np.where(whole > 0, whole, 1.0))
    values, vectors = np.linalg.eigh(symmetrize(F / np.outer(scale, scale)))
    null = vectors[:, values < _FLAT] / scale[:, None]
    for f in range(len(masks)):
        # From the basis of the statistics to the user's columns, at size 1
        back = elements.sizes[f][:, None] * np.linalg.inv(stats.bases[f])
        rows = slice(stops[f], stops[f + 1])
        for d in range(null.shape[1]):
            moved = back @ elements.matrix(f, k[f], null[rows, d]) @ back.T
            null[rows, d] = moved[places[f]]
    null[-1] *= stats.n  # as if σ² belonged to a term with a level for each row
    if null.shape[1]:
        null = np.linalg.qr(null)[0]
    return elements, null


def _elements(stats: GramStatistics, masks: Sequence[Mask]) -> Elements:
    places = [np.nonzero(np.tril(mask)) for mask in masks]
    squares = {level.term: level.A.sum(axis=0) for level in stats.levels}
    for part in stats.border:
        block = stats.A_border[part.slice, part.slice]
        block = block.reshape(part.n_levels, part.k, part.n_levels, part.k)
        squares[part.term] = np.einsum("jajb->ab", block)
    grams = [basis.T @ squares[f] @ basis for f, basis in enumerate(stats.bases)]
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
    means = [np.zeros((0, 0, 0))] * (len(stats.levels) + len(stats.border))
    for level in stats.levels:
        s = level.H.shape[2] - stats.p - 1
        means[level.term] = level.H[:, :, s : s + p]
    for part in stats.border:
        means[part.term] = stats.B_border[part.slice, :p].reshape(part.n_levels, part.k, p)
    return means


def _pairs(stats: GramStatistics) -> list[tuple[int, int, Pairs]]:
    """Return Z_f'WZ_g of all pairs of terms, and of each term with itself."""
    all_pairs = []
    for depth, level in enumerate(stats.levels):
        units = np.arange(len(level.A), dtype=np.intp)
        all_pairs.append((level.term, level.term, Pairs(units, units, level.A)))
        ancestor, start = units, 0
        for finer, other in zip(stats.levels[depth:], stats.levels[depth + 1 :], strict=False):
            ancestor = finer.parent[ancestor]
            blocks = level.H[:, :, start : start + other.k]
            all_pairs.append((level.term, other.term, Pairs(units, ancestor, blocks)))
            start += other.k
        all_pairs += [(level.term, part.term, _edges(level, part)) for part in stats.border]
    for b, one in enumerate(stats.border):
        for two in stats.border[: b + 1]:
            block = stats.A_border[one.slice, two.slice]
            blocks = np.swapaxes(block.reshape(one.n_levels, one.k, two.n_levels, two.k), 1, 2)
            i, j = np.nonzero((blocks != 0).any(axis=(2, 3)))
            all_pairs.append((one.term, two.term, Pairs(i, j, blocks[i, j])))
    return all_pairs


def _edges(level: ChainLevel, part: BorderTerm) -> Pairs:
    """Return the products of a factor of the chain with one of the border."""
    units = np.repeat(np.arange(len(level.A), dtype=np.intp), np.diff(level.edges))
    inside = (level.columns >= part.slice.start) & (level.columns < part.slice.stop)
    # All columns of a level of the border stand together.
    blocks = level.E[inside].reshape(-1, part.k, level.k)
    levels = (level.columns[inside] - part.start) // part.k
    return Pairs(units[inside][:: part.k], levels[:: part.k], np.swapaxes(blocks, 1, 2))


def _products(pairs: Pairs, f: Array, g: Array) -> Array:
    """Return Σ_jl (z_ja'Mz_lc)(z_jb'Mz_ld), shape (a, b, c, d)."""
    S, p = pairs.blocks, f.shape[2]
    shape = (f.shape[1], f.shape[1], g.shape[1], g.shape[1])
    total = np.tensordot(S, S, (0, 0)).transpose(0, 2, 1, 3)
    if p == 0:
        return np.asarray(total)
    step = max(1, _AT_ONCE // (p * (f.shape[1] + g.shape[1])))
    for start in range(0, len(S), step):
        rows = slice(start, start + step)
        explained = f[pairs.i[rows]] @ np.swapaxes(g[pairs.j[rows]], 1, 2)
        cross = np.tensordot(S[rows], explained, (0, 0)).transpose(0, 2, 1, 3)
        total = total - cross - cross.transpose(1, 0, 3, 2)
    # Σ_pq (Σ_j f_jap f_jbq)(Σ_l g_lcp g_ldq)
    left, right = np.tensordot(f, f, (0, 0)), np.tensordot(g, g, (0, 0))
    both = np.tensordot(left, right, ((1, 3), (1, 3)))
    return np.asarray(total + both.reshape(shape))


def _symmetric(tensor: Array, f: tuple[Index, Index], g: tuple[Index, Index]) -> Array:
    """Return the sums for the symmetric elements (a, b) of f and (c, d) of g."""
    (a, b), (c, d) = f, g
    block = np.zeros((len(a), len(c)))
    for i, (ai, bi) in enumerate(zip(a, b, strict=True)):
        for j, (cj, dj) in enumerate(zip(c, d, strict=True)):
            lefts = {(ai, bi), (bi, ai)}
            rights = {(cj, dj), (dj, cj)}
            block[i, j] = sum(tensor[x, y, v, w] for x, y in lefts for v, w in rights)
    return block
