"""What comes of a fit, whatever made it, and what scores are taken of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bayesv.covariance import VarianceComponents, gls
from bayesv.design.design import Design
from bayesv.linalg import Array, smallest_relative_eigenvalue
from bayesv.posterior.posterior import Posterior
from bayesv.reml import RemlFit

__all__ = ["Estimate", "estimate_of_components", "estimate_of_fit", "estimate_of_posterior"]


@dataclass(frozen=True, eq=False)
class Estimate:
    """What scores are taken of.

    Attributes
    ----------
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

    components: VarianceComponents
    beta: Array
    cov_beta: Array
    reml: bool
    draws: Posterior | None
    flags: Mapping[str, bool]


def estimate_of_fit(fit: RemlFit) -> Estimate:
    """Return the estimate of REML or ML."""
    return Estimate(
        fit.components.aligned(fit.design),
        fit.beta.to_numpy(),
        fit.cov_beta.to_numpy(),
        reml=fit.method == "REML",
        draws=None,
        flags={"singular": fit.singular, "not converged": not fit.converged},
    )


def estimate_of_posterior(post: Posterior, estimate: str, engine: str) -> Estimate:
    """Return a summary of draws; a fallback is another engine than was asked for."""
    flags = {"fallback": post.engine != engine, "problems": bool(post.problems)}
    return _by_gls(post.estimate(estimate), post.design, post, flags)


def estimate_of_components(vc: VarianceComponents, design: Design) -> Estimate:
    """Return the estimate that variance components alone make."""
    vc = vc.aligned(design)
    lowest = min(smallest_relative_eigenvalue(vc.block_for(term)) for term in design.terms)
    return _by_gls(vc, design, None, {"singular": lowest < 1e-8})


def _by_gls(
    vc: VarianceComponents, design: Design, draws: Posterior | None, flags: dict[str, bool]
) -> Estimate:
    fixed = gls(design, vc)
    beta, cov = fixed.beta.to_numpy(), fixed.cov.to_numpy()
    return Estimate(vc, beta, cov, reml=False, draws=draws, flags=flags)
