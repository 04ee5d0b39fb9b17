"""Labels of a design: each of one thing, and levels read in the order of the factors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from bayesv.errors import DataError
from bayesv.names import level_label, reordered_levels
from bayesv.structures import CovarianceStructure
from bayesv.structures.relationship import Relationship
from bayesv.support.arguments import (
    TEXT,
    TEXTS,
    Demand,
    a,
    array,
    called,
    optional,
    some,
    whole,
)

__all__ = ["DESIGN_FIELDS", "TERM_FIELDS", "check_fields", "check_labels", "level_place"]


# What the fields of RandomTerm and Design must be.
TERM_FIELDS = {
    "group": TEXT, "columns": TEXTS, "levels": array(1), "codes": array(1, "iu"),
    "values": array(2, "biuf"), "structure": a(CovarianceStructure),
    "relationship": optional(a(Relationship)),
}  # fmt: skip
DESIGN_FIELDS = {
    "formula": TEXT, "response": TEXT, "y": array(1, "biuf"), "X": array(2, "biuf"),
    "fixed_names": TEXTS, "terms": some(called("RandomTerm")),
    "residual": called("Residual"), "offset": optional(array(1, "biuf")),
    "rows": array(1, "iu"), "row_labels": a(pd.Index),
    "n_rows_given": whole(0), "aliased": TEXTS, "notes": TEXTS,
}  # fmt: skip


def check_fields(thing: Any, rules: Mapping[str, Demand]) -> None:
    """Refuse a field of the wrong kind."""
    for name, rule in rules.items():
        rule(f"{type(thing).__name__}.{name}", getattr(thing, name))


def check_labels(design: Any) -> None:
    """Refuse labels that do not tell things apart: every table and every draw goes by them.

    Parameters
    ----------
    design : Design or DesignSummary

    Raises
    ------
    DataError
        If two of a kind share a label, or a factor has the name of the residual.
    """
    named = [("Fixed effects", design.fixed_names), ("Grouping factors", design.groups)]
    named += [(f"Random effects of {term.group!r}", term.columns) for term in design.terms]
    for what, names in named:
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise DataError(
                f"{what} must be named once each; {', '.join(map(repr, twice))} is the name of "
                "two. A column may have the name that an interaction or a level gets, as 'x:z' and "
                "'f[b]' do: rename the column."
            )
    effects = [f"{term.group}: {column}" for term in design.terms for column in term.columns]
    if alike := sorted({name for name in effects if effects.count(name) > 1}):
        raise DataError(
            f"Two random effects would be printed alike, as {alike[0]!r}; rename a column."
        )
    if "Residual" in design.groups:
        raise DataError(
            "A grouping factor cannot be called 'Residual', the name of the residual variance in "
            "every table; rename the column."
        )


def level_place(term: Any, group: str, level: object) -> int:
    """Return the position of a level of a random term, given under a label of its factors.

    Parameters
    ----------
    term : RandomTerm or TermSummary
    group : str
        Its label, or the same factors in another order; then the level is read in that order.
    level : object

    Raises
    ------
    DataError
        If there is no such level, or more than one may be meant.
    """
    if group == term.group or ":" not in group:
        return int(term.level_index(level))
    readings = set(reordered_levels(group, term.group, level_label(level)))
    found = [i for i, label in enumerate(term.levels) if label in readings]
    if len(found) == 1:
        return found[0]
    if found:
        raise DataError(
            f"Level {level!r} of {group!r} may be "
            f"{' or '.join(repr(term.levels[i]) for i in found)} of {term.group!r}; name the group "
            "and the level as the design prints them."
        )
    raise DataError(
        f"Group {group!r} has no level {level!r}; the design calls it {term.group!r}, with "
        f"{term.n_levels} observed levels such as {term.levels[0]!r}."
    )
