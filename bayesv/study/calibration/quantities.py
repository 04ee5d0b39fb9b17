"""What is ranked: parameters, and functions of parameters and data that see more than those."""

from __future__ import annotations

import numpy as np

from bayesv.design import Design
from bayesv.inference.density import MarginalDensity
from bayesv.linalg import Array, psd_roots
from bayesv.quantities import quantities
from bayesv.study.calibration.setting import Parameters

__all__ = ["ranked_quantities"]

_DIGITS = 12  # of a correlation: values that differ from ±1 by rounding alone are ties


def ranked_quantities(
    design: Design, density: MarginalDensity, values: Parameters
) -> dict[str, Array]:
    """Return every quantity of S parameter values, shapes (S,).

    Parameters
    ----------
    design : Design
        Of the fitted rows.
    density : MarginalDensity
        Of the same rows and responses.
    values : Parameters
        With u of all levels, or without any.

    Returns
    -------
    dict
        SDs, correlations and β; ``log|V|``; ``log p(y | Σ, σ, β)`` and ``log p(y | Σ, σ)``;
        ``V[i, i]`` and ``V[i, k]`` of the last row i and the nearest k that shares a level with
        it; with u also the effects of the last row's level of every term and its
        ``fitted value``.

    Notes
    -----
    With T = [X y]'M⁻¹[X y] from the elimination of u and g = (−β; 1), the first likelihood is
    −½(n log 2πσ² + log|M| − Σ log w + g'Tg/σ²). Any function of data and parameters has uniform
    ranks; likelihoods see errors that parameters alone do not (Modrák et al. 2023,
    https://doi.org/10.1214/23-BA1404).
    """
    stats, sigma2, i = density.stats, values.sigma2, design.n - 1
    out = {}
    for quantity in quantities(design, values.covs, sigma2, values.beta):
        if quantity.scale == "corr":
            out[quantity.label] = quantity.values.round(_DIGITS)
        elif quantity.scale in ("sd", "beta"):
            out[quantity.label] = quantity.values

    scale = sigma2[:, None, None]
    lambdas = [psd_roots(values.covs[term.group] / scale) for term in design.terms]
    logdet, T = density.eliminated(lambdas)
    gamma = (values.beta - stats.start) @ stats.R.T
    g = np.concatenate([-gamma, np.ones((len(gamma), 1))], axis=1)
    out["log|V|"] = logdet + stats.n * np.log(sigma2) - stats.log_weights
    square = np.einsum("sa,sab,sb->s", g, T, g) / sigma2
    out["log p(y | Σ, σ, β)"] = -0.5 * (stats.n * np.log(2 * np.pi) + out["log|V|"] + square)
    marginal = density.conditional(lambdas, sigma2, (logdet, T))
    out["log p(y | Σ, σ)"] = marginal.log_likelihood

    w = 1.0 if design.weights is None else design.weights[i]
    out["V[i, i]"] = sigma2 / w + _shared(design, values, i, i)
    if (k := _partner(design, i)) is not None:
        out["V[i, k]"] = _shared(design, values, i, k)
    if values.u:
        fitted = values.beta @ design.X[i]
        for term in design.terms:
            u = values.u[term.group][:, term.codes[i]]
            out |= {f"u {term.group}: {c}": u[:, j] for j, c in enumerate(term.columns)}
            fitted = fitted + u @ term.values[i]
        out["fitted value"] = fitted
    return out


def _shared(design: Design, values: Parameters, i: int, k: int) -> Array:
    """Covariance of rows i and k through the levels they share, shape (S,)."""
    total = np.zeros(len(values.sigma2))
    for term in design.terms:
        if term.codes[i] == term.codes[k]:
            total += np.einsum(
                "a,sab,b->s", term.values[i], values.covs[term.group], term.values[k]
            )
    return total


def _partner(design: Design, i: int) -> int | None:
    """Return the nearest row before i that shares a level with it, if there is one."""
    shares = np.zeros(i, dtype=bool)
    for term in design.terms:
        shares |= term.codes[:i] == term.codes[i]
    return int(np.flatnonzero(shares)[-1]) if shares.any() else None
