"""What is ranked: parameters, and functions of parameters and data that see more than those."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from bayesv.covariance import ComponentDraws
from bayesv.covariance.quantities import quantities
from bayesv.design.design import Design
from bayesv.inference.density import MarginalDensity
from bayesv.linalg import Array, cov_to_sd_corr
from bayesv.priors.families import LKJ, HalfCauchy, HalfNormal, HalfStudentT, InverseGamma, SdPrior
from bayesv.priors.priors import ResolvedPriors
from bayesv.study.calibration.setting import Drawn
from bayesv.study.scoring.elements import element_of_v

__all__ = ["ranked_quantities", "sensitivities"]

_LOG_STEP = 1e-3  # of a prior's scale, for a derivative
_DECIMALS = 12  # of what is ranked: values that differ by rounding alone, as from ±1, are ties


def ranked_quantities(density: MarginalDensity, drawn: Drawn) -> dict[str, Array]:
    """Return every quantity of S parameter values, shapes (S,).

    Parameters
    ----------
    density : MarginalDensity
        Of the fitted rows and responses.
    drawn : Drawn
        Values for the design of these rows, with u of all levels, or without any.

    Returns
    -------
    dict
        SDs, correlations and β, of residuals as of effects; the log of the ``product of SDs``;
        ``log|C|`` of every term's correlations, and of residuals over visits; ``log|V|``;
        ``log p(y | Σ, σ, β)`` and ``log p(y | Σ, σ)``; ``log prior`` and ``log posterior``, of
        (SDs, correlations, σ) and up to a constant; ``V[i, i]`` and ``V[i, k]`` of the last row i
        and the nearest k that shares a level or a series with it; with u also the effects of the
        last row's level of every term and its ``fitted value``.

    Notes
    -----
    With T = [X y]'M⁻¹[X y] from the elimination of u and g = (−β; 1), the first likelihood is
    −½(n log 2πσ² + log|M| − Σ log w + g'Tg/σ²). Any function of data and parameters has uniform
    ranks; likelihoods see errors that parameters alone do not (Modrák et al. 2023,
    https://doi.org/10.1214/23-BA1404). Where only the scale of a prior or LKJ's η is wrong, the
    log prior and log|C| are what moves most.
    """
    stats, values, residual = density.stats, drawn.values, drawn.values.residual
    design, sigma2, i = values.design, values.sigma2, values.design.n - 1
    ranked: dict[str, Array] = {}
    form = design.structured_residual
    labelled = form is not None and bool(form.sd_labels)
    product = np.zeros(len(sigma2))  # of logs
    for quantity in quantities(values):
        if quantity.scale == "corr":
            ranked[quantity.label] = quantity.values.round(_DECIMALS)
        elif quantity.scale in ("sd", "beta"):
            ranked[quantity.label] = quantity.values
        # Where SDs of residuals have labels, σ is a function of them.
        of_labels = quantity.label == "sd Residual" and labelled
        if quantity.scale == "sd" and not of_labels:
            with np.errstate(divide="ignore"):
                product = product + np.log(quantity.values)
    ranked["product of SDs"] = product
    ranked |= _log_correlations(values)

    lambdas = values.relative_roots()
    logdet, T = density.eliminated(lambdas, residual=residual)
    gamma = stats.fixed.to_gamma(values.beta)
    g = np.concatenate([-gamma, np.ones((len(gamma), 1))], axis=1)
    ranked["log|V|"] = logdet + stats.n * np.log(sigma2) - stats.log_weights
    square = np.einsum("sa,sab,sb->s", g, T, g) / sigma2
    ranked["log p(y | Σ, σ, β)"] = -0.5 * (stats.n * np.log(2 * np.pi) + ranked["log|V|"] + square)
    marginal = density.conditional(lambdas, sigma2, (logdet, T), residual)
    ranked["log p(y | Σ, σ)"] = marginal.log_likelihood
    log_prior = density.priors.log_density(values)
    ranked["log prior"] = log_prior.round(_DECIMALS)
    ranked["log posterior"] = marginal.log_likelihood + log_prior

    ranked["V[i, i]"] = element_of_v(values, i, i)
    if (k := _partner(design, i)) is not None:
        ranked["V[i, k]"] = element_of_v(values, i, k)
    if drawn.u:
        fitted = values.beta @ design.X[i]
        for term in design.terms:
            u = drawn.u[term.group][:, term.codes[i]]
            ranked |= {f"u {term.group}: {c}": u[:, j] for j, c in enumerate(term.columns)}
            fitted = fitted + u @ term.values[i]
        ranked["fitted value"] = fitted
    return ranked


def sensitivities(priors: ResolvedPriors, values: ComponentDraws) -> dict[str, float]:
    """Return how far draws move, in their own SDs, when a prior moves.

    Parameters
    ----------
    priors : ResolvedPriors
    values : ComponentDraws, shape (S,)
        Draws of one posterior.

    Returns
    -------
    dict
        ``scale of sd …`` per change of the prior's log scale, ``η of …`` per change of LKJ's η, and
        ``tails of sd …`` if a half-normal becomes a half-t(3) of the same scale or a half-t a
        half-normal; to first order.

    Notes
    -----
    A change ε of a parameter h of the prior moves E[f | y] by ε Cov(f, s), s = ∂ log p(θ)/∂h; of
    all functions s itself moves most, by ε SD(s | y) in units of its own SD.
    """
    start = priors.log_density(values)

    def moved(other: ResolvedPriors, step: float) -> float:
        return float(np.std(other.log_density(values) - start)) / step

    spread = {}
    for term in priors.design.terms:
        prior_sds = priors.sd[term.group]
        for i, column in enumerate(term.columns):
            for name, prior, step in _changes(prior_sds[i]):
                sds = {**priors.sd, term.group: (*prior_sds[:i], prior, *prior_sds[i + 1 :])}
                spread[f"{name} of sd {term.group}: {column}"] = moved(
                    replace(priors, sd=sds), step
                )
    if (own := priors.residual) is not None:
        labels = own.form.sd_labels or ("",)
        for k, label in enumerate(labels):
            for name, prior, step in _changes(own.sds[k]):
                changed = replace(own, sds=(*own.sds[:k], prior, *own.sds[k + 1 :]))
                parameter = f"{name} of sd Residual: {label}" if label else f"{name} of sd Residual"
                spread[parameter] = moved(replace(priors, residual=changed), step)
        if isinstance(own.corr, LKJ):
            changed = replace(own, corr=LKJ(own.corr.eta + 1.0))
            spread["η of Residual"] = moved(replace(priors, residual=changed), 1.0)
    elif not priors.design.sigma_is_known:
        for name, prior, step in _changes(priors.sigma):
            spread[f"{name} of sd Residual"] = moved(replace(priors, sigma=prior), step)
    for group, lkj in priors.corr.items():
        corr = {**priors.corr, group: LKJ(lkj.eta + 1.0)}
        spread[f"η of {group}"] = moved(replace(priors, corr=corr), 1.0)
    return spread


def _changes(prior: Any) -> Iterator[tuple[str, SdPrior, float]]:
    """Yield what may be wrong with the prior of an SD: name, wrong prior, size of the change."""
    if not hasattr(prior, "scale"):  # flat
        return
    power = 2.0 if isinstance(prior, InverseGamma) else 1.0  # its scale is that of a variance
    yield "scale", replace(prior, scale=prior.scale * np.exp(power * _LOG_STEP)), _LOG_STEP
    match prior:
        case HalfNormal(scale):
            yield "tails", HalfStudentT(3.0, scale), 1.0
        case HalfStudentT(_, scale) | HalfCauchy(scale):
            yield "tails", HalfNormal(scale), 1.0


def _log_correlations(values: ComponentDraws) -> dict[str, Array]:
    """Log determinant of the correlation matrix of every term that has one, shapes (S,)."""
    logs = {}
    for term in values.design.terms:
        blocks = [np.array(block) for block in term.structure.blocks if len(block) > 1]
        if blocks:
            corr = np.nan_to_num(cov_to_sd_corr(values.covs[term.group])[1])
            with np.errstate(divide="ignore"):
                logdet = [np.linalg.slogdet(corr[:, b[:, None], b])[1] for b in blocks]
            logs[f"log|C| {term.group}"] = np.sum(logdet, axis=0).round(_DECIMALS)
    form, residual = values.design.structured_residual, values.residual
    if form is None or residual is None or (part := form.sequential) is None:
        return logs
    if part.series.by_visit and part.structure.n_corrs:
        by_group = np.linalg.slogdet(part.structure.corr(residual.z))[1]
        logs["log|C| Residual"] = by_group.sum(axis=-1).round(_DECIMALS)
    return logs


def _partner(design: Design, i: int) -> int | None:
    """Return the nearest row before i that shares a level or a series, if there is one."""
    series = design.residual.clusters
    shares = np.zeros(i, dtype=bool) if series is None else series[:i] == series[i]
    for term in design.terms:
        shares |= term.shared(term.codes[:i], term.codes[i]) != 0
    return int(np.flatnonzero(shares)[-1]) if shares.any() else None
