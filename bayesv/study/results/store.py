"""A study on disk: a manifest and atomically written Parquet parts, from which it resumes."""

from __future__ import annotations

import io
import json
import secrets
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bayesv.errors import BayesvError, StorageError, require
from bayesv.study.execution.pool import KILLED
from bayesv.study.results.row import COLUMNS
from bayesv.support.arguments import PATH
from bayesv.support.presence import may_exist
from bayesv.support.writing import write_file

__all__ = ["FORMAT", "Store", "arranged"]

type Key = tuple[str, int]  # scenario, replicate

FORMAT = 2
_TEXT = ("scenario", "estimator", "kind", "quantity", "method", "message")
# Python's version before the code of estimators, which is compared as that version compiles it.
_SAME = ("format", "bayesv", "versions", "seed", "scores", "estimators", "scenarios")
_ASKED = ("seed", "scores", "estimators", "scenarios")
_STUDY = b"bayesv study"  # where a file of rows says of which study it is
_NUMBERS_DEPEND_ON = ("python", "numpy", "scipy", "numba")


class Store:
    """The folder of a study.

    ``study.json`` says what was asked for. ``parts/*.parquet`` have the rows, one file for each
    chunk of replicates, whose name ends in the checksum of what is in it. A replicate is whole in a
    file; if two processes computed the same study at the same time it may be in several, alike, and
    counts once. One whose process was killed counts when nothing else is known of it, and is tried
    again when the study goes on.

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
        PATH("out", out)
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
            content = json.loads(self.manifest_path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise BayesvError(f"{self.path} holds no study: there is no study.json.") from None
        except (ValueError, OSError, RecursionError) as error:
            raise BayesvError(f"{self.manifest_path} cannot be read: {error}.") from None
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            written = content.get("format") if isinstance(content, dict) else None
            raise BayesvError(
                f"{self.manifest_path} has format {written}; this version reads {FORMAT}."
            )
        if content.pop("checksum", None) != _checksum_of(content):
            raise BayesvError(
                f"{self.manifest_path} is damaged or was changed: its checksum is another one. "
                "Take a copy of it, or run the study in another folder."
            )
        return content

    def begin(self, asked: Mapping[str, Any]) -> None:
        """Start a study here, or go on with the same one.

        Raises
        ------
        BayesvError
            If another study is here, an estimator's code was edited, or other versions computed
            what is here; the message names what differs.
        """
        manifest: dict[str, Any] = _plain(asked)
        if may_exist(self.manifest_path):
            here = self.manifest()
            for key in _SAME:
                pair = here.get(key), manifest[key]
                if key == "versions":
                    pair = _relevant(pair[0]), _relevant(pair[1])
                for where, there, now in _differences(key, *pair):
                    raise BayesvError(self._refusal(where, there, now, manifest))
            manifest["replicates"] = max(manifest["replicates"], here["replicates"])
        try:
            self.parts.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BayesvError(
                f"{self.path} cannot be the folder of a study: {error.strerror}."
            ) from error
        sealed = manifest | {"checksum": _checksum_of(manifest)}
        self._write(self.manifest_path, json.dumps(sealed, indent=2, ensure_ascii=False) + "\n")

    def done(self) -> set[Key]:
        """Return (scenario, replicate) of all replicates that need not be tried (again)."""
        columns = ["scenario", "replicate", "quantity", "message"]
        return {key for table in self._tables(columns) for key in _keys(table) - _killed(table)}

    def write(self, name: str, rows: pd.DataFrame) -> None:
        """Store the rows of a chunk in a new file; the name says where it starts."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        content = io.BytesIO()
        table = pa.Table.from_pandas(rows, preserve_index=False)
        metadata = {**(table.schema.metadata or {}), _STUDY: self._identity}
        pq.write_table(table.replace_schema_metadata(metadata), content)
        # No two processes share a file: neither can take replicates of the other away.
        unique = f"{name}-{secrets.token_hex(4)}-{_checksum(content.getbuffer())}.parquet"
        self._write(self.parts / unique, content.getbuffer())

    def read(self) -> pd.DataFrame:
        """Return all rows, in no order; texts are categories."""
        import pyarrow as pa

        tables = list(self._tables(list(COLUMNS)))
        killed = [_killed(table) for table in tables]
        seen: set[Key] = set()
        parts = []
        # What was computed comes before word of a process that died over it.
        for which in (False, True):
            for table, dead in zip(tables, killed, strict=True):
                keys = _key_list(table)
                kept = [(key in dead) is which and key not in seen for key in keys]
                parts.append(table.filter(pa.array(kept, type=pa.bool_())))
                seen.update(key for key, keep in zip(keys, kept, strict=True) if keep)
        if not seen:
            return pd.DataFrame(columns=list(COLUMNS)).astype({"replicate": int})
        rows: pd.DataFrame = pa.concat_tables(parts).unify_dictionaries().to_pandas()
        return rows

    def _tables(self, columns: list[str]) -> Iterator[Any]:
        """Yield the files as tables of Arrow, which hold each text once."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        own = self._identity
        for path in sorted(self.parts.glob("*.parquet")):
            try:
                content = path.read_bytes()
                if path.stem.rpartition("-")[2] != _checksum(content):
                    raise OSError("its checksum is another one")
                table = pq.read_table(
                    pa.BufferReader(content), columns=columns, read_dictionary=list(_TEXT)
                )
            except (OSError, pa.ArrowException) as error:
                raise BayesvError(
                    f"{path} cannot be read ({error}). Delete it and run the study again: its "
                    "replicates are computed anew."
                ) from error
            # Files of earlier versions do not say whose they are.
            if (table.schema.metadata or {}).get(_STUDY, own) != own:
                raise BayesvError(f"{path} is of another study. Take it out of this folder.")
            yield table.replace_schema_metadata()

    @cached_property
    def _identity(self) -> bytes:
        """Return what is the same whenever this study goes on, and another one in every other."""
        manifest = self.manifest()
        return _checksum_of({key: manifest.get(key) for key in _ASKED}).encode()

    def _write(self, path: Path, content: str | memoryview) -> None:
        try:
            write_file(path, content)
        except StorageError as error:
            raise BayesvError(
                f"{path} cannot be written ({_reason(error)}). What was written before is kept; "
                "with room to write, the same call goes on from there."
            ) from error

    def _refusal(self, where: str, there: Any, now: Any, manifest: Mapping[str, Any]) -> str:
        """Return why a study cannot go on here."""
        kind, _, rest = where.partition(".")
        if kind == "versions":
            return (
                f"{self.path} was computed with {rest} {there}, and this is {rest} {now}: the "
                "numbers of two versions would stand under one name. Go on with the versions of "
                f"study.json, or choose another folder."
            )
        if rest == "code":
            name = manifest["estimators"][int(kind.partition("[")[2][:-1])]["name"]
            return (
                f"{self.path} has replicates of {name!r} as it was before its code, or a value it "
                "uses, was edited. Choose another folder, or name the new one otherwise."
            )
        return (
            f"{self.path} holds another study: {where} is {_short(there)} there and {_short(now)} "
            "here. Choose another folder, or ask for the same study."
        )


def _reason(error: StorageError) -> object:
    """Return what the system said. No frame that ends here keeps its error: that is a cycle."""
    return getattr(error.__cause__, "strerror", None) or error.__cause__ or error


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
        column = rows[name]
        if isinstance(column.dtype, pd.CategoricalDtype):  # of rows that were left out, too
            column = column.cat.remove_unused_categories()
        known = scenarios if name == "scenario" else pd.unique(column)
        rows[name] = pd.Categorical(column, categories=list(known))
    return rows


def _key_list(table: Any) -> list[Key]:
    """Return (scenario, replicate) of every row of a table of Arrow."""
    return list(zip(*(table[name].to_pylist() for name in ("scenario", "replicate")), strict=True))


def _keys(table: Any) -> set[Key]:
    return set(_key_list(table))


def _killed(table: Any) -> set[Key]:
    """Return the replicates of which is only known that their process died."""
    import pyarrow.compute as pc

    failed = pc.equal(table["quantity"].cast("string"), "failed")
    return _keys(table.filter(pc.and_(failed, pc.equal(table["message"].cast("string"), KILLED))))


def _checksum(content: bytes | memoryview) -> str:
    return blake2b(content, digest_size=8).hexdigest()


def _checksum_of(manifest: Mapping[str, Any]) -> str:
    return _checksum(json.dumps(manifest, sort_keys=True).encode())


def _plain(value: Any) -> Any:
    """Return what JSON gives back."""
    return json.loads(json.dumps(value, default=_number))


def _number(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    raise BayesvError(f"A study's declaration has {value!r}, which a file cannot hold.")


def _relevant(versions: Any) -> dict[str, str]:
    """Return the versions that numbers depend on; of Python, without the last place."""
    numbers = dict(versions) if isinstance(versions, dict) else {}
    numbers["python"] = ".".join(str(numbers.get("python")).split(".")[:2])
    return {name: str(numbers.get(name)) for name in _NUMBERS_DEPEND_ON}


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
