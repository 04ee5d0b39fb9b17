"""Whether a variance is 0: Bayes factor two ways, and the exact restricted likelihood ratio."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import expit, logsumexp

from bayesv.comparison.estimates import reml_of
from bayesv.comparison.restricted_ratio import (
    RestrictedRatio,
    is_exact,
    null_is_unknown,
    refitted_ratio,
    restricted_ratio,
)
from bayesv.comparison.savage_dickey import savage_dickey
from bayesv.comparison.without_effect import Effect, effect_of, without_effect
from bayesv.errors import BayesvError, FitWarning, SamplingWarning, without
from bayesv.inference.density import MarginalDensity
from bayesv.inference.evidence import Evidence
from bayesv.inference.target import Target
from bayesv.model import Model
from bayesv.posterior.posterior import Posterior
from bayesv.support.arguments import PROBABILITY, TEXT, a, accepts, optional, whole
from bayesv.support.process import computing
from bayesv.support.shown import Part, Shown

__all__ = ["ZeroVariance", "zero_variance"]

_GRID = np.linspace(-8.0, 8.0, 1601)  # of log σ around its estimate
_ZERO = -250.0  # log of an SD that is 0 but for rounding
_MAX_DISAGREEMENT = 4.0  # Monte Carlo standard errors


@dataclass(frozen=True, eq=False, repr=False)
class ZeroVariance(Shown):
    """What data say on whether the variance of a random effect is 0.

    Attributes
    ----------
    group, effect : str
    place : int
        Of the effect among those that the priors of the group speak of.
    post : Posterior
        With the effect.
    with_effect, without_effect : Evidence
    savage_dickey : tuple of float
        Log Bayes factor by Savage and Dickey, prior over posterior density of the SD at 0, and its
        Monte Carlo error; NaN where it is not defined.
    prior : float
        Prior probability that the variance is 0.
    ratio : RestrictedRatio or None
        Test of the REML fits; None where its null distribution is not known.
    notes : tuple of str
    """

    group: str
    effect: str
    place: int
    post: Posterior
    with_effect: Evidence
    without_effect: Evidence
    savage_dickey: tuple[float, float]
    prior: float
    ratio: RestrictedRatio | None
    notes: tuple[str, ...] = ()

    @property
    def log_bf(self) -> float:
        """Log Bayes factor for the effect: log p(y | with) − log p(y | without)."""
        return self.with_effect.log - self.without_effect.log

    @property
    def mcse(self) -> float:
        """Monte Carlo standard error of `log_bf`."""
        return float(np.hypot(self.with_effect.mcse, self.without_effect.mcse))

    @property
    def probability(self) -> float:
        """Posterior probability that the variance is 0."""
        prior_odds = np.log(self.prior) - np.log1p(-self.prior)
        return float(expit(prior_odds - self.log_bf))

    def _shown(self) -> Iterator[Part]:
        yield f"Is the variance of {self.effect!r} over {self.group!r} 0?"
        yield f"log Bayes factor for the effect {self.log_bf:.3f} ± {self.mcse:.3f} by evidence"
        log_bf, mcse = self.savage_dickey
        if np.isfinite(log_bf):
            yield f"{'':>31} {log_bf:.3f} ± {mcse:.3f} by Savage and Dickey"
        yield f"P(variance = 0 | y) = {self.probability:.4g}, with {self.prior:.3g} before the data"
        if self.ratio is not None:
            yield (
                f"restricted likelihood ratio {self.ratio.statistic:.4f}, {self.ratio.p_text} "
                f"({self.ratio.kind}, {self.ratio.share_of_zeros:.0%} at 0)"
            )
        yield from (f"note: {note}" for note in self.notes)


@accepts(
    post=a(Posterior, hint="draw one by model.sample()."),
    group=TEXT,
    column=optional(TEXT),
    prior=PROBABILITY,
    simulations=whole(1),
    refits=whole(0),
    seed=whole(0),
)
@computing
def zero_variance(
    post: Posterior,
    group: str,
    column: str | None = None,
    *,
    prior: float = 0.5,
    simulations: int = 10_000,
    refits: int = 0,
    seed: int = 0,
) -> ZeroVariance:
    """Say how probable it is that the variance of a random effect is 0.

    Parameters
    ----------
    post : Posterior
        Of the model with the effect.
    group : str
        Its grouping factor.
    column : str, optional
        Which effect of ``(x | g)``, such as ``"Days"``; not needed where there is one.
    prior : float
        Probability before the data that the variance is 0.
    simulations : int
        Draws of the restricted likelihood ratio under the null, where that is known.
    refits : int
        Fits of both models to data simulated without the effect (parametric bootstrap), for the
        null distribution of the ratio where none is exact; 0 for none. Some hundreds are needed.
    seed : int
        Of these, and of the posterior without the effect.

    Returns
    -------
    ZeroVariance

    Raises
    ------
    BayesvError
        If there is no such effect, the family of its covariance has no member without it, or the
        priors are not known.
    PriorError
        If a standard deviation has a flat prior.

    Notes
    -----
    The Bayes factor m₁/m₀ is found twice: from the evidences, and as π(0)/p(0 | y), prior over
    posterior density of the *standard deviation* at 0 (Savage and Dickey; on the variance scale
    both densities are infinite or 0). The posterior density at 0 is a mean over draws of exact
    conditional densities, no kernel estimate. The model without one of k correlated effects has
    LKJ(η + ½) of the others, which is what the larger prior says where the SD is 0.

    The effect is one that the priors speak of: the intercept of ``(x | g)`` is that at the centre
    of x, as ``post.priors`` prints it.

    The restricted likelihood ratio has half its mass at 0 only for very many levels; its exact
    null distribution (Crainiceanu and Ruppert 2004) is simulated from the eigenvalues of Z'P₀Z.
    With other random effects it is an approximation (Greven et al. 2008,
    https://doi.org/10.1198/106186008X386599); of one of several correlated effects, and beside
    structured residuals, whose parameters take up what the variance explained, there is none.
    ``refits`` are the way then.

    Examples
    --------
    >>> import bayesv as bv
    >>> model = bv.Model("Yield ~ 1 + (1 | Batch)", bv.load_dataset("dyestuff"))
    >>> result = bv.zero_variance(model.sample(seed=1), "Batch", simulations=1000)
    >>> 0 < result.log_bf < 3, abs(result.log_bf - result.savage_dickey[0]) < 0.4
    (True, True)
    """
    density = post.density
    if density is None or not post.design.has_rows:
        raise BayesvError(
            "The model of the draws and its rows are needed: bv.Model(formula, frame).sample()."
        )
    effect, rng = effect_of(post, group, column), np.random.default_rng(seed)
    smaller = without_effect(post, effect)
    whole_evidence = post.evidence(seed=seed)
    if smaller is None:
        rest = without_random_effects(density, whole_evidence.flat)
    else:
        with without(SamplingWarning):
            other = smaller.sample(
                draws=post.n_draws, chains=post.n_chains, seed=seed, progressbar=False
            )
        rest = other.evidence(seed=seed)
    log_bf, mcse, notes = savage_dickey(post, density, effect)
    ratio, reason = _ratio(post, effect, smaller, simulations, refits, rng)
    notes = [*notes, *reason, *whole_evidence.problems, *rest.problems]
    result = ZeroVariance(
        effect.term.group,
        effect.label,
        effect.place,
        post,
        whole_evidence,
        rest,
        (log_bf, mcse),
        prior,
        ratio,
    )
    gap = abs(result.log_bf - log_bf) / np.hypot(result.mcse, mcse)
    if gap > _MAX_DISAGREEMENT:
        notes.append(
            f"the two Bayes factors are {gap:.1f} Monte Carlo errors apart: draw more, the draws "
            "say too little of SDs near 0"
        )
    return replace(result, notes=tuple(notes))


def without_random_effects(density: MarginalDensity, flat: tuple[str, ...]) -> Evidence:
    """Return the evidence of the model without any random effect, by quadrature over log σ."""
    target = Target(density)
    x = np.zeros((len(_GRID), target.size))
    x[:, target.coordinates.is_sd] = _ZERO
    if density.priors.design.sigma_is_known:
        value = float(target.evaluate(x[:1])[1].log_likelihood[0])
        return Evidence(value, 0.0, "quadrature", flat=flat)
    x[:, -1] = _GRID
    _, conditional = target.evaluate(x)
    log_sigma = _GRID + target.coordinates.log_scale
    log_prior = density.priors.sigma.log_density(np.exp(log_sigma))
    log = conditional.log_likelihood + log_prior + log_sigma
    value = float(logsumexp(log) + np.log(_GRID[1] - _GRID[0]))
    return Evidence(value, 0.0, "quadrature", flat=flat)


def _ratio(
    post: Posterior,
    effect: Effect,
    smaller: Model | None,
    simulations: int,
    refits: int,
    rng: np.random.Generator,
) -> tuple[RestrictedRatio | None, list[str]]:
    """Return the test of the REML fits, or why there is none."""
    why = null_is_unknown(post.design, effect)
    if why and not refits:
        return None, [f"no restricted likelihood ratio: {why} Say refits=500 to simulate one."]
    null = smaller or Model.from_design(replace(post.design, terms=(), encoding=None))
    with without(FitWarning):
        fits = null.reml(), reml_of(post)
    if refits and (why or not is_exact(post.design, effect.term)):
        ratio, failed = refitted_ratio(*fits, refits, rng)
        return ratio, [f"{failed} of {refits} refits failed"] * bool(failed)
    statistic = max(fits[0].criterion - fits[1].criterion, 0.0)
    return restricted_ratio(
        post.design, effect.term, effect.values, statistic, simulations, rng
    ), []
