"""P-values and intervals of several contrasts at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bayesv.covariance.joint_t import LargestT
from bayesv.covariance.student import (
    f_quantile,
    f_tail,
    range_quantile,
    range_tail,
    t_quantile,
    t_tail,
)
from bayesv.errors import BayesvError
from bayesv.linalg import Array

__all__ = ["ADJUSTMENTS", "SIDES", "Hypothesis", "adjusted", "fitting_adjustment", "in_place_of"]

ADJUSTMENTS = (
    *("tukey", "mvt", "scheffe", "sidak", "holm", "hochberg", "hommel", "bonferroni"),
    *("fdr", "bh", "by", "none"),
)
SIDES = ("two-sided", "greater", "less")
_OF_SIZE = ("tukey", "mvt", "scheffe")  # what speaks of the largest |t|
_MOST_JOINT = 100  # contrasts; beyond, their joint distribution takes many seconds


@dataclass(frozen=True)
class Hypothesis:
    """What is tested: a value, on which side of it the alternative is, and a margin.

    Attributes
    ----------
    side : str
        One of `SIDES`.
    null : float
    delta : float
        0 for plain tests. Of two sides, equivalence: farther than δ from the value is tested by
        two one-sided tests; of one side, δ is what may be lacking (non-inferiority).
    """

    side: str = "two-sided"
    null: float = 0.0
    delta: float = 0.0

    @property
    def is_plain(self) -> bool:
        """Whether large |t| speak against it."""
        return self.side == SIDES[0] and self.delta == 0

    def statistic(self, estimate: Array, se: Array) -> Array:
        """Return t; NaN of what is 0 whatever the data, such as equal slopes' difference."""
        away = estimate - self.null
        if self.side != SIDES[0]:
            away = away + (self.delta if self.side == "greater" else -self.delta)
        elif self.delta > 0:
            away = np.abs(away) - self.delta
        return np.asarray(away / np.where(se > 0, se, np.nan))

    def tail(self, df: Array, t: Array) -> Array:
        """Return the p-value of one test."""
        if self.is_plain:
            return 2.0 * t_tail(df, np.abs(t))
        return t_tail(df, t if self.side == "greater" else -t)

    def interval(self, estimate: Array, half: Array) -> tuple[Array, Array]:
        """Return the ends of intervals: without one on the side of the alternative."""
        low = np.full_like(half, -np.inf) if self.side == "less" else estimate - half
        high = np.full_like(half, np.inf) if self.side == "greater" else estimate + half
        return low, high

    def level(self, prob: float) -> float:
        """Return at which quantile intervals end."""
        return (1.0 + prob) / 2.0 if self.side == SIDES[0] else prob


def fitting_adjustment(adjust: str, method: object, count: int, hypothesis: Hypothesis) -> str:
    """Return Tukey's where contrasts are pairwise, else Dunnett's or Holm's in its place.

    Raises
    ------
    BayesvError
        If an adjustment of |t| is asked for by name and the hypothesis has one side, or a margin.
    """
    if not hypothesis.is_plain and adjust in _OF_SIZE:
        if adjust == "tukey":  # nobody chose it
            return "holm"
        raise BayesvError(
            f"adjust={adjust!r} is of tests of two sides without a margin; with side= or delta= "
            "use 'holm', 'hommel', 'sidak' or another."
        )
    if adjust != "tukey" or method == "pairwise":
        return adjust
    return "mvt" if method == "reference" and count <= _MOST_JOINT else "holm"


def in_place_of(adjust: str, own: str, count: int) -> str:
    """Say which adjustment stands in place of the one that was asked for; ``""`` if none does."""
    if own == adjust or count < 2:
        return ""
    said = {
        "mvt": "p-values and intervals are Dunnett's, of the joint t",
        "holm": "p-values are Holm's, intervals Bonferroni's",
    }[own]
    return f"{said}: Tukey's are of two-sided tests of all pairs."


