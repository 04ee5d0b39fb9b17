"""Eliminate the random effects: λ → log|M| and T = [X y]'V_r⁻¹[X y], with exact reverse pass.

One step eliminates a unit in the coordinates of the data (not of the scaled effects): with
N = I + λ'Aλ and D = λN⁻¹λ', everything coupled to the unit by H loses H'DH. λ may be singular. The
chain is eliminated finest factor first, then the border as one dense block; what is left is T.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from bayesv.gram.chain import Plan
from bayesv.gram.dense import (
    Border,
    add_flat,
    eliminate_border,
    flat_lambdas,
    mirror_border,
    reverse_border,
)
from bayesv.gram.iterative import (
    Factors,
    IterativeBorder,
    eliminate_iteratively,
    no_factors,
    reverse_iteratively,
)
from bayesv.gram.layout import Iteration, Layout
from bayesv.gram.statistics import GramStatistics
from bayesv.gram.tables import ChainProblem, Rule, Sums
from bayesv.gram.threads import one_blas_thread, run
from bayesv.linalg import Array, symmetrize

__all__ = [
    "Adjoint",
    "Eliminated",
    "Elimination",
    "chain_problem",
    "eliminate",
    "eliminate_chain",
    "eliminate_units",
    "mirrored",
    "profile_chain",
    "reverse_units",
]


@dataclass(frozen=True, eq=False)
class Eliminated:
    """All units as they stood when they were eliminated: what a reverse pass or a draw needs.

    Attributes
    ----------
    lam : ndarray
        λ of the chain's factors, flat.
    left : Sums
        A, H and E after the units below took their share; the border after the chain took its.
    border : Border, IterativeBorder or None
    logdet : float
    T : ndarray, shape (p + 1, p + 1)
    """

    lam: Array
    left: Sums
    border: Border | IterativeBorder | None
    logdet: float
    T: Array


class Adjoint(NamedTuple):
    """Derivatives of log|M| + f(T): by each λ, and by each element of the sums, all free.

    Of ``A``, ``A_border`` and ``C``, whose elements stand twice, each counts half: with symmetric
    changes of them, `inner` of ``sums`` and the changes is the derivative.
    """

    lambdas: list[Array]
    sums: Sums


@dataclass(frozen=True, eq=False)
class Elimination:
    """Result of eliminating all random effects at given λ.

    Attributes
    ----------
    logdet : float
        log|M| = log|V_r| + Σ log w; NaN where λ is so large that rounding leaves no N > 0.
    T : ndarray, shape (p + 1, p + 1)
        [X y]'V_r⁻¹[X y] with V_r = V/σ².
    """

    logdet: float
    T: Array
    _layout: Layout
    _lambdas: Sequence[Array]
    _done: Eliminated

    @property
    def logdet_se(self) -> float:
        """Standard error of log|M|: 0 unless it is a mean over probes."""
        border = self._done.border
        return border.logdet_se if isinstance(border, IterativeBorder) else 0.0

    @property
    def logs(self) -> Array:
        """What each probe says of log|M|, up to a constant; none if it is exact."""
        border = self._done.border
        return border.logs if isinstance(border, IterativeBorder) else np.zeros(0)

    @property
    def residual(self) -> float:
        """Largest relative residual of solutions by iteration: 0 if there are none."""
        border = self._done.border
        return border.residual if isinstance(border, IterativeBorder) else 0.0

    def gradient(self, T_bar: Array) -> list[Array]:
        """Return the derivative of log|M| + f(T) by each λ.

        Parameters
        ----------
        T_bar : ndarray, shape (p + 1, p + 1)
            ∂f/∂T, symmetric.
        """
        return reverse_units(self._layout, self._layout.plan, self._lambdas, self._done, T_bar)[0]

    def adjoint(self, T_bar: Array) -> Adjoint:
        """Return the derivative by each λ and by the sums that were eliminated.

        Parameters
        ----------
        T_bar : ndarray, shape (p + 1, p + 1)
            ∂f/∂T, symmetric.

        Notes
        -----
        Where T and log|M| depend on coefficients c through Σ_k c_k Sums_k, the derivative by c_k is
        `inner` of the derivative by the sums and Sums_k.
        """
        bars, sums = reverse_units(
            self._layout, self._layout.plan, self._lambdas, self._done, T_bar, of_sums=True
        )
        if self._layout.iteration is None:
            mirror_border(self._layout, sums.A_border)
        return Adjoint(bars, sums._replace(C=T_bar))


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
    done = eliminate_units(stats.layout, stats.layout.plan, stats.merged, lambdas)
    return Elimination(done.logdet, done.T, stats.layout, lambdas, done)


def eliminate_units(
    layout: Layout,
    plan: Plan,
    sums: Sums,
    lambdas: Sequence[Array],
    *,
    gradient: bool = True,
) -> Eliminated:
    """Eliminate all random effects, in the units of ``plan``, and keep how they stood.

    Without ``gradient`` an iterative elimination keeps nothing for a reverse pass.
    """
    done = eliminate_chain(layout, plan, sums, lambdas)
    if not layout.border:
        return done
    border: Border | IterativeBorder
    left = done.left
    with one_blas_thread():
        if layout.iteration is None:
            border = eliminate_border(layout, lambdas, left.A_border, left.B_border)
        else:
            border = eliminate_iteratively(
                layout, plan.tables, left, done.lam, lambdas, gradient=gradient
            )
    T = symmetrize(done.T - border.B.T @ border.W)
    return replace(done, border=border, logdet=done.logdet + border.logdet, T=T)


def eliminate_chain(layout: Layout, plan: Plan, sums: Sums, lambdas: Sequence[Array]) -> Eliminated:
    """Eliminate the units of the chain alone; the border is left as they leave it."""
    from bayesv.gram.kernels import forward  # compiled: loaded when it is needed

    m, tables = layout.p + 1, plan.tables
    lam = flat_lambdas(lambdas, layout.chain_terms)
    left = _workspace(layout, sums)
    sums_given, sums_left = _compiled(sums), _compiled(left)
    crossed = True if len(left.B_border) else None

    def chunk(span: tuple[int, int]) -> tuple[float, Array]:
        front = np.zeros((plan.width, plan.width))
        logdet = forward(tables, sums_given, sums_left, *span, lam, front, crossed)
        return logdet, front[-m:, -m:]

    # Units that share a border write to the same place: one task.
    parts = run(chunk, [(0, plan.n_events)] if layout.border else plan.spans)
    logdet = float(sum(part[0] for part in parts))
    lost = parts[0][1] if len(parts) == 1 else np.sum([part[1] for part in parts], axis=0)
    return Eliminated(lam, left, None, logdet, symmetrize(sums.C + mirrored(lost)))


def chain_problem(stats: GramStatistics, rule: Rule) -> ChainProblem | None:
    """Return what profiles a criterion in one compiled pass.

    None with a border, and where units are so many that threads share them.
    """
    layout, plan = stats.layout, stats.layout.plan
    if layout.border or not layout.chain or len(plan.spans) > 1:
        return None
    left = _workspace(layout, stats.merged)
    return ChainProblem(plan.tables, stats.merged, left, no_factors(), plan.width, rule)


def profile_chain(
    problem: ChainProblem, layout: Layout, lambdas: Sequence[Array]
) -> tuple[float, list[Array], Array]:
    """Return the profiled criterion, its derivative by each λ, and T.

    The criterion is −∞ if only rounding is left to the residual, ∞ if T is not positive definite.
    """
    from bayesv.gram import profiled  # compiled: loaded when it is needed

    terms = layout.chain_terms
    value, flat, T = profiled.profile_chain(problem, flat_lambdas(lambdas, terms))
    bars = [np.zeros_like(lam) for lam in lambdas]
    add_flat(bars, flat, terms)
    return value, bars, T


def _workspace(layout: Layout, sums: Sums) -> Sums:
    """Return the sums with copies of all that an elimination writes to."""
    A, H, E, A_border, B_border, C = sums
    if len(layout.chain) > 1:
        A, H = A.copy(), H.copy()
        E = E.copy() if layout.border else E
    if layout.border:
        A_border = A_border.copy() if layout.iteration is None else A_border
        B_border = B_border.copy()
    return Sums(A, H, E, A_border, B_border, C)


def _compiled(sums: Sums) -> Sums:
    """Return the sums as compiled loops take them: with A of a border only if it is dense."""
    return sums if sums.A_border.ndim == 2 else sums._replace(A_border=np.zeros((0, 0)))


def reverse_units(
    layout: Layout,
    plan: Plan,
    lambdas: Sequence[Array],
    done: Eliminated,
    T_bar: Array,
    *,
    of_sums: bool = False,
) -> tuple[list[Array], Sums]:
    """Return derivatives by λ, and by all sums but C if they are wanted."""
    from bayesv.gram.kernels import reverse  # compiled: loaded when it is needed

    m = layout.p + 1
    bars = [np.zeros_like(lam_f) for lam_f in lambdas]
    left, factors = _compiled(done.left), no_factors()
    bar = left  # A and H are not written to
    if of_sums:
        bar = bar._replace(A=np.zeros_like(bar.A), H=np.zeros_like(bar.H))
    if done.border is not None:
        A_bar = bar.A_border
        with one_blas_thread():
            if isinstance(done.border, IterativeBorder):
                factors, B_bar = reverse_iteratively(layout, lambdas, done.border, T_bar, bars)
            else:
                A_bar, B_bar = reverse_border(layout, lambdas, done.border, T_bar, bars)
        bar = bar._replace(E=np.zeros_like(left.E), A_border=A_bar, B_border=B_bar)
    crossed = True if len(bar.B_border) else None

    def chunk(span: tuple[int, int]) -> Array:
        front = np.zeros((plan.width, plan.width))
        front[-m:, -m:] = T_bar
        lam_bar = np.zeros_like(done.lam)
        own = done.lam, front, lam_bar
        reverse(plan.tables, left, bar, *span, *own, factors, of_sums, crossed)
        return lam_bar

    parts = run(chunk, plan.spans)
    total = parts[0] if len(parts) == 1 else np.sum(parts, axis=0)
    add_flat(bars, total, layout.chain_terms)
    if of_sums and layout.iteration is not None:
        bar = bar._replace(A_border=_by_products(layout.iteration, factors))
    return bars, bar


def _by_products(iteration: Iteration, factors: Factors) -> Array:
    """Return the derivative by the products of a sparse border."""
    from bayesv.gram.sparse import by_pattern  # compiled: loaded when it is needed

    values = np.empty(len(iteration.places))
    by_pattern(
        iteration.rows, iteration.places, factors.F.reshape(len(factors.own), -1),
        factors.signs, iteration.sets.of_column, factors.own, factors.blocks, values,
    )  # fmt: skip
    return values


def mirrored(upper: Array) -> Array:
    """Return (..., m, m) with the upper triangle in the lower one, which is 0."""
    both = upper + upper.swapaxes(-1, -2)
    np.einsum("...ii->...i", both)[...] *= 0.5
    return np.asarray(both)
