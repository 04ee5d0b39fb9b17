"""Trees of arrays in NetCDF and Zarr: written whole or not at all, and checked when read."""

from __future__ import annotations

import io
import json
import os
import platform
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from bayesv.errors import BayesvError, StorageError, require
from bayesv.linalg import Array
from bayesv.storage.apart import read_apart
from bayesv.storage.digest import differing, digest
from bayesv.storage.netcdf import Source, UnreadableError, is_sealed, netcdf_file, open_netcdf
from bayesv.storage.text import is_storable
from bayesv.storage.zarr_folder import open_zarr, write_zarr
from bayesv.support.arguments import FLAG, PATH, accepts
from bayesv.support.memory import refuse_unless
from bayesv.support.presence import may_exist
from bayesv.support.writing import Refusing, check_writable, is_stream, write_file, write_folder
from bayesv.support.xarray import loaded

__all__ = ["FORMAT", "GROUP", "check_target", "groups_of", "read", "write"]

FORMAT = 4  # raised when files of now cannot be read by versions of before
_OLDEST = 3  # that is read
GROUP = "bayesv"
_OWN = {"format", "kind"}  # attributes of that group
_SUFFIXES = (".nc", ".zarr")
_COPIES = 2  # of all arrays, as they are read
_TOOLS = ("numpy", "scipy", "pandas", "xarray")


@accepts(path=PATH, overwrite=FLAG)
def check_target(path: str | os.PathLike[str], overwrite: bool = False) -> Path:
    """Return where a result can be written, or refuse before any work is done.

    Raises
    ------
    StorageError
        If the ending is not ``.nc`` or ``.zarr``, the folder is missing or may not be written to,
        the file exists, or the disk cannot replace an existing ``.zarr`` in one step.
    MissingPackageError
        If zarr is needed and not installed.
    """
    path = Path(path)
    if path.suffix.lower() not in _SUFFIXES:
        raise StorageError(f"{path}: results are saved as .nc (NetCDF) or .zarr; name one of them.")
    if _is_zarr(path):
        require("zarr", "zarr")
    with Refusing(path):
        if not path.absolute().parent.is_dir():
            raise StorageError(f"{path}: there is no folder {path.parent}.")
        if path.exists() and not overwrite:
            raise StorageError(
                f"{path} exists already; overwrite=True (on the command line --force) replaces it."
            )
        if path.exists() and not _replaceable(path):
            what = "a folder" if path.is_dir() else "something"
            raise StorageError(
                f"{path} is {what} that was not saved by bayesv; choose another name."
            )
    check_writable(path)
    return path


def write(
    path: Path, tree: Any, kind: str, contents: str, arrays: Mapping[str, Array], overwrite: bool
) -> Path:
    """Write a tree of draws (or None) and the group ``bayesv``; the name appears when complete."""
    import xarray as xr

    check_target(path, overwrite)
    groups = {} if tree is None else {g: _writable(g, tree[g]) for g in tree.children}
    data: dict[str, Any] = {
        name: (tuple(f"{name}_{axis}" for axis in range(values.ndim)), _texts(values))
        for name, values in arrays.items()
    }
    attrs = {
        "format": FORMAT,
        "kind": kind,
        "bayesv_version": version("bayesv"),
        "versions": ", ".join(
            [f"python {platform.python_version()}", *(f"{t} {version(t)}" for t in _TOOLS)]
        ),
        "groups": json.dumps(sorted(groups)),
    }
    groups[GROUP] = xr.Dataset({**data, "contents": ((), contents)}, attrs=attrs)
    sealed = groups | {GROUP: groups[GROUP].assign_attrs(digest=digest(groups))}
    if _is_zarr(path):

        def fill(folder: Path) -> None:
            write_zarr(folder, sealed)
            _check_same(path, folder, groups)

        return write_folder(path, fill, overwrite=overwrite)
    file = netcdf_file(sealed)
    _check_same(path, file, groups)
    return write_file(path, file.getbuffer(), overwrite=overwrite)


