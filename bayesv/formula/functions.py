"""The functions that a formula may use, by name: a closed table, in which nothing writes."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from bayesv.linalg import Array

__all__ = ["AGGREGATES", "CONSTANTS", "ELEMENTWISE", "SHORT_WORDS", "Elementwise", "bound"]


@dataclass(frozen=True)
class Elementwise:
    """A function of numbers, row by row.

    ``parameters`` are the names of its arguments, the first ``needed`` of which must be given;
    None stands for any number of them.
    """

    compute: Callable[..., Array]
    parameters: tuple[str, ...] | None = ("x",)
    needed: int = 1


def _log(x: Array, base: Array | float = math.e) -> Array:
    base = np.asarray(base, dtype=float)
    if base.ndim == 0 and base in (2.0, 10.0):
        return np.asarray(np.log2(x) if base == 2 else np.log10(x))
    return np.asarray(np.log(x) if base.ndim == 0 and base == math.e else np.log(x) / np.log(base))


def _round(x: Array, digits: Array | float = 0.0) -> Array:
    """Return the nearest decimal; of two that are equally near, the even one, as R since 4.0."""
    places = int(np.asarray(digits))
    if places <= 0:
        return np.asarray(np.round(x, places))
    size, power = np.abs(x), 10.0**places
    below = np.floor(size * power)
    low, high = below / power, np.ceil(size * power) / power
    down, up = size - low, high - size
    nearest = np.where((down < up) | ((down == up) & (below % 2 == 0)), low, high)
    exact = size * power >= 1e15  # there are no such decimals any more
    return np.asarray(np.where(exact, x, np.copysign(nearest, x)))


def _smallest(*values: Array) -> Array:
    return np.asarray(np.minimum.reduce(np.broadcast_arrays(*values)))


def _largest(*values: Array) -> Array:
    return np.asarray(np.maximum.reduce(np.broadcast_arrays(*values)))


def _one(compute: Callable[[Array], Array]) -> Elementwise:
    """Return a function of one argument and no other, whatever the ufunc would take."""
    return Elementwise(lambda x: np.asarray(compute(x)))


_PLAIN: dict[str, Callable[[Array], Array]] = {
    "exp": np.exp, "expm1": np.expm1, "log2": np.log2, "log10": np.log10, "log1p": np.log1p,
    "sqrt": np.sqrt, "abs": np.abs, "sign": np.sign, "floor": np.floor, "ceiling": np.ceil,
    "trunc": np.trunc, "sin": np.sin, "cos": np.cos, "tan": np.tan, "asin": np.arcsin,
    "acos": np.arccos, "atan": np.arctan, "sinh": np.sinh, "cosh": np.cosh, "tanh": np.tanh,
    # Python's names
    "ceil": np.ceil, "arcsin": np.arcsin, "arccos": np.arccos, "arctan": np.arctan,
    "square": np.square,
}  # fmt: skip
_NUMPY = (
    "exp", "expm1", "log2", "log10", "log1p", "sqrt", "abs", "sign", "floor", "ceil", "trunc",
    "sin", "cos", "tan", "arcsin", "arccos", "arctan", "sinh", "cosh", "tanh", "square",
)  # fmt: skip

ELEMENTWISE: dict[str, Elementwise] = {
    **{name: _one(compute) for name, compute in _PLAIN.items()},
    **{f"np.{name}": _one(_PLAIN[name]) for name in _NUMPY},
    "log": Elementwise(_log, ("x", "base")),
    "np.log": _one(np.log),
    "round": Elementwise(_round, ("x", "digits")),
    "np.round": Elementwise(_round, ("x", "decimals")),
    "pmin": Elementwise(_smallest, None, 2),
    "pmax": Elementwise(_largest, None, 2),
    "np.minimum": Elementwise(_smallest, ("x1", "x2"), 2),
    "np.maximum": Elementwise(_largest, ("x1", "x2"), 2),
    "np.power": Elementwise(lambda x1, x2: np.asarray(np.power(x1, x2)), ("x1", "x2"), 2),
}


def _sd(x: Array) -> float:
    return float(np.std(x, ddof=1))


def _var(x: Array) -> float:
    return float(np.var(x, ddof=1))


# One number of all rows; R's SD and variance divide by n - 1, NumPy's by n.
AGGREGATES: dict[str, Callable[[Array], float]] = {
    "mean": lambda x: float(np.mean(x)), "median": lambda x: float(np.median(x)),
    "sd": _sd, "var": _var, "sum": lambda x: float(np.sum(x)),
    "min": lambda x: float(np.min(x)), "max": lambda x: float(np.max(x)),
    "np.mean": lambda x: float(np.mean(x)), "np.median": lambda x: float(np.median(x)),
    "np.std": lambda x: float(np.std(x)), "np.var": lambda x: float(np.var(x)),
    "np.sum": lambda x: float(np.sum(x)), "np.min": lambda x: float(np.min(x)),
    "np.max": lambda x: float(np.max(x)),
}  # fmt: skip

CONSTANTS: dict[str, float] = {"pi": math.pi, "np.pi": math.pi, "np.e": math.e}
# R's short words, where there are no columns of these names.
SHORT_WORDS: dict[str, bool] = {"T": True, "F": False}


def bound(
    parameters: tuple[str, ...], needed: int, arguments: tuple[tuple[str | None, Any], ...]
) -> dict[str, Any]:
    """Match arguments with parameters as R does: by name, the others in their order.

    Raises
    ------
    ValueError
        With the reason, if there are too many, too few, or one of another name.
    """
    values: dict[str, Any] = {}
    for key, value in arguments:
        if key is None:
            continue
        if key not in parameters:
            names = ", ".join(parameters)
            raise ValueError(f"has no argument {key!r}; its arguments are {names}")
        if key in values:
            raise ValueError(f"has the argument {key!r} twice")
        values[key] = value
    free = [name for name in parameters if name not in values]
    unnamed = [value for key, value in arguments if key is None]
    if len(unnamed) > len(free):
        raise ValueError(f"takes at most {len(parameters)} arguments; found {len(arguments)}")
    values.update(zip(free, unnamed, strict=False))
    lacking = [name for name in parameters[:needed] if name not in values]
    if lacking:
        raise ValueError(f"lacks the argument {lacking[0]!r}")
    return values
