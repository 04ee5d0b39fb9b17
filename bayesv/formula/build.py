"""Evaluate a parsed formula on data: y, X and left-hand sides by formulae, groups by ourselves."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import numpy as np
import pandas as pd
from formulae import design_matrices
from formulae.categorical import ENCODINGS
from formulae.transforms import TRANSFORMS, C
from numpy.typing import NDArray

from bayesv.design import Design, Index, RandomTerm, refuse_constant
from bayesv.errors import BayesvError, DataError, FormulaError, near
from bayesv.formula.frame import (
    as_factor,
    check_names,
    column_names,
    finite_rows,
    plain_column,
    take_columns,
)
from bayesv.formula.grammar import Formula, parse
from bayesv.formula.groups import LeftSide, random_terms, relation
from bayesv.formula.sides import left_sides
from bayesv.linalg import Array, independent_columns
from bayesv.names import INTERCEPT

__all__ = ["ModelFrame", "build", "check_formula", "complete", "evaluate", "with_factors"]

# R's names for what Python keeps in NumPy, and R's word for C().
_NUMPY = ("log", "exp", "sqrt", "abs", "log10", "log2", "log1p", "expm1", "sin", "cos", "tan")
_FUNCTIONS: dict[str, Any] = {**{f: getattr(np, f) for f in _NUMPY}, "factor": C, "np": np}


@dataclass(frozen=True, eq=False)
class ModelFrame:
    """A formula with the data it was evaluated on.

    Attributes
    ----------
    formula : Formula
        The formula taken apart.
    data : DataFrame
        Used columns of the kept rows; text and category columns as ordered categoricals of the
        observed levels, so that formulae and Bambi code them in the frame's order.
    namespace : mapping
        Functions and values that the formula may use beside columns.
    """

    formula: Formula
    data: pd.DataFrame
    namespace: Mapping[str, Any]

    def with_response(self, y: Array) -> ModelFrame:
        """Return the same frame with another response; DataError if it is no column by itself."""
        response = self.formula.response.strip("`")
        if response not in self.data.columns:
            raise DataError(
                f"The response {self.formula.response!r} is computed from columns, and a new "
                "response does not say what these would be. Fit a formula whose response is a "
                "column, or use engine='collapsed'."
            )
        return replace(self, data=self.data.assign(**{response: y}))

    def __reduce__(self) -> tuple[Any, ...]:
        """Leave out of a pickle the functions that every formula has: modules cannot be pickled."""
        own = {k: v for k, v in self.namespace.items() if _FUNCTIONS.get(k) is not v}
        return _with_functions, (self.formula, self.data, own)


def _with_functions(
    formula: Formula, data: pd.DataFrame, namespace: Mapping[str, Any]
) -> ModelFrame:
    return ModelFrame(formula, data, {**_FUNCTIONS, **namespace})


def build(
    text: str,
    data: Any,
    var_weights: Any = None,
    namespace: Mapping[str, Any] | None = None,
) -> tuple[Design, ModelFrame]:
    """Evaluate an lme4 formula on data.

    Parameters
    ----------
    text : str
        The formula.
    data : DataFrame
        pandas, polars or any frame that narwhals understands, n rows.
    var_weights : array_like of shape (n,), or str, optional
        Known w > 0 in R = σ² diag(1/w), or the name of their column.
    namespace : mapping, optional
        More functions and values for the formula.

    Returns
    -------
    Design, ModelFrame

    Raises
    ------
    FormulaError
        If the formula is malformed or names a column or function that does not exist.
    DataError
        If the data cannot be used: no complete row, a factor with one level, …
    """
    weight_name = var_weights if isinstance(var_weights, str) else None
    formula, space, used = check_formula(text, column_names(data), weight_name, namespace)
    frame = take_columns(data, dict.fromkeys([*used, *([weight_name] if weight_name else [])]))
    n_given = len(frame)
    w = _weights(frame[weight_name] if weight_name else var_weights, frame)
    # Grouping factors keep the numbers of the data: as floats, large identifiers would coincide.
    given = frame
    frame = frame.apply(plain_column)

    rows, counts = complete(frame[used], w)
    while True:
        _refuse_no_rows(rows, counts)
        model_frame = ModelFrame(formula, with_factors(frame[used].iloc[rows], formula), space)
        y, X, names, offset, lhs, finite = evaluate(model_frame)
        if finite.all():
            break
        counts["the evaluated formula"] = int((~finite).sum())
        rows = rows[finite]

    X, names, aliased = _drop_aliased(X, names)
    terms = random_terms(given.iloc[rows], formula.random, lhs)
    notes = _notes(counts, aliased, terms, len(y))
    refuse_constant(formula.response, y)
    design = Design(
        formula=formula.text,
        response=formula.response,
        y=y,
        X=X,
        fixed_names=names,
        terms=terms,
        weights=None if w is None else w[rows],
        offset=offset,
        rows=rows,
        row_labels=frame.index[rows],
        n_rows_given=n_given,
        aliased=aliased,
        notes=notes,
    )
    return design, model_frame


def check_formula(
    text: str, available: list[str], weight_name: str | None, namespace: Mapping[str, Any] | None
) -> tuple[Formula, dict[str, Any], list[str]]:
    """Take a formula apart; return it, its namespace and the columns it uses, all of which exist.

    Raises
    ------
    FormulaError
        If the formula is malformed or names a column or function that does not exist.
    DataError
        If the column of the weights does not exist.
    """
    formula = parse(text)
    space = {**_FUNCTIONS, **(namespace or {})}
    _check_functions(formula, space)
    constants = {name for name, value in (namespace or {}).items() if not callable(value)}
    check_names(formula.names, {*available, *ENCODINGS, *constants}, available, text)
    for term in formula.random:
        places = {factor: formula.names.get(factor, term.start) for factor in term.factors}
        check_names(places, available, available, text)
    if weight_name is not None and weight_name not in available:
        raise DataError(
            f"The data have no column {weight_name!r} for var_weights{near(weight_name, available)}"
        )
    return formula, space, [name for name in formula.names if name in available]


# --- rows -----------------------------------------------------------------------------------------


def _weights(given: Any, frame: pd.DataFrame) -> Array | None:
    if given is None:
        return None
    if isinstance(given, pd.Series) and not given.index.equals(frame.index):
        raise DataError(
            "var_weights has another index than the data; pass the column's name, or an array in "
            "the order of the rows."
        )
    try:
        w = np.asarray(plain_column(pd.Series(np.ravel(given))), dtype=float)
        w = w.reshape(np.shape(given))
    except (TypeError, ValueError) as error:
        name = f" ({given.name!r})" if getattr(given, "name", None) else ""
        raise DataError(f"var_weights{name} must be real numbers, one a row: {error}") from None
    if w.shape != (len(frame),):
        raise DataError(f"var_weights has shape {w.shape}; the data have {len(frame)} rows.")
    return w


def complete(frame: pd.DataFrame, w: Array | None) -> tuple[Index, dict[str, int]]:
    """Return positions of the rows without a gap, and how many gaps each column has."""
    keep = np.ones(len(frame), dtype=bool)
    counts: dict[str, int] = {}
    for name in frame.columns:
        present = finite_rows(frame[name])
        if not present.all():
            counts[str(name)] = int((~present).sum())
        keep &= present
    if w is not None:
        finite = np.isfinite(w)
        if (bad := finite & (w <= 0)).any():
            raise DataError(
                f"var_weights must be positive: {int(bad.sum())} are not (the first is "
                f"{w[bad][0]:g} in row {int(np.flatnonzero(bad)[0])}). R = σ²/w has no meaning "
                "there; drop these rows or correct the weights."
            )
        if not finite.all():
            counts["var_weights"] = int((~finite).sum())
        keep &= finite
    return np.flatnonzero(keep), counts


def _refuse_no_rows(rows: Index, counts: Mapping[str, int]) -> None:
    if len(rows) == 0:
        found = ", ".join(f"{count} in {name}" for name, count in counts.items())
        raise DataError(f"No complete row is left: missing or infinite values: {found}.")


def with_factors(
    frame: pd.DataFrame, formula: Formula, coded: Collection[str] = ()
) -> pd.DataFrame:
    """Code text and categories as ordered factors, except columns that are coded already.

    Numeric grouping factors become factors only in the grouping.
    """
    frame = frame.copy()
    for name in frame.columns:
        dtype = frame[name].dtype
        if name in coded:
            continue
        if not pd.api.types.is_numeric_dtype(dtype):
            frame[name] = as_factor(frame[name])
        elif pd.api.types.is_bool_dtype(dtype):
            frame[name] = frame[name].to_numpy(bool)
        elif name not in formula.factors:
            # Small integers would wrap around in I(x**2), and have no negative powers.
            frame[name] = frame[name].to_numpy(float)
    return frame


# --- columns by formulae --------------------------------------------------------------------------


def evaluate(
    model_frame: ModelFrame,
) -> tuple[Array, Array, tuple[str, ...], Array | None, list[LeftSide], NDArray[np.bool_]]:
    """Return y, X, names, offset, the left side of every random term, and which rows are finite."""
    formula = model_frame.formula
    response = formula.response
    matrices = _formulae(f"{response} ~ {formula.fixed}", model_frame)
    if matrices.response.kind != "numeric" or matrices.response.design_matrix.ndim > 1:
        raise DataError(
            f"The response {response!r} is not numeric; a Gaussian model needs one number a row."
        )
    y = np.asarray(matrices.response.design_matrix, dtype=float)
    X, names = _columns(matrices.common, len(y))
    offsets = [_offset(text, model_frame) for text in formula.offsets]
    offset = np.sum(offsets, axis=0) if offsets else None
    evaluated: dict[tuple[str, bool], LeftSide] = {}
    for term in formula.random:
        key = (term.lhs, term.correlated)
        if key not in evaluated:
            evaluated[key] = [_left_side(text, model_frame) for text in left_sides(term)]
    lhs = [evaluated[term.lhs, term.correlated] for term in formula.random]
    finite = np.isfinite(y) & np.isfinite(X).all(axis=1)
    if offset is not None:
        finite &= np.isfinite(offset)
    for values, _ in chain.from_iterable(lhs):
        finite &= np.isfinite(values).all(axis=1)
    return y, X, names, offset, lhs, finite


def _left_side(text: str, model_frame: ModelFrame) -> tuple[Array, tuple[str, ...]]:
    values, columns = _columns(_formulae(text, model_frame).common, len(model_frame.data))
    if not columns:
        raise FormulaError(
            f"'({text} | …)' has no column; the left side of a random term needs some."
        )
    return values, columns


def _offset(text: str, model_frame: ModelFrame) -> Array:
    values, columns = _columns(
        _formulae(f"0 + I({text})", model_frame).common, len(model_frame.data)
    )
    if len(columns) != 1:
        raise FormulaError(f"offset({text}) has {len(columns)} columns; it needs one number a row.")
    return values[:, 0]


def _formulae(text: str, model_frame: ModelFrame) -> Any:
    """Call formulae, in whose messages the user's formula does not appear, with better ones."""
    try:
        # formulae prints "Unexpected error" before it raises; the error says more.
        with contextlib.redirect_stdout(io.StringIO()), np.errstate(all="ignore"):
            return design_matrices(
                text,
                model_frame.data,
                na_action="pass",
                extra_namespace=dict(model_frame.namespace),
            )
    except BayesvError:
        raise
    except Exception as error:
        raise FormulaError(
            f"'{text}' cannot be evaluated: {type(error).__name__}: {error}\n"
            f"  in {model_frame.formula.text}"
        ) from error


