"""One vocabulary of priors that every engine understands, readable when printed."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

import numpy as np
from scipy.special import gammaln, xlog1py, xlogy

from bayesv.arguments import a, accepts
from bayesv.design import Design, DesignSummary, RandomTerm
from bayesv.errors import DesignWarning, PriorError, near
from bayesv.linalg import Array, cov_to_sd_corr
from bayesv.names import Meaning, canonical, factors_of, matched, places

__all__ = [
    "LKJ",
    "Exponential",
    "Flat",
    "Gamma",
    "HalfCauchy",
    "HalfNormal",
    "HalfStudentT",
    "InverseGamma",
    "Normal",
    "Priors",
    "ResolvedPriors",
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


@dataclass(frozen=True)
class HalfCauchy(SdPrior):
    """Half-Cauchy on an SD; proper, but E[V] may not exist with few groups."""

    scale: float

    def log_density(self, sd: Array) -> Array:  # noqa: D102
        return HalfStudentT(1.0, self.scale).log_density(sd)

    def slope(self, sd: float) -> float:  # noqa: D102
        return HalfStudentT(1.0, self.scale).slope(sd)


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


@dataclass(frozen=True)
class Flat(SdPrior):
    """Density 1: for β on the whole line (the default), for an SD on [0, ∞)."""

    def log_density(self, sd: Array) -> Array:  # noqa: D102
        return np.zeros(np.shape(sd))

    def slope(self, sd: float) -> float:  # noqa: D102
        return 0.0


@dataclass(frozen=True)
class Normal(_Prior):
    """Normal prior of a fixed effect, ``mean`` and ``sd`` in its units."""

    mean: float
    sd: float


@dataclass(frozen=True)
class LKJ(_Prior):
    """LKJ(η) on the correlation matrix of one term's effects: density ∝ det(C)^(η − 1).

    Lewandowski, Kurowicka and Joe 2009, https://doi.org/10.1016/j.jmva.2009.04.008.
    """

    eta: float

    def log_density(self, log_det: Array, r: int) -> Array:
        """Return the log density of r × r correlation matrices with given log|C|."""
        k = np.arange(1, r)
        log_norm = np.sum(
            0.5 * k * np.log(np.pi)
            + gammaln(self.eta + 0.5 * (r - 1 - k))
            - gammaln(self.eta + 0.5 * (r - 1))
        )
        return np.asarray((self.eta - 1.0) * log_det - log_norm)


@dataclass(frozen=True, eq=False)
class ResolvedPriors:
    """Priors of every single parameter of a design.

    Attributes
    ----------
    sd : dict of str to tuple of SdPrior
        For each group one prior per column.
    corr : dict of str to LKJ
        For each group with correlated columns.
    sigma : SdPrior
        Of the residual standard deviation.
    beta : tuple of Flat or Normal
        One per fixed effect.
    """

    sd: dict[str, tuple[SdPrior, ...]]
    corr: dict[str, LKJ]
    sigma: SdPrior
    beta: tuple[Flat | Normal, ...]
    design: Design = field(repr=False)

    def log_densities(self, covs: Mapping[str, Array], sigma2: Array) -> dict[str, Array]:
        """Return log prior densities of SDs, correlations and σ, by parameter.

        Parameters
        ----------
        covs : mapping of group to ndarray, shapes (..., r, r)
        sigma2 : ndarray, shape (...)

        Returns
        -------
        dict
            ``sigma``, ``sd_<group>`` (all columns together) and, where columns are correlated,
            ``corr_<group>``; shapes (...).
        """
        out = {"sigma": self.sigma.log_density(np.sqrt(sigma2))}
        for term in self.design.terms:
            sd, corr = cov_to_sd_corr(np.asarray(covs[term.group]))
            each = [prior.log_density(sd[..., i]) for i, prior in enumerate(self.sd[term.group])]
            out[f"sd_{term.group}"] = np.asarray(sum(each))
            for block in term.blocks:
                if len(block) > 1:
                    rows = np.array(block)
                    logdet = np.linalg.slogdet(np.nan_to_num(corr[..., rows[:, None], rows]))[1]
                    density = self.corr[term.group].log_density(logdet, len(block))
                    name = f"corr_{term.group}"
                    out[name] = out.get(name, 0.0) + density
        return out

    def stated(self) -> Priors:
        """Return priors that name every parameter: resolved for other data they stay the same."""
        sd = {
            term.group: dict(zip(term.columns, self.sd[term.group], strict=True))
            for term in self.design.terms
        }
        beta = dict(zip(self.design.fixed_names, self.beta, strict=True))
        return Priors(sd=sd, sigma=self.sigma, corr=self.corr or Priors().corr, beta=beta)

    @property
    def flat_beta(self) -> bool:
        """Whether every fixed effect has a flat prior."""
        return all(isinstance(prior, Flat) for prior in self.beta)

    def __str__(self) -> str:
        lines = []
        for term in self.design.terms:
            for name, prior in zip(term.columns, self.sd[term.group], strict=True):
                lines.append(f"sd   {term.group}: {name} ~ {prior}")
            if term.group in self.corr:
                lines.append(f"corr {term.group} ~ {self.corr[term.group]}")
        lines.append(f"sd   residual ~ {self.sigma}")
        if len(set(self.beta)) == 1:
            lines.append(f"beta (all) ~ {self.beta[0]}")
        else:
            lines += [
                f"beta {name} ~ {prior}"
                for name, prior in zip(self.design.fixed_names, self.beta, strict=True)
            ]
        return "\n".join(lines)

    def one_line(self) -> str:
        """Return the priors in one line, for tables."""
        return "; ".join(" ".join(line.split()) for line in str(self).splitlines())


@dataclass(frozen=True)
class Priors:
    """Priors of a model; parts left out take location-free defaults that suit the data.

    Parameters
    ----------
    sd : SdPrior, or mapping of group to SdPrior, or mapping of group to {column: SdPrior}
        Of the standard deviations of random effects. Default: half-t(3, sd(y)/sd(x)) for a column
        x, sd(y) for an intercept.
    sigma : SdPrior
        Of the residual standard deviation. Default: half-t(3, sd(y)).
    corr : LKJ, or mapping of group to LKJ
        Default: LKJ(1), uniform over correlation matrices.
    beta : Flat, Normal, or mapping of coefficient to one of them
        Default: flat.

    Examples
    --------
    >>> print(Priors(sd=HalfNormal(50.0), sigma=HalfStudentT(4, 56.0)))
    Priors(sd=HalfNormal(50), sigma=HalfStudentT(4, 56), corr=LKJ(1), beta=Flat())
    """

    sd: Any = None
    sigma: SdPrior | None = None
    corr: LKJ | Mapping[str, LKJ] = LKJ(1.0)
    beta: Any = Flat()

    DEFAULT_NU: ClassVar[float] = 3.0

    def __post_init__(self) -> None:
        if self.sigma is not None and not isinstance(self.sigma, SdPrior):
            raise PriorError(f"sigma needs a prior of an SD, such as HalfStudentT; {self.sigma!r}.")
        _check_leaves("sd", self.sd, SdPrior, depth=2)
        _check_leaves("corr", self.corr, LKJ, depth=1)
        _check_leaves("beta", self.beta, (Flat, Normal), depth=1)

    def __str__(self) -> str:
        parts = (("sd", self.sd), ("sigma", self.sigma), ("corr", self.corr), ("beta", self.beta))
        return f"Priors({', '.join(f'{k}={_text(v)}' for k, v in parts)})"

    @accepts(design=a(Design, DesignSummary))
    def resolve(self, design: Design) -> ResolvedPriors:
        """Return the prior of every parameter of a design.

        Raises
        ------
        PriorError
            If a group or coefficient is named that the design lacks, or a prior is improper
            together with too few groups.
        """
        scale_y = design.response_sd
        sigma = self.sigma or HalfStudentT(self.DEFAULT_NU, scale_y)
        _check_groups("sd", self.sd, design)
        _check_groups("corr", self.corr, design)
        sd: dict[str, tuple[SdPrior, ...]] = {}
        corr: dict[str, LKJ] = {}
        for term in design.terms:
            sd[term.group] = self._sds(term, scale_y, design)
            _check_propriety(term, sd[term.group])
            if any(len(block) > 1 for block in term.blocks):
                given = _for_group(self.corr, term.group, design)
                corr[term.group] = given if given is not None else LKJ(1.0)
        return ResolvedPriors(sd, corr, sigma, self._betas(design), design)

    def _sds(self, term: RandomTerm, scale_y: float, design: Design) -> tuple[SdPrior, ...]:
        given = _for_group(self.sd, term.group, design)
        if isinstance(given, SdPrior):
            return (given,) * term.n_columns
        named = _by_meaning(given or {}, term.columns, f"sd of {term.group!r}")
        out: list[SdPrior] = []
        for name, spread in zip(term.columns, term.spread, strict=True):
            scale = scale_y / float(spread) if spread > 0 else scale_y
            out.append(named.get(name) or HalfStudentT(self.DEFAULT_NU, scale))
        return tuple(out)

    def _betas(self, design: Design) -> tuple[Flat | Normal, ...]:
        if not isinstance(self.beta, Mapping):
            return (self.beta or Flat(),) * design.p
        named = _by_meaning(self.beta, design.fixed_names, "beta")
        return tuple(named.get(name) or Flat() for name in design.fixed_names)


def _check_leaves(what: str, given: Any, kind: Any, depth: int) -> None:
    if given is None or isinstance(given, kind):
        return
    if isinstance(given, Mapping) and depth:
        for key, value in given.items():
            _check_leaves(f"{what}[{key!r}]", value, kind, depth - 1)
        return
    raise PriorError(f"{what} has {given!r}, which is not a prior for it; see bayesv.priors.")


def _check_groups(what: str, given: Any, design: Design) -> None:
    if not isinstance(given, Mapping):
        return
    _by_meaning(given, design.groups, what, "grouping factors", factors_of)


def _for_group(given: Any, group: str, design: Design) -> Any:
    if not isinstance(given, Mapping):
        return given
    return _by_meaning(given, design.groups, "", "grouping factors", factors_of).get(group)


def _by_meaning(
    given: Mapping[str, Any],
    names: tuple[str, ...],
    what: str,
    things: str = "coefficients",
    meaning: Meaning = canonical,
) -> dict[str, Any]:
    """Return what is given by its exact name, or by the one name of its meaning."""
    if strangers := [key for key in given if not isinstance(key, str)]:
        raise PriorError(f"{what}: names of {things} are text; found {strangers[0]!r}.")
    found = matched(list(given), names, f"{what}: the name", PriorError, meaning)
    for key, place in zip(given, found, strict=True):
        if place is not None:
            continue
        if taken := places(key, names, meaning):
            raise PriorError(f"{what} has two priors for {names[taken[0]]!r}; leave one.")
        raise PriorError(
            f"{what} has a prior for {key!r}, but the {things} are {', '.join(names)}"
            f"{near(key, names)}"
        )
    return {names[i]: given[key] for key, i in zip(given, found, strict=True) if i is not None}


def _check_propriety(term: RandomTerm, priors: tuple[SdPrior, ...]) -> None:
    """Flat and half-Cauchy tails need groups: Gelman 2006, section 2."""
    if any(isinstance(prior, Flat) for prior in priors):
        if term.n_levels < 3:
            raise PriorError(
                f"A flat prior on an SD of {term.group!r} with {term.n_levels} levels gives no "
                "proper posterior; at least 3 levels are needed. Use HalfNormal or HalfStudentT."
            )
        if term.n_levels < 5:
            warnings.warn(
                f"With a flat prior on an SD and {term.n_levels} levels of {term.group!r}, E[V] is "
                "infinite; use a proper prior or summarise by the median.",
                DesignWarning,
                stacklevel=4,
            )
    if any(isinstance(p, HalfCauchy) for p in priors) and term.n_levels < 3:
        warnings.warn(
            f"With half-Cauchy tails and {term.n_levels} levels of {term.group!r}, E[V] is "
            "infinite; use HalfNormal or HalfStudentT(3, …).",
            DesignWarning,
            stacklevel=4,
        )


def _text(value: Any) -> str:
    if value is None:
        return "default"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{k}: {_text(v)}" for k, v in value.items()) + "}"
    return str(value)
