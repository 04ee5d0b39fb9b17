"""Whether the data look as a fit says: residuals, their distribution, effects, clusters."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from scipy.special import chdtri, ndtri

from bayesv.covariance.clusters import cluster_names
from bayesv.errors import DataError
from bayesv.linalg import Array, evenly_spaced
from bayesv.plots.style import (
    COLORS,
    INK,
    TICK,
    dress,
    inches,
    label_ticks,
    plain,
    several_axes,
    short,
    shortened,
)
from bayesv.reml import RemlFit
from bayesv.support.arguments import TEXT, a, accepts, optional

__all__ = ["check", "influence"]

_FIT = a(RemlFit, hint="fit one by model.reml().")
_FEWEST_ROWS = 20  # of a local mean
_SAME = 1e-9  # of the range of fitted values, and of themselves
_MOST_POINTS = 4000  # of a panel; evenly spaced ones of more
_MOST_TERMS = 4  # panels of random effects
_MOST_ROWS = 400  # of the largest cluster, whose V is factored
_BAND = 0.95
_NAMED = 3  # clusters whose names are written
_MOST_COEFFICIENTS = 12
_INFLATED = (5.0, 10.0)  # moderate and high, by the rules of thumb


@accepts(fit=_FIT)
def check(fit: RemlFit, *, axes: Any = None) -> NDArray[np.object_]:
    """Draw residuals by fitted values, quantiles of residuals and effects, clusters, collinearity.

    Parameters
    ----------
    fit : RemlFit
    axes : sequence of Axes, optional

    Returns
    -------
    ndarray of Axes
        Normalised residuals by fitted values, with their local mean and spread; their quantiles by
        those of a normal distribution, with a pointwise 95 % band; the same of the random effects
        of each column, over their SDs (four at most); and for each cluster of rows, the sum of
        squares of its scaled residuals over its number of rows: about 1, and above the dashed line
        in 1 of 100 clusters, if the model is the truth, left out where rows are all connected, as
        with crossed factors; and where the fixed effects have several terms, their variance
        inflation factors (`RemlFit.collinearity`), with lines at 5 and 10.

    Raises
    ------
    DataError
        If the rows of the fit are not there.

    Notes
    -----
    Predicted effects are shrunk, more so where a level has few rows: each is divided by its own SD
    under the fit, Var(û) = G − Var(û − u). Quantiles of few levels say little.

    Examples
    --------
    >>> import bayesv as bv
    >>> import matplotlib.pyplot as plt
    >>> model = bv.Model("Reaction ~ Days + (Days | Subject)", bv.load_dataset("sleepstudy"))
    >>> axes = bv.plots.check(model.reml())
    >>> len(axes)
    5
    >>> plt.close(bv.plots.figure_of(axes))
    """
    if not fit.design.has_rows:
        raise DataError("The rows of this fit are not there, and so no residuals.")
    effects = _standardised(fit)
    clusters = np.asarray(fit.gls.V.clusters)
    sizes = np.bincount(clusters)
    by_cluster = len(sizes) > 1 and sizes.max() <= _MOST_ROWS
    inflated = _inflated(fit)
    n_panels = 2 + len(effects) + int(by_cluster) + int(inflated is not None)
    panels, _ = several_axes(axes, n_panels, (4.4, 3.7), most_across=3)
    residuals = fit.residuals("normalized").to_numpy()
    _by_fitted(panels[0], fit.gls.fitted.to_numpy(), residuals, fit.design.response)
    # Effects that are predicted take their share: conditional residuals vary less than errors.
    scaled = residuals / (residuals.std() or 1.0)
    _quantiles(panels[1], scaled, "Normalised residuals over their SD")
    for ax, (name, values) in zip(panels[2:], effects.items(), strict=False):
        _quantiles(ax, values, f"Effects: {name}")
    if by_cluster:
        _clusters(panels[2 + len(effects)], fit, clusters, sizes)
    if inflated is not None:
        _collinearity(panels[-1], inflated)
    return panels


@accepts(fit=_FIT, group=optional(TEXT))
def influence(fit: RemlFit, group: str | None = None, *, axes: Any = None) -> NDArray[np.object_]:
    """Draw how the fixed effects move without one cluster: Cook's distances, moves by coefficient.

    Parameters
    ----------
    fit : RemlFit
    group : str, optional
        Grouping factor whose levels are left out one by one; independent clusters if left out.
    axes : sequence of two Axes, optional

    Returns
    -------
    ndarray of Axes, shape (2,)
        Cook's distance of each cluster, with a dashed line at 4 over their number, beyond which
        one is worth a look; and the moves of each coefficient over its standard error, of which
        the largest has its name. V is held: see `RemlFit.influence`.

    Examples
    --------
    >>> import bayesv as bv
    >>> import matplotlib.pyplot as plt
    >>> model = bv.Model("Reaction ~ Days + (Days | Subject)", bv.load_dataset("sleepstudy"))
    >>> axes = bv.plots.influence(model.reml())
    >>> axes[0].get_title(loc="left")
    "Cook's distance, V held"
    >>> plt.close(bv.plots.figure_of(axes))
    """
    table = fit.influence(group)
    panels, _ = several_axes(axes, 2, (4.6, 3.7))
    of = short(table.index.name, 24)
    _cook(panels[0], table["cook"], of)
    _moves(panels[1], table.drop(columns=["rows", "cook"]), of)
    return panels


def _cook(ax: Axes, cook: pd.Series, of: str) -> None:
    values, x = cook.to_numpy(), np.arange(len(cook))
    limit = 4 / len(cook)
    over = values > limit
    ax.vlines(x, 0.0, values, color=COLORS["posterior"], linewidth=0.8, alpha=0.6)
    ax.scatter(x, values, s=14, color=COLORS["posterior"], linewidths=0)
    ax.scatter(x[over], values[over], s=26, color=COLORS["REML"], linewidths=0, zorder=3)
    ax.axhline(limit, color="#555555", linestyle="--", linewidth=1.0)
    ax.margins(x=0.08)
    label_ticks(ax, "x", [float(place) for place in x], list(cook.index))
    names = shortened(list(cook.index), 18)
    worst = [int(k) for k in np.argsort(-np.nan_to_num(values))[:_NAMED]]
    share = min(0.08 * max(map(len, names), default=1) / inches(ax)[0], 0.5)  # of the axis, a name
    apart = [k for i, k in enumerate(worst) if all(abs(k - j) > share * len(x) for j in worst[:i])]
    for k in apart:
        ax.annotate(
            plain(names[k]), (k, values[k]), fontsize=TICK, color=INK,
            xytext=(0, 5), textcoords="offset points", ha="center", va="bottom",
        )  # fmt: skip
    ax.set_ylim(0.0, 1.15 * max(float(np.nanmax(values)), limit))
    named = ", ".join(f"{cook.index[k]} {values[k]:.3g}" for k in worst)
    dress(
        ax, "Cook's distance, V held", f"{of} left out", "Cook's distance",
        f"Cook's distances of {len(cook):,} levels of {of}, left out one by one: "
        f"{int(over.sum()):,} above {limit:.3g}; the largest are {named}.",
        grid="y",
    )  # fmt: skip


def _moves(ax: Axes, moves: pd.DataFrame, of: str) -> None:
    shown, names = moves.iloc[:, :_MOST_COEFFICIENTS], shortened(list(moves.index), 18)
    rows = np.arange(shown.shape[1])
    for k, name in enumerate(shown):
        values = shown[name].to_numpy()
        ax.scatter(values, np.full(len(values), k), s=14, alpha=0.5, linewidths=0,
                   color=COLORS["posterior"])  # fmt: skip
        if not np.isfinite(values).any():
            continue
        worst = int(np.nanargmax(np.abs(values)))
        side = "left" if values[worst] < 0 else "right"
        ax.annotate(
            plain(names[worst]), (values[worst], k), fontsize=TICK, color=INK,
            xytext=(0, 5), textcoords="offset points", ha=side, va="bottom",
        )  # fmt: skip
    ax.axvline(0.0, color="#888888", linewidth=0.8)
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.set_yticks(rows, [plain(text) for text in shortened(list(shown), 22)])
    ax.margins(x=0.12)
    largest = float(np.nanmax(np.abs(moves.to_numpy())))
    rest = moves.shape[1] - shown.shape[1]
    dress(
        ax, "Moves of coefficients" + (f", the first {len(rows)}" if rest else ""),
        "move over standard error", "",
        f"Moves of {moves.shape[1]} fixed effects as a level of {of} is left out, at most "
        f"{largest:.2g} standard errors.",
        grid="x",
    )  # fmt: skip


def _standardised(fit: RemlFit) -> dict[str, Array]:
    """Return predicted effects over their SDs under the fit, by group and column."""
    if not fit.design.terms:
        return {}
    table = fit.random_effects()
    prior = fit.gls.V.G.diagonal()
    spread = np.sqrt(np.clip(prior - table["se"].to_numpy() ** 2, 0.0, None))
    groups = table.index.get_level_values(0)
    columns = table.index.get_level_values(2)
    kept: dict[str, Array] = {}
    for term in fit.design.terms:
        for column in term.columns:
            rows = (groups == term.group) & (columns == column)
            if len(kept) < _MOST_TERMS and (spread[rows] > 1e-8 * np.sqrt(prior[rows])).all():
                values = table["estimate"].to_numpy()[rows] / spread[rows]
                kept[f"{short(term.group, 14)}, {short(column, 14)}"] = values
    return kept


def _inflated(fit: RemlFit) -> pd.Series | None:
    """Return variance inflation factors by term; None where there are fewer than two."""
    try:
        return fit.collinearity()["gvif"]
    except DataError:
        return None


def _collinearity(ax: Axes, gvif: pd.Series) -> None:
    shown = gvif.nlargest(_MOST_COEFFICIENTS)
    shown = gvif[gvif.index.isin(shown.index)]
    rows = np.arange(len(shown))
    ax.hlines(rows, 1.0, shown, color=COLORS["posterior"], linewidth=0.8, alpha=0.6)
    ax.scatter(shown, rows, s=26, color=COLORS["posterior"], linewidths=0, zorder=3)
    ax.set_xscale("log")
    for limit in _INFLATED:
        ax.axvline(limit, color="#555555", linestyle="--", linewidth=1.0)
    highest = max(1.3 * float(shown.max()), 1.3 * _INFLATED[-1])
    ax.set_xlim(0.9, highest)
    ticks = [t for t in (1, 2, 5, 10, 20, 50, 100, 1_000, 10_000, 1e5, 1e6) if t <= highest]
    ticks = [t for t in ticks if highest < 150 or t not in (2, 5, 20, 50)]
    ax.set_xticks(ticks, [f"{t:g}" for t in ticks])
    ax.minorticks_off()
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.set_yticks(rows, [plain(text) for text in shortened(list(map(str, shown.index)), 22)])
    listed = ", ".join(f"{name} {value:.3g}" for name, value in shown.items())
    rest = len(gvif) - len(shown)
    dress(
        ax, "Collinearity" + (f", the largest {len(rows)}" if rest else ""),
        "(generalised) variance inflation factor", "",
        f"Variance inflation factors of the terms of the fixed effects: {listed}; lines at 5 and "
        "10.",
        grid="x",
    )  # fmt: skip


def _by_fitted(ax: Axes, fitted: Array, residuals: Array, response: str) -> None:
    order = np.argsort(fitted, kind="stable")
    x, y = fitted[order], residuals[order]
    kept = evenly_spaced(len(x), _MOST_POINTS)
    ax.scatter(x[kept], y[kept], s=12, alpha=0.5, color=COLORS["posterior"], linewidths=0)
    local, lines = _local(x, y), ""
    if local is not None:
        places, mean, sd = local
        lines = ", local mean (line) and ± SD (dashed)"
        ax.plot(places, mean, color=COLORS["REML"], linewidth=1.8)
        for sign in (-1.0, 1.0):
            ax.plot(places, mean + sign * sd, color=COLORS["REML"], linewidth=1.0, linestyle="--")
    ax.axhline(0.0, color="#888888", linewidth=0.8)
    third = max(len(x) // 3, 1)
    dress(
        ax, "Residuals by fitted values", f"fitted {short(response, 24)}", "normalised residual",
        f"Normalised residuals by fitted values of {len(x):,} rows{lines}: "
        f"SD {y[:third].std():.2f} in the lowest third of fitted values and "
        f"{y[-third:].std():.2f} in the highest.",
        grid="both",
    )  # fmt: skip


def _local(x: Array, y: Array) -> tuple[Array, Array, Array] | None:
    """Return sorted places, local means and SDs there; None of few rows, or of few places.

    Rows of one fitted value, such as those of a group, have one mean.
    """
    if len(x) < _FEWEST_ROWS:
        return None
    rolling = pd.Series(y).rolling(max(5, len(x) // 10), center=True)
    local = pd.DataFrame({"mean": rolling.mean(), "sd": rolling.std()})
    place = np.cumsum(np.diff(x, prepend=x[0]) > _SAME * max(x[-1] - x[0], abs(x[-1])))
    if place[-1] < 2:
        return None
    by_place = local.assign(x=x).groupby(place).mean().dropna()
    places, mean, sd = by_place[["x", "mean", "sd"]].to_numpy().T
    return places, mean, sd


@np.errstate(under="ignore")
def _quantiles(ax: Axes, values: Array, what: str) -> None:
    m = len(values)
    ordered, share = np.sort(values), (np.arange(m) + 0.5) / m
    normal = ndtri(share)
    # Of the i-th of m independent normal values, by the delta method.
    height = np.exp(-(normal**2) / 2) / np.sqrt(2 * np.pi)
    half = ndtri((1 + _BAND) / 2) * np.sqrt(share * (1 - share) / m) / height
    ax.fill_between(normal, normal - half, normal + half, color="#BBBBBB", alpha=0.45, linewidth=0)
    ax.plot(normal, normal, color="#555555", linewidth=1.0)
    # Both tails are drawn whole.
    middle = evenly_spaced(m, _MOST_POINTS)
    kept = np.unique(np.concatenate([np.arange(min(m, 50)), middle, np.arange(max(m - 50, 0), m)]))
    ax.scatter(normal[kept], ordered[kept], s=12, color=COLORS["posterior"], linewidths=0, zorder=3)
    outside = float(np.mean(np.abs(ordered - normal) > half))
    dress(
        ax, what, "normal quantile", "quantile",
        f"{what}: quantiles of {m:,} values by those of a normal distribution, "
        f"{100 * outside:.0f} % outside the pointwise 95 % band; from {ordered[0]:.2f} to "
        f"{ordered[-1]:.2f}.",
        grid="both",
    )  # fmt: skip


def _clusters(ax: Axes, fit: RemlFit, clusters: NDArray[np.intp], sizes: NDArray[np.intp]) -> None:
    squares = np.bincount(clusters, fit.residuals("scaled").to_numpy() ** 2) / sizes
    limit = chdtri(sizes, 0.01) / sizes
    order = np.argsort(sizes, kind="stable")
    x = np.arange(len(sizes))
    over = squares[order] > limit[order]
    ax.scatter(x, squares[order], s=14, color=COLORS["posterior"], linewidths=0)
    ax.scatter(x[over], squares[order][over], s=26, color=COLORS["REML"], linewidths=0, zorder=3)
    ax.plot(x, limit[order], color="#555555", linestyle="--", linewidth=1.0, drawstyle="steps-mid")
    ax.axhline(1.0, color="#888888", linewidth=0.8)
    ratio = squares / limit
    worst = np.argsort(-ratio)[:_NAMED]
    names = cluster_names(fit.design, clusters)[1]
    texts = shortened(names, 18)
    ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    written: list[tuple[float, float]] = []
    for k in worst[ratio[worst] > 1.0]:
        place = int(np.flatnonzero(order == k)[0])
        spot = (place / len(x), float(squares[k] / squares.max()))
        if any(abs(spot[0] - a) < 0.4 and abs(spot[1] - b) < 0.05 for a, b in written):
            continue
        written.append(spot)
        right = place > 0.7 * len(x)
        ax.annotate(
            plain(texts[k]), (place, squares[k]), fontsize=TICK, color=INK,
            xytext=(-5 if right else 5, 0), textcoords="offset points", va="center",
            ha="right" if right else "left",
        )  # fmt: skip
    ax.set_ylim(0.0, 1.1 * max(float(squares.max()), float(limit.max())))
    listed = ", ".join(names[k] for k in worst[ratio[worst] > 1.0]) or "none"
    dress(
        ax, "Clusters far off", "clusters by number of rows", "mean squared scaled residual",
        f"Sum of squared scaled residuals over rows, of {len(sizes):,} clusters; "
        f"{int(over.sum()):,} above the 99 % quantile of the fit, the farthest: {listed}.",
        grid="y",
    )  # fmt: skip
