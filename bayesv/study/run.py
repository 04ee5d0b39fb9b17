"""Run a study: the same numbers wherever it runs, and however often it is interrupted."""

from __future__ import annotations

import platform
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bayesv.errors import BayesvError
from bayesv.study.declared.related import with_paths
from bayesv.study.estimation.procedures import Estimator, estimators_of
from bayesv.study.execution.chunks import Died, in_chunks
from bayesv.study.replication import Replicates
from bayesv.study.results.result import StudyResult
from bayesv.study.results.row import failed
from bayesv.study.results.store import FORMAT, Store, arranged
from bayesv.study.scenarios.scenario import Scenario
from bayesv.study.scoring.scores import Scores
from bayesv.support.memory import refuse_unless
from bayesv.support.progress import progress

__all__ = ["run"]

_PACKAGES = ("numpy", "scipy", "pandas", "numba")
_BYTES = 200.0  # of a replicate: what is to be done, before any is


def run(
    scenarios: Scenario | Iterable[Scenario],
    estimators: Any = ("REML", "posterior"),
    *,
    replicates: int,
    seed: int,
    scores: Scores | None = None,
    out: str | Path | None = None,
    workers: int | None = None,
    client: Any = None,
    progressbar: bool | None = None,
) -> StudyResult:
    """Simulate, fit and score, thousands of times.

    Parameters
    ----------
    scenarios : Scenario, or iterable of Scenario
        Such as `bayesv.study.grid` makes.
    estimators : Estimator, callable, str, an iterable of these, or a mapping of name to callable
        `bayesv.study.REML`, `ML`, `Bayes`, or functions of a model; see
        `bayesv.study.estimation.procedures.Custom`.
    replicates : int
        Of each scenario.
    seed : int
        With the scenario and the number of the replicate it determines data and draws.
    scores : Scores, optional
    out : str or Path, optional
        Folder for the results, written as they come. If the same study is there already, the
        replicates that are missing, or whose process was killed, are computed, and only these;
        ``replicates`` may be larger than before.
    workers : int, optional
        Local processes, each with one thread; all processors if left out.
    client : distributed.Client, optional
        A Dask cluster instead. Its workers need bayesv.
    progressbar : bool, optional
        Left out: if standard error is a terminal.

    Returns
    -------
    StudyResult

    Raises
    ------
    BayesvError
        If an argument cannot be used, a design cannot be drawn, scores or priors do not fit the
        first one, or the folder cannot be written, or holds another study: other scenarios, other
        code of an estimator, or numbers of other versions of Python, NumPy, SciPy or Numba.

    Notes
    -----
    The numbers are the same, bit for bit, for any number of workers, any scheduler and any
    interruption, on machines with the same processor and versions. An error in a replicate is
    recorded (``result.failures``) and ends nothing; so is the death of its process.

    Examples
    --------
    >>> import bayesv as bv
    >>> few = bv.study.Scenario(name="few", formula="y ~ 1 + (1 | g)", levels={"g": 6}, rows=5,
    ...                         sd={"g": 1}, sigma=2)
    >>> result = bv.study.run(few, ["REML", "ML"], replicates=3, seed=1, workers=1)
    >>> len(result.failures), int(result.done["few"])
    (0, 3)
    """
    chosen_scenarios = _scenarios(scenarios)
    chosen_estimators, scores = estimators_of(estimators), Scores() if scores is None else scores
    if not isinstance(scores, Scores):
        raise BayesvError(f"scores must be bv.study.Scores(…); found {scores!r}.")
    for name, value, least in (("replicates", replicates, 1), ("seed", seed, 0)):
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
            raise BayesvError(f"{name} must be an integer of at least {least}; found {value!r}.")
    refuse_unless(
        _BYTES * len(chosen_scenarios) * replicates,
        f"A study of {replicates:,} replicates of each scenario",
        "A thousand tell a coverage to 0.7 percentage points; state fewer.",
    )
    work = Replicates(chosen_scenarios, chosen_estimators, scores, int(seed))
    work.check()
    manifest = _manifest(chosen_scenarios, chosen_estimators, scores, int(seed), int(replicates))
    store = None if out is None else Store(out)
    done: set[tuple[str, int]] = set()
    if store is not None:
        store.begin(manifest)
        done = store.done()
    names = [one.name for one in chosen_scenarios]
    todo = [(s, k) for s, n in enumerate(names) for k in range(replicates) if (n, k) not in done]
    kept: list[pd.DataFrame] = []
    finished = len(names) * replicates - len(todo)
    try:
        with progress("study", len(todo), show=progressbar) as advance:
            for chunk, result in in_chunks(work, todo, workers=workers, client=client):
                first, k = chunk[0]
                rows = (
                    failed(names[first], k, result.reason) if isinstance(result, Died) else result
                )
                if store is None:
                    kept.append(rows)
                else:
                    store.write(f"{first:05d}-{k:08d}", rows)
                finished += len(chunk)
                advance(len(chunk))
    except KeyboardInterrupt:
        total = len(names) * replicates
        where = "not kept: give out=… to keep them" if out is None else f"in {out}"
        again = "" if out is None else " The same call goes on from there; bv.study.read reads it."
        raise KeyboardInterrupt(
            f"interrupted with {finished:,} of {total:,} replicates done, {where}.{again}"
        ) from None
    rows = store.read() if store is not None else pd.concat(kept, ignore_index=True)
    return StudyResult(manifest, arranged(rows, names, replicates))


def _scenarios(asked: Any) -> tuple[Scenario, ...]:
    """Return the scenarios, checked to be some and to have names of their own."""
    chosen = tuple(asked) if isinstance(asked, Iterable) else (asked,)
    for one in chosen:
        if not isinstance(one, Scenario):
            raise BayesvError(f"Scenarios are bv.study.Scenario objects; found {one!r}.")
    names = [one.name for one in chosen]
    if not chosen or len(set(names)) < len(names):
        raise BayesvError(
            f"Scenarios need names that differ; found {', '.join(names) if names else 'none'}."
        )
    return chosen


def _manifest(
    scenarios: tuple[Scenario, ...],
    estimators: tuple[Estimator, ...],
    scores: Scores,
    seed: int,
    replicates: int,
) -> dict[str, Any]:
    """Return what a study is asked for, as plain values."""
    return {
        "format": FORMAT,
        "bayesv": version("bayesv"),
        "seed": seed,
        "replicates": replicates,
        "names": [one.name for one in scenarios],
        "factors": {one.name: dict(one.factors) for one in scenarios},
        "estimators": [one.to_dict() for one in estimators],
        "scores": scores.to_dict(),
        "scenarios": [_declared(one) for one in scenarios],
        "versions": {"python": platform.python_version(), **_versions()},
    }


def _declared(scenario: Scenario) -> dict[str, Any]:
    """Return what a scenario declares, with the checksum of what its files and objects hold."""
    content = scenario.to_dict()
    # What is in a file counts, not where it lies: the folder may be another, when it goes on.
    for key in ("data", "parameters"):
        if key in content:
            content[key] = Path(str(content[key])).name
    if scenario.relationship:
        content["relationship"] = with_paths(scenario.relationship, lambda path: Path(path).name)
    return {**content, "checksum": scenario.crc}


def _versions() -> dict[str, str]:
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions
