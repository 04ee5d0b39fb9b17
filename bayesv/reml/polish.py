"""The last steps of a search, which make the gradient small."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from bayesv.linalg import Array, symmetrize

__all__ = ["Objective", "polish"]

Objective = Callable[[Array], tuple[float, Array]]

_POLISHING = 12  # steps


def polish(
    objective: Objective,
    x: Array,
    value: float,
    gradient: Array,
    inverse: Array,
    tolerance: Array,
) -> tuple[Array, float, Array]:
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
        change = new_gradient - gradient
        if (along := float(change @ step)) > 0:  # update by Broyden, Fletcher, Goldfarb and Shanno
            left = np.eye(len(x)) - np.outer(step, change) / along
            inverse = left @ inverse @ left.T + np.outer(step, step) / along
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
