"""Columns of a side of a formula: factors coded, interactions multiplied, as R's model.matrix."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from bayesv.errors import DataError
from bayesv.formula.algebra import Terms, variable_label
from bayesv.formula.bases import Polynomial
from bayesv.formula.syntax import label
from bayesv.formula.values import Columns, Contrasts, Factor
from bayesv.linalg import Array
from bayesv.names import INTERCEPT
from bayesv.support.memory import refuse_unless

_COPIES = 4  # of the columns, while they are made

__all__ = ["contrast_matrix", "side_columns"]


def side_columns(terms: Terms, values: Mapping[str, Any], n: int) -> tuple[Array, tuple[str, ...]]:
    """Return the columns of one side and their labels, in R's order.

    Parameters
    ----------
    terms : Terms
    values : mapping
        Value of each variable by its text; logical ones are factors here.
    n : int
        Number of rows.

    Notes
    -----
    In an interaction the first factor's levels change fastest.
    """
    variables = [values[label(node)] for node in terms.variables]
    factors = [i for i, value in enumerate(variables) if isinstance(value, Factor)]
    codings = terms.coded_in_full(factors)
    _refuse_too_wide(terms, variables, codings, n)
    labels = _labels(terms, variables, codings)
    columns: list[Array] = [np.ones((n, 1))] if terms.intercept else []
    for term, full in zip(terms.terms, codings, strict=True):
        product = np.ones((n, 1))
        for v in term:
            block, _ = _coded(variables[v], v in full)
            width = block.shape[1] * product.shape[1]
            product = (block[:, :, None] * product[:, None, :]).reshape(n, width)
        columns.append(product)
    X = np.hstack(columns) if columns else np.empty((n, 0))
    return X, tuple(labels)


def _refuse_too_wide(
    terms: Terms, variables: Sequence[Any], codings: Sequence[Collection[int]], n: int
) -> None:
    """Refuse columns that memory does not hold, before any is made."""
    widths = [math.prod(_width(variables[v], v in full) for v in term)
              for term, full in zip(terms.terms, codings, strict=True)]  # fmt: skip
    if not widths:
        return
    widest = terms.terms[int(np.argmax(widths))]
    text = ":".join(variable_label(terms.variables[v]) for v in sorted(widest))
    refuse_unless(
        8.0 * _COPIES * n * sum(widths),
        f"A side of the formula has {sum(widths):,} columns for {n:,} rows ({text} alone has "
        f"{max(widths):,}), which",
        f"A factor of many levels belongs behind a bar, as in (1 | {text}), which makes no "
        "columns; or merge its levels.",
    )


def _width(value: Any, full: bool) -> int:
    if isinstance(value, Columns):
        return int(value.values.shape[1])
    return len(value.levels) - (not full) if isinstance(value, Factor) else 1


def _labels(
    terms: Terms, variables: Sequence[Any], codings: Sequence[Collection[int]]
) -> list[str]:
    """Return the labels of all columns.

    Columns of the data have their own names; where two labels would be the same, as with one called
    ``x:z`` beside x:z, names that are no plain words are in backticks, as the formula writes them.
    """
    names = [variable_label(node) for node in terms.variables]
    exact = [label(node) for node in terms.variables]
    for spelling in (names, exact):
        labels = [INTERCEPT] if terms.intercept else []
        for term, full in zip(terms.terms, codings, strict=True):
            parts = [""]
            for v in term:
                ends = [spelling[v] + end for end in _coded(variables[v], v in full)[1]]
                parts = [f"{a}:{b}" if a else b for b in ends for a in parts]
            labels += parts
        if len(set(labels)) == len(labels):
            return labels
    twice = next(name for name in labels if labels.count(name) > 1)
    raise DataError(
        f"Two columns of the formula would both be called {twice!r}; rename a column, or levels "
        "with ':' or brackets."
    )


def _coded(value: Any, full: bool) -> tuple[Array, list[str]]:
    """Return the columns of a variable and the ends of their labels."""
    if isinstance(value, Columns):
        return value.values, [f"[{end}]" for end in value.labels]
    if not isinstance(value, Factor):
        return value[:, None], [""]
    if full:
        matrix, ends = np.eye(len(value.levels)), value.levels
    else:
        matrix, ends = contrast_matrix(value)
    return matrix[value.codes], [f"[{end}]" for end in ends]


def contrast_matrix(value: Factor) -> tuple[Array, tuple[str, ...]]:
    """Return the contrasts of a factor, shape (levels, columns), and their names.

    Raises
    ------
    DataError
        If the reference is the level of no row.
    """
    levels, k = value.levels, len(value.levels)
    coding = value.contrasts or Contrasts("poly" if value.ordered else "treatment")
    if coding.level is not None and coding.level not in levels:
        raise DataError(
            f"A coding names the level {coding.level!r}, which no row used has; they have "
            f"{', '.join(levels)}."
        )
    if coding.kind in ("treatment", "sas"):
        base = k - 1 if coding.kind == "sas" else 0
        base = base if coding.level is None else levels.index(coding.level)
        kept = [i for i in range(k) if i != base]
        return np.eye(k)[:, kept], tuple(levels[i] for i in kept)
    if coding.kind == "sum":
        omitted = k - 1 if coding.level is None else levels.index(coding.level)
        kept = [i for i in range(k) if i != omitted]
        matrix = np.eye(k)[:, kept]
        matrix[omitted] = -1
        return matrix, tuple(levels[i] for i in kept)
    if coding.kind == "helmert":
        matrix = np.triu(-np.ones((k, k - 1))) + np.vstack(
            [np.zeros(k - 1), np.diag(np.arange(1.0, k))]
        )
        return matrix, tuple(str(j + 1) for j in range(k - 1))
    return _polynomials(k)


def _polynomials(k: int) -> tuple[Array, tuple[str, ...]]:
    """Return orthonormal polynomials of 1 … k."""
    scores = np.arange(1.0, k + 1)
    matrix = Polynomial.fit(scores, k - 1)(scores)
    names = (".L", ".Q", ".C", *(f"^{j}" for j in range(4, k)))
    return matrix, names[: k - 1]
