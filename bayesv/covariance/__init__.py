"""The shared covariance module: from Σ_f and σ² to G, R, V and GLS, whatever their origin."""

from bayesv.covariance.adjustment import kenward_roger
from bayesv.covariance.anova import anova
from bayesv.covariance.components import VarianceComponents
from bayesv.covariance.distances import DISTANCES, distances, v_distances
from bayesv.covariance.draws import ComponentDraws
from bayesv.covariance.gls import GLSFit, gls
from bayesv.covariance.marginal import MarginalCovariance, expand_G, residual_R
from bayesv.covariance.marginal_means import contrasts, marginal_means
from bayesv.covariance.pointwise import Pointwise
from bayesv.covariance.sandwich import cluster_robust
from bayesv.covariance.small_sample import KenwardRoger

__all__ = [
    "DISTANCES",
    "ComponentDraws",
    "GLSFit",
    "KenwardRoger",
    "MarginalCovariance",
    "Pointwise",
    "VarianceComponents",
    "anova",
    "cluster_robust",
    "contrasts",
    "distances",
    "expand_G",
    "gls",
    "kenward_roger",
    "marginal_means",
    "residual_R",
    "v_distances",
]
