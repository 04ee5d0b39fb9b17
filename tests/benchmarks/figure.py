"""Curves of the scaling table, written to a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = ["draw"]

PANELS = {
    "rows": "number of rows; 100 groups, (x | g)",
    "groups": "number of groups of 10 rows; (x | g)",
    "crossed rows": "rows; 20,000 users × 2,500 items",
    "crossed levels": "users, a fifth as many items; 10⁶ rows",
    "probes": "times 13 probes; 250,000 rows",
    "depth": "levels of nesting; 50,000 rows, (1 | a/b/…)",
}


def draw(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Write one panel for each series, time in seconds; nothing if there is no curve."""
    import matplotlib.pyplot as plt

    from bayesv.plots import figure_of, scaling

    drawn = [name for name in PANELS if sum(row["series"] == name for row in rows) > 1]
    if not drawn:
        return
    figure = figure_of(scaling(rows, PANELS, labels={"posterior_s": "posterior, 4 × 250 draws"}))
    figure.savefig(path, dpi=150)
    plt.close(figure)
