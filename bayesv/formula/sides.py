"""What the left side of a random term stands for."""

from __future__ import annotations

from formulae import model_description

from bayesv.formula.grammar import RandomText
from bayesv.names import INTERCEPT

__all__ = ["left_sides"]


def left_sides(term: RandomText) -> list[str]:
    """Return the left sides whose columns are correlated within, not between.

    ``(x | g)`` is one; ``(x || g)`` stands for ``(1 | g) + (0 + x | g)``, as in lme4.
    """
    if term.correlated:
        return [term.lhs]
    names = [summand.name for summand in model_description(term.lhs).common_terms]
    return ["1" if name == INTERCEPT else f"0 + {name}" for name in names]
