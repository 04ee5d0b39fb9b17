"""Lower-triangular roots of correlations, and derivatives through them."""

from __future__ import annotations

import numpy as np

from bayesv.linalg import Array, psd_root, symmetrize

__all__ = ["cholesky_pullback", "cholesky_root", "markov_corr", "markov_pullback", "markov_root"]


def cholesky_root(corr: Array) -> Array:
    """Return L with LL' = C, of (..., r, r); columns of pivots that are 0 to rounding are 0."""
    try:
        return np.asarray(np.linalg.cholesky(corr))
    except np.linalg.LinAlgError:
        size = corr.shape[-1]
        roots = [psd_root(c) for c in corr.reshape(-1, size, size)]
        return np.array(roots).reshape(corr.shape)


def cholesky_pullback(root: Array, bar: Array) -> Array:
    """Return the derivative by C, symmetric, of what has derivative ``bar`` by its root, (r, r).

    What a pivot of 0 would add is left out: there the root has no derivative.
    """
    pivots = np.diagonal(root)
    bar = np.where(pivots > 0.0, np.tril(bar), 0.0)
    root = root + np.diag(np.where(pivots > 0.0, 0.0, 1.0))
    inner = np.tril(root.T @ bar)
    inner[np.diag_indices_from(inner)] *= 0.5
    inverse = np.linalg.inv(root)
    return symmetrize(inverse.T @ inner @ inverse)


def markov_corr(adjacent: Array) -> Array:
    """Return C of a Markov chain by correlations of neighbours, (..., r − 1) → (..., r, r)."""
    size = adjacent.shape[-1] + 1
    corr = np.zeros((*adjacent.shape[:-1], size, size))
    corr[..., 0, 0] = 1.0
    for a in range(1, size):
        corr[..., a, :a] = adjacent[..., a - 1, None] * corr[..., a - 1, :a]
        corr[..., :a, a] = corr[..., a, :a]
        corr[..., a, a] = 1.0
    return corr


def markov_root(adjacent: Array, rest: Array) -> Array:
    """Return the root of a Markov chain's C, exact where neighbours are equal.

    Parameters
    ----------
    adjacent, rest : ndarray, shape (..., r − 1)
        Correlations ρ of neighbours, and √(1 − ρ²).
    """
    size = adjacent.shape[-1] + 1
    root = np.zeros((*adjacent.shape[:-1], size, size))
    root[..., 0, 0] = 1.0
    for a in range(1, size):
        root[..., a, :a] = adjacent[..., a - 1, None] * root[..., a - 1, :a]
        root[..., a, a] = rest[..., a - 1]
    return root


def markov_pullback(root: Array, adjacent: Array, bar: Array) -> tuple[Array, Array]:
    """Return derivatives by ρ and by √(1 − ρ²) as if they were free, each (r − 1,)."""
    bar = bar.copy()
    by_adjacent, by_rest = np.zeros_like(adjacent), np.zeros_like(adjacent)
    for a in range(len(root) - 1, 0, -1):
        by_adjacent[a - 1] = bar[a, :a] @ root[a - 1, :a]
        by_rest[a - 1] = bar[a, a]
        bar[a - 1, :a] += adjacent[a - 1] * bar[a, :a]
    return by_adjacent, by_rest