def _columns(common: Any, n: int) -> tuple[Array, tuple[str, ...]]:
    """Return matrix and column names, as R counts and orders them."""
    matrices: list[Array] = []
    names: list[str] = []
    terms = list(common.terms.values()) if common is not None else []
    # R names an interaction's parts in the order in which they first appear: f + x:f gives f:x.
    seen = dict.fromkeys(c.name for t in terms for c in getattr(t, "components", ()))
    order = {name: i for i, name in enumerate(seen)}
    for term in terms:
        values = np.asarray(term.data, dtype=float).reshape(n, -1)
        matrices.append(values)
        names.extend(_names(term, values.shape[1], order))
    X = np.hstack(matrices) if matrices else np.empty((n, 0))
    return X, tuple(names)


def _names(term: Any, width: int, order: Mapping[str, int]) -> list[str]:
    if term.kind == "intercept":
        return [INTERCEPT]
    labels: list[tuple[tuple[int, str], ...]] = [()]
    for component in term.components:
        own = component.labels
        if component.kind == "numeric" and len(own) > 1:  # poly(x, 2)[0] -> [1], as R counts
            own = [f"{component.name}[{i + 1}]" for i in range(len(own))]
        place = order[component.name]
        labels = [(*left, (place, right)) for left in labels for right in own]
    if len(labels) != width:
        raise FormulaError(f"Term {term.name!r} has {width} columns and {len(labels)} names.")
    return [":".join(name for _, name in sorted(parts)) for parts in labels]


