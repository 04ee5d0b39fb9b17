"""One meaning of a column, however it is stored: numbers, truth values, factors, points in time."""

from __future__ import annotations

import datetime
import math
import numbers
from collections.abc import Callable, Hashable
from decimal import Decimal
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayesv.errors import DataError
from bayesv.linalg import Array
from bayesv.names import level_label

__all__ = [
    "Kind",
    "as_factor",
    "as_numbers",
    "dictionary",
    "finite_rows",
    "kind",
    "levels_of",
    "plain_column",
]

Kind = Literal["number", "logical", "factor", "time"]

_EXACT_INTEGERS = 2**53  # floating-point numbers from here on do not hold every integer
_LARGEST_INTEGER = np.iinfo(np.int64).max
_DAY = np.timedelta64(1, "D")
_INFINITE = (math.inf, -math.inf)
_PLAIN = (np.dtype(np.float64), np.dtype(np.int64), np.dtype(bool))
_KINDS: dict[str, Kind] = {"i": "number", "u": "number", "f": "number", "b": "logical", "M": "time"}


def plain_column(column: pd.Series) -> pd.Series:
    """Return a column in the one form that its meaning has.

    Parameters
    ----------
    column : Series
        Of any dtype: NumPy's in any size and byte order, pandas' nullable, categorical, sparse,
        string and interval kinds, Arrow's, or objects.

    Returns
    -------
    Series
        Numbers are ``float64`` or ``int64`` (larger integers ``uint64`` or Python's, and while they
        have gaps ``Int64``), truth values ``bool`` (``boolean`` while they have gaps), points in
        time ``datetime64`` in UTC, text Python's text with None for a gap, and factors
        ``Categorical``. Durations are numbers of days. A second call changes nothing unless gaps
        have gone in between.

    Raises
    ------
    DataError
        If values are complex, too large for a number, bytes or containers, mix numbers with truth
        values, or are so close that doubles cannot tell them apart.
    """
    dtype: Any = column.dtype
    if isinstance(dtype, pd.CategoricalDtype) or dtype in _PLAIN:
        return column
    if isinstance(dtype, pd.StringDtype):
        return _like(column, column.to_numpy(object, na_value=None))
    if isinstance(dtype, pd.ArrowDtype) and str(dtype).startswith("dictionary"):
        values = column.array.__arrow_array__()
        return _like(column, pd.Categorical(values.to_pylist(), categories=dictionary(values)))
    if isinstance(dtype, pd.IntervalDtype | pd.PeriodDtype):
        return _like(column, pd.Categorical(column))
    if isinstance(dtype, pd.SparseDtype):
        return plain_column(_like(column, column.sparse.to_dense()))
    if pd.api.types.is_bool_dtype(dtype) and not pd.api.types.is_object_dtype(dtype):
        return column.astype("boolean") if column.hasnans else column.astype(bool)
    if pd.api.types.is_integer_dtype(dtype):
        return _integers(column)
    if pd.api.types.is_float_dtype(dtype):
        return _floats(column)
    if pd.api.types.is_complex_dtype(dtype):
        raise DataError(f"Column {column.name!r} is complex; real numbers are needed.")
    if isinstance(dtype, np.dtype) and dtype.kind == "m":
        return _like(column, (column / _DAY).to_numpy(float))
    if isinstance(dtype, pd.DatetimeTZDtype) or (isinstance(dtype, np.dtype) and dtype.kind == "M"):
        return column.dt.tz_convert("UTC").dt.tz_localize(None) if column.dt.tz else column
    return _objects(column)


def kind(column: pd.Series) -> Kind:
    """Return what a plain column is: a number, a truth value, a factor or a point in time."""
    dtype = column.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        return "factor"
    if isinstance(dtype, np.dtype) and dtype.kind in _KINDS:
        return _KINDS[dtype.kind]
    if pd.api.types.is_bool_dtype(dtype):
        return "logical"
    if pd.api.types.is_numeric_dtype(dtype):
        return "number"
    if pd.api.types.is_datetime64_any_dtype(dtype):
        return "time"
    present = column.dropna()
    return "number" if len(present) and isinstance(present.iloc[0], int) else "factor"


