"""R and V of one series by its visits, and correlations and semivariances by lag."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from bayesv.covariance import ComponentDraws, gls
from bayesv.covariance.clusters import v_blocks
from bayesv.covariance.lags import by_lag
from bayesv.design.design import Design
from bayesv.design.parametric import rows_of_level
from bayesv.errors import DataError
from bayesv.linalg import Array, cov_to_sd_corr, evenly_spaced
from bayesv.plots.heatmaps import heatmap
from bayesv.plots.style import COLORS, below, dress, note_alt, several_axes, short
from bayesv.posterior.posterior import Posterior
from bayesv.reml import RemlFit
from bayesv.support.arguments import FLAG, PROBABILITY, TEXT, a, accepts, optional

__all__ = ["lags", "series"]

_FIT = a(RemlFit, Posterior, hint="fit one by model.reml() or model.sample().")
_DRAWS = 200  # of a posterior, evenly spaced
_MOST_ROWS = 200  # of a series; a longer one is shown by evenly spaced rows
_V, _R = COLORS["REML"], COLORS["posterior"]
_LARGEST, _SMALLEST = 60.0, 6.0  # area of a marker, in points


@accepts(fit=_FIT, corr=FLAG)
def series(
    fit: RemlFit | Posterior, level: object = None, *, corr: bool = False, axes: Any = None
) -> NDArray[np.object_]:
    """Draw R and V of the rows of one series, labelled by its visits or positions.

    Parameters
    ----------
    fit : RemlFit or Posterior
        With structured residuals that are correlated within series. Of a posterior, means over
        draws are drawn: E[R | y] and E[V | y], or those of correlations.
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
    rows = rows_of_level(design, of_rows.label, level)
    labels, order = _positions(design, rows)
    rows, labels = rows[order], [labels[i] for i in order]
    kept = evenly_spaced(len(rows), _MOST_ROWS)
    rows, ticks = rows[kept], [(labels[i], 1) for i in kept]
    where = f"{of_rows.label} {level}"
    if len(kept) < len(labels):
        where += f", {len(kept)} of {len(labels):,} rows"
    means = _mean_blocks(fit, rows, corr)
    names = ("R", "V") if isinstance(fit, RemlFit) else ("E[R | y]", "E[V | y]")
    wholes = ("residuals", "V")
    panels, _ = several_axes(axes, len(means), (5.9, 5.1))
    for ax, values, name, whole in zip(panels, means, names, wholes, strict=False):
        title = f"Correlations of {whole}" if corr else name
        heatmap(ax, values, f"{title}, {where}", ticks, corr, axis=short(of_rows.position, 30))
        note_alt(ax, _said(f"{title}, {where}", values, of_rows.position, corr))
    return panels


def _said(title: str, values: Array, position: str, corr: bool) -> str:
    """Return in words what a matrix of the rows of one series shows."""
    m = len(values)
    what, sds = ("correlation", "") if corr else ("covariance", "; variances ")
    if not corr:
        variances = np.diagonal(values)
        sds += f"from {variances.min():.4g} to {variances.max():.4g}"
    if m < 2:
        return f"{title}: one row{sds}."
    near = np.diagonal(values, 1)
    span = (
        f"{near.min():.3g}"
        if np.ptp(near) < 5e-4 * abs(near).max()
        else (f"{near.min():.3g} to {near.max():.3g}")
    )
    return (
        f"{title}: matrix of {m} rows by {position}; {what} of neighbours {span}, of the first and "
        f"last {values[0, -1]:.3g}{sds}."
    )


def _mean_blocks(fit: RemlFit | Posterior, rows: NDArray[np.intp], corr: bool) -> list[Array]:
    """Return R and, where there are random terms, V of rows: at the estimate, or means of draws."""
    design = fit.design
    if isinstance(fit, RemlFit):
        points = ComponentDraws.of(design, fit.components).reshape(1)
    else:
        points = fit.values.flat.take(evenly_spaced(fit.values.size, _DRAWS))
    sums: list[Array] = []
    for point in points.known():
        vc = point.components()
        blocks = [vc.sigma2 * point.design.residual.block(rows[None])[0]]
        if design.terms:
            blocks.append(v_blocks(point.design, vc, rows[None])[0])
        if corr:
            blocks = [cov_to_sd_corr(block)[1] for block in blocks]
        sums = [a + b for a, b in zip(sums, blocks, strict=True)] if sums else blocks
    return [total / points.size for total in sums]


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


