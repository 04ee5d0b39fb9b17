"""Files named on the command line: data, and fits that were saved or exported from R."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pandas as pd

import bayesv as bv
from bayesv.tables import read_csv, read_table

__all__ = ["read_data", "read_fit"]


def read_data(name: str) -> pd.DataFrame:
    """Read a data file by its ending, or CSV from standard input for ``-``.

    Raises
    ------
    DataError
        If there is no such file, its kind is not known, or it cannot be read.
    """
    if name == "-":
        return read_csv(io.BytesIO(sys.stdin.buffer.read()), "standard input")
    return read_table(name)


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
