"""What functions of a formula need of whoever calls them: values of their arguments by kind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from bayesv.errors import FormulaError
from bayesv.formula.factors import to_factor
from bayesv.formula.reader import ColumnReader
from bayesv.formula.syntax import Call, Name, Node, label
from bayesv.formula.values import Factor, Logical, Vector, as_numeric
from bayesv.support.memory import refuse_unless

__all__ = [
    "Arguments",
    "Evaluation",
    "Special",
    "flag",
    "level_factor",
    "number_of",
    "numbers_of",
]

Arguments = dict[str, Node]

_COPIES = 4  # of the columns of a basis, while they are made


class Evaluation(Protocol):
    """What these functions need of the evaluator that calls them."""

    reader: ColumnReader
    states: dict[str, Any]
    fitting: bool

    @property
    def n(self) -> int:
        """Number of rows."""

    def value(self, node: Node) -> Any:
        """Return the value of a node; constants are single values."""

    def numbers(self, node: Node) -> Any:
        """Return the numbers of a part, shape (n,)."""

    def present(self, node: Node) -> Any:
        """Return the finite numbers of a part."""

    def learnt(self, node: Node, learn: Callable[[], Any]) -> Any:
        """Return what a transform has learnt, from these rows if they are the ones to fit."""


@dataclass(frozen=True)
class Special:
    """A function by its arguments' names, the first ``needed`` of which must be given."""

    compute: Callable[[Evaluation, Call, Arguments], Any]
    parameters: tuple[str, ...] = ("x",)
    needed: int = 1


def numbers_of(ev: Evaluation, node: Node | None, what: str) -> tuple[float, ...] | None:
    """Return constants as numbers."""
    if node is None:
        return None
    value = ev.value(node)
    if value is None:
        return None
    items = value.items if isinstance(value, Vector) else (value,)
    numbers = [np.asarray(as_numeric(item, what)) for item in items]
    if any(number.ndim for number in numbers):
        raise FormulaError(f"{what} must be constants, such as c(1, 2).")
    return tuple(float(number) for number in numbers)


def number_of(ev: Evaluation, node: Node | None, what: str, whole: bool = False) -> Any:
    """Return one constant as a number, or None where it is not given."""
    numbers = numbers_of(ev, node, what)
    if numbers is None:
        return None
    if len(numbers) != 1 or (whole and numbers[0] % 1):
        raise FormulaError(f"{what} must be one {'whole ' if whole else ''}number.")
    if not whole:
        return numbers[0]
    columns = int(numbers[0])
    refuse_unless(
        _COPIES * 8.0 * columns * (ev.n + columns),
        f"{what}={columns:,} makes as many columns of {ev.n:,} rows, which",
        "Choose a smaller one.",
    )
    return columns


def flag(ev: Evaluation, node: Node | None, what: str, default: bool) -> bool:
    """Return a constant as a truth value."""
    value = default if node is None else ev.value(node)
    if not isinstance(value, bool | int | float):
        raise FormulaError(f"{what} must be TRUE or FALSE.")
    return bool(value)


def level_factor(ev: Evaluation, node: Node) -> Factor:
    """Return a part as a factor; the levels of numbers are those of the fit."""
    name = label(node)
    if isinstance(node, Name) and node.name in ev.reader:
        value = ev.reader.factor(node.name)
        if value.shared or ev.reader.states[node.name].kind == "factor":
            return value
    else:
        value = ev.value(node)
        if isinstance(value, Factor | Logical):
            return to_factor(value, name)
    levels = ev.reader.shared_levels(node)
    key = f"levels of {name}"
    if levels is None and not ev.fitting:
        levels = ev.states[key]
    factor = to_factor(value, name)
    if levels is not None:
        return replace(factor.among(levels, name, "the fit"), shared=ev.reader.shared)
    ev.states[key] = factor.levels
    return factor
