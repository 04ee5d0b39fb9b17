"""Point estimates from draws that are positive semi-definite by construction."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy.optimize import minimize

from bayesv.inference.density import MarginalDensity
from bayesv.linalg import Array, cov_to_sd_corr

__all__ = ["geometric_median", "joint_mode"]


def geometric_median(draws: Array, axis: int = 0) -> Array:
    """Return the geometric median of drawn matrices, a convex combination of the draws.

    Parameters
    ----------
    draws : ndarray, shape (S, r, r)
    axis : int
        Must be 0.

    Notes
    -----
    Minimises Σ_s ‖D⁻¹(Σ − Σ_s)D⁻¹‖_F with D = diag of median SDs, by Weiszfeld's iteration with the
    correction of Vardi and Zhang 2000 (https://doi.org/10.1073/pnas.97.4.1423). For r = 1 it is the
    ordinary median.
    """
    if draws.shape[1:] == (1, 1):
        return np.asarray(np.median(draws, axis=axis))
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
        if np.abs(new - center).max() < 1e-12 * max(1.0, np.abs(center).max()):
            center = new
            break
        center = new
    return center.reshape(draws.shape[1:]) * np.outer(sd, sd)


def joint_mode(
    density: MarginalDensity, covs: Mapping[str, Array], sigma2: Array
) -> tuple[dict[str, Array], float]:
    """Return the maximum of p(SDs, correlations, σ | y), started at the best of the draws.

    Notes
    -----
    The search runs over log SDs, log σ and canonical partial correlations on the tanh scale; these
    are coordinates only, no Jacobian enters. A mode on the boundary is approached, not reached.
    """
    terms = density.priors.design.terms
    flat = {g: np.asarray(c).reshape(-1, *c.shape[-2:]) for g, c in covs.items()}
    s2 = np.asarray(sigma2).ravel()
    candidates = np.linspace(0, len(s2) - 1, min(400, len(s2))).astype(int)
    values = [
        density.log_posterior({g: c[i] for g, c in flat.items()}, float(s2[i])) for i in candidates
    ]
    best = int(candidates[int(np.argmax(values))])

    def unpack(x: Array) -> tuple[dict[str, Array], float]:
        out, at = {}, 0
        for term in terms:
            r = term.n_columns
            sd = np.exp(x[at : at + r])
            at += r
            root = np.eye(r)
            for block in term.blocks:
                size = len(block) * (len(block) - 1) // 2
                root[np.ix_(block, block)] = _partial_root(np.tanh(x[at : at + size]), len(block))
                at += size
            out[term.group] = (root @ root.T) * np.outer(sd, sd)
        return out, float(np.exp(2 * x[at]))

    start: list[float] = []
    for term in terms:
        sd, corr = cov_to_sd_corr(flat[term.group][best])
        start += list(np.log(np.maximum(sd, 1e-8 * sd.max() + 1e-300)))
        for block in term.blocks:
            start += list(np.arctanh(_partials(corr[np.ix_(block, block)])))
    start.append(0.5 * float(np.log(s2[best])))
    # |x| is bounded so that a mode at an SD of 0 or a correlation of ±1 ends the search near it.
    x0 = np.array(start)
    found = minimize(
        lambda x: -density.log_posterior(*unpack(x)),
        x0,
        method="L-BFGS-B",
        bounds=[(v - 12.0, v + 12.0) for v in x0],
        options={"maxiter": 500, "ftol": 1e-13, "gtol": 1e-7},
    )
    return unpack(found.x)


def _partial_root(partials: Array, r: int) -> Array:
    """Cholesky factor of the correlation matrix with given canonical partial correlations."""
    root = np.eye(r)
    at = 0
    for i in range(1, r):
        left = 1.0
        for j in range(i):
            root[i, j] = partials[at] * np.sqrt(left)
            left *= 1.0 - partials[at] ** 2
            at += 1
        root[i, i] = np.sqrt(max(left, 0.0))
    return root


def _partials(corr: Array) -> Array:
    r = len(corr)
    root = np.linalg.cholesky(0.999 * np.nan_to_num(corr) + 0.001 * np.eye(r))
    out = []
    for i in range(1, r):
        left = 1.0
        for j in range(i):
            out.append(root[i, j] / np.sqrt(left))
            left -= root[i, j] ** 2
    return np.asarray(np.clip(out, -0.999, 0.999))
