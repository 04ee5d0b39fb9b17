"""Structures held against each other: probabilities, what is left out, priors, variances of 0."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from bayesv.comparison.models import ModelComparison
from bayesv.comparison.sensitivity import Sensitivity
from bayesv.comparison.zero_variance import ZeroVariance
from bayesv.plots.densities import density
from bayesv.plots.style import (
    CHAINS,
    COLORS,
    GRID,
    LABEL,
    below,
    dress,
    new_axes,
    several_axes,
    short,
    shortened,
)
from bayesv.support.arguments import a, accepts

__all__ = ["models", "prior_sensitivity", "zero_variance"]

_LONGEST_NAME = 28
_MOST_TICKS = 8
_DASHES, _MARKS = ("-", "--", ":"), ("o", "s", "^")  # of models that share a colour


@accepts(comparison=a(ModelComparison))
def models(comparison: ModelComparison, axes: Any = None) -> NDArray[np.object_]:
    """Draw posterior probabilities and stacking weights of models, and what they predict.

    Parameters
    ----------
    comparison : ModelComparison
    axes : sequence of two Axes, optional

    Returns
    -------
    ndarray of Axes, shape (2,)
        Probability by evidence and weight by stacking of each model; log predictive density of
        clusters that are left out, less that of the best, with its standard error.

    Examples
    --------
    >>> import bayesv as bv
    >>> import matplotlib.pyplot as plt
    >>> sleep = bv.load_dataset("sleepstudy")
    >>> terms = ("(Days || Subject)", "(Days | Subject)")
    >>> posts = [bv.Model(f"Reaction ~ Days + {t}", sleep).sample(seed=1) for t in terms]
    >>> axes = bv.plots.models(bv.compare_models(*posts))
    >>> len(axes)
    2
    >>> plt.close(bv.plots.figure_of(axes))
    """
    table = comparison.to_frame()
    panels, new = several_axes(axes, 2, (4.6, 1.2 + 0.35 * len(table)))
    places = np.arange(len(table))[::-1]
    shares = {"evidence": ("probability", "posterior"), "stacking": ("stacking", "other")}
    for k, (name, (column, color)) in enumerate(shares.items()):
        values = np.nan_to_num(table[column].to_numpy(dtype=float))
        if table[column].isna().all():
            continue
        panels[0].barh(places + 0.19 - 0.38 * k, values, 0.36, color=COLORS[color], label=name)
    panels[0].set_xlim(0, 1.02)
    _name(panels[0], table["model"], places)
    text = "; ".join(
        f"{row['model']} {row['probability']:.3g} and {row['stacking']:.3g}"
        for _, row in table.iterrows()
    )
    dress(
        panels[0], "Weights of the models", "weight", "",
        f"Posterior probabilities by evidence and stacking weights: {text}.", grid="x",
    )  # fmt: skip
    total = table["elpd_cluster"].to_numpy(dtype=float)
    best = np.nanmax(total) if np.isfinite(total).any() else np.nan
    error = table["elpd_cluster_diff_se"].to_numpy(dtype=float)
    panels[1].errorbar(
        total - best, places, xerr=np.nan_to_num(error), fmt="o", color=COLORS["other"]
    )
    panels[1].axvline(0.0, color=GRID, linewidth=1.0, zorder=0)
    if not np.isfinite(total).any():
        panels[1].set_xticks([])
        panels[1].text(
            0.5, 0.5, "no cluster was left out", transform=panels[1].transAxes, ha="center",
            va="center", fontsize=LABEL,
        )  # fmt: skip
    _name(panels[1], table["model"], places)
    panels[1].set_ylim(-0.6, len(table) - 0.4)
    text = "; ".join(
        f"{name} {value:.1f} ± {se:.1f}"
        for name, value, se in zip(table["model"], total - best, error, strict=True)
    )
    dress(
        panels[1], "Clusters left out", "log density less that of the best", "",
        f"Log predictive density of clusters left out, less that of the best: {text}.", grid="x",
    )  # fmt: skip
    below(panels[0], new)
    return panels


def _name(ax: Axes, names: Any, places: Any) -> None:
    texts = shortened(list(names), _LONGEST_NAME)
    ax.set_yticks(places, [text.replace("$", r"\$") for text in texts])


@accepts(result=a(Sensitivity))
def prior_sensitivity(result: Sensitivity, ax: Axes | None = None) -> Axes:
    """Draw the probabilities of models by the scale of their SD priors.

    Parameters
    ----------
    result : Sensitivity
    ax : Axes, optional

    Returns
    -------
    Axes
        A line for each model; it ends where the draws do not reach.

    Examples
    --------
    >>> import bayesv as bv
    >>> import matplotlib.pyplot as plt
    >>> sleep = bv.load_dataset("sleepstudy")
    >>> terms = ("(Days || Subject)", "(Days | Subject)")
    >>> posts = [bv.Model(f"Reaction ~ Days + {t}", sleep).sample(seed=1) for t in terms]
    >>> comparison = bv.compare_models(*posts, leave_out=False)
    >>> ax = bv.plots.prior_sensitivity(bv.sensitivity(comparison))
    >>> len(ax.lines)
    3
    >>> plt.close(ax.figure)
    """
    own = ax is None
    ax = new_axes(ax, (5.6, 3.6))
    wide = result.table.pivot(index="factor", columns="model", values="probability")
    factors = wide.index.to_numpy(dtype=float)
    labels = shortened(result.names, _LONGEST_NAME)
    for k, (name, label) in enumerate(zip(result.names, labels, strict=True)):
        again, color = divmod(k, len(CHAINS))
        ax.plot(
            factors, wide[name], color=CHAINS[color], markersize=3, label=label,
            linestyle=_DASHES[again % len(_DASHES)], marker=_MARKS[again % len(_MARKS)],
        )  # fmt: skip
    ax.axvline(1.0, color=GRID, linewidth=1.0, zorder=0)
    ax.set_xscale("log", base=2)
    ticks = _ticks(factors)
    ax.set_xticks(ticks, [f"{tick:.3g}" for tick in ticks])
    ax.minorticks_off()
    ax.set_ylim(-0.02, 1.02)
    ends = "; ".join(
        f"{name} from {wide[name].iloc[0]:.3g} to {wide[name].iloc[-1]:.3g}"
        for name in result.names
    )
    dress(
        ax, "Probabilities by the scale of the SD priors", "factor", "probability",
        f"Posterior probabilities with SD priors from {factors[0]:.3g} to {factors[-1]:.3g} times "
        f"as wide: {ends}.", grid="y",
    )  # fmt: skip
    below(ax, own)
    return ax


def _ticks(factors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return powers of two, as far apart as they can be read; of a narrow span its ends, too."""
    low, high = np.log2(factors[[0, -1]])
    step = max(1, int(np.ceil((high - low) / _MOST_TICKS)))
    powers = 2.0 ** (step * np.arange(np.ceil(low / step), np.floor(high / step) + 1))
    return powers if len(powers) > 1 else np.unique([factors[0], *powers, factors[-1]])


