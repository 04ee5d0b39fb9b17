"""Sum up data that come in batches: one pass, one partial result a batch, merged by level."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from bayesv.design import DesignSummary, TermSummary
from bayesv.errors import DataError, FormulaError
from bayesv.formula.build import check_formula, weighted
from bayesv.formula.encoding import Encoding, encode
from bayesv.formula.frame import as_factor, plain_column
from bayesv.formula.grammar import Formula
from bayesv.formula.groups import combined, level_texts, refuse_levels
from bayesv.formula.sources import ArrowSource, DaskSource, Source
from bayesv.formula.special import STATEFUL
from bayesv.gram import (
    Grouping,
    Moments,
    Rows,
    Units,
    accumulate,
    independent,
    merge,
    permute,
    recode,
)
from bayesv.linalg import Array
from bayesv.names import level_label
from bayesv.progress import progress

__all__ = ["read_batches"]


@dataclass(frozen=True, eq=False)
class _Plan:
    """What every batch is told: the formula, the columns, and the levels of categorical columns."""

    formula: Formula
    used: tuple[str, ...]
    weights: str | None
    namespace: Mapping[str, Any]
    levels: Mapping[str, pd.CategoricalDtype]


@dataclass(frozen=True, eq=False)
class _Spread:
    """Number, means and sums of squares about the means of some columns; parts can be added."""

    n: int
    mean: Array
    squares: Array

    @classmethod
    def of(cls, values: Array) -> _Spread:
        mean = values.mean(axis=0) if len(values) else np.zeros(values.shape[1])
        # A constant must give exactly 0.
        mean = np.where((values == values[:1]).all(axis=0), values[:1].sum(axis=0), mean)
        return cls(len(values), mean, ((values - mean) ** 2).sum(axis=0))

    def __add__(self, other: _Spread) -> _Spread:
        n = self.n + other.n
        delta = other.mean - self.mean
        return _Spread(
            n,
            self.mean + delta * (other.n / max(n, 1)),
            self.squares + other.squares + delta**2 * (self.n * other.n / max(n, 1)),
        )


@dataclass(frozen=True, eq=False)
class _Part:
    """A batch, or several, summed up.

    ``keys`` has one frame for each random term: the factors' values of each level.
    """

    keys: tuple[pd.DataFrame, ...]
    moments: Moments
    spread: _Spread  # of the response, then of every random column
    names: tuple[str, ...]
    labels: tuple[tuple[str, tuple[str, ...], tuple[tuple[int, ...], ...]], ...]
    n_given: int
    encoding: Encoding
    gaps: Mapping[str, int] = field(default_factory=dict)
    weights: tuple[float, float] = (np.inf, -np.inf)


def read_batches(
    text: str, source: Source, var_weights: Any, namespace: Mapping[str, Any] | None
) -> tuple[DesignSummary, Moments, Units]:
    """Sum up a source for a formula.

    Returns
    -------
    DesignSummary, Moments, Units

    Raises
    ------
    FormulaError
        If the formula needs all rows at once: ``scale``, ``center``, ``poly``, ``bs``.
    DataError
        If the data cannot be used, or would have to be read twice and cannot be.
    """
    if var_weights is not None and not isinstance(var_weights, str):
        raise DataError("For data in batches, var_weights must be the name of a column.")
    formula, space, used = check_formula(text, list(source.columns), var_weights, namespace)
    for name in formula.functions:
        if name in STATEFUL:
            raise FormulaError(
                f"{name}() looks at all rows at once, and these data come in batches. Compute the "
                "column beforehand, or pass a data frame."
            )
    columns = tuple(dict.fromkeys([*used, *([var_weights] if var_weights else [])]))
    levels = _categories(source, formula, columns)
    plan = _Plan(formula, tuple(used), var_weights, space, levels)
    if isinstance(source, DaskSource):
        part, units = _by_dask(source, plan, columns)
    else:
        part, units = _in_turn(source, plan, columns)
    return _finished(plan, part, units)


# --- where batches are summed up ------------------------------------------------------------------


def _in_turn(source: ArrowSource, plan: _Plan, columns: Sequence[str]) -> tuple[_Part, Units]:
    """Sum up batch after batch; parts of like size are merged, so that none is moved often."""
    units: Units | None = None
    parts: list[tuple[int, _Part]] = []
    with progress("reading rows") as read:
        for frame in source.frames(columns):
            rows = _rows(frame, plan)
            read(len(frame))
            if rows is None:
                continue
            units = units or Units.of(rows.rows)
            depth, part = 0, _summed(rows, units)
            while parts and parts[-1][0] == depth:
                depth, part = depth + 1, _merged(parts.pop()[1], part)
            parts.append((depth, part))
    if not parts or units is None:
        raise DataError("The data have no complete row.")
    total = parts.pop()[1]
    while parts:
        total = _merged(parts.pop()[1], total)
    return total, units


def _by_dask(source: DaskSource, plan: _Plan, columns: Sequence[str]) -> tuple[_Part, Units]:
    """Sum up partitions on Dask's scheduler and merge them there, two by two."""
    import dask

    partitions = source.frame[list(columns)].to_delayed()
    units = None
    for partition in partitions:  # units from the first partition that has a complete row
        rows = _rows(partition.compute(), plan)
        if rows is not None:
            units = Units.of(rows.rows)
            break
    if units is None:
        raise DataError("The data have no complete row.")
    one, two = dask.delayed(_partition, pure=False), dask.delayed(_merged_or_none, pure=False)
    parts = [one(partition, plan, units) for partition in partitions]
    while len(parts) > 1:
        pairs = [parts[i : i + 2] for i in range(0, len(parts), 2)]
        parts = [two(*pair) if len(pair) == 2 else pair[0] for pair in pairs]
    return parts[0].compute(), units


