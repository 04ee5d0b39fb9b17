"""How estimates close in on the truth along a grid: the funnel of a simulation study."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bayesv.errors import BayesvError
from bayesv.plots.study import colors_of, one_of
from bayesv.plots.style import COLORS, below, dress, several_axes, short
from bayesv.support.arguments import accepts, called

if TYPE_CHECKING:
    from bayesv.plots.study import Result

__all__ = ["study_funnel"]


@accepts(result=called("StudyResult"))
def study_funnel(
    result: Result,
    quantity: str,
    against: str | None = None,
    estimators: Sequence[str] | None = None,
    prob: float = 0.9,
    axes: Any = None,
) -> NDArray[np.object_]:
    """Draw the errors of an estimate along a factor of the grid, one panel for each estimator.

    Parameters
    ----------
    result : bayesv.study.StudyResult
    quantity : str
        Such as ``"sd g: x"``.
    against : str, optional
        The factor; the first numeric one that varies if left out.
    estimators : sequence of str, optional
        All that have the quantity if left out.
    prob : float
        Share of the replicates that the band holds.
    axes : sequence of Axes, optional
        One for each estimator.

    Returns
    -------
    ndarray of Axes

    Raises
    ------
    BayesvError
        If there is no such quantity, or no factor of numbers varies.

    Notes
    -----
    The line is the bias, with ± 1.96 Monte Carlo standard errors, the band lies between quantiles
    of the errors. Replicates of all other factors are taken together.
    """
    frame = result.to_frame()
    one_of("quantity", quantity, frame["quantity"])
    numeric = [
        name
        for name in result.factors
        if frame[name].nunique() > 1 and np.issubdtype(frame[name].dtype, np.number)
    ]
    if not numeric:
        raise BayesvError(
            "No factor of numbers varies in this study; make scenarios by bv.study.grid."
        )
    along = numeric[0] if against is None else one_of("factor", against, numeric)
    frame = frame[frame["quantity"] == quantity]
    # Methods differ in standard errors only: the estimate counts once.
    frame = frame.drop_duplicates(["scenario", "replicate", "estimator"])
    frame = frame.assign(error=frame["estimate"] - frame["truth"]).dropna(subset="error")
    colors = colors_of(result)
    present = [name for name in colors if (frame["estimator"] == name).any()]
    chosen = [
        one_of("estimator", name, present)
        for name in (present if estimators is None else estimators)
    ]
    panels, new = several_axes(axes, len(chosen), (3.2, 2.8), most_across=3)
    inside = frame[frame["estimator"].isin(chosen)].groupby(["estimator", along])["error"]
    ends = inside.quantile((1 - prob) / 2).min(), inside.quantile((1 + prob) / 2).max()
    margin = 0.05 * (ends[1] - ends[0])
    for ax, name in zip(panels, chosen, strict=True):
        groups = frame[frame["estimator"] == name].groupby(along)["error"]
        bias, half = groups.mean(), 1.96 * groups.std() / np.sqrt(groups.size())
        low, high = (groups.quantile((1 + sign * prob) / 2) for sign in (-1, 1))
        x = bias.index.to_numpy(dtype=float)
        ax.fill_between(
            x, low, high, color=colors[name], alpha=0.2, lw=0, label=f"{prob:.0%} of errors"
        )
        ax.errorbar(x, bias, half, color=colors[name], marker="o", ms=4, capsize=2, label="bias")
        ax.axhline(0.0, color=COLORS["prior"], ls="--", lw=1.0)
        ax.set_ylim(ends[0] - margin, ends[1] + margin)
        texts = [
            f"at {along} = {x[i]:g} {prob:.0%} between {low.iloc[i]:.3g} and {high.iloc[i]:.3g}, "
            f"bias {bias.iloc[i]:.3g}"
            for i in (0, -1)
        ]
        alt = f"Errors of {quantity} by {name}: {'; '.join(texts)}."
        dress(ax, short(name, 34), along, f"error of {short(quantity, 24)}", alt)
    below(panels[0], new)
    return panels
