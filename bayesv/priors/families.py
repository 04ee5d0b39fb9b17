"""Families of priors: densities of standard deviations, correlations and fixed effects."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np
from scipy.special import gammaln

from bayesv.errors import PriorError
from bayesv.linalg import Array
from bayesv.structures.partials import lkj_log_constant

__all__ = [
    "LKJ",
    "CorrelationAbove",
    "Exponential",
    "Flat",
    "Form",
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


class Form(NamedTuple):
    """The log density of an SD as numbers, which compiled loops read; all families have it.

    With x = sd/unit it is constant + log · log x + linear · x + square · x² + inverse_square/x² +
    log1p · log(1 + inner x²).
    """

    unit: float
    constant: float
    log: float = 0.0
    linear: float = 0.0
    square: float = 0.0
    inverse_square: float = 0.0
    log1p: float = 0.0
    inner: float = 0.0


@dataclass(frozen=True)
class SdPrior(_Prior):
    """Prior of a standard deviation."""

    @property
    def form(self) -> Form:
        """The log density by SD as numbers, normalised unless improper."""
        raise NotImplementedError

    def log_density(self, sd: Array) -> Array:
        """Return the log density at standard deviations ≥ 0, normalised unless improper."""
        form = self.form
        x = np.asarray(sd, dtype=float) / form.unit
        value = np.full(x.shape, form.constant)
        with np.errstate(divide="ignore", invalid="ignore"):
            if form.log:
                value += form.log * np.log(x)
            if form.linear:
                value += form.linear * x
            if form.square:
                value += form.square * x**2
            if form.inverse_square:
                value = np.where(x > 0, value + form.inverse_square / x**2, -np.inf)
            if form.log1p:
                value += form.log1p * np.log1p(form.inner * x**2)
        return value

    def slope(self, sd: float) -> float:
        """Return the derivative of the log density by log SD, at an SD > 0."""
        form = self.form
        x = sd / form.unit
        value = form.log + form.linear * x + 2.0 * form.square * x**2
        if form.inverse_square:
            value -= 2.0 * form.inverse_square / x**2
        if form.log1p:
            near = form.inner * x**2
            value += 2.0 * form.log1p * (near / (1.0 + near) if np.isfinite(near) else 1.0)
        return float(value)

    @property
    def tail(self) -> float:
        """Return a of a density that falls as sd^−a for large SDs; ∞ if faster than any power."""
        return float("inf")


@dataclass(frozen=True)
class HalfNormal(SdPrior):
    """Half-normal on an SD; ``scale`` in units of the SD."""

    scale: float

    @property
    def form(self) -> Form:  # noqa: D102
        return Form(self.scale, 0.5 * np.log(2 / np.pi) - np.log(self.scale), square=-0.5)


@dataclass(frozen=True)
class HalfStudentT(SdPrior):
    """Half-t on an SD, ``nu`` degrees of freedom, ``scale`` in units of the SD."""

    nu: float
    scale: float

    @property
    def form(self) -> Form:  # noqa: D102
        half = 0.5 * (self.nu + 1)
        log_norm = gammaln(half) - gammaln(0.5 * self.nu) - 0.5 * np.log(self.nu * np.pi)
        constant = np.log(2) + log_norm - np.log(self.scale)
        return Form(self.scale, float(constant), log1p=-half, inner=1.0 / self.nu)

    @property
    def tail(self) -> float:  # noqa: D102
        return self.nu + 1.0


@dataclass(frozen=True)
class HalfCauchy(SdPrior):
    """Half-Cauchy on an SD; proper, but E[V] may not exist with few groups."""

    scale: float

    @property
    def form(self) -> Form:  # noqa: D102
        return HalfStudentT(1.0, self.scale).form

    @property
    def tail(self) -> float:  # noqa: D102
        return 2.0


@dataclass(frozen=True)
class Exponential(SdPrior):
    """Exponential on an SD with mean ``scale``."""

    scale: float

    @property
    def form(self) -> Form:  # noqa: D102
        return Form(self.scale, -np.log(self.scale), linear=-1.0)


@dataclass(frozen=True)
class Gamma(SdPrior):
    """Gamma on an SD with mean ``shape × scale``; shape 2 avoids the boundary."""

    shape: float
    scale: float

    @property
    def form(self) -> Form:  # noqa: D102
        constant = -float(gammaln(self.shape)) - np.log(self.scale)
        return Form(self.scale, constant, log=self.shape - 1.0, linear=-1.0)


@dataclass(frozen=True)
class InverseGamma(SdPrior):
    """Inverse gamma on the *variance*, stated as a density of the SD.

    With small parameters it has a spike near 0 and is never a default (Gelman 2006,
    https://doi.org/10.1214/06-BA117A).
    """

    shape: float
    scale: float

    @property
    def form(self) -> Form:  # noqa: D102
        constant = np.log(2) - float(gammaln(self.shape)) - 0.5 * np.log(self.scale)
        root = float(np.sqrt(self.scale))
        return Form(root, constant, log=-(2.0 * self.shape + 1.0), inverse_square=-1.0)

    @property
    def tail(self) -> float:  # noqa: D102
        return 2.0 * self.shape + 1.0


@dataclass(frozen=True)
class Flat(SdPrior):
    """Density 1: for β on the whole line (the default), for an SD on [0, ∞)."""

    @property
    def form(self) -> Form:  # noqa: D102
        return Form(1.0, 0.0)

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