def _partition(frame: pd.DataFrame, plan: _Plan, units: Units) -> _Part | None:
    rows = _rows(frame, plan)
    return None if rows is None else _summed(rows, units)


def _merged_or_none(a: _Part | None, b: _Part | None) -> _Part | None:
    if a is None or b is None:
        return b if a is None else a
    return _merged(a, b)


# --- one batch ------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Evaluated:
    """Rows of a batch with the levels they have met, and what is said of them."""

    rows: Rows
    keys: tuple[pd.DataFrame, ...]
    names: tuple[str, ...]
    labels: tuple[tuple[str, tuple[str, ...], tuple[tuple[int, ...], ...]], ...]
    n_given: int
    gaps: Mapping[str, int]
    encoding: Encoding


def _rows(frame: pd.DataFrame, plan: _Plan) -> _Evaluated | None:
    """Evaluate the formula on a batch; None if no row of it is complete."""
    frame = frame.apply(plain_column)
    if len(frame) == 0:
        return None
    weights = frame[plan.weights].to_numpy(dtype=float) if plan.weights else None
    encoded = encode(
        plan.formula,
        frame[list(plan.used)],
        plan.namespace,
        None if weights is None else weighted(weights),
        {name: tuple(map(level_label, t.categories)) for name, t in plan.levels.items()},
    )
    kept = encoded.rows
    if not len(kept):
        return None
    part = frame[list(plan.used)].iloc[kept]
    part = part.assign(**{name: _coded(part[name], t) for name, t in plan.levels.items()})
    y, offset = encoded.y, encoded.offset
    groupings, keys, labels = [], [], []
    for term in combined(plan.formula.random, encoded.lhs):
        codes, key = _codes(part, term.factors)
        groupings.append(Grouping(codes, term.values, len(key), term.blocks))
        keys.append(key)
        labels.append((term.label, term.columns, term.blocks))
    target = y if offset is None else y - offset
    w = None if weights is None else weights[kept]
    return _Evaluated(
        Rows(encoded.X, target, w, tuple(groupings)),
        tuple(keys),
        encoded.names,
        tuple(labels),
        len(frame),
        encoded.gaps,
        encoded.encoding,
    )


