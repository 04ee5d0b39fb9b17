"""Correlation and semivariogram by the distance of two rows of one series."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayesv.covariance.clusters import row_batches, v_blocks
from bayesv.covariance.components import VarianceComponents
from bayesv.covariance.draws import ComponentDraws
from bayesv.covariance.gls import GLSFit
from bayesv.covariance.residual_kinds import residuals_of
from bayesv.design.design import Design
from bayesv.design.parametric import ParametricResidual
from bayesv.errors import DataError
from bayesv.linalg import Array
from bayesv.support.shown import WholeFrame

__all__ = ["by_lag", "intervals_by_lag"]

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
    pairs = _pairs(V.design, group, position)
    design, vc = V.vc.known_at(V.design)
    marginal = residuals_of(estimates, "marginal").to_numpy()
    data: list[Array] = []
    for rows in pairs.batches:
        e, var = marginal[rows], np.diagonal(v_blocks(design, vc, rows), axis1=1, axis2=2)
        first, second = np.triu_indices(rows.shape[1], 1)
        z = e / np.sqrt(var)
        products, gaps = z[:, first] * z[:, second], e[:, first] - e[:, second]
        data.append(np.stack([products.ravel(), 0.5 * gaps.ravel() ** 2]))
    of_fit = _curves(design, vc, pairs)
    of_data = pairs.means(np.concatenate(data, axis=1))
    return WholeFrame(
        {
            "lag": pairs.lags,
            "corr_R": of_fit[0],
            "corr_V": of_fit[1],
            "corr_residuals": of_data[0],
            "semivariance": of_fit[2],
            "semivariance_residuals": of_data[1],
            "pairs": pairs.counts,
        }
    )


def intervals_by_lag(
    values: ComponentDraws, group: str | None, position: Any, prob: float
) -> pd.DataFrame:
    """Return medians and intervals over draws, (S,), of what a fit says; see `Posterior.by_lag`.

    Raises
    ------
    DataError
        If there is no series.
    """
    pairs = _pairs(values.design, group, position)
    drawn = np.stack([_curves(point.design, point.components(), pairs) for point in values.known()])
    ends = np.quantile(drawn, [0.5, (1 - prob) / 2, (1 + prob) / 2], axis=0)
    columns = {
        f"{name}{end}": ends[e, k]
        for k, name in enumerate(("corr_R", "corr_V", "semivariance"))
        for e, end in enumerate(("", "_low", "_high"))
    }
    return WholeFrame({"lag": pairs.lags, **columns, "pairs": pairs.counts})


@dataclass(frozen=True, eq=False)
class _Pairs:
    """Pairs of rows of one series, and the lag or class of lags of each.

    Attributes
    ----------
    batches : list of ndarray of int, shape (b, m)
        Rows of series of equal length; pairs stand in their order.
    codes : ndarray of int, shape (pairs,)
    lags : ndarray, shape (k,)
        Mean lag of each class.
    """

    batches: list[Index]
    codes: Index
    lags: Array

    @property
    def counts(self) -> Index:
        """Pairs of each class."""
        return np.bincount(self.codes, minlength=len(self.lags))

    def means(self, values: Array) -> Array:
        """Return means by class of what pairs have, (c, pairs) → (c, k)."""
        sums = [np.bincount(self.codes, row, len(self.lags)) for row in values]
        return np.asarray(np.stack(sums) / self.counts)


def _pairs(design: Design, group: str | None, position: Any) -> _Pairs:
    codes, places = _series(design, group, position)
    batches, distances = [], []
    for rows in row_batches(codes):
        m = rows.shape[1]
        if m > _MOST_ROWS:
            raise DataError(f"A series has {m} rows; at most {_MOST_ROWS} fit.")
        first, second = np.triu_indices(m, 1)
        if len(first):
            there = places[rows]
            lag = np.sqrt(((there[:, first] - there[:, second]) ** 2).sum(axis=-1))
            batches.append(rows)
            distances.append(lag.ravel())
    if not batches:
        raise DataError("Every series has one row, so that no two are some lag apart.")
    lags = np.concatenate(distances)
    classes = pd.Series(np.round(lags, 9))
    if classes.nunique() > _DISTINCT:
        classes = pd.qcut(classes, _CLASSES, duplicates="drop", labels=False)
    of_pair = np.unique(classes, return_inverse=True)[1]
    return _Pairs(batches, of_pair, np.bincount(of_pair, lags) / np.bincount(of_pair))


def _curves(design: Design, vc: VarianceComponents, pairs: _Pairs) -> Array:
    """Return corr_R, corr_V and semivariance of components of a design with known R/σ²."""
    parts = []
    for rows in pairs.batches:
        first, second = np.triu_indices(rows.shape[1], 1)
        V, R = v_blocks(design, vc, rows), vc.sigma2 * design.residual.block(rows)
        var = np.diagonal(V, axis1=1, axis2=2)
        half = 0.5 * (var[:, first] + var[:, second]) - V[:, first, second]
        columns = _corr(R)[:, first, second], _corr(V)[:, first, second], half
        parts.append(np.stack([column.ravel() for column in columns]))
    return pairs.means(np.concatenate(parts, axis=1))


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
    except (TypeError, ValueError, OverflowError):
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


def _corr(blocks: Array) -> Array:
    sd = np.sqrt(np.diagonal(blocks, axis1=1, axis2=2))
    return np.asarray(blocks / (sd[:, :, None] * sd[:, None, :]))
