"""Cluster-robust covariance of the GLS estimate, V as working covariance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayesv.covariance.centring import centred
from bayesv.covariance.clusters import row_batches, v_blocks
from bayesv.covariance.components import VarianceComponents
from bayesv.covariance.marginal import MarginalCovariance
from bayesv.design.design import Design
from bayesv.design.parametric import series_of
from bayesv.errors import ComponentsError, DataError, FitWarning, warn
from bayesv.linalg import Array, symmetrize
from bayesv.support.arguments import TEXT, accepts, choice, optional

__all__ = ["ClusterRobust", "cluster_robust", "robust"]

_MOST_ROWS = 5_000  # of one cluster, whose covariance is dense
_WHOLE_SHARE = 1e-8  # of a direction of X: what is left over of a residual is rounding
_PASSES = 2  # of making X orthonormal: the second takes away what rounding left in the first
_ROUNDING_SHARE = 1e-10  # of the plug-in variance: a mean of rounding


@dataclass(frozen=True, eq=False)
class ClusterRobust:
    """Cluster-robust covariance of contrasts l'β̂ with degrees of freedom.

    Attributes
    ----------
    cov : DataFrame, shape (l, l)
        Of the contrasts; of the coefficients if there are none.
    df : Series, shape (l,)
        Satterthwaite's, of each contrast's variance estimate: 2 E²/Var if y is normal and V is the
        truth (Bell and McCaffrey 2002, as clubSandwich's ``coef_test``).
    notes : tuple of str
        Contrasts without a variance (NaN), and why.
    """

    cov: pd.DataFrame
    df: pd.Series
    notes: tuple[str, ...] = ()


def cluster_robust(
    design: Design, vc: VarianceComponents, kind: str = "CR2", cluster: str | None = None
) -> pd.DataFrame:
    """Return a covariance of β̂ that does not rely on V being the truth.

    Parameters
    ----------
    design : Design
    vc : VarianceComponents
        The working covariance.
    kind : {"CR2", "CR1", "CR0"}
        CR0 is the plain sandwich, CR1 that times m/(m − 1) for m clusters; CR2 (Bell and McCaffrey
        2002) is unbiased if V is the truth.
    cluster : str, optional
        Grouping factor, or series of residuals, whose levels are independent under V. Left out,
        the factor with the fewest levels among those; series if there is none.

    Returns
    -------
    DataFrame, shape (p, p)
        NaN for a coefficient that one cluster alone determines: its residuals say nothing of it.

    Raises
    ------
    DataError
        If rows of different clusters have a covariance, as with crossed factors, or a cluster is
        too large.

    Warns
    -----
    FitWarning
        If there are such coefficients.

    Notes
    -----
    Σ_c B_c e_c e_c'B_c' with B_c = Φ X_c'V_c⁻¹A_c. For CR2, with V_c = D_c'D_c,
    A_c = D_c'{D_c(V_c − X_cΦX_c')D_c'}^(−½)D_c, as clubSandwich does (Pustejovsky and Tipton 2018,
    https://doi.org/10.1080/07350015.2016.1247004).

    Examples
    --------
    >>> import bayesv as bv
    >>> model = bv.Model("Yield ~ 1 + (1 | Batch)", bv.load_dataset("dyestuff"))
    >>> vcov = bv.cluster_robust(model.design, model.reml().components)
    >>> round(float(vcov.iloc[0, 0]) ** 0.5, 3)  # balanced: equal to the model's own
    19.383
    """
    result = robust(design, vc, kind, cluster)
    for note in result.notes:
        warn(note, FitWarning)
    return result.cov


@accepts(kind=choice("CR2", "CR1", "CR0"), cluster=optional(TEXT))
def robust(
    design: Design,
    vc: VarianceComponents,
    kind: str = "CR2",
    cluster: str | None = None,
    contrasts: Mapping[str, Array] | None = None,
) -> ClusterRobust:
    """Return what `cluster_robust` does, with degrees of freedom.

    Parameters
    ----------
    design, vc, kind, cluster
        As of `cluster_robust`; the same errors.
    contrasts : mapping of name to ndarray, shape (p,), optional
        Combinations l of coefficients; the coefficients themselves if left out.

    Notes
    -----
    The variance estimate of l'β̂ is Σ_c (g_c'y)², with g_c'Vg_d = f_c'(V_cδ_cd − X_cΦX_d')f_d for
    f_c = A_cV_c⁻¹X_cΦl: the sums over pairs of clusters need p × p matrices only.
    """
    V = MarginalCovariance(design, vc)
    codes = _independent_clusters(design, cluster)
    if contrasts is None:
        contrasts = dict(zip(design.fixed_names, np.eye(design.p), strict=True))
    try:
        return _sandwich(*V.vc.known_at(design), kind, codes, contrasts)
    except np.linalg.LinAlgError as error:
        raise ComponentsError(
            "V of a cluster cannot be factored in double precision: the variances of the random "
            f"effects are too large beside sigma2={vc.sigma2:g}."
        ) from error


def _sandwich(
    design: Design,
    vc: VarianceComponents,
    kind: str,
    codes: NDArray[np.intp],
    contrasts: Mapping[str, Array],
) -> ClusterRobust:
    batches = [(rows, v_blocks(design, vc, rows)) for rows in _batches(codes)]
    data = centred(design)
    Q, back = _orthonormal(data.X, batches)
    back = data.M @ back
    solved = [np.linalg.solve(V_c, Q[rows]) for rows, V_c in batches]
    information = sum(_inner(VQ, Q[rows]) for (rows, _), VQ in zip(batches, solved, strict=True))
    Phi = np.linalg.inv(symmetrize(np.asarray(information)))
    start = np.linalg.lstsq(data.X, data.y)[0]
    e = data.y - data.X @ start
    moved = sum(_inner(VQ, e[rows, None]) for (rows, _), VQ in zip(batches, solved, strict=True))
    e = e - Q @ (Phi @ moved).ravel()
    names = list(contrasts)
    L = np.array(list(contrasts.values())).reshape(len(names), design.p)
    projections = Phi @ back.T @ L.T  # Φ of Q times l for every contrast l
    p, n_contrasts = projections.shape
    meat, M = np.zeros((p, p)), np.zeros((n_contrasts, p, p))
    total, squares = np.zeros(n_contrasts), np.zeros(n_contrasts)
    for (rows, V_c), VQ in zip(batches, solved, strict=True):
        X_c = Q[rows]
        A = _adjustment(V_c, X_c, Phi) if kind == "CR2" else None
        AVQ = VQ if A is None else A @ VQ
        score = (np.swapaxes(AVQ, 1, 2) @ e[rows][..., None])[..., 0]
        meat += score.T @ score
        f = AVQ @ projections  # (b, m, l)
        within = (f * (V_c @ f)).sum(axis=1)
        u = np.swapaxes(X_c, 1, 2) @ f
        shared = np.einsum("bak,ac,bck->bk", u, Phi, u)
        total += (within - shared).sum(axis=0)
        squares += ((within - shared) ** 2 - shared**2).sum(axis=0)
        M += np.einsum("bak,bck->kac", u, u)
    squares += np.einsum("ab,kbc,cd,kda->k", Phi, M, Phi, M)
    # An estimate whose mean is 0 is 0 whatever the truth.
    plug_in = np.einsum("ak,ab,bk->k", projections, np.asarray(information), projections)
    none = total <= _ROUNDING_SHARE * plug_in
    clusters = len(np.unique(codes))
    factor = clusters / (clusters - 1.0) if kind == "CR1" and clusters > 1 else 1.0
    estimate = factor * symmetrize(projections.T @ meat @ projections)
    cov = np.where(none[:, None] | none, np.nan, estimate)
    df = np.divide(total**2, squares, out=np.full(n_contrasts, np.nan), where=~none)
    notes = tuple(
        f"{kind}: one cluster alone determines {name}, so that its residuals say nothing of the "
        "variance: NaN"
        for name, undetermined in zip(names, none, strict=True)
        if undetermined
    )
    labels = design.fixed_index if names == list(design.fixed_names) else pd.Index(names)
    return ClusterRobust(pd.DataFrame(cov, labels, labels), pd.Series(df, labels, name="df"), notes)


def _orthonormal(X: Array, batches: list[tuple[NDArray[np.intp], Array]]) -> tuple[Array, Array]:
    """Return Q with Q'V⁻¹Q = I, nearly, and T with X T = Q.

    So that units cost no digits, and that what varies between clusters, of small weight where
    variances are large, is not read off a column with a part that varies within them.
    """
    Q, triangle = np.linalg.qr(X)
    T = np.linalg.inv(triangle)
    for _ in range(_PASSES):
        metric = sum(_inner(np.linalg.solve(V_c, Q[rows]), Q[rows]) for rows, V_c in batches)
        turn = np.linalg.inv(np.linalg.cholesky(symmetrize(np.asarray(metric)))).T
        Q, T = Q @ turn, T @ turn
    return Q, T


def _adjustment(V: Array, X: Array, Phi: Array) -> Array:
    """A_c of clusters of the same size, shape (b, m, m).

    D(V − XΦX')D' = (N^½K)'(N^½K) with K = DD' and N = I − D'⁻¹XΦX'D⁻¹: its root by singular values
    of N^½K, which span the range of the variances and not its square.
    """
    L = np.linalg.cholesky(V)  # D = L'
    across, eye = np.swapaxes(L, 1, 2), np.eye(V.shape[-1])
    inside, size, _ = np.linalg.svd(
        np.linalg.solve(L, X) @ np.linalg.cholesky(Phi), full_matrices=False
    )
    left = 1.0 - size**2  # what X leaves of each direction
    whole = left < _WHOLE_SHARE
    shrink = 1.0 - np.sqrt(np.where(whole, 0.0, left))
    half = eye - (inside * shrink[:, None, :]) @ np.swapaxes(inside, 1, 2)
    _, values, vectors = np.linalg.svd(half @ (across @ L))
    # As many directions as the residuals of a cluster lack: the last ones.
    keep = np.arange(values.shape[1]) < values.shape[1] - whole.sum(axis=1)[:, None]
    scaled = np.where(keep, 1.0 / np.sqrt(np.where(keep, values, 1.0)), 0.0)
    root = scaled[:, :, None] * (vectors @ across)
    return np.asarray(np.swapaxes(root, 1, 2) @ root)


def _inner(a: Array, b: Array) -> Array:
    """Σ_c A_c'B_c."""
    return np.asarray(np.einsum("bia,bic->ac", a, b))


def _batches(codes: NDArray[np.intp]) -> list[NDArray[np.intp]]:
    """Rows of each cluster, (b, m), clusters of the same size together."""
    largest = int(np.bincount(codes).max())
    if largest > _MOST_ROWS:
        raise DataError(
            f"A cluster has {largest} rows; at most {_MOST_ROWS} fit: its covariance is dense."
        )
    return list(row_batches(codes))


def _independent_clusters(design: Design, name: str | None) -> NDArray[np.intp]:
    """Return the code of each row's cluster, checked to be independent under V."""
    clusters = design.clusters
    independent = [
        term
        for term in design.terms
        # Independent levels: each connected cluster of rows has one level only.
        if len(np.unique(clusters * (term.n_levels + 1) + term.codes + 1)) == clusters.max() + 1
    ]
    if not design.terms and name is None:
        return clusters
    if name is not None and (series := series_of(design, name)) is not None:
        if len(np.unique(np.column_stack([clusters, series.codes]), axis=0)) > clusters.max() + 1:
            raise DataError(
                f"Series of {name!r} are not independent under V: they share a random effect. Use "
                "the outermost factor."
            )
        return series.codes
    if name is not None:
        term = design.term(name)
        if not any(term is one for one in independent):
            why = "rows of different levels share another random effect. Use the outermost factor."
            if term.relationship is not None:
                why = "they are related. Leave the name out for clusters of related levels."
            raise DataError(f"Levels of {name!r} are not independent under V: {why}")
        return np.asarray(term.codes)
    related = any(term.relationship is not None for term in design.terms)
    if not independent and related and clusters.max() > 0:
        return clusters  # such as families
    if not independent:
        raise DataError(
            "No grouping factor has independent levels (crossed or related ones); a "
            "cluster-robust covariance does not exist for this V."
        )
    return np.asarray(min(independent, key=lambda term: term.n_levels).codes)
