"""Contrasts and estimates of β by label: aligned by meaning, or refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from bayesv.errors import BayesvError, near
from bayesv.linalg import Array, independent_columns
from bayesv.names import canonical

__all__ = ["contrast_matrix", "contrast_row", "estimates"]


def contrast_matrix(L: Any, names: Sequence[str]) -> Array:
    """Return L as rows of p weights each, in the order of the fixed effects, shape (l, p).

    Parameters
    ----------
    L : array_like, DataFrame, Series or mapping
        An array is in the order of the fixed effects. A DataFrame has one column a coefficient; a
        Series or a mapping of coefficients to weights is one row; a mapping of names to those has
        a row each. In mappings and Series, coefficients left out weigh 0.
    names : sequence of str
        Fixed effects.

    Raises
    ------
    BayesvError
        If labels are unknown or ambiguous, weights are no finite numbers, a row is 0, or rows
        depend on each other.
    """
    if isinstance(L, Mapping) and any(_is_labelled(row) or np.ndim(row) for row in L.values()):
        rows = np.array([contrast_row(row, names) for row in L.values()])
        labels = [str(name) for name in L]
    elif isinstance(L, pd.DataFrame) and not isinstance(L.columns, pd.RangeIndex):
        missing = _missing(L.columns, names)
        if missing:
            raise BayesvError(
                f"L has no column for {', '.join(missing)}; it needs one for each fixed effect: "
                f"{', '.join(names)}."
            )
        rows = _numbers("L", L.to_numpy())[:, _positions(L.columns, names)]
        labels = [str(name) for name in L.index]
    elif _is_labelled(L):
        rows, labels = contrast_row(L, names)[None], ["1"]
    else:
        rows = np.atleast_2d(_numbers("L", L))
        labels = [str(i + 1) for i in range(len(rows))]
    if rows.ndim != 2 or rows.shape[1] != len(names):
        raise BayesvError(f"L has rows of {len(names)} weights; found shape {rows.shape}.")
    return _independent(rows, labels)


def contrast_row(weights: Any, names: Sequence[str], what: str = "A contrast") -> Array:
    """Return one contrast, shape (p,), from what `contrast_matrix` takes for a row."""
    if not _is_labelled(weights):
        row = _numbers(what, weights)
        if row.shape != (len(names),):
            raise BayesvError(
                f"{what} has shape {row.shape}; needed are {len(names)} weights for "
                f"{', '.join(names)}."
            )
        return row
    numbers = list(weights.values()) if isinstance(weights, Mapping) else weights.to_numpy()
    row = np.zeros(len(names))
    row[_positions_in(list(weights.keys()), names)] = _numbers(what, numbers)
    return row


def estimates(beta: Any, names: Sequence[str]) -> Array:
    """Return β̂ in the order of the fixed effects, shape (p,); BayesvError if it does not fit."""
    if _is_labelled(beta):
        if missing := _missing(beta.keys(), names):
            raise BayesvError(
                f"beta has no value for {', '.join(missing)}; it needs one for each fixed effect."
            )
        return contrast_row(beta, names)
    values = _numbers("beta", beta)
    if values.shape != (len(names),):
        raise BayesvError(
            f"beta has {len(names)} elements, {', '.join(names)}; found shape {values.shape}."
        )
    return values


def _is_labelled(values: Any) -> bool:
    if isinstance(values, pd.Series):
        return not isinstance(values.index, pd.RangeIndex)
    return isinstance(values, Mapping)


def _positions(labels: Any, names: Sequence[str]) -> list[int]:
    """Position among labels of each name."""
    places = _positions_in(list(labels), names)
    return [places.index(i) for i in range(len(names))]


def _positions_in(labels: Sequence[Any], names: Sequence[str]) -> list[int]:
    """Position among names of each label: by exact name, or else by meaning."""
    meanings = [canonical(name) for name in names]
    places = []
    for label in map(str, labels):
        if label in names:
            places.append(list(names).index(label))
        elif meanings.count(canonical(label)) == 1:
            places.append(meanings.index(canonical(label)))
        else:
            raise BayesvError(
                f"No fixed effect is called {label!r}; there are {', '.join(names)}"
                f"{near(label, names)}"
            )
    if len(set(places)) < len(places):
        raise BayesvError(f"A fixed effect is named twice: {', '.join(map(str, labels))}.")
    return places


def _missing(labels: Any, names: Sequence[str]) -> list[str]:
    places = _positions_in(list(labels), names)
    return [name for i, name in enumerate(names) if i not in places]


def _numbers(what: str, values: Any) -> Array:
    try:
        numbers = np.asarray(values, dtype=float)
    except (TypeError, ValueError, OverflowError):
        raise BayesvError(f"{what} needs numbers; found {values!r}.") from None
    if not np.isfinite(numbers).all():
        raise BayesvError(f"{what} needs finite numbers; found {values!r}.")
    return numbers


def _independent(rows: Array, labels: Sequence[str]) -> Array:
    if not len(rows):
        raise BayesvError("L has no rows: a test needs at least one contrast.")
    zero = [label for label, row in zip(labels, rows, strict=True) if not row.any()]
    if zero:
        raise BayesvError(f"Row {', '.join(zero)} of L is 0: there is nothing to test in it.")
    size = np.abs(rows).max(axis=0)
    kept = independent_columns((rows / np.where(size > 0, size, 1.0)).T)
    if len(kept) < len(rows):
        determined = [label for i, label in enumerate(labels) if i not in kept]
        raise BayesvError(
            f"L has {len(rows)} rows but rank {len(kept)}: row {', '.join(determined)} follows "
            "from the others; leave it out."
        )
    return rows
