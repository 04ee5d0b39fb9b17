"""Tables: on the terminal, as CSV, and as the Markdown that the README carries."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.benchmarks.targets import Target

__all__ = ["FILES", "markdown", "text", "write_csv"]

Row = Mapping[str, Any]
# CSV file of each part; `big` continues the scaling table.
FILES = {
    "posterior": "results.csv",
    "reml": "reml.csv",
    "refits": "refits.csv",
    "crossed": "crossed.csv",
    "scaling": "scaling.csv",
    "big": "scaling.csv",
    "cold": "cold.csv",
    "study": "study.csv",
}
TITLES = {
    "posterior": "Posterior: time per effective draw",
    "reml": "REML",
    "refits": "REML of another response on a design that was fitted",
    "crossed": "Crossed factors beyond a dense block",
    "scaling": "Scaling of bayesv",
    "big": "Ten million rows, a million groups",
    "cold": "Cold start: whole processes, `bayesv fit` on sleepstudy",
    "study": "A study: data sets of sleepstudy's size, with REML, a posterior and all scores",
}
NOTES = {
    "posterior": "ESS is the least bulk or tail ESS over SDs, correlations, σ and β. “all” is "
    "set-up, compilation and sampling. Ratios are bayesv collapsed's ESS/s over the system's. "
    "bayesv is timed on a new model in a warm process, “first” is its first call in a process, "
    "set-up included; PyMC and Bambi have the same priors as bayesv and compile with warm disk "
    "caches; rstanarm and brms have their own default priors, and their memory is that of the "
    "main R process.",
    "reml": "Seconds of fits in a warm process. Of every Python system the first fit is apart "
    "(“first”), and the median of those after it stands: 51 if one takes less than 0.05 s, 5 below "
    "4 s, else one; one of more than two minutes is made once. Of R's packages the best of "
    "three stands. “total” is what a user waits for: formula, design, fit. The criterion is −2 log "
    "restricted likelihood. lme-python has its data as a polars frame of complete rows, factors as "
    "text (pandas' take it longer), a factor with random slopes as the 0 and 1 that it wants.",
    "refits": "Median seconds of fits of 20 simulated responses, the same for all systems, three "
    "times each, after a pass to warm up; complete rows. The criterion is the mean of the 20. "
    "bayesv: `model.with_response(y).reml()`; lme4: `refit(fit, y)`; lme-python: "
    "`prepare_lmer(…).fit(y=y)`, data as above; mixedlm: `fit.refit(y)`; mixedlm-rs: "
    "`model.with_endog(y).fit()`.",
    "crossed": "Ratings with Zipf margins. GPBoost fits by ML, with its iterative methods. Where "
    "bayesv iterates, it is certified: “shift” is how far an SD may be from that of infinitely "
    "many probes in its standard errors, of posteriors a mean in posterior SDs. Posteriors: 4 × "
    "250 draws in processes of their own, which have met a few users before; their time has the "
    "search for the mode in it.",
    "scaling": "rows: (x | g) with 100 groups; groups: (x | g) with 10 rows each; depth: "
    "(1 | a/b/…) with 10 levels in each level above and 50,000 rows. Posterior: 4 × 250 draws. "
    "crossed, probes: (1 | user) + (1 | item) by iteration, x of probes their multiple of 13.",
    "big": "Posterior: 4 × 250 draws. The peak includes the data frame.",
    "cold": "First: with an empty JIT cache; later: median of three.",
    "study": "Posteriors: 4 × 250 draws. The start of the workers is not in a replicate's time.",
}
_RATIOS = {"ratio_sampling": "ratio: sampling", "ratio_all": "ratio: all"}
_STEPS = {
    "setup_s": "set-up (s)",
    "statistics_s": "statistics (s)",
    "evaluation_s": "one evaluation (s)",
    "reml_s": "REML (s)",
    "posterior_s": "posterior (s)",
    "peak_mib": "peak (MiB)",
    "note": "note",
}
# Columns of the printed tables with their headings; CSV has everything.
COLUMNS = {
    "posterior": {
        "case": "case",
        "system": "system",
        "setup_s": "set-up (s)",
        "compile_s": "compile (s)",
        "sampling_s": "sampling (s)",
        "first_s": "first (s)",
        "ess_bulk": "bulk ESS",
        "ess_tail": "tail ESS",
        "ess_s_sampling": "ESS/s sampling",
        "ess_s_all": "ESS/s all",
        **_RATIOS,
        "peak_mib": "peak (MiB)",
        "note": "note",
    },
    "reml": {
        "case": "case",
        "system": "system",
        "setup_s": "set-up (s)",
        "fit_s": "fit (s)",
        "total_s": "total (s)",
        "kenward_roger_s": "Kenward–Roger (s)",
        "first_s": "first (s)",
        "criterion": "criterion",
        "above_lowest": "above lowest",
        "peak_mib": "peak (MiB)",
        "note": "note",
    },
    "scaling": {"series": "series", "x": "x", "rows": "rows", **_STEPS},
    "big": {"formula": "formula", "rows": "rows", "x": "groups", **_STEPS},
    "cold": {"command": "command", "start": "start", "seconds": "seconds", "note": "note"},
    "study": {
        "case": "case",
        "replicates": "replicates",
        "workers": "workers",
        "start_s": "start (s)",
        "seconds": "all (s)",
        "replicate_s": "processor time of a replicate (s)",
        "note": "note",
    },
}
_FIT = COLUMNS["reml"]
COLUMNS["refits"] = _FIT | {"total_s": "refit (s)", "criterion": "mean criterion"}
_CROSSED = {"statistics_s": "statistics (s)", "posterior_s": "posterior (s)", "shift": "shift"}
COLUMNS["crossed"] = {**{k: v for k, v in _FIT.items() if k != "note"}, **_CROSSED, "note": "note"}


def write_csv(path: Path, rows: Sequence[Row]) -> None:
    """Write all rows with the union of their columns."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(rows)


