"""Functions of a formula with a meaning of their own: factors, splines, conditions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from bayesv.errors import FormulaError
from bayesv.formula.bases import Centered, Cut, NaturalSpline, Polynomial, Spline
from bayesv.formula.calls import (
    Arguments,
    Evaluation,
    Special,
    flag,
    level_factor,
    number_of,
    numbers_of,
)
from bayesv.formula.factors import (
    CODING_NAMES,
    as_number,
    coded,
    contrasts_of,
    factor,
    releveled,
    texts_of,
)
from bayesv.formula.made import MADE
from bayesv.formula.syntax import Call, label
from bayesv.formula.values import (
    Columns,
    Contrasts,
    Factor,
    Logical,
    Vector,
    as_numeric,
    has_rows,
    missing,
)

__all__ = ["SPECIAL", "STATEFUL", "Special", "is_coding"]


def is_coding(name: str) -> bool:
    """Whether a name is that of a coding of factors, such as contr.sum."""
    return name in CODING_NAMES


# --- factors --------------------------------------------------------------------------------------


def _factor(ev: Evaluation, node: Call, arguments: Arguments) -> Factor:
    parts = {k: ev.value(arguments[k]) for k in ("levels", "labels", "ordered") if k in arguments}
    value = factor(level_factor(ev, arguments["x"]), **parts)
    return replace(value, shared=value.shared or ("levels" in arguments and ev.reader.shared))


def _ordered(ev: Evaluation, node: Call, arguments: Arguments) -> Factor:
    return replace(_factor(ev, node, arguments), ordered=True)


def _C(ev: Evaluation, node: Call, arguments: Arguments) -> Factor:
    value = level_factor(ev, arguments["x"])
    levels = value.observed().levels
    base = ev.value(arguments["base"]) if "base" in arguments else None
    coding = None
    if "contr" in arguments or base is not None:
        named = ev.value(arguments["contr"]) if "contr" in arguments else "contr.treatment"
        coding = contrasts_of(named, value.levels if base is not None else levels, base)
    return coded(value, coding)


def _T(ev: Evaluation, node: Call, arguments: Arguments) -> Factor:
    return _named(ev, arguments, "treatment", "ref")


def _S(ev: Evaluation, node: Call, arguments: Arguments) -> Factor:
    return _named(ev, arguments, "sum", "omit")


def _named(ev: Evaluation, arguments: Arguments, kind: str, key: str) -> Factor:
    value = level_factor(ev, arguments["x"])
    level = texts_of(ev.value(arguments[key]), key)[0] if key in arguments else None
    return coded(value, contrasts_of(Contrasts(kind, level), value.levels))


def _coding(kind: str) -> Callable[[Evaluation, Call, Arguments], Contrasts]:
    def of(ev: Evaluation, node: Call, arguments: Arguments) -> Contrasts:
        level = texts_of(ev.value(arguments["reference"]), "reference")[0] if arguments else None
        return Contrasts(kind, level)

    return of


def _relevel(ev: Evaluation, node: Call, arguments: Arguments) -> Factor:
    return releveled(
        level_factor(ev, arguments["x"]), ev.value(arguments["ref"]), label(arguments["x"])
    )


def _droplevels(ev: Evaluation, node: Call, arguments: Arguments) -> Factor:
    return level_factor(ev, arguments["x"]).observed()


def _as_character(ev: Evaluation, node: Call, arguments: Arguments) -> Factor:
    value = level_factor(ev, arguments["x"])
    value = value.among(tuple(sorted(value.levels)), label(arguments["x"]), "")
    return replace(value, ordered=False, contrasts=None, is_text=True)


def _as_numeric(ev: Evaluation, node: Call, arguments: Arguments) -> Any:
    return as_number(ev.value(arguments["x"]), label(arguments["x"]))


def _as_integer(ev: Evaluation, node: Call, arguments: Arguments) -> Any:
    return np.trunc(_as_numeric(ev, node, arguments))


def _cut(ev: Evaluation, node: Call, arguments: Arguments) -> Any:
    x = ev.numbers(arguments["x"])
    breaks = numbers_of(ev, arguments["breaks"], "breaks") or ()
    labels = ev.value(arguments["labels"]) if "labels" in arguments else None
    right = flag(ev, arguments.get("right"), "right", True)
    lowest = flag(ev, arguments.get("include.lowest"), "include.lowest", False)
    named = None if labels is None or labels is False else texts_of(labels, "labels")

    def learn() -> Cut:
        return Cut.fit(ev.present(arguments["x"]), breaks, named, right, lowest)

    intervals = learn() if len(breaks) > 1 else ev.learnt(node, learn)
    codes = intervals(x)
    if labels is False:
        return np.where(codes < 0, np.nan, codes + 1.0)
    ordered = flag(ev, arguments.get("ordered_result"), "ordered_result", False)
    return Factor(codes, intervals.labels, ordered, shared=ev.reader.shared)


# --- transforms that learn ------------------------------------------------------------------------


def _scale(ev: Evaluation, node: Call, arguments: Arguments) -> Any:
    options: list[bool | float] = []
    for name in ("center", "scale"):
        value = ev.value(arguments[name]) if name in arguments else True
        options.append(value if isinstance(value, bool) else float(as_numeric(value, name)))
    center, scale = options
    if center is False:
        center = 0.0
    return ev.learnt(node, lambda: Centered.fit(ev.present(arguments["x"]), center, scale))(
        ev.numbers(arguments["x"])
    )


def _center(ev: Evaluation, node: Call, arguments: Arguments) -> Any:
    return ev.learnt(node, lambda: Centered.fit(ev.present(arguments["x"]), True, False))(
        ev.numbers(arguments["x"])
    )


def _numbered(values: Any) -> Columns:
    return Columns(values, tuple(str(j + 1) for j in range(values.shape[1])))


def _poly(ev: Evaluation, node: Call, arguments: Arguments) -> Columns:
    x = ev.numbers(arguments["x"])
    degree = number_of(ev, arguments.get("degree"), "degree", whole=True) or 1
    if flag(ev, arguments.get("raw"), "raw", False):
        return _numbered(np.column_stack([x**k for k in range(1, degree + 1)]))
    basis = ev.learnt(node, lambda: Polynomial.fit(ev.present(arguments["x"]), degree))
    return _numbered(basis(x))


def _bs(ev: Evaluation, node: Call, arguments: Arguments) -> Columns:
    degree = number_of(ev, arguments.get("degree"), "degree", whole=True)

    def learn() -> Spline:
        return Spline.fit(
            ev.present(arguments["x"]),
            number_of(ev, arguments.get("df"), "df", whole=True),
            numbers_of(ev, arguments.get("knots"), "knots"),
            3 if degree is None else degree,
            flag(ev, arguments.get("intercept"), "intercept", False),
            numbers_of(ev, arguments.get("Boundary.knots"), "Boundary.knots"),
        )

    return _numbered(ev.learnt(node, learn)(ev.numbers(arguments["x"])))


def _ns(ev: Evaluation, node: Call, arguments: Arguments) -> Columns:
    def learn() -> NaturalSpline:
        return NaturalSpline.fit(
            ev.present(arguments["x"]),
            number_of(ev, arguments.get("df"), "df", whole=True),
            numbers_of(ev, arguments.get("knots"), "knots"),
            flag(ev, arguments.get("intercept"), "intercept", False),
            numbers_of(ev, arguments.get("Boundary.knots"), "Boundary.knots"),
        )

    return _numbered(ev.learnt(node, learn)(ev.numbers(arguments["x"])))


# --- the rest -------------------------------------------------------------------------------------


def _identity(ev: Evaluation, node: Call, arguments: Arguments) -> Any:
    return ev.value(arguments["x"])


def _ifelse(ev: Evaluation, node: Call, arguments: Arguments) -> Any:
    test = as_numeric(ev.value(arguments["test"]), label(arguments["test"]))
    yes, no = ev.value(arguments["yes"]), ev.value(arguments["no"])
    gap = np.isnan(test)
    if isinstance(yes, str) and isinstance(no, str):
        levels = tuple(sorted({yes, no}))
        codes = np.where(test != 0, levels.index(yes), levels.index(no))
        return Factor(np.where(gap, -1, codes).astype(np.intp), levels, shared=ev.reader.shared)
    values = np.where(test != 0, as_numeric(yes, label(arguments["yes"])),
                      as_numeric(no, label(arguments["no"])))  # fmt: skip
    values = np.where(gap, np.nan, values)
    both = all(isinstance(part, Logical | bool) for part in (yes, no))
    return Logical(values) if both else values


def _is_na(ev: Evaluation, node: Call, arguments: Arguments) -> Logical:
    value = ev.value(arguments["x"])
    if isinstance(value, Factor):
        return Logical(missing(value).astype(float))
    return Logical(np.isnan(as_numeric(value, label(arguments["x"]))).astype(float))


def _vector(ev: Evaluation, node: Call, arguments: Arguments) -> Any:
    items: list[Any] = []
    if len(node.arguments) == 1 and node.arguments[0][0] is None:
        value = ev.value(node.arguments[0][1])
        if not isinstance(value, Vector) and has_rows(value, ev.n):
            return value  # c(scale(x)): without attributes, which there are none of here
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
    "as.double": Special(_as_numeric),
    "as.integer": Special(_as_integer),
    "as.vector": Special(_identity),
    "identity": Special(_identity),
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
    **MADE,
}
# These learn from all rows; cut() does if it is given a number of intervals.
STATEFUL = ("scale", "standardize", "center", "poly", "bs", "ns", "quantile")
