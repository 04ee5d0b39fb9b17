"""Random terms from their left sides and grouping factors: observed levels only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayesv.design.design import Index, RandomTerm
from bayesv.errors import DataError, FormulaError
from bayesv.formula.frame import levels_of
from bayesv.formula.grammar import RandomText
from bayesv.formula.relationships import relationships_of
from bayesv.linalg import Array
from bayesv.structures import CovarianceStructure, direct_sum
from bayesv.support.integers import distinct, n_distinct

__all__ = [
    "LeftSide",
    "combined",
    "level_text_of_rows",
    "level_texts",
    "random_terms",
    "refuse_alike",
    "refuse_levels",
    "relation",
]

# Blocks of columns that one random term correlates within, not between: values, names and the
# family of their covariance.
LeftSide = list[tuple[Array, tuple[str, ...], CovarianceStructure]]


@dataclass(frozen=True, eq=False)
class Combined:
    """All that is written about one grouping factor."""

    label: str
    factors: tuple[str, ...]
    columns: tuple[str, ...]
    values: Array
    structure: CovarianceStructure


def combined(random: Sequence[RandomText], lhs: Sequence[LeftSide]) -> list[Combined]:
    """Join what is written about one grouping factor, in the order of the formula.

    Raises
    ------
    FormulaError
        If a column appears twice in the terms of one factor.
    """
    first: dict[tuple[str, ...], RandomText] = {}
    parts: dict[tuple[str, ...], LeftSide] = {}
    for term, left_side in zip(random, lhs, strict=True):
        key = tuple(sorted(set(term.factors)))
        first.setdefault(key, term)
        parts.setdefault(key, []).extend(left_side)
    groups = []
    for key, blocks in parts.items():
        label = first[key].label
        names = tuple(name for _, columns, _ in blocks for name in columns)
        twice = {name for name in names if names.count(name) > 1}
        if twice:
            why = "V depends on the sum of their variances only. Write each column once."
            if any(term.template is not None for term in random):
                why = (
                    "one of its levels has each effect once. Write each column once, or give one "
                    "of the terms a copy of the grouping factor under another name."
                )
            raise FormulaError(
                f"{', '.join(sorted(twice))} appears in two random terms of {label!r}; {why}"
            )
        groups.append(
            Combined(
                label,
                first[key].factors,
                names,
                np.hstack([values for values, _, _ in blocks]),
                direct_sum([structure for _, _, structure in blocks]),
            )
        )
    return groups


def random_terms(
    data: pd.DataFrame,
    random: Sequence[RandomText],
    lhs: Sequence[LeftSide],
    *,
    known_scale: bool = False,
    relationship: Mapping[str, Any] | None = None,
) -> tuple[RandomTerm, ...]:
    """Return the random terms of the rows, by decreasing number of levels.

    Where the residual covariance or the relationship of the levels is known, a level may have one
    row.
    """
    terms, groups = [], combined(random, lhs)
    related = relationships_of(relationship, [one.label for one in groups])
    # Factors of nested terms are in several of them.
    factors = dict.fromkeys(factor for one in groups for factor in one.factors)
    found = {factor: levels_of(data[factor]) for factor in factors}
    for one in groups:
        codes, levels = _crossing([found[factor] for factor in one.factors], one.label)
        known = known_scale or one.label in related
        refuse_levels(levels, one.label, None if known else len(data))
        terms.append(
            RandomTerm(
                one.label, one.columns, levels, codes, one.values, one.structure,
                related.get(one.label),
            )
        )  # fmt: skip
    return tuple(sorted(terms, key=lambda term: -term.n_levels))


def level_text_of_rows(
    data: pd.DataFrame, factors: Sequence[str], label: str
) -> tuple[Index, NDArray[np.object_]]:
    """Return each row's level of a (product of) factor(s), and the observed levels as text.

    Raises
    ------
    DataError
        If different combinations have the same text.
    """
    return _crossing([levels_of(data[factor]) for factor in factors], label)


def _crossing(
    parts: Sequence[tuple[Index, Sequence[str]]], label: str
) -> tuple[Index, NDArray[np.object_]]:
    """Return what `level_text_of_rows` does, of codes and labels of each factor."""
    n = len(parts[0][0])
    code = np.zeros(n, dtype=np.int64)
    for codes, labels in parts:
        code = code * len(labels) + codes
        # Renumber at once: the product of level counts may exceed 64 bits, the pairs cannot.
        seen, code = distinct(code)
    first = np.full(len(seen), -1)
    first[code[::-1]] = np.arange(n)[::-1]
    levels = _texts([(codes[first], labels) for codes, labels in parts])
    refuse_alike(levels, label)
    return code.astype(np.intp), levels


def level_texts(factors: Sequence[pd.Categorical]) -> Any:
    """Return the text of each level of a product of factors, ``a:b``."""
    return _texts([(factor.codes, factor.categories) for factor in factors])


def _texts(factors: Sequence[tuple[Index, Sequence[str]]]) -> Any:
    """Return what `level_texts` does, of codes and labels of each factor."""
    names = [np.asarray(labels, dtype=object)[codes] for codes, labels in factors]
    if len(names) == 1:
        return names[0]
    return np.array([":".join(parts) for parts in zip(*names, strict=True)], dtype=object)


def refuse_alike(levels: Any, label: str) -> None:
    """Refuse levels that cannot be told apart by their text."""
    if len(set(levels)) < len(levels):
        raise DataError(
            f"Different combinations of {label!r} have the same text, because labels contain ':'; "
            "rename the levels."
        )


def refuse_levels(levels: Any, label: str, n: int | None) -> None:
    """Refuse levels that cannot be told apart, or whose variance is not identified in n rows."""
    refuse_alike(levels, label)
    if len(levels) == 1:
        raise DataError(
            f"Grouping factor {label!r} has one level ({levels[0]!r}) in the rows used; its "
            "variance is not identified. Drop the term."
        )
    if len(levels) == n:
        raise DataError(
            f"Grouping factor {label!r} has as many levels as there are rows ({n}); its variance "
            "cannot be told from the residual variance. Drop the term or use a coarser factor."
        )


def relation(a: RandomTerm, b: RandomTerm) -> str:
    """Say whether a is nested in b or crossed with it (b has no more levels than a)."""
    pairs = n_distinct(a.codes.astype(np.int64) * b.n_levels + b.codes)
    if pairs == a.n_levels:
        return f"{a.group} is nested in {b.group}"
    return (
        f"{a.group} and {b.group} are crossed ({pairs} of {a.n_levels * b.n_levels} pairs occur); "
        f"if labels of one are reused for different units within the other, write the interaction"
    )
