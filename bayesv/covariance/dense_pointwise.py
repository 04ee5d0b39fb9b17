"""Log likelihoods of rows and clusters where residuals have parameters, cluster by cluster."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from bayesv.covariance.draws import ComponentDraws
from bayesv.design.design import Design
from bayesv.errors import DataError
from bayesv.linalg import Array
from bayesv.support.memory import refuse_unless

__all__ = ["DensePointwise"]

Index = NDArray[np.intp]


class DensePointwise:
    """log p(y_i | y_−i, β, Σ, R) of every row and log p(y_c | β, Σ, R) of every cluster.

    Parameters
    ----------
    design : Design
        With structured residuals. Clusters are the connected components of rows through shared
        levels and series.

    Notes
    -----
    As `Pointwise`, with V of every cluster formed: with g = V⁻¹(y − Xβ) and q = diag V⁻¹,
    log p(y_i | y_−i) = ½ log q_i − ½ g_i²/q_i − ½ log 2π.
    """

    def __init__(self, design: Design) -> None:
        form = design.structured_residual
        if form is None:
            raise DataError("The residuals of this design have no structure.")
        self.design, self.form = design, form
        sizes = np.bincount(design.clusters)
        self.n_clusters = len(sizes)
        largest = int(sizes.max())
        refuse_unless(
            24.0 * largest**2,
            f"The covariance of a cluster of {largest:,} rows",
            "Leave out a crossed random term.",
        )
        order = np.argsort(design.clusters, kind="stable")
        starts = np.cumsum(sizes) - sizes
        # Clusters are numbered by their first row.
        self.batches: list[tuple[Index, Index]] = [
            (np.flatnonzero(sizes == m), order[starts[sizes == m, None] + np.arange(m)])
            for m in np.unique(sizes).tolist()
        ]

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
        return 0.5 * (np.log(q) - g**2 / q - np.log(2.0 * np.pi)), clusters

    def parts(
        self, values: ComponentDraws, step: Callable[[int], None] = lambda _: None
    ) -> tuple[Array, Array, Array]:
        """Return g and q, and log likelihoods of clusters; see `Pointwise.parts`."""
        g, q = np.empty((2, values.size, self.design.n))
        clusters = np.empty((values.size, self.n_clusters))
        for s, point in enumerate(values):
            away = self.design.target - self.design.X @ point.beta
            for numbers, places in self.batches:
                g[s, places], q[s, places], clusters[s, numbers] = self._at_one(
                    point, places, away[places]
                )
            step(1)
        return g, q, clusters

    def _at_one(
        self, point: ComponentDraws, places: Index, away: Array
    ) -> tuple[Array, Array, Array]:
        """Return those of clusters of m rows, (b, m), (b, m) and (b,)."""
        if point.residual is None:
            raise DataError("These draws say nothing of the parameters of the residuals.")
        V = float(point.sigma2) * self.form.covariance(point.residual, places)
        for term in self.design.terms:
            z, codes = term.values[places], term.codes[places]
            shared = term.shared(codes[:, :, None], codes[:, None, :])
            V = V + shared * (z @ point.covs[term.group] @ np.swapaxes(z, 1, 2))
        root = np.linalg.cholesky(V)
        inverse = np.linalg.inv(V)
        g, q = (inverse @ away[..., None])[..., 0], np.diagonal(inverse, axis1=1, axis2=2)
        log_det = 2.0 * np.log(np.diagonal(root, axis1=1, axis2=2)).sum(axis=1)
        total = log_det + (g * away).sum(axis=1) + away.shape[1] * np.log(2.0 * np.pi)
        return g, q, -0.5 * total
