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
from bayesv.inference.target import Target
from bayesv.linalg import Array, evenly_spaced, symmetrize

__all__ = ["Score", "posterior_score", "sd_positions"]


@dataclass(frozen=True, eq=False)
class Score:
    """Where draws are, and the gradients of log p(· | y) and of the log prior there.

    Attributes
    ----------
    names : tuple of str
        Of the d coordinates: log SDs, Fisher's z of (partial) correlations, log σ.
    position, gradient, prior : ndarray, shapes (S, d)
        Coordinates, derivative of the log posterior and of the log prior density by them, both
        densities with respect to the coordinates.
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
    prior: Array
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
    gradient, prior, n_outside = np.zeros_like(x), np.zeros_like(x), 0
    # Side by side only what takes long: threads cost, too.
    slopes_at = run(target.value_and_gradient, list(x), serial=not target.expensive)
    for i, (point, (value, slope)) in enumerate(zip(x, slopes_at, strict=True)):
        if np.isfinite(value):
            gradient[i], prior[i] = slope, target.log_prior.gradient(point)
        else:
            n_outside += 1
    is_sd = coordinates.is_sd
    if coordinates.has_sigma:
        for slopes in (gradient, prior):
            slopes[:, -1] -= slopes[:, is_sd].sum(axis=1)
        with np.errstate(invalid="ignore"):
            x[:, is_sd] += x[:, -1:]
    rounding = _rounding(coordinates, values)
    return Score(coordinates.names, np.nan_to_num(x), gradient, prior, n_outside, rounding)


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