def _drop_aliased(
    X: Array, names: tuple[str, ...]
) -> tuple[Array, tuple[str, ...], tuple[str, ...]]:
    """Keep the columns that earlier ones do not determine."""
    keep = independent_columns(X)
    aliased = tuple(name for j, name in enumerate(names) if j not in keep)
    return np.ascontiguousarray(X[:, keep]), tuple(names[j] for j in keep), aliased


def _check_functions(formula: Formula, namespace: Mapping[str, Any]) -> None:
    known = {*TRANSFORMS, *ENCODINGS, *namespace}
    for name in formula.functions:
        if name.split(".")[0] in known or name == "as.factor":
            continue
        raise FormulaError(
            f"There is no function {name!r}{near(name, known)}\n  {formula.text}\n"
            f"  Known: {', '.join(sorted(k for k in known if k.isalpha()))}; others are passed as "
            "namespace={'name': function}."
        )


def _notes(
    counts: Mapping[str, int], aliased: tuple[str, ...], terms: tuple[RandomTerm, ...], n: int
) -> tuple[str, ...]:
    notes = []
    if counts:
        found = ", ".join(f"{count} in {name}" for name, count in counts.items())
        notes.append(f"rows with missing or infinite values were dropped: {found}")
    if aliased:
        notes.append(
            "fixed-effects columns determined by earlier ones were dropped: " + ", ".join(aliased)
        )
    for i, term in enumerate(terms):
        if term.n_effects >= n:
            notes.append(
                f"{term.group} has {term.n_effects} random effects for {n} rows; its covariance "
                "and the residual variance are hardly told apart"
            )
        for other in terms[i + 1 :]:
            notes.append(relation(term, other))
    return tuple(notes)
