"""Responses so far from 0 that their numbers are coarse beside what is left of them."""

from __future__ import annotations

import numpy as np

from bayesv.design.design import Design, DesignSummary

__all__ = ["rounded_response"]

_COARSE = 1e-5  # distance of neighbouring numbers over σ


def rounded_response(design: Design | DesignSummary, sigma: float) -> str | None:
    """Say so if numbers of the size of the response are too far apart beside σ.

    Parameters
    ----------
    design : Design or DesignSummary
        Where no σ is estimated, or no response is known, nothing is said.
    sigma : float
        Residual SD.
    """
    if isinstance(design, Design):
        largest = 0.0 if design.sigma_is_known else float(np.abs(design.y).max())
    else:
        largest = design.largest_response or 0.0
    spacing = float(np.spacing(largest))
    if spacing <= _COARSE * sigma:
        return None
    return (
        f"the response {design.response!r} reaches {largest:.1g}, where numbers in double "
        f"precision are {spacing:.1g} apart, and σ is {sigma:.1g}: rounding is part of what is "
        "left of it; subtract a constant from the response before it is rounded"
    )
