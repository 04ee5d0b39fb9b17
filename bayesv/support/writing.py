"""Files appear under their name when they are complete, and what stood there is kept until then."""

from __future__ import annotations

import os
import secrets
import shutil
import stat
from collections.abc import Callable
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import Any, BinaryIO, Self

from bayesv.errors import StorageError
from bayesv.support.arguments import PATH
from bayesv.support.swapping import swap_names

__all__ = ["Refusing", "check_writable", "is_stream", "write_file", "write_folder"]

_NAME_BYTES = 180  # of a name to which the rest of a part's name can be put
_MODE_BITS = 0o777


def write_file(
    path: str | os.PathLike[str],
    content: bytes | memoryview | str | Callable[[BinaryIO], object],
    *,
    overwrite: bool = True,
) -> Path:
    """Write a file whole or not at all.

    Parameters
    ----------
    path : str or path
        A link is followed, and stays a link. Devices, pipes and the process's own streams are
        written to as they are.
    content : bytes, str or callable
        Text is written as UTF-8; a callable is given the open file.
    overwrite : bool
        Whether a file that has the name when all is written is replaced.

    Returns
    -------
    Path
        As given.

    Raises
    ------
    StorageError
        If it cannot be written, such as on a full disk; what had the name before is untouched then.

    Notes
    -----
    All is written to a new file beside (``.name.<random>.part``), which takes the name, mode and,
    where that is allowed, owner of the old one when it is on the disk. Parts that killed processes
    left are removed when the same name is written again; a part in use is locked.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = write_file(f"{folder}/a.txt", "one")
    ...     _ = write_file(path, "two")
    ...     [p.name for p in Path(folder).iterdir()], path.read_text()
    (['a.txt'], 'two')
    """
    PATH("path", path)
    name = Path(path)
    if isinstance(content, str):
        content = content.encode()
    if is_stream(name):
        _write_stream(name, content)
        return name
    with Refusing(name):
        target = _resolved(name)
        with _Part(target, _new_file) as part:
            with open(part.handle, "wb", closefd=False) as file:
                _fill(file, content)
            _take_over_rights(target, part.handle)
            os.fsync(part.handle)
            part.ready_to_move()
            if overwrite:
                os.replace(part.path, target)
            else:
                _move_to_free_name(part.path, target)
        _flush_folder(target.parent)
    return name


def write_folder(path: str | os.PathLike[str], fill: Callable[[Path], object]) -> Path:
    """Write a folder whole or not at all; one that has the name is replaced in one step.

    Parameters
    ----------
    path : str or path
    fill : callable
        Is given the name of a folder that is not there, to make it and put everything in.

    Returns
    -------
    Path
        As given.

    Raises
    ------
    StorageError
        If it cannot be written; what had the name before is untouched then.
    """
    PATH("path", path)
    name = Path(path)
    with Refusing(name):
        target = _resolved(name)
        with _Part(target, _new_folder) as part:
            whole = part.path / target.name
            fill(whole)
            for folder, _, files in os.walk(whole):
                for file in files:
                    _flush(Path(folder, file))
            if target.exists():
                _take_over_rights(target, whole)
                swap_names(whole, target)  # the old folder is in the part now, and goes with it
            else:
                os.rename(whole, target)
        _flush_folder(target.parent)
    return name


def check_writable(path: str | os.PathLike[str]) -> None:
    """Refuse a name that could not be written, before any work is done.

    Raises
    ------
    StorageError
        If its folder is missing or may not be written to, or what has the name is read-only; and
        for a folder, if the disk cannot replace it in one step.
    """
    PATH("path", path)
    name = Path(path)
    with Refusing(name):
        if is_stream(name):
            return
        target = _resolved(name)
        folder = target.absolute().parent
        if not folder.is_dir():
            raise StorageError(f"{name}: there is no folder {folder}.")
        if not os.access(folder, os.W_OK | os.X_OK):
            raise StorageError(
                f"{name}: the folder {folder} may not be written to; choose another one."
            )
        if target.exists() and not os.access(target, os.W_OK):
            raise StorageError(f"{name} may not be written; choose another name.")
        if target.is_dir():
            _try_swap(target)


def is_stream(path: Path) -> bool:
    """Whether a name stands for a device, a pipe, or a stream that this process has open."""
    try:
        status = path.stat()
    except OSError:
        return False
    if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
        return True
    for number in (1, 2):
        with suppress(OSError):
            if os.path.samestat(status, os.fstat(number)):
                return True
    return False


