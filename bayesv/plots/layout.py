"""Where the panels of a figure stand: as large as they can be beside their texts."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg, RendererAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import LayoutEngine
from matplotlib.transforms import Bbox

from bayesv.linalg import Array

__all__ = ["PanelLayout"]

_PAD = np.array([0.08, 0.10])  # inches beside and above each panel with its texts
_MOST_PASSES = 3
_SHRUNK = 0.8  # a panel this much smaller than it was measured is measured again
_LEAST = 0.05  # of the figure's side that a panel keeps, however long its texts are


class PanelLayout(LayoutEngine):
    """Panels of one grid between a title above and legends below.

    Notes
    -----
    matplotlib's constrained layout measures all texts twice and lets a colour bar take its place
    from the panel's; here they are measured once, and again only if a panel became smaller than
    it was, by which it may have other ticks. That halves the time of a small picture.
    """

    _adjust_compatible = True
    _colorbar_gridspec = False

    def __init__(self) -> None:
        super().__init__()
        self._margins: dict[Axes, Array] = {}

    def execute(self, fig: Any) -> None:
        """Place the panels; called by matplotlib before it draws.

        Parameters
        ----------
        fig : Figure
        """
        panels = [ax for ax in fig.axes if ax.get_subplotspec() is not None]
        if not panels:
            return
        renderer = _renderer(fig)
        for _ in range(_MOST_PASSES):
            self._margins = {ax: _margins(ax, renderer) for ax in panels}
            sizes = _sizes(panels)
            self._place(fig, panels, renderer)
            if (_sizes(panels) >= _SHRUNK * sizes).all():
                break

    def outer_boxes(self) -> dict[Axes, Bbox]:
        """Return the box of each panel with the texts around it, in pixels, as last placed."""
        return {
            ax: Bbox(ax.bbox.get_points() + np.array([[-1.0], [1.0]]) * margins)
            for ax, margins in self._margins.items()
        }

    def _place(self, fig: Figure, panels: list[Axes], renderer: RendererAgg) -> None:
        """Give every panel its cell, with the same gap between all columns and all rows."""
        whole = np.array(fig.bbox.size)
        pad = _PAD * fig.dpi
        foot = max((one.get_window_extent(renderer).y1 for one in fig.legends), default=0.0)
        texts = [text for text in fig.texts if text.get_text()]
        head = min((text.get_window_extent(renderer).y0 for text in texts), default=whole[1])
        grid = panels[0].get_subplotspec().get_gridspec()  # type: ignore[union-attr]
        counts = np.array([grid.ncols, grid.nrows])
        before, after = (np.zeros((2, max(counts))) for _ in range(2))
        for ax in panels:
            spec = ax.get_subplotspec()
            assert spec is not None
            # Rows are counted from above, pixels from below.
            places = (spec.colspan.start, counts[1] - 1 - spec.rowspan.start)
            for axis, place in enumerate(places):
                low, high = self._margins[ax][:, axis]
                before[axis, place] = max(before[axis, place], low)
                after[axis, place] = max(after[axis, place], high)
        ends, gaps, sizes = np.zeros((2, 2)), np.zeros(2), np.zeros(2)
        taken = np.array([[0.0, foot], [0.0, whole[1] - head]])
        for axis, count in enumerate(counts):
            ends[0, axis] = taken[0, axis] + pad[axis] + before[axis, 0]
            ends[1, axis] = taken[1, axis] + pad[axis] + after[axis, count - 1]
            between = after[axis, : count - 1] + before[axis, 1:count]
            gaps[axis] = max(between, default=0.0) + 2 * pad[axis]
            room = whole[axis] - ends[:, axis].sum() - (count - 1) * gaps[axis]
            sizes[axis] = max(room / count, _LEAST * whole[axis])
        low, high = ends[0] / whole, 1 - ends[1] / whole
        high = np.maximum(high, low + _LEAST)
        space = gaps / sizes
        fig.subplots_adjust(
            left=low[0], right=high[0], bottom=low[1], top=high[1], wspace=space[0], hspace=space[1]
        )
        for ax in panels:
            ax.apply_aspect()


def _renderer(fig: Figure) -> RendererAgg:
    """Return what measures texts at the figure's resolution, whatever it is drawn by."""
    canvas = fig.canvas
    if isinstance(canvas, FigureCanvasAgg):
        return canvas.get_renderer()  # type: ignore[no-any-return, no-untyped-call]
    width, height = fig.bbox.size
    return RendererAgg(width, height, fig.dpi)  # type: ignore[no-untyped-call]


def _margins(ax: Axes, renderer: RendererAgg) -> Array:
    """Return what texts need to the left, below; to the right and above the axes, in pixels."""
    box = ax.get_tightbbox(renderer, for_layout_only=True)
    if box is None:
        return np.zeros((2, 2))
    inner, outer = ax.bbox.get_points(), box.get_points()
    margins: Array = np.maximum([inner[0] - outer[0], outer[1] - inner[1]], 0.0)
    return margins


def _sizes(panels: list[Axes]) -> Array:
    """Return widths and heights of the panels in pixels."""
    sizes: Array = np.array([ax.bbox.size for ax in panels])
    return sizes
