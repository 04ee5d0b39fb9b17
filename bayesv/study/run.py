"""Run a study: the same numbers wherever it runs, and however often it is interrupted."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bayesv.errors import BayesvError
from bayesv.progress import progress as shown
from bayesv.study.estimators import Estimator, estimators_of
from bayesv.study.execution import Died, in_chunks
from bayesv.study.results import StudyResult
from bayesv.study.scores import Scores
from bayesv.study.store import FORMAT, Store, arranged
from bayesv.study.work import COLUMNS, Replicates, failed

__all__ = ["run"]

_PACKAGES = ("numpy", "scipy", "pandas", "numba")


def run(
    scenarios: Any,
    estimators: Any = ("REML", "posterior"),
    *,
    replicates: int,
    seed: int,
    scores: Scores | None = None,
    out: str | Path | None = None,
    workers: int | None = None,
    client: Any = None,
    progress: bool | None = None,
) -> StudyResult:
    """Simulate, fit and score, thousands of times.

    Parameters
    ----------
    scenarios : Scenario, or iterable of Scenario
        Such as `bayesv.study.grid` makes.
    estimators : Estimator, callable, str, an iterable of these, or a mapping of name to callable
        `bayesv.study.REML`, `ML`, `Posterior`, or functions of a model; see
        `bayesv.study.estimators.Custom`.
    replicates : int
        Of each scenario.
    seed : int
        With the scenario and the number of the replicate it determines data and draws.
    scores : Scores, optional
    out : str or Path, optional
        Folder for the results, written as they come. If the same study is there already, the
        replicates that are missing are computed, and only these; ``replicates`` may be larger than
        before.
    workers : int, optional
        Local processes, each with one thread; all processors if left out.
    client : distributed.Client, optional
        A Dask cluster instead. Its workers need bayesv.
    progress : bool, optional
        Whether to show a bar; left out, if standard error is a terminal.

    Returns
    -------
    StudyResult

    Raises
    ------
    BayesvError
        If an argument cannot be used, or the folder holds another study.

    Notes
    -----
    The numbers are the same, bit for bit, for any number of workers, any scheduler and any
    interruption, on machines with the same processor and versions. An error in a replicate is
    recorded (``result.failures``) and ends nothing; so is the death of its process.

    Examples
    --------
    ::

        import bayesv as bv

        result = bv.study.run(
            scenario, ["REML", bv.study.Posterior()], replicates=10_000, seed=1, out="study"
        )
        result.scores()
    """
    given = _scenarios(scenarios)
    chosen, scores = estimators_of(estimators), scores or Scores()
    for name, value, least in (("replicates", replicates, 1), ("seed", seed, 0)):
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
            raise BayesvError(f"{name} must be an integer of at least {least}; found {value!r}.")
    manifest = _manifest(given, chosen, scores, int(seed), int(replicates))
    store = None if out is None else Store(out)
    done: set[tuple[str, int]] = set()
    if store is not None:
        store.begin(manifest)
        done = store.done()
    names = [one.name for one in given]
    todo = [(s, k) for s, n in enumerate(names) for k in range(replicates) if (n, k) not in done]
    work = Replicates(given, chosen, scores, int(seed))
    empty = StudyResult(manifest, pd.DataFrame(columns=list(COLUMNS)))
    kept: list[pd.DataFrame] = []
    finished = len(names) * replicates - len(todo)
    try:
        with shown("study", len(todo), show=progress) as advance:
            for chunk, found in in_chunks(work, todo, workers=workers, client=client):
                first, k = chunk[0]
                rows = failed(names[first], k, found.reason) if isinstance(found, Died) else found
                rows = empty._with_factors(rows)
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


def _scenarios(given: Any) -> tuple[Any, ...]:
    """Return the scenarios, checked to be some and to have names of their own."""
    found = (given,) if hasattr(given, "prepare") else given
    if isinstance(found, Mapping | str) or not isinstance(found, Iterable):
        raise BayesvError(f"Scenarios are bv.study.Scenario objects; found {given!r}.")
    found = tuple(found)
    for one in found:
        if not hasattr(one, "prepare"):
            raise BayesvError(f"Scenarios are bv.study.Scenario objects; found {one!r}.")
    names = [one.name for one in found]
    if not found or len(set(names)) < len(names):
        raise BayesvError(
            f"Scenarios need names that differ; found {', '.join(names) if names else 'none'}."
        )
    return found


def _manifest(
    scenarios: tuple[Any, ...],
    estimators: tuple[Estimator, ...],
    scores: Scores,
    seed: int,
    replicates: int,
) -> dict[str, Any]:
    """Return what a study is asked for, as plain values."""
    import bayesv

    return {
        "format": FORMAT,
        "bayesv": bayesv.__version__,
        "seed": seed,
        "replicates": replicates,
        "names": [one.name for one in scenarios],
        "factors": {one.name: dict(getattr(one, "factors", {}) or {}) for one in scenarios},
        "estimators": [one.to_dict() for one in estimators],
        "scores": scores.to_dict(),
        "scenarios": [one.to_dict() for one in scenarios],
        "versions": {"python": platform.python_version(), **_versions()},
    }


def _versions() -> dict[str, str]:
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
