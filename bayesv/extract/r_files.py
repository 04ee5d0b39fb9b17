"""The folder that ``bayesv_export()`` writes in R, read with the reason when it cannot be."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayesv.design.design import Index
from bayesv.errors import ExtractionError, MemoryNeededError
from bayesv.linalg import Array
from bayesv.support.presence import may_exist
from bayesv.support.text_size import refuse_large_text

__all__ = ["AGAIN", "FORMATS", "Record", "Table", "open_export", "read_columns"]

FORMATS = (1, 2)  # 2 states families of covariances
_MEMORY = 20.0  # bytes that a character of a table of texts takes, about
AGAIN = "Export the fit again with the R script that `bayesv export-r` prints."


@dataclass(frozen=True, eq=False)
class Record:
    """One object of fit.json: every value is asked for by name and kind.

    Attributes
    ----------
    values : mapping
    place : str
        Where it stands, for messages.
    """

    values: Mapping[str, Any]
    place: str

    def text(self, key: str) -> str:
        """Return a text."""
        return str(self._value(key, str, "a text"))

    def flag(self, key: str) -> bool:
        """Return true or false."""
        return bool(self._value(key, bool, "true or false"))

    def number(self, key: str) -> float:
        """Return a finite number."""
        return float(self.numbers(key, ()))

    def texts(self, key: str) -> tuple[str, ...]:
        """Return a list of texts."""
        items = self._value(key, list, "a list of texts")
        if not all(isinstance(item, str) for item in items):
            raise self._wrong(key, items, "a list of texts")
        return tuple(items)

    def numbers(self, key: str, shape: tuple[int, ...]) -> Array:
        """Return finite numbers of a shape."""
        stored = self._value(key, object, "numbers")
        try:
            values = np.array(stored, dtype=float)
        except (TypeError, ValueError, OverflowError, RecursionError):
            raise self._wrong(key, stored, "numbers") from None
        if values.shape != shape and not (values.size == 0 and 0 in shape):
            raise self._wrong(key, stored, f"numbers of shape {shape}")
        if not np.isfinite(values).all():
            raise self._wrong(key, stored, "finite numbers")
        return values.reshape(shape)

    def record(self, key: str) -> Record:
        """Return an object."""
        return Record(self._value(key, dict, "an object"), f"{self.place}, '{key}'")

    def records(self, key: str) -> list[Record]:
        """Return a list of objects."""
        items = self._value(key, list, "a list of objects")
        if not all(isinstance(item, dict) for item in items):
            raise self._wrong(key, items, "a list of objects")
        return [Record(item, f"{self.place}, '{key}' {i + 1}") for i, item in enumerate(items)]

    def _value(self, key: str, kind: type, needed: str) -> Any:
        if key not in self.values:
            raise ExtractionError(
                f"{self.place}: '{key}' is missing; found {', '.join(self.values)}. {AGAIN}"
            )
        value = self.values[key]
        if not isinstance(value, kind):
            raise self._wrong(key, value, needed)
        return value

    def _wrong(self, key: str, value: Any, needed: str) -> ExtractionError:
        try:
            shown = json.dumps(value)
        except (RecursionError, ValueError):
            shown = type(value).__name__
        shown = shown if len(shown) < 60 else shown[:57] + "…"
        return ExtractionError(f"{self.place}: '{key}' must be {needed}, found {shown}. {AGAIN}")


@dataclass(frozen=True, eq=False)
class Table:
    """One of the folder's tables: columns are asked for by name.

    Attributes
    ----------
    columns : DataFrame of str
    place : str
        The file, for messages.
    """

    columns: pd.DataFrame
    place: str

    def __len__(self) -> int:
        return len(self.columns)

    @property
    def row_names(self) -> list[str]:
        """R's names of the rows: the first column."""
        return list(self.columns.iloc[:, 0])

    def take(self, rows: NDArray[np.bool_]) -> Table:
        """Return some of the rows."""
        return Table(self.columns[rows], self.place)

    def texts(self, name: str) -> list[str]:
        """Return a column as it stands."""
        if name not in self.columns:
            shown = ", ".join(map(repr, self.columns.columns[:12]))
            raise ExtractionError(
                f"{self.place} has no column {name!r}, which fit.json speaks of; it has {shown}"
                f"{', …' if self.columns.shape[1] > 12 else ''}. The files do not belong together, "
                f"or a label was changed. {AGAIN}"
            )
        return list(self.columns[name])

    def numbers(self, name: str) -> Array:
        """Return a column of finite numbers."""
        texts = self.texts(name)
        try:
            values = np.array(texts, dtype=float)
        except ValueError:
            values = np.asarray(pd.to_numeric(pd.Series(texts), errors="coerce"), dtype=float)
        if (bad := ~np.isfinite(values)).any():
            row = int(np.flatnonzero(bad)[0])
            raise ExtractionError(
                f"{self.place}: column {name!r} has {int(bad.sum())} values that are no finite "
                f"numbers; the first is {texts[row]!r} in row {row + 1}. {AGAIN}"
            )
        return values

    def whole(self, name: str, most: int) -> Index:
        """Return a column of the whole numbers 1 … most."""
        values = self.numbers(name)
        if (bad := (values != np.round(values)) | (values < 1) | (values > most)).any():
            raise ExtractionError(
                f"{self.place}: column {name!r} needs whole numbers from 1 to {most}, found "
                f"{values[bad][0]:g}. {AGAIN}"
            )
        return values.astype(np.intp)


