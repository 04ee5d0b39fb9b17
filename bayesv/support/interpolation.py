"""log|M| and T as polynomials around the mode, where an evaluation costs a dense factorisation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.polynomial import legendre
from numpy.typing import NDArray
from scipy.special import ndtri

from bayesv.linalg import Array

__all__ = ["Interpolant", "interpolate"]

RADIUS = 6.0  # of the ball that is covered, in standard deviations of the normal approximation
_TOLERANCE = 1e-3  # at the centre, of log|M| and of T in units that say what it does to log p
# Of the degrees, until the error is within tolerance.
_DEGREE_GROWTH = (0.8, 0.9, 1.0, 1.1, 1.2, 1.35, 1.5)
_AXIS_NODES = 15  # of each axis, from which its degree is read
_POINTS_PER_TERM = 1.6  # points for each coefficient
_CHECK_POINTS = 16
_MAX_POINTS = 4000  # points: beyond, exact evaluations of the draws themselves are cheaper

Function = Callable[[Array], Array]


@dataclass(frozen=True, eq=False)
class Interpolant:
    """Polynomials in z = L⁻¹(x − centre), |z| ≤ RADIUS.

    Attributes
    ----------
    centre, L : ndarray, shapes (d,) and (d, d)
    powers : ndarray of int, shape (terms, d)
        Degrees of the Legendre polynomials of each product.
    coefficients : ndarray, shape (terms, outputs)
    error : float
        Largest error of any output at points that were not fitted, over the output's scale and
        weighted by exp(−|z|²/8), so that it bounds about what it does to probabilities.
    n_evaluations : int
        Exact evaluations it took.
    """

    centre: Array
    L: Array
    powers: Array
    coefficients: Array
    error: float
    n_evaluations: int

    def covers(self, x: Array) -> NDArray[np.bool_]:
        """Return which points, shape (S, d), are inside the ball."""
        return np.asarray((self._whitened(x) ** 2).sum(axis=1) <= RADIUS**2)

    def __call__(self, x: Array) -> Array:
        """Return the outputs, shape (S, outputs)."""
        return _features(self._whitened(x), self.powers) @ self.coefficients

    def _whitened(self, x: Array) -> Array:
        return np.asarray((x - self.centre) @ np.linalg.inv(self.L).T)


def interpolate(
    function: Function, scale: Function, centre: Array, L: Array, most: int = _MAX_POINTS
) -> Interpolant | None:
    """Fit polynomials of rising degree until the error at fresh points is negligible.

    Parameters
    ----------
    function : callable
        Outputs (S, outputs) at points (S, d), exactly.
    scale : callable
        Given outputs (S, outputs), the change of each that matters.
    centre, L : ndarray
        Mode and factor of the covariance of the normal approximation.
    most : int
        Points that cost less than what they save.

    Returns
    -------
    Interpolant or None
        None if no affordable degree is enough.

    Notes
    -----
    Along each axis alone the degree that suffices is found first: variances of factors with
    thousands of levels are so well determined that a low degree does, and only products of a total
    degree below that are fitted (weighted least squares at low-discrepancy points).
    """
    d = len(centre)
    if d * _AXIS_NODES >= most:
        return None
    degrees, z, outputs = _axis_degrees(function, scale, centre, L)
    units = scale(outputs[:1])
    points = _points(d)
    used = 0
    for growth in _DEGREE_GROWTH:
        powers = _powers(growth * degrees)
        wanted = int(_POINTS_PER_TERM * len(powers)) + 2 * d
        if wanted + _CHECK_POINTS > min(most, len(points)):
            return None
        new = points[used : wanted + _CHECK_POINTS]
        z, outputs = np.vstack([z, new]), np.vstack([outputs, function(centre + new @ L.T)])
        used = wanted + _CHECK_POINTS
        if not np.isfinite(outputs).all():
            return None
        weights, features = _weights(z)[:, None], _features(z, powers)
        fit = slice(0, len(z) - _CHECK_POINTS)
        solution = np.linalg.lstsq(
            (weights * features)[fit], (weights * (outputs - outputs[0]) / units)[fit]
        )[0]
        coefficients = solution * units
        coefficients[0] += outputs[0]  # the constant
        gap = weights * np.abs(features @ coefficients - outputs) / scale(outputs)
        error = float(gap[-_CHECK_POINTS:].max())
        if error <= _TOLERANCE:
            return Interpolant(centre, L, powers, coefficients, error, len(z))
    return None


def _axis_degrees(
    function: Function, scale: Function, centre: Array, L: Array
) -> tuple[Array, Array, Array]:
    """Return the degree each axis needs, with the points and outputs used; the centre is first."""
    d = len(centre)
    nodes = RADIUS * np.cos((np.arange(_AXIS_NODES) + 0.5) * np.pi / _AXIS_NODES)
    z = np.zeros((1 + d * _AXIS_NODES, d))
    for axis in range(d):
        z[1 + axis * _AXIS_NODES : 1 + (axis + 1) * _AXIS_NODES, axis] = nodes
    outputs = function(centre + z @ L.T)
    units, weights = scale(outputs[:1]), _weights(nodes[:, None])[:, None]
    basis = legendre.legvander(nodes / RADIUS, _AXIS_NODES - 1)
    degrees = np.full(d, float(_AXIS_NODES - 1))
    for axis in range(d):
        values = (
            outputs[1 + axis * _AXIS_NODES : 1 + (axis + 1) * _AXIS_NODES] - outputs[0]
        ) / units
        for degree in range(1, _AXIS_NODES - 1):
            features = weights * basis[:, : degree + 1]
            gap = features @ np.linalg.lstsq(features, weights * values)[0] - weights * values
            if np.abs(gap).max() <= _TOLERANCE / 2:
                degrees[axis] = degree
                break
    return degrees, z, outputs


def _points(d: int) -> Array:
    """Low-discrepancy points in the ball, denser towards its boundary where polynomials err."""
    from scipy.stats import qmc  # takes long to import and is rarely needed

    sobol = qmc.Sobol(d + 1, seed=0).random(4096)
    direction = ndtri(np.clip(sobol[:, :d], 1e-9, 1 - 1e-9))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    return np.asarray(direction * (RADIUS * sobol[:, d:] ** (1.0 / (d + 1))))


def _weights(z: Array) -> Array:
    """Return exp(−|z|²/8): errors count less where hardly any draw is."""
    return np.asarray(np.exp(-(z**2).sum(axis=1) / 8.0))


def _powers(degrees: Array) -> Array:
    """Degrees of all products with Σ k_i / degree_i ≤ 1; only some if they are too many."""
    rows: list[tuple[tuple[int, ...], float]] = [((), 1.0)]  # with what is left of the sum
    for degree in degrees:
        rows = [
            ((*row, k), left - k / degree)
            for row, left in rows[:_MAX_POINTS]
            for k in range(int(left * degree + 1e-9) + 1)
        ]
    return np.array([row for row, _ in rows])


def _features(z: Array, powers: Array) -> Array:
    highest = int(powers.max())
    each = [legendre.legvander(z[:, i] / RADIUS, highest) for i in range(z.shape[1])]
    products = np.ones((len(z), len(powers)))
    for values, power in zip(each, powers.T, strict=True):
        products *= values[:, power]
    return products
