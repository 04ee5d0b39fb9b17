"""Predictive densities of what is left out, unit by unit the same for several models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bayesv.diagnostics.loo import leave_out
from bayesv.linalg import Array, connected
from bayesv.posterior.posterior import Posterior

__all__ = ["LeftOut", "left_out"]


@dataclass(frozen=True, eq=False)
class LeftOut:
    """log p(y_i | y_−i) of units i by K models.

    Attributes
    ----------
    elpd : ndarray, shape (units, K)
    pareto_k : ndarray, shape (units, K)
        Of the weights that leave a unit out; above 0.7 its density is not reliable.
    """

    elpd: Array
    pareto_k: Array

    @property
    def total(self) -> Array:
        """Sum over units, shape (K,)."""
        return np.asarray(self.elpd.sum(axis=0))

    @property
    def error_of_difference(self) -> Array:
        """Standard error of `total` less that of the best model, shape (K,)."""
        n = len(self.elpd)
        difference = self.elpd - self.elpd[:, [int(self.total.argmax())]]
        if n == 1:
            return np.full(difference.shape[1], np.nan)
        return np.asarray(np.sqrt(n * difference.var(axis=0, ddof=1)))


def left_out(posteriors: Sequence[Posterior]) -> tuple[LeftOut, LeftOut]:
    """Return predictive densities of rows, and of clusters that are independent in all models.

    Parameters
    ----------
    posteriors : sequence of Posterior
        Of the same rows.

    Notes
    -----
    PSIS-LOO (see `bayesv.diagnostics.loo`) from ``post.log_likelihood()``, random effects
    integrated out. Clusters of one model may be parts of clusters of another: what is left out are
    the connected components of all of them.
    """
    units = joint_clusters(posteriors)
    by_row, by_cluster = [], []
    for post in posteriors:
        groups = post.log_likelihood()["log_likelihood"]
        rows, clusters = (
            groups[name].to_numpy().reshape(-1, groups.sizes[name.removeprefix("by_")])
            for name in ("by_row", "by_cluster")
        )
        _, first = np.unique(post.design.clusters, return_index=True)
        unit_of_cluster = units[first]
        joint = np.zeros((len(clusters), int(units.max()) + 1))
        np.add.at(joint.T, unit_of_cluster, clusters.T)
        by_row.append(leave_out(rows))
        by_cluster.append(leave_out(joint))
    return _stacked(by_row), _stacked(by_cluster)


def joint_clusters(posteriors: Sequence[Posterior]) -> NDArray[np.intp]:
    """Return the unit of each row, shape (n,): clusters of any model are in one unit whole."""
    codes = [post.design.clusters for post in posteriors]
    n = len(codes[0])
    starts = n + np.cumsum([0, *(int(code.max()) + 1 for code in codes)])
    ends = np.concatenate([code + start for code, start in zip(codes, starts, strict=False)])
    joined = connected(int(starts[-1]), np.tile(np.arange(n), len(codes)), ends)[:n]
    return np.asarray(np.unique(joined, return_inverse=True)[1], dtype=np.intp)


def _stacked(parts: Sequence[tuple[Array, Array]]) -> LeftOut:
    elpd, khat = (np.column_stack(each) for each in zip(*parts, strict=True))
    return LeftOut(elpd, khat)
