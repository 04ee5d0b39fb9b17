"""A picture as PNG: whole, or in columns that a page can put below each other."""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import fontManager
from matplotlib.transforms import Bbox
from numpy.typing import NDArray
from PIL import Image

from bayesv.plots.layout import PanelLayout
from bayesv.plots.style import figure_of
from bayesv.support.process import Shared

__all__ = ["Tile", "png", "quick_text", "tiles"]


_Box = tuple[int, int, int, int]


class Tile(NamedTuple):
    """A PNG with its width and height in pixels."""

    data: bytes
    width: int
    height: int


def _quicken() -> Callable[[], None]:
    """Set what `quick_text` is about; return what undoes it."""
    there = set(fontManager.get_font_names())
    fonts = [name for name in plt.rcParams["font.sans-serif"] if name in there]
    own: Any = {"text.hinting": "none"} | ({"font.sans-serif": fonts} if fonts else {})
    before = {name: plt.rcParams[name] for name in own}
    plt.rcParams.update(own)
    return lambda: plt.rcParams.update(before)


# Texts of small panels at print resolution look the same in less time: there hinting is not seen,
# and fonts that are not installed need not be looked for at each text.
quick_text = Shared(_quicken)


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
    columns, legends = _boxes(canvas, image)
    method, none = Image.Quantize.FASTOCTREE, Image.Dither.NONE
    image = image.quantize(colors, method=method, dither=none)
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


def _boxes(canvas: FigureCanvasAgg, image: Image.Image) -> tuple[list[_Box], list[_Box]]:
    """Return left, top, right and bottom of each column and of each legend, in pixels."""
    figure, renderer = canvas.figure, canvas.get_renderer()  # type: ignore[no-untyped-call]
    legends = [legend.get_window_extent(renderer) for legend in figure.legends]
    foot = max((box.y1 for box in legends), default=0.0)
    bottom = image.height - round(foot)
    blank = np.asarray(image.convert("L"))[:bottom].min(axis=0) == 255
    cuts = [_cut(blank, low, high) for low, high in _gaps(figure)]
    if None in cuts:
        return [(0, 0, image.width, image.height)], []
    edges = [0, *(cut for cut in cuts if cut is not None), image.width]
    return (
        [(left, 0, right, bottom) for left, right in pairwise(edges)],
        [(round(box.x0), bottom, round(box.x1), image.height) for box in legends],
    )


def _gaps(figure: Figure) -> list[tuple[float, float]]:
    """Return where the texts of a column of panels end and those of the next begin, in pixels."""
    layout = figure.get_layout_engine()
    if not isinstance(layout, PanelLayout):
        return []
    members: dict[int, list[Bbox]] = {}
    for ax, box in layout.outer_boxes().items():
        place = ax.get_subplotspec()
        assert place is not None
        members.setdefault(place.colspan.start, []).append(box)
    columns = [Bbox.union(members[key]) for key in sorted(members)]
    return [(left.x1, right.x0) for left, right in pairwise(columns)]


def _cut(blank: NDArray[np.bool_], low: float, high: float) -> int | None:
    """Return the column of pixels without ink that is nearest to the middle of a gap, if any."""
    inside = np.arange(max(math.ceil(low), 0), min(math.floor(high), len(blank) - 1) + 1)
    free = inside[blank[inside]]
    return int(free[np.abs(free - (low + high) / 2).argmin()]) if free.size else None
