"""Residuals correlated over the visits, times or places of a series."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from bayesv.design.blockwise import Blockwise
from bayesv.design.parametric import ParametricResidual, ResidualValues
from bayesv.design.residual import Index, Residual
from bayesv.design.series import Series
from bayesv.errors import ComponentsError, DataError
from bayesv.linalg import Array
from bayesv.structures.stationary import Stationary
from bayesv.structures.structure import CovarianceStructure

__all__ = ["SeriesResidual"]


@dataclass(frozen=True, eq=False)
class SeriesResidual(ParametricResidual):
    """R = D C D with C of a family, within series; 0 between them.

    Attributes
    ----------
    text : str
        As written: ``ar1(day | subject)``.
    series : Series
    structure : CovarianceStructure
        Of the planned visits; where positions are times or places, a stationary family.
    known : ndarray, shape (n,), or None
        Known w: the variance of a row is divided by it.
    """

    text: str
    series: Series
    structure: CovarianceStructure
    known: Array | None = None

    @property
    def size(self) -> int:
        """Number of rows, n."""
        return self.series.n

    @property
    def clusters(self) -> Index:
        """Series of each row."""
        return self.series.codes

    @property
    def weight_range(self) -> tuple[float, float] | None:
        """Smallest and largest known weight, if there are any."""
        return None if self.known is None else (self.known.min(), self.known.max())

    @cached_property
    def sd_labels(self) -> tuple[str, ...]:
        """Visits where each has an SD, groups where each group has."""
        labels = self.structure.sd_labels(self.series.visits)
        if self.structure.n_sds == 1:
            return self.series.groups
        return self._by_group(labels)

    @cached_property
    def corr_labels(self) -> tuple[str, ...]:
        """Labels of the family, of each group if there are any."""
        return self._by_group(self.structure.corr_labels(self.series.visits))

    def _by_group(self, labels: Sequence[str]) -> tuple[str, ...]:
        if not self.series.groups:
            return tuple(labels)
        return tuple(f"{group}: {label}" for group in self.series.groups for label in labels)

    @property
    def n_groups(self) -> int:
        """How many sets of parameters there are."""
        return max(len(self.series.groups), 1)

    def describe(self) -> str:
        """Return the structure in words."""
        sizes = self.series.sizes
        rows = f"{sizes.min()}" if sizes.min() == sizes.max() else f"{sizes.min()} to {sizes.max()}"
        visits = f", {len(self.series.visits)} visits" if self.series.by_visit else ""
        return f"{self.text}: {len(sizes)} series of {rows} rows{visits}"

    # --- values ----------------------------------------------------------------------------------

    def values_of(self, sds: Array, z: Array) -> tuple[ResidualValues, float]:
        """Return labelled values, and σ², of free SDs, (groups, n_sds), and coordinates z."""
        natural = np.concatenate([np.atleast_1d(self.structure.natural(part)) for part in z])
        sigma2 = self.sigma2_of(sds)
        labelled = dict(zip(self.sd_labels, map(float, np.ravel(sds)), strict=False))
        corr = dict(zip(self.corr_labels, map(float, natural), strict=True))
        return ResidualValues(labelled if self.sd_labels else {}, corr), sigma2

    def parameters(self, values: ResidualValues | None, sigma2: float) -> tuple[Array, Array]:
        """Return free SDs over σ, (groups, n_sds), and coordinates z, (groups, m), of values."""
        values = self.aligned(values, sigma2)
        sds = np.array(list(values.sd.values())) / np.sqrt(sigma2)
        if not self.sd_labels:
            sds = np.ones(self.n_groups)
        natural = np.array(list(values.corr.values())).reshape(self.n_groups, -1)
        try:
            z = np.stack([self.structure.from_natural(part) for part in natural])
        except DataError as error:
            raise ComponentsError(f"residual corr: {error}") from error
        return sds.reshape(self.n_groups, -1), z

    def member(self, values: ResidualValues, sigma2: float) -> Residual:
        """Return R over σ² at these values."""
        sds, z = self.parameters(values, sigma2)
        return Blockwise.of(self.series.codes, lambda rows: self.covariance(rows, sds, z))

    def covariance(self, rows: Index, sds: Array, z: Array) -> Array:
        """Return covariances of sets of m rows of a series, (S, m) → (S, m, m).

        Parameters
        ----------
        rows : ndarray of int, shape (S, m)
        sds, z : ndarray, shapes (groups, n_sds) and (groups, m)
        """
        group = self.series.group[rows[:, 0]]
        if self.series.by_visit:
            corr = np.stack([self.structure.corr(part) for part in z])
            visit = self.series.visit[rows]
            blocks = corr[group[:, None, None], visit[:, :, None], visit[:, None, :]]
            scale = self.structure.sds(sds)[group[:, None], visit]
        else:
            blocks = self._by_distance(rows, group, z)
            scale = np.broadcast_to(sds[group], rows.shape)
        if self.known is not None:
            scale = scale / np.sqrt(self.known[rows])
        return np.asarray(scale[:, :, None] * blocks * scale[:, None, :])

    def _by_distance(self, rows: Index, group: Index, z: Array) -> Array:
        """Return correlations of rows at times or places."""
        structure = self.structure
        assert isinstance(structure, Stationary)
        places = self.series.coordinates[rows]
        own = np.eye(rows.shape[1], dtype=bool)
        lags = np.sqrt(((places[:, :, None] - places[:, None]) ** 2).sum(axis=-1))
        # Of two rows at one place the nugget tells apart; a row is one with itself.
        lags = np.where(own, 0.0, np.maximum(lags, np.finfo(float).tiny))
        blocks = np.empty(lags.shape)
        for k, part in enumerate(z):
            mine = group == k
            blocks[mine] = structure.at_lags(structure.natural(part), lags[mine])
        return blocks

    def take(self, rows: Index | slice) -> Residual:
        """Return the residuals of some of the rows."""
        chosen = np.arange(self.size)[rows]
        known = None if self.known is None else self.known[chosen]
        return replace(self, series=self.series.take(chosen), known=known)
