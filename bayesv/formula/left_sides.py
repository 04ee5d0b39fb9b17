"""Left sides of random terms in rows: columns, and the family of their covariance."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bayesv.design.scales import refuse_sizes
from bayesv.errors import DataError, FormulaError
from bayesv.formula.algebra import Terms
from bayesv.formula.coding import side_columns
from bayesv.formula.grammar import RandomText
from bayesv.formula.groups import LeftSide
from bayesv.formula.syntax import Name, Node, Template, label
from bayesv.formula.templates import positions_of_side, structure_of_side
from bayesv.formula.values import Factor

__all__ = ["key_of", "left_side", "numbered", "refuse_slopes_of_groups"]


def key_of(term: RandomText) -> tuple[str, bool, Template | None]:
    """Return what the columns of a random term and their family depend on."""
    return term.lhs, term.correlated, term.template


def refuse_slopes_of_groups(term: RandomText, values: Mapping[str, Any]) -> None:
    """Refuse a number left of a bar that groups right of it, where lme4 makes a factor of it."""
    used = (side.variables[v] for side in term.sides for members in side.terms for v in members)
    for node in used:
        if not isinstance(node, Name) or node.name not in term.factors:
            continue
        if not isinstance(values[label(node)], Factor):
            raise FormulaError(
                f"({term.lhs} | {term.label}): {node.name!r} is a number left of the bar and a "
                "grouping factor right of it, which lme4 reads as a factor on both sides. Write "
                f"factor({label(node)}) left of the bar for that, or give the slope a copy of the "
                "column under another name."
            )


def left_side(
    term: RandomText,
    values: Mapping[str, Any],
    n: int,
    levels: Mapping[str, tuple[str, ...]],
    known: tuple[str, ...] | None = None,
) -> LeftSide:
    """Return the columns of a random term in n rows, with the family of their covariance."""
    blocks: LeftSide = []
    for side in term.sides:
        positions = None
        if term.template is not None:
            positions = positions_of_side(term.template, side, values, levels, known)
        if positions is not None:
            values = {**values, label(_only(side)): positions.factor}
        columns, names = side_columns(side, values, n)
        refuse_sizes(names, columns)
        used = {v for members in side.terms for v in members}
        by_levels = all(isinstance(values[label(side.variables[v])], Factor) for v in used)
        structure = structure_of_side(term.template, side, names, positions, by_levels=by_levels)
        blocks.append((columns, names, structure))
    return blocks


def numbered(
    term: RandomText, values: Mapping[str, Any], in_batches: bool
) -> dict[str, tuple[str, ...]]:
    """Return the positions of a random term by its left side, if they are numbers."""
    if term.template is None:
        return {}
    positions = positions_of_side(term.template, term.sides[0], values, {})
    if positions is None or isinstance(values[label(_only(term.sides[0]))], Factor):
        return {}
    if in_batches:
        raise DataError(
            f"{term.template.word}({term.lhs} | …): the positions are numbers, and these data come "
            "in batches, which must know all of them. Make the column categorical."
        )
    return {term.lhs: positions.factor.levels}


def _only(side: Terms) -> Node:
    """Return the variable of a side that has one."""
    return side.variables[side.terms[0][0]]
