"""How far estimates are from where all probes of the log-determinant would put them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from bayesv.gram import Elimination
from bayesv.linalg import Array, Mask, symmetrize
from bayesv.reml.criterion import Criterion

__all__ = ["Certificate", "certify"]

_SOLVED = 1e-5  # largest relative residual of a system that counts as solved
_SURE = 0.975  # probability up to which an error of the probes is covered, on either side
_STEP, _LEAST = 1e-3, 0.03  # of differences: relative to a row of λ, and the least size of one
_FROM_ZERO = 0.03  # step from a boundary
_FLAT = 1e-12  # curvature that is none, relative to the largest


@dataclass(frozen=True, eq=False)
class Certificate:
    """What is random in a fit by iteration, judged by how its probes differ among themselves.

    Attributes
    ----------
    shift : Series
        How far each SD, and the residual one, may be from where infinitely many probes put it, in
        units of its standard error: covered with 95 %.
    criterion_se : float
        Standard error of −2 log likelihood as a number; differences between values near each other
        have far less.
    n_probes : int
    tolerance : float
        Largest shift that was asked for.
    residual : float
        Largest relative residual that the iteration leaves of its linear systems.
    """

    shift: pd.Series
    criterion_se: float
    n_probes: int
    tolerance: float
    residual: float

    @property
    def largest(self) -> float:
        """Largest shift."""
        return float(self.shift.max())

    @property
    def met(self) -> bool:
        """Whether no shift is larger than was asked for, and the iteration came to its end."""
        return self.solved and self.largest <= self.tolerance

    @property
    def solved(self) -> bool:
        """Whether the iteration came to its end before its steps did."""
        return self.residual <= _SOLVED

    @property
    def problem(self) -> str | None:
        """What is wrong, in words, or None."""
        if self.met:
            return None
        if not self.solved:
            return (
                "the iteration over crossed effects ran out of steps: it solves its linear systems "
                f"to {self.residual:.1g}, relative, where {_SOLVED:g} is needed. Use "
                "elimination='crossed' if memory allows the dense block"
            )
        return (
            "the stochastic part of the log-determinant is too coarse: with "
            f"{self.n_probes} probes the SD of {self.shift.idxmax()} is known to "
            f"{self.largest:.1%} of its standard error (tolerance {self.tolerance:.1%}). Ask for a "
            "larger tolerance=, or use elimination='crossed' if memory allows the dense block"
        )

    def describe(self) -> str:
        """Return the certificate in words."""
        return (
            f"by iteration with {self.n_probes} probes: SDs are known to {self.largest:.2%} of "
            f"their standard errors, or better; −2 log likelihood ± {self.criterion_se:.2g}"
        )


def certify(
    criterion: Criterion,
    here: Elimination,
    x: Array,
    free: Mask,
    gradient: Array,
    tolerance: float,
) -> Certificate:
    """Judge a minimum of a criterion with probes.

    Parameters
    ----------
    criterion : Criterion
    here : Elimination
        At x.
    x : ndarray, shape (d,)
        Where it is least.
    free : ndarray of bool, shape (d,)
        Coordinates that are not held on a boundary.
    gradient : ndarray, shape (d,)
        There.
    tolerance : float

    Notes
    -----
    The criterion has a mean over n probes in it. With the covariance C of the derivatives of their
    parts, found by differences, and its Hessian H, the minimum is off by H⁻¹ times the error of the
    mean, of covariance H⁻¹CH⁻¹/n, beside 2H⁻¹ of the estimates. A variance of 0 moves only where
    the derivative by it, positive there, is less than its error.
    """
    probes = criterion.stats.probes
    assert probes is not None
    n = probes.number(criterion.stats.p + 1)
    sure = float(stdtrit(n - 1, _SURE))
    steps = np.where(free, _STEP * np.maximum(criterion.row_sizes(x), _LEAST), _FROM_ZERO)
    base, values = criterion.value_of(here), _variances(criterion, x, here)
    unit = _units(criterion, values)
    residual, shift, moves, slopes, by_probe = here.residual, np.zeros(len(values)), [], [], []
    for j in np.flatnonzero(free | (x == 0.0)):
        point = x.copy()
        point[j] += steps[j]
        value, slope, there = criterion.with_elimination(point)
        moved, parts = _variances(criterion, point, there) - values, there.logs - here.logs
        residual = max(residual, there.residual)
        if free[j]:
            moves.append(moved / steps[j])
            slopes.append((slope - gradient)[free] / steps[j])
            by_probe.append(parts / steps[j])
            continue
        rise = sure * float(parts.std(ddof=1)) / np.sqrt(n) - (value - base)
        effect = int(np.argmax(moved / unit))
        if rise > 0.0 and moved[effect] > 0.0:
            shift[effect] += 0.5 * rise * unit[effect] / moved[effect]
    if moves:
        J, H = np.array(moves).T, symmetrize(np.array(slopes))
        to_values = J @ np.linalg.pinv(H, rcond=_FLAT, hermitian=True)
        errors = to_values @ (np.array(by_probe) - np.mean(by_probe, axis=1, keepdims=True))
        of_probes = np.sqrt((errors**2).sum(axis=1) / (n * (n - 1)))
        own = 0.0 if criterion.sigma_is_known else 2.0 * values**2 / criterion.df
        of_estimates = np.sqrt(np.maximum(2.0 * (to_values * J).sum(axis=1), 0.0) + own)
        shift += sure * of_probes / np.maximum(of_estimates, unit)
    names = [f"{c} in {term.group}" for term in criterion.design.terms for c in term.columns]
    return Certificate(
        pd.Series(shift, [*names, "Residual"], name="shift"),
        criterion_se=here.logdet_se,
        n_probes=n,
        tolerance=tolerance,
        residual=residual,
    )


def _variances(criterion: Criterion, x: Array, done: Elimination) -> Array:
    """Return variances of all effects, and σ²."""
    sigma2 = criterion.profiled_sigma2(done)
    relative = [(root**2).sum(axis=1) for root in criterion.roots(x)]
    return sigma2 * np.concatenate([*relative, [1.0]])


def _units(criterion: Criterion, values: Array) -> Array:
    """Return the least standard errors of all variances.

    That of v over J levels in a balanced layout without other terms is √(2/J)(σ²/m + v) with m rows
    of columns of mean square 1 a level. It is not 0 on a boundary.
    """
    stats, sigma2 = criterion.stats, values[-1]
    terms = criterion.design.terms
    levels = np.concatenate([np.full(t.n_columns, float(t.n_levels)) for t in terms])
    sizes = zip(stats.bases, stats.squares, strict=True)
    squares = np.concatenate([np.diagonal(b.T @ A.sum(axis=0) @ b) for b, A in sizes])
    of_mean = sigma2 * levels / np.where(squares > 0, squares, 1.0)
    of_effects = np.sqrt(2.0 / levels) * (of_mean + values[:-1])
    return np.append(of_effects, sigma2 * np.sqrt(2.0 / criterion.df))
