"""Simulation studies: designs and truths, estimators, scores and calibration."""

from bayesv.study.calibration import Band, Calibration, ecdf_band, sbc
from bayesv.study.declaration import Declaration, read_study
from bayesv.study.estimators import ML, REML, Bayes, Custom
from bayesv.study.grids import grid, read_scenarios, scenarios_of
from bayesv.study.prepared import Prepared
from bayesv.study.replicate import Replicate, Truth
from bayesv.study.results import StudyResult, read
from bayesv.study.run import run
from bayesv.study.scenario import Scenario
from bayesv.study.scores import Scores

__all__ = [
    "ML",
    "REML",
    "Band",
    "Bayes",
    "Calibration",
    "Custom",
    "Declaration",
    "Prepared",
    "Replicate",
    "Scenario",
    "Scores",
    "StudyResult",
    "Truth",
    "ecdf_band",
    "grid",
    "read",
    "read_scenarios",
    "read_study",
    "run",
    "sbc",
    "scenarios_of",
]
