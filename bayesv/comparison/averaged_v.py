"""The posterior of V averaged over structures, with the two parts of its variance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from bayesv.errors import DataError
from bayesv.linalg import Array
from bayesv.posterior.covariance_draws import PosteriorV
from bayesv.support.arguments import PROBABILITY, accepts, whole

__all__ = ["AveragedV", "parts_of_variance"]

_AT_ONCE = 5e7  # numbers of draws of V in memory


def parts_of_variance(
    means: Sequence[Array | float], variances: Sequence[Array | float], weights: Array
) -> tuple[Array, Array, Array]:
    """Return mean of a mixture, mean of its parts' variances, and variance of their means.

    The variance of the mixture is the sum of the last two, exactly.
    """
    w, m, v = np.asarray(weights), np.asarray(means), np.asarray(variances)
    mean = np.tensordot(w, m, 1)
    return mean, np.tensordot(w, v, 1), np.tensordot(w, (m - mean) ** 2, 1)


@dataclass(frozen=True, eq=False)
class AveragedV:
    """Posterior of V of some rows over several structures.

    Attributes
    ----------
    parts : tuple of PosteriorV
        By structure.
    names : tuple of str
    weights : ndarray, shape (K,)
    """

    parts: tuple[PosteriorV, ...]
    names: tuple[str, ...]
    weights: Array

    def mean(self) -> pd.DataFrame:
        """Return E[V | y] = Σ w_k E[V | y, M_k], shape (m, m)."""
        return self._moments()[0]

    def within(self) -> pd.DataFrame:
        """Return Σ w_k Var(V_ij | y, M_k), shape (m, m): doubt within structures."""
        return self._moments()[1]

    def between(self) -> pd.DataFrame:
        """Return Σ w_k (E[V_ij | y, M_k] − E[V_ij | y])², shape (m, m): doubt between them."""
        return self._moments()[2]

    def sd(self) -> pd.DataFrame:
        """Return posterior SDs of the elements: the root of `within` and `between` together."""
        _, within, between = self._moments()
        return np.sqrt(within + between)

    def share_between(self) -> pd.DataFrame:
        """Return the share of each element's variance that is between structures, (m, m)."""
        _, within, between = self._moments()
        return between / (within + between)

    @accepts(prob=PROBABILITY, every=whole(1))
    def interval(self, prob: float = 0.95, every: int = 4) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Return equal-tailed intervals of the mixture from every so many draws, (m, m) each."""
        m = len(self.parts[0].positions)
        sizes = [part.values.size // every for part in self.parts]
        if m * m * sum(sizes) > _AT_ONCE:
            raise DataError(
                f"{m * m * sum(sizes):,} numbers would be drawn; take fewer rows or a larger every."
            )
        draws = [part.draws(every).to_numpy().reshape(-1, m * m) for part in self.parts]
        values = np.concatenate(draws)
        each = np.repeat(self.weights / [len(x) for x in draws], [len(x) for x in draws])
        order = np.argsort(values, axis=0)
        reached = np.cumsum(each[order], axis=0)
        ends = []
        for q in ((1 - prob) / 2, (1 + prob) / 2):
            place = (reached < q).sum(axis=0).clip(max=len(values) - 1)
            columns = np.arange(m * m)
            ends.append(self._frame(values[order[place, columns], columns].reshape(m, m)))
        return ends[0], ends[1]

    def _moments(self) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
        means = [part.mean().to_numpy() for part in self.parts]
        variances = [part.sd().to_numpy() ** 2 for part in self.parts]
        mean, within, between = parts_of_variance(means, variances, self.weights)
        return self._frame(mean), self._frame(within), self._frame(between)

    def _frame(self, values: Array) -> pd.DataFrame:
        labels = self.parts[0].labels
        return pd.DataFrame(values, labels, labels)

    def __repr__(self) -> str:
        return (
            f"<AveragedV of {len(self.parts[0].positions)} rows over {len(self.parts)} structures: "
            "mean(), sd(), within(), between(), share_between(), interval()>"
        )
