"""R and V of one series by its visits, and correlations and semivariances by lag."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from bayesv.design.design import Design
from bayesv.errors import DataError
from bayesv.linalg import evenly_spaced
from bayesv.plots.heatmaps import heatmap
from bayesv.plots.style import COLORS, below, dress, several_axes, short
from bayesv.reml import RemlFit
from bayesv.support.arguments import FLAG, TEXT, a, accepts, optional

__all__ = ["lags", "series"]

_FIT = a(RemlFit, hint="fit one by model.reml().")
_MOST_ROWS = 200  # of a series; a longer one is shown by evenly spaced rows
_LARGEST, _SMALLEST = 60.0, 6.0  # area of a marker, in points


@accepts(fit=_FIT, corr=FLAG)
def series(
    fit: RemlFit, level: object = None, *, corr: bool = False, axes: Any = None
) -> NDArray[np.object_]:
    """Draw R and V of the rows of one series, labelled by its visits or positions.

    Parameters
    ----------
    fit : RemlFit
        With structured residuals that are correlated within series.
    level : object, optional
        A series; one of the most rows if left out.
    corr : bool
        Whether to draw correlations instead.
    axes : sequence of two Axes, optional

    Returns
    -------
    ndarray of Axes, shape (2,)
        R beside V; R alone, shape (1,), where there is no random term, as R is V then.

    Raises
    ------
    DataError
        If the residuals have no series.

    Notes
    -----
    Rows stand in the order of their positions. Of a series of more than 200 rows, 200 evenly spaced
    ones are drawn.

    Examples
    --------
    >>> import bayesv as bv
    >>> import matplotlib.pyplot as plt
    >>> data = bv.load_dataset("sleepstudy")
    >>> model = bv.Model("Reaction ~ Days + (1 | Subject)", data, residual="ar1(Days | Subject)")
    >>> axes = bv.plots.series(model.reml(), "308", corr=True)
    >>> axes[0].get_title(loc="left")
    'Correlations of residuals, Subject 308'
    >>> plt.close(bv.plots.figure_of(axes))
    """
    design = fit.design
    form = design.parametric_residual
    of_rows = None if form is None else form.series
    if of_rows is None:
        raise DataError(
            "The residuals of this fit have no series; bv.plots.block(fit.gls.V, group, level) "
            "draws V of the rows of a level."
        )
    if level is None:
        sizes = np.bincount(of_rows.codes)
        level = str(of_rows.labels[int(sizes.argmax())])
    rows = fit.gls.V.rows_of(of_rows.label, level)
    labels, order = _positions(design, rows)
    rows, labels = rows[order], [labels[i] for i in order]
    kept = evenly_spaced(len(rows), _MOST_ROWS)
    rows, ticks = rows[kept], [(labels[i], 1) for i in kept]
    where = f"{of_rows.label} {level}"
    if len(kept) < len(labels):
        where += f", {len(kept)} of {len(labels):,} rows"
    R = fit.components.sigma2 * design.at(fit.components).residual.block(rows[None])[0]
    parts = [(R, "residuals")] + ([(fit.gls.V.rows(rows).to_numpy(), "V")] if design.terms else [])
    panels, _ = several_axes(axes, len(parts), (5.9, 5.1))
    for ax, (values, what) in zip(panels, parts, strict=True):
        name = "R" if what == "residuals" else "V"
        title = f"Correlations of {what}" if corr else name
        if corr:
            sd = np.sqrt(np.diagonal(values))
            values = values / np.outer(sd, sd)
        heatmap(ax, values, f"{title}, {where}", ticks, corr, axis=short(of_rows.position, 30))
    return panels


def _positions(design: Design, rows: NDArray[np.intp]) -> tuple[list[str], NDArray[np.intp]]:
    """Return texts of the positions of rows, and their order."""
    form = design.parametric_residual
    assert form is not None
    assert form.series is not None
    part = form.series
    if part.by_visit:
        codes = part.visit[rows]
        return [str(part.visits[k]) for k in codes], np.argsort(codes, kind="stable")
    places = part.coordinates[rows]
    texts = [", ".join(f"{value:.4g}" for value in place) for place in places]
    return texts, np.lexsort(places.T[::-1])


@accepts(fit=_FIT, group=optional(TEXT))
def lags(
    fit: RemlFit, group: str | None = None, position: Any = None, *, axes: Any = None
) -> NDArray[np.object_]:
    """Draw correlations and semivariances of two rows of a series by their distance.

    Parameters
    ----------
    fit : RemlFit
    group : str, optional
        Grouping factor whose levels are series, with ``position``; the series of the residuals if
        left out.
    position : array_like, shape (n,) or (n, d), optional
        Time or place of each row.
    axes : sequence of two Axes, optional

    Returns
    -------
    ndarray of Axes, shape (2,)
        Correlations of residuals and of rows as the fit has them, beside products of marginal
        residuals; the semivariogram of the fit and of the residuals. Markers are as large as there
        are pairs.

    Examples
    --------
    >>> import bayesv as bv
    >>> import matplotlib.pyplot as plt
    >>> data = bv.load_dataset("sleepstudy")
    >>> fit = bv.Model("Reaction ~ Days", data, residual="ar1(Days | Subject)").reml()
    >>> axes = bv.plots.lags(fit)
    >>> axes[1].get_ylabel()
    'semivariance, Reaction²'
    >>> plt.close(bv.plots.figure_of(axes))
    """
    table = fit.by_lag(group, position)
    panels, _ = several_axes(axes, 2, (5.2, 3.9))
    lag, pairs = table["lag"].to_numpy(), table["pairs"].to_numpy(dtype=float)
    sizes = _SMALLEST + (_LARGEST - _SMALLEST) * pairs / pairs.max()
    ax = panels[0]
    if fit.design.terms:
        _line(ax, lag, table["corr_V"], COLORS["REML"], "-", "rows (V)")
    _line(ax, lag, table["corr_R"], COLORS["posterior"], "--", "residuals (R)")
    _dots(ax, lag, table["corr_residuals"], sizes)
    ax.axhline(0.0, color="#888888", linewidth=0.8)
    first, last = table.iloc[0], table.iloc[-1]
    dress(
        ax, "Correlation by lag", "lag", "correlation",
        f"Correlation of two rows of one series by their lag: {first['corr_V']:.2f} by the fit and "
        f"{first['corr_residuals']:.2f} in the data at lag {first['lag']:.3g}, "
        f"{last['corr_V']:.2f} and {last['corr_residuals']:.2f} at the longest.",
        grid="both",
    )  # fmt: skip
    ax = panels[1]
    _line(ax, lag, table["semivariance"], COLORS["REML"], "-", "fit")
    _dots(ax, lag, table["semivariance_residuals"], sizes)
    ax.set_ylim(bottom=0.0)
    unit = short(fit.design.response, 20)
    dress(
        ax, "Semivariogram", "lag", f"semivariance, {unit}²",
        f"Half the variance of a difference of two rows of one series by their lag, of the fit and "
        f"of residuals: from {table['semivariance'].iloc[0]:.4g} to "
        f"{table['semivariance'].iloc[-1]:.4g}.",
        grid="both",
    )  # fmt: skip
    for one in panels:
        below(one, False, columns=3)
    return panels


def _line(ax: Axes, x: Any, y: Any, color: str, dash: str, label: str) -> None:
    ax.plot(x, y, color=color, linestyle=dash, linewidth=1.8, label=label)


def _dots(ax: Axes, x: Any, y: Any, sizes: Any) -> None:
    ax.scatter(x, y, s=sizes, color="#555555", alpha=0.75, label="in the data", zorder=3)
