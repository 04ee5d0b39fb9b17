"""Sum up data that come in batches: one pass, one partial result a batch, merged by level."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from bayesv.design.design import DesignSummary, TermSummary
from bayesv.design.scales import ColumnFacts, refuse_constant, residual_scale
from bayesv.errors import DataError, FormulaError
from bayesv.formula.batch import Plan, evaluated, level_codes
from bayesv.formula.build import check_formula
from bayesv.formula.columns import as_factor
from bayesv.formula.encoding import Encoding
from bayesv.formula.groups import level_texts, refuse_levels
from bayesv.formula.levels import shared_levels, together
from bayesv.formula.notes import note_numbers_as_text, rounded
from bayesv.formula.rows_again import RowsAgain
from bayesv.formula.sources import ArrowSource, DaskSource, Source
from bayesv.formula.special import STATEFUL
from bayesv.gram import (
    Moments,
    Scaling,
    Triangles,
    accumulate,
    after_fixed,
    in_scaling,
    merge,
    permute,
    recode,
)
from bayesv.names import INTERCEPT
from bayesv.structures import CovarianceStructure
from bayesv.support.progress import progress

__all__ = ["read_batches"]

_COARSE_RESPONSE = 1e-5  # distance of neighbouring numbers over the SD of the response


@dataclass(frozen=True, eq=False)
class _Part:
    """A batch, or several, summed up.

    ``keys`` has one frame for each random term: the factors' values of each level.
    """

    keys: tuple[pd.DataFrame, ...]
    moments: Moments
    triangles: Triangles
    scaling: Scaling  # of the moments: that of the triangles
    response: ColumnFacts
    facts: tuple[ColumnFacts, ...]  # of the columns of each random term
    names: tuple[str, ...]
    labels: tuple[tuple[str, tuple[str, ...], CovarianceStructure], ...]
    n_given: int
    encoding: Encoding
    gaps: Mapping[str, int] = field(default_factory=dict)
    weights: tuple[float, float] = (np.inf, -np.inf)


def read_batches(
    text: str, source: Source, var_weights: Any, namespace: Mapping[str, Any] | None
) -> tuple[DesignSummary, Moments, Scaling]:
    """Sum up a source for a formula.

    Returns
    -------
    DesignSummary, Moments, Scaling

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
    levels = shared_levels(source, formula, columns)
    texts = [
        pd.Series(levels[name], name=name, dtype=object)
        for name in levels
        if source.holds_text(name)
    ]
    notes = note_numbers_as_text(texts, formula)
    plan = Plan(formula, tuple(used), var_weights, space, levels, notes)
    by = _by_dask if isinstance(source, DaskSource) else _in_turn
    part = by(source, plan, columns)  # type: ignore[arg-type]
    if part is None:
        raise DataError("The data have no complete row.")
    design, moments, scaling = _finished(plan, part)
    if source.repeatable:
        design = replace(design, reader=RowsAgain(source, plan, columns))
    return design, moments, scaling


# --- where batches are summed up ------------------------------------------------------------------


def _in_turn(source: ArrowSource, plan: Plan, columns: Sequence[str]) -> _Part | None:
    """Sum up batch after batch; parts of like size are merged, so that none is moved often."""
    parts: list[tuple[int, _Part]] = []
    with progress("reading rows") as read:
        for frame in source.frames(columns):
            part = _summed(frame, plan)
            read(len(frame))
            if part is None:
                continue
            depth = 0
            while parts and parts[-1][0] == depth:
                depth, part = depth + 1, _merged(parts.pop()[1], part)
            parts.append((depth, part))
    total = parts.pop()[1] if parts else None
    while parts:
        total = _merged_or_none(parts.pop()[1], total)
    return total


def _by_dask(source: DaskSource, plan: Plan, columns: Sequence[str]) -> _Part | None:
    """Sum up partitions on Dask's scheduler and merge them there, two by two."""
    import dask

    one, two = dask.delayed(_summed, pure=False), dask.delayed(_merged_or_none, pure=False)
    parts = [one(partition, plan) for partition in source.frame[list(columns)].to_delayed()]
    while len(parts) > 1:
        pairs = [parts[i : i + 2] for i in range(0, len(parts), 2)]
        parts = [two(*pair) if len(pair) == 2 else pair[0] for pair in pairs]
    total: _Part | None = parts[0].compute()
    return total


def _merged_or_none(a: _Part | None, b: _Part | None) -> _Part | None:
    if a is None or b is None:
        return b if a is None else a
    return _merged(a, b)


# --- one batch ------------------------------------------------------------------------------------


