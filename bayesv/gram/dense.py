"""Eliminate the border, one dense block, by LAPACK; its reverse pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bayesv.gram.lapack import cholesky, invert, solve
from bayesv.gram.statistics import GramStatistics
from bayesv.linalg import Array

__all__ = [
    "Border",
    "add_flat",
    "border_blocks",
    "eliminate_border",
    "flat_lambdas",
    "reverse_border",
    "times_lambda",
]


@dataclass(frozen=True, eq=False)
class Border:
    """The eliminated border: A and B as they stood, N's factor, N⁻¹Λ'B, W = DB.

    A and the factor have the lower triangle only.
    """

    logdet: float
    A: Array
    B: Array
    factor: Array
    NB: Array
    W: Array


def flat_lambdas(lambdas: Sequence[Array], terms: Sequence[int]) -> Array:
    """Return λ of the given terms in one flat array."""
    return np.concatenate([np.asarray(lambdas[t], dtype=float).ravel() for t in terms])


def add_flat(bars: list[Array], flat: Array, terms: Sequence[int]) -> None:
    """Add a flat array to what it stands for."""
    at = 0
    for t in terms:
        bars[t] += flat[at : at + bars[t].size].reshape(bars[t].shape)
        at += bars[t].size


def border_blocks(stats: GramStatistics) -> tuple[Array, Array, Array]:
    """Return start, size and place of λ of every level of the border."""
    starts, sizes, places, at = [], [], [], 0
    for term in stats.border:
        starts.append(term.start + term.k * np.arange(term.n_levels))
        sizes.append(np.full(term.n_levels, term.k))
        places.append(np.full(term.n_levels, at))
        at += term.k**2
    return np.concatenate(starts), np.concatenate(sizes), np.concatenate(places)


def eliminate_border(stats: GramStatistics, lambdas: Sequence[Array], A: Array, B: Array) -> Border:
    """Factor the border at λ."""
    from bayesv.gram.border import sandwich

    lam = flat_lambdas(lambdas, [term.term for term in stats.border])
    N = np.empty_like(A)
    sandwich(A, lam, *border_blocks(stats), 1.0, False, N)
    if not cholesky(N):
        nan = np.full_like(B, np.nan)
        return Border(float("nan"), A, B, N, nan, nan)
    NB = solve(N, times_lambda(stats, lambdas, B))
    W = times_lambda(stats, [np.transpose(lam_f) for lam_f in lambdas], NB)
    return Border(2.0 * float(np.log(np.diagonal(N)).sum()), A, B, N, NB, W)


def reverse_border(
    stats: GramStatistics,
    lambdas: Sequence[Array],
    border: Border,
    T_bar: Array,
    bars: list[Array],
) -> tuple[Array, Array]:
    """Add the border's λ_bar; return A_bar and B_bar. D_bar = −B T_bar B' is never formed."""
    from bayesv.gram.border import border_gradient, mirror, sandwich

    terms = [term.term for term in stats.border]
    lam, blocks = flat_lambdas(lambdas, terms), border_blocks(stats)
    N_inv = invert(border.factor)
    mirror(N_inv)
    mirror(border.A)
    total = np.zeros_like(lam)
    border_gradient(border.A, N_inv, lam, *blocks, total)
    add_flat(bars, total, terms)
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


def times_lambda(stats: GramStatistics, lambdas: Sequence[Array], B: Array) -> Array:
    """Return Λ'B for Λ = blockdiag over levels of the border of λ."""
    out = np.empty_like(B)
    for term in stats.border:
        part = B[term.slice].reshape(term.n_levels, term.k, -1)
        out[term.slice] = (lambdas[term.term].T @ part).reshape(-1, B.shape[1])
    return out
