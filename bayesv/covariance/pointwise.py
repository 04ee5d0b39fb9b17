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
        weighted = sparse.csr_array(sparse.diags_array(self.w) @ design.Z)
        BX, By = weighted.T @ design.X, weighted.T @ design.target
        starts = np.cumsum([0, *(t.n_effects for t in design.terms)])[:-1]
        columns = np.column_stack(
            [
                start + term.n_columns * term.codes[:, None] + np.arange(term.n_columns)
                for start, term in zip(starts, design.terms, strict=True)
            ]
        )
        values = np.column_stack([term.values for term in design.terms])
        self.batches = []
        cluster_of, local_of = np.empty(design.q, dtype=int), np.empty(design.q, dtype=int)
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
            kept.append((np.diagonal(D, axis1=2, axis2=3), moved))
        Phi = sigma2[:, None, None] * np.linalg.inv(S)
        means = [np.zeros((n_draws, term.n_columns)) for term in design.terms]
        for batch, (random, moved) in zip(self.batches, kept, strict=True):
            fixed = ((moved @ Phi[:, None]) * moved).sum(axis=3)
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
        roots = values.relative_roots()
        rows = np.empty((values.size, self.design.n))
        clusters = np.empty((values.size, self.n_clusters))
        for s in range(values.size):
            rows[s], clusters[s] = self._at_one(
                [root[s] for root in roots], float(values.sigma2[s]), values.beta[s]
            )
            step(1)
        return rows, clusters

    def _at_one(self, roots: list[Array], sigma2: float, beta: Array) -> tuple[Array, Array]:
        residual = self.design.target - self.design.X @ beta
        rows, clusters = np.empty(self.design.n), []
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
            across = half[owner[:, None], :, batch.local]  # (rows, k, q)
            leverage = ((batch.z[..., None] * across).sum(axis=1) ** 2).sum(axis=1)
            precision = w * (1.0 - w * leverage) / sigma2
            rows[batch.rows] = 0.5 * (np.log(precision) - g**2 / precision - np.log(2 * np.pi))
            b = len(batch.effects)
            each = np.log(2.0 * np.pi * sigma2 / w) + w * e**2 / sigma2
            total = np.bincount(owner, each, b) - (scaled**2).sum(axis=1) / sigma2
            total += 2.0 * np.log(np.diagonal(L, axis1=1, axis2=2)).sum(axis=1)
            clusters.append(-0.5 * total)
        return rows, np.concatenate(clusters)[self.order]
