"""Many climbs at once: quasi-Newton ascent whose evaluations are one vectorised batch a step."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from bayesv.linalg import Array

__all__ = ["climb"]

_MOST_STEPS = 40
_SPACING = 0.02  # of the central differences, in coordinates that are logs
_LENGTHS = np.array([1.0, 0.4, 0.1])  # of a step, tried side by side
_LONGEST = 2.0  # step of any coordinate
_LEAST_CURVATURE = 0.1
_GAIN = 1e-3  # expected gain of the log density below which a climb has arrived
_SAME_HILL = 1.0  # distance² in units of the curvature, below which two climbs are one


def climb(log_density: Callable[[Array], Array], starts: Array) -> tuple[Array, Array]:
    """Climb from every start; climbs that meet go on as one.

    Parameters
    ----------
    log_density : callable
        Values (S,) at points (S, d); −inf where there is none.
    starts : ndarray, shape (K, d)
        Points of finite log density.

    Returns
    -------
    points : ndarray, shape (M, d)
        M ≤ K summits, the highest first.
    values : ndarray, shape (M,)

    Notes
    -----
    The method of Broyden, Fletcher, Goldfarb and Shanno with gradient and diagonal of the Hessian
    by central differences: 2d values cost less than one call of an analytic gradient, because the
    values of all climbs are one batch.
    """
    from bayesv.inference.loops import apart, directions, update  # compiled

    x = np.array(starts, dtype=float)
    value = log_density(x)
    slope, curvature = _differences(log_density, x, value)
    inverse = _diagonal(1.0 / curvature)
    fresh = np.ones(len(x), dtype=bool)  # whether the inverse Hessian is the diagonal one
    active = np.ones(len(x), dtype=bool)
    for _ in range(_MOST_STEPS):
        step = np.empty_like(x)
        active &= directions(inverse, slope, _LONGEST, step) > 2.0 * _GAIN
        if not active.any():
            break
        going = np.flatnonzero(active)
        trials = x[going, None] + _LENGTHS[None, :, None] * step[going, None]
        heights = log_density(trials.reshape(-1, x.shape[1])).reshape(trials.shape[:2])
        best = np.where(np.isnan(heights), -np.inf, heights).argmax(axis=1)
        every = np.arange(len(going))
        higher = heights[every, best] > value[going] + 1e-9
        # A climb that cannot rise starts again along the diagonal, and then has arrived.
        stuck = going[~higher]
        active[stuck[fresh[stuck]]] = False
        inverse[stuck] = _diagonal(1.0 / curvature[stuck])
        fresh[stuck] = True
        moved = going[higher]
        if len(moved):
            before, move = slope[moved], trials[every, best][higher] - x[moved]
            x[moved], value[moved] = x[moved] + move, heights[every, best][higher]
            slope[moved], curvature[moved] = _differences(log_density, x[moved], value[moved])
            update(inverse, moved, move, before - slope[moved])
            fresh[moved] = False
        keep = apart(x, np.argsort(-value), curvature, _SAME_HILL)
        if not keep.all():
            x, value, slope, curvature = x[keep], value[keep], slope[keep], curvature[keep]
            inverse, fresh, active = inverse[keep], fresh[keep], active[keep]
    order = np.argsort(-value)
    return x[order], value[order]


def _differences(
    log_density: Callable[[Array], Array], x: Array, value: Array
) -> tuple[Array, Array]:
    """Slope and (positive) diagonal curvature, shapes (K, d), by central differences."""
    d = x.shape[1]
    away = _SPACING * np.eye(d)
    points = np.concatenate([x[:, None] + away, x[:, None] - away], axis=1)
    values = log_density(points.reshape(-1, d)).reshape(len(x), 2, d)
    # Next to where there is no density the slope leads away from there.
    values = np.where(np.isfinite(values), values, value[:, None, None] - 1.0)
    slope = (values[:, 0] - values[:, 1]) / (2.0 * _SPACING)
    bend = (2.0 * value[:, None] - values[:, 0] - values[:, 1]) / _SPACING**2
    return slope, np.maximum(np.abs(bend), _LEAST_CURVATURE)


def _diagonal(values: Array) -> Array:
    """Diagonal matrices, shape (K, d, d)."""
    return np.asarray(values[:, :, None] * np.eye(values.shape[1]))
