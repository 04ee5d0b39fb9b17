"""N = I + Λ'A_leftΛ of a border as an operator: scaled by its blocks, and lifted where it is flat.

What a chain leaves of the border is A_left = A − Σ_u E_u'D_uE_u, applied and never formed. With
L_sL_s' the blocks of N within sets of columns (levels, or levels that rows join closely),
Ã = L⁻¹NL⁻ᵀ has the identity in its blocks.
Constants C of classes of levels (see `bayesv.gram.flat`) are almost columns of the chain or of each
other, so that Ã is nearly singular along V = L'C. With F = ÃV, ν = V'ÃV and δ = V'V, the lifted
Ã⁺ = Ã − Fν⁻¹F' + Vδ⁻¹V' is the identity there and Schur's complement across: |Ã| = |Ã⁺||ν|/|δ| and
Ã⁻¹ = Vν⁻¹V' + (I − Vν⁻¹F')Ã⁺⁻¹(I − Fν⁻¹V').
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from bayesv.gram.column_sets import ColumnSets
from bayesv.gram.dense import flat_lambdas
from bayesv.gram.layout import Layout
from bayesv.gram.scaling import Index
from bayesv.gram.tables import BorderTable, Sums, Tables
from bayesv.gram.threads import run
from bayesv.linalg import Array, aligned

__all__ = ["Operator", "operator_of"]


@dataclass(frozen=True, eq=False)
class Operator:
    """N at one λ.

    Attributes
    ----------
    layout : Layout
    tables : Tables
        Of the plan by which the chain was eliminated.
    scaled : ndarray, shape (nnz, k)
        P_uE_u of all units: their squares are what A lost.
    values : ndarray, shape (nnz of A,)
    squares, L, L_inv, R : ndarray, shape (q, width)
        Blocks of A_left, Cholesky roots of those of N, their inverses, and ΛL⁻ᵀ.
    lam : ndarray
        λ of the border's terms, flat.
    V, AV, F : ndarray, shape (q, K)
        L'C, A_leftRV and ÃV.
    nu, delta : ndarray, shape (K, K)
    """

    layout: Layout
    tables: Tables
    scaled: Array
    values: Array
    squares: Array
    L: Array
    L_inv: Array
    R: Array
    lam: Array
    V: Array
    AV: Array
    F: Array
    nu: Array
    delta: Array

    def across(self, x: Array) -> Array:
        """Return (I − Fν⁻¹V')x, with nothing along V."""
        return np.asarray(x - self.F @ np.linalg.solve(self.nu, self.V.T @ x))

    def lifted_times(self, x: Array) -> Array:
        """Return Ã⁺x, shape (q, 8)."""
        along = self.V @ np.linalg.solve(self.delta, self.V.T @ x)
        return np.asarray(self.complement(x, self.scaled_times(x)) + along)

    def complement(self, x: Array, scaled: Array) -> Array:
        """Return (Ã − Fν⁻¹F')x given Ãx."""
        return np.asarray(scaled - self.F @ np.linalg.solve(self.nu, self.F.T @ x))

    def solution(self, b: Array, lifted: Array) -> Array:
        """Return Ã⁻¹b given Ã⁺⁻¹ times what `across` makes of b."""
        along = np.linalg.solve(self.nu, self.V.T @ b - self.F.T @ lifted)
        return np.asarray(lifted + self.V @ along)

    @property
    def sets(self) -> ColumnSets:
        """The sets of columns that have blocks."""
        assert self.layout.iteration is not None
        return self.layout.iteration.sets

    @property
    def logdet(self) -> float:
        """What log|N| has beside log|Ã⁺|."""
        of_blocks = float(np.log(self.L[np.arange(len(self.L)), self.sets.own]).sum())
        of_flat = np.linalg.slogdet(self.nu)[1] - np.linalg.slogdet(self.delta)[1]
        return 2.0 * of_blocks + float(of_flat)

    def left(self, w: Array) -> Array:
        """Return A_left w, shape (q, 8)."""
        from bayesv.gram.sparse import times  # compiled: loaded when it is needed

        iteration, product = self.layout.iteration, aligned(w.shape)
        assert iteration is not None
        times(
            self.tables.edges, self.tables.columns, self.scaled, iteration.rows,
            iteration.places, self.values, w, product,
        )  # fmt: skip
        return product

    def left_of(self, w: Array) -> Array:
        """Return A_left w of any number of columns, side by side."""
        return _in_eights(self.left, w)

    def scaled_times(self, x: Array) -> Array:
        """Return Ãx, shape (q, 8)."""
        return self.from_left(x, self.left(self.apply(self.R, x)))

    def from_left(self, x: Array, left: Array) -> Array:
        """Return Ãx given A_leftRx."""
        inner = self.apply(self.L_inv, self.apply(self.L_inv, x, transposed=True))
        return inner + self.apply(self.R, left, transposed=True)

    def apply(self, blocks: Array, x: Array, *, transposed: bool = False) -> Array:
        """Return blockdiag(blocks) x."""
        return _blockwise(self.sets, blocks, x, transposed=transposed)

    def blocks_of_scaling(self, across: Array, along: Array, u: Array, by_delta: Array) -> Array:
        """Return the derivative by the blocks of N in the coordinates of Ã, (q, width).

        ``across`` and ``along`` are (Ã − Fν⁻¹F')u and Vδ⁻¹V'u.
        """
        flat = _flat_column(self.layout)
        if self.L.shape[1] == 1:
            product = np.einsum("qr,qr->q", across - along, u)[:, None]
            return np.asarray(1.0 - product + self.L**2 * np.diagonal(by_delta)[flat][:, None])
        from bayesv.gram.by_set import blocks_of_scaling  # compiled: loaded when it is needed

        blocks = np.zeros_like(self.L)
        blocks_of_scaling(across, along, u, by_delta, flat, self.L, self.sets, blocks)
        return blocks

    def by_blocks(self, blocks: Array) -> tuple[Array, Array]:
        """Return what `blocks_of_scaling` says by each λ, flat, and by A_left, (q, width)."""
        levels, lam_bar = self.layout.border_table, np.zeros_like(self.lam)
        if self.L.shape[1] == 1:
            by_level = (self.squares * self.R * blocks * self.L_inv)[:, 0]
            return np.bincount(levels.places, by_level, len(lam_bar)), self.R**2 * blocks
        from bayesv.gram.by_set import by_blocks  # compiled: loaded when it is needed

        rows = np.zeros_like(self.L)
        by_blocks(self.squares, self.R, blocks, self.L_inv, levels, self.sets, lam_bar, rows)
        return lam_bar, rows


def operator_of(
    layout: Layout, tables: Tables, left: Sums, lam: Array, lambdas: Sequence[Array]
) -> Operator | None:
    """Return N after the chain took its share.

    Parameters
    ----------
    layout : Layout
    tables : Tables
    left : Sums
        As units stood when they were eliminated.
    lam : ndarray
        λ of the chain, flat.
    lambdas : sequence of ndarray, shape (k, k)
        Of all terms.

    Returns
    -------
    Operator or None
        None if rounding leaves no N > 0.
    """
    from bayesv.gram.sparse import scale_edges, take_squares  # compiled

    iteration = layout.iteration
    assert iteration is not None
    scaled, sets = np.empty_like(left.E), iteration.sets
    scale_edges(tables, left.A, lam, left.E, scaled)
    squares = iteration.within(sets, left.A_border)
    take_squares(tables.columns, layout.mates, scaled, sets.own, squares)
    of_border = flat_lambdas(lambdas, layout.border_terms)
    roots = _roots(squares, of_border, layout.border_table, sets)
    if roots is None:
        return None
    V = _blockwise(sets, roots[0], _flat(layout), transposed=True)
    none = np.zeros((0, 0))
    parts = (layout, tables, scaled, left.A_border, squares, *roots, of_border, V)
    bare = Operator(*parts, none, none, none, none)
    AV = bare.left_of(bare.apply(bare.R, V))
    F = bare.from_left(V, AV)
    nu = V.T @ F
    return Operator(*parts, AV, F, 0.5 * (nu + nu.T), V.T @ V)


def _roots(
    squares: Array, lam: Array, levels: BorderTable, sets: ColumnSets
) -> tuple[Array, Array, Array] | None:
    """Return roots L of I + Λ'AΛ within the sets, L⁻¹ and ΛL⁻ᵀ; None if one is not positive."""
    if squares.shape[1] == 1:
        by_column = lam[levels.places][:, None]
        N = 1.0 + by_column**2 * squares
        if not (np.isfinite(N) & (N > 0.0)).all():
            return None
        L = np.sqrt(N)
        return L, 1.0 / L, by_column / L
    from bayesv.gram.by_set import scale  # compiled: loaded when it is needed

    L, L_inv, R = (np.zeros_like(squares) for _ in range(3))
    return (L, L_inv, R) if scale(squares, lam, levels, sets, L, L_inv, R) else None


def _in_eights(function: Callable[[Array], Array], w: Array) -> Array:
    """Return function(w), (q, R), of a function of eight columns."""
    n = w.shape[1]
    starts = range(0, n, 8)

    def part(start: int) -> Array:
        columns = np.zeros((len(w), 8))
        some = w[:, start : start + 8]
        columns[:, : some.shape[1]] = some
        return function(columns)[:, : some.shape[1]]

    return np.concatenate([np.zeros((len(w), 0)), *run(part, list(starts))], axis=1)


def _blockwise(sets: ColumnSets, blocks: Array, x: Array, *, transposed: bool = False) -> Array:
    """Return blockdiag(blocks) x for blocks (q, width) of sets of columns; x (q, R)."""
    product = aligned(x.shape)
    if blocks.shape[1] == 1:
        return np.multiply(blocks, x, out=product)
    from bayesv.gram.by_set import multiply  # compiled: loaded when it is needed

    multiply(blocks, sets, np.ascontiguousarray(x), transposed, product)
    return product


def _flat(layout: Layout) -> Array:
    """Return C, shape (q, K)."""
    columns = _flat_column(layout)
    C = np.zeros((layout.border_size, int(columns.max()) + 1))
    C[np.arange(len(C)), columns] = 1.0
    return C


def _flat_column(layout: Layout) -> Index:
    """Return the column of C in which each column of the border has its 1."""
    assert layout.iteration is not None
    return np.concatenate([part.ravel() for part in layout.iteration.flat])
