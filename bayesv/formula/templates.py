"""Random terms with a family of covariances: ``cs(0 + item | g)``, ``ar1(0 + day | g)``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from bayesv.errors import DataError, near
from bayesv.formula.algebra import Terms, variable_label
from bayesv.formula.scan import Token, pointed_error
from bayesv.formula.syntax import Template, label
from bayesv.formula.values import Factor, Logical
from bayesv.linalg import Array
from bayesv.structures import CovarianceStructure, Diagonal, Unstructured
from bayesv.structures.kinds import family

__all__ = [
    "Positions",
    "is_template",
    "notes_on_order",
    "positions_of_side",
    "structure_of_side",
    "template_of",
]

# The homogeneous and the heterogeneous kind of each word, and whether the first is meant if nothing
# is said: as lme4 2.0 and glmmTMB have it, where these know the word.
_WORDS: dict[str, tuple[str | None, str | None, bool]] = {
    "us": (None, "us", False),
    "diag": ("homdiag", "diag", False),
    "cs": ("cs", "csh", False),
    "ar1": ("ar1", "ar1h", True),
    "toep": ("toep", "toeph", False),
    "ad": ("ad", "adh", True),
    "homdiag": ("homdiag", None, True),
    "homcs": ("cs", None, True),
    "homtoep": ("toep", None, True),
    "csh": (None, "csh", False),
    "ar1h": (None, "ar1h", False),
    "hetar1": (None, "ar1h", False),
    "toeph": (None, "toeph", False),
    "adh": (None, "adh", False),
    "ma1": ("ma1", None, True),
    "arma11": ("arma11", None, True),
    "car1": ("car1", None, True),
    "ou": ("car1", None, True),
}
_FIELD = (
    "distances of coordinates are for residuals; with one row a place V is that of "
    "residual='{}(x + y | group, nugget=True)'"
)
_INSTEAD = {
    "exp": _FIELD.format("sp_exp"),
    "gau": _FIELD.format("sp_gau"),
    "mat": _FIELD.format("sp_mat"),
    **{kind: _FIELD.format(kind) for kind in ("sp_exp", "sp_gau", "sp_pow", "sp_mat")},
    "rr": "covariances of reduced rank are not there; us(…) has all, cs(…) and ar1(…) have few "
    "parameters",
    "propto": "a known matrix among levels is stated by bv.Model(…, relationship={'group': K})",
    "equalto": "a known covariance of the rows is stated by bv.Model(…, residual=bv.Known(…))",
}
_ANY_COLUMNS = ("us", "diag", "homdiag", "cs", "csh")  # without an order of columns
_SLOPES = ("us", "diag", "homdiag")  # for which a single column of numbers is a slope
_MOST_POSITIONS = 60


def is_template(word: str) -> bool:
    """Whether a word before ``(left | group)`` is a family, or one of other programs."""
    return word in _WORDS or word in _INSTEAD


def template_of(word: Token, option: tuple[Token, str] | None, text: str) -> Template:
    """Return what a word before ``(left | group)`` says.

    Parameters
    ----------
    word : Token
        Such as ``cs``.
    option : tuple of Token and str, optional
        ``hom`` where it stands, and its value.
    text : str
        The formula.

    Raises
    ------
    FormulaError
        If there is no such word, with near ones or what to write instead, or no such variant.
    """
    if word.text in _INSTEAD:
        raise pointed_error(
            f"'{word.text}(… | …)' is no random term here: {_INSTEAD[word.text]}.", text, word.start
        )
    if word.text not in _WORDS:
        raise pointed_error(
            f"There is no covariance of random effects '{word.text}'{near(word.text, _WORDS)} "
            f"There are: {', '.join(_WORDS)}.",
            text,
            word.start,
        )
    homogeneous, heterogeneous, by_default = _WORDS[word.text]
    hom, place = by_default, word.start
    if option is not None:
        place = option[0].start
        hom = option[1] in ("True", "TRUE")
    kind = homogeneous if hom else heterogeneous
    if kind is None:
        has = "one SD" if homogeneous else "an SD for each column"
        raise pointed_error(
            f"'{word.text}' has {has}, so that hom={'TRUE' if hom else 'FALSE'} is not of it.",
            text,
            place,
        )
    return Template(word.text, kind)


@dataclass(frozen=True, eq=False)
class Positions:
    """Where the columns of a left side stand.

    Attributes
    ----------
    factor : Factor
        The variable, with the levels that some row has.
    places : ndarray, shape (levels,)
        Their positions: numbers where the variable is one, else the places among all levels of the
        data, those that no row has too.
    """

    factor: Factor
    places: Array


def positions_of_side(
    template: Template,
    side: Terms,
    values: Mapping[str, Any],
    levels: Mapping[str, tuple[str, ...]],
    known: tuple[str, ...] | None = None,
) -> Positions | None:
    """Return the positions of ``0 + f``; None of other left sides.

    Parameters
    ----------
    template : Template
    side : Terms
    values : mapping
        Value of each variable by its text.
    levels : mapping
        All levels of each factor, those that no row has too.
    known : tuple of str, optional
        Positions, as text, that the rows of the fit had, where the variable is a number.

    Raises
    ------
    DataError
        If numbers cannot be positions.
    """
    if template.kind in _SLOPES or side.intercept or [len(term) for term in side.terms] != [1]:
        return None
    node = side.variables[side.terms[0][0]]
    value, name = values[label(node)], variable_label(node)
    if isinstance(value, Factor):
        places = {level: k for k, level in enumerate(levels.get(label(node), value.levels))}
        if template.kind == "car1":
            return Positions(value, _times(value.levels, name, template))
        return Positions(value, np.array([places[level] for level in value.levels], dtype=float))
    if isinstance(value, Logical) or not isinstance(value, np.ndarray):
        return None
    if known is not None:
        numbers = np.array([float(text) for text in known])
    else:
        numbers = np.unique(value)
        _refuse_numbers(numbers, name, template)
    codes = np.searchsorted(numbers, value).clip(max=len(numbers) - 1)
    if (strange := numbers[codes] != value).any():
        raise DataError(
            f"New data: {name} is {value[strange][0]:g} in a row, and the positions of "
            f"{template.word}({label(node)} | …) in the rows of the fit are "
            f"{', '.join(f'{x:g}' for x in numbers[:20])}."
        )
    return Positions(Factor(codes, tuple(repr_of(x) for x in numbers)), numbers)


def repr_of(position: float) -> str:
    """Return a position as text, in full."""
    return f"{position:.0f}" if position % 1 == 0 else repr(float(position))


def _times(levels: tuple[str, ...], name: str, template: Template) -> Array:
    try:
        return np.array([float(level) for level in levels])
    except ValueError:
        raise DataError(
            f"{template.word}({name} | …) needs times, and {name} has the levels "
            f"{', '.join(levels[:5])}; give a column of numbers, or take ar1, whose positions may "
            "be categories."
        ) from None


def _refuse_numbers(numbers: Array, name: str, template: Template) -> None:
    whole = bool((numbers == np.round(numbers)).all())
    if not whole and template.kind != "car1":
        odd = numbers[numbers != np.round(numbers)][0]
        raise DataError(
            f"{template.word}(0 + {name} | …): {name} has {odd:g}; a position is a category or a "
            f"whole number. Times between whole numbers are for car1(0 + {name} | …), slopes for "
            f"(0 + {name} | …)."
        )
    if len(numbers) > _MOST_POSITIONS:
        raise DataError(
            f"{template.word}(0 + {name} | …): {name} has {len(numbers):,} different values, each "
            f"of which would be a column; at most {_MOST_POSITIONS} are. Use fewer, such as "
            f"rounded ones, or residual='{template.kind}({name} | …)'."
        )


def structure_of_side(
    template: Template | None,
    side: Terms,
    names: tuple[str, ...],
    positions: Positions | None,
    *,
    by_levels: bool,
) -> CovarianceStructure:
    """Return the family of the covariance of a left side's columns.

    Parameters
    ----------
    template : Template or None
    side : Terms
    names : tuple of str
        Labels of the columns.
    positions : Positions or None
    by_levels : bool
        Whether all variables are factors: their columns, and an intercept before them, have an
        order, that of lme4.

    Raises
    ------
    DataError
        If the columns have no order that the family needs, or are too few.
    """
    size = len(names)
    if template is None or template.kind == "us":
        return Unstructured(size)
    if template.kind == "diag":
        return Diagonal(size)
    if template.kind == "homdiag":
        return family("homdiag", size)
    if size < 2:
        raise DataError(
            f"{template.word}({_text(side)} | …) has one column, {names[0]}, and a correlation "
            f"needs two. Is it a number that stands for categories? Then {template.word}(0 + "
            "factor(x) | …); if not, write (… | …)."
        )
    if positions is not None:
        whole = (positions.places % 1 == 0).all()
        places = positions.places.astype(int) if whole else positions.places
        return family(template.kind, places)
    if template.kind in _ANY_COLUMNS or (by_levels and template.kind != "car1"):
        return family(template.kind, size)
    raise DataError(
        f"{template.word}({_text(side)} | …) has the columns {', '.join(names[:5])}"
        f"{', …' if size > 5 else ''}, which have no positions, so that lags between them have no "
        f"meaning. For levels in their order write {template.word}(0 + f | …) with a factor f or "
        "whole numbers; for an intercept and slopes us(…), diag(…) or cs(…)."
    )


def notes_on_order(template: Template | None, side: Terms, group: str) -> tuple[str, ...]:
    """Say what lags count where columns are not the levels of one factor."""
    if template is None or template.kind in _ANY_COLUMNS:
        return ()
    if not side.intercept and [len(term) for term in side.terms] == [1]:
        return ()
    text = f"{template.word}({_text(side)} | {group})"
    return (
        f"{text}: lags count the columns in their order, as in lme4; a process over the levels of "
        f"a factor f is {template.word}(0 + f | {group})",
    )


def _text(side: Terms) -> str:
    terms = [":".join(variable_label(side.variables[v]) for v in term) for term in side.terms]
    return " + ".join(["1" if side.intercept else "0", *terms])
