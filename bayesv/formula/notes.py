"""What is said of columns when a model is made of them."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import pandas as pd

from bayesv.data.tables import reads_as_dates, reads_as_numbers
from bayesv.design.design import RandomTerm
from bayesv.errors import DesignWarning, warn
from bayesv.formula.grammar import Formula
from bayesv.names import INTERCEPT

__all__ = ["far_from_zero", "note_numbers_as_text", "occurrences", "rounded", "rounded_columns"]

_FAR = 0.5  # of its range, that 0 lies outside of a covariate
_COARSE = 1e-4  # distance of neighbouring numbers over the SD of a covariate


def occurrences(name: str, formula: Formula) -> int:
    """Return how often a column is used in a formula outside grouping factors."""
    return len(re.findall(rf"(?<![\w.]){re.escape(name)}(?![\w.])", _sides(formula)))


def _converted(name: str, formula: Formula) -> int:
    """Return how often the formula itself says what the text of a column is to be."""
    call = rf"(?<![\w.])as\.(?:numeric|integer|character)\(`?{re.escape(name)}`?\)"
    return len(re.findall(call, _sides(formula)))


def _sides(formula: Formula) -> str:
    sides = [formula.response, formula.fixed, *formula.offsets, *(t.lhs for t in formula.random)]
    return " ".join(sides)


def note_numbers_as_text(columns: Sequence[pd.Series], formula: Formula) -> tuple[str, ...]:
    """Return a note on each covariate that is text though it reads as numbers or dates; warn, too.

    Parameters
    ----------
    columns : sequence of Series
        Plain columns, or the different values of each.
    formula : Formula
        Columns that it makes factors itself, and grouping factors, are meant to be factors.

    Warns
    -----
    DesignWarning
        If such a covariate has more than two levels: with two the model is the same.
    """
    notes = []
    for column in columns:
        name = str(column.name)
        if column.dtype != object or name in formula.factors:
            continue
        if occurrences(name, formula) == _converted(name, formula):
            continue
        levels = [value for value in column.dropna().unique() if isinstance(value, str)]
        if len(levels) < 2:
            continue
        if reads_as_numbers(levels):
            what, one, by = "numbers", "a number", "pandas.to_numeric"
        elif reads_as_dates(levels):
            what, one, by = "dates", "a number of days", "pandas.to_datetime"
        else:
            continue
        notes.append(
            f"{name} is text though it reads as {what} ({levels[0]!r}, {levels[1]!r}, …) and is a "
            f"factor of {len(levels)} levels; for {one}, convert it before, such as by {by}"
        )
        if len(levels) > 2:
            warn(f"{notes[-1]}.", DesignWarning)
    return tuple(notes)


def far_from_zero(term: RandomTerm) -> tuple[str, ...]:
    """Return a note on each slope of a term with an intercept, if 0 lies far outside its x."""
    if INTERCEPT not in term.columns:
        return ()
    notes = []
    for column, x in zip(term.columns, term.values.T, strict=True):
        low, high = float(x.min(initial=np.inf)), float(x.max(initial=-np.inf))
        away = max(low, -high)  # from 0 to the nearest value
        if column != INTERCEPT and low < high and away > _FAR * (high - low):
            notes.append(
                f"0 lies far outside {column} ({low:.4g} to {high:.4g}), where intercepts of "
                f"{term.group} are: their SD and correlation with slopes are of no row, and priors "
                f"of them say other things. Centre {column}, as by {column} - {x.mean():.4g}"
            )
    return tuple(notes)


def rounded_columns(columns: Sequence[pd.Series], formula: Formula) -> tuple[str, ...]:
    """Return a note on each covariate whose numbers were rounded to what can be stored there.

    Parameters
    ----------
    columns : sequence of Series
        Plain columns.
    formula : Formula
        Its response is judged beside σ, once that is known.
    """
    notes: list[str] = []
    for column in columns:
        name = str(column.name)
        if column.dtype != np.float64 or name == formula.response or not occurrences(name, formula):
            continue
        x = column.to_numpy()
        x = x[np.isfinite(x)]
        if not len(x) or (x == x[0]).all():
            continue
        with np.errstate(over="ignore"):  # what is larger is in double precision
            single, largest = x.astype(np.float32), np.abs(x).max()
        kind = np.float32 if (single == x).all() else np.float64
        spacing = float(np.spacing(kind(largest)))
        said = rounded(name, float(largest), spacing, float((x - x[0]).std()))
        # Whole numbers, halves and the like are exact and have no odd multiples of it.
        if said and (np.rint(x / spacing) % 2 == 1).any():
            notes += said
    return tuple(notes)


def rounded(
    name: str, largest: float, spacing: float, spread: float, coarse: float = _COARSE
) -> tuple[str, ...]:
    """Return a note on a covariate, if numbers of its size are far apart beside its SD."""
    if not spacing > coarse * spread > 0.0:
        return ()
    return (
        f"{name} reaches {largest:.3g}, where the numbers it is stored in are {spacing:.1g} apart, "
        f"and its SD is {spread:.1g}: rounding is part of it, and effects of it are wrong by as "
        "much. Subtract a constant before it is rounded, or store it in double precision",
    )
