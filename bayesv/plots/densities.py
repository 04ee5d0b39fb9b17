"""Posterior densities of variance components beside REML's point and the prior."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from scipy.special import betaln, xlog1py, xlogy

from bayesv.covariance import VarianceComponents, v_distances
from bayesv.covariance.quantities import Quantity, point_quantities, quantities
from bayesv.design.design import Design
from bayesv.errors import BayesvError, PriorError
from bayesv.linalg import Array, evenly_spaced
from bayesv.plots.style import (
    COLORS,
    INK,
    TICK,
    below,
    dress,
    new_axes,
    several_axes,
    short,
)
from bayesv.posterior.posterior import Posterior
from bayesv.priors.draws import draw_prior
from bayesv.priors.families import Flat
from bayesv.priors.priors import ResolvedPriors
from bayesv.reml import RemlFit
from bayesv.support.arguments import PROBABILITY, TEXT, TEXTS, a, accepts, optional, whole

__all__ = ["density", "distance_density", "variance_densities"]

_FIT = a(RemlFit, hint="fit one by model.reml().")
_POSTERIOR = a(Posterior, hint="draw one by model.sample().")

_GRID_POINTS = 300
_PRIOR_DRAWS = 8_000
_MOST_DRAWS = 8_000  # of a kernel estimate; more would not change a pixel
_BOUNDS = {"sd": (0.0, np.inf), "var": (0.0, np.inf), "corr": (-1.0, 1.0)}


@accepts(
    post=_POSTERIOR,
    fit=optional(_FIT),
    scales=TEXTS,
    prob=PROBABILITY,
)
def variance_densities(
    fit: RemlFit | None,
    post: Posterior,
    *,
    scales: Sequence[str] = ("sd", "var", "corr"),
    prob: float = 0.95,
    axes: Any = None,
) -> NDArray[np.object_]:
    """Draw the posterior density of every sd, var and corr, with prior and REML estimate.

    Parameters
    ----------
    fit : RemlFit or None
        Whose estimates become lines; those on the boundary stay visible.
    post : Posterior
    scales : sequence of {"sd", "var", "corr"}
        What to draw.
    prob : float
        Probability of the equal-tailed interval, the bar below the density.
    axes : sequence of Axes, optional
        One for each panel.

    Returns
    -------
    ndarray of Axes
        Term by term, each by sd, var, corr; the residual last.

    Raises
    ------
    BayesvError
        If a scale is unknown, or fit and posterior have different random effects.

    Notes
    -----
    Kernel estimates are reflected at 0 and ±1, so that they do not leak over bounds. The prior of
    a variance is p(√v)/(2√v); that of one correlation of r columns under LKJ(η) is
    (1 + ρ)/2 ~ Beta(η − 1 + r/2, η − 1 + r/2) (Lewandowski, Kurowicka and Joe 2009,
    https://doi.org/10.1016/j.jmva.2009.04.008). Flat priors have no density to draw.

    Examples
    --------
    >>> import bayesv as bv
    >>> import matplotlib.pyplot as plt
    >>> model = bv.Model("Yield ~ 1 + (1 | Batch)", bv.load_dataset("dyestuff"))
    >>> axes = bv.plots.variance_densities(model.reml(), model.sample(seed=1), scales=("sd",))
    >>> [ax.get_title(loc="left") for ax in axes]
    ['sd Batch: Intercept', 'sd Residual']
    >>> plt.close(bv.plots.figure_of(axes))
    """
    unknown = [scale for scale in scales if scale not in _BOUNDS]
    if unknown or not scales:
        raise BayesvError(f"scales are sd, var and corr; found {list(scales)}.")
    if not 0 < prob < 1:
        raise BayesvError(f"prob is a probability between 0 and 1; found {prob!r}.")
    shown = sorted(
        (q for q in post.quantities if q.scale in scales),
        key=lambda q: (
            [*post.design.groups, "Residual"].index(q.group),
            list(_BOUNDS).index(q.scale),
        ),
    )
    points = {} if fit is None else _points(post.design, fit.components)
    panels, new = several_axes(axes, len(shown), (3.3, 2.5))
    name = "REML" if fit is None else fit.label
    for ax, quantity in zip(panels, shown, strict=True):
        _one(ax, quantity, post, points.get(quantity.key), name, prob)
    below(_fullest(panels), new)
    return panels


@accepts(
    post=_POSTERIOR,
    fit=_FIT,
    kind=TEXT,
    every=whole(1),
)
def distance_density(
    post: Posterior,
    fit: RemlFit,
    kind: str = "affine_invariant",
    every: int = 10,
    ax: Axes | None = None,
) -> Axes:
    """Draw the posterior density of the distance between V and REML's V.

    Parameters
    ----------
    post : Posterior
    fit : RemlFit
        Of the same design; its V is the reference.
    kind : str
        One of `bayesv.covariance.DISTANCES`.
    every : int
        Keep every so many draws of each chain: each takes a factorisation of every cluster.
    ax : Axes, optional

    Returns
    -------
    Axes

    Raises
    ------
    BayesvError
        If the kind is unknown or does not exist for this design.

    Examples
    --------
    >>> import bayesv as bv
    >>> import matplotlib.pyplot as plt
    >>> model = bv.Model("Yield ~ 1 + (1 | Batch)", bv.load_dataset("dyestuff"))
    >>> ax = bv.plots.distance_density(model.sample(seed=1), model.reml(), "stein", every=20)
    >>> ax.get_xlabel()
    'stein distance of V from V at REML (0: the same)'
    >>> plt.close(ax.figure)
    """
    values = post.distance(fit.components, kind, every).to_numpy().ravel()
    if not np.isfinite(values).all():
        raise BayesvError(
            f"The distance {kind!r} is not defined for this design (known weights, or too many "
            "elements); use 'affine_invariant' or 'stein'."
        )
    of_mean = v_distances(post.design, fit.components, post.estimate("mean"))[kind]
    new = ax is None
    ax = new_axes(ax, (5.6, 3.6))
    low, middle, high = np.quantile(values, [0.025, 0.5, 0.975])
    x, height = density(values, "sd", of_mean)
    blue = COLORS["posterior"]
    ax.plot(x, height, color=blue, linewidth=1.8, label=f"{len(values):,} draws of V")
    inside = (x >= low) & (x <= high)
    ax.fill_between(x[inside], height[inside], color=blue, alpha=0.2, label="95 % interval")
    ax.axvline(middle, color=blue, linestyle=":", linewidth=1.4, label="median")
    ax.axvline(of_mean, color=COLORS["other"], linestyle="--", linewidth=1.6, label="E[V | y]")
    ax.set_ylim(0, 1.08 * height.max())
    ax.set_xlim(0, x[-1])
    dress(
        ax,
        f"How far V is from {fit.label}'s",
        f"{kind.replace('_', '-')} distance of V from V at {fit.label} (0: the same)",
        "posterior density",
        f"Posterior density of the {kind.replace('_', '-')} distance of V from V at {fit.label}: "
        f"median {middle:.3g}, 95 % interval {low:.3g} to {high:.3g}; E[V | y] is at "
        f"{of_mean:.3g}.",
    )
    below(ax, new)
    return ax


def density(draws: Array, scale: str, include: float = np.nan) -> tuple[Array, Array]:
    """Return a grid and a kernel density estimate on it that keeps to the bounds of the scale.

    Parameters
    ----------
    draws : ndarray
        NaN are left out.
    scale : {"sd", "var", "corr"}
        Bounds are 0, and ±1 for correlations; a distance is bounded as an SD is.
    include : float
        A value that the grid must reach.

    Returns
    -------
    x, height : ndarray, shapes (300,)
        From the 0.25 % to the 99.75 % point, and a little beyond. All heights are 0 if the draws
        are all the same.

    Notes
    -----
    Gaussian kernel with Silverman's bandwidth 0.9 min(sd, iqr/1.34) S^(−1/5), reflected at the
    bounds. The density of a variance is that of the SD, p(√v)/(2√v): infinite at 0 where the SD's
    is not 0 there, as its prior's.
    """
    low, high = _BOUNDS[scale]
    draws = draws[np.isfinite(draws)].ravel()
    ends = np.quantile(draws, [0.0025, 0.9975])
    start, stop = (float(f([*ends, include])) for f in (np.nanmin, np.nanmax))
    spread = (stop - start) or abs(stop) or 1.0
    # A range that nearly reaches a bound is drawn up to it.
    stop = high if high - stop < 0.1 * spread else stop + 0.04 * spread
    kept = draws[evenly_spaced(len(draws), _MOST_DRAWS)]
    if scale == "var":
        # A pole at 0 is drawn as far as there are draws, on points that are denser there.
        x = ends[0] + (stop - ends[0]) * np.linspace(0.0, 1.0, _GRID_POINTS) ** 2
        x = np.maximum(x, np.finfo(float).tiny)
        return x, _kernel(np.sqrt(kept), low, high, np.sqrt(x)) / (2 * np.sqrt(x))
    start = low if start - low < 0.25 * spread else start - 0.04 * spread
    x = np.linspace(start, stop, _GRID_POINTS)
    return x, _kernel(kept, low, high, x)


def _kernel(draws: Array, low: float, high: float, x: Array) -> Array:
    """Return a kernel density estimate at x, reflected at the bounds."""
    sd = float(draws.std(ddof=1))
    if not sd > 1e-12 * np.abs(draws).max():
        return np.zeros_like(x)
    iqr = float(np.ptp(np.quantile(draws, [0.25, 0.75]))) / 1.34
    width = 0.9 * (min(sd, iqr) or sd) * len(draws) ** -0.2
    height = _gaussian(draws, width, x)
    for bound in (low, high):
        if np.isfinite(bound):
            height += _gaussian(draws, width, 2 * bound - x)
    return height


@np.errstate(under="ignore")
def _gaussian(draws: Array, width: float, x: Array) -> Array:
    """Return the mean at x of normal densities around the draws."""
    away = (x[:, None] - draws) / width
    return np.asarray(np.exp(-0.5 * away**2).mean(axis=1) / (width * np.sqrt(2 * np.pi)))


# --- one panel ------------------------------------------------------------------------------------


def _one(
    ax: Axes, q: Quantity, post: Posterior, point: float | None, name: str, prob: float
) -> None:
    low, high = _BOUNDS[q.scale]
    draws = q.values.ravel()
    missing = "" if point is None or np.isfinite(point) else f"; {name}: not defined, an SD is 0"
    if not np.isfinite(draws).any():
        dress(ax, q.label, q.scale, "", f"{q.label}: not defined in any draw.")
        return
    x, height = density(draws, q.scale, np.nan if point is None else point)
    ends = np.nanquantile(draws, [(1 - prob) / 2, (1 + prob) / 2])
    blue = COLORS["posterior"]
    margin = 0.02 * (x[-1] - x[0])
    away = (x >= x[0] + margin) & (x <= x[-1] - margin)
    top = 1.12 * (height[away].max() or 1.0)
    side = "left" if height.argmax() < len(x) // 2 else "right"
    bound = f"{low if side == 'left' else high:g}".replace("-", "−")
    cut = "" if height.max() <= top else f"cut at the top: it rises on towards {bound}"
    ax.fill_between(x, height, color=blue, alpha=0.18, linewidth=0)
    ax.plot(x, height, color=blue, linewidth=1.7, label="posterior")
    ax.plot(
        ends, [0, 0], color=blue, linewidth=4.5, solid_capstyle="butt", clip_on=False, zorder=4,
        label=f"{100 * prob:g} % interval",
    )  # fmt: skip
    prior = None if post.priors is None else _prior_density(post.priors, q, x)
    if prior is not None:
        ax.plot(x, prior, color=COLORS["prior"], linestyle="--", linewidth=1.3, label="prior")
    if point is not None and np.isfinite(point):
        ax.axvline(point, color=COLORS["REML"], linewidth=1.8, label=name, clip_on=False, zorder=5)
    left = float(np.nanmin([x[0], np.nan if point is None else point]))
    pad = 0.02 * (x[-1] - left)
    ax.set_xlim(left - pad, x[-1] + pad)
    ax.xaxis.set_major_locator(MaxNLocator(5))
    ax.set_ylim(0, top)
    ax.set_yticks([])
    said = "" if point is None or missing else f"; {name} estimate {point:.4g}"
    if point is not None and (point <= low or point >= high):
        said += ", on the boundary"
    dress(
        ax,
        q.label + ("" if not missing else f" ({name} undefined)"),
        _unit(q, post.design),
        "density",
        f"Posterior density of {q.label}: {100 * prob:g} % interval {ends[0]:.4g} to "
        f"{ends[1]:.4g}{said}{missing}{cut and '; the density is ' + cut}.",
    )
    if cut:
        at, shift, said = (0, 7, f"← {cut}") if side == "left" else (1, -7, f"{cut} →")
        ax.annotate(
            said, (at, 1), (shift, -2), xycoords="axes fraction", textcoords="offset points",
            fontsize=TICK - 1, color=INK, ha=side, va="top",
        )  # fmt: skip
    ax.spines["left"].set_visible(False)


def _unit(q: Quantity, design: Design) -> str:
    if q.scale == "corr":
        return "corr"
    per = "" if q.first in ("", "Intercept") else f" per {q.first}"
    unit = short(f"{design.response}{per}", 34)
    return f"sd ({unit})" if q.scale == "sd" else f"var (({unit})²)" if per else f"var ({unit}²)"


def _points(design: Design, vc: VarianceComponents) -> dict[Any, float]:
    """Return the estimate of every scalar, by its key."""
    return {q.key: float(q.values) for q in point_quantities(design, vc.aligned(design))}


@np.errstate(under="ignore")
def _prior_density(priors: ResolvedPriors, q: Quantity, x: Array) -> Array | None:
    """Return the prior density of one scalar on a grid, or None where it is improper.

    A prior that is stated at the centre of covariates implies a density of the intercept at 0 and
    of its correlations, which has no formula: it is estimated from draws.
    """
    if q.group != "Residual":
        term = priors.design.term(q.group)
        basis = priors.basis(term)
        if not term.structure.is_free:
            return _implied_density(priors, q, x)
        if any(basis.moved(term.columns.index(name)) for name in (q.first, q.second) if name):
            return _implied_density(priors, q, x)
    elif priors.design.parametric_residual is not None:
        return _implied_density(priors, q, x)
    if q.scale == "corr":
        i = term.columns.index(q.first)
        r = next(len(rows) for rows in term.structure.free_blocks if i in rows)
        shape = priors.corr[term.group].eta - 1 + 0.5 * r
        log_density = xlogy(shape - 1, (1 + x) / 2) + xlog1py(shape - 1, -(1 + x) / 2)
        return np.asarray(np.exp(log_density - betaln(shape, shape)) / 2)
    prior = priors.sigma
    if q.group != "Residual":
        prior = priors.sd[term.group][term.columns.index(q.first)]
    if isinstance(prior, Flat):
        return None
    sd = x if q.scale == "sd" else np.sqrt(x)
    with np.errstate(divide="ignore", over="ignore"):
        density = np.exp(prior.log_density(sd))
        if q.scale == "var":
            density = density / (2 * sd)
    return np.where(np.isfinite(density), density, np.nan)


def _implied_density(priors: ResolvedPriors, q: Quantity, x: Array) -> Array | None:
    """Return a kernel estimate, on the log or atanh scale, from draws of the prior."""
    try:
        drawn = draw_prior(priors, _PRIOR_DRAWS, np.random.default_rng(0))
    except PriorError:  # flat
        return None
    values = next(one.values for one in quantities(drawn, fixed=False) if one.key == q.key)
    if q.scale == "corr":
        draws = np.arctanh(values * (1 - 1e-12))
        with np.errstate(divide="ignore"):
            unbounded, slope = np.arctanh(x), 1.0 / (1.0 - x**2)
    else:
        draws = np.log(values)
        with np.errstate(divide="ignore"):
            unbounded, slope = np.log(x), 1.0 / x
    density = np.full(len(x), np.nan)
    inside = np.isfinite(unbounded)
    width = float(draws.std(ddof=1)) * len(draws) ** -0.2  # Scott 1992
    density[inside] = _gaussian(draws, width, unbounded[inside]) * slope[inside]
    return density


def _fullest(panels: NDArray[np.object_]) -> Axes:
    """Return the panel with the most things to explain."""
    panel: Axes = max(panels, key=lambda ax: len(ax.get_legend_handles_labels()[0]))
    return panel
