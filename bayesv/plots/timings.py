"""Seconds of each step against the size of the problem: the picture of the benchmarks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.ticker import EngFormatter, NullFormatter, NullLocator
from numpy.typing import NDArray

from bayesv.errors import DataError
from bayesv.plots.style import COLORS, below, dress, several_axes
from bayesv.support.arguments import a, accepts

__all__ = ["scaling"]

_STEPS = {
    "posterior_s": ("posterior", COLORS["posterior"], "o"),
    "reml_s": ("REML", COLORS["REML"], "s"),
    "setup_s": ("set-up: formula and design", COLORS["prior"], "^"),
    "statistics_s": ("statistics of the rows", COLORS["fifth"], "v"),
    "evaluation_s": ("one evaluation of the likelihood", COLORS["other"], "D"),
}


@accepts(table=a(pd.DataFrame, list, tuple))
def scaling(
    table: Any,
    names: Mapping[str, str] | None = None,
    axes: Any = None,
    *,
    labels: Mapping[str, str] | None = None,
) -> NDArray[np.object_]:
    """Draw the seconds of each step against size, one panel for each series.

    Parameters
    ----------
    table : DataFrame, or sequence of mappings
        Columns ``series``, ``x`` and, as far as they were measured, ``setup_s``, ``statistics_s``,
        ``evaluation_s``, ``reml_s``, ``posterior_s``, in seconds.
    names : mapping of series to str, optional
        What the x of a series is; its order is that of the panels, and series that it lacks are
        left out. The names of the series if left out.
    axes : sequence of Axes, optional
        One for each series with at least two points.
    labels : mapping of str to str, optional
        What a column of seconds is, where its usual label does not say enough.

    Returns
    -------
    ndarray of Axes

    Raises
    ------
    DataError
        If there is no series with two points.

    Notes
    -----
    Time is on a log scale, and x, too, if it spans a factor of 8 or more.

    Examples
    --------
    >>> import bayesv as bv
    >>> import matplotlib.pyplot as plt
    >>> table = [{"series": "rows", "x": 10**k, "reml_s": 0.01 * 2**k} for k in (3, 4, 5)]
    >>> ax, = bv.plots.scaling(table)
    >>> [float(s) for s in ax.lines[0].get_ydata()]
    [0.08, 0.16, 0.32]
    >>> plt.close(ax.figure)
    """
    frame = pd.DataFrame(table)
    if not {"series", "x"} <= set(frame.columns):
        raise DataError(
            "A scaling table has columns series, x and seconds; found "
            f"{', '.join(map(str, frame.columns)) or 'none'}."
        )
    names = names or {str(name): str(name) for name in frame["series"].unique()}
    measured = frame[(frame.reindex(columns=list(_STEPS)).fillna(0.0) > 0).any(axis=1)]
    series = [name for name in names if (measured["series"] == name).sum() > 1]
    if not series:
        raise DataError(
            "No series has two points or more with seconds above 0 in "
            f"{', '.join(_STEPS)}: there is no curve to draw."
        )
    panels, new = several_axes(axes, len(series), (3.9, 3.7), sharey=True)
    for i, (ax, name) in enumerate(zip(panels, series, strict=True)):
        rows = frame[frame["series"] == name].sort_values("x")
        x = rows["x"].to_numpy(dtype=float)
        last = []
        for key, (usual, color, marker) in _STEPS.items():
            label = (labels or {}).get(key, usual)
            seconds = rows[key].to_numpy(dtype=float) if key in rows else np.full(len(rows), np.nan)
            known = seconds > 0
            if known.any():
                ax.plot(x[known], seconds[known], color=color, marker=marker, ms=5, label=label)
                last.append(f"{label} {seconds[known][-1]:.3g} s")
        ax.set_yscale("log")
        if x.min() > 0 and x.max() >= 8 * x.min():
            ax.set_xscale("log")
            ax.xaxis.set_minor_locator(NullLocator())
            if x.max() < 100 * x.min():  # powers of ten would be too few
                ax.set_xticks(x, [EngFormatter(sep="")(value) for value in x])
        else:
            ax.set_xticks(x)
        ax.yaxis.set_minor_formatter(NullFormatter())
        dress(
            ax, "", names[name], "time (s)" if i == 0 else "",
            f"Time by {names[name]}; at the largest, {x[-1]:,.0f}: {', '.join(last)}.",
            grid="both",
        )  # fmt: skip
    below(max(panels, key=lambda ax: len(ax.lines)), new, columns=3)
    return panels
