"""A design from a formula and data: columns by our own encoders, groups, notes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayesv.design.design import Design, RandomTerm
from bayesv.design.known import Known
from bayesv.design.residual import Residual
from bayesv.design.scales import refuse_constant, refuse_sizes
from bayesv.errors import DataError, near
from bayesv.formula.encoding import Encoded, encode
from bayesv.formula.frame import (
    as_factor,
    as_numbers,
    check_names,
    column_names,
    kind,
    plain_column,
    take_columns,
)
from bayesv.formula.functions import AGGREGATES, CONSTANTS, ELEMENTWISE, SHORT_WORDS
from bayesv.formula.grammar import Formula, parse
from bayesv.formula.groups import random_terms, relation
from bayesv.formula.notes import far_from_zero, note_numbers_as_text, rounded_columns
from bayesv.formula.residual_request import ResidualRequest
from bayesv.formula.scan import pointed_error
from bayesv.formula.special import SPECIAL, is_coding
from bayesv.formula.templates import notes_on_order
from bayesv.linalg import Array, independent_columns

__all__ = ["ModelFrame", "build", "check_formula", "weighted", "with_factors"]


@dataclass(frozen=True, eq=False)
class ModelFrame:
    """A formula with the data it was evaluated on.

    Attributes
    ----------
    formula : Formula
        The formula taken apart.
    columns : DataFrame
        Used columns of the kept rows.
    namespace : mapping
        Functions and values that the formula may use beside columns.
    """

    formula: Formula
    columns: pd.DataFrame
    namespace: Mapping[str, Any]

    @cached_property
    def data(self) -> pd.DataFrame:
        """The columns, text and categories as ordered categoricals of the observed levels."""
        return with_factors(self.columns, self.formula)

    def with_response(self, y: Array) -> ModelFrame:
        """Return the same frame with another response; DataError if it is no column by itself."""
        response = self.formula.response.strip("`")
        if response not in self.columns.columns:
            raise DataError(
                f"The response {self.formula.response!r} is computed from columns, and a new "
                "response does not say what these would be. Fit a formula whose response is a "
                "column, or use engine='collapsed'."
            )
        return replace(self, columns=self.columns.assign(**{response: y}))


def build(
    text: str,
    data: Any,
    var_weights: Any = None,
    namespace: Mapping[str, Any] | None = None,
    residual: str | Known | None = None,
    residual_sd: str | None = None,
    relationship: Mapping[str, Any] | None = None,
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
    residual : str or Known, optional
        Correlation of the residuals, ``kind(position | series)``, or their known covariance.
    residual_sd : str, optional
        Their standard deviation: ``strata(g)``, ``power(x)``, ``exp(x)``, or a product.
    relationship : mapping, optional
        Known relationships of the levels of grouping factors.

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
    request = ResidualRequest.of(residual, residual_sd, var_weights)
    available = column_names(data)
    formula, space, used = check_formula(
        text, available, weight_name, namespace, random=request.is_plain
    )
    beside = [*([weight_name] if weight_name else []), *request.columns(available)]
    frame = take_columns(data, dict.fromkeys([*used, *beside]))
    n_given = len(frame)
    w = _weights(frame[weight_name] if weight_name else var_weights, frame)
    covariance = request.covariance(frame)
    present = request.present(frame, covariance, None if w is None else weighted(w))
    encoded = encode(formula, _columns(frame, used), space, present)
    rows = encoded.rows
    _refuse_no_rows(encoded)
    refuse_constant(formula.response, encoded.y, encoded.offset, len(encoded.y))
    kept = frame if len(rows) == n_given else frame.iloc[rows]
    model_frame = ModelFrame(formula, _columns(kept, used), space)
    X, names, aliased = _drop_aliased(encoded.X, encoded.names)
    terms = random_terms(
        kept, formula.random, encoded.lhs, known_scale=request.known is not None,
        relationship=relationship,
    )  # fmt: skip
    columns = [kept[name] for name in used]
    texts = (*note_numbers_as_text(columns, formula), *rounded_columns(columns, formula))
    R = request.residual(frame, rows, covariance, None if w is None else w[rows])
    notes = (*_ineffective(formula), *_notes(encoded.gaps, aliased, terms, R), *texts)
    design = Design(
        formula=formula.text,
        response=formula.response,
        y=encoded.y,
        X=X,
        fixed_names=names,
        terms=terms,
        residual=R,
        offset=encoded.offset,
        rows=rows,
        row_labels=kept.index,
        n_rows_given=n_given,
        aliased=aliased,
        notes=notes,
        encoding=encoded.encoding,
    )
    return design, model_frame


def check_formula(
    text: str,
    available: list[str],
    weight_name: str | None,
    namespace: Mapping[str, Any] | None,
    *,
    random: bool = True,
) -> tuple[Formula, dict[str, Any], list[str]]:
    """Take a formula apart; return it, its namespace and the columns it uses, all of which exist.

    Raises
    ------
    FormulaError
        If the formula is malformed or names a column or function that does not exist.
    DataError
        If the column of the weights does not exist.
    """
    formula = parse(text, random=random)
    space = dict(namespace or {})
    _check_functions(formula, space)
    values = {name for name, value in space.items() if not callable(value)}
    words = {name for name in formula.names if is_coding(name)}
    known = {*available, *CONSTANTS, *SHORT_WORDS, *values, *words}
    check_names(formula.names, known, available, text)
    for term in formula.random:
        places = {factor: formula.names.get(factor, term.start) for factor in term.factors}
        check_names(places, available, available, text)
    if weight_name is not None and weight_name not in available:
        raise DataError(
            f"The data have no column {weight_name!r} for var_weights{near(weight_name, available)}"
        )
    return formula, space, [name for name in formula.names if name in available]


def _columns(frame: pd.DataFrame, names: list[str]) -> pd.DataFrame:
    """Return these columns, the frame itself if it has no others."""
    return frame if len(names) == frame.shape[1] else frame[names]


# --- rows -----------------------------------------------------------------------------------------


def _weights(values: Any, frame: pd.DataFrame) -> Array | None:
    if values is None:
        return None
    if isinstance(values, pd.Series) and not values.index.equals(frame.index):
        raise DataError(
            "var_weights has another index than the data; pass the column's name, or an array in "
            "the order of the rows."
        )
    label = getattr(values, "name", None)
    try:
        column = plain_column(pd.Series(np.ravel(values), name=label))
        if kind(column) == "time":
            raise DataError("They are points in time.")
        w = as_numbers(column).reshape(np.shape(values))
    except (TypeError, ValueError, OverflowError) as error:
        name = f" ({label!r})" if label else ""
        raise DataError(f"var_weights{name} must be real numbers, one a row: {error}") from None
    if w.shape != (len(frame),):
        raise DataError(f"var_weights has shape {w.shape}; the data have {len(frame)} rows.")
    return w


def weighted(w: Array) -> NDArray[np.bool_]:
    """Return which rows have a weight; refuse weights that are not positive."""
    finite = np.isfinite(w)
    if (bad := finite & (w <= 0)).any():
        raise DataError(
            f"var_weights must be positive: {int(bad.sum())} are not (the first is "
            f"{w[bad][0]:g} in row {int(np.flatnonzero(bad)[0])}). R = σ²/w has no meaning "
            "there; drop these rows or correct the weights."
        )
    refuse_sizes(["var_weights"], w[finite, None])
    return np.asarray(finite)


def _refuse_no_rows(encoded: Encoded) -> None:
    if len(encoded.rows) == 0:
        lost = ", ".join(f"{count} in {name}" for name, count in encoded.gaps.items())
        raise DataError(f"No complete row is left: missing or infinite values: {lost}.")


def with_factors(frame: pd.DataFrame, formula: Formula) -> pd.DataFrame:
    """Return columns as people see them: text and categories as ordered factors, else numbers.

    Numeric grouping factors keep their numbers: large identifiers would coincide as doubles.
    """
    frame = frame.copy()
    for name in frame.columns:
        column = plain_column(frame[name])
        if kind(column) == "factor":
            frame[name] = as_factor(column)
        elif kind(column) == "number" and name not in formula.factors:
            frame[name] = as_numbers(column)
        else:
            frame[name] = column
    return frame


# --- columns --------------------------------------------------------------------------------------


def _drop_aliased(
    X: Array, names: tuple[str, ...]
) -> tuple[Array, tuple[str, ...], tuple[str, ...]]:
    """Keep the columns that earlier ones do not determine."""
    keep = independent_columns(X)
    aliased = tuple(name for j, name in enumerate(names) if j not in keep)
    return np.ascontiguousarray(X[:, keep]), tuple(names[j] for j in keep), aliased


_ORDER = "it depends on the rows' order; compute the column before, such as by pandas.Series.{}"
# What stands for functions of R that are none here.
_INSTEAD = {
    "s": "a smooth of a fixed number of columns is ns(x, df=3) or bs(x, df=5)",
    "lo": "a smooth of a fixed number of columns is ns(x, df=3) or bs(x, df=5)",
    "rcs": "a restricted cubic spline is ns(x, knots=c(…))",
    "paste": "write interaction(f, g) for combinations of levels, or f:g",
    "paste0": "write interaction(f, g) for combinations of levels, or f:g",
    "cbind": "add columns by '+'; several responses are fitted one by one",
    "ave": "compute means of groups before, such as by data.groupby('g')['x'].transform('mean')",
    "rank": "compute the column before, such as by pandas.Series.rank",
    "lag": _ORDER.format("shift"),
    "cumsum": _ORDER.format("cumsum"),
    "diff": _ORDER.format("diff"),
}


def _check_functions(formula: Formula, namespace: Mapping[str, Any]) -> None:
    known = {*ELEMENTWISE, *AGGREGATES, *SPECIAL, "offset"}
    callables = {name for name, value in namespace.items() if callable(value)}
    choices = [*known, *callables]
    for name, place in formula.functions.items():
        if name in known or name in callables:
            continue
        advice = _INSTEAD.get(name)
        raise pointed_error(
            f"There is no function {name!r}{f'; {advice}.' if advice else near(name, choices)} "
            "Known: "
            f"{', '.join(sorted(k for k in known if '.' not in k))}; others are passed as "
            "namespace={'name': function}.",
            formula.text,
            _place(formula.text, name, place),
        )


def _place(text: str, name: str, place: int) -> int:
    """Return where a name stands in the text without superfluous blanks."""
    return text.find(name) if text[place : place + len(name)] != name else place


def _ineffective(formula: Formula) -> tuple[str, ...]:
    sides = [formula.terms, *(side for term in formula.random for side in term.sides)]
    orders = [notes_on_order(term.template, term.sides[0], term.label) for term in formula.random]
    notes = [side.notes for side in sides]
    return tuple(dict.fromkeys(note for group in [*notes, *orders] for note in group))


def _notes(
    counts: Mapping[str, int],
    aliased: tuple[str, ...],
    terms: tuple[RandomTerm, ...],
    residual: Residual,
) -> tuple[str, ...]:
    notes = []
    if counts:
        gaps = ", ".join(f"{count} in {name}" for name, count in counts.items())
        notes.append(f"rows with missing or infinite values were dropped: {gaps}")
    if aliased:
        notes.append(
            "fixed-effects columns determined by earlier ones were dropped: " + ", ".join(aliased)
        )
    for i, term in enumerate(terms):
        told_apart = residual.scale_is_known or term.relationship is not None
        if term.n_effects >= residual.size and not told_apart:
            notes.append(
                f"{term.group} has {term.n_effects} random effects for {residual.size} rows; its "
                "covariance and the residual variance are hardly told apart"
            )
        notes += far_from_zero(term)
        for other in terms[i + 1 :]:
            notes.append(relation(term, other))
    return tuple(notes)