def as_numbers(column: pd.Series) -> Array:
    """Return a plain column as doubles, a gap as NaN.

    Truth values are 0 and 1. Points in time are days since 1970-01-01 (UTC), with their fraction:
    R's numbers of a ``Date``, whether the column was stored as dates or as times.

    Raises
    ------
    DataError
        If the column is a factor.
    """
    what = kind(column)
    if what == "factor":
        raise DataError(
            f"Column {column.name!r} is text or categories and cannot be used as a number."
        )
    if what == "time":
        times = column.to_numpy()
        days = times.astype("datetime64[D]")
        numbers_of_days = days.astype(np.int64) + (times - days) / _DAY
        return np.asarray(np.where(np.isnat(times), np.nan, numbers_of_days))
    if column.dtype == object:
        values = np.array([np.nan if value is None else _double(value) for value in column])
        _refuse_overflow(column.name, column.notna().to_numpy(), values)
        return np.asarray(values)
    if isinstance(column.dtype, np.dtype):
        return np.asarray(column.to_numpy(dtype=float))
    return np.asarray(column.to_numpy(dtype=float, na_value=np.nan))


def as_factor(column: pd.Series) -> pd.Categorical:
    """Return a factor as an ordered categorical; see `levels_of`."""
    codes, labels = levels_of(column)
    return pd.Categorical.from_codes(codes, categories=labels, ordered=True)


def levels_of(column: pd.Series) -> tuple[NDArray[np.intp], list[str]]:
    """Return the level of each row, -1 for a gap, and the labels of all levels.

    They are in the frame's order of categories, or else sorted; labels are text.

    Levels are those observed, but of truth values always ``False`` and ``True``, as R's
    ``contrasts``. Numbers sort as numbers, text as text; ``308.0`` reads ``308``, and midnight of a
    day reads as the day.

    Raises
    ------
    DataError
        If different values would have one label.
    """
    column = plain_column(column)
    if kind(column) == "logical":
        codes = column.astype("Int8").fillna(-1).to_numpy(dtype=np.intp)
        return codes, ["False", "True"]
    codes, levels = _sorted_levels(column)
    if pd.api.types.is_float_dtype(levels.dtype) and (np.abs(levels) >= _EXACT_INTEGERS).any():
        raise DataError(
            f"Factor {column.name!r} has floats such as {np.abs(levels).max():.0f}, "
            "which cannot tell neighbours apart: different levels may have become one. Give the "
            "column as text or as integers (with missing values: dtype 'Int64')."
        )
    label = str if pd.api.types.is_integer_dtype(levels.dtype) else level_label
    labels = [label(level) for level in levels.tolist()]
    if len(set(labels)) < len(labels):
        raise DataError(f"Factor {column.name!r} has different levels with the same text.")
    return codes, labels


def _sorted_levels(column: pd.Series) -> tuple[NDArray[np.intp], Any]:
    """Return the level of each row of a plain column, and the levels, in their order."""
    if column.dtype == object and set(map(type, column.array)) <= {str, type(None)}:
        codes, found = pd.factorize(column.to_numpy())
        order = np.argsort(found)
        rank = np.append(np.argsort(order), -1)
        return rank[codes], found[order]
    factor: Any = column.array
    if not isinstance(column.dtype, pd.CategoricalDtype):
        try:
            factor = pd.Categorical(column)
        except TypeError as error:
            raise DataError(f"Column {column.name!r} cannot be a factor: {error}.") from error
    codes, levels = factor.codes.astype(np.intp), factor.categories
    used = np.bincount(codes + 1, minlength=len(levels) + 1)[1:] > 0
    if used.all():
        return codes, levels
    return np.append(np.cumsum(used) - 1, -1)[codes], levels[used]


