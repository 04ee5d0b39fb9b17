"""Functions of a formula with a meaning of their own: factors, splines, conditions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from bayesv.errors import FormulaError
from bayesv.formula.bases import Centered, Cut, NaturalSpline, Polynomial, Spline
from bayesv.formula.factors import (
    CODING_NAMES,
    as_number,
    coded,
    contrasts_of,
    factor,
    releveled,
    texts_of,
    to_factor,
)
from bayesv.formula.syntax import Call, Name, Node, label
from bayesv.formula.values import Columns, Contrasts, Factor, Logical, Vector, as_numeric, missing
from bayesv.support.memory import refuse_unless

if TYPE_CHECKING:
    from bayesv.formula.evaluator import Evaluator

__all__ = ["SPECIAL", "STATEFUL", "Special", "is_coding"]

Arguments = dict[str, Node]

_COPIES = 4  # of the columns of a basis, while they are made


@dataclass(frozen=True)
class Special:
    """A function by its arguments' names, the first ``needed`` of which must be given."""

    compute: Callable[[Evaluator, Call, Arguments], Any]
    parameters: tuple[str, ...] = ("x",)
    needed: int = 1


def is_coding(name: str) -> bool:
    """Whether a name is that of a coding of factors, such as contr.sum."""
    return name in CODING_NAMES


def _numbers_of(ev: Evaluator, node: Node | None, what: str) -> tuple[float, ...] | None:
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


def _number_of(ev: Evaluator, node: Node | None, what: str, whole: bool = False) -> Any:
    numbers = _numbers_of(ev, node, what)
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


def _flag(ev: Evaluator, node: Node | None, what: str, default: bool) -> bool:
    value = default if node is None else ev.value(node)
    if not isinstance(value, bool | int | float):
        raise FormulaError(f"{what} must be TRUE or FALSE.")
    return bool(value)


def _level_factor(ev: Evaluator, node: Node) -> Factor:
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


# --- factors --------------------------------------------------------------------------------------


def _factor(ev: Evaluator, node: Call, given: Arguments) -> Factor:
    parts = {k: ev.value(given[k]) for k in ("levels", "labels", "ordered") if k in given}
    value = factor(_level_factor(ev, given["x"]), **parts)
    return replace(value, shared=value.shared or ("levels" in given and ev.reader.shared))


def _ordered(ev: Evaluator, node: Call, given: Arguments) -> Factor:
    return replace(_factor(ev, node, given), ordered=True)


def _C(ev: Evaluator, node: Call, given: Arguments) -> Factor:
    value = _level_factor(ev, given["x"])
    levels = value.observed().levels
    base = ev.value(given["base"]) if "base" in given else None
    coding = None
    if "contr" in given or base is not None:
        named = ev.value(given["contr"]) if "contr" in given else "contr.treatment"
        coding = contrasts_of(named, value.levels if base is not None else levels, base)
    return coded(value, coding)


def _T(ev: Evaluator, node: Call, given: Arguments) -> Factor:
    return _named(ev, given, "treatment", "ref")


def _S(ev: Evaluator, node: Call, given: Arguments) -> Factor:
    return _named(ev, given, "sum", "omit")


def _named(ev: Evaluator, given: Arguments, kind: str, key: str) -> Factor:
    value = _level_factor(ev, given["x"])
    level = texts_of(ev.value(given[key]), key)[0] if key in given else None
    return coded(value, contrasts_of(Contrasts(kind, level), value.levels))


def _coding(kind: str) -> Callable[[Evaluator, Call, Arguments], Contrasts]:
    def of(ev: Evaluator, node: Call, given: Arguments) -> Contrasts:
        level = texts_of(ev.value(given["reference"]), "reference")[0] if given else None
        return Contrasts(kind, level)

    return of


def _relevel(ev: Evaluator, node: Call, given: Arguments) -> Factor:
    return releveled(_level_factor(ev, given["x"]), ev.value(given["ref"]), label(given["x"]))


