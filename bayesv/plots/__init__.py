"""Pictures of designs, V, posteriors and comparisons, on matplotlib axes.

Every function takes the axes to draw on, or makes a figure, and returns axes. None shows or saves
anything: ``bv.plots.figure_of(axes).savefig(path)`` does, and ``bv.plots.describe(axes)`` says in
plain words what is seen.
"""

# ruff: noqa: E402 -- what is missing is said before the modules that need it are read
from bayesv.errors import require

require("matplotlib", "plots")

from bayesv.plots.calibration import rank_ecdfs
from bayesv.plots.checks import check, influence
from bayesv.plots.covariances import curves, ellipses
from bayesv.plots.densities import distance_density, variance_densities
from bayesv.plots.diagnostics import acceptance, chains
from bayesv.plots.effects import caterpillar, forest
from bayesv.plots.funnel import study_funnel
from bayesv.plots.heatmaps import block
from bayesv.plots.images import image_G, image_R, image_V, image_Z, matrices
from bayesv.plots.matrix import image
from bayesv.plots.models import models, prior_sensitivity, zero_variance
from bayesv.plots.png import png
from bayesv.plots.series import lags, series
from bayesv.plots.study import study_intervals, study_losses, study_scores
from bayesv.plots.style import describe, figure_of
from bayesv.plots.timings import scaling

__all__ = [
    "acceptance",
    "block",
    "caterpillar",
    "chains",
    "check",
    "curves",
    "describe",
    "distance_density",
    "ellipses",
    "figure_of",
    "forest",
    "image",
    "influence",
    "lags",
    "image_G",
    "image_R",
    "image_V",
    "image_Z",
    "matrices",
    "models",
    "png",
    "prior_sensitivity",
    "rank_ecdfs",
    "scaling",
    "series",
    "study_funnel",
    "study_intervals",
    "study_losses",
    "study_scores",
    "variance_densities",
    "zero_variance",
]
