"""The profiled REML or ML criterion and its gradient, on Gram statistics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayesv.covariance import VarianceComponents
from bayesv.design.design import Design
from bayesv.errors import DataError
from bayesv.gram import Elimination, GramStatistics, eliminate, eliminate_many
from bayesv.linalg import Array, symmetrize

__all__ = ["Criterion", "solve_fixed"]

Index = NDArray[np.intp]

# Of y'Wy less the fixed effects, and squared of y'Wy itself: a rest that is rounding.
_EXACT = 8 * float(np.finfo(float).eps)


class Criterion:
    """The profiled criterion as a function of the elements of all λ_f that may differ from 0."""

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
        self.places: list[tuple[Index, Index]] = []
        for term in design.terms:
            rows, columns = np.nonzero(np.tril(term.structure.mask))
            self.places.append((rows, columns))
        self.sizes = [len(rows) for rows, _ in self.places]
        self.diagonal = np.concatenate([np.zeros(0, bool), *(r == c for r, c in self.places)])
        # Row i of λ acts on column i of Z: dividing by its rms makes coordinates free of units.
        self.unit = np.concatenate(
            [
                np.zeros(0),
                *(
                    1.0 / scale[rows]
                    for scale, (rows, _) in zip(stats.layout.scales, self.places, strict=True)
                ),
            ]
        )
        self.levels = np.repeat([term.n_levels for term in design.terms], self.sizes)
        # Which diagonal element stands in the same row, and in the same column.
        starts = np.cumsum([0, *(term.n_columns for term in design.terms)])
        pairs = list(zip(starts, self.places, strict=False))
        none = np.zeros(0, dtype=np.intp)
        self.row = np.concatenate([none, *(start + rows for start, (rows, _) in pairs)])
        self.column = np.concatenate([none, *(start + columns for start, (_, columns) in pairs)])
        self.n_evaluations = 0

    @property
    def n_lambdas(self) -> int:
        """Number of coordinates of λ, which come first."""
        return sum(self.sizes)

    def statistics(self, x: Array) -> GramStatistics:
        """Return the statistics at x."""
        return self.stats

    def components(
        self, x: Array, blocks: Mapping[str, pd.DataFrame], sigma2: float
    ) -> VarianceComponents:
        """Return the components at x, of Σ_f and σ²."""
        return VarianceComponents(blocks, sigma2)

    @property
    def cost(self) -> float:
        """About how many operations one value takes."""
        layout, plan = self.stats.layout, self.stats.layout.plan
        q, widest = layout.border_size, max((f.k for f in layout.chain), default=0)
        width = plan.width + len(plan.tables.columns) / max(plan.n_events, 1)
        n_couplings = len(plan.tables.pointer)
        return float(n_couplings * widest * width**2 + q**3 / 3 + q**2 * (layout.p + 1))

    def lambdas(self, x: Array) -> list[Array]:
        """Return λ_f of every term at x, in the basis of the statistics."""
        return [lam[0] for lam in self._lambdas(x[None])]

    def _lambdas(self, x: Array) -> list[Array]:
        """Return λ_f of every term, shape (S, k, k), at S points x, shape (S, d)."""
        lambdas = []
        x = x[:, : self.n_lambdas] * self.unit[: self.n_lambdas]
        parts = np.split(x, np.cumsum(self.sizes), axis=1)[:-1]
        for term, (rows, columns), part in zip(self.design.terms, self.places, parts, strict=True):
            lam = np.zeros((len(x), term.n_columns, term.n_columns))
            lam[:, rows, columns] = part
            lambdas.append(lam)
        return lambdas

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
        _, r2, logdet_S = solve_fixed(done, self.stats.p)
        value = done.logdet - self.stats.log_weights + self.df * np.log(2 * np.pi * sigma2)
        if self.method == "REML":
            value += logdet_S + self.stats.fixed.logdet
        return float(value + r2 / sigma2)

    def curvature(self, x: Array) -> Array:
        """Return about the second derivatives by λ: J times Fisher's information of a level.

        With m rows it is 4 (mλ/(1 + mλ²))², where m is the mean over levels.
        """
        size = np.clip(np.abs(x[self.diagonal])[self.row[: self.n_lambdas]], 0.05, None)
        m = self.design.n / self.levels
        return np.asarray(4.0 * self.levels * (m * size / (1.0 + m * size**2)) ** 2)

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
        """Return the size of the row of λ of every coordinate: a relative SD."""
        sizes = np.sqrt(np.bincount(self.row, x**2))
        return np.asarray(sizes[self.row])

    def same_sign(self, x: Array) -> Array:
        """Return x with the sign of each column of λ such that its diagonal is not negative."""
        sign = np.ones(len(x))
        sign[: int(self.diagonal.sum())] = np.where(x[self.diagonal] < 0, -1.0, 1.0)
        return np.asarray(x * sign[self.column])

    def value_and_gradient(self, x: Array) -> tuple[float, Array]:
        """Profiled criterion and its gradient, in unit coordinates."""
        value, done, T_bar = self._profiled(self.statistics(x), x)
        return value, self._by_unit(done.gradient(T_bar))

    def _by_unit(self, bars: Sequence[Array]) -> Array:
        """Return the derivative by unit coordinates, given those by each λ_f."""
        parts = [bar[places] for bar, places in zip(bars, self.places, strict=True)]
        return np.asarray(np.concatenate([np.zeros(0), *parts]) * self.unit[: self.n_lambdas])

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
        _, done, T_bar = self._profiled(self.statistics(x), x)
        bars, new = done.gradient(T_bar), []
        terms = zip(self.design.terms, self.lambdas(x), bars, self.places, strict=True)
        for term, lam, bar, (rows, columns) in terms:
            inner = symmetrize(np.eye(len(lam)) - lam.T @ bar / (2.0 * term.n_levels))
            values, vectors = np.linalg.eigh(inner)
            root = (vectors * np.sqrt(np.clip(values, 0.01, 100.0))) @ vectors.T
            # QR of the transpose gives the lower factor without squaring.
            upper = np.linalg.qr((lam @ root).T, mode="r")
            new.append((upper.T * np.sign(np.diagonal(upper)))[rows, columns])
        m = self.n_lambdas
        elements = np.concatenate([np.zeros(0), *new]) / self.unit[:m]
        return np.append(elements, x[m:])

    def _profiled(self, stats: GramStatistics, x: Array) -> tuple[float, Elimination, Array]:
        """Return the profiled criterion, the elimination and the derivative by its T."""
        self.n_evaluations += 1
        p = stats.p
        done = eliminate(stats, self.lambdas(x))
        gamma, r2, logdet_S = solve_fixed(done, p)
        if self.sigma_is_known:
            sigma2, scaled = 1.0, r2
        elif r2 <= max(_EXACT * stats.sums.C[p, p], _EXACT**2 * stats.total):
            raise self.reproduced()
        else:
            sigma2, scaled = r2 / self.df, self.df
        value = done.logdet - stats.log_weights + self.df * np.log(2 * np.pi * sigma2) + scaled
        T_bar = np.outer(np.append(-gamma, 1.0), np.append(-gamma, 1.0)) / sigma2
        if self.method == "REML":
            value += logdet_S + stats.fixed.logdet
            T_bar[:p, :p] += np.linalg.inv(done.T[:p, :p])
        return float(value), done, T_bar


def solve_fixed(done: Elimination, p: int) -> tuple[Array, float, float]:
    """Return γ̂, r² = t − c'S⁻¹c and log|S| from T = [[S, c], [c', t]]."""
    S, c = done.T[:p, :p], done.T[:p, p]
    L = np.linalg.cholesky(S)
    half = np.linalg.solve(L, c)
    gamma = np.linalg.solve(L.T, half)
    return gamma, float(done.T[p, p] - half @ half), 2.0 * float(np.log(np.diagonal(L)).sum())
