"""Correlation and semivariogram by the distance of two rows of one series."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayesv.covariance.clusters import row_batches, v_blocks
from bayesv.covariance.gls import GLSFit
from bayesv.covariance.residual_kinds import residuals_of
from bayesv.design.parametric import ParametricResidual
from bayesv.errors import DataError
from bayesv.linalg import Array

__all__ = ["by_lag"]

_DISTINCT = 40  # lags up to which each has a line
_CLASSES = 15  # of lags, where there are more
_MOST_ROWS = 5_000  # of a series

Index = NDArray[np.intp]


def by_lag(estimates: GLSFit, group: str | None = None, position: Any = None) -> pd.DataFrame:
    """Return what the fit, and what the residuals say of rows that are so far apart.

    Parameters
    ----------
    estimates : GLSFit
    group : str, optional
        Grouping factor whose levels are the series, with ``position``.
    position : array_like, shape (n,) or (n, d), optional
        Time or place of each row; those of the residuals' series if left out.

    Returns
    -------
    DataFrame
        One line for each lag, or class of lags; see `RemlFit.by_lag`.

    Raises
    ------
    DataError
        If there is no series.
    """
    V = estimates.V
    codes, places = _series(V.design, group, position)
    design, vc = V.vc.known_at(V.design)
    marginal = residuals_of(estimates, "marginal").to_numpy()
    parts: list[Array] = []
    for rows in row_batches(codes):
        m = rows.shape[1]
        if m > _MOST_ROWS:
            raise DataError(f"A series has {m} rows; at most {_MOST_ROWS} fit.")
        first, second = np.triu_indices(m, 1)
        if not len(first):
            continue
        whole, R = v_blocks(design, vc, rows), vc.sigma2 * design.residual.block(rows)
        there = places[rows]
        lag = np.sqrt(((there[:, first] - there[:, second]) ** 2).sum(axis=-1))
        e = marginal[rows]
        var = np.diagonal(whole, axis1=1, axis2=2)
        z = e / np.sqrt(var)
        half = 0.5 * (var[:, first] + var[:, second]) - whole[:, first, second]
        columns = [
            lag,
            _corr(R)[:, first, second],
            _corr(whole)[:, first, second],
            z[:, first] * z[:, second],
            half,
            0.5 * (e[:, first] - e[:, second]) ** 2,
        ]
        parts.append(np.stack([column.ravel() for column in columns], axis=1))
    if not parts:
        raise DataError("Every series has one row, so that no two are some lag apart.")
    names = ["lag", "corr_R", "corr_V", "corr_residuals", "semivariance", "semivariance_residuals"]
    return _means(pd.DataFrame(np.concatenate(parts), columns=names))


def _series(design: Any, group: str | None, position: Any) -> tuple[Index, Array]:
    """Return the series of each row, and their places, (n, d)."""
    form = design.residual
    series = form.series if isinstance(form, ParametricResidual) else None
    if position is None:
        if series is None or group not in (None, series.label):
            raise DataError(
                "The residuals of this fit have no series; name a grouping factor and give the "
                "time of each row: by_lag(group, position)."
            )
        places = series.times[series.visit][:, None] if series.by_visit else series.coordinates
        return series.codes, places
    try:
        places = np.asarray(position, dtype=float)
    except (TypeError, ValueError):
        raise DataError(
            f"position must be numbers for the {design.n} rows; found {type(position).__name__}."
        ) from None
    places = places[:, None] if places.ndim == 1 else places
    if places.ndim != 2 or len(places) != design.n or not np.isfinite(places).all():
        raise DataError(
            f"position has shape {np.shape(position)}; needed are numbers for the {design.n} rows."
        )
    if group is None:
        raise DataError("Beside positions the grouping factor is needed whose levels are series.")
    return np.asarray(design.term(group).codes), places


def _means(pairs: pd.DataFrame) -> pd.DataFrame:
    """Return means over pairs of rows of one lag, or of classes with equally many pairs."""
    lags = np.round(pairs["lag"], 9)
    if lags.nunique() > _DISTINCT:
        lags = pd.qcut(lags, _CLASSES, duplicates="drop", labels=False)
    grouped = pairs.groupby(lags.to_numpy())
    return grouped.mean().assign(pairs=grouped.size()).reset_index(drop=True)


def _corr(blocks: Array) -> Array:
    sd = np.sqrt(np.diagonal(blocks, axis1=1, axis2=2))
    return np.asarray(blocks / (sd[:, :, None] * sd[:, None, :]))
