"""Diagnostics and summaries of many scalars at once: R̂, ESS, Pareto k̂, HDI, mode.

The definitions are ArviZ's (and tested against it), for arrays of shape (chain, draw, K). ArviZ
computes one scalar at a time and takes as long to import as a small model takes to read, fit and
sample.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from bayesv.linalg import Array, log_sum

__all__ = [
    "density_mode",
    "ess_bulk",
    "ess_mean",
    "ess_tail",
    "hdi",
    "pareto_k",
    "rhat",
    "rhat_and_ess",
    "tail_fit",
    "tail_length",
]

_GRID_POINTS = 512
_MOST_PAIRS = 50  # of lags, beyond which spectra take less time than sums


def rhat(x: Array) -> Array:
    """Return rank-normalised split R̂, the larger of bulk and folded, shape (K,).

    Vehtari et al. 2021, https://doi.org/10.1214/20-BA1221; NaN for one chain or fewer than 4 draws.
    """
    return _larger_rhat(*_scores(_split(x)))


def ess_bulk(x: Array) -> Array:
    """Return the effective sample size of the rank-normalised draws, shape (K,)."""
    return _ess(_scores(_split(x))[0])


def ess_tail(x: Array) -> Array:
    """Return the smaller effective sample size of the quantiles at 5 and 95 %, shape (K,).

    Vehtari et al. 2021, https://doi.org/10.1214/20-BA1221, section 4.3.
    """
    return np.asarray(np.minimum(*_ess(_beyond(x)).reshape(2, -1)))


def rhat_and_ess(x: Array) -> tuple[Array, Array, Array]:
    """Return `rhat`, `ess_bulk` and `ess_tail`, which have ranks in common."""
    scores, folded = _scores(_split(x))
    bulk, *tails = _ess(np.concatenate([scores, _beyond(x)])).reshape(3, -1)
    return _larger_rhat(scores, folded), bulk, np.minimum(*tails)


def ess_mean(x: Array) -> Array:
    """Return the effective sample size for the mean, shape (K,)."""
    return _ess(_split(x))


@np.errstate(under="ignore")
def pareto_k(log_w: Array) -> float:
    """Return Pareto k̂ of importance weights, shape (S,); ∞ where it cannot be estimated.

    Weights of 0 count as such; more than half of them and there is no estimate.
    Vehtari et al. 2024, https://jmlr.org/papers/v25/19-556.html, with the estimate of the shape by
    Zhang and Stephens (2009) and a weak prior around 0.5.
    """
    if np.isfinite(log_w).mean() < 0.5:
        return float("inf")
    n = tail_length(len(log_w))
    if n < 5:
        return float("inf")
    ordered = np.sort(log_w - log_w.max())[-n - 1 :]
    tail = np.exp(ordered[1:]) - np.exp(ordered[0])
    return tail_fit(tail)[0]


def tail_length(size: int) -> int:
    """Return how many of the largest of so many weights a tail is fitted to."""
    return int(3 * np.sqrt(size)) if size > 225 else size // 5


@np.errstate(under="ignore")
def tail_fit(tail: Array) -> tuple[float, float]:
    """Return shape k̂ and scale of a generalised Pareto distribution; ∞ and NaN if there is none.

    Parameters
    ----------
    tail : ndarray, shape (n,)
        Excesses over a threshold, in increasing order.
    """
    n = len(tail)
    quartile = tail[int(n / 4 + 0.5) - 1]
    if not quartile > tail[0]:
        return float("inf"), float("nan")
    m = 30 + int(np.sqrt(n))
    b = 1.0 - np.sqrt(m / (np.arange(1, m + 1) - 0.5))
    b = b / (3.0 * quartile) + 1.0 / tail[-1]
    shape = np.log1p(-b[:, None] * tail).mean(axis=1)
    log_l = n * (np.log(-b / shape) - shape - 1.0)
    weight = np.exp(log_l - log_sum(log_l))
    weight[weight < 10 * np.finfo(float).eps] = 0.0
    mean_b = b @ weight / weight.sum()
    k = float(np.log1p(-mean_b * tail).mean())
    if not np.isfinite(k):
        return float("inf"), float("nan")
    return (n * k + 5.0) / (n + 10.0), float(-k / mean_b)


def hdi(x: Array, prob: float) -> Array:
    """Return the shortest interval with probability ``prob`` of each column, shape (K, 2).

    NaN are left out.
    """
    intervals = np.full((x.shape[-1], 2), np.nan)
    for k, column in enumerate(x.reshape(-1, x.shape[-1]).T):
        ordered = np.sort(column[~np.isnan(column)])
        step = min(int(np.floor(prob * len(ordered))), len(ordered) - 1)
        if step >= 0:
            i = int(np.argmin(ordered[step:] - ordered[: len(ordered) - step]))
            intervals[k] = ordered[i], ordered[i + step]
    return intervals


def density_mode(values: Array) -> float:
    """Return the mode of a Gaussian kernel density estimate, reflected at smallest and largest.

    Bandwidth by Silverman's rule. Values that are not finite are left out.
    """
    values = values[np.isfinite(values)]
    if len(values) == 0 or np.ptp(values) == 0:
        return float(values[0]) if len(values) else float("nan")
    counts, edges = np.histogram(values, _GRID_POINTS)
    width = edges[1] - edges[0]
    quartiles = np.quantile(values, [0.25, 0.75])
    spread = min(values.std(), np.ptp(quartiles) / 1.34) or values.std()
    half = min(max(int(4.0 * 0.9 * spread * len(values) ** -0.2 / width), 1), _GRID_POINTS)
    kernel = np.exp(-0.5 * (4.0 * np.arange(-half, half + 1) / half) ** 2)
    density = np.convolve(np.pad(counts, half, mode="symmetric"), kernel, mode="valid")
    return float(edges[np.argmax(density)] + 0.5 * width)


def _split(x: Array) -> Array:
    """Return each chain's halves as chains of their own, (chain, draw, K) → (K, 2 chains, half)."""
    half = x.shape[1] // 2
    halves = np.concatenate([x[:, :half], x[:, x.shape[1] - half :]])
    return np.ascontiguousarray(np.moveaxis(halves, -1, 0), dtype=float)


