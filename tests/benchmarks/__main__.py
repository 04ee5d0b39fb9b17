"""Command line: ``python -m tests.benchmarks``, from the root of the project."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

from tests.benchmarks import cases, figure, machine, report
from tests.benchmarks.launch import Launcher
from tests.benchmarks.runs import PARTS, Row, Session
from tests.benchmarks.targets import judge

SYSTEMS = sorted(
    {
        *cases.POSTERIOR_SYSTEMS,
        *cases.REML_SYSTEMS,
        *cases.REFIT_SYSTEMS,
        *cases.STRUCTURED_SYSTEMS,
        *cases.CROSSED_SYSTEMS,
    }
)


def main() -> int:
    """Run what was asked for, print the tables and write them."""
    options = _parser().parse_args()
    known = {"all", *PARTS} | {
        name
        for part, made in (
            ("posterior", cases.posterior_cases(False)),
            ("reml", cases.reml_cases(False)),
            ("refits", cases.refit_cases(False)),
            ("crossed", cases.crossed_cases(False)),
            ("scaling", cases.scaling_cases(False)),
            ("big", cases.big_cases(False)),
        )
        for case in made
        for name in (case.name, f"{part}/{case.name}")
    }
    for given, names in ((options.only, known), (options.skip, SYSTEMS)):
        unknown = sorted(set(given) - set(names))
        if unknown:
            print(f"unknown: {', '.join(unknown)}; known: {', '.join(sorted(names))}")
            return 2
    limit = min(options.limit, 300.0) if options.quick else options.limit
    with tempfile.TemporaryDirectory(prefix="bayesv-benchmarks-") as folder:
        launcher = Launcher(Path(folder), limit)
        session = Session(launcher, options.only, options.skip, options.quick, options.cores)
        results = {part: run(session) for part, run in PARTS.items()}
    _write(options.out, results, options)
    return 0


def _write(out: Path, results: dict[str, list[Row]], options: argparse.Namespace) -> None:
    """Write the files of the parts that were run; files of other parts stay as they are."""
    out.mkdir(parents=True, exist_ok=True)
    files: dict[str, list[Row]] = {}
    for part, rows in results.items():
        files.setdefault(report.FILES[part], []).extend(rows)
    for name, rows in files.items():
        if rows:
            report.write_csv(out / name, rows)
    figure.draw(results["scaling"], out / "scaling.png")
    for part, rows in results.items():
        if rows:
            targets = [] if options.quick else judge({part: rows})
            about = machine.describe(options.cores)
            page = report.markdown(about, part, rows, targets, options.quick)
            (out / f"{part}.md").write_text(page, encoding="utf-8")
    print(report.text(results, [] if options.quick else judge(results)))
    print(f"\nwritten to {out}")


def _parser() -> argparse.ArgumentParser:
    def names(text: str) -> list[str]:
        return [name.strip() for name in text.split(",") if name.strip()]

    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks",
        description="Measure bayesv against other systems, every measurement in a fresh process. "
        "Runs everything but the parts 'big' and 'crossed' unless --only says otherwise.",
    )
    parser.add_argument(
        "--only",
        type=names,
        default=[],
        metavar="NAME[,NAME]",
        help=f"parts ({', '.join(PARTS)}), cases, part/case, or all (with big and crossed)",
    )
    parser.add_argument(
        "--skip", type=names, default=[], metavar="SYSTEM[,SYSTEM]", help=", ".join(SYSTEMS)
    )
    parser.add_argument(
        "--quick", action="store_true", help="small data and few draws, to see that all works"
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path(__file__).with_name("results"),
        metavar="DIR",
        help="folder of the results",
    )
    parser.add_argument(
        "--limit", type=float, default=900.0, metavar="S", help="seconds per measurement (900)"
    )
    parser.add_argument(
        "--cores",
        type=int,
        default=min(2, os.cpu_count() or 1),
        metavar="N",
        help="cores for chains of NUTS, in Python and in R (2)",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
