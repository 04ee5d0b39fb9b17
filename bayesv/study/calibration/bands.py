"""Simultaneous bands for the ECDF of ranks: how far uniform ranks stray."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import scipy  # .stats is loaded when it is used
from numpy.typing import NDArray
from scipy.special import ndtr

from bayesv.errors import BayesvError
from bayesv.linalg import Array
from bayesv.support.arguments import PROBABILITY, SEED, accepts, whole

__all__ = ["Band", "detectable", "ecdf_band"]

_SAMPLES_OF_RANKS = 20_000  # for a band
_SAMPLES_FOR_POWER = 200  # for the share that leaves a band


@dataclass(frozen=True, eq=False)
class Band:
    """Limits of the number of ranks below 1, 2, …; made by `ecdf_band`.

    Attributes
    ----------
    lower, upper : ndarray, shape (n_ranks - 1,)
        Counts that still lie inside.
    smallest : ndarray
        Sorted smallest pointwise p-values of simulated uniform ranks.
    n_replicates : int
        Number of ranks that the band is for.
    """

    lower: Array
    upper: Array
    smallest: Array
    n_replicates: int

    def excess(self, ranks: Any) -> float:
        """Return how far the ECDF leaves the band, as a probability; 0 if it does not."""
        counts = self.counts(ranks)
        outside = np.maximum(self.lower - counts, counts - self.upper).max()
        return float(max(outside, 0.0) / self.n_replicates)

    def p_value(self, ranks: Any) -> float:
        """Return the share of uniform samples that stray as far."""
        smallest = _smallest_p(self.counts(ranks)[None], self.n_replicates)
        return float(np.searchsorted(self.smallest, smallest, side="right")[0] / len(self.smallest))

    def counts(self, ranks: Any) -> NDArray[np.intp]:
        """Return the numbers of ranks below 1, 2, …, shape (n_ranks - 1,)."""
        ranks, n_ranks = np.asarray(ranks), len(self.lower) + 1
        if ranks.shape != (self.n_replicates,) or ranks.min() < 0 or ranks.max() >= n_ranks:
            span = f" from {ranks.min()} to {ranks.max()}" if ranks.size else ""
            raise BayesvError(
                f"The band is for {self.n_replicates} ranks from 0 to {n_ranks - 1}; found "
                f"{ranks.size}{span}."
            )
        return np.cumsum(np.bincount(ranks, minlength=n_ranks))[:-1]


@accepts(n_replicates=whole(1), n_ranks=whole(1), prob=PROBABILITY, seed=SEED)
@lru_cache(maxsize=16)
def ecdf_band(n_replicates: int, n_ranks: int, prob: float = 0.95, seed: int = 0) -> Band:
    """Return the band that the whole ECDF of uniform ranks stays in with probability ``prob``.

    Parameters
    ----------
    n_replicates : int
        Number of ranks.
    n_ranks : int
        Possible ranks are 0, …, n_ranks − 1: one more than draws that are ranked among.
    prob : float
    seed : int
        Of the simulated uniform ranks.

    Returns
    -------
    Band

    Notes
    -----
    Its pointwise coverage is 1 − γ, γ the (1 − prob)-quantile of the smallest pointwise p-value of
    simulated ranks (Säilynoja, Bürkner and Vehtari 2022,
    https://doi.org/10.1007/s11222-022-10090-6).

    Examples
    --------
    >>> import numpy as np
    >>> from bayesv.study import ecdf_band
    >>> band = ecdf_band(200, 101)
    >>> ranks = np.random.default_rng(1).integers(101, size=200)
    >>> band.excess(ranks), band.excess(ranks // 2) > 0
    (0.0, True)
    """
    if n_replicates < 1 or n_ranks < 2 or not 0 < prob < 1:
        raise BayesvError(
            "A band needs at least 1 replicate, 2 ranks and a probability between 0 and 1; found "
            f"n_replicates={n_replicates}, n_ranks={n_ranks}, prob={prob}."
        )
    rng = np.random.default_rng(seed)
    cells = rng.multinomial(n_replicates, np.full(n_ranks, 1 / n_ranks), size=_SAMPLES_OF_RANKS)
    smallest = np.sort(_smallest_p(np.cumsum(cells, axis=1)[:, :-1], n_replicates))
    # The margin is for rounding: a count whose p-value is γ itself lies inside.
    gamma = smallest[int((1 - prob) * len(smallest))] * (1 - 1e-9)
    z = np.arange(1, n_ranks) / n_ranks
    lower, upper = (scipy.stats.binom.ppf(q, n_replicates, z) for q in (gamma / 2, 1 - gamma / 2))
    return Band(lower, upper, smallest, n_replicates)


@lru_cache(maxsize=16)
def detectable(
    n_replicates: int, n_ranks: int, prob: float, power: float = 0.8, seed: int = 0
) -> tuple[float, float, float]:
    """Return the smallest errors of normal draws that leave a band with probability ``power``.

    Parameters
    ----------
    n_replicates, n_ranks, prob
        Of the band; see `ecdf_band`.
    power : float
    seed : int
        Of the simulated ranks.

    Returns
    -------
    shift : float
        Of the draws, in posterior SDs; inf if none below 10 is seen.
    narrow, wide : float
        Factor of the draws' SD, below and above 1; 0 and inf if none from 1/20 to 20 is seen.
    """
    band, rng = ecdf_band(n_replicates, n_ranks, prob), np.random.default_rng(seed)
    z = rng.normal(size=(_SAMPLES_FOR_POWER, n_replicates))
    noise = rng.uniform(size=z.shape)

    def leaves(shift: float, factor: float) -> float:
        share = ndtr((z - shift) / factor)
        below = scipy.stats.binom.ppf(noise, n_ranks - 1, share).astype(np.intp)
        cells = np.apply_along_axis(np.bincount, 1, below, minlength=n_ranks)
        counts = np.cumsum(cells, axis=1)[:, :-1]
        return float(((counts < band.lower) | (counts > band.upper)).any(axis=1).mean())

    def smallest(error: Callable[[float], float], most: float) -> float:
        if error(most) < power:
            return float("inf")
        low, high = 0.0, most
        while high - low > 0.01 * high:
            middle = 0.5 * (low + high)
            low, high = (low, middle) if error(middle) >= power else (middle, high)
        return high

    shift = smallest(lambda size: leaves(size, 1.0), 10.0)
    narrow = smallest(lambda size: leaves(0.0, np.exp(-size)), 3.0)
    wide = smallest(lambda size: leaves(0.0, np.exp(size)), 3.0)
    return shift, float(np.exp(-narrow)), float(np.exp(wide))


def _smallest_p(counts: NDArray[np.intp], n: int) -> Array:
    """Smallest two-sided binomial p-value in each row of counts, shape (S, n_ranks − 1)."""
    columns = np.arange(counts.shape[1])
    z, possible = (columns[:, None] + 1) / (len(columns) + 1), np.arange(n + 1)
    law = scipy.stats.binom(n, z)
    tail = np.minimum(law.cdf(possible), law.sf(possible - 1))
    return np.asarray(2 * tail[columns, counts].min(axis=1))
