"""Levels of factors in data that come in batches: known before the first batch is coded."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import pandas as pd

from bayesv.errors import DataError, FormulaError
from bayesv.formula.columns import as_factor, finite_rows, kind, plain_column
from bayesv.formula.grammar import Formula
from bayesv.formula.notes import occurrences
from bayesv.formula.sources import DaskSource, Source

__all__ = ["shared_levels", "together"]


def shared_levels(
    source: Source, formula: Formula, columns: Sequence[str]
) -> dict[str, tuple[str, ...]]:
    """Return the levels of the factors outside groupings, which every batch must code alike.

    As for a data frame, they are those of rows without a gap in ``columns``.

    Raises
    ------
    FormulaError
        If a column is used both as a number and as a factor.
    DataError
        If levels are needed and the source can be read only once.
    """
    asked = []
    for name in columns:
        calls = rf"(?:C|factor|T|S)\(\s*{re.escape(name)}(?![\w.])"
        used, coded = occurrences(name, formula), len(re.findall(calls, formula.text))
        if not used:  # what is only a grouping factor is numbered batch by batch
            continue
        stored = source.kind(name)
        if coded and stored in ("number", "time") and used > coded:
            raise FormulaError(
                f"{name!r} is used as a number and as a factor, which data in batches cannot be "
                "both; add a copy of the column."
            )
        if name in formula.factors or stored not in ("number", "time", "logical"):
            asked.append(name)
    seen = _seen(source, columns, [name for name in asked if source.kind(name) != "logical"])
    levels = {}
    for name in asked:
        column = plain_column(seen[name]) if name in seen else pd.Series([False, True])
        if name in formula.factors or kind(column) == "factor":
            levels[name] = tuple(as_factor(column).categories)
    return levels


def _seen(source: Source, columns: Sequence[str], names: Sequence[str]) -> dict[str, pd.Series]:
    """Return the values that occur in some columns, categories in their order."""
    if not names:
        return {}
    if isinstance(source, DaskSource):
        import dask

        ask = dask.delayed(_distinct, pure=False)
        partitions = source.frame[list(columns)].to_delayed()
        batches = dask.compute(*(ask(partition, names) for partition in partitions))
    elif not source.repeatable:
        raise DataError(
            f"A record batch reader can be read once, and the levels of {', '.join(names)} must be "
            "known before. Pass a Parquet path or dataset, or a data frame."
        )
    else:
        batches = tuple(_distinct(frame, names) for frame in source.frames(columns))
    return {name: together([batch[name] for batch in batches]) for name in names}


def _distinct(frame: pd.DataFrame, names: Sequence[str]) -> dict[str, pd.Series]:
    """Return the distinct values of some columns in the rows without a gap."""
    plain = {str(name): plain_column(frame[name]) for name in frame.columns}
    whole = np.logical_and.reduce([finite_rows(column) for column in plain.values()])
    return {name: plain[name][whole].drop_duplicates() for name in names}


def together(parts: Sequence[pd.Series]) -> pd.Series:
    """Concatenate plain columns; categories that differ are taken in the order of the parts."""
    if all(isinstance(part.dtype, pd.CategoricalDtype) for part in parts):
        orders = [part.cat.categories for part in parts]
        categories = list(dict.fromkeys(level for order in orders for level in order))
        values = [value for part in parts for value in part]
        return pd.Series(pd.Categorical(values, categories=categories), name=parts[0].name)
    if len({part.dtype for part in parts}) > 1 and not all(map(_is_number, parts)):
        parts = [part.astype(object) for part in parts]
    return pd.concat(parts, ignore_index=True)


def _is_number(column: pd.Series) -> bool:
    return kind(column) == "number" and column.dtype != object