def _coded(column: pd.Series, dtype: pd.CategoricalDtype) -> pd.Series:
    """Code a categorical column with the levels that all batches share."""
    if pd.api.types.is_numeric_dtype(column.dtype):
        return column.astype(dtype)
    distinct = {value: level_label(value) for value in column.unique()}
    return column.astype(object).map(distinct).astype(dtype)


def _summed(batch: _Evaluated, units: Units) -> _Part:
    rows = batch.rows
    columns = [rows.y[:, None], *(grouping.values for grouping in rows.groupings)]
    w = rows.weights
    return _Part(
        keys=batch.keys,
        moments=accumulate(rows, units),
        spread=_Spread.of(np.hstack(columns)),
        names=batch.names,
        labels=batch.labels,
        n_given=batch.n_given,
        encoding=batch.encoding,
        gaps=batch.gaps,
        weights=(np.inf, -np.inf) if w is None else (float(w.min()), float(w.max())),
    )


def _codes(frame: pd.DataFrame, factors: Sequence[str]) -> tuple[Any, pd.DataFrame]:
    """Return the level of each row in a product of factors, and the values of each level."""
    values = frame[list(factors)]
    codes = values.groupby(list(factors), sort=False, observed=True).ngroup().to_numpy(np.intp)
    first = np.unique(codes, return_index=True)[1]
    return codes, values.iloc[first].reset_index(drop=True)


def _merged(a: _Part, b: _Part) -> _Part:
    """Add two parts; levels are matched by the values of their factors."""
    keys, codes = [], []
    for one, two in zip(a.keys, b.keys, strict=True):
        code, key = _codes(_stacked(one, two), list(one.columns))
        keys.append(key)
        codes.append((code[: len(one)], code[len(one) :]))
    sizes = [len(key) for key in keys]
    moments = [
        recode(part.moments, [code[i] for code in codes], sizes) for i, part in enumerate((a, b))
    ]
    gaps = {name: a.gaps.get(name, 0) + b.gaps.get(name, 0) for name in (*a.gaps, *b.gaps)}
    return _Part(
        keys=tuple(keys),
        moments=merge(*moments),
        spread=a.spread + b.spread,
        names=a.names,
        labels=a.labels,
        n_given=a.n_given + b.n_given,
        encoding=a.encoding,
        gaps=gaps,
        weights=(min(a.weights[0], b.weights[0]), max(a.weights[1], b.weights[1])),
    )


def _stacked(a: pd.DataFrame, b: pd.DataFrame) -> pd.DataFrame:
    """Concatenate levels; categories that differ between batches become plain values."""
    columns = {}
    for name in a.columns:
        one, two = a[name], b[name]
        if isinstance(one.dtype, pd.CategoricalDtype) and one.dtype != two.dtype:
            one, two = one.astype(object), two.astype(object)
        columns[name] = pd.concat([one, two], ignore_index=True)
    return pd.DataFrame(columns)


# --- before and after -----------------------------------------------------------------------------


def _categories(
    source: Source, formula: Formula, columns: Sequence[str]
) -> dict[str, pd.CategoricalDtype]:
    """Levels of the categorical columns outside groupings, which every batch must code alike."""
    # What is only a grouping factor is numbered batch by batch.
    sides = " ".join(
        [formula.response, formula.fixed, *formula.offsets, *(t.lhs for t in formula.random)]
    )
    asked = [n for n in columns if re.search(rf"(?<![\w.]){re.escape(n)}(?![\w.])", sides)]
    asked = [n for n in asked if n in formula.factors or source.is_categorical(n)]
    for name in asked:
        own = rf"(?<![\w.]){re.escape(name)}(?![\w.])"
        calls = rf"(?:C|factor|T|S)\(\s*{re.escape(name)}(?![\w.])"
        numeric = not source.is_categorical(name)
        if numeric and len(re.findall(own, sides)) > len(re.findall(calls, sides)):
            raise FormulaError(
                f"{name!r} is used as a number and as a factor, which data in batches cannot be "
                "both; add a copy of the column."
            )
    if not asked:
        return {}
    if isinstance(source, DaskSource):
        return {name: _dtype([source.frame[name].unique().compute()], name) for name in asked}
    if not source.repeatable:
        raise DataError(
            f"A record batch reader can be read once, and the levels of {', '.join(asked)} must be "
            "known before. Pass a Parquet path or dataset, or a data frame."
        )
    seen: dict[str, list[Any]] = {name: [] for name in asked}
    for frame in source.frames(asked):
        for name in asked:
            seen[name].append(frame[name].unique())
    return {name: _dtype(values, name) for name, values in seen.items()}


