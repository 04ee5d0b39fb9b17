"""Sums over random effects, cluster by cluster, where R is known up to σ²: no row is needed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np

from bayesv.covariance.clusters import cluster_roots
from bayesv.covariance.frame import Frame
from bayesv.covariance.geometry import ClusterBatch, Geometry
from bayesv.covariance.information import Information, inverse_gram
from bayesv.errors import DataError
from bayesv.linalg import Array, symmetrize
from bayesv.support.progress import progress

__all__ = ["gram_information"]

_MOST_NUMBERS = 1 << 27  # of the sums that two terms make together


def gram_information(
    frame: Frame, geometry: Geometry, variances: Sequence[Array] | None = None
) -> Information:
    """Return the sums.

    Parameters
    ----------
    frame : Frame
        Whose residual covariance is known up to σ².
    geometry : Geometry
        Of the frame.
    variances : sequence of ndarray, shapes (r_f,), optional
        Diagonal of Σ_f* of every term; 0 is legal. Those of the frame if left out.

    Raises
    ------
    ComponentsError
        If X'V⁻¹X cannot be factored.
    DataError
        If terms have so many columns that the sums take too much memory.
    """
    _refuse_wide(frame)
    sums = _Sums(frame, geometry.rest)
    roots = frame.roots(variances)
    with progress("summing over random effects") as step:
        for batch in geometry.batches:
            sums.add(batch, roots, step)
    return sums.complete()


def _refuse_wide(frame: Frame) -> None:
    widest = max((term.n_columns for term in frame.design.terms), default=0)
    if (needed := widest**4 * frame.white.shape[1] ** 2) > _MOST_NUMBERS:
        raise DataError(
            f"Kenward–Roger: a random term of {widest} columns beside {frame.design.p} fixed "
            f"effects needs {8 * needed / 2**30:.1f} GiB. fit.cov_beta has (X'V⁻¹X)⁻¹."
        )


class _Sums:
    """Sums over clusters, in units of σ², a to d columns of terms f and g, j and l levels.

    With H = Z'V⁻¹Z, K = Z'V⁻¹[X e], and H2, K2 with V⁻¹W⁻¹V⁻¹ for V⁻¹: ``T[f, g]``
    Σ_jl H_ja,lb H_jc,ld; ``Q[f, g]`` Σ_jl K_ja'H_jb,lc K_ld; ``P[f]`` Σ_j K_ja'K_jb and ``P2[f]``
    Σ_j K2_ja'K_jb; ``t[f]`` and ``t2[f]`` Σ_j H_ja,jb and H2_ja,jb. ``S[h]`` and ``s[h]`` are
    [X e]'V⁻¹(W⁻¹V⁻¹)^h[X e] and tr(W⁻¹V⁻¹)^h.
    """

    def __init__(self, frame: Frame, rest: Array) -> None:
        self.frame, self.terms = frame, frame.design.terms
        sizes, k = [term.n_columns for term in self.terms], len(rest)
        self.S = np.repeat(rest[None], 3, axis=0)
        self.s = np.array([0.0, frame.design.n, frame.design.n])
        self.P, self.P2 = ([np.zeros((r, r, k, k)) for r in sizes] for _ in range(2))
        self.t, self.t2 = ([np.zeros((r, r)) for r in sizes] for _ in range(2))
        pairs = [(f, g) for f in range(len(sizes)) for g in range(len(sizes))]
        self.T = {(f, g): np.zeros((sizes[f], sizes[g]) * 2) for f, g in pairs}
        self.Q = {(f, g): np.zeros((*[sizes[f]] * 2, *[sizes[g]] * 2, k, k)) for f, g in pairs}
        self.largest = 0.0

    def add(self, batch: ClusterBatch, roots: Sequence[Array], step: Callable[[int], None]) -> None:
        """Add clusters of the same shape; ``step`` hears of products of two terms."""
        terms, R = self.terms, batch.R
        b, r = R.shape[:2]
        F = R @ cluster_roots(batch.counts, roots)
        self.largest = max(self.largest, float((F**2).sum(axis=1).max(initial=0.0)))
        half = np.linalg.inv(np.linalg.cholesky(np.eye(r) + F @ np.swapaxes(F, 1, 2)))
        across = np.swapaxes(half, 1, 2)  # D⁻¹ = across @ half
        R1, U1 = half @ R, half @ batch.U
        R2, U2 = across @ R1, across @ U1
        for h, one in enumerate((U1, U2, half @ U2)):
            self.S[h] += np.einsum("sia,sib->ab", one, one)
        step(1)
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
            K_f = K[:, span].reshape(b * J, -1)
            self.P[f] += _paired(K_f, K_f, c, c)
            self.P2[f] += _paired(K2[:, span].reshape(b * J, -1), K_f, c, c)
            R2_f = R2[:, :, span].reshape(-1, c)
            self.t[f] += np.einsum("sjajb->ab", H[:, span, span].reshape(b, J, c, J, c))
            self.t2[f] += R2_f.T @ R2_f
            for g, other, (_, L, d) in levels:
                H_fg = H[:, span, other].reshape(b, J, c, L, d)
                by_pair = H_fg.transpose(0, 1, 3, 2, 4).reshape(-1, c * d)
                self.T[f, g] += (by_pair.T @ by_pair).reshape(c, d, c, d)
                to_levels = H_fg.transpose(0, 1, 2, 4, 3).reshape(b, J * c * d, L)
                inner = to_levels @ K[:, other].reshape(b, L, -1)  # (b, j a c, d n)
                self.Q[f, g] += _paired(K_f, inner.reshape(b * J, -1), c, c * d * d).reshape(
                    c, c, d, d, *self.S.shape[1:]
                )
                step(1)

    def complete(self) -> Information:
        """Collect what belongs to each parameter, and divide by powers of σ²."""
        frame, sigma2 = self.frame, self.frame.sigma2
        m, k = frame.m, len(self.S[0])
        A, Q, bends = np.zeros((m, k, k)), np.zeros((m, m, k, k)), np.zeros((m, m, k, k))
        T, t, bend_traces = np.zeros((m, m)), np.zeros(m), np.zeros((m, m))
        *spans, scale = frame.spans
        free = scale.stop > scale.start  # σ² is a parameter
        if free:
            A[-1], Q[-1, -1], t[-1], T[-1, -1] = self.S[1], self.S[2], self.s[1], self.s[2]
        for f, (span, own) in enumerate(zip(spans, frame.directions, strict=True)):
            A[span] = np.tensordot(own.first, self.P[f], 2)
            t[span] = np.tensordot(own.first, self.t[f], 2)
            if own.second is not None:
                bends[span, span] = np.tensordot(own.second, self.P[f], 2)
                bend_traces[span, span] = np.tensordot(own.second, self.t[f], 2)
            if free:
                T[span, -1] = T[-1, span] = np.tensordot(own.first, self.t2[f], 2)
                Q[-1, span] = np.tensordot(own.first, self.P2[f], 2)
                Q[span, -1] = np.swapaxes(Q[-1, span], -1, -2)
            for g, (other, theirs) in enumerate(zip(spans, frame.directions, strict=True)):
                half = np.tensordot(own.first, self.Q[f, g], 2)
                Q[span, other] = np.einsum("jcd,icdmn->ijmn", theirs.first, half)
                turned = np.tensordot(own.first, self.T[f, g].transpose(2, 0, 1, 3), 2)
                T[span, other] = np.tensordot(turned, theirs.first, ((1, 2), (1, 2)))
        return _information(
            self.S[0] / sigma2, A / sigma2**2, Q / sigma2**3, t / sigma2, T / sigma2**2,
            bends / sigma2**2, bend_traces / sigma2, self.largest,
        )  # fmt: skip


def _paired(left: Array, right: Array, a: int, b: int) -> Array:
    """Σ_s of products of columns (a, m) of one array and (b, n) of another, shape (a, b, m, n)."""
    product = left.T @ right
    return product.reshape(a, left.shape[1] // a, b, -1).transpose(0, 2, 1, 3)


def _information(
    S: Array, A: Array, Q: Array, t: Array, T: Array, bends: Array, bend_traces: Array,
    largest: float,
) -> Information:  # fmt: skip
    """Return the information of sums over [X e]."""
    Phi = inverse_gram(S[:-1, :-1])
    delta = Phi @ S[:-1, -1]
    v = np.append(-delta, 1.0)
    along = A[:, :-1] @ v  # X'V⁻¹V_i𝒫y
    P, PhiP = -A[:, :-1, :-1], -Phi @ A[:, :-1, :-1]
    bent = bend_traces - np.einsum("a,ijab,b->ij", v, bends, v)
    inside, bends = Q[:, :, :-1, :-1], bends[:, :, :-1, :-1]

    def inner(W: Array, linear: bool) -> Array:
        between = inside - (P @ Phi)[:, None] @ P
        if not linear:
            between = between - 0.25 * bends
        return np.asarray(np.einsum("ij,ijab->ab", W, between))

    return Information(
        Phi=Phi,
        delta=delta,
        P=P,
        traces=t,
        products=T,
        projected=symmetrize(
            T - 2.0 * np.einsum("ab,ijba->ij", Phi, inside) + np.einsum("iab,jba->ij", PhiP, PhiP)
        ),
        squares=np.einsum("a,iab,b->i", v, A, v),
        curvatures=np.einsum("a,ijab,b->ij", v, Q, v) - along @ Phi @ along.T,
        bent={"REML": bent - np.einsum("ab,ijab->ij", Phi, bends), "ML": bent},
        largest=largest,
        inner=inner,
    )
