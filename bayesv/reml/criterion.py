"""The profiled REML or ML criterion and its gradient, on Gram statistics."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from bayesv.covariance.components import VarianceComponents
from bayesv.covariance.estimated import estimated
from bayesv.design.design import Design
from bayesv.errors import DataError
from bayesv.gram import (
    ChainProblem,
    ChainValues,
    Elimination,
    GramStatistics,
    Probes,
    Rule,
    chain_problem,
    eliminate,
    eliminate_many,
    profile_chain,
)
from bayesv.linalg import Array, Mask
from bayesv.reml.coordinates import coordinates_of
from bayesv.reml.elements import approaching

__all__ = ["UNINTERRUPTED", "Criterion", "solve_fixed"]

Index = NDArray[np.intp]

UNINTERRUPTED = 3e8  # operations or so of compiled loops between two looks at Ctrl-C
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
        self.coordinates = coordinates_of(design, stats.layout)
        self.n_lambdas = self.coordinates.size  # coordinates of λ, which come first
        self.n_evaluations = 0
        self._rests: dict[bytes, Array] = {}
        self._chain_values: ChainValues | None = None  # the latest: what values share
        self.step: Callable[[int], None] = lambda evaluations: None  # hears of those that take long

    @property
    def size(self) -> int:
        """Number of coordinates."""
        return self.n_lambdas

    def statistics(self, x: Array) -> GramStatistics:
        """Return the statistics at x."""
        return self.stats

    def components(self, x: Array, blocks: Sequence[Array], sigma2: float) -> VarianceComponents:
        """Return the components at x, of the Σ_f of each term and σ²."""
        return estimated(self.design.terms, blocks, sigma2)

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
    def work(self) -> float:
        """About how many operations one value takes with its gradient."""
        of_levels = sum(float(term.n_levels) * term.n_columns**3 for term in self.design.terms)
        return 3.0 * (self.cost + of_levels) + 1.0

    @property
    def places(self) -> tuple[Index, Index, Mask]:
        """Rows and columns of λ of the coordinates, counted over all terms; which are of elements.

        Coordinates that are none have numbers of their own, below 0.
        """
        rows, columns, is_element = self.coordinates.places
        if self.size == self.n_lambdas:
            return rows, columns, is_element
        others = -1 - np.arange(self.n_lambdas, self.size)
        none = np.zeros(len(others), dtype=bool)
        return np.append(rows, others), np.append(columns, others), np.append(is_element, none)

    def lambdas(self, x: Array) -> list[Array]:
        """Return λ_f of every term at x, in the basis of the statistics."""
        return [lam[0] for lam in self.coordinates.lambdas(x[None])]

    def start(self, scale: float, decay: float = 0.0) -> Array:
        """Return SDs of one size relative to σ, with correlations that decay with the lag."""
        return self.coordinates.start(scale, decay)

    def roots(self, x: Array) -> list[Array]:
        """Return λ_f of every term by the user's columns."""
        return self.coordinates.roots(x)

    def criterion_at(self, lambdas: Sequence[Array], sigma2: float) -> float:
        """−2 log likelihood at given λ and σ²."""
        done = eliminate(self.stats, lambdas)
        _, r2, logdet_S, _ = solve_fixed(done.T)
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
        return 1.0 if self.sigma_is_known else solve_fixed(done.T)[1] / self.df

    def eliminated(self, x: Array) -> Elimination:
        """Return what eliminating the random effects leaves."""
        return eliminate(self.statistics(x), self.lambdas(x))

    def remaining(self, x: Array) -> Array:
        """Return T, the sums of [X y] that eliminating the random effects leaves."""
        if (known := self._rests.get(x.tobytes())) is not None:
            return known
        if (chain := self.chain) is None:
            return self.eliminated(x).T
        return profile_chain(chain, self.stats.layout, self.lambdas(x))[2]

    def remember(self, x: Array, rest: Array) -> None:
        """Keep what is `remaining` at x, where a descent ended."""
        self._rests[x.tobytes()] = rest

    def curvature(self, x: Array) -> Array:
        """Return about the second derivatives by x: J times Fisher's information of a level."""
        return self.coordinates.curvature(x)

    def reproduced(self, digits: float | None = None) -> DataError:
        """Return the error of a response that leaves no residual variance to speak of."""
        how = "exactly, or so nearly"
        form = self.design.structured_residual
        if digits is None and form is not None and (apart := form.smooth_beside) is not None:
            return DataError(
                f"Residuals {form.text} reproduce the response {self.design.response!r} {how} that "
                f"double precision cannot tell: rows {apart:.3g} apart are the same to a "
                "correlation so smooth, and its matrix has no inverse. Add nugget=True, a share of "
                "the variance that is of each row alone; take sp_exp, which falls faster; or make "
                "one row of those that are so near."
            )
        if digits is not None:
            how = f"to {digits:.0f} digits, so nearly"
        return DataError(
            f"The model reproduces the response {self.design.response!r} {how} "
            "that double precision cannot tell: σ² is next to 0 beside the variances of the random "
            "effects, and fewer than 3 digits of the estimates would be right. Is the response a "
            "function of the columns, or the same in all rows of a level? Then fit one row a "
            "level. Are there about as many random effects as rows? Then leave some out."
        )

    def row_sizes(self, x: Array) -> Array:
        """Return the relative SD that each coordinate is of, the size of its row of λ; or 1."""
        sizes = self.coordinates.row_sizes(x)
        return sizes if len(x) == len(sizes) else np.append(sizes, np.ones(len(x) - len(sizes)))

    def same_sign(self, x: Array) -> Array:
        """Return the same λλ' by coordinates of one sign."""
        return np.append(self.coordinates.same_sign(x), x[self.n_lambdas :])

    def ends(self, x: Array) -> dict[int, float]:
        """Return coordinates next to a boundary, and where on it: 0, or the end of a range."""
        return self.coordinates.ends(x)

    def value_and_gradient(self, x: Array) -> tuple[float, Array]:
        """Profiled criterion and its gradient, in unit coordinates."""
        value, bars = self._by_each_lambda(x)
        return value, self.coordinates.pullback(x, bars)

    def with_elimination(self, x: Array) -> tuple[float, Array, Elimination]:
        """Profiled criterion, its gradient, and the elimination that they come from."""
        value, done, T_bar = self._profiled(self.statistics(x), x)
        return value, self.coordinates.pullback(x, done.gradient(T_bar)), done

    def value_of(self, done: Elimination) -> float:
        """Return the profiled criterion of an elimination."""
        from bayesv.gram.profiled import profile  # compiled: loaded when it is needed

        return float(profile(done.T, done.logdet, self._rule(self.stats))[0])

    def _by_each_lambda(self, x: Array) -> tuple[float, list[Array]]:
        """Return the profiled criterion and its derivative by each λ_f."""
        if (chain := self.chain) is None:
            value, done, T_bar = self._profiled(self.statistics(x), x)
            return value, done.gradient(T_bar)
        self.n_evaluations += 1
        self.step(1)
        value, bars, _ = profile_chain(chain, self.stats.layout, self.lambdas(x))
        return self._checked(value), bars

    def values(self, x: Array) -> Array:
        """Profiled criterion at S points x, shape (S, d), at once; inf where rounding leaves none.

        Much cheaper than S evaluations with the gradient. They differ in λ alone.
        """
        if (table := self.coordinates.table) and (chain := self.chain_at(x[0])):
            if self._chain_values is None or self._chain_values.problem is not chain:
                self._chain_values = ChainValues(chain)
            return self._chain_values(table.flat(x[:, : self.n_lambdas]))
        from bayesv.gram.profiled import profile_many  # compiled: loaded when it is needed

        stats = self.statistics(x[0])
        logdet, T = eliminate_many(stats, self.coordinates.lambdas(x))
        return np.asarray(profile_many(T, logdet, self._rule(stats)))

    def expectation_step(self, x: Array) -> Array:
        """Return the coordinates of E[Σ_j uu'/J | y] in units of σ²: one step of EM."""
        from bayesv.reml.chains import multiply_expected  # compiled: loaded when it is needed

        lambdas, bars = self.lambdas(x), self._by_each_lambda(x)[1]
        for term, lam, bar in zip(self.design.terms, lambdas, bars, strict=True):
            multiply_expected(lam, bar, term.n_levels)
        return np.append(self.coordinates.near(lambdas), x[self.n_lambdas :])

    def approached(self, x: Array, most: int, far: float) -> Array:
        """Return x after so many steps of EM at most, while a row of λ grows by so much."""
        quick = self.work * most < UNINTERRUPTED
        if quick and (table := self.coordinates.table) and (chain := self.chain_at(x)):
            from bayesv.reml.chains import search_chain  # compiled: loaded when it is needed

            own = x[: self.n_lambdas].copy()
            steps = approaching(own, chain.sums.C, most, far)
            self.n_evaluations += search_chain(chain, table, *steps)
            if np.isnan(own).any():
                raise self.reproduced()
            return np.append(own, x[self.n_lambdas :])
        for _ in range(most):
            before, x = self.row_sizes(x)[: self.n_lambdas], self.expectation_step(x)
            if self.row_sizes(x)[: self.n_lambdas].max() < far * before.max():
                break
        return x

    @cached_property
    def chain(self) -> ChainProblem | None:
        """What profiles the criterion in one pass, where its sums are always the same."""
        return chain_problem(self.stats, self._rule(self.stats))

    def chain_at(self, x: Array) -> ChainProblem | None:
        """Return what profiles the criterion where only λ differs from x."""
        return self.chain

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
        self.step(1)
        done = eliminate(stats, self.lambdas(x))
        value, T_bar = profile(done.T, done.logdet, self._rule(stats))
        return self._checked(value), done, T_bar

    def _checked(self, value: float) -> float:
        if value == -np.inf:
            raise self.reproduced()
        if value == np.inf:
            raise _not_positive()
        return value


def solve_fixed(T: Array) -> tuple[Array, float, float, Array]:
    """Return γ̂, r² = t − c'S⁻¹c, log|S| and S⁻¹ from T = [[S, c], [c', t]]."""
    from bayesv.gram.profiled import solve_fixed as compiled  # loaded when it is needed

    gamma, r2, logdet, S_inv = compiled(T)
    if np.isnan(logdet):
        raise _not_positive()
    return gamma, r2, logdet, S_inv


def _not_positive() -> np.linalg.LinAlgError:
    return np.linalg.LinAlgError("[X]'V⁻¹[X] is not positive definite")
