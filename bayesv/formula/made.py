"""Functions of a formula that make factors, truth values and constants out of others, as R's do."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from bayesv.errors import FormulaError
from bayesv.formula.calls import (
    Arguments,
    Evaluation,
    Special,
    flag,
    level_factor,
    number_of,
    numbers_of,
)
from bayesv.formula.factors import crossed, factor
from bayesv.formula.functions import quantiles, sequence
from bayesv.formula.syntax import Call, label
from bayesv.formula.values import Factor, Logical, Vector, as_numeric

__all__ = ["MADE"]

_OPTIONS = ("drop", "sep", "lex.order")


def _as_ordered(ev: Evaluation, node: Call, arguments: Arguments) -> Factor:
    value = level_factor(ev, arguments["x"])
    return value if value.ordered else replace(factor(value), ordered=True)


def _as_logical(ev: Evaluation, node: Call, arguments: Arguments) -> Logical:
    numbers = as_numeric(ev.value(arguments["x"]), label(arguments["x"]))
    return Logical(np.where(np.isnan(numbers), np.nan, numbers != 0))


def _xor(ev: Evaluation, node: Call, arguments: Arguments) -> Logical:
    x, y = (as_numeric(ev.value(arguments[k]), label(arguments[k])) for k in ("x", "y"))
    return Logical(np.where(np.isnan(x) | np.isnan(y), np.nan, (x != 0) != (y != 0)))


def _interaction(ev: Evaluation, node: Call, arguments: Arguments) -> Factor:
    """R's ``interaction``: a level for every combination, the first factor's fastest."""
    options = {k: arguments[k] for k in _OPTIONS if k in arguments}
    parts = [level_factor(ev, part) for key, part in arguments.items() if key not in options]
    sep = ev.value(options["sep"]) if "sep" in options else "."
    if not isinstance(sep, str):
        raise FormulaError("sep must be a text, such as sep = '_'.")
    first_slowest = flag(ev, options.get("lex.order"), "lex.order", False)
    value = crossed(parts, sep, first_slowest)
    return value.observed() if flag(ev, options.get("drop"), "drop", False) else value


def _quantile(ev: Evaluation, node: Call, arguments: Arguments) -> Any:
    """R's ``quantile`` of type 7 of all rows that have a value."""
    if number_of(ev, arguments.get("type"), "type") not in (None, 7.0):
        raise FormulaError("quantile() is of type 7, R's own choice.")
    probs = numbers_of(ev, arguments.get("probs"), "probs") or (0.0, 0.25, 0.5, 0.75, 1.0)
    if not all(0 <= p <= 1 for p in probs):
        raise FormulaError("probs must be between 0 and 1.")
    values = ev.learnt(node, lambda: quantiles(ev.present(arguments["x"]), probs))
    return Vector(values) if len(values) > 1 else values[0]


def _seq(ev: Evaluation, node: Call, arguments: Arguments) -> Vector:
    numbers = {key: number_of(ev, part, key) for key, part in arguments.items()}
    return Vector(sequence(numbers["from"], numbers["to"], numbers.get("by"),
                           numbers.get("length.out")))  # fmt: skip


MADE: dict[str, Special] = {
    "as.ordered": Special(_as_ordered),
    "interaction": Special(_interaction, (*(f"f{i}" for i in range(1, 21)), *_OPTIONS), 1),
    "as.logical": Special(_as_logical),
    "xor": Special(_xor, ("x", "y"), 2),
    "quantile": Special(_quantile, ("x", "probs", "na.rm", "names", "type")),
    "seq": Special(_seq, ("from", "to", "by", "length.out"), 2),
}
