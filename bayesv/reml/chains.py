"""Descents on the profiled criterion of a chain of factors: compiled, one call each."""

from __future__ import annotations

import numpy as np

from bayesv.gram.compiled import compiled
from bayesv.gram.profiled import profile_chain
from bayesv.reml.descent import LOWER, WANTED
from bayesv.reml.quasi_newton import advance

__all__ = ["descend_chain"]


@compiled
def descend_chain(chain, table, descent, course):
    """Minimise, and return what is told of the end; see `bayesv.reml.elements.ChainDescent`."""
    lam, x, told = np.zeros(table.size), descent.x, WANTED
    gradient = np.zeros(len(descent.free))
    while told == WANTED or told == LOWER and not _arrived(table, descent, course):
        for i in range(len(descent.free)):
            x[descent.free[i]] = course.point[i]
        for i in range(len(x)):
            lam[table.places[i]] = x[i] * table.units[i]
        value, lam_bar, _ = profile_chain(chain, lam)
        descent.count[0] += 1
        for i in range(len(descent.free)):
            c = descent.free[i]
            gradient[i] = lam_bar[table.places[c]] * table.units[c]
        if value == np.inf:  # a step so long that rounding leaves nothing: go back
            value = 1e300
        told = advance(course, value, gradient)
    return told


@compiled
def _arrived(table, descent, course):
    """Whether the lowest point is a known minimum, whatever the signs of columns of λ."""
    if len(descent.known) == 0:
        return False
    for i in range(len(descent.free)):
        descent.x[descent.free[i]] = course.x[i]
    distance = 0.0
    for i in range(len(descent.free)):
        c = descent.free[i]
        sign = -1.0 if descent.x[table.of_column[c]] < 0 else 1.0
        distance += descent.curvature[i] * (sign * descent.x[c] - descent.known[c]) ** 2
    return distance < descent.near
