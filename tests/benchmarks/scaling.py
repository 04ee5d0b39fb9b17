"""Job of one scaling point: set-up, statistics, one evaluation, REML, posterior."""

from __future__ import annotations

from statistics import median
from typing import Any

import numpy as np
import pandas as pd

from tests.benchmarks.data import read_pickle
from tests.benchmarks.posterior import no_fallback
from tests.benchmarks.timing import repeated, timed

__all__ = ["measure"]

_SHORT = 2.0  # seconds


def measure(job: dict[str, Any]) -> dict[str, Any]:
    """Measure a case in a process that has met the model on a few of its groups before."""
    no_fallback()
    data = read_pickle(job["stem"])
    try:
        _measure(job, _few_groups(data))
    except Exception as error:  # only a warm-up: the measurement itself says what is wrong
        del error
    return {"rows": len(data)} | _measure(job, data)


def _measure(job: dict[str, Any], data: pd.DataFrame) -> dict[str, Any]:
    import bayesv as bv

    wanted, options = job["extra"]["measure"], job["extra"].get("bayesv", {})

    def steps() -> tuple[dict[str, float], Any]:
        setup, model = timed(lambda: bv.Model(job["formula"], data, **options))
        found = {"setup_s": setup, "statistics_s": timed(lambda: model.statistics)[0]}
        if "reml" in wanted:
            found["reml_s"] = timed(model.reml)[0]
        return found, model

    # Short steps are noisy: the median of three new models stands.
    first, model = steps()
    runs = [first]
    if sum(first.values()) < _SHORT:
        runs += [steps()[0] for _ in range(2)]
    out: dict[str, Any] = {key: median(run[key] for run in runs) for key in first}
    if "evaluation" in wanted:
        out["evaluation_s"] = evaluation_seconds(model, job["extra"].get("probes", 1))
    if "posterior" in wanted:
        out["posterior_s"], post = timed(
            lambda: model.sample(draws=job["draws"], chains=job["chains"], seed=job["seed"])
        )
        out["note"] = "; ".join(post.problems)
        out["shift"] = post.draws["posterior"].attrs.get("probe_shift")  # None if it is exact
    return out


def evaluation_seconds(model: Any, probes: int = 1) -> float:
    """Return the seconds of one likelihood evaluation; the one place that knows how it is done."""
    from bayesv.gram import eliminate

    statistics = model.statistics
    if statistics.probes is not None:
        statistics = statistics.with_probes(statistics.probes.times(probes))
    lambdas = [0.5 * np.eye(term.n_columns) for term in model.design.terms]
    return repeated(lambda: eliminate(statistics, statistics.in_basis(lambdas)))


def _few_groups(data: pd.DataFrame) -> pd.DataFrame:
    """Return some levels of the outermost factor, with at most some thousand rows."""
    outer = next(data[name] for name in ("g", "a", "user") if name in data)
    few = data[outer < (20 if outer.max() > 20 else 3)]
    return few.iloc[:: max(1, len(few) // 10_000)]
