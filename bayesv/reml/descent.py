"""Quasi-Newton minimisation, and the last steps of it, which make the gradient small."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from bayesv.linalg import Array, symmetrize
from bayesv.support.memory import refuse_unless

__all__ = ["Objective", "minimize", "polish", "refuse_many"]

Objective = Callable[[Array], tuple[float, Array]]
Point = tuple[Array, float, Array]  # x, and value and gradient there

# A step of the line search has so much of the decrease that the slope promises, and leaves no more
# than so much of the slope (Wolfe's conditions); how many it tries, and the narrowest bracket.
_DECREASE, _SLOPE = 1e-4, 0.9
_TRIALS, _NARROWEST = 24, 1e-9
_POLISHING = 12  # steps
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
    arrived: Callable[[Array], bool] = lambda _: False,
) -> tuple[Array, float, Array, Array]:
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
    arrived : callable
        Told every new x; True ends the search.

    Returns
    -------
    x, value, gradient, inverse
        Where it ended, and the inverse Hessian there, shape (d, d).

    Notes
    -----
    Nocedal and Wright (2006), Numerical Optimization, chapter 6. The first step is no longer than
    one unit of the coordinate with the largest curvature.
    """
    refuse_many(len(x))
    value, gradient = objective(x)
    inverse = np.diag(1.0 / curvature)
    step = -gradient / curvature
    length = float(np.sqrt((curvature * step**2).sum() / curvature.max()))
    scale = min(1.0, 1.0 / length) if length > 0 else 1.0
    for _ in range(max_iterations):
        if (np.abs(gradient) <= tolerance).all():
            break
        lower = _along(objective, (x, value, gradient), step, scale)
        if lower is None:
            break
        inverse = _updated(inverse, lower[0] - x, lower[2] - gradient)
        fall = value - lower[1]
        x, value, gradient = lower
        if arrived(x):
            break
        step = -(inverse @ gradient)
        slope = float(gradient @ step)
        if not (slope < 0 and fall > 0):  # what is left to fall is rounding
            break
        # As far as a parabola that falls as much as the last step did.
        scale = min(1.0, 2.02 * fall / -slope)
    return x, value, gradient, inverse


def _along(objective: Objective, origin: Point, step: Array, scale: float) -> Point | None:
    """Return a point along a step that is low enough and no longer steep; None if none is."""
    x, value, gradient = origin
    slope = float(gradient @ step)
    low, high = (0.0, value, slope), np.inf
    for _ in range(_TRIALS):
        new = x + scale * step
        new_value, new_gradient = objective(new)
        new_slope = float(new_gradient @ step)
        if not new_value <= value + _DECREASE * scale * slope:
            high, width = scale, scale - low[0]
            # Where a parabola through both values with the lower one's slope has its minimum.
            part = -0.5 * low[2] * width / max(new_value - low[1] - low[2] * width, 1e-300)
            scale = low[0] + width * min(max(part, 0.1), 0.7)
        elif new_slope < _SLOPE * slope:
            width, steeper = scale - low[0], low[2]
            # Where the slope, going on as it did, is 0.
            rate = (new_slope - steeper) / width
            further = -new_slope / rate if rate > 0 else np.inf
            low = (scale, new_value, new_slope)
            scale += min(max(further, 0.1 * width), 4.0 * width)
            if scale >= high:
                scale = 0.5 * (low[0] + high)
        else:
            return new, new_value, new_gradient
        if high - low[0] < _NARROWEST:
            return None
    return None


def _updated(inverse: Array, step: Array, change: Array) -> Array:
    """Return the inverse Hessian after a step that changed the gradient so."""
    along = float(change @ step)
    if not along > 0:
        return inverse
    moved = inverse @ change
    both = step[:, None] * moved
    outer = step[:, None] * (step * ((1.0 + float(change @ moved) / along) / along))
    return np.asarray(inverse + outer - (both + both.T) / along)


def polish(
    objective: Objective,
    x: Array,
    value: float,
    gradient: Array,
    inverse: Array,
    tolerance: Array,
) -> Point:
    """Quasi-Newton steps that make the gradient smaller, then Newton steps if they stall.

    ``inverse`` is an inverse Hessian to start with; Newton steps take 2 d evaluations each.
    """
    newton = False
    for _ in range(_POLISHING):
        if (np.abs(gradient) < tolerance).all():
            break
        step = _newton_step(objective, x, gradient) if newton else -inverse @ gradient
        if step is None:
            break
        new_value, new_gradient = objective(x + step)
        if not np.abs(new_gradient / tolerance).max() < np.abs(gradient / tolerance).max():
            if newton or (np.abs(gradient) < 10 * tolerance).all():
                break
            newton = True
            continue
        inverse = _updated(inverse, step, new_gradient - gradient)
        x, value, gradient = x + step, new_value, new_gradient
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
