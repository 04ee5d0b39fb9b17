"""Z, G, R and V as images, with the boundaries and labels of levels and clusters."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, LinearSegmentedColormap
from numpy.typing import NDArray
from scipy import sparse

from bayesv.covariance import MarginalCovariance, VarianceComponents, expand_G, residual_R
from bayesv.design import Design
from bayesv.errors import DataError
from bayesv.linalg import Array, evenly_spaced
from bayesv.plots.raster import MOST_PIXELS, pixels
from bayesv.plots.style import (
    LABEL,
    TICK,
    describe,
    dress,
    figure_of,
    inches,
    integer_ticks,
    label_ticks,
    new_axes,
    note_alt,
    plain,
    several_axes,
    short,
)

__all__ = ["image", "image_G", "image_R", "image_V", "image_Z", "matrices"]

Blocks = Sequence[tuple[object, int]]

_MOST_LINES = 60  # boundaries; more would hide what they bound
_MOST_ELEMENTS = 20_000_000  # of V that are not 0, to be made and binned
_MOST_ROWS = 2_000  # of V that stand for all where it has more elements

# White is 0; more than 0 is blue, less is red.
POSITIVE = LinearSegmentedColormap.from_list(
    "bayesv_positive", ["#D6E6F4", "#9ECAE1", "#4292C6", "#08519C", "#08306B"]
)
SIGNED = LinearSegmentedColormap.from_list(
    "bayesv_signed", ["#67001F", "#D6604D", "#FFFFFF", "#4393C3", "#053061"], N=257
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
    row_blocks, column_blocks : sequence of (label, size), optional
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
    finite = shown[np.isfinite(shown)]
    span = f", from {finite.min():.4g} to {finite.max():.4g}" if finite.size else ""
    dress(ax, title, columns, rows, f"{title}: image of {size}{span}.")
    ax.spines[:].set_visible(True)
    ax.spines[:].set_color("#888888")
    if colorbar is not None:
        bar = figure_of(ax).colorbar(drawn, ax=ax, shrink=0.85, pad=0.02, aspect=28)
        bar.set_label(plain(colorbar), fontsize=LABEL)
        bar.ax.tick_params(labelsize=TICK)
        bar.outline.set_visible(False)
    return ax


def image_Z(
    design: Design,
    rows: slice | Sequence[int] | None = None,
    ax: Axes | None = None,
    *,
    by_cluster: bool = False,
    **options: Any,
) -> Axes:
    """Draw Z, or some of its rows: ``image_Z(design, rows=slice(0, 30))``.

    Parameters
    ----------
    design : Design
    rows : slice or sequence of int, optional
        Positions among the design's rows.
    ax : Axes, optional
    by_cluster : bool
        Whether to sort the rows by cluster, for data whose rows are not.
    **options
        For `image`.

    Returns
    -------
    Axes

    Examples
    --------
    >>> import bayesv as bv
    >>> import matplotlib.pyplot as plt
    >>> model = bv.Model("Reaction ~ Days + (Days | Subject)", bv.load_dataset("sleepstudy"))
    >>> ax = bv.plots.image_Z(model.design, rows=slice(0, 30))
    >>> ax.get_title(loc="left")
    'Z, rows 1–30 of 180'
    >>> plt.close(ax.figure)
    """
    at, what = _chosen(design, rows, by_cluster)
    levels, starts = _levels(design)
    return image(
        design.Z[at],
        ax,
        **{
            "title": f"Z{what}",
            "rows": _row_name(design, by_cluster),
            "columns": _effects_name(design),
            "row_blocks": _clusters(design, at) if by_cluster else None,
            "column_blocks": levels,
            "heavy": ((), starts),
            "colorbar": "coefficient of the effect",
            "first": (_first(at), 1),
        }
        | options,
    )


def image_G(design: Design, vc: VarianceComponents, ax: Axes | None = None, **options: Any) -> Axes:
    """Draw G, the covariance of all random effects: the seeds' Gm.

    Parameters
    ----------
    design : Design
    vc : VarianceComponents
    ax : Axes, optional
    **options
        For `image`.

    Returns
    -------
    Axes
    """
    levels, starts = _levels(design)
    return image(
        expand_G(design, vc),
        ax,
        **{
            "title": "G, covariance of the random effects",
            "rows": "random effect",
            "columns": _effects_name(design),
            "row_blocks": levels,
            "column_blocks": levels,
            "heavy": (starts, starts),
            "colorbar": "var and cov of effects",
        }
        | options,
    )


def image_R(
    design: Design,
    vc: VarianceComponents,
    rows: slice | Sequence[int] | None = None,
    ax: Axes | None = None,
    *,
    by_cluster: bool = False,
    **options: Any,
) -> Axes:
    """Draw R = σ² diag(1/w), or some of its rows.

    Parameters
    ----------
    design : Design
    vc : VarianceComponents
    rows, ax, by_cluster, **options
        As in `image_Z`.

    Returns
    -------
    Axes
    """
    at, what = _chosen(design, rows, by_cluster)
    R = sparse.csr_array(residual_R(design, vc))[at][:, at]
    return _square(R, design, at, f"R{what}", "var (residual)", by_cluster, ax, options)


def image_V(
    design: Design,
    vc: VarianceComponents,
    rows: slice | Sequence[int] | None = None,
    ax: Axes | None = None,
    *,
    by_cluster: bool = False,
    corr: bool = False,
    **options: Any,
) -> Axes:
    """Draw V = Z G Z' + R, or some of its rows.

    Parameters
    ----------
    design : Design
    vc : VarianceComponents
    rows, ax, by_cluster, **options
        As in `image_Z`.
    corr : bool
        Whether to draw correlations instead.

    Returns
    -------
    Axes

    Notes
    -----
    V is never dense. Where more than 2e7 of its elements are not 0, evenly spaced rows stand for
    all, and the title says so.
    """
    at, what = _chosen(design, rows, by_cluster)
    if _elements(design, at) > _MOST_ELEMENTS:
        total = len(at)
        at = at[evenly_spaced(total, _MOST_ROWS)]
        what = f", {len(at):,} evenly spaced of {total:,} rows"
    V = MarginalCovariance(design, vc)
    Z = design.Z[at]
    block = sparse.csr_array(Z @ V.G @ Z.T + sparse.diags_array(V.R_diagonal[at]))
    if corr:
        scale = sparse.diags_array(1.0 / np.sqrt(block.diagonal()))
        block = scale @ block @ scale
        options = {"limits": (-1.0 if block.min() < 0 else 0.0, 1.0)} | options
    name, values = ("V as correlations", "corr") if corr else ("V", "var and cov of rows")
    return _square(block, design, at, f"{name}{what}", values, by_cluster, ax, options)


def matrices(
    design: Design,
    vc: VarianceComponents,
    rows: slice | Sequence[int] | None = None,
    axes: Any = None,
    *,
    by_cluster: bool = False,
) -> NDArray[np.object_]:
    """Draw Z, G, R and V side by side.

    Parameters
    ----------
    design : Design
    vc : VarianceComponents
    rows : slice or sequence of int, optional
        Positions among the design's rows, of Z, R and V.
    axes : sequence of four Axes, optional
    by_cluster : bool
        Whether to sort the rows by cluster.

    Returns
    -------
    ndarray of Axes, shape (4,)

    Examples
    --------
    >>> import bayesv as bv
    >>> import matplotlib.pyplot as plt
    >>> model = bv.Model("Yield ~ 1 + (1 | Batch)", bv.load_dataset("dyestuff"))
    >>> axes = bv.plots.matrices(model.design, model.reml().components)
    >>> [ax.get_title(loc="left")[0] for ax in axes]
    ['Z', 'G', 'R', 'V']
    >>> plt.close(bv.plots.figure_of(axes))
    """
    panels, new = several_axes(axes, 4, (5.2, 4.4), most_across=2)
    image_Z(design, rows, panels[0], by_cluster=by_cluster)
    image_G(design, vc, panels[1])
    image_R(design, vc, rows, panels[2], by_cluster=by_cluster)
    image_V(design, vc, rows, panels[3], by_cluster=by_cluster)
    if new:
        text = " ".join(describe(ax) for ax in panels)
        note_alt(figure_of(panels), f"The matrices of V = Z G Z' + R. {text}")
    return panels


# --- rows and columns -----------------------------------------------------------------------------


def _square(
    matrix: Any,
    design: Design,
    at: NDArray[np.intp],
    title: str,
    values: str,
    by_cluster: bool,
    ax: Axes | None,
    options: dict[str, Any],
) -> Axes:
    """Draw a matrix of rows by rows."""
    blocks = _clusters(design, at) if by_cluster else None
    name = _row_name(design, by_cluster)
    settings = {
        "title": title,
        "rows": name,
        "columns": name,
        "row_blocks": blocks,
        "column_blocks": blocks,
        "colorbar": values,
        "first": (_first(at), _first(at)),
    }
    return image(matrix, ax, **settings | options)


def _chosen(
    design: Design, rows: slice | Sequence[int] | None, by_cluster: bool
) -> tuple[NDArray[np.intp], str]:
    """Return positions of rows and what to say of them in a title."""
    if not isinstance(design, Design):
        raise DataError(
            f"A bv.Design with rows is needed (model.design), found {type(design).__name__}."
        )
    every = np.arange(design.n)
    try:
        at = every if rows is None else every[rows if isinstance(rows, slice) else np.asarray(rows)]
    except IndexError as error:
        raise DataError(
            f"rows must be a slice or positions below {design.n}; found {rows!r} ({error})."
        ) from error
    if not len(at):
        raise DataError(f"No row is chosen by {rows!r}; the design has {design.n} rows.")
    what = f", {len(at):,} of {design.n:,} rows"
    if len(at) == at[-1] - at[0] + 1:
        what = f", rows {at[0] + 1:,}–{at[-1] + 1:,} of {design.n:,}"
    if len(at) == design.n:
        what = f", {design.n:,} rows"
    if by_cluster:
        at = at[np.argsort(_place(design)[at])]
        what += " sorted by cluster"
    return at, what


def _first(at: NDArray[np.intp]) -> int:
    """Return the number of the first row; 1 if rows do not follow each other."""
    return int(at[0]) + 1 if len(at) == at[-1] - at[0] + 1 and (np.diff(at) == 1).all() else 1


def _row_name(design: Design, by_cluster: bool) -> str:
    return f"rows by cluster ({short(_coarsest(design).group, 24)})" if by_cluster else "row"


def _effects_name(design: Design) -> str:
    """Terms with their sizes, in the order of Z's columns, on several lines if need be."""
    parts = [f"{short(t.group, 24)} ({t.n_levels:,} levels × {t.n_columns})" for t in design.terms]
    lines = [", ".join(parts[i : i + 2]) for i in range(0, len(parts), 2)]
    return "random effects: " + ",\n".join(lines)


