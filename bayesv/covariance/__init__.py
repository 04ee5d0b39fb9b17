"""The shared covariance module: from Σ_f and σ² to G, R, V and GLS, whatever their origin."""

from bayesv.covariance.components import VarianceComponents
from bayesv.covariance.gls import GLSFit, gls
from bayesv.covariance.marginal import MarginalCovariance, expand_G, residual_R

__all__ = [
    "GLSFit",
    "MarginalCovariance",
    "VarianceComponents",
    "expand_G",
    "gls",
    "residual_R",
]
