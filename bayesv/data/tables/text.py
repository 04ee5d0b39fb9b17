"""Tables of text: rows of values with something between them."""

from __future__ import annotations

import csv
import gzip
import io
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from bayesv.data.tables.doubts import warn_of_numbers, with_decimal_commas
from bayesv.data.tables.values import MISSING, refuse_twice, simple
from bayesv.errors import DataError
from bayesv.support.text_size import refuse_large_text

__all__ = ["LIKELY", "read_csv"]

# What may stand between columns, the likeliest first; a blank is any white space.
LIKELY = {".csv": (",", ";", "\t"), ".tsv": ("\t",), ".txt": ("\t", ";", ",", " ")}

_MEMORY = 8.0  # bytes that a character of a table takes, about
_HEAD = 1 << 20  # characters in which the header and the first row are looked for
_BLANK = r"\s+"
_QUOTED = re.compile(r'"[^"]*"')


@dataclass(frozen=True)
class _Head:
    """The header, the lines it ends at, and the first row as it is written."""

    names: tuple[str, ...]
    lines: int
    first: str
    n_first: int
    separator: str


def read_csv(
    source: Path | io.BytesIO,
    name: str,
    separator: str | None = None,
    *,
    likely: Sequence[str] = LIKELY[".csv"],
    decimal: str | None = None,
    na: Sequence[str] = (),
) -> pd.DataFrame:
    """Read a table of text; errors say ``name``; see `read_table`.

    Without a separator it is the first of ``likely`` that the header has.

    Raises
    ------
    DataError
        If it cannot be read, two columns have one name, or a row is longer than the header.
    """
    if decimal not in (None, ".", ","):
        raise DataError(f"decimal is '.' or ','; found {decimal!r}.")
    head = None
    try:
        if isinstance(source, Path):
            refuse_large_text(source, _MEMORY)
        head = _head(_beginning(source), separator, likely)
        refuse_twice(head.names, name)
        data = _as_named(_rows(source, head, decimal, na), head, name)
    except DataError:
        raise
    except UnicodeError as error:
        raise DataError(
            f"{name} is not text in UTF-8 ({error}). Save it as CSV UTF-8; if it is compressed, "
            "its name must end in .gz."
        ) from error
    except (pd.errors.EmptyDataError, StopIteration):
        raise DataError(f"{name} is empty; names of columns and rows are needed.") from None
    except (ValueError, OSError, EOFError, csv.Error, zlib.error) as error:
        raise DataError(f"{name} cannot be read: {_said(error, head)}") from error
    known: set[int] = set()
    if decimal is None and head.separator == ";":
        data, known = with_decimal_commas(data, name)
    warn_of_numbers(data, name, known)
    return data


def _beginning(source: Path | io.BytesIO) -> str:
    """Return the beginning of a source; a mark of the byte order is no part of it."""
    raw: Any
    if isinstance(source, io.BytesIO):
        raw = io.BytesIO(source.getbuffer())
    else:
        packed = source.name.lower().endswith(".gz")
        raw = (gzip.open if packed else open)(source, "rb")
    with raw, io.TextIOWrapper(raw, encoding="utf-8-sig", newline="") as text:
        return text.read(_HEAD)


def _head(text: str, separator: str | None, likely: Sequence[str]) -> _Head:
    """Find the header and the first row; raises StopIteration if there is none."""
    lines = text.splitlines(keepends=True)
    start = next(i for i, line in enumerate(lines) if line.strip())
    separator = _separator(lines[start], separator, likely)
    if separator == _BLANK:
        names, end = _split(lines[start]), start + 1
    else:
        reader = csv.reader(lines[start:], delimiter=separator, skipinitialspace=True)
        names = next(reader)
        end = start + reader.line_num
        if end == len(lines) and any("\n" in name.rstrip() for name in names):
            raise csv.Error(_unclosed("The header"))
    first = next((line for line in lines[end:] if line.strip()), "")
    if separator == _BLANK:
        n_first = len(_split(first))
    else:
        n_first = len(next(csv.reader([first], delimiter=separator), []))
    return _Head(tuple(name.strip() for name in names), end, first, n_first, separator)


