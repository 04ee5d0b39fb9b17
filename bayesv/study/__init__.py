"""Simulation studies: designs and truths, estimators, scores and calibration."""

from bayesv.study.replicate import Replicate, Truth

__all__ = ["Replicate", "Truth"]
