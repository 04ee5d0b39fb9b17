"""Parameters of residuals as they are printed, and correlations of visits as a table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import combinations

import numpy as np
import pandas as pd

from bayesv.design.parametric import ResidualValues
from bayesv.errors import ComponentsError

__all__ = ["TRIANGLE", "cut", "groupings", "residual_corr", "residual_lines", "triangle"]

TRIANGLE = "Correlations of residuals"

_FEW = 3  # visits whose correlations take a line each
_WIDTH = 80  # of a line
_HEAD = 16  # of it before the correlations


def residual_corr(values: ResidualValues) -> pd.DataFrame:
    """Return the correlations of visits, shape (v, v); NaN between groups of series.

    Raises
    ------
    ComponentsError
        If not every pair of labels of SDs has a correlation.
    """
    tables = _tables(values)
    if not tables:
        raise ComponentsError(
            "The residuals do not state a correlation of each two visits; what they state is "
            f"{', '.join(values.corr) or 'none'} (.residual.corr). MarginalCovariance(design, "
            "components).corr_block(group, level) has the correlations of rows."
        )
    names = list(values.sd)
    return pd.concat(tables).reindex(index=names, columns=names)


def residual_lines(values: ResidualValues) -> list[str]:
    """Return lines of at most 80 columns: one a parameter, a triangle where all pairs have one."""
    tables = _tables(values)
    if not tables or len(tables[0]) <= _FEW:
        return [f"{'':<16} {cut(name, 45):<45} {_number(c):>7}" for name, c in values.corr.items()]
    return [TRIANGLE, *(line for table in tables for line in triangle(table))]


def triangle(table: pd.DataFrame) -> list[str]:
    """Return the lower triangle, in pieces that fit beside each other."""
    names, numbers, lines = list(table.index), table.to_numpy(), []
    width = min(max(7, *(len(name) + 1 for name in names[:-1])), 12)
    each = (_WIDTH - _HEAD) // width
    for first in range(0, len(names) - 1, each):
        columns = range(first, min(first + each, len(names) - 1))
        heads = "".join(f"{cut(names[k], width - 1):>{width}}" for k in columns)
        lines.append(" " * _HEAD + heads)
        for i in range(first + 1, len(names)):
            row = "".join(f"{numbers[i, k]:{width}.3f}" for k in columns if k < i)
            lines.append(f"{cut(names[i], _HEAD):<{_HEAD}}{row}")
    return lines


def _tables(values: ResidualValues) -> list[pd.DataFrame]:
    """Return the correlations of each group's visits, if there is one of every pair."""
    names, corr = list(values.sd), values.corr
    for parts in groupings(names):
        pairs = [_pairs(part, corr, grouped=len(parts) > 1) for part in parts]
        if None not in pairs and sum(len(pair) for pair in pairs if pair) == len(corr):
            return [_table(part, pair) for part, pair in zip(parts, pairs, strict=True) if pair]
    return []


def groupings(names: list[str]) -> Iterator[list[list[str]]]:
    """Yield the ways in which labels may be those of 1, 2 … groups of equal size."""
    for count in (c for c in range(1, len(names) // 2 + 1) if len(names) % c == 0):
        size = len(names) // count
        yield [names[start : start + size] for start in range(0, len(names), size)]


def _pairs(names: list[str], corr: Mapping[str, float], *, grouped: bool) -> list[float] | None:
    """Return the correlation of each two labels, if all are there; labels start by the group."""
    ends = [k + 2 for k in range(len(names[0])) if names[0].startswith(": ", k)]
    for end in ends if grouped else [0]:
        labels = [f"{a}, {b[end:]}" for a, b in combinations(names, 2)]
        if all(label in corr for label in labels):
            return [corr[label] for label in labels]
    return None


def _table(names: list[str], pairs: list[float]) -> pd.DataFrame:
    """Return the symmetric matrix of pairs."""
    table = np.eye(len(names))
    i, k = np.triu_indices(len(names), 1)
    table[i, k] = table[k, i] = pairs
    return pd.DataFrame(table, names, names)


def _number(value: float) -> str:
    """Return a parameter with three decimals, or digits enough where it is no correlation."""
    return f"{value:.3f}" if value == 0 or 0.0005 <= abs(value) < 1e4 else f"{value:.4g}"


def cut(name: str, width: int) -> str:
    """Return a name of at most so many letters."""
    return name if len(name) <= width else f"{name[: width - 1]}…"
