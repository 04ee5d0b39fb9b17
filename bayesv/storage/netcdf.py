"""NetCDF files: written in memory and sealed at their end, and looked over before reading."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, BinaryIO

from bayesv.errors import StorageError

__all__ = ["Source", "UnreadableError", "is_sealed", "netcdf_file", "open_netcdf", "refusal"]

_SEAL = b"\nbayesv blake2b-128 "  # what follows HDF5's own end, which its readers pass over
_SEAL_DIGITS = 32
_FILTERS = {1, 2, 3}  # deflate, shuffle, Fletcher's checksum: in every HDF5, and no plug-in
_NO_VARIABLE = b"This is a netCDF dimension but not a netCDF variable"
_MAX_COMPRESSION = 1100  # deflate packs 1032 bytes into one at most
_SPARE_BYTES = 1 << 16
_MAX_ATTRIBUTE_BYTES = 1 << 20  # bytes
_MAX_OBJECTS, _MAX_DEPTH = 1_000, 8  # posteriors have a few dozen


@dataclass(frozen=True)
class Source:
    """A file that was looked over.

    Attributes
    ----------
    groups : tuple of str
        Names of its groups.
    load : callable
        Returns the Dataset of a group, in memory.
    size : int
        Bytes that its arrays declare.
    is_packed : bool
        Whether some of them are stored in fewer bytes, which may become any number.
    """

    groups: tuple[str, ...]
    load: Callable[[str], Any]
    size: int
    is_packed: bool


class UnreadableError(StorageError):
    """What a file has that is not read; the message goes on after the file's name."""


def netcdf_file(groups: Mapping[str, Any]) -> io.BytesIO:
    """Return datasets as a NetCDF 4 file; a seal after its end says whether a bit has changed."""
    import xarray as xr

    # HDF5 can end the process if it writes to a disk that is full: it writes to memory.
    file = io.BytesIO()
    xr.DataTree.from_dict(dict(groups)).to_netcdf(file, engine="h5netcdf")
    checksum = blake2b(file.getbuffer(), digest_size=16)
    file.seek(0, os.SEEK_END)
    file.write(_SEAL + checksum.hexdigest().encode() + b"\n")
    return file


@contextmanager
def open_netcdf(file: BinaryIO) -> Iterator[Source]:
    """Look a file over and give what loads its groups.

    Raises
    ------
    UnreadableError
        If its seal is broken, or it has links, parts in other files, filters of plug-ins, objects,
        or more declared than it holds.

    Notes
    -----
    A seal is checked before HDF5 sees the file. Files that other programs wrote again have none,
    and HDF5 may not survive them.
    """
    import h5py
    import xarray as xr

    is_sealed(file)
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    with h5py.File(file, "r") as opened:
        declared, is_packed = _check_objects(opened, size)
        groups = tuple(name for name in opened if isinstance(opened[name], h5py.Group))

    def load(name: str) -> Any:
        file.seek(0)
        with xr.open_dataset(file, engine="h5netcdf", group=name) as data:
            return data.load()

    yield Source(groups, load, declared, is_packed)


def refusal(what: str) -> UnreadableError:
    """Return the error of a file that is not read because of what it has."""
    return UnreadableError(
        f"it has {what}, which no file that bayesv saves has, and which is not read"
    )


def is_sealed(file: BinaryIO) -> bool:
    """Return whether a file ends in a seal; refuse it if the seal is broken."""
    size, length = file.seek(0, os.SEEK_END), len(_SEAL) + _SEAL_DIGITS + 1
    if size < length:
        return False
    file.seek(size - length)
    seal = file.read(length)
    if not seal.startswith(_SEAL):
        return False
    checksum, left = blake2b(digest_size=16), size - length
    file.seek(0)
    while left > 0 and (piece := file.read(min(left, 1 << 24))):
        checksum.update(piece)
        left -= len(piece)
    if seal[len(_SEAL) :] != checksum.hexdigest().encode() + b"\n":
        raise UnreadableError("its checksum is another one: it is damaged")
    return True


def _check_objects(opened: Any, size: int) -> tuple[int, bool]:
    """Refuse what could read other files, run plug-ins, or ask for memory without end.

    Returns the bytes that all arrays declare, and whether any is packed.
    """
    import h5py

    seen: set[Any] = set()
    stored, total, is_packed = 0, 0, False
    todo = [(opened["/"], 0)]
    while todo:
        group, depth = todo.pop()
        _check_attributes(group)
        for name in group:
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise refusal(f"a link ({name})")
            entry = group[name]
            info = h5py.h5o.get_info(entry.id)
            if (place := (info.fileno, info.addr)) in seen:
                raise refusal(f"two names for one object ({name})")
            seen.add(place)
            if len(seen) > _MAX_OBJECTS or depth > _MAX_DEPTH:
                raise refusal(
                    f"more than {_MAX_OBJECTS} objects, or groups deeper than {_MAX_DEPTH}"
                )
            if isinstance(entry, h5py.Group):
                todo.append((entry, depth + 1))
            elif isinstance(entry, h5py.Dataset):
                _check_attributes(entry)
                there, declared = _check_dataset(entry)
                stored, total = stored + there, total + declared
                is_packed |= entry.id.get_create_plist().get_nfilters() > 0
    if stored > size:
        raise refusal("arrays that are larger than the file")
    return total, is_packed


def _check_dataset(entry: Any) -> tuple[int, int]:
    """Refuse an array that is elsewhere or larger than what is stored.

    Returns the bytes that are stored and those that are declared.
    """
    import h5py

    made = entry.id.get_create_plist()
    if made.get_external_count() or made.get_layout() == h5py.h5d.VIRTUAL:
        raise refusal(f"an array that is in another file ({entry.name})")
    for i in range(made.get_nfilters()):
        if (number := made.get_filter(i)[0]) not in _FILTERS:
            raise refusal(f"an array packed by filter {number} ({entry.name})")
    stored = int(entry.id.get_storage_size())
    chunk = 1
    if made.get_layout() == h5py.h5d.CHUNKED:
        for length in made.get_chunk():
            chunk *= length
    declared = max(int(entry.id.get_space().get_simple_extent_npoints()), chunk)
    declared *= int(entry.id.get_type().get_size())
    # Dimensions without labels are arrays of which nothing is stored, and which nothing reads.
    is_bare_dimension = stored == 0 and (
        entry.attrs.get("CLASS") == b"DIMENSION_SCALE"
        and bytes(entry.attrs.get("NAME", b"")).startswith(_NO_VARIABLE)
    )
    if declared > _MAX_COMPRESSION * stored + _SPARE_BYTES and not is_bare_dimension:
        raise refusal(
            f"an array of {declared:,} bytes of which {stored:,} are there ({entry.name})"
        )
    return stored, 0 if is_bare_dimension else declared


def _check_attributes(entry: Any) -> None:
    import h5py

    for i in range(h5py.h5a.get_num_attrs(entry.id)):
        attribute = h5py.h5a.open(entry.id, index=i)
        if attribute.get_storage_size() > _MAX_ATTRIBUTE_BYTES:
            raise refusal(
                f"an attribute of more than {_MAX_ATTRIBUTE_BYTES:,} bytes ({entry.name})"
            )
