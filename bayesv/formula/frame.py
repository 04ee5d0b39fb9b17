"""Take in any data frame: the needed columns as pandas, factors as ordered categoricals."""

from __future__ import annotations

import numbers as numbers_abc
from collections.abc import Iterable
from decimal import Decimal
from typing import Any

import narwhals as nw
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayesv.errors import DataError, FormulaError, near
from bayesv.formula.grammar import pointed_error
from bayesv.names import level_label

__all__ = [
    "as_factor",
    "check_names",
    "column_names",
    "finite_rows",
    "plain_column",
    "take_columns",
]

_EXACT = 2**53  # floating-point numbers from here on do not hold every integer


def take_columns(data: Any, names: Iterable[str]) -> pd.DataFrame:
    """Return the named columns of any data frame as pandas; columns it lacks are left out.

    Parameters
    ----------
    data : DataFrame
        pandas, or anything narwhals or the dataframe interchange protocol understands (polars,
        pyarrow, …), or a mapping of columns.
    names : iterable of str
        The columns wanted.

    Raises
    ------
    DataError
        If ``data`` is no data frame, is empty, or has a column twice.
    """
    names = list(names)
    frame = _open(data)
    if isinstance(frame, pd.DataFrame):
        texts = [str(column) for column in frame.columns]
        twice = [name for name in names if texts.count(name) > 1]
        if twice:
            raise DataError(f"The data have more than one column named {twice[0]!r}; rename one.")
        present = [name for name in names if name in texts]
        taken = frame.iloc[:, [texts.index(name) for name in present]].copy()
        taken.columns = pd.Index(present)
    else:
        taken = _from_narwhals(frame, names)
    if len(taken) == 0:
        raise DataError("The data have no rows.")
    return taken


def column_names(data: Any) -> list[str]:
    """Return the column names of any data frame."""
    return [str(column) for column in _open(data).columns]


def _open(data: Any) -> Any:
    """Return a pandas or a narwhals data frame."""
    if isinstance(data, pd.DataFrame):
        return data
    if isinstance(data, dict):
        try:
            return pd.DataFrame(data)
        except (TypeError, ValueError) as error:
            raise DataError(f"The mapping is no table of columns: {error}.") from error
    try:
        return nw.from_native(data, eager_only=True)
    except TypeError:
        pass
    try:
        return pd.api.interchange.from_dataframe(data)
    except (TypeError, ValueError, AttributeError, ImportError):
        raise DataError(
            f"A data frame is needed (pandas, polars, pyarrow, …), found {type(data).__name__}."
        ) from None


def _from_narwhals(frame: Any, names: list[str]) -> pd.DataFrame:
    columns: dict[str, Any] = {}
    for name in names:
        if name not in frame.columns:
            continue
        column = frame[name]
        if column.dtype == nw.Enum:
            columns[name] = pd.Categorical(column.to_list(), categories=column.dtype.categories)
        elif column.dtype == nw.Categorical:
            values = column.to_list()
            seen = dict.fromkeys(value for value in values if value is not None)
            columns[name] = pd.Categorical(values, categories=_dictionary(column, list(seen)))
        elif column.dtype.is_numeric():
            values = column.to_list() if column.null_count() else column.to_numpy()
            columns[name] = np.asarray(values, dtype=float if column.null_count() else None)
        else:
            columns[name] = pd.Series(column.to_list(), dtype=object)
    return pd.DataFrame(columns, index=pd.RangeIndex(len(frame)))


def _dictionary(column: Any, seen: list[Any]) -> list[Any]:
    """Order of a pyarrow dictionary; else of appearance, which is polars' physical order."""
    native = column.to_native()
    if hasattr(native, "combine_chunks"):
        combined = native.combine_chunks()
        chunk = combined.chunk(0) if hasattr(combined, "chunk") else combined
        return list(chunk.dictionary.to_pylist())
    return seen


def check_names(
    names: dict[str, int], known: Iterable[str], available: list[str], text: str
) -> None:
    """Refuse a formula that names a column the data lack, pointing at it."""
    known = set(known)
    for name, place in names.items():
        if name not in known:
            shown = ", ".join(map(str, available[:30])) + (" …" if len(available) > 30 else "")
            error = pointed_error(
                f"The data have no column {name!r}{near(name, available)}", text, place
            )
            raise FormulaError(f"{error}\n  columns: {shown}")


def finite_rows(column: pd.Series) -> NDArray[np.bool_]:
    """Return which rows of a column hold a value: not missing, not infinite."""
    present = column.notna().to_numpy(dtype=bool, copy=True)
    if pd.api.types.is_numeric_dtype(column.dtype) and not pd.api.types.is_bool_dtype(column.dtype):
        values = column.to_numpy(dtype=float, na_value=np.nan)
        present = present & np.isfinite(values)
    return np.asarray(present)


def plain_column(column: pd.Series) -> pd.Series:
    """Return a column as numbers or as it is: real numbers in objects become floats.

    Raises
    ------
    DataError
        If the values are complex.
    """
    dtype = column.dtype
    if pd.api.types.is_object_dtype(dtype):
        values = [value for value in column if value is not None and value == value]
        numbers = (numbers_abc.Real, Decimal)
        if values and all(isinstance(v, numbers) and not isinstance(v, bool) for v in values):
            return column.astype(float)
        return column
    if pd.api.types.is_complex_dtype(dtype):
        raise DataError(f"Column {column.name!r} is complex; real numbers are needed.")
    return column


def as_factor(column: pd.Series) -> pd.Categorical:
    """Return a factor with observed levels only, in the frame's category order or else sorted.

    Numbers sort as numbers, text as text; labels are text (``308.0`` reads ``308``).
    """
    try:
        if isinstance(column.dtype, pd.CategoricalDtype):
            factor = pd.Categorical(column).remove_unused_categories()
        else:
            factor = pd.Categorical(column)
    except TypeError as error:
        raise DataError(f"Column {column.name!r} cannot be a factor: {error}.") from error
    levels = factor.categories
    if pd.api.types.is_float_dtype(levels.dtype) and (np.abs(levels) >= _EXACT).any():
        raise DataError(
            f"Factor {column.name!r} has floats such as {np.abs(levels).max():.0f}, "
            "which cannot tell neighbours apart: different levels may have become one. Give the "
            "column as text or as integers (with missing values: dtype 'Int64')."
        )
    labels = [level_label(level) for level in levels]
    if len(set(labels)) < len(labels):
        raise DataError(f"Factor {column.name!r} has different levels with the same text.")
    return pd.Categorical.from_codes(factor.codes, categories=labels, ordered=True)
