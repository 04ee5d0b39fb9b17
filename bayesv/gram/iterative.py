"""Eliminate the border by Krylov spaces; the reverse pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from bayesv.gram.dense import add_flat
from bayesv.gram.krylov import Krylov, krylov
from bayesv.gram.layout import Layout
from bayesv.gram.operator import Operator, operator_of
from bayesv.gram.scaling import Index
from bayesv.gram.tables import Sums, Tables
from bayesv.gram.threads import n_threads, run
from bayesv.linalg import Array, aligned
from bayesv.support.memory import refuse_unless

__all__ = [
    "Factors",
    "IterativeBorder",
    "eliminate_iteratively",
    "no_factors",
    "reverse_iteratively",
]

# Relative residuals of [X y] and of probes. Values have the square of them as error, derivatives
# have them.
_SOLVED, _PROBED, _VALUES = 1e-10, 1e-8, 1e-6
_MOST_STEPS = 400
_STEPS, _RANK = 40, 6  # of a Krylov space, and of a derivative by a probe, for which there is room


class Factors(NamedTuple):
    """Derivatives by a border for the compiled reverse pass: by A, F diag(signs) F' + blockdiag.

    Attributes
    ----------
    F : ndarray, shape (q * n, 8)
        n rows, an even number, for each column of the border: the R numbers of F, half the
        derivative by B, and zeros.
    signs : ndarray, shape (R,)
    own : ndarray of int, shape (q,)
        Place of each column of the border in its set, see `ColumnSets`.
    mates : ndarray of int, shape (nnz,) or (0,)
        Of the columns that units meet, see `Layout.mates`.
    blocks : ndarray, shape (q, width)
        Rows of the blocks of the sets.
    """

    F: Array
    signs: Array
    own: Index
    mates: Index
    blocks: Array


def no_factors() -> Factors:
    """Return factors of nothing: the matrix is dense and stands elsewhere."""
    none = np.zeros(0, dtype=np.intp)
    return Factors(np.zeros((0, 0)), np.zeros(0), none, none, np.zeros((0, 0)))


@dataclass(frozen=True, eq=False)
class IterativeBorder:
    """The eliminated border.

    Attributes
    ----------
    logdet : float
        log|N|, with log|Ã⁺| the mean of z'log(Ã⁺)z over the probes.
    logs : ndarray, shape (probes,)
        Of each of them.
    B, W : ndarray, shape (q, p + 1)
        As they stood, and DB with D = ΛN⁻¹Λ'.
    operator : Operator or None
        None where rounding leaves no N > 0.
    x : ndarray, shape (q, p + 1)
        Ã⁻¹R'B.
    u : ndarray, shape (q, r)
        uu' is the derivative of log|Ã⁺| by Ã⁺; no columns if it was not wanted.
    residual : float
        Largest relative residual of all solutions.
    n_steps : int
    """

    logdet: float
    logs: Array
    B: Array
    W: Array
    operator: Operator | None
    x: Array
    u: Array
    residual: float
    n_steps: int

    @property
    def logdet_se(self) -> float:
        """Standard error of log|N|."""
        return float(self.logs.std(ddof=1) / np.sqrt(len(self.logs)))


def eliminate_iteratively(
    layout: Layout,
    tables: Tables,
    left: Sums,
    lam: Array,
    lambdas: Sequence[Array],
    *,
    gradient: bool,
) -> IterativeBorder:
    """Eliminate the border at λ.

    Parameters
    ----------
    layout, tables, left, lam, lambdas
        As for `operator_of`.
    gradient : bool
        Whether derivatives will be wanted.
    """
    B, (q, m) = left.B_border, left.B_border.shape
    N = operator_of(layout, tables, left, lam, lambdas)
    if N is None:
        nan, none = np.full_like(B, np.nan), np.zeros((q, 0))
        return IterativeBorder(np.nan, np.zeros(0), B, nan, None, nan, none, np.nan, 0)
    assert layout.iteration is not None
    probes = layout.iteration.probes
    n = probes.number(m)
    refuse_unless(
        8.0 * q * (m + n * _RANK + 8.0 * _STEPS * n_threads()),
        f"The iteration over {q:,} columns with {n} probes",
        "A larger tolerance= takes fewer probes, of which there are "
        f"{probes.least(m)} at least; fewer threads, or merged levels, take less, too.",
    )
    right = N.apply(N.R, B, transposed=True)
    sides = N.across(right)

    def block(start: int) -> tuple[Array, Array, Array, float, int]:
        some = sides[:, start : start + 8]
        n_sides = some.shape[1]
        places = range(max(start - m, 0), start + 8 - m)
        columns = np.ascontiguousarray(np.hstack([some, probes.draw(q, places)]))
        tolerance = np.where(np.arange(8) < n_sides, _SOLVED, _PROBED if gradient else _VALUES)
        space = krylov(N.lifted_times, columns, tolerance, _MOST_STEPS)
        x = space.apply(np.reciprocal)[:, :n_sides] if n_sides else some
        u = _derivative(space, n_sides) if gradient else np.zeros((q, 0))
        return x, space.logarithms[n_sides:], u, space.residual, len(space.alpha)

    parts = run(block, range(0, m + n, 8), bytes_each=64.0 * q * _STEPS)
    logs = np.concatenate([part[1] for part in parts])
    x = N.solution(right, np.hstack([part[0] for part in parts]))
    return IterativeBorder(
        logdet=N.logdet + float(logs.mean()),
        logs=logs,
        B=B,
        W=N.apply(N.R, x),
        operator=N,
        x=x,
        u=np.hstack([part[2] for part in parts]) / np.sqrt(n),
        residual=max(part[3] for part in parts),
        n_steps=max(part[4] for part in parts),
    )


def _derivative(space: Krylov, n_sides: int) -> Array:
    """Return the derivative over the probes of a block."""
    if n_sides == 8:
        return np.zeros((space.basis.shape[1], 0))
    return space.derivative(slice(n_sides, None))


def reverse_iteratively(
    layout: Layout,
    lambdas: Sequence[Array],
    border: IterativeBorder,
    T_bar: Array,
    bars: list[Array],
) -> tuple[Factors, Array]:
    """Add the border's λ_bar; return A_bar and B_bar.

    Notes
    -----
    The estimate of log|N| is differentiated as it is computed, probes fixed, so that a search sees
    one function. Through N alone the derivative is L⁻ᵀyy'L⁻¹ with y = u − Vν⁻¹F'u, and Vν⁻¹V' in
    place of yy' for log|ν|; the scaling by L adds blocks: with Ψ the symmetric matrix of the upper
    triangles of (Ã − Fν⁻¹F')uu' − uu'Vδ⁻¹V', those are
    −2Ψ in the coordinates of Ã (Murray 2016, https://arxiv.org/abs/1602.07527).
    """
    N, u, x, iteration = border.operator, border.u, border.x, layout.iteration
    assert N is not None
    assert iteration is not None
    nu_inv, delta_inv = np.linalg.inv(N.nu), np.linalg.inv(N.delta)
    along = delta_inv @ (N.V.T @ u)
    left = N.left_of(N.apply(N.R, np.hstack([u, x])))
    left_u, left_x = left[:, : u.shape[1]], left[:, u.shape[1] :]
    by_complement = N.complement(u, N.from_left(u, left_u))
    moved = nu_inv @ (N.F.T @ u)
    y, left_y = u - N.V @ moved, left_u - N.AV @ moved
    by_delta = -delta_inv - along @ along.T
    blocks = N.blocks_of_scaling(by_complement, N.V @ along, u, by_delta)
    rest = (border.B - left_x) @ T_bar
    down_y, down_x = (N.apply(N.L_inv, part, transposed=True) for part in (y, x))
    flat = N.AV @ nu_inv
    for term, columns in zip(layout.border, iteration.flat, strict=True):
        shape = (term.n_levels, term.k, -1)
        pairs = ((left_y, down_y), (-rest, down_x))
        total = sum(
            np.einsum("jar,jbr->ab", a[term.slice].reshape(shape), b[term.slice].reshape(shape))
            for a, b in pairs
        )
        own = np.arange(term.slice.start, term.slice.stop).reshape(columns.shape)
        total += flat[own[:, :, None], columns[:, None, :]].sum(axis=0)
        bars[term.term] += 2.0 * total
    lam_bar, rows = N.by_blocks(blocks)
    add_flat(bars, 2.0 * lam_bar, layout.border_terms)
    parts = [(y, np.eye(0)), (N.V, nu_inv), (x, T_bar)]
    factors, signs = zip(*(_signed(columns, middle) for columns, middle in parts), strict=True)
    B_bar = -2.0 * border.W @ T_bar
    F = _in_eights(N.apply(N.R, np.hstack(factors)), 0.5 * B_bar)
    own = iteration.sets.own
    return Factors(F, np.concatenate(signs), own, layout.mates, rows), B_bar


def _in_eights(*parts: Array) -> Array:
    """Return the columns of all parts, (q, …), in pairs of rows of eight, zeros after the last."""
    q, size = len(parts[0]), sum(part.shape[1] for part in parts)
    columns = aligned((q, size + -size % 16))
    np.concatenate(parts, axis=1, out=columns[:, :size])
    columns[:, size:] = 0.0
    return columns.reshape(-1, 8)


def _signed(columns: Array, middle: Array) -> tuple[Array, Array]:
    """Return G and signs with G diag(signs) G' = columns middle columns'; no middle is I."""
    if not len(middle):
        return columns, np.ones(columns.shape[1])
    values, vectors = np.linalg.eigh(0.5 * (middle + middle.T))
    return columns @ (vectors * np.sqrt(np.abs(values))), np.where(values < 0, -1.0, 1.0)
