"""Z, G, R and V as images, with the boundaries and labels of levels and clusters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray
from scipy import sparse

from bayesv.covariance import MarginalCovariance, VarianceComponents, expand_G, residual_R
from bayesv.design.design import Design
from bayesv.design.parametric import RowLevels, coarsest
from bayesv.errors import DataError
from bayesv.linalg import evenly_spaced
from bayesv.plots.matrix import image
from bayesv.plots.style import describe, figure_of, note_alt, several_axes, short
from bayesv.support.arguments import FLAG, a, accepts

__all__ = ["image_G", "image_R", "image_V", "image_Z", "matrices"]

_MOST_ELEMENTS = 20_000_000  # of V that are not 0, to be made and binned
_MOST_ROWS = 2_000  # of V that stand for all where it has more elements


@accepts(by_cluster=FLAG)
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
    'Z, rows 0–29 of 180'
    >>> plt.close(ax.figure)
    """
    positions, what = _chosen(design, rows, by_cluster)
    _needs_terms(design)
    levels, starts = _levels(design)
    return image(
        design.Z[positions],
        ax,
        **{
            "title": f"Z{what}",
            "rows": _row_name(design, by_cluster),
            "columns": _effects_name(design),
            "row_blocks": _clusters(design, positions) if by_cluster else None,
            "column_blocks": levels,
            "heavy": ((), starts),
            "colorbar": "coefficient of the effect",
            "first": (_first(design, positions), 1),
        }
        | options,
    )


@accepts(design=a(Design))
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
    _needs_terms(design)
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


@accepts(by_cluster=FLAG)
def image_R(
    design: Design,
    vc: VarianceComponents,
    rows: slice | Sequence[int] | None = None,
    ax: Axes | None = None,
    *,
    by_cluster: bool = False,
    **options: Any,
) -> Axes:
    """Draw R, the covariance of the residuals, or some of its rows.

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
    positions, what = _chosen(design, rows, by_cluster)
    R = sparse.csr_array(residual_R(design, vc))[positions][:, positions]
    return _square(R, design, positions, f"R{what}", "var (residual)", by_cluster, ax, options)


@accepts(by_cluster=FLAG, corr=FLAG)
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
    positions, what = _chosen(design, rows, by_cluster)
    if _elements(design, positions) > _MOST_ELEMENTS:
        total = len(positions)
        positions = positions[evenly_spaced(total, _MOST_ROWS)]
        what = f", {len(positions):,} evenly spaced of {total:,} rows"
    V = MarginalCovariance(design, vc)
    Z = design.Z[positions]
    block = sparse.csr_array(Z @ V.G @ Z.T + V.R[positions][:, positions])
    if corr:
        scale = sparse.diags_array(1.0 / np.sqrt(block.diagonal()))
        block = scale @ block @ scale
        options = {"limits": (-1.0 if block.min() < 0 else 0.0, 1.0)} | options
    name, values = ("V as correlations", "corr") if corr else ("V", "var and cov of rows")
    return _square(block, design, positions, f"{name}{what}", values, by_cluster, ax, options)


@accepts(by_cluster=FLAG)
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
    _chosen(design, rows, by_cluster)  # says what else was passed
    _needs_terms(design)
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
    positions: NDArray[np.intp],
    title: str,
    values: str,
    by_cluster: bool,
    ax: Axes | None,
    options: dict[str, Any],
) -> Axes:
    """Draw a matrix of rows by rows."""
    blocks = _clusters(design, positions) if by_cluster else None
    name, first = _row_name(design, by_cluster), _first(design, positions)
    settings = {
        "title": title,
        "rows": name,
        "columns": name,
        "row_blocks": blocks,
        "column_blocks": blocks,
        "colorbar": values,
        "first": (first, first),
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
        positions = (
            every if rows is None else every[rows if isinstance(rows, slice) else np.asarray(rows)]
        )
    except (IndexError, TypeError, ValueError) as error:
        raise DataError(
            f"rows must be a slice or positions below {design.n}; found {rows!r} ({error})."
        ) from error
    if np.ndim(positions) != 1 or not len(positions):
        raise DataError(f"No row is chosen by {rows!r}; the design has {design.n} rows.")
    what = f", {len(positions):,} of {design.n:,} rows"
    if len(positions) == positions[-1] - positions[0] + 1:
        first = _first(design, positions)
        what = f", rows {first:,}–{first + len(positions) - 1:,} of {design.n:,}"
    if len(positions) == design.n:
        what = f", {design.n:,} rows"
    if by_cluster:
        positions = positions[np.argsort(_place(design)[positions])]
        what += " sorted by cluster"
    return positions, what


def _first(design: Design, positions: NDArray[np.intp]) -> int:
    """Return the label of the first row, which `block` shows, if labels are consecutive numbers.

    Else the number of the row, or 1 if rows do not follow each other.
    """
    labels = design.row_labels[positions]
    if labels.dtype.kind in "iu" and (np.diff(labels) == 1).all():
        return int(labels[0])
    return int(positions[0]) + 1 if (np.diff(positions) == 1).all() else 1


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


def _coarsest(design: Design) -> RowLevels:
    if design.terms:
        term = min(design.terms, key=lambda term: term.n_levels)
        return RowLevels(term.group, list(term.levels), term.codes)
    levels = coarsest(design)
    if levels is None:
        raise DataError("Rows have no clusters here: the design has no random term and no series.")
    return levels


def _needs_terms(design: Design) -> None:
    if not design.terms:
        raise DataError(
            "The design has no random term, so that there is no Z and no G: V = R, which "
            "bv.plots.image_R(design, components) draws."
        )


def _place(design: Design) -> NDArray[np.intp]:
    """Return the place of each row if they are sorted by cluster, then by coarse and fine factors.

    Clusters are in the order of the coarsest factor's levels.
    """
    clusters = design.clusters
    keys = [t.codes for t in sorted(design.terms, key=lambda t: -t.n_levels)]
    keys = keys or [_coarsest(design).codes]
    first = np.full(int(clusters.max()) + 1, design.n)
    np.minimum.at(first, clusters, keys[-1])
    order = np.lexsort([*keys, clusters, first[clusters]])
    place = np.empty(design.n, dtype=np.intp)
    place[order] = np.arange(design.n)
    return place


def _clusters(design: Design, positions: NDArray[np.intp]) -> list[tuple[object, int]]:
    """Return blocks of rows that share the coarsest factor's level, labelled by it."""
    term = _coarsest(design)
    codes = term.codes[positions]
    starts = np.flatnonzero(np.diff(codes, prepend=-1))
    ends = [*starts[1:], len(codes)]
    return [(term.levels[codes[s]], int(e - s)) for s, e in zip(starts, ends, strict=True)]


def _elements(design: Design, positions: NDArray[np.intp]) -> float:
    """Bound the number of V's elements that are not 0."""
    squares = [(np.bincount(t.codes[positions]).astype(float) ** 2).sum() for t in design.terms]
    return float(sum(squares))
