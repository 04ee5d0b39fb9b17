"""Small-sample inference for β after REML: Kenward–Roger and Satterthwaite."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from bayesv.arguments import FLAG, accepts, numeric
from bayesv.covariance.clusters import cluster_roots, gram_batches
from bayesv.covariance.components import VarianceComponents
from bayesv.covariance.marginal import MarginalCovariance
from bayesv.design import Design
from bayesv.errors import BayesvError, ComponentsError, DataError
from bayesv.linalg import Array, symmetrize

__all__ = ["KenwardRoger", "kenward_roger"]


@dataclass(frozen=True, eq=False)
class KenwardRoger:
    """Covariance of β̂ that allows for the estimation of V, and degrees of freedom.

    Attributes
    ----------
    cov_plugin : DataFrame, shape (p, p)
        Φ = (X'V⁻¹X)⁻¹, as if V were known.
    cov : DataFrame, shape (p, p)
        Φ_A = Φ + 2Φ{Σ_ij W_ij (Q_ij − P_iΦP_j)}Φ of Kenward and Roger (1997),
        https://doi.org/10.2307/2533558.
    W : ndarray, shape (m, m)
        Asymptotic covariance of the estimates of the m elements of (Σ_f, σ²), from the expected
        information of REML.
    W_observed : ndarray, shape (m, m)
        The same from the observed information, which Satterthwaite's method uses (as lmerTest);
        NaN where that is not positive definite.
    parameters : tuple of str
        Names of the m elements.
    """

    cov_plugin: pd.DataFrame
    cov: pd.DataFrame
    W: Array
    W_observed: Array
    parameters: tuple[str, ...]
    _slopes: Array  # (m, p, p), derivatives of Φ

    @cached_property
    def se(self) -> pd.Series:
        """Standard errors from Φ_A, shape (p,)."""
        return pd.Series(np.sqrt(np.diagonal(self.cov)), self.cov.index, name="se")

    @cached_property
    def df(self) -> pd.Series:
        """Kenward–Roger degrees of freedom of each coefficient, shape (p,)."""
        values = [self.df_of(row) for row in np.eye(len(self.cov))]
        return pd.Series(values, self.cov.index, name="df")

    @cached_property
    def df_satterthwaite(self) -> pd.Series:
        """Satterthwaite's degrees of freedom of each coefficient, for use with Φ, shape (p,)."""
        values = [self.df_of(row, observed=True) for row in np.eye(len(self.cov))]
        return pd.Series(values, self.cov.index, name="df")

    @accepts(weights=numeric, observed=FLAG)
    def df_of(self, weights: ArrayLike, *, observed: bool = False) -> float:
        """Return degrees of freedom of one contrast l'β̂: 2 (l'Φl)²/Var(l'Φ̂l).

        Parameters
        ----------
        weights : array_like, shape (p,)
            l, in the order of the fixed effects.
        observed : bool
            From the observed information: Satterthwaite's; else Kenward and Roger's.
        """
        row = np.asarray(weights, dtype=float)
        if row.shape != (len(self.cov),):
            raise BayesvError(f"A contrast has {len(self.cov)} weights; found shape {row.shape}.")
        slope = np.einsum("a,iab,b->i", row, self._slopes, row)
        variance = float(row @ self.cov_plugin.to_numpy() @ row)
        spread = float(slope @ (self.W_observed if observed else self.W) @ slope)
        return 2.0 * variance**2 / spread

    @accepts(L=numeric, beta=numeric)
    def test(self, L: ArrayLike, beta: ArrayLike) -> dict[str, float]:
        """Return the scaled F statistic of Lβ = 0 with its degrees of freedom.

        Parameters
        ----------
        L : array_like, shape (l, p)
            Rows that are linearly independent.
        beta : array_like, shape (p,)
            β̂.
        """
        L = np.atleast_2d(np.asarray(L, dtype=float))
        if L.shape[1:] != (len(self.cov),):
            raise BayesvError(f"L has rows of {len(self.cov)} weights; found shape {L.shape}.")
        if np.shape(beta) != (len(self.cov),):
            raise BayesvError(f"beta has {len(self.cov)} elements; found shape {np.shape(beta)}.")
        q, estimate = len(L), L @ np.asarray(beta, dtype=float)
        plug_in = L @ self.cov_plugin.to_numpy() @ L.T
        inner = np.linalg.inv(plug_in)
        moved = np.einsum("ab,ibc->iac", inner, L @ self._slopes @ L.T)
        traces = np.trace(moved, axis1=1, axis2=2)
        A1 = float(traces @ self.W @ traces)
        A2 = float(np.einsum("ij,iab,jba->", self.W, moved, moved))
        B = (A1 + 6.0 * A2) / (2.0 * q)
        g = ((q + 1.0) * A1 - (q + 4.0) * A2) / ((q + 2.0) * A2)
        base = 3.0 * q + 2.0 * (1.0 - g)
        c1, c2, c3 = g / base, (q - g) / base, (q + 2.0 - g) / base
        mean = 1.0 / (1.0 - A2 / q)
        variance = 2.0 / q * (1.0 + c1 * B) / ((1.0 - c2 * B) ** 2 * (1.0 - c3 * B))
        ratio = variance / (2.0 * mean**2)
        df = 4.0 + (q + 2.0) / (q * ratio - 1.0)
        scale = df / (mean * (df - 2.0))
        wald = float(estimate @ np.linalg.solve(L @ self.cov.to_numpy() @ L.T, estimate)) / q
        return {"F": scale * wald, "df1": float(q), "df2": float(df), "scale": float(scale)}


def kenward_roger(design: Design, vc: VarianceComponents) -> KenwardRoger:
    """Adjust the covariance of β̂ for the estimation of V, and find degrees of freedom.

    Parameters
    ----------
    design : Design
        With its rows; known weights are taken into account.
    vc : VarianceComponents
        REML estimates.

    Returns
    -------
    KenwardRoger

    Raises
    ------
    DataError
        If one connected cluster has more than 12,000 random effects, or there are no fixed effects.
    ComponentsError
        If the information on the variance parameters is singular.

    Notes
    -----
    V = Σ θ_i V_i is linear in the elements θ of Σ_f and σ². Everything about Σ_f follows from
    H = Z'V⁻¹Z and K = Z'V⁻¹X, cluster by cluster, and everything about σ² by linearity from
    W⁻¹ = (V − ZGZ')/σ²: no matrix has as many rows as the data.

    Examples
    --------
    >>> import bayesv as bv
    >>> model = bv.Model("Yield ~ 1 + (1 | Batch)", bv.load_dataset("dyestuff"))
    >>> bv.kenward_roger(model.design, model.reml().components).df.round(3).to_dict()
    {'Intercept': 5.0}
    """
    vc = MarginalCovariance(design, vc).vc  # checked
    if not design.p:
        raise DataError("There are no fixed effects, so there is nothing to adjust.")
    w = np.ones(design.n) if design.weights is None else design.weights
    scale = np.linalg.qr(design.X * np.sqrt(w)[:, None], mode="r")  # so that units cost no digits
    X = np.linalg.solve(scale.T, design.X.T).T
    sums = _Sums(design, vc, X, w)
    S, v = _solve_fixed(sums)
    Phi = np.linalg.inv(S)
    P, Q, T, observed = sums.complete(Phi, v)
    m = len(T)
    PhiP = Phi @ P
    twice = T.copy()  # twice the expected information
    for i in range(m):
        for j in range(m):
            twice[i, j] -= 2.0 * np.trace(Phi @ Q[i, j]) - np.trace(PhiP[i] @ PhiP[j])
    W = 2.0 * _inverse(twice, "expected")
    try:
        # Observed: y'PV_iPV_jPy less half of tr(PV_iPV_j).
        W_observed = _inverse(observed - 0.5 * twice, "observed")
    except ComponentsError:
        W_observed = np.full_like(W, np.nan)
    middle = sum(W[i, j] * (Q[i, j] - P[i] @ Phi @ P[j]) for i in range(m) for j in range(m))
    adjusted = Phi + 2.0 * Phi @ np.asarray(middle) @ Phi
    back = np.linalg.inv(scale)
    names = list(design.fixed_names)
    return KenwardRoger(
        cov_plugin=pd.DataFrame(symmetrize(back @ Phi @ back.T), names, names),
        cov=pd.DataFrame(symmetrize(back @ adjusted @ back.T), names, names),
        W=W,
        W_observed=W_observed,
        parameters=tuple(sums.names),
        _slopes=back @ (Phi @ P @ Phi) @ back.T,
    )


def _inverse(information: Array, kind: str) -> Array:
    unit = np.sqrt(np.abs(np.diagonal(information)))
    unit = np.where(unit > 0, unit, 1.0)
    try:
        L = np.linalg.cholesky(symmetrize(information / np.outer(unit, unit)))
    except np.linalg.LinAlgError:
        raise ComponentsError(
            f"The {kind} information on the variance parameters is singular: some of them cannot "
            "be estimated from these data, so that β̂ has no Kenward–Roger adjustment."
        ) from None
    half = np.linalg.inv(L) / unit
    return np.asarray(half.T @ half)


def _solve_fixed(sums: _Sums) -> tuple[Array, Array]:
    """Return X'V⁻¹X and (−β̂; 1)."""
    S = sums.S[:-1, :-1]
    return S, np.append(-np.linalg.solve(S, sums.S[:-1, -1]), 1.0)


class _Sums:
    """Sums over clusters of products of H = Z'V⁻¹Z and K = Z'V⁻¹[X y].

    ``S`` is [X y]'V⁻¹[X y]; indices a, b, c, d below are columns of terms f and g:
    ``P[f]`` Σ_j K_ja'K_jb, ``t[f]`` Σ_j H_ja,jb, ``T[f, g]`` Σ_jl H_ja,lb H_jc,ld, and
    ``Q[f, g]`` Σ_jl K_ja'H_jb,lc K_ld.
    """

    def __init__(self, design: Design, vc: VarianceComponents, X: Array, w: Array) -> None:
        self.n, self.sigma2 = design.n, vc.sigma2
        self.terms = design.terms
        self.blocks = [vc.block_for(term) for term in design.terms]
        self.pairs = [
            [(a, b) for a, b in zip(*np.nonzero(np.tril(term.mask)), strict=True)]
            for term in design.terms
        ]
        self.names = [
            f"{term.group}: " + ", ".join(dict.fromkeys((term.columns[b], term.columns[a])))
            for term, pairs in zip(self.terms, self.pairs, strict=True)
            for a, b in pairs
        ] + ["sigma2"]
        Xy = np.column_stack([X, design.target])
        B = np.asarray(design.Z.T @ (Xy * w[:, None]))
        m, F = Xy.shape[1], len(self.terms)
        self.S = (Xy * w[:, None]).T @ Xy / vc.sigma2
        sizes = [term.n_columns for term in self.terms]
        self.P = [np.zeros((r, r, m, m)) for r in sizes]
        self.t = [np.zeros((r, r)) for r in sizes]
        self.T = {(f, g): np.zeros((sizes[f], sizes[g]) * 2) for f in range(F) for g in range(F)}
        self.Q = {
            (f, g): np.zeros((sizes[f], sizes[f], sizes[g], sizes[g], m, m))
            for f in range(F)
            for g in range(F)
        }
        roots = [vc.relative_root(term) for term in self.terms]
        for counts, effects, gram in gram_batches(design):
            self._add(counts, gram, B[effects], roots)

    def _add(self, counts: Sequence[int], own: Array, rows: Array, roots: Sequence[Array]) -> None:
        """Add clusters of the same shape: Z'WZ, (b, q_c, q_c), and Z'W[X y], (b, q_c, m)."""
        b, q = own.shape[:2]
        root = cluster_roots(counts, roots)
        left = own @ root
        L = np.linalg.cholesky(np.eye(q) + root.T @ left)
        half = np.linalg.solve(L, np.swapaxes(left, 1, 2))
        half_B = np.linalg.solve(L, root.T @ rows)
        self.S -= np.einsum("sia,sib->ab", half_B, half_B) / self.sigma2
        H = (own - np.swapaxes(half, 1, 2) @ half) / self.sigma2
        K = (rows - np.swapaxes(half, 1, 2) @ half_B) / self.sigma2
        starts = np.cumsum([0, *(J * t.n_columns for J, t in zip(counts, self.terms, strict=True))])
        spans = [slice(s, e) for s, e in pairwise(starts)]
        cut = [
            K[:, span].reshape(b, J, term.n_columns, -1)
            for span, J, term in zip(spans, counts, self.terms, strict=True)
        ]
        for f, K_f in enumerate(cut):
            r, J = K_f.shape[2], K_f.shape[1]
            self.P[f] += np.einsum("sjam,sjbn->abmn", K_f, K_f, optimize=True)
            diagonal = H[:, spans[f], spans[f]].reshape(b, J, r, J, r)
            self.t[f] += np.einsum("sjajb->ab", diagonal)
            for g, K_g in enumerate(cut):
                H_fg = H[:, spans[f], spans[g]].reshape(b, J, r, K_g.shape[1], K_g.shape[2])
                self.T[f, g] += np.einsum("sjalb,sjcld->abcd", H_fg, H_fg, optimize=True)
                inner = np.einsum("sjblc,sldn->sjbcdn", H_fg, K_g, optimize=True)
                self.Q[f, g] += np.einsum("sjam,sjbcdn->abcdmn", K_f, inner, optimize=True)

    def complete(self, Phi: Array, v: Array) -> tuple[Array, Array, Array, Array]:
        """Return P_i, Q_ij, tr(V⁻¹V_iV⁻¹V_j) and y'PV_iPV_jPy for all elements and σ²."""
        elements = [
            (f, {(a, b), (b, a)}, float(self.blocks[f][a, b]))
            for f, pairs in enumerate(self.pairs)
            for a, b in pairs
        ]
        m, k = len(elements), len(v)
        theta = np.array([value for *_, value in elements])
        X_part, Q, T, t = (
            np.zeros((m, k, k)),
            np.zeros((m, m, k, k)),
            np.zeros((m, m)),
            np.zeros(m),
        )
        for i, (f, ends, _) in enumerate(elements):
            for a, b in ends:
                X_part[i] += self.P[f][a, b]  # [X y]'V⁻¹V_iV⁻¹[X y]
                t[i] += self.t[f][a, b]
            for j, (g, others, _) in enumerate(elements):
                for a, b in ends:
                    for c, d in others:
                        Q[i, j] += self.Q[f, g][a, b, c, d]
                        T[i, j] += self.T[f, g][b, c, a, d]
        # What σ² adds follows from V_σ = (V − Σ θ_k V_k)/σ².
        s2 = self.sigma2
        whole = self.S
        X_sigma = (whole - np.tensordot(theta, X_part, 1)) / s2
        Q_sigma = (X_part - np.tensordot(theta, Q, 1)) / s2  # [X y]'V⁻¹V_σV⁻¹V_jV⁻¹[X y]
        Q_both = (X_sigma - np.tensordot(theta, Q_sigma, 1)) / s2
        T_sigma = (t - theta @ T) / s2
        T_both = ((self.n - theta @ t) / s2 - theta @ T_sigma) / s2
        X_all = np.concatenate([X_part, X_sigma[None]])
        Q_all = np.zeros((m + 1, m + 1, k, k))
        Q_all[:m, :m], Q_all[m, :m], Q_all[m, m] = Q, Q_sigma, Q_both
        Q_all[:m, m] = np.swapaxes(Q_sigma, -1, -2)
        T_all = np.zeros((m + 1, m + 1))
        T_all[:m, :m], T_all[m, :m], T_all[:m, m], T_all[m, m] = T, T_sigma, T_sigma, T_both
        along = X_all[:, :-1] @ v  # X'V⁻¹V_iPy
        observed = np.einsum("a,ijab,b->ij", v, Q_all, v) - along @ Phi @ along.T
        return -X_all[:, :-1, :-1], Q_all[:, :, :-1, :-1], T_all, observed
