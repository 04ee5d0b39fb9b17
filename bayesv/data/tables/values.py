"""What is missing, and the plain types of columns that have been read."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from bayesv.errors import DataError

__all__ = ["MISSING", "refuse_twice", "simple", "with_gaps"]

MISSING = ("NA", "")
_EXACT_INTEGERS = 2**53


def refuse_twice(names: Sequence[str], name: str) -> None:
    """Refuse two columns of one name: which of them is meant, nobody has said."""
    twice = sorted({column for column in names if column and list(names).count(column) > 1})
    if twice:
        raise DataError(
            f"{name} has more than one column named {', '.join(map(repr, twice))}; rename one."
        )


def simple(column: pd.Series) -> pd.Series:
    """Return a nullable column in NumPy's type if it can hold the values and their gaps."""
    dtype = column.dtype
    if pd.api.types.is_bool_dtype(dtype):
        return column if column.hasnans else column.astype(bool)
    if pd.api.types.is_integer_dtype(dtype):
        if not column.hasnans:
            return column.astype(np.dtype(str(dtype).lower()))
        present = column.dropna()
        if (
            len(present)
            and max(abs(int(present.min())), abs(int(present.max()))) >= _EXACT_INTEGERS
        ):
            return column  # as floats, identifiers of so many digits would coincide
    if pd.api.types.is_numeric_dtype(dtype):
        return pd.Series(column.to_numpy(float, na_value=np.nan), column.index, name=column.name)
    return pd.Series(column.to_list(), column.index, name=column.name).where(column.notna())


def with_gaps(data: pd.DataFrame, na: Sequence[str], *, text: bool) -> pd.DataFrame:
    """Return a table of typed columns with what is written for missing values as gaps.

    Parameters
    ----------
    data : DataFrame
    na : sequence of str
        What is missing beside ``NA`` and empty text; also as a number.
    text : bool
        Whether text ``NA`` and empty text are missing, too.
    """
    written = {*na, *(MISSING if text else ())}
    numbers = pd.to_numeric(pd.Series([*na], dtype=object), errors="coerce").dropna().tolist()
    columns = {}
    for name, column in data.items():
        if pd.api.types.is_bool_dtype(column.dtype):
            gap = pd.Series(False, column.index)
        elif pd.api.types.is_numeric_dtype(column.dtype):
            gap = column.isin(numbers)
        else:
            gap = column.isin(list(written))
        columns[name] = column.mask(gap) if gap.any() else column
    return pd.DataFrame(columns, index=data.index)
