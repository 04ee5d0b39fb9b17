"""Families of priors: densities of standard deviations, correlations and fixed effects."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from scipy.special import gammaln, xlog1py, xlogy

from bayesv.errors import PriorError
from bayesv.linalg import Array
from bayesv.structures.partials import lkj_log_constant

__all__ = [
    "LKJ",
    "CorrelationAbove",
    "Exponential",
    "Flat",
    "Gamma",
    "HalfCauchy",
    "HalfNormal",
    "HalfStudentT",
    "InverseGamma",
    "Normal",
    "RangeBelow",
    "SdPrior",
]


@dataclass(frozen=True)
class _Prior:
    """Common to all: positive finite parameters, a short text, a log density."""

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            ok = isinstance(value, int | float | np.number) and np.isfinite(value)
            if not ok or (value <= 0 and item.name != "mean"):
                raise PriorError(
                    f"{type(self).__name__}({item.name}={value!r}): a "
                    f"{'finite' if item.name == 'mean' else 'positive finite'} number is needed."
                )

    def __str__(self) -> str:
        values = ", ".join(f"{getattr(self, item.name):.4g}" for item in fields(self))
        return f"{type(self).__name__}({values})"


@dataclass(frozen=True)
class SdPrior(_Prior):
    """Prior of a standard deviation."""

    def log_density(self, sd: Array) -> Array:
        """Return the log density at standard deviations ≥ 0, normalised unless improper."""
        raise NotImplementedError

    def slope(self, sd: float) -> float:
        """Return the derivative of the log density by log SD, at an SD > 0."""
        raise NotImplementedError

    @property
    def tail(self) -> float:
        """Return a of a density that falls as sd^−a for large SDs; ∞ if faster than any power."""
        return float("inf")


@dataclass(frozen=True)
class HalfNormal(SdPrior):
    """Half-normal on an SD; ``scale`` in units of the SD."""

    scale: float

    def log_density(self, sd: Array) -> Array:  # noqa: D102
        return np.asarray(
            0.5 * np.log(2 / np.pi) - np.log(self.scale) - 0.5 * (np.asarray(sd) / self.scale) ** 2
        )

    def slope(self, sd: float) -> float:  # noqa: D102
        return -((sd / self.scale) ** 2)


@dataclass(frozen=True)
class HalfStudentT(SdPrior):
    """Half-t on an SD, ``nu`` degrees of freedom, ``scale`` in units of the SD."""

    nu: float
    scale: float

    def log_density(self, sd: Array) -> Array:  # noqa: D102
        half = 0.5 * (self.nu + 1)
        log_norm = gammaln(half) - gammaln(0.5 * self.nu) - 0.5 * np.log(self.nu * np.pi)
        tail = xlog1py(half, (np.asarray(sd) / self.scale) ** 2 / self.nu)
        return np.asarray(np.log(2) + log_norm - np.log(self.scale) - tail)

    def slope(self, sd: float) -> float:  # noqa: D102
        x2 = (sd / self.scale) ** 2
        return -(self.nu + 1) * x2 / (self.nu + x2)

    @property
    def tail(self) -> float:  # noqa: D102
        return self.nu + 1.0


@dataclass(frozen=True)
class HalfCauchy(SdPrior):
    """Half-Cauchy on an SD; proper, but E[V] may not exist with few groups."""

    scale: float

    def log_density(self, sd: Array) -> Array:  # noqa: D102
        return HalfStudentT(1.0, self.scale).log_density(sd)

    def slope(self, sd: float) -> float:  # noqa: D102
        return HalfStudentT(1.0, self.scale).slope(sd)

    @property
    def tail(self) -> float:  # noqa: D102
        return 2.0


@dataclass(frozen=True)
class Exponential(SdPrior):
    """Exponential on an SD with mean ``scale``."""

    scale: float

    def log_density(self, sd: Array) -> Array:  # noqa: D102
        return np.asarray(-np.log(self.scale) - np.asarray(sd) / self.scale)

    def slope(self, sd: float) -> float:  # noqa: D102
        return -sd / self.scale


@dataclass(frozen=True)
class Gamma(SdPrior):
    """Gamma on an SD with mean ``shape × scale``; shape 2 avoids the boundary."""

    shape: float
    scale: float

    def log_density(self, sd: Array) -> Array:  # noqa: D102
        x = np.asarray(sd) / self.scale
        return np.asarray(xlogy(self.shape - 1, x) - x - gammaln(self.shape) - np.log(self.scale))

    def slope(self, sd: float) -> float:  # noqa: D102
        return self.shape - 1 - sd / self.scale


@dataclass(frozen=True)
class InverseGamma(SdPrior):
    """Inverse gamma on the *variance*, stated as a density of the SD.

    With small parameters it has a spike near 0 and is never a default (Gelman 2006,
    https://doi.org/10.1214/06-BA117A).
    """

    shape: float
    scale: float

    def log_density(self, sd: Array) -> Array:  # noqa: D102
        sd = np.asarray(sd, dtype=float)
        log_norm = np.log(2) + self.shape * np.log(self.scale) - gammaln(self.shape)
        with np.errstate(divide="ignore", invalid="ignore"):
            value = log_norm - (2 * self.shape + 1) * np.log(sd) - self.scale / sd**2
        return np.where(sd > 0, value, -np.inf)

    def slope(self, sd: float) -> float:  # noqa: D102
        return 2 * self.scale / sd**2 - 2 * self.shape - 1

    @property
    def tail(self) -> float:  # noqa: D102
        return 2.0 * self.shape + 1.0


@dataclass(frozen=True)
class Flat(SdPrior):
    """Density 1: for β on the whole line (the default), for an SD on [0, ∞)."""

    def log_density(self, sd: Array) -> Array:  # noqa: D102
        return np.zeros(np.shape(sd))

    def slope(self, sd: float) -> float:  # noqa: D102
        return 0.0

    @property
    def tail(self) -> float:  # noqa: D102
        return 0.0


@dataclass(frozen=True)
class Normal(_Prior):
    """Normal prior of a fixed effect, ``mean`` and ``sd`` in its units."""

    mean: float
    sd: float

    def log_density(self, x: Array) -> Array:
        """Return the log density at values of the fixed effect."""
        z = (np.asarray(x) - self.mean) / self.sd
        return np.asarray(-0.5 * z**2 - np.log(self.sd) - 0.5 * np.log(2.0 * np.pi))


@dataclass(frozen=True)
class LKJ(_Prior):
    """LKJ(η) on the correlation matrix of one term's effects: density ∝ det(C)^(η − 1).

    Lewandowski, Kurowicka and Joe 2009, https://doi.org/10.1016/j.jmva.2009.04.008.
    """

    eta: float

    def log_density(self, log_det: Array, r: int) -> Array:
        """Return the log density of r × r correlation matrices with given log|C|."""
        return np.asarray((self.eta - 1.0) * log_det - lkj_log_constant(r, self.eta))


@dataclass(frozen=True)
class CorrelationAbove(_Prior):
    """Prior of a residual correlation ρ that shrinks to 0: P(|ρ| > ``size``) = ``probability``.

    For each ρ of ar1 and ad: the penalised-complexity prior with base model ρ = 0 (Sørbye and Rue
    2017, https://doi.org/10.1111/jtsa.12242).
    """

    size: float
    probability: float

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.size >= 1 or self.probability >= 1:
            raise PriorError(f"{self}: size and probability must be below 1.")


@dataclass(frozen=True)
class RangeBelow(_Prior):
    """Prior of a range that shrinks to infinite ones: P(range < ``span``) = ``probability``.

    For sp_exp, sp_gau and sp_mat: the penalised-complexity prior (Fuglstad, Simpson, Lindgren and
    Rue 2019, https://doi.org/10.1080/01621459.2017.1415907); ``span`` in units of the positions.
    """

    span: float
    probability: float = 0.05

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.probability >= 1:
            raise PriorError(f"{self}: probability must be below 1.")
