"""ECDFs of ranks with the simultaneous bands that decide what is calibrated.

ArviZ-plots' ``plot_ecdf_pit`` draws ECDFs of continuous values and is about to lose its bands; what
is drawn here is what `bayesv.study.Calibration` decides by, on the same discrete ranks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from bayesv.errors import BayesvError, near
from bayesv.plots.style import COLORS, GRID, below, dress, several_axes
from bayesv.support.arguments import accepts, called

__all__ = ["rank_ecdfs"]


@accepts(result=called("Calibration"))
def rank_ecdfs(
    result: Any, quantities: Sequence[str] | None = None, axes: Any = None
) -> NDArray[np.object_]:
    """Draw for every quantity how far the ECDF of its ranks is from that of uniform ranks.

    Parameters
    ----------
    result : bayesv.study.Calibration
    quantities : sequence of str, optional
        Which to draw; all if left out. The bands remain those of all.
    axes : sequence of Axes, optional
        One for each quantity; a new figure if left out.

    Returns
    -------
    ndarray of Axes
        A step line that leaves its band is not calibrated. It lies above 0 where the draws are too
        large, below where they are too small; first above and then below: too narrow.

    Raises
    ------
    BayesvError
        If there is no such quantity, or the number of axes is another one.

    Examples
    --------
    >>> import bayesv as bv
    >>> import matplotlib.pyplot as plt
    >>> priors = bv.Priors(
    ...     sd=bv.HalfNormal(50), sigma=bv.HalfNormal(50), beta=bv.Normal(1500, 100)
    ... )
    >>> model = bv.Model("Yield ~ 1 + (1 | Batch)", bv.load_dataset("dyestuff"), priors)
    >>> found = bv.study.sbc(model, replicates=5, seed=1, workers=1)
    >>> axes = found.plot(quantities=["sd Residual", "log|V|"])
    >>> [ax.get_title(loc="left") for ax in axes]
    ['sd Residual: pass', 'log|V|: pass']
    >>> plt.close("all")
    """
    known = [str(name) for name in result.ranks.columns]
    names = known if quantities is None else list(quantities)
    for name in names:
        if name not in known:
            raise BayesvError(
                f"There is no quantity {name!r} among {', '.join(known)}{near(str(name), known)}"
            )
    panels, new = several_axes(axes, len(names), (2.9, 2.3), sharex=True, sharey=True)
    for ax, name in zip(panels, names, strict=True):
        _panel(ax, result, name)
    if new:
        _label_outer(panels)
    below(panels[0], new)
    return panels


def _label_outer(panels: NDArray[np.object_]) -> None:
    """Label the left and the lowest panels; those above a gap in the last row are lowest, too."""
    across = panels[0].get_subplotspec().get_gridspec().ncols
    for i, ax in enumerate(panels):
        lowest = i + across >= len(panels)
        ax.tick_params(labelbottom=lowest)
        if not lowest:
            ax.set_xlabel("")
        if i % across:
            ax.set_ylabel("")


def _panel(ax: Axes, result: Any, name: str) -> None:
    band, n = result.band, len(result.ranks)
    z = np.arange(1, len(band.lower) + 1) / (len(band.lower) + 1)
    away, lower, upper = (
        count / n - z for count in (band.counts(result.ranks[name]), band.lower, band.upper)
    )
    failed = name in result.failed
    share = f"{result.prob:.0%} band of all quantities"
    ax.fill_between(z, lower, upper, step="mid", color=GRID, linewidth=0, label=share)
    ax.axhline(0.0, color=COLORS["prior"], linewidth=0.8)
    color = COLORS["REML" if failed else "posterior"]
    ax.step(z, away, where="mid", color=color, linewidth=1.4)
    ax.set_xlim(0.0, 1.0)
    verdict = "FAIL" if failed else "pass"
    widest = float(np.abs(away).max())
    alt = (
        f"{name}: ECDF of {n} ranks less the uniform one, at most {widest:.3f} from 0; it "
        f"{'leaves' if failed else 'stays in'} the simultaneous band."
    )
    dress(ax, f"{name}: {verdict}", "rank of the truth", "ECDF less uniform", alt)
