"""Order and number whole numbers, several times as fast as sorting places by them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["distinct", "n_distinct", "order_of"]

Index = NDArray[np.intp]

_BITS = 63
_FEW = 4  # times as many values as there may be, for each to be counted


def order_of(keys: Index) -> Index:
    """Return what ``argsort(keys, kind="stable")`` does, of keys that are not negative."""
    if (keys[1:] >= keys[:-1]).all():
        return np.arange(len(keys))
    bits = len(keys).bit_length()
    if int(keys.max()).bit_length() + bits > _BITS:
        return np.argsort(keys, kind="stable")
    # Keys with their places behind them sort in vector instructions; places alone do not.
    both = (keys.astype(np.int64) << bits) | np.arange(len(keys))
    both.sort()
    return np.asarray(both & ((1 << bits) - 1), dtype=np.intp)


def distinct(keys: Index) -> tuple[Index, Index]:
    """Return the distinct keys, ascending, and the number of each key among them.

    Keys are not negative.
    """
    if not len(keys):
        return keys, keys
    if int(keys.max()) < _FEW * len(keys):
        present = np.bincount(keys) > 0
        if present.all():
            return np.arange(len(present)), keys
        return np.flatnonzero(present), (np.cumsum(present) - 1)[keys]
    order = order_of(keys)
    ordered = keys[order]
    new = np.append(True, ordered[1:] != ordered[:-1])
    numbers = np.empty(len(keys), dtype=np.intp)
    numbers[order] = np.cumsum(new) - 1
    return ordered[new], numbers


def n_distinct(keys: Index) -> int:
    """Return how many distinct keys there are."""
    ordered = np.sort(keys)
    return int(len(keys) > 0) + int(np.count_nonzero(ordered[1:] != ordered[:-1]))
