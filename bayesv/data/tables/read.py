"""Read a table by its ending."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from bayesv.data.tables.binary import READERS
from bayesv.data.tables.doubts import warn_of_numbers
from bayesv.data.tables.text import LIKELY, read_csv
from bayesv.data.tables.values import with_gaps
from bayesv.errors import DataError, near
from bayesv.support.presence import may_exist

__all__ = ["ENDINGS", "read_table"]

ENDINGS = (*(f"{ending}{packed}" for ending in LIKELY for packed in ("", ".gz")), *READERS)


def read_table(
    path: str | Path,
    *,
    separator: str | None = None,
    decimal: str | None = None,
    na: Sequence[str] = (),
) -> pd.DataFrame:
    """Read a table by its ending, one of ``ENDINGS``.

    Parameters
    ----------
    path : str or Path
        Text: ``.csv``, ``.tsv``, ``.txt`` (also ``.gz``); a workbook's first sheet (``.xlsx``),
        SPSS (``.sav``), Stata (``.dta``) or ``.parquet``.
    separator : str, optional
        What stands between columns of text; ``" "`` is any white space. Left out: the ending and
        the header tell.
    decimal : {".", ","}, optional
        The decimal sign of text. Left out: a point, or a comma where semicolons stand between
        columns and some number can be read in no other way.
    na : sequence of str
        What is written for a missing value beside an empty cell and ``NA``, which always are.
        Nothing else is: ``None``, ``n/a``, ``null`` and ``nan`` are levels.

    Returns
    -------
    DataFrame

    Raises
    ------
    DataError
        If there is no such file, its kind is not known, it cannot be read, two columns have one
        name, or a row is longer than the header.
    MissingPackageError
        If a kind of file needs a package that is not installed.

    Notes
    -----
    A column that is text although numbers may be meant is warned of.
    """
    path = Path(path)
    if not may_exist(path):
        raise DataError(f"There is no file {path}{near(path.name, _names_beside(path))}")
    lower = path.name.lower()
    for ending, read in READERS.items():
        if lower.endswith(ending):
            data = with_gaps(read(path), na, text=ending != ".parquet")
            warn_of_numbers(data, str(path))
            return data
    for ending, likely in LIKELY.items():
        if lower.endswith((ending, f"{ending}.gz")):
            return read_csv(path, str(path), separator, likely=likely, decimal=decimal, na=na)
    raise DataError(f"{path}: a file that ends in {', '.join(ENDINGS)} is needed.")


def _names_beside(path: Path) -> list[str]:
    """Return the files with an ending in the folder of a path; nothing where they are not seen."""
    try:
        return [beside.name for beside in path.parent.iterdir() if beside.suffix]
    except OSError:
        return []
