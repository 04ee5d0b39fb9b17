"""Draws from the priors, on the scales people think in: SDs, correlations, shares of variance."""

from __future__ import annotations

from typing import Any

import numpy as np

from bayesv.covariance import ComponentDraws
from bayesv.covariance.functionals import definition, functionals
from bayesv.covariance.quantities import parameters_of_family
from bayesv.errors import PriorError
from bayesv.gram import GramStatistics
from bayesv.linalg import Array
from bayesv.priors.families import (
    Exponential,
    Flat,
    Gamma,
    HalfCauchy,
    HalfNormal,
    HalfStudentT,
    InverseGamma,
    Normal,
)
from bayesv.priors.priors import ResolvedPriors
from bayesv.support.xarray import dataset

__all__ = ["draw_prior", "prior_predictive"]

_LARGEST_LOG = 600.0  # of a variance


def draw_prior(priors: ResolvedPriors, size: int, rng: np.random.Generator) -> ComponentDraws:
    """Draw (Σ_f, σ², β), shape (size,).

    Flat elements of β, which have no draws, are NaN.

    Raises
    ------
    PriorError
        If the prior of an SD is flat.
    """
    sigma = _draw_sd(priors.sigma, size, rng)
    covs = {}
    for term in priors.design.terms:
        structure = term.structure
        root = structure.root(structure.draw(rng, size, priors.eta(term)))
        sds = [_draw_sd(prior, size, rng) for prior in priors.sd[term.group]]
        scaled = structure.sds(np.stack(sds, axis=1))[:, :, None] * root
        scaled = priors.basis(term).back @ scaled
        covs[term.group] = scaled @ np.swapaxes(scaled, 1, 2)
    beta = np.full((size, len(priors.beta)), np.nan)
    for i, prior in enumerate(priors.beta):
        if isinstance(prior, Normal):
            beta[:, i] = rng.normal(prior.mean, prior.sd, size)
    return ComponentDraws(priors.design, covs, sigma**2, beta)


def prior_predictive(
    priors: ResolvedPriors, stats: GramStatistics, draws: int, rng: np.random.Generator
) -> Any:
    """Return a Dataset of draws of SDs, correlations and functionals of V, dims (chain, draw)."""
    priors.design.refuse_posterior()
    values = draw_prior(priors, draws, rng)
    covs, out = values.covs, {"sd Residual": values.sigma}
    for term in priors.design.terms:
        if not term.structure.is_free:
            parameters = parameters_of_family(term, covs[term.group])
            out |= {one.label: one.values for one in parameters if one.scale != "var"}
            continue
        sd = np.sqrt(np.diagonal(covs[term.group], axis1=1, axis2=2))
        out |= {f"sd {term.group}: {c}": sd[:, i] for i, c in enumerate(term.columns)}
        for i, j in zip(*np.nonzero(np.tril(term.structure.mask, -1)), strict=True):
            pair = f"corr {term.group}: {term.columns[j]}, {term.columns[i]}"
            with np.errstate(invalid="ignore"):
                out[pair] = covs[term.group][:, i, j] / (sd[:, i] * sd[:, j])
    found = functionals(values, stats)
    out |= {name: x for name, x in found.items() if np.isfinite(x).all()}
    said = {name: {"definition": text} if (text := definition(name)) else {} for name in out}
    return dataset({name: (("chain", "draw"), x[None], said[name]) for name, x in out.items()})


def _draw_sd(prior: Any, size: int, rng: np.random.Generator) -> Array:
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
