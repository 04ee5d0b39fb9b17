"""Distances between two covariances: of the data (V, same rows) or of effects (Σ)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import sparse
from scipy.linalg import eigh

from bayesv.covariance.clusters import gram_batches, row_batches, v_blocks
from bayesv.covariance.components import VarianceComponents
from bayesv.covariance.marginal import MarginalCovariance
from bayesv.design.design import Design
from bayesv.errors import BayesvError, ComponentsError, DataError
from bayesv.linalg import Array, cov_to_sd_corr, symmetrize
from bayesv.support.arguments import accepts, numeric

__all__ = ["DISTANCES", "distances", "v_distances"]

_MOST_ROWS = 5_000  # of one cluster, whose covariance is dense
_MOST_ELEMENTS = 2e7  # of V that are not 0, for a comparison one by one

DISTANCES = ("affine_invariant", "stein", "kl", "bures_wasserstein", "frobenius", "max_corr")


@accepts(a=numeric, b=numeric)
def distances(a: Array, b: Array) -> dict[str, float]:
    """Return distances between covariance matrices of the same variables.

    Parameters
    ----------
    a, b : ndarray, shape (k, k)
        Positive semi-definite; ``a`` is the reference.

    Returns
    -------
    dict
        ``affine_invariant``: (Σ log²ℓ)^½ with ℓ the eigenvalues of a⁻¹b. ``stein``: Stein's loss
        tr(a⁻¹b) − log|a⁻¹b| − k. ``kl``: KL(N(0, b) ‖ N(0, a)), half of Stein's loss.
        ``bures_wasserstein``: (tr a + tr b − 2 tr(a^½ba^½)^½)^½. ``frobenius``: ‖b − a‖/‖a‖.
        ``max_corr``: largest difference of correlations.

    Raises
    ------
    ComponentsError
        If one is not positive semi-definite.

    Notes
    -----
    The first three need both to be positive definite and are NaN otherwise; the others do not.

    Examples
    --------
    >>> import numpy as np
    >>> round(distances(np.eye(2), 4 * np.eye(2))["affine_invariant"], 4)
    1.9605
    """
    a, b = (_checked(x) for x in (a, b))
    if a.shape != b.shape:
        raise BayesvError(f"The matrices have shapes {a.shape} and {b.shape}, not the same.")
    result = dict.fromkeys(DISTANCES, float("nan"))
    roots = [_root(x) for x in (a, b)]
    if all(values[0] > 1e-13 * values[-1] for values, _ in roots):
        ratio = np.log(eigh(b, a, eigvals_only=True))
        result["affine_invariant"] = float(np.sqrt((ratio**2).sum()))
        result["stein"] = float((np.expm1(ratio) - ratio).sum())
        result["kl"] = 0.5 * result["stein"]
    root_a, root_b = (vectors * np.sqrt(values.clip(min=0.0)) for values, vectors in roots)
    nuclear = float(np.linalg.svd(root_a.T @ root_b, compute_uv=False).sum())
    square = max(float(np.trace(a) + np.trace(b)) - 2.0 * nuclear, 0.0)
    result["bures_wasserstein"] = float(np.sqrt(square))
    size = float(np.linalg.norm(a))
    result["frobenius"] = float(np.linalg.norm(b - a)) / size if size else float("nan")
    gap = np.abs(cov_to_sd_corr(a)[1] - cov_to_sd_corr(b)[1])
    result["max_corr"] = float(np.nanmax(gap)) if np.isfinite(gap).any() else float("nan")
    return result


def v_distances(design: Design, a: VarianceComponents, b: VarianceComponents) -> dict[str, float]:
    """Return distances between V at two sets of variance components, the same rows.

    Parameters
    ----------
    design : Design
    a, b : VarianceComponents
        ``a`` is the reference.

    Returns
    -------
    dict
        As `distances`. With known weights ``bures_wasserstein`` and ``frobenius`` are NaN, and
        ``max_corr`` where V has more than 2e7 elements that are not 0.

    Notes
    -----
    V is reduced, cluster by cluster, to the space of Z; in what is left both are multiples of
    diag(1/w). Where residuals are correlated or have parameters, V itself is taken cluster by
    cluster. V is positive definite whatever G is, so that all distances exist for singular fits.
    """
    matrices = [MarginalCovariance(design, vc) for vc in (a, b)]
    reference, parametric = [V.vc for V in matrices], design.parametric_residual is not None
    if not design.terms or matrices[0].residual.clusters is not None or parametric:
        return _by_cluster(*matrices)
    s_a, s_b = (vc.sigma2 for vc in reference)
    log_ratio = np.log(s_b / s_a)
    rest = (
        design.n - design.Z_independent.shape[1]
    )  # directions outside the space of Z; less than 0: counted twice
    square, stein = rest * log_ratio**2, rest * (np.expm1(log_ratio) - log_ratio)
    gap, size = rest * (s_b - s_a) ** 2, rest * s_a**2
    bures = rest * (np.sqrt(s_b) - np.sqrt(s_a)) ** 2
    for counts, _, gram in gram_batches(design):
        values, vectors = np.linalg.eigh(gram)
        S = np.sqrt(np.clip(values, 0.0, None))[..., None] * np.swapaxes(vectors, 1, 2)
        K_a, K_b = (_reduced(S, counts, design, vc) for vc in reference)
        L = np.linalg.cholesky(K_a)
        half = np.linalg.solve(L, K_b)
        ratio = np.log(np.linalg.eigvalsh(np.linalg.solve(L, np.swapaxes(half, 1, 2))))
        square += float((ratio**2).sum())
        stein += float((np.expm1(ratio) - ratio).sum())
        gap += float(((K_b - K_a) ** 2).sum())
        size += float((K_a**2).sum())
        nuclear = np.linalg.svd(
            np.swapaxes(L, 1, 2) @ np.linalg.cholesky(K_b), compute_uv=False
        ).sum()
        traces = np.trace(K_a, axis1=1, axis2=2) + np.trace(K_b, axis1=1, axis2=2)
        bures += float(traces.sum() - 2.0 * nuclear)
    plain = design.residual.iid
    return {
        "affine_invariant": float(np.sqrt(max(square, 0.0))),
        "stein": float(max(stein, 0.0)),
        "kl": 0.5 * float(max(stein, 0.0)),
        "bures_wasserstein": float(np.sqrt(max(bures, 0.0))) if plain else float("nan"),
        "frobenius": float(np.sqrt(max(gap, 0.0) / size)) if plain else float("nan"),
        "max_corr": _largest_gap(design, *reference),
    }


def _by_cluster(a: MarginalCovariance, b: MarginalCovariance) -> dict[str, float]:
    """Return distances of two V with the same clusters, each of which is dense."""
    codes = a.design.clusters
    if (largest := int(np.bincount(codes).max())) > _MOST_ROWS:
        raise DataError(
            f"A cluster has {largest} rows; at most {_MOST_ROWS} fit: where residuals are "
            "correlated or have parameters, V is compared cluster by cluster, dense within them."
        )
    points = [V.vc.known_at(V.design) for V in (a, b)]
    square = stein = gap = size = bures = largest_gap = 0.0
    for rows in row_batches(codes):
        V_a, V_b = (v_blocks(*point, rows) for point in points)
        L, M = np.linalg.cholesky(V_a), np.linalg.cholesky(V_b)
        half = np.linalg.solve(L, M)
        ratio = 2.0 * np.log(np.linalg.svd(half, compute_uv=False))
        square += float((ratio**2).sum())
        stein += float((np.expm1(ratio) - ratio).sum())
        gap += float(((V_b - V_a) ** 2).sum())
        size += float((V_a**2).sum())
        nuclear = np.linalg.svd(np.swapaxes(L, 1, 2) @ M, compute_uv=False).sum()
        traces = np.trace(V_a, axis1=1, axis2=2) + np.trace(V_b, axis1=1, axis2=2)
        bures += float(traces.sum() - 2.0 * nuclear)
        corr_a, corr_b = (cov_to_sd_corr(V)[1] for V in (V_a, V_b))
        largest_gap = max(largest_gap, float(np.abs(corr_a - corr_b).max()))
    return {
        "affine_invariant": float(np.sqrt(square)),
        "stein": max(stein, 0.0),
        "kl": 0.5 * max(stein, 0.0),
        "bures_wasserstein": float(np.sqrt(max(bures, 0.0))),
        "frobenius": float(np.sqrt(gap / size)),
        "max_corr": largest_gap,
    }


def _reduced(S: Array, counts: Sequence[int], design: Design, vc: VarianceComponents) -> Array:
    """σ²I + S G S' of every cluster, shape (b, q_c, q_c)."""
    blocks, start = np.tile(vc.sigma2 * np.eye(S.shape[1]), (len(S), 1, 1)), 0
    for J, term in zip(counts, design.terms, strict=True):
        r = term.n_columns
        part = S[:, :, start : start + J * r].reshape(len(S), -1, J, r)
        scaled = (part @ vc.block_for(term)).reshape(len(S), -1, J * r)
        blocks += scaled @ np.swapaxes(part.reshape(len(S), -1, J * r), 1, 2)
        start += J * r
    return blocks


