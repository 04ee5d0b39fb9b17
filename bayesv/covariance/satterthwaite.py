"""Asymptotic covariance of REML's (Σ_f, σ²) by the observed information, boundaries included."""

from __future__ import annotations

import numpy as np

from bayesv.covariance.frame import Frame
from bayesv.covariance.identified import Identified
from bayesv.covariance.information import Information
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
    frame: Frame,
    info: Information,
    known: Identified,
    method: str,
) -> tuple[Array, str]:
    """Return the covariance of the parameters θ of the frame, and why there is none.

    Parameters
    ----------
    frame : Frame
    info : Information
        At the frame's components.
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
    lmerTest takes the Hessian by Cholesky factors, Σ_f = λ_fλ_f', λ_f lower triangular. There Σ is
    even in the columns of λ that are 0, so that a variance of 0 or a correlation of ±1 has a
    gradient of 0 and drops out of every first-order covariance: what remains are directions along
    the boundary, and the curvature of the boundary adds to the information on them. Here it is
    exact: H_λ = J'H_ΣJ + Σ_i g_i ∂²θ_i/∂λ∂λ', and the covariance is J (H_λ/2)⁺ J'. Parameters of
    families stay as they are, and those at an end of their range are held.
    """
    gradient, (J, second) = info.gradient(method), _tangents(frame, info)
    if not J.shape[1]:
        return np.zeros((frame.m, frame.m)), ""
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
    above = 0.5 * float(((gradient @ half) ** 2).sum()) + _above(frame, info, gradient)
    problem = "" if above < _MAX_EXCESS else (
        f"these components are no {method} estimates: twice the log {name} can rise by about "
        f"{above:.2g}"
    )  # fmt: skip
    return 2.0 * half @ half.T, problem


def _above(frame: Frame, info: Information, gradient: Array) -> float:
    """Return by how much −2 log-likelihood falls where variances that are 0 leave it, about."""
    total = 0.0
    for (f, a, b), i in _places(frame).items():
        if a == b and _at_zero(frame, info, i, f, a) and gradient[i] < 0:
            total += 0.5 * gradient[i] ** 2 / info.products[i, i]
    return float(total)


def _places(frame: Frame) -> dict[tuple[int, int, int], int]:
    """Return which parameter is element (row, column) of Σ_f* of each term f."""
    return {
        (f, *element): span.start + i
        for f, (span, own) in enumerate(zip(frame.spans, frame.directions, strict=False))
        for i, element in enumerate(own.elements)
        if element is not None
    }


def _at_zero(frame: Frame, info: Information, place: int, f: int, column: int) -> bool:
    scale = np.sqrt(0.5 * info.products[place, place])
    return bool(frame.variances[f][column] * scale <= _BOUNDARY_VARIANCE)


def _tangents(frame: Frame, info: Information) -> tuple[Array, Array]:
    """Return first and second derivatives of the m parameters by the free ones.

    Shapes (m, k) and (m, k, k). λ_f is diagonal here; its columns that are 0 are left out, and the
    others have the rows of smaller variances.
    """
    places = _places(frame)
    free = [
        (f, row, column)
        for f, term in enumerate(frame.design.terms)
        for block in term.structure.free_blocks
        for i, column in enumerate(block)  # by decreasing variance
        for row in block[i:]
        if not _at_zero(frame, info, places[f, column, column], f, column)
    ]
    held = np.concatenate([*(own.held for own in frame.directions), np.zeros(0, dtype=bool)])
    held = np.append(held, np.zeros(frame.m - len(held), dtype=bool))
    held[list(places.values())] = True
    own = np.flatnonzero(~held)
    k = len(free)
    J, second = np.zeros((frame.m, k + len(own))), np.zeros((frame.m, *[k + len(own)] * 2))
    J[own, k + np.arange(len(own))] = 1.0
    for i, (f, row, column) in enumerate(free):
        root = np.sqrt(frame.variances[f][column])
        place = places[f, max(row, column), min(row, column)]
        J[place, i] = root * (2.0 if row == column else 1.0)
        for j, (g, other, same) in enumerate(free):
            if f == g and same == column:
                place = places[f, max(row, other), min(row, other)]
                second[place, i, j] = 2.0 if row == other else 1.0
    return J, second
