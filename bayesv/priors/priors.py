"""One vocabulary of priors that every engine understands, readable when printed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np

from bayesv.covariance import ComponentDraws
from bayesv.design.design import Design, DesignSummary, RandomTerm
from bayesv.design.row_scales import Exponential, Power
from bayesv.design.scales import ColumnFacts
from bayesv.design.structured import Parameters
from bayesv.errors import PriorError
from bayesv.linalg import Array, cov_to_sd_corr
from bayesv.priors.basis import Basis, CentredBlock, centres_by_name, default_sizes
from bayesv.priors.families import LKJ, Flat, HalfStudentT, Normal, SdPrior
from bayesv.priors.residual import CorrPrior, ResidualPriors, structure_under
from bayesv.priors.stated import (
    as_text,
    by_meaning,
    check_center,
    check_groups,
    check_leaves,
    for_group,
)
from bayesv.support.arguments import a, accepts
from bayesv.support.shown import Shown

__all__ = ["DEFAULTS", "Priors", "ResolvedPriors", "priors_of"]


@dataclass(frozen=True, eq=False, repr=False)
class ResolvedPriors(Shown):
    """Priors of every single parameter of a design.

    Attributes
    ----------
    sd : dict of str to tuple of SdPrior
        For each group one prior per free SD, of the effects of its basis.
    corr : dict of str to LKJ
        For each group with correlated columns.
    sigma : SdPrior
        Of the residual standard deviation.
    beta : tuple of Flat or Normal
        One per fixed effect.
    bases : dict of str to Basis
        The effects that SDs and correlations speak of; the columns as written where none is named.
    note : str
        What is unusual about the scales of the defaults.
    residual : ResidualPriors or None
        Of structured residuals, in place of ``sigma``.
    """

    sd: dict[str, tuple[SdPrior, ...]]
    corr: dict[str, LKJ]
    sigma: SdPrior
    beta: tuple[Flat | Normal, ...]
    design: Design
    bases: dict[str, Basis] = field(default_factory=dict)
    note: str = ""
    residual: ResidualPriors | None = None

    def eta(self, term: Any) -> float:
        """Return η of the correlations of a term; 1 where it has none."""
        return self.corr[term.group].eta if term.group in self.corr else 1.0

    def basis(self, term: Any) -> Basis:
        """Return the effects that the priors of a term speak of."""
        return self.bases.get(term.group) or Basis.as_written(term)

    def log_densities(self, values: ComponentDraws) -> dict[str, Array]:
        """Return log prior densities of SDs, correlations and σ, by parameter.

        Returns
        -------
        dict
            ``sigma``, ``sd_<group>`` (all columns together) and, where columns are correlated,
            ``corr_<group>``; shapes (...). They are densities of SDs and correlations of
            Σ_c = A Σ_f A', see `Basis`; that of Σ_f is the same because |A| = 1.
        """
        sds, corrs = [], []
        for term in self.design.terms:
            sd, corr = self._stated(term, values)
            sds.append(sd)
            corrs.append(term.structure.coordinates(np.nan_to_num(corr)))
        return self.by_parameter(sds, corrs, values.sigma, values.residual)

    def stated_sds(self, values: ComponentDraws) -> dict[str, Array]:
        """Return the SDs that the priors speak of, (..., n_sds), by group."""
        return {term.group: self._stated(term, values)[0] for term in self.design.terms}

    def _stated(self, term: RandomTerm, values: ComponentDraws) -> tuple[Array, Array]:
        """Return SDs, (..., n_sds), and correlation, (..., r, r), of the effects of the basis."""
        A = self.basis(term).map
        sd, corr = cov_to_sd_corr(A @ values.covs[term.group] @ A.T)
        return term.structure.free_sds(sd), corr

    def log_density(self, values: ComponentDraws) -> Array:
        """Return the log prior density by (SDs, correlations, σ), shape (...)."""
        return np.asarray(np.sum(list(self.log_densities(values).values()), axis=0))

    def by_parameter(
        self,
        sds: Sequence[Array],
        corrs: Sequence[Array],
        sigma: Array,
        residual: Parameters | None = None,
        *,
        by_coordinates: bool = False,
    ) -> dict[str, Array]:
        """Return log prior densities by name, as `log_densities`, at parameters.

        Parameters
        ----------
        sds, corrs : sequence of ndarray, shapes (..., n_sds) and (..., n_corrs)
            Standard deviations that the priors speak of and coordinates of the correlation, of
            each term.
        sigma : ndarray, shape (...)
        residual : Parameters, optional
            Of structured residuals, with SDs over σ.
        by_coordinates : bool
            Whether densities of correlations are by their coordinates.
        """
        if self.residual is not None and residual is not None:
            absolute = residual._replace(sds=residual.sds * np.asarray(sigma)[..., None])
            densities = self.residual.log_densities(absolute, by_coordinates=by_coordinates)
        else:
            known = self.design.sigma_is_known
            densities = {} if known else {"sigma": self.sigma.log_density(sigma)}
        for term, sd, z in zip(self.design.terms, sds, corrs, strict=True):
            each = [prior.log_density(sd[..., i]) for i, prior in enumerate(self.sd[term.group])]
            densities[f"sd_{term.group}"] = np.asarray(sum(each))
            if term.structure.n_corrs:
                densities[f"corr_{term.group}"] = term.structure.log_density(
                    z, self.eta(term), by_coordinates=by_coordinates
                )
        return densities

    def with_proper_sds(self) -> ResolvedPriors:
        """Return the priors with the default in place of every flat one of an SD."""
        stated = [self.sigma, *(prior for priors in self.sd.values() for prior in priors)]
        stated += [] if self.residual is None else self.residual.sds
        if not any(isinstance(prior, Flat) for prior in stated):
            return self
        default = Priors().resolve(self.design)
        sd = {
            group: tuple(
                d if isinstance(p, Flat) else p for p, d in zip(priors, defaults, strict=True)
            )
            for (group, priors), defaults in zip(self.sd.items(), default.sd.values(), strict=True)
        }
        sigma = default.sigma if isinstance(self.sigma, Flat) else self.sigma
        residual = self.residual
        if residual is not None and default.residual is not None:
            pairs = zip(residual.sds, default.residual.sds, strict=True)
            own = tuple(d if isinstance(p, Flat) else p for p, d in pairs)
            residual = replace(residual, sds=own)
        return replace(self, sd=sd, sigma=sigma, residual=residual)

    def stated(self) -> Priors:
        """Return priors that name every parameter: resolved for other data they stay the same."""
        sd = {
            term.group: dict(
                zip(term.structure.sd_labels(term.columns), self.sd[term.group], strict=True)
            )
            for term in self.design.terms
        }
        beta = dict(zip(self.design.fixed_names, self.beta, strict=True))
        center = {
            term.group: dict(self.basis(term).centres)
            for term in self.design.terms
            if term.group in self.corr
        }
        corr: dict[str, Any] = dict(self.corr)
        sigma: SdPrior | None = self.sigma
        if (own := self.residual) is not None:
            if labels := own.form.sd_labels:
                sd["Residual"], sigma = dict(zip(labels, own.sds, strict=True)), None
            if own.corr is not None:
                corr["Residual"] = own.corr
        return Priors(sd=sd, sigma=sigma, corr=corr or None, beta=beta, center=center or None)

    @property
    def flat_beta(self) -> bool:
        """Whether every fixed effect has a flat prior."""
        return all(isinstance(prior, Flat) for prior in self.beta)

    def __str__(self) -> str:
        lines = []
        for term in self.design.terms:
            basis = self.basis(term)
            labels = term.structure.sd_labels(basis.labels)
            for name, prior in zip(labels, self.sd[term.group], strict=True):
                lines.append(f"sd   {term.group}: {name} ~ {prior}")
            if term.group in self.corr:
                centres = ", ".join(f"{name} = {x:.6g}" for name, x in basis.centres.items())
                where = f" at {centres}" if centres else ""
                lines.append(f"corr {term.group}{where} ~ {self.corr[term.group]}")
        if self.residual is not None:
            lines += self.residual.lines()
        elif not self.design.sigma_is_known:
            lines.append(f"sd   residual ~ {self.sigma}")
        names = ("(all)",) if len(set(self.beta)) == 1 else self.design.fixed_names
        lines += [f"beta {name} ~ {prior}" for name, prior in zip(names, self.beta, strict=False)]
        return "\n".join([*lines, *([f"note: {self.note}"] if self.note else [])])

    def _shown(self) -> list[str]:
        return [str(self)]

    def one_line(self) -> str:
        """Return the priors in one line, for tables."""
        return "; ".join(" ".join(line.split()) for line in str(self).splitlines())


@dataclass(frozen=True)
class Priors:
    """Priors of a model; parts left out take defaults that suit the data.

    Parameters
    ----------
    sd : SdPrior, or mapping of group to SdPrior, or mapping of group to {column: SdPrior}
        Of the standard deviations of random effects. Default: half-t(3, 2.5 s) for an intercept,
        half-t(3, 2.5 s/size of x) for a column x, with s the residual SD of y after X.
    sigma : SdPrior
        Of the residual standard deviation. Default: half-t(3, s), for a row of weight 1.
    corr : LKJ, or mapping of group to LKJ
        Default: LKJ(1), uniform over correlation matrices. ``"Residual"`` is a group like any
        other in ``sd`` and ``corr`` where residuals are structured; its correlation may also have
        the prior `CorrelationAbove` or `RangeBelow`.
    beta : Flat, Normal, or mapping of coefficient to one of them
        Default: flat.
    center : mapping of group to {column: value}, optional
        Where covariates are centred for the priors of correlated effects: the SD of ``Intercept``
        and the correlations are then those at these values. An empty mapping, ``{group: {}}``,
        means the columns as written. Left out, default priors are stated at the means, and priors
        that you state of an intercept, or of correlations, are of the columns as written.

    Notes
    -----
    The size of a column beside an intercept is its standard deviation or, if it has two values,
    their difference; of a product of columns it is the product of sizes. Without an intercept it
    is the root mean square, and 1 for an indicator. Weights count relative to their geometric mean,
    so that ``w`` and ``100 w`` give the same posterior of V. REML, V, labels and draws know nothing
    of this centring.

    Examples
    --------
    >>> import bayesv as bv
    >>> print(bv.Priors(sd=bv.HalfNormal(50.0), sigma=bv.HalfStudentT(4, 56.0), corr=bv.LKJ(2)))
    Priors(sd=HalfNormal(50), sigma=HalfStudentT(4, 56), corr=LKJ(2), beta=Flat())
    """

    sd: Any = None
    sigma: SdPrior | None = None
    corr: LKJ | Mapping[str, LKJ] | None = None
    beta: Any = field(default_factory=Flat)
    center: Mapping[str, Mapping[str, float]] | None = None

    DEFAULT_NU: ClassVar[float] = 3.0
    # Of SDs of effects, in units of s: with few levels s itself may be far below them.
    DEFAULT_WIDTH: ClassVar[float] = 2.5

    def __post_init__(self) -> None:
        if self.sigma is not None and not isinstance(self.sigma, SdPrior):
            raise PriorError(f"sigma needs a prior of an SD, such as HalfStudentT; {self.sigma!r}.")
        check_leaves("sd", self.sd, SdPrior, depth=2)
        check_leaves("corr", self.corr, CorrPrior, depth=1)
        check_leaves("beta", self.beta, (Flat, Normal), depth=1)
        check_center(self.center)

    def __str__(self) -> str:
        parts = {"sd": self.sd, "sigma": self.sigma, "corr": self.corr, "beta": self.beta}
        if self.center is not None:
            parts["center"] = self.center
        return f"Priors({', '.join(f'{k}={as_text(v)}' for k, v in parts.items())})"

    @accepts(design=a(Design, DesignSummary))
    def resolve(self, design: Design) -> ResolvedPriors:
        """Return the prior of every parameter of a design.

        Raises
        ------
        PriorError
            If a group or coefficient is named that the design lacks, or a centre that it cannot
            have.
        """
        scale = design.response_scale
        sigma = self.sigma or HalfStudentT(self.DEFAULT_NU, scale.sigma)
        check_groups("sd", self.sd, design)
        check_groups("corr", self.corr, design)
        check_groups("center", self.center, design)
        sd: dict[str, tuple[SdPrior, ...]] = {}
        corr: dict[str, LKJ] = {}
        bases: dict[str, Basis] = {}
        for term in design.terms:
            facts = _facts(term)
            structure = term.structure
            blocks = [CentredBlock(facts, b) for b in structure.free_blocks if len(b) > 1]
            stated = self._stated_sds(term, design)
            sizes = structure.free_sds(default_sizes(facts, blocks))
            sd[term.group] = tuple(
                prior
                or HalfStudentT(self.DEFAULT_NU, self.DEFAULT_WIDTH * scale.effects / float(size))
                for prior, size in zip(stated, sizes, strict=True)
            )
            if structure.n_corrs:
                corr[term.group] = for_group(self.corr, term.group, design) or LKJ(1.0)
                bases[term.group] = self._basis(term, blocks, stated, design)
        note = "" if scale.source == "residual sd" else f"default scales are {scale.source}"
        residual = self._residual(design, sigma)
        if residual is not None:
            sigma = residual.sds[0]
        return ResolvedPriors(sd, corr, sigma, self._betas(design), design, bases, note, residual)

    def _residual(self, design: Design, sigma: SdPrior) -> ResidualPriors | None:
        """Return the priors of structured residuals; None where there are none."""
        form = design.structured_residual
        given = for_group(self.sd, "Residual", design) if isinstance(self.sd, Mapping) else None
        if form is None:
            if given is not None:
                raise PriorError("The prior of the SD of all residuals is sigma=.")
            return None
        labels = form.sd_labels
        if given is not None and self.sigma is not None:
            raise PriorError("sigma and sd['Residual'] are both stated; leave one.")
        if isinstance(given, Mapping):
            named = by_meaning(given, labels, "sd of 'Residual'")
            sds = tuple(named.get(label) or sigma for label in labels)
        else:
            sds = (given or sigma,) * max(len(labels), 1)
        corr = None
        if form.sequential is not None and form.sequential.structure.n_corrs:
            corr = for_group(self.corr, "Residual", design) or LKJ(1.0)
            structure_under(form.sequential.structure, corr)  # refuses one that does not suit it
        return ResidualPriors(form, sds, corr, tuple(map(_of_exponent, form.scales.powers)))

    def _basis(
        self,
        term: RandomTerm,
        blocks: list[CentredBlock],
        stated: tuple[SdPrior | None, ...],
        design: Design,
    ) -> Basis:
        """Return what the priors of a term speak of: defaults of centred columns, others not."""
        if (center := for_group(self.center, term.group, design)) is not None:
            return Basis.of(term, blocks, centres_by_name(center, term, blocks))
        if for_group(self.corr, term.group, design) is not None:
            return Basis.as_written(term)
        centres: dict[int, float] = {}
        for block in blocks:
            own = Basis.of(term, [block], block.centres)
            if not any(prior and own.moved(i) for i, prior in enumerate(stated)):
                centres |= block.centres
        return Basis.of(term, blocks, centres)

    def _stated_sds(self, term: RandomTerm, design: Design) -> tuple[SdPrior | None, ...]:
        """Return the prior that is stated of each free SD, None where there is none."""
        given = for_group(self.sd, term.group, design)
        if isinstance(given, SdPrior):
            return (given,) * term.structure.n_sds
        labels = term.structure.sd_labels(term.columns)
        named = by_meaning(given or {}, labels, f"sd of {term.group!r}")
        return tuple(named.get(name) for name in labels)

    def _betas(self, design: Design) -> tuple[Flat | Normal, ...]:
        if not isinstance(self.beta, Mapping):
            return (self.beta or Flat(),) * design.p
        named = by_meaning(self.beta, design.fixed_names, "beta")
        return tuple(named.get(name) or Flat() for name in design.fixed_names)


def _of_exponent(power: Power) -> Normal:
    """Return the default prior of δ: N(0, 1) of |x|^δ, and of exp(δx) with x in units of its SD."""
    spread = float(power.log_x.std()) if isinstance(power, Exponential) else 1.0
    return Normal(0.0, 1.0 / spread)


def _facts(term: Any) -> ColumnFacts:
    facts: ColumnFacts | None = term.facts
    if facts is None:
        raise PriorError(
            f"The columns of {term.group!r} come from a file of an earlier version and their "
            "scales are not known; build the model from the data again."
        )
    return facts


DEFAULTS = Priors()
"""Priors of a model for which none are stated."""


def priors_of(priors: Priors | None) -> Priors:
    """Return what is stated, or the defaults; refuse what are no priors."""
    if priors is not None and not isinstance(priors, Priors):
        raise PriorError(f"priors must be a bv.Priors, found {type(priors).__name__}.")
    return priors or DEFAULTS
