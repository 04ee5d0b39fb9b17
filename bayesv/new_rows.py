"""Rows that were not fitted: what V needs to know of them."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayesv.design import Design
from bayesv.errors import DataError
from bayesv.linalg import Array
from bayesv.names import INTERCEPT, factors_of, level_label

__all__ = ["NewRows", "NewTerm", "new_rows"]


@dataclass(frozen=True, eq=False)
class NewTerm:
    """Columns of a random term and levels of its grouping factor in new rows."""

    group: str
    columns: tuple[str, ...]
    values: Array  # (m, r)
    codes: NDArray[np.intp]  # (m,)


@dataclass(frozen=True, eq=False)
class NewRows:
    """New rows for V: `PosteriorV` reads them as it reads a design."""

    formula: str
    terms: tuple[NewTerm, ...]
    weights: Array | None
    row_labels: NDArray[np.object_]

    @property
    def n(self) -> int:
        """Number of rows."""
        return len(self.row_labels)


def new_rows(design: Design, data: pd.DataFrame, weights: str | None = None) -> NewRows:
    """Read the columns that V needs from new data.

    Parameters
    ----------
    design : Design
        What was fitted.
    data : DataFrame
        Grouping factors and covariates of the random terms; no response. Levels may be new: V only
        needs to know which rows share them.
    weights : str, optional
        Column of known weights w in R = σ²/w; 1 if left out.

    Returns
    -------
    NewRows

    Raises
    ------
    DataError
        If a column is missing, or a covariate is a function such as ``poly(x, 2)[1]``: then give a
        column of that very name.

    Notes
    -----
    Names are read as labels say: ``x`` is the column, ``f[b]`` where f equals b, ``a:b`` a product.
    """
    terms = []
    for term in design.terms:
        values = np.column_stack([_column(name, data) for name in term.columns])
        factors = factors_of(term.group)
        missing = [f for f in factors if f not in data]
        if missing:
            raise DataError(
                f"Grouping factor {', '.join(missing)} is missing in the new data, which has "
                f"{', '.join(map(str, data.columns))}."
            )
        labels = [tuple(map(level_label, row)) for row in data[list(factors)].to_numpy(object)]
        codes = pd.factorize(pd.Series(labels, dtype=object))[0].astype(np.intp)
        terms.append(NewTerm(term.group, term.columns, values, codes))
    w = None
    if weights is not None:
        w = np.asarray(data[weights], dtype=float) if weights in data else np.array([np.nan])
        if not (np.isfinite(w).all() and (w > 0).all()):
            raise DataError(f"Weights {weights!r} must be a column of positive numbers.")
    return NewRows(design.formula, tuple(terms), w, np.asarray(data.index, dtype=object))


def _column(name: str, data: pd.DataFrame) -> Array:
    """Values of a coefficient's column."""
    if name in data:
        return _numbers(name, data[name])
    out = np.ones(len(data))
    for part in re.split(r":(?![^\[(]*[\])])", name):
        level = re.fullmatch(r"(.+)\[(?:T\.)?(.+)\]", part)
        if part == INTERCEPT:
            continue
        if part in data:
            out = out * _numbers(part, data[part])
        elif level is not None and level[1] in data:
            is_level = data[level[1]].map(level_label) == level[2]
            out = out * is_level.to_numpy(dtype=float)
        else:
            raise DataError(
                f"The new data have no column for {name!r}; they have "
                f"{', '.join(map(str, data.columns))}. For a function of a covariate, give a "
                f"column named {name!r}."
            )
    return out


def _numbers(name: str, column: pd.Series) -> Array:
    try:
        values = np.asarray(column, dtype=float)
    except (TypeError, ValueError):
        raise DataError(f"Column {name!r} of the new data must be numbers.") from None
    if not np.isfinite(values).all():
        raise DataError(f"Column {name!r} of the new data has missing or infinite values.")
    return values
