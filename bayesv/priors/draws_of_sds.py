"""Draws of standard deviations from their priors."""

from __future__ import annotations

from typing import Any

import numpy as np

from bayesv.errors import PriorError
from bayesv.linalg import Array
from bayesv.priors.families import (
    Exponential,
    Flat,
    Gamma,
    HalfCauchy,
    HalfNormal,
    HalfStudentT,
    InverseGamma,
)

__all__ = ["draw_sd"]

_LARGEST_LOG = 600.0  # of a variance


def draw_sd(prior: Any, size: int, rng: np.random.Generator) -> Array:
    """Return so many draws of an SD from its prior, shape (size,).

    Raises
    ------
    PriorError
        If it is flat.
    """
    match prior:
        case HalfNormal(scale):
            draws = np.abs(rng.normal(0.0, scale, size))
        case HalfStudentT(nu, scale):
            draws = np.abs(scale * rng.standard_t(nu, size))
        case HalfCauchy(scale):
            draws = np.abs(scale * rng.standard_cauchy(size))
        case Exponential(scale):
            draws = rng.exponential(scale, size)
        case Gamma(shape, scale):
            draws = rng.gamma(shape, scale, size)
        case InverseGamma(shape, scale):  # of the variance
            draws = np.exp(0.5 * (np.log(scale) - _log_gamma_draws(shape, size, rng)))
        case Flat():
            raise PriorError("A flat prior of an SD has no draws; give a proper one.")
        case _:
            raise PriorError(f"There are no draws of {prior!r}.")
    return np.asarray(draws)


def _log_gamma_draws(shape: float, size: int, rng: np.random.Generator) -> Array:
    """Draw logs of Gamma(shape, 1) by Gamma(shape + 1, 1) U^(1/shape): small ones underflow else.

    Cut off where a variance or its inverse would leave the range of doubles.
    """
    logs = np.log(rng.gamma(shape + 1.0, 1.0, size)) + np.log(rng.uniform(size=size)) / shape
    return np.clip(logs, -_LARGEST_LOG, _LARGEST_LOG)
