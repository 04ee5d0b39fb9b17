"""Residuals of a GLS fit: as they are, over their SDs, or made independent."""

from __future__ import annotations

import numpy as np
import pandas as pd

from bayesv.covariance.clusters import row_batches, v_blocks
from bayesv.covariance.gls import GLSFit
from bayesv.errors import DataError
from bayesv.linalg import Array

__all__ = ["RESIDUALS", "residuals_of"]

RESIDUALS = ("conditional", "marginal", "pearson", "normalized", "scaled")

_MOST_ROWS = 5_000  # of one cluster, whose covariance is dense


def residuals_of(estimates: GLSFit, kind: str) -> pd.Series:
    """Return residuals of a kind, shape (n,); see `RemlFit.residuals`.

    Raises
    ------
    DataError
        If scaled ones are asked for and a cluster is too large.
    """
    V, design = estimates.V, estimates.V.design
    if kind == "marginal":
        values = estimates.left
    elif kind == "scaled":
        values = _scaled(estimates)
    else:
        values = estimates.residuals.to_numpy()
        if kind == "pearson":
            values = values / np.sqrt(V.vc.sigma2 * V.residual.diagonal)
        elif kind == "normalized":
            values = V.residual.whiten(values) / V.vc.sigma
    return pd.Series(np.array(values), design.row_labels, name=kind)


def _scaled(estimates: GLSFit) -> Array:
    """Return L⁻¹(y − Xβ̂) with V_c = LL' in each cluster, rows in their order."""
    V, design = estimates.V, estimates.V.design
    codes = design.clusters
    if (largest := int(np.bincount(codes).max())) > _MOST_ROWS:
        raise DataError(
            f"A cluster has {largest} rows; at most {_MOST_ROWS} fit: residuals are scaled by the "
            "Cholesky factor of its covariance, which is dense. 'normalized' needs R only."
        )
    known, vc = V.vc.known_at(design)
    scaled = np.empty(design.n)
    for rows in row_batches(codes):
        L = np.linalg.cholesky(v_blocks(known, vc, rows))
        scaled[rows] = np.linalg.solve(L, estimates.left[rows][..., None])[..., 0]
    return scaled