@accepts(fit=_FIT, group=optional(TEXT), prob=PROBABILITY)
def lags(
    fit: RemlFit | Posterior,
    group: str | None = None,
    position: Any = None,
    *,
    prob: float = 0.95,
    axes: Any = None,
) -> NDArray[np.object_]:
    """Draw correlations and semivariances of two rows of a series by their distance.

    Parameters
    ----------
    fit : RemlFit or Posterior
        Of a posterior, medians with pointwise bands.
    group : str, optional
        Grouping factor whose levels are series, with ``position``; the series of the residuals if
        left out.
    position : array_like, shape (n,) or (n, d), optional
        Time or place of each row.
    prob : float
        Probability of the bands of a posterior.
    axes : sequence of two Axes, optional

    Returns
    -------
    ndarray of Axes, shape (2,)
        Correlations of residuals and of rows as the fit has them, beside products of marginal
        residuals; the semivariogram of the fit and of the residuals. Markers are as large as there
        are pairs.

    Notes
    -----
    Bands are of 200 evenly spaced draws; the data's dots are there at GLS of the posterior mean.

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
    table, bands = _table(fit, group, position, prob)
    panels, _ = several_axes(axes, 2, (5.2, 3.9))
    lag, pairs = table["lag"].to_numpy(), table["pairs"].to_numpy(dtype=float)
    sizes = _SMALLEST + (_LARGEST - _SMALLEST) * pairs / pairs.max()
    share = "" if bands is None else f", {100 * prob:g} % band"
    ax = panels[0]
    if fit.design.terms:
        _line(ax, lag, table["corr_V"], _V, "-", f"rows (V){share}", bands, 1)
    _line(ax, lag, table["corr_R"], _R, "--", f"residuals (R){share}", bands, 0)
    _dots(ax, lag, table["corr_residuals"], sizes)
    ax.axhline(0.0, color="#888888", linewidth=0.8)
    first, last = table.iloc[0], table.iloc[-1]
    dress(
        ax, "Correlation by lag", "lag", "correlation",
        f"Correlation of two rows of one series by their lag{_spoken(bands, 1, prob)}: "
        f"{first['corr_V']:.2f} by the fit and {first['corr_residuals']:.2f} in the data at lag "
        f"{first['lag']:.3g}, {last['corr_V']:.2f} and {last['corr_residuals']:.2f} at the "
        "longest.",
        grid="both",
    )  # fmt: skip
    ax = panels[1]
    _line(ax, lag, table["semivariance"], _V, "-", f"fit{share}", bands, 2)
    _dots(ax, lag, table["semivariance_residuals"], sizes)
    ax.set_ylim(bottom=0.0)
    unit = short(fit.design.response, 20)
    dress(
        ax, "Semivariogram", "lag", f"semivariance, {unit}²",
        f"Half the variance of a difference of two rows of one series by their lag, of the fit and "
        f"of residuals{_spoken(bands, 2, prob)}: from {table['semivariance'].iloc[0]:.4g} to "
        f"{table['semivariance'].iloc[-1]:.4g}.",
        grid="both",
    )  # fmt: skip
    for one in panels:
        if np.array_equal(lag, np.round(lag)):
            one.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        below(one, False, columns=3 if bands is None else 2)
    return panels


def _table(
    fit: RemlFit | Posterior, group: str | None, position: Any, prob: float
) -> tuple[pd.DataFrame, Array | None]:
    """Return the fit by lag, and ends of bands, (2, 3, lags); of a posterior medians of draws."""
    if isinstance(fit, RemlFit):
        return fit.by_lag(group, position), None
    data = by_lag(gls(fit.design, fit.estimate("mean")), group, position)
    drawn = fit.by_lag(group, position, prob)
    names = ["corr_R", "corr_V", "semivariance"]
    ends = [drawn[[f"{name}{end}" for name in names]].to_numpy().T for end in ("_low", "_high")]
    return data.assign(**{name: drawn[name] for name in names}), np.stack(ends)


def _spoken(bands: Array | None, which: int, prob: float) -> str:
    """Say the band at the first lag."""
    if bands is None:
        return ""
    low, high = bands[:, which, 0]
    return f" with {100 * prob:g} % bands, {low:.4g} to {high:.4g} at the shortest lag"


def _line(
    ax: Axes, x: Any, y: Any, color: str, dash: str, label: str, bands: Array | None, which: int
) -> None:
    ax.plot(x, y, color=color, linestyle=dash, linewidth=1.8, label=label)
    if len(x) == 1:  # a line of one point is not seen
        ax.plot(x, y, color=color, marker="_", markersize=16, markeredgewidth=1.8, clip_on=False)
    if bands is not None:
        ax.fill_between(x, *bands[:, which], color=color, alpha=0.18, linewidth=0)


def _dots(ax: Axes, x: Any, y: Any, sizes: Any) -> None:
    ax.scatter(x, y, s=sizes, color="#555555", alpha=0.75, label="in the data", zorder=3)
