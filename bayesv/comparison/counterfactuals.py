"""What an estimate would be if one thing were otherwise: method, structure, prior, summary."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from bayesv.covariance import VarianceComponents
from bayesv.covariance.quantities import point_quantities, quantities
from bayesv.design.design import Design, RandomTerm
from bayesv.diagnostics.convergence import pareto_k
from bayesv.errors import BayesvError, FitWarning, without
from bayesv.gram import GramStatistics, statistics_of
from bayesv.inference.coordinates import Coordinates
from bayesv.inference.density import MarginalDensity, MarginalLikelihood
from bayesv.inference.log_prior import LogPrior
from bayesv.names import canonical
from bayesv.posterior.coherence import fails_score
from bayesv.posterior.estimators import joint_mode
from bayesv.posterior.posterior import Posterior
from bayesv.priors.priors import ResolvedPriors
from bayesv.reml import RemlFit, fit_reml

__all__ = [
    "MAX_K",
    "Key",
    "Reweighted",
    "Step",
    "contradicts_its_density",
    "joint_mode_of",
    "path",
    "point_values",
    "reml_of",
    "reweighted",
    "same_structure",
]

Key = tuple[str, str, str, str]  # scale, group, first, second
MAX_K = 0.7  # of importance weights: Vehtari et al. 2024, https://jmlr.org/papers/v25/19-556.html


@dataclass(frozen=True)
class Step:
    """One change on the way from a fit to the mean of a posterior.

    Attributes
    ----------
    cause : {"β", "structure", "summary", "prior"}
        What changes: ML becomes REML, a fit of other correlations, a mode becomes a mean, a flat
        prior becomes the one that was used.
    values : mapping
        Every scalar after the change; NaN where it is not defined.
    """

    cause: str
    values: Mapping[Key, float]


@dataclass(frozen=True)
class Reweighted:
    """Means of a posterior's draws under another density.

    Attributes
    ----------
    values : mapping
        Every scalar; those that cannot be computed are missing.
    mcse : mapping
        Their Monte Carlo standard errors.
    k : float
        Pareto k̂ of the weights; above 0.7 nothing is computed.
    """

    values: Mapping[Key, float]
    mcse: Mapping[Key, float]
    k: float


def path(fit: RemlFit, post: Posterior) -> tuple[list[Step], float | None]:
    """Return the changes that lead from a fit to a posterior's mean, and k̂ of the flat prior.

    The last step ends at the mean of the draws. Without known priors it is left out. k̂ is None
    where no draws were reweighted.

    Notes
    -----
    REML is the mode of (SDs, correlations, σ) under a flat prior. Where draws can be reweighted to
    it, its mean stands between: mode to mean, then the prior. Where not, the joint mode under the
    prior does: the prior, then mode to mean.
    """
    design, steps = post.design, []
    components = fit.components
    if fit.method == "ML":
        components = _refit(fit.design, fit.statistics)
        steps.append(Step("β", point_values(design, components)))
    if not same_structure(fit.design, design):
        components = reml_of(post)
        steps.append(Step("structure", point_values(design, components)))
    if post.priors is None:
        return steps, None
    means = {q.key: float(np.nanmean(q.values)) for q in post.quantities}
    flat = reweighted(post, None)
    complete = all(key in flat.values for key in means if key[0] == "var")
    if complete:
        return [*steps, Step("summary", flat.values), Step("prior", means)], flat.k
    return [*steps, Step("prior", joint_mode_of(post)), Step("summary", means)], flat.k


@np.errstate(under="ignore")
def reweighted(post: Posterior, priors: ResolvedPriors | None) -> Reweighted:
    """Return means of a posterior's draws under other priors; None: all of them flat.

    Notes
    -----
    Weights are the ratio of the two densities of (Σ, σ), β integrated out; β itself is left out if
    its prior changes, a variance if its product with the weights has a tail above 0.7 as well.
    """
    density, scalars, draws = _density_of(post), post.quantities, post.values.flat
    other_flat = priors is None or priors.flat_beta
    if priors is None:
        log_w = -density.priors.log_density(draws)
    else:  # both densities by the same coordinates, whatever each prior speaks of
        coordinates = Coordinates.centred(density.priors.design)
        x = coordinates.from_values(draws)
        log_w = LogPrior(priors, coordinates)(x) - LogPrior(density.priors, coordinates)(x)
    if not (other_flat and density.priors.flat_beta):
        other = MarginalLikelihood.of_flat_beta(density.stats)
        if priors is not None:
            other = MarginalLikelihood(density.stats, priors.beta)
        log_w = log_w + other.log_likelihood(draws) - density.log_likelihood(draws)
    log_w = log_w - log_w.max()
    same = float(np.ptp(log_w)) < 1e-9
    k = 0.0 if same else pareto_k(log_w)
    values: dict[Key, float] = {}
    mcse: dict[Key, float] = {}
    if k > MAX_K:
        return Reweighted(values, mcse, k)
    w = np.exp(log_w) / np.exp(log_w).sum()
    same_beta = priors is not None and list(priors.beta) == list(density.priors.beta)
    slower = post.summary().set_index(["scale", "group", "first", "second"])
    for quantity in scalars:
        x = quantity.values.ravel()
        fine = np.isfinite(x)
        if (quantity.scale == "beta" and not same_beta) or not fine.any():
            continue
        with np.errstate(divide="ignore"):
            tail = log_w + np.log(x) if quantity.scale == "var" else log_w
        if not same and pareto_k(tail) > MAX_K:
            continue
        share = w[fine] / w[fine].sum()
        mean = float(share @ x[fine])
        independent = float(np.sqrt((share**2) @ (x[fine] - mean) ** 2))
        # Draws of a chain are dependent: as many times larger as the error of the plain mean is.
        plain = x[fine].std() / np.sqrt(fine.sum())
        dependent = slower.loc[quantity.key, "mcse_mean"] / plain if plain > 0 else 1.0
        values[quantity.key], mcse[quantity.key] = mean, independent * max(1.0, float(dependent))
    return Reweighted(values, mcse, k)


def joint_mode_of(post: Posterior) -> dict[Key, float]:
    """Return every scalar at the maximum of p(SDs, correlations, σ | y)."""
    mode = joint_mode(_density_of(post), post.values)
    return {q.key: float(q.values) for q in quantities(mode, fixed=False)}


def reml_of(post: Posterior) -> VarianceComponents:
    """Return REML's estimates for a posterior's own design."""
    stats = post.density.stats if post.density else statistics_of(post.design)
    return _refit(post.design, stats)


def contradicts_its_density(post: Posterior) -> bool:
    """Whether draws contradict the density that they are said to be from."""
    return post.priors is not None and fails_score(_density_of(post), post.values)


def same_structure(one: Design, other: Design) -> bool:
    """Whether the same columns are correlated in two designs of the same columns."""
    pairs = [(term, other.term(term.group)) for term in one.terms]
    return all(
        _blocks(a) == _blocks(b)
        if a.structure.is_free and b.structure.is_free
        else a.structure == b.structure
        for a, b in pairs
    )


def point_values(design: Design, components: VarianceComponents) -> dict[Key, float]:
    """Return every scalar of variance components."""
    return {q.key: float(q.values) for q in point_quantities(design, components)}


def _density_of(post: Posterior) -> MarginalDensity:
    if post.density is not None:
        return post.density
    if post.priors is None:
        raise BayesvError("The priors of these draws are not known, and so not their density.")
    return MarginalDensity(statistics_of(post.design), post.priors)


def _refit(design: Design, stats: GramStatistics) -> VarianceComponents:
    """Return REML's estimates, quietly: what did not converge is still the nearest there is."""
    with without(FitWarning):
        return fit_reml(design, stats).components


def _blocks(term: RandomTerm) -> frozenset[frozenset[str]]:
    return frozenset(
        frozenset(canonical(term.columns[i]) for i in block) for block in term.structure.blocks
    )
