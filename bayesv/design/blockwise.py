"""Residuals that are correlated within clusters of rows, by any known covariance."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from bayesv.design.residual import Residual
from bayesv.errors import DataError
from bayesv.linalg import Array
from bayesv.support.memory import refuse_unless

__all__ = ["Blockwise"]

Index = NDArray[np.intp]

_COPIES = 3  # of the blocks: they, their roots, and what they are made of


@dataclass(frozen=True, eq=False)
class Blockwise(Residual):
    """R over σ² with a block for each cluster of rows, and 0 between clusters.

    Attributes
    ----------
    codes : ndarray of int, shape (n,)
        Cluster of each row, each of 0 … S − 1 there.
    rows : tuple of ndarray of int, shapes (S_m, m)
        Rows of the clusters of each size m.
    blocks : tuple of ndarray, shapes (S_m, m, m)
        Their covariances, positive definite.
    """

    codes: Index
    rows: tuple[Index, ...]
    blocks: tuple[Array, ...]

    @classmethod
    def of(cls, codes: Index, covariance: Callable[[Index], Array]) -> Self:
        """Return the residuals of clusters whose covariances a function gives.

        Parameters
        ----------
        codes : ndarray of int, shape (n,)
            Cluster of each row, any numbers.
        covariance : callable
            Of sets of m rows, shape (S, m), their covariances over σ², (S, m, m).

        Raises
        ------
        DataError
            If one is not positive definite.
        """
        _, codes, sizes = np.unique(codes, return_inverse=True, return_counts=True)
        codes = codes.ravel().astype(np.intp)
        order = np.argsort(codes, kind="stable")
        starts = np.cumsum(sizes) - sizes
        rows = tuple(
            order[starts[sizes == m, None] + np.arange(m)] for m in np.unique(sizes).tolist()
        )
        refuse_unless(
            8.0 * _COPIES * float((sizes**2.0).sum()),
            f"The covariance of residuals within {len(sizes):,} sets of rows, of {sizes.max():,} "
            "at most,",
            "Divide the rows into smaller series.",
        )
        residual = cls(codes, rows, tuple(covariance(part) for part in rows))
        _ = residual.roots  # refused here rather than at the first use
        return residual

    @classmethod
    def checked(cls, codes: Index, rows: tuple[Index, ...], blocks: tuple[Array, ...]) -> Self:
        """Return the residuals of these fields, as `of` would have made them.

        Raises
        ------
        DataError
            If they contradict each other, or a block is no covariance.
        """
        given = {part.shape[1]: (part, block) for part, block in zip(rows, blocks, strict=True)}

        def covariance(sets: Index) -> Array:
            part, block = given[sets.shape[1]]
            same = np.array_equal(part, sets) and block.shape == (*sets.shape, sets.shape[1])
            if not same or not np.array_equal(block, np.swapaxes(block, 1, 2)):
                raise DataError(
                    "Blocks of residuals are not those of their rows, or no covariance."
                )
            return block

        return cls.of(codes, covariance)

    @cached_property
    def roots(self) -> tuple[Array, ...]:
        """Lower Cholesky factors of the blocks, shapes (S_m, m, m)."""
        try:
            return tuple(np.linalg.cholesky(block) for block in self.blocks)
        except np.linalg.LinAlgError:
            raise DataError(
                "The residual covariance of some series is singular: two of its rows are perfectly "
                "correlated. Move the correlation parameters off the end of their range."
            ) from None

    @property
    def size(self) -> int:
        """Number of rows, n."""
        return len(self.codes)

    @property
    def clusters(self) -> Index:
        """Cluster of each row."""
        return self.codes

    @cached_property
    def diagonal(self) -> Array:
        """Variances over σ², shape (n,)."""
        variances = np.empty(self.size)
        for rows, block in zip(self.rows, self.blocks, strict=True):
            variances[rows] = np.diagonal(block, axis1=1, axis2=2)
        return variances

    @cached_property
    def log_det(self) -> float:
        """Σ log|R_c/σ²|."""
        logs = [np.log(np.diagonal(root, axis1=1, axis2=2)).sum() for root in self.roots]
        return 2.0 * float(np.sum(logs))

    @cached_property
    def matrix(self) -> Any:
        """R/σ², sparse of shape (n, n)."""
        return self._assembled(self.blocks)

    def block(self, rows: Index) -> Array:
        """Return R/σ² of sets of rows, (…, m, m) for rows of shape (…, m)."""
        flat, start, place, sizes = self._places
        codes, places = self.codes[rows], place[rows]
        same = codes[..., :, None] == codes[..., None, :]
        index = (start[codes] + places * sizes[codes])[..., :, None] + places[..., None, :]
        return np.asarray(np.where(same, flat[np.where(same, index, 0)], 0.0))

    def whiten(self, columns: Any, *, transposed: bool = False) -> Any:
        """Return L⁻¹ or L'⁻¹ times columns."""
        if sparse.issparse(columns):
            inverse = self._inverse
            return sparse.csr_array((inverse.T if transposed else inverse) @ columns)
        white = np.empty(columns.shape)
        stacked = columns[:, None] if columns.ndim == 1 else columns
        for rows, root in zip(self.rows, self.roots, strict=True):
            half = np.swapaxes(root, 1, 2) if transposed else root
            white[rows] = np.linalg.solve(half, stacked[rows]).reshape(
                *rows.shape, *columns.shape[1:]
            )
        return white

    def draw(self, scores: Array) -> Array:
        """Return L times standard scores, shape (n,) or (n, k)."""
        residuals = np.empty(scores.shape)
        stacked = scores[:, None] if scores.ndim == 1 else scores
        for rows, root in zip(self.rows, self.roots, strict=True):
            residuals[rows] = (root @ stacked[rows]).reshape(*rows.shape, *scores.shape[1:])
        return residuals

    def take(self, rows: Index | slice) -> Residual:
        """Return some of the rows."""
        chosen = np.arange(self.size)[rows]
        return Blockwise.of(self.codes[chosen], lambda sets: self.block(chosen[sets]))

    @cached_property
    def _places(self) -> tuple[Array, Index, Index, Index]:
        """All elements in a line; of each cluster where they start and its size; rows' places."""
        n_clusters = int(self.codes.max(initial=-1)) + 1
        start, sizes = np.zeros(n_clusters, np.intp), np.zeros(n_clusters, np.intp)
        place = np.zeros(self.size, np.intp)
        position = 0
        for rows in self.rows:
            count, m = rows.shape
            clusters = self.codes[rows[:, 0]]
            start[clusters] = position + np.arange(count) * m * m
            sizes[clusters] = m
            place[rows] = np.arange(m)
            position += count * m * m
        return np.concatenate([block.ravel() for block in self.blocks]), start, place, sizes

    @cached_property
    def _inverse(self) -> sparse.csr_array:
        """L⁻¹, sparse of shape (n, n)."""
        return self._assembled([np.linalg.inv(root) for root in self.roots])

    def _assembled(self, blocks: Sequence[Array]) -> sparse.csr_array:
        """Return the sparse matrix, shape (n, n), of a block for each cluster."""
        values, places = [], []
        for rows, block in zip(self.rows, blocks, strict=True):
            shape = block.shape
            i = np.broadcast_to(rows[:, :, None], shape).ravel()
            j = np.broadcast_to(rows[:, None, :], shape).ravel()
            values.append(block.ravel())
            places.append(np.stack([i, j]))
        i, j = np.concatenate(places, axis=1)
        size = (self.size, self.size)
        return sparse.csr_array(sparse.coo_array((np.concatenate(values), (i, j)), shape=size))
