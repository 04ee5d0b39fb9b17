"""Draw the rows of a scenario: groups, covariates, weights, residual scales, missing rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import scipy  # .optimize is loaded when it is used
from numpy.typing import NDArray
from scipy.special import expit

from bayesv.linalg import Array
from bayesv.names import level_label
from bayesv.study.declared.content import ScenarioContent
from bayesv.study.declared.laws import POSITIVE, read_law
from bayesv.study.declared.reading import refusal
from bayesv.study.simulation.covariates import draw_frame
from bayesv.study.simulation.groups import draw_groups, positions

__all__ = ["DrawnRows", "draw_rows"]

type Index = NDArray[np.intp]
type Rng = np.random.Generator


@dataclass(frozen=True, eq=False)
class DrawnRows:
    """The rows of one design, without a response.

    Attributes
    ----------
    frame : DataFrame, n rows
    weights : ndarray, shape (n,), or None
        Known w in R = σ² diag(1/w).
    scale : ndarray, shape (n,)
        What heteroscedasticity multiplies the residual SD σ/√w with.
    series : ndarray of int, shape (n,), or None
        Within which residuals are autoregressive.
    times : ndarray, shape (n,), or None
        When, in the units of the lag.
    """

    frame: pd.DataFrame
    weights: Array | None
    scale: Array
    series: Index | None
    times: Array | None

    def take(self, index: Index) -> DrawnRows:
        """Return some of the rows, in that order."""
        parts = (self.weights, self.scale, self.series, self.times)
        taken: list[Any] = [None if part is None else part[index] for part in parts]
        return DrawnRows(self.frame.iloc[index].reset_index(drop=True), *taken)


def draw_rows(scenario: ScenarioContent, rng: Rng) -> DrawnRows:
    """Draw a design: complete rows first, of which some are then dropped, and shuffled."""
    frame = scenario.own_data
    if frame is None:
        codes, position = draw_groups(scenario, rng)
        frame = draw_frame(scenario, codes, position, rng)
    series, times = _series(scenario, frame)
    rows = DrawnRows(
        frame, _weights(scenario, frame, rng), _scale(scenario, frame, rng), series, times
    )
    kept = _kept(scenario, frame, rng)
    return rows.take(rng.permutation(kept) if scenario.shuffle else kept)


def _numbers(key: str, frame: pd.DataFrame, name: str) -> Array:
    if not pd.api.types.is_numeric_dtype(frame[name].dtype):
        raise refusal(key, name, "a column of numbers.")
    _refuse_gaps(key, frame, name)
    return np.asarray(frame[name], dtype=float)


def _codes(key: str, frame: pd.DataFrame, name: str) -> Index:
    _refuse_gaps(key, frame, name)
    return np.asarray(pd.factorize(frame[name])[0], dtype=np.intp)


def _refuse_gaps(key: str, frame: pd.DataFrame, name: str) -> None:
    if frame[name].isna().any():
        raise refusal(key, name, "a column without missing values.")


def _weights(scenario: ScenarioContent, frame: pd.DataFrame, rng: Rng) -> Array | None:
    stated = scenario.weights
    if stated is None:
        return None
    if isinstance(stated, str):
        weights = _numbers("weights", frame, stated)
        if not (weights > 0).all():
            raise refusal("weights", stated, "a column of positive numbers.")
        return weights
    law, values = read_law("weights", stated, POSITIVE)
    return np.asarray(law.draw("weights", rng.standard_normal(len(frame)), values))


def _scale(scenario: ScenarioContent, frame: pd.DataFrame, rng: Rng) -> Array:
    """Return what the residual SD is multiplied with in each row."""
    stated = scenario.heteroscedastic
    if stated is None:
        return np.ones(len(frame))
    key, by = "heteroscedastic", stated["by"]
    if "rate" in stated:
        return np.asarray(np.exp(stated["rate"] * _numbers(f"{key}.by", frame, by)))
    if "log_sd" in stated:
        codes = _codes(f"{key}.by", frame, by)
        return np.asarray(np.exp(stated["log_sd"] * rng.standard_normal(codes.max() + 1))[codes])
    ratios = stated["ratios"]
    labels = [level_label(level) for level in frame[by]]
    missing = sorted(set(labels) - set(ratios))
    if missing:
        raise refusal(
            f"{key}.ratios", ratios, f"a ratio for each level of {by}, also {missing[0]}."
        )
    return np.array([ratios[label] for label in labels], dtype=float)


def _series(scenario: ScenarioContent, frame: pd.DataFrame) -> tuple[Index | None, Array | None]:
    stated = scenario.ar1
    if stated is None:
        return None, None
    series = _codes("ar1.group", frame, stated["group"])
    if "time" not in stated:
        return series, positions(series).astype(float)
    times = _numbers("ar1.time", frame, stated["time"])
    if stated["rho"] < 0 and (times != np.round(times)).any():
        raise refusal(
            "ar1.rho", stated["rho"], "a number in [0, 1), as times are no whole numbers."
        )
    if pd.DataFrame({"series": series, "time": times}).duplicated().any():
        raise refusal("ar1.time", stated["time"], f"different times within {stated['group']}.")
    return series, times


def _kept(scenario: ScenarioContent, frame: pd.DataFrame, rng: Rng) -> Index:
    """Return the rows that are not missing, in order."""
    stated, n = scenario.missing, len(frame)
    if stated is None:
        return np.arange(n)
    if not isinstance(stated, Mapping):
        return np.sort(rng.permutation(n)[round(stated * n) :])
    x = _numbers("missing.column", frame, stated["column"])
    slope = stated["slope"] * (x - x.mean()) / (x.std() or 1.0)
    ends = np.abs(slope).max() + 40
    start = scipy.optimize.brentq(lambda a: expit(a + slope).mean() - stated["share"], -ends, ends)
    return np.flatnonzero(rng.random(n) >= expit(start + slope))
