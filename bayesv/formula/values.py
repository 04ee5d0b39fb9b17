"""What a part of a formula can be when it is evaluated: numbers, truth values, factors, columns."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesv.errors import FormulaError
from bayesv.linalg import Array

__all__ = [
    "Columns",
    "Contrasts",
    "Factor",
    "Logical",
    "Vector",
    "as_numeric",
    "as_whole",
    "has_rows",
    "missing",
    "taken",
]


@dataclass(frozen=True)
class Contrasts:
    """A coding by name; ``level`` is the reference, or the level left out."""

    kind: str
    level: str | None = None


@dataclass(frozen=True, eq=False)
class Factor:
    """A level in each row.

    Attributes
    ----------
    codes : ndarray of int, shape (n,)
        Positions among the levels; -1 where missing.
    levels : tuple of str
    ordered : bool
        Made so by the formula: polynomial contrasts unless others are named.
    contrasts : Contrasts, optional
    shared : bool
        Whether levels stay that no row has, because other rows may have them.
    is_text : bool
        Whether it is a column of text, which `as.numeric` reads.
    """

    codes: NDArray[np.intp]
    levels: tuple[str, ...]
    ordered: bool = False
    contrasts: Contrasts | None = None
    shared: bool = False
    is_text: bool = False

    def among(self, levels: tuple[str, ...], name: str, what: str) -> Factor:
        """Return the same rows coded by other levels; FormulaError for a level that is not one."""
        place = {level: i for i, level in enumerate(levels)}
        unknown = [level for level, seen in zip(self.levels, self._seen, strict=True)
                   if seen and level not in place]  # fmt: skip
        if unknown:
            raise FormulaError(
                f"{name} has the level {unknown[0]!r}, which {what} does not have; its levels are "
                f"{', '.join(map(repr, levels[:20]))}{' …' if len(levels) > 20 else ''}."
            )
        moved = np.array([place.get(level, -1) for level in self.levels] + [-1], dtype=np.intp)
        return replace(self, codes=moved[self.codes], levels=levels)

    def observed(self) -> Factor:
        """Return the factor with the levels that some row has, unless they are shared."""
        if self.shared or self._seen.all():
            return self
        return self.among(tuple(np.array(self.levels, dtype=object)[self._seen]), "", "")

    @property
    def _seen(self) -> NDArray[np.bool_]:
        """Which levels some row has."""
        present = self.codes[self.codes >= 0]
        return np.bincount(present, minlength=len(self.levels)) > 0

    def labels(self) -> NDArray[np.object_]:
        """Return the level of each row as text, None where missing."""
        return np.array([*self.levels, None], dtype=object)[self.codes]


@dataclass(frozen=True, eq=False)
class Logical:
    """Truth values: 0, 1 or NaN, shape (n,)."""

    values: Array


@dataclass(frozen=True, eq=False)
class Columns:
    """Several numbers a row, shape (n, k), each with the end of its label."""

    values: Array
    labels: tuple[str, ...]


@dataclass(frozen=True)
class Vector:
    """Constants written c(…)."""

    items: tuple[Any, ...]


def as_numeric(value: Any, what: str) -> Array:
    """Return a value as real numbers, shape (n,) or ().

    Raises
    ------
    FormulaError
        If it is no single number a row.
    """
    if isinstance(value, Logical):
        return value.values
    if isinstance(value, bool | int | float | np.number | np.bool_):
        return np.asarray(float(value))
    if isinstance(value, np.ndarray):
        return value
    if isinstance(value, Factor):
        if not value.levels:
            raise FormulaError(f"{what} has no value in any row, and numbers are needed here.")
        raise FormulaError(
            f"{what} is a factor (its levels are {', '.join(map(repr, value.levels[:5]))}"
            f"{', …' if len(value.levels) > 5 else ''}), and numbers are needed here; "
            "as.numeric() makes numbers of it."
        )
    if isinstance(value, Columns):
        raise FormulaError(f"{what} has {value.values.shape[1]} columns; one is needed here.")
    if isinstance(value, str):
        raise FormulaError(f"{what} is a text, and numbers are needed here.")
    raise FormulaError(f"{what} is no number.")


def as_whole(value: Any, what: str) -> int:
    """Return the one whole number that a value is.

    Raises
    ------
    FormulaError
        If it is anything else.
    """
    number = np.asarray(as_numeric(value, what), dtype=float)
    if number.ndim or not np.isfinite(number) or number % 1:
        raise FormulaError(f"{what} must be one whole number, the same for all rows.")
    return int(number)


def has_rows(value: Any, n: int) -> bool:
    """Whether a value is a column of n rows, or several, and no constant."""
    if isinstance(value, Factor):
        value = value.codes
    elif isinstance(value, Logical | Columns):
        value = value.values
    return isinstance(value, np.ndarray) and value.ndim > 0 and len(value) == n


def missing(value: Any) -> NDArray[np.bool_]:
    """Return which rows have no value, or no finite one."""
    if isinstance(value, Factor):
        return np.asarray(value.codes < 0)
    if isinstance(value, Columns):
        return np.asarray(~np.isfinite(value.values).all(axis=1))
    values = value.values if isinstance(value, Logical) else value
    return np.asarray(~np.isfinite(values))


def taken(value: Any, rows: Any) -> Any:
    """Return the value of some rows."""
    if isinstance(value, Factor):
        return replace(value, codes=value.codes[rows])
    if isinstance(value, Columns | Logical):
        return replace(value, values=value.values[rows])
    return value[rows]
