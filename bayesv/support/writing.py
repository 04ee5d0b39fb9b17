"""Files appear under their name when they are complete, and what stood there is kept until then."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from bayesv.errors import StorageError
from bayesv.support.arguments import PATH
from bayesv.support.parts import Part, new_file, new_folder
from bayesv.support.swapping import swap_names

__all__ = ["Refusing", "check_writable", "is_stream", "write_file", "write_folder"]

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
        with Part(target, new_file) as part:
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


def write_folder(
    path: str | os.PathLike[str], fill: Callable[[Path], object], *, overwrite: bool = True
) -> Path:
    """Write a folder whole or not at all; one that has the name is replaced in one step.

    Parameters
    ----------
    path : str or path
    fill : callable
        Is given the name of a folder that is not there, to make it and put everything in.
    overwrite : bool
        Whether a folder that has the name when all is written is replaced.

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
        with Part(target, new_folder) as part:
            whole = part.path / target.name
            fill(whole)
            for folder, _, files in os.walk(whole):
                for file in files:
                    _flush(Path(folder, file))
            _move_folder(whole, target, overwrite)
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


def _move_folder(whole: Path, target: Path, overwrite: bool) -> None:
    """Rename a folder, or swap it with the one of this name, which may appear meanwhile."""
    if not (overwrite and target.exists()):
        try:
            os.rename(whole, target)  # refuses a name that is taken by a folder of something
            return
        except OSError:
            if not target.exists():
                raise
            if not overwrite:
                raise FileExistsError(f"{target} exists already") from None
    _take_over_rights(target, whole)
    swap_names(whole, target)  # the old folder is in the part now, and goes with it


def _try_swap(target: Path) -> None:
    """Raise the error of `swap_names` for folders that stand where a target does."""
    with Part(target, new_folder) as one, Part(target, new_folder) as two:
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
