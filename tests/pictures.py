"""What tests of pictures share: drawing with every warning, finding lines, text that fits."""

from __future__ import annotations

from itertools import pairwise

import bayesv as bv


def drawn(picture):
    """Lay out and draw, so that every warning of matplotlib is raised here."""
    bv.plots.figure_of(picture).canvas.draw()
    return picture


def line(ax, label):
    return next(item for item in ax.lines if item.get_label() == label)


def inside(picture):
    """Whether no text leaves the figure, and no two tick labels of an axis overlap."""
    figure = bv.plots.figure_of(picture)
    figure.canvas.draw()  # a second layout, with the texts of the first
    box = figure.bbox
    renderer = figure.canvas.get_renderer()
    for ax in figure.axes:
        ticks = {}
        for which, axis in (("x", ax.xaxis), ("y", ax.yaxis)):
            low, high = sorted(axis.get_view_interval())
            labels = [
                label
                # An axis that is shared has its labels on another panel.
                for at, label in zip(axis.get_majorticklocs(), axis.get_ticklabels(), strict=False)
                if low <= at <= high and label.get_text() and label.get_visible()
            ]
            ticks[which] = [label.get_window_extent(renderer) for label in labels]
        names = [ax._left_title, ax.xaxis.label, ax.yaxis.label]
        extents = [t.get_window_extent(renderer) for t in names if t.get_text()]
        for extent in [*extents, *ticks["x"], *ticks["y"]]:
            assert extent.x0 >= -1, ax.get_title(loc="left")
            assert extent.y0 >= -1
            assert extent.x1 <= box.x1 + 1
            assert extent.y1 <= box.y1 + 1
        for boxes in ticks.values():
            for a, b in pairwise(boxes):
                assert not a.overlaps(b), ax.get_title(loc="left")
    return True