def _write_stream(path: Path, content: bytes | memoryview | Callable[[BinaryIO], object]) -> None:
    try:
        with path.open("wb") as stream:
            _fill(stream, content)
    except BrokenPipeError:  # its reader has seen enough
        raise
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {error.strerror or error}.") from error


def _fill(file: Any, content: bytes | memoryview | Callable[[BinaryIO], object]) -> None:
    if callable(content):
        content(file)
    else:
        file.write(content)


def _resolved(path: Path) -> Path:
    """Return what a name leads to, itself no link."""
    target = Path(os.path.realpath(path))
    if target.is_symlink():
        raise OSError(f"{path} is a link that leads in a circle")
    if target.exists() and not os.access(target, os.W_OK):
        raise PermissionError(f"{target} is read-only")
    return target


class _Part:
    """A new file or folder beside a target, open and locked while it is filled, and then gone.

    A class, as `Refusing` is one, and for the same reason. ``handle`` is -1 where a folder cannot
    be opened.
    """

    def __init__(self, target: Path, new: Callable[[Path, Path], int]) -> None:
        self.target, self.new = target, new
        self.path, self.handle = target, -1

    def __enter__(self) -> Self:
        prefix = _prefix(self.target)
        _remove_stale(self.target.parent, prefix)
        while True:
            self.path = self.target.with_name(f"{prefix}{secrets.token_hex(8)}.part")
            self.handle = self.new(self.path, self.target)
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


class Refusing:
    """Say that a name cannot be written, where the system does.

    A class: an error that leaves two generators, one in the other, ends CPython 3.12.1 with a
    segmentation fault when garbage is collected.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, OSError):
            raise StorageError(
                f"{self.path} cannot be written: {error.strerror or error}. What had this name "
                "before is as it was."
            ) from error


def _prefix(target: Path) -> str:
    """Return how names of the parts of a target begin."""
    name = target.name
    if len(os.fsencode(name)) > _NAME_BYTES:
        name = blake2b(os.fsencode(name), digest_size=16).hexdigest()
    return f".{name}."


def _new_file(part: Path, target: Path) -> int:
    # Never through a link that someone has planted, nor into a file of someone else.
    flags = os.O_CREAT | os.O_EXCL | os.O_RDWR
    for name in ("O_NOFOLLOW", "O_CLOEXEC", "O_BINARY"):
        flags |= getattr(os, name, 0)
    # Readable by nobody else until it has owner, group and mode of the old one.
    return os.open(part, flags, 0o600 if target.exists() else 0o666)


def _new_folder(part: Path, _: Path) -> int:
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


def _take_over_rights(target: Path, part: int | Path) -> None:
    """Give a part mode, owner and group of the file of this name; never more readers than that."""
    try:
        old = os.stat(target)
    except FileNotFoundError:
        return
    if os.name != "posix":
        return
    with suppress(OSError):  # only the superuser may give files away
        os.chown(part, old.st_uid, old.st_gid)
    with suppress(OSError):  # the owner may, to groups of his own
        os.chown(part, -1, old.st_gid)
    mode, now = stat.S_IMODE(old.st_mode) & _MODE_BITS, os.stat(part)
    if now.st_gid != old.st_gid:  # a group of others may no more than anybody
        mode &= ~stat.S_IRWXG | (mode & stat.S_IRWXO) << 3
    if mode != stat.S_IMODE(now.st_mode):  # disks without modes take none
        os.chmod(part, mode)


def _move_to_free_name(part: Path, target: Path) -> None:
    """Rename, unless the name has been taken meanwhile."""
    try:
        os.link(part, target)  # refuses a name that is taken, as renaming does not
    except FileExistsError:
        raise
    except OSError:  # a file system without links
        if target.exists():
            raise FileExistsError(f"{target} exists already") from None
        os.replace(part, target)


def _try_swap(target: Path) -> None:
    """Raise the error of `swap_names` for folders that stand where a target does."""
    with _Part(target, _new_folder) as one, _Part(target, _new_folder) as two:
        swap_names(one.path, two.path)


def _flush(path: Path) -> None:
    """Have the disk take what was written."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _flush_folder(folder: Path) -> None:
    with suppress(OSError):  # some systems cannot, and the file itself is safe
        _flush(folder)


def _remove(path: Path) -> None:
    """Remove a part; the error that made it useless is the one to be seen."""
    with suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
