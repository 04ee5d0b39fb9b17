"""Rows seen cluster by cluster, in coordinates in which no digits are lost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.linalg import lapack, solve_triangular

from bayesv.covariance.centring import centred
from bayesv.covariance.clusters import gram_batches
from bayesv.covariance.components import VarianceComponents
from bayesv.design.design import Design, RandomTerm
from bayesv.design.residual import Residual
from bayesv.linalg import Array, psd_root

__all__ = ["ClusterBatch", "Geometry", "geometry"]

# Of the largest eigenvalue of Z'WZ in unit columns: below that there is no direction.
_MIN_EIGENVALUE = 1e-13
_MIN_LENGTH = 1e-9  # of a column's length: what is left of it after those before it is rounding
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
    terms : tuple of RandomTerm
        With columns that are combinations of those of their block: orthogonal over the rows, so
        that scale and zero of a covariate cost no digits, and with independent effects, so that
        none is hidden behind one of much larger variance.
    maps : tuple of ndarray, shapes (r_f, r_f)
        C_f: Σ_f = C_f Σ_f* C_f' for Σ_f* of those columns.
    variances : tuple of ndarray, shapes (r_f,)
        The diagonal of Σ_f*, the rest of which is 0 at these components.
    sigma2 : float
    batches : tuple of ClusterBatch
    rest : ndarray, shape (k, k)
        [X e]'W^½(I − UU')W^½[X e].
    n : int
        Number of rows.
    back : ndarray, shape (p, p)
        β = back γ + shift for the coefficients γ of the orthonormal columns of X, centred.
    start : ndarray, shape (p,)
        γ of weighted least squares, whose residual is e.
    shift : ndarray, shape (p,)
    """

    terms: tuple[RandomTerm, ...]
    maps: tuple[Array, ...]
    variances: tuple[Array, ...]
    sigma2: float
    batches: tuple[ClusterBatch, ...]
    rest: Array
    n: int
    back: Array
    start: Array
    shift: Array


def geometry(design: Design, vc: VarianceComponents) -> Geometry:
    """Return the geometry of a design at components.

    Parameters
    ----------
    design : Design
        With its rows and at least one fixed effect.
    vc : VarianceComponents

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
    whiten, rows = design.residual.whiten, centred(design)
    target = whiten(rows.y)
    Q, scale = np.linalg.qr(whiten(rows.X))
    start = Q.T @ target
    columns = np.column_stack([Q, target - Q @ start])
    turned = [_turned(term, vc.block_for(term), design.residual) for term in design.terms]
    terms = tuple(term for term, *_ in turned)
    design = replace(design, terms=terms)
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
        terms=terms,
        maps=tuple(C for _, C, _ in turned),
        variances=tuple(variance for *_, variance in turned),
        sigma2=vc.sigma2,
        batches=tuple(
            ClusterBatch(counts, R, U) for (counts, _, R, _), U in zip(roots, inside, strict=True)
        ),
        rest=columns.T @ columns,
        n=design.n,
        back=rows.M @ np.linalg.inv(scale),
        start=start,
        shift=rows.shift,
    )


def _turned(term: RandomTerm, block: Array, residual: Residual) -> tuple[RandomTerm, Array, Array]:
    """Return the term in its own columns, C with Σ = C Σ* C', and the diagonal of Σ*."""
    values, C = np.empty_like(term.values), np.zeros_like(block)
    variance, size = np.zeros(len(block)), np.sqrt(residual.size)
    for part in (list(part) for part in term.structure.blocks):
        weighted = residual.whiten(term.values[:, part])
        length = np.linalg.norm(weighted, axis=0)
        length = np.where(length > 0, length, 1.0)
        Q, R = np.linalg.qr(weighted / length)
        if len(Q) < len(part) or (np.abs(np.diagonal(R)) < _MIN_LENGTH).any():
            # Columns that determine each other stay as they are: Σ has directions that V lacks.
            Q, R = weighted / length, np.eye(len(part))
        R = R * length / size
        turn, root, _ = np.linalg.svd(R @ psd_root(block[np.ix_(part, part)]))
        values[:, part] = size * residual.draw(Q @ turn)
        C[np.ix_(part, part)] = np.linalg.solve(R, turn)
        variance[part] = root**2
    return replace(term, values=values), C, variance


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
