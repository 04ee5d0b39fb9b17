"""How much text a file has, packed or not, before any of it is kept."""

from __future__ import annotations

import gzip
from pathlib import Path

from bayesv.support import memory

__all__ = ["refuse_large_text"]

_PIECE = 1 << 20  # bytes


def refuse_large_text(path: Path, bytes_each: float) -> None:
    """Refuse a table of text that would need more memory than there is.

    A few bytes of a ``.gz`` can unpack to any number: they are counted, piece by piece, until it
    is too many.

    Parameters
    ----------
    path : Path
        A file; packed if it ends in ``.gz``.
    bytes_each : float
        Of memory that a character takes.

    Raises
    ------
    MemoryNeededError
    OSError, EOFError, zlib.error
        If it cannot be unpacked.
    """
    there = memory.available()
    if not path.is_file():  # a pipe says its size to whoever empties it
        return
    size = path.stat().st_size
    if path.name.lower().endswith(".gz"):
        size = _unpacked(path, None if there is None else there / bytes_each)
    memory.refuse_unless(
        bytes_each * size,
        f"Reading {path}, {size:,} bytes of text or more,",
        "Read a part of it, or the columns that are needed.",
    )


def _unpacked(path: Path, most: float | None) -> int:
    """Return the bytes that a packed file has, or the first count above ``most``."""
    size = 0
    with gzip.open(path) as file:
        while piece := file.read(_PIECE):
            size += len(piece)
            if most is not None and size > most:
                break
    return size
