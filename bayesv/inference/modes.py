"""All modes of p(x | y) that many different starts lead to, with the mass each seems to have."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy  # .optimize is loaded when it is used
from scipy.special import chdtri

from bayesv.covariance import ComponentDraws, VarianceComponents
from bayesv.errors import BayesvError
from bayesv.inference.ascent import climb
from bayesv.inference.target import Target, width_root
from bayesv.linalg import Array, log_sum
from bayesv.support.progress import progress

__all__ = ["NOWHERE", "Mode", "find_modes", "laplace_shares", "unvisited"]

_PRIOR_DRAWS, _FEW_PRIOR_DRAWS = 400, 20  # that are looked at, by the cost of an evaluation
_PRIOR_STARTS = 6  # of the highest of them, climbs start
_MOST_STARTS = 40
_FEW_STARTS = 3  # beside REML's, where an evaluation takes long
_SHIFTS_OF_SIGMA = np.array([-3.0, -1.5, -0.7, 0.0, 0.7, 1.5, 3.0])
_FEW_SHIFTS = np.array([-1.0, 0.0, 1.0])
_SMALL_LOG_SD = -4.0  # log SD over σ of a small random effect
_STRONG_ATANH = 2.0  # atanh of a strong partial correlation
_NEGLIGIBLE_LOG_MASS = 16.0  # log mass below the largest at which a mode is left out
_MOST_SUMMITS, _MOST_MODES = 12, 6
_SHARE_WORTH_SAYING = 0.01  # share of a mode that draws must not miss
_OUTSIDE_VALUE = 1e12  # minus the log density where it cannot be evaluated

NOWHERE = (
    "The posterior density cannot be evaluated around its mode: too few digits are left there. "
    "Check the scale of the response, and whether random effects, or residuals with a correlation "
    "next to 1, reproduce it."
)


@dataclass(frozen=True, eq=False)
class Mode:
    """A local maximum of the log density.

    Attributes
    ----------
    x : ndarray, shape (d,)
    root : ndarray, shape (d, d)
        Lower Cholesky root of the inverse Hessian of minus the log density.
    log_density, log_mass : float
        At x, and of the normal approximation there (Laplace), up to the target's constant.
    """

    x: Array
    root: Array
    log_density: float
    log_mass: float

    def is_near(self, x: Array) -> bool:
        """Return whether a point is within one SD of the normal approximation."""
        return float(np.linalg.norm(np.linalg.solve(self.root, x - self.x))) < 1.0


def find_modes(
    target: Target, start: VarianceComponents, rng: np.random.Generator
) -> tuple[Mode, ...]:
    """Return the modes that were found, by decreasing mass; none below e⁻¹⁶ of the largest.

    Parameters
    ----------
    target : Target
    start : VarianceComponents
        Where one climb starts, such as the REML estimate.
    rng : Generator
        Of draws from the prior, where other climbs start.

    Raises
    ------
    BayesvError
        If the density cannot be evaluated around any of them.

    Notes
    -----
    A posterior has several modes where prior and likelihood, or two components that compete for
    the same variance, contradict each other. Climbs start at ``start``, there with each SD small
    or at its prior's median, with correlations at 0 and near ±1, and at draws from the prior.
    """
    point = ComponentDraws.with_parameters(target.coordinates.design, start)
    first = target.coordinates.near(point)
    # An SD estimated as 0 starts at a tenth of σ: at 0 the density by log SD is flat.
    is_sd = target.coordinates.is_sd
    first[is_sd] = np.maximum(first[is_sd], -2.5)
    with progress("looking for posterior modes", show=target.show) as step:
        starts = _starts(target, first, rng)
        search = _climb_together if target.cheap else _climb_one_by_one
        found = [mode for mode in search(target, starts, step) if np.isfinite(mode.log_mass)]
    if not found:
        raise BayesvError(NOWHERE)
    modes = sorted(found, key=lambda mode: -mode.log_mass)
    return tuple(m for m in modes if m.log_mass > modes[0].log_mass - _NEGLIGIBLE_LOG_MASS)[
        :_MOST_MODES
    ]


def laplace_shares(modes: Sequence[Mode]) -> Array:
    """Return the share of each mode in the mass of all, by the normal approximations."""
    log_mass = np.array([mode.log_mass for mode in modes])
    return np.asarray(np.exp(log_mass - log_sum(log_mass)))


def _climb_together(target: Target, starts: Array, step: Callable[[int], None]) -> list[Mode]:
    summits, _ = climb(lambda x: target.evaluate(x)[0], starts)
    modes: list[Mode] = []
    for x in summits[:_MOST_SUMMITS]:
        if not any(mode.is_near(x) for mode in modes):
            modes.append(_mode_at(target, x, step))
    return modes


def _climb_one_by_one(target: Target, starts: Array, step: Callable[[int], None]) -> list[Mode]:
    """Climb with the analytic gradient, from each start until a known summit is near."""
    modes: list[Mode] = []

    def objective(x: Array) -> tuple[float, Array]:
        step(1)
        value, gradient = target.value_and_gradient(x)
        return (-value, -gradient) if np.isfinite(value) else (_OUTSIDE_VALUE, 0.0 * x)

    def stop_near_a_mode(x: Array) -> None:
        if any(mode.is_near(x) for mode in modes):
            raise StopIteration

    for start in starts:
        # The curvature at the first mode serves all later climbs: it costs many evaluations.
        inverse = modes[0].root @ modes[0].root.T if modes else target.inverse_hessian(start, step)
        # The proposal needs no more digits of the mode than this.
        options = {"gtol": 1e-2, "hess_inv0": inverse}
        result = scipy.optimize.minimize(
            objective, start, jac=True, method="BFGS", options=options, callback=stop_near_a_mode
        )
        if not any(mode.is_near(result.x) for mode in modes):
            modes.append(_mode_at(target, np.asarray(result.x), step))
    return modes


def _mode_at(target: Target, x: Array, step: Callable[[int], None]) -> Mode:
    L = width_root(target.inverse_hessian(x, step))
    value = float(target.evaluate(x[None])[0][0])
    return Mode(x, L, value, value + float(np.log(np.diagonal(L)).sum()))


def _starts(target: Target, first: Array, rng: np.random.Generator) -> Array:
    """Return points of finite density, (K, d), ``first`` first and all others at their best σ."""
    coordinates = target.coordinates
    draws = target.log_prior.draws(rng, _PRIOR_DRAWS if target.cheap else _FEW_PRIOR_DRAWS)
    typical = np.median(draws, axis=0)
    is_sd, is_corr = coordinates.is_sd, ~coordinates.is_sd
    points = [typical]
    if coordinates.has_sigma:
        is_corr[-1] = False
        points = [_with(typical, -1, first[-1])]
    for j in np.flatnonzero(is_sd):
        points += [_with(first, j, _SMALL_LOG_SD), _with(first, j, typical[j])]
    points += [_with(first, is_sd, value) for value in (_SMALL_LOG_SD, typical[is_sd])]
    if is_corr.any():
        ends = (-_STRONG_ATANH, 0.0, _STRONG_ATANH)
        points += [_with(point, is_corr, z) for point in (first, typical) for z in ends]
    # The total variance of the data is about right whatever share of it the residual has.
    sizes = _SHIFTS_OF_SIGMA if target.cheap else _FEW_SHIFTS
    shifts = (sizes if coordinates.has_sigma else np.zeros(1))[:, None] * np.eye(len(first))[-1]
    shifted = (np.array(points[:_MOST_STARTS])[:, None] + shifts).reshape(-1, len(first))
    candidates = np.concatenate([shifted, draws])
    value = target.evaluate(candidates)[0]
    n = len(shifted)
    by_point = value[:n].reshape(-1, len(shifts))
    highest = np.arange(0, n, len(shifts)) + by_point.argmax(axis=1)
    chosen = np.concatenate([highest, n + np.argsort(-value[n:])[:_PRIOR_STARTS]])
    chosen = chosen[np.isfinite(value[chosen])]
    if not target.cheap:
        chosen = chosen[np.argsort(-value[chosen])[:_FEW_STARTS]]
    starts = np.concatenate([first[None], candidates[chosen]])
    if not np.isfinite(target.evaluate(first[None])[0][0]):
        starts = starts[1:]
    if not len(starts):
        raise BayesvError(NOWHERE)
    return starts


def _with(point: Array, index: Any, value: Any) -> Array:
    """Return a copy with other values at some positions."""
    new = point.copy()
    new[index] = value
    return new


def unvisited(modes: Sequence[Mode], x: Array) -> tuple[str, ...]:
    """Say which modes no draw, (S, d), is near; for samplers that may not find them by themselves.

    Near is within the 99.9 % of the normal approximation that are closest to the mode.
    """
    problems = []
    radius = chdtri(x.shape[1], 1e-3)
    for mode, share in zip(modes, laplace_shares(modes), strict=True):
        distance = (np.linalg.solve(mode.root, (x - mode.x).T) ** 2).sum(axis=0)
        if share >= _SHARE_WORTH_SAYING and not (distance < radius).any():
            problems.append(
                f"no draw is near a mode of the posterior that holds about {share:.0%} of its "
                "mass; use engine='collapsed', which draws from all modes"
            )
    return tuple(problems)
