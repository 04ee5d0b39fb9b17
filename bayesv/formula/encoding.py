"""A formula fitted to rows: which rows are used, their columns, and how new rows are coded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayesv.design.design import Index
from bayesv.design.scales import refuse_sizes
from bayesv.errors import BayesvError, DataError, FormulaError
from bayesv.formula.algebra import Terms
from bayesv.formula.coding import side_columns
from bayesv.formula.evaluator import Evaluator
from bayesv.formula.factors import to_factor
from bayesv.formula.frame import column_names, finite_rows, take_columns
from bayesv.formula.grammar import Formula, RandomText, parse
from bayesv.formula.groups import LeftSide
from bayesv.formula.left_sides import key_of, left_side, numbered, refuse_slopes_of_groups
from bayesv.formula.reader import ColumnReader, ColumnState
from bayesv.formula.syntax import Name, Node, Template, label, nodes
from bayesv.formula.values import Factor, Logical, as_numeric, missing, taken
from bayesv.linalg import Array

__all__ = ["Encoded", "Encoding", "encode"]


@dataclass(frozen=True, eq=False)
class Encoded:
    """The columns of the rows that a formula can use.

    Attributes
    ----------
    rows : ndarray of int, shape (n,)
        Positions of the rows used: those in which every variable has a value. Variables are
        evaluated on all rows before, as R does.
    gaps : mapping of str to int
        How many rows each column lost.
    y, X, names, offset
        As in `Design`, with the columns that earlier ones determine.
    lhs : list
        Left side of each random term: blocks of (values, names, family of the covariance).
    encoding : Encoding
    """

    rows: Index
    gaps: Mapping[str, int]
    y: Array
    X: Array
    names: tuple[str, ...]
    offset: Array | None
    lhs: list[LeftSide]
    encoding: Encoding


@dataclass(frozen=True, eq=False)
class Encoding:
    """How the columns of a formula were made, so that other rows get the same ones.

    Attributes
    ----------
    text : str
        The formula.
    columns : mapping of str to ColumnState
        What each column was.
    states : mapping of str to transform
        What transforms such as ``poly(x, 2)`` learnt, by their text.
    levels : mapping of str to tuple of str
        Levels of each factor, by the text of the variable: those of the rows used; positions of
        ``ar1(0 + day | g)``, if they are numbers, by ``0 + day``.
    namespace : mapping
        Functions and values that the formula uses beside columns.
    """

    text: str
    columns: Mapping[str, ColumnState]
    states: Mapping[str, Any]
    levels: Mapping[str, tuple[str, ...]]
    namespace: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def formula(self) -> Formula:
        """The formula taken apart."""
        return parse(self.text, random=False)

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "formula"}

    @property
    def is_plain(self) -> bool:
        """Whether it consists of values: no function of the namespace is needed."""
        values = self.namespace.values()
        return all(value is None or isinstance(value, bool | int | float | str | list | tuple)
                   for value in values)  # fmt: skip

    @property
    def names(self) -> tuple[str, ...]:
        """Columns that the formula names, grouping factors among them."""
        return tuple(name for name in self.formula.names if name not in self.namespace)

    def factors_of(self, group: str) -> tuple[str, ...]:
        """Return the columns of a grouping factor by its label."""
        for term in self.formula.random:
            if term.label == group:
                return term.factors
        raise DataError(f"The formula has no grouping factor {group!r}.")

    def covariates(self, group: str) -> tuple[str, ...]:
        """Return the columns that a grouping factor's left sides use."""
        nodes_used = (
            inner
            for term in self._terms_of(group)
            for side in term.sides
            for v in {v for members in side.terms for v in members}
            for inner in nodes(side.variables[v])
        )
        names = (node.name for node in nodes_used if isinstance(node, Name))
        return tuple(dict.fromkeys(name for name in names if name in self.columns))

    def random_columns(
        self, data: Any, group: str | None = None
    ) -> dict[str, tuple[tuple[str, ...], Array]]:
        """Return names and values, shape (m, r), of each grouping factor's columns in new rows.

        Parameters
        ----------
        data : DataFrame
            The columns of the random terms' left sides.
        group : str, optional
            One grouping factor by its label; all if left out.

        Raises
        ------
        DataError
            If a column is missing, has a gap or a level that was not fitted.
        """
        terms = self.formula.random if group is None else self._terms_of(group)
        values, n = self._values(data, [side for term in terms for side in term.sides])
        parts: dict[str, LeftSide] = {}
        labels: dict[tuple[str, ...], str] = {}
        for term in terms:
            key = labels.setdefault(_product(term.factors), term.label)
            blocks = left_side(term, values, n, self.levels, self.levels.get(term.lhs))
            parts.setdefault(key, []).extend(blocks)
        return {
            label_of_group: (
                tuple(name for _, names, _ in blocks for name in names),
                np.hstack([block for block, _, _ in blocks]),
            )
            for label_of_group, blocks in parts.items()
        }

    def _terms_of(self, group: str) -> list[RandomText]:
        """Return the random terms of a grouping factor, however its product is written."""
        product = _product(self.factors_of(group))
        return [term for term in self.formula.random if _product(term.factors) == product]

    def fixed_columns(self, data: Any) -> tuple[tuple[str, ...], Array]:
        """Return names and values of the fixed part's columns in new rows, the aliased ones too."""
        values, n = self._values(data, [self.formula.terms])
        X, names = side_columns(self.formula.terms, values, n)
        return names, X

    def fixed_values(self, data: Any) -> dict[str, Any]:
        """Return the variables of the fixed part in new rows, by their text."""
        return self._values(data, [self.formula.terms])[0]

    def offset(self, data: Any) -> Array | None:
        """Return the known part of the mean of new rows."""
        if not self.formula.offset_nodes:
            return None
        evaluator = self._evaluator(data)
        return _sum_of_offsets(self.formula.offset_nodes, evaluator, evaluator.n)

    def _evaluator(self, data: Any) -> Evaluator:
        names = [name for name in self.formula.names if name in self.columns]
        shown = column_names(data)
        frame = take_columns(data, names).reset_index(drop=True)
        reader = ColumnReader(
            dict(frame.items()), dict(self.columns), False, shown=shown, n=len(frame)
        )
        return Evaluator(reader, self.namespace, dict(self.states), False, self.text)

    def _values(self, data: Any, sides: Iterable[Terms]) -> tuple[dict[str, Any], int]:
        """Return the variables of some sides in new rows, and how many rows these are.

        Every row must have a value.
        """
        evaluator = self._evaluator(data)
        n = evaluator.n
        values: dict[str, Any] = {}
        for side in sides:
            used = {v for term in side.terms for v in term}
            for v, node in enumerate(side.variables):
                key = label(node)
                if key in values:
                    continue
                try:
                    value = evaluator.variable(node) if v in used else np.zeros(n)
                except FormulaError as error:
                    raise DataError(f"New data: {error}") from None
                if isinstance(value, Factor | Logical) and v in used:
                    factor = to_factor(value, key)
                    try:
                        value = factor.among(self.levels[key], key, "the rows of the fit")
                    except FormulaError as error:
                        raise DataError(f"New data: {error}") from None
                gaps = missing(value)
                if gaps.any():
                    raise DataError(
                        f"New data: {key} has a missing or infinite value, or one outside its "
                        f"levels, in row {int(np.flatnonzero(gaps)[0])}; V needs a value in each."
                    )
                values[key] = value
        return values, n


