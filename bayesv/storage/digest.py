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
    for place, found in sorted(_pieces(groups)):
        whole.update(_framed(place, found))
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
            found = blake2b(_framed(*content), digest_size=16)
            _add_values(found, variable.to_numpy())
            yield f"{group}/{name}", found.hexdigest()


def _of_attributes(attrs: Mapping[Any, Any]) -> str:
    found = blake2b(digest_size=16)
    for name in sorted(attrs, key=str):
        found.update(_framed(str(name)))
        _add_values(found, np.atleast_1d(np.asarray(attrs[name])))
    return found.hexdigest()


def _add_values(found: Any, values: Any) -> None:
    if values.dtype.kind in "biufmM":
        values = np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("="))
        found.update(_framed(str(values.dtype), str(values.shape)))
        found.update(values.tobytes())
    else:
        found.update(_framed("text", str(values.shape)))
        for text in values.ravel().tolist():
            found.update(_framed(str(text)))


def _framed(*texts: str) -> bytes:
    """Return texts as bytes that no other texts give."""
    parts = [text.encode("utf-8", "surrogatepass") for text in texts]
    return b"".join(len(part).to_bytes(8, "little") + part for part in parts)
