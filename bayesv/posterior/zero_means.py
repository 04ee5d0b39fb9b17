"""Are the means of many series of draws 0? A test of each, and of all of a family together."""

from __future__ import annotations

import numpy as np
from scipy.special import stdtrit

from bayesv.diagnostics.convergence import ess_mean
from bayesv.linalg import Array

__all__ = ["Row", "family"]

_ALPHA = 1e-4  # chance that one of a family of means that are 0 is said not to be

Row = tuple[str, str, float, float, float, bool]
"""Identity, scalar, mean, its Monte Carlo standard error, z, and whether it may be 0."""


def family(
    identity: str, names: list[str], x: Array, rest: Array | None = None, step: int = 1
) -> list[Row]:
    """Test that every scalar has mean 0.

    Parameters
    ----------
    identity : str
    names : list of str
        Of the K scalars.
    x : ndarray, shape (chain, draw, K)
    rest : ndarray, shape (chain, more draws, K), optional
        What x, at every ``step``-th of these draws, leaves out: the sum of both means is tested.
    step : int

    Notes
    -----
    z is Student's statistic at the effective sample size, corrected for the skewness of the mean
    (Hall 1992, https://doi.org/10.1111/j.2517-6161.1992.tb01872.x). Of a sum the variance has the
    covariance of x and its part of ``rest``, and the degrees of freedom are Satterthwaite's.
    """
    size = ess_mean(x)
    if rest is not None:  # draws far apart: a larger size is noise of few
        size = np.minimum(size, x.shape[0] * x.shape[1])
    mean, variance, third = _mean_of(x, size)
    degrees = size - 1.0
    if rest is not None:
        larger = ess_mean(rest)
        other, of_other, third_of_other = _mean_of(rest, larger)
        parts = variance**2 / degrees + of_other**2 / (larger - 1.0)
        both = ((x - mean) * (rest[:, ::step] - other)).mean(axis=(0, 1))
        variance = variance + of_other + 2.0 * both / np.maximum(size, larger)
        degrees = variance**2 / np.where(parts > 0, parts, 1.0)
        mean, third, size = mean + other, third + third_of_other, larger
    se = np.sqrt(variance)
    still = ~(se * np.sqrt(size) > 1e-14 * np.abs(mean))  # a series that does not move has no error
    unit = np.where(still, 1.0, se)
    t, skew = mean / unit, third / unit**3
    z = t + skew * t**2 / 3.0 + skew**2 * t**3 / 27.0 + skew / 6.0
    z = np.where(still, np.where(mean == 0, 0.0, np.sign(mean) * np.inf), z)
    limit = stdtrit(np.maximum(degrees, 1.0), 1.0 - _ALPHA / (2.0 * len(names)))
    columns = mean, se, z, np.abs(z) <= limit
    rows = zip(names, *(column.tolist() for column in columns), strict=True)
    return [(identity, *row) for row in rows]


def _mean_of(x: Array, size: Array) -> tuple[Array, Array, Array]:
    """Return means of (chain, draw, K), their variance and third cumulant, at effective sizes."""
    mean = x.mean(axis=(0, 1))
    third = ((x - mean) ** 3).mean(axis=(0, 1)) / size**2
    return mean, x.var(axis=(0, 1), ddof=1) / size, third
