"""Any matrix as an image, dense or sparse, with the boundaries and labels of its blocks."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, LinearSegmentedColormap
from scipy import sparse

from bayesv.linalg import Array
from bayesv.plots.layout import PanelLayout
from bayesv.plots.raster import MOST_PIXELS, pixels
from bayesv.plots.style import (
    INK,
    LABEL,
    TICK,
    TITLE,
    dress,
    figure_of,
    fitting,
    inches,
    integer_ticks,
    label_ticks,
    new_axes,
    plain,
)
from bayesv.support.arguments import INDEX, NUMBER, TEXT, a, accepts, optional, some

__all__ = ["image"]

Blocks = Sequence[tuple[object, int]]

_MOST_LINES = 60  # boundaries; more would hide what they bound
_BAR = (1.02, 0.075, 0.032, 0.85)  # left, bottom, width, height of a colour bar beside axes

# White is 0; more than 0 is blue, less is red.
POSITIVE = LinearSegmentedColormap.from_list(
    "bayesv_positive", ["#D6E6F4", "#9ECAE1", "#4292C6", "#08519C", "#08306B"]
)
SIGNED = LinearSegmentedColormap.from_list(
    "bayesv_signed", ["#67001F", "#D6604D", "#FFFFFF", "#4393C3", "#053061"], N=257
)


@accepts(
    title=TEXT,
    rows=TEXT,
    columns=TEXT,
    first=some(INDEX),
    limits=optional(some(NUMBER)),
    heavy=some(some(INDEX)),
    colorbar=optional(TEXT),
    row_blocks=optional(some(a(tuple))),
    column_blocks=optional(some(a(tuple))),
)
def image(
    matrix: Any,
    ax: Axes | None = None,
    *,
    title: str = "matrix",
    rows: str = "row",
    columns: str = "column",
    row_blocks: Blocks | None = None,
    column_blocks: Blocks | None = None,
    heavy: tuple[Sequence[int], Sequence[int]] = ((), ()),
    limits: tuple[float, float] | None = None,
    colorbar: str | None = "",
    first: tuple[int, int] = (1, 1),
) -> Axes:
    """Draw a matrix, dense or sparse: 0 is white, positive elements blue, negative ones red.

    Parameters
    ----------
    matrix : array_like or sparse array, shape (m, k)
        Of any size; see `bayesv.plots.raster.pixels` for large ones.
    ax : Axes, optional
        Where to draw; a new figure if left out.
    title, rows, columns : str
        What the matrix is, and what its rows and columns are.
    row_blocks, column_blocks : sequence of (label, length), optional
        Consecutive blocks of rows or columns: lines between them, labels at their middles, both
        as far as they can be told apart. Without them rows and columns are numbered.
    heavy : pair of sequences of int
        Rows and columns before which a stronger line is drawn.
    limits : tuple of float, optional
        Values of the ends of the colour scale.
    colorbar : str or None
        What the values are, with the scale (sd, var, corr), or None for no colour bar.
    first : tuple of int
        Numbers of the first row and column where they have no labels.

    Returns
    -------
    Axes

    Raises
    ------
    DataError
        If it is not a matrix of numbers.

    Examples
    --------
    >>> import bayesv as bv
    >>> import matplotlib.pyplot as plt
    >>> model = bv.Model("Reaction ~ Days + (Days | Subject)", bv.load_dataset("sleepstudy"))
    >>> ax = bv.plots.image(model.design.Z[:30], title="Z[1:30, ]")
    >>> ax.images[0].get_array().shape
    (30, 36)
    >>> plt.close(ax.figure)
    """
    if not sparse.issparse(matrix):
        matrix = np.asarray(matrix)
    square = matrix.ndim == 2 and matrix.shape[0] == matrix.shape[1]
    ax = new_axes(ax, (6.2, 5.4) if square else (6.6, 5.0))
    # No more pixels than are shown at 72 dots per inch: a finer image would lose elements.
    shown = pixels(matrix, min(MOST_PIXELS, max(50, int(65 * min(inches(ax))))))
    m, k = matrix.shape
    low, high = limits or _limits(shown)
    cmap: Colormap = (SIGNED if low < 0 else POSITIVE).with_extremes(bad="#BBBBBB", under="#FFFFFF")
    drawn = ax.imshow(
        shown,
        cmap=cmap,
        vmin=low or 1e-9 * high,  # 0 is under the scale and white, however small the others are
        vmax=high,
        extent=(-0.5, k - 0.5, m - 0.5, -0.5),
        aspect="equal" if square else "auto",
        interpolation="nearest",
    )
    for which, blocks, strong, start in (
        ("y", row_blocks, heavy[0], (m, first[0])),
        ("x", column_blocks, heavy[1], (k, first[1])),
    ):
        _boundaries(ax, which, blocks, strong, *start)
    count = int(np.count_nonzero(shown)) if (m, k) == shown.shape else _nonzero(matrix)
    size = f"a {m:,} × {k:,} matrix, {count:,} of {m * k:,} elements not 0"
    binned = _binned((m, k), shown.shape, count)
    dress(ax, title, columns, rows, f"{title}: image of {size}{_span(shown)}.{binned}")
    if binned:
        ax.annotate(
            binned.strip(), (0, 1), (0, 3), xycoords="axes fraction", textcoords="offset points",
            fontsize=TICK - 1, color=INK, ha="left", va="bottom",
        )  # fmt: skip
        letters = fitting(title, inches(ax)[0], TITLE)[1]
        ax.set_title(
            ax.get_title(loc="left"), fontsize=letters, loc="left", color=INK, pad=15, y=1.0
        )
    ax.spines[:].set_visible(True)
    ax.spines[:].set_color("#888888")
    if not count:
        ax.text(
            0.5, 0.5, "all elements are 0", transform=ax.transAxes, ha="center", va="center",
            fontsize=LABEL, color=INK, backgroundcolor="#FFFFFF",
        )  # fmt: skip
    elif colorbar is not None:
        _colorbar(ax, drawn, colorbar)
    return ax


def _colorbar(ax: Axes, drawn: Any, label: str) -> None:
    figure = figure_of(ax)
    if isinstance(figure.get_layout_engine(), PanelLayout):
        place: dict[str, Any] = {"cax": ax.inset_axes(_BAR)}
    else:  # on axes whose surroundings are not ours, within their box
        place = {"ax": ax, "shrink": _BAR[3], "pad": _BAR[0] - 1, "aspect": _BAR[3] / _BAR[2]}
    bar = figure.colorbar(drawn, **place)
    bar.set_label(plain(label), fontsize=LABEL)
    bar.ax.tick_params(labelsize=TICK)
    bar.outline.set_visible(False)


def _binned(shape: tuple[int, int], pixels: tuple[int, ...], count: int) -> str:
    """Say what a pixel is where there are fewer of them than elements."""
    if shape == pixels:
        return ""
    m, k = -(-shape[0] // pixels[0]), -(-shape[1] // pixels[1])
    share = 100 * count / (shape[0] * shape[1])
    return f" A pixel: the largest of {m} × {k} elements; {share:.2g} % of all are not 0."


def _span(shown: Array) -> str:
    """Say of what values an image is, and that some are missing."""
    finite = shown[np.isfinite(shown)]
    span = f", from {finite.min():.4g} to {finite.max():.4g}" if finite.size else ""
    missing = int(np.isnan(shown).sum())
    return f"{span}, grey where {missing:,} are not known" if missing else span


def _nonzero(matrix: Any) -> int:
    return int(matrix.count_nonzero() if sparse.issparse(matrix) else np.count_nonzero(matrix))


def _limits(shown: Array) -> tuple[float, float]:
    """Return the ends of a colour scale in which 0 is white."""
    finite = shown[np.isfinite(shown)]
    largest = float(np.abs(finite).max()) if finite.size else 1.0
    if largest == 0:
        largest = 1.0
    return (-largest if finite.size and finite.min() < 0 else 0.0), largest


def _boundaries(
    ax: Axes, which: str, blocks: Blocks | None, strong: Sequence[int], count: int, first: int
) -> None:
    """Draw lines between blocks and label them, or number rows and columns."""
    draw = ax.axhline if which == "y" else ax.axvline
    if blocks is None:
        integer_ticks(ax, which, count, first)
    else:
        edges = np.cumsum([0, *(size for _, size in blocks)])
        if len(blocks) <= _MOST_LINES:
            for edge in edges[1:-1]:
                draw(float(edge) - 0.5, color="#999999", linewidth=0.4)
        middles = [0.5 * (a + b) - 0.5 for a, b in pairwise(edges)]
        label_ticks(ax, which, middles, [label for label, _ in blocks])
    for edge in strong:
        draw(float(edge) - 0.5, color="#333333", linewidth=1.1)
