"""The profiled REML or ML criterion and its gradient, on Gram statistics."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from functools import cached_property
from itertools import pairwise

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayesv.covariance import VarianceComponents
from bayesv.design.design import Design
from bayesv.errors import DataError
from bayesv.gram import (
    ChainProblem,
    Elimination,
    GramStatistics,
    Probes,
    Rule,
    chain_problem,
    eliminate,
    eliminate_many,
    profile_chain,
)
from bayesv.linalg import Array, Mask, symmetrize
from bayesv.reml.elements import ElementTable, joined
from bayesv.reml.maps import Elements, TermMap, map_of

__all__ = ["Criterion", "solve_fixed"]

Index = NDArray[np.intp]

# Of y'Wy less the fixed effects, and squared of y'Wy itself: a rest that is rounding.
_EXACT = 8 * float(np.finfo(float).eps)


class Criterion:
    """The profiled criterion as a function of coordinates of all λ_f, see `bayesv.reml.maps`."""

    def __init__(self, design: Design, stats: GramStatistics, method: str) -> None:
        self.design, self.stats = design, stats
        self.df = design.n - (design.p if method == "REML" else 0)
        self.method = method
        self.sigma_is_known = design.sigma_is_known  # it is 1 then
        if self.df <= 0:
            raise DataError(
                f"{design.n} rows cannot estimate a variance beside {design.p} fixed effects. "
                "Leave some out; a column of text or categories has one for each further level."
            )
        self.maps = [
            map_of(term, basis, scale, design.n)
            for term, basis, scale in zip(
                design.terms, stats.bases, stats.layout.scales, strict=True
            )
        ]
        stops = np.cumsum([0, *(one.size for one in self.maps)]).tolist()
        self.parts = [slice(*ends) for ends in pairwise(stops)]
        self.n_lambdas: int = stops[-1]  # coordinates of λ, which come first
        self.n_evaluations = 0

    @property
    def size(self) -> int:
        """Number of coordinates."""
        return self.n_lambdas

    def statistics(self, x: Array) -> GramStatistics:
        """Return the statistics at x."""
        return self.stats

    def components(
        self, x: Array, blocks: Mapping[str, pd.DataFrame], sigma2: float
    ) -> VarianceComponents:
        """Return the components at x, of Σ_f and σ²."""
        return VarianceComponents(blocks, sigma2)

    def degenerate(self, x: Array) -> list[str]:
        """Return problems of what is next to 0 beside what is estimated with it."""
        return []

    def near_degenerate(self) -> list[tuple[str, Array]]:
        """Return what may be next to 0 at a lower minimum, and a point to start there from."""
        return []

    @property
    def cost(self) -> float:
        """About how many operations one value takes."""
        return self.stats.layout.cost

    @property
    def elements(self) -> tuple[Index, Index, Mask]:
        """Rows and columns of λ of the coordinates, counted over all terms; which are of elements.

        Coordinates of families with parameters have numbers of their own, below 0.
        """
        rows, columns, free, start = list[Index](), list[Index](), list[Mask](), 0
        for one, term in zip(self.maps, self.design.terms, strict=True):
            is_free = isinstance(one, Elements)
            none = -1 - np.arange(one.size) - sum(map(len, rows))
            rows.append(start + one.rows if isinstance(one, Elements) else none)
            columns.append(start + one.columns if isinstance(one, Elements) else none)
            free.append(np.full(one.size, is_free))
            start += term.n_columns
        # Other coordinates than those of λ are each alone in a row and column, too.
        others = -1 - np.arange(self.n_lambdas, self.size)
        not_free = np.zeros(len(others), dtype=bool)
        return (
            np.concatenate([*rows, others]),
            np.concatenate([*columns, others]),
            np.concatenate([*free, not_free]),
        )

    def lambdas(self, x: Array) -> list[Array]:
        """Return λ_f of every term at x, in the basis of the statistics."""
        return [lam[0] for lam in self._lambdas(x[None])]

    def _lambdas(self, x: Array) -> list[Array]:
        """Return λ_f of every term, shape (S, k, k), at S points x, shape (S, d)."""
        return [one.lambdas(part) for one, part in self._each(x)]

    def _each(self, x: Array) -> Iterator[tuple[TermMap, Array]]:
        """Yield the map and the coordinates, (..., d), of each term."""
        return zip(self.maps, [x[..., part] for part in self.parts], strict=True)

    def start(self, scale: float, decay: float = 0.0) -> Array:
        """Return SDs of one size relative to σ, with correlations that decay with the lag."""
        return np.concatenate([np.zeros(0), *(one.start(scale, decay) for one in self.maps)])

    def roots(self, x: Array) -> list[Array]:
        """Return λ_f of every term by the user's columns."""
        return [one.root(part) for one, part in self._each(x)]

    def _constant(self, stats: GramStatistics) -> float:
        """Return what is left of the criterion beside log|M|, log|S| and (n − p) log r²."""
        value = self.df * (np.log(2 * np.pi / self.df) + 1) - stats.log_weights
        if self.sigma_is_known:
            value = self.df * np.log(2 * np.pi) - stats.log_weights
        if self.method == "REML":
            value += stats.fixed.logdet
        return float(value)

    def criterion_at(self, lambdas: Sequence[Array], sigma2: float) -> float:
        """−2 log likelihood at given λ and σ²."""
        done = eliminate(self.stats, lambdas)
        _, r2, logdet_S, _ = solve_fixed(done)
        value = done.logdet - self.stats.log_weights + self.df * np.log(2 * np.pi * sigma2)
        if self.method == "REML":
            value += logdet_S + self.stats.fixed.logdet
        return float(value + r2 / sigma2)

    def with_probes(self, probes: Probes) -> Criterion:
        """Return the criterion with other probes."""
        new = copy(self)
        new.stats = self.stats.with_probes(probes)
        return new

    def profiled_sigma2(self, done: Elimination) -> float:
        """Return the σ² that belongs to an elimination."""
        return 1.0 if self.sigma_is_known else solve_fixed(done)[1] / self.df

    def eliminated(self, x: Array) -> Elimination:
        """Return what eliminating the random effects leaves."""
        return eliminate(self.statistics(x), self.lambdas(x))

    def curvature(self, x: Array) -> Array:
        """Return about the second derivatives by x: J times Fisher's information of a level."""
        return np.concatenate([np.zeros(0), *(o.curvature(part) for o, part in self._each(x))])

    def reproduced(self) -> DataError:
        """Return the error of a response that leaves no residual variance to speak of."""
        return DataError(
            f"The model reproduces the response {self.design.response!r} exactly, or so nearly "
            "that double precision cannot tell: σ² is next to 0 beside the variances of the random "
            "effects, and fewer than 3 digits of the estimates would be right. Is the response a "
            "function of the columns, or the same in all rows of a level? Then fit one row a "
            "level. Are there about as many random effects as rows? Then leave some out."
        )

    def row_sizes(self, x: Array) -> Array:
        """Return the relative SD that each coordinate is of, the size of its row of λ; or 1."""
        others = np.ones(len(x) - self.n_lambdas)
        return np.concatenate([*(one.sizes(part) for one, part in self._each(x)), others])

    def same_sign(self, x: Array) -> Array:
        """Return the same λλ' by coordinates of one sign."""
        parts = [one.same_sign(part) for one, part in self._each(x)]
        return np.concatenate([*parts, x[self.n_lambdas :]])

    def ends(self, x: Array) -> dict[int, float]:
        """Return coordinates next to a boundary, and where on it: 0, or the end of a range."""
        ends: dict[int, float] = {}
        start = 0
        for one, part in self._each(x):
            ends |= {start + i: end for i, end in one.ends(part).items()}
            start += one.size
        return ends

    def value_and_gradient(self, x: Array) -> tuple[float, Array]:
        """Profiled criterion and its gradient, in unit coordinates."""
        value, bars = self._by_each_lambda(x)
        return value, self._by_lambdas(x, bars)

    def _by_each_lambda(self, x: Array) -> tuple[float, list[Array]]:
        """Return the profiled criterion and its derivative by each λ_f."""
        if (chain := self.chain) is None:
            value, done, T_bar = self._profiled(self.statistics(x), x)
            return value, done.gradient(T_bar)
        self.n_evaluations += 1
        value, bars, _ = profile_chain(chain, self.stats.layout, self.lambdas(x))
        return self._checked(value), bars

    def _by_lambdas(self, x: Array, bars: Sequence[Array]) -> Array:
        """Return the derivative by coordinates of λ, given those by each λ_f."""
        pairs = zip(bars, self._each(x), strict=True)
        return np.concatenate([np.zeros(0), *(o.pullback(part, bar) for bar, (o, part) in pairs)])

    def values(self, x: Array) -> Array:
        """Profiled criterion at S points x, shape (S, d), at once; inf where rounding leaves none.

        Much cheaper than S evaluations with the gradient. They differ in λ alone.
        """
        from bayesv.gram.small import solve_many  # compiled: loaded when it is needed

        stats, p = self.statistics(x[0]), self.stats.p
        logdet, T = eliminate_many(stats, self._lambdas(x))
        L, gamma = np.empty_like(T[:, :p, :p]), np.empty_like(T[:, :p, p])
        logdet_S, explained = solve_many(T[:, :p, :p], T[:, :p, p], L, gamma).T
        r2 = T[:, p, p] - explained
        with np.errstate(invalid="ignore", divide="ignore"):
            value = logdet + (r2 if self.sigma_is_known else self.df * np.log(r2))
        if self.method == "REML":
            value = value + logdet_S
        usable = np.isfinite(value) & (r2 > 0)
        return np.asarray(np.where(usable, value + self._constant(stats), np.inf))

    def expectation_step(self, x: Array) -> Array:
        """Return the coordinates of E[Σ_j uu'/J | y] in units of σ²: one step of EM.

        By Fisher's identity it is λ(I − λ'Λ̄/(2 J))λ', with Λ̄ the derivative of the criterion.
        """
        bars, new = self._by_each_lambda(x)[1], list[Array]()
        terms = zip(self.design.terms, self.maps, self.lambdas(x), bars, strict=True)
        for term, one, lam, bar in terms:
            inner = symmetrize(np.eye(len(lam)) - lam.T @ bar / (2.0 * term.n_levels))
            values, vectors = np.linalg.eigh(inner)
            root = (vectors * np.sqrt(np.clip(values, 0.01, 100.0))) @ vectors.T
            new.append(one.near(lam @ root))
        return np.concatenate([*new, x[self.n_lambdas :]])

    @cached_property
    def chain(self) -> ChainProblem | None:
        """What profiles the criterion in one pass, where its sums are always the same."""
        return chain_problem(self.stats, self._rule(self.stats))

    @cached_property
    def element_table(self) -> ElementTable | None:
        """Where the coordinates stand in the flat λ of a chain, if all are elements of λ."""
        tables = [one.table for one in self.maps if isinstance(one, Elements)]
        if len(tables) < len(self.maps):
            return None
        starts, stop = [0] * len(tables), 0
        for term in self.stats.layout.chain_terms:
            starts[term], stop = stop, stop + tables[term].size
        return joined(tables, starts)

    def _rule(self, stats: GramStatistics) -> Rule:
        """Return what makes the criterion of log|M| and T."""
        restricted = self.method == "REML"
        constant = (stats.fixed.logdet if restricted else 0.0) - stats.log_weights
        exact = max(_EXACT * stats.sums.C[-1, -1], _EXACT**2 * stats.total)
        return Rule(float(self.df), restricted, self.sigma_is_known, constant, float(exact))

    def _profiled(self, stats: GramStatistics, x: Array) -> tuple[float, Elimination, Array]:
        """Return the profiled criterion, the elimination and the derivative by its T."""
        from bayesv.gram.profiled import profile  # compiled: loaded when it is needed

        self.n_evaluations += 1
        done = eliminate(stats, self.lambdas(x))
        value, T_bar = profile(done.T, done.logdet, self._rule(stats))
        return self._checked(value), done, T_bar

    def _checked(self, value: float) -> float:
        if value == -np.inf:
            raise self.reproduced()
        if value == np.inf:
            raise _not_positive()
        return value


def solve_fixed(done: Elimination) -> tuple[Array, float, float, Array]:
    """Return γ̂, r² = t − c'S⁻¹c, log|S| and S⁻¹ from T = [[S, c], [c', t]]."""
    from bayesv.gram.profiled import solve_fixed as compiled  # loaded when it is needed

    gamma, r2, logdet, S_inv = compiled(done.T)
    if np.isnan(logdet):
        raise _not_positive()
    return gamma, r2, logdet, S_inv


def _not_positive() -> np.linalg.LinAlgError:
    return np.linalg.LinAlgError("[X]'V⁻¹[X] is not positive definite")