def read(
    path: str | os.PathLike[str], kinds: Collection[str]
) -> tuple[str, Any, str, dict[str, Array]]:
    """Return what a file holds: kind, tree of draws, contents and arrays.

    Groups that other programs have added, such as log likelihoods, are left where they are: nothing
    says that they are whole.

    Raises
    ------
    StorageError
        If there is no such file, it is damaged, changed, of another program, of another format, or
        holds none of the ``kinds``.
    """
    import xarray as xr

    path = Path(path)
    if not may_exist(path):
        raise StorageError(f"There is no file {path}.")
    if path.suffix.lower() not in _SUFFIXES:
        raise StorageError(f"{path}: a .nc or .zarr file saved by bayesv is needed.")
    if _is_zarr(path):
        require("zarr", "zarr")
    groups = _loaded(path, kinds)
    contents = groups.pop(GROUP)
    arrays = {str(k): v.to_numpy() for k, v in contents.data_vars.items() if k != "contents"}
    tree = xr.DataTree.from_dict(groups)
    return str(contents.attrs["kind"]), tree, str(contents["contents"].item()), arrays


def _loaded(path: Path, kinds: Collection[str]) -> dict[str, Any]:
    """Return all groups whose values are those that were saved."""
    read_before = not _is_zarr(path) and not _has_seal(path)
    if read_before:
        read_apart(path, kinds)

    def check(size: int, is_packed: bool) -> None:
        refuse_unless(
            _COPIES * size, f"Reading {path}", "Read it on a machine that has more memory."
        )
        if is_packed and not read_before:
            read_apart(path, kinds)

    with _readable(path):
        groups = groups_of(path, kinds, check)
        contents = groups[GROUP]
        expected = contents.attrs.pop("digest", None)
        # Of another program it may be an array.
        same = "contents" in contents and str(expected) == digest(groups)
    if not same:
        raise StorageError(
            f"{path} is damaged or was changed after bayesv saved it; save the result again, or "
            "use a copy of the file."
        )
    return groups


def _has_seal(path: Path) -> bool:
    with _readable(path):
        if is_stream(path):
            raise StorageError(f"{path} is a stream; results are read from files.")
        with path.open("rb") as file:
            sealed = is_sealed(file)
    return sealed


def groups_of(
    path: Path, kinds: Collection[str], check: Callable[[int, bool], object]
) -> dict[str, Any]:
    """Return the groups that a file says it was saved with.

    Parameters
    ----------
    path : Path
    kinds : collection of str
        One of which must be what the file holds.
    check : callable
        Is told, before arrays are read, the bytes that they declare, and whether any is packed.

    Raises
    ------
    StorageError
        If it cannot be read or was not saved by bayesv.
    """
    with _readable(path), _opened(path) as source:
        if GROUP not in source.groups:
            raise StorageError(_foreign(path, source.groups))
        check(source.size, source.is_packed)
        contents = _plain(loaded(source.load, GROUP))
        if not contents.attrs.keys() >= _OWN:
            raise StorageError(_foreign(path, source.groups))
        _check_format(path, contents.attrs)
        if (kind := contents.attrs["kind"]) not in kinds:
            raise StorageError(
                f"{path} holds a {kind}; this version of bayesv reads {', '.join(kinds)}."
            )
        names = json.loads(contents.attrs["groups"])
        groups = {
            name: _plain(loaded(source.load, name)) for name in names if name in source.groups
        }
        groups[GROUP] = contents
    return groups


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Say of every error of two formats' readers that the file cannot be read."""
    try:
        yield
    except UnreadableError as error:
        raise StorageError(f"{path} cannot be read as {_format_name(path)}: {error}.") from error
    except BayesvError:
        raise
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise StorageError(
            f"{path} cannot be read as {_format_name(path)}; it is damaged or something else "
            f"({reason})"
        ) from error


