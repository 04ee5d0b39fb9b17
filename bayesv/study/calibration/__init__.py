"""Simulation-based calibration, around the priors or around a user's data."""

from bayesv.study.calibration.bands import Band, ecdf_band
from bayesv.study.calibration.result import Calibration
from bayesv.study.calibration.run import sbc

__all__ = ["Band", "Calibration", "ecdf_band", "sbc"]
