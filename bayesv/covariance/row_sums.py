"""Sums over rows that functionals of V are made of: of rows at hand, or of rows read again."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from bayesv.design.design import Design, DesignSummary
from bayesv.formula.rows_again import Totals
from bayesv.linalg import Array

__all__ = ["KeptSums", "RowSums", "row_sums"]


class RowSums(Protocol):
    """Sums over the n rows of a design; terms are told by their grouping factor."""

    @property
    def log_det(self) -> float:
        """log|R/σ²|."""

    @property
    def inverse(self) -> float:
        """Tr R/σ²."""

    @property
    def of_R(self) -> float:
        """Sum of R/σ² over all pairs of rows."""

    @property
    def cov_X(self) -> Array:
        """Covariances of the columns of X over rows, (p, p)."""

    def squares(self, group: str) -> Array:
        """Σ K_jj z z', (r, r)."""

    def pairs(self, group: str) -> Array:
        """Σ z_i K z_k' over all pairs of rows, (r, r)."""

    def totals(self, group: str) -> Array:
        """Sum of z over the rows of every level, (J, r)."""

    def counts(self, group: str) -> Array:
        """Rows of every level, (J,)."""

    def noises(self, group: str) -> Array:
        """Sum of R/σ² over all pairs of rows of every level, (J,)."""

    def apart(self, group: str) -> float:
        """Sum of R/σ² over pairs of different rows of one level."""

    def level_products(self, group: str, other: str) -> Array:
        """Σ_ik z_i K z_k' of the other term over pairs of rows of every level, (J, r, r)."""

    def contains(self, coarse: str, fine: str) -> bool:
        """Whether each level of the fine factor lies in one level of the coarse one."""


def row_sums(design: Design) -> RowSums:
    """Return the sums of a design; one that keeps no rows reads them again, in one pass.

    Raises
    ------
    DataError
        If the rows cannot be read again.
    """
    if not design.has_rows:
        return _OfTotals(design, cast(DesignSummary, design).totals())
    return _OfRows(design)


class KeptSums:
    """Sums that are kept once they are made; for many values of the parameters of one design.

    Parameters
    ----------
    sums : RowSums
    """

    def __init__(self, sums: RowSums) -> None:
        self._sums = sums
        self._kept: dict[tuple[str, ...], Any] = {}

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._sums, name)
        if not callable(value):
            return value

        def kept(*groups: str) -> Any:
            if (name, *groups) not in self._kept:
                self._kept[name, *groups] = value(*groups)
            return self._kept[name, *groups]

        return kept


