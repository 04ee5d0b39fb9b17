"""Draw the rows of a scenario: groups, covariates, weights, residual scales, missing rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq
from scipy.special import expit

from bayesv.errors import ScenarioError
from bayesv.linalg import Array, psd_root, smallest_relative_eigenvalue
from bayesv.names import level_label
from bayesv.study.declared.content import ScenarioContent
from bayesv.study.declared.laws import POSITIVE, VALUES, draw_counts, read_law
from bayesv.study.declared.reading import number, refusal
from bayesv.support.memory import refuse_unless

__all__ = ["DrawnRows", "draw_rows", "latent_correlation"]

Index = NDArray[np.intp]
Codes = dict[str, Index]
Rng = np.random.Generator

_BYTES_OF_A_ROW = 400.0  # while a data set is drawn and its model stated, by measurement
_BYTES_OF_A_COLUMN = 64.0  # in each row, of every factor and covariate


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

    def take(self, at: Index) -> DrawnRows:
        """Return some of the rows, in that order."""
        parts = (self.weights, self.scale, self.series, self.times)
        taken: list[Any] = [None if part is None else part[at] for part in parts]
        return DrawnRows(self.frame.iloc[at].reset_index(drop=True), *taken)


def draw_rows(scenario: ScenarioContent, rng: Rng) -> DrawnRows:
    """Draw a design: complete rows first, of which some are then dropped, and shuffled."""
    frame = scenario.own_data
    if frame is None:
        codes, position = _groups(scenario, rng)
        frame = _frame(scenario, codes, position, rng)
    series, times = _series(scenario, frame)
    rows = DrawnRows(
        frame, _weights(scenario, frame, rng), _scale(scenario, frame, rng), series, times
    )
    kept = _kept(scenario, frame, rng)
    return rows.take(rng.permutation(kept) if scenario.shuffle else kept)


# --- groups ---------------------------------------------------------------------------------------


def _groups(scenario: ScenarioContent, rng: Rng) -> tuple[Codes, Index]:
    """Return the level of every factor in each row, and the row's position in its cell."""
    cells: Codes = {}
    for root in scenario.levels:
        if root not in scenario.nested:
            cells = _crossed(cells, _tree(scenario, root, rng))
    cells = _take(cells, _met(scenario, cells, rng))
    n_cells = len(next(iter(cells.values())))
    sizes = draw_counts("rows", scenario.rows, n_cells, rng, least=1)
    _refuse_too_many("rows", sizes, columns=len(scenario.levels) + len(scenario.covariates))
    at = np.repeat(np.arange(n_cells), sizes)
    if not len(at):
        raise ScenarioError(f"rows: {scenario.rows!r} gave no row at all; raise its sizes.")
    return _take(cells, at), _position(at)


def _refuse_too_many(key: str, sizes: ArrayLike, columns: int = 0) -> None:
    """Refuse levels or rows that memory does not hold, before they are made."""
    count = float(np.asarray(sizes, dtype=float).sum())
    refuse_unless(
        (_BYTES_OF_A_ROW + _BYTES_OF_A_COLUMN * columns) * count,
        f"{key}: {count:,.0f} of them, with what is computed for each,",
        "Make them fewer.",
    )


def _tree(scenario: ScenarioContent, root: str, rng: Rng) -> Codes:
    """Return the cells of a factor and all that is nested in it."""
    _refuse_too_many(f"levels.{root}", [scenario.levels[root]])
    cells: Codes = {root: np.arange(scenario.levels[root])}
    counts = {root: len(cells[root])}
    open_factors = [root]
    while open_factors:
        factor = open_factors.pop(0)
        for child in (c for c, parent in scenario.nested.items() if parent == factor):
            sizes = draw_counts(
                f"levels.{child}", scenario.levels[child], counts[factor], rng, least=1
            )
            _refuse_too_many(f"levels.{child}", sizes[cells[factor]])
            at = np.repeat(np.arange(len(cells[factor])), sizes[cells[factor]])
            cells = _take(cells, at)
            first = np.cumsum(sizes) - sizes
            cells[child] = first[cells[factor]] + _position(at)
            counts[child] = int(sizes.sum())
            open_factors.append(child)
    return cells


