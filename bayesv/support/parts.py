"""New files and folders beside what they will replace: locked while filled, and never left over."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import Self

__all__ = ["Part", "new_file", "new_folder"]

_NAME_BYTES = 180  # of a name to which the rest of a part's name can be put


class Part:
    """A new file or folder beside a target, open and locked while it is filled, and then gone.

    A class, as `bayesv.support.writing.Refusing` is one, and for the same reason. ``handle`` is -1
    where a folder cannot be opened.
    """

    def __init__(self, target: Path, new: Callable[[Path, Path], int]) -> None:
        self.target, self.new = target, new
        self.path, self.handle = target, -1

    def __enter__(self) -> Self:
        prefix = _prefix(self.target)
        _remove_stale(self.target.parent, prefix)
        while True:
            self.path = self.target.with_name(f"{prefix}{secrets.token_hex(8)}.part")
            try:
                self.handle = self.new(self.path, self.target)
            except FileNotFoundError:  # a folder is there before it is open, and can go between
                if not self.target.parent.is_dir():
                    raise
                continue
            # Another process may have taken it for stale before it was locked, and removed it.
            if self.handle == -1 or (_locked(self.handle) is not False and self._is_here()):
                return self
            self._end()

    def __exit__(self, *_: object) -> None:
        self._end()

    def ready_to_move(self) -> None:
        """Let go of it where what is open cannot be renamed."""
        if os.name == "nt":
            self._close()

    def _end(self) -> None:
        _remove(self.path)
        self._close()

    def _close(self) -> None:
        handle, self.handle = self.handle, -1
        if handle != -1:
            with suppress(OSError):
                os.close(handle)

    def _is_here(self) -> bool:
        try:
            return os.path.samestat(os.lstat(self.path), os.fstat(self.handle))
        except FileNotFoundError:
            return False


def _prefix(target: Path) -> str:
    """Return how names of the parts of a target begin."""
    name = target.name
    if len(os.fsencode(name)) > _NAME_BYTES:
        name = blake2b(os.fsencode(name), digest_size=16).hexdigest()
    return f".{name}."


def new_file(part: Path, target: Path) -> int:
    """Make a file and return its handle."""
    # Never through a link that someone has planted, nor into a file of someone else.
    flags = os.O_CREAT | os.O_EXCL | os.O_RDWR
    for name in ("O_NOFOLLOW", "O_CLOEXEC", "O_BINARY"):
        flags |= getattr(os, name, 0)
    # Readable by nobody else until it has owner, group and mode of the old one.
    return os.open(part, flags, 0o600 if target.exists() else 0o666)


def new_folder(part: Path, _: Path) -> int:
    """Make a folder and return its handle; -1 where none can be had."""
    os.mkdir(part, 0o700)
    if os.name == "nt":
        return -1
    try:
        return os.open(part, os.O_RDONLY)
    except OSError:
        with suppress(OSError):
            os.rmdir(part)
        raise


def _remove_stale(folder: Path, prefix: str) -> None:
    """Remove parts that nobody writes any more: their process has let go of the lock."""
    with suppress(OSError), os.scandir(folder) as entries:
        names = [e.name for e in entries if _is_part(e.name, prefix)]
        for part in (folder / name for name in names):
            with suppress(OSError):
                handle = os.open(part, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
                try:
                    if _locked(handle):
                        _remove(part)
                finally:
                    os.close(handle)


def _is_part(name: str, prefix: str) -> bool:
    token = name.removeprefix(prefix).removesuffix(".part")
    return (
        name == f"{prefix}{token}.part"
        and len(token) == 16
        and set(token) <= set("0123456789abcdef")
    )


def _locked(handle: int) -> bool | None:
    """Lock a part; False if another process has, None if that cannot be known here."""
    try:
        import fcntl
    except ImportError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return None
    return True


def _remove(path: Path) -> None:
    """Remove a part; the error that made it useless is the one to be seen."""
    with suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
