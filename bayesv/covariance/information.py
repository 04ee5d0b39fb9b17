"""Derivatives of the (restricted) likelihood and of Φ by the elements of (Σ_f, σ²)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from bayesv.covariance.clusters import cluster_roots
from bayesv.covariance.geometry import ClusterBatch, Geometry
from bayesv.errors import ComponentsError
from bayesv.linalg import Array, symmetrize

__all__ = ["Information", "elements_of", "information_at"]


@dataclass(frozen=True, eq=False)
class Information:
    """Sums at one (Σ*, σ²); i, j are the m elements of Σ* of all terms, and σ².

    Attributes
    ----------
    Phi : ndarray, shape (p, p)
        (X'V⁻¹X)⁻¹, X in orthonormal columns.
    delta : ndarray, shape (p,)
        γ̂ of GLS less γ of weighted least squares.
    P : ndarray, shape (m, p, p)
        −X'V⁻¹V_iV⁻¹X.
    Q : ndarray, shape (m, m, p, p)
        X'V⁻¹V_iV⁻¹V_jV⁻¹X.
    traces : ndarray, shape (m,)
        tr(V⁻¹V_i).
    products : ndarray, shape (m, m)
        tr(V⁻¹V_iV⁻¹V_j).
    squares : ndarray, shape (m,)
        y'𝒫V_i𝒫y, with 𝒫 = V⁻¹ − V⁻¹XΦX'V⁻¹.
    curvatures : ndarray, shape (m, m)
        y'𝒫V_i𝒫V_j𝒫y.
    largest : float
        Largest variance of an effect's share of the rows beside σ²: it times 1e-16 are the digits
        that are lost.
    """

    Phi: Array
    delta: Array
    P: Array
    Q: Array
    traces: Array
    products: Array
    squares: Array
    curvatures: Array
    largest: float

    def expected(self) -> Array:
        """Return tr(𝒫V_i𝒫V_j): twice the expected information of REML."""
        PhiP = self.Phi @ self.P
        return symmetrize(
            self.products
            - 2.0 * np.einsum("ab,ijba->ij", self.Phi, self.Q)
            + np.einsum("iab,jba->ij", PhiP, PhiP)
        )

    def gradient(self, method: str) -> Array:
        """Return the derivative of −2 log (restricted) likelihood, shape (m,)."""
        traces = self.traces
        if method == "REML":
            traces = traces + np.einsum("ab,iba->i", self.Phi, self.P)
        return np.asarray(traces - self.squares)

    def hessian(self, method: str) -> Array:
        """Return the second derivative of −2 log (restricted) likelihood, shape (m, m)."""
        expected = self.expected() if method == "REML" else self.products
        return symmetrize(2.0 * self.curvatures - expected)


def elements_of(geometry: Geometry) -> list[tuple[int, int, int]]:
    """Return (term, row, column) of each element of Σ*, row by row of the lower triangle."""
    return [
        (f, int(a), int(b))
        for f, term in enumerate(geometry.terms)
        for a, b in zip(*np.nonzero(np.tril(term.structure.mask)), strict=True)
    ]


def information_at(
    geometry: Geometry, variances: Sequence[Array] | None = None, sigma2: float | None = None
) -> Information:
    """Return the sums.

    Parameters
    ----------
    geometry : Geometry
    variances : sequence of ndarray, shapes (r_f,), optional
        Diagonal of Σ_f* of every term; 0 is legal. Those of the geometry if left out.
    sigma2 : float, optional

    Raises
    ------
    ComponentsError
        If X'V⁻¹X cannot be factored.
    """
    variances = geometry.variances if variances is None else variances
    sigma2 = geometry.sigma2 if sigma2 is None else sigma2
    sums = _Sums(geometry)
    roots = [np.diag(np.sqrt(variance / sigma2)) for variance in variances]
    for batch in geometry.batches:
        sums.add(batch, roots)
    return sums.complete(sigma2)


class _Sums:
    """Sums over clusters, in units of σ², a to d columns of terms f and g, j and l levels.

    With H = Z'V⁻¹Z, K = Z'V⁻¹[X e], and H2, K2 with V⁻¹W⁻¹V⁻¹ for V⁻¹: ``T[f, g]``
    Σ_jl H_ja,lb H_jc,ld; ``Q[f, g]`` Σ_jl K_ja'H_jb,lc K_ld; ``P[f]`` Σ_j K_ja'K_jb and ``P2[f]``
    Σ_j K2_ja'K_jb; ``t[f]`` and ``t2[f]`` Σ_j H_ja,jb and H2_ja,jb. ``S[h]`` and ``s[h]`` are
    [X e]'V⁻¹(W⁻¹V⁻¹)^h[X e] and tr(W⁻¹V⁻¹)^h.
    """

    def __init__(self, geometry: Geometry) -> None:
        self.geometry = geometry
        sizes, k = [term.n_columns for term in geometry.terms], len(geometry.rest)
        self.S = np.repeat(geometry.rest[None], 3, axis=0)
        self.s = np.array([0.0, geometry.n, geometry.n])
        self.P, self.P2 = ([np.zeros((r, r, k, k)) for r in sizes] for _ in range(2))
        self.t, self.t2 = ([np.zeros((r, r)) for r in sizes] for _ in range(2))
        pairs = [(f, g) for f in range(len(sizes)) for g in range(len(sizes))]
        self.T = {(f, g): np.zeros((sizes[f], sizes[g]) * 2) for f, g in pairs}
        self.Q = {(f, g): np.zeros((*[sizes[f]] * 2, *[sizes[g]] * 2, k, k)) for f, g in pairs}
        self.largest = 0.0

    def add(self, batch: ClusterBatch, roots: Sequence[Array]) -> None:
        """Add clusters of the same shape."""
        terms, R = self.geometry.terms, batch.R
        b, r = R.shape[:2]
        F = R @ cluster_roots(batch.counts, roots)
        self.largest = max(self.largest, float((F**2).sum(axis=1).max(initial=0.0)))
        half = np.linalg.inv(np.linalg.cholesky(np.eye(r) + F @ np.swapaxes(F, 1, 2)))
        across = np.swapaxes(half, 1, 2)  # D⁻¹ = across @ half
        R1, U1 = half @ R, half @ batch.U
        R2, U2 = across @ R1, across @ U1
        for h, one in enumerate((U1, U2, half @ U2)):
            self.S[h] += np.einsum("sia,sib->ab", one, one)
        inverse = across @ half
        self.s[1] += np.trace(inverse, axis1=1, axis2=2).sum() - b * r
        self.s[2] += (inverse**2).sum() - b * r
        H, K = np.swapaxes(R1, 1, 2) @ R1, np.swapaxes(R1, 1, 2) @ U1
        K2 = np.swapaxes(R2, 1, 2) @ U2
        starts = np.cumsum(
            [0, *(J * t.n_columns for J, t in zip(batch.counts, terms, strict=True))]
        )
        spans = [slice(s, e) for s, e in pairwise(starts)]
        shapes = [(b, J, t.n_columns) for J, t in zip(batch.counts, terms, strict=True)]
        levels = list(zip(range(len(terms)), spans, shapes, strict=True))
        for f, span, (_, J, c) in levels:
            K_f = K[:, span].reshape(b, J, c, -1)
            K2_f = K2[:, span].reshape(b, J, c, -1)
            self.P[f] += np.einsum("sjam,sjbn->abmn", K_f, K_f, optimize=True)
            self.P2[f] += np.einsum("sjam,sjbn->abmn", K2_f, K_f, optimize=True)
            R2_f = R2[:, :, span].reshape(b, r, J, c)
            self.t[f] += np.einsum("sjajb->ab", H[:, span, span].reshape(b, J, c, J, c))
            self.t2[f] += np.einsum("sija,sijb->ab", R2_f, R2_f, optimize=True)
            for g, other, (_, L, d) in levels:
                K_g = K[:, other].reshape(b, L, d, -1)
                H_fg = H[:, span, other].reshape(b, J, c, L, d)
                self.T[f, g] += np.einsum("sjalb,sjcld->abcd", H_fg, H_fg, optimize=True)
                inner = np.einsum("sjblc,sldn->sjbcdn", H_fg, K_g, optimize=True)
                self.Q[f, g] += np.einsum("sjam,sjbcdn->abcdmn", K_f, inner, optimize=True)

    def complete(self, sigma2: float) -> Information:
        """Collect elements of Σ* and add σ²; then divide by powers of σ²."""
        elements = elements_of(self.geometry)
        m, k = len(elements) + 1, len(self.geometry.rest)
        A, Q = np.zeros((m, k, k)), np.zeros((m, m, k, k))
        T, t = np.zeros((m, m)), np.zeros(m)
        A[-1], Q[-1, -1], t[-1], T[-1, -1] = self.S[1], self.S[2], self.s[1], self.s[2]
        for i, (f, *ends_i) in enumerate(elements):
            for a, b in {tuple(ends_i), tuple(ends_i[::-1])}:
                A[i] += self.P[f][a, b]
                t[i] += self.t[f][a, b]
                T[i, -1] += self.t2[f][a, b]
                Q[-1, i] += self.P2[f][a, b]
                for j, (g, *ends_j) in enumerate(elements):
                    for c, d in {tuple(ends_j), tuple(ends_j[::-1])}:
                        Q[i, j] += self.Q[f, g][a, b, c, d]
                        T[i, j] += self.T[f, g][b, c, a, d]
        T[-1, :-1], Q[:-1, -1] = T[:-1, -1], np.swapaxes(Q[-1, :-1], -1, -2)
        A, Q, t, T, S = (
            A / sigma2**2, Q / sigma2**3, t / sigma2, T / sigma2**2, self.S[0] / sigma2,
        )  # fmt: skip
        Phi = _inverse(S[:-1, :-1])
        delta = Phi @ S[:-1, -1]
        v = np.append(-delta, 1.0)
        along = A[:, :-1] @ v  # X'V⁻¹V_i𝒫y
        return Information(
            Phi=Phi,
            delta=delta,
            P=-A[:, :-1, :-1],
            Q=Q[:, :, :-1, :-1],
            traces=t,
            products=T,
            squares=np.einsum("a,iab,b->i", v, A, v),
            curvatures=np.einsum("a,ijab,b->ij", v, Q, v) - along @ Phi @ along.T,
            largest=self.largest,
        )


def _inverse(S: Array) -> Array:
    unit = np.sqrt(np.diagonal(S))
    try:
        half = np.linalg.inv(np.linalg.cholesky(symmetrize(S / np.outer(unit, unit)))) / unit
    except np.linalg.LinAlgError as error:
        raise ComponentsError(
            "X'V⁻¹X cannot be factored in double precision: the variances of the random effects "
            "are too large beside sigma2."
        ) from error
    return np.asarray(half.T @ half)