def _crossed(a: Codes, b: Codes) -> Codes:
    if not a:
        return b
    n, m = len(next(iter(a.values()))), len(next(iter(b.values())))
    _refuse_too_many("levels", [n * m])
    return {k: np.repeat(v, m) for k, v in a.items()} | {k: np.tile(v, n) for k, v in b.items()}


def _met(scenario: ScenarioContent, cells: Codes, rng: Rng) -> Index:
    """Return the cells that have rows, where factors are partially crossed."""
    n = len(next(iter(cells.values())))
    crossing = scenario.crossing
    if isinstance(crossing, Mapping):
        per = cells[crossing["per"]]
        n_levels, given = int(per.max()) + 1, crossing["cells"]
        wanted = draw_counts("crossing.cells", given, n_levels, rng, least=1)
        there = np.bincount(per)
        # Draws from a law stop at what there is; what is stated must exist.
        if not isinstance(given, Mapping) and (wanted > there).any():
            raise refusal("crossing.cells", given, f"at most the {there.min()} that there are.")
        order = rng.permutation(n)
        order = order[np.argsort(per[order], kind="stable")]
        chosen = order[_position(per[order]) < wanted[per[order]]]
        return np.sort(chosen)
    if crossing == 1:
        return np.arange(n)
    order = rng.permutation(n)
    # Each level of each factor first meets one cell, so that no level is lost.
    needed = np.unique(np.concatenate([np.unique(c[order], return_index=True)[1]
                                       for c in cells.values()]))  # fmt: skip
    wanted_cells = max(round(crossing * n), len(needed))
    rest = np.setdiff1d(np.arange(n), needed)
    return np.sort(order[np.concatenate([needed, rest])[:wanted_cells]])


def _take(codes: Codes, at: Index) -> Codes:
    return {name: values[at] for name, values in codes.items()}


def _position(codes: Index) -> Index:
    """Return how many rows with the same code stand before each row."""
    return np.asarray(pd.Series(codes).groupby(codes, sort=False).cumcount(), dtype=np.intp)


# --- covariates -----------------------------------------------------------------------------------


def latent_correlation(scenario: ScenarioContent) -> tuple[list[str], Array]:
    """Return the covariates that are drawn, and the correlation of their normal scores."""
    names = [name for name, law in scenario.covariates.items() if law["law"] in VALUES]
    corr = np.eye(len(names))
    for pair, value in scenario.correlations.items():
        ends = [part.strip() for part in pair.split(":")]
        if len(ends) != 2 or ends[0] == ends[1] or not set(ends) <= set(names):
            raise refusal(
                "correlations", pair, f"'a:b' of two covariates that are drawn: {', '.join(names)}."
            )
        i, j = (names.index(end) for end in ends)
        corr[i, j] = corr[j, i] = number(f"correlations.{pair}", value, "[-1, 1]")
    if names and smallest_relative_eigenvalue(corr) < -1e-10:
        raise refusal("correlations", scenario.correlations, "a positive semi-definite matrix.")
    return names, corr


def _frame(scenario: ScenarioContent, codes: Codes, position: Index, rng: Rng) -> pd.DataFrame:
    columns: dict[str, Any] = {}
    for factor, code in codes.items():
        labels = [str(i + 1) for i in range(int(code.max()) + 1)]
        columns[factor] = pd.Categorical.from_codes(code, labels, ordered=True)
    names, corr = latent_correlation(scenario)
    root = psd_root(corr)
    by_row = rng.standard_normal((len(position), len(names))) @ root.T
    groups = dict.fromkeys(g for x in scenario.covariates.values() if (g := x.get("group")))
    by_level = {
        group: (rng.standard_normal((int(codes[group].max()) + 1, len(names))) @ root.T)[
            codes[group]
        ]
        for group in groups
    }
    for name, given in scenario.covariates.items():
        if given["law"] in VALUES:
            i, group = names.index(name), given.get("group")
            z = by_row[:, i]
            if group:
                share = given.get("between", 1.0)
                z = np.sqrt(share) * by_level[group][:, i] + np.sqrt(1 - share) * z
            columns[name] = column_of(name, given, z)
        elif given["law"] == "grid":
            within = given.get("within")
            at = _position(codes[within]) if within else position
            columns[name] = given.get("start", 0.0) + given.get("step", 1.0) * at
        else:
            group = given.get("group")
            columns[name] = cycled(given["values"], codes[group] if group else position)
    return pd.DataFrame(columns)


