"""Simulation studies: designs and truths, estimators, scores and calibration."""

from bayesv.study.calibration import Band, Calibration, ecdf_band, sbc
from bayesv.study.grids import grid, read_scenarios, scenarios_of
from bayesv.study.prepared import Prepared
from bayesv.study.replicate import Replicate, Truth
from bayesv.study.scenario import Scenario

__all__ = [
    "Band",
    "Calibration",
    "Prepared",
    "Replicate",
    "Scenario",
    "Truth",
    "ecdf_band",
    "grid",
    "read_scenarios",
    "sbc",
    "scenarios_of",
]
