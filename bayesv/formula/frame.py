"""Take in any data frame: the needed columns as pandas, each in the one form of its meaning."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from bayesv.errors import DataError, FormulaError, near
from bayesv.formula.columns import (
    as_factor,
    as_numbers,
    dictionary,
    finite_rows,
    kind,
    levels_of,
    plain_column,
)
from bayesv.formula.grammar import pointed_error

__all__ = [
    "as_factor",
    "as_numbers",
    "check_names",
    "column_names",
    "finite_rows",
    "kind",
    "levels_of",
    "plain_column",
    "take_columns",
]

_KINDS = "a data frame is needed (pandas, polars, pyarrow, …) or a mapping of columns"


def take_columns(data: Any, names: Iterable[str]) -> pd.DataFrame:
    """Return the named columns of any data frame as plain pandas columns; see `plain_column`.

    Parameters
    ----------
    data : DataFrame
        pandas, or anything narwhals or the dataframe interchange protocol understands (polars,
        pyarrow, …), or a mapping of columns.
    names : iterable of str
        The columns wanted; those that the data lack are left out.

    Raises
    ------
    DataError
        If ``data`` is no data frame, is empty, has a column twice, or a column cannot be used.
    """
    names = list(names)
    frame = _open(data)
    texts = list(map(str, frame.columns))
    twice = [name for name in names if texts.count(name) > 1]
    if twice:
        raise DataError(f"The data have more than one column named {twice[0]!r}; rename one.")
    present = [name for name in names if name in texts]
    if len(frame) == 0:
        raise DataError("The data have no rows.")
    if isinstance(frame, pd.DataFrame):
        columns = {name: frame.iloc[:, texts.index(name)] for name in present}
    else:
        columns = {name: pd.Series(_from_narwhals(frame[name])) for name in present}
    index = frame.index if isinstance(frame, pd.DataFrame) else pd.RangeIndex(len(frame))
    plain = {name: plain_column(column) for name, column in columns.items()}
    return pd.DataFrame(plain, index=index, copy=True)


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
        except (TypeError, ValueError, OverflowError) as error:
            raise DataError(f"The mapping is no table of columns: {error}.") from error
    import narwhals as nw  # takes a while to load, and pandas needs none of it

    try:
        return nw.from_native(data, eager_only=True)
    except TypeError:
        pass
    except Exception as error:  # each library has errors of its own for a table it cannot show
        raise DataError(f"The {type(data).__name__} cannot be read as a table: {error}") from error
    if isinstance(data, pd.Series) or not hasattr(data, "__dataframe__"):
        raise DataError(f"{_KINDS[0].upper()}{_KINDS[1:]}; found {_called(data)}.")
    try:
        return pd.api.interchange.from_dataframe(data)
    except Exception as error:
        raise DataError(f"The {type(data).__name__} cannot be read as a table: {error}") from error


def _called(data: Any) -> str:
    name = type(data).__name__
    if name == "Series":
        return "a Series, which is one column; pass the frame it comes from"
    if hasattr(data, "collect"):
        return f"a {name}, whose rows are not there yet; pass what its .collect() returns"
    return f"{name}"


def _from_narwhals(column: Any) -> Any:
    """Return the values of a column of polars, Arrow, …, exact where it has gaps."""
    import narwhals as nw  # takes a while to load, and pandas needs none of it

    if column.dtype == nw.Enum:
        return pd.Categorical(column.to_list(), categories=column.dtype.categories)
    if column.dtype == nw.Categorical:
        values = column.to_list()
        native = column.to_native()
        if hasattr(native, "combine_chunks"):
            return pd.Categorical(values, categories=dictionary(native))
        # The order of appearance is polars' physical order.
        seen = dict.fromkeys(value for value in values if value is not None)
        return pd.Categorical(values, categories=list(seen))
    if column.dtype.is_numeric() and not column.dtype.is_decimal() and not column.null_count():
        return np.asarray(column.to_numpy())
    return np.array([*column.to_list(), None], dtype=object)[:-1]


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
