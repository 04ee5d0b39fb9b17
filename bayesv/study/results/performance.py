"""Performance measures over replicates, each with its Monte Carlo standard error.

Formulas of Morris, White and Crowther 2019, table 6 (https://doi.org/10.1002/sim.8086), with errors
e = estimate − truth in place of estimates, so that the truth may differ between replicates.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayesv.linalg import Array

__all__ = ["GROUPS", "performance"]

type Index = NDArray[np.intp]
type Mask = NDArray[np.bool_]

GROUPS = ("scenario", "estimator", "kind", "quantity", "method")


def performance(rows: pd.DataFrame, by: Sequence[str] = GROUPS) -> pd.DataFrame:
    """Return one line per group and score.

    Parameters
    ----------
    rows : DataFrame
        Columns of ``by``, truth, estimate, se, low, high.
    by : sequence of str
        Among them kind and quantity.

    Returns
    -------
    DataFrame
        Columns of ``by``, then score, value, mcse, n. Scores of estimates: ``bias``,
        ``relative bias`` (where the truth is not 0), ``empirical se``, ``rmse``, ``model se``,
        ``se² ratio``, ``coverage``, ``width``. Of losses, and of weights of structures: ``mean``.
        Of what is counted: ``rate``, and ``mean`` of seconds. n is the number of replicates that
        have the value: intervals that do not exist, as at a boundary, do not count.

    Notes
    -----
    With n replicates, ē their mean error and s² the variance of e: bias ē ± s/√n; empirical se
    s ± s/√(2(n − 1)); rmse (mean e²)^½ ± (half of the standard error of mean e²)/rmse; model se
    (mean se²)^½ ± {Var(se²)/(4 n mean se²)}^½; ``se² ratio`` r = mean se²/s² ±
    r{Var(se²)/(n mean² se²) + 2/(n − 1)}^½; coverage c ± {c(1 − c)/n}^½. ``width`` is a median,
    because a single interval near a boundary can be as wide as numbers allow; ± half the distance
    of the quantiles that lie one standard error of a rank, √n/2, on either side of it.
    """
    if rows.empty:
        return pd.DataFrame(columns=[*by, "score", "value", "mcse", "n"])
    groups = rows.groupby(list(by), sort=False, observed=True)
    which = groups.ngroup().to_numpy()
    count = int(which.max()) + 1
    heads = rows.iloc[np.unique(which, return_index=True)[1]][list(by)].reset_index(drop=True)
    kind = heads["kind"].astype(str).to_numpy()
    truth, estimate, se, low, high = (
        rows[name].to_numpy(dtype=float) for name in ("truth", "estimate", "se", "low", "high")
    )
    error = estimate - truth
    mean = _Mean(which, count)
    scored = ~np.isin(kind, ("status", "loss", "weight"))
    seconds = heads["quantity"].astype(str).to_numpy() == "seconds"
    columns: list[tuple[str, Mask, Array, Array, Array]] = []

    def add(name: str, where: Mask, value: Array, mcse: Array, n: Array) -> None:
        columns.append((name, where & (n > 0), value, mcse, n))

    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        bias, var, n = mean(error)
        add("bias", scored, bias, np.sqrt(var / n), n)
        add("relative bias", *_relative(mean, scored, error, truth))
        add("empirical se", scored, np.sqrt(var), np.sqrt(var / (2.0 * (n - 1))), n)
        mse, spread, n = mean(error**2)
        add("rmse", scored, np.sqrt(mse), np.sqrt(spread / n) / (2.0 * np.sqrt(mse)), n)
        # Of the replicates that have both an error and a standard error.
        square = np.where(np.isfinite(error), se, np.nan) ** 2
        model, spread, n = mean(square)
        _, error_var, _ = mean(np.where(np.isfinite(square), error, np.nan))
        add("model se", scored, np.sqrt(model), np.sqrt(spread / (4.0 * n * model)), n)
        ratio = model / error_var
        noise = np.sqrt(spread / (n * model**2) + 2.0 / (n - 1))
        add("se² ratio", scored, ratio, ratio * noise, n)
        width = np.where(np.isfinite(truth), high - low, np.nan)
        inside = ((low <= truth) & (truth <= high)).astype(float)
        share, _, n = mean(np.where(np.isfinite(width), inside, np.nan))
        add("coverage", scored, share, np.sqrt(share * (1.0 - share) / n), n)
        add("width", scored, *_median(which, count, width))
        center, spread, n = mean(estimate)
        add("mean", np.isin(kind, ("loss", "weight")) | seconds, center, np.sqrt(spread / n), n)
        rate = (kind == "status") & ~seconds
        add("rate", rate, center, np.sqrt(center * (1.0 - center) / n), n)
    parts = []
    for rank, (name, where, value, mcse, n) in enumerate(columns):
        group = np.flatnonzero(where)
        part = heads.iloc[group].assign(
            score=name, value=value[group], mcse=mcse[group], n=n[group], _group=group, _rank=rank
        )
        parts.append(part)
    table = pd.concat(parts).sort_values(["_group", "_rank"]).drop(columns=["_group", "_rank"])
    table["n"] = table["n"].astype(int)
    return table.reset_index(drop=True)


class _Mean:
    """Means and variances by group of what is finite."""

    def __init__(self, which: Index, count: int) -> None:
        self.which, self.count = which, count

    def __call__(self, values: Array) -> tuple[Array, Array, Array]:
        """Return mean, variance (n − 1) and n of each group."""
        ok = np.isfinite(values)
        which, values = self.which[ok], values[ok]
        n = np.bincount(which, minlength=self.count).astype(float)
        center = np.bincount(which, values, self.count) / n
        square = np.bincount(which, (values - center[which]) ** 2, self.count)
        return center, square / (n - 1.0), n


def _median(which: Index, count: int, values: Array) -> tuple[Array, Array, Array]:
    """Return median, Monte Carlo error and n of what is finite in each group."""
    ok = np.isfinite(values)
    quantiles = np.full((3, count), np.nan)
    n = np.zeros(count)
    for group, part in pd.Series(values[ok]).groupby(which[ok]):
        n[group] = len(part)
        step = min(0.5, 0.5 / np.sqrt(len(part)))
        quantiles[:, group] = np.quantile(part, [0.5 - step, 0.5, 0.5 + step])
    return quantiles[1], (quantiles[2] - quantiles[0]) / 2.0, n


def _relative(
    mean: _Mean, scored: Mask, error: Array, truth: Array
) -> tuple[Mask, Array, Array, Array]:
    """Return where it is defined, value, Monte Carlo error and n of the mean of e/truth."""
    smallest = np.full(mean.count, np.inf)
    np.minimum.at(smallest, mean.which, np.nan_to_num(np.abs(truth), nan=np.inf))
    value, var, n = mean(error / truth)
    return scored & (smallest > 0), value, np.sqrt(var / n), n
