"""A picture as PNG: whole, or in columns that a page can put below each other."""

from __future__ import annotations

import io
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox
from PIL import Image

from bayesv.plots.style import figure_of

__all__ = ["Tile", "png", "tiles"]


_Box = tuple[int, int, int, int]


class Tile(NamedTuple):
    """A PNG with its width and height in pixels."""

    data: bytes
    width: int
    height: int


def png(picture: Any, dpi: float = 110.0) -> Tile:
    """Return a picture as PNG with its width and height in pixels, and close its figure.

    Parameters
    ----------
    picture : Axes, Figure or array of Axes
        What a function of `bayesv.plots` returned.
    dpi : float
        Dots per inch.

    Returns
    -------
    bytes, int, int
        A tuple with the names data, width, height.

    Examples
    --------
    >>> import bayesv as bv
    >>> data, width, height = bv.plots.png(bv.plots.image([[1.0]]), dpi=50)
    >>> data[1:4], width > 100
    (b'PNG', True)
    """
    figure = figure_of(picture)
    image, _ = _drawn(figure, dpi)
    plt.close(figure)
    return _tile(image, dpi)


def tiles(picture: Any, dpi: float, colors: int) -> tuple[list[Tile], list[Tile]]:
    """Return the columns of panels of a picture, and its legends, and close its figure.

    Parameters
    ----------
    picture : Axes, Figure or array of Axes
        What a function of `bayesv.plots` returned.
    dpi : float
        Dots per inch.
    colors : int
        Of a palette, 256 at most: a third of the bytes.

    Returns
    -------
    columns, legends : list of Tile
        Columns of the same height, which side by side are the picture without what stands below
        it. A picture whose columns overlap, or with a text across them, is one column.
    """
    figure = figure_of(picture)
    image, canvas = _drawn(figure, dpi)
    method, none = Image.Quantize.FASTOCTREE, Image.Dither.NONE
    image = image.quantize(colors, method=method, dither=none)
    columns, legends = _boxes(canvas, image.width, image.height)
    plt.close(figure)  # which takes its dots per inch from it
    return (
        [_tile(image.crop(box), dpi) for box in columns],
        [_tile(image.crop(box), dpi) for box in legends],
    )


def _drawn(figure: Figure, dpi: float) -> tuple[Image.Image, FigureCanvasAgg]:
    """Return the pixels of a figure and the canvas that it was laid out on."""
    figure.set_dpi(dpi)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # type: ignore[no-untyped-call]  # once: savefig draws a layout twice
    pixels = np.asarray(canvas.buffer_rgba())  # type: ignore[no-untyped-call]
    return Image.fromarray(pixels).convert("RGB"), canvas


def _tile(image: Image.Image, dpi: float) -> Tile:
    buffer = io.BytesIO()
    image.save(buffer, "png", dpi=(dpi, dpi))
    return Tile(buffer.getvalue(), image.width, image.height)


def _boxes(canvas: FigureCanvasAgg, width: int, height: int) -> tuple[list[_Box], list[_Box]]:
    """Return left, top, right and bottom of each column and of each legend, in pixels."""
    figure, renderer = canvas.figure, canvas.get_renderer()  # type: ignore[no-untyped-call]
    columns = _columns(figure.axes, renderer)
    legends = [legend.get_window_extent(renderer) for legend in figure.legends]
    foot = max((box.y1 for box in legends), default=0.0)
    gaps = [(left.x1, right.x0) for left, right in pairwise(columns)]
    texts = [text.get_window_extent(renderer) for text in figure.texts if text.get_text()]
    if (
        any(low > high for low, high in gaps)
        or any(box.y0 < foot for box in columns)
        or any(box.x0 < high and low < box.x1 for box in texts for low, high in gaps)
    ):
        return [(0, 0, width, height)], []
    cuts = [0, *(round((low + high) / 2) for low, high in gaps), width]
    bottom = height - round(foot)
    return (
        [(left, 0, right, bottom) for left, right in pairwise(cuts)],
        [(round(box.x0), bottom, round(box.x1), height) for box in legends],
    )


def _columns(axes: Sequence[Axes], renderer: Any) -> list[Bbox]:
    """Return the boxes around panels in the same column, each with its colour bars."""
    members: dict[int, list[Bbox]] = {}
    column = 0
    for ax in axes:
        place = ax.get_subplotspec()
        owner = getattr(getattr(ax, "_colorbar", None), "mappable", None)
        if owner is not None:  # beside the axes whose colours it explains
            place = owner.axes.get_subplotspec()
        if place is not None:
            column = place.colspan.start
        if (box := ax.get_tightbbox(renderer)) is not None:
            members.setdefault(column, []).append(Bbox(box.get_points()))
    return [Bbox.union(members[key]) for key in sorted(members)]