def column_of(name: str, given: Mapping[str, Any], z: Array) -> Any:
    """Return a covariate for standard normal scores."""
    law, values = read_law(f"covariates.{name}", given, VALUES, ("group", "between"))
    drawn = law.draw(f"covariates.{name}", z, values)
    if given["law"] != "categorical":
        return drawn
    return pd.Categorical.from_codes(drawn, [str(level) for level in values["levels"]])


def cycled(values: list[Any], at: Index) -> Any:
    """Return values in turn; texts are categories in the order given."""
    at = at % len(values)
    if all(isinstance(value, int | float) for value in values):
        return np.array(values, dtype=float)[at]
    texts = [str(value) for value in values]
    return pd.Categorical(np.array(texts, dtype=object)[at], categories=list(dict.fromkeys(texts)))


# --- weights, residual scale, time, missing rows --------------------------------------------------


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
    given = scenario.weights
    if given is None:
        return None
    if isinstance(given, str):
        weights = _numbers("weights", frame, given)
        if not (weights > 0).all():
            raise refusal("weights", given, "a column of positive numbers.")
        return weights
    law, values = read_law("weights", given, POSITIVE)
    return np.asarray(law.draw("weights", rng.standard_normal(len(frame)), values))


def _scale(scenario: ScenarioContent, frame: pd.DataFrame, rng: Rng) -> Array:
    """Return what the residual SD is multiplied with in each row."""
    given = scenario.heteroscedastic
    if given is None:
        return np.ones(len(frame))
    key, by = "heteroscedastic", given["by"]
    if "rate" in given:
        return np.asarray(np.exp(given["rate"] * _numbers(f"{key}.by", frame, by)))
    if "log_sd" in given:
        codes = _codes(f"{key}.by", frame, by)
        return np.asarray(np.exp(given["log_sd"] * rng.standard_normal(codes.max() + 1))[codes])
    ratios = given["ratios"]
    labels = [level_label(level) for level in frame[by]]
    missing = sorted(set(labels) - set(ratios))
    if missing:
        raise refusal(
            f"{key}.ratios", ratios, f"a ratio for each level of {by}, also {missing[0]}."
        )
    return np.array([ratios[label] for label in labels], dtype=float)


def _series(scenario: ScenarioContent, frame: pd.DataFrame) -> tuple[Index | None, Array | None]:
    given = scenario.ar1
    if given is None:
        return None, None
    series = _codes("ar1.group", frame, given["group"])
    if "time" not in given:
        return series, _position(series).astype(float)
    times = _numbers("ar1.time", frame, given["time"])
    if given["rho"] < 0 and (times != np.round(times)).any():
        raise refusal("ar1.rho", given["rho"], "a number in [0, 1), as times are no whole numbers.")
    if pd.DataFrame({"series": series, "time": times}).duplicated().any():
        raise refusal("ar1.time", given["time"], f"different times within {given['group']}.")
    return series, times


def _kept(scenario: ScenarioContent, frame: pd.DataFrame, rng: Rng) -> Index:
    """Return the rows that are not missing, in order."""
    given, n = scenario.missing, len(frame)
    if given is None:
        return np.arange(n)
    if not isinstance(given, Mapping):
        return np.sort(rng.permutation(n)[round(given * n) :])
    x = _numbers("missing.column", frame, given["column"])
    slope = given["slope"] * (x - x.mean()) / (x.std() or 1.0)
    ends = np.abs(slope).max() + 40
    start = brentq(lambda a: expit(a + slope).mean() - given["share"], -ends, ends)
    return np.flatnonzero(rng.random(n) >= expit(start + slope))
