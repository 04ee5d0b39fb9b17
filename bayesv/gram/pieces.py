"""R⁻¹ of structured residuals as a signed sum over small sets of rows, by pattern of the set.

Of a Markov chain with rows 1 … m it is the sum of the inverses of R of neighbouring pairs, less
those of the rows between that two pairs share; log|R| is the same sum of log determinants. Of other
families the sets are whole series. Sets with the same pattern have the same R.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayesv.design.residual import Index
from bayesv.design.row_covariances import RowCovariances
from bayesv.design.series import Series
from bayesv.design.structured import Parameters, Sequential, StructuredResidual
from bayesv.linalg import Array
from bayesv.structures.antedependence import ChainRoot
from bayesv.structures.exchangeable import CompoundSymmetry
from bayesv.structures.stationary import Stationary
from bayesv.support.memory import refuse_unless

__all__ = ["Pieces", "Precision", "pieces_of", "whole_series"]

Key = NDArray[Any]

_DIGITS = 12  # of a lag: more are rounding of the times
_LAG_COPIES = 8  # of half the pairs of rows, as their distances are formed


@dataclass(frozen=True, eq=False)
class Pieces:
    """Sets of T rows that R⁻¹ is a sum over.

    Attributes
    ----------
    rows : ndarray of int, shape (N, T)
    pattern : ndarray of int, shape (N,)
        Sets of one pattern have the same R.
    first : ndarray of int, shape (P,)
        A set of each pattern.
    sign : float
        1, or −1 where they are taken off.
    exchangeable : bool
        Whether R stays the same in any order of the rows.
    """

    rows: Index
    pattern: Index
    first: Index
    sign: float = 1.0
    exchangeable: bool = False

    @classmethod
    def of(
        cls, rows: Index, keys: Sequence[Key], sign: float = 1.0, *, exchangeable: bool = False
    ) -> Self:
        """Return sets whose patterns are told by keys, each of shape (N,)."""
        pattern, first = _numbered(keys, len(rows))
        return cls(rows, pattern, first, sign, exchangeable)

    @cached_property
    def counts(self) -> Array:
        """Number of sets of each pattern, shape (P,)."""
        return np.bincount(self.pattern, minlength=len(self.first)).astype(float)

    @cached_property
    def pairs(self) -> tuple[Index, Index]:
        """Places (s, t), s < t, of two rows of a set."""
        return np.triu_indices(self.rows.shape[1], 1)

    @cached_property
    def n_classes(self) -> int:
        """Number of sums of products of rows that R⁻¹ weighs: squares and differences."""
        T = int(self.rows.shape[1])
        return len(self.first) * (min(T, 2) if self.exchangeable else T * (T + 1) // 2)


def pieces_of(form: StructuredResidual) -> tuple[Pieces, ...]:
    """Return the sets of rows that R⁻¹ is a sum over."""
    row_key = _row_keys(form)
    part = form.sequential
    if part is None:
        return (Pieces.of(np.arange(form.n)[:, None], [row_key]),)
    if isinstance(part.structure, ChainRoot) and part.structure.is_markov:
        return _chains(form, *_in_order(part.series), row_key)
    return whole_series(form)


def whole_series(form: StructuredResidual) -> tuple[Pieces, ...]:
    """Return whole series, of each number of rows; single rows where they are uncorrelated."""
    row_key, part = _row_keys(form), form.sequential
    if part is None:
        return (Pieces.of(np.arange(form.n)[:, None], [row_key]),)
    order, starts, sizes = _in_order(part.series)
    return tuple(
        _whole(form, part, order[starts[sizes == m, None] + np.arange(m)], row_key)
        for m in np.unique(sizes).tolist()
    )


def _in_order(series: Series) -> tuple[Index, Index, Index]:
    """Return rows by series and position, where in that order series start, and their sizes."""
    positions = series.visit[:, None] if series.by_visit else series.coordinates
    order = np.lexsort([*positions.T[::-1], series.codes]).astype(np.intp)
    sizes = np.bincount(series.codes, minlength=1)
    sizes = sizes[sizes > 0]
    return order, np.cumsum(sizes) - sizes, sizes


def _chains(
    form: StructuredResidual, order: Index, starts: Index, sizes: Index, row_key: Index
) -> tuple[Pieces, ...]:
    """Return neighbouring pairs, and rows on their own; inner rows are in two pairs."""
    is_first, is_last = np.zeros(len(order), bool), np.zeros(len(order), bool)
    is_first[starts], is_last[starts + sizes - 1] = True, True
    pairs = np.column_stack([order[:-1], order[1:]])[~is_last[:-1]]
    inner, alone = order[~is_first & ~is_last], order[is_first & is_last]
    parts = [
        Pieces.of(pairs, [row_key[pairs[:, 0]], row_key[pairs[:, 1]], *_lag_keys(form, pairs)]),
        Pieces.of(inner[:, None], [_sd_keys(form, row_key)[inner]], -1.0),
        Pieces.of(alone[:, None], [_sd_keys(form, row_key)[alone]]),
    ]
    return tuple(part for part in parts if len(part.rows))


def _whole(form: StructuredResidual, part: Sequential, rows: Index, row_key: Index) -> Pieces:
    """Return whole series of m rows each."""
    if isinstance(part.structure, CompoundSymmetry) and not form.scales:
        return Pieces.of(rows, [part.series.group[rows[:, 0]]], exchangeable=True)
    return Pieces.of(rows, [*row_key[rows].T, *_lag_keys(form, rows)])


def _row_keys(form: StructuredResidual) -> Index:
    """Return what of a row R depends on, lags apart, as numbers, shape (n,)."""
    keys: list[Key] = [form.sd_codes, *(power.log_x for power in form.scales.powers)]
    part = form.sequential
    if part is not None:
        keys.append(part.series.group)
        if not isinstance(part.structure, Stationary):
            keys.append(part.series.visit)
    return _numbered(keys, form.n)[0]


def _sd_keys(form: StructuredResidual, row_key: Index) -> Index:
    """Return what of a row its variance depends on, as numbers, shape (n,)."""
    keys: list[Key] = [form.sd_codes, *(power.log_x for power in form.scales.powers)]
    return _numbered(keys, len(row_key))[0]


def _lag_keys(form: StructuredResidual, rows: Index) -> list[Key]:
    """Return lags of sets of rows that tell R, (N,) each, of stationary families."""
    part = form.sequential
    if part is None or not isinstance(part.structure, Stationary) or rows.shape[1] == 1:
        return []
    if len(rows) == 1:  # nothing to be told apart
        return []
    series = part.series
    if series.by_visit or series.coordinates.shape[1] == 1:
        times = series.times[series.visit] if series.by_visit else series.coordinates[:, 0]
        lags = np.diff(times[rows], axis=1).T
    else:
        refuse_unless(
            8.0 * _LAG_COPIES * float(rows.size) * rows.shape[1],
            f"The distances of {form.text} within {rows.shape[0]:,} series of "
            f"{rows.shape[1]:,} rows",
            "Divide the rows into smaller series.",
        )
        first, second = np.triu_indices(rows.shape[1], 1)
        away = series.coordinates[rows[:, first]] - series.coordinates[rows[:, second]]
        lags = np.sqrt((away**2).sum(axis=2)).T
    scale = np.abs(lags).max(initial=0.0) or 1.0
    rounded = np.round(lags / scale, _DIGITS)
    if len(rounded) <= len(rows):
        return list(rounded)
    # Far more lags than series, as of fields: whole series are compared, not lag by lag.
    return [np.unique(rounded.T, axis=0, return_inverse=True)[1].ravel()]


def _numbered(keys: Sequence[Key], n: int) -> tuple[Index, Index]:
    """Return a number for each of n combinations of keys, and where each comes first."""
    number = np.zeros(n, dtype=np.int64)
    for key in map(np.asarray, keys):
        if n and (key == key[0]).all():
            continue
        codes, values = pd.factorize(key)
        number = pd.factorize(number * max(len(values), 1) + codes)[0]
    first = np.zeros(int(number.max(initial=-1)) + 1, dtype=np.intp)
    first[number[::-1]] = np.arange(n)[::-1]
    return number.astype(np.intp), first


@dataclass(frozen=True, eq=False)
class Precision:
    """R⁻¹σ² of each pattern at some parameters, with a reverse pass.

    Attributes
    ----------
    log_det : ndarray, shape (...)
        log|R/σ²| of all rows, less known weights; NaN where R of a set is not positive definite.
    inverses : list of ndarray, shapes (..., P, T, T)
        For each of the pieces.
    """

    log_det: Array
    inverses: list[Array]
    _pieces: Sequence[Pieces]
    _rows: RowCovariances
    _covariances: list[Array]
    _parameters: Parameters

    @classmethod
    def at(cls, pieces: Sequence[Pieces], rows: RowCovariances, parameters: Parameters) -> Self:
        """Return it at parameters; ``rows`` has a set for each pattern of each of the pieces."""
        covariances = rows.at(parameters)
        inverses, log_det = [], np.zeros(parameters.sds.shape[:-1])
        for part, cov in zip(pieces, covariances, strict=True):
            inverse, logs = _inverted(cov)
            inverses.append(inverse)
            log_det = log_det + part.sign * (logs @ part.counts)
        return cls(log_det, inverses, pieces, rows, covariances, parameters)

    def pullback(self, bars: Sequence[Array], by_log_det: float) -> Parameters:
        """Return the derivative by log SDs, z and exponents, at one point.

        Parameters
        ----------
        bars : sequence of ndarray, shapes (P, T, T)
            Derivative by the inverses, symmetric.
        by_log_det : float
            Derivative by log|R|.
        """
        by_covariance = [
            part.sign * by_log_det * part.counts[:, None, None] * inverse - inverse @ bar @ inverse
            for part, inverse, bar in zip(self._pieces, self.inverses, bars, strict=True)
        ]
        return self._rows.pullback(self._parameters, self._covariances, by_covariance)


def _inverted(cov: Array) -> tuple[Array, Array]:
    """Return inverses and log determinants, (..., T, T); NaN where not positive definite."""
    T = cov.shape[-1]
    if T > 2:
        return _by_cholesky(cov)
    # Of ones and pairs there may be as many as rows.
    minor = cov[..., -1, -1] if T == 2 else np.ones(cov.shape[:-2])
    det = cov[..., 0, 0] * minor - (cov[..., 0, 1] ** 2 if T == 2 else 0.0)
    det = np.where((det > 0) & (minor > 0), det, np.nan)
    if T == 1:
        return np.asarray(1.0 / det[..., None, None]), np.log(det)
    inverse = cov[..., ::-1, ::-1].copy()
    inverse[..., 0, 1] *= -1.0
    inverse[..., 1, 0] *= -1.0
    return np.asarray(inverse / det[..., None, None]), np.log(det)


def _by_cholesky(cov: Array) -> tuple[Array, Array]:
    """Return the same by Cholesky factors, of all or, where some fail, one by one."""
    try:
        roots = np.linalg.cholesky(cov)
        logs = 2.0 * np.log(np.diagonal(roots, axis1=-2, axis2=-1)).sum(axis=-1)
        return np.linalg.inv(cov), logs
    except np.linalg.LinAlgError:
        if cov.ndim == 2:
            return np.full_like(cov, np.nan), np.array(np.nan)
    each = [_by_cholesky(one) for one in cov]
    return np.stack([inverse for inverse, _ in each]), np.stack([logs for _, logs in each])
