"""Tables in files that are not text: workbooks, SPSS, Stata, Parquet."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pandas as pd

from bayesv.data.tables.values import refuse_twice
from bayesv.errors import DataError, DesignWarning, MissingPackageError, require, warn
from bayesv.support.memory import refuse_unless

__all__ = ["READERS"]

_COPIES = 2.0  # of all columns, while they are read
_CELLS = 10.0  # bytes that one of a workbook's sheets takes as cells


def _workbook(path: Path) -> pd.DataFrame:
    """Read the first sheet: names in its first row, and no value without one."""
    openpyxl = require("openpyxl", "tables")
    _refuse_large(path, _CELLS * _read(path, "a workbook", lambda: _unzipped(path)))
    book = _read(path, "a workbook", lambda: openpyxl.load_workbook(path, data_only=True))
    try:
        sheets = [sheet for sheet in book.worksheets if sheet.max_row > 1]
        if not sheets:
            raise DataError(f"{path} is empty; names of columns and rows are needed.")
        if len(sheets) > 1:
            others = ", ".join(sheet.title for sheet in sheets[1:])
            warn(
                f"{path}: the sheet {sheets[0].title!r} was read; the others ({others}) were not.",
                DesignWarning,
            )
        rows = [row for row in sheets[0].iter_rows(values_only=True) if any(map(_is_value, row))]
    finally:
        book.close()
    names = ["" if value is None else str(value).strip() for value in rows[0]]
    refuse_twice(names, str(path))
    columns = []
    for i, name in enumerate(names):
        values = [row[i] for row in rows[1:]]
        if name:
            columns.append(pd.Series(values, name=name, dtype=object).infer_objects())
        elif any(map(_is_value, values)):
            raise DataError(
                f"{path} cannot be read: column {i + 1} of the sheet has values and no name. Give "
                "every column a name in the first row, or empty it."
            )
    return pd.concat(columns, axis=1)


def _is_value(cell: Any) -> bool:
    return cell is not None and cell != ""


def _spss(path: Path) -> pd.DataFrame:
    return _statistical(path, "an SPSS file", "read_sav")


def _stata(path: Path) -> pd.DataFrame:
    return _statistical(path, "a Stata file", "read_dta")


def _statistical(path: Path, what: str, reader: str) -> pd.DataFrame:
    """Read numbers as numbers; values that the file declares missing are."""
    pyreadstat = require("pyreadstat", "tables")
    read = getattr(pyreadstat, reader)
    _, meta = _read(path, what, lambda: read(str(path), metadataonly=True))
    widths = sum(max(8, width) for width in meta.variable_storage_width.values())
    _refuse_large(path, _COPIES * widths * max(meta.number_rows or 0, 0))
    data, meta = _read(path, what, lambda: read(str(path)))
    labelled = [name for name in data if meta.variable_value_labels.get(name)]
    numbers = [name for name in labelled if pd.api.types.is_numeric_dtype(data[name].dtype)]
    if numbers:
        warn(
            f"{path}: {', '.join(numbers)} have labels for their numbers and were read as numbers. "
            "If one of them is a factor, say so: factor(...) in the formula, or --factor.",
            DesignWarning,
        )
    frame: pd.DataFrame = data
    return frame


def _parquet(path: Path) -> pd.DataFrame:
    try:
        _refuse_large(path, _COPIES * _read(path, "Parquet", lambda: _declared(path)))
        data = _read(path, "Parquet", lambda: pd.read_parquet(path))
    except ImportError as error:
        raise MissingPackageError(
            'Parquet needs pyarrow: python3 -m pip install "bayesv[parquet]"'
        ) from error
    named = [name for name in data.index.names if name is not None]
    frame: pd.DataFrame = data.reset_index(level=named)  # set aside by pandas as labels of rows
    return frame


def _declared(path: Path) -> int:
    """Return the bytes of a Parquet file's columns: of few that are repeated, one for each row."""
    meta = require("pyarrow.parquet", "parquet").read_metadata(path)
    unpacked = sum(meta.row_group(i).total_byte_size for i in range(meta.num_row_groups))
    return int(max(8 * meta.num_rows * meta.num_columns, unpacked))


def _unzipped(path: Path) -> int:
    """Return the bytes of what a workbook packs; no more than these are unpacked."""
    with ZipFile(path) as packed:
        return sum(part.file_size for part in packed.infolist())


def _refuse_large(path: Path, n_bytes: float) -> None:
    refuse_unless(n_bytes, f"Reading {path}", "Read a part of it, or the columns that are needed.")


def _read(path: Path, what: str, read: Callable[[], Any]) -> Any:
    try:
        return read()
    except ImportError:
        raise
    except Exception as error:  # each reader has errors of its own for a damaged file
        raise DataError(f"{path} cannot be read as {what}: {error}") from error


READERS: Mapping[str, Callable[[Path], pd.DataFrame]] = {
    ".xlsx": _workbook,
    ".sav": _spss,
    ".dta": _stata,
    ".parquet": _parquet,
}