def _product(factors: tuple[str, ...]) -> tuple[str, ...]:
    """Return the factors of a grouping without their order."""
    return tuple(sorted(set(factors)))


def encode(
    formula: Formula,
    frame: pd.DataFrame,
    namespace: Mapping[str, Any],
    weights_present: NDArray[np.bool_] | None = None,
    levels: Mapping[str, Sequence[str]] | None = None,
) -> Encoded:
    """Fit a formula to rows.

    Parameters
    ----------
    formula : Formula
    frame : DataFrame
        Plain columns, all rows.
    namespace : mapping
        Functions and values beside the columns.
    weights_present : ndarray of bool, optional
        Which rows have a known weight.
    levels : mapping of str to sequence of str, optional
        The rows are one batch of several, and these are all levels of their columns: levels without
        a row stay, and what must look at all rows is refused.

    Raises
    ------
    FormulaError
        If a part cannot be evaluated.
    DataError
        If the data cannot be used with it.
    """
    states: dict[str, Any] = {}
    columns: dict[str, ColumnState] = {}
    reader = ColumnReader(dict(frame.items()), columns, True, levels)
    evaluator = Evaluator(reader, namespace, states, True, formula.text)
    n = len(frame)
    sides = [formula.terms, *(side for term in formula.random for side in term.sides)]
    variables = {label(node): node for side in sides for node in side.variables}
    values = {key: _variable(evaluator, node) for key, node in variables.items()}
    y = _response(formula, evaluator)
    offset = None
    if formula.offset_nodes:
        offset = _sum_of_offsets(formula.offset_nodes, evaluator, n)
    present = ~missing(y)
    for value in [*values.values(), *([] if offset is None else [offset])]:
        present &= ~missing(value)
    for name in {factor for term in formula.random for factor in term.factors}:
        present &= finite_rows(frame[name])
    if weights_present is not None:
        present &= weights_present
    rows = np.flatnonzero(present)
    if not reader.shared:
        reader.keep_means(rows)
    levels_of_data = {
        key: value.levels for key, value in values.items() if isinstance(value, Factor)
    }
    values = {key: _used(taken(value, rows), key) for key, value in values.items()}
    used = {name: namespace[name] for name in (*formula.names, *formula.functions)
            if name in namespace and name not in columns}  # fmt: skip
    kept = {key: value.levels for key, value in values.items() if isinstance(value, Factor)}
    # Without a row there are no levels to code; whoever asked says what is missing.
    coded = side_columns if len(rows) else _no_columns
    X, names = coded(formula.terms, values, len(rows))
    evaluated: dict[tuple[str, bool, Template | None], LeftSide] = {}
    for term in formula.random:
        refuse_slopes_of_groups(term, values)
        key = key_of(term)
        if key not in evaluated and len(rows):
            evaluated[key] = left_side(term, values, len(rows), levels_of_data)
            kept |= numbered(term, values, levels is not None)
    refuse_sizes(names, X)
    return Encoded(
        rows=rows,
        gaps=_gaps(frame, present, weights_present),
        y=y[rows],
        X=X,
        names=names,
        offset=None if offset is None else offset[rows],
        lhs=[evaluated.get(key_of(term), []) for term in formula.random],
        encoding=Encoding(formula.text, columns, states, kept, used),
    )


