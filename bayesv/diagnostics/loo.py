"""Leaving out by importance sampling with smoothed weights (PSIS-LOO)."""

from __future__ import annotations

import numpy as np
from scipy.special import logsumexp

from bayesv.diagnostics.convergence import tail_fit, tail_length
from bayesv.linalg import Array

__all__ = ["leave_out"]

_FEWEST = 5  # values of a tail that a distribution is fitted to


def leave_out(log_likelihood: Array) -> tuple[Array, Array]:
    """Return log p(y_i | y_−i) of every unit, and Pareto k̂ of the weights that leave it out.

    Parameters
    ----------
    log_likelihood : ndarray, shape (S, n)
        log p(y_i | θ_s, other units) of each draw.

    Returns
    -------
    tuple of ndarray, shapes (n,)

    Notes
    -----
    Vehtari, Gelman and Gabry 2017, https://doi.org/10.1007/s11222-016-9696-4, and Vehtari et al.
    2024, https://jmlr.org/papers/v25/19-556.html: weights are 1/p(y_i | θ_s, ·); the largest
    are replaced by quantiles of a generalised Pareto distribution.
    """
    pairs = [_one(column) for column in log_likelihood.T]
    elpd, khat = np.array(pairs).reshape(-1, 2).T
    return elpd, khat


def _one(log_likelihood: Array) -> tuple[float, float]:
    log_w, khat = _smoothed(-log_likelihood)
    return float(logsumexp(log_w + log_likelihood) - logsumexp(log_w)), khat


@np.errstate(under="ignore")
def _smoothed(log_w: Array) -> tuple[Array, float]:
    """Return log weights with a smoothed tail, shape (S,), and k̂."""
    S = len(log_w)
    n = tail_length(S)
    log_w = log_w - log_w.max()
    if n < _FEWEST:
        return log_w, float("inf")
    order = np.argsort(log_w, kind="stable")
    largest, threshold = order[-n:], np.exp(log_w[order[-n - 1]])
    k, scale = tail_fit(np.exp(log_w[largest]) - threshold)
    if not np.isfinite(k):
        return log_w, k
    p = (np.arange(n) + 0.5) / n
    excess = -np.log1p(-p) if k == 0 else np.expm1(-k * np.log1p(-p)) / k
    smoothed = log_w.copy()
    smoothed[largest] = np.minimum(np.log(threshold + scale * excess), 0.0)
    return smoothed, k
