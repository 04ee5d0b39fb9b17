"""Numbers that may have been read as text, and signs in them that may mean two things."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence, Set

import pandas as pd

from bayesv.errors import DesignWarning, warn

__all__ = ["reads_as_dates", "reads_as_numbers", "warn_of_numbers", "with_decimal_commas"]

_COMMA = re.compile(r"\s*[+-]?(?:\d+,\d*|,\d+)(?:[eE][+-]?\d+)?\s*")  # with a decimal comma
_THOUSANDS = re.compile(r"\s*[+-]?[1-9]\d{0,2}(?:,\d{3})+\s*")  # which may as well group digits
_GROUPED = re.compile(  # digits in groups, with either sign, a blank, a percent or a currency sign
    r"\s*[$€£]?\s*[+-]?(?:\d{1,3}(?:[.,'’\s]\d{3})+(?:[.,]\d+)?|\d+[.,]?\d*)\s*[%$€£]?\s*"
)
# What other programs write for a missing value
_MARKS = {
    ".", "-", "--", "?", "*", "n/a", "N/A", "#N/A", "#NA", "na", "nan", "NaN", "null", "NULL",
    "None", "none", "<NA>", "#DIV/0!", "#VALUE!", "#REF!", "missing",
}  # fmt: skip
_DATE = re.compile(  # 2020-01-31, with a time or without, 31.1.2020, 1/31/20
    r"\s*(?:\d{4}[-/.]\d{1,2}[-/.]\d{1,2}(?:[T\s]\d{1,2}:\d{2}.*)?|\d{1,2}([./-])\d{1,2}\1\d{2}(?:\d{2})?)\s*"
)
_MOSTLY = 0.9  # of a text column's values look like numbers: then it may be meant to be numeric


def with_decimal_commas(data: pd.DataFrame, name: str) -> tuple[pd.DataFrame, set[int]]:
    """Read commas in numbers as decimal ones if one of them can be nothing else.

    ``1,234`` may be a thousand or one and a quarter; ``1,23`` cannot. What is not decided is named.

    Returns
    -------
    DataFrame
    set of int
        Which columns have been named.
    """
    commas = {i: texts for i, texts in _texts(data) if _has_number_with_comma(texts)}
    columns = [data.iloc[:, i] for i in range(data.shape[1])]
    decided = any(
        _COMMA.fullmatch(text) and not _THOUSANDS.fullmatch(text)
        for texts in commas.values()
        for text in texts
    )
    if not decided:
        for i, texts in commas.items():
            example = next(text for text in texts if "," in text)
            _warn(
                f"{name}: column {columns[i].name!r} is text, because the comma in values such as "
                f"{example!r} may be a decimal one or group thousands. Say decimal=',' "
                "(--decimal ,) for the former; write 1234 for the latter."
            )
        return data, set(commas)
    for i in commas:
        points = columns[i].astype(object).where(columns[i].notna(), None)
        columns[i] = pd.to_numeric(points.str.replace(",", ".")).astype(float)
    pointed = [
        column.name
        for i, column in enumerate(columns)
        if i not in commas and column.dtype == float and (column.dropna() % 1 != 0).any()
    ]
    if pointed:
        _warn(
            f"{name}: decimal commas beside numbers with a point (column {pointed[0]!r}). The "
            "point was read as a decimal one; if it groups thousands, say decimal=',' "
            "(--decimal ,)."
        )
    return pd.concat(columns, axis=1), set()


def warn_of_numbers(data: pd.DataFrame, name: str, known: Set[int] = frozenset()) -> None:
    """Warn of columns that are text although most of their values look like numbers."""
    for i, texts in _texts(data):
        strange = [text for text in texts if not _is_number(text)]
        marks = [text for text in strange if text.strip() in _MARKS]
        if i in known or not strange or not reads_as_numbers(texts):
            continue
        advice = "write them with a decimal point, without other signs, and what is missing as NA"
        if marks:
            advice = f"say what stands for a missing value: na=[{marks[0]!r}] (--na '{marks[0]}')"
        _warn(
            f"{name}: column {data.columns[i]!r} is text, because of values such as "
            f"{(marks or strange)[0]!r}, though most are numbers. If numbers are meant, {advice}."
        )


def reads_as_numbers(texts: Sequence[str]) -> bool:
    """Return whether different texts look like numbers, but for a few or for marks of gaps."""
    strange = [text for text in texts if not _is_number(text)]
    marks = sum(1 for text in strange if text.strip() in _MARKS)
    like = sum(1 for text in strange if _GROUPED.fullmatch(text))
    numeric = len(texts) - len(strange)
    return numeric + like >= _MOSTLY * len(texts) or marks == len(strange) < numeric


def reads_as_dates(texts: Sequence[str]) -> bool:
    """Return whether different texts look like dates, but for a few."""
    return sum(1 for text in texts if _DATE.fullmatch(text)) >= _MOSTLY * len(texts)


def _texts(data: pd.DataFrame) -> Iterator[tuple[int, list[str]]]:
    """Yield the place and the different texts of every column of text."""
    for i in range(data.shape[1]):
        column = data.iloc[:, i]
        if isinstance(column.dtype, pd.CategoricalDtype) or not (
            pd.api.types.is_object_dtype(column.dtype) or pd.api.types.is_string_dtype(column.dtype)
        ):
            continue
        texts = [value for value in column.dropna().unique() if isinstance(value, str)]
        if texts:
            yield i, texts


def _has_number_with_comma(texts: list[str]) -> bool:
    """Return whether some of the texts have a comma, and all are numbers then."""
    return any("," in text for text in texts) and all(
        _is_number(text) or _COMMA.fullmatch(text) or _THOUSANDS.fullmatch(text) for text in texts
    )


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _warn(text: str) -> None:
    warn(text, DesignWarning)