def _no_columns(terms: Terms, values: Mapping[str, Any], n: int) -> tuple[Array, tuple[str, ...]]:
    return np.empty((n, 0)), ()


def _variable(evaluator: Evaluator, node: Node) -> Any:
    value = evaluator.variable(node)
    return to_factor(value, label(node)) if isinstance(value, Logical) else value


def _used(value: Any, key: str) -> Any:
    """Return a variable of the rows used: a factor with their levels only, two at least."""
    if not isinstance(value, Factor):
        return value
    observed = value.observed()
    if len(observed.levels) == 1 and len(value.codes):
        raise DataError(
            f"{key} has one level ({observed.levels[0]!r}) in the rows used; a factor needs two. "
            "Drop it from the formula."
        )
    return observed


def _response(formula: Formula, evaluator: Evaluator) -> Array:
    node = formula.response_node
    try:
        y = _no_times(node, evaluator, "It", evaluator.variable(node))
    except BayesvError as error:
        if isinstance(error, FormulaError) and "\n" in str(error):
            raise
        raise DataError(
            f"The response {formula.response!r} is not numeric; a Gaussian model needs one number "
            f"a row. {error}"
        ) from None
    return np.asarray(y, dtype=float)


def _sum_of_offsets(nodes: Sequence[Node], evaluator: Evaluator, n: int) -> Array:
    total = np.zeros(n)
    for node in nodes:
        with np.errstate(all="ignore"):
            what = f"offset({label(node)})"
            total = total + _no_times(node, evaluator, what, evaluator.value(node))
    return total


def _no_times(node: Node, evaluator: Evaluator, what: str, value: Any) -> Array:
    """Return the numbers of a part that is no column of points in time."""
    state = evaluator.reader.states.get(node.name) if isinstance(node, Name) else None
    if state is not None and state.kind == "time":
        raise FormulaError(f"{what} holds points in time.")
    return as_numeric(value, what)


def _gaps(
    frame: pd.DataFrame, present: NDArray[np.bool_], weights: NDArray[np.bool_] | None
) -> dict[str, int]:
    """Count the rows that each column loses, and those lost by what is computed."""
    counts: dict[str, int] = {}
    if present.all():
        return counts
    lost = ~present
    explained = np.zeros(len(frame), dtype=bool)
    for name in frame.columns:
        gap = ~finite_rows(frame[name]) & lost
        explained |= gap
        if gap.any():
            counts[str(name)] = int(gap.sum())
    if weights is not None and not weights.all():
        counts["var_weights"] = int((~weights).sum())
        explained |= ~weights
    if (rest := lost & ~explained).any():
        counts["the evaluated formula"] = int(rest.sum())
    return counts
