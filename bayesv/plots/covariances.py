"""Σ_f and what follows from it: ellipses of effects, variance and correlation as curves."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from numpy.typing import ArrayLike, NDArray
from scipy.special import chdtri

from bayesv.covariance import ComponentDraws
from bayesv.covariance.functionals import function_of_covariates
from bayesv.errors import BayesvError
from bayesv.linalg import Array, evenly_spaced, psd_root, psd_roots
from bayesv.plots.style import CHAINS, COLORS, below, dress, several_axes, short
from bayesv.posterior.posterior import Posterior
from bayesv.reml import RemlFit
from bayesv.support.arguments import (
    INDEX,
    PROBABILITY,
    TEXT,
    TEXTS,
    a,
    accepts,
    numeric,
    optional,
    some,
)

__all__ = ["curves", "ellipses"]


def _frame_or_numbers(name: str, value: Any) -> None:
    if not isinstance(value, pd.DataFrame):
        numeric(name, value)


_FIT = a(RemlFit, hint="fit one by model.reml().")
_POSTERIOR = a(Posterior, hint="draw one by model.sample().")

_ELLIPSE_POINTS = 120  # of one ellipse
_ELLIPSE_DRAWS = 120  # ellipses of draws
_MOST_MARKED = 12  # values of x up to which each has a marker


@accepts(post=_POSTERIOR, prob=PROBABILITY)
def ellipses(
    post: Posterior,
    group: str,
    fit: RemlFit | None = None,
    *,
    prob: float = 0.95,
    draws: int = _ELLIPSE_DRAWS,
    axes: Any = None,
) -> NDArray[np.object_]:
    """Draw Σ_f of draws as ellipses that hold a share of the effects, one panel a pair of columns.

    Parameters
    ----------
    post : Posterior
    group : str
        A grouping factor with at least two columns.
    fit : RemlFit, optional
        Whose Σ_f is drawn, too.
    prob : float
        Share of the levels' effects N(0, Σ_f) inside an ellipse.
    draws : int
        How many draws, evenly spaced.
    axes : sequence of Axes, optional
        One for each pair.

    Returns
    -------
    ndarray of Axes
        One for each pair of columns.

    Raises
    ------
    BayesvError
        If the factor has one column only.

    Notes
    -----
    {u : u'Σ⁻¹u = χ²₂(prob)}, drawn as a root of Σ times a circle, so that a correlation of ±1 is a
    line and needs no inverse.

    Examples
    --------
    >>> import bayesv as bv
    >>> import matplotlib.pyplot as plt
    >>> model = bv.Model("Reaction ~ Days + (Days | Subject)", bv.load_dataset("sleepstudy"))
    >>> axes = bv.plots.ellipses(model.sample(seed=1), "Subject", model.reml())
    >>> axes[0].get_xlabel()
    'u of Intercept (Reaction)'
    >>> plt.close(bv.plots.figure_of(axes))
    """
    term = post.design.term(group)
    if term.n_columns < 2:
        raise BayesvError(
            f"{term.group!r} has one column, {term.columns[0]}, and so no ellipse; draw it with "
            "bv.plots.variance_densities."
        )
    cov = post.cov(group).reshape(-1, term.n_columns, term.n_columns)
    kept = cov[evenly_spaced(len(cov), draws)]
    lines = [("E[Σ | y]", post.estimate("mean"), COLORS["posterior"], "-")]
    if fit is not None:
        lines.append((fit.label, fit.components, COLORS["REML"], "--"))
    pairs = list(combinations(range(term.n_columns), 2))
    panels, new = several_axes(axes, len(pairs), (4.4, 4.2), most_across=3)
    for ax, pair in zip(panels, pairs, strict=True):
        block = np.ix_(pair, pair)
        outlines = _outlines(psd_roots(kept[:, pair][:, :, pair]), prob)
        faint: dict[str, Any] = {"colors": COLORS["posterior"], "linewidths": 0.6, "alpha": 0.22}
        ax.add_collection(LineCollection(list(outlines), **faint), autolim=False)
        # Single outlines are faint; the legend shows a line that can be seen.
        ax.plot([], [], color=COLORS["posterior"], alpha=0.6, label=f"{len(kept)} draws")
        reach = np.quantile(np.abs(outlines).max(axis=1), 0.97, axis=0)
        own = {}
        for name, vc, color, dash in lines:
            outline = _outlines(psd_root(vc.block_for(term)[block])[None], prob)[0]
            ax.plot(*outline.T, color=color, linestyle=dash, linewidth=2.2, label=name)
            own[color] = np.abs(outline).max(axis=0)
            reach = np.maximum(reach, own[color])
        reach = np.where(reach > 0, 1.05 * reach, 1.0)
        for color, size in own.items():
            if (size < 0.01 * reach).all():  # an estimate of 0 is a point, which would not be seen
                ax.plot(0.0, 0.0, "o", color=color, zorder=4)
        ax.set_xlim(-reach[0], reach[0])
        ax.set_ylim(-reach[1], reach[1])
        names = [term.columns[i] for i in pair]
        inside = f"{100 * prob:g} % of effects"
        corr = post.estimate("mean").corr(term.group).to_numpy()[pair[0], pair[1]]
        x, y = (f"u of {short(name, 24)} ({_unit(post, name)})" for name in names)
        dress(
            ax,
            f"Σ of {short(term.group, 24)}: {inside}",
            x,
            y,
            f"Ellipses that hold {inside} of {term.group}: {names[0]} and {names[1]}, for "
            f"{len(kept)} posterior draws of Σ, its posterior mean (correlation {corr:.2f})"
            + (f" and {fit.label}." if fit is not None else "."),
            grid="both",
        )
    below(panels[0], new)
    return panels


@accepts(
    post=_POSTERIOR,
    fit=optional(_FIT),
    at=_frame_or_numbers,
    x=TEXT,
    beside=optional(some(INDEX)),
    groups=optional(TEXTS),
    prob=PROBABILITY,
)
def curves(
    post: Posterior,
    at: pd.DataFrame | ArrayLike,
    x: str,
    *,
    fit: RemlFit | None = None,
    beside: ArrayLike | None = None,
    groups: list[str] | None = None,
    prob: float = 0.95,
    axes: Any = None,
) -> NDArray[np.object_]:
    """Draw Var(y(x)) and Corr(y(x), y(x')) with posterior bands.

    Parameters
    ----------
    post : Posterior
    at : DataFrame, or array_like, shape (m,)
        Values of the columns of the random terms, or of ``x`` alone.
    x : str
        Column of ``at`` for the horizontal axis.
    fit : RemlFit, optional
        Whose curves are drawn, too.
    beside : array_like of int, optional
        Lines of ``at`` that are x'; first, middle and last if left out.
    groups : list of str, optional
        Grouping factors whose level the two rows share; all if left out.
    prob : float
        Probability of the pointwise bands.
    axes : sequence of two Axes, optional

    Returns
    -------
    ndarray of Axes, shape (2,)
        Variances and correlations.

    Raises
    ------
    BayesvError
        If x or a column of a random term is missing.

    Notes
    -----
    The correlation is that of two different rows: at x = x' it is (Var(y(x)) − σ²)/Var(y(x)).

    Examples
    --------
    >>> import bayesv as bv
    >>> import matplotlib.pyplot as plt
    >>> model = bv.Model("Reaction ~ Days + (Days | Subject)", bv.load_dataset("sleepstudy"))
    >>> axes = bv.plots.curves(model.sample(seed=1), range(10), "Days")
    >>> axes[0].get_ylabel()
    'Var(y), Reaction²'
    >>> plt.close(bv.plots.figure_of(axes))
    """
    if not 0 < prob < 1:
        raise BayesvError(f"prob is a probability between 0 and 1; found {prob!r}.")
    table = _sorted_by(x, at)
    values = table[x].to_numpy(dtype=float)
    chosen = np.unique([0, len(values) // 2, len(values) - 1] if beside is None else beside)
    if not np.isin(chosen, np.arange(len(values))).all():
        raise BayesvError(f"beside must be lines of at below {len(values)}; found {beside!r}.")
    draws = post.curves(table, groups)
    variance = draws["variance"].to_numpy().reshape(-1, len(values))
    corr = draws["corr"].to_numpy().reshape(-1, len(values), len(values))
    point = None if fit is None else _at_point(post, fit, table, groups)
    panels, _ = several_axes(axes, 2, (5.0, 3.9))
    response, share = post.design.response, f"posterior median, {100 * prob:g} % band"
    name = "" if fit is None else fit.label
    _band(panels[0], values, variance, prob, COLORS["posterior"], share)
    if point is not None:
        panels[0].plot(values, point[0], color=COLORS["REML"], linestyle="--", label=name)
    panels[0].set_ylim(bottom=0)
    middle = np.median(variance, axis=0)
    dress(
        panels[0], f"Variance of y by {short(x, 24)}", x, f"Var(y), {short(response, 24)}²",
        f"Var(y) by {x} with a {100 * prob:g} % posterior band: median {middle[0]:.4g} at "
        f"{values[0]:.3g} and {middle[-1]:.4g} at {values[-1]:.3g}.",
        grid="both",
    )  # fmt: skip
    for color, j in zip(CHAINS, chosen, strict=False):
        label = f"x' = {values[j]:.3g}"
        _band(panels[1], values, corr[:, :, j], prob, color, label, faint=True)
        if point is not None:
            panels[1].plot(values, point[1][:, j], color=color, linestyle="--", linewidth=1.2)
    sharing = ", ".join(groups or post.design.groups)
    ends = np.median(corr[:, 0, -1])
    dress(
        panels[1],
        f"Correlation of rows that share {short(sharing, 26)}",
        f"{x} (dashed: {name})" if name else x,
        "Corr(y(x), y(x'))",
        f"Correlation of two rows by {x} with {100 * prob:g} % bands: median {ends:.3f} between "
        f"{values[0]:.3g} and {values[-1]:.3g}.",
        grid="both",
    )
    panels[1].set_ylim(min(0.0, panels[1].get_ylim()[0]), 1.0)
    for ax in panels:
        if len(values) <= 3:
            ax.set_xticks(values)
        below(ax, False, columns=3)
    return panels


def _sorted_by(x: str, at: pd.DataFrame | ArrayLike) -> pd.DataFrame:
    """Return the lines of ``at`` by their values of x."""
    table = at if isinstance(at, pd.DataFrame) else pd.DataFrame({x: np.asarray(at, dtype=float)})
    if x not in table:
        raise BayesvError(f"at has no column {x!r}; it has {', '.join(map(str, table.columns))}.")
    if len(table) < 2:
        raise BayesvError(f"A curve needs at least two values of {x!r}; found {len(table)}.")
    return table.sort_values(x, ignore_index=True)


def _outlines(roots: Array, prob: float) -> Array:
    """Return ellipses of roots (S, 2, 2), shape (S, points, 2)."""
    angle = np.linspace(0.0, 2 * np.pi, _ELLIPSE_POINTS)
    circle = np.sqrt(chdtri(2, 1 - prob)) * np.stack([np.cos(angle), np.sin(angle)])
    return np.asarray(np.swapaxes(roots @ circle, 1, 2))


def _unit(post: Posterior, column: str) -> str:
    response = short(post.design.response, 16)
    return response if column == "Intercept" else f"{response} per {short(column, 16)}"


def _at_point(
    post: Posterior, fit: RemlFit, table: pd.DataFrame, groups: list[str] | None
) -> tuple[Array, Array]:
    """Return Var(y(x)), (m,), and the correlations, (m, m), at a fit."""
    point = ComponentDraws.of(post.design, fit.components)
    variance, corr = function_of_covariates(point.flat, table, groups)
    return variance[0], corr[0]


def _band(
    ax: Axes, x: Array, draws: Array, prob: float, color: str, label: str, faint: bool = False
) -> None:
    low, middle, high = np.quantile(draws, [(1 - prob) / 2, 0.5, (1 + prob) / 2], axis=0)
    ax.fill_between(x, low, high, color=color, alpha=0.13 if faint else 0.2, linewidth=0)
    marker = "o" if len(x) <= _MOST_MARKED else None
    ax.plot(x, middle, color=color, linewidth=1.7, marker=marker, markersize=3.5, label=label)
