"""N = I + Λ'A_leftΛ of a border as an operator: scaled by its blocks, and lifted where it is flat.

What a chain leaves of the border is A_left = A − Σ_u E_u'D_uE_u, applied and never formed. With
L_jL_j' the blocks of N at the levels of the border, Ã = L⁻¹NL⁻ᵀ has the identity in its blocks.
Constants C of classes of levels (see `bayesv.gram.flat`) are almost columns of the chain or of each
other, so that Ã is nearly singular along V = L'C. With F = ÃV, ν = V'ÃV and δ = V'V, the lifted
Ã⁺ = Ã − Fν⁻¹F' + Vδ⁻¹V' is the identity there and Schur's complement across: |Ã| = |Ã⁺||ν|/|δ| and
Ã⁻¹ = Vν⁻¹V' + (I − Vν⁻¹F')Ã⁺⁻¹(I − Fν⁻¹V').
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from bayesv.gram.layout import Layout
from bayesv.gram.tables import Sums, Tables
from bayesv.gram.threads import run
from bayesv.linalg import Array, aligned

__all__ = ["Operator", "operator_of"]

Blocks = Sequence[Array]  # (J, k, k) of every term of the border


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
    squares, L, L_inv, R : sequence of ndarray, shape (J, k, k)
        Blocks of A_left, Cholesky roots of those of N, their inverses, and λL⁻ᵀ.
    V, AV, F : ndarray, shape (q, K)
        L'C, A_leftRV and ÃV.
    nu, delta : ndarray, shape (K, K)
    """

    layout: Layout
    tables: Tables
    scaled: Array
    values: Array
    squares: Blocks
    L: Blocks
    L_inv: Blocks
    R: Blocks
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
    def logdet(self) -> float:
        """What log|N| has beside log|Ã⁺|."""
        of_blocks = sum(float(np.log(np.diagonal(L, axis1=1, axis2=2)).sum()) for L in self.L)
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

    def apply(self, blocks: Blocks, x: Array, *, transposed: bool = False) -> Array:
        """Return blockdiag(blocks) x."""
        return _blockwise(self.layout, blocks, x, transposed=transposed)


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
    scaled = np.empty_like(left.E)
    scale_edges(tables, left.A, lam, left.E, scaled)
    rows = iteration.diagonal_blocks(left.A_border)
    take_squares(tables.columns, scaled, iteration.starts, iteration.widths, rows)
    squares, L = [], []
    for term in layout.border:
        block = rows[term.slice, : term.k].reshape(term.n_levels, term.k, term.k)
        lambda_t = lambdas[term.term]
        squares.append(block)
        N = np.eye(term.k) + lambda_t.T @ block @ lambda_t
        try:
            L.append(np.linalg.cholesky(N))
        except np.linalg.LinAlgError:
            return None
    if not all(np.isfinite(part).all() for part in L):
        return None
    L_inv = [np.linalg.inv(part) for part in L]
    R = [
        lambdas[term.term] @ np.swapaxes(inverse, 1, 2)
        for term, inverse in zip(layout.border, L_inv, strict=True)
    ]
    V = _blockwise(layout, L, _flat(layout), transposed=True)
    none = np.zeros((0, 0))
    bare = Operator(
        layout, tables, scaled, left.A_border, squares, L, L_inv, R, V, none, none, none, none
    )
    AV = bare.left_of(bare.apply(R, V))
    F = bare.from_left(V, AV)
    nu = V.T @ F
    return Operator(
        layout, tables, scaled, left.A_border, squares, L, L_inv, R, V, AV, F,
        0.5 * (nu + nu.T), V.T @ V,
    )  # fmt: skip


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


def _blockwise(layout: Layout, blocks: Blocks, x: Array, *, transposed: bool = False) -> Array:
    """Return blockdiag(blocks) x for blocks (J, k, k) of every term of the border; x (q, R)."""
    product = aligned(x.shape)
    for term, block in zip(layout.border, blocks, strict=True):
        if term.k == 1:
            np.multiply(block[:, 0], x[term.slice], out=product[term.slice])
            continue
        block = np.swapaxes(block, 1, 2) if transposed else block
        part = x[term.slice].reshape(term.n_levels, term.k, -1)
        product[term.slice] = (block @ part).reshape(-1, x.shape[1])
    return product


def _flat(layout: Layout) -> Array:
    """Return C, shape (q, K)."""
    assert layout.iteration is not None
    columns = np.concatenate([part.ravel() for part in layout.iteration.flat])
    C = np.zeros((layout.border_size, int(columns.max()) + 1))
    C[np.arange(len(C)), columns] = 1.0
    return C
