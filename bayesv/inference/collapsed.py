"""The collapsed engine: independence Metropolis–Hastings on p(Σ, σ | y), u and β integrated out."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from bayesv.covariance import VarianceComponents
from bayesv.diagnostics import pareto_k
from bayesv.gram import draw_effects
from bayesv.inference.density import Conditional, MarginalDensity
from bayesv.inference.draws import Draws
from bayesv.inference.options import NutsOptions
from bayesv.inference.proposal import ProposalError, adapt, efficiency, log_mean, truncated
from bayesv.inference.target import Target
from bayesv.linalg import Array

__all__ = ["labelled", "sample_collapsed"]

# Draws of each round of adaptation and the share of wide proposals, by the cost of an evaluation.
_CHEAP, _EXPENSIVE = (2000, 0.15), (500, 0.03)
_WANTED = 0.9  # importance ESS per kept draw that thinning aims at
_LEAST = 0.5  # importance ESS per kept draw below which the proposal is adapted again
# Share of a chain that one point may hold: more, and the proposal is adapted again; or is no use.
_STUCK, _MAX_STUCK = 0.02, 0.04
_MAX_THIN = 8
_MAX_KHAT = 0.7  # Vehtari et al. 2024, https://jmlr.org/papers/v25/19-556.html
_MIN_ACCEPTANCE = 0.2
_BOUNDED = 20.0  # largest weight over the mean: up to here chains mix fast whatever k̂ says
_ATTEMPTS = 4
_JUDGED = 1000  # draws of a chain, on which the proposal is judged however few are kept


def sample_collapsed(
    density: MarginalDensity, start: VarianceComponents, options: NutsOptions, keep_u: bool
) -> Draws:
    """Draw from p(Σ, σ, β | y) without sampling u.

    Parameters
    ----------
    density : MarginalDensity
    start : VarianceComponents
        Where the search for the mode starts, such as the REML estimate.
    options : NutsOptions
        Of which draws, chains and seed are used.
    keep_u : bool
        Whether to draw u exactly from its conditional, too.

    Returns
    -------
    Draws
        ``sample_stats`` has ``accepted`` and ``lp``; attributes ``pareto_k``, ``acceptance``,
        ``thin`` and ``n_evaluations``.

    Raises
    ------
    ProposalError
        If Pareto k̂ of the importance weights exceeds 0.7, fewer than 20 % are accepted or a chain
        stays at one point too long.

    Notes
    -----
    A mixture of multivariate t distributions starts at mode and Hessian and is adapted by
    population Monte Carlo. Its draws are proposals of an independence Metropolis–Hastings chain,
    so that the result needs no weights, and their evaluation is one vectorised batch. β is drawn
    exactly from its normal conditional.
    """
    started = time.perf_counter()
    draws, chains = options.draws, options.chains
    rng = np.random.default_rng(options.seed)
    target = Target(density, options.progressbar)
    mode, L = target.mode(start)
    if target.expensive:
        target.interpolate(mode, L)
    size, wide = _EXPENSIVE if target.expensive else _CHEAP
    proposal, fraction, population = adapt(
        lambda x: target.evaluate(x)[0], mode, L, rng, size, wide
    )
    for attempt in range(1, _ATTEMPTS + 1):
        thin = int(np.clip(np.ceil(_WANTED / fraction), 1, _MAX_THIN))
        length = max(draws * thin, _JUDGED)
        x = proposal.sample(rng, chains * length)
        lp, conditional = target.evaluate(x)
        log_w = lp - proposal.log_density(x)
        fraction = efficiency(log_w)
        khat, largest = pareto_k(log_w), float(np.exp(log_w.max() - log_mean(log_w)))
        covered = khat <= _MAX_KHAT or largest <= _BOUNDED
        if covered and fraction * length >= _LEAST * draws and largest <= _STUCK * length:
            break
        if attempt < _ATTEMPTS:  # the last one stays the proposal of these draws
            proposal = proposal.adapted(x, truncated(log_w))
    first = population[rng.integers(len(population), size=chains)]
    lp_first, conditional_first = target.evaluate(first)
    log_w_first = lp_first - proposal.log_density(first)
    log_u = np.log(rng.uniform(size=(chains, length)))
    state, accepted = _walk(log_w.reshape(chains, length), log_w_first, log_u)
    rate = float(accepted.mean())
    stuck = largest / length
    if not (covered and rate >= _MIN_ACCEPTANCE and stuck <= _MAX_STUCK):
        raise ProposalError(
            f"Pareto k̂ {khat:.2f} (at most {_MAX_KHAT}), acceptance {rate:.2f} (at least "
            f"{_MIN_ACCEPTANCE}), one point holds {stuck:.1%} of a chain (at most {_MAX_STUCK:.0%})"
        )
    last = slice(length - draws * thin + thin - 1, None, thin)
    keep = state[:, last].ravel()
    # Positions index the proposals, and after them the chains' first points.
    found = Conditional(
        np.concatenate([lp, lp_first])[keep],
        np.concatenate([conditional.mean, conditional_first.mean])[keep],
        np.concatenate([conditional.factor, conditional_first.factor])[keep],
    )
    return labelled(
        target,
        np.concatenate([x, first])[keep],
        found,
        (chains, draws),
        rng,
        keep_u=keep_u,
        sample_stats={
            "accepted": accepted[:, last],
            "lp": found.log_likelihood.reshape(chains, draws),
        },
        attrs={
            "method": "independence Metropolis–Hastings",
            "pareto_k": khat,
            "acceptance": rate,
            "thin": thin,
            "n_evaluations": target.n_evaluations - target.n_interpolated,
            **_interpolation(target),
            "seconds": round(time.perf_counter() - started, 4),
            "seed": "none" if options.seed is None else str(options.seed),
        },
    )


def labelled(
    target: Target,
    x: Array,
    conditional: Conditional,
    shape: tuple[int, int],
    rng: np.random.Generator,
    *,
    keep_u: bool,
    sample_stats: dict[str, Array],
    attrs: dict[str, Any],
) -> Draws:
    """Return draws of (Σ, σ) at x, chain after chain, with β (and u) from their conditionals."""
    density, stats = target.density, target.density.stats
    covs, sigma2 = target.coordinates.to_covs(x)
    z = rng.normal(size=conditional.mean.shape)
    noise = np.linalg.solve(np.swapaxes(conditional.factor, -1, -2), z[..., None])[..., 0]
    gamma = conditional.mean + noise
    beta = stats.start + gamma @ np.linalg.inv(stats.R).T
    u: dict[str, Array] = {}
    if keep_u:
        lambdas, sigma = target.coordinates.to_lambdas(x)
        u = _effects(density, lambdas, sigma, gamma, rng)
    return Draws(
        covs={g: c.reshape(*shape, *c.shape[1:]) for g, c in covs.items()},
        sigma2=sigma2.reshape(shape),
        beta=beta.reshape(*shape, -1),
        u={g: v.reshape(*shape, *v.shape[1:]) for g, v in u.items()},
        sample_stats=sample_stats,
        attrs=attrs,
    )


def _interpolation(target: Target) -> dict[str, Any]:
    """Say how much was interpolated, and how well."""
    if target.interpolant is None:
        return {}
    return {
        "interpolation_error": target.interpolant.error,
        "n_interpolated": target.n_interpolated,
    }


def _walk(log_w: Array, log_w_first: Array, log_u: Array) -> tuple[Any, Array]:
    """Accept or reject proposal by proposal; positions index proposals, first points follow."""
    chains, length = log_w.shape
    state = np.empty((chains, length), dtype=np.intp)
    accepted = np.zeros((chains, length), dtype=bool)
    for c in range(chains):
        at, current = chains * length + c, float(log_w_first[c])
        for i, (w, u) in enumerate(zip(log_w[c].tolist(), log_u[c].tolist(), strict=True)):
            if u < w - current:
                at, current = c * length + i, w
                accepted[c, i] = True
            state[c, i] = at
    return state, accepted


def _effects(
    density: MarginalDensity,
    lambdas: list[Array],
    sigma: Array,
    gamma: Array,
    rng: np.random.Generator,
) -> dict[str, Array]:
    """Draw u | β, Σ, σ, y exactly, for each draw."""
    terms = density.priors.design.terms
    inner = density.stats.in_basis(lambdas)
    out = [np.empty((len(sigma), term.n_levels, term.n_columns)) for term in terms]
    for s in range(len(sigma)):
        at = [lam[s] for lam in inner]
        drawn = draw_effects(density.stats, at, float(sigma[s]), gamma[s], rng, moments=False)
        for to, values in zip(out, drawn.u, strict=True):
            to[s] = values
    return {term.group: values for term, values in zip(terms, out, strict=True)}
