"""What `bayesv` has; each name is loaded when it is first used."""

from . import plots as plots
from . import study as study
from .comparison.averaged import AveragedPosterior, average
from .comparison.compare import Comparison, compare
from .comparison.models import ModelComparison, compare_models
from .comparison.sensitivity import Sensitivity, sensitivity
from .comparison.structures import structures
from .comparison.uncertainty import BetaUncertainty, beta_uncertainty
from .comparison.zero_variance import ZeroVariance, zero_variance
from .covariance import (
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
from .data.datasets import load_dataset
from .design.design import Design, RandomTerm
from .design.known import Known
from .design.residual import Residual
from .diagnostics.summaries import summarize
from .errors import (
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
from .extract import extract, read_fit
from .inference.evidence import Evidence
from .model import Model
from .posterior.posterior import Posterior
from .priors.families import (
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
from .priors.priors import Priors
from .reml import RemlFit
from .reml.bootstrap import Bootstrap, bootstrap
from .reml.likelihood_ratio import lrt
from .reml.profile import profile
from .report import Report, interactive_v, report
from .restate import to_bambi, to_pymc
from .storage import load
from .structures.pedigree import Pedigree, pedigree
from .support.markup import to_table
from .support.saving import save

__version__: str

__all__ = [
    "LKJ",
    "AveragedPosterior",
    "BayesvError",
    "BetaUncertainty",
    "Bootstrap",
    "Comparison",
    "ComponentsError",
    "CorrelationAbove",
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
    "RangeBelow",
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
    "marginal_means",
    "contrasts",
    "anova",
    "beta_uncertainty",
    "bootstrap",
    "cluster_robust",
    "compare",
    "compare_models",
    "distances",
    "expand_G",
    "extract",
    "gls",
    "interactive_v",
    "kenward_roger",
    "load",
    "load_dataset",
    "lrt",
    "pedigree",
    "profile",
    "read_fit",
    "report",
    "residual_R",
    "save",
    "sensitivity",
    "structures",
    "summarize",
    "to_bambi",
    "to_pymc",
    "to_table",
    "v_distances",
    "zero_variance",
]
