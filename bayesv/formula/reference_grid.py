"""Fixed effects term by term, and a grid of the levels of their factors: what means are over."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from bayesv.design.design import Design
from bayesv.errors import DataError, near
from bayesv.formula.algebra import variable_label
from bayesv.formula.coding import side_columns
from bayesv.formula.encoding import Encoding
from bayesv.formula.frame import take_columns
from bayesv.formula.syntax import Name, Node, label, nodes
from bayesv.formula.values import Columns, Contrasts, Factor
from bayesv.linalg import Array

__all__ = [
    "FixedTerm",
    "ReferenceGrid",
    "averaged_rows",
    "fixed_terms",
    "grid_columns",
    "reference_grid",
    "slope_grid",
    "summing_to_zero",
]

_MOST_ROWS = 200_000
_ROUNDING = 1e-8
_STEP = 1e-3  # of a covariate's value, of numerical derivatives


@dataclass(frozen=True)
class FixedTerm:
    """A term of the fixed part.

    Attributes
    ----------
    label : str
        Such as ``a:b``.
    variables : frozenset of int
        Which variables are in it.
    columns : tuple of int
        Its columns among those of X.
    """

    label: str
    variables: frozenset[int]
    columns: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class ReferenceGrid:
    """Combinations of the levels of all factors, covariates at chosen values.

    Attributes
    ----------
    frame : DataFrame, shape (m, v)
        Columns of the data.
    X : ndarray, shape (m, p)
        Rows of X; NaN where an aliased column is not 0, so that the mean cannot be estimated.
    """

    frame: pd.DataFrame
    X: Array


def fixed_terms(design: Design) -> list[FixedTerm]:
    """Return the terms of the fixed part, without the intercept.

    Raises
    ------
    DataError
        If the design was made elsewhere.
    """
    encoding = _encoding(design)
    terms = encoding.formula.terms
    values = encoding.fixed_values(_one_row(encoding))
    # One term at a time has another coding: widths are those of names.
    _, names = side_columns(terms, values, 1)
    widths = _widths(encoding, values)
    place = {name: i for i, name in enumerate(design.fixed_names)}
    start, parts = int(terms.intercept), []
    for members, width in zip(terms.terms, widths, strict=True):
        own = names[start : start + width]
        text = ":".join(variable_label(terms.variables[v]) for v in members)
        parts.append(
            FixedTerm(text, frozenset(members), tuple(place[n] for n in own if n in place))
        )
        start += width
    return parts


def summing_to_zero(design: Design) -> Array:
    """Return B with β = B β₀, β₀ of contrasts that sum to zero over levels, shape (p, p).

    Raises
    ------
    DataError
        If columns are aliased, because cells are empty.
    """
    encoding = _encoding(design)
    if design.aliased:
        raise DataError(
            f"Type III hypotheses need every cell: {', '.join(design.aliased[:5])} cannot be told "
            "from other columns. Use type=2, or test contrasts of cells that have rows."
        )
    terms = encoding.formula.terms
    one = encoding.fixed_values(_one_row(encoding))
    factors = {key: v for key, v in one.items() if isinstance(v, Factor)}
    ways = list(itertools.product(*(range(len(v.levels)) for v in factors.values())))
    _refuse_large(len(ways) * (design.p + 1))
    copies = 1 + design.p // max(1, len(ways)) if len(one) > len(factors) else 1
    codes = np.tile(np.array(ways, dtype=np.intp).reshape(len(ways), -1), (copies + 1, 1))
    rng = np.random.default_rng(0)
    values: dict[str, Any] = {}
    for key, value in one.items():
        if isinstance(value, Factor):
            values[key] = replace(value, codes=codes[:, list(factors).index(key)])
        elif isinstance(value, Columns):
            values[key] = replace(
                value, values=rng.normal(size=(len(codes), value.values.shape[1]))
            )
        else:
            values[key] = rng.normal(size=len(codes))
    summed = {
        key: replace(value, contrasts=Contrasts("sum")) if isinstance(value, Factor) else value
        for key, value in values.items()
    }
    X, S = (side_columns(terms, coded, len(codes))[0] for coded in (values, summed))
    return np.linalg.lstsq(X, S)[0]


def reference_grid(design: Design, at: Mapping[str, Any] | None = None) -> ReferenceGrid:
    """Return the grid: all levels of factors, covariates at their mean or at given values.

    Parameters
    ----------
    design : Design
    at : mapping of str to value or sequence of values, optional
        Values of columns: of a covariate, or some of a factor's levels.

    Raises
    ------
    DataError
        If a column is unknown, a level was not fitted, or the mean of a column is not known,
        because the rows came in batches.
    """
    frame = _grid_frame(design, at)
    X, lost = _columns_of(design, frame)
    return ReferenceGrid(frame, _estimable(X, lost))


def slope_grid(design: Design, along: str, at: Mapping[str, Any] | None = None) -> ReferenceGrid:
    """Return the grid with the derivative of each row of X by one covariate.

    Parameters
    ----------
    design, at
        As in `reference_grid`.
    along : str
        A numeric column of the data.

    Raises
    ------
    DataError
        As `reference_grid`, or if the column is a factor or not in the fixed effects.

    Notes
    -----
    Central differences of fourth order over 10⁻³ of the value: exact for polynomials up to the
    fourth degree but for rounding.
    """
    frame = _grid_frame(design, at)
    return ReferenceGrid(frame, _derivative(design, frame, along))


def averaged_rows(
    design: Design,
    rows: Any,
    names: Sequence[str],
    at: Mapping[str, Any] | None = None,
    along: str | None = None,
) -> ReferenceGrid:
    """Return means of X, or of its derivative by a covariate, over rows with some columns set.

    Parameters
    ----------
    design, at, along
        As in `slope_grid`.
    rows : DataFrame or mapping of columns
        Incomplete ones are left out.
    names : sequence of str
        Columns that are set to each of their values in turn, as those of ``at``.

    Raises
    ------
    DataError
        As `slope_grid`, or if no row is complete.
    """
    encoding = _encoding(design)
    columns, chosen = _columns(encoding), _chosen(design, at)
    frame = take_columns(rows, columns)
    values = {
        name: chosen[name] if name in chosen else _levels(design, encoding, name, used)
        for name, used in columns.items()
        if name in chosen or name in names
    }
    frame = frame.dropna(subset=[name for name in frame if name not in values])
    if frame.empty:
        raise DataError("over: no row has a value in every column of the fixed effects.")
    ways = [dict(zip(values, way, strict=True)) for way in itertools.product(*values.values())]
    means = []
    for way in ways:
        there = frame.assign(**way)
        if along is None:
            X = _estimable(*_columns_of(design, there))
        else:
            X = _derivative(design, there, along)
        means.append(X.mean(axis=0))
    return ReferenceGrid(pd.DataFrame(ways, index=range(len(ways))), np.stack(means))


def grid_columns(design: Design) -> list[str]:
    """Return the columns of the data that the fixed effects use."""
    return list(_columns(_encoding(design)))


def _derivative(design: Design, frame: pd.DataFrame, along: str) -> Array:
    """Return the derivative of the rows of X by one covariate, shape (m, p)."""
    encoding = _encoding(design)
    columns = _columns(encoding)
    if along not in columns:
        raise DataError(
            f"slope: the fixed effects use no column {along!r}; they use "
            f"{', '.join(columns) or 'none'}{near(along, list(columns))}"
        )
    if any(label(node) in encoding.levels for node in columns[along]):
        raise DataError(
            f"slope: {along} is a factor; a covariate has a slope, levels have contrasts."
        )
    values = frame[along].to_numpy(dtype=float)
    step = _STEP * np.where(values == 0, 1.0, np.abs(values))
    parts = []
    for places in (1, -1, 2, -2):
        parts.append(_columns_of(design, frame.assign(**{along: values + places * step})))
    X, lost = (
        (8 * (near_up - near_down) - (far_up - far_down)) / (12 * step[:, None])
        for near_up, near_down, far_up, far_down in zip(*parts, strict=True)
    )
    return _estimable(X, lost)


def _chosen(design: Design, at: Mapping[str, Any] | None) -> dict[str, list[Any]]:
    """Return the values of the columns that are given."""
    columns = grid_columns(design)
    for name in at or {}:
        if name not in columns:
            raise DataError(f"at: the fixed effects use no column {name!r}{near(name, columns)}")
    return {name: _listed(values) for name, values in (at or {}).items()}


def _grid_frame(design: Design, at: Mapping[str, Any] | None) -> pd.DataFrame:
    """Return combinations of the levels of all factors and values of covariates."""
    encoding, chosen = _encoding(design), _chosen(design, at)
    values = {
        name: chosen[name] if name in chosen else _levels(design, encoding, name, used)
        for name, used in _columns(encoding).items()
    }
    _refuse_large(math.prod(len(v) for v in values.values()) * (design.p + 1))
    if not values:
        return pd.DataFrame(index=[0])
    return pd.DataFrame(list(itertools.product(*values.values())), columns=list(values))


def _columns_of(design: Design, frame: pd.DataFrame) -> tuple[Array, Array]:
    """Return the columns of X in given rows, and those that are aliased."""
    names, X = _encoding(design).fixed_columns(frame)
    kept = [names.index(name) for name in design.fixed_names]
    return X[:, kept], X[:, [i for i in range(len(names)) if i not in kept]]


def _estimable(X: Array, aliased: Array) -> Array:
    """Return X with NaN where an aliased column is not 0."""
    lost = (np.abs(aliased) > _ROUNDING).any(axis=1)
    return np.where(lost[:, None], np.nan, X)


def _encoding(design: Design) -> Encoding:
    if not isinstance(design.encoding, Encoding):
        raise DataError(
            "This design was made elsewhere and has no formula that says what its terms are; "
            "build the model by bv.Model(formula, data), or state contrasts of coefficients: "
            "bv.kenward_roger(fit).test(L)."
        )
    return design.encoding


def _widths(encoding: Encoding, values: Mapping[str, Any]) -> list[int]:
    """Return how many columns each term has."""
    terms = encoding.formula.terms
    variables = [values[label(node)] for node in terms.variables]
    factors = [i for i, value in enumerate(variables) if isinstance(value, Factor)]
    widths = []
    for members, full in zip(terms.terms, terms.coded_in_full(factors), strict=True):
        width = 1
        for v in members:
            value = variables[v]
            if isinstance(value, Factor):
                width *= len(value.levels) - (v not in full)
            elif isinstance(value, Columns):
                width *= value.values.shape[1]
        widths.append(width)
    return widths


def _columns(encoding: Encoding) -> dict[str, list[Node]]:
    """Return the columns of the data that the fixed part uses, with the variables they are in."""
    terms = encoding.formula.terms
    used = {v for members in terms.terms for v in members}
    columns: dict[str, list[Node]] = {}
    for v, node in enumerate(terms.variables):
        if v in used:
            for inner in nodes(node):
                if isinstance(inner, Name) and inner.name in encoding.columns:
                    columns.setdefault(inner.name, []).append(node)
    return columns


def _levels(design: Design, encoding: Encoding, name: str, used: Sequence[Node]) -> list[Any]:
    """Return the values of a column over which the grid goes."""
    state = encoding.columns[name]
    for node in used:
        if (levels := encoding.levels.get(label(node))) is None:
            continue
        if state.kind in ("factor", "logical"):
            texts = levels if isinstance(node, Name) else (state.levels or levels)
            return [text == "True" for text in texts] if state.kind == "logical" else list(texts)
        try:
            numbers = [float(text) for text in levels]
            return [int(v) for v in numbers] if all(v.is_integer() for v in numbers) else numbers
        except ValueError:
            break
    if state.mean is not None:
        return [state.mean]
    if name in design.fixed_names and design.has_rows:
        return [float(design.X[:, design.fixed_names.index(name)].mean())]
    raise DataError(
        f"The mean of {name!r} is not known, because a design that was summed up in batches "
        f"keeps no rows of its data frame: give a value, such as at={{{name!r}: 1.0}}."
    )


def _one_row(encoding: Encoding) -> pd.DataFrame:
    """Return a row that can be coded: widths and codings are read from it."""
    row: dict[str, Any] = {}
    for name, used in _columns(encoding).items():
        state = encoding.columns[name]
        levels = next(
            (encoding.levels[label(node)] for node in used if label(node) in encoding.levels), None
        )
        if state.kind == "logical":
            row[name] = True
        elif state.kind == "factor":
            row[name] = (state.levels or levels or ("",))[0]
        elif levels is not None:
            row[name] = float(levels[0])
        else:
            row[name] = 1.0
    return pd.DataFrame([row]) if row else pd.DataFrame(index=[0])


def _listed(values: Any) -> list[Any]:
    if isinstance(values, str) or not np.iterable(values):
        return [values]
    return list(values)


def _refuse_large(size: int) -> None:
    if size > _MOST_ROWS * 20:
        raise DataError(
            "The grid of all levels of all factors is too large; give some of their levels by at=."
        )
