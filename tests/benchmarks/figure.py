"""Curves of the scaling table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = ["draw"]

PANELS = {
    "rows": "number of rows; 100 groups, (x | g)",
    "groups": "number of groups of 10 rows; (x | g)",
    "depth": "levels of nesting; 50,000 rows, (1 | a/b/…)",
}
# Okabe and Ito's colours can be told apart by all readers; the last is drawn where the steps end.
STEPS = {
    "posterior_s": ("posterior, 4 × 250 draws", "#0072B2", "o"),
    "reml_s": ("REML", "#D55E00", "s"),
    "setup_s": ("set-up: formula and design", "#999999", "^"),
    "statistics_s": ("statistics of the rows", "#E69F00", "v"),
    "evaluation_s": ("one evaluation of the likelihood", "#009E73", "D"),
}


def draw(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Write one panel for each series, time in seconds."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.ticker import NullFormatter, NullLocator

    panels = [name for name in PANELS if sum(row["series"] == name for row in rows) > 1]
    if not panels:
        return
    width = 3.6 * len(panels)
    figure, axes = plt.subplots(
        1, len(panels), figsize=(width, 3.9), sharey=True, squeeze=False, layout="constrained"
    )
    for ax, name in zip(axes[0], panels, strict=True):
        own = sorted((row for row in rows if row["series"] == name), key=lambda row: row["x"])
        for key, (label, color, marker) in STEPS.items():
            points = [(row["x"], row[key]) for row in own if row.get(key)]
            if points:
                ax.plot(*zip(*points, strict=True), color=color, marker=marker, ms=5, label=label)
        ax.set_yscale("log")
        if name == "depth":
            ax.set_xticks([row["x"] for row in own])
        else:
            ax.set_xscale("log")
            ax.xaxis.set_minor_locator(NullLocator())
        ax.yaxis.set_minor_formatter(NullFormatter())
        ax.set_xlabel(PANELS[name])
        ax.grid(True, which="major", color="#dddddd", linewidth=0.6)
        ax.set_axisbelow(True)
        ax.spines[["top", "right"]].set_visible(False)
    axes[0][0].set_ylabel("time (s)")
    figure.align_xlabels()
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(panels), frameon=False)
    figure.savefig(path, dpi=150)
    plt.close(figure)
