"""Left sides of random terms in rows: columns, and the family of their covariance."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bayesv.errors import DataError
from bayesv.formula.algebra import Terms
from bayesv.formula.coding import side_columns
from bayesv.formula.grammar import RandomText
from bayesv.formula.groups import LeftSide
from bayesv.formula.syntax import Node, Template, label
from bayesv.formula.templates import positions_of_side, structure_of_side
from bayesv.formula.values import Factor

__all__ = ["key_of", "left_side", "numbered"]


def key_of(term: RandomText) -> tuple[str, bool, Template | None]:
    """Return what the columns of a random term and their family depend on."""
    return term.lhs, term.correlated, term.template


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
