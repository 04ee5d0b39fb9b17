"""Simulate, fit and score replicates: what runs in the workers of a study."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import pandas as pd

from bayesv.errors import BayesvError, ScenarioError
from bayesv.study.estimation.procedures import Estimator
from bayesv.study.results.row import COLUMNS, Row
from bayesv.study.scenarios.scenario import Scenario
from bayesv.study.scoring.scorer import Scorer
from bayesv.study.scoring.scores import Scores
from bayesv.study.simulation.prepared import Prepared
from bayesv.study.simulation.replicate import Replicate
from bayesv.support.process import own_warnings

__all__ = ["Replicates"]

type Key = tuple[int, int]  # position of the scenario, number of the replicate

_NAN = float("nan")


class Replicates:
    """Turns keys into rows. What it prepares stays with it and is not sent elsewhere.

    Parameters
    ----------
    scenarios : sequence of Scenario
    estimators : sequence of Estimator
    scores : Scores
    seed : int
    """

    def __init__(
        self,
        scenarios: Sequence[Scenario],
        estimators: Sequence[Estimator],
        scores: Scores,
        seed: int,
    ) -> None:
        self.scenarios, self.estimators = tuple(scenarios), tuple(estimators)
        self.scores, self.seed = scores, seed
        self._latest: tuple[int, Prepared, Scorer] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_latest": None}

    def __call__(self, keys: tuple[Key, ...]) -> pd.DataFrame:
        """Return the rows of some replicates; a failure is a row, not an exception."""
        lines: list[tuple[Any, ...]] = []
        for key in keys:
            name = self.scenarios[key[0]].name
            lines += [(name, key[1], *rest) for rest in self._rows(*key)]
        return pd.DataFrame(lines, columns=list(COLUMNS))

    def check(self) -> None:
        """Refuse what fails in every replicate, before any work is done.

        Designs that replicates share are drawn; scores and estimators must fit the first scenario.
        """
        with own_warnings():
            warnings.simplefilter("ignore")  # they are counted when replicates are computed
            for scenario in self.scenarios:
                if scenario.design == "fixed":
                    try:
                        scenario.prepare(self.seed)
                    except BayesvError as error:
                        raise ScenarioError(f"{scenario.name}: {error}") from error
            made = _attempt(lambda: self._prepared(0)[0].replicate(0))
            if made.error is None:
                Scorer(self.scores).check(made.value)
                for one in self.estimators:
                    one.check(made.value.model)

    def _rows(self, position: int, k: int) -> list[tuple[Any, ...]]:
        """Return (estimator, *row) of one replicate."""
        made = _attempt(lambda: self._prepared(position))
        if made.error is None:
            prepared, scorer = made.value
            made = _attempt(lambda: prepared.replicate(k))
        if made.error is not None:
            return [("", *row) for row in made.status()]
        replicate: Replicate = made.value
        fits: dict[str, _Attempt] = {}
        rows: list[tuple[Any, ...]] = []
        for one in self.estimators:
            if one.key not in fits:
                seed = one.seed(replicate)
                fits[one.key] = _attempt(partial(one.fit, replicate.model, seed))
            done = fits[one.key]
            if done.error is None:
                done = done.then(_attempt(partial(one.read, done.value, replicate.model)))
            scored: list[Row] = []
            if done.error is None:
                done = done.then(_attempt(partial(scorer, replicate, done.value)))
                scored = done.value or []
            rows += [(one.name, *row) for row in [*done.status(), *scored]]
        return rows

    def _prepared(self, position: int) -> tuple[Prepared, Scorer]:
        """Return the scenario ready to simulate; the last one is kept."""
        if self._latest is None or self._latest[0] != position:
            self._latest = (
                position,
                self.scenarios[position].prepare(self.seed),
                Scorer(self.scores),
            )
        return self._latest[1:]


@dataclass(frozen=True, eq=False)
class _Attempt:
    """What came of a call."""

    value: Any
    error: str | None
    warned: tuple[str, ...]
    seconds: float

    def then(self, after: _Attempt) -> _Attempt:
        """Return what came of both calls."""
        return _Attempt(
            after.value, after.error, self.warned + after.warned, self.seconds + after.seconds
        )

    def status(self) -> list[Row]:
        """Rows that are counted: failed, warned, seconds."""
        warned = "; ".join(dict.fromkeys(self.warned))
        bad = self.error is not None
        return [
            Row("status", "failed", "", _NAN, float(bad), message=self.error or ""),
            Row("status", "warned", "", _NAN, float(bool(warned)), message=warned),
            Row("status", "seconds", "", _NAN, self.seconds),
        ]


def _attempt(call: Callable[[], Any]) -> _Attempt:
    """Call; errors and warnings become text."""
    value, error = None, None
    started = time.perf_counter()
    with own_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            value = call()
        except Exception as reason:  # whatever a user's function raises
            error = f"{type(reason).__name__}: {reason}"
    # What warns developers about coming versions says nothing about a replicate.
    told = [str(w.message) for w in caught if issubclass(w.category, UserWarning | RuntimeWarning)]
    return _Attempt(value, error, tuple(told), time.perf_counter() - started)
