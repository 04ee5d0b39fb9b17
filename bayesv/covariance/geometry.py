"""Random effects cluster by cluster, in coordinates in which no digits are lost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import lapack, solve_triangular

from bayesv.covariance.clusters import gram_batches
from bayesv.covariance.frame import Frame
from bayesv.linalg import Array

__all__ = ["ClusterBatch", "Geometry", "geometry"]

# Of the largest eigenvalue of Z'WZ in unit columns: below that there is no direction.
_MIN_EIGENVALUE = 1e-13
_BATCHED_EFFECTS = 200  # random effects of a cluster, up to which eigenvectors are taken in batches
_PASSES = 2  # of the projection on Z: the second takes away what rounding left in the first


@dataclass(frozen=True, eq=False)
class ClusterBatch:
    """Clusters of the same shape in orthonormal coordinates of W^½Z_c = U_c R_c.

    Attributes
    ----------
    counts : tuple of int
        Levels of each term in a cluster.
    R : ndarray, shape (b, r, q_c)
        Root of Z_c'WZ_c; rows of 0 where Z_c has fewer directions.
    U : ndarray, shape (b, r, k)
        U_c'W^½[X e].
    """

    counts: tuple[int, ...]
    R: Array
    U: Array


@dataclass(frozen=True, eq=False)
class Geometry:
    """What information and derivatives need of the rows.

    Attributes
    ----------
    batches : tuple of ClusterBatch
    rest : ndarray, shape (k, k)
        [X e]'W^½(I − UU')W^½[X e].
    """

    batches: tuple[ClusterBatch, ...]
    rest: Array


def geometry(frame: Frame) -> Geometry:
    """Return the geometry of a frame whose R/σ² is known.

    Raises
    ------
    DataError
        If one connected cluster has more than 12,000 random effects.

    Notes
    -----
    With D_c = σ²I + R_c G_c R_c', V_c⁻¹ is U_c D_c⁻¹ U_c' + (I − U_cU_c')/σ² in rows of equal
    weight: every power of it is a sum of positive terms, and nothing cancels when the variances of
    the random effects are large beside σ².
    """
    design, columns = frame.design, frame.white
    if not design.terms:
        return Geometry((), columns.T @ columns)
    whiten = design.residual.whiten
    roots = [(counts, effects, *_roots(gram)) for counts, effects, gram in gram_batches(design)]
    inside = [np.zeros((*R.shape[:2], columns.shape[1])) for *_, R, _ in roots]
    for _ in range(_PASSES):
        shared = np.asarray(design.Z_independent.T @ whiten(columns, transposed=True))
        weights = np.zeros_like(shared)
        for U, (_, effects, _, inverse) in zip(inside, roots, strict=True):
            part = inverse @ shared[effects]
            U += part
            weights[effects] = np.swapaxes(inverse, 1, 2) @ part
        columns = columns - whiten(design.Z_independent @ weights)
    return Geometry(
        batches=tuple(
            ClusterBatch(counts, R, U) for (counts, _, R, _), U in zip(roots, inside, strict=True)
        ),
        rest=columns.T @ columns,
    )


def _roots(gram: Array) -> tuple[Array, Array]:
    """Return R with R'R = A = Z'WZ, and N with N Z'W^½ = U'; rows of 0 for missing directions."""
    length = np.sqrt(np.diagonal(gram, axis1=1, axis2=2))
    length = np.where(length > 0, length, 1.0)
    unit = gram / (length[:, :, None] * length[:, None, :])
    if unit.shape[-1] <= _BATCHED_EFFECTS:
        values, vectors = np.linalg.eigh(unit)
        there = values > _MIN_EIGENVALUE * values[:, -1:]
        size = np.sqrt(np.where(there, values, 1.0))
        across = np.swapaxes(vectors, 1, 2) * there[:, :, None]
        R, N = across * size[:, :, None], across / size[:, :, None]
    else:
        halves = [_pivoted(one) for one in unit]
        R, N = (np.stack(part) for part in zip(*halves, strict=True))
    return R * length[:, None, :], N / length[:, None, :]


def _pivoted(unit: Array) -> Sequence[Array]:
    """Return the same two of one large cluster, by a pivoted Cholesky factor."""
    q = len(unit)
    factor, order, rank, _ = lapack.dpstrf(unit, tol=_MIN_EIGENVALUE * q)
    order = order[:rank] - 1, order - 1
    R, N = np.zeros_like(unit), np.zeros_like(unit)
    R[:rank, order[1]] = np.triu(factor)[:rank]
    N[:rank, order[0]] = solve_triangular(factor[:rank, :rank], np.eye(rank)).T
    return R, N
