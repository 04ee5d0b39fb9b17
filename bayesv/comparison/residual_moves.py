"""R at the estimate of a fit, and how it changes with each of its parameters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from bayesv.covariance import VarianceComponents
from bayesv.design.design import Design
from bayesv.design.parametric import ResidualValues
from bayesv.design.residual_coordinates import ResidualCoordinates
from bayesv.linalg import Array

__all__ = ["ResidualMoves", "residual_moves"]

_STEP = 1e-3  # of a coordinate or, in units of it, of σ²: for second differences
_SMALL_STEP = 1e-5  # of a coordinate, for first ones


@dataclass(frozen=True, eq=False)
class ResidualMoves:
    """R and its derivatives by σ² or, of structured residuals, by their coordinates.

    Attributes
    ----------
    covariance : sparse array, shape (n, n)
        R, in units of y².
    log_det : float
        log|R|.
    changes : tuple of sparse array, shapes (n, n)
        Derivatives; none if R is known.
    steps : ndarray
        Of each parameter, for second differences of a criterion.
    at : callable
        ``at(move)``: labelled values of R (None where they are σ² alone) and σ² after a move.
    structured : bool
    """

    covariance: Any
    log_det: float
    changes: tuple[Any, ...]
    steps: Array
    at: Callable[[Array], tuple[ResidualValues | None, float]]
    structured: bool


def residual_moves(design: Design, vc: VarianceComponents) -> ResidualMoves:
    """Return R and its derivatives at components of the design."""
    form = design.structured_residual
    if form is None:
        base, sigma2 = design.residual.matrix, vc.sigma2
        log_det = design.residual.log_det + design.n * float(np.log(sigma2))
        free = not design.sigma_is_known

        def scaled(move: Array) -> tuple[ResidualValues | None, float]:
            return None, sigma2 + (float(move[0]) if free else 0.0)

        steps = np.array([_STEP * sigma2] if free else [])
        changes = (base,) if free else ()
        return ResidualMoves(sigma2 * base, log_det, changes, steps, scaled, False)
    coordinates = ResidualCoordinates(form)
    parameters = form.parameters(vc.residual, vc.sigma2)
    first = vc.sigma2 * parameters.sds[0] ** 2
    x = np.append(coordinates.of(parameters), 0.5 * np.log(first))

    def covariance(x: Array) -> tuple[Any, float]:
        member = form.member_of(coordinates.parameters(x[:-1]))
        return np.exp(2.0 * x[-1]) * member.matrix, member.log_det + 2.0 * form.n * float(x[-1])

    def values(move: Array) -> tuple[ResidualValues | None, float]:
        moved = x + move
        at = coordinates.parameters(moved[:-1])
        return form.values_of(at, float(np.exp(2.0 * moved[-1])))

    unit = _SMALL_STEP * np.eye(len(x))
    changes = tuple(
        (covariance(x + e)[0] - covariance(x - e)[0]) / (2.0 * _SMALL_STEP) for e in unit
    )
    R, log_det = covariance(x)
    return ResidualMoves(R, log_det, changes, np.full(len(x), _STEP), values, True)
