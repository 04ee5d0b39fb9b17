"""Asymptotic covariance of REML's (Σ_f, σ²) by the observed information, boundaries included."""

from __future__ import annotations

import numpy as np

from bayesv.covariance.geometry import Geometry
from bayesv.covariance.identified import Identified
from bayesv.covariance.information import Information, elements_of
from bayesv.linalg import Array, symmetrize

__all__ = ["observed_covariance"]

# Of its standard error if all else were known: a variance below is on the boundary.
_BOUNDARY_VARIANCE = 1e-6
_FLAT_CURVATURE = 1e-10  # of the largest eigenvalue: no curvature, as lmerTest drops it
# Of the largest: negative curvature, so that this is no maximum if V moves along it by that share
# of what its curvature would have it known.
_SADDLE_CURVATURE, _MOVING_SHARE = 1e-6, 1e-2
_MAX_EXCESS = 1e-2  # by which −2 log-likelihood may be above its minimum, rounded estimates


def observed_covariance(
    geometry: Geometry,
    info: Information,
    known: Identified,
    method: str,
) -> tuple[Array, str]:
    """Return the covariance of the elements of (Σ*, σ²), and why there is none.

    Parameters
    ----------
    geometry : Geometry
    info : Information
        At the geometry's components.
    known : Identified
    method : {"REML", "ML"}
        Whose likelihood it is.

    Returns
    -------
    covariance : ndarray, shape (m, m)
        NaN where the likelihood has no maximum here.
    problem : str
        Why there is no covariance, or that the components are no maximum; empty if there is none.

    Notes
    -----
    lmerTest takes the Hessian by (λ_f, σ), Σ_f = σ²λ_fλ_f', λ_f lower triangular. There Σ is even
    in the columns of λ that are 0, so that a variance of 0 or a correlation of ±1 has a gradient of
    0 and drops out of every first-order covariance: what remains are directions along the
    boundary, and the curvature of the boundary adds to the information on them. Here it is exact:
    H_λ = J'H_ΣJ + Σ_i g_i ∂²θ_i/∂λ∂λ', and the covariance is J (H_λ/2)⁺ J'.
    """
    gradient, (J, second) = info.gradient(method), _tangents(geometry, info)
    H = J.T @ info.hessian(method) @ J + np.tensordot(gradient, second, 1)
    unit = np.sqrt(np.abs(np.diagonal(H)))
    unit = np.where(unit > 0, unit, 1.0)
    J, H = J / unit, symmetrize(H / np.outer(unit, unit))
    if known.aliased.size or known.lost.size:
        # Only what moves the likelihood: along the rest λ can move and nothing changes.
        _, size, rows = np.linalg.svd(known.along(J))
        basis = rows[: int((size > 1e-9 * size[0]).sum())].T
        J, H = J @ basis, basis.T @ H @ basis
    values, vectors = np.linalg.eigh(H)
    falling = values < -_SADDLE_CURVATURE * values[-1]
    moves = J @ vectors[:, falling]
    # Next to a boundary the gradient that an optimiser left decides the sign of a curvature along
    # which V hardly moves.
    moved = np.einsum("ik,ij,jk->k", moves, info.products, moves)
    name = "restricted likelihood" if method == "REML" else "likelihood"
    if (moved > _MOVING_SHARE * np.abs(values[falling])).any():
        return np.full((len(J), len(J)), np.nan), (
            "Satterthwaite: the observed information is not positive definite, so these components "
            f"are no maximum of the {name}"
        )
    there = values > _FLAT_CURVATURE * values[-1]
    half = (J @ vectors[:, there]) / np.sqrt(values[there])
    above = 0.5 * float(((gradient @ half) ** 2).sum()) + _above(geometry, info, gradient)
    problem = "" if above < _MAX_EXCESS else (
        f"these components are no {method} estimates: twice the log {name} can rise by about "
        f"{above:.2g}"
    )  # fmt: skip
    return 2.0 * half @ half.T, problem


def _above(geometry: Geometry, info: Information, gradient: Array) -> float:
    """Return by how much −2 log-likelihood falls where variances that are 0 leave it, about."""
    total = 0.0
    for i, (f, a, b) in enumerate(elements_of(geometry)):
        if a == b and _at_zero(geometry, info, i, f, a) and gradient[i] < 0:
            total += 0.5 * gradient[i] ** 2 / info.products[i, i]
    return float(total)


def _at_zero(geometry: Geometry, info: Information, place: int, f: int, column: int) -> bool:
    scale = np.sqrt(0.5 * info.products[place, place])
    return bool(geometry.variances[f][column] * scale <= _BOUNDARY_VARIANCE)


def _tangents(geometry: Geometry, info: Information) -> tuple[Array, Array]:
    """Return first and second derivatives of the m elements by the free (λ, σ).

    Shapes (m, k) and (m, k, k). λ_f is diagonal here; its columns that are 0 are left out, and the
    others have the rows of smaller variances.
    """
    sigma2, sigma = geometry.sigma2, float(np.sqrt(geometry.sigma2))
    places = {element: i for i, element in enumerate(elements_of(geometry))}
    free = [
        (f, row, column)
        for f, term in enumerate(geometry.terms)
        for block in term.structure.blocks
        for i, column in enumerate(block)  # by decreasing variance
        for row in block[i:]
        if not _at_zero(geometry, info, places[f, column, column], f, column)
    ]
    m, k = len(places) + 1, len(free) + 1
    J, second = np.zeros((m, k)), np.zeros((m, k, k))
    for i, (f, row, column) in enumerate(free):
        root = np.sqrt(geometry.variances[f][column]) / sigma
        place = places[f, max(row, column), min(row, column)]
        J[place, i] = sigma2 * root * (2.0 if row == column else 1.0)
        for j, (g, other, same) in enumerate(free):
            if f == g and same == column:
                place = places[f, max(row, other), min(row, other)]
                second[place, i, j] = sigma2 * (2.0 if row == other else 1.0)
    for (f, a, b), place in places.items():
        if a == b:
            J[place, -1] = 2.0 * geometry.variances[f][a] / sigma
            second[place, -1, -1] = 2.0 * geometry.variances[f][a] / sigma2
    J[-1, -1], second[-1, -1, -1] = 2.0 * sigma, 2.0
    second[:, :-1, -1] = second[:, -1, :-1] = 2.0 / sigma * J[:, :-1]
    return J, second
