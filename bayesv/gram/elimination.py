"""Eliminate the random effects: λ → log|M| and T = [X y]'V_r⁻¹[X y], with exact reverse pass.

One step eliminates a factor whose levels do not share rows, in the coordinates of the data (not of
the scaled effects): with N = I + λ'Aλ and D = λN⁻¹λ', everything coupled to the factor by H loses
H'DH. λ may be singular. The chain is eliminated finest factor first, then the border as one dense
block, and what is left is T.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.linalg import cho_solve, cholesky

from bayesv.gram.statistics import ChainLevel, GramStatistics
from bayesv.linalg import Array, symmetrize

__all__ = ["Elimination", "eliminate"]


@dataclass(frozen=True, eq=False)
class Elimination:
    """Result of eliminating all random effects at given λ.

    Attributes
    ----------
    logdet : float
        log|M| = log|V_r| + Σ log w.
    T : ndarray, shape (p + 1, p + 1)
        [X y]'V_r⁻¹[X y] with V_r = V/σ².
    gradient : callable
        ``gradient(T_bar)``: the derivative of log|M| + f(T) with respect to each λ, given
        T_bar = ∂f/∂T (symmetric).
    """

    logdet: float
    T: Array
    gradient: Callable[[Array], list[Array]]


@dataclass(frozen=True, eq=False)
class _Step:
    """One eliminated chain factor, as it stood then: what the reverse pass needs."""

    level: ChainLevel
    A: Array
    H: Array
    E: sparse.csr_array
    lam_N: Array  # λN⁻¹, (J, k, k)
    D: Array  # λN⁻¹λ', (J, k, k)

    @property
    def k(self) -> int:
        return int(self.A.shape[1])


@dataclass(frozen=True, eq=False)
class _Border:
    """The eliminated border."""

    logdet: float
    A: Array
    L: Array  # lower Cholesky factor of N = I + Λ'AΛ
    B: Array
    W: Array  # D B
    NB: Array  # N⁻¹Λ'B


def eliminate(stats: GramStatistics, lambdas: Sequence[Array]) -> Elimination:
    """Eliminate all random effects.

    Parameters
    ----------
    stats : GramStatistics
    lambdas : sequence of ndarray, shape (k, k)
        λ_f of each term, in the order of the design's terms; any root of Σ_f/σ².

    Returns
    -------
    Elimination

    Notes
    -----
    Cost is linear in the number of levels of the chain and cubic in the size of the border; the
    number of rows does not matter.
    """
    m = stats.p + 1
    A = [level.A for level in stats.chain]
    H = [level.H for level in stats.chain]
    E = [level.E for level in stats.chain]
    A_border, B_border, T = stats.A_border, stats.B_border, stats.C
    logdet = 0.0
    steps: list[_Step] = []
    for f, level in enumerate(stats.chain):
        lam = lambdas[level.term]
        N = np.eye(len(lam)) + lam.T @ A[f] @ lam
        diagonal = np.diagonal(np.linalg.cholesky(N), axis1=1, axis2=2)
        logdet += 2.0 * float(np.log(diagonal).sum())
        lam_N = lam @ np.linalg.inv(N)
        D = lam_N @ lam.T
        steps.append(_Step(level, A[f], H[f], E[f], lam_N, D))
        DH = D @ H[f]
        update = np.swapaxes(H[f], 1, 2) @ DH
        for g, at, parent in _coarser(stats, f):
            J = len(A[g])
            A[g] = A[g] - _sum_over(parent, update[:, at, at], J)
            H[g] = H[g] - _sum_over(parent, update[:, at, at.stop :], J)
            if stats.border:
                E[g] = sparse.csr_array(E[g] - _to_parents(DH[:, :, at], parent, J).T @ E[f])
        T = T - update[:, -m:, -m:].sum(axis=0)
        if stats.border:
            DE = _block_diagonal(D) @ E[f]
            A_border = A_border - (E[f].T @ DE).toarray()
            B_border = B_border - np.asarray(DE.T @ H[f][:, :, -m:].reshape(-1, m))
    border = _eliminate_border(stats, lambdas, A_border, B_border) if stats.border else None
    if border is not None:
        logdet += border.logdet
        T = T - border.B.T @ border.W
    return Elimination(
        logdet, symmetrize(T), lambda T_bar: _reverse(stats, lambdas, steps, border, T_bar)
    )


def _eliminate_border(
    stats: GramStatistics, lambdas: Sequence[Array], A: Array, B: Array
) -> _Border:
    N = _times_lambda(stats, lambdas, _times_lambda(stats, lambdas, A).T)
    N[np.diag_indices_from(N)] += 1.0
    L = cholesky(N, lower=True, overwrite_a=True, check_finite=False)
    NB = cho_solve((L, True), _times_lambda(stats, lambdas, B.T).T, check_finite=False)
    W = _times_lambda(stats, [lam.T for lam in lambdas], NB.T).T
    return _Border(2.0 * float(np.log(np.diagonal(L)).sum()), A, L, B, W, NB)


def _reverse(
    stats: GramStatistics,
    lambdas: Sequence[Array],
    steps: Sequence[_Step],
    border: _Border | None,
    T_bar: Array,
) -> list[Array]:
    """Reverse pass: ``x_bar`` is the derivative by x, symmetric where x is.

    With K = [H E] the coupling of a level and S_bar the derivative by all that loses K'DK:
    P = K S_bar, K_bar = −2DP, D_bar = −PK', A_bar = D − D D_bar D (the first D from log|N|), and
    λ_bar = 2AλN⁻¹ + 2(I − AD) D_bar λN⁻¹. What is stored once but stands twice in a symmetric
    matrix enters S_bar by half its derivative.
    """
    m = stats.p + 1
    lam_bars = [np.zeros_like(lam) for lam in lambdas]
    A_bars = [np.empty(0)] * len(steps)
    H_bars = [np.empty(0)] * len(steps)
    E_bars = [np.empty(0)] * len(steps)  # (J, k, q_border)
    A_border_bar, B_border_bar = np.empty(0), np.empty(0)
    if border is not None:
        A_border_bar, B_border_bar = _reverse_border(stats, lambdas, border, T_bar, lam_bars)
    for f in reversed(range(len(steps))):
        step = steps[f]
        J, k = len(step.A), step.k
        width = step.H.shape[2]
        S_bar = np.zeros((J, width, width))
        S_bar[:, -m:, -m:] = T_bar
        for g, at, parent in _coarser(stats, f):
            S_bar[:, at, at] = A_bars[g][parent]
            S_bar[:, at, at.stop :] = 0.5 * H_bars[g][parent]
            S_bar[:, at.stop :, at] = np.swapaxes(S_bar[:, at, at.stop :], 1, 2)
        P = step.H @ S_bar
        D_bar = np.zeros_like(step.A)
        if border is not None:
            P_E = np.asarray(step.E @ A_border_bar)
            P_E += 0.5 * step.H[:, :, -m:].reshape(-1, m) @ B_border_bar.T
            P_E = P_E.reshape(J, k, -1)
            P[:, :, -m:] += 0.5 * np.asarray(step.E @ B_border_bar).reshape(J, k, m)
            for g, at, parent in _coarser(stats, f):
                P_E += 0.5 * step.H[:, :, at] @ E_bars[g][parent]
                P[:, :, at] += 0.5 * _row_products(step.E, E_bars[g][parent], k)
            D_bar = -np.swapaxes(_row_products(step.E, P_E, k), 1, 2)
            if f > 0:  # only finer factors ask for it
                E_bars[f] = -2.0 * step.D @ P_E
        D_bar = symmetrize(D_bar - P @ np.swapaxes(step.H, 1, 2))
        A_bars[f] = step.D - step.D @ D_bar @ step.D
        H_bars[f] = -2.0 * step.D @ P
        inner = np.eye(k) - step.A @ step.D
        total = step.A @ step.lam_N + inner @ D_bar @ step.lam_N
        lam_bars[step.level.term] += 2.0 * total.sum(axis=0)
    return lam_bars


def _reverse_border(
    stats: GramStatistics,
    lambdas: Sequence[Array],
    border: _Border,
    T_bar: Array,
    lam_bars: list[Array],
) -> tuple[Array, Array]:
    """Add the border's λ_bar; return A_bar and B_bar. D_bar = −B T_bar B' is never formed."""
    N_inv = cho_solve((border.L, True), np.eye(len(border.L)), check_finite=False)
    lam_N = _times_lambda(stats, [lam.T for lam in lambdas], N_inv).T  # ΛN⁻¹
    left = (border.B - border.A @ border.W) @ T_bar
    for term in stats.border:
        at, shape = term.slice, (term.n_levels, term.k)
        rows = border.A[at].reshape(*shape, -1)
        columns = lam_N[:, at].reshape(-1, *shape)
        first = np.einsum("jaq,qjb->ab", rows, columns, optimize=True)
        second = np.einsum(
            "jam,jbm->ab", left[at].reshape(*shape, -1), border.NB[at].reshape(*shape, -1)
        )
        lam_bars[term.term] += 2.0 * (first - second)
    D = _times_lambda(stats, [lam.T for lam in lambdas], lam_N)
    return D + border.W @ T_bar @ border.W.T, -2.0 * border.W @ T_bar


def _coarser(stats: GramStatistics, f: int) -> Iterator[tuple[int, slice, NDArray[np.intp]]]:
    """Yield the coarser chain factors of factor f, their columns in its H, and the parents."""
    start = 0
    for above, parent in enumerate(stats.chain[f].parents):
        g = f + 1 + above
        k = stats.chain[g].A.shape[1]
        yield g, slice(start, start + k), parent
        start += k


def _times_lambda(stats: GramStatistics, lambdas: Sequence[Array], a: Array) -> Array:
    """Return aΛ for Λ = blockdiag over border levels of λ."""
    out = np.empty_like(a)
    for term in stats.border:
        part = a[:, term.slice].reshape(len(a), term.n_levels, term.k)
        out[:, term.slice] = (part @ lambdas[term.term]).reshape(len(a), -1)
    return out


def _sum_over(parent: NDArray[np.intp], values: Array, n_parents: int) -> Array:
    """Sum (J, a, b) over the levels of each parent, (n_parents, a, b)."""
    J = len(parent)
    member = sparse.csr_array((np.ones(J), parent, np.arange(J + 1)), shape=(J, n_parents))
    sums = np.asarray(member.T @ values.reshape(J, -1))
    return sums.reshape(n_parents, *values.shape[1:])


def _to_parents(blocks: Array, parent: NDArray[np.intp], n_parents: int) -> sparse.bsr_array:
    """Return the sparse (J k, n_parents l) matrix with one block (k, l) a level."""
    J, k, width = blocks.shape
    return sparse.bsr_array((blocks, parent, np.arange(J + 1)), shape=(J * k, n_parents * width))


def _block_diagonal(blocks: Array) -> sparse.bsr_array:
    return _to_parents(blocks, np.arange(len(blocks)), len(blocks))


def _row_products(E: sparse.csr_array, dense: Array, k: int) -> Array:
    """Return E_j dense_j' for every level j: (J, k, l) from (J k, q) and (J, l, q)."""
    out = np.empty((len(dense), k, dense.shape[1]))
    for a in range(k):
        rows = E[a::k]
        for b in range(dense.shape[1]):
            out[:, a, b] = np.asarray(rows.multiply(dense[:, b, :]).sum(axis=1)).ravel()
    return out
