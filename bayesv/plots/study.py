"""Pictures of a simulation study: scores along a grid, its intervals one by one, its losses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from numpy.typing import NDArray

from bayesv.errors import BayesvError, near
from bayesv.linalg import Array
from bayesv.plots.densities import density
from bayesv.plots.style import CHAINS, COLORS, below, dress, several_axes, short
from bayesv.support.arguments import TEXTS, accepts, called, optional

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Protocol

    class Result(Protocol):
        """What pictures need of a study's result."""

        manifest: Mapping[str, Any]

        def scores(self) -> pd.DataFrame: ...
        def to_frame(self) -> pd.DataFrame: ...
        @property
        def factors(self) -> pd.DataFrame: ...


__all__ = ["study_intervals", "study_losses", "study_scores"]

_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">")
_LINES = ("-", "--", ":", "-.")
_MOST_DASHES = 3  # lines of one colour that are told apart by their dashes
_TARGETS = {"bias": 0.0, "relative bias": 0.0, "se² ratio": 1.0}
_Z = 1.96  # standard errors that bars reach to
_MOST_INTERVALS = 400  # drawn in a panel, evenly spaced in their order


@accepts(result=called("StudyResult"))
def study_scores(
    result: Result,
    score: str = "coverage",
    against: str | None = None,
    quantities: Sequence[str] | None = None,
    methods: Sequence[str] | None = None,
    axes: Any = None,
) -> NDArray[np.object_]:
    """Draw a score along a factor of the grid, such as coverage against the number of groups.

    Parameters
    ----------
    result : bayesv.study.StudyResult
    score : str
        As `StudyResult.scores` names it: ``coverage``, ``bias``, ``relative bias``, ``rmse``, …
    against : str, optional
        The factor; the first one that varies if left out.
    quantities : sequence of str, optional
        One panel each; SDs, correlations and β if left out.
    methods : sequence of str, optional
        Of standard errors and intervals; all if left out.
    axes : sequence of Axes, optional
        One for each quantity.

    Returns
    -------
    ndarray of Axes

    Raises
    ------
    BayesvError
        If there is nothing to draw; the message names what there is.

    Notes
    -----
    Bars are ± 1.96 Monte Carlo standard errors, of shares Wilson's interval. The dashed line is
    where the score should be: the nominal probability for coverage, 0 for bias, 1 for the ratio of
    mean squared standard error to empirical variance. Where other factors vary too, every
    combination has its own line.
    """
    table = result.scores()
    table = table[table["score"] == one_of("score", score, table["score"])]
    factors = result.factors
    varying = [name for name in factors if factors[name].astype(str).nunique() > 1]
    if not varying:
        raise BayesvError("No factor varies in this study; make scenarios by bv.study.grid.")
    along = varying[0] if against is None else one_of("factor", against, varying)
    if quantities is None:
        table = table[table["kind"].astype(str).isin(["sd", "corr", "beta"])]
        quantities = list(dict.fromkeys(table["quantity"].astype(str)))
    table = _chosen(table, quantities, methods)
    if table.empty or not quantities:
        raise BayesvError(f"There is no {score} to draw of these quantities and methods.")
    others = [name for name in varying if name != along]
    values = factors[along].to_numpy()
    numeric = all(isinstance(v, int | float | np.number) for v in values)
    places = {v: float(v) if numeric else float(i) for i, v in enumerate(dict.fromkeys(values))}
    target = result.manifest["scores"]["prob"] if score == "coverage" else _TARGETS.get(score)
    panels, new = several_axes(axes, len(quantities), (3.6, 3.0), most_across=3)
    # One series per estimator, method and combination of the other factors, alike in all panels.
    keys = ["estimator", "method", *others]
    if score in ("bias", "relative bias", "rmse", "empirical se"):
        table = table.drop_duplicates([*keys[:1], *others, along, "quantity", "value"])
    series = list(dict.fromkeys(map(tuple, table[keys].astype(str).itertuples(index=False))))
    styles = _styles(series, colors_of(result))
    for i, (ax, name) in enumerate(zip(panels, quantities, strict=True)):
        rows = table[table["quantity"] == name]
        texts = []
        for j, (key, style) in enumerate(zip(series, styles, strict=True)):
            line = rows[(rows[keys].astype(str) == list(key)).all(axis=1)]
            if line.empty:
                continue
            # Series stand side by side, so that their bars can be told apart.
            shift = (j - (len(series) - 1) / 2) * 0.012 * (max(places.values()) or 1.0)
            x = np.array([places[v] for v in line[along]])
            texts.append(_series(ax, x, line, shift, score in ("coverage", "rate"), style))
        if target is not None:
            ax.axhline(target, color=COLORS["prior"], ls="--", lw=1.0, zorder=0)
        ax.set_xticks(list(places.values()), [str(v) for v in places])
        dress(
            ax, name, along, score if i % 3 == 0 else "",
            f"{score} of {name} against {along}: {'; '.join(texts)}.", grid="y",
        )  # fmt: skip
    if new:  # one legend for all panels, whichever series they have
        drawn = panels[0].get_legend_handles_labels()[1]
        for style in styles:
            if style["label"] not in drawn:
                panels[0].plot([], [], **style)
    below(panels[0], new, columns=3)
    return panels


