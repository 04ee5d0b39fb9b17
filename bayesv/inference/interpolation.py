"""log|M| and T as polynomials around the mode, where an evaluation costs a dense factorisation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations_with_replacement

import numpy as np
from numpy.polynomial import legendre
from numpy.typing import NDArray
from scipy.special import ndtri
from scipy.stats import qmc

from bayesv.linalg import Array

__all__ = ["Interpolant", "interpolate"]

RADIUS = 6.0  # of the ball that is covered, in standard deviations of the normal approximation
_DEGREES = (5, 7, 9)
_TOLERANCE = 1e-4  # of log|M| and of T in units that say what it does to the log density
_CHECKS = 12
_MOST = 600  # points: beyond, exact evaluations of the draws themselves are cheaper


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
        Largest error of any output at points that were not fitted, over the output's scale.
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
        return _features(self._whitened(x) / RADIUS, self.powers) @ self.coefficients

    def _whitened(self, x: Array) -> Array:
        return np.asarray((x - self.centre) @ np.linalg.inv(self.L).T)


def interpolate(
    function: Callable[[Array], Array], scale: Callable[[Array], Array], centre: Array, L: Array
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

    Returns
    -------
    Interpolant or None
        None if no degree is enough.
    """
    d = len(centre)
    # Low-discrepancy points in the ball, denser towards its boundary where polynomials err most.
    sobol = qmc.Sobol(d + 1, seed=0).random(1024)
    direction = ndtri(np.clip(sobol[:, :d], 1e-9, 1 - 1e-9))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    points = direction * (RADIUS * sobol[:, d:] ** (1.0 / (d + 1)))
    found, used = np.empty((0, 0)), 0
    for degree in _DEGREES:
        powers = _powers(d, degree)
        wanted = 2 * len(powers)
        if wanted + _CHECKS > _MOST:
            return None
        new = function(centre + points[used : wanted + _CHECKS] @ L.T)
        found = np.vstack([found, new]) if used else new
        used = wanted + _CHECKS
        if not np.isfinite(found).all():
            return None
        features = _features(points[:used] / RADIUS, powers)
        coefficients = np.linalg.lstsq(features[:wanted], found[:wanted])[0]
        gap = np.abs(features[wanted:] @ coefficients - found[wanted:])
        error = float((gap / scale(found[wanted:])).max())
        if error <= _TOLERANCE:
            return Interpolant(centre, L, powers, coefficients, error, used)
    return None


def _powers(d: int, degree: int) -> Array:
    """Degrees of all products of total degree up to ``degree``."""
    rows = []
    for total in range(degree + 1):
        for chosen in combinations_with_replacement(range(d), total):
            rows.append(np.bincount(chosen, minlength=d) if total else np.zeros(d, dtype=int))
    return np.array(rows)


def _features(z: Array, powers: Array) -> Array:
    highest = int(powers.max())
    each = [legendre.legvander(z[:, i], highest) for i in range(z.shape[1])]
    out = np.ones((len(z), len(powers)))
    for values, power in zip(each, powers.T, strict=True):
        out *= values[:, power]
    return out
