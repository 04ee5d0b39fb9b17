"""Quasi-Newton minimisation, and the last steps of it, which make the gradient small."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from bayesv.linalg import Array, symmetrize
from bayesv.reml.course import LOWER, STALLED, VALUE, WANTED, Course, begun
from bayesv.support.memory import refuse_unless

__all__ = ["Objective", "Point", "ended", "minimize", "refuse_many"]

Objective = Callable[[Array], tuple[float, Array]]
Point = tuple[Array, float, Array]  # x, and value and gradient there

_NEWTON_STEPS = 12
_COPIES = 5  # of the inverse Hessian, at once


def refuse_many(d: int) -> None:
    """Refuse a search over so many parameters that its inverse Hessian does not fit.

    Raises
    ------
    MemoryNeededError
    """
    refuse_unless(
        8.0 * _COPIES * float(d) ** 2,
        f"The search over {d:,} parameters of variances and correlations",
        "Choose families with fewer parameters, such as toep or ar1 in place of us, or fewer "
        "visits or columns.",
    )


def minimize(
    objective: Objective,
    x: Array,
    curvature: Array,
    tolerance: Array,
    max_iterations: int,
    finer: Array | None = None,
    arrived: Callable[[Array], bool] = lambda _: False,
) -> Point:
    """Minimise by the method of Broyden, Fletcher, Goldfarb and Shanno.

    Parameters
    ----------
    objective : callable
        Value and gradient at x, shape (d,).
    x : ndarray, shape (d,)
        Where to start.
    curvature : ndarray, shape (d,)
        About the second derivatives, all positive: the inverse Hessian to start with.
    tolerance : ndarray, shape (d,)
        The search ends where no element of the gradient is larger, or where values do not fall.
    max_iterations : int
    finer : ndarray, shape (d,), optional
        What steps without a line search, which rounding of values does not limit, make it.
    arrived : callable
        Told every new x; True ends the search.

    Returns
    -------
    x, value, gradient
        Where it ended.

    Notes
    -----
    Nocedal and Wright (2006), Numerical Optimization, chapter 6. The first step is no longer than
    one unit of the coordinate with the largest curvature.
    """
    from bayesv.reml.quasi_newton import advance  # compiled: loaded when it is needed

    course, told = begun(x, curvature, tolerance, finer, max_iterations), WANTED
    while told in (WANTED, LOWER) and not (told == LOWER and arrived(course.x.copy())):
        told = advance(course, *objective(course.point.copy()))
    return ended(objective, course, told)


def ended(objective: Objective, course: Course, told: int) -> Point:
    """Return where a minimisation ended, after Newton steps if those before them stalled.

    Newton steps take 2 d evaluations each.
    """
    x, value, gradient = course.x, float(course.numbers[VALUE]), course.gradient
    for _ in range(_NEWTON_STEPS if told == STALLED else 0):
        step = _newton_step(objective, x, gradient)
        if step is None:
            break
        new_value, new_gradient = objective(x + step)
        if not np.abs(new_gradient / course.finer).max() < np.abs(gradient / course.finer).max():
            break
        x, value, gradient = x + step, new_value, new_gradient
        if (np.abs(gradient) < course.finer).all():
            break
    return x, value, gradient


def _newton_step(objective: Objective, x: Array, gradient: Array) -> Array | None:
    """Newton step with the Hessian by central differences; None where it is not a minimum."""
    h = 1e-4
    hessian = np.array(
        [(objective(x + h * e)[1] - objective(x - h * e)[1]) / (2 * h) for e in np.eye(len(x))]
    )
    try:
        L = np.linalg.cholesky(symmetrize(hessian))
    except np.linalg.LinAlgError:
        return None
    return np.asarray(-np.linalg.solve(L.T, np.linalg.solve(L, gradient)))
