"""What a PyMC model says of y given its mean: residuals row by row, by series, or as a chain."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from bayesv.covariance.clusters import rows_by_size
from bayesv.design.design import Design
from bayesv.design.residual import Index
from bayesv.design.structured import Sequential
from bayesv.inference.pymc_residual import ResidualVariables
from bayesv.linalg import Array
from bayesv.structures.antedependence import AnteDependence, ChainRoot
from bayesv.structures.stationary import Stationary
from bayesv.support.memory import refuse_unless

__all__ = ["Chain", "observe"]

_COPIES = 6  # of the covariances of series: they, their roots, and derivatives


def observe(design: Design, mean: Any, sigma: Any, residual: ResidualVariables | None) -> None:
    """State the density of y in the model that is being built.

    Parameters
    ----------
    design : Design
    mean : tensor, shape (n,)
        Given the random effects.
    sigma : tensor or float
        Where residuals are not structured.
    residual : ResidualVariables or None
        Of structured residuals.

    Notes
    -----
    Uncorrelated rows are normal. Series whose rows are a Markov chain (``ar1``, ``ad``, ``car1``)
    are one variable ``y`` with a density of two elements a row. Other series, and known
    covariances, are multivariate normal, one variable for all series of m rows: ``y_1``, ``y_2``,
    …, ``y_m`` if there are several lengths. A variable for each pattern of seen visits would be
    the shorter evaluation, and a graph that takes gigabytes to compile.
    """
    import pymc as pm

    if residual is None:
        if design.residual.clusters is not None:
            _observe_known(design, mean, sigma)
            return
        if not design.residual.iid:  # a scalar is faster than a vector of it
            sigma = sigma / np.sqrt(design.residual.weights)
        pm.Normal("y", mean, sigma, observed=design.y)
        return
    part = residual.form.sequential
    if part is None:
        pm.Normal("y", mean, residual.row_sds, observed=design.y)
    elif isinstance(part.structure, ChainRoot) and part.structure.is_markov:
        _observe_chain(design.y, mean, residual, part)
    else:
        _observe_series(design.y, mean, residual, part)


# --- sets of rows ---------------------------------------------------------------------------------


def _sets(codes: Index, order: Index) -> Iterator[Index]:
    """Give the rows of clusters of each size m, shape (S, m), rows in an order."""
    _, codes, sizes = np.unique(codes, return_inverse=True, return_counts=True)
    refuse_unless(
        8.0 * _COPIES * float((sizes**2.0).sum()),
        f"The covariance of residuals within {len(sizes):,} sets of rows, of {sizes.max():,} at "
        "most,",
        "Divide the rows into smaller series.",
    )
    yield from rows_by_size(codes, order)


def _observe_known(design: Design, mean: Any, sigma: Any) -> None:
    """State rows whose covariance is known, or known up to σ²."""
    codes = design.residual.clusters
    assert codes is not None
    sets = list(_sets(codes, np.arange(design.n)))
    for rows in sets:
        name = "y" if len(sets) == 1 else f"y_{rows.shape[1]}"
        _normal(name, mean, sigma**2 * design.residual.block(rows), rows, design.y)


def _normal(name: str, mean: Any, cov: Any, rows: Index, y: Array) -> None:
    """State rows (S, m) with covariances (S, m, m)."""
    import pymc as pm
    import pytensor.tensor as pt

    if rows.shape[1] == 1:
        sd = pt.sqrt(pt.as_tensor(cov)[:, 0, 0])
        pm.Normal(name, mean[rows[:, 0]], sd, observed=y[rows[:, 0]])
        return
    pm.MvNormal(name, mean[rows], cov=cov, observed=y[rows])


def _observe_series(y: Array, mean: Any, residual: ResidualVariables, part: Sequential) -> None:
    """State series by covariances; correlations are formed once for each pattern of positions."""
    sds, series = residual.row_sds, part.series
    places = series.visit[:, None].astype(float) if series.by_visit else series.coordinates
    sets = list(_sets(series.codes, np.lexsort([*places.T[::-1], series.codes])))
    for rows in sets:
        keys = places[rows]
        if not series.by_visit:  # a shift of all times changes no lag
            keys = keys - keys[:, :1]
        keys = np.column_stack([series.group[rows[:, 0]], keys.reshape(len(rows), -1)])
        _, first, which = np.unique(keys, axis=0, return_index=True, return_inverse=True)
        corr = _correlations(residual, part, rows[first])[which.ravel()]
        name = "y" if len(sets) == 1 else f"y_{rows.shape[1]}"
        _normal(name, mean, corr * sds[rows][:, :, None] * sds[rows][:, None], rows, y)


def _correlations(residual: ResidualVariables, part: Sequential, rows: Index) -> Any:
    """Return the correlations of sets of rows of series, (S, m) → (S, m, m)."""
    import pytensor.tensor as pt

    group = part.series.group[rows[:, 0]]
    if isinstance(part.structure, Stationary):
        lags = residual.form.lags(rows)
        each = [family.at_lags(lags) for family in residual.families]
    else:
        visit = part.series.visit[rows]
        each = [family.matrix[visit[:, :, None], visit[:, None, :]] for family in residual.families]
    if len(each) == 1:
        return each[0]
    return pt.stack(each)[group, np.arange(len(rows))]


# --- chains ---------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Chain:
    """Rows of series in which each depends on the one before alone.

    Attributes
    ----------
    before : ndarray of int, shape (n,)
        The row before; a row itself where it is the first of its series.
    steps : tuple of ndarray of int
        Rows that are first, second, … of their series.
    """

    before: Index
    steps: tuple[Index, ...]

    @classmethod
    def of(cls, codes: Index, place: Array) -> Chain:
        """Return the chain of series with these places of rows."""
        order = np.lexsort([place, codes])
        first = np.diff(codes[order], prepend=-1) != 0
        before = np.empty(len(codes), np.intp)
        before[order] = np.where(first, order, np.roll(order, 1))
        starts = np.flatnonzero(first)
        number = np.arange(len(order)) - np.repeat(starts, np.diff([*starts, len(order)]))
        steps = tuple(order[number == k] for k in range(int(number.max()) + 1))
        return cls(before, steps)

    def logp(self, value: Any, mean: Any, sd: Any, correlation: Any) -> Any:
        """Return the log density, of correlations with the row before."""
        import pytensor.tensor as pt

        standard = (value - mean) / sd
        rest = 1.0 - correlation**2
        new = standard - correlation * standard[self.before]
        each = -0.5 * (new**2 / rest + pt.log(rest)) - pt.log(sd)
        return each.sum() - 0.5 * len(self.before) * np.log(2.0 * np.pi)

    def draw(
        self, mean: Array, sd: Array, correlation: Array, rng: Any = None, size: Any = None
    ) -> Array:
        """Draw y, step by step."""
        rng = np.random.default_rng(rng)
        standard = rng.normal(size=(*(size or ()), len(self.before)))
        for rows in self.steps[1:]:
            rho = correlation[..., rows]
            new = np.sqrt(1.0 - rho**2) * standard[..., rows]
            standard[..., rows] = rho * standard[..., self.before[rows]] + new
        return np.asarray(mean + sd * standard)


def _observe_chain(y: Array, mean: Any, residual: ResidualVariables, part: Sequential) -> None:
    """State rows of which each depends on the one before in its series."""
    import pymc as pm
    import pytensor.tensor as pt

    series = part.series
    place = series.times[series.visit] if series.by_visit else series.coordinates[:, 0]
    chain = Chain.of(series.codes, place)
    later = chain.before != np.arange(series.n)
    if isinstance(part.structure, AnteDependence):
        steps = np.stack([series.visit[chain.before], series.visit], axis=1)
        steps, which = np.unique(steps[later], axis=0, return_inverse=True)
        each = [
            pt.stack([pt.prod(pt.stack(family.parameters[a:b])) for a, b in steps])
            for family in residual.families
        ]
    else:
        gaps, which = np.unique((place - place[chain.before])[later], return_inverse=True)
        each = [family.at_lags(gaps) for family in residual.families]
    adjacent = pt.stack(each)[series.group[later], which.ravel()]
    correlation = pt.set_subtensor(pt.zeros(series.n)[later], adjacent)
    pm.CustomDist(
        "y", mean, residual.row_sds, correlation, logp=chain.logp, random=chain.draw,
        signature="(n),(n),(n)->(n)", observed=y,
    )  # fmt: skip
