"""Draws from the priors, on the scales people think in: SDs, correlations, shares of variance."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from bayesv.covariance import ComponentDraws
from bayesv.covariance.functionals import definition, functionals_of_draws
from bayesv.covariance.quantities import parameters_of_family
from bayesv.design.structured import Parameters
from bayesv.gram import GramStatistics
from bayesv.linalg import Array
from bayesv.priors.draws_of_sds import draw_sd
from bayesv.priors.families import Normal
from bayesv.priors.priors import ResolvedPriors
from bayesv.support.xarray import dataset

if TYPE_CHECKING:
    import xarray

__all__ = ["draw_parameters", "draw_prior", "prior_predictive"]


class Drawn(NamedTuple):
    """Draws of parameters as priors speak of them.

    Attributes
    ----------
    sigma : ndarray, shape (S,)
    corrs, sds : list of ndarray, shapes (S, m_f) and (S, n_sds)
        Coordinates of the correlation and SDs of each term, in the prior's basis.
    beta : ndarray, shape (S, p)
    residual : Parameters or None
    """

    sigma: Array
    corrs: list[Array]
    sds: list[Array]
    beta: Array
    residual: Parameters | None


def draw_parameters(priors: ResolvedPriors, size: int, rng: np.random.Generator) -> Drawn:
    """Draw from the priors; the errors of `draw_prior`."""
    residual = None if priors.residual is None else priors.residual.draw(rng, size)
    if residual is not None:
        sigma = np.sqrt((residual.sds**2).mean(axis=-1))
        residual = residual._replace(sds=residual.sds / sigma[:, None])
    elif priors.design.sigma_is_known:
        sigma = np.ones(size)
    else:
        sigma = draw_sd(priors.sigma, size, rng)
    corrs, sds = [], []
    for term in priors.design.terms:
        corrs.append(term.structure.draw(rng, size, priors.eta(term)))
        sds.append(np.stack([draw_sd(one, size, rng) for one in priors.sd[term.group]], axis=1))
    beta = np.full((size, len(priors.beta)), np.nan)
    for i, prior in enumerate(priors.beta):
        if isinstance(prior, Normal):
            beta[:, i] = rng.normal(prior.mean, prior.sd, size)
    return Drawn(sigma, corrs, sds, beta, residual)


def draw_prior(priors: ResolvedPriors, size: int, rng: np.random.Generator) -> ComponentDraws:
    """Draw (Σ_f, σ², β), shape (size,).

    Flat elements of β, which have no draws, are NaN.

    Raises
    ------
    PriorError
        If the prior of an SD is flat.
    """
    drawn, covs = draw_parameters(priors, size, rng), {}
    for term, corrs, sds in zip(priors.design.terms, drawn.corrs, drawn.sds, strict=True):
        scaled = term.structure.sds(sds)[:, :, None] * term.structure.root(corrs)
        scaled = priors.basis(term).back @ scaled
        covs[term.group] = scaled @ np.swapaxes(scaled, 1, 2)
    return ComponentDraws(priors.design, covs, drawn.sigma**2, drawn.beta, drawn.residual)


def prior_predictive(
    priors: ResolvedPriors,
    statistics: Callable[[ComponentDraws], GramStatistics],
    draws: int,
    rng: np.random.Generator,
) -> xarray.Dataset:
    """Return a Dataset of draws of SDs, correlations and functionals of V, dims (chain, draw)."""
    values = draw_prior(priors, draws, rng)
    covs, out = values.covs, _of_residual(values)
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
    found = functionals_of_draws(values, statistics)
    out |= {name: x for name, x in found.items() if np.isfinite(x).all()}
    said = {name: {"definition": text} if (text := definition(name)) else {} for name in out}
    return dataset({name: (("chain", "draw"), x[None], said[name]) for name, x in out.items()})


def _of_residual(values: ComponentDraws) -> dict[str, Array]:
    """Return σ, unless it is known, and parameters of structured residuals, by label."""
    out = {} if values.design.sigma_is_known else {"sd Residual": values.sigma}
    form = values.design.structured_residual
    if values.residual is None or form is None:
        return out
    sds, numbers = values.residual.sds * values.sigma[:, None], form.numbers(values.residual)
    out |= {f"sd Residual: {label}": sds[:, k] for k, label in enumerate(form.sd_labels)}
    return out | {f"corr Residual: {x}": numbers[:, k] for k, x in enumerate(form.corr_labels)}