def markdown(
    machine: Sequence[str], part: str, rows: Sequence[Row], targets: Sequence[Target], quick: bool
) -> str:
    """Return the page of one part."""
    lines = [*(f"- {line}" for line in (*machine, *_others(rows))), ""]
    if quick:
        lines += ["**Quick run: small data and few draws; the numbers say nothing.**", ""]
    lines += [f"### {TITLES[part]}", "", *_pipes(*_table(part, rows)), "", NOTES[part], ""]
    if targets:
        lines += ["### Targets", "", *_pipes(*_target_table(targets)), ""]
    return "\n".join(lines)


def _others(rows: Sequence[Row]) -> list[str]:
    """Versions of what is not in the environment of this process, as the systems said them."""
    found = {
        row["system"]: row["version"]
        for row in rows
        if row.get("version") and not row.get("system", "bayesv").startswith("bayesv")
    }
    return [", ".join(f"{name} {said}" for name, said in found.items())] if found else []


def text(results: Mapping[str, Sequence[Row]], targets: Sequence[Target]) -> str:
    """Return the tables for a terminal."""
    lines: list[str] = []
    for part, rows in results.items():
        if rows:
            lines += ["", TITLES[part].replace("`", ""), *_aligned(*_table(part, rows))]
    if targets:
        lines += ["", "Targets", *_aligned(*_target_table(targets))]
    return "\n".join(lines)


def _table(part: str, rows: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    """Return heading and cells of the columns that are not empty."""
    columns = {
        key: title
        for key, title in COLUMNS[part].items()
        if any(row.get(key) not in (None, "") for row in rows)
    }
    return list(columns.values()), [[_cell(key, row.get(key)) for key in columns] for row in rows]


def _target_table(targets: Sequence[Target]) -> tuple[list[str], list[list[str]]]:
    cells = []
    for target in targets:
        unit = f" {target.unit}" if target.unit else ""
        sign = "≥" if target.least else "≤"
        measured = "" if target.measured is None else _number(target.measured) + unit
        bound = f"{sign} {target.bound:,g}{unit}"
        cells.append([target.case, target.what, bound, measured, target.verdict])
    return ["case", "what", "target", "measured", "verdict"], cells


def _cell(key: str, value: Any) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    if key == "criterion":
        return f"{value:.4f}"
    if key == "above_lowest":
        return f"{value:.1e}" if value >= 5e-7 else "0"
    return _number(value)


def _number(value: float) -> str:
    """Three digits, and whole numbers from a hundred on."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def _pipes(heading: Sequence[str], cells: Sequence[Sequence[str]]) -> list[str]:
    def line(row: Sequence[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |"

    rules = ["---:" if _is_numeric(column) else "---" for column in zip(*cells, strict=True)]
    return [line(heading), line(rules), *(line(row) for row in cells)]


def _aligned(heading: Sequence[str], cells: Sequence[Sequence[str]]) -> list[str]:
    columns = list(zip(*cells, strict=True))
    widths = [max(map(len, (h, *column))) for h, column in zip(heading, columns, strict=True)]
    right = [_is_numeric(column) for column in columns]
    return [
        "  ".join(
            cell.rjust(width) if numeric else cell.ljust(width)
            for cell, width, numeric in zip(row, widths, right, strict=True)
        ).rstrip()
        for row in (heading, *cells)
    ]


def _is_numeric(column: Sequence[str]) -> bool:
    return all(not cell or cell[0].isdigit() or cell[0] == "-" for cell in column)
