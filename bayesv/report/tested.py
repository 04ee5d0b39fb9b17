"""Tests and means of fixed effects, intervals of variances, and whether draws are coherent."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from typing import Any

import pandas as pd
from great_tables import GT

from bayesv.design.design import Design
from bayesv.errors import BayesvError
from bayesv.formula.reference_grid import reference_grid
from bayesv.posterior.posterior import Posterior
from bayesv.reml import RemlFit
from bayesv.reml.intervals import wald_intervals
from bayesv.report.tables import html_of, numbers
from bayesv.support.shown import p_value

__all__ = ["coherence", "intervals", "tested"]

_MOST_EFFECTS = 2_500  # random effects up to which covariances of their sums take seconds
_MOST_MEANS = 60


def tested(fit: RemlFit, post: Posterior | None, *, estimates: bool) -> Iterator[str]:
    """Yield Kenward–Roger's table, tests of terms, and means by level, as far as each is defined.

    Parameters
    ----------
    fit : RemlFit
    post : Posterior or None
        Whose means by level stand below those of the fit.
    estimates : bool
        Whether the coefficients are wanted; they may stand in another table already.
    """
    if fit.design.q <= _MOST_EFFECTS and fit.design.has_rows:
        yield from _of_fit(fit, estimates)
    if post is not None:
        yield from _means(post, "posterior mean, SD and interval", "posterior-means")


def _of_fit(fit: RemlFit, estimates: bool) -> Iterator[str]:
    if fit.method == "ML":
        return  # Kenward–Roger's theory is REML's
    try:
        coefficients = fit.kenward_roger().table()
    except BayesvError:
        return  # a boundary, or a fit made elsewhere whose covariance of β̂ is its own
    if estimates:
        frame = coefficients.rename_axis("coefficient").reset_index()
        yield _table(frame, "kenward-roger", "Fixed effects, Kenward–Roger")
    try:
        terms = fit.anova().rename_axis("term").reset_index()
    except BayesvError:
        return  # no term but the intercept, or cells without rows
    yield _table(terms, "anova", "Tests of terms (type III)")
    yield from _means(fit, "Kenward–Roger", "means")


def _means(source: RemlFit | Posterior, of: str, name: str) -> Iterator[str]:
    """Yield marginal means of each factor."""
    try:
        for factor in _factors(source.design):
            means = source.marginal_means(factor)
            if len(means) <= _MOST_MEANS:
                key = f"{name}-" + "".join(c if c.isalnum() else "-" for c in factor)
                yield _table(means, key, f"Marginal means of {factor}, {of}")
    except BayesvError:
        return  # cells without rows; designs made elsewhere; means of covariates that are gone


def intervals(fit: RemlFit) -> str | None:
    """Return Wald intervals of SDs and correlations; None where there are none."""
    try:
        frame = wald_intervals(fit).rename_axis("parameter").reset_index()
    except BayesvError:
        return None  # known residual variances
    if frame.empty:
        return None
    return _table(frame, "intervals", "SDs and correlations, Wald intervals")


def coherence(posts: Sequence[Posterior], names: Sequence[str]) -> list[tuple[str, list[str]]]:
    """Return what `Posterior.check` says of draws that were made elsewhere, by their name."""
    checked = []
    for post, name in zip(posts, names, strict=True):
        if post.density is None and post.design.has_rows:
            checked.append((name, repr(post.check()).splitlines()))
    return checked


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
    decimals = {"df": 1, "df1": 0, "df2": 1}
    if "p" in frame:
        table = table.fmt(lambda p: escape(p_value(p)), columns="p")
    for column in [c for c in decimals if c in frame]:
        table = table.fmt_number(column, decimals=decimals[column])
    if {"low", "high"} <= set(frame):
        table = table.tab_spanner("95 % interval", ["low", "high"])
    names: dict[str, Any] = {"se": "SE", "df1": "df", "df2": "error df"}
    return html_of(table.cols_label(**{k: v for k, v in names.items() if k in frame}))
