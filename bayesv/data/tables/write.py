"""Tables are written as they are read: by the ending of the file."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from bayesv.errors import require
from bayesv.support.writing import write_file

__all__ = ["write_table"]


def write_table(table: pd.DataFrame, path: str | Path) -> None:
    """Write a table without its index: Parquet, text with tabs (.tsv) or with commas.

    Parameters
    ----------
    table : DataFrame
    path : str or Path

    Raises
    ------
    StorageError
        If it cannot be written.
    MissingPackageError
        If it is Parquet and pyarrow is not installed.
    """
    ending = Path(path).suffix.lower()
    if ending == ".parquet":
        require("pyarrow", "parquet")
        write_file(path, lambda file: table.to_parquet(file, index=False))
    else:
        separator = "\t" if ending == ".tsv" else ","
        write_file(path, lambda file: table.to_csv(file, index=False, sep=separator, mode="wb"))
