"""Cluster-robust covariance of the GLS estimate, V as working covariance."""

from __future__ import annotations

import numpy as np
import pandas as pd

from bayesv.covariance.components import VarianceComponents
from bayesv.covariance.gls import gls
from bayesv.design import Design
from bayesv.errors import BayesvError, DataError
from bayesv.linalg import symmetrize

__all__ = ["cluster_robust"]

_LARGEST = 5_000  # rows of one cluster, whose covariance is dense


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
    if kind not in ("CR0", "CR2"):
        raise BayesvError(f"kind must be 'CR2' or 'CR0'; found {kind!r}.")
    fit = gls(design, vc)
    V, X = fit.V, design.X
    codes = _independent_clusters(design, V.clusters, cluster)
    e = design.target - X @ fit.beta.to_numpy()
    # In orthonormal coordinates of X, so that units cost no digits.
    Q, R = np.linalg.qr(X)
    Phi = np.linalg.inv(symmetrize(Q.T @ V.solve(Q)))
    meat = np.zeros_like(Phi)
    order = np.argsort(codes, kind="stable")
    for rows in np.split(order, np.flatnonzero(np.diff(codes[order])) + 1):
        if len(rows) > _LARGEST:
            raise DataError(
                f"A cluster has {len(rows)} rows; at most {_LARGEST} fit: its covariance is dense."
            )
        V_c, X_c, e_c = V.rows(rows).to_numpy(), Q[rows], e[rows]
        if kind == "CR2":
            L = np.linalg.cholesky(V_c)  # D = L'
            B = symmetrize(L.T @ (V_c - X_c @ Phi @ X_c.T) @ L)
            values, vectors = np.linalg.eigh(B)
            keep = values > 1e-10 * max(values[-1], 0.0)
            root = (vectors[:, keep] / np.sqrt(values[keep])) @ vectors[:, keep].T
            e_c = L @ (root @ (L.T @ e_c))
        score = X_c.T @ np.linalg.solve(V_c, e_c)
        meat += np.outer(score, score)
    back = np.linalg.inv(R)
    names = list(design.fixed_names)
    return pd.DataFrame(symmetrize(back @ Phi @ meat @ Phi @ back.T), names, names)


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
