"""Eliminate the random effects for many λ at once: values only, vectorised over draws."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from bayesv.gram.elimination import eliminate
from bayesv.gram.statistics import GramStatistics
from bayesv.linalg import Array, cholesky_or_nan, symmetrize

__all__ = ["eliminate_many"]

_CHUNK_BYTES = 32e6  # of the largest temporary, to stay near the cache


def eliminate_many(stats: GramStatistics, lambdas: Sequence[Array]) -> tuple[Array, Array]:
    """Return log|M| and T for S values of λ; see `eliminate` for one value with its gradient.

    Parameters
    ----------
    stats : GramStatistics
    lambdas : sequence of ndarray, shape (S, k, k)
        λ_f of each term, in the order of the design's terms.

    Returns
    -------
    logdet : ndarray, shape (S,)
    T : ndarray, shape (S, p + 1, p + 1)
    """
    S, m = len(lambdas[0]), stats.p + 1
    logdet, T = np.empty(S), np.empty((S, m, m))
    if stats.border:  # one dense factorisation each: nothing to gain from batching
        for s in range(S):
            done = eliminate(stats, [lam[s] for lam in lambdas])
            logdet[s], T[s] = done.logdet, done.T
        return logdet, T
    width = max(level.A.shape[0] * level.H.shape[2] ** 2 for level in stats.chain)
    step = max(1, int(_CHUNK_BYTES / (8 * width)))
    for start in range(0, S, step):
        at = slice(start, start + step)
        logdet[at], T[at] = _chain(stats, [lam[at] for lam in lambdas])
    return logdet, T


def _chain(stats: GramStatistics, lambdas: Sequence[Array]) -> tuple[Array, Array]:
    """One chunk; arrays have axes (draw, level, row, column)."""
    S, m = len(lambdas[0]), stats.p + 1
    A = [level.A[None] for level in stats.chain]
    H = [level.H[None] for level in stats.chain]
    T = np.broadcast_to(stats.C, (S, m, m))
    logdet = np.zeros(S)
    for f, level in enumerate(stats.chain):
        lam = lambdas[level.term][:, None]
        N = np.eye(lam.shape[-1]) + np.swapaxes(lam, -1, -2) @ A[f] @ lam
        L = cholesky_or_nan(N)
        logdet += 2.0 * np.log(np.diagonal(L, axis1=2, axis2=3)).sum(axis=(1, 2))
        half = np.linalg.solve(L, np.swapaxes(lam, -1, -2) @ H[f])
        start = 0
        for above, parent in enumerate(level.parents):
            g = f + 1 + above
            k = A[g].shape[-1]
            own = np.swapaxes(half[..., start : start + k], -1, -2)
            rest = half[..., start:]
            update = _sum_over(parent, own @ rest, A[g].shape[1])
            A[g] = A[g] - update[..., :k]
            H[g] = H[g] - update[..., k:]
            start += k
        fixed = half[..., start:].reshape(S, -1, m)
        T = T - np.swapaxes(fixed, -1, -2) @ fixed
    return logdet, symmetrize(T)


def _sum_over(parent: NDArray[np.intp], values: Array, n_parents: int) -> Array:
    """Sum (S, J, a, b) over the levels of each parent, (S, n_parents, a, b)."""
    S, J, a, b = values.shape
    member = sparse.csr_array((np.ones(J), parent, np.arange(J + 1)), shape=(J, n_parents)).T
    flat = values.transpose(1, 0, 2, 3).reshape(J, -1)
    return np.asarray(member @ flat).reshape(n_parents, S, a, b).transpose(1, 0, 2, 3)
