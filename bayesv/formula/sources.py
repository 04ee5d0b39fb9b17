"""Data that come in batches: Arrow record batches, Parquet files, Dask data frames."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd

from bayesv.errors import DataError, require
from bayesv.formula.columns import Kind, kind, plain_column
from bayesv.support.arguments import PATH
from bayesv.support.presence import may_exist

__all__ = ["ArrowSource", "DaskSource", "Source", "open_source"]

_BATCH_ROWS = 1 << 19  # batches are gathered up to here: merging levels costs the same for any size


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

    def kind(self, name: str) -> Kind:
        """Return what a column holds."""
        types = require("pyarrow", "parquet").types
        stored = self.schema.field(name).type
        if types.is_boolean(stored):
            return "logical"
        if types.is_date(stored) or types.is_timestamp(stored):
            return "time"
        if types.is_primitive(stored) or types.is_decimal(stored) or types.is_null(stored):
            return "number"
        return "factor"

    def holds_text(self, name: str) -> bool:
        """Return whether a column is text, not categories that somebody chose."""
        types = require("pyarrow", "parquet").types
        stored = self.schema.field(name).type
        return bool(types.is_string(stored) or types.is_large_string(stored))

    def frames(self, names: Sequence[str]) -> Iterator[pd.DataFrame]:
        """Yield data frames of the named columns, each of half a million rows or so.

        Raises
        ------
        DataError
            If a batch cannot be read as what its column is elsewhere.
        """
        arrow = require("pyarrow", "parquet")
        waiting: list[Any] = []
        try:
            for batch in self.batches(names):
                waiting.append(batch)
                if sum(len(b) for b in waiting) >= _BATCH_ROWS:
                    yield _to_pandas(waiting, names)
                    waiting = []
        except (arrow.ArrowException, OSError) as error:
            raise DataError(f"The batches of {', '.join(names)} cannot be read: {error}") from error
        if waiting:
            yield _to_pandas(waiting, names)


@dataclass(frozen=True, eq=False)
class DaskSource:
    """A Dask data frame; its partitions are summed up where its scheduler runs them."""

    frame: Any
    repeatable: ClassVar[bool] = True

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns."""
        return tuple(str(name) for name in self.frame.columns)

    def kind(self, name: str) -> Kind | None:
        """Return what a column holds; None for objects, of which only the values can tell."""
        dtype = self.frame.dtypes[name]
        if pd.api.types.is_object_dtype(dtype):
            return None
        return kind(plain_column(pd.Series([], dtype=dtype, name=name)))

    def holds_text(self, name: str) -> bool:
        """Return whether a column is text, not categories that somebody chose."""
        return not isinstance(self.frame.dtypes[name], pd.CategoricalDtype)


Source = ArrowSource | DaskSource


def _to_pandas(batches: Sequence[Any], names: Sequence[str]) -> pd.DataFrame:
    """Integers with gaps stay integers: as floats, large identifiers would coincide."""
    table = require("pyarrow", "parquet").Table.from_batches(batches).select(list(names))
    frame: pd.DataFrame = table.to_pandas(integer_object_nulls=True, date_as_object=False)
    return frame


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
        PATH("data", data)
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
    if not may_exist(path):
        raise DataError(f"There is no file {str(path)!r}.")
    if os.path.isfile(path) and path.suffix not in (".parquet", ".pq"):
        raise DataError(
            f"{str(path)!r} is not Parquet (.parquet, .pq). Read it first, e.g. with "
            "pandas.read_csv, and pass the data frame."
        )
    require("pyarrow", "parquet")
    import pyarrow.dataset

    try:
        found = pyarrow.dataset.dataset(path, format="parquet")
        schema, unlike = _one_schema(found)
        whole = pyarrow.dataset.dataset(path, schema=schema, format="parquet")
        return _of_one_schema(whole, unlike)
    except (OSError, ValueError, pyarrow.ArrowException) as error:
        raise DataError(f"{str(path)!r} cannot be read as Parquet: {error}.") from error


def _dataset(dataset: Any) -> ArrowSource:
    """Return the batches of files that may have written a column in several types."""
    schema, unlike = _one_schema(dataset)
    for field in schema:  # Arrow rounds to a shorter type without a word
        if not field.type.equals((own := dataset.schema.field(field.name)).type):
            unlike.setdefault(field.name, f"read as {own.type}, which does not hold {field.type}")
    return _of_one_schema(dataset, unlike)


def _of_one_schema(dataset: Any, unlike: Mapping[str, str]) -> ArrowSource:
    """Return the batches of files, of which columns that no one type holds are refused."""

    def batches(names: Sequence[str]) -> Iterator[Any]:
        for name in names:
            if name in unlike:
                raise DataError(
                    f"Column {name!r} is {unlike[name]}. Write it as one type, or open the files "
                    "as pyarrow.dataset.dataset(path, schema=…) with one that holds all."
                )
        yield from dataset.to_batches(columns=list(names))

    return ArrowSource(dataset.schema, batches, repeatable=True)


def _one_schema(dataset: Any) -> tuple[Any, dict[str, str]]:
    """Return the schema with types that hold those of all files, and what cannot be held so."""
    arrow = require("pyarrow", "parquet")
    whole, unlike = dataset.schema, dict[str, str]()
    for other in (fragment.physical_schema for fragment in dataset.get_fragments()):
        for i, field in enumerate(whole):
            if other.get_field_index(field.name) < 0:
                continue
            found = other.field(field.name)
            if field.type.equals(found.type) or _text(field.type) == _text(found.type) == "string":
                continue
            try:
                pair = [arrow.schema([field]), arrow.schema([found])]
                wider = arrow.unify_schemas(pair, promote_options="permissive")
                whole = whole.set(i, wider.field(0))
            except (arrow.ArrowException, TypeError):
                unlike[field.name] = f"{field.type} in one file, {found.type} in another"
    return whole, unlike


def _text(stored: Any) -> str:
    """Return the type of values; of text, also as categories, it is "string"."""
    name = str(getattr(stored, "value_type", stored))
    return "string" if name in ("string", "large_string", "string_view") else name
