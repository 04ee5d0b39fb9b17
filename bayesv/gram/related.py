"""Sums over rows in effects that are independent, where levels of a factor are related.

Effects with covariance Σ ⊗ K, K = LL', are u = (L ⊗ λ)v. Columns Z(L ⊗ I) in place of Z keep the
form I ⊗ λ that the elimination has, with the columns of L as levels; what is new is that these meet
each other. With one term and products Z_j'WZ_j that are a multiple of one matrix (one column is
enough), L can be rotated such that they do not: then they are the units of a chain.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy import sparse

from bayesv.gram.moments import Moments, Pairs
from bayesv.gram.scaling import Index
from bayesv.linalg import Array, connected
from bayesv.structures.level_root import LevelRoot

__all__ = ["Loadings", "independent_effects", "loadings_of"]

Loadings = tuple[sparse.csr_array | None, ...]
"""L of each term, shape (J, rank); None where levels are not related."""

_PROPORTIONAL = 1e-12  # of their size, how far products may be from a multiple of their sum
_SPARSE = 0.1  # share of elements that are not 0, below which products of L are sparse ones


def loadings_of(
    moments: Moments, roots: Sequence[LevelRoot | None], *, rotate: bool = True
) -> tuple[Loadings, bool]:
    """Return L of each term, and whether it was rotated so that the columns do not meet.

    Parameters
    ----------
    moments : Moments
    roots : sequence of LevelRoot or None
        Of each term.
    rotate : bool
        Whether all sums that will be used are a multiple of these.
    """
    first = roots[0] if len(roots) == 1 else None
    if rotate and first is not None:
        shares = _shares(moments.A[0])
        if shares is not None:
            return (_loading(first.rotated(shares)),), True
    return tuple(_loading(root) for root in roots), False


def _loading(root: LevelRoot | None) -> sparse.csr_array | None:
    """Return L unless it is I."""
    if root is None or all((blocks == np.eye(1)).all() for _, blocks in root.blocks):
        return None
    return root.matrix


def _shares(A: Array) -> Array | None:
    """Return a_j with A_j = a_j M of one M, shape (J,); None if there are none."""
    total = A.sum(axis=0)
    size = float(np.trace(total))
    if size <= 0:
        return None
    shares = np.einsum("jaa->j", A) / size
    gap = np.abs(A - shares[:, None, None] * total).max(initial=0.0)
    return shares if gap <= _PROPORTIONAL * np.abs(A).max() else None


def independent_effects(moments: Moments, loadings: Loadings, *, rotated: bool) -> Moments:
    """Return the sums of [Z(L ⊗ I) X y].

    Parameters
    ----------
    moments : Moments
        Of [Z X y].
    loadings : Loadings
    rotated : bool
        Whether the columns of one term do not meet. Otherwise ``pairs[f, f]`` says how those of a
        term f do, each two of them once.
    """
    for f, L in enumerate(loadings):
        if L is not None:
            moments = _of_term(moments, f, L, rotated)
    return moments


def _of_term(moments: Moments, f: int, L: sparse.csr_array, rotated: bool) -> Moments:
    """Return the sums with the columns of L as levels of term f."""
    A, B, rank = moments.A[f], moments.B[f], L.shape[1]
    J, k, m = B.shape
    squares = (L.power(2).T @ A.reshape(J, k * k)).reshape(rank, k, k)
    pairs = {
        (g, h): _moved(x, L) if f == g else _moved(x.transposed, L).transposed if f == h else x
        for (g, h), x in moments.pairs.items()
    }
    if not rotated:
        meeting = _meeting(A, L)
        if len(meeting.i):
            pairs[f, f] = meeting
    # Units of equal rows are no longer equal, nor are those of finer factors below them.
    sizes = [rank if g == f else len(a) for g, a in enumerate(moments.A)]
    hashes = [np.repeat(np.arange(size, dtype=np.uint64)[:, None], 2, 1) for size in sizes]
    return replace(
        moments,
        A=(*moments.A[:f], squares, *moments.A[f + 1 :]),
        B=(*moments.B[:f], (L.T @ B.reshape(J, k * m)).reshape(rank, k, m), *moments.B[f + 1 :]),
        hashes=tuple(hashes),
        pairs=pairs,
    )


def _moved(pairs: Pairs, L: sparse.csr_array) -> Pairs:
    """Return the pairs of a related factor with another, its levels exchanged for columns of L."""
    (J, rank), width = L.shape, int(pairs.j.max(initial=-1)) + 1
    shape, k, h = (J, width), *pairs.blocks.shape[1:]

    def product(left: sparse.csr_array, values: Array) -> sparse.csr_array:
        total = left.T @ sparse.csr_array((values, (pairs.i, pairs.j)), shape=shape)
        total = sparse.csr_array(total)
        total.sort_indices()
        return total

    def keys(matrix: sparse.csr_array) -> Index:
        rows = np.repeat(np.arange(rank, dtype=np.int64), np.diff(matrix.indptr))
        return np.asarray(rows * width + matrix.indices, dtype=np.int64)

    ones = sparse.csr_array((np.ones(L.nnz), L.indices, L.indptr), shape=L.shape)
    where = keys(product(ones, np.ones(len(pairs.i))))
    blocks = np.zeros((len(where), k, h))
    for a in range(k):
        for b in range(h):
            values = product(L, pairs.blocks[:, a, b])
            blocks[np.searchsorted(where, keys(values)), a, b] = values.data
    i, j = np.divmod(where, width)
    return Pairs(i.astype(np.intp), j.astype(np.intp), blocks)


def _meeting(A: Array, L: sparse.csr_array) -> Pairs:
    """Return L'AL of each two columns of L that stand at the same levels, below the diagonal."""
    k, (J, rank) = A.shape[1], L.shape
    dense = L.nnz > _SPARSE * J * rank
    whole = L.toarray() if dense else L
    if dense:
        links = L.tocoo().coords
        family = connected(J + rank, links[0], J + links[1])[J:]
        where = np.tril(family[:, None] == family, -1)
    else:
        ones = sparse.csr_array((np.ones(L.nnz), L.indices, L.indptr), shape=L.shape)
        where = sparse.tril(ones.T @ ones, -1)
    i, j = (np.asarray(places, dtype=np.intp) for places in where.nonzero())
    blocks = np.empty((len(i), k, k))
    for a in range(k):
        for b in range(k):
            weights = A[:, a, b]
            if dense:
                product = (whole * weights[:, None]).T @ whole
            else:
                product = (sparse.diags_array(weights) @ whole).T.tocsr() @ whole
            blocks[:, a, b] = product[i, j]
    return Pairs(i, j, blocks)
