"""The series of a residual correlation, from the columns of some rows."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import numpy as np
import pandas as pd

from bayesv.design.row_scales import Exponential, Power, RowScales, Strata
from bayesv.design.scales import refuse_sizes
from bayesv.design.series import Index, Series, numbered
from bayesv.design.structured import Sequential, StructuredResidual
from bayesv.errors import DataError
from bayesv.formula.columns import as_factor, as_numbers, finite_rows, kind
from bayesv.formula.groups import level_text_of_rows
from bayesv.formula.residual_text import ResidualText, SDText
from bayesv.linalg import Array
from bayesv.names import level_label
from bayesv.structures.kinds import family

__all__ = ["complete_rows", "read_series", "residual_of"]

_BY_COORDINATE = ("car1", "sp_exp", "sp_gau", "sp_pow", "sp_mat")
_MOST_VISITS = 1000


def complete_rows(names: Sequence[str], frame: pd.DataFrame) -> np.ndarray:
    """Return which rows have a value in every one of these columns, (n,)."""
    masks = [finite_rows(frame[name]) for name in names]
    return reduce(np.logical_and, masks, np.ones(len(frame), dtype=bool))


def read_series(text: ResidualText, frame: pd.DataFrame) -> Series:
    """Return the series of complete rows.

    Parameters
    ----------
    text : ResidualText
    frame : DataFrame
        Plain columns (`bayesv.formula.frame.take_columns`) of the rows used, without gaps.

    Raises
    ------
    DataError
        If a position is of a kind that the correlation cannot use, or series cannot be told apart.
    """
    n = len(frame)
    codes, labels = _series(text, frame)
    groups, group = _groups(text, frame)
    coordinates = np.zeros((n, 0))
    visits: tuple[str, ...] = ()
    times, visit = np.zeros(0), np.zeros(n, dtype=np.intp)
    if text.kind in _BY_COORDINATE:
        coordinates = np.column_stack([_numbers(text, frame[name]) for name in text.positions])
        refuse_sizes(text.positions, coordinates)
    elif not text.positions:
        visit = numbered(codes)
        times = np.arange(1.0, visit.max() + 2.0)
        visits = tuple(f"{time:.0f}" for time in times)
    else:
        visits, times, visit = _visits(text, frame[text.positions[0]])
    series = Series(
        label=":".join(text.series) or "1",
        codes=codes,
        labels=labels,
        position=", ".join(text.positions) or "row",
        visits=visits,
        times=times,
        visit=visit,
        coordinates=coordinates,
        groups=groups,
        group=group,
    )
    series.check(frame.index, repeated=text.nugget)
    return series


def residual_of(
    text: ResidualText | None,
    factors: Sequence[SDText],
    frame: pd.DataFrame,
    weights: Array | None,
) -> StructuredResidual:
    """Return the residuals that texts state for complete rows.

    Parameters
    ----------
    text : ResidualText or None
        The correlation, if there is any.
    factors : sequence of SDText
        Factors of the standard deviation.
    frame : DataFrame
        As of `read_series`.
    weights : ndarray, shape (n,), or None
        Known w, by which variances are divided.
    """
    words = [text.text] if text is not None else []
    words += [f"{one.kind}({one.column})" for one in factors]
    sequential = None if text is None else _sequential(text, frame)
    scales = _scales(factors, frame)
    return StructuredResidual(" × ".join(words), sequential, scales, weights, len(frame))


def _sequential(text: ResidualText, frame: pd.DataFrame) -> Sequential:
    series = read_series(text, frame)
    options: dict[str, bool | float] = {"nugget": True} if text.nugget else {}
    if series.by_visit:
        integers = series.times.astype(int)
        places = len(integers) if text.kind == "us" else integers
    else:
        places = np.unique(series.coordinates, axis=0)
        places = places[:, 0] if places.shape[1] == 1 else places
        if len(series.nearest):
            options["unit"] = float(np.median(series.nearest))
    return Sequential(series, family(text.kind, places, **options))


def _scales(factors: Sequence[SDText], frame: pd.DataFrame) -> RowScales:
    strata, powers = None, []
    for one in factors:
        column = frame[one.column]
        if one.kind == "strata":
            if strata is not None:
                raise DataError(
                    f"residual_sd: {strata.name} and {one.column} are both strata; make a column "
                    "of their combinations."
                )
            factor = as_factor(column)
            levels = tuple(str(level) for level in factor.categories)
            strata = Strata(one.column, levels, np.asarray(factor.codes, np.intp))
            continue
        if kind(column) == "factor":
            raise DataError(
                f"residual_sd: {one.kind}({one.column}) needs numbers, and {one.column!r} is text "
                f"or categories; strata({one.column}) gives each level an SD."
            )
        numbers = np.asarray(as_numbers(column), dtype=float)
        if np.ptp(numbers) == 0:
            raise DataError(f"residual_sd: {one.column!r} is constant in the rows used.")
        power = Power.of(one.column, numbers) if one.kind == "power" else None
        powers.append(power or Exponential(one.column, numbers))
    return RowScales(strata, tuple(powers))


def _series(text: ResidualText, frame: pd.DataFrame) -> tuple[Index, np.ndarray]:
    if not text.series:
        return np.zeros(len(frame), dtype=np.intp), np.array(["1"], dtype=object)
    return level_text_of_rows(frame, text.series, ":".join(text.series))


def _groups(text: ResidualText, frame: pd.DataFrame) -> tuple[tuple[str, ...], Index]:
    if text.group is None:
        return (), np.zeros(len(frame), dtype=np.intp)
    factor = as_factor(frame[text.group])
    return tuple(str(level) for level in factor.categories), np.asarray(factor.codes, np.intp)


def _visits(text: ResidualText, column: pd.Series) -> tuple[tuple[str, ...], Array, Index]:
    """Return labels and times of the planned visits, and the visit of each row."""
    if kind(column) in ("factor", "logical"):
        dtype = column.dtype
        if isinstance(dtype, pd.CategoricalDtype):  # visits that no row has keep their place
            labels = tuple(level_label(level) for level in dtype.categories)
            codes = np.asarray(column.cat.codes, dtype=np.intp)
        else:
            factor = as_factor(column)
            labels = tuple(str(level) for level in factor.categories)
            codes = np.asarray(factor.codes, dtype=np.intp)
        return labels, np.arange(float(len(labels))), codes
    numbers = _numbers(text, column)
    if (broken := numbers != np.round(numbers)).any():
        row = int(np.flatnonzero(broken)[0])
        raise DataError(
            f"residual: the position {column.name!r} of {text.kind} has {numbers[row]:g} in row "
            f"{column.index[row]}; a visit is a category or a whole number. Times between whole "
            f"numbers are for car1({column.name} | …)."
        )
    times, codes = np.unique(numbers, return_inverse=True)
    if len(times) > _MOST_VISITS:
        raise DataError(
            f"residual: {column.name!r} has {len(times):,} different values, at most "
            f"{_MOST_VISITS:,} can be visits; for times use car1({column.name} | …)."
        )
    return tuple(f"{time:.0f}" for time in times), times, codes.ravel().astype(np.intp)


def _numbers(text: ResidualText, column: pd.Series) -> Array:
    if kind(column) == "factor":
        raise DataError(
            f"residual: {text.kind} needs numbers as positions, and {column.name!r} is text or "
            "categories. Use a column of times, or ar1, whose visits may be categories."
        )
    return np.asarray(as_numbers(column), dtype=float)
