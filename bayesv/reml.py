"""REML and ML by the profiled criterion on Gram statistics."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import minimize

from bayesv.covariance import GLSFit, VarianceComponents, gls
from bayesv.design import Design
from bayesv.errors import BayesvError, DataError, FitWarning
from bayesv.gram import Elimination, GramStatistics, eliminate
from bayesv.linalg import Array, symmetrize
from bayesv.summary import reml_summary

__all__ = ["RemlFit", "fit_reml"]

Index = NDArray[np.intp]
Mask = NDArray[np.bool_]

_BOUNDARY = 1e-3  # in units of 1/rms of the column: smaller diagonal elements of λ are tried at 0
_GRADIENT_TOLERANCE = 1e-3  # of the criterion, in those units; converged fits reach 1e-6 and less


@dataclass(frozen=True, eq=False)
class RemlFit:
    """A REML or ML fit.

    Attributes
    ----------
    design : Design
        What was fitted.
    method : {"REML", "ML"}
    components : VarianceComponents
        Estimates of Σ_f and σ².
    beta : Series, shape (p,)
        Fixed effects.
    cov_beta : DataFrame, shape (p, p)
        (X'V⁻¹X)⁻¹ at the estimate.
    criterion : float
        −2 log (restricted) likelihood at the estimate, lme4's ``REMLcrit`` or ``deviance``.
    singular : bool
        Whether some Σ_f is on the boundary: a variance of 0 or a correlation of ±1.
    converged : bool
        Whether the optimiser met its tolerance.
    n_evaluations : int
        Number of evaluations of the criterion with gradient.
    gradient_norm : float
        Largest element of the gradient by relative Cholesky factors, in column units of rms 1.
    """

    design: Design
    method: str
    components: VarianceComponents
    beta: pd.Series
    cov_beta: pd.DataFrame
    criterion: float
    singular: bool
    converged: bool
    n_evaluations: int
    gradient_norm: float
    _stats: GramStatistics = field(repr=False)

    @property
    def sigma2(self) -> float:
        """Residual variance."""
        return self.components.sigma2

    @property
    def log_likelihood(self) -> float:
        """Log (restricted) likelihood at the estimate."""
        return -0.5 * self.criterion

    @cached_property
    def se(self) -> pd.Series:
        """Standard errors of the fixed effects given V, shape (p,)."""
        return pd.Series(np.sqrt(np.diagonal(self.cov_beta)), self.beta.index, name="se")

    @cached_property
    def gls(self) -> GLSFit:
        """GLS at the estimated V, with BLUPs, fitted values and residuals."""
        return gls(self.design, self.components)

    @property
    def blup(self) -> pd.Series:
        """Conditional modes of the random effects, labelled, shape (q,)."""
        return self.gls.blup

    def criterion_at(self, components: VarianceComponents) -> float:
        """Return −2 log (restricted) likelihood at other components, on the same data.

        Notes
        -----
        Not profiled: σ² is the one given. Cost does not depend on the number of rows.
        """
        problem = _Problem(self.design, self._stats, self.method)
        lambdas = [components.relative_root(term) for term in self.design.terms]
        return problem.criterion_at(lambdas, components.sigma2)

    def summary(self) -> str:
        """Return what lme4's ``summary`` prints."""
        return reml_summary(self)

    def __repr__(self) -> str:
        return self.summary()


def fit_reml(
    design: Design, stats: GramStatistics, method: str = "REML", max_iterations: int = 500
) -> RemlFit:
    """Fit by REML or ML.

    Parameters
    ----------
    design : Design
    stats : GramStatistics
        Of the same design.
    method : {"REML", "ML"}
    max_iterations : int
        Of the quasi-Newton search from each start.

    Raises
    ------
    DataError
        If the response is reproduced exactly, so that σ² = 0.

    Warns
    -----
    FitWarning
        If the optimiser did not converge. Singular fits are flagged, not warned about.

    Notes
    -----
    The criterion is minimised over lower-triangular λ_f without bounds, because it does not change
    when a column of λ_f changes sign; 0 is an interior point of that space. The search starts away
    from 0 (where the gradient vanishes), and what ends near 0 is put there exactly if the criterion
    is no worse for it.
    """
    if method not in ("REML", "ML"):
        raise BayesvError(f"method must be 'REML' or 'ML', found {method!r}.")
    problem = _Problem(design, stats, method)
    best = problem.search(1.0, max_iterations)
    if best.boundary:
        # Competing components can end on the boundary from one start and inside from another.
        for scale in (0.2, 3.0):
            other = problem.search(scale, max_iterations)
            if other.value < best.value - 1e-8 * max(1.0, abs(best.value)):
                best = other
    return problem.finish(best)


@dataclass(frozen=True, eq=False)
class _Optimum:
    x: Array
    free: Mask  # which coordinates are not held at 0
    value: float
    gradient: Array
    boundary: bool


class _Problem:
    """The profiled criterion as a function of the free elements of all λ_f."""

    def __init__(self, design: Design, stats: GramStatistics, method: str) -> None:
        self.design, self.stats = design, stats
        self.df = design.n - (design.p if method == "REML" else 0)
        self.method = method
        if self.df <= 0:
            raise DataError(
                f"{design.n} rows cannot estimate a variance beside {design.p} fixed effects."
            )
        self.places: list[tuple[Index, Index]] = []
        for term in design.terms:
            rows, columns = np.nonzero(np.tril(term.mask))
            self.places.append((rows, columns))
        self.sizes = [len(rows) for rows, _ in self.places]
        self.diagonal = np.concatenate([r == c for r, c in self.places])
        # Row i of λ acts on column i of Z: dividing by its rms makes coordinates free of units.
        self.unit = np.concatenate(
            [1.0 / scale[rows] for scale, (rows, _) in zip(stats.scales, self.places, strict=True)]
        )
        self.n_evaluations = 0

    def lambdas(self, x: Array) -> list[Array]:
        out = []
        parts = np.split(x * self.unit, np.cumsum(self.sizes)[:-1])
        for term, (rows, columns), part in zip(self.design.terms, self.places, parts, strict=True):
            lam = np.zeros((term.n_columns, term.n_columns))
            lam[rows, columns] = part
            out.append(lam)
        return out

    def criterion_at(self, lambdas: Sequence[Array], sigma2: float) -> float:
        """−2 log likelihood at given λ and σ²."""
        done = eliminate(self.stats, lambdas)
        _, r2, logdet_S = _solve(done, self.stats.p)
        value = done.logdet - self.stats.log_weights + self.df * np.log(2 * np.pi * sigma2)
        if self.method == "REML":
            value += logdet_S + 2.0 * np.log(np.abs(np.diagonal(self.stats.R))).sum()
        return float(value + r2 / sigma2)

    def value_and_gradient(self, x: Array) -> tuple[float, Array]:
        """Profiled criterion and its gradient, in unit coordinates."""
        self.n_evaluations += 1
        stats, p = self.stats, self.stats.p
        done = eliminate(stats, self.lambdas(x))
        gamma, r2, logdet_S = _solve(done, p)
        if r2 <= 1e-24 * stats.total:
            raise DataError(
                f"The model reproduces the response {self.design.response!r} exactly, so that "
                "σ² = 0 and V does not exist. Is the response a function of the columns?"
            )
        value = done.logdet - stats.log_weights + self.df * (np.log(2 * np.pi * r2 / self.df) + 1)
        T_bar = (self.df / r2) * np.outer(np.append(-gamma, 1.0), np.append(-gamma, 1.0))
        if self.method == "REML":
            value += logdet_S + 2.0 * np.log(np.abs(np.diagonal(stats.R))).sum()
            T_bar[:p, :p] += np.linalg.inv(done.T[:p, :p])
        bars = done.gradient(T_bar)
        gradient = np.concatenate([bar[at] for bar, at in zip(bars, self.places, strict=True)])
        return float(value), gradient * self.unit

    def search(self, scale: float, max_iterations: int) -> _Optimum:
        """Minimise from λ = scale × I, then settle what is on the boundary."""
        free = np.ones(len(self.unit), dtype=bool)
        x = np.where(self.diagonal, scale, 0.0)
        x, value, gradient = self._descend(x, free, max_iterations)
        while True:
            x, value, gradient, free = self._settle(x, value, gradient, free, max_iterations)
            away = self._leave_zero(x, value, free)
            if away is None:
                break
            # Zero was a saddle: the criterion falls when the component leaves it.
            free = np.ones_like(free)
            x, value, gradient = self._descend(away, free, max_iterations)
        return _Optimum(x, free, value, gradient, bool((~free).any()))

    def _descend(self, x: Array, free: Mask, max_iterations: int) -> tuple[Array, float, Array]:
        """Quasi-Newton search over the free coordinates, then Newton steps to full precision."""
        if not free.any():
            value, gradient = self.value_and_gradient(x)
            return x, value, gradient

        def objective(part: Array) -> tuple[float, Array]:
            full = x.copy()
            full[free] = part
            value, gradient = self.value_and_gradient(full)
            return value, gradient[free]

        found = minimize(
            objective,
            x[free],
            jac=True,
            method="BFGS",
            options={"gtol": 1e-4, "maxiter": max_iterations},
        )
        part = np.asarray(found.x)
        value, gradient = float(found.fun), np.asarray(found.jac)
        for _ in range(4):
            if np.abs(gradient).max() < 1e-8:
                break
            step = _newton_step(objective, part, gradient)
            if step is None:
                break
            new_value, new_gradient = objective(part + step)
            if np.abs(new_gradient).max() >= np.abs(gradient).max():
                break
            part, value, gradient = part + step, new_value, new_gradient
        full = x.copy()
        full[free] = part
        full_gradient = np.zeros_like(x)
        full_gradient[free] = gradient
        return full, value, full_gradient

    def _settle(
        self, x: Array, value: float, gradient: Array, free: Mask, max_iterations: int
    ) -> tuple[Array, float, Array, Mask]:
        """Put small diagonal elements of λ at exactly 0 where the criterion allows it."""
        for i in np.flatnonzero(self.diagonal & free & (np.abs(x) < _BOUNDARY)):
            trial_free = free.copy()
            trial_free[i] = False
            trial = np.where(trial_free, x, 0.0)
            found = self._descend(trial, trial_free, max_iterations)
            if found[1] <= value + 1e-12 * max(1.0, abs(value)):
                (x, value, gradient), free = found, trial_free
        return x, value, gradient, free

    def _leave_zero(self, x: Array, value: float, free: Mask) -> Array | None:
        """Return a point with a lower criterion next to a zero, if there is one."""
        for i in np.flatnonzero(~free):
            for step in (1e-2, 1e-1):
                away = x.copy()
                away[i] = step
                if self.value_and_gradient(away)[0] < value - 1e-9 * max(1.0, abs(value)):
                    return away
        return None

    def finish(self, best: _Optimum) -> RemlFit:
        stats, design = self.stats, self.design
        lambdas = self.lambdas(best.x)
        done = eliminate(stats, lambdas)
        gamma, r2, _ = _solve(done, stats.p)
        sigma2 = r2 / self.df
        names = list(design.fixed_names)
        R_inv = np.linalg.inv(stats.R)
        blocks = {
            term.group: pd.DataFrame(sigma2 * lam @ lam.T, term.columns, term.columns)
            for term, lam in zip(design.terms, lambdas, strict=True)
        }
        S_inv = symmetrize(np.linalg.inv(done.T[: stats.p, : stats.p]))
        norm = float(np.abs(best.gradient).max())
        converged = norm < _GRADIENT_TOLERANCE
        if not converged:
            warnings.warn(
                f"The {self.method} search stopped with gradient {norm:.2g} (tolerance "
                f"{_GRADIENT_TOLERANCE:g}); the estimates may not be the optimum.",
                FitWarning,
                stacklevel=4,
            )
        return RemlFit(
            design=design,
            method=self.method,
            components=VarianceComponents(blocks, sigma2),
            beta=pd.Series(stats.start + R_inv @ gamma, names, name="beta"),
            cov_beta=pd.DataFrame(sigma2 * R_inv @ S_inv @ R_inv.T, names, names),
            criterion=best.value,
            singular=best.boundary,
            converged=converged,
            n_evaluations=self.n_evaluations,
            gradient_norm=norm,
            _stats=stats,
        )


def _solve(done: Elimination, p: int) -> tuple[Array, float, float]:
    """Return γ̂, r² = t − c'S⁻¹c and log|S| from T = [[S, c], [c', t]]."""
    S, c = done.T[:p, :p], done.T[:p, p]
    L = np.linalg.cholesky(S)
    half = np.linalg.solve(L, c)
    gamma = np.linalg.solve(L.T, half)
    return gamma, float(done.T[p, p] - half @ half), 2.0 * float(np.log(np.diagonal(L)).sum())


def _newton_step(
    objective: Callable[[Array], tuple[float, Array]], x: Array, gradient: Array
) -> Array | None:
    """Newton step with the Hessian by central differences; None where it is not a minimum."""
    h = 1e-4
    hessian = np.array(
        [(objective(x + h * e)[1] - objective(x - h * e)[1]) / (2 * h) for e in np.eye(len(x))]
    )
    try:
        L = np.linalg.cholesky(symmetrize(hessian))
    except np.linalg.LinAlgError:
        return None
    return np.asarray(-np.linalg.solve(L.T, np.linalg.solve(L, gradient)))
