"""Evaluate parts of a formula on columns: a closed world of named functions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from bayesv.errors import BayesvError, FormulaError
from bayesv.formula.arithmetic import arithmetic, comparison, membership
from bayesv.formula.functions import (
    AGGREGATES,
    CONSTANTS,
    ELEMENTWISE,
    SHORT_WORDS,
    bound,
    sequence,
)
from bayesv.formula.reader import ColumnReader
from bayesv.formula.scan import pointed_error
from bayesv.formula.special import SPECIAL, is_coding
from bayesv.formula.syntax import (
    Binary,
    Call,
    Name,
    Node,
    Number,
    Paren,
    Sum,
    Text,
    Unary,
    Word,
    label,
)
from bayesv.formula.values import Columns, Factor, Logical, Vector, as_numeric, has_rows

__all__ = ["Evaluator"]


class Evaluator:
    """The values of a formula's parts on some rows.

    Parameters
    ----------
    reader : ColumnReader
        Of the columns.
    namespace : mapping
        Functions and values beside the columns.
    states : dict
        What transforms have learnt, by their text. Of rows to be fitted it is filled; of new rows
        it is used.
    fitting : bool
        Whether transforms learn from these rows.
    text : str
        The formula, for messages.
    """

    def __init__(
        self,
        reader: ColumnReader,
        namespace: Mapping[str, Any],
        states: dict[str, Any],
        fitting: bool,
        text: str,
    ) -> None:
        self.reader, self.namespace, self.states = reader, namespace, states
        self.fitting, self.text = fitting, text
        self._known: dict[str, Any] = {}

    @property
    def n(self) -> int:
        """Number of rows."""
        return self.reader.n

    def variable(self, node: Node) -> Any:
        """Return a variable of the formula, with a value in each row.

        Raises
        ------
        FormulaError
            Pointing at what cannot be evaluated.
        """
        key = label(node)
        if key not in self._known:
            with np.errstate(all="ignore"):
                value = self.value(node)
            if not has_rows(value, self.n):
                raise pointed_error(
                    f"{key} is one value and no column; there must be a value in each row.",
                    self.text,
                    node.start,
                )
            self._known[key] = value
        return self._known[key]

    def value(self, node: Node) -> Any:
        """Return the value of a node; constants are single values."""
        try:
            return self._value(node)
        except FormulaError as error:
            if "\n" in str(error):
                raise
            raise pointed_error(str(error), self.text, node.start) from None

    def _value(self, node: Node) -> Any:
        match node:
            case Number() | Text() | Word():
                return node.value
            case Name():
                return self._name(node)
            case Paren():
                return self.value(node.inner)
            case Unary():
                return self._signed(node)
            case Sum():
                return self._summed(node)
            case Binary(op="%in%"):
                return membership(self.value(node.left), self.value(node.right), label(node.left))
            case Binary(op=":"):
                return _steps(self.value(node.left), self.value(node.right))
            case Binary():
                left, right = self.value(node.left), self.value(node.right)
                compute = comparison if node.op in _LOGICAL else arithmetic
                return compute(node.op, left, right, label(node.left), label(node.right))
            case Call():
                return self._call(node)
        raise FormulaError(f"{label(node)} has no value.")

    def _name(self, node: Name) -> Any:
        if node.name in self.reader:
            return self.reader.value(node.name)
        if node.name in self.namespace:
            return _plain(self.namespace[node.name], node.name, self.n)
        if node.name in CONSTANTS:
            return CONSTANTS[node.name]
        if node.name in SHORT_WORDS:
            return SHORT_WORDS[node.name]
        if is_coding(node.name):
            return node.name
        raise FormulaError(f"There is no column {node.name!r}.")

    def _signed(self, node: Unary) -> Any:
        value = self.value(node.operand)
        numbers = as_numeric(value, label(node.operand))
        if node.op == "!":
            return Logical(np.where(np.isnan(numbers), np.nan, numbers == 0))
        return -numbers if node.op == "-" else numbers

    def _summed(self, node: Sum) -> Any:
        (_, first), *rest = node.items
        total = as_numeric(self.value(first), label(first))
        for sign, item in rest:
            numbers = as_numeric(self.value(item), label(item))
            total = total + numbers if sign == "+" else total - numbers
        return total

    # --- functions --------------------------------------------------------------------------------

    def _call(self, node: Call) -> Any:
        name = node.function
        if name in self.namespace and callable(self.namespace[name]):
            return self._users(node, self.namespace[name])
        if name in ELEMENTWISE:
            return self._elementwise(node)
        if name in AGGREGATES:
            return self._aggregate(node)
        if name in SPECIAL:
            special = SPECIAL[name]
            try:
                arguments = bound(
                    special.parameters,
                    special.needed,
                    tuple((key, argument) for key, argument in node.arguments),
                )
                return special.compute(self, node, arguments)
            except ValueError as error:
                raise self._said(name, error) from None
        raise FormulaError(f"There is no function {name!r}.")

    def _said(self, name: str, error: ValueError) -> FormulaError:
        if isinstance(error, BayesvError):
            return error if isinstance(error, FormulaError) else FormulaError(str(error))
        return FormulaError(f"{name}() {error}.")

    def _elementwise(self, node: Call) -> Any:
        function = ELEMENTWISE[node.function]
        numbers = tuple((key, as_numeric(self.value(a), label(a))) for key, a in node.arguments)
        try:
            if function.parameters is None:
                if any(key for key, _ in numbers) or len(numbers) < function.needed:
                    raise ValueError(f"needs {function.needed} or more arguments without names")
                return function.compute(*(values for _, values in numbers))
            return function.compute(*_in_order(function.parameters, function.needed, numbers))
        except ValueError as error:
            raise self._said(node.function, error) from None

    def _aggregate(self, node: Call) -> float:
        """One number of all rows that have a value; new rows get the number of the fitted ones."""
        try:
            ((_, argument),) = bound(
                ("x",), 1, tuple(a for a in node.arguments if a[0] != "na.rm")
            ).items()
        except ValueError as error:
            raise FormulaError(
                f"{node.function}() {error}; row by row it is pmin, pmax or I(a + b)."
            ) from None
        return float(self.learnt(node, lambda: AGGREGATES[node.function](self.present(argument))))

    def learnt(self, node: Node, learn: Callable[[], Any]) -> Any:
        """Return what a transform has learnt, from these rows if they are the ones to fit."""
        key = label(node)
        if key not in self.states:
            if self.reader.shared:
                name = node.function if isinstance(node, Call) else key
                raise FormulaError(
                    f"{name}() looks at all rows at once, and these data come in batches. Compute "
                    "the column beforehand, or pass a data frame."
                )
            if not self.fitting:
                raise FormulaError(f"{key} is not known from the fit.")
            self.states[key] = learn()
        return self.states[key]

    def numbers(self, node: Node) -> Any:
        """Return the numbers of a part, shape (n,)."""
        numbers = as_numeric(self.value(node), label(node))
        if numbers.ndim == 0:
            raise FormulaError(f"{label(node)} is one value and no column.")
        return numbers

    def present(self, node: Node) -> Any:
        """Return the finite numbers of a part."""
        numbers = self.numbers(node)
        numbers = numbers[np.isfinite(numbers)]
        if not len(numbers):
            raise FormulaError(f"{label(node)} has no value in any row.")
        return numbers

    def _users(self, node: Call, function: Callable[..., Any]) -> Any:
        """Call a function of the namespace with pandas columns."""
        unnamed = [_for_users(self.value(a)) for key, a in node.arguments if key is None]
        named = {key: _for_users(self.value(a)) for key, a in node.arguments if key is not None}
        try:
            result = function(*unnamed, **named)
        except BayesvError:
            raise
        except Exception as error:
            raise FormulaError(f"{node.function}() of the namespace fails: {error}.") from error
        return _plain(result, f"{node.function}()", self.n)


_LOGICAL = ("==", "!=", "<", ">", "<=", ">=", "&", "&&")


def _steps(start: Any, end: Any) -> Vector:
    """Return R's ``1:3``, of two numbers."""
    numbers = [np.asarray(as_numeric(value, "An end of ':'")) for value in (start, end)]
    if any(number.ndim for number in numbers):
        raise FormulaError(
            "':' has no meaning in arithmetic with columns, which multiply with '*'; between two "
            "numbers, as in 1:3, it makes a sequence."
        )
    try:
        return Vector(sequence(*(float(number) for number in numbers)))
    except ValueError as error:
        raise FormulaError(f"The sequence by ':' {error}.") from None


