"""Draw the levels of a scenario's grouping factors: nested, crossed, and how many rows each has."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from bayesv.errors import ScenarioError
from bayesv.study.declared.content import ScenarioContent
from bayesv.study.declared.laws import draw_counts
from bayesv.study.declared.reading import refusal
from bayesv.support.memory import refuse_unless

__all__ = ["Codes", "draw_groups", "positions"]

type Index = NDArray[np.intp]
type Codes = dict[str, Index]
type Rng = np.random.Generator

_BYTES_OF_A_ROW = 400.0  # while a data set is drawn and its model stated, by measurement
_BYTES_OF_A_COLUMN = 64.0  # in each row, of every factor and covariate


def draw_groups(scenario: ScenarioContent, rng: Rng) -> tuple[Codes, Index]:
    """Return the level of every factor in each row, and the row's position in its cell."""
    cells: Codes = {}
    for root in scenario.levels:
        if root not in scenario.nested:
            cells = _crossed(cells, _tree(scenario, root, rng))
    cells = _take(cells, _met(scenario, cells, rng))
    n_cells = len(next(iter(cells.values())))
    sizes = draw_counts("rows", scenario.rows, n_cells, rng, least=1)
    _refuse_too_many("rows", sizes, columns=len(scenario.levels) + len(scenario.covariates))
    cell = np.repeat(np.arange(n_cells), sizes)
    if not len(cell):
        raise ScenarioError(f"rows: {scenario.rows!r} gave no row at all; raise its sizes.")
    return _take(cells, cell), positions(cell)


def _refuse_too_many(key: str, sizes: ArrayLike, columns: int = 0) -> None:
    """Refuse levels or rows that memory does not hold, before they are made."""
    count = float(np.asarray(sizes, dtype=float).sum())
    refuse_unless(
        (_BYTES_OF_A_ROW + _BYTES_OF_A_COLUMN * columns) * count,
        f"{key}: {count:,.0f} of them, with what is computed for each,",
        "Make them fewer.",
    )


def _tree(scenario: ScenarioContent, root: str, rng: Rng) -> Codes:
    """Return the cells of a factor and all that is nested in it."""
    _refuse_too_many(f"levels.{root}", [scenario.levels[root]])
    cells: Codes = {root: np.arange(scenario.levels[root])}
    counts = {root: len(cells[root])}
    open_factors = [root]
    while open_factors:
        factor = open_factors.pop(0)
        for child in (c for c, parent in scenario.nested.items() if parent == factor):
            sizes = draw_counts(
                f"levels.{child}", scenario.levels[child], counts[factor], rng, least=1
            )
            _refuse_too_many(f"levels.{child}", sizes[cells[factor]])
            parent_cell = np.repeat(np.arange(len(cells[factor])), sizes[cells[factor]])
            cells = _take(cells, parent_cell)
            first = np.cumsum(sizes) - sizes
            cells[child] = first[cells[factor]] + positions(parent_cell)
            counts[child] = int(sizes.sum())
            open_factors.append(child)
    return cells


def _crossed(a: Codes, b: Codes) -> Codes:
    if not a:
        return b
    n, m = len(next(iter(a.values()))), len(next(iter(b.values())))
    _refuse_too_many("levels", [n * m])
    return {k: np.repeat(v, m) for k, v in a.items()} | {k: np.tile(v, n) for k, v in b.items()}


def _met(scenario: ScenarioContent, cells: Codes, rng: Rng) -> Index:
    """Return the cells that have rows, where factors are partially crossed."""
    n = len(next(iter(cells.values())))
    crossing = scenario.crossing
    if isinstance(crossing, Mapping):
        per = cells[crossing["per"]]
        n_levels, sizes = int(per.max()) + 1, crossing["cells"]
        wanted = draw_counts("crossing.cells", sizes, n_levels, rng, least=1)
        there = np.bincount(per)
        # Draws from a law stop at what there is; what is stated must exist.
        if not isinstance(sizes, Mapping) and (wanted > there).any():
            raise refusal("crossing.cells", sizes, f"at most the {there.min()} that there are.")
        order = rng.permutation(n)
        order = order[np.argsort(per[order], kind="stable")]
        chosen = order[positions(per[order]) < wanted[per[order]]]
        return np.sort(chosen)
    if crossing == 1:
        return np.arange(n)
    order = rng.permutation(n)
    # Each level of each factor first meets one cell, so that no level is lost.
    needed = np.unique(np.concatenate([np.unique(c[order], return_index=True)[1]
                                       for c in cells.values()]))  # fmt: skip
    wanted_cells = max(round(crossing * n), len(needed))
    rest = np.setdiff1d(np.arange(n), needed)
    return np.sort(order[np.concatenate([needed, rest])[:wanted_cells]])


def _take(codes: Codes, index: Index) -> Codes:
    return {name: values[index] for name, values in codes.items()}


def positions(codes: Index) -> Index:
    """Return how many rows with the same code stand before each row."""
    return np.asarray(pd.Series(codes).groupby(codes, sort=False).cumcount(), dtype=np.intp)
