"""Maps between a parameter of a correlation and its coordinate z on the whole line."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from scipy.special import expit, log_expit

from bayesv.linalg import Array

__all__ = ["CORRELATION", "SHARE", "CoordinateMap", "Interval", "PerUnit", "Positive", "sech"]


_LEAST = np.finfo(float).eps  # of a share and of what it leaves: the next float below 1


def sech(z: Array) -> Array:
    """Return √(1 − tanh²z) = 1/cosh z, without overflow."""
    decay = np.exp(-np.abs(z))
    return np.asarray(2.0 * decay / (1.0 + decay**2))


class CoordinateMap(ABC):
    """An increasing map from z ∈ ℝ to a parameter."""

    @property
    @abstractmethod
    def ends(self) -> tuple[float, float]:
        """The range of the parameter."""

    @abstractmethod
    def value(self, z: Array) -> Array:
        """Return the parameter."""

    @abstractmethod
    def inverse(self, value: Array) -> Array:
        """Return z, finite: an end of the range, or beyond, is as far out as floats go."""

    @abstractmethod
    def slope(self, z: Array) -> Array:
        """Return the derivative of the parameter by z."""

    @abstractmethod
    def log_slope(self, z: Array) -> Array:
        """Return the logarithm of the derivative."""


@dataclass(frozen=True)
class Interval(CoordinateMap):
    """A parameter between two ends: low + (high − low)·logit⁻¹(steepness · z).

    Parameters
    ----------
    low, high : float
    steepness : float
        2 makes z the atanh of a parameter between −1 and 1.
    """

    low: float
    high: float
    steepness: float = 1.0

    @property
    def ends(self) -> tuple[float, float]:  # noqa: D102
        return self.low, self.high

    def value(self, z: Array) -> Array:  # noqa: D102
        width = self.high - self.low
        if self.low == 0.0:
            return np.asarray(width * expit(self.steepness * z))
        middle = 0.5 * (self.low + self.high)
        return np.asarray(middle + 0.5 * width * np.tanh(0.5 * self.steepness * z))

    def inverse(self, value: Array) -> Array:  # noqa: D102
        share = (np.asarray(value) - self.low) / (self.high - self.low)
        share = np.clip(share, _LEAST, 1.0 - _LEAST)
        middle = 0.5 * (self.low + self.high)
        odds = np.log(share) - np.log1p(-share)
        if middle == 0.0:
            inside = np.clip(np.asarray(value) / self.high, 2.0 * _LEAST - 1.0, 1.0 - 2.0 * _LEAST)
            odds = 2.0 * np.arctanh(inside)  # exact near 0
        return np.asarray(odds / self.steepness)

    def slope(self, z: Array) -> Array:  # noqa: D102
        share = self.steepness * z
        width = self.high - self.low
        return np.asarray(width * self.steepness * expit(share) * expit(-share))

    def log_slope(self, z: Array) -> Array:  # noqa: D102
        share = self.steepness * z
        width = self.high - self.low
        return np.asarray(log_expit(share) + log_expit(-share) + np.log(width * self.steepness))


@dataclass(frozen=True)
class Positive(CoordinateMap):
    """A parameter above 0: unit · exp(z).

    Parameters
    ----------
    unit : float
        The parameter at z = 0.
    """

    unit: float = 1.0

    @property
    def ends(self) -> tuple[float, float]:  # noqa: D102
        return 0.0, np.inf

    def value(self, z: Array) -> Array:  # noqa: D102
        return np.asarray(self.unit * np.exp(z))

    def inverse(self, value: Array) -> Array:  # noqa: D102
        inside = np.clip(value, np.finfo(float).tiny, np.finfo(float).max)
        return np.asarray(np.log(inside) - np.log(self.unit))

    def slope(self, z: Array) -> Array:  # noqa: D102
        return self.value(z)

    def log_slope(self, z: Array) -> Array:  # noqa: D102
        return np.asarray(z + np.log(self.unit))


@dataclass(frozen=True)
class PerUnit(CoordinateMap):
    """A correlation at distance 1 that falls exponentially, of the logarithm z of its range.

    exp(−1/(unit · exp(z))): with positions in another unit z is the same.

    Parameters
    ----------
    unit : float
        The range at z = 0.
    """

    unit: float = 1.0

    @property
    def ends(self) -> tuple[float, float]:  # noqa: D102
        return 0.0, 1.0

    def rate(self, z: Array) -> Array:
        """Return −log of the correlation, the inverse of the range."""
        return np.asarray(np.exp(-z) / self.unit)

    def value(self, z: Array) -> Array:  # noqa: D102
        return np.asarray(np.exp(-self.rate(z)))

    def inverse(self, value: Array) -> Array:  # noqa: D102
        rate = -np.log(np.clip(value, np.finfo(float).tiny, 1.0 - 0.5 * _LEAST))
        return np.asarray(-np.log(rate) - np.log(self.unit))

    def slope(self, z: Array) -> Array:  # noqa: D102
        return np.asarray(self.value(z) * self.rate(z))

    def log_slope(self, z: Array) -> Array:  # noqa: D102
        return np.asarray(-self.rate(z) - z - np.log(self.unit))


CORRELATION = Interval(-1.0, 1.0, 2.0)
"""A correlation of either sign: tanh z."""

SHARE = Interval(0.0, 1.0)
"""A share, or a correlation that cannot be negative: logit⁻¹(z)."""
