"""Log likelihoods with u integrated out: of every row given all others, and of every cluster."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from bayesv.covariance.clusters import cluster_roots, gram_batches
from bayesv.covariance.draws import ComponentDraws
from bayesv.design.design import Design
from bayesv.linalg import Array

__all__ = ["Pointwise"]

_BATCH_NUMBERS = 2e6  # in a batch of matrices


@dataclass(frozen=True, eq=False)
class _Batch:
    """Connected clusters of one shape."""

    counts: tuple[int, ...]
    effects: NDArray[np.intp]  # (b, q_c)
    gram: Array  # Z'WZ, (b, q_c, q_c)
    BX: Array  # Z'WX, (b, q_c, p)
    By: Array  # Z'Wy, (b, q_c)
    rows: NDArray[np.intp]  # positions of their rows
    owner: NDArray[np.intp]  # (rows,), which of the b
    local: NDArray[np.intp]  # (rows, k), effects of each row among the q_c
    z: Array  # (rows, k), their coefficients
    within: Array | None  # L'L ⊗ I of the effects, (b, q_c, q_c); None if no levels are related

    def leverage(self, half: Array) -> Array:
        """Return z'ΛM⁻¹Λ'z of each row, for ΛM⁻¹Λ' = half'half, shape (b, q_c, q_c)."""
        if len(half) == 1 and 2 * self.z.shape[1] > half.shape[-1]:  # most effects, as of related
            whole = np.zeros((len(self.z), half.shape[-1]))  # levels
            np.add.at(whole, (np.arange(len(whole))[:, None], self.local), self.z)
            return np.asarray(((whole @ half[0].T) ** 2).sum(axis=1))
        across = half[self.owner[:, None], :, self.local]  # (rows, k, q)
        return np.asarray(((self.z[..., None] * across).sum(axis=1) ** 2).sum(axis=1))


class Pointwise:
    """log p(y_i | y_−i, β, Σ, σ) of every row and log p(y_c | β, Σ, σ) of every cluster.

    Parameters
    ----------
    design : Design
        With its rows. Clusters are the connected components of rows through shared levels.

    Notes
    -----
    With g = V⁻¹(y − Xβ) and q = diag V⁻¹, log p(y_i | y_−i) = ½ log q_i − ½ g_i²/q_i − ½ log 2π
    (Bürkner, Gabry and Vehtari 2021, https://doi.org/10.1007/s00180-020-01045-4). Both come from
    M = I + Λ'Z'WZΛ cluster by cluster; no V is formed.
    """

    def __init__(self, design: Design) -> None:
        self.design = design
        self.w = design.residual.weights
        Z = design.Z_independent
        weighted = sparse.csr_array(sparse.diags_array(self.w) @ Z)
        BX, By = weighted.T @ design.X, weighted.T @ design.target
        columns, values = _padded(Z)
        within = _products_of_roots(design)
        self.batches = []
        cluster_of, local_of = (np.empty(Z.shape[1], dtype=int) for _ in range(2))
        for counts, effects, gram in gram_batches(design):
            cluster_of[:] = -1
            cluster_of[effects] = np.arange(len(effects))[:, None]
            local_of[effects] = np.arange(effects.shape[1])
            rows = np.flatnonzero(cluster_of[columns[:, 0]] >= 0)
            places = columns[rows]
            self.batches.append(
                _Batch(
                    counts, effects, gram, BX[effects], By[effects], rows,
                    cluster_of[places[:, 0]], local_of[places], values[rows],
                    _blocks(within, effects),
                )
            )  # fmt: skip
        self.n_clusters = sum(len(batch.effects) for batch in self.batches)
        # Clusters in the order of their first row.
        firsts, position = np.full(self.n_clusters, design.n), 0
        for batch in self.batches:
            np.minimum.at(firsts, position + batch.owner, batch.rows)
            position += len(batch.effects)
        self.order = np.argsort(firsts)

    def unexplained(self, values: ComponentDraws) -> list[Array]:
        """Return the mean over levels of Var(û − u) of each draw, (S, r) for each term.

        Parameters
        ----------
        values : ComponentDraws, shape (S,)
        """
        roots, sigma2 = values.relative_roots(), values.sigma2
        size = max(batch.gram.size for batch in self.batches)
        step = max(1, int(_BATCH_NUMBERS // size))
        parts = [
            self._unexplained([root[i : i + step] for root in roots], sigma2[i : i + step])
            for i in range(0, len(sigma2), step)
        ]
        return [np.concatenate(each) for each in zip(*parts, strict=True)]

    def _unexplained(self, roots: list[Array], sigma2: Array) -> list[Array]:
        design, n_draws = self.design, len(sigma2)
        S = np.tile((design.X * self.w[:, None]).T @ design.X, (n_draws, 1, 1))
        kept = []
        for batch in self.batches:
            root = cluster_roots(batch.counts, roots)
            across = np.swapaxes(root, 1, 2)[:, None]
            M = np.eye(root.shape[-1]) + across @ batch.gram @ root[:, None]
            D = root[:, None] @ np.linalg.inv(M) @ across  # (S, b, q, q)
            moved = D @ batch.BX
            S -= (np.swapaxes(moved, 2, 3) @ batch.BX).sum(axis=1)
            random = np.diagonal(D, axis1=2, axis2=3)
            if batch.within is not None:
                random = (D * batch.within).sum(axis=3)
            kept.append((random, moved))
        Phi = sigma2[:, None, None] * np.linalg.inv(S)
        means = [np.zeros((n_draws, term.n_columns)) for term in design.terms]
        for batch, (random, moved) in zip(self.batches, kept, strict=True):
            across = moved if batch.within is None else batch.within @ moved
            fixed = ((moved @ Phi[:, None]) * across).sum(axis=3)
            variance, offset = sigma2[:, None, None] * random + fixed, 0
            for mean, J, term in zip(means, batch.counts, design.terms, strict=True):
                r = term.n_columns
                part = variance[:, :, offset : offset + J * r].reshape(n_draws, -1, r)
                mean += part.sum(axis=1) / term.n_levels
                offset += J * r
        return means

    def __call__(
        self, values: ComponentDraws, step: Callable[[int], None] = lambda _: None
    ) -> tuple[Array, Array]:
        """Return log likelihoods of rows, shape (S, n), and clusters, shape (S, C).

        Parameters
        ----------
        values : ComponentDraws, shape (S,)
        step : callable
            Hears of progress.
        """
        g, q, clusters = self.parts(values, step)
        return 0.5 * (np.log(q) - g**2 / q - np.log(2 * np.pi)), clusters

    def parts(
        self, values: ComponentDraws, step: Callable[[int], None] = lambda _: None
    ) -> tuple[Array, Array, Array]:
        """Return g and q, shapes (S, n), and log likelihoods of clusters, (S, C).

        y_i given all other rows has mean y_i − g_i/q_i and variance 1/q_i.
        """
        roots = values.relative_roots()
        g, q = np.empty((2, values.size, self.design.n))
        clusters = np.empty((values.size, self.n_clusters))
        for s in range(values.size):
            g[s], q[s], clusters[s] = self._at_one(
                [root[s] for root in roots], float(values.sigma2[s]), values.beta[s]
            )
            step(1)
        return g, q, clusters

    def _at_one(self, roots: list[Array], sigma2: float, beta: Array) -> tuple[Array, Array, Array]:
        residual = self.design.target - self.design.X @ beta
        (every_g, every_q), clusters = np.empty((2, self.design.n)), []
        for batch in self.batches:
            root = cluster_roots(batch.counts, roots)
            L = np.linalg.cholesky(np.eye(len(root)) + root.T @ batch.gram @ root)
            half = np.linalg.solve(L, np.broadcast_to(root.T, L.shape))  # ΛM⁻¹Λ' = half'half
            inner = batch.By - batch.BX @ beta  # Z'We
            scaled = (half @ inner[..., None])[..., 0]
            moved = (np.swapaxes(half, 1, 2) @ scaled[..., None])[..., 0]  # DZ'We
            w, e = self.w[batch.rows], residual[batch.rows]
            owner = batch.owner
            g = w * (e - (batch.z * moved[owner[:, None], batch.local]).sum(axis=1)) / sigma2
            every_g[batch.rows] = g
            every_q[batch.rows] = w * (1.0 - w * batch.leverage(half)) / sigma2
            b = len(batch.effects)
            each = np.log(2.0 * np.pi * sigma2 / w) + w * e**2 / sigma2
            total = np.bincount(owner, each, b) - (scaled**2).sum(axis=1) / sigma2
            total += 2.0 * np.log(np.diagonal(L, axis1=1, axis2=2)).sum(axis=1)
            clusters.append(-0.5 * total)
        return every_g, every_q, np.concatenate(clusters)[self.order]


def _padded(Z: sparse.csr_array) -> tuple[NDArray[np.intp], Array]:
    """Return columns and values of what is stored of each row; first column and 0 beyond."""
    sizes = np.diff(Z.indptr)
    places = np.arange(sizes.max(initial=0)) < sizes[:, None]
    first = Z.indices[np.minimum(Z.indptr[:-1], max(Z.nnz - 1, 0))]
    columns = np.repeat(first[:, None], places.shape[1], axis=1).astype(np.intp)
    values = np.zeros(places.shape)
    columns[places], values[places] = Z.indices, Z.data
    return columns, values


def _blocks(matrix: sparse.csr_array | None, places: NDArray[np.intp]) -> Array | None:
    """Return dense blocks of a matrix, (b, q, q), at places of (b, q); None of None."""
    if matrix is None:
        return None
    return np.stack([matrix[block][:, block].toarray() for block in places])


def _products_of_roots(design: Design) -> sparse.csr_array | None:
    """Return blockdiag over terms of L'L ⊗ I, which sums over levels by independent effects."""
    if all(term.related is None for term in design.terms):
        return None
    parts = []
    for term in design.terms:
        L = sparse.eye_array(term.n_levels) if term.related is None else term.related.root.matrix
        parts.append(sparse.kron(L.T @ L, sparse.eye_array(term.n_columns)))
    return sparse.csr_array(sparse.block_diag(parts, format="csr"))
