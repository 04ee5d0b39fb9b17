"""Correlation functions of distance with one parameter, and their derivatives by it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
import scipy  # .optimize is loaded when it is used
from scipy.special import gamma, kv

from bayesv.linalg import Array, Mask

__all__ = ["Decay", "Exponential", "Gaussian", "Matern", "Power"]

_LEAST_CORRELATION = 1e-12  # below, a correlation says nothing of the parameter


class Decay(ABC):
    """A correlation f(d; ψ₁) that falls with distance from 1 at d = 0."""

    @abstractmethod
    def value(self, psi: Array, distance: Array) -> Array:
        """Return f, ψ₁ and distances broadcast against each other."""

    @abstractmethod
    def first(self, psi: float, distance: Array) -> Array:
        """Return ∂f/∂ψ₁."""

    @abstractmethod
    def second(self, psi: float, distance: Array) -> Array:
        """Return ∂²f/∂ψ₁²."""

    @abstractmethod
    def inverse(self, correlation: Array, distance: Array) -> Array:
        """Return ψ₁ of correlations within (0, 1) at distances above 0."""

    def parameter(self, correlation: Array, distance: Array) -> Array:
        """Return ψ₁ of what may be no such correlation: the nearest that says something."""
        inside = np.clip(correlation, _LEAST_CORRELATION, 1.0 - np.finfo(float).eps)
        return self.inverse(inside, distance)


@dataclass(frozen=True)
class Power(Decay):
    """ρ^d, 0 < ρ < 1; derivatives are finite where ρ is next to 0."""

    def value(self, psi: Array, distance: Array) -> Array:  # noqa: D102
        return np.asarray(psi**distance)

    def first(self, psi: float, distance: Array) -> Array:  # noqa: D102
        return np.asarray(distance * max(psi, 1e-300) ** (distance - 1.0))

    def second(self, psi: float, distance: Array) -> Array:  # noqa: D102
        return np.asarray(distance * (distance - 1.0) * max(psi, 1e-150) ** (distance - 2.0))

    def inverse(self, correlation: Array, distance: Array) -> Array:  # noqa: D102
        return np.asarray(correlation ** (1.0 / distance))


@dataclass(frozen=True)
class Exponential(Decay):
    """exp(−d/range)."""

    def value(self, psi: Array, distance: Array) -> Array:  # noqa: D102
        return np.asarray(np.exp(-distance / psi))

    def first(self, psi: float, distance: Array) -> Array:  # noqa: D102
        ratio = distance / psi
        return np.asarray(np.exp(-ratio) * ratio / psi)

    def second(self, psi: float, distance: Array) -> Array:  # noqa: D102
        ratio = distance / psi
        return np.asarray(np.exp(-ratio) * ratio * (ratio - 2.0) / psi**2)

    def inverse(self, correlation: Array, distance: Array) -> Array:  # noqa: D102
        return np.asarray(-distance / np.log(correlation))


@dataclass(frozen=True)
class Gaussian(Decay):
    """exp(−d²/range²)."""

    def value(self, psi: Array, distance: Array) -> Array:  # noqa: D102
        return np.asarray(np.exp(-((distance / psi) ** 2)))

    def first(self, psi: float, distance: Array) -> Array:  # noqa: D102
        square = (distance / psi) ** 2
        return np.asarray(np.exp(-square) * 2.0 * square / psi)

    def second(self, psi: float, distance: Array) -> Array:  # noqa: D102
        square = (distance / psi) ** 2
        return np.asarray(np.exp(-square) * square * (4.0 * square - 6.0) / psi**2)

    def inverse(self, correlation: Array, distance: Array) -> Array:  # noqa: D102
        return np.asarray(distance / np.sqrt(-np.log(correlation)))


@dataclass(frozen=True)
class Matern(Decay):
    """2^(1−ν)/Γ(ν) x^ν K_ν(x) with x = d/range; ν = ½ is the exponential.

    Parameters
    ----------
    smoothness : float
        ν, which is held fixed.
    """

    smoothness: float = 1.5

    def _scaled(self, power: float, order: float, x: Array) -> Array:
        """Return 2^(1−ν)/Γ(ν) x^power K_order(x) for x > 0."""
        constant = 2.0 ** (1.0 - self.smoothness) / gamma(self.smoothness)
        with np.errstate(over="ignore", invalid="ignore"):  # 0 · ∞ where x is next to nothing
            return np.asarray(constant * x**power * kv(order, x))

    def value(self, psi: Array, distance: Array) -> Array:  # noqa: D102
        x = np.asarray(distance / psi)
        apart = x > 1e-300
        nu = self.smoothness
        inside = self._scaled(nu, nu, np.where(apart, x, 1.0))
        # K_ν overflows before x^ν K_ν is different from its limit.
        return np.asarray(np.where(apart & np.isfinite(inside), inside, 1.0))

    def first(self, psi: float, distance: Array) -> Array:  # noqa: D102
        x, apart = self._ratio(psi, distance)
        slope = -self._scaled(self.smoothness, self.smoothness - 1.0, x)
        return np.where(apart, -slope * x / psi, 0.0)

    def second(self, psi: float, distance: Array) -> Array:  # noqa: D102
        x, apart = self._ratio(psi, distance)
        nu = self.smoothness
        slope = -self._scaled(nu, nu - 1.0, x)
        curvature = self._scaled(nu, nu - 2.0, x) - self._scaled(nu - 1.0, nu - 1.0, x)
        return np.where(apart, (curvature * x + 2.0 * slope) * x / psi**2, 0.0)

    @staticmethod
    def _ratio(psi: float, distance: Array) -> tuple[Array, Mask]:
        x = np.asarray(distance / psi)
        apart = x > 1e-100
        return np.where(apart, x, 1.0), apart

    def inverse(self, correlation: Array, distance: Array) -> Array:  # noqa: D102
        flat = np.broadcast_arrays(correlation, distance)
        log_x = [_crossing(self, float(c)) for c in flat[0].ravel()]
        return np.asarray(flat[1] / np.exp(np.reshape(log_x, flat[0].shape)))


def _crossing(matern: Matern, correlation: float) -> float:
    """Return log x at which the function of x = d/range falls to a correlation."""

    def excess(log_x: float) -> float:
        return float(matern.value(np.array(1.0), np.array(np.exp(log_x)))) - correlation

    low, high = -40.0, 6.0
    if excess(low) <= 0.0:
        return low
    return float(scipy.optimize.brentq(excess, low, high, xtol=1e-15, rtol=8.9e-16))