@contextmanager
def _opened(place: Path | io.BytesIO) -> Iterator[Source]:
    if isinstance(place, io.BytesIO):
        with open_netcdf(place) as source:
            yield source
    elif _is_zarr(place):
        with open_zarr(place) as source:
            yield source
    elif is_stream(place):
        raise StorageError(f"{place} is a stream; results are read from files.")
    else:
        with place.open("rb") as file, open_netcdf(file) as source:
            yield source


def _check_same(path: Path, place: Path | io.BytesIO, groups: Mapping[str, Any]) -> None:
    """Read what was written, before it takes its name."""
    with _opened(place) as source:
        back = {name: _plain(loaded(source.load, name)) for name in groups}
    del back[GROUP].attrs["digest"]
    if changed := differing(groups, back):
        raise StorageError(
            f"{path} cannot hold {', '.join(changed[:5])} as it is in the result; change its "
            "labels or attributes to text, numbers or times."
        )


def _foreign(path: Path, groups: Collection[str]) -> str:
    return (
        f"{path} was not saved by bayesv (its groups: {', '.join(groups) or 'none'}). Draws of "
        "another program are read by bv.extract(arviz.from_netcdf(path), "
        "design=bv.Model(formula, data).design)."
    )


def _check_format(path: Path, attrs: Mapping[Any, Any]) -> None:
    # What is no number at all comes from later than any number known here.
    number, program = attrs["format"], attrs.get("bayesv_version", "?")
    if not str(number).isdigit() or int(number) > FORMAT:
        raise StorageError(
            f"{path} has format {number}, written by bayesv {program}; this is bayesv "
            f"{version('bayesv')}, which reads formats up to {FORMAT}. Install that version or a "
            "later one."
        )
    if int(number) < _OLDEST:
        raise StorageError(
            f"{path} has format {number}, written by bayesv {program}; this is bayesv "
            f"{version('bayesv')}, which reads formats from {_OLDEST} on. Make the fit again, or "
            "read it with that version."
        )


def _replaceable(path: Path) -> bool:
    """Whether what stands there is of the kind that would be written: no folder of other things."""
    if not _is_zarr(path):
        return path.is_file()
    return path.is_dir() and any((path / name).exists() for name in (".zgroup", "zarr.json"))


def _is_zarr(path: Path) -> bool:
    return path.suffix.lower() == ".zarr"


def _format_name(path: Path) -> str:
    return "Zarr" if _is_zarr(path) else "NetCDF"


def _texts(values: Array) -> Array:
    return values.astype(str) if values.dtype == object else values


def _writable(name: str, node: Any) -> Any:
    """Return a group of draws with plain attributes; refuse text that no format holds."""
    data = _plain(node.to_dataset())
    for key, variable in data.variables.items():
        if variable.dtype.kind in "OUT":
            for text in map(str, variable.values.ravel().tolist()):
                if not is_storable(text):
                    raise StorageError(
                        f"{name}/{key} has the text {text!r}, which no file format holds; name "
                        "that level or coefficient without it."
                    )
    return data


def _plain(data: Any) -> Any:
    """Return a dataset whose attributes are plain values that both formats hold."""
    data = data.copy()
    data.attrs = _plain_values(data.attrs)
    for variable in data.variables.values():
        variable.attrs = _plain_values(variable.attrs)
    return data


def _plain_values(attrs: Mapping[Any, Any]) -> dict[str, Any]:
    return {str(key): _plain_value(value) for key, value in attrs.items()}


def _plain_value(value: Any) -> int | float | str | Array:
    """Return a number, a text, or an array of numbers of a type that both formats keep."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, list | tuple | np.ndarray):
        values = np.asarray(value)
        kinds = {"b": np.int64, "i": np.int64, "u": np.int64, "f": np.float64}
        return values.astype(kinds[kind]) if (kind := values.dtype.kind) in kinds else str(value)
    if isinstance(value, bool):
        return int(value)
    return value if isinstance(value, int | float | str) else str(value)
