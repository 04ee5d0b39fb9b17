"""Fingerprints of groups of arrays, the same in every format: any change of them shows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from hashlib import blake2b
from typing import Any

import numpy as np

__all__ = ["differing", "digest"]


def digest(groups: Mapping[str, Any]) -> str:
    """Return one fingerprint of datasets: names, dimensions, types, values, attributes.

    Parameters
    ----------
    groups : mapping of str to Dataset
        Without the attribute that holds this fingerprint.
    """
    whole = blake2b(digest_size=16)
    for place, content in sorted(_pieces(groups)):
        whole.update(_framed(place, content))
    return whole.hexdigest()


def differing(one: Mapping[str, Any], two: Mapping[str, Any]) -> list[str]:
    """Return the places, such as ``posterior/beta``, where two sets of datasets differ."""
    a, b = dict(_pieces(one)), dict(_pieces(two))
    return [place for place in sorted(a.keys() | b.keys()) if a.get(place) != b.get(place)]


def _pieces(groups: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield (place, fingerprint) of all attributes and variables, coordinates among them."""
    for group, data in groups.items():
        yield f"{group}: attributes", _of_attributes(data.attrs)
        for name, variable in data.variables.items():
            role = "coordinate" if name in data.coords else "variable"
            content = (role, *map(str, variable.dims), _of_attributes(variable.attrs))
            checksum = blake2b(_framed(*content), digest_size=16)
            _add_values(checksum, variable.to_numpy())
            yield f"{group}/{name}", checksum.hexdigest()


def _of_attributes(attrs: Mapping[Any, Any]) -> str:
    checksum = blake2b(digest_size=16)
    for name in sorted(attrs, key=str):
        checksum.update(_framed(str(name)))
        _add_values(checksum, np.atleast_1d(np.asarray(attrs[name])))
    return checksum.hexdigest()


def _add_values(checksum: Any, values: Any) -> None:
    if values.dtype.kind in "biufmM":
        values = np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("="))
        checksum.update(_framed(str(values.dtype), str(values.shape)))
        checksum.update(values.tobytes())
    else:
        checksum.update(_framed("text", str(values.shape)))
        for text in values.ravel().tolist():
            checksum.update(_framed(str(text)))


def _framed(*texts: str) -> bytes:
    """Return texts as bytes that no other texts give."""
    parts = [text.encode("utf-8", "surrogatepass") for text in texts]
    return b"".join(len(part).to_bytes(8, "little") + part for part in parts)
