"""Descents on the profiled criterion of a chain of factors: compiled, one call each.

All are one loop for Python: what they have in common is compiled once.
"""

from __future__ import annotations

import numpy as np

from bayesv.gram.compiled import compiled
from bayesv.gram.profiled import profile_chain
from bayesv.reml.course import LOWER, WANTED
from bayesv.reml.quasi_newton import advance

__all__ = ["multiply_expected", "search_chain"]

_LEAST, _MOST = 0.01, 100.0  # of a variance over the one before a step of EM


@compiled
def search_chain(chain, table, descent, course):
    """Go some steps of EM, if there are any, or descend; see `ChainDescent`."""
    if descent.steps > 0:
        return _approach(chain, table, descent.x, descent.steps, descent.far)
    return _descend(chain, table, descent, course)


@compiled
def _descend(chain, table, descent, course):
    """Minimise, and return what is told of the end; `WANTED` where a turn ended before."""
    lam, x, told = np.zeros(table.size), descent.x, WANTED
    gradient, point = np.zeros(len(descent.free)), np.empty(len(descent.free))
    last = descent.evaluations[0] + descent.turn
    while told == WANTED or (told == LOWER and not _arrived(table, descent, course)):
        if descent.evaluations[0] == last:
            return WANTED
        for i in range(len(descent.free)):
            x[descent.free[i]] = point[i] = course.point[i]
        for i in range(len(x)):
            lam[table.places[i]] = x[i] * table.units[i]
        value, lam_bar, T = profile_chain(chain, lam)
        descent.evaluations[0] += 1
        for i in range(len(descent.free)):
            c = descent.free[i]
            gradient[i] = lam_bar[table.places[c]] * table.units[c]
        if value == np.inf:  # a step so long that rounding leaves nothing: go back
            value = 1e300
        told = advance(course, value, gradient)
        lowest = True
        for i in range(len(point)):
            lowest = lowest and point[i] == course.x[i]
        if lowest:
            descent.rest[:] = T
    return told


@compiled
def _approach(chain, table, x, most, far):
    """Go so many steps of EM at most, while the largest row of λ grows by so much; return how many.

    ``x`` is written to; NaN where the criterion has no value.
    """
    lam = np.zeros(table.size)
    for step in range(most):
        for i in range(len(x)):
            lam[table.places[i]] = x[i] * table.units[i]
        value, bar, _ = profile_chain(chain, lam)
        if np.isinf(value):
            x[:] = np.nan
            return step + 1
        for f in range(len(table.terms)):
            start, k, n_levels = table.terms[f]
            own = lam[start : start + k * k].reshape(k, k)
            multiply_expected(own, bar[start : start + k * k].reshape(k, k), n_levels)
        before, after = np.zeros(len(x)), np.zeros(len(x))
        for i in range(len(x)):
            before[table.of_row[i]] += x[i] ** 2
            x[i] = lam[table.places[i]] / table.units[i]
            after[table.of_row[i]] += x[i] ** 2
        if np.sqrt(after.max()) < far * np.sqrt(before.max()):
            return step + 1
    return most


@compiled
def multiply_expected(lam, bar, n_levels):
    """Multiply λ so that λλ' is E[Σ_j uu'/J | y] in units of σ², given the derivative Λ̄ by λ.

    By Fisher's identity that is λNλ' with N = I − λ'Λ̄/(2 J), and λ times the Cholesky factor of N,
    whose pivots are held between bounds, is a root of it.
    """
    k = len(lam)
    C = np.empty((k, k))
    for j in range(k):
        for i in range(j, k):
            total = 1.0 if i == j else 0.0
            for t in range(k):
                total -= (lam[t, i] * bar[t, j] + lam[t, j] * bar[t, i]) / (4.0 * n_levels)
            for t in range(j):
                total -= C[i, t] * C[j, t]
            C[i, j] = np.sqrt(min(max(total, _LEAST), _MOST)) if i == j else total / C[j, j]
    for i in range(k):
        for j in range(k):
            total = 0.0
            for t in range(j, k):
                total += lam[i, t] * C[t, j]
            lam[i, j] = total


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
