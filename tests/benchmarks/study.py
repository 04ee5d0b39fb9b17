"""How fast a study runs: ``python -m tests.benchmarks.study [REPLICATES] [WORKERS]``.

A slope model of sleepstudy's size, REML and a posterior of 4 × 250 draws, all scores: replicates
per second, and the minutes that 10,000 of them take, by the clock and by processor time, which
other programs on the machine lengthen less.
"""

from __future__ import annotations

import resource
import sys
import time
from importlib.metadata import version
from typing import Any

from bayesv.gram.threads import n_threads
from bayesv.study import Bayes, Scenario, StudyResult, run

SLEEPSTUDY = Scenario(
    name="sleepstudy",
    formula="Reaction ~ Days + (Days | Subject)",
    levels={"Subject": 18},
    rows=10,
    covariates={"Days": {"law": "grid"}},
    beta={"Intercept": 251.4, "Days": 10.47},
    sd={"Subject": {"Intercept": 24.7, "Days": 5.9}},
    corr={"Subject": 0.07},
    sigma=25.6,
)


def main(replicates: int = 200, workers: int | None = None) -> None:
    """Run a study; print its result and what it cost."""
    result, cost = _timed(replicates, workers or n_threads())
    seconds, each, workers = cost["seconds"], cost["replicate_s"], cost["workers"]
    print(result)
    print(
        f"{replicates} replicates on {workers} workers in {seconds:.1f} s: "
        f"{replicates / seconds:.1f} a second; 10,000 take {1e4 / replicates * seconds / 60:.1f} "
        f"minutes.\nProcessor time {1e3 * each:.0f} ms a replicate: 10,000 take "
        f"{1e4 * each / workers / 60:.1f} minutes on {workers} cores that do nothing else.\n"
        f"Starting the processes took {cost['start_s']:.1f} s."
    )


def measure(job: dict[str, Any]) -> dict[str, Any]:
    """Return what a study costs, as a job of `worker`."""
    return _timed(job["replicates"], job["workers"])[1] | {"version": version("bayesv")}


def _timed(replicates: int, workers: int) -> tuple[StudyResult, dict[str, Any]]:
    workers = max(2, workers)  # one would run here, with nothing to be waited for
    # A replicate each starts the processes; one before has compiled what was not on disk.
    _, start, start_cpu = [measured(workers, seed=1, workers=workers) for _ in range(2)][-1]
    result, seconds, cpu = measured(replicates, seed=2, workers=workers)
    return result, {
        "replicates": replicates,
        "workers": workers,
        "start_s": start,
        "seconds": seconds,
        "replicate_s": (cpu - start_cpu) / (replicates - workers),
    }


def measured(replicates: int, seed: int, workers: int) -> tuple[StudyResult, float, float]:
    """Return the result, and seconds on the clock and of the workers' processors."""
    estimators = ["REML", Bayes(draws=250, chains=4)]
    started, used = time.perf_counter(), children_cpu()
    result = run(SLEEPSTUDY, estimators, replicates=replicates, seed=seed, workers=workers)
    return result, time.perf_counter() - started, children_cpu() - used


def children_cpu() -> float:
    """Seconds of processors that child processes, now ended, have used."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
