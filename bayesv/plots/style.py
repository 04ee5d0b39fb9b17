"""What all pictures share: colours, sizes, axes, plain-words descriptions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from bayesv.errors import BayesvError
from bayesv.plots.layout import PanelLayout

__all__ = [
    "CHAINS",
    "COLORS",
    "below",
    "describe",
    "dress",
    "figure_of",
    "fitting",
    "inches",
    "integer_ticks",
    "label_ticks",
    "new_axes",
    "note_alt",
    "plain",
    "roomy",
    "several_axes",
    "short",
    "shortened",
]

# Okabe and Ito's colours, which all readers can tell apart; one meaning each in every picture.
COLORS = {
    "posterior": "#0072B2",
    "REML": "#D55E00",
    "prior": "#6E6E6E",
    "other": "#009E73",
    "fourth": "#CC79A7",
    "fifth": "#E69F00",
}
CHAINS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")
INK, GRID = "#333333", "#DDDDDD"
TITLE, LABEL, TICK = 10.5, 9.5, 8.5  # font sizes in points
_LETTER = 0.58  # width of a letter over its font size

_LONGEST_LABEL = 16
_LEGEND_LINE = 0.19  # inches
_UNDER = 0.55  # inches from an axis to a legend under its label
_texts: WeakKeyDictionary[Any, str] = WeakKeyDictionary()


def describe(picture: Any) -> str:
    """Return what a picture shows in plain words, as alternative text.

    Parameters
    ----------
    picture : Axes, Figure or array of Axes
        What a function of `bayesv.plots` returned, or the figure it was drawn on.

    Returns
    -------
    str

    Raises
    ------
    BayesvError
        If the picture was not drawn by `bayesv.plots`.

    Examples
    --------
    >>> import bayesv as bv
    >>> import matplotlib.pyplot as plt
    >>> ax = bv.plots.image([[1.0, 0.0], [0.0, 1.0]], title="identity")
    >>> bv.plots.describe(ax)
    'identity: image of a 2 × 2 matrix, 2 of 4 elements not 0, from 0 to 1.'
    >>> plt.close(bv.plots.figure_of(ax))
    """
    try:
        if picture in _texts:
            return _texts[picture]
    except TypeError:
        pass  # an array of axes cannot be a key
    if isinstance(picture, Axes):
        sentences = []
    elif isinstance(picture, np.ndarray | list | tuple):
        sentences = [
            _texts[ax] for ax in np.ravel(np.asarray(picture, dtype=object)) if ax in _texts
        ]
    else:
        figure = figure_of(picture)
        whole = _texts.get(figure)
        sentences = [whole] if whole else [_texts[ax] for ax in figure.axes if ax in _texts]
    if not sentences:
        raise BayesvError(
            "There is no description of this picture: it was not drawn by bayesv.plots. Pass what "
            "a function of bayesv.plots returned, or its figure."
        )
    return " ".join(dict.fromkeys(sentences))


def figure_of(picture: Any) -> Figure:
    """Return the matplotlib figure that a picture is drawn on.

    Parameters
    ----------
    picture : Axes, Figure or array of Axes
        What a function of `bayesv.plots` returned.

    Returns
    -------
    matplotlib.figure.Figure
        To be saved by ``figure_of(…).savefig(path)`` and closed by ``plt.close``.

    Raises
    ------
    BayesvError
        If it is none of these.

    Examples
    --------
    >>> import bayesv as bv
    >>> import matplotlib.pyplot as plt
    >>> ax = bv.plots.image([[1.0]])
    >>> bv.plots.figure_of(ax) is ax.figure
    True
    >>> plt.close(ax.figure)
    """
    if isinstance(picture, Figure):
        return picture
    if isinstance(picture, np.ndarray | list | tuple):
        every = np.ravel(np.asarray(picture, dtype=object))
        if len(every) and isinstance(every[0], Axes):
            return figure_of(every[0])
    if isinstance(picture, Axes):
        root = picture.get_figure(root=True)
        assert root is not None
        return root
    raise BayesvError(
        f"A picture of bayesv.plots is needed (axes or figure), found {type(picture).__name__}."
    )


# --- axes -----------------------------------------------------------------------------------------


def new_axes(ax: Axes | None, size: tuple[float, float]) -> Axes:
    """Return the axes to draw on: the given ones, or one on a new figure of this size in inches."""
    if ax is None:
        figure, ax = plt.subplots(figsize=size)
        roomy(figure)
        return ax
    if not isinstance(ax, Axes):
        raise BayesvError(f"ax must be matplotlib axes, found {type(ax).__name__}.")
    return ax


def several_axes(
    axes: Any,
    count: int,
    panel: tuple[float, float],
    most_across: int = 4,
    **options: Any,
) -> tuple[NDArray[np.object_], bool]:
    """Return ``count`` axes and whether their figure is new.

    Parameters
    ----------
    axes : sequence of Axes, or None
        Axes to draw on.
    count : int
        Number of panels.
    panel : tuple of float
        Width and height of one panel in inches.
    most_across : int
        Panels beside each other at most.
    **options
        For ``plt.subplots``.

    Raises
    ------
    BayesvError
        If the number of axes given is another one.
    """
    if axes is not None:
        panels = np.ravel(np.asarray(axes, dtype=object))
        if len(panels) != count or not all(isinstance(ax, Axes) for ax in panels):
            raise BayesvError(
                f"This picture has {count} panels; found {len(panels)} axes. Pass {count} "
                "matplotlib axes, or none for a new figure."
            )
        return panels, False
    across = min(count, most_across)
    down = -(-count // across)
    across = -(-count // down)  # even rows
    size = (panel[0] * across, panel[1] * down)
    figure, grid = plt.subplots(down, across, figsize=size, squeeze=False, **options)
    roomy(figure)
    flat = grid.ravel()
    for ax in flat[count:]:
        figure.delaxes(ax)
    return flat[:count], True


def roomy(figure: Figure) -> None:
    """Lay panels out so that no text is cut."""
    figure.set_layout_engine(PanelLayout())


def dress(ax: Axes, title: str, x: str, y: str, alt: str, grid: str | None = None) -> None:
    """Put title, axis labels, the common look and the description on axes.

    Parameters
    ----------
    ax : Axes
    title, x, y : str
        Text without mathematics; dollars stay dollars.
    alt : str
        Plain words for those who do not see the picture.
    grid : {"x", "y", "both"}, optional
        Which grid lines to draw.
    """
    width, height = inches(ax)
    title, size = fitting(title, width, TITLE)
    # A place of its own: else matplotlib measures all ticks once more to find it.
    ax.set_title(plain(title), fontsize=size, loc="left", color=INK, y=1.0)
    x, size = fitting(x, 1.15 * width, LABEL)
    ax.set_xlabel(plain(x), fontsize=size, color=INK)
    y, size = fitting(y, 1.15 * height, LABEL)
    ax.set_ylabel(plain(y), fontsize=size, color=INK)
    ax.tick_params(labelsize=TICK, colors=INK)
    for text in (ax.xaxis.get_offset_text(), ax.yaxis.get_offset_text()):
        text.set_fontsize(TICK)
    ax.yaxis.set_offset_position("right")  # the power of ten; the title stands at the left
    ax.spines[["top", "right"]].set_visible(False)
    if grid:
        ax.grid(True, axis=grid, which="major", color=GRID, linewidth=0.6)  # type: ignore[arg-type]
        ax.set_axisbelow(True)
    note_alt(ax, alt)


def note_alt(picture: Any, alt: str) -> None:
    """Remember the description of axes or a figure."""
    _texts[picture] = " ".join(alt.split())


def plain(text: object) -> str:
    """Return text that matplotlib does not read as mathematics."""
    return str(text).replace("$", r"\$")


def short(text: object, longest: int) -> str:
    """Return text of at most ``longest`` letters."""
    label = str(text)
    return label if len(label) <= longest else label[: longest - 1] + "…"


def fitting(text: str, room: float, size: float) -> tuple[str, float]:
    """Return text that fits beside an axis so long, in inches, and its font size.

    It becomes a little smaller first, and then its middle is left out; lines are taken one by one.
    """
    lines = text.split("\n")
    longest = max(map(len, lines))
    size = float(np.clip(72 * room / (_LETTER * max(longest, 1)), TICK, size))
    most = max(int(72 * room / (_LETTER * size)), 8)
    return "\n".join(_ends(line, most, (most - 1) // 2) for line in lines), size


def shortened(labels: Sequence[object], longest: int) -> list[str]:
    """Return texts of at most ``longest`` letters, by which as many as can be are told apart.

    >>> shortened(["a subject, number 1", "a subject, number 2"], 12)
    ['a s…number 1', 'a s…number 2']
    >>> shortened(["school 08 of the district", "school 18 of the district"], 12)
    ['school 08 o…', 'school 18 o…']
    """
    texts = [str(label) for label in labels]
    ways = [[short(text, longest) for text in texts]]
    for head in (longest // 4, longest // 2):
        ways.append([_ends(text, longest, head) for text in texts])
    letters = zip(*(text for text in texts if len(text) > longest), strict=False)
    same = next((i for i, ones in enumerate(letters) if len(set(ones)) > 1), 0)
    ways.append([_within(text, longest, same - longest // 3) for text in texts])
    return max(ways, key=lambda way: len(set(way)))


def _ends(text: str, longest: int, head: int) -> str:
    """Return the first letters of a text and its last ones."""
    tail = longest - head - 1
    return text if len(text) <= longest else f"{text[:head]}…{text[-tail:]}"


def _within(text: str, longest: int, start: int) -> str:
    """Return letters of a text from a place on."""
    if len(text) <= longest or start <= 1:
        return short(text, longest)
    return "…" + short(text[start:], longest - 1)


def below(ax: Axes, own_figure: bool, columns: int = 4, **options: Any) -> None:
    """Put the legend under all panels of a new figure, or under the axes themselves.

    Axes of a figure without a layout engine have no room for it there: it goes where it covers
    least.
    """
    handles, labels = ax.get_legend_handles_labels()
    if not handles:
        return
    common = {"frameon": False, "fontsize": TICK, "labelcolor": INK} | options
    figure = figure_of(ax)
    width, height = inches(ax)
    room = figure.get_figwidth() if own_figure else width
    fitting = max(1, int(room / (0.075 * max(map(len, labels)) + 0.45)))
    ncols = min(columns, len(labels), fitting)
    if own_figure:
        # Further lines of the legend take no room from the panels.
        lines = -(-len(labels) // ncols)
        figure.set_figheight(figure.get_figheight() + (lines - 1) * _LEGEND_LINE)
        figure.legend(handles, labels, loc="outside lower center", ncols=ncols, **common)
    elif figure.get_layout_engine() is None:
        common |= {"frameon": True, "framealpha": 0.85, "edgecolor": "none"}
        ax.legend(handles, labels, loc="best", **common)
    else:
        under = (0.5, -_UNDER / height)
        ax.legend(handles, labels, loc="upper center", bbox_to_anchor=under, ncols=ncols, **common)


def label_ticks(
    ax: Axes,
    which: str,
    places: Sequence[float],
    labels: Sequence[object],
    room: float | None = None,
) -> None:
    """Label positions of an axis, as many of them as can be read.

    Parameters
    ----------
    ax : Axes
    which : {"x", "y"}
    places : sequence of float
        Positions, ascending.
    labels : sequence
        Of the same length; long ones are shortened.
    room : float, optional
        Length of the axis in inches; measured if left out.
    """
    axis = ax.xaxis if which == "x" else ax.yaxis
    if not len(places):
        axis.set_major_locator(MaxNLocator(1))
        axis.set_ticks([])
        return
    texts = [plain(text) for text in shortened(labels, _LONGEST_LABEL)]
    if room is None:
        room = 0.85 * inches(ax)[0 if which == "x" else 1]
    line, letter = 1.3 * TICK / 72, 0.62 * TICK / 72
    longest = max(map(len, texts))
    upright = which == "x" and len(texts) * (longest * letter + line) > room and longest > 2
    each = line if upright or which == "y" else longest * letter + line
    low, high = sorted(ax.get_xlim() if which == "x" else ax.get_ylim())
    gap = each * (high - low) / max(room, each)
    shown: list[int] = []
    for i, place in enumerate(places):
        if not shown or place - places[shown[-1]] >= gap:
            shown.append(i)
    axis.set_ticks([places[i] for i in shown], [texts[i] for i in shown])
    if which == "x":
        ax.tick_params(axis="x", rotation=90 if upright else 0)


def inches(ax: Axes) -> tuple[float, float]:
    """Return width and height of axes in inches, before the layout makes room for text."""
    box = ax.get_window_extent().transformed(figure_of(ax).dpi_scale_trans.inverted())
    return float(box.width), float(box.height)


def integer_ticks(ax: Axes, which: str, count: int, first: int) -> None:
    """Put round numbers on positions 0 … count − 1, which are numbered from ``first``."""
    last = first + count - 1
    round_ones = MaxNLocator(6, integer=True, min_n_ticks=1).tick_values(first, last)
    numbers = [int(v) for v in round_ones if first <= v <= last]
    step = numbers[1] - numbers[0] if len(numbers) > 1 else 0
    if not numbers or numbers[0] - first > 0.5 * step:
        numbers = [first, *numbers]
    axis = ax.xaxis if which == "x" else ax.yaxis
    axis.set_ticks([n - first for n in numbers], [f"{n:,}" for n in numbers])
