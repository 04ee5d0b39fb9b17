"""How fast a study runs: ``python -m tests.benchmarks.study [REPLICATES] [WORKERS]``.

A slope model of sleepstudy's size, REML and a posterior of 4 × 250 draws, all scores: replicates
per second, and the minutes that 10,000 of them take.
"""

from __future__ import annotations

import sys
import time

from bayesv.gram.threads import n_threads
from bayesv.study import Posterior, Scenario, run

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
    workers = workers or n_threads()
    estimators = ["REML", Posterior(draws=250, chains=4)]
    started = time.perf_counter()
    # A replicate each starts the processes and compiles what is not on disk.
    run(SLEEPSTUDY, estimators, replicates=workers, seed=1, workers=workers)
    warm = time.perf_counter() - started
    started = time.perf_counter()
    result = run(SLEEPSTUDY, estimators, replicates=replicates, seed=2, workers=workers)
    seconds = time.perf_counter() - started
    print(result)
    print(
        f"{replicates} replicates on {workers} workers in {seconds:.1f} s: "
        f"{replicates / seconds:.1f} a second, {1e3 * seconds * workers / replicates:.0f} ms each "
        f"and worker; 10,000 take {1e4 / replicates * seconds / 60:.1f} minutes.\n"
        f"The first processes took {warm:.1f} s."
    )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