def adjusted(
    t: Array, df: Array, cov: Array, adjust: str, n_means: int, prob: float, hypothesis: Hypothesis
) -> tuple[Array, Array]:
    """Return p-values and critical values of t.

    Parameters
    ----------
    t, df : ndarray, shape (m,)
        NaN where a contrast has no estimate.
    cov : ndarray, shape (m, m)
        Of the contrasts, up to scale; for ``"mvt"`` and ``"scheffe"``.
    adjust : str
        One of `ADJUSTMENTS`.
    n_means : int
        How many means the pairs of ``"tukey"`` are of.
    prob : float
        With which all intervals cover at once.
    hypothesis : Hypothesis

    Raises
    ------
    BayesvError
        If there are too many contrasts for their joint distribution.
    """
    m = len(t)
    p = hypothesis.tail(df, t)
    if m == 1 or adjust == "none":
        return p, t_quantile(df, hypothesis.level(prob))
    if adjust == "tukey":
        critical = range_quantile(df, prob, n_means) / np.sqrt(2.0)
        return range_tail(df, np.sqrt(2.0) * np.abs(t), n_means), critical
    if adjust == "mvt":
        return _joint(t, df, cov, prob)
    if adjust == "scheffe":
        return _scheffe(t, df, cov, prob)
    if adjust == "sidak":
        each = prob ** (1.0 / m)
        return -np.expm1(m * np.log1p(-p)), t_quantile(df, hypothesis.level(each))
    each = 1.0 - (1.0 - prob) / m
    known = np.isfinite(p)
    result = np.where(known, _STEPWISE[adjust](np.where(known, p, 1.0)), np.nan)
    return result, t_quantile(df, hypothesis.level(each))


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


def _scheffe(t: Array, df: Array, cov: Array, prob: float) -> tuple[Array, Array]:
    """Return p and critical values of all contrasts that these span, by F of their rank."""
    known = np.isfinite(t)
    p, critical = np.full((2, len(t)), np.nan)
    if known.any():
        sd = np.sqrt(np.diagonal(cov)[known])
        rank = np.linalg.matrix_rank(cov[np.ix_(known, known)] / np.outer(sd, sd), tol=1e-8)
        p[known] = f_tail(rank, df[known], t[known] ** 2 / rank)
        critical[known] = np.sqrt(rank * f_quantile(rank, df[known], prob))
    return p, critical


def _bonferroni(p: Array) -> Array:
    return np.minimum(p * len(p), 1.0)


def _holm(p: Array) -> Array:
    """Return Holm's: of the tests left when the smaller ones are rejected."""
    order = np.argsort(p)
    result = np.empty_like(p)
    result[order] = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    return np.minimum(result, 1.0)


def _hochberg(p: Array) -> Array:
    """Return Hochberg's: Holm's factors, from the largest p down."""
    return _from_the_largest(p, np.arange(1.0, len(p) + 1))


def _false_discoveries(p: Array) -> Array:
    """Return Benjamini and Hochberg's: the share of false among what is found at each."""
    return _from_the_largest(p, len(p) / np.arange(len(p), 0.0, -1))


def _dependent_discoveries(p: Array) -> Array:
    """Return Benjamini and Yekutieli's, whatever the dependence."""
    ranks = np.arange(len(p), 0.0, -1)
    return _from_the_largest(p, (1.0 / ranks).sum() * len(p) / ranks)


def _from_the_largest(p: Array, factors: Array) -> Array:
    """Return the least of p times a factor each, from the largest p to this one."""
    order = np.argsort(p)[::-1]
    result = np.empty_like(p)
    result[order] = np.minimum.accumulate(np.minimum(p[order] * factors, 1.0))
    return result


def _hommel(p: Array) -> Array:
    """Return Hommel's: the largest Simes p of all sets of the tests that have this one."""
    m, order = len(p), np.argsort(p)
    sorted_p = p[order]
    found = np.full(m, (m * sorted_p / np.arange(1.0, m + 1)).min())
    for size in range(m - 1, 1, -1):
        # Of sets of this size the last tests are the least favourable ones to the first.
        first, last = sorted_p[: m - size + 1], sorted_p[m - size + 1 :]
        simes = (size * last / np.arange(2.0, size + 1)).min()
        own = np.concatenate([np.minimum(size * first, simes), np.full(size - 1, 0.0)])
        own[m - size + 1 :] = own[m - size]
        found = np.maximum(found, own)
    result = np.empty_like(p)
    result[order] = np.maximum(found, sorted_p)
    return result


_STEPWISE = {
    "bonferroni": _bonferroni,
    "holm": _holm,
    "hochberg": _hochberg,
    "hommel": _hommel,
    "fdr": _false_discoveries,
    "bh": _false_discoveries,
    "by": _dependent_discoveries,
}
