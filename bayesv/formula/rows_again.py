"""Rows that come in batches, read again: those of one level, or all for sums without weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayesv.design.random_terms import TermSummary
from bayesv.design.residual import Residual
from bayesv.errors import DataError
from bayesv.formula.batch import Plan, evaluated
from bayesv.formula.columns import as_factor, finite_rows, plain_column
from bayesv.formula.groups import level_texts
from bayesv.formula.sources import DaskSource, Source
from bayesv.gram import Moments, RowBatch, Scaling, accumulate, merge, recode
from bayesv.linalg import Array
from bayesv.support.progress import progress

__all__ = ["RowsAgain", "Totals", "of_level"]


@dataclass(frozen=True, eq=False)
class RowsAgain:
    """Reads rows again.

    Attributes
    ----------
    source : ArrowSource or DaskSource
        That can be read more than once.
    plan : Plan
        What every batch was told.
    columns : sequence of str
        Columns that are read.
    """

    source: Source
    plan: Plan
    columns: Sequence[str]

    @property
    def weights(self) -> str | None:
        """Column of known weights."""
        return self.plan.weights

    def __call__(self, factors: Sequence[str], level: str) -> pd.DataFrame:
        """Return the rows that were used of a level, labelled by their places in the data.

        Parameters
        ----------
        factors : sequence of str
            Columns of the grouping factor.
        level : str
            As the design names it.
        """
        parts, start = [], 0
        for n, part in self._parts(tuple(factors), level):
            rows = evaluated(part, self.plan)
            if rows is not None:
                parts.append(part.iloc[rows.kept].set_axis(start + part.index[rows.kept]))
            start += n
        return pd.concat(parts) if parts else pd.DataFrame(columns=list(self.columns))

    def totals(self, terms: Sequence[TermSummary], fixed_names: Sequence[str]) -> Totals:
        """Return sums over all rows, in one pass.

        Parameters
        ----------
        terms : sequence of TermSummary
            Of the design, whose levels and order the sums have.
        fixed_names : sequence of str
            Columns of X.
        """
        total: Totals | None = None
        places = [{str(level): i for i, level in enumerate(term.levels)} for term in terms]
        groups = tuple(term.group for term in terms)
        with progress("reading rows again") as read:
            for part in self._sums(groups, tuple(fixed_names)):
                read(0 if part is None else part[1].n)
                if part is None:
                    continue
                texts, new = part
                codes = [
                    np.array([place[str(text)] for text in of_term], dtype=np.intp)
                    for place, of_term in zip(places, texts, strict=True)
                ]
                sizes = [len(place) for place in places]
                new = replace(new, moments=recode(new.moments, codes, sizes))
                total = new if total is None else total + new
        if total is None:
            raise DataError("The data have no complete row any more.")
        return total

    def _sums(self, groups: tuple[str, ...], fixed: tuple[str, ...]) -> Iterator[_Named | None]:
        """Yield the sums of each batch, with the names of the levels that it has."""
        if isinstance(self.source, DaskSource):
            import dask

            one = dask.delayed(_totals, pure=False)
            parts = self.source.frame[list(self.columns)].to_delayed()
            yield from dask.compute(*(one(part, self.plan, groups, fixed) for part in parts))
            return
        for frame in self.source.frames(self.columns):
            yield _totals(frame, self.plan, groups, fixed)

    def _parts(self, factors: tuple[str, ...], level: str) -> Iterator[tuple[int, pd.DataFrame]]:
        """Yield the number of rows of each batch, and those of the level by their places."""
        if isinstance(self.source, DaskSource):
            import dask

            one = dask.delayed(of_level, pure=False)
            parts = self.source.frame[list(self.columns)].to_delayed()
            yield from dask.compute(*(one(part, factors, level) for part in parts))
            return
        for frame in self.source.frames(self.columns):
            yield of_level(frame, factors, level)


def of_level(frame: pd.DataFrame, factors: Sequence[str], level: str) -> tuple[int, pd.DataFrame]:
    """Return how many rows a batch has, and those of a level, labelled by their places."""
    frame = frame.reset_index(drop=True)
    plain = {name: plain_column(frame[name]) for name in factors}
    present = np.logical_and.reduce([finite_rows(column) for column in plain.values()])
    places: NDArray[np.intp] = np.flatnonzero(present)
    texts = level_texts([as_factor(column.iloc[places]) for column in plain.values()])
    return len(frame), frame.iloc[places[texts == level]]


@dataclass(frozen=True, eq=False)
class Totals:
    """Sums over rows that known weights do not weigh.

    Attributes
    ----------
    moments : Moments
        Of the columns z of each term, with 1 and 1/√w beside them; without X and y.
    mean, squares : ndarray, shapes (p,) and (p, p)
        Means of the columns of X, and sums of products about them.
    inverse, log_det : float
        Σ 1/w and −Σ log w.
    """

    moments: Moments
    mean: Array
    squares: Array
    inverse: float
    log_det: float

    @property
    def n(self) -> int:
        """Number of rows."""
        return self.moments.n

    @property
    def cov_X(self) -> Array:
        """Covariances of the columns of X, shape (p, p)."""
        return self.squares / (self.n - 1)

    def __add__(self, other: Totals) -> Totals:
        n, delta = self.n + other.n, other.mean - self.mean
        between = np.outer(delta, delta) * (self.n * other.n / n)
        return Totals(
            merge(self.moments, other.moments),
            self.mean + delta * (other.n / n),
            self.squares + other.squares + between,
            self.inverse + other.inverse,
            self.log_det + other.log_det,
        )


_Named = tuple[list[NDArray[np.object_]], Totals]


def _totals(
    frame: pd.DataFrame, plan: Plan, groups: Sequence[str], fixed: Sequence[str]
) -> _Named | None:
    """Sum up a batch for terms in a given order; None if no row of it is complete."""
    batch = evaluated(frame, plan)
    if batch is None:
        return None
    rows, own = batch.rows, [label for label, _, _ in batch.labels]
    inverse, n = rows.residual.diagonal, len(rows.y)
    order = [own.index(group) for group in groups]
    beside = np.column_stack([np.ones(n), np.sqrt(inverse)])
    groupings = tuple(
        replace(rows.groupings[i], values=np.hstack([rows.groupings[i].values, beside]))
        for i in order
    )
    bare = RowBatch(np.empty((n, 0)), np.zeros(n), Residual.of_weights(None, n), groupings)
    units = Scaling(np.zeros((0, 0)), np.zeros(0), tuple(np.eye(g.k) for g in groupings))
    texts = [
        level_texts([as_factor(batch.keys[i][name]) for name in batch.keys[i].columns])
        for i in order
    ]
    X = rows.X[:, [batch.names.index(name) for name in fixed]]
    mean = X.mean(axis=0)
    centred = X - mean
    sums = Totals(
        accumulate(bare, units), mean, centred.T @ centred,
        float(inverse.sum()), rows.residual.log_det,
    )  # fmt: skip
    return texts, sums
