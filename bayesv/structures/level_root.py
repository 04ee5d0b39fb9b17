"""Roots of relationship matrices, block by block: levels of different blocks are unrelated."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from bayesv.linalg import PSD_TOLERANCE, Array

__all__ = ["LevelRoot", "families"]

_Index = NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class LevelRoot:
    """L with LL' = K, so that effects with covariance Σ ⊗ K are u = (L ⊗ λ)v of independent v.

    Parameters
    ----------
    size : int
        Number of levels J.
    blocks : tuple of (ndarray of int, shape (b, m), ndarray, shape (b, m, m))
        Levels of b blocks of m levels each, and their roots.
    """

    size: int
    blocks: tuple[tuple[_Index, Array], ...]

    @classmethod
    def of(cls, K: Array) -> LevelRoot:
        """Return the root of K, shape (J, J): lower triangular where it is positive definite."""
        component = families(K)
        order = np.argsort(component, kind="stable")
        sizes = np.bincount(component, minlength=0)
        starts = np.cumsum(sizes) - sizes
        blocks = []
        for m in np.unique(sizes):
            levels = order[starts[sizes == m][:, None] + np.arange(m)].astype(np.intp)
            blocks.append((levels, _roots(K[levels[:, :, None], levels[:, None, :]])))
        return cls(len(K), tuple(blocks))

    @cached_property
    def matrix(self) -> sparse.csr_array:
        """L, shape (J, rank)."""
        if len(self.blocks) == 1 and len(self.blocks[0][0]) == 1:  # all levels, in their order
            whole = sparse.csr_array(self.blocks[0][1][0])
            return sparse.csr_array(whole[:, np.diff(whole.tocsc().indptr) > 0])
        empty = np.zeros(0, dtype=np.intp)
        rows, columns, values, start = [empty], [empty], [np.zeros(0)], 0
        for levels, roots in self.blocks:
            b, m = levels.shape
            place = start + np.arange(b * m, dtype=np.intp).reshape(b, m)
            rows.append(np.broadcast_to(levels[:, :, None], roots.shape).ravel())
            columns.append(np.broadcast_to(place[:, None, :], roots.shape).ravel())
            values.append(roots.ravel())
            start += b * m
        data, where = np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))
        L = sparse.csr_array(sparse.coo_array((data, where), shape=(self.size, start)))
        L.eliminate_zeros()
        # Columns in the order of the levels they stand at, as those of a triangular root are.
        own = np.concatenate([empty, *(levels.ravel() for levels, _ in self.blocks)])
        kept = np.diff(L.tocsc().indptr) > 0
        order = np.argsort(own, kind="stable")
        L = sparse.csr_array(L[:, order[kept[order]]])
        L.sort_indices()
        return L

    @property
    def rank(self) -> int:
        """Number of columns of L."""
        return int(self.matrix.shape[1])

    @cached_property
    def inverse(self) -> Array:
        """L⁺, shape (rank, J): v = L⁺u of effects u = Lv."""
        return np.asarray(np.linalg.pinv(self.matrix.toarray()))

    def rotated(self, weights: Array) -> LevelRoot:
        """Return a root of the same K with L' diag(w) L diagonal.

        Parameters
        ----------
        weights : ndarray, shape (J,)
            Not negative.
        """
        blocks = []
        for levels, roots in self.blocks:
            if levels.shape[1] == 1:  # a rotation of one column is a sign
                blocks.append((levels, roots))
                continue
            half = np.sqrt(weights[levels])[:, :, None] * roots
            vectors = np.linalg.eigh(np.swapaxes(half, 1, 2) @ half)[1]
            blocks.append((levels, roots @ vectors))
        return LevelRoot(self.size, tuple(blocks))


def families(K: Array) -> _Index:
    """Return which levels are connected by elements of K that are not 0, each to the next, (J,)."""
    family, count = np.full(len(K), -1, dtype=np.intp), 0
    for first in range(len(K)):
        if family[first] >= 0:
            continue
        reached = np.array([first])
        while len(reached):
            family[reached] = count
            reached = np.flatnonzero((K[reached] != 0).any(axis=0) & (family < 0))
        count += 1
    return family


def _roots(K: Array) -> Array:
    """Return roots of many matrices, shape (b, m, m); columns of 0 where the rank is lower."""
    diagonal = np.diagonal(K, axis1=1, axis2=2)
    if K.shape[1] == 1:
        return np.sqrt(K)
    try:
        roots = np.linalg.cholesky(K)
    except np.linalg.LinAlgError:
        if len(K) > 1:  # one of them is singular: each by itself
            return np.concatenate([_roots(one[None]) for one in K])
        roots = np.zeros_like(K)
    pivots = np.diagonal(roots, axis1=1, axis2=2) ** 2
    regular = (pivots > PSD_TOLERANCE * diagonal.max(axis=1, keepdims=True)).all(axis=1)
    for place in np.flatnonzero(~regular):
        values, vectors = np.linalg.eigh(K[place])
        kept = values > PSD_TOLERANCE * values[-1]
        roots[place] = np.where(kept, vectors * np.sqrt(np.clip(values, 0.0, None)), 0.0)
    return np.asarray(roots)
