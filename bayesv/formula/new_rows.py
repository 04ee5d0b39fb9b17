"""Rows that were not fitted: what V needs to know of them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayesv.design.design import Design
from bayesv.design.residual import Residual
from bayesv.errors import DataError
from bayesv.formula.frame import (
    as_factor,
    as_numbers,
    column_names,
    finite_rows,
    kind,
    take_columns,
)
from bayesv.formula.groups import level_texts
from bayesv.linalg import Array
from bayesv.names import INTERCEPT, factors_of
from bayesv.structures.relationship import RelatedLevels

__all__ = ["NewRows", "NewTerm", "new_rows"]


@dataclass(frozen=True, eq=False)
class NewTerm:
    """Columns of a random term and levels of its grouping factor in new rows."""

    group: str
    columns: tuple[str, ...]
    values: Array  # (m, r)
    codes: NDArray[np.intp]  # (m,)
    levels: tuple[str, ...] | None = None  # of the codes, where they are related
    related: RelatedLevels | None = None

    def shared(self, left: NDArray[np.intp], right: NDArray[np.intp]) -> Array:
        """Return K of levels with each other; see `RandomTerm.shared`."""
        if self.related is None:
            return np.asarray(left == right, dtype=float)
        return np.asarray(self.related.K[left, right])


@dataclass(frozen=True, eq=False)
class NewRows:
    """New rows for V: `PosteriorV` reads them as it reads a design."""

    formula: str
    terms: tuple[NewTerm, ...]
    residual: Residual
    row_labels: NDArray[np.object_]

    @property
    def n(self) -> int:
        """Number of rows."""
        return len(self.row_labels)


def new_rows(design: Design, data: Any, weights: str | None = None) -> NewRows:
    """Read the columns that V needs from new data.

    Parameters
    ----------
    design : Design
        What was fitted.
    data : DataFrame
        pandas, polars, a mapping …: grouping factors and the columns of the random terms' left
        sides; no response. Levels of grouping factors may be new: V only needs to know which rows
        share them, and rows whose level is missing share nothing; of related levels the
        relationship must have them. All other columns are coded as
        the fitted rows were: ``I(age - 14)``, ``poly(x, 2)``, factors.
    weights : str, optional
        Column of known weights w in R = σ²/w; 1 if left out.

    Returns
    -------
    NewRows

    Raises
    ------
    DataError
        If the data have no rows, a column is missing, has a gap, or a level that no fitted row had.

    Notes
    -----
    A design that was made elsewhere has no formula of its own; then names are read as labels say:
    ``x`` is the column, ``f[b]`` where f equals b, ``a:b`` a product. A function such as
    ``poly(x, 2)[1]`` needs a column of that very name.
    """
    encoding = design.encoding
    names = column_names(data) if encoding is None else list(encoding.names)
    if weights is not None:
        names = [*dict.fromkeys([*names, weights])]
    frame = take_columns(data, names)
    blocks = {} if encoding is None else encoding.random_columns(data)
    terms = []
    for term in design.terms:
        if encoding is None:
            values = np.column_stack([_column(name, frame, term.columns) for name in term.columns])
            factors = factors_of(term.group) if term.group not in frame else (term.group,)
        else:
            columns, values = blocks[term.group]
            values = values[:, [columns.index(name) for name in term.columns]]
            factors = encoding.factors_of(term.group)
        codes = _shared(frame, factors)
        levels = related = None
        if term.relationship is not None:
            codes, levels = _related(frame, factors, term.group)
            related = term.relationship.of(levels)
        terms.append(NewTerm(term.group, term.columns, values, codes, levels, related))
    w = None
    if weights is not None:
        if weights not in frame:
            raise DataError(f"The new data have no column {weights!r} of weights.")
        w = _numbers(weights, frame[weights])
        if not (w > 0).all():
            raise DataError(f"Weights {weights!r} must be a column of positive numbers.")
    residual = Residual.of_weights(w, len(frame))
    return NewRows(design.formula, tuple(terms), residual, np.asarray(frame.index, dtype=object))


def _shared(frame: pd.DataFrame, factors: tuple[str, ...]) -> NDArray[np.intp]:
    """Return which rows share a level of all factors; one without a level shares it with none."""
    missing = [name for name in factors if name not in frame]
    if missing:
        raise DataError(f"Grouping factor {', '.join(missing)} is missing in the new data.")
    n = len(frame)
    present = np.logical_and.reduce([finite_rows(frame[name]) for name in factors])
    codes = np.column_stack([as_factor(frame[name]).codes for name in factors])
    _, shared = np.unique(codes, axis=0, return_inverse=True)
    return np.where(present, np.ravel(shared), n + np.arange(n)).astype(np.intp)


def _related(
    frame: pd.DataFrame, factors: tuple[str, ...], group: str
) -> tuple[NDArray[np.intp], tuple[str, ...]]:
    """Return the level of each row, and the levels by name: their relationship is needed."""
    present = np.logical_and.reduce([finite_rows(frame[name]) for name in factors])
    if not present.all():
        raise DataError(
            f"Row {frame.index[int(np.argmin(present))]!r} of the new data has no level of "
            f"{group!r}, whose levels have a known relationship: name one that is in it."
        )
    texts = level_texts([as_factor(frame[name]) for name in factors])
    levels, codes = np.unique(texts.astype(str), return_inverse=True)
    return np.ravel(codes).astype(np.intp), tuple(levels.tolist())


# --- designs made elsewhere -----------------------------------------------------------------------


def _column(name: str, frame: pd.DataFrame, labels: tuple[str, ...]) -> Array:
    """Values of a coefficient's column, read from its label."""
    if name in frame:
        return _numbers(name, frame[name])
    product = np.ones(len(frame))
    for part in re.split(r":(?![^\[(]*[\])])", name):
        level = re.fullmatch(r"(.+)\[(?:T\.)?(.+)\]", part)
        if part == INTERCEPT:
            continue
        if part in frame:
            product = product * _numbers(part, frame[part])
        elif level is not None and level[1] in frame:
            product = product * _is_level(level[1], level[2], frame[level[1]], labels)
        else:
            raise DataError(
                f"The new data have no column for {name!r}; they have "
                f"{', '.join(map(str, frame.columns))}. For a function of a covariate, give a "
                f"column named {name!r}."
            )
    return product


def _is_level(name: str, level: str, column: pd.Series, labels: tuple[str, ...]) -> Array:
    """Where a factor has a level; values that no label names may be a reference or a mistake."""
    texts = np.array([*as_factor(column).categories, None], dtype=object)[as_factor(column).codes]
    start = re.escape(name)
    known = {m[1] for label in labels
             for m in re.finditer(rf"(?:^|:){start}\[(?:T\.)?([^\]]+)\]", label)}  # fmt: skip
    unknown = [text for text in texts if text not in known]
    if unknown:
        raise DataError(
            f"The new data have {name} = {unknown[0]!r}, and this design, which was made "
            f"elsewhere, names {', '.join(sorted(known))} only: it may be the reference or a "
            f"mistake. Give columns named as the coefficients are, such as '{name}[{level}]'."
        )
    return np.asarray(texts == level, dtype=float)


def _numbers(name: str, column: pd.Series) -> Array:
    if kind(column) == "factor":
        raise DataError(f"Column {name!r} of the new data must be numbers.")
    values = as_numbers(column)
    if not np.isfinite(values).all():
        raise DataError(f"Column {name!r} of the new data has missing or infinite values.")
    return values
