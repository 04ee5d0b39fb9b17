"""Marginal means, and slopes, as functions of β; weights of their contrasts."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayesv.design.design import Design
from bayesv.errors import BayesvError, DataError, near
from bayesv.formula.encoding import Encoding
from bayesv.formula.frame import take_columns
from bayesv.formula.reference_grid import (
    ReferenceGrid,
    averaged_rows,
    grid_columns,
    reference_grid,
    slope_grid,
)
from bayesv.linalg import Array

__all__ = ["CONTRASTS", "Means", "weights_of"]

CONTRASTS = ("pairwise", "reference", "consecutive", "mean", "polynomial")
_MOST_MEANS = 2_000


@dataclass(frozen=True, eq=False)
class Means:
    """Marginal means, or slopes, as functions of β.

    Attributes
    ----------
    labels : DataFrame, shape (m, s)
        Levels of each mean, those of ``by`` first.
    by : tuple of str
    L : ndarray, shape (m, p)
        NaN where a mean cannot be estimated.
    offset : float
        What is known of each mean beside Lβ: the mean of the model's offset over its rows, or over
        those that are given. Of slopes 0.
    """

    labels: pd.DataFrame
    by: tuple[str, ...]
    L: Array
    offset: float = 0.0

    @classmethod
    def of(
        cls,
        design: Design,
        specs: str | Sequence[str],
        by: str | Sequence[str],
        at: Mapping[str, Any] | None,
        slope: str | None = None,
        over: Any = None,
    ) -> Means:
        """Average the reference grid or given rows, or their derivative by a covariate."""
        by, specs = _texts(by), _texts(specs)
        names = [*by, *(name for name in specs if name not in by)]
        known = grid_columns(design)
        for name in names:
            if name not in known:
                raise BayesvError(
                    f"The fixed effects use no column {name!r}; they use "
                    f"{', '.join(known) or 'none'}{near(name, known)}"
                )
        grid = _grid(design, names, at, slope, over)
        offset = 0.0 if slope is not None else _mean_offset(design, {*names, *(at or ())}, over)
        if not names:
            return cls(pd.DataFrame(index=[0]), (), grid.X.mean(axis=0)[None], offset)
        keys = grid.frame.groupby(names, sort=False, observed=True).ngroup().to_numpy()
        first = np.unique(keys, return_index=True)[1]
        if len(first) > _MOST_MEANS:
            raise BayesvError(f"{len(first)} means: give some of the levels by at=.")
        L = np.stack([grid.X[keys == k].mean(axis=0) for k in range(len(first))])
        labels = grid.frame.iloc[first][names].reset_index(drop=True)
        order = labels.groupby(list(by), sort=False).ngroup().to_numpy() if by else np.zeros(len(L))
        order = np.argsort(order, kind="stable")
        return cls(labels.iloc[order].reset_index(drop=True), by, L[order], offset)

    def parts(self) -> list[tuple[dict[str, Any], NDArray[np.intp]]]:
        """Return levels of ``by`` and the means that have them."""
        if not self.by:
            return [({}, np.arange(len(self.L)))]
        groups = self.labels.groupby(list(self.by), sort=False).ngroup().to_numpy()
        return [
            (self.labels.loc[groups == k, list(self.by)].iloc[0].to_dict(),
             np.flatnonzero(groups == k))
            for k in range(groups.max() + 1)
        ]  # fmt: skip

    def names(self, rows: NDArray[np.intp]) -> list[str]:
        """Return a name of each mean without the levels of ``by``."""
        own = [name for name in self.labels.columns if name not in self.by]
        return [
            " ".join(str(value) for value in row)
            for row in self.labels.loc[rows, own].itertuples(index=False)
        ]


def _grid(
    design: Design, names: Sequence[str], at: Mapping[str, Any] | None, slope: str | None, over: Any
) -> ReferenceGrid:
    if over is not None:
        return averaged_rows(design, over, names, at, slope)
    return reference_grid(design, at) if slope is None else slope_grid(design, slope, at)


def _mean_offset(design: Design, fixed: Collection[str], over: Any) -> float:
    """Return the mean of the offset over the rows of the fit, or over given ones.

    Raises
    ------
    DataError
        If it is not known: a row has a gap, or the rows came in batches.
    """
    encoding = design.encoding
    if not isinstance(encoding, Encoding) or not encoding.formula.offset_nodes:
        return 0.0
    if over is None:
        if design.has_rows and design.offset is not None:
            return float(design.offset.mean())
        raise DataError(
            "The mean of the offset is not known, because a design that was summed up in batches "
            "keeps no rows of its data frame: give the rows to average over, as in over=df."
        )
    others = [name for name in grid_columns(design) if name not in fixed]
    complete = take_columns(over, others).notna().all(axis=1).to_numpy()
    values = np.asarray(encoding.offset(over))[complete]
    if not np.isfinite(values).all():
        raise DataError("over: the offset has gaps; drop these rows, or complete them.")
    return float(values.mean())


def weights_of(
    method: str | Mapping[str, Sequence[float]], names: Sequence[str]
) -> tuple[list[str], Array]:
    """Return names of contrasts and weights of the means, shape (c, k).

    Raises
    ------
    BayesvError
        If weights do not fit, or there is nothing to contrast.
    """
    k = len(names)
    if isinstance(method, Mapping):
        rows = [np.asarray(weights, dtype=float) for weights in method.values()]
        for name, row in zip(method, rows, strict=True):
            if row.shape != (k,) or not np.isfinite(row).all():
                raise BayesvError(
                    f"Contrast {name!r} needs a weight for each of {', '.join(names)}; found "
                    f"{row.tolist()}."
                )
        return [str(name) for name in method], np.stack(rows)
    if method not in CONTRASTS:
        raise BayesvError(
            f"method must be {', '.join(map(repr, CONTRASTS))} or a mapping of names to weights; "
            f"found {method!r}."
        )
    if k < 2:
        raise BayesvError(f"There is one mean, {', '.join(names)}, and nothing to contrast it to.")
    if method == "mean":
        return [f"{name} - mean" for name in names], np.eye(k) - 1.0 / k
    if method == "polynomial":
        degrees = ["linear", "quadratic", "cubic", *(f"degree {d}" for d in range(4, k))]
        return degrees[: k - 1], _orthogonal_polynomials(k)
    if method == "pairwise":
        pairs = list(itertools.combinations(range(k), 2))
    elif method == "reference":
        pairs = [(i, 0) for i in range(1, k)]
    else:
        pairs = [(i + 1, i) for i in range(k - 1)]
    weights = np.zeros((len(pairs), k))
    for row, (i, j) in zip(weights, pairs, strict=True):
        row[i], row[j] = 1.0, -1.0
    return [f"{names[i]} - {names[j]}" for i, j in pairs], weights


def _orthogonal_polynomials(k: int) -> Array:
    """Return orthonormal polynomials of degree 1 to k − 1 at k equal steps, shape (k − 1, k)."""
    steps = np.arange(k) - (k - 1) / 2
    Q, R = np.linalg.qr(np.vander(steps / steps.max(), increasing=True))
    return np.asarray((Q * np.sign(np.diagonal(R))).T[1:])


def _texts(names: str | Sequence[str]) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else tuple(names)
