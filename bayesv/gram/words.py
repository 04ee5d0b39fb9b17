"""How the random effects of a design are eliminated, in words."""

from __future__ import annotations

from collections.abc import Callable

from bayesv.design.labelled import LabelledDesign
from bayesv.errors import MemoryNeededError
from bayesv.gram.statistics import GramStatistics

__all__ = ["elimination_in_words"]


def elimination_in_words(design: LabelledDesign, statistics: Callable[[], GramStatistics]) -> str:
    """Return how effects are eliminated; or the memory that this needs, if there is less."""
    if (form := design.parametric_residual) is not None:
        return f"at every value of the parameters of {form.describe()}"
    if not design.terms:
        return "none: there is no random term"
    try:
        return statistics().describe(design.groups)
    except MemoryNeededError as error:
        return f"none. {error}"
