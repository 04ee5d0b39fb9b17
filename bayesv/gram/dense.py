"""Eliminate the border, one dense block, by LAPACK; its reverse pass.

Where an order of its columns keeps most of the factor empty, only what is not is computed, and sets
of columns that no row joins are eliminated one by one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import lapack, solve_triangular

from bayesv.gram.column_sets import ColumnSets
from bayesv.gram.lapack import cholesky, invert, solve
from bayesv.gram.layout import Layout
from bayesv.gram.ordering import Ordering
from bayesv.gram.scaling import Index
from bayesv.gram.tables import BorderTable
from bayesv.linalg import Array

__all__ = [
    "Border",
    "add_flat",
    "eliminate_border",
    "flat_lambdas",
    "mirror_border",
    "reverse_border",
    "times_lambda",
]


@dataclass(frozen=True, eq=False)
class Border:
    """The eliminated border: A and B as they stood, L of N = LL', N⁻¹Λ'B, W = DB.

    A and L have the lower triangle only; with an ordering L is a flat array. Those of a border in
    sets have the columns of `ColumnSets`.
    """

    logdet: float
    A: Array
    B: Array
    L: Array
    NB: Array
    W: Array
    ordering: Ordering | None = None
    connected: ColumnSets | None = None

    def noise(self, z: Array) -> Array:
        """Return R z for a root R of N⁻¹ = RR' and z, (q,)."""
        if self.connected is not None:
            from bayesv.gram.by_set import times  # compiled: loaded when it is needed

            return np.asarray(times(self.inverse_root(), self.connected, z))
        noise = solve_triangular(self._root, z, trans="T", lower=True, check_finite=False)
        return np.asarray(noise[self._places])

    def inverse_root(self) -> Array:
        """Return R, shape (q, q), or (q, width) by set."""
        if self.connected is not None:
            from bayesv.gram.by_set import invert  # compiled: loaded when it is needed

            return np.asarray(invert(self.L, self.connected))
        return np.asarray(np.triu(lapack.dtrtri(self._root.T, lower=0)[0])[self._places])

    @property
    def _root(self) -> Array:
        """L, shape (q, q), its rows and columns in the ordering if there is one."""
        if self.ordering is None:
            return self.L
        from bayesv.gram.fill import lower  # compiled: loaded when it is needed

        full = np.zeros_like(self.A)
        lower(self.L, self.ordering, full)
        return full

    @property
    def _places(self) -> slice | Index:
        return slice(None) if self.ordering is None else np.argsort(self.ordering.order)


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
    if layout.connected is not None:
        return _in_sets(layout, lambdas, A, B, right)
    if (ordering := layout.ordering) is None:
        N = np.empty_like(A)
        sandwich(A, lam, layout.border_table, 1.0, False, N)
        positive = cholesky(N)
    else:
        N = _empty(ordering)
        positive = _factor(A, lam, layout.border_table, ordering, N)
    if not positive:
        nan = np.full_like(B, np.nan)
        return Border(float("nan"), A, B, N, nan, nan)
    NB = solve(N, right) if ordering is None else _solution(N, ordering, right)
    W = times_lambda(layout, [np.transpose(lam_f) for lam_f in lambdas], NB)
    diagonal = np.diagonal(N) if ordering is None else _diagonal(N, ordering)
    return Border(2.0 * float(np.log(diagonal).sum()), A, B, N, NB, W, ordering)


def _in_sets(layout: Layout, lambdas: Sequence[Array], A: Array, B: Array, right: Array) -> Border:
    """Factor a border set by set, given Λ'B."""
    from bayesv.gram.by_set import factor  # compiled: loaded when it is needed

    lam, sets = flat_lambdas(lambdas, layout.border_terms), layout.connected
    L, NB = np.zeros_like(A), np.ascontiguousarray(right)
    try:
        logdet = factor(A, lam, layout.border_table, sets, L, NB)
    except np.linalg.LinAlgError:
        logdet, NB = np.nan, np.full_like(B, np.nan)
    W = times_lambda(layout, [np.transpose(lam_f) for lam_f in lambdas], NB)
    return Border(float(logdet), A, B, L, NB, W, connected=sets)


