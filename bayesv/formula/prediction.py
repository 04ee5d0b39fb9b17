"""Replicated responses of fitted rows and of new ones, draw by draw."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from bayesv.design.design import Design, RandomTerm
from bayesv.design.residual import Residual
from bayesv.design.structured import StructuredResidual
from bayesv.errors import DataError
from bayesv.formula.frame import as_factor, finite_rows, take_columns
from bayesv.formula.groups import level_texts
from bayesv.formula.kin import Kin, kin_of
from bayesv.formula.new_residuals import NewResiduals, continued
from bayesv.formula.new_rows import new_rows
from bayesv.linalg import Array

__all__ = ["PredictedRows", "PredictedTerm", "fitted_rows", "rows_of"]


@dataclass(frozen=True, eq=False)
class PredictedTerm:
    """A random term in rows that are predicted.

    Attributes
    ----------
    values : ndarray, shape (m, r)
    codes : ndarray of int, shape (m,)
        Level of each row, fitted or not.
    fitted : ndarray of int, shape (J,)
        Which level of the fit each level is, −1 for one that was not fitted.
    kin : Kin or None
        How the levels are related; None if they are independent.
    """

    values: Array
    codes: NDArray[np.intp]
    fitted: NDArray[np.intp]
    kin: Kin | None = None

    @property
    def n_levels(self) -> int:
        """Number of levels in these rows, J."""
        return len(self.fitted)

    @property
    def n_columns(self) -> int:
        """Number of effects of each level, r."""
        return int(self.values.shape[1])

    def across(self, term: RandomTerm, block: Array) -> sparse.csr_array:
        """Return the covariance of Zu of these rows with that of the fitted ones, (m, n).

        Parameters
        ----------
        term : RandomTerm
            Of the fit.
        block : ndarray, shape (r, r)
            Σ.
        """
        if self.kin is None:
            between, Z = sparse.eye_array(term.n_levels), self.matrix(term.n_levels)
        else:
            between, every = sparse.csr_array(self.kin.across), np.arange(self.n_levels)
            Z = replace(self, fitted=every).matrix(self.n_levels)
        return sparse.csr_array(Z @ sparse.kron(between, block, format="csr") @ term.Z.T)

    def variances(self, block: Array) -> Array:
        """Return the variance of Zu of every row, shape (m,)."""
        own = ((self.values @ block) * self.values).sum(axis=1)
        return own if self.kin is None else own * np.diagonal(self.kin.K)[self.codes]

    def matrix(self, levels: int) -> sparse.csr_array:
        """Return Z over the fitted levels, shape (m, levels · r); rows of other levels are 0."""
        m, r = self.values.shape
        level = self.fitted[self.codes]
        values = np.where(level[:, None] >= 0, self.values, 0.0)
        columns = np.maximum(level, 0)[:, None] * r + np.arange(r)
        shape = (m, levels * r)
        return sparse.csr_array((values.ravel(), columns.ravel(), np.arange(m + 1) * r), shape)

    def effects(self, fitted: Array | None, root: Array, rng: np.random.Generator) -> Array:
        """Return u of the levels, shape (J, r): draws from N(0, ΛΛ') of those not fitted.

        Of related levels these are draws given the effects of the fitted ones.

        Parameters
        ----------
        fitted : ndarray, shape (levels of the fit, r), or None
            Effects of fitted levels; None: all levels are new.
        root : ndarray, shape (r, r)
            Λ.
        rng : Generator
        """
        known = self.fitted >= 0
        if fitted is not None and known.all():
            return np.asarray(fitted[self.fitted])
        u = rng.normal(size=(self.n_levels, self.n_columns)) @ root.T
        if self.kin is not None:
            u = self.kin.given(fitted, u)
        if fitted is not None:
            u[known] = fitted[self.fitted[known]]
        return np.asarray(u)

    def apply(self, u: Array) -> Array:
        """Return Zu, shape (m,), for effects of shape (J, r)."""
        return np.asarray((self.values * u[self.codes]).sum(axis=1))


@dataclass(frozen=True, eq=False)
class PredictedRows:
    """What predictions need of rows.

    Attributes
    ----------
    X : ndarray, shape (m, p)
    offset : ndarray, shape (m,), or None
    terms : sequence of PredictedTerm
    residual : Residual
        R/σ² of rows of no series.
    labels : list of str
    continued : NewResiduals or None
        Where residuals have parameters: these rows beside the fitted ones.
    """

    X: Array
    offset: Array | None
    terms: Sequence[PredictedTerm]
    residual: Residual
    labels: list[str]
    continued: NewResiduals | None = None


def fitted_rows(design: Design) -> PredictedRows:
    """Return the rows of the fit."""
    labels = [str(label) for label in design.row_labels]
    terms = [
        PredictedTerm(term.values, term.codes, np.arange(term.n_levels), kin_of(term, term.levels))
        for term in design.terms
    ]
    return PredictedRows(design.X, design.offset, terms, design.residual, labels)


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
    offset = encoding.offset(data)
    complete = np.isfinite(X).all(axis=1)
    gaps = ~(complete if offset is None else complete & np.isfinite(offset))
    if gaps.any():
        raise DataError(
            f"{int(gaps.sum())} of the {rows.n} new rows have a gap in a covariate or the offset "
            f"(columns {', '.join(encoding.names)}), such as {rows.row_labels[gaps.argmax()]!r}; "
            "drop or complete them."
        )
    terms = []
    for term, new in zip(design.terms, rows.terms, strict=True):
        place = {str(level): i for i, level in enumerate(term.levels)}
        if new.levels is not None:
            fitted = [place.get(level, -1) for level in new.levels]
            kin = kin_of(term, new.levels)
            terms.append(PredictedTerm(new.values, new.codes, np.array(fitted, np.intp), kin))
            continue
        factors = encoding.factors_of(term.group)
        frame = take_columns(data, factors)
        present = np.logical_and.reduce([finite_rows(frame[name]) for name in factors])
        texts = np.full(rows.n, "", dtype=object)
        kept = [as_factor(frame.loc[present, name]) for name in factors]
        texts[present] = level_texts(kept)
        _, first, codes = np.unique(new.codes, return_index=True, return_inverse=True)
        fitted = [place.get(texts[i], -1) if present[i] else -1 for i in first]
        terms.append(PredictedTerm(new.values, np.ravel(codes), np.array(fitted, dtype=np.intp)))
    form = design.parametric_residual
    known = None if weights is None else rows.residual.weights
    return PredictedRows(
        X[:, [names.index(name) for name in design.fixed_names]],
        offset,
        terms,
        rows.residual,
        [str(label) for label in rows.row_labels],
        continued(form, data, known) if isinstance(form, StructuredResidual) else None,
    )
