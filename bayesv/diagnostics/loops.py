"""Loops over ranks and lags of draws: compiled."""

from __future__ import annotations

import numpy as np

from bayesv.gram.compiled import compiled

__all__ = ["effective_sizes", "normal_scores"]


@compiled
def normal_scores(columns, order, table, scores, folded):
    """Fill normal scores, (K, n), of values and of their distances from the median.

    ``order`` sorts each of the columns, (K, n); ``table``, (2n − 1,), are the scores of the ranks
    1, 1.5, …, n. Ties share the average of their ranks. NaN for columns with NaN.
    """
    K, n = columns.shape
    value, place = np.empty(n), np.empty(n, dtype=np.intp)
    for k in range(K):
        for i in range(n):
            value[i] = columns[k, order[k, i]]
        if np.isnan(value[n - 1]):
            scores[k] = np.nan
            folded[k] = np.nan
            continue
        _of_sorted(value, order[k], table, scores[k])
        right = n // 2
        left = right - 1
        median = value[right] if n % 2 else 0.5 * (value[left] + value[right])
        ordered = np.empty(n)
        for i in range(n):  # the two sides, merged by distance
            on_left = left >= 0 and (right == n or median - value[left] <= value[right] - median)
            if on_left:
                ordered[i], place[i] = median - value[left], order[k, left]
                left -= 1
            else:
                ordered[i], place[i] = value[right] - median, order[k, right]
                right += 1
        _of_sorted(ordered, place, table, folded[k])


@compiled
def _of_sorted(value, order, table, scores):
    """Fill the scores of values that are sorted, in their places."""
    n, first = len(value), 0
    for i in range(n):
        if i == n - 1 or value[i + 1] != value[i]:
            score = table[first + i]
            for j in range(first, i + 1):
                scores[order[j]] = score
            first = i + 1


@compiled
def effective_sizes(series, most, sizes):
    """Fill the effective sample size, (K,), of chains (K, chains, n) by Geyer's initial sequence.

    −1 where the sequence is longer than ``most`` pairs of lags, each of which costs a pass.
    """
    K, chains, n = series.shape
    centred = np.empty((chains, n))
    pairs = max((n - 1) // 2, 1)
    size = float(chains * n)
    for k in range(K):
        low, high, middle, between = np.inf, -np.inf, 0.0, 0.0
        means = np.empty(chains)
        known = True
        for c in range(chains):
            total = 0.0
            for i in range(n):
                x = series[k, c, i]
                known = known and x == x
                low, high = min(low, x), max(high, x)
                total += x
            means[c] = total / n
            middle += means[c] / chains
            for i in range(n):
                centred[c, i] = series[k, c, i] - means[c]
        if not known or high - low < 1e-15:
            sizes[k] = size if known else np.nan
            continue
        for c in range(chains):
            between += (means[c] - middle) ** 2
        if chains > 1:
            between /= chains - 1
        whole = _autocovariance(centred, np.intp(0))
        within, total = whole * n / (n - 1.0), whole + (between if chains > 1 else 0.0)
        tau, least, last = -1.0, np.inf, pairs - 1
        even = 1.0
        for p in range(pairs):
            if p:
                even = 1.0 - (within - _autocovariance(centred, 2 * p)) / total
            both = even + 1.0 - (within - _autocovariance(centred, 2 * p + 1)) / total
            if p == last or not both > 0.0:
                tau += max(even, 0.0)
                break
            if p == most:
                tau = np.nan
                break
            least = min(least, both)
            tau += 2.0 * least
        sizes[k] = size / max(tau, 1.0 / np.log10(size)) if tau == tau else -1.0


@compiled
def _autocovariance(centred, lag):
    """Return the mean over chains of the autocovariance at a lag, over n."""
    chains, n = centred.shape
    total = 0.0
    for c in range(chains):
        a, b, d, e = 0.0, 0.0, 0.0, 0.0
        stop = (n - lag) // 4 * 4
        for i in range(0, stop, 4):  # four sums side by side
            a += centred[c, i] * centred[c, i + lag]
            b += centred[c, i + 1] * centred[c, i + 1 + lag]
            d += centred[c, i + 2] * centred[c, i + 2 + lag]
            e += centred[c, i + 3] * centred[c, i + 3 + lag]
        for i in range(stop, n - lag):
            a += centred[c, i] * centred[c, i + lag]
        total += (a + b) + (d + e)
    return total / (chains * n)
