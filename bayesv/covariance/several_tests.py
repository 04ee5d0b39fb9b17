"""P-values and intervals of several contrasts at once."""

from __future__ import annotations

import numpy as np

from bayesv.covariance.joint_t import LargestT
from bayesv.covariance.student import range_quantile, range_tail, t_quantile, t_tail
from bayesv.errors import BayesvError
from bayesv.linalg import Array

__all__ = ["ADJUSTMENTS", "adjusted", "fitting_adjustment"]

ADJUSTMENTS = ("tukey", "mvt", "sidak", "holm", "bonferroni", "fdr", "none")
_MOST_JOINT = 100  # contrasts; beyond, their joint distribution takes many seconds


def fitting_adjustment(adjust: str, method: object, count: int) -> str:
    """Return Tukey's where contrasts are pairwise, else Dunnett's or Holm's in its place."""
    if adjust != "tukey" or method == "pairwise":
        return adjust
    return "mvt" if method == "reference" and count <= _MOST_JOINT else "holm"


def adjusted(
    t: Array, df: Array, cov: Array, adjust: str, n_means: int, prob: float
) -> tuple[Array, Array]:
    """Return p-values and critical values of t.

    Parameters
    ----------
    t, df : ndarray, shape (m,)
        NaN where a contrast has no estimate.
    cov : ndarray, shape (m, m)
        Of the contrasts, up to scale; for ``"mvt"``.
    adjust : str
        One of `ADJUSTMENTS`.
    n_means : int
        How many means the pairs of ``"tukey"`` are of.
    prob : float
        With which all intervals cover at once.

    Raises
    ------
    BayesvError
        If there are too many contrasts for their joint distribution.
    """
    m = len(t)
    p = 2.0 * t_tail(df, np.abs(t))
    if m == 1 or adjust == "none":
        return p, t_quantile(df, (1.0 + prob) / 2.0)
    if adjust == "tukey":
        critical = range_quantile(df, prob, n_means) / np.sqrt(2.0)
        return range_tail(df, np.sqrt(2.0) * np.abs(t), n_means), critical
    if adjust == "mvt":
        return _joint(t, df, cov, prob)
    if adjust == "sidak":
        each = prob ** (1.0 / m)
        return -np.expm1(m * np.log1p(-p)), t_quantile(df, (1.0 + each) / 2.0)
    stepwise = {"holm": _holm, "fdr": _false_discoveries}.get(adjust, _bonferroni)
    return stepwise(p), t_quantile(df, 1.0 - (1.0 - prob) / (2.0 * m))


def _joint(t: Array, df: Array, cov: Array, prob: float) -> tuple[Array, Array]:
    """Return p and critical values by the largest |t| of those that have an estimate."""
    known = np.isfinite(t)
    if known.sum() > _MOST_JOINT:
        raise BayesvError(
            f"adjust='mvt' takes up to {_MOST_JOINT} contrasts at once; here are {known.sum()}. "
            "Use adjust='holm' or 'fdr', or contrasts within levels of by=."
        )
    p, critical = np.full((2, len(t)), np.nan)
    if known.any():
        sd = np.sqrt(np.diagonal(cov)[known])
        largest = LargestT(cov[np.ix_(known, known)] / np.outer(sd, sd))
        p[known] = largest.tail(df[known], np.abs(t[known]))
        critical[known] = largest.quantile(df[known], prob)
    return p, critical


def _bonferroni(p: Array) -> Array:
    return np.minimum(p * len(p), 1.0)


def _holm(p: Array) -> Array:
    """Return Holm's: of the tests left when the smaller ones are rejected."""
    order = np.argsort(p)
    result = np.empty_like(p)
    result[order] = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    return np.minimum(result, 1.0)


def _false_discoveries(p: Array) -> Array:
    """Return Benjamini and Hochberg's: the share of false among what is found at each."""
    known = np.isfinite(p)
    order = np.flatnonzero(known)[np.argsort(p[known])[::-1]]
    result = np.full_like(p, np.nan)
    shares = p[order] * len(p) / np.arange(len(order), 0, -1)
    result[order] = np.minimum.accumulate(np.minimum(shares, 1.0))
    return result