def _summed(frame: pd.DataFrame, plan: Plan) -> _Part | None:
    """Sum up a batch in units of its own; None if no row of it is complete."""
    batch = evaluated(frame, plan)
    if batch is None:
        return None
    rows = batch.rows
    triangles = Triangles.of(rows)
    blocks = [grouping.blocks for grouping in rows.groupings]
    scaling = triangles.scaling(blocks, of_a_part=True)
    return _Part(
        keys=batch.keys,
        moments=accumulate(rows, scaling),
        triangles=triangles,
        scaling=scaling,
        response=ColumnFacts.of(rows.y[:, None]),
        facts=tuple(ColumnFacts.of(grouping.values) for grouping in rows.groupings),
        names=batch.names,
        labels=batch.labels,
        n_given=batch.n_given,
        encoding=batch.encoding,
        gaps=batch.gaps,
        weights=rows.residual.weight_range or (np.inf, -np.inf),
    )


def _merged(a: _Part, b: _Part) -> _Part:
    """Add two parts; levels are matched by the values of their factors."""
    keys, codes = [], []
    for first, second in zip(a.keys, b.keys, strict=True):
        code, key = level_codes(_stacked(first, second), list(first.columns))
        keys.append(key)
        codes.append((code[: len(first)], code[len(first) :]))
    sizes = [len(key) for key in keys]
    triangles = a.triangles + b.triangles
    blocks = [structure.blocks for _, _, structure in a.labels]
    scaling = triangles.scaling(blocks, of_a_part=True)
    one, two = (
        recode(in_scaling(part.moments, part.scaling, scaling), [code[i] for code in codes], sizes)
        for i, part in enumerate((a, b))
    )
    gaps = {name: a.gaps.get(name, 0) + b.gaps.get(name, 0) for name in (*a.gaps, *b.gaps)}
    return _Part(
        keys=tuple(keys),
        moments=merge(one, two),
        triangles=triangles,
        scaling=scaling,
        response=a.response + b.response,
        facts=tuple(one + two for one, two in zip(a.facts, b.facts, strict=True)),
        names=a.names,
        labels=a.labels,
        n_given=a.n_given + b.n_given,
        encoding=a.encoding,
        gaps=gaps,
        weights=(min(a.weights[0], b.weights[0]), max(a.weights[1], b.weights[1])),
    )


def _stacked(a: pd.DataFrame, b: pd.DataFrame) -> pd.DataFrame:
    """Concatenate levels."""
    return pd.DataFrame({name: together([a[name], b[name]]) for name in a.columns})


# --- before and after -----------------------------------------------------------------------------


def _finished(plan: Plan, part: _Part) -> tuple[DesignSummary, Moments, Scaling]:
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
    response, n = part.response, part.moments.n
    response_sd = float(np.sqrt(response.squares[0] / max(n - 1, 1)))
    ends = np.array([response.low[0], response.high[0]])
    refuse_constant(plan.formula.response, ends, np.zeros(2) if plan.formula.offsets else None, n)
    terms = [
        TermSummary(label, columns, level, structure, facts.rms, facts.spread, facts)
        for level, facts, (label, columns, structure) in zip(
            levels, part.facts, part.labels, strict=True
        )
    ]
    # As for a data frame: terms by decreasing number of levels.
    by_size = sorted(range(len(terms)), key=lambda i: -terms[i].n_levels)
    kept = part.triangles.independent
    scaling = part.triangles.of_columns(kept).scaling([s.blocks for _, _, s in part.labels])
    moments = permute(in_scaling(moments, part.scaling, scaling, kept), by_size)
    scaling = replace(scaling, bases=tuple(scaling.bases[i] for i in by_size))
    square = after_fixed(moments, scaling)
    notes = [f"read in batches: {n} of {part.n_given} rows used", *plan.notes]
    notes += _rounded(plan, part, response_sd)
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
        response_sd=response_sd,
        weight_range=part.weights if plan.weights else None,
        aliased=aliased,
        notes=tuple(notes),
        scale_after_X=residual_scale(square, n, len(kept), moments.log_weights, response_sd),
        encoding=part.encoding,
        largest_response=float(np.abs(ends).max()),
    )
    return design, moments, scaling


def _rounded(plan: Plan, part: _Part, response_sd: float) -> list[str]:
    """Return notes on the response and on columns of X so far from 0 as to be rounded."""
    ends = np.abs([part.response.low[0], part.response.high[0]])
    largest = float(ends.max())
    name, spacing = f"the response {plan.formula.response!r}", float(np.spacing(largest))
    notes = [*rounded(name, largest, spacing, response_sd, _COARSE_RESPONSE)]
    of_one, *rest = part.triangles.fixed  # of W^½[1 X y] = QR, so that means stand in its first row
    for name, mean, others in zip(part.names, of_one[1:], np.transpose(rest)[1:], strict=False):
        size, spread = np.abs(mean / of_one[0]), np.linalg.norm(others) / np.abs(of_one[0])
        if name != INTERCEPT:
            notes += rounded(name, float(size), float(np.spacing(size)), float(spread))
    return notes
