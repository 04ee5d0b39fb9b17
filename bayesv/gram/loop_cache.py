"""Compiled loops on disk: a cache that cannot be read or written costs time, never a fit."""

from __future__ import annotations

import hashlib
import pickle
import re
import sys
from functools import cache
from pathlib import Path
from typing import Any

from numba.core.caching import FunctionCache, IndexDataCacheFile
from numba.core.serialize import dumps

from bayesv.errors import CacheWarning, warn

__all__ = ["remember"]


def remember(loop: Any) -> Any:
    """Return the loop, kept on disk once it is compiled; in memory only where that is impossible.

    Warns
    -----
    CacheWarning
        Once per process: if no directory can be written, the disk is full, or what it keeps is
        damaged.
    """
    try:
        loop._cache = _LoopCache(loop.py_func)
    except Exception as error:  # no directory that can be written
        _note(f"{type(error).__name__}: {error}")
    return loop


class _LoopCache(FunctionCache):
    """Numba's cache, whose failures are none of the caller's."""

    def __init__(self, function: Any) -> None:
        super().__init__(function)
        stamp = self._impl.locator.get_source_stamp(), _inlined(function.__module__)
        self._cache_file = _Checked(self._cache_path, self._impl.filename_base, stamp)

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Return what was compiled before; None, and a fresh start, if it is damaged."""
        try:
            return super().load_overload(sig, target_context)
        except Exception as error:  # whatever pickle makes of damaged bytes
            _note(f"{type(error).__name__}: {error}")
        try:
            self.flush()
        except OSError:
            self.disable()
        return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep what was compiled, if the disk takes it."""
        try:
            super().save_overload(sig, data)
        except Exception as error:
            self.disable()
            _note(f"{type(error).__name__}: {error}")


class _Checked(IndexDataCacheFile):
    """Files whose machine code runs only if it is what was written, for the same arguments."""

    def save(self, key: Any, data: Any) -> None:
        """Write under a key, with a digest of both."""
        content = dumps((key, data))
        super().save(key, (hashlib.sha256(content).digest(), content))

    def load(self, key: Any) -> Any:
        """Return what was written under the key, or None."""
        kept = super().load(key)
        if not (isinstance(kept, tuple) and [type(part) for part in kept] == [bytes, bytes]):
            return None  # nothing, or what a version without digests kept: it is written anew
        digest, content = kept
        if hashlib.sha256(content).digest() != digest:
            raise ValueError("its digest is another one")
        written, data = pickle.loads(content)
        if written != key:
            raise ValueError("it was compiled for other arguments")
        return data


_IMPORTED = re.compile(r"^from ([\w.]+) import ", re.MULTILINE)
_COMPILED = "from bayesv.gram.compiled import"


def _inlined(module: str) -> str:
    """Return a digest of all that the loops of a module may have taken into their machine code.

    Numba asks for changes of their own file only; loops and numbers of others are part of it, too.
    """
    seen: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            waiting += _source(name)[1]
    return hashlib.sha256("".join(_source(name)[0] for name in sorted(seen)).encode()).hexdigest()


@cache
def _source(module: str) -> tuple[str, list[str]]:
    """Return the text of a module, and what it imports of its package if it holds loops."""
    path = getattr(sys.modules.get(module), "__file__", None)
    if path is None:
        return "", []
    text = Path(path).read_text(encoding="utf-8")
    if _COMPILED not in text:
        return text, []
    package = module.partition(".")[0]
    return text, [name for name in _IMPORTED.findall(text) if name.partition(".")[0] == package]


_said: list[str] = []


def _note(reason: str) -> None:
    """Say once why loops are compiled anew."""
    if _said:
        return
    _said.append(reason)
    warn(
        f"Compiled loops cannot be kept on disk or read from it ({reason}), so this process "
        "compiles them in memory, which takes some seconds. Results are the same. To avoid it, "
        "set NUMBA_CACHE_DIR to a directory that can be written.",
        CacheWarning,
    )
