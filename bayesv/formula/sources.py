"""Data that come in batches: Arrow record batches, Parquet files, Dask data frames."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from bayesv.errors import DataError, require

__all__ = ["ArrowSource", "DaskSource", "Source", "open_source"]

_ROWS = 1 << 19  # batches are gathered up to here: merging levels costs the same for any size


@dataclass(frozen=True, eq=False)
class ArrowSource:
    """Record batches.

    Attributes
    ----------
    schema : pyarrow.Schema
    batches : callable
        Given column names, iterates over pyarrow record batches.
    repeatable : bool
        Whether batches can be read more than once.
    """

    schema: Any
    batches: Callable[[Sequence[str]], Iterator[Any]]
    repeatable: bool

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns."""
        return tuple(self.schema.names)

    def is_categorical(self, name: str) -> bool:
        """Return whether a column holds neither numbers nor truth values."""
        kind = str(self.schema.field(name).type)
        return not kind.startswith(("int", "uint", "float", "double", "half", "decimal", "bool"))

    def frames(self, names: Sequence[str]) -> Iterator[pd.DataFrame]:
        """Yield data frames of the named columns, each of half a million rows or so."""
        pa = require("pyarrow", "parquet")
        waiting: list[Any] = []
        for batch in self.batches(names):
            waiting.append(batch)
            if sum(len(b) for b in waiting) >= _ROWS:
                yield pa.Table.from_batches(waiting).select(list(names)).to_pandas()
                waiting = []
        if waiting:
            yield pa.Table.from_batches(waiting).select(list(names)).to_pandas()


@dataclass(frozen=True, eq=False)
class DaskSource:
    """A Dask data frame; its partitions are summed up where its scheduler runs them."""

    frame: Any

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns."""
        return tuple(str(name) for name in self.frame.columns)

    def is_categorical(self, name: str) -> bool:
        """Return whether a column holds neither numbers nor truth values."""
        return not pd.api.types.is_numeric_dtype(self.frame.dtypes[name])


Source = ArrowSource | DaskSource


def open_source(data: Any) -> Source | None:
    """Return data that come in batches as a source; None for frames in memory.

    Parameters
    ----------
    data : Dask DataFrame, pyarrow RecordBatchReader, Dataset or ParquetFile, or path
        A path names a Parquet file or a directory of them.

    Raises
    ------
    DataError
        If a path does not lead to Parquet.
    """
    if isinstance(data, str | os.PathLike):
        return _parquet(Path(data))
    kind = type(data)
    if kind.__module__.split(".")[0] in ("dask", "dask_expr") and hasattr(data, "to_delayed"):
        return DaskSource(data)
    if kind.__module__.split(".")[0] != "pyarrow":
        return None
    if hasattr(data, "read_next_batch"):
        return ArrowSource(data.schema, lambda _: iter(data), repeatable=False)
    if hasattr(data, "iter_batches"):
        return ArrowSource(
            data.schema_arrow,
            lambda names: data.iter_batches(columns=list(names)),
            repeatable=True,
        )
    if hasattr(data, "to_batches") and hasattr(data, "get_fragments"):
        return _dataset(data)
    return None


def _parquet(path: Path) -> ArrowSource:
    if not path.exists():
        raise DataError(f"There is no file {str(path)!r}.")
    if path.is_file() and path.suffix not in (".parquet", ".pq"):
        raise DataError(
            f"{str(path)!r} is not Parquet (.parquet, .pq). Read it first, e.g. with "
            "pandas.read_csv, and pass the data frame."
        )
    require("pyarrow", "parquet")
    import pyarrow.dataset

    try:
        return _dataset(pyarrow.dataset.dataset(path, format="parquet"))
    except (OSError, ValueError) as error:
        raise DataError(f"{str(path)!r} cannot be read as Parquet: {error}.") from error


def _dataset(dataset: Any) -> ArrowSource:
    return ArrowSource(
        dataset.schema,
        lambda names: dataset.to_batches(columns=list(names)),
        repeatable=True,
    )
