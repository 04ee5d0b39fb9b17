"""V or the correlations of one cluster, element by element, with their posterior SDs."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from numpy.typing import NDArray

from bayesv.covariance import MarginalCovariance
from bayesv.design.parametric import rows_of_level, series_of
from bayesv.errors import BayesvError
from bayesv.linalg import Array, evenly_spaced
from bayesv.plots.matrix import image
from bayesv.plots.style import inches, new_axes, several_axes
from bayesv.posterior.posterior import Posterior

__all__ = ["block", "heatmap"]

_MOST_ROWS = 200  # of a cluster; a larger one is shown by evenly spaced rows
_MOST_NUMBERED = 12  # rows up to which every element is printed
_SMALLEST_PRINT = 4.5  # points
_MAX_NUMBERS = 2e7  # numbers of draws of correlations in memory


def block(
    source: MarginalCovariance | Posterior,
    group: str,
    level: object,
    corr: bool = False,
    ax: Any = None,
) -> Axes | NDArray[np.object_]:
    """Draw V, or the correlations, of the rows of one level.

    Parameters
    ----------
    source : MarginalCovariance or Posterior
        V at one set of components, or draws of it.
    group, level : str, object
        Grouping factor and one of its levels.
    corr : bool
        Whether to draw correlations instead of V.
    ax : Axes, or sequence of two Axes for a posterior, optional

    Returns
    -------
    Axes, or ndarray of Axes, shape (2,), for a posterior
        The second has posterior SDs of the elements beside the first with their means.

    Raises
    ------
    BayesvError
        If source is something else.
    DataError
        If there is no such group or level.

    Notes
    -----
    Elements are printed for up to 12 rows. Colours of SDs go from the least to the largest of
    them. Of a cluster of more than 200 rows, 200 evenly spaced
    ones are drawn, and the title says so.

    Examples
    --------
    >>> import bayesv as bv
    >>> import matplotlib.pyplot as plt
    >>> model = bv.Model("Reaction ~ Days + (Days | Subject)", bv.load_dataset("sleepstudy"))
    >>> V = bv.MarginalCovariance(model.design, model.reml().components)
    >>> ax = bv.plots.block(V, "Subject", "308")
    >>> ax.images[0].get_array().shape, ax.texts[0].get_text()
    ((10, 10), '1267')
    >>> plt.close(ax.figure)
    """
    if not isinstance(source, MarginalCovariance | Posterior):
        raise BayesvError(
            "block draws a bv.MarginalCovariance or a bv.Posterior, found "
            f"{type(source).__name__}; build V with bv.MarginalCovariance(design, components)."
        )
    every, name = _rows_of(source, group, level)
    rows = every[evenly_spaced(len(every), _MOST_ROWS)]
    where = name
    if len(rows) < len(every):
        where += f", {len(rows)} of {len(every):,} rows"
    what = "Correlations" if corr else "V"
    labels = [(label, 1) for label in source.design.row_labels[rows]]
    if isinstance(source, MarginalCovariance):
        values = source.rows(rows).to_numpy()
        ax = new_axes(ax, (6.0, 5.2))
        return heatmap(ax, _corr(values) if corr else values, f"{what}, {where}", labels, corr)
    panels, _ = several_axes(ax, 2, (5.9, 5.1))
    mean, sd = _moments(source, rows, corr)
    heatmap(panels[0], mean, f"{what}, {where}: posterior mean", labels, corr)
    unit = "posterior SD of corr" if corr else "posterior SD of var and cov"
    heatmap(panels[1], sd, f"{what}, {where}: posterior SD", labels, False, unit)
    return panels


def _rows_of(
    source: MarginalCovariance | Posterior, group: str, level: object
) -> tuple[NDArray[np.intp], str]:
    """Return the rows of a level, or of a series of residuals, and its name."""
    if series_of(source.design, group) is not None:
        return rows_of_level(source.design, group, level), f"{group} {level}"
    term, place = source.design.level(group, level)
    return np.flatnonzero(term.codes == place), f"{term.group} {term.levels[place]}"


def _moments(post: Posterior, rows: NDArray[np.intp], corr: bool) -> tuple[Array, Array]:
    """Return posterior means and SDs of the elements."""
    V = post.V(rows=rows)
    if not corr:
        return V.mean().to_numpy(), V.sd().to_numpy()
    step = int(np.ceil(len(rows) ** 2 * post.sigma2.size / _MAX_NUMBERS))
    draws = V.corr(every=step).to_numpy()
    sd = draws.std(axis=(0, 1), ddof=1)
    np.fill_diagonal(sd, 0.0)  # not rounding
    return draws.mean(axis=(0, 1)), sd


def _corr(values: Array) -> Array:
    sd = np.sqrt(np.diagonal(values))
    return np.asarray(values / np.outer(sd, sd))


def heatmap(
    ax: Axes,
    values: Array,
    title: str,
    labels: list[tuple[Any, int]],
    corr: bool,
    unit: str | None = None,
    axis: str = "row of the data",
) -> Axes:
    """Draw a matrix of rows by rows, with its elements as numbers where there is room."""
    limits = (-1.0 if values.min() < 0 else 0.0, 1.0) if corr else None
    positive = values[values > 0]
    if unit is not None and positive.size:  # SDs: from the least of them, 0 stays white
        limits = (0.98 * float(positive.min()), float(positive.max()))
    image(
        values,
        ax,
        title=title,
        rows=axis,
        columns=axis,
        row_blocks=labels,
        column_blocks=labels,
        limits=limits,
        colorbar=unit or ("corr" if corr else "var and cov"),
    )
    m = len(values)
    if m > _MOST_NUMBERED:
        return ax
    drawn = ax.images[0]
    norm = drawn.norm
    assert isinstance(norm, Normalize)
    texts = _numbers(values, corr)
    cell = 72 * 0.8 * min(inches(ax)) / m  # points
    size = min(9.0, 0.85 * cell / (0.62 * max(len(text) for text in texts.ravel())))
    if size < _SMALLEST_PRINT:
        return ax
    for (i, j), value in np.ndenumerate(values):
        ax.text(
            j, i, str(texts[i, j]), ha="center", va="center", fontsize=size,
            color=_ink_on(np.asarray(drawn.cmap(norm(value)))),
        )  # fmt: skip
    return ax


def _ink_on(colour: Array) -> str:
    """Return black or white, whichever has the greater contrast (WCAG 2.1): 4.5 at least."""
    channels = colour[:3]
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return "white" if linear @ (0.2126, 0.7152, 0.0722) < 0.179 else "black"


def _numbers(values: Array, corr: bool) -> NDArray[np.str_]:
    """Return texts with the same number of decimals, three or four digits in all."""
    largest = float(np.abs(values).max())
    decimals = 2 if corr else max(0, 2 - int(np.floor(np.log10(largest or 1.0))))
    style = "{:.2e}" if decimals > 4 or largest >= 1e6 else f"{{:.{decimals}f}}"
    return np.array([[style.format(value) for value in row] for row in values])
