"""The profiled REML or ML criterion and its gradient, on Gram statistics."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

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
        self.diagonal = np.concatenate([r == c for r, c in self.places])
        # Row i of λ acts on column i of Z: dividing by its rms makes coordinates free of units.
        self.unit = np.concatenate(
            [
                1.0 / scale[rows]
                for scale, (rows, _) in zip(stats.layout.scales, self.places, strict=True)
            ]
        )
        self.levels = np.repeat([term.n_levels for term in design.terms], self.sizes)
        # Which diagonal element stands in the same row, and in the same column.
        starts = np.cumsum([0, *(term.n_columns for term in design.terms)])
        pairs = list(zip(starts, self.places, strict=False))
        self.row = np.concatenate([start + rows for start, (rows, _) in pairs])
        self.column = np.concatenate([start + columns for start, (_, columns) in pairs])
        self.n_evaluations = 0

    @property
    def cost(self) -> float:
        """About how many operations one value takes."""
        return self.stats.layout.cost

    def lambdas(self, x: Array) -> list[Array]:
        """Return λ_f of every term at x, in the basis of the statistics."""
        return [lam[0] for lam in self._lambdas(x[None])]

    def _lambdas(self, x: Array) -> list[Array]:
        """Return λ_f of every term, shape (S, k, k), at S points x, shape (S, d)."""
        lambdas = []
        parts = np.split(x * self.unit, np.cumsum(self.sizes)[:-1], axis=1)
        for term, (rows, columns), part in zip(self.design.terms, self.places, parts, strict=True):
            lam = np.zeros((len(x), term.n_columns, term.n_columns))
            lam[:, rows, columns] = part
            lambdas.append(lam)
        return lambdas

    @property
    def _constant(self) -> float:
        """What is left of the criterion beside log|M|, log|S| and (n − p) log r²."""
        value = self.df * (np.log(2 * np.pi / self.df) + 1) - self.stats.log_weights
        if self.sigma_is_known:
            value = self.df * np.log(2 * np.pi) - self.stats.log_weights
        if self.method == "REML":
            value += self.stats.fixed.logdet
        return float(value)

    def criterion_at(self, lambdas: Sequence[Array], sigma2: float) -> float:
        """−2 log likelihood at given λ and σ²."""
        done = eliminate(self.stats, lambdas)
        _, r2, logdet_S = solve_fixed(done, self.stats.p)
        value = done.logdet - self.stats.log_weights + self.df * np.log(2 * np.pi * sigma2)
        if self.method == "REML":
            value += logdet_S + self.stats.fixed.logdet
        return float(value + r2 / sigma2)

    def profiled_sigma2(self, x: Array) -> float:
        """Return the σ² that belongs to x."""
        if self.sigma_is_known:
            return 1.0
        return solve_fixed(eliminate(self.stats, self.lambdas(x)), self.stats.p)[1] / self.df

    def logdet_se(self, x: Array) -> float:
        """Return the standard error of log|M|, 0 if it is exact."""
        return eliminate(self.stats, self.lambdas(x)).logdet_se

    def curvature(self, x: Array) -> Array:
        """Return about the second derivatives by x: J times Fisher's information of a level.

        With m rows it is 4 (mλ/(1 + mλ²))², where m is the mean over levels.
        """
        size = np.clip(np.abs(x[self.diagonal])[self.row], 0.05, None)
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
        sign = np.where(x[self.diagonal] < 0, -1.0, 1.0)
        return np.asarray(x * sign[self.column])

    def value_and_gradient(self, x: Array) -> tuple[float, Array]:
        """Profiled criterion and its gradient, in unit coordinates."""
        value, bars = self._evaluate(x)
        gradient = np.concatenate(
            [bar[places] for bar, places in zip(bars, self.places, strict=True)]
        )
        return value, gradient * self.unit

    def values(self, x: Array) -> Array:
        """Profiled criterion at S points x, shape (S, d), at once; inf where rounding leaves none.

        Much cheaper than S evaluations with the gradient.
        """
        from bayesv.gram.small import solve_many  # compiled: loaded when it is needed

        stats, p = self.stats, self.stats.p
        logdet, T = eliminate_many(stats, self._lambdas(x))
        L, gamma = np.empty_like(T[:, :p, :p]), np.empty_like(T[:, :p, p])
        logdet_S, explained = solve_many(T[:, :p, :p], T[:, :p, p], L, gamma).T
        r2 = T[:, p, p] - explained
        with np.errstate(invalid="ignore", divide="ignore"):
            value = logdet + (r2 if self.sigma_is_known else self.df * np.log(r2))
        if self.method == "REML":
            value = value + logdet_S
        usable = np.isfinite(value) & (r2 > 0)
        return np.asarray(np.where(usable, value + self._constant, np.inf))

    def expectation_step(self, x: Array) -> Array:
        """Return the coordinates of E[Σ_j uu'/J | y] in units of σ²: one step of EM.

        By Fisher's identity it is λ(I − λ'Λ̄/(2 J))λ', with Λ̄ the derivative of the criterion.
        """
        _, bars = self._evaluate(x)
        new = []
        terms = zip(self.design.terms, self.lambdas(x), bars, self.places, strict=True)
        for term, lam, bar, (rows, columns) in terms:
            inner = symmetrize(np.eye(len(lam)) - lam.T @ bar / (2.0 * term.n_levels))
            values, vectors = np.linalg.eigh(inner)
            root = (vectors * np.sqrt(np.clip(values, 0.01, 100.0))) @ vectors.T
            # QR of the transpose gives the lower factor without squaring.
            upper = np.linalg.qr((lam @ root).T, mode="r")
            new.append((upper.T * np.sign(np.diagonal(upper)))[rows, columns])
        return np.asarray(np.concatenate(new) / self.unit)

    def _evaluate(self, x: Array) -> tuple[float, list[Array]]:
        """Profiled criterion and its derivative by all elements of all λ_f."""
        self.n_evaluations += 1
        stats, p = self.stats, self.stats.p
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
        return float(value), done.gradient(T_bar)


def solve_fixed(done: Elimination, p: int) -> tuple[Array, float, float]:
    """Return γ̂, r² = t − c'S⁻¹c and log|S| from T = [[S, c], [c', t]]."""
    S, c = done.T[:p, :p], done.T[:p, p]
    L = np.linalg.cholesky(S)
    half = np.linalg.solve(L, c)
    gamma = np.linalg.solve(L.T, half)
    return gamma, float(done.T[p, p] - half @ half), 2.0 * float(np.log(np.diagonal(L)).sum())