class _OfRows:
    """Of a design that keeps its rows."""

    def __init__(self, design: Design) -> None:
        self.design, self.residual = design, design.residual
        self.log_det, self.inverse = design.residual.log_det, float(self.residual.diagonal.sum())

    @cached_property
    def of_R(self) -> float:
        if self.residual.clusters is None:
            return self.inverse
        return float(self.residual.matrix.sum())

    @cached_property
    def cov_X(self) -> Array:
        return np.atleast_2d(np.cov(self.design.X.T))

    def squares(self, group: str) -> Array:
        term = self.design.term(group)
        own = np.ones(len(term.codes))
        if term.related is not None:
            own = term.related.variances[term.codes]
        return np.asarray((term.values * own[:, None]).T @ term.values)

    def pairs(self, group: str) -> Array:
        totals, term = self.totals(group), self.design.term(group)
        between: Any = sparse.eye_array(term.n_levels) if term.related is None else term.related.K
        return np.asarray(totals.T @ between @ totals)

    def totals(self, group: str) -> Array:
        term = self.design.term(group)
        columns = [np.bincount(term.codes, column, term.n_levels) for column in term.values.T]
        return np.column_stack(columns)

    def counts(self, group: str) -> Array:
        term = self.design.term(group)
        return np.bincount(term.codes, minlength=term.n_levels).astype(float)

    def noises(self, group: str) -> Array:
        term = self.design.term(group)
        if self.residual.clusters is None:
            return np.bincount(term.codes, self.residual.diagonal, term.n_levels)
        R = sparse.coo_array(self.residual.matrix)
        left, right = (term.codes[places] for places in R.coords)
        same = left == right
        return np.bincount(left[same], R.data[same], term.n_levels)

    def apart(self, group: str) -> float:
        if self.residual.clusters is None:
            return 0.0
        term = self.design.term(group)
        own = np.bincount(term.codes, self.residual.diagonal, term.n_levels)
        return float((self.noises(group) - own).sum())

    def level_products(self, group: str, other: str) -> Array:
        term, of = self.design.term(group), self.design.term(other)
        if group == other and of.related is None:
            totals = self.totals(group)
            return np.asarray(totals[:, :, None] * totals[:, None, :])
        shape = (term.n_levels, of.n_levels)
        cells = [sparse.csr_array((z, (term.codes, of.codes)), shape=shape) for z in of.values.T]
        moved = cells
        if of.related is not None:
            K = sparse.csr_array(of.related.K)
            moved = [cell @ K for cell in cells]
        parts = [np.stack([(a * b).sum(axis=1) for b in cells], axis=1) for a in moved]
        return np.stack(parts, axis=1)

    def contains(self, coarse: str, fine: str) -> bool:
        one, two = self.design.term(coarse), self.design.term(fine)
        pairs = two.codes.astype(np.int64) * one.n_levels + one.codes
        return len(np.unique(pairs)) == len(np.unique(two.codes))


class _OfTotals:
    """Of rows that were read again: levels are not related, and residuals are independent.

    Each term has its columns z, then 1 and 1/√w, so that products within levels and where two
    factors meet have all sums.
    """

    def __init__(self, design: Design, totals: Totals) -> None:
        self.totals_read, self.place = totals, {g: i for i, g in enumerate(design.groups)}
        self.r: Mapping[str, int] = {term.group: term.n_columns for term in design.terms}
        self.log_det, self.inverse, self.cov_X = totals.log_det, totals.inverse, totals.cov_X

    @property
    def of_R(self) -> float:
        return self.inverse

    def _level_blocks(self, group: str) -> Array:
        return self.totals_read.moments.A[self.place[group]]

    def squares(self, group: str) -> Array:
        r = self.r[group]
        return np.asarray(self._level_blocks(group)[:, :r, :r].sum(axis=0))

    def pairs(self, group: str) -> Array:
        totals = self.totals(group)
        return np.asarray(totals.T @ totals)

    def totals(self, group: str) -> Array:
        r = self.r[group]
        return self._level_blocks(group)[:, :r, r]

    def counts(self, group: str) -> Array:
        r = self.r[group]
        return self._level_blocks(group)[:, r, r]

    def noises(self, group: str) -> Array:
        return self._level_blocks(group)[:, -1, -1]

    def apart(self, group: str) -> float:
        return 0.0

    def _meeting(self, group: str, other: str) -> tuple[NDArray[np.intp], NDArray[np.intp], Array]:
        """Return the levels of both factors where they meet, and the products there."""
        i, j = self.place[group], self.place[other]
        pairs = self.totals_read.moments.pairs[min(i, j), max(i, j)]
        pairs = pairs if i < j else pairs.transposed
        return pairs.i, pairs.j, pairs.blocks

    def level_products(self, group: str, other: str) -> Array:
        if group == other:
            totals = self.totals(group)
            return np.asarray(totals[:, :, None] * totals[:, None, :])
        levels, _, blocks = self._meeting(group, other)
        z = blocks[:, self.r[group], : self.r[other]]
        products = np.zeros((len(self.counts(group)), z.shape[1], z.shape[1]))
        np.add.at(products, levels, z[:, :, None] * z[:, None, :])
        return products

    def contains(self, coarse: str, fine: str) -> bool:
        return coarse == fine or len(self._meeting(fine, coarse)[0]) == len(self.counts(fine))
