"""Compute the stored scores of the worked studies again, by the installed version of bayesv.

``python notebooks/studies/recreate.py which_structure`` runs ``which_structure.toml`` and writes
``which_structure.parquet`` beside it; without names, all studies. Replicates are kept in the folder
of ``--results`` (left out: ``results``), from which an interrupted run goes on. The scores that are
stored of ``few_groups`` and ``no_slopes`` are of version 0.1.0, whose default prior was another
one: computed again, "half-t(3)" is today's.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import bayesv as bv

HERE = Path(__file__).parent
STUDIES = sorted(path.stem for path in HERE.glob("*.toml"))


def recreate(
    name: str,
    results: Path,
    folder: Path = HERE,
    *,
    replicates: int | None = None,
    workers: int | None = None,
) -> Path:
    """Run one study, write its scores to a folder, and return their path."""
    declared = bv.study.read_study(HERE / f"{name}.toml")
    if declared.seed is None or (replicates or declared.replicates) is None:
        raise SystemExit(f"{name}.toml states no seed or no number of replicates.")
    result = bv.study.run(
        declared.scenarios,
        declared.estimators,
        replicates=replicates or declared.replicates,
        seed=declared.seed,
        scores=declared.scores,
        out=results / name,
        workers=workers,
    )
    path = folder / f"{name}.parquet"
    scores = result.scores()
    # Seconds are of the machine; what is left is the same wherever it is computed.
    scores[scores["quantity"] != "seconds"].to_parquet(path, index=False)
    return path


def main() -> None:
    """Recreate the studies that are named."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(STUDIES))
    parser.add_argument("--results", type=Path, default=Path("results"), metavar="DIR")
    parser.add_argument("--replicates", type=int, help="of each scenario, instead of the file's")
    parser.add_argument("--workers", type=int)
    options = parser.parse_args()
    for name in options.names or STUDIES:
        if name not in STUDIES:
            parser.error(f"there is no study {name!r}; there are {', '.join(STUDIES)}")
        path = recreate(
            name, options.results, replicates=options.replicates, workers=options.workers
        )
        print(f"{path} is written")


if __name__ == "__main__":
    main()
