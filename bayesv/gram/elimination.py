"""Eliminate the random effects: λ → log|M| and T = [X y]'V_r⁻¹[X y], with exact reverse pass.

One step eliminates a unit in the coordinates of the data (not of the scaled effects): with
N = I + λ'Aλ and D = λN⁻¹λ', everything coupled to the unit by H loses H'DH. λ may be singular. The
chain is eliminated finest factor first, then the border as one dense block; what is left is T.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import lapack

from bayesv.gram.border import border_gradient, mirror, sandwich
from bayesv.gram.kernels import forward, reverse
from bayesv.gram.lanes import forward_many
from bayesv.gram.statistics import GramStatistics
from bayesv.gram.threads import run
from bayesv.linalg import Array, symmetrize

__all__ = ["Elimination", "eliminate", "eliminate_many"]

_LANES = 32  # values of λ in one vectorised batch
_FRONT_BYTES = 1 << 18  # of the frontal matrices of a batch, to stay in the cache


@dataclass(frozen=True, eq=False)
class Elimination:
    """Result of eliminating all random effects at given λ.

    Attributes
    ----------
    logdet : float
        log|M| = log|V_r| + Σ log w; NaN where λ is so large that rounding leaves no N > 0.
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
class _Border:
    """The eliminated border: A and B as they stood, the factor of N, N⁻¹Λ'B and W = DB."""

    logdet: float
    A: Array
    B: Array
    factor: Array
    NB: Array
    W: Array


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
    Cost is linear in the number of units of the chain and cubic in the size of the border; the
    number of rows does not matter.
    """
    chain, m = stats.chain, stats.p + 1
    lam = _flat(lambdas, [level.term for level in stats.levels])
    nested = len(stats.levels) > 1
    kept_A = chain.A.copy() if nested else chain.A
    kept_H = chain.H.copy() if nested else chain.H
    E = chain.E.copy() if nested and stats.border else chain.E
    A, B = stats.A_border, stats.B_border
    if stats.border:
        A, B = A.copy(), B.copy()

    def chunk(span: tuple[int, int]) -> tuple[float, Array]:
        front = np.zeros((chain.width, chain.width))
        logdet = forward(
            chain.table, chain.A, chain.H, chain.mult, chain.pointer, chain.factor, chain.unit,
            *span, lam, front, kept_A, kept_H, chain.edges, chain.columns, chain.slots, E, A, B,
        )  # fmt: skip
        return logdet, front[-m:, -m:]

    spans = _spans(stats)
    # Units that share a border write to the same place: one task.
    parts = run(chunk, [(0, spans[-1][1])] if stats.border else spans)
    logdet = float(sum(part[0] for part in parts))
    T = stats.C + _mirrored(np.sum([part[1] for part in parts], axis=0))
    border = _eliminate_border(stats, lambdas, A, B) if stats.border else None
    if border is not None:
        logdet += border.logdet
        T = T - border.B.T @ border.W

    def gradient(T_bar: Array) -> list[Array]:
        bars = [np.zeros_like(lam_f) for lam_f in lambdas]
        A_bar, B_bar = stats.A_border, stats.B_border
        if border is not None:
            A_bar, B_bar = _reverse_border(stats, lambdas, border, T_bar, bars)
        E_bar = np.zeros_like(E) if nested else E

        def chunk(span: tuple[int, int]) -> Array:
            front = np.zeros((chain.width, chain.width))
            front[-m:, -m:] = T_bar
            lam_bar = np.zeros_like(lam)
            reverse(
                chain.table, kept_A, kept_H, chain.mult, chain.pointer, chain.factor, chain.unit,
                *span, lam, front, lam_bar, chain.edges, chain.columns, chain.slots, E, E_bar,
                A_bar, B_bar,
            )  # fmt: skip
            return lam_bar

        total = np.sum(run(chunk, spans), axis=0)
        _add_flat(bars, total, [level.term for level in stats.levels])
        return bars

    return Elimination(logdet, symmetrize(T), gradient)


def eliminate_many(stats: GramStatistics, lambdas: Sequence[Array]) -> tuple[Array, Array]:
    """Return log|M| and T for S values of λ; see `eliminate` for one value with its gradient.

    Parameters
    ----------
    stats : GramStatistics
    lambdas : sequence of ndarray, shape (S, k, k)
        λ_f of each term, in the order of the design's terms.

    Returns
    -------
    logdet : ndarray, shape (S,)
    T : ndarray, shape (S, p + 1, p + 1)
    """
    S, m, chain = len(lambdas[0]), stats.p + 1, stats.chain
    if stats.border:  # one dense factorisation each: nothing to gain from lanes
        done = [eliminate(stats, [lam[s] for lam in lambdas]) for s in range(S)]
        return np.array([d.logdet for d in done]), np.array([d.T for d in done])
    flat = np.concatenate([lambdas[level.term].reshape(S, -1) for level in stats.levels], axis=1)
    lanes = int(np.clip(_FRONT_BYTES // (8 * chain.width**2), 4, _LANES))
    spans = _spans(stats)

    def batch(start: int) -> tuple[Array, Array]:
        lam = np.ascontiguousarray(flat[start : start + lanes].T)
        logdet, T = np.zeros(lam.shape[1]), np.zeros((m, m, lam.shape[1]))
        for span in spans:  # the same sums as in `eliminate`
            front, part = np.zeros((chain.width, chain.width, lam.shape[1])), np.zeros_like(logdet)
            forward_many(
                chain.table, chain.A, chain.H, chain.mult, chain.pointer, chain.factor,
                chain.unit, *span, lam, front, part,
            )  # fmt: skip
            logdet += part
            T += front[-m:, -m:]
        return logdet, np.moveaxis(T, 2, 0)

    parts = run(batch, range(0, S, lanes))
    T = stats.C + _mirrored(np.concatenate([part[1] for part in parts]))
    return np.concatenate([part[0] for part in parts]), symmetrize(T)


def _spans(stats: GramStatistics) -> list[tuple[int, int]]:
    """Events of each task."""
    stops = stats.chain.stops.tolist()
    return list(zip([0, *stops[:-1]], stops, strict=True))


def _mirrored(upper: Array) -> Array:
    """Fill the lower triangle of (..., m, m) by the upper one."""
    above = np.triu(upper, 1)
    return np.asarray(np.triu(upper) + np.swapaxes(above, -1, -2))


def _flat(lambdas: Sequence[Array], terms: Sequence[int]) -> Array:
    return np.concatenate([np.asarray(lambdas[t], dtype=float).ravel() for t in terms])


def _add_flat(bars: list[Array], flat: Array, terms: Sequence[int]) -> None:
    at = 0
    for t in terms:
        bars[t] += flat[at : at + bars[t].size].reshape(bars[t].shape)
        at += bars[t].size


# --- the border -----------------------------------------------------------------------------------


def _blocks(stats: GramStatistics) -> tuple[Array, Array, Array]:
    """Start, size and place of λ of every level of the border."""
    starts, sizes, places, at = [], [], [], 0
    for term in stats.border:
        starts.append(term.start + term.k * np.arange(term.n_levels))
        sizes.append(np.full(term.n_levels, term.k))
        places.append(np.full(term.n_levels, at))
        at += term.k**2
    return np.concatenate(starts), np.concatenate(sizes), np.concatenate(places)


def _eliminate_border(
    stats: GramStatistics, lambdas: Sequence[Array], A: Array, B: Array
) -> _Border:
    lam = _flat(lambdas, [term.term for term in stats.border])
    mirror(A)
    N = np.empty_like(A)
    sandwich(A, lam, *_blocks(stats), 1.0, False, N)
    # The upper triangle of the transpose is the lower one of N: LAPACK's order costs no copy.
    factor, info = lapack.dpotrf(N.T, lower=0, clean=0, overwrite_a=1)
    if info:
        nan = np.full_like(B, np.nan)
        return _Border(float("nan"), A, B, factor, nan, nan)
    NB, _ = lapack.dpotrs(factor, _times(stats, lambdas, B), lower=0)
    W = _times(stats, [np.transpose(lam_f) for lam_f in lambdas], NB)
    return _Border(2.0 * float(np.log(np.diagonal(factor)).sum()), A, B, factor, NB, W)


def _reverse_border(
    stats: GramStatistics,
    lambdas: Sequence[Array],
    border: _Border,
    T_bar: Array,
    bars: list[Array],
) -> tuple[Array, Array]:
    """Add the border's λ_bar; return A_bar and B_bar. D_bar = −B T_bar B' is never formed."""
    terms = [term.term for term in stats.border]
    lam, blocks = _flat(lambdas, terms), _blocks(stats)
    N_inv = lapack.dpotri(border.factor, lower=0)[0].T
    mirror(N_inv)
    total = np.zeros_like(lam)
    border_gradient(border.A, N_inv, lam, *blocks, total)
    _add_flat(bars, total, terms)
    # 2(I − AD) D_bar λN⁻¹ by rows of (B − AW)T_bar and of N⁻¹Λ'B
    left = (border.B - border.A @ border.W) @ T_bar
    for term in stats.border:
        shape = (term.n_levels, term.k, -1)
        bars[term.term] -= 2.0 * np.einsum(
            "jam,jbm->ab", left[term.slice].reshape(shape), border.NB[term.slice].reshape(shape)
        )
    A_bar = np.zeros_like(N_inv)
    sandwich(N_inv, lam, *blocks, 0.0, True, A_bar)  # D, in the lower triangle
    A_bar += (border.W @ T_bar) @ border.W.T
    return A_bar, -2.0 * border.W @ T_bar


def _times(stats: GramStatistics, lambdas: Sequence[Array], B: Array) -> Array:
    """Return Λ'B for Λ = blockdiag over levels of the border of λ."""
    out = np.empty_like(B)
    for term in stats.border:
        part = B[term.slice].reshape(term.n_levels, term.k, -1)
        out[term.slice] = (lambdas[term.term].T @ part).reshape(-1, B.shape[1])
    return out