def finite_rows(column: pd.Series) -> NDArray[np.bool_]:
    """Return which rows of a plain column hold a value: not missing, not infinite."""
    if kind(column) == "number":
        return np.asarray(np.isfinite(as_numbers(column)))
    return np.array(column.notna(), dtype=bool)


def dictionary(values: Any) -> list[Any]:
    """Return the categories of an Arrow array of dictionaries, in their order."""
    unified = values.unify_dictionaries() if hasattr(values, "chunks") else values
    chunk = unified.chunk(0) if hasattr(unified, "chunks") else unified
    return list(chunk.dictionary.to_pylist())


# --- numbers --------------------------------------------------------------------------------------


def _like(column: pd.Series, values: Any) -> pd.Series:
    # pandas would infer text from objects.
    dtype = object if pd.api.types.is_object_dtype(values) else None
    return pd.Series(values, index=column.index, name=column.name, dtype=dtype)


def _integers(column: pd.Series) -> pd.Series:
    """Integers in 64 bits, so that no product of theirs wraps around earlier than in R."""
    if column.hasnans:
        present = column.dropna()
        if (
            len(present)
            and max(abs(int(present.min())), abs(int(present.max()))) >= _EXACT_INTEGERS
        ):
            return column.astype("Int64" if int(present.max()) <= _LARGEST_INTEGER else "UInt64")
        return _like(column, column.to_numpy(dtype=float, na_value=np.nan))
    large = len(column) and int(column.max()) > _LARGEST_INTEGER
    return _like(column, column.to_numpy(dtype=np.uint64 if large else np.int64))


def _floats(column: pd.Series) -> pd.Series:
    dtype = column.dtype
    if dtype == np.float64:
        return column
    if not isinstance(dtype, np.dtype):
        return _like(column, column.to_numpy(dtype=float, na_value=np.nan))
    exact = column.to_numpy()
    with np.errstate(all="ignore"):
        values = exact.astype(np.float64)
    if dtype.itemsize > 8:
        _refuse_overflow(column.name, np.isfinite(exact), values)
        _refuse_merged(column.name, exact, values)
    return _like(column, values)


def _refuse_overflow(name: Hashable, finite: Any, values: Array) -> None:
    if not np.isfinite(values[finite]).all():
        raise DataError(
            f"Column {name!r} holds a number beyond 1.8e308, which a double cannot hold; rescale "
            "it, or give it as text if it is a label."
        )


def _refuse_merged(name: Hashable, exact: Any, values: Array) -> None:
    """Refuse numbers of more digits than doubles have, if that makes different ones equal."""
    kept = np.isfinite(values)
    if len(set(np.asarray(exact)[kept].tolist())) > len(np.unique(values[kept])):
        raise DataError(
            f"Column {name!r} has different numbers that are equal as doubles; give it as text if "
            "they are labels, or subtract a constant if they are measurements."
        )


# --- objects --------------------------------------------------------------------------------------


def _objects(column: pd.Series) -> pd.Series:
    """Return what the values of a column of objects are together; with text among them, text."""
    values = column.to_numpy(dtype=object)
    types = set(map(type, values))
    if types <= {str, type(None)}:
        return _like(column, values)
    gap = np.fromiter(map(_is_gap, values), dtype=bool, count=len(values))
    present = values[~gap]
    meanings = {_meaning(column.name, v) for v in {type(v): v for v in present}.values()}
    if meanings and not meanings & {"text", "label"}:
        if len(meanings) > 1:
            raise DataError(
                f"Column {column.name!r} mixes {' and '.join(sorted(meanings))} values; write "
                "values of one kind."
            )
        return _CONVERT[meanings.pop()](column, gap, present)
    texts = [level_label(value) for value in present]
    if len(set(texts)) < len(set(present)):
        raise DataError(f"Column {column.name!r} has different values with the same text.")
    labels = np.full(len(column), None, dtype=object)
    labels[~gap] = texts
    return _like(column, labels)