def _beyond(x: Array) -> Array:
    """Return which draws are below the 5 and the 95 % quantile, split, shape (2 K, …)."""
    ordered = np.sort(x.reshape(-1, x.shape[-1]), axis=0)
    quantiles = []
    for q in (0.05, 0.95):
        place, part = divmod(q * (len(ordered) - 1), 1.0)
        low, high = ordered[int(place)], ordered[min(int(place) + 1, len(ordered) - 1)]
        quantiles.append(np.where(np.isnan(ordered[-1]), np.nan, low + part * (high - low)))
    split = _split(x)
    below = [split <= quantile[:, None, None] for quantile in quantiles]
    unknown = np.isnan(np.concatenate(quantiles))[:, None, None]
    return np.where(unknown, np.nan, np.concatenate(below))


def _scores(split: Array) -> tuple[Array, Array]:
    """Return normal scores, (K, chains, n), of values and of their distances from the median.

    NaN for scalars with NaN.
    """
    from bayesv.diagnostics.loops import normal_scores  # compiled: loaded when it is needed

    columns = split.reshape(len(split), -1)
    scores, folded = np.empty_like(columns), np.empty_like(columns)
    if columns.size:
        table = _of_ranks(columns.shape[1])
        normal_scores(columns, np.argsort(columns, axis=1), table, scores, folded)
    return scores.reshape(split.shape), folded.reshape(split.shape)


@lru_cache(maxsize=8)
def _of_ranks(n: int) -> Array:
    """Return the normal scores of the ranks 1, 1.5, …, n, shape (2n − 1,)."""
    return np.asarray(ndtri((0.5 * np.arange(2, 2 * n + 1) - 0.375) / (n + 0.25)))


def _larger_rhat(scores: Array, folded: Array) -> Array:
    """Return the larger R̂ of the scores and of those of the distances from the median."""
    if scores.shape[1] < 4 or scores.shape[2] < 2:  # halves of one chain, or next to no draws
        return np.full(len(scores), np.nan)
    return np.maximum(_rhat(scores), _rhat(folded))


def _rhat(x: Array) -> Array:
    n = x.shape[2]
    means = x.mean(axis=2)
    within = ((x - means[..., None]) ** 2).sum(axis=2).mean(axis=1) / (n - 1)
    between = n * means.var(axis=1, ddof=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.sqrt((between / within + n - 1) / n))


def _ess(series: Array) -> Array:
    """Effective sample size by Geyer's initial monotone sequence, (K, chains, n) → (K,)."""
    from bayesv.diagnostics.loops import effective_sizes  # compiled: loaded when it is needed

    K, _, n = series.shape
    if n < 4:
        return np.full(K, np.nan)
    sizes = np.empty(K)
    effective_sizes(np.ascontiguousarray(series), _MOST_PAIRS, sizes)
    if (long := sizes < 0).any():
        sizes[long] = _ess_by_spectra(series[long])
    return sizes


def _ess_by_spectra(series: Array) -> Array:
    """Return the same from the autocovariances at all lags at once."""
    K, chains, n = series.shape
    size = float(chains * n)
    means = series.mean(axis=-1)
    centred, length = series - means[..., None], 2 ** int(np.ceil(np.log2(2 * n)))
    # One by one: what many need at once does not fit into the cache.
    spectra = [_power(np.fft.rfft(one, length)) for one in centred]
    autocovariance = np.fft.irfft(np.reshape(spectra, (K, -1)))[:, :n].T / n  # (n, K)
    within = autocovariance[0] * n / (n - 1.0)
    total = autocovariance[0] + (means.var(axis=1, ddof=1) if chains > 1 else 0.0)
    rho = 1.0 - (within - autocovariance) / total
    rho[0] = 1.0
    most = max((n - 1) // 2, 1)  # pairs of lags that count
    pairs = rho[: 2 * most].reshape(most, 2, K)
    sums = pairs.sum(axis=1)
    ended = ~(sums > 0.0)
    last = np.where(ended.any(axis=0), ended.argmax(axis=0), most - 1)
    sums[np.arange(most)[:, None] >= last] = 0.0
    tau = 2.0 * np.minimum.accumulate(sums).sum(axis=0) - 1.0
    tau += np.maximum(pairs[last, 0, np.arange(K)], 0.0)
    return np.asarray(size / np.maximum(tau, 1.0 / np.log10(size)))


def _power(waves: NDArray[np.complex128]) -> Array:
    """Return the mean squared size over the first axis."""
    return np.asarray((waves.real**2 + waves.imag**2).mean(axis=0))
