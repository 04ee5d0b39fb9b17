"""Student's t for any degrees of freedom: infinite ones are normal, missing ones missing."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtr, ndtri, stdtr, stdtrit

from bayesv.linalg import Array

__all__ = ["t_quantile", "t_tail"]


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
