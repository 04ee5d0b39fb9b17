"""Whether the chains can be trusted: traces, ranks, acceptance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from bayesv.covariance.quantities import Quantity
from bayesv.diagnostics.convergence import ess_bulk
from bayesv.errors import BayesvError
from bayesv.linalg import Array
from bayesv.plots.style import (
    CHAINS,
    COLORS,
    GRID,
    INK,
    LABEL,
    TICK,
    TITLE,
    below,
    describe,
    dress,
    fitting,
    inches,
    note_alt,
    plain,
    roomy,
    several_axes,
)
from bayesv.posterior.posterior import Posterior
from bayesv.support.arguments import TEXTS, a, accepts, whole

__all__ = ["acceptance", "chains"]

_POSTERIOR = a(Posterior, hint="draw one by model.sample().")

_WINDOW_DRAWS = 50  # of a moving average
_OUTSIDE_BAND = 0.01  # probability outside the band of ranks
_RANK_POINTS = 201  # places at which ECDFs of ranks are drawn


@accepts(post=_POSTERIOR, scales=TEXTS, most=whole(1))
def chains(
    post: Posterior, scales: Sequence[str] = ("sd", "corr", "beta"), most: int = 24
) -> NDArray[np.object_]:
    """Draw trace and ranks of every scalar.

    Parameters
    ----------
    post : Posterior
    scales : sequence of {"sd", "var", "cov", "corr", "beta"}
        Which scalars.
    most : int
        Of more scalars those with the smallest effective sample sizes are drawn.

    Returns
    -------
    ndarray of Axes, shape (scalars, 2)
        Draws by iteration, and for each chain the ECDF of its ranks among all draws, less that of
        uniform ranks. It is about 0 where chains agree.

    Raises
    ------
    BayesvError
        If no scalar has such a scale.

    Notes
    -----
    The grey band holds an ECDF of m independent uniform values with probability 0.99 or more
    (Dvoretzky, Kiefer and Wolfowitz 1956, https://doi.org/10.1214/aoms/1177728174; Massart 1990),
    (log(2/0.01)/2m)^½ on both sides, m being the smallest effective sample size of a chain by
    itself.

    Examples
    --------
    >>> import bayesv as bv
    >>> import matplotlib.pyplot as plt
    >>> model = bv.Model("Yield ~ 1 + (1 | Batch)", bv.load_dataset("dyestuff"))
    >>> axes = bv.plots.chains(model.sample(seed=1, draws=200), scales=("sd",))
    >>> axes.shape
    (2, 2)
    >>> plt.close(bv.plots.figure_of(axes))
    """
    shown = [q for q in post.quantities if q.scale in scales and np.isfinite(q.values).all()]
    if not shown:
        raise BayesvError(f"scales are sd, var, cov, corr and beta; found {list(scales)}.")
    total = len(shown)
    ess = ess_bulk(np.stack([q.values for q in shown], axis=-1))
    shown = [shown[i] for i in np.sort(np.argsort(ess, kind="stable")[:most])]
    figure, axes = plt.subplots(
        len(shown), 2, figsize=(9.0, 0.6 + 1.5 * len(shown)), squeeze=False, sharex="col"
    )
    roomy(figure)
    for (trace, ranks), quantity in zip(axes, shown, strict=True):
        _trace(trace, quantity)
        _ranks(ranks, quantity)
    for ax, name in zip(axes[-1], ("draw", "share of all draws below"), strict=True):
        ax.set_xlabel(name, fontsize=LABEL, color=INK)
    if post.n_chains > 1:
        below(axes[0, 1], own_figure=True, columns=6)
    which = f"{len(shown)} quantities"
    if len(shown) < total:
        which = f"the {len(shown)} of {total} quantities with the smallest effective sample sizes"
    problems = "; ".join(post.problems) or "no problems were found"
    note_alt(
        figure,
        f"Traces and rank differences of {which} in {post.n_chains} chains of "
        f"{post.n_draws} draws: {problems}.",
    )
    note_alt(axes[0, 0], describe(figure))
    return axes


def _trace(ax: Axes, quantity: Quantity) -> None:
    """Draw every chain by iteration."""
    for c, chain in enumerate(quantity.values):
        ax.plot(chain, color=_color(c), linewidth=0.5, alpha=0.8)
    ax.margins(x=0.01)
    _name_panel(ax, quantity, "trace")


def _ranks(ax: Axes, quantity: Quantity) -> None:
    """Draw for every chain the ECDF of its ranks less the uniform one, and the band around 0."""
    draws = quantity.values
    below_all = np.linspace(0.0, 1.0, _RANK_POINTS)
    cuts = np.quantile(draws, below_all)
    largest = 0.0
    for c, chain in enumerate(np.sort(draws, axis=1)):
        away = np.searchsorted(chain, cuts, side="right") / chain.size - below_all
        away[0] = 0.0  # of the share below the smallest of all draws
        ax.plot(below_all, away, color=_color(c), linewidth=1.1, label=f"chain {c + 1}")
        largest = max(largest, float(np.abs(away).max()))
    # Of each chain by itself: chains that disagree must not widen the band.
    ess = min(float(ess_bulk(chain[None, :, None])[0]) for chain in draws)
    reach = np.sqrt(np.log(2 / _OUTSIDE_BAND) / (2 * max(ess, 1.0)))
    ax.axhspan(-reach, reach, color=GRID, alpha=0.5, linewidth=0, zorder=0)
    ax.axhline(0.0, color=COLORS["prior"], linewidth=0.6, zorder=1)
    ax.set(xlim=(0.0, 1.0), ylim=1.1 * max(reach, largest) * np.array([-1.0, 1.0]))
    _name_panel(ax, quantity, "rank ECDF")


def _name_panel(ax: Axes, quantity: Quantity, what: str) -> None:
    title, size = fitting(f"{quantity.label}: {what}", inches(ax)[0], TITLE)
    ax.set_title(plain(title), fontsize=size, loc="left", color=INK, y=1.0)
    ax.tick_params(labelsize=TICK, colors=INK)
    ax.yaxis.get_offset_text().set_fontsize(TICK)
    ax.yaxis.set_offset_position("right")
    ax.spines[["top", "right"]].set_visible(False)


def _color(chain: int) -> str:
    return CHAINS[chain % len(CHAINS)]


@accepts(post=_POSTERIOR)
def acceptance(post: Posterior, axes: Any = None) -> NDArray[np.object_]:
    """Draw how the chains moved: log density, moves by draw, and how long a point was held.

    Parameters
    ----------
    post : Posterior
        Of an engine with sample statistics; what it has is drawn.
    axes : sequence of three Axes, optional

    Returns
    -------
    ndarray of Axes, shape (3,)
        Log density by draw (log σ where the engine kept none); share of kept draws that moved, as a
        moving average, chain by chain; lengths of the runs in which a chain stayed at one point.

    Notes
    -----
    An independence Metropolis–Hastings chain that holds one point for long has met a point its
    proposal does not cover. The share that moved is that of *kept* draws, which are thinned; the
    acceptance of all proposals is in the title.

    Examples
    --------
    >>> import bayesv as bv
    >>> import matplotlib.pyplot as plt
    >>> model = bv.Model("Yield ~ 1 + (1 | Batch)", bv.load_dataset("dyestuff"))
    >>> axes = bv.plots.acceptance(model.sample(seed=1, draws=200))
    >>> len(axes)
    3
    >>> plt.close(bv.plots.figure_of(axes))
    """
    panels, new = several_axes(axes, 3, (4.3, 3.2))
    moved = np.diff(post.sigma2, axis=1) != 0
    stats = post.draws["sample_stats"] if "sample_stats" in post.draws.children else {}
    attrs = post.draws["posterior"].attrs
    lp, name = _density(post, stats)
    window = min(_WINDOW_DRAWS, moved.shape[1])
    kernel = np.ones(window) / window
    runs = [_runs(chain) for chain in moved]
    for c in range(post.n_chains):
        color, label = CHAINS[c % len(CHAINS)], f"chain {c + 1}"
        panels[0].plot(lp[c], color=color, linewidth=0.5, alpha=0.75)
        average = np.convolve(moved[c], kernel, mode="valid")
        panels[1].plot(np.arange(len(average)) + window, average, color=color, label=label)
    longest = max(int(run.max()) for run in runs)
    ess = ess_bulk(lp[..., None])[0] if lp.shape[1] >= 4 else np.nan
    dress(
        panels[0], f"{name} by draw", "draw", name,
        f"{name} by draw in {post.n_chains} chains, effective sample size {ess:.0f}.",
    )  # fmt: skip
    rate = attrs.get("acceptance")
    share = float(moved.mean())
    panels[1].set_ylim(0, 1.03)
    dress(
        panels[1],
        f"Moves; acceptance {rate:.2f}" if rate is not None else "Moves",
        f"draw (mean of the last {window})",
        "share that moved",
        f"Moving average of moves: {share:.2f} of kept draws differ from the one before"
        + (f"; {rate:.2f} of all proposals were accepted." if rate is not None else "."),
        grid="y",
    )
    bins = np.arange(0.5, longest + 1.5)
    if longest > 40:
        bins = np.linspace(0.5, longest + 0.5, 41)
    panels[2].hist(np.concatenate(runs), bins=list(bins), color=CHAINS[0], edgecolor="white")
    panels[2].set_yscale("log")
    panels[2].set_ylim(bottom=0.5)  # a single run is seen
    if longest <= 10:
        panels[2].set_xticks(range(1, longest + 1))
    khat = attrs.get("pareto_k")
    dress(
        panels[2],
        f"Holding; longest {longest}" + (f", Pareto k̂ {khat:.2f}" if khat is not None else ""),
        "kept draws at one point",
        "number of runs",
        f"Lengths of runs at one point: the longest has {longest} of {post.n_draws} draws"
        + (f"; Pareto k of the proposal {khat:.2f}." if khat is not None else "."),
        grid="y",
    )
    below(panels[1], new, columns=6)
    return panels


def _density(post: Posterior, stats: Any) -> tuple[Array, str]:
    """Return the log density of the draws, or log σ where there is none, and what it is."""
    if "lp" in stats:
        values = stats["lp"].transpose("chain", "draw").to_numpy()
        return np.asarray(values, dtype=float), "log density"
    return np.log(post.sigma2) / 2, "log σ"


def _runs(moved: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Return lengths of runs of equal draws."""
    starts = np.flatnonzero(np.concatenate([[True], moved, [True]]))
    return np.diff(starts)