def _droplevels(ev: Evaluator, node: Call, given: Arguments) -> Factor:
    return _level_factor(ev, given["x"]).observed()


def _as_character(ev: Evaluator, node: Call, given: Arguments) -> Factor:
    value = _level_factor(ev, given["x"])
    value = value.among(tuple(sorted(value.levels)), label(given["x"]), "")
    return replace(value, ordered=False, contrasts=None, is_text=True)


def _as_numeric(ev: Evaluator, node: Call, given: Arguments) -> Any:
    return as_number(ev.value(given["x"]), label(given["x"]))


def _as_integer(ev: Evaluator, node: Call, given: Arguments) -> Any:
    return np.trunc(_as_numeric(ev, node, given))


def _cut(ev: Evaluator, node: Call, given: Arguments) -> Any:
    x = ev.numbers(given["x"])
    breaks = _numbers_of(ev, given["breaks"], "breaks") or ()
    labels = ev.value(given["labels"]) if "labels" in given else None
    right = _flag(ev, given.get("right"), "right", True)
    lowest = _flag(ev, given.get("include.lowest"), "include.lowest", False)
    named = None if labels is None or labels is False else texts_of(labels, "labels")

    def learn() -> Cut:
        return Cut.fit(ev.present(given["x"]), breaks, named, right, lowest)

    intervals = learn() if len(breaks) > 1 else ev.learnt(node, learn)
    codes = intervals(x)
    if labels is False:
        return np.where(codes < 0, np.nan, codes + 1.0)
    ordered = _flag(ev, given.get("ordered_result"), "ordered_result", False)
    return Factor(codes, intervals.labels, ordered, shared=ev.reader.shared)


# --- transforms that learn ------------------------------------------------------------------------


def _scale(ev: Evaluator, node: Call, given: Arguments) -> Any:
    options: list[bool | float] = []
    for name in ("center", "scale"):
        value = ev.value(given[name]) if name in given else True
        options.append(value if isinstance(value, bool) else float(as_numeric(value, name)))
    center, scale = options
    if center is False:
        center = 0.0
    return ev.learnt(node, lambda: Centered.fit(ev.present(given["x"]), center, scale))(
        ev.numbers(given["x"])
    )


def _center(ev: Evaluator, node: Call, given: Arguments) -> Any:
    return ev.learnt(node, lambda: Centered.fit(ev.present(given["x"]), True, False))(
        ev.numbers(given["x"])
    )


def _numbered(values: Any) -> Columns:
    return Columns(values, tuple(str(j + 1) for j in range(values.shape[1])))


def _poly(ev: Evaluator, node: Call, given: Arguments) -> Columns:
    x = ev.numbers(given["x"])
    degree = _number_of(ev, given.get("degree"), "degree", whole=True) or 1
    if _flag(ev, given.get("raw"), "raw", False):
        return _numbered(np.column_stack([x**k for k in range(1, degree + 1)]))
    basis = ev.learnt(node, lambda: Polynomial.fit(ev.present(given["x"]), degree))
    return _numbered(basis(x))


def _bs(ev: Evaluator, node: Call, given: Arguments) -> Columns:
    degree = _number_of(ev, given.get("degree"), "degree", whole=True)

    def learn() -> Spline:
        return Spline.fit(
            ev.present(given["x"]),
            _number_of(ev, given.get("df"), "df", whole=True),
            _numbers_of(ev, given.get("knots"), "knots"),
            3 if degree is None else degree,
            _flag(ev, given.get("intercept"), "intercept", False),
            _numbers_of(ev, given.get("Boundary.knots"), "Boundary.knots"),
        )

    return _numbered(ev.learnt(node, learn)(ev.numbers(given["x"])))


def _ns(ev: Evaluator, node: Call, given: Arguments) -> Columns:
    def learn() -> NaturalSpline:
        return NaturalSpline.fit(
            ev.present(given["x"]),
            _number_of(ev, given.get("df"), "df", whole=True),
            _numbers_of(ev, given.get("knots"), "knots"),
            _flag(ev, given.get("intercept"), "intercept", False),
            _numbers_of(ev, given.get("Boundary.knots"), "Boundary.knots"),
        )

    return _numbered(ev.learnt(node, learn)(ev.numbers(given["x"])))


