"""Correlations of residuals to start from where the criterion may have several minima."""

from __future__ import annotations

import numpy as np

from bayesv.linalg import Array
from bayesv.structures.structure import CovarianceStructure

__all__ = ["scattered"]

_FEW_ROWS = 20  # for each parameter of the residuals
_MOST, _COORDINATES = 12, 600  # points, and coordinates of all of them together
_SPREAD = 0.8  # of a coordinate


def scattered(structure: CovarianceStructure, n_rows: int, n_groups: int) -> Array:
    """Return coordinates at random, always the same ones.

    With few rows for each parameter any family may have several valleys, and one of two
    correlations, autoregression beside a moving average, always.

    Parameters
    ----------
    structure : CovarianceStructure
    n_rows : int
    n_groups : int
        Of series with parameters of their own.

    Returns
    -------
    ndarray, shape (points, groups, m)
        No point where one valley is to be expected.
    """
    n_parameters = n_groups * (structure.n_sds + structure.n_corrs)
    both_ways = not structure.free_blocks and structure.n_corrs == 2
    n_points = min(_MOST, _COORDINATES // n_parameters) if structure.n_corrs else 0
    if n_rows >= _FEW_ROWS * n_parameters and not both_ways:
        n_points = 0
    shape = (n_points, n_groups, structure.n_corrs)
    return np.random.default_rng(0).normal(0.0, _SPREAD, size=shape)
