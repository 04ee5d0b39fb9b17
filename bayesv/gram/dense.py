"""Eliminate the border, one dense block, by LAPACK; its reverse pass.

Where an order of its columns keeps most of the factor empty, only what is not is computed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bayesv.gram.lapack import cholesky, invert, solve
from bayesv.gram.layout import Layout
from bayesv.gram.ordering import Ordering
from bayesv.gram.tables import BorderTable
from bayesv.linalg import Array

__all__ = [
    "Border",
    "add_flat",
    "eliminate_border",
    "flat_lambdas",
    "reverse_border",
    "times_lambda",
]


@dataclass(frozen=True, eq=False)
class Border:
    """The eliminated border: A and B as they stood, L of N = LL', N⁻¹Λ'B, W = DB.

    A and L have the lower triangle only; rows and columns of L are in the layout's ordering, if it
    has one.
    """

    logdet: float
    A: Array
    B: Array
    L: Array
    NB: Array
    W: Array


def flat_lambdas(lambdas: Sequence[Array], terms: Sequence[int]) -> Array:
    """Return λ of the given terms in one flat array."""
    return np.concatenate(
        [np.zeros(0), *(np.asarray(lambdas[t], dtype=float).ravel() for t in terms)]
    )


def add_flat(bars: list[Array], flat: Array, terms: Sequence[int]) -> None:
    """Add a flat array to what it stands for."""
    start = 0
    for t in terms:
        bars[t] += flat[start : start + bars[t].size].reshape(bars[t].shape)
        start += bars[t].size


def eliminate_border(layout: Layout, lambdas: Sequence[Array], A: Array, B: Array) -> Border:
    """Factor the border at λ."""
    from bayesv.gram.border import sandwich  # compiled: loaded when it is needed

    lam = flat_lambdas(lambdas, layout.border_terms)
    right = times_lambda(layout, lambdas, B)
    if (ordering := layout.ordering) is None:
        N = np.empty_like(A)
        sandwich(A, lam, layout.border_table, 1.0, False, N)
        positive = cholesky(N)
    else:
        N = np.zeros_like(A)
        positive = _factor(A, lam, layout.border_columns, ordering, N)
    if not positive:
        nan = np.full_like(B, np.nan)
        return Border(float("nan"), A, B, N, nan, nan)
    NB = solve(N, right) if ordering is None else _solution(N, ordering, right)
    W = times_lambda(layout, [np.transpose(lam_f) for lam_f in lambdas], NB)
    return Border(2.0 * float(np.log(np.diagonal(N)).sum()), A, B, N, NB, W)


def reverse_border(
    layout: Layout,
    lambdas: Sequence[Array],
    border: Border,
    T_bar: Array,
    bars: list[Array],
) -> tuple[Array, Array]:
    """Add the border's λ_bar; return A_bar, in its lower triangle, and B_bar.

    D_bar = −B T_bar B' is never formed.
    """
    from bayesv.gram.border import border_gradient, mirror, sandwich  # compiled

    lam, table = flat_lambdas(lambdas, layout.border_terms), layout.border_table
    if layout.ordering is None:
        N_inv = invert(border.L)
        mirror(N_inv)
    else:
        N_inv = _inverse(border.L, layout.ordering)
    mirror(border.A)
    total = np.zeros_like(lam)
    border_gradient(border.A, N_inv, lam, table, total)
    add_flat(bars, total, layout.border_terms)
    # 2(I − AD) D_bar λN⁻¹ by rows of (B − AW)T_bar and of N⁻¹Λ'B
    left = (border.B - border.A @ border.W) @ T_bar
    for term in layout.border:
        shape = (term.n_levels, term.k, -1)
        bars[term.term] -= 2.0 * np.einsum(
            "jam,jbm->ab", left[term.slice].reshape(shape), border.NB[term.slice].reshape(shape)
        )
    A_bar = np.zeros_like(N_inv)
    sandwich(N_inv, lam, table, 0.0, True, A_bar)  # D
    A_bar += (border.W @ T_bar) @ border.W.T
    return A_bar, -2.0 * border.W @ T_bar


def _factor(A: Array, lam: Array, columns: BorderTable, ordering: Ordering, N: Array) -> bool:
    """Put the factor of I + Λ'AΛ into N, zeros, in an order; return whether there is one."""
    from bayesv.gram.fill import factor, permuted  # compiled

    order, starts, rows = ordering
    permuted(A, lam, columns, order, starts, rows, N)
    if not factor(N, starts, rows):
        return False
    rest = N[len(starts) - 1 :, len(starts) - 1 :]
    dense = rest.copy()
    positive = cholesky(dense)
    rest[:] = dense
    return positive


def _solution(L: Array, ordering: Ordering, b: Array) -> Array:
    """Return (LL')⁻¹b, both in the columns' own order."""
    from bayesv.gram.fill import solve_first, solve_last  # compiled

    order, starts, rows = ordering
    s, x = len(starts) - 1, b[order]
    solve_first(L, starts, rows, x)
    x[s:] = solve(L[s:, s:].copy(), x[s:])
    solve_last(L, starts, rows, x)
    result = np.empty_like(x)
    result[order] = x
    return result


def _inverse(L: Array, ordering: Ordering) -> Array:
    """Return (LL')⁻¹ in the columns' own order, where it is wanted; 0 elsewhere."""
    from bayesv.gram.border import mirror  # compiled
    from bayesv.gram.fill import inverse

    order, starts, rows = ordering
    s, Z = len(starts) - 1, np.zeros_like(L)
    rest = invert(L[s:, s:].copy())
    mirror(rest)
    Z[np.ix_(order[s:], order[s:])] = rest
    inverse(L, order, starts, rows, Z)
    return Z


def times_lambda(layout: Layout, lambdas: Sequence[Array], B: Array) -> Array:
    """Return Λ'B for Λ = blockdiag over levels of the border of λ."""
    product = np.empty_like(B)
    for term in layout.border:
        part = B[term.slice].reshape(term.n_levels, term.k, -1)
        product[term.slice] = (lambdas[term.term].T @ part).reshape(-1, B.shape[1])
    return product
