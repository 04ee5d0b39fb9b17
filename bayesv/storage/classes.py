"""What a file may name: each class by a word, values of it are made of their fields."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bayesv.design.blockwise import Blockwise
from bayesv.design.design import Design, DesignSummary, RandomTerm, TermSummary
from bayesv.design.known import KnownBlocks, KnownVariances
from bayesv.design.row_scales import Exponential, Power, RowScales, Strata
from bayesv.design.scales import ColumnFacts, ResponseScale
from bayesv.design.series import Series
from bayesv.design.structured import Sequential, StructuredResidual
from bayesv.formula import Encoding
from bayesv.formula.bases import Centered, Cut, NaturalSpline, Polynomial, Spline
from bayesv.formula.reader import ColumnState
from bayesv.gram.chain import Merging
from bayesv.gram.layout import BorderTerm
from bayesv.priors.basis import Basis
from bayesv.priors.text import KINDS as PRIORS
from bayesv.reml import Certificate
from bayesv.storage.statistics import statistics_from
from bayesv.structures import DirectSum
from bayesv.structures.coordinate_priors import BetaShare, CorrelationPC, HalfBeta, RangePC
from bayesv.structures.family import Family
from bayesv.structures.kinds import KINDS as FAMILIES
from bayesv.structures.pedigree import Pedigree
from bayesv.structures.relationship import KnownRelationship

__all__ = ["CLASSES", "WORDS", "made"]

CLASSES: dict[str, type[Any]] = {
    **{
        cls.__name__: cls
        for cls in (
            Design, DesignSummary, RandomTerm, TermSummary, BorderTerm,
            Merging, Basis, ColumnFacts, ResponseScale, Encoding, ColumnState, Centered,
            Polynomial, Spline, NaturalSpline, Cut, *PRIORS.values(),
            StructuredResidual, Sequential, Series, RowScales, Blockwise, KnownVariances,
            KnownBlocks, Pedigree, KnownRelationship, BetaShare, CorrelationPC, HalfBeta, RangePC,
            Certificate,
        )
    },
    **{f"residual SD {cls.__name__}": cls for cls in (Strata, Power, Exponential)},
    **{f"structure {word}": cls for word, cls in FAMILIES.items()},
    "structure sum": DirectSum,
}  # fmt: skip

WORDS: dict[type[Any], str] = {cls: word for word, cls in CLASSES.items()}
"""The word of each class; subclasses have their own or none."""

# What older files hold as classes of their own.
_FORMER: dict[str, Callable[..., Any]] = {
    "ChainLevel": dict,
    "Chain": dict,
    "GramStatistics": lambda **parts: statistics_from(parts),
}


def made(word: str) -> Callable[..., Any] | None:
    """Return what makes values of a word of their fields, checked; None if there is no such."""
    cls = CLASSES.get(word)
    if cls is None:
        return _FORMER.get(word)
    if issubclass(cls, Blockwise):
        return cls.checked
    return _checked_family(cls) if issubclass(cls, Family) else cls


def _checked_family(cls: type[Family]) -> Callable[..., Family]:
    def make(**fields: Any) -> Family:
        family = cls(**fields)
        family.check()
        return family

    return make