@accepts(result=a(ZeroVariance))
def zero_variance(result: ZeroVariance, axes: Any = None) -> NDArray[np.object_]:
    """Draw what data say of a variance of 0: the SD's densities, and the ratio's null.

    Parameters
    ----------
    result : ZeroVariance
    axes : sequence of Axes, optional
        Two, or one where there is no restricted likelihood ratio.

    Returns
    -------
    ndarray of Axes
        Prior and posterior density of the SD, with both at 0 marked: their ratio is the Bayes
        factor. Distribution of the restricted likelihood ratio if the variance is 0, without its
        mass at 0, and its value.

    Examples
    --------
    >>> import bayesv as bv
    >>> import matplotlib.pyplot as plt
    >>> model = bv.Model("Yield ~ 1 + (1 | Batch)", bv.load_dataset("dyestuff"))
    >>> result = bv.zero_variance(model.sample(seed=1), "Batch", simulations=2000)
    >>> len(bv.plots.zero_variance(result))
    2
    >>> plt.close("all")
    """
    panels, new = several_axes(axes, 1 if result.ratio is None else 2, (4.4, 3.2))
    _densities(panels[0], result)
    below(panels[0], new)
    if result.ratio is not None:
        _null(panels[1], result)
    return panels


@np.errstate(under="ignore")
def _densities(ax: Axes, result: ZeroVariance) -> None:
    """Draw prior and posterior of the SD; the posterior at 0 is what the Bayes factor says."""
    priors = result.post.priors
    assert priors is not None
    draws = priors.stated_sds(result.post.values)[result.group][..., result.place].ravel()
    grid, height = density(draws, "sd", 0.0)
    prior = np.exp(priors.sd[result.group][result.place].log_density(grid))
    ax.plot(grid, height, color=COLORS["posterior"], label="posterior")
    ax.plot(grid, prior, color=COLORS["prior"], linestyle="--", label="prior")
    text = "The prior has no finite density above 0 at 0."
    if np.isfinite(prior[0]) and prior[0] > 0:
        at_zero = prior[0] * np.exp(-result.log_bf)
        ax.plot(
            [0.0, 0.0], [prior[0], at_zero], "o", color=COLORS["REML"], clip_on=False,
            label="at 0 (posterior: by the Bayes factor)",
        )  # fmt: skip
        text = f"At 0 the prior density is {prior[0]:.3g}, the posterior density {at_zero:.3g}."
    ax.set_ylim(bottom=0.0)
    dress(
        ax, f"SD of {short(result.effect, 24)} over {short(result.group, 16)}", "SD", "density",
        f"Prior and posterior density of the SD of {result.effect} over {result.group}. {text} Log "
        f"Bayes factor for the effect {result.log_bf:.2f}.", grid="y",
    )  # fmt: skip


def _null(ax: Axes, result: ZeroVariance) -> None:
    """Draw the null distribution of the restricted likelihood ratio and its value."""
    ratio = result.ratio
    assert ratio is not None
    positive = ratio.null[ratio.null > 0]
    last = max(ratio.statistic * 1.1, float(np.quantile(ratio.null, 0.999)))
    bins = list(np.linspace(0.0, last, 60))
    weights = np.full(len(positive), 1.0 / (len(ratio.null) * (bins[1] - bins[0])))
    ax.hist(positive, bins=bins, weights=weights, color=COLORS["prior"], alpha=0.6)
    ax.axvline(ratio.statistic, color=COLORS["REML"], label="data")
    ax.set_yscale("log")
    dress(
        ax, f"Ratio if the variance is 0: {ratio.p_text}", "restricted likelihood ratio",
        f"density ({ratio.share_of_zeros:.0%} are at 0)",
        f"Distribution of the restricted likelihood ratio if the variance is 0 ({ratio.kind}): "
        f"{ratio.share_of_zeros:.0%} of it is at 0. The data have {ratio.statistic:.3g}, "
        f"{ratio.p_text}.", grid="y",
    )  # fmt: skip
