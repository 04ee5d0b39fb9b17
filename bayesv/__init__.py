"""bayesv: the marginal covariance of Gaussian linear mixed models, V = Z G Z' + R.

Importing it loads no PyMC, Bambi or plotting library; they are loaded when an engine needs them,
and ``bayesv.plots`` and ``bayesv.study`` when they are named.
"""

import importlib
from typing import Any

from bayesv.comparison.averaged import AveragedPosterior, average
from bayesv.comparison.compare import Comparison, compare
from bayesv.comparison.models import ModelComparison, compare_models
from bayesv.comparison.sensitivity import Sensitivity, sensitivity
from bayesv.comparison.uncertainty import BetaUncertainty, beta_uncertainty
from bayesv.comparison.zero_variance import ZeroVariance, zero_variance
from bayesv.covariance import (
    GLSFit,
    KenwardRoger,
    MarginalCovariance,
    VarianceComponents,
    anova,
    cluster_robust,
    contrasts,
    distances,
    expand_G,
    gls,
    kenward_roger,
    marginal_means,
    residual_R,
    v_distances,
)
from bayesv.data.datasets import load_dataset
from bayesv.design.design import Design, RandomTerm
from bayesv.design.known import Known
from bayesv.design.residual import Residual
from bayesv.diagnostics.summaries import summarize
from bayesv.errors import (
    BayesvError,
    CacheWarning,
    ComponentsError,
    DataError,
    DesignWarning,
    ExtractionError,
    FitWarning,
    FormulaError,
    MemoryNeededError,
    MissingPackageError,
    PriorError,
    SamplingWarning,
    ScenarioError,
    StorageError,
)
from bayesv.extract import extract, read_fit
from bayesv.inference.evidence import Evidence
from bayesv.model import Model
from bayesv.posterior.posterior import Posterior
from bayesv.priors.families import (
    LKJ,
    CorrelationAbove,
    Exponential,
    Flat,
    Gamma,
    HalfCauchy,
    HalfNormal,
    HalfStudentT,
    InverseGamma,
    Normal,
    RangeBelow,
)
from bayesv.priors.priors import Priors
from bayesv.reml import RemlFit
from bayesv.reml.bootstrap import Bootstrap, bootstrap
from bayesv.reml.profile import profile
from bayesv.report import Report, report
from bayesv.restate import to_bambi, to_pymc
from bayesv.storage import load
from bayesv.structures.pedigree import Pedigree, pedigree
from bayesv.support.saving import save

__version__ = "0.1.0"

__all__ = [
    "LKJ",
    "CorrelationAbove",
    "RangeBelow",
    "AveragedPosterior",
    "BayesvError",
    "BetaUncertainty",
    "Bootstrap",
    "Comparison",
    "ComponentsError",
    "DataError",
    "Design",
    "CacheWarning",
    "DesignWarning",
    "Evidence",
    "Exponential",
    "ExtractionError",
    "FitWarning",
    "Flat",
    "FormulaError",
    "MemoryNeededError",
    "GLSFit",
    "Gamma",
    "HalfCauchy",
    "HalfNormal",
    "HalfStudentT",
    "InverseGamma",
    "KenwardRoger",
    "Known",
    "MarginalCovariance",
    "MissingPackageError",
    "Model",
    "ModelComparison",
    "Normal",
    "Pedigree",
    "Posterior",
    "PriorError",
    "Priors",
    "RandomTerm",
    "Residual",
    "RemlFit",
    "Report",
    "SamplingWarning",
    "ScenarioError",
    "Sensitivity",
    "StorageError",
    "VarianceComponents",
    "ZeroVariance",
    "__version__",
    "average",
    "beta_uncertainty",
    "bootstrap",
    "cluster_robust",
    "compare",
    "compare_models",
    "distances",
    "expand_G",
    "extract",
    "gls",
    "kenward_roger",
    "marginal_means",
    "contrasts",
    "anova",
    "load",
    "load_dataset",
    "pedigree",
    "profile",
    "read_fit",
    "report",
    "residual_R",
    "save",
    "sensitivity",
    "summarize",
    "to_bambi",
    "to_pymc",
    "v_distances",
    "zero_variance",
]

_LAZY = ("plots", "study")


def __getattr__(name: str) -> Any:
    """Load the rooms that need more than the core when they are first named."""
    if name in _LAZY:
        return importlib.import_module(f"bayesv.{name}")
    raise AttributeError(f"module 'bayesv' has no attribute {name!r}")
