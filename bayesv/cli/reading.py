"""Files named on the command line: data, and fits that were saved or exported from R."""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

import bayesv as bv
from bayesv.data.tables import read_csv, read_table
from bayesv.support.presence import may_exist

__all__ = ["read_data", "read_fit"]


def read_data(
    name: str, separator: str | None = None, decimal: str | None = None, na: Sequence[str] = ()
) -> pd.DataFrame:
    """Read a data file by its ending, or CSV from standard input for ``-``; see `read_table`.

    Raises
    ------
    DataError
        If there is no such file, its kind is not known, or it cannot be read.
    """
    if "~" in name and not may_exist(Path(name)):
        raise bv.DataError(
            f"There is no file {name}: this is a formula; the data file comes first."
        )
    if name == "-":
        if sys.stdin is None:
            raise bv.DataError("Standard input is closed; name a file instead of -.")
        raw = io.BytesIO(sys.stdin.buffer.read())
        return read_csv(raw, "standard input", separator, decimal=decimal, na=na)
    return read_table(name, separator=separator, decimal=decimal, na=na)


def read_fit(name: str) -> bv.RemlFit | bv.Posterior:
    """Read a fit saved by ``bayesv fit --save``, or a folder that R exported.

    Raises
    ------
    BayesvError
        If it is neither.
    """
    path = Path(name)
    if path.is_dir() and path.suffix.lower() != ".zarr":
        return bv.read_fit(path)
    return bv.load(path)
