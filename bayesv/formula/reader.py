"""Columns of a data frame as values of a formula; new rows are read as the fitted ones were."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayesv.errors import DataError, FormulaError, near
from bayesv.formula.frame import as_numbers, finite_rows, kind, levels_of
from bayesv.formula.syntax import Name, Node
from bayesv.formula.values import Factor, Logical
from bayesv.names import level_label

__all__ = ["ColumnReader", "ColumnState"]

_TRUTH = {"True": 1.0, "TRUE": 1.0, "False": 0.0, "FALSE": 0.0}
_ARTICLES = {"number": "numbers", "logical": "truth values", "factor": "levels", "time": "times"}


@dataclass(frozen=True)
class ColumnState:
    """What a column was in the fit: number, logical, factor or time; levels of a factor.

    ``mean`` is that of a number over the rows used, where they are all there at once.
    """

    kind: str
    levels: tuple[str, ...] = ()
    is_text: bool = False
    mean: float | None = None


class ColumnReader:
    """The columns of some rows.

    Parameters
    ----------
    columns : mapping of str to Series
    states : dict of str to ColumnState
        Filled by the rows to be fitted, used for new rows.
    fitting : bool
    shared : mapping of str to sequence of str, optional
        Levels of columns, of which these rows may have a few only.
    shown : sequence of str
        What the data have, for messages.
    n : int, optional
        Number of rows, where there may be no column.
    """

    def __init__(
        self,
        columns: Mapping[str, pd.Series],
        states: dict[str, ColumnState],
        fitting: bool,
        shared: Mapping[str, Sequence[str]] | None = None,
        shown: Sequence[str] = (),
        n: int | None = None,
    ) -> None:
        self.columns, self.states, self.fitting = columns, states, fitting
        self._levels, self._shown = shared, shown
        self.n = len(next(iter(columns.values()))) if n is None else n
        self._read: dict[str, Any] = {}

    @property
    def shared(self) -> bool:
        """Whether these rows are one batch of several."""
        return self._levels is not None

    def __contains__(self, name: object) -> bool:
        return name in (self.columns if self.fitting else self.states)

    def shared_levels(self, node: Node) -> tuple[str, ...] | None:
        """Return the levels that all batches share of a column that becomes a factor."""
        if self._levels is None:
            return None
        if not isinstance(node, Name) or node.name not in self._levels:
            raise FormulaError(
                "The levels of this factor are not known before all rows are read, and these data "
                "come in batches. Compute the column beforehand, or pass a data frame."
            )
        return tuple(self._levels[node.name])

    def value(self, name: str) -> Any:
        """Return a column as a value of the formula.

        Raises
        ------
        DataError
            If new rows lack the column, or have something else in it than the fitted rows.
        """
        if name not in self._read:
            if name not in self.columns:
                raise DataError(
                    f"The new data have no column for {name!r}; they have "
                    f"{', '.join(self._shown)}{near(name, self._shown)}"
                )
            column = self.columns[name]
            self._read[name] = self._fitted(name, column) if self.fitting else self._new(
                name, column, self.states[name]
            )  # fmt: skip
        return self._read[name]

    def factor(self, name: str) -> Factor:
        """Return a column as a factor; integers keep all their digits."""
        value = self.value(name)
        if isinstance(value, Factor):
            return value
        column = self.columns[name]
        codes, labels = levels_of(column)
        codes = np.where(finite_rows(column), codes, -1)
        return Factor(codes, tuple(labels), shared=isinstance(value, Logical))

    def keep_means(self, rows: NDArray[np.intp]) -> None:
        """Keep the means of numbers over the rows used."""
        for name, value in self._read.items():
            if self.states[name].kind == "number" and len(rows):
                self.states[name] = replace(self.states[name], mean=float(value[rows].mean()))

    def _fitted(self, name: str, column: pd.Series) -> Any:
        what = kind(column)
        value = _value(column, what)
        if not isinstance(value, Factor):
            self.states[name] = ColumnState(what)
            return value
        if self._levels is not None:
            if name not in self._levels:
                raise FormulaError(f"The levels of {name!r} are not known from all batches.")
            levels = tuple(self._levels[name])
            value = replace(value.among(levels, name, "the whole column"), shared=True)
        self.states[name] = ColumnState(what, value.levels, value.is_text)
        return value

    def _new(self, name: str, column: pd.Series, state: ColumnState) -> Any:
        what = kind(column)
        if len(column) and not column.notna().any():  # gaps alone have no kind of their own
            return _gaps(len(column), state)
        if what == state.kind and what != "factor":
            return _value(column, what)
        if state.kind == "factor" and what != "time":
            factor = _factor(column)
            return replace(factor.among(state.levels, name, "the fit"), is_text=state.is_text)
        if state.kind == "number" and what == "logical":
            return as_numbers(column)
        if state.kind == "logical":
            return _truth(name, column, what)
        raise DataError(
            f"Column {name!r} had {_ARTICLES[state.kind]} in the fit and has {_ARTICLES[what]} in "
            f"the new data, such as {column[column.notna()].iloc[0]!r}."
        )


def _value(column: pd.Series, what: str) -> Any:
    if what == "factor":
        return _factor(column)
    numbers = np.asarray(as_numbers(column), dtype=float)
    numbers = np.where(np.isfinite(numbers), numbers, np.nan)
    return Logical(numbers) if what == "logical" else numbers


def _factor(column: pd.Series) -> Factor:
    """Return text or categories with all levels of the column, those without a row too."""
    codes, found = levels_of(column)
    labels = tuple(found)
    if not isinstance(column.dtype, pd.CategoricalDtype):
        return Factor(codes, labels, is_text=True)
    every = tuple(level_label(level) for level in column.dtype.categories)
    place = {level: i for i, level in enumerate(every)}
    if len(place) < len(every) or any(label not in place for label in labels):
        return Factor(codes, labels)
    moved = np.array([*(place[label] for label in labels), -1], dtype=np.intp)
    return Factor(moved[codes], every)


def _truth(name: str, column: pd.Series, what: str) -> Logical:
    """Read truth values written as numbers or text."""
    if what == "number":
        numbers = np.asarray(as_numbers(column), dtype=float)
        if np.isin(numbers[~np.isnan(numbers)], (0.0, 1.0)).all():
            return Logical(numbers)
    elif what == "factor":
        texts = [None if pd.isna(v) else str(v) for v in column]
        if all(text is None or text in _TRUTH for text in texts):
            return Logical(np.array([np.nan if t is None else _TRUTH[t] for t in texts]))
    shown = column[column.notna()].iloc[0]
    raise DataError(
        f"Column {name!r} had truth values in the fit; {shown!r} in the new data is none."
    )


def _gaps(n: int, state: ColumnState) -> Any:
    if state.kind == "factor":
        return Factor(np.full(n, -1, dtype=np.intp), state.levels, is_text=state.is_text)
    values = np.full(n, np.nan)
    return Logical(values) if state.kind == "logical" else values
