"""What comes of a fit, whatever made it, and what scores are taken of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from bayesv.covariance import ComponentDraws, VarianceComponents, gls
from bayesv.inference.density import MarginalLikelihood
from bayesv.linalg import Array, smallest_relative_eigenvalue
from bayesv.model import Model
from bayesv.posterior.effects import gls_draws
from bayesv.posterior.posterior import Posterior
from bayesv.reml import RemlFit

__all__ = [
    "Estimate",
    "Mixture",
    "estimate_of_components",
    "estimate_of_fit",
    "estimate_of_posterior",
    "flags_of",
]


@dataclass(frozen=True, eq=False)
class Estimate:
    """What scores are taken of.

    Attributes
    ----------
    model : Model
        What was fitted.
    components : VarianceComponents
        V̂, in the order of the design.
    beta : ndarray, shape (p,)
        GLS at V̂.
    cov_beta : ndarray, shape (p, p)
        (X'V̂⁻¹X)⁻¹.
    reml : bool
        Whether V̂ is REML's, to which Kenward and Roger's theory applies.
    draws : Posterior, optional
    flags : mapping of str to bool
        What is counted: ``singular``, ``not converged``, ``fallback``, ``problems``.
    """

    model: Model
    components: VarianceComponents
    beta: Array
    cov_beta: Array
    reml: bool
    draws: Posterior | None
    flags: Mapping[str, bool]


@dataclass(frozen=True, eq=False)
class Mixture:
    """Estimates of several structures of V of the same rows and fixed effects, with weights.

    Attributes
    ----------
    parts : tuple of Estimate
        REML's, with draws beside them if there are any.
    weights : ndarray, shape (K,)
        Positive, of sum 1.
    shares : mapping of str to float
        Weight of every structure that was stated, also where it is 0.
    flags : mapping of str to bool
        What is counted.
    """

    parts: tuple[Estimate, ...]
    weights: Array
    shares: Mapping[str, float]
    flags: Mapping[str, bool] = field(default_factory=dict)


def estimate_of_fit(
    fit: RemlFit, model: Model, draws: Posterior | None = None, engine: str = ""
) -> Estimate:
    """Return the estimate of REML or ML, with draws of the same model by an engine beside it."""
    of_draws = {} if draws is None else flags_of(draws, engine)
    return Estimate(
        model,
        fit.components.aligned(fit.design),
        fit.beta.to_numpy(),
        fit.cov_beta.to_numpy(),
        reml=fit.method == "REML",
        draws=draws,
        flags={"singular": fit.singular, "not converged": not fit.converged, **of_draws},
    )


def estimate_of_posterior(post: Posterior, estimate: str, engine: str, model: Model) -> Estimate:
    """Return a summary of draws; a fallback is another engine than was asked for."""
    return _by_gls(post.estimate(estimate), model, post, flags_of(post, engine))


def flags_of(post: Posterior, engine: str) -> dict[str, bool]:
    """Return what is counted of a posterior."""
    return {"fallback": post.engine != engine, "problems": bool(post.problems)}


def estimate_of_components(vc: VarianceComponents, model: Model) -> Estimate:
    """Return the estimate that variance components alone make."""
    vc = vc.aligned(model.design)
    blocks = [vc.block_for(term) for term in model.design.terms]
    lowest = min(map(smallest_relative_eigenvalue, blocks), default=1.0)
    return _by_gls(vc, model, None, {"singular": lowest < 1e-8})


def _by_gls(
    vc: VarianceComponents, model: Model, draws: Posterior | None, flags: dict[str, bool]
) -> Estimate:
    beta, cov = np.array([np.nan]), np.zeros((0, 0))
    if draws is not None and (density := draws.density) is not None:  # whose sums are there
        likelihood = MarginalLikelihood.of_flat_beta(density.stats, density.by_residual)
        point = ComponentDraws.with_parameters(model.design, vc).flat
        beta, cov = (part[0] for part in gls_draws(point, likelihood))
    if not (np.isfinite(beta).all() and np.isfinite(cov).all()):  # with more digits, or the reason
        fixed = gls(model.design, vc)
        beta, cov = fixed.beta.to_numpy(), fixed.cov.to_numpy()
    return Estimate(model, vc, beta, cov, reml=False, draws=draws, flags=flags)