def mirror_border(layout: Layout, A: Array) -> None:
    """Copy the lower triangle of a matrix of the border, which has columns, to the upper one."""
    from bayesv.gram.border import mirror  # compiled: loaded when it is needed
    from bayesv.gram.by_set import mirror_sets

    if layout.connected is None:
        mirror(A)
    else:
        mirror_sets(A, layout.connected)


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
    lam, table = flat_lambdas(lambdas, layout.border_terms), layout.border_table
    total, W_bar = np.zeros_like(lam), border.W @ T_bar
    if layout.connected is not None:
        A_bar, AW = _reversed_by_set(border, lam, table, layout.connected, W_bar, total)
    elif layout.ordering is None:
        A_bar, AW = _reversed(border, lam, table, total)
        A_bar += W_bar @ border.W.T
    else:
        A_bar, AW = _reversed_in_order(border, lam, table, layout.ordering, W_bar, total)
    add_flat(bars, total, layout.border_terms)
    # 2(I − AD) D_bar λN⁻¹ by rows of (B − AW)T_bar and of N⁻¹Λ'B
    left = (border.B - AW) @ T_bar
    for term in layout.border:
        shape = (term.n_levels, term.k, -1)
        bars[term.term] -= 2.0 * np.einsum(
            "jam,jbm->ab", left[term.slice].reshape(shape), border.NB[term.slice].reshape(shape)
        )
    return A_bar, -2.0 * W_bar


def _reversed(
    border: Border, lam: Array, levels: BorderTable, lam_bar: Array
) -> tuple[Array, Array]:
    """Add the derivative of log|N| by λ; return D, in its lower triangle, and AW."""
    from bayesv.gram.border import border_gradient, mirror, sandwich  # compiled

    N_inv = invert(border.L)
    mirror(N_inv)
    mirror(border.A)
    border_gradient(border.A, N_inv, lam, levels, lam_bar)
    D = np.zeros_like(N_inv)
    sandwich(N_inv, lam, levels, 0.0, True, D)
    return D, border.A @ border.W


def _reversed_by_set(
    border: Border,
    lam: Array,
    levels: BorderTable,
    sets: ColumnSets,
    W_bar: Array,
    lam_bar: Array,
) -> tuple[Array, Array]:
    """Add the derivative of log|N| by λ; return D + W_bar W' within the sets, and AW."""
    from bayesv.gram.by_set import reverse_sets  # compiled: loaded when it is needed

    A_bar, AW = np.zeros_like(border.A), np.zeros_like(border.W)
    reverse_sets(border.A, border.L, lam, levels, sets, border.W, W_bar, lam_bar, AW, A_bar)
    return A_bar, AW


def _reversed_in_order(
    border: Border,
    lam: Array,
    levels: BorderTable,
    ordering: Ordering,
    W_bar: Array,
    lam_bar: Array,
) -> tuple[Array, Array]:
    """Add the derivative of log|N| by λ; return D + W_bar W' of columns that couple, and AW."""
    from bayesv.gram.fill import inverse, scaled_back  # compiled

    Z = _empty(ordering)
    _block(Z, ordering)[:] = invert(_block(border.L, ordering))
    inverse(border.L, ordering, Z)
    A_bar, AW = np.zeros_like(border.A), np.zeros_like(border.W)
    scaled_back(border.A, Z, lam, levels, ordering, border.W, W_bar, lam_bar, AW, A_bar)
    return A_bar, AW


def _empty(ordering: Ordering) -> Array:
    """Return zeros for what of a square array stands in a flat one."""
    start, size = ordering.block
    return np.zeros(start + size**2)


def _block(flat: Array, ordering: Ordering) -> Array:
    start, size = ordering.block
    return flat[start:].reshape(size, size)


def _diagonal(flat: Array, ordering: Ordering) -> Array:
    first = flat[: len(ordering.starts) - 1]
    return np.concatenate([first, np.diagonal(_block(flat, ordering))])


def _factor(A: Array, lam: Array, levels: BorderTable, ordering: Ordering, N: Array) -> bool:
    """Put the factor of I + Λ'AΛ into N, zeros, in an order; return whether there is one."""
    from bayesv.gram.fill import factor, scaled  # compiled

    scaled(A, lam, levels, ordering, N)
    return factor(N, ordering) and cholesky(_block(N, ordering))


def _solution(L: Array, ordering: Ordering, b: Array) -> Array:
    """Return (LL')⁻¹b, both in the columns' own order."""
    from bayesv.gram.fill import solve_first, solve_last  # compiled

    s, x = len(ordering.starts) - 1, b[ordering.order]
    solve_first(L, ordering, x)
    x[s:] = solve(_block(L, ordering), x[s:])
    solve_last(L, ordering, x)
    result = np.empty_like(x)
    result[ordering.order] = x
    return result


def times_lambda(layout: Layout, lambdas: Sequence[Array], B: Array) -> Array:
    """Return Λ'B for Λ = blockdiag over levels of the border of λ."""
    product = np.empty_like(B)
    for term in layout.border:
        part = B[term.slice].reshape(term.n_levels, term.k, -1)
        product[term.slice] = (lambdas[term.term].T @ part).reshape(-1, B.shape[1])
    return product
