"""Gram statistics as plain parts, for designs that were summed up in batches and have no rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bayesv.gram import FixedCoordinates, GramStatistics, Layout, Probes, Sums
from bayesv.gram.chain import ChainFactor, FactorSums, flattened
from bayesv.gram.column_sets import ColumnSets, column_sets, connected_levels
from bayesv.gram.layout import BorderTerm, Iteration, border_table
from bayesv.gram.scaling import Index

__all__ = ["parts_of", "statistics_from"]


def parts_of(stats: GramStatistics) -> dict[str, Any]:
    """Return arrays and numbers from which the statistics are made again."""
    layout, fixed, sums = stats.layout, stats.fixed, stats.sums
    levels = [
        {
            "term": factor.term,
            "order": factor.order,
            "parent": factor.parent,
            "edges": factor.edges,
            "columns": factor.columns,
            **part._asdict(),
        }
        for factor, part in zip(layout.chain, layout.by_factor(sums), strict=True)
    ]
    return {
        "n": layout.n,
        "p": layout.p,
        "levels": levels,
        "border": layout.border,
        "iteration": _iteration(layout),
        "merging": layout.merging,
        "scales": layout.scales,
        "bases": layout.bases,
        "loadings": layout.loadings,
        "A_border": sums.A_border,
        "B_border": sums.B_border,
        "C": sums.C,
        "R": fixed.upper,
        "start": fixed.start,
        "kept": fixed.kept,
        "log_weights": stats.log_weights,
        "total": stats.total,
    }


def _iteration(layout: Layout) -> dict[str, Any] | None:
    """Return where the products of a sparse border stand, and the probes; None if it is dense."""
    if layout.iteration is None:
        return None
    one, probes = layout.iteration, layout.iteration.probes
    arrays = {"rows": one.rows, "places": one.places, "flat": one.flat, "sets": one.sets.of_level}
    return {**arrays, "probes": [probes.seed, probes.group, probes.scale]}


def _iteration_from(
    parts: Mapping[str, Any] | None, border: Sequence[BorderTerm]
) -> Iteration | None:
    if parts is None:
        return None
    levels = border_table(border)
    # Older files have none of these.
    of_level = parts.get("sets", np.arange(len(levels.starts)))
    flat = parts.get("flat", _one_class(border))
    return Iteration(
        rows=parts["rows"],
        places=parts["places"],
        sets=column_sets(of_level, levels),
        probes=Probes(*map(int, parts["probes"])),
        flat=tuple(flat),
    )


def _one_class(border: Sequence[BorderTerm]) -> list[Index]:
    """Return all levels of each term as one class; see `bayesv.gram.flat`."""
    starts = np.cumsum([0, *(term.k for term in border)])
    return [
        np.tile(start + np.arange(term.k), (term.n_levels, 1))
        for term, start in zip(border, starts, strict=False)
    ]


def _connected_from(parts: Mapping[str, Any]) -> ColumnSets | None:
    """Return the sets of a border whose products have fewer columns than rows."""
    A, coarsest = parts["A_border"], parts["levels"][-1] if parts["levels"] else None
    if coarsest is None or A.ndim == 1 or A.shape[0] == A.shape[1]:
        return None
    levels = border_table(parts["border"])
    return column_sets(connected_levels(coarsest["edges"], coarsest["columns"], levels), levels)


def statistics_from(parts: Mapping[str, Any]) -> GramStatistics:
    """Return the statistics of `parts_of`; older files have the merging in a part ``chain``."""
    chain, of_units = [], []
    for level in parts["levels"]:
        of_units.append(FactorSums(level["A"], level["H"], level["E"]))
        k, width = level["H"].shape[1:]
        places = (level[name] for name in ("order", "parent", "edges", "columns"))
        chain.append(ChainFactor(level["term"], k, width, *places))
    layout = Layout(
        n=parts["n"],
        p=parts["p"],
        chain=tuple(chain),
        border=tuple(parts["border"]),
        iteration=_iteration_from(parts.get("iteration"), parts["border"]),
        connected=_connected_from(parts),
        merging=parts["chain"]["merging"] if "chain" in parts else parts["merging"],
        scales=tuple(parts["scales"]),
        bases=tuple(parts["bases"]),
        loadings=tuple(parts.get("loadings", [None] * len(parts["bases"]))),
    )
    return GramStatistics(
        layout,
        FixedCoordinates(parts["R"], parts["start"], parts["kept"]),
        Sums(*flattened(of_units), parts["A_border"], parts["B_border"], parts["C"]),
        log_weights=parts["log_weights"],
        total=parts["total"],
    )
