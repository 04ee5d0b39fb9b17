"""Random effects sorted with their intervals, and fixed effects by each method."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from numpy.typing import NDArray
from scipy.special import ndtri

from bayesv.comparison.uncertainty import BetaUncertainty, beta_uncertainty
from bayesv.covariance.clusters import cluster_roots, gram_batches
from bayesv.errors import BayesvError
from bayesv.linalg import Array
from bayesv.names import variable_name
from bayesv.plots.style import (
    COLORS,
    GRID,
    INK,
    TICK,
    dress,
    figure_of,
    label_ticks,
    plain,
    several_axes,
    short,
    shortened,
)
from bayesv.posterior.posterior import Posterior
from bayesv.reml import RemlFit
from bayesv.support.arguments import PROBABILITY, accepts

__all__ = ["caterpillar", "forest"]

_MOST_NAMED = 60  # levels whose labels fit beside the intervals
_METHODS = ("plug-in", "Kenward–Roger", "GLS at E[V | y]", "posterior")


@accepts(prob=PROBABILITY)
def caterpillar(
    source: Posterior | RemlFit,
    group: str,
    *,
    prob: float = 0.95,
    effects: pd.DataFrame | None = None,
    axes: Any = None,
) -> NDArray[np.object_]:
    """Draw the random effects of a factor, sorted, with intervals; one panel for each column.

    Parameters
    ----------
    source : Posterior or RemlFit
        For a posterior, mean and SD of u given y, over draws of (Σ, σ). For a fit, BLUPs and the
        SD of u given y at its V and β, as lme4's ``condVar``.
    group : str
    prob : float
        Probability of the normal intervals.
    effects : DataFrame, optional
        What ``source.random_effects()`` of a posterior returned, for pictures of several factors.
    axes : sequence of Axes, optional
        One for each column.

    Returns
    -------
    ndarray of Axes, shape (r_f,)

    Raises
    ------
    BayesvError
        If source is something else, or ``effects`` are not of its design.

    Notes
    -----
    Labels of levels are printed for up to 60 levels; of more, the outermost ones stand out. At a
    fit, Var(u | y) = σ² Λ(I + Λ'Z'WZΛ)⁻¹Λ', cluster by cluster.

    Examples
    --------
    >>> import bayesv as bv
    >>> import matplotlib.pyplot as plt
    >>> model = bv.Model("Reaction ~ Days + (Days | Subject)", bv.load_dataset("sleepstudy"))
    >>> axes = bv.plots.caterpillar(model.reml(), "Subject")
    >>> [label.get_text() for label in axes[0].get_yticklabels()][-1]  # the largest intercept
    '337'
    >>> plt.close(bv.plots.figure_of(axes))
    """
    if not isinstance(source, Posterior | RemlFit):
        raise BayesvError(
            f"caterpillar draws a bv.Posterior or a bv.RemlFit, found {type(source).__name__}."
        )
    term = source.design.term(group)
    mean, sd = _effects(source, term, effects)
    J, r = mean.shape
    height = float(np.clip(1.0 + 0.19 * J, 2.4, 12.0)) if J <= _MOST_NAMED else 5.2
    longest = max(map(len, map(str, term.levels))) if J <= _MOST_NAMED else 0
    width = 3.7 + 0.08 * float(np.clip(longest - 4, 0, 12))  # names take no room from intervals
    panels, new = several_axes(axes, r, (width, height))
    name = "posterior mean" if isinstance(source, Posterior) else f"BLUP at {source.label}"
    color = COLORS["posterior" if isinstance(source, Posterior) else "REML"]
    half = float(ndtri((1 + prob) / 2)) * sd
    room = height - 1.1 if new else None
    for i, ax in enumerate(panels):
        order = np.argsort(mean[:, i], kind="stable")
        places, x, reach = np.arange(J), mean[order, i], half[order, i]
        low, high, crowded = x - reach, x + reach, J > _MOST_NAMED
        if crowded:
            ax.fill_betweenx(places, low, high, step="mid", color=color, alpha=0.25, lw=0)
        else:
            ax.hlines(places, low, high, color=color, alpha=0.6, linewidth=2.0)
        ax.plot(x, places, "o", color=color, markersize=float(np.clip(240.0 / J, 1.0, 4.5)))
        if crowded:
            _extremes(ax, places, x, reach, list(term.levels[order]), color)
        ax.axvline(0, color=INK, linewidth=0.8, zorder=0)
        ax.set_ylim(-1 - 0.01 * J, J + 0.01 * J)
        column = term.columns[i]
        unit = source.design.response + ("" if column == "Intercept" else f" per {column}")
        dress(
            ax,
            f"{short(term.group, 18)}: {short(column, 22)}",
            f"u ({short(unit, 34)})",
            f"{J:,} levels of {short(term.group, 24)}, sorted" if i == 0 or not crowded else "",
            f"Random effects of {term.group}, column {column}: {name} and {100 * prob:g} % "
            f"interval of {J:,} levels, from {x[0]:.4g} ({term.levels[order[0]]}) to {x[-1]:.4g} "
            f"({term.levels[order[-1]]}).",
            grid="x",
        )
        if crowded:
            ax.set_yticks([])
        else:
            label_ticks(ax, "y", list(places), list(term.levels[order]), room)
    if new:
        figure = figure_of(panels)
        figure.suptitle(
            plain(f"{name}, {100 * prob:g} % interval"), fontsize=10.5, color=INK,
            x=0.01, y=1 - 0.08 / figure.get_figheight(), ha="left",
        )  # fmt: skip
    return panels


def _extremes(
    ax: Axes, places: NDArray[np.intp], x: Array, reach: Array, levels: Sequence[object], color: str
) -> None:
    """Make the first and the last of many levels seen, and name them."""
    ends = [0, len(x) - 1]
    ax.hlines(places[ends], x[ends] - reach[ends], x[ends] + reach[ends], color=color, lw=1.6)
    ax.plot(x[ends], places[ends], "D", color=color, markersize=4.5)
    names = shortened([levels[end] for end in ends], 16)
    for end, name, away in zip(ends, names, (5, -5), strict=True):
        ax.annotate(
            plain(name), (x[end], places[end]), (0, away), fontsize=TICK, color=INK,
            textcoords="offset points", ha="center", va="bottom" if end == 0 else "top",
        )  # fmt: skip


@accepts(prob=PROBABILITY)
def forest(
    fit: RemlFit | BetaUncertainty,
    post: Posterior | None = None,
    *,
    methods: Sequence[str] = _METHODS,
    prob: float = 0.95,
    axes: Any = None,
) -> NDArray[np.object_]:
    """Draw each fixed effect with its interval by each method.

    Parameters
    ----------
    fit : RemlFit or BetaUncertainty
        The latter is what ``bv.beta_uncertainty(fit, post)`` returns, with contrasts if wanted.
    post : Posterior
        Not needed with a BetaUncertainty.
    methods : sequence of str
        Which methods, by a part of their names: "plug-in", "Satterthwaite", "Kenward–Roger",
        "CR0", "CR2", "GLS at E[V | y]", "posterior".
    prob : float
        Probability of the intervals; a BetaUncertainty has its own.
    axes : sequence of Axes, optional
        One for each fixed effect.

    Returns
    -------
    ndarray of Axes
        One for each fixed effect, each on its own scale.

    Raises
    ------
    BayesvError
        If the posterior is missing, or no method has such a name.

    Examples
    --------
    >>> import bayesv as bv
    >>> import matplotlib.pyplot as plt
    >>> model = bv.Model("Reaction ~ Days + (Days | Subject)", bv.load_dataset("sleepstudy"))
    >>> axes = bv.plots.forest(model.reml(), model.sample(seed=1))
    >>> [label.get_text() for label in axes[0].get_yticklabels()]
    ['REML plug-in', 'Kenward–Roger', 'GLS at E[V | y]', 'posterior']
    >>> plt.close(bv.plots.figure_of(axes))
    """
    if isinstance(fit, RemlFit):
        if post is None:
            raise BayesvError("A posterior is needed beside the fit: bv.plots.forest(fit, post).")
        fit = beta_uncertainty(fit, post, prob=prob)
    if not isinstance(fit, BetaUncertainty):
        raise BayesvError(
            "forest draws a bv.RemlFit with a bv.Posterior, or a bv.BetaUncertainty, found "
            f"{type(fit).__name__}."
        )
    known = list(fit.table["method"].unique())
    shown = [name for name in known if any(part in name for part in methods)]
    if not shown:
        raise BayesvError(f"methods are parts of {', '.join(known)}; found {list(methods)}.")
    names = list(fit.table["coefficient"].unique())
    if not names:
        raise BayesvError("There are no fixed effects to draw.")
    panels, _ = several_axes(axes, len(names), (3.9, 0.9 + 0.34 * len(shown)), most_across=3)
    percent = f"{100 * fit.prob:g} %"
    for name, ax in zip(names, panels, strict=True):
        rows = fit.table[fit.table["coefficient"] == name].set_index("method").loc[shown]
        places = np.arange(len(shown))
        ax.axvline(rows["estimate"].iloc[0], color="#999999", linewidth=0.8, zorder=0)
        if rows["low"].min() <= 0 <= rows["high"].max():
            ax.axvline(0, color=INK, linewidth=0.8, linestyle=":", zorder=0)
        for i, (method, row) in enumerate(rows.iterrows()):
            color = _color(str(method))
            ax.plot([row["low"], row["high"]], [i, i], color=color, linewidth=2.2)
            ax.plot(row["estimate"], i, "o", color=color, markersize=5.5)
        ax.set_yticks(places, [plain(method) for method in shown])
        ax.set_ylim(len(places) - 0.5, -0.5)
        said = "; ".join(
            f"{method} {row['low']:.4g} to {row['high']:.4g}" for method, row in rows.iterrows()
        )
        dress(
            ax, short(name, 40), f"estimate and {percent} interval", "",
            f"Fixed effect {name}, {percent} intervals by method: {said}.",
            grid="x",
        )  # fmt: skip
        ax.tick_params(axis="y", length=0)
        ax.spines["left"].set_color(GRID)
        for label in ax.get_yticklabels():
            label.set_fontsize(TICK)
    return panels


def _effects(
    source: Posterior | RemlFit, term: Any, effects: pd.DataFrame | None
) -> tuple[Array, Array]:
    """Return means and SDs of u given y, shapes (J, r)."""
    shape = (term.n_levels, term.n_columns)
    if isinstance(source, RemlFit):
        of_term = source.design.effect_labels.get_level_values("group") == term.group
        return source.blup.to_numpy()[of_term].reshape(shape), conditional_sd(source)[
            of_term
        ].reshape(shape)
    name = f"u_{variable_name(term.group)}"
    if effects is None and source.density is None and name in source.draws["posterior"]:
        u = source.draws["posterior"][name]
        dims = ("chain", "draw")
        return u.mean(dims).to_numpy(), u.std(dims, ddof=1).to_numpy()
    table = source.random_effects() if effects is None else effects
    if not table.index.equals(source.design.effect_labels):
        raise BayesvError(
            "effects are what source.random_effects() returned, a row for each random effect of "
            "the design; these have other rows."
        )
    of_term = table.index.get_level_values("group") == term.group
    return tuple(table[c].to_numpy()[of_term].reshape(shape) for c in ("mean", "sd"))


def conditional_sd(fit: RemlFit) -> Array:
    """Return the SD of every random effect given y, at a fit's V and β, shape (q,)."""
    design, vc = fit.components.known_at(fit.design)
    roots = [vc.relative_root(term) for term in design.terms]
    sds = np.empty(design.q)
    for counts, effects, gram in gram_batches(design):
        root = cluster_roots(counts, roots)
        M = np.eye(len(root)) + root.T @ gram @ root
        half = np.linalg.solve(np.linalg.cholesky(M), np.broadcast_to(root.T, M.shape))
        sds[effects] = fit.components.sigma * np.sqrt((half**2).sum(axis=1))
    return sds


def _color(method: str) -> str:
    if "posterior" in method:
        return COLORS["posterior"]
    if "E[V" in method:
        return COLORS["other"]
    if "plug-in" in method:
        return COLORS["REML"]
    return COLORS["fourth"] if "CR" in method else COLORS["fifth"]
