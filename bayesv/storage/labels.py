"""Row labels as plain values: every common kind of pandas index comes back with its type."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from bayesv.errors import StorageError

__all__ = ["index_from", "index_parts"]


def index_parts(index: pd.Index) -> dict[str, Any]:
    """Return what an index is made of: plain values, arrays and other indexes.

    Raises
    ------
    StorageError
        If its labels cannot be represented, such as dates as Python objects.
    """
    parts = _parts(index)
    if parts is None or not _same(index_from(parts), index):
        raise StorageError(
            f"Labels of type {index.dtype} ({type(index).__name__}) cannot be saved. Use text, "
            "numbers or times, such as data.index = data.index.astype(str) before the fit."
        )
    return parts


def index_from(parts: dict[str, Any]) -> pd.Index:
    """Return the index of `index_parts`."""
    kind, name = parts["kind"], parts.get("name")
    if kind == "range":
        return pd.RangeIndex(*parts["bounds"], name=name)
    if kind == "multi":
        return pd.MultiIndex(parts["levels"], parts["codes"], names=parts["names"])
    if kind == "categorical":
        values = pd.Categorical.from_codes(
            parts["codes"], categories=parts["categories"], ordered=parts["ordered"]
        )
        return pd.CategoricalIndex(values, name=name)
    if kind == "time":
        times = pd.Index(np.asarray(parts["ticks"]).view(parts["unit"]), name=name)
        if parts["zone"] is not None:
            times = times.tz_localize("UTC").tz_convert(parts["zone"])
        times.freq = parts["freq"]
        return times
    return pd.Index(parts["values"], dtype=parts["dtype"], name=name)


def _parts(index: pd.Index) -> dict[str, Any] | None:
    if isinstance(index, pd.MultiIndex):
        codes = [np.asarray(code, dtype=np.int64) for code in index.codes]
        return {
            "kind": "multi",
            "levels": list(index.levels),
            "codes": codes,
            "names": list(index.names),
        }
    if isinstance(index, pd.RangeIndex):
        bounds = [index.start, index.stop, index.step]
        return {"kind": "range", "bounds": bounds, "name": index.name}
    if isinstance(index, pd.CategoricalIndex):
        return {
            "kind": "categorical",
            "codes": np.asarray(index.codes, dtype=np.int64),
            "categories": index.categories,
            "ordered": bool(index.ordered),
            "name": index.name,
        }
    if isinstance(index, pd.DatetimeIndex | pd.TimedeltaIndex):
        letter = "m" if isinstance(index, pd.TimedeltaIndex) else "M"
        zone = getattr(index, "tz", None)
        return {
            "kind": "time",
            "ticks": np.asarray(index.asi8),
            "unit": f"{letter}8[{index.unit}]",
            "zone": None if zone is None else str(zone),
            "freq": index.freqstr,
            "name": index.name,
        }
    if isinstance(index.dtype, np.dtype) and index.dtype.kind in "iufb":
        values: Any = index.to_numpy()
    else:
        values = _plain(index)
    if values is None:
        return None
    return {"kind": "values", "values": values, "dtype": str(index.dtype), "name": index.name}


def _plain(index: pd.Index) -> Any:
    """Return labels as an array of text, or a list of plain values; None if they are neither."""
    values = [None if value is pd.NA else value for value in index.tolist()]
    if values and all(type(value) is str for value in values):
        return np.array(values, dtype=object)
    if all(value is None or type(value) in (str, int, float, bool) for value in values):
        return values
    return None


def _same(a: pd.Index, b: pd.Index) -> bool:
    """Whether two indexes are equal, with their types and names."""
    return type(a) is type(b) and str(a.dtype) == str(b.dtype) and bool(a.identical(b))