def _largest_gap(design: Design, a: VarianceComponents, b: VarianceComponents) -> float:
    """Return the largest difference of correlations of two rows."""
    per_level = [float((np.bincount(t.codes).astype(float) ** 2).sum()) for t in design.terms]
    if sum(per_level) > _MOST_ELEMENTS:
        return float("nan")
    corr = []
    for vc in (a, b):
        V = MarginalCovariance(design, vc)
        scale = sparse.diags_array(1.0 / np.sqrt(V.diagonal()))
        corr.append(scale @ V.to_sparse() @ scale)
    gap = abs(corr[1] - corr[0])
    return float(gap.max()) if gap.nnz else 0.0


def _root(a: Array) -> tuple[Array, Array]:
    values, vectors = np.linalg.eigh(a)
    return np.asarray(values), np.asarray(vectors)


def _checked(a: Array) -> Array:
    a = np.asarray(a, dtype=float)
    if a.ndim != 2 or a.shape[0] != a.shape[1] or not np.isfinite(a).all():
        raise ComponentsError(f"A covariance is a square matrix of numbers; found shape {a.shape}.")
    scale = np.sqrt(np.abs(np.diagonal(a)).clip(min=1e-300))
    values = np.linalg.eigvalsh(symmetrize(a / np.outer(scale, scale)))
    if np.abs(a - a.T).max() > 1e-8 * np.abs(a).max() or values[0] < -1e-8 * max(values[-1], 1.0):
        raise ComponentsError(
            "A covariance must be symmetric and positive semi-definite; smallest eigenvalue of the "
            f"correlation {values[0]:.3g}."
        )
    return symmetrize(a)
