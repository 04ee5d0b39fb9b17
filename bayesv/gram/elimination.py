"""Eliminate the random effects: λ → log|M| and T = [X y]'V_r⁻¹[X y], with exact reverse pass.

One step eliminates a unit in the coordinates of the data (not of the scaled effects): with
N = I + λ'Aλ and D = λN⁻¹λ', everything coupled to the unit by H loses H'DH. λ may be singular. The
chain is eliminated finest factor first, then the border as one dense block; what is left is T.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from bayesv.gram.chain import Chain
from bayesv.gram.dense import (
    Border,
    add_flat,
    border_blocks,
    eliminate_border,
    flat_lambdas,
    reverse_border,
)
from bayesv.gram.statistics import GramStatistics
from bayesv.gram.threads import one_blas_thread, run
from bayesv.linalg import Array, symmetrize

__all__ = ["Eliminated", "Elimination", "eliminate", "eliminate_many", "eliminate_units"]

_LANES = 256  # values of λ in one vectorised batch, at most
_FRONT_BYTES = 1 << 16  # of the frontal matrices of a batch, to stay in the cache
_WORTH_THREADS = 100_000  # units × values of λ


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
class Eliminated:
    """All units as they stood when they were eliminated: what a reverse pass or a draw needs.

    Attributes
    ----------
    lam : ndarray
        λ of the chain's factors, flat.
    A, H, E : ndarray
        As in `Chain`, but after the units below took their share.
    border : Border or None
    logdet : float
    T : ndarray, shape (p + 1, p + 1)
    """

    lam: Array
    A: Array
    H: Array
    E: Array
    border: Border | None
    logdet: float
    T: Array


def eliminate_units(stats: GramStatistics, chain: Chain, lambdas: Sequence[Array]) -> Eliminated:
    """Eliminate all random effects, in the units of ``chain``, and keep how they stood."""
    from bayesv.gram.kernels import forward  # compiled: loaded when it is needed

    m, nested = stats.p + 1, len(stats.levels) > 1
    lam = flat_lambdas(lambdas, [level.term for level in stats.levels])
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

    # Units that share a border write to the same place: one task.
    parts = run(chunk, [(0, len(chain.factor))] if stats.border else chain.spans)
    logdet = float(sum(part[0] for part in parts))
    T = stats.C + _mirrored(np.sum([part[1] for part in parts], axis=0))
    border = None
    if stats.border:
        with one_blas_thread():
            border = eliminate_border(stats, lambdas, A, B)
        logdet += border.logdet
        T = T - border.B.T @ border.W
    return Eliminated(lam, kept_A, kept_H, E, border, logdet, symmetrize(T))


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
    done = eliminate_units(stats, stats.chain, lambdas)
    return Elimination(done.logdet, done.T, lambda T_bar: _reverse(stats, lambdas, done, T_bar))


def _reverse(
    stats: GramStatistics, lambdas: Sequence[Array], done: Eliminated, T_bar: Array
) -> list[Array]:
    from bayesv.gram.kernels import reverse

    chain, m = stats.chain, stats.p + 1
    bars = [np.zeros_like(lam_f) for lam_f in lambdas]
    A_bar, B_bar = stats.A_border, stats.B_border
    if done.border is not None:
        with one_blas_thread():
            A_bar, B_bar = reverse_border(stats, lambdas, done.border, T_bar, bars)
    E_bar = np.zeros_like(done.E)

    def chunk(span: tuple[int, int]) -> Array:
        front = np.zeros((chain.width, chain.width))
        front[-m:, -m:] = T_bar
        lam_bar = np.zeros_like(done.lam)
        reverse(
            chain.table, done.A, done.H, chain.mult, chain.pointer, chain.factor, chain.unit,
            *span, done.lam, front, lam_bar, chain.edges, chain.columns, chain.slots, done.E,
            E_bar, A_bar, B_bar,
        )  # fmt: skip
        return lam_bar

    total = np.sum(run(chunk, chain.spans), axis=0)
    add_flat(bars, total, [level.term for level in stats.levels])
    return bars


def eliminate_many(
    stats: GramStatistics,
    lambdas: Sequence[Array],
    step: Callable[[int], None] = lambda _: None,
) -> tuple[Array, Array]:
    """Return log|M| and T for S values of λ; see `eliminate` for one value with its gradient.

    Parameters
    ----------
    stats : GramStatistics
    lambdas : sequence of ndarray, shape (S, k, k)
        λ_f of each term, in the order of the design's terms.
    step : callable
        Told how many values are done, from several threads.

    Returns
    -------
    logdet : ndarray, shape (S,)
    T : ndarray, shape (S, p + 1, p + 1)
    """
    from bayesv.gram.bordered import forward_bordered
    from bayesv.gram.lanes import forward_many

    S, m, chain = len(lambdas[0]), stats.p + 1, stats.chain
    if stats.large_border:

        def one(s: int) -> tuple[float, Array]:
            done = eliminate_units(stats, chain, [lam[s] for lam in lambdas])
            step(1)
            return done.logdet, done.T

        with one_blas_thread():  # several evaluations side by side instead
            done = run(one, range(S), bytes_each=2.0 * stats.A_border.nbytes)
        return np.array([d[0] for d in done]), np.array([d[1] for d in done]).reshape(S, m, m)
    flat, border = (
        np.concatenate([np.zeros((S, 0)), *(lambdas[t.term].reshape(S, -1) for t in part)], axis=1)
        for part in (stats.levels, stats.border)
    )
    lanes = int(np.clip(_FRONT_BYTES // (8 * chain.width**2), 8, _LANES))

    def bordered(start: int) -> tuple[Array, Array]:
        lam, lam_border = flat[start : start + lanes], border[start : start + lanes]
        logdet, T = np.zeros(len(lam)), np.zeros((len(lam), m, m))
        forward_bordered(
            chain.table, chain.A, chain.H, chain.mult, chain.pointer, chain.factor, chain.unit,
            lam, chain.width, len(stats.levels) > 1, chain.edges, chain.columns, chain.slots,
            chain.E, stats.A_border, stats.B_border, lam_border, *border_blocks(stats), logdet, T,
        )  # fmt: skip
        step(len(lam))
        return logdet, T

    def batch(start: int) -> tuple[Array, Array]:
        lam = np.ascontiguousarray(flat[start : start + lanes].T)
        logdet, T = np.zeros(lam.shape[1]), np.zeros((m, m, lam.shape[1]))
        for span in chain.spans:  # the same sums as in `eliminate`
            front, part = np.zeros((chain.width, chain.width, lam.shape[1])), np.zeros_like(logdet)
            forward_many(
                chain.table, chain.A, chain.H, chain.mult, chain.pointer, chain.factor,
                chain.unit, *span, lam, front, part,
            )  # fmt: skip
            logdet += part
            T += front[-m:, -m:]
        step(len(logdet))
        return logdet, np.moveaxis(T, 2, 0)

    serial = S * (len(chain.factor) + len(stats.A_border) ** 2) < _WORTH_THREADS
    parts = run(bordered if stats.border else batch, range(0, S, lanes), serial=serial)
    T = stats.C + _mirrored(np.concatenate([part[1] for part in parts]))
    return np.concatenate([part[0] for part in parts]), symmetrize(T)


def _mirrored(upper: Array) -> Array:
    """Fill the lower triangle of (..., m, m) by the upper one."""
    above = np.triu(upper, 1)
    return np.asarray(np.triu(upper) + np.swapaxes(above, -1, -2))
