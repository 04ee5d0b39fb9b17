"""How fast a study runs: ``python -m tests.benchmarks.study [REPLICATES] [WORKERS]``.

A slope model of sleepstudy's size, REML and a posterior of 4 × 250 draws, all scores: replicates
per second, and the minutes that 10,000 of them take, by the clock and by processor time, which
other programs on the machine lengthen less.
"""

from __future__ import annotations

import resource
import sys
import time

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
    workers = max(2, workers or n_threads())  # one would run here, with nothing to be waited for
    # A replicate each starts the processes and compiles what is not on disk.
    _, warm, warm_cpu = measured(workers, seed=1, workers=workers)
    result, seconds, cpu = measured(replicates, seed=2, workers=workers)
    each = (cpu - warm_cpu) / (replicates - workers)
    print(result)
    print(
        f"{replicates} replicates on {workers} workers in {seconds:.1f} s: "
        f"{replicates / seconds:.1f} a second; 10,000 take {1e4 / replicates * seconds / 60:.1f} "
        f"minutes.\nProcessor time {1e3 * each:.0f} ms a replicate: 10,000 take "
        f"{1e4 * each / workers / 60:.1f} minutes on {workers} cores that do nothing else.\n"
        f"Starting the processes took {warm:.1f} s."
    )


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
