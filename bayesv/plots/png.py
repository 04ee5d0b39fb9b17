"""A picture as the bytes of a PNG file."""

from __future__ import annotations

import io
from typing import Any

import matplotlib.pyplot as plt
from PIL import Image

from bayesv.plots.style import figure_of

__all__ = ["png"]


def png(picture: Any, dpi: float = 110.0) -> tuple[bytes, int, int]:
    """Return a picture as PNG with its width and height in pixels, and close its figure.

    Parameters
    ----------
    picture : Axes, Figure, array of Axes or PlotCollection
        What a function of `bayesv.plots` returned.
    dpi : float
        Dots per inch.

    Returns
    -------
    bytes, int, int

    Examples
    --------
    >>> import bayesv as bv
    >>> data, width, height = bv.plots.png(bv.plots.image([[1.0]]), dpi=50)
    >>> data[1:4], width > 100
    (b'PNG', True)
    """
    figure, buffer = figure_of(picture), io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi)
    plt.close(figure)
    with Image.open(buffer) as pixels:  # reads the header alone
        width, height = pixels.size
    return buffer.getvalue(), width, height
