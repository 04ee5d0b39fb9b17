"""Zarr folders: written as plain arrays, and looked over before they are read."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from bayesv.storage.netcdf import Source, UnreadableError, refusal

__all__ = ["open_zarr", "write_zarr"]

_PLAIN = re.compile(r"[<>|](?:[biufSU]\d{1,9}|[mM]8\[\w{1,9}\])")  # type strings of version 2
_NAMED = re.compile(r"bool|u?int(?:8|16|32|64)|float(?:16|32|64)")  # and of version 3
_TEXT = ("fixed_length_utf32", "null_terminated_bytes")
_PACKERS = {"blosc", "zlib", "gzip", "zstd", "lz4"}
_CODECS = _PACKERS | {"shuffle", "bytes", "crc32c", "transpose"}
# Bytes declared for each one stored, and beside them.
_MAX_COMPRESSION, _SPARE_BYTES = 1100, 1 << 26
_MAX_FILES, _MAX_RECORD_BYTES = 100_000, 1 << 22


def write_zarr(folder: Path, groups: Mapping[str, Any]) -> None:
    """Write datasets into a new folder: every chunk as it is, none left out."""
    import xarray as xr
    from zarr.storage import MemoryStore

    tree = xr.DataTree.from_dict(dict(groups))
    # In memory first: zarr writes from threads of its own, which go on after one of them has
    # failed, as on a full disk, and would put files into a folder that is being removed.
    files: dict[str, Any] = {}
    encoding = {
        f"/{name}": {str(key): {"compressors": None} for key in data.variables}
        for name, data in groups.items()
    }
    # Format 2 has consolidated metadata and text that every reader of Zarr knows.
    tree.to_zarr(
        MemoryStore(files), mode="w-", zarr_format=2, encoding=encoding, write_empty_chunks=True
    )
    for name, content in files.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.to_bytes())


@contextmanager
def open_zarr(folder: Path) -> Iterator[Source]:
    """Look a folder over and give what loads its groups.

    Raises
    ------
    UnreadableError
        If it has links, Python objects, unknown codecs, or more declared than it holds.
    """
    import xarray as xr
    import zarr

    sizes = _sizes(folder)
    if not any((folder / name).is_file() for name in (".zgroup", "zarr.json")):
        raise UnreadableError("it has neither .zgroup nor zarr.json at its top")
    records = [file for file in sizes if file.name in (".zarray", "zarr.json")]
    arrays = [_check_record(file, sizes) for file in records]
    for file, (declared, _) in zip(records, arrays, strict=True):
        if declared:  # one by one: of many that are opened at a time, errors are printed, too
            zarr.open_array(file.parent, mode="r")
    groups = tuple(
        entry.name
        for entry in sorted(folder.iterdir())
        if entry.is_dir() and any((entry / name).exists() for name in (".zgroup", "zarr.json"))
    )

    def load(name: str) -> Any:
        # Metadata of arrays themselves, which were looked over, not a copy at the top.
        with xr.open_dataset(
            folder, engine="zarr", group=name, consolidated=False, chunks=None
        ) as data:
            return data.load()

    size = sum(declared for declared, _ in arrays)
    yield Source(groups, load, size, any(is_packed for _, is_packed in arrays))


def _sizes(folder: Path) -> dict[Path, int]:
    """Return the files of a folder with their sizes; nothing in it may lead elsewhere."""
    sizes: dict[Path, int] = {}
    todo = [folder]
    while todo:
        with os.scandir(todo.pop()) as entries:
            for entry in entries:
                if entry.is_symlink():
                    raise refusal(f"a link ({entry.name})")
                if entry.is_dir():
                    todo.append(Path(entry.path))
                elif entry.is_file():
                    sizes[Path(entry.path)] = entry.stat().st_size
                if len(sizes) > _MAX_FILES:
                    raise refusal(f"more than {_MAX_FILES:,} files")
    return sizes


def _check_record(file: Path, sizes: Mapping[Path, int]) -> tuple[int, bool]:
    """Refuse an array that would run code as it is read, or take memory without end.

    Returns the bytes that it declares, and whether it is packed.
    """
    if sizes[file] > _MAX_RECORD_BYTES:
        raise refusal(f"metadata of more than {_MAX_RECORD_BYTES:,} bytes")
    record = json.loads(file.read_text(encoding="utf-8"))
    if file.name == "zarr.json" and record.get("node_type") == "group":
        return 0, False
    if file.name == ".zarray":
        kind, codecs, chunk = _of_version_2(record)
    else:
        kind, codecs, chunk = _of_version_3(record)
    if unknown := sorted({str(codec) for codec in codecs} - _CODECS):
        raise refusal(f"an array packed by {', '.join(unknown)} ({file.parent.name})")
    lengths = [*record["shape"], *chunk]
    if not all(type(length) is int and length >= 0 for length in lengths):
        raise refusal(f"an array of impossible shape ({file.parent.name})")
    declared = max(math.prod(record["shape"]), math.prod(chunk)) * kind.itemsize
    stored = sum(size for path, size in sizes.items() if file.parent in path.parents)
    if declared > _MAX_COMPRESSION * stored + _SPARE_BYTES:
        raise refusal(
            f"an array of {declared:,} bytes of which {stored:,} are there ({file.parent.name})"
        )
    return declared, bool(_PACKERS.intersection(codecs))


def _of_version_2(record: Any) -> tuple[np.dtype[Any], list[Any], list[Any]]:
    """Return type, codecs and shape of a chunk; a type of objects has no place here."""
    kind = record["dtype"]
    if not isinstance(kind, str) or not _PLAIN.fullmatch(kind):
        raise refusal(f"an array of Python objects or of type {str(kind)[:40]}")
    packed = [record.get("compressor"), *(record.get("filters") or [])]
    return np.dtype(kind), [codec["id"] for codec in packed if codec is not None], record["chunks"]


def _of_version_3(record: Any) -> tuple[np.dtype[Any], list[Any], list[Any]]:
    kind = record["data_type"]
    if isinstance(kind, dict) and kind.get("name") in _TEXT:
        dtype = np.dtype(f"S{int(kind['configuration']['length_bytes'])}")
    elif isinstance(kind, str) and _NAMED.fullmatch(kind):
        dtype = np.dtype(kind)
    else:
        raise refusal(f"an array of Python objects or of type {str(kind)[:40]}")
    if record.get("storage_transformers"):
        raise refusal("an array behind a storage transformer")
    codecs = [codec["name"] for codec in record["codecs"]]
    return dtype, codecs, record["chunk_grid"]["configuration"]["chunk_shape"]
