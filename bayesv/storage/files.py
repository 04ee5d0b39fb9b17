"""Trees of arrays in NetCDF and Zarr: written whole or not at all, and checked when read."""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from bayesv.arguments import FLAG, PATH, accepts
from bayesv.errors import StorageError, require
from bayesv.linalg import Array

__all__ = ["FORMAT", "GROUP", "check_target", "read", "write"]

FORMAT = 2  # raised when files of before cannot be read any more, or files of now not by before
GROUP = "bayesv"
_OWN = {"format", "kind"}  # attributes of that group
_SUFFIXES = (".nc", ".zarr")
_TOOLS = ("numpy", "scipy", "pandas", "xarray")


@accepts(path=PATH, overwrite=FLAG)
def check_target(path: str | os.PathLike[str], overwrite: bool = False) -> Path:
    """Return where a result can be written, or refuse before any work is done.

    Raises
    ------
    StorageError
        If the ending is not ``.nc`` or ``.zarr``, the folder is missing, or the file exists.
    MissingPackageError
        If zarr is needed and not installed.
    """
    path = Path(path)
    if path.suffix.lower() not in _SUFFIXES:
        raise StorageError(f"{path}: results are saved as .nc (NetCDF) or .zarr; name one of them.")
    if _is_zarr(path):
        require("zarr", "zarr")
    if not path.absolute().parent.is_dir():
        raise StorageError(f"{path}: there is no folder {path.parent}.")
    if path.exists() and not overwrite:
        raise StorageError(
            f"{path} exists already; overwrite=True (on the command line --force) replaces it."
        )
    if path.exists() and not _replaceable(path):
        what = "a folder" if path.is_dir() else "a file"
        raise StorageError(f"{path} is {what} that was not saved by bayesv; choose another name.")
    return path


def write(
    path: Path, tree: Any, kind: str, contents: str, arrays: Mapping[str, Array], overwrite: bool
) -> Path:
    """Write a tree of draws (or None) and the group ``bayesv``; the name appears when complete."""
    import xarray as xr

    check_target(path, overwrite)
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
    }
    groups = {} if tree is None else {g: tree[g].to_dataset() for g in tree.children}
    groups = {name: group.assign_attrs(_plain(group.attrs)) for name, group in groups.items()}
    attrs["digest"] = _digest(contents, arrays, groups.get("posterior"))
    groups[GROUP] = xr.Dataset({**data, "contents": ((), contents)}, attrs=attrs)
    whole = xr.DataTree.from_dict(groups)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        if _is_zarr(path):
            # Format 2 has consolidated metadata and text that every reader of Zarr knows.
            whole.to_zarr(part, mode="w", zarr_format=2)
        else:
            whole.to_netcdf(part, engine="h5netcdf")
        _put_in_place(part, path)
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {error}") from error
    finally:
        _remove(part)
    return path


def read(path: str | os.PathLike[str]) -> tuple[str, Any, str, dict[str, Array]]:
    """Return what a file holds: kind, tree of draws, contents and arrays.

    Raises
    ------
    StorageError
        If there is no such file, it is damaged, changed, of another program, or of a later format.
    """
    import xarray as xr

    path = Path(path)
    if not path.exists():
        raise StorageError(f"There is no file {path}.")
    if path.suffix.lower() not in _SUFFIXES:
        raise StorageError(f"{path}: a .nc or .zarr file saved by bayesv is needed.")
    if _is_zarr(path):
        require("zarr", "zarr")
    engine: Any = "zarr" if _is_zarr(path) else "h5netcdf"
    try:
        with xr.open_datatree(path, engine=engine) as opened:
            tree = opened.load()
    except Exception as error:  # whatever the readers of two formats raise
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise StorageError(
            f"{path} cannot be read as {'Zarr' if _is_zarr(path) else 'NetCDF'}; it is damaged or "
            f"something else ({reason})"
        ) from error
    if GROUP not in tree.children or not tree[GROUP].attrs.keys() >= _OWN:
        found = ", ".join(str(name) for name in tree.children) or "none"
        raise StorageError(
            f"{path} was not saved by bayesv (its groups: {found}). Draws of another program are "
            "read by bv.extract(arviz.from_netcdf(path), design=bv.Model(formula, data).design)."
        )
    own = tree[GROUP]
    _check_format(path, own.attrs)
    arrays = {str(k): v.to_numpy() for k, v in own.data_vars.items() if k != "contents"}
    contents = str(own["contents"].item()) if "contents" in own else ""
    kept = {
        str(name): group.to_dataset().assign_attrs(_plain(group.attrs))
        for name, group in tree.children.items()
        if name != GROUP
    }
    if own.attrs.get("digest") != _digest(contents, arrays, kept.get("posterior")):
        raise StorageError(
            f"{path} is damaged or was changed after bayesv saved it; save the result again, or "
            "use a copy of the file."
        )
    return str(own.attrs["kind"]), xr.DataTree.from_dict(kept), contents, arrays


def _digest(contents: str, arrays: Mapping[str, Array], draws: Any) -> str:
    """Return a fingerprint of all that a result is made of, whichever format holds it.

    Groups that other programs add, such as log likelihoods, leave it as it is.
    """
    drawn = {} if draws is None else {str(k): v.to_numpy() for k, v in draws.data_vars.items()}
    found = hashlib.blake2b(contents.encode(), digest_size=16)
    for part in (arrays, drawn):
        for name in sorted(part):
            values = part[name]
            found.update(f"{name} {values.shape}".encode())
            if values.dtype.kind in "biuf":
                kind = np.float64 if values.dtype.kind == "f" else np.int64
                found.update(np.ascontiguousarray(values, dtype=kind).tobytes())
            else:
                found.update("\0".join(map(str, values.ravel().tolist())).encode())
    return found.hexdigest()


def _check_format(path: Path, attrs: Mapping[Any, Any]) -> None:
    # What is no number at all comes from later than any number known here.
    if not str(found := attrs["format"]).isdigit() or int(found) > FORMAT:
        raise StorageError(
            f"{path} has format {found}, written by bayesv {attrs.get('bayesv_version', '?')}; "
            f"this is bayesv {version('bayesv')}, which reads formats up to {FORMAT}. Install that "
            "version or a later one."
        )


def _put_in_place(part: Path, path: Path) -> None:
    """Rename; an existing folder steps aside first, because it cannot be replaced at once."""
    if not path.is_dir():
        os.replace(part, path)
        return
    aside = part.with_suffix(".old")
    os.replace(path, aside)
    os.replace(part, path)
    _remove(aside)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _replaceable(path: Path) -> bool:
    """Whether what stands there is of the kind that would be written: no folder of other things."""
    if not _is_zarr(path):
        return path.is_file()
    return path.is_dir() and any((path / name).exists() for name in (".zgroup", "zarr.json"))


def _is_zarr(path: Path) -> bool:
    return path.suffix.lower() == ".zarr"


def _texts(values: Array) -> Array:
    return values.astype(str) if values.dtype == object else values


def _plain(attrs: Mapping[Any, Any]) -> dict[str, Any]:
    """Attributes that both formats hold, as plain values."""
    out: dict[str, Any] = {}
    for key, value in attrs.items():
        value = value.item() if isinstance(value, np.generic) else value
        out[str(key)] = value if isinstance(value, int | float | str | np.ndarray) else str(value)
    return {key: int(v) if isinstance(v, bool) else v for key, v in out.items()}
