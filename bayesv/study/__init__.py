"""Simulation studies: designs and truths, estimators, scores and calibration."""

from bayesv.study.calibration import Band, Calibration, ecdf_band, sbc
from bayesv.study.replicate import Replicate, Truth

__all__ = ["Band", "Calibration", "Replicate", "Truth", "ecdf_band", "sbc"]
