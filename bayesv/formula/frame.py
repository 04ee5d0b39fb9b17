"""Take in any data frame: the needed columns as pandas, factors as ordered categoricals."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import narwhals as nw
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayesv.errors import DataError, FormulaError, near

__all__ = ["as_factor", "finite_rows", "take_columns"]


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
    if isinstance(data, dict):
        data = pd.DataFrame(data)
    names = list(names)
    if isinstance(data, pd.DataFrame):
        present = [name for name in names if name in data.columns]
        frame = data[present].copy()
        twice = [name for name in present if (data.columns == name).sum() > 1]
        if twice:
            raise DataError(f"The data have more than one column named {twice[0]!r}; rename one.")
    else:
        frame = _from_narwhals(data, names)
    if len(frame) == 0:
        raise DataError("The data have no rows.")
    return frame


def _from_narwhals(data: Any, names: list[str]) -> pd.DataFrame:
    try:
        native = nw.from_native(data, eager_only=True)
    except TypeError:
        try:
            return take_columns(pd.api.interchange.from_dataframe(data), names)
        except (TypeError, ValueError, AttributeError):
            raise DataError(
                f"A data frame is needed (pandas, polars, pyarrow, …), found {type(data).__name__}."
            ) from None
    columns: dict[str, Any] = {}
    for name in names:
        if name not in native.columns:
            continue
        column = native[name]
        if column.dtype in (nw.Categorical, nw.Enum):
            categories = column.cat.get_categories().to_list()
            columns[name] = pd.Categorical(column.to_list(), categories=categories)
        elif column.dtype.is_numeric() or column.dtype == nw.Boolean:
            values = column.to_list() if column.null_count() else column.to_numpy()
            columns[name] = np.asarray(values, dtype=float if column.null_count() else None)
        else:
            columns[name] = pd.Series(column.to_list(), dtype=object)
    return pd.DataFrame(columns, index=pd.RangeIndex(len(native)))


def check_names(
    names: dict[str, int], known: Iterable[str], available: list[str], text: str
) -> None:
    """Refuse a formula that names a column the data lack, pointing at it."""
    known = set(known)
    for name, place in names.items():
        if name not in known:
            flat = text.replace("\n", " ")
            raise FormulaError(
                f"The data have no column {name!r}{near(name, available)}\n"
                f"  {flat}\n  {' ' * place}^\n  columns: {', '.join(map(str, available[:30]))}"
                + (" …" if len(available) > 30 else "")
            )


def column_names(data: Any) -> list[str]:
    """Return the column names of any data frame."""
    columns = getattr(data, "columns", None)
    if columns is None and hasattr(data, "column_names"):
        columns = data.column_names() if callable(data.column_names) else data.column_names
    if columns is None and isinstance(data, dict):
        columns = list(data)
    if columns is None:
        raise DataError(
            f"A data frame is needed (pandas, polars, pyarrow, …), found {type(data).__name__}."
        )
    return [str(column) for column in columns]


def finite_rows(column: pd.Series) -> NDArray[np.bool_]:
    """Return which rows of a column hold a value: not missing, not infinite."""
    present = column.notna().to_numpy(dtype=bool, copy=True)
    if pd.api.types.is_numeric_dtype(column.dtype) and not pd.api.types.is_bool_dtype(column.dtype):
        values = column.to_numpy(dtype=float, na_value=np.nan)
        present = present & np.isfinite(values)
    return np.asarray(present)


def as_factor(column: pd.Series) -> pd.Categorical:
    """Return a factor with observed levels only, in the frame's category order or else sorted.

    Numbers sort as numbers, text as text; labels are text (``308.0`` reads ``308``).
    """
    if isinstance(column.dtype, pd.CategoricalDtype):
        factor = pd.Categorical(column).remove_unused_categories()
    else:
        factor = pd.Categorical(column)
    labels = [_label(level) for level in factor.categories]
    if len(set(labels)) < len(labels):
        raise DataError(f"Factor {column.name!r} has different levels with the same text.")
    return pd.Categorical.from_codes(factor.codes, categories=labels, ordered=True)


def _label(level: object) -> str:
    if isinstance(level, float | np.floating) and float(level).is_integer():
        return str(int(level))
    return str(level)
