"""Functions of a formula that make factors, or take them apart."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from bayesv.errors import FormulaError
from bayesv.formula.values import Contrasts, Factor, Logical, Vector, as_numeric, as_whole
from bayesv.linalg import Array
from bayesv.names import level_label
from bayesv.support.memory import refuse_unless

__all__ = [
    "as_number",
    "coded",
    "contrasts_of",
    "crossed",
    "factor",
    "releveled",
    "texts_of",
    "to_factor",
]

LOGICAL = ("False", "True")
# R's and Python's names of a coding.
_CODINGS = {
    "contr.treatment": "treatment", "contr.sum": "sum", "contr.helmert": "helmert",
    "contr.poly": "poly", "contr.SAS": "sas", "treatment": "treatment", "helmert": "helmert",
    "poly": "poly", "sum": "sum", "Treatment": "treatment", "Sum": "sum", "Helmert": "helmert",
    "Poly": "poly",
}  # fmt: skip


def to_factor(value: Any, name: str) -> Factor:
    """Return a value as a factor: numbers and truth values by their sorted values.

    Parameters
    ----------
    value : value of a formula
    name : str
        For messages.

    Raises
    ------
    FormulaError
        If it has no level a row.
    """
    if isinstance(value, Factor):
        return value
    if isinstance(value, Logical):
        codes = np.where(np.isnan(value.values), -1, value.values).astype(np.intp)
        return Factor(codes, LOGICAL, shared=True)
    numbers = as_numeric(value, name)
    if numbers.ndim == 0:
        raise FormulaError(f"{name} is one value, and a factor needs one a row.")
    present = ~np.isnan(numbers)
    distinct, inverse = np.unique(numbers[present], return_inverse=True)
    codes = np.full(len(numbers), -1, dtype=np.intp)
    codes[present] = inverse
    return Factor(codes, tuple(level_label(float(value)) for value in distinct))


def factor(value: Factor, levels: Any = None, labels: Any = None, ordered: Any = None) -> Factor:
    """R's ``factor(x, levels, labels, ordered)``; what is no level is missing."""
    if levels is not None:
        wanted = texts_of(levels, "levels")
        place = {level: i for i, level in enumerate(wanted)}
        if len(place) < len(wanted):
            raise FormulaError(f"factor(): a level stands twice among {', '.join(wanted)}.")
        moved = np.array([place.get(level, -1) for level in value.levels] + [-1], dtype=np.intp)
        value = replace(value, codes=moved[value.codes], levels=wanted)
    if labels is not None:
        named = texts_of(labels, "labels")
        if len(named) != len(value.levels):
            raise FormulaError(
                f"factor(): {len(named)} labels for the {len(value.levels)} levels "
                f"{', '.join(value.levels)}."
            )
        distinct = tuple(dict.fromkeys(named))  # levels of one label become one
        moved = np.array([distinct.index(name) for name in named] + [-1], dtype=np.intp)
        value = replace(value, codes=moved[value.codes], levels=distinct)
    if ordered is not None:
        value = replace(value, ordered=bool(ordered))
    return replace(value, contrasts=None, is_text=False)


def crossed(parts: Sequence[Factor], sep: str, first_slowest: bool) -> Factor:
    """R's ``interaction``: all combinations of levels; missing where one of them is.

    Parameters
    ----------
    parts : sequence of Factor
    sep : str
        Between the levels of a label; combinations of one label are one level.
    first_slowest : bool
        Whether the levels of the last factor vary fastest (``lex.order``), and not the first's.
    """
    turn = -1 if first_slowest else 1
    sizes = [len(part.levels) for part in parts]
    refuse_unless(
        200.0 * math.prod(sizes),
        f"interaction() of {' × '.join(f'{size:,}' for size in sizes)} levels",
        "Write f:g for the combinations that rows have.",
    )
    codes = np.zeros(len(parts[0].codes), dtype=np.intp)
    step = 1
    for part in parts[::turn]:
        codes += step * part.codes
        step *= len(part.levels)
    gap = np.any([part.codes < 0 for part in parts], axis=0)
    # Of a product the last varies fastest.
    ways = itertools.product(*(part.levels for part in parts[::-turn]))
    names = [sep.join(way[::-turn]) for way in ways]
    distinct = tuple(dict.fromkeys(names))
    place = {name: i for i, name in enumerate(distinct)}
    moved = np.array([place[name] for name in names], dtype=np.intp)
    shared = all(part.shared for part in parts)
    return Factor(np.where(gap, -1, moved[np.where(gap, 0, codes)]), distinct, shared=shared)


def releveled(value: Factor, reference: Any, name: str) -> Factor:
    """R's ``relevel``: the reference comes first."""
    (first,) = texts_of(reference, "ref")
    if first not in value.levels:
        raise FormulaError(
            f"relevel(): {name} has no level {first!r}; its levels are {', '.join(value.levels)}."
        )
    levels = (first, *(level for level in value.levels if level != first))
    return value.among(levels, name, "")


def contrasts_of(argument: Any, levels: tuple[str, ...], base: Any = None) -> Contrasts:
    """Return the coding that C(f, …) names; a reference must be one of the levels."""
    if isinstance(argument, Contrasts):
        coding = argument
    elif isinstance(argument, str) and argument in _CODINGS:
        coding = Contrasts(_CODINGS[argument])
    else:
        shown = repr(argument) if isinstance(argument, str) else "this"
        raise FormulaError(
            f"C(): {shown} is no coding; there are contr.treatment, contr.sum, contr.helmert, "
            "contr.poly, contr.SAS, and Treatment('level'), Sum('level')."
        )
    if base is not None:
        place = as_whole(base, "C(): base, the place of a level,")
        if not 1 <= place <= len(levels):
            raise FormulaError(f"C(): base={place} is no level; there are {len(levels)}.")
        coding = Contrasts(coding.kind, levels[place - 1])
    if coding.level is not None and coding.level not in levels:
        raise FormulaError(
            f"C(): there is no level {coding.level!r}; the levels are {', '.join(levels)}."
        )
    return coding


CODING_NAMES = frozenset(_CODINGS)


def coded(value: Factor, coding: Contrasts | None) -> Factor:
    """Return a factor with its coding."""
    return replace(value, contrasts=coding, is_text=False)


def as_number(value: Any, name: str) -> Array:
    """R's ``as.numeric``: text is read, of a factor the number of the level is taken."""
    if not isinstance(value, Factor):
        return as_numeric(value, name)
    if not value.is_text:
        return np.where(value.codes < 0, np.nan, value.codes + 1.0)
    try:
        numbers = np.array([*(float(level) for level in value.levels), np.nan])
    except ValueError:
        bad = next(level for level in value.levels if not _is_number(level))
        raise FormulaError(f"as.numeric(): {name} has the text {bad!r}, no number.") from None
    return numbers[value.codes]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def texts_of(value: Any, what: str) -> tuple[str, ...]:
    """Return constants as texts of levels."""
    items = value.items if isinstance(value, Vector) else (value,)
    texts = []
    for item in items:
        if isinstance(item, str):
            texts.append(item)
        elif isinstance(item, bool):
            texts.append(str(item))
        elif isinstance(item, int | float):
            texts.append(level_label(float(item)))
        else:
            raise FormulaError(f"{what} must be texts or numbers, such as c('a', 'b').")
    return tuple(texts)
