"""Simulation-based calibration, around the priors or around a user's data."""

from bayesv.study.calibration.bands import Band, ecdf_band
from bayesv.study.calibration.calibrate import sbc
from bayesv.study.calibration.calibration import Calibration

__all__ = ["Band", "Calibration", "ecdf_band", "sbc"]
