"""A study on disk: a manifest and atomically written Parquet parts, from which it resumes."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pandas as pd

from bayesv.errors import BayesvError, require
from bayesv.study.work import COLUMNS

__all__ = ["FORMAT", "Store", "arranged"]

type Key = tuple[str, int]  # scenario, replicate

FORMAT = 1
_TEXT = ("scenario", "estimator", "kind", "quantity", "method", "message")
_SAME = ("format", "bayesv", "seed", "scores", "estimators", "scenarios")


class Store:
    """The folder of a study.

    ``study.json`` says what was asked for. ``parts/*.parquet`` have the rows, one file for each
    chunk of replicates. A replicate is whole in a file; if two processes computed the same study at
    the same time it may be in several, alike, and counts once.

    Parameters
    ----------
    out : str or Path

    Raises
    ------
    MissingPackageError
        Without pyarrow.
    """

    def __init__(self, out: str | Path) -> None:
        require("pyarrow", "parquet")
        self.path = Path(out)
        self.manifest_path, self.parts = self.path / "study.json", self.path / "parts"

    def manifest(self) -> dict[str, Any]:
        """Return what the study was asked for.

        Raises
        ------
        BayesvError
            If there is no study here, or one of a later format.
        """
        try:
            found = json.loads(self.manifest_path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise BayesvError(f"{self.path} holds no study: there is no study.json.") from None
        except (ValueError, UnicodeError) as error:
            raise BayesvError(f"{self.manifest_path} cannot be read: {error}.") from None
        if not isinstance(found, dict) or found.get("format") != FORMAT:
            written = found.get("format") if isinstance(found, dict) else None
            raise BayesvError(
                f"{self.manifest_path} has format {written}; this version reads {FORMAT}."
            )
        return found

    def begin(self, asked: Mapping[str, Any]) -> None:
        """Start a study here, or go on with the same one.

        Raises
        ------
        BayesvError
            If another study is here; the message names what differs.
        """
        manifest: dict[str, Any] = _plain(asked)
        if self.manifest_path.exists():
            here = self.manifest()
            for key in _SAME:
                for where, there, now in _differences(key, here.get(key), manifest[key]):
                    raise BayesvError(
                        f"{self.path} holds another study: {where} is {_short(there)} there and "
                        f"{_short(now)} here. Choose another folder, or ask for the same study."
                    )
            manifest["replicates"] = max(manifest["replicates"], here["replicates"])
        try:
            self.parts.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BayesvError(
                f"{self.path} cannot be the folder of a study: {error.strerror}."
            ) from error
        text = json.dumps(manifest, indent=2, ensure_ascii=False)
        _atomically(self.manifest_path, lambda path: path.write_text(text + "\n", "utf-8"))

    def done(self) -> set[Key]:
        """Return (scenario, replicate) of all replicates that are stored."""
        return {key for table in self._tables(["scenario", "replicate"]) for key in _keys(table)}

    def write(self, name: str, rows: pd.DataFrame) -> None:
        """Store the rows of a chunk in a new file; the name says where it starts."""
        # No two processes share a file: neither can take replicates of the other away.
        path = self.parts / f"{name}-{uuid4().hex[:8]}.parquet"
        _atomically(path, lambda to: rows.to_parquet(to, index=False))

    def read(self) -> pd.DataFrame:
        """Return all rows, in no order; texts are categories."""
        import pyarrow as pa

        seen: set[Key] = set()
        found = []
        for table in self._tables(list(COLUMNS)):
            keys = _keys(table)
            if not seen.isdisjoint(keys):
                table = table.filter(pa.array([key not in seen for key in keys]))
            seen.update(keys)
            found.append(table)
        if not found:
            return pd.DataFrame(columns=list(COLUMNS)).astype({"replicate": int})
        rows: pd.DataFrame = pa.concat_tables(found).unify_dictionaries().to_pandas()
        return rows

    def _tables(self, columns: list[str]) -> Iterator[Any]:
        """Yield the files as tables of Arrow, which hold each text once."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        for path in sorted(self.parts.glob("*.parquet")):
            try:
                table = pq.read_table(path, columns=columns, read_dictionary=list(_TEXT))
            except (OSError, pa.ArrowException) as error:
                raise BayesvError(
                    f"{path} cannot be read ({error}). Delete it and run the study again: its "
                    "replicates are computed anew."
                ) from error
            yield table.replace_schema_metadata()


def arranged(rows: pd.DataFrame, scenarios: Sequence[str], replicates: int) -> pd.DataFrame:
    """Return the rows by scenario and replicate, whatever order they were computed in.

    Parameters
    ----------
    rows : DataFrame
        Those of one replicate stand together, in order.
    scenarios : sequence of str
        Names, in order.
    replicates : int
        Replicates to keep.
    """
    rows = rows[rows["replicate"] < replicates]
    place = pd.Index(scenarios).get_indexer(rows["scenario"])
    order = np.lexsort((np.arange(len(rows)), rows["replicate"].to_numpy(), place))
    rows = rows.iloc[order].reset_index(drop=True)
    for name in _TEXT:
        known = scenarios if name == "scenario" else pd.unique(rows[name])
        rows[name] = pd.Categorical(rows[name], categories=list(known))
    return rows


def _keys(table: Any) -> list[Key]:
    """Return (scenario, replicate) of every row of a table of Arrow."""
    return list(zip(*(table[name].to_pylist() for name in ("scenario", "replicate")), strict=True))


def _atomically(path: Path, write: Any) -> None:
    """Write beside and rename, so that a file is whole or absent."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        write(beside)
        os.replace(beside, path)
    except OSError as error:
        raise BayesvError(
            f"{path} cannot be written ({error.strerror or error}). What was written before is "
            "kept; with room to write, the same call goes on from there."
        ) from error
    finally:
        beside.unlink(missing_ok=True)


def _plain(value: Any) -> Any:
    """Return what JSON gives back."""
    return json.loads(json.dumps(value, default=_number))


def _number(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    raise BayesvError(f"A study's declaration has {value!r}, which a file cannot hold.")


def _differences(where: str, there: Any, here: Any) -> Iterator[tuple[str, Any, Any]]:
    """Yield (place, value there, value here) of what differs."""
    if isinstance(there, dict) and isinstance(here, dict):
        for key in dict.fromkeys([*there, *here]):
            yield from _differences(f"{where}.{key}", there.get(key), here.get(key))
    elif isinstance(there, list) and isinstance(here, list) and len(there) == len(here):
        for i, (a, b) in enumerate(zip(there, here, strict=True)):
            yield from _differences(f"{where}[{i}]", a, b)
    elif there != here:
        yield where, there, here


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else f"{text[:77]}…"
