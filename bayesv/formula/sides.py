"""What the left side of a random term stands for."""

from __future__ import annotations

import re

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
    summands = model_description(term.lhs).common_terms
    names = [_quoted(summand.name, term.lhs) for summand in summands]
    return ["1" if name == INTERCEPT else f"0 + {name}" for name in names]


def _quoted(name: str, lhs: str) -> str:
    """Return a summand's name with the backticks that formulae drops.

    >>> _quoted("z:my x", "z:`my x`")
    'z:`my x`'
    """
    for own in re.findall(r"`([^`]+)`", lhs):
        name = re.sub(rf"(?<![\w.`]){re.escape(own)}(?![\w.`])", r"`\g<0>`", name)
    return name
