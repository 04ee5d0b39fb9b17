"""The largest of several correlated |t|: what multiple comparisons are judged by."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy  # .interpolate and .stats are loaded when they are used
from numpy.typing import ArrayLike
from scipy.special import ndtr, ndtri

from bayesv.covariance.student import bisected, scales_of
from bayesv.linalg import Array

__all__ = ["LargestT"]

_FARTHEST = 9.0  # standard deviations
_NEAREST = 0.1
_PLACES = 40  # of the distribution of the largest |z|
_POINTS = (13, 14)  # powers of two, of many and of few variables
_RANK = 1e-8


@dataclass(frozen=True, eq=False)
class LargestT:
    """max |tᵢ|, t = z/s, of z with given correlations and one s² ~ χ²_df/df.

    Attributes
    ----------
    correlations : ndarray, shape (m, m)
        They may be singular.

    Notes
    -----
    F(x) = P(max |zᵢ| ≤ x) is made by separation of variables (Genz 1992) on points of a Sobol
    sequence, always the same ones, and interpolated over what it is of independent z;
    P(max |tᵢ| ≤ x) = E_s[F(xs)] by Gauss and Legendre. Rows that depend on others narrow the
    interval of the last variable that they depend on. Šidák's inequality and the single test
    enclose the result: no p-value is below what it would be alone.

    Of two differences to a common mean of equal precision, with 12 degrees of freedom (Dunnett):

    >>> LargestT(np.array([[1.0, 0.5], [0.5, 1.0]])).quantile(12.0, 0.95).round(3).item()
    2.502
    """

    correlations: Array

    def tail(self, df: ArrayLike, t: ArrayLike) -> Array:
        """Return P(max |tᵢ| > t), in the shape of df and t."""
        df, t = np.broadcast_arrays(np.asarray(df, dtype=float), np.asarray(t, dtype=float))
        s, weights = scales_of(df)
        x = np.clip(t[..., None] * s, _NEAREST, _FARTHEST)
        alone = 2.0 * ndtr(-x)
        several = -np.expm1(len(self.correlations) * np.log1p(-np.minimum(alone, 1 - 1e-16)))
        return np.asarray(np.clip(1.0 - self._below(x), alone, several) @ weights)

    def quantile(self, df: ArrayLike, prob: float) -> Array:
        """Return the quantile of max |tᵢ|, in the shape of df."""
        return bisected(lambda t: self.tail(df, t), np.asarray(df, dtype=float), prob)

    def _below(self, x: Array) -> Array:
        """Return F(x) for x > 0."""
        return np.asarray(np.exp(self._beyond_independence(x) + self._rank * _log_inside(x)))

    @cached_property
    def _beyond_independence(self) -> scipy.interpolate.CubicSpline:
        """Return log F(x) less that of as many independent z as their rank."""
        x = np.linspace(_NEAREST, _FARTHEST, _PLACES)
        power = int(np.clip(19 - np.log2(self._rank), *_POINTS))
        sequence = scipy.stats.qmc.Sobol(max(self._rank - 1, 1), rng=np.random.default_rng(0))
        points = sequence.random_base2(power)
        inside = np.array([_box(self._root, half, points) for half in x])
        seen = inside > 0
        beyond = np.log(inside[seen]) - self._rank * _log_inside(x[seen])
        return scipy.interpolate.CubicSpline(x[seen], beyond)

    @cached_property
    def _root(self) -> Array:
        return _echelon(self.correlations)

    @property
    def _rank(self) -> int:
        return int(self._root.shape[1])


def _log_inside(x: Array) -> Array:
    """Return log P(|z| ≤ x)."""
    return np.asarray(np.log1p(-2.0 * ndtr(-x)))


def _echelon(C: Array) -> Array:
    """Return L of full column rank with LL' = C, by pivots, shape (m, r)."""
    rest, columns = np.array(C, dtype=float), []
    while (left := np.diagonal(rest)).max() > _RANK:
        pivot = int(np.argmax(left))
        columns.append(rest[:, pivot] / np.sqrt(rest[pivot, pivot]))
        rest -= np.outer(columns[-1], columns[-1])
    root = np.stack(columns, axis=1)
    return np.where(np.abs(root) > _RANK, root, 0.0)


def _box(root: Array, half: float, points: Array) -> float:
    """Return P(|Lu| ≤ half in every row) of standard normal u."""
    r = root.shape[1]
    last = r - 1 - np.argmax(root[:, ::-1] != 0, axis=1)
    u, share = np.empty((r, len(points))), np.ones(len(points))
    for j in range(r):
        rows = root[last == j]
        # Rows of more than one variable are intervals of their last one, given the others.
        given, size = (rows[:, :j] / rows[:, j : j + 1]) @ u[:j], np.abs(rows[:, j : j + 1])
        low = ndtr((-half / size - given).max(axis=0))
        width = np.maximum(ndtr((half / size - given).min(axis=0)) - low, 0.0)
        share *= width
        if j < r - 1:
            u[j] = ndtri(np.clip(low + points[:, j] * width, 1e-16, 1 - 1e-16))
    return float(share.mean())