def _is_gap(value: Any) -> bool:
    if value is None or value is pd.NA or value is pd.NaT:
        return True
    if isinstance(value, Decimal):
        return value.is_nan()  # a signalling one raises when it is compared
    if isinstance(value, float | np.floating):
        return bool(np.isnan(value))
    return isinstance(value, np.datetime64 | np.timedelta64) and bool(np.isnat(value))


def _meaning(name: Hashable, value: Any) -> str:
    """Return what one value is; refuse what is none of them."""
    for types, meaning in (
        (str, "text"),
        ((bool, np.bool_), "logical"),
        ((datetime.date, np.datetime64), "time"),
        ((datetime.timedelta, np.timedelta64), "duration"),
        ((numbers.Real, Decimal), "number"),
    ):
        if isinstance(value, types):
            return meaning
    if isinstance(value, numbers.Complex):
        raise DataError(f"Column {name!r} is complex; real numbers are needed.")
    if isinstance(value, bytes | bytearray | np.ndarray) or not isinstance(value, Hashable):
        raise DataError(
            f"Column {name!r} holds {type(value).__name__} values; numbers, text, truth values, "
            "dates or categories are needed, one a row."
        )
    return "label"


def _numbers(column: pd.Series, gap: NDArray[np.bool_], present: Any) -> pd.Series:
    whole = all(isinstance(value, numbers.Integral) for value in present)
    largest = max((abs(int(v)) for v in present), default=0) if whole else 0
    if whole and largest <= _LARGEST_INTEGER:
        nullable = pd.array([None] * len(column), dtype="Int64")
        nullable[~gap] = np.array([int(v) for v in present], dtype=np.int64)
        return _integers(_like(column, nullable))
    with np.errstate(all="ignore"):
        doubles = np.array([_double(value) for value in present])
    if not whole:
        infinite = [
            isinstance(v, float | np.floating | Decimal) and v in _INFINITE for v in present
        ]
        _refuse_overflow(column.name, ~np.array(infinite, dtype=bool), doubles)
    if whole:  # identifiers of more than 64 bits stay what they are
        exact = np.full(len(column), None, dtype=object)
        exact[~gap] = [int(value) for value in present]
        return _like(column, exact)
    if not all(isinstance(value, float) for value in present):
        _refuse_merged(column.name, present, doubles)
    full = np.full(len(column), np.nan)
    full[~gap] = doubles
    return _like(column, full)


def _double(value: Any) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _logicals(column: pd.Series, gap: NDArray[np.bool_], present: Any) -> pd.Series:
    nullable = pd.array([None] * len(column), dtype="boolean")
    nullable[~gap] = present.astype(bool)
    return plain_column(_like(column, nullable))


def _times(column: pd.Series, gap: NDArray[np.bool_], present: Any) -> pd.Series:
    try:
        times = pd.to_datetime(
            pd.Series([pd.Timestamp(v) for v in present], dtype=object), utc=True
        )
        times = times.dt.tz_localize(None).astype("datetime64[us]")
    except (ValueError, OverflowError) as error:
        raise DataError(
            f"Column {column.name!r} holds dates that cannot be read: {error}"
        ) from None
    full = np.full(len(column), np.datetime64("NaT", "us"), dtype="datetime64[us]")
    full[~gap] = times.to_numpy()
    return _like(column, full)


def _durations(column: pd.Series, gap: NDArray[np.bool_], present: Any) -> pd.Series:
    full = np.full(len(column), np.nan)
    full[~gap] = [pd.Timedelta(value) / pd.Timedelta(days=1) for value in present]
    return _like(column, full)


_CONVERT: dict[str, Callable[[pd.Series, NDArray[np.bool_], Any], pd.Series]] = {
    "number": _numbers,
    "logical": _logicals,
    "time": _times,
    "duration": _durations,
}
