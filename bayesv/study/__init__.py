"""Simulation studies: designs and truths, estimators, scores and calibration."""

from bayesv.study.calibration import Band, Calibration, ecdf_band, sbc
from bayesv.study.declaration import Declaration, read_study
from bayesv.study.estimation.candidates import Averaged, Chosen
from bayesv.study.estimation.procedures import ML, REML, Bayes, Custom
from bayesv.study.results.result import StudyResult, read
from bayesv.study.run import run
from bayesv.study.scenarios.grids import grid, read_scenarios, scenarios_of
from bayesv.study.scenarios.scenario import Scenario
from bayesv.study.scoring.scores import Scores
from bayesv.study.simulation.prepared import Prepared
from bayesv.study.simulation.replicate import Replicate, Truth

__all__ = [
    "ML",
    "REML",
    "Averaged",
    "Band",
    "Bayes",
    "Calibration",
    "Chosen",
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
