"""Asymptotic covariance of REML's (Σ_f, σ²) by the observed information, boundaries included."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bayesv.covariance.geometry import Geometry
from bayesv.covariance.identified import Identified
from bayesv.covariance.information import Information, elements_of
from bayesv.linalg import Array, symmetrize

__all__ = ["observed_covariance"]

_ZERO = 1e-13  # of a block's largest variance: a pivot below that is a zero variance
_FLAT = 1e-10  # of the largest eigenvalue: no curvature, as lmerTest drops it
_SADDLE = 1e-6  # of the largest: negative curvature, so that this is no maximum …
_MOVES = 1e-2  # … if V moves along it by that share of what its curvature would have it known


def observed_covariance(
    geometry: Geometry,
    at: Information,
    blocks: Sequence[Array],
    sigma2: float,
    known: Identified,
    method: str,
) -> tuple[Array, str]:
    """Return the covariance of the elements of (Σ*, σ²), and why there is none.

    Parameters
    ----------
    geometry : Geometry
    at : Information
        At these blocks and σ².
    blocks : sequence of ndarray, shapes (r_f, r_f)
    sigma2 : float
    known : Identified
    method : {"REML", "ML"}
        Whose likelihood it is.

    Returns
    -------
    covariance : ndarray, shape (m, m)
        NaN where the likelihood has no maximum here.
    problem : str
        Empty if there is none.

    Notes
    -----
    lmerTest takes the Hessian by (λ_f, σ), Σ_f = σ²λ_fλ_f', λ_f lower triangular. There Σ is even
    in the columns of λ that are 0, so that a variance of 0 or a correlation of ±1 has a gradient of
    0 and drops out of every first-order covariance: what remains are directions along the
    boundary, and the curvature of the boundary adds to the information on them. Here it is exact:
    H_λ = J'H_ΣJ + Σ_i g_i ∂²θ_i/∂λ∂λ', and the covariance is J (H_λ/2)⁺ J'.
    """
    J, second = _tangents(geometry, blocks, sigma2)
    H = J.T @ at.hessian(method) @ J + np.tensordot(at.gradient(method), second, 1)
    unit = np.sqrt(np.abs(np.diagonal(H)))
    unit = np.where(unit > 0, unit, 1.0)
    J, H = J / unit, symmetrize(H / np.outer(unit, unit))
    if known.aliased.size or known.lost.size:
        # Only what moves the likelihood: along the rest λ can move and nothing changes.
        moves = (known.kept * (1.0 / known.unit**2)[:, None]).T @ J
        length = np.linalg.norm(moves, axis=0)
        _, size, rows = np.linalg.svd(moves / np.where(length > 0, length, 1.0))
        basis = rows[: int((size > 1e-9 * size[0]).sum())].T
        J, H = J @ basis, basis.T @ H @ basis
    values, vectors = np.linalg.eigh(H)
    falling = values < -_SADDLE * values[-1]
    moves = J @ vectors[:, falling]
    # Next to a boundary the gradient that an optimiser left decides the sign of a curvature along
    # which V hardly moves.
    moved = np.einsum("ik,ij,jk->k", moves, at.products, moves)
    if (moved > _MOVES * np.abs(values[falling])).any():
        return np.full((len(J), len(J)), np.nan), (
            "the observed information is not positive definite, so these components are no maximum "
            f"of the {'restricted likelihood' if method == 'REML' else 'likelihood'}"
        )
    there = values > _FLAT * values[-1]
    half = (J @ vectors[:, there]) / np.sqrt(values[there])
    return 2.0 * half @ half.T, ""


def _tangents(geometry: Geometry, blocks: Sequence[Array], sigma2: float) -> tuple[Array, Array]:
    """Return first and second derivatives of the m elements by the free (λ, σ).

    Shapes (m, k) and (m, k, k); columns of λ that are 0 are left out.
    """
    places = {element: i for i, element in enumerate(elements_of(geometry))}
    m, sigma = len(places) + 1, float(np.sqrt(sigma2))
    free: list[tuple[int, Array, int]] = []  # term, column of λ over σ, row
    for f, (term, block) in enumerate(zip(geometry.terms, blocks, strict=True)):
        for part in (list(part) for part in term.blocks):
            for order, column in _columns(block[np.ix_(part, part)]):
                whole = np.zeros(len(block))
                whole[part] = column / sigma
                free += [(f, whole, part[row]) for row in order]
    k = len(free) + 1
    J, second = np.zeros((m, k)), np.zeros((m, k, k))
    for i, (f, column, row) in enumerate(free):
        for at, value in enumerate(column):
            if (place := places.get((f, max(at, row), min(at, row)))) is not None:
                J[place, i] += sigma2 * value * (2.0 if at == row else 1.0)
        for j, (g, other, another) in enumerate(free):
            if f == g and other is column:
                place = places[f, max(row, another), min(row, another)]
                second[place, i, j] += sigma2 * (2.0 if row == another else 1.0)
    for (f, a, b), place in places.items():
        J[place, -1] = 2.0 * blocks[f][a, b] / sigma
        second[place, -1, -1] = 2.0 * blocks[f][a, b] / sigma2
    J[-1, -1], second[-1, -1, -1] = 2.0 * sigma, 2.0
    second[:, :-1, -1] = second[:, -1, :-1] = 2.0 / sigma * J[:, :-1]
    return J, second


def _columns(block: Array) -> list[tuple[list[int], Array]]:
    """Return the columns of a triangular root of Σ, each with the rows from its own on.

    The largest variance comes first, so that a Σ of rank k has exactly k columns.
    """
    rest, order = block.copy(), list(range(len(block)))
    largest, columns = np.diagonal(block).max(initial=0.0), []
    while order:
        first = max(order, key=lambda row: rest[row, row])
        if rest[first, first] <= _ZERO * largest:
            break
        column = np.zeros(len(block))
        column[order] = rest[order, first] / np.sqrt(rest[first, first])
        columns.append((order[:], column))
        rest -= np.outer(column, column)
        order.remove(first)
    return columns