def _dtype(parts: Sequence[Any], name: str) -> pd.CategoricalDtype:
    """Return the shared levels of a column: in the order of its categories, or else sorted."""
    series = [pd.Series(part) for part in parts]
    dtypes = {s.dtype for s in series}
    if all(pd.api.types.is_numeric_dtype(dtype) for dtype in dtypes):
        return pd.CategoricalDtype(np.unique(pd.concat(series).dropna()), ordered=True)
    if len(dtypes) > 1 or not isinstance(series[0].dtype, pd.CategoricalDtype):
        series = [s.astype(object) for s in series]
    together = pd.concat(series, ignore_index=True).dropna().drop_duplicates()
    return as_factor(together.rename(name)).dtype


def _finished(plan: _Plan, part: _Part, units: Units) -> tuple[DesignSummary, Moments, Units]:
    """Order levels as for a data frame, drop determined columns, and describe the design."""
    orders, levels = [], []
    for key, (label, _, _) in zip(part.keys, part.labels, strict=True):
        factors = [as_factor(key[name]) for name in key.columns]
        order = np.lexsort([factor.codes for factor in reversed(factors)])
        texts = level_texts([factor[order] for factor in factors])
        refuse_levels(texts, label, part.moments.n)
        orders.append(np.argsort(order))
        levels.append(texts)
    moments = recode(part.moments, orders, [len(x) for x in levels])
    spread, n = part.spread, part.moments.n
    sd = np.sqrt(spread.squares / max(n - 1, 1))
    if sd[0] <= 1e-13 * abs(spread.mean[0]):
        raise DataError(f"The response {plan.formula.response!r} is constant in the {n} rows used.")
    rms = np.sqrt(spread.mean**2 + spread.squares / n)
    terms, at = [], 1
    for level, (label, columns, blocks) in zip(levels, part.labels, strict=True):
        own = slice(at, at + len(columns))
        flat = sd[own] <= 1e-12 * np.abs(spread.mean[own])
        terms.append(
            TermSummary(label, columns, level, blocks, rms[own], np.where(flat, 0.0, sd[own]))
        )
        at += len(columns)
    # As for a data frame: terms by decreasing number of levels.
    by_size = sorted(range(len(terms)), key=lambda i: -terms[i].n_levels)
    moments = permute(moments, by_size)
    units = replace(units, bases=tuple(units.bases[i] for i in by_size))
    kept = independent(moments, units)
    notes = [f"read in batches: {n} of {part.n_given} rows used"]
    aliased = tuple(name for j, name in enumerate(part.names) if j not in kept)
    if aliased:
        notes.append(
            "fixed-effects columns determined by earlier ones were dropped: " + ", ".join(aliased)
        )
    design = DesignSummary(
        formula=plan.formula.text,
        response=plan.formula.response,
        fixed_names=tuple(part.names[j] for j in kept),
        terms=tuple(terms[i] for i in by_size),
        n_rows=n,
        n_rows_given=part.n_given,
        response_sd=float(sd[0]),
        weight_range=part.weights if plan.weights else None,
        aliased=aliased,
        notes=tuple(notes),
        encoding=part.encoding,
    )
    return design, moments, units
