"""Operators inside functions: arithmetic, comparisons with gaps, membership."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from bayesv.errors import FormulaError
from bayesv.formula.factors import LOGICAL, texts_of, to_factor
from bayesv.formula.values import Factor, Logical, Vector, as_numeric
from bayesv.linalg import Array

__all__ = ["arithmetic", "comparison", "membership"]

_ARITHMETIC: dict[str, Callable[[Array, Array], Array]] = {
    "*": np.multiply, "/": np.divide, "^": np.power, "%%": np.mod, "%/%": np.floor_divide,
}  # fmt: skip
_COMPARE: dict[str, Callable[[Array, Array], Any]] = {
    "==": np.equal, "!=": np.not_equal, "<": np.less, ">": np.greater, "<=": np.less_equal,
    ">=": np.greater_equal,
}  # fmt: skip


def arithmetic(op: str, left: Any, right: Any, left_name: str, right_name: str) -> Array:
    """Return a product, quotient, power, remainder or whole quotient, row by row."""
    a, b = as_numeric(left, left_name), as_numeric(right, right_name)
    return np.asarray(_ARITHMETIC[op](a, b))


def comparison(op: str, left: Any, right: Any, left_name: str, right_name: str) -> Logical:
    """Return truth values; a gap gives a gap, except where the other side decides an 'and'."""
    if op in ("&", "&&"):
        a, b = as_numeric(left, left_name), as_numeric(right, right_name)
        false = (a == 0) | (b == 0)
        return Logical(np.where(false, 0.0, np.where(np.isnan(a) | np.isnan(b), np.nan, 1.0)))
    if any(isinstance(side, Factor | str) for side in (left, right)):
        return _of_levels(op, left, right, left_name, right_name)
    a, b = as_numeric(left, left_name), as_numeric(right, right_name)
    gap = np.isnan(a) | np.isnan(b)
    return Logical(np.where(gap, np.nan, _COMPARE[op](a, b)))


def _of_levels(op: str, left: Any, right: Any, left_name: str, right_name: str) -> Logical:
    if op not in ("==", "!="):
        raise FormulaError(
            f"Levels are equal or not, and {left_name} {op} {right_name} compares their size."
        )
    if isinstance(right, Factor) and not isinstance(left, Factor):
        left, right, left_name = right, left, right_name
    if not isinstance(left, Factor):
        left = to_factor(left, left_name)
    if isinstance(right, Factor):
        a, b = left.labels(), right.labels()
        equal, gap = a == b, (left.codes < 0) | (right.codes < 0)
    elif isinstance(right, np.ndarray | Logical):
        other = to_factor(right, right_name)
        equal = left.labels() == other.labels()
        gap = (left.codes < 0) | (other.codes < 0)
    else:
        (level,) = texts_of(right, "A level")
        equal, gap = left.labels() == level, left.codes < 0
    wanted = equal if op == "==" else ~equal
    return Logical(np.where(gap, np.nan, wanted.astype(float)))


def membership(left: Any, right: Any, name: str) -> Logical:
    """R's ``x %in% c(…)``: true or false, false for a gap."""
    if not isinstance(right, Vector | str | float | int):
        raise FormulaError(f"{name} %in% … needs constants, such as c('a', 'b').")
    if isinstance(left, Factor):
        values = np.isin(left.labels().astype(str), texts_of(right, "%in%")) & (left.codes >= 0)
    elif isinstance(left, Logical):
        labels = np.array([*LOGICAL])[np.nan_to_num(left.values).astype(int)]
        values = np.isin(labels, texts_of(right, "%in%")) & ~np.isnan(left.values)
    else:
        items = right.items if isinstance(right, Vector) else (right,)
        if not all(isinstance(item, int | float) for item in items):
            raise FormulaError(f"{name} are numbers, and %in% compares them with texts.")
        values = np.isin(as_numeric(left, name), np.asarray(items, dtype=float))
    return Logical(np.asarray(values, dtype=float))
