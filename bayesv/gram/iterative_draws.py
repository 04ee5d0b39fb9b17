"""Draws of the border's effects by Krylov spaces: roots of Ã⁻¹ times random vectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from bayesv.gram.krylov import krylov
from bayesv.gram.layout import Layout
from bayesv.gram.operator import operator_of
from bayesv.gram.tables import Sums, Tables
from bayesv.linalg import Array

__all__ = ["BorderDraw", "draw_iteratively"]

_TOLERANCE = 1e-8
_MOST_STEPS = 200


class BorderDraw(NamedTuple):
    """Effects of the border in the basis of the statistics, shape (q,), and normal vectors.

    Attributes
    ----------
    mean, noise : ndarray, shape (q,)
        The mean given β, and a draw of what varies around it, over σ.
    others : ndarray, shape (q, 6)
        More vectors with the covariance of ``noise``, though not normal.
    """

    mean: Array
    noise: Array
    others: Array


def draw_iteratively(
    layout: Layout,
    tables: Tables,
    left: Sums,
    lam: Array,
    lambdas: Sequence[Array],
    known: Array,
    rng: np.random.Generator,
) -> BorderDraw:
    """Draw the effects of the border given λ and β.

    Parameters
    ----------
    layout, tables, left, lam, lambdas
        As for `operator_of`.
    known : ndarray, shape (p + 1,)
        Coefficients of [X y]; that of y is −1.
    rng : Generator

    Notes
    -----
    With D = RÃ⁻¹R', the mean is −DB known, and R Ã^(−½)z has the covariance D for E[zz'] = I.
    """
    q = layout.border_size
    N = operator_of(layout, tables, left, lam, lambdas)
    if N is None:
        nan = np.full(q, np.nan)
        return BorderDraw(nan, nan, np.full((q, 6), np.nan))
    columns = np.empty((q, 8))
    columns[:, :1] = N.apply(N.R, -(left.B_border @ known)[:, None], transposed=True)
    columns[:, 1] = rng.normal(size=q)
    columns[:, 2:] = 2.0 * rng.integers(0, 2, size=(q, 6)) - 1.0
    space = krylov(N.scaled_times, columns, np.full(8, _TOLERANCE), _MOST_STEPS)
    x = space.apply(lambda values: 1.0 / np.sqrt(values))
    x[:, 0] = space.apply(np.reciprocal)[:, 0]
    x = N.apply(N.R, x)
    return BorderDraw(x[:, 0], x[:, 1], x[:, 2:])
