"""Point estimates from draws that are positive semi-definite by construction."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy.optimize import minimize

from bayesv.inference.coordinates import Coordinates
from bayesv.inference.density import MarginalDensity
from bayesv.linalg import Array, cov_to_sd_corr

__all__ = ["geometric_median", "joint_mode"]


def geometric_median(draws: Array) -> Array:
    """Return the geometric median of drawn matrices, a convex combination of the draws.

    Parameters
    ----------
    draws : ndarray, shape (S, r, r)

    Notes
    -----
    Minimises Σ_s ‖D⁻¹(Σ − Σ_s)D⁻¹‖_F with D = diag of median SDs, by Weiszfeld's iteration with the
    correction of Vardi and Zhang 2000 (https://doi.org/10.1073/pnas.97.4.1423). For r = 1 it is the
    ordinary median.
    """
    if draws.shape[1:] == (1, 1):
        return np.asarray(np.median(draws, axis=0))
    sd = np.median(cov_to_sd_corr(draws)[0], axis=0)
    sd = np.where(sd > 0, sd, 1.0)
    points = (draws / np.outer(sd, sd)).reshape(len(draws), -1)
    center = points.mean(axis=0)
    for _ in range(500):
        distance = np.linalg.norm(points - center, axis=1)
        at = distance < 1e-14
        weights = np.where(at, 0.0, 1.0 / np.where(at, 1.0, distance))
        total = weights.sum()
        if total == 0:
            break
        new = weights @ points / total
        if at.any():
            pull = np.linalg.norm(weights @ (points - center))
            keep = min(1.0, at.sum() / pull) if pull > 0 else 1.0
            new = (1 - keep) * new + keep * center
        done = np.abs(new - center).max() < 1e-12 * max(1.0, np.abs(center).max())
        center = new
        if done:
            break
    return np.asarray(center.reshape(draws.shape[1:]) * np.outer(sd, sd))


def joint_mode(
    density: MarginalDensity, covs: Mapping[str, Array], sigma2: Array
) -> tuple[dict[str, Array], float]:
    """Return the maximum of p(SDs, correlations, σ | y), started at the mean of the draws.

    Notes
    -----
    The search runs over unconstrained coordinates, but no Jacobian enters. A mode on the boundary
    is approached, not reached.
    """
    coordinates = Coordinates(density.priors)
    mean = {g: np.asarray(c).reshape(-1, *c.shape[-2:]).mean(axis=0) for g, c in covs.items()}

    def objective(x: Array) -> float:
        lambdas, sigma = coordinates.to_lambdas(x[None])
        likelihood = density.conditional(lambdas, sigma**2).log_likelihood
        return -float((likelihood + coordinates.log_prior(x[None], jacobian=False))[0])

    start = coordinates.from_covs(mean, float(np.mean(sigma2)))
    found = minimize(
        objective,
        start,
        method="L-BFGS-B",
        # A mode at an SD of 0 or a correlation of ±1 is at infinity here: end near it.
        bounds=[(value - 12.0, value + 12.0) for value in start],
        options={"maxiter": 500, "ftol": 1e-13, "gtol": 1e-7},
    )
    mode, s2 = coordinates.to_covs(np.asarray(found.x))
    return mode, float(s2)
