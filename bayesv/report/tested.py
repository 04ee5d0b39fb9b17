"""Tables of tests and means of fixed effects, with degrees of freedom of small samples."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd
from great_tables import GT

from bayesv.design.design import Design
from bayesv.errors import BayesvError
from bayesv.formula.reference_grid import reference_grid
from bayesv.reml import RemlFit
from bayesv.report.tables import html_of, numbers

__all__ = ["tested"]

_MOST_EFFECTS = 2_500  # random effects up to which covariances of their sums take seconds
_MOST_MEANS = 60


def tested(fit: RemlFit) -> Iterator[str]:
    """Yield Kenward–Roger's table, tests of terms, and means by level, as far as each is defined.

    Parameters
    ----------
    fit : RemlFit
    """
    if fit.design.q > _MOST_EFFECTS:
        return
    try:
        estimates = fit.kenward_roger().table()
    except BayesvError:
        return  # a boundary, or a fit made elsewhere whose covariance of β̂ is its own
    frame = estimates.rename_axis("coefficient").reset_index()
    yield _table(frame, "kenward-roger", "Fixed effects, Kenward–Roger")
    try:
        yield _table(
            fit.anova().rename_axis("term").reset_index(), "anova", "Tests of terms (type III)"
        )
        for factor in _factors(fit.design):
            means = fit.marginal_means(factor)
            if len(means) <= _MOST_MEANS:
                name = "means-" + "".join(c if c.isalnum() else "-" for c in factor)
                yield _table(means, name, f"Marginal means of {factor}")
    except BayesvError:
        return  # cells without rows, and streamed designs


def _factors(design: Design) -> list[str]:
    """Return the factors among the columns of the fixed effects."""
    frame = reference_grid(design).frame
    return [str(name) for name in frame if frame[name].nunique() > 1]


def _table(frame: pd.DataFrame, name: str, title: str) -> str:
    first = str(frame.columns[0])
    frame = frame.astype({first: str})
    table = GT(frame, id=name, rowname_col=first).tab_header(title=title)
    table = numbers(table, [c for c in ("estimate", "se", "low", "high") if c in frame], 5)
    table = numbers(table, [c for c in ("t", "F") if c in frame], 4)
    decimals = {"df": 1, "df1": 0, "df2": 1, "p": 4}
    for column in [c for c in decimals if c in frame]:
        table = table.fmt_number(column, decimals=decimals[column])
    if {"low", "high"} <= set(frame):
        table = table.tab_spanner("95 % interval", ["low", "high"])
    names: dict[str, Any] = {"se": "SE", "df1": "df", "df2": "error df"}
    return html_of(table.cols_label(**{k: v for k, v in names.items() if k in frame}))
