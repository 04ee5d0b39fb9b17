"""A formula on the rows of one batch: columns, and the levels that the batch has met."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayesv.design.residual import Residual
from bayesv.design.scales import refuse_sizes
from bayesv.formula.build import weighted
from bayesv.formula.columns import as_factor, as_numbers, plain_column
from bayesv.formula.encoding import Encoding, encode
from bayesv.formula.grammar import Formula
from bayesv.formula.groups import combined
from bayesv.gram import Grouping, RowBatch
from bayesv.structures import CovarianceStructure

__all__ = ["Evaluated", "Plan", "evaluated", "level_codes"]


@dataclass(frozen=True, eq=False)
class Plan:
    """What every batch is told: the formula, the columns, and the levels of categorical columns."""

    formula: Formula
    used: tuple[str, ...]
    weights: str | None
    namespace: Mapping[str, Any]
    levels: Mapping[str, tuple[str, ...]]
    notes: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Evaluated:
    """Rows of a batch with the levels they have met, and what is said of them.

    ``kept`` has the places of the complete rows in the batch.
    """

    rows: RowBatch
    kept: NDArray[np.intp]
    keys: tuple[pd.DataFrame, ...]
    names: tuple[str, ...]
    labels: tuple[tuple[str, tuple[str, ...], CovarianceStructure], ...]
    n_given: int
    gaps: Mapping[str, int]
    encoding: Encoding


def evaluated(frame: pd.DataFrame, plan: Plan) -> Evaluated | None:
    """Evaluate the formula on a batch; None if no row of it is complete."""
    if len(frame) == 0:
        return None
    frame = frame.apply(plain_column)
    weights = as_numbers(frame[plan.weights]) if plan.weights else None
    frame = frame.assign(**{name: _coded(frame[name], t) for name, t in plan.levels.items()})
    encoded = encode(
        plan.formula,
        frame[list(plan.used)],
        plan.namespace,
        None if weights is None else weighted(weights),
        plan.levels,
    )
    kept = encoded.rows
    if not len(kept):
        return None
    part = frame[list(plan.used)].iloc[kept].apply(plain_column)
    y, offset = encoded.y, encoded.offset
    groupings, keys, labels = [], [], []
    for term in combined(plan.formula.random, encoded.lhs):
        codes, key = level_codes(part, term.factors)
        groupings.append(Grouping(codes, term.values, len(key), term.structure.blocks))
        keys.append(key)
        labels.append((term.label, term.columns, term.structure))
    target = y if offset is None else y - offset
    refuse_sizes([f"Response {plan.formula.response!r}"], target[:, None])
    w = None if weights is None else weights[kept]
    return Evaluated(
        RowBatch(encoded.X, target, Residual.of_weights(w, len(kept)), tuple(groupings)),
        kept,
        tuple(keys),
        encoded.names,
        tuple(labels),
        len(frame),
        encoded.gaps,
        encoded.encoding,
    )


def _coded(column: pd.Series, levels: Sequence[str]) -> pd.Categorical:
    """Code a factor with the levels that all batches share; others are in incomplete rows only."""
    factor = as_factor(column)
    places = {level: place for place, level in enumerate(levels)}
    codes = np.array([*(places.get(level, -1) for level in factor.categories), -1])
    return pd.Categorical.from_codes(codes[factor.codes], categories=levels, ordered=True)


def level_codes(frame: pd.DataFrame, factors: Sequence[str]) -> tuple[Any, pd.DataFrame]:
    """Return the level of each row in a product of factors, and the values of each level."""
    values = frame[list(factors)]
    codes = values.groupby(list(factors), sort=False, observed=True).ngroup().to_numpy(np.intp)
    first = np.unique(codes, return_index=True)[1]
    return codes, values.iloc[first].reset_index(drop=True)
