"""Minimise the profiled criterion, with exact boundaries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayesv.design.design import Design
from bayesv.errors import DataError, FitWarning, warn
from bayesv.gram import LARGEST_ERROR, Probes
from bayesv.linalg import Array, Mask, symmetrize
from bayesv.reml.criterion import Criterion, solve_fixed
from bayesv.reml.fit import RemlFit
from bayesv.reml.free import Free
from bayesv.reml.identification import unidentified
from bayesv.reml.rounding import rounded_response
from bayesv.reml.starts import Screen, lattice_of
from bayesv.support.deferred import later

__all__ = ["Optimum", "Search"]

Index = NDArray[np.intp]

_NONE = np.zeros(0)
_BOUNDARY = 1e-3  # in units of 1/rms of the column: a diagonal element of λ next to 0
_EM_STEPS, _FAR = 12, 8.0  # at most, as long as the largest row of λ grows by so much
# Points of the lattice from which other valleys are looked for, if that takes no more operations
# than so many (all values of the criterion together), and descents into valleys, at most.
_LEAST_SCREENED, _MOST_SCREENED, _SCREENING = 6, 12, 1e8
_VALLEYS = 8
# Correlations that families with parameters start from decay so with the lag; size of λ and decay
# of more starts.
_DECAY = 0.3
_OTHER_STARTS = ((1.0, 0.8), (1.0, -0.5), (0.2, 0.5), (3.0, 0.5))
_LOWER = 1e-5  # difference of the criterion that makes another minimum the better one
_GRADIENT_TOLERANCE = 1e-3  # a fit whose gradient is larger is reported as not converged


@dataclass(frozen=True, eq=False)
class Optimum:
    """A minimum of the criterion, with the gradient there."""

    x: Array
    free: Mask  # which coordinates are not held on the boundary
    value: float
    gradient: Array
    boundary: bool


class Search:
    """A search for the minimum of one criterion."""

    def __init__(self, criterion: Criterion, max_iterations: int, tolerance: float = 0.01) -> None:
        self.criterion, self.max_iterations = criterion, max_iterations
        self.tolerance = tolerance  # of a certificate
        self.all_free = np.ones(criterion.size, dtype=bool)
        self.row, self.column, self.is_element = criterion.places
        self.diagonal = self.is_element & (self.row == self.column)

    def with_probes(self, probes: Probes) -> Search:
        """Return a search of the criterion with other probes."""
        return Search(self.criterion.with_probes(probes), self.max_iterations, self.tolerance)

    def ranked(self, starts: list[Array]) -> list[Array]:
        """Return points in the order of the criterion there."""
        if len(starts) == 1:
            return starts
        values = [self.criterion.value_and_gradient(start)[0] for start in starts]
        return [starts[k] for k in np.argsort(values)]

    def run(self, start: Array) -> Optimum:
        """Minimise from a start, then settle what is on the boundary."""
        free = self.all_free
        x, value, gradient = self._descend(start, free)
        while True:
            x, value, gradient, free = self._settle(x, value, gradient, free)
            away = self._leave_zero(x, value, free)
            if away is None:
                break
            # Zero was a saddle: the criterion falls when the component leaves it.
            free = self.all_free
            x, value, gradient = self._descend(away, free)
        return Optimum(x, free, value, gradient, bool((~free).any()))

    def run_with_residual(self, start: Array) -> Optimum | None:
        """Return the minimum, or None where what is left to the residual is rounding."""
        try:
            optimum = self.run(start)
            stats = self.criterion.statistics(optimum.x)
        except (DataError, np.linalg.LinAlgError):  # R is singular to rounding there
            return None
        error = stats.relative_error(self.criterion.roots(optimum.x))
        return optimum if error <= LARGEST_ERROR else None

    def finds_lower(self, start: Array, known: Optimum) -> bool:
        """Whether the search from another start ends below a known optimum."""
        try:
            value = self._descend(start, self.all_free, known)[1]
        except DataError:  # so low that nothing is left to the residual
            return True
        return value < known.value - _LOWER

    def elsewhere(self, known: Optimum) -> Sequence[Array]:
        """Return starts in other valleys than that of a known optimum, the most promising first."""
        criterion, m = self.criterion, self.criterion.n_lambdas
        rest = known.x[m:]
        if not m:
            return []
        if not self.is_element[:m].all():
            return [self.start(scale, decay, rest) for scale, decay in _OTHER_STARTS]

        def values(points: Array) -> Array:
            return criterion.values(_beside(points, rest))

        lattice = lattice_of(tuple(self.row[:m].tolist()), tuple(self.column[:m].tolist()))
        screen = Screen(values, lattice)
        n = min(_MOST_SCREENED, int(_SCREENING / criterion.cost) // screen.values_a_start)
        if n >= _LEAST_SCREENED:
            starts = screen.starts(n, known.x[:m], known.value, known.boundary)[:_VALLEYS]
            return list(_beside(starts, rest))
        # Competing components can end on the boundary from one start and inside from another.
        return [self.start(scale, rest=rest) for scale in (0.2, 3.0)] if known.boundary else []

    def start(self, scale: float, decay: float = _DECAY, rest: Array = _NONE) -> Array:
        """Return λ = scale × I, or correlations of families that decay, after a step of EM.

        ``rest`` are the coordinates beside those of λ.
        """
        x = np.append(self.criterion.start(scale, decay), rest)
        if not self.criterion.n_lambdas:
            return x
        # EM is slow near the optimum but, unlike quasi-Newton steps, never far off from afar.
        x = self.criterion.approached(x, _EM_STEPS, _FAR)
        return self._grown(x) if len(rest) else x

    def _grown(self, x: Array) -> Array:
        """Return λ so many times ten larger as the criterion falls.

        Where λ is large, EM is slow; a descent from afar raises the correlation of residuals
        instead, to one that looks like a random effect.
        """
        while True:
            larger = np.where(self.is_element, 10.0 * x, x)
            now, then = self.criterion.values(np.array([x, larger]))
            if not then < now:
                return x
            x = larger

    def _descend(
        self, x: Array, free: Mask, known: Optimum | None = None
    ) -> tuple[Array, float, Array]:
        """Quasi-Newton search over the free coordinates; given up where it comes to ``known``."""
        to = None if known is None else self.criterion.same_sign(known.x)
        return Free(self.criterion, x, free, to).descend(self.max_iterations)

    def _settle(
        self, x: Array, value: float, gradient: Array, free: Mask
    ) -> tuple[Array, float, Array, Mask]:
        """Put what is next to the boundary, such as small SDs, on it if the criterion allows it."""
        for i, end in self.criterion.ends(x).items():
            if not free[i]:
                continue
            trial_free, trial = free.copy(), x.copy()
            trial_free[i], trial[i] = False, end
            point, lower, slope = self._descend(trial, trial_free)
            if lower <= value + 1e-12 * max(1.0, abs(value)):
                x, value, gradient, free = point, lower, slope, trial_free
        return x, value, gradient, free

    def _leave_zero(self, x: Array, value: float, free: Mask) -> Array | None:
        """Return a point with a lower criterion next to the boundary, if there is one."""
        tolerance = 1e-9 * max(1.0, abs(value))
        held = np.flatnonzero(~free)
        if len(held):
            steps = np.eye(len(x))[held, None] * np.array([[1e-2], [1e-1]])
            away = x + steps.reshape(-1, len(x))
            lower = self._values(away, within=held) < value - tolerance
            if lower.any():
                return np.asarray(away[lower.argmax()])
        turned = self._turned(x)
        if len(turned):
            values = self.criterion.values(turned)
            if values.min() < value - tolerance:
                return np.asarray(turned[values.argmin()])
        return None

    def _values(self, points: Array, within: Index) -> Array:
        """Return the criterion at points that differ in these coordinates."""
        if (within < self.criterion.n_lambdas).all():
            return self.criterion.values(points)
        return np.array([self.criterion.value_and_gradient(point)[0] for point in points])

    def _turned(self, x: Array) -> Array:
        """Return points that leave a zero of λ's diagonal together with a correlation of ±1.

        Below a diagonal element of 0, V depends on the size of a row only, not on how it is split
        between that column and the row's own: where the column has none of it, the zero looks
        stationary although it is not.
        """
        points = []
        row, column = self.row, self.column
        for i in np.flatnonzero(self.diagonal & (np.abs(x) < _BOUNDARY)):
            for below in np.flatnonzero((column == column[i]) & ~self.diagonal):
                # What the row has in columns before is not part of the turn.
                part = (row == row[below]) & (column >= column[i])
                size = np.sqrt((x[part] ** 2).sum())
                for step in (1e-3, 1e-2, 1e-1):
                    for sign in (-1.0, 1.0):
                        turned = np.where(part, 0.0, x)
                        turned[i], turned[below] = step, sign * size
                        points.append(turned)
        return np.array(points).reshape(-1, len(x))

    def finish(
        self, best: Optimum, problems: tuple[str, ...] = (), remaining: Array | None = None
    ) -> RemlFit:
        """Return the fit at an optimum, with what is to be known of it.

        ``remaining`` is T there, if it is known.
        """
        criterion = self.criterion
        stats, design = criterion.statistics(best.x), criterion.design
        T = criterion.remaining(best.x) if remaining is None else remaining
        gamma, r2, _, S_inv = solve_fixed(T)
        sigma2 = 1.0 if criterion.sigma_is_known else r2 / criterion.df
        roots = criterion.roots(best.x)
        blocks = [symmetrize(sigma2 * root @ root.T) for root in roots]
        error = stats.relative_error(roots)
        if error > LARGEST_ERROR:
            raise criterion.reproduced()
        if not criterion.sigma_is_known:  # what that judges is the split between Σ and σ²
            problems = (*problems, *unidentified(design, stats, criterion.method))
        for digits in (stats.lost_digits(error), rounded_response(design, sigma2**0.5)):
            problems = (*problems, digits) if digits else problems
        for problem in problems:
            warn(f"{problem[0].upper()}{problem[1:]}.", FitWarning)
        norm = float(np.abs(best.gradient).max())
        relative = _relative(best.gradient, criterion.row_sizes(best.x))
        # Rounding leaves so much of the gradient, at the optimum too.
        noise = 2.0 * error * max((term.n_levels for term in design.terms), default=1)
        converged = relative < max(_GRADIENT_TOLERANCE, noise)
        if not converged:
            warn(
                f"The {criterion.method} search stopped with gradient {relative:.2g} (tolerance "
                f"{_GRADIENT_TOLERANCE:g}); the estimates may not be the optimum.",
                FitWarning,
            )
        return RemlFit(
            design=design,
            method=criterion.method,
            components=criterion.components(best.x, blocks, sigma2),
            beta=later(_labelled_beta, design, stats.fixed.to_beta(gamma)),
            cov_beta=later(_labelled_cov, design, stats.fixed.cov_beta(sigma2 * S_inv)),
            criterion=best.value,
            singular=best.boundary,
            converged=converged,
            n_evaluations=criterion.n_evaluations,
            gradient_norm=norm,
            _stats=stats,
            problems=problems,
        )


def _beside(points: Array, rest: Array) -> Array:
    """Return points (S, m) with the same other coordinates after them, (S, d)."""
    if not len(rest):
        return points
    return np.hstack([points, np.broadcast_to(rest, (len(points), len(rest)))])


def _relative(gradient: Array, size: Array) -> float:
    """Return the largest element of a gradient; where λ is large, by its relative change."""
    return float((np.abs(gradient) * np.maximum(1.0, size)).max())


def _labelled_beta(design: Design, beta: Array) -> pd.Series:
    return pd.Series(beta, design.fixed_index, name="beta")


def _labelled_cov(design: Design, cov: Array) -> pd.DataFrame:
    return pd.DataFrame(cov, design.fixed_index, design.fixed_index)
