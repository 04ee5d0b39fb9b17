"""Student's t, F and the studentized range; infinite degrees of freedom are normal."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import chdtrc, chdtri, fdtrc, fdtri, ndtr, ndtri, stdtr, stdtrit

from bayesv.linalg import Array

__all__ = [
    "bisected",
    "f_quantile",
    "f_tail",
    "range_quantile",
    "range_tail",
    "scales_of",
    "t_quantile",
    "t_tail",
]

_NODES = 96  # of each of two integrals
_FARTHEST = 8.5  # standard deviations
_STEPS = 60  # of bisection


def t_quantile(df: ArrayLike, prob: float) -> Array:
    """Return the quantile at prob, in the shape of df.

    >>> t_quantile([5.0, float("inf")], 0.975).round(3).tolist()
    [2.571, 1.96]
    """
    df = np.asarray(df, dtype=float)
    normal = np.isinf(df)
    return np.asarray(np.where(normal, ndtri(prob), stdtrit(np.where(normal, 1.0, df), prob)))


def t_tail(df: ArrayLike, t: ArrayLike) -> Array:
    """Return P(T > t), in the shape of df.

    >>> t_tail([5.0, float("inf")], [2.571, 1.96]).round(3).tolist()
    [0.025, 0.025]
    """
    df, t = np.asarray(df, dtype=float), np.asarray(t, dtype=float)
    normal = np.isinf(df)
    return np.asarray(np.where(normal, ndtr(-t), stdtr(np.where(normal, 1.0, df), -t)))


def f_tail(rank: int, df: ArrayLike, F: ArrayLike) -> Array:
    """Return P(F' > F) of F' with rank and df degrees of freedom, in the shape of df.

    >>> f_tail(2, [12.0, float("inf")], [3.8853, 2.9957]).round(4).tolist()
    [0.05, 0.05]
    """
    df, F = np.asarray(df, dtype=float), np.asarray(F, dtype=float)
    normal = np.isinf(df)
    finite = fdtrc(rank, np.where(normal, 1.0, df), F)
    return np.asarray(np.where(normal, chdtrc(rank, rank * F), finite))


def f_quantile(rank: int, df: ArrayLike, prob: float) -> Array:
    """Return the quantile of F with rank and df degrees of freedom, in the shape of df.

    >>> f_quantile(2, [12.0, float("inf")], 0.95).round(4).tolist()
    [3.8853, 2.9957]
    """
    df = np.asarray(df, dtype=float)
    normal = np.isinf(df)
    finite = fdtri(rank, np.where(normal, 1.0, df), prob)
    return np.asarray(np.where(normal, chdtri(rank, 1.0 - prob) / rank, finite))


def range_tail(df: ArrayLike, q: ArrayLike, k: int) -> Array:
    """Return P(Q > q) of the studentized range of k means, in the shape of df, to nine decimals.

    Notes
    -----
    Q is the range of k standard normal values over an independent √(χ²_df/df), s:
    P(Q ≤ q) = E_s[k ∫ φ(z) {Φ(z) − Φ(z − qs)}^(k−1) dz], s being a function of a normal
    value; both integrals by Gauss and Legendre.

    >>> range_tail([12.0, float("inf")], [3.772929, 3.314493], 3).round(6).tolist()
    [0.05, 0.05]
    """
    df, q = np.broadcast_arrays(np.asarray(df, dtype=float), np.asarray(q, dtype=float))
    z, density = _normal_nodes()
    s, weights = scales_of(df)
    apart = ndtr(z) - ndtr(z - (q[..., None] * s)[..., None])
    below = k * (apart ** (k - 1)) @ density
    return np.asarray(np.clip(1.0 - below @ weights, 0.0, 1.0))


def range_quantile(df: ArrayLike, prob: float, k: int) -> Array:
    """Return the quantile of the studentized range of k means, in the shape of df.

    >>> range_quantile([12.0, float("inf")], 0.95, 3).round(4).tolist()
    [3.7729, 3.3145]
    """
    df = np.asarray(df, dtype=float)
    return bisected(lambda q: range_tail(df, q, k), df, prob)


def scales_of(df: ArrayLike) -> tuple[Array, Array]:
    """Return values of s = √(χ²_df/df), df's shape and one more axis, and the weights of E_s."""
    df = np.asarray(df, dtype=float)[..., None]
    z, density = _normal_nodes()
    finite = np.where(np.isinf(df), 1.0, df)
    return np.where(np.isinf(df), 1.0, np.sqrt(chdtri(finite, ndtr(-z)) / finite)), density


def bisected(tail: Callable[[Array], Array], df: Array, prob: float) -> Array:
    """Return where a tail probability falls to 1 − prob, in the shape of df; NaN where df is."""
    low, high = np.zeros(df.shape), np.full(df.shape, 8.0)
    while (short := tail(high) > 1.0 - prob).any():
        high = np.where(short, 2.0 * high, high)
    for _ in range(_STEPS):
        middle = 0.5 * (low + high)
        beyond = tail(middle) > 1.0 - prob
        low, high = np.where(beyond, middle, low), np.where(beyond, high, middle)
    return np.asarray(np.where(np.isnan(df), np.nan, 0.5 * (low + high)))


def _normal_nodes() -> tuple[Array, Array]:
    """Return standard normal values and their weights."""
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    z = _FARTHEST * nodes
    return z, _FARTHEST * weights * np.exp(-0.5 * z * z) / np.sqrt(2.0 * np.pi)
