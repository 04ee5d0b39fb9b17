"""Where a minimisation stands between two evaluations."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bayesv.linalg import Array

__all__ = [
    "DONE", "HIGH", "LOW", "LOWER", "LOW_SLOPE", "LOW_VALUE", "PHASE", "SCALE", "SLOPE", "STALLED",
    "STEPS", "TRIALS", "VALUE", "WANTED", "Course", "begun",
]  # fmt: skip


class Course(NamedTuple):
    """Where a minimisation stands between two evaluations; see `bayesv.reml.quasi_newton`.

    Attributes
    ----------
    x, gradient : ndarray, shape (d,)
        The lowest point so far.
    inverse : ndarray, shape (d, d)
        Inverse Hessian.
    step, point : ndarray, shape (d,)
        Direction of the search, and the point on it that is to be evaluated next.
    tolerance, finer : ndarray, shape (d,)
        The search ends where no element of the gradient is larger than the first; then steps
        without a line search begin, until none is larger than the second: inf if there are none.
    numbers : ndarray
        Scalars, `VALUE` and those after it.
    counts : ndarray of int
        `PHASE` and those after it.
    """

    x: Array
    gradient: Array
    inverse: Array
    step: Array
    point: Array
    tolerance: Array
    finer: Array
    numbers: Array
    counts: NDArray[np.intp]


# Places in ``numbers`` and in ``counts``; the phase is 0 before the first evaluation.
VALUE, SLOPE, SCALE, LOW, LOW_VALUE, LOW_SLOPE, HIGH = range(7)
PHASE, TRIALS, STEPS = range(3)
DONE, WANTED, LOWER, STALLED = range(4)
"""What a minimisation says of an evaluation: it has ended; another is wanted; another is wanted, x
being a new one; or that it has ended without meeting the finer tolerance, as rounding may be."""


def begun(
    x: Array, curvature: Array, tolerance: Array, finer: Array | None, max_iterations: int
) -> Course:
    """Return the course of a minimisation from x, shape (d,).

    Parameters
    ----------
    x, curvature, tolerance, finer, max_iterations
        As for `bayesv.reml.descent.minimize`.
    """
    d = len(x)
    finer = np.full(d, np.inf) if finer is None else finer
    counts = np.array([0, 0, max_iterations], dtype=np.intp)
    return Course(
        x.copy(), np.zeros(d), np.diag(1.0 / curvature), np.zeros(d), x.copy(), tolerance, finer,
        np.zeros(7), counts,
    )  # fmt: skip
