"""Normalised prior densities of one coordinate z of a correlation."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from scipy.special import betaln, expit, log_expit

from bayesv.linalg import Array

__all__ = ["BetaShare", "CoordinatePrior", "CorrelationPC", "HalfBeta", "RangePC"]


class CoordinatePrior(ABC):
    """The density of one coordinate."""

    @abstractmethod
    def log_density(self, z: Array) -> Array:
        """Return the log density by z, normalised, same shape."""

    @abstractmethod
    def gradient(self, z: Array) -> Array:
        """Return the derivative of the log density by z."""

    @abstractmethod
    def draw(self, rng: np.random.Generator, count: int) -> Array:
        """Return so many draws of z."""


def _draw_log_gamma(rng: np.random.Generator, shape: float, count: int) -> Array:
    """Draw the logarithm of a gamma variable, also where it is too small for a float."""
    # G(a) = G(a + 1) U^(1/a)
    return np.log(rng.standard_gamma(shape + 1.0, count)) - rng.exponential(size=count) / shape


@dataclass(frozen=True)
class BetaShare(CoordinatePrior):
    """Beta(a, b) of logit⁻¹(steepness · z), the place of a parameter within its range.

    Parameters
    ----------
    a, b : float
        Of the beta density; 1, 1 is uniform over the range.
    steepness : float
        As of the parameter's `Interval`.
    """

    a: float
    b: float
    steepness: float = 1.0

    def log_density(self, z: Array) -> Array:  # noqa: D102
        logit = self.steepness * z
        beta = self.a * log_expit(logit) + self.b * log_expit(-logit) - betaln(self.a, self.b)
        return np.asarray(beta + np.log(self.steepness))

    def gradient(self, z: Array) -> Array:  # noqa: D102
        logit = self.steepness * z
        return np.asarray(self.steepness * (self.a * expit(-logit) - self.b * expit(logit)))

    def draw(self, rng: np.random.Generator, count: int) -> Array:  # noqa: D102
        logit = _draw_log_gamma(rng, self.a, count) - _draw_log_gamma(rng, self.b, count)
        return logit / self.steepness


@dataclass(frozen=True)
class HalfBeta(CoordinatePrior):
    """Beta(η, η) of (1 + ρ)/2 given that ρ ≥ 0, for ρ = logit⁻¹(z).

    Parameters
    ----------
    eta : float
        1 is uniform over (0, 1).
    """

    eta: float

    def log_density(self, z: Array) -> Array:  # noqa: D102
        log_rest = log_expit(-np.asarray(z))
        constant = (2.0 - 2.0 * self.eta) * np.log(2.0) - betaln(self.eta, self.eta)
        power = (self.eta - 1.0) * (log_rest + np.log1p(expit(z)))
        return np.asarray(log_expit(z) + log_rest + power + constant)

    def gradient(self, z: Array) -> Array:  # noqa: D102
        rho = expit(z)
        return np.asarray(1.0 - 2.0 * rho - 2.0 * (self.eta - 1.0) * rho**2 / (1.0 + rho))

    def draw(self, rng: np.random.Generator, count: int) -> Array:  # noqa: D102
        # The logits x of (1 + ρ)/2 are symmetric: ρ = tanh(|x|/2).
        logit = BetaShare(self.eta, self.eta).draw(rng, count)
        size = np.abs(logit)
        with np.errstate(divide="ignore"):
            return np.asarray(np.log(np.expm1(size)) - np.log(2.0))


@dataclass(frozen=True)
class RangePC(CoordinatePrior):
    """Prior of a range unit · exp(z) that shrinks towards infinite ranges.

    π(range) = (d/2) λ range^(−d/2−1) exp(−λ range^(−d/2)), the prior of Fuglstad, Simpson, Lindgren
    and Rue (2019, https://doi.org/10.1080/01621459.2017.1415907) without its factor for the SD.

    Parameters
    ----------
    rate : float
        λ = −log(P(range < r₀)) r₀^(d/2), see `below`.
    dimension : int
        d of the space that positions are in: 1 for times, 2 for a field.
    unit : float
        As of the parameter's `Positive`.
    """

    rate: float
    dimension: int = 1
    unit: float = 1.0

    @classmethod
    def below(cls, span: float, probability: float = 0.05, dimension: int = 1) -> RangePC:
        """Return the prior under which the range is below ``span`` with this probability."""
        return cls(float(-np.log(probability) * span ** (0.5 * dimension)), dimension)

    def _log_power(self, z: Array) -> Array:
        """Return log(λ range^(−d/2))."""
        log_range = np.asarray(z) + np.log(self.unit)
        return np.asarray(np.log(self.rate) - 0.5 * self.dimension * log_range)

    def log_density(self, z: Array) -> Array:  # noqa: D102
        log_power = self._log_power(z)
        return np.asarray(np.log(0.5 * self.dimension) + log_power - np.exp(log_power))

    def gradient(self, z: Array) -> Array:  # noqa: D102
        return np.asarray(0.5 * self.dimension * np.expm1(self._log_power(z)))

    def draw(self, rng: np.random.Generator, count: int) -> Array:  # noqa: D102
        exponential = rng.exponential(size=count)
        log_range = (np.log(self.rate) - np.log(exponential)) / (0.5 * self.dimension)
        return np.asarray(log_range - np.log(self.unit))


@dataclass(frozen=True)
class CorrelationPC(CoordinatePrior):
    """Prior of a correlation ρ = tanh z that shrinks towards 0.

    √(−log(1 − ρ²)) is exponential and the sign is fair (Sørbye and Rue 2017, base model ρ = 0,
    https://doi.org/10.1111/jtsa.12242).

    Parameters
    ----------
    rate : float
        λ = −log(P(|ρ| > u)) / √(−log(1 − u²)), see `above`.
    """

    rate: float

    @classmethod
    def above(cls, size: float, probability: float) -> CorrelationPC:
        """Return the prior under which |ρ| is above ``size`` with this probability."""
        return cls(float(-np.log(probability) / np.sqrt(-np.log1p(-(size**2)))))

    @staticmethod
    def _distance(z: Array) -> tuple[Array, Array]:
        """Return √(2 log cosh z) and its derivative by |z|."""
        size = np.abs(z)
        # log cosh z = log1p(2 sinh²(z/2)) for small z, and without overflow for large ones.
        small = np.log1p(2.0 * np.sinh(0.5 * np.minimum(size, 20.0)) ** 2)
        log_cosh = np.where(size < 20.0, small, size - np.log(2.0))
        distance = np.sqrt(2.0 * log_cosh)
        with np.errstate(divide="ignore", invalid="ignore"):
            slope = np.where(size > 0.0, np.tanh(size) / distance, 1.0)
        return distance, slope

    def log_density(self, z: Array) -> Array:  # noqa: D102
        distance, slope = self._distance(np.asarray(z))
        return np.asarray(np.log(0.5 * self.rate) - self.rate * distance + np.log(slope))

    def gradient(self, z: Array) -> Array:  # noqa: D102
        z = np.asarray(z)
        distance, slope = self._distance(z)
        size = np.abs(z)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            curvature = np.where(size > 0.0, 2.0 / np.sinh(2.0 * size) - slope / distance, 0.0)
        return np.asarray(np.sign(z) * (curvature - self.rate * slope))

    def draw(self, rng: np.random.Generator, count: int) -> Array:  # noqa: D102
        half = 0.5 * (rng.exponential(size=count) / self.rate) ** 2
        # arccosh(exp(half)), without overflow
        size = half + np.log1p(np.sqrt(-np.expm1(-2.0 * half)))
        return np.asarray(size * rng.choice((-1.0, 1.0), size=count))
