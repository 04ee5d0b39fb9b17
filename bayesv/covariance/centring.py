"""Columns of X and a response with their far zeros taken off: nothing then cancels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bayesv.design.design import Design
from bayesv.linalg import Array

__all__ = ["Centred", "centred"]


@dataclass(frozen=True, eq=False)
class Centred:
    """X M and y − c, with X M = X − 1·m' computed row by row.

    Attributes
    ----------
    X : ndarray, shape (n, p)
    y : ndarray, shape (n,)
        Response less the offset and c.
    M : ndarray, shape (p, p)
        I − a m', of determinant 1, where X a is the column of ones.
    shift : ndarray, shape (p,)
        What c adds to β: c a.
    """

    X: Array
    y: Array
    M: Array
    shift: Array

    def beta(self, beta: Array) -> Array:
        """Return β of X from that of the centred columns and response."""
        return np.asarray(self.M @ beta + self.shift)


def centred(design: Design) -> Centred:
    """Return columns and response about their means, where X has a column of ones in its span.

    A column that varies about 10⁹ by 1 has lost nine digits to its offset once anything is
    multiplied by it; a difference from a constant loses none.
    """
    X, y = design.X, design.target
    p = X.shape[1]
    a = _ones(X)
    if a is None:
        return Centred(X, y, np.eye(p), np.zeros(p))
    means = np.where(a == 0, X.mean(axis=0), 0.0)
    middle = float(y.mean())
    return Centred(X - means, y - middle, np.eye(p) - np.outer(a, means), middle * a)


def _ones(X: Array) -> Array | None:
    """Return a with X a = 1 to the last digit, from columns of one value beside 0; or None."""
    size = np.abs(X).max(axis=0, initial=0.0)
    flat = np.flatnonzero((size > 0) & ((X == 0) | (np.abs(X) == size)).all(axis=0))
    a = np.zeros(X.shape[1])
    constant = flat[(X[:, flat] == X[:1, flat]).all(axis=0)]
    if len(constant):
        a[constant[0]] = 1.0 / X[0, constant[0]]
    elif len(flat):
        a[flat] = (
            np.round(np.linalg.lstsq(X[:, flat] / size[flat], np.ones(len(X)))[0]) / size[flat]
        )
    return a if (X @ a == 1.0).all() else None
