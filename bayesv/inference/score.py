"""The score of the posterior at draws: the gradient whose mean over the posterior is 0."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from bayesv.covariance import ComponentDraws
from bayesv.design.design import Design
from bayesv.gram.threads import run
from bayesv.inference.coordinates import Coordinates
from bayesv.inference.density import MarginalDensity
from bayesv.inference.log_prior import LogPrior, coordinates_for
from bayesv.inference.target import Target
from bayesv.linalg import Array, evenly_spaced, symmetrize

__all__ = ["Score", "positions", "posterior_score", "prior_score", "sd_positions"]


@dataclass(frozen=True, eq=False)
class Score:
    """Where draws are, and the gradient of log p(· | y) there.

    Attributes
    ----------
    names : tuple of str
        Of the d coordinates: log SDs, Fisher's z of (partial) correlations, log σ.
    position, gradient : ndarray, shapes (S, d)
        Coordinates, and the derivative by them of the log posterior density with respect to them.
    n_outside : int
        Draws at which the density cannot be evaluated, such as an SD of exactly 0. Their gradients
        are 0.
    rounding : float
        How far a log SD moves when the last digit of the drawn Σ does: large where the coordinates
        are of effects at the mean of a covariate that is very far from 0.
    """

    names: tuple[str, ...]
    position: Array
    gradient: Array
    n_outside: int
    rounding: float


def posterior_score(density: MarginalDensity, values: ComponentDraws) -> Score:
    """Return the score at draws of (Σ, σ²), with u and β integrated out.

    Parameters
    ----------
    density : MarginalDensity
    values : ComponentDraws, shape (S,)

    Notes
    -----
    If draws are from a density p that vanishes at the ends of each coordinate, E[∇ log p] = 0 and
    E[(x − c) ∇' log p] = −I for every c (Stein's identity). Coordinates are log SDs, not log SDs
    over σ, so that a gradient by log σ leaves Σ where it is.
    """
    target = Target(density)
    coordinates = target.coordinates
    x = coordinates.from_values(values)
    gradient, n_outside = np.zeros_like(x), 0
    # Side by side only what takes long: threads cost, too.
    slopes_at = run(target.value_and_gradient, list(x), serial=not target.expensive)
    for i, (value, slope) in enumerate(slopes_at):
        if np.isfinite(value):
            gradient[i] = slope
        else:
            n_outside += 1
    gradient = _by_sds(coordinates, gradient)
    rounding = _rounding(coordinates, values)
    return Score(coordinates.names, _of_sds(coordinates, x), gradient, n_outside, rounding)


def positions(density: MarginalDensity, values: ComponentDraws) -> Array:
    """Return the coordinates of draws, shape (S,), that a `Score` is by: (S, d)."""
    coordinates = coordinates_for(density.priors)[0]
    return _of_sds(coordinates, coordinates.from_values(values))


def prior_score(density: MarginalDensity, values: ComponentDraws) -> Array:
    """Return the gradient of the log prior density at draws, shape (S,), as a `Score` has it.

    It is 0 where it is not defined, such as at an SD of 0.
    """
    coordinates = coordinates_for(density.priors)[0]
    log_prior, x = LogPrior(density.priors, coordinates), coordinates.from_values(values)
    slopes = np.zeros_like(x)
    for i in np.flatnonzero(np.isfinite(x).all(axis=1)):
        slopes[i] = log_prior.gradient(x[i])
    return _by_sds(coordinates, slopes)


def _of_sds(coordinates: Coordinates, x: Array) -> Array:
    """Return coordinates (S, d) with log SDs in the place of log SDs over σ."""
    x = x.copy()
    if coordinates.has_sigma:
        with np.errstate(invalid="ignore"):
            x[:, coordinates.is_sd] += x[:, -1:]
    return np.nan_to_num(x)


def _by_sds(coordinates: Coordinates, slopes: Array) -> Array:
    """Return derivatives (S, d) by log σ where log SDs, not log SDs over σ, are held."""
    slopes = slopes.copy()
    if coordinates.has_sigma:
        slopes[:, -1] -= slopes[:, coordinates.is_sd].sum(axis=1)
    return slopes


def sd_positions(design: Design) -> dict[str, NDArray[np.intp]]:
    """Return the positions of each term's log SDs among the coordinates."""
    places = np.arange(Coordinates.as_written(design).size)
    return {part.term.group: places[part.sds] for part in Coordinates.as_written(design).parts}


def _rounding(coordinates: Coordinates, values: ComponentDraws) -> float:
    """Return the median error of log SDs by rounding of Σ, from a change that is 10⁴ times it."""
    some, rng = values.take(evenly_spaced(values.size, 50)), np.random.default_rng(0)
    eps, x = 1e4 * np.finfo(float).eps, []
    for size in (0.0, eps):
        moved = {}
        for group, cov in some.covs.items():
            sign = np.sign(symmetrize(rng.normal(size=cov.shape)))
            moved[group] = cov * (1.0 + size * sign)
        x.append(coordinates.from_values(replace(some, covs=moved))[:, coordinates.is_sd])
    with np.errstate(invalid="ignore"):
        gap = np.abs(x[1] - x[0])
    return float(np.median(gap[np.isfinite(gap)])) / 1e4 if np.isfinite(gap).any() else np.inf