def _levels(design: Design) -> tuple[list[tuple[object, int]], list[int]]:
    """Return blocks of Z's columns by level, and where terms start."""
    blocks = [(level, term.n_columns) for term in design.terms for level in term.levels]
    ends = np.cumsum([term.n_effects for term in design.terms])
    return blocks, [int(end) for end in ends[:-1]]


def _coarsest(design: Design) -> Any:
    return min(design.terms, key=lambda term: term.n_levels)


def _place(design: Design) -> NDArray[np.intp]:
    """Return the place of each row if they are sorted by cluster, then by coarse and fine factors.

    Clusters are in the order of the coarsest factor's levels.
    """
    unit = VarianceComponents({t.group: np.eye(t.n_columns) for t in design.terms}, sigma2=1.0)
    clusters = MarginalCovariance(design, unit).clusters
    keys = [t.codes for t in sorted(design.terms, key=lambda t: -t.n_levels)]
    first = np.full(int(clusters.max()) + 1, design.n)
    np.minimum.at(first, clusters, keys[-1])
    order = np.lexsort([*keys, clusters, first[clusters]])
    place = np.empty(design.n, dtype=np.intp)
    place[order] = np.arange(design.n)
    return place


def _clusters(design: Design, at: NDArray[np.intp]) -> list[tuple[object, int]]:
    """Return blocks of rows that share the coarsest factor's level, labelled by it."""
    term = _coarsest(design)
    codes = term.codes[at]
    starts = np.flatnonzero(np.diff(codes, prepend=-1))
    ends = [*starts[1:], len(codes)]
    return [(term.levels[codes[s]], int(e - s)) for s, e in zip(starts, ends, strict=True)]


def _elements(design: Design, at: NDArray[np.intp]) -> float:
    """Bound the number of V's elements that are not 0."""
    found = [(np.bincount(t.codes[at]).astype(float) ** 2).sum() for t in design.terms]
    return float(sum(found))


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
