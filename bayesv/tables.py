"""Tables in files: CSV as spreadsheets and statistics programs write it, and Parquet."""

from __future__ import annotations

import io
import re
import warnings
import zlib
from pathlib import Path
from typing import Any

import pandas as pd

from bayesv.errors import DataError, DesignWarning, MissingPackageError

__all__ = ["ENDINGS", "read_csv", "read_table"]

_SEPARATORS = {".csv": ",", ".csv.gz": ",", ".tsv": "\t", ".tsv.gz": "\t"}
ENDINGS = (*_SEPARATORS, ".parquet")
_COMMA = re.compile(r"\s*[+-]?\d+,\d+(?:[eE][+-]?\d+)?\s*")  # a number with a decimal comma
_MOSTLY = 0.9  # of a text column's values are numbers: then it was meant to be numeric


def read_table(path: str | Path) -> pd.DataFrame:
    """Read a table by its ending, one of ``ENDINGS``.

    Parameters
    ----------
    path : str or Path

    Returns
    -------
    DataFrame

    Raises
    ------
    DataError
        If there is no such file, its kind is not known, or it cannot be read.
    MissingPackageError
        If Parquet is read without pyarrow.

    Notes
    -----
    Where a ``.csv`` has semicolons between columns, commas in its numbers are decimal ones. A
    column that is text although most of it are numbers is warned of.
    """
    path = Path(path)
    if not path.exists():
        raise DataError(f"There is no file {path}.")
    lower = path.name.lower()
    if lower.endswith(".parquet"):
        return _parquet(path)
    for ending, separator in _SEPARATORS.items():
        if lower.endswith(ending):
            return read_csv(path, str(path), separator)
    raise DataError(f"{path}: a file that ends in {', '.join(ENDINGS)} is needed.")


def read_csv(source: Path | io.BytesIO, name: str, separator: str = ",") -> pd.DataFrame:
    """Read a table of text; errors say ``name``.

    Raises
    ------
    DataError
        If it cannot be read.
    """
    try:
        header = _header(source, separator)
        if separator == "," and len(header) == 1 and ";" in header[0]:
            separator = ";"
            header = _header(source, separator)
        data = _rows(source, separator)
        if data.shape[1] and data.iloc[:, -1].isna().all():
            # A separator at the end of rows makes pandas take the first column for row names.
            data = _rows(source, separator, index_col=False)
    except UnicodeError as error:
        raise DataError(
            f"{name} is not text in UTF-8 ({error}). Save it as CSV UTF-8; if it is compressed, "
            "its name must end in .gz."
        ) from error
    except pd.errors.EmptyDataError:
        raise DataError(f"{name} is empty; names of columns and rows are needed.") from None
    except (ValueError, OSError, EOFError, zlib.error) as error:
        raise DataError(f"{name} cannot be read: {error}") from error
    # pandas tells columns of one name apart by numbers; which of them is meant, nobody has said.
    data.columns = pd.Index(header)
    return _checked(data, name, comma_is_decimal=separator == ";")


def _header(source: Path | io.BytesIO, separator: str) -> list[str]:
    """Return the names of the columns as they are written."""
    row = _rows(source, separator, header=None, nrows=1, dtype=str, keep_default_na=False)
    return [str(name) for name in row.iloc[0]]


def _rows(source: Path | io.BytesIO, separator: str, **options: Any) -> pd.DataFrame:
    if isinstance(source, io.BytesIO):
        source.seek(0)
    return pd.read_csv(source, sep=separator, skipinitialspace=True, low_memory=False, **options)


def _checked(data: pd.DataFrame, name: str, comma_is_decimal: bool) -> pd.DataFrame:
    """Read decimal commas where they can be nothing else; warn of numbers that stay text."""
    columns = [data.iloc[:, i] for i in range(data.shape[1])]
    for i, column in enumerate(columns):
        if pd.api.types.is_numeric_dtype(column.dtype):
            continue
        texts = pd.Series(column.dropna().unique(), dtype=object).astype(str)
        with_comma = texts.map(lambda text: _COMMA.fullmatch(text) is not None).astype(bool)
        numeric = pd.to_numeric(texts.str.replace(",", "."), errors="coerce").notna()
        if with_comma.any() and comma_is_decimal and numeric.all():
            columns[i] = pd.to_numeric(column.str.replace(",", "."))
            continue
        strange = texts[with_comma if with_comma.any() else ~numeric]
        if len(strange) and numeric.mean() >= _MOSTLY:
            warnings.warn(
                f"{name}: column {column.name!r} is text, because of values such as "
                f"{strange.iloc[0]!r}, though most are numbers. If numbers are meant, write them "
                "with a decimal point, and what is missing as NA.",
                DesignWarning,
                stacklevel=2,
            )
    return pd.concat(columns, axis=1) if columns else data


def _parquet(path: Path) -> pd.DataFrame:
    try:
        data = pd.read_parquet(path)
    except ImportError as error:
        raise MissingPackageError(
            'Parquet needs pyarrow: python3 -m pip install "bayesv[parquet]"'
        ) from error
    except ValueError as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    named = [name for name in data.index.names if name is not None]
    return data.reset_index(level=named)  # columns that pandas had set aside as labels of rows