def open_export(path: str | Path) -> tuple[Path, Record]:
    """Return the folder of an exported fit and what its fit.json says.

    Raises
    ------
    ExtractionError
        If there is no such folder, the file cannot be read, or it has another format.
    """
    folder = Path(path)
    file = folder if folder.name == "fit.json" else folder / "fit.json"
    if not may_exist(file):
        what = "has no fit.json" if folder.is_dir() else "is no folder"
        raise ExtractionError(
            f"'{path}' {what}. A folder that bayesv_export(fit, 'folder') wrote in R is needed; "
            "`bayesv export-r` prints that function."
        )
    try:
        facts = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, OSError, RecursionError) as error:  # nested or numbers without end, too
        raise ExtractionError(f"{file} is damaged or incomplete: {error}. {AGAIN}") from error
    if not isinstance(facts, dict) or "format" not in facts:
        raise ExtractionError(f"{file} was not written by bayesv_export: it names no format.")
    if facts["format"] not in FORMATS:
        raise ExtractionError(
            f"{file} has format {facts['format']!r}; this version of bayesv reads "
            f"{' and '.join(map(str, FORMATS))}. {AGAIN}"
        )
    return file.parent, Record(facts, str(file))


def read_columns(folder: Path, name: str, n_rows: int | None = None) -> Table:
    """Return a table of the folder, such as ``design.csv.gz``, unpacked or not.

    Raises
    ------
    ExtractionError
        If it is missing, damaged, or has another number of rows than needed.
    """
    file = folder / name
    if not may_exist(file):
        file = folder / name.removesuffix(".gz")
    if not may_exist(file):
        raise ExtractionError(
            f"{folder / name} is missing; it belongs to the fit beside fit.json, so copy the whole "
            f"folder. {AGAIN}"
        )
    try:
        refuse_large_text(file, _MEMORY)
        columns = pd.read_csv(file, dtype=str, keep_default_na=False, encoding="utf-8")
    except MemoryNeededError:
        raise
    except (ValueError, OSError, EOFError, zlib.error) as error:  # pandas' and gzip's are of these
        raise ExtractionError(f"{file} is damaged or incomplete: {error}. {AGAIN}") from error
    if n_rows is not None and len(columns) != n_rows:
        raise ExtractionError(
            f"{file} has {len(columns)} rows; fit.json says {n_rows}. The files do not belong "
            f"together, or one is incomplete. {AGAIN}"
        )
    return Table(columns, str(file))
