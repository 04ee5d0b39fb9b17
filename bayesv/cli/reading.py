"""Files named on the command line: data, and fits that were saved or exported from R."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pandas as pd

import bayesv as bv

__all__ = ["read_data", "read_fit"]

_SEPARATORS = {".csv": ",", ".csv.gz": ",", ".tsv": "\t", ".tsv.gz": "\t"}


def read_data(name: str) -> pd.DataFrame:
    """Read a data file by its ending, or CSV from standard input for ``-``.

    Raises
    ------
    DataError
        If there is no such file, its kind is not known, or it cannot be read.
    """
    if name == "-":
        return _csv(io.StringIO(sys.stdin.read()), ",", "standard input")
    path = Path(name)
    if not path.exists():
        raise bv.DataError(f"There is no file {path}.")
    lower = path.name.lower()
    if lower.endswith(".parquet"):
        return _parquet(path)
    for ending, separator in _SEPARATORS.items():
        if lower.endswith(ending):
            return _csv(path, separator, str(path))
    raise bv.DataError(
        f"{path.name}: a .csv, .tsv, .csv.gz, .tsv.gz or .parquet file is needed, or - for CSV "
        "from standard input."
    )


def read_fit(name: str) -> bv.RemlFit | bv.Posterior:
    """Read a fit saved by ``bayesv fit --save``, or a folder that R exported.

    Raises
    ------
    BayesvError
        If it is neither.
    """
    path = Path(name)
    if path.is_dir() and path.suffix.lower() != ".zarr":
        from bayesv.extract import read_fit as read_exported

        return read_exported(path)
    return bv.load(path)


def _csv(source: Path | io.StringIO, separator: str, name: str) -> pd.DataFrame:
    try:
        return pd.read_csv(source, sep=separator)
    except (ValueError, UnicodeError) as error:
        raise bv.DataError(f"{name} cannot be read: {error}") from error


def _parquet(path: Path) -> pd.DataFrame:
    try:
        return pd.read_parquet(path)
    except ImportError as error:
        raise bv.MissingPackageError(
            'Parquet needs pyarrow: python3 -m pip install "bayesv[parquet]"'
        ) from error
    except ValueError as error:
        raise bv.DataError(f"{path} cannot be read: {error}") from error