def _chosen(
    table: pd.DataFrame, quantities: Sequence[str], methods: Sequence[str] | None
) -> pd.DataFrame:
    """Return the scores by some methods; quantities and methods must be there."""
    for name in quantities:
        one_of("quantity", name, table["quantity"])
    table = table[table["quantity"].isin(list(quantities))]
    if methods is None:
        return table
    for name in methods:
        one_of("method", name, table["method"])
    return table[table["method"].isin(methods)]


def _styles(series: Sequence[tuple[str, ...]], colors: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return how series look: a colour for each estimator and a line for each of its series.

    An estimator of more series than can be told apart by lines has a colour for each.
    """
    names = [key[0] for key in series]
    by_color = max(map(names.count, names), default=0) > _MOST_DASHES
    styles = []
    for j, key in enumerate(series):
        color = CHAINS[j % len(CHAINS)] if by_color else colors[key[0]]
        line = j // len(CHAINS) if by_color else names[:j].count(key[0])
        label = " · ".join(part for part in key if part)
        marker, ls = _MARKERS[j % len(_MARKERS)], _LINES[line % len(_LINES)]
        styles.append({"label": label, "color": color, "marker": marker, "ls": ls})
    return styles


def _series(
    ax: Axes, x: Array, line: pd.DataFrame, shift: float, is_share: bool, style: dict[str, Any]
) -> str:
    """Draw scores with their Monte Carlo errors, and return what the line says."""
    order = np.argsort(x)
    y, mcse = (line[c].to_numpy(dtype=float)[order] for c in ("value", "mcse"))
    low, high = y - _Z * mcse, y + _Z * mcse
    if is_share:  # Wilson (1927): a share of 1 in 40 replicates is not certain
        n = line["n"].to_numpy(dtype=float)[order]
        centre, half = y + _Z**2 / (2 * n), _Z * np.hypot(mcse, _Z / (2 * n))
        low, high = (centre - half) / (1 + _Z**2 / n), (centre + half) / (1 + _Z**2 / n)
        low, high = np.clip(low, 0.0, y), np.clip(high, y, 1.0)
    ax.errorbar(
        x[order] + shift, y, (y - low, high - y), **style, ms=4.5, lw=1.2, elinewidth=1.0,
        capsize=2,
    )  # fmt: skip
    return f"{style['label']} from {y[0]:.3g} to {y[-1]:.3g}"


@accepts(result=called("StudyResult"))
def study_intervals(
    result: Result,
    quantity: str,
    scenario: str | None = None,
    axes: Any = None,
) -> NDArray[np.object_]:
    """Draw the intervals of all replicates in the order of their misses ("zip plot").

    Parameters
    ----------
    result : bayesv.study.StudyResult
    quantity : str
        As `StudyResult.to_frame` names it.
    scenario : str, optional
        The first one if left out.
    axes : sequence of Axes, optional
        One for each estimator and method with intervals.

    Returns
    -------
    ndarray of Axes

    Raises
    ------
    BayesvError
        If there are no such intervals.

    Notes
    -----
    Replicates are ranked by how many SE the estimate is off, the worst on top (Morris, White and
    Crowther 2019, https://doi.org/10.1002/sim.8086). Those whose interval misses the truth should
    be the top 1 − prob of them, above the dashed line, left and right alike.
    """
    frame = result.to_frame()
    names = result.manifest["names"]
    where = names[0] if scenario is None else one_of("scenario", scenario, names)
    one_of("quantity", quantity, frame["quantity"])
    frame = frame[(frame["scenario"] == where) & (frame["quantity"] == quantity)]
    has_interval = np.isfinite(frame["low"]) & np.isfinite(frame["high"])
    lacking = frame[~has_interval].groupby(["estimator", "method"], observed=True).size()
    frame = frame[has_interval]
    if frame.empty:
        raise BayesvError(f"There are no intervals of {quantity!r} in {where!r}.")
    by = frame.groupby(["estimator", "method"], sort=False, observed=True)
    rank_of = {one["name"]: i for i, one in enumerate(result.manifest["estimators"])}
    groups = sorted(by, key=lambda item: rank_of[str(item[0][0])])
    panels, new = several_axes(axes, len(groups), (2.9, 3.6), most_across=4, sharex=axes is None)
    prob = float(result.manifest["scores"]["prob"])
    # Near a boundary Wald intervals, and t with next to no degrees of freedom, can be wider by
    # orders of magnitude than all others: they leave the panel.
    ends = [np.quantile(np.abs(rows["high"] - rows["truth"]), 0.95) for _, rows in groups]
    limit = 2.0 * float(min(ends))
    for i, (ax, ((estimator, method), rows)) in enumerate(zip(panels, groups, strict=True)):
        truth, low, high = (rows[c].to_numpy(dtype=float) for c in ("truth", "low", "high"))
        miss = np.abs(rows["estimate"].to_numpy() - truth) / rows["se"].to_numpy()
        order = np.argsort(miss)
        rank = 100.0 * (np.arange(len(order)) + 0.5) / len(order)
        shown = np.unique(
            np.linspace(0, len(order) - 1, min(len(order), _MOST_INTERVALS)).astype(int)
        )
        low, high, truth = (x[order] for x in (low, high, truth))
        covers = (low <= truth) & (truth <= high)
        for held, color, label in (
            (True, COLORS["posterior"], "covers the truth"),
            (False, COLORS["REML"], "misses it"),
        ):
            part = shown[covers[shown] == held]
            spans = low[part] - truth[part], high[part] - truth[part]
            ax.hlines(rank[part], *spans, color=color, lw=0.7, label=label)
        ax.axvline(0.0, color=COLORS["prior"], lw=1.0)
        ax.axhline(100.0 * prob, color=COLORS["prior"], lw=1.0, ls="--")
        share = covers.mean()
        without = int(lacking.get((estimator, method), 0))  # singular fits, mostly
        said = f"{share:.1%} of {len(order):,} cover"
        excluded = f", {without:,} fits without one" if without else ""
        ax.set_ylim(0, 100)
        ax.set_xlim(-limit, limit)
        dress(
            ax, short(f"{estimator}, {method}", 34), f"interval less truth\n{said}{excluded}",
            "rank of |error|/se (%)" if i % 4 == 0 else "",
            f"Intervals of {quantity} by {estimator}, {method}, in {where}: {share:.1%} of "
            f"{len(order)} cover the truth, {prob:.0%} should{excluded}.",
        )  # fmt: skip
    below(panels[0], new)
    return panels


@accepts(result=called("StudyResult"), scenarios=optional(TEXTS))
def study_losses(
    result: Result,
    loss: str = "stein",
    scenarios: Sequence[str] | None = None,
    axes: Any = None,
) -> NDArray[np.object_]:
    """Draw the density of a loss of V̂ over replicates, one line for each estimator.

    Parameters
    ----------
    result : bayesv.study.StudyResult
    loss : {"stein", "affine_invariant", "frobenius"}
    scenarios : sequence of str, optional
        One panel each; all, but 9 at most, if left out.
    axes : sequence of Axes, optional
        One for each scenario.

    Returns
    -------
    ndarray of Axes

    Raises
    ------
    BayesvError
        If the study has no such loss or scenario.
    """
    frame = result.to_frame()
    frame = frame[frame["kind"] == "loss"]
    one_of("loss", loss, frame["quantity"])
    frame = frame[frame["quantity"] == loss]
    names = list(result.manifest["names"])
    chosen = [one_of("scenario", s, names) for s in (names[:9] if scenarios is None else scenarios)]
    colors = colors_of(result)
    panels, new = several_axes(axes, len(chosen), (3.6, 2.8), most_across=3)
    for ax, name in zip(panels, chosen, strict=True):
        errors = frame[frame["scenario"] == name]
        texts, end = [], 0.0
        for estimator, color in colors.items():
            values = errors.loc[errors["estimator"] == estimator, "estimate"].to_numpy(dtype=float)
            values = values[np.isfinite(values)]
            if len(values) < 2 or np.ptp(values) == 0:
                continue
            x, y = density(values, "sd")
            ax.plot(x, y, color=color, label=estimator, lw=1.6)
            ax.axvline(values.mean(), color=color, lw=1.0, ls=":")
            end = max(end, float(np.quantile(values, 0.99)))
            texts.append(f"{estimator} mean {values.mean():.3g}")
        if end > 0:
            ax.set_xlim(0, end)
        ax.set_ylim(bottom=0)
        ax.set_yticks([])
        dress(
            ax, short(name, 44), f"{loss.replace('_', ' ')} loss of V (dotted: mean)", "",
            f"Densities of the {loss} loss in {name}: {'; '.join(texts) or 'none'}.",
        )  # fmt: skip
    below(_fullest(panels), new)
    return panels


def colors_of(result: Result) -> dict[str, str]:
    """Return a colour for each estimator: REML's and the first posterior's as in every picture."""
    kinds = {one["name"]: one["kind"] for one in result.manifest["estimators"]}
    colors: dict[str, str] = {}
    for name, kind in kinds.items():
        if kind in ("REML", "posterior") and COLORS[kind] not in colors.values():
            colors[name] = COLORS[kind]
    rest = [color for color in CHAINS if color not in colors.values()]
    others = [name for name in kinds if name not in colors]
    colors |= {name: rest[i % len(rest)] for i, name in enumerate(others)}
    return {name: colors[name] for name in kinds}


def _fullest(panels: NDArray[np.object_]) -> Axes:
    panel: Axes = max(panels, key=lambda ax: len(ax.lines))
    return panel


def one_of(what: str, name: str, known: Any) -> str:
    """Return the name if there is one like it; else say which there are."""
    names = list(dict.fromkeys(map(str, known)))
    if not isinstance(name, str) or name not in names:
        raise BayesvError(
            f"There is no {what} {name!r} in this study; there are "
            f"{', '.join(filter(None, names))}{near(name, names)}"
        )
    return name
