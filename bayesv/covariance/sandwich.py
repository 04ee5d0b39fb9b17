"""Cluster-robust covariance of the GLS estimate, V as working covariance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from bayesv.arguments import TEXT, accepts, choice, optional
from bayesv.covariance.clusters import v_blocks
from bayesv.covariance.components import VarianceComponents
from bayesv.covariance.marginal import MarginalCovariance
from bayesv.design import Design
from bayesv.errors import BayesvError, DataError
from bayesv.linalg import Array, symmetrize

__all__ = ["ClusterRobust", "cluster_robust", "robust"]

_LARGEST = 5_000  # rows of one cluster, whose covariance is dense
_AT_ONCE = 2e7  # numbers in a batch of such matrices


@dataclass(frozen=True, eq=False)
class ClusterRobust:
    """Cluster-robust covariance of β̂ with degrees of freedom.

    Attributes
    ----------
    cov : DataFrame, shape (p, p)
    df : Series, shape (p,)
        Satterthwaite's, of each coefficient's variance estimate: 2 E²/Var if y is normal and V is
        the truth (Bell and McCaffrey 2002, as clubSandwich's ``coef_test``).
    """

    cov: pd.DataFrame
    df: pd.Series


def cluster_robust(
    design: Design, vc: VarianceComponents, kind: str = "CR2", cluster: str | None = None
) -> pd.DataFrame:
    """Return a covariance of β̂ that does not rely on V being the truth.

    Parameters
    ----------
    design : Design
    vc : VarianceComponents
        The working covariance.
    kind : {"CR2", "CR0"}
        CR0 is the plain sandwich; CR2 (Bell and McCaffrey 2002) is unbiased if V is the truth.
    cluster : str, optional
        Grouping factor whose levels are independent under V. Left out, the one with the fewest
        levels among those.

    Returns
    -------
    DataFrame, shape (p, p)

    Raises
    ------
    DataError
        If rows of different clusters have a covariance, as with crossed factors, or a cluster is
        too large.

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
    return robust(design, vc, kind, cluster).cov


@accepts(kind=choice("CR2", "CR0"), cluster=optional(TEXT))
def robust(
    design: Design, vc: VarianceComponents, kind: str = "CR2", cluster: str | None = None
) -> ClusterRobust:
    """Return what `cluster_robust` does, with degrees of freedom; the same arguments and errors.

    Notes
    -----
    The variance estimate of l'β̂ is Σ_c (g_c'y)², with g_c'Vg_d = f_c'(V_cδ_cd − X_cΦX_d')f_d for
    f_c = A_cV_c⁻¹X_cΦl: the sums over pairs of clusters need p × p matrices only.
    """
    if kind not in ("CR0", "CR2"):
        raise BayesvError(f"kind must be 'CR2' or 'CR0'; found {kind!r}.")
    V = MarginalCovariance(design, vc)
    codes = _independent_clusters(design, V.clusters, cluster)
    # In orthonormal coordinates of X, so that units cost no digits.
    Q, R = np.linalg.qr(design.X)
    start = Q.T @ design.target
    e = design.target - Q @ start
    batches = [(rows, v_blocks(design, V.vc, rows)) for rows in _batches(codes)]
    solved = [np.linalg.solve(V_c, Q[rows]) for rows, V_c in batches]
    information = sum(_inner(VQ, Q[rows]) for (rows, _), VQ in zip(batches, solved, strict=True))
    Phi = np.linalg.inv(symmetrize(np.asarray(information)))
    e = (
        e
        - Q
        @ (
            Phi
            @ sum(_inner(VQ, e[rows, None]) for (rows, _), VQ in zip(batches, solved, strict=True))
        ).ravel()
    )
    back = np.linalg.inv(R)
    to = Phi @ back.T  # Φ of Q times l for every coefficient l
    p = len(Phi)
    meat, M = np.zeros((p, p)), np.zeros((p, p, p))
    total, squares = np.zeros(p), np.zeros(p)
    for (rows, V_c), VQ in zip(batches, solved, strict=True):
        X_c = Q[rows]
        A = _adjustment(V_c, X_c, Phi) if kind == "CR2" else None
        AVQ = VQ if A is None else A @ VQ
        score = (np.swapaxes(AVQ, 1, 2) @ e[rows][..., None])[..., 0]
        meat += score.T @ score
        f = AVQ @ to  # (b, m, p)
        own = (f * (V_c @ f)).sum(axis=1)
        u = np.swapaxes(X_c, 1, 2) @ f
        shared = np.einsum("bak,ac,bck->bk", u, Phi, u)
        total += (own - shared).sum(axis=0)
        squares += ((own - shared) ** 2 - shared**2).sum(axis=0)
        M += np.einsum("bak,bck->kac", u, u)
    squares += np.einsum("ab,kbc,cd,kda->k", Phi, M, Phi, M)
    names = list(design.fixed_names)
    return ClusterRobust(
        pd.DataFrame(symmetrize(back @ Phi @ meat @ Phi @ back.T), names, names),
        pd.Series(total**2 / squares, names, name="df"),
    )


def _adjustment(V: Array, X: Array, Phi: Array) -> Array:
    """A_c of clusters of the same size, shape (b, m, m)."""
    L = np.linalg.cholesky(V)  # D = L'
    across = np.swapaxes(L, 1, 2)
    B = symmetrize(across @ (V - X @ Phi @ np.swapaxes(X, 1, 2)) @ L)
    values, vectors = np.linalg.eigh(B)
    keep = values > 1e-10 * np.maximum(values[:, -1:], 0.0)
    scaled = np.where(keep, 1.0 / np.sqrt(np.where(keep, values, 1.0)), 0.0)
    root = (vectors * scaled[:, None, :]) @ np.swapaxes(vectors, 1, 2)
    return np.asarray(L @ root @ across)


def _inner(a: Array, b: Array) -> Array:
    """Σ_c A_c'B_c."""
    return np.asarray(np.einsum("bia,bic->ac", a, b))


def _batches(codes: np.ndarray) -> list[np.ndarray]:
    """Rows of each cluster, (b, m), clusters of the same size together."""
    order = np.argsort(codes, kind="stable")
    sizes = np.bincount(codes)
    if sizes.max() > _LARGEST:
        raise DataError(
            f"A cluster has {sizes.max()} rows; at most {_LARGEST} fit: its covariance is dense."
        )
    starts = np.cumsum(sizes) - sizes
    out = []
    for m in np.unique(sizes[sizes > 0]):
        rows = order[starts[sizes == m][:, None] + np.arange(m)]
        step = max(1, int(_AT_ONCE // m**2))
        out += [rows[at : at + step] for at in range(0, len(rows), step)]
    return out


def _independent_clusters(design: Design, clusters: np.ndarray, name: str | None) -> np.ndarray:
    """Return the code of each row's cluster, checked to be independent under V."""
    independent = [
        term
        for term in design.terms
        # Independent levels: each connected cluster of rows has one level only.
        if len(np.unique(np.column_stack([clusters, term.codes]), axis=0)) == clusters.max() + 1
    ]
    if name is not None:
        term = design.term(name)
        if not any(term is one for one in independent):
            raise DataError(
                f"Levels of {name!r} are not independent under V: rows of different levels share "
                "another random effect. Use the outermost factor."
            )
        return np.asarray(term.codes)
    if not independent:
        raise DataError(
            "No grouping factor has independent levels (crossed factors); a cluster-robust "
            "covariance does not exist for this V."
        )
    return np.asarray(min(independent, key=lambda term: term.n_levels).codes)
