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
    from bayesv.inference.loops import aim, apart, rise, turn  # compiled

    x = np.array(starts, dtype=float)
    (K, d), T = x.shape, len(_LENGTHS)
    value, going, move = log_density(x), np.arange(K), np.zeros((K, d))
    slope, curvature, inverse = np.zeros((K, d)), np.zeros((K, d)), np.zeros((K, d, d))
    fresh = np.ones(K, dtype=bool)  # whether the inverse Hessian is the diagonal one
    active = np.ones(K, dtype=bool)
    trials, around = np.empty((K * T, d)), _around(x)
    slopes = slope, curvature, inverse, fresh
    turn(going, K, log_density(around), _SPACING, _LEAST_CURVATURE, move, value, *slopes)
    inverse[:], fresh[:] = _diagonal(1.0 / curvature), True
    for _ in range(_MOST_STEPS):
        n = aim(x, slope, inverse, active, _LENGTHS, _LONGEST, 2.0 * _GAIN, going, trials)
        if not n:
            break
        heights = log_density(trials[: n * T])
        state = x, value, curvature, inverse, fresh, active
        n = rise(going, n, trials, heights, _SPACING, *state, move, around)
        if n:
            slopes = slope, curvature, inverse, fresh
            heights = log_density(around[: 2 * n * d])
            turn(going, n, heights, _SPACING, _LEAST_CURVATURE, move, value, *slopes)
        keep = apart(x, np.argsort(-value), curvature, _SAME_HILL)
        if not keep.all():
            x, value, slope, curvature = x[keep], value[keep], slope[keep], curvature[keep]
            inverse, fresh, active = inverse[keep], fresh[keep], active[keep]
    order = np.argsort(-value)
    return x[order], value[order]


def _around(x: Array) -> Array:
    """Return points one spacing up and down each coordinate, (2 d K, d) of (K, d)."""
    away = _SPACING * np.eye(x.shape[1])
    return np.concatenate([x[:, None] + away, x[:, None] - away], axis=1).reshape(-1, x.shape[1])


def _diagonal(values: Array) -> Array:
    """Diagonal matrices, shape (K, d, d)."""
    return np.asarray(values[:, :, None] * np.eye(values.shape[1]))
