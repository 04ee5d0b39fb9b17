"""The functions that a formula may use, by name: a closed table, in which nothing writes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import special

from bayesv.formula.values import as_whole
from bayesv.linalg import Array

__all__ = [
    "AGGREGATES",
    "CONSTANTS",
    "ELEMENTWISE",
    "SHORT_WORDS",
    "Elementwise",
    "bound",
    "quantiles",
    "sequence",
]


@dataclass(frozen=True)
class Elementwise:
    """A function of numbers, row by row.

    ``parameters`` are the names of its arguments, the first ``needed`` of which must be given;
    None stands for any number of them.
    """

    compute: Callable[..., Array]
    parameters: tuple[str, ...] | None = ("x",)
    needed: int = 1


_MOST_PLACES = 308  # of numbers in double precision, on either side of the point


def _log(x: Array, base: Array | float = math.e) -> Array:
    base = np.asarray(base, dtype=float)
    if base.ndim == 0 and base in (2.0, 10.0):
        return np.asarray(np.log2(x) if base == 2 else np.log10(x))
    return np.asarray(np.log(x) if base.ndim == 0 and base == math.e else np.log(x) / np.log(base))


def _round(x: Array, digits: Array | float = 0.0) -> Array:
    """Return the nearest decimal; of two that are equally near, the even one, as R since 4.0."""
    asked = as_whole(digits, "round(): digits")
    places = min(max(asked, -_MOST_PLACES), _MOST_PLACES)
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
    "asinh": np.arcsinh, "acosh": np.arccosh, "atanh": np.arctanh,
    "plogis": special.expit, "qlogis": special.logit, "pnorm": special.ndtr,
    "qnorm": special.ndtri,
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
    "atan2": Elementwise(lambda y, x: np.asarray(np.arctan2(y, x)), ("y", "x"), 2),
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

CONSTANTS: dict[str, float] = {
    "pi": math.pi, "np.pi": math.pi, "np.e": math.e, "Inf": math.inf, "np.inf": math.inf
}  # fmt: skip
_MOST_STEPS = 10_000
# R's short words, where there are no columns of these names.
SHORT_WORDS: dict[str, bool] = {"T": True, "F": False}


def quantiles(x: Array, probs: Sequence[float]) -> tuple[float, ...]:
    """R's quantiles of type 7: between order statistics, and one of them but for rounding."""
    x, fuzz = np.sort(x), 4.0 * np.finfo(float).eps
    values = []
    for p in probs:
        place = (len(x) - 1) * p
        low = math.floor(place + fuzz)
        part = place - low
        below, above = x[low], x[min(low + 1, len(x) - 1)]
        values.append(float(below if abs(part) < fuzz else (1 - part) * below + part * above))
    return tuple(values)


def sequence(
    start: float, end: float, by: float | None = None, count: float | None = None
) -> tuple[float, ...]:
    """R's ``seq``.

    Raises
    ------
    ValueError
        With the reason.
    """
    if by is not None and count is not None:
        raise ValueError("takes by or length.out, not both")
    if count is not None:
        steps = math.ceil(count) - 1
        by = (end - start) / steps if steps > 0 else 0.0
    else:
        by = by if by is not None else math.copysign(1.0, end - start)
        if by == 0 or not math.isfinite((end - start) / by) or (end - start) / by < 0:
            raise ValueError(f"does not come from {start:g} to {end:g} by steps of {by:g}")
        steps = math.floor((end - start) / by + 1e-10)
    if not 0 <= steps <= _MOST_STEPS:
        raise ValueError(f"has at most {_MOST_STEPS:,} steps")
    limit = min if by > 0 else max
    return tuple(limit(start + k * by, end) for k in range(steps + 1))


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
