"""The REML fit beside a posterior, and what V says at the estimates of a fit."""

from __future__ import annotations

from bayesv.covariance.summed import AtV, at_v
from bayesv.model import Model
from bayesv.posterior.posterior import Posterior
from bayesv.reml import RemlFit, fit_reml

__all__ = ["at_estimate", "reml_of"]


def reml_of(post: Posterior) -> RemlFit:
    """Return the REML fit of a posterior's design."""
    if post.density is not None and post.design.terms and not post.design.parametric_residual:
        return fit_reml(post.design, post.density.stats)
    return Model.from_design(post.design).reml()


def at_estimate(fit: RemlFit) -> AtV:
    """Return what V says at the estimate of a fit."""
    if not fit.design.has_rows:
        return at_v(fit.design, fit.components, fit._stats)
    return AtV(fit.gls.beta, fit.gls.cov, fit.gls.V.logdet(), fit.gls.V.trace())
