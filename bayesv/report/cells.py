"""V cell by cell: a page on which every element of V says its value and its posterior."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesv.covariance import MarginalCovariance
from bayesv.design.design import Design
from bayesv.design.parametric import rows_of_level
from bayesv.errors import BayesvError, DataError, none_of
from bayesv.linalg import Array, evenly_spaced
from bayesv.names import INTERCEPT
from bayesv.posterior.posterior import Posterior
from bayesv.reml import RemlFit
from bayesv.report.page import Report, labelled, refuse_others, render
from bayesv.support.arguments import PATH, PROBABILITY, TEXT, TEXTS, accepts, optional, some
from bayesv.support.writing import check_writable

__all__ = ["cells", "interactive_v"]

_MOST_ROWS = 24  # of a cluster; of a larger one, evenly spaced rows
_MOST_BYTES = 2_300_000  # of values on one page
_MOST_NUMBERS = 6e7  # of draws of V that a page is computed from
_AT_ONCE = 2e7  # numbers of draws of one block in memory
_QUANTILES = (0.005, 0.025, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.975, 0.995)
_DIGITS = 5

Fits = Sequence[RemlFit | Posterior]


@accepts(
    path=optional(PATH),
    group=optional(TEXT),
    levels=optional(some(lambda name, value: None)),
    labels=optional(TEXTS),
    prob=PROBABILITY,
    title=optional(TEXT),
)
def interactive_v(
    *fits: RemlFit | Posterior,
    path: str | Path | None = None,
    group: str | None = None,
    levels: Sequence[object] | None = None,
    labels: Sequence[str] | None = None,
    prob: float = 0.95,
    title: str | None = None,
) -> Report:
    """Make one self-contained page on which V is read cell by cell.

    Parameters
    ----------
    *fits : RemlFit or Posterior
        At least one; several must be of the same rows, their structures of V may differ.
    path : str or Path, optional
        Where to write the page.
    group : str, optional
        Grouping factor, or series of the residuals, whose clusters are on the page; all of them if
        left out.
    levels : sequence, optional
        Which of its levels, with ``group``; as many as there is room for if left out.
    labels : sequence of str, optional
        What each fit is called.
    prob : float
        Of the equal-tailed intervals.
    title : str, optional
        Left out: V and the formula.

    Returns
    -------
    Report
        A page without network: a cell that is pointed at, tapped or reached by arrow keys says its
        covariance and correlation at each fit, with posterior mean, SD, interval and density.

    Raises
    ------
    BayesvError
        If there is no fit, or fits are of different rows.
    DataError
        If the design has no rows, no such group or level.
    MissingPackageError
        If Jinja is not installed.

    Notes
    -----
    Of a cluster of more than 24 rows, 24 evenly spaced ones are shown, and clusters that would make
    the page larger than 3 MB are left out; the page says both. Clusters whose V is the same under
    every fit are stored once. Densities are drawn from 13 quantiles.

    Examples
    --------
    >>> import bayesv as bv
    >>> model = bv.Model("Reaction ~ Days + (Days | Subject)", bv.load_dataset("sleepstudy"))
    >>> page = bv.interactive_v(model.reml(), group="Subject", levels=["308", "309"])
    >>> page.html.count("<script src"), len(page.html) < 60_000
    (0, True)
    """
    refuse_others("interactive_v", fits)
    if path is not None:
        check_writable(path)
    names = labelled(fits, labels)
    facts = cells(fits, names, group=group, levels=levels, prob=prob)
    formula = fits[0].design.formula
    page = Report(render("v.html", {"title": title or f"V of {formula}", "cells": facts}))
    if path is not None:
        page.save(path)
    return page


def cells(
    fits: Fits,
    names: Sequence[str],
    *,
    group: str | None = None,
    levels: Sequence[object] | None = None,
    prob: float = 0.95,
    most_bytes: int = _MOST_BYTES,
    most_numbers: float = _MOST_NUMBERS,
) -> dict[str, Any]:
    """Return what the page is filled with, in lists and numbers that JSON can hold.

    Returns
    -------
    dict
        ``fits``: name, whether it has draws. ``groups``: name, ``note``, and ``clusters``, each a
        label, a note, row labels and the number of its block. ``blocks``: a list by fits of lists
        by elements (upper triangle, row by row): the value of V alone; or of draws mean, SD, ends
        of the interval, those of the correlation (mean, low, high), then quantiles in percent of
        SDs from the mean.
    """
    _check(fits, group, levels)
    design = fits[0].design
    chosen = [group] if group is not None else _groups(design)
    maker = _Blocks(fits, prob)
    groups = []
    for k, name in enumerate(chosen):
        share = (k + 1) / len(chosen)  # of the room; what one group leaves is the next one's
        known = _levels(design, name)
        wanted = known if levels is None else list(levels)
        clusters: list[dict[str, Any]] = []
        for level in wanted:
            if clusters and (
                maker.size > share * most_bytes or maker.numbers > share * most_numbers
            ):
                break
            clusters.append(_cluster(maker, design, name, level))
        groups.append({"name": name, "note": _note(clusters, known), "clusters": clusters})
    return {
        "fits": [
            {"name": name, "draws": isinstance(fit, Posterior)}
            for name, fit in zip(names, fits, strict=True)
        ],
        "prob": f"{100 * prob:g}",
        "quantiles": _QUANTILES,
        "groups": groups,
        "blocks": maker.blocks,
    }


def _check(fits: Fits, group: str | None, levels: Sequence[object] | None) -> None:
    others = [type(fit).__name__ for fit in fits if not isinstance(fit, RemlFit | Posterior)]
    if others or not fits:
        raise BayesvError(
            "interactive_v needs fits, such as interactive_v(model.reml(), model.sample()); found "
            f"{', '.join(others) or 'nothing'}."
        )
    is_list = isinstance(levels, Sequence) and not isinstance(levels, str)
    if levels is not None and (group is None or not is_list):
        raise DataError(f"levels={levels!r} must be a list, of the levels of group=….")
    if not all(_same_rows(fits[0].design, fit.design) for fit in fits):
        raise BayesvError(
            "The fits are of different rows; V is laid beside V for fits of the same ones."
        )
    known = _groups(fits[0].design)
    if not known:
        raise DataError(
            f"{fits[0].design.formula!r} has neither a grouping factor nor series of residuals: V "
            "is diagonal, and has no clusters to choose from."
        )
    if group is not None and group not in known:
        raise DataError(none_of("group", group, known))


def _same_rows(one: Design, other: Design) -> bool:
    """Say whether rows are called the same, or have the same responses: R counts its from 1."""
    # A design without rows says here that it has none.
    if one.row_labels.equals(other.row_labels):
        return True
    return one.n == other.n and bool(np.allclose(one.y, other.y, rtol=1e-12, atol=0.0))


def _groups(design: Design) -> list[str]:
    """Return grouping factors, those with the fewest levels first, and the series."""
    names = [term.group for term in reversed(design.terms)]
    if (form := design.parametric_residual) is not None and form.series is not None:
        names.append(form.series.label)
    return list(dict.fromkeys(names))


def _levels(design: Design, group: str) -> list[object]:
    for term in design.terms:
        if term.group == group:
            return list(term.levels)
    form = design.parametric_residual
    assert form is not None
    assert form.series is not None
    return list(form.series.labels)


def _note(clusters: Sequence[dict[str, Any]], known: Sequence[object]) -> str:
    if len(clusters) == len(known):
        return ""
    return (
        f"{len(clusters):,} of {len(known):,} are on this page; "
        "bv.interactive_v(…, group=…, levels=[…]) takes others."
    )


def _cluster(maker: _Blocks, design: Design, group: str, level: object) -> dict[str, Any]:
    """Return one cluster: what it and its rows are called, and which block is its V."""
    every = rows_of_level(design, group, level)
    rows = every[evenly_spaced(len(every), _MOST_ROWS)]
    note = f"{len(rows)} of its {len(every):,} rows" if len(rows) < len(every) else ""
    return {
        "label": str(level),
        "note": note,
        "rows": [str(label) for label in design.row_labels[rows]],
        "about": list(_about(design, rows)),
        "block": maker.number_of(rows),
    }


def _about(design: Design, rows: NDArray[np.intp]) -> Iterator[str]:
    """Say of each row its visit, and what its slopes go along."""
    form = design.parametric_residual
    series = form.series if form is not None else None
    columns = {
        name: term.values[rows, c]
        for term in design.terms
        for c, name in enumerate(term.columns)
        if name != INTERCEPT
    }
    for i, row in enumerate(rows):
        parts = [f"{name} {values[i]:.4g}" for name, values in columns.items()]
        if series is not None and series.by_visit and series.position not in columns:
            parts.insert(0, f"{series.position} {series.visits[series.visit[row]]}")
        yield ", ".join(parts)


class _Blocks:
    """V of sets of rows under every fit; a block that is there already is not made again."""

    def __init__(self, fits: Fits, prob: float) -> None:
        self.fits = fits
        self.blocks: list[list[list[Any]]] = []
        self.size = 0
        self.numbers = 0.0
        self._tails = ((1 - prob) / 2, (1 + prob) / 2)
        self._places: dict[bytes, int] = {}
        self._at: list[Any] = [
            fit if isinstance(fit, Posterior) else MarginalCovariance(fit.design, fit.components)
            for fit in fits
        ]

    def number_of(self, rows: NDArray[np.intp]) -> int:
        """Return the place of the block of these rows, which is made if it is new."""
        key = b"".join(_key(source, rows) for source in self._at)
        if key not in self._places:
            self._places[key] = len(self.blocks)
            block = [self._of(source, rows) for source in self._at]
            self.blocks.append(block)
            self.size += len(json.dumps(block, separators=(",", ":")))
        return self._places[key]

    def _of(self, source: Any, rows: NDArray[np.intp]) -> list[Any]:
        upper = np.triu_indices(len(rows))
        if not isinstance(source, Posterior):
            return list(_rounded(source.rows(rows).to_numpy()[upper]).tolist())
        step = int(np.ceil(len(rows) ** 2 * source.sigma2.size / _AT_ONCE))
        draws = source.V(rows=rows).draws(every=step).to_numpy().reshape(-1, len(rows), len(rows))
        self.numbers += draws.size
        i, j = upper
        values = np.ascontiguousarray(draws[:, i, j].T)  # draws of one element stand together
        sd = np.sqrt(values[i == j])
        return _summaries(values, values / (sd[i] * sd[j]), self._tails)


def _key(source: Any, rows: NDArray[np.intp]) -> bytes:
    """Return what two sets of rows share if their V is the same: mean and SD of each element."""
    if not isinstance(source, Posterior):
        return _rounded(source.rows(rows).to_numpy(), 9).tobytes()
    V = source.V(rows=rows)
    return b"".join(_rounded(part.to_numpy(), 9).tobytes() for part in (V.mean(), V.sd()))


def _summaries(values: Array, corr: Array, tails: tuple[float, float]) -> list[Any]:
    """Return the numbers of each element, from draws of shape (elements, S)."""
    mean, sd = values.mean(axis=1), values.std(axis=1, ddof=1)
    cuts = np.quantile(values, [*tails, *_QUANTILES], axis=1)
    of_corr = [corr.mean(axis=1), *np.quantile(corr, tails, axis=1)]
    safe = np.where(sd > 1e-12 * np.abs(mean), sd, np.inf)  # an element that no draw moves
    percents = np.rint(100 * (cuts[2:] - mean) / safe).astype(int)
    numbers = _rounded(np.stack([mean, sd, *cuts[:2]]))
    corrs = np.round(np.stack(of_corr), 4)
    return [
        [*numbers[:, e].tolist(), *corrs[:, e].tolist(), *percents[:, e].tolist()]
        for e in range(len(values))
    ]


def _rounded(values: Array, digits: int = _DIGITS) -> Array:
    """Round to significant digits of each; what is 0 up to rounding of the others becomes 0."""
    values = np.where(np.abs(values) < 1e-12 * np.abs(values).max(initial=0.0), 0.0, values)
    with np.errstate(divide="ignore"):
        power = np.floor(np.log10(np.abs(values)))
    places = digits - 1 - np.where(np.isfinite(power), power, 0.0)
    up, down = 10.0 ** np.maximum(places, 0), 10.0 ** np.maximum(-places, 0)  # both are exact
    return np.asarray(np.rint(values * up / down) * down / up + 0.0)