# --- the rest -------------------------------------------------------------------------------------


def _identity(ev: Evaluator, node: Call, given: Arguments) -> Any:
    return ev.value(given["x"])


def _ifelse(ev: Evaluator, node: Call, given: Arguments) -> Any:
    test = as_numeric(ev.value(given["test"]), label(given["test"]))
    yes, no = ev.value(given["yes"]), ev.value(given["no"])
    gap = np.isnan(test)
    if isinstance(yes, str) and isinstance(no, str):
        levels = tuple(sorted({yes, no}))
        codes = np.where(test != 0, levels.index(yes), levels.index(no))
        return Factor(np.where(gap, -1, codes).astype(np.intp), levels, shared=ev.reader.shared)
    values = np.where(test != 0, as_numeric(yes, label(given["yes"])),
                      as_numeric(no, label(given["no"])))  # fmt: skip
    values = np.where(gap, np.nan, values)
    both = all(isinstance(part, Logical | bool) for part in (yes, no))
    return Logical(values) if both else values


def _is_na(ev: Evaluator, node: Call, given: Arguments) -> Logical:
    value = ev.value(given["x"])
    if isinstance(value, Factor):
        return Logical(missing(value).astype(float))
    return Logical(np.isnan(as_numeric(value, label(given["x"]))).astype(float))


def _vector(ev: Evaluator, node: Call, given: Arguments) -> Vector:
    items: list[Any] = []
    for key, argument in node.arguments:
        if key is not None:
            raise FormulaError("c() takes constants without names.")
        value = ev.value(argument)
        if isinstance(value, np.ndarray) and value.ndim == 0:
            value = float(value)
        if isinstance(value, Vector):
            items += value.items
        elif isinstance(value, bool | int | float | str):
            items.append(value)
        else:
            raise FormulaError("c() takes constants; columns are not joined in a formula.")
    return Vector(tuple(items))


_FACTOR = ("x", "levels", "labels", "ordered")
_SPLINE = ("x", "df", "knots", "degree", "intercept", "Boundary.knots")

SPECIAL: dict[str, Special] = {
    "I": Special(_identity),
    "c": Special(_vector, tuple(f"c{i}" for i in range(1, 101)), 1),
    "factor": Special(_factor, _FACTOR),
    "as.factor": Special(_factor),
    "ordered": Special(_ordered, ("x", "levels", "labels")),
    "C": Special(_C, ("x", "contr", "base")),
    "T": Special(_T, ("x", "ref")),
    "S": Special(_S, ("x", "omit")),
    "Treatment": Special(_coding("treatment"), ("reference",), 0),
    "Sum": Special(_coding("sum"), ("reference",), 0),
    "relevel": Special(_relevel, ("x", "ref"), 2),
    "droplevels": Special(_droplevels),
    "as.character": Special(_as_character),
    "as.numeric": Special(_as_numeric),
    "as.integer": Special(_as_integer),
    "cut": Special(_cut, ("x", "breaks", "labels", "include.lowest", "right", "ordered_result"), 2),
    "scale": Special(_scale, ("x", "center", "scale")),
    "standardize": Special(_scale, ("x", "center", "scale")),
    "center": Special(_center),
    "poly": Special(_poly, ("x", "degree", "raw")),
    "bs": Special(_bs, _SPLINE),
    "ns": Special(_ns, ("x", "df", "knots", "intercept", "Boundary.knots")),
    "ifelse": Special(_ifelse, ("test", "yes", "no"), 3),
    "np.where": Special(_ifelse, ("test", "yes", "no"), 3),
    "is.na": Special(_is_na),
}
# These learn from all rows; cut() does if it is given a number of intervals.
STATEFUL = ("scale", "standardize", "center", "poly", "bs", "ns")