def _split(line: str) -> list[str]:
    return [part.strip('"') for part in re.findall(r'"[^"]*"|\S+', line)]


def _separator(header: str, separator: str | None, likely: Sequence[str]) -> str:
    """Return what stands between columns: as asked for, or the likeliest that the header has.

    A ``.csv`` of a spreadsheet that writes decimal commas has semicolons.
    """
    if separator is None:
        bare = _QUOTED.sub("", header).strip()
        separator = next((sign for sign in likely if sign in bare), likely[0])
    if separator.isspace() and separator != "\t":
        return _BLANK
    if len(separator) != 1:
        raise DataError(
            f"A separator is one character, or a blank for white space; found {separator!r}."
        )
    return separator


def _rows(
    source: Path | io.BytesIO, head: _Head, decimal: str | None, na: Sequence[str]
) -> pd.DataFrame:
    """Return the rows, with one column more than any is expected to have."""
    if isinstance(source, io.BytesIO):
        source.seek(0)
    data: pd.DataFrame = pd.read_csv(
        source,
        sep=head.separator,
        decimal=decimal or ".",
        header=None,
        names=list(range(max(len(head.names), head.n_first) + 1)),
        index_col=False,
        skiprows=head.lines,
        skipinitialspace=True,
        keep_default_na=False,
        na_values=[*MISSING, *na],
        dtype_backend="numpy_nullable",
        low_memory=False,
        encoding="utf-8",
    )
    return data


def _as_named(data: pd.DataFrame, head: _Head, name: str) -> pd.DataFrame:
    """Give the columns their names; refuse values that have none."""
    k = len(head.names)
    extra = data.iloc[:, k:].notna().to_numpy()
    if extra.any():
        if not (extra[:, 0].all() and not extra[:, 1:].any() and _labels_first(head)):
            row = int(extra.any(axis=1).argmax())
            count = k + 1 + int(extra[row].nonzero()[0][-1])
            raise DataError(f"{name} cannot be read: {_too_long(f'row {row + 1}', count, k)}")
        data = data.iloc[:, 1:]
    data = data.iloc[:, :k]
    data.columns = pd.Index(head.names, dtype=object)
    unnamed = [not column for column in head.names]
    empty = [u and data.iloc[:, i].isna().all() for i, u in enumerate(unnamed)]
    columns = [simple(data.iloc[:, i]) for i in range(k) if not empty[i]]
    if not columns:
        raise DataError(f"{name} is empty; names of columns and rows are needed.")
    return pd.concat(columns, axis=1)


def _labels_first(head: _Head) -> bool:
    """Return whether rows start with their labels, as R's write.table quotes them.

    The header has no name for these. Values are quoted only if they are text, too, so that a row
    that is quoted throughout says nothing.
    """
    return head.first.lstrip().startswith('"') and bool(
        _QUOTED.sub("", head.first).strip(" ,;\t\r\n")
    )


def _too_long(which: str, count: int, k: int) -> str:
    return (
        f"{which} has {count} values for {k} names of columns, so that it is not known which value "
        "belongs to which name. Give every column a name, or remove the separator that is too much."
    )


def _unclosed(which: str) -> str:
    return (
        f"{which} has a quotation mark that is not closed, so that what follows is one value. "
        "Close it, or write a mark that belongs to a text twice."
    )


def _said(error: Exception, head: _Head | None) -> str:
    """Return pandas' words, or better ones for rows that are too long and open quotations."""
    if "field larger than field limit" in str(error):
        return _unclosed("The header or the first row")
    if head is None:
        return str(error)
    if ragged := re.search(r"in line (\d+), saw (\d+)", str(error)):
        return _too_long(f"line {ragged[1]}", int(ragged[2]), len(head.names))
    if unclosed := re.search(r"EOF inside string starting at row (\d+)", str(error)):
        return _unclosed(f"Row {int(unclosed[1]) - head.lines + 1}")
    return str(error)
