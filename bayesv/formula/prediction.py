"""Replicated responses of fitted rows and of new ones, draw by draw."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesv.design.design import Design
from bayesv.errors import DataError
from bayesv.formula.frame import as_factor, finite_rows, take_columns
from bayesv.formula.groups import level_texts
from bayesv.formula.new_rows import new_rows
from bayesv.linalg import Array

__all__ = ["PredictedRows", "PredictedTerm", "fitted_rows", "rows_of"]


@dataclass(frozen=True, eq=False)
class PredictedTerm:
    """A random term in rows that are predicted.

    Attributes
    ----------
    values : ndarray, shape (m, r)
    fitted : ndarray of int, shape (m,)
        Level of the fit, −1 for one that was not fitted.
    shared : ndarray of int, shape (m,)
        Which rows share a level, fitted or not.
    """

    values: Array
    fitted: NDArray[np.intp]
    shared: NDArray[np.intp]

    def apply(self, effects: Array | None, root: Array, rng: np.random.Generator) -> Array:
        """Return Zu, shape (m,): effects (J, r) of fitted levels, draws from N(0, ΛΛ') of others.

        All levels are new where ``effects`` is None.
        """
        known = self.fitted >= 0
        if effects is not None and known.all():
            return np.asarray((self.values * effects[self.fitted]).sum(axis=1))
        levels, place = np.unique(self.shared, return_inverse=True)
        u = (rng.normal(size=(len(levels), root.shape[0])) @ root.T)[np.ravel(place)]
        if effects is not None:
            u[known] = effects[self.fitted[known]]
        return np.asarray((self.values * u).sum(axis=1))


@dataclass(frozen=True, eq=False)
class PredictedRows:
    """What predictions need of rows: X, offset, random terms, weights, labels."""

    X: Array
    offset: Array
    terms: Sequence[PredictedTerm]
    weights: Array
    labels: list[str]


def fitted_rows(design: Design) -> PredictedRows:
    """Return the rows of the fit."""
    w = np.ones(design.n) if design.weights is None else design.weights
    terms = [PredictedTerm(term.values, term.codes, term.codes) for term in design.terms]
    labels = [str(label) for label in design.row_labels]
    return PredictedRows(design.X, design.y - design.target, terms, w, labels)


def rows_of(design: Design, data: Any, weights: str | None = None) -> PredictedRows:
    """Return new rows, coded as the fitted ones were.

    Raises
    ------
    DataError
        As of `new_rows`, or if the design has no formula of its own.
    """
    encoding = design.encoding
    if encoding is None:
        raise DataError(
            "This design was made elsewhere and has no formula that codes new rows; predict the "
            "rows of the fit, or build the model by bv.Model(formula, data)."
        )
    rows = new_rows(design, data, weights)
    names, X = encoding.fixed_columns(data)
    column = encoding.offset(data)
    offset = np.zeros(rows.n) if column is None else column
    gaps = ~(np.isfinite(X).all(axis=1) & np.isfinite(offset))
    if gaps.any():
        raise DataError(
            f"{int(gaps.sum())} of the {rows.n} new rows have a gap in a covariate or the offset "
            f"(columns {', '.join(encoding.names)}), such as {rows.row_labels[gaps.argmax()]!r}; "
            "drop or complete them."
        )
    terms = []
    for term, new in zip(design.terms, rows.terms, strict=True):
        factors = encoding.factors_of(term.group)
        frame = take_columns(data, factors)
        present = np.logical_and.reduce([finite_rows(frame[name]) for name in factors])
        texts = np.full(rows.n, "", dtype=object)
        kept = [as_factor(frame.loc[present, name]) for name in factors]
        texts[present] = level_texts(kept)
        place = {str(level): i for i, level in enumerate(term.levels)}
        fitted = [
            place.get(text, -1) if ok else -1 for text, ok in zip(texts, present, strict=True)
        ]
        terms.append(PredictedTerm(new.values, np.array(fitted, dtype=np.intp), new.codes))
    return PredictedRows(
        X[:, [names.index(name) for name in design.fixed_names]],
        offset,
        terms,
        np.ones(rows.n) if rows.weights is None else rows.weights,
        [str(label) for label in rows.row_labels],
    )