def _in_order(
    parameters: tuple[str, ...], needed: int, arguments: tuple[tuple[str | None, Any], ...]
) -> list[Any]:
    """Return arguments in the order of the parameters; none may be left out before another."""
    values = bound(parameters, needed, arguments)
    return [values[name] for name in parameters if name in values]


def _for_users(value: Any) -> Any:
    if isinstance(value, Factor):
        return pd.Series(pd.Categorical.from_codes(value.codes, list(value.levels)))
    if isinstance(value, Logical):
        return pd.Series(value.values)
    if isinstance(value, Columns):
        return value.values
    if isinstance(value, Vector):
        return list(value.items)
    if isinstance(value, np.ndarray):
        return pd.Series(value) if value.ndim else float(value)
    return value


def _plain(value: Any, name: str, n: int) -> Any:
    """Return what a function or the namespace gave as a value of the formula."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        value = list(value)
        if len(value) != n and all(isinstance(item, int | float | str) for item in value):
            return Vector(tuple(value))
    if isinstance(value, pd.Series | pd.Categorical):
        reader = ColumnReader({name: pd.Series(value).reset_index(drop=True)}, {}, fitting=True)
        result = reader.value(name)
    else:
        array = np.asarray(value)
        if array.dtype == bool:
            result = Logical(array.astype(float))
        elif array.dtype.kind in "OUS":
            reader = ColumnReader({name: pd.Series(array)}, {}, fitting=True)
            result = reader.value(name)
        else:
            try:
                result = array.astype(float)
            except (TypeError, ValueError, OverflowError):
                raise FormulaError(f"{name} gives no real numbers.") from None
    values: Any = result.codes if isinstance(result, Factor) else result
    values = values.values if isinstance(values, Logical) else values
    if values.ndim == 0:
        return float(values)
    if values.ndim > 2 or len(values) != n:
        raise FormulaError(
            f"{name} gives an array of shape {values.shape}; there are {n} rows in the data."
        )
    if values.ndim == 2:
        return Columns(values, tuple(str(j + 1) for j in range(values.shape[1])))
    return result
