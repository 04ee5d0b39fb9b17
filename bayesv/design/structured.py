"""Residuals with a structure: correlated within series, SDs by visit, stratum or covariate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bayesv.design.blockwise import Blockwise
from bayesv.design.labels import check_fields
from bayesv.design.parametric import ParametricResidual, ResidualValues
from bayesv.design.residual import Independent, Index, Residual
from bayesv.design.row_scales import RowScales
from bayesv.design.series import Series
from bayesv.errors import ComponentsError, DataError
from bayesv.linalg import Array
from bayesv.structures.antedependence import ChainRoot
from bayesv.structures.spatial import Spatial
from bayesv.structures.stationary import Stationary
from bayesv.structures.structure import CovarianceStructure
from bayesv.support.arguments import TEXT, a, array, called, optional, whole

__all__ = ["Parameters", "Sequential", "StructuredResidual"]

_FIELDS = {
    "text": TEXT, "sequential": optional(called("Sequential")), "scales": a(RowScales),
    "known": optional(array(1, "biuf")), "n": whole(1),
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Sequential:
    """What a correlation within series needs: the series, and the family over their positions.

    Attributes
    ----------
    series : Series
    structure : CovarianceStructure
        Of the planned visits; where positions are times or places, a stationary family.
    """

    series: Series
    structure: CovarianceStructure

    def __post_init__(self) -> None:
        check_fields(self, {"series": a(Series), "structure": a(CovarianceStructure)})
        series, structure = self.series, self.structure
        fits = structure.size == len(series.visits)
        if not series.by_visit:
            fits = isinstance(structure, Stationary)
        if not fits:
            raise DataError(
                f"{structure} of {len(series.visits)} visits of {series.label!r}: a family has a "
                "row for each visit, or is a function of the distance of two places."
            )

    @property
    def n_groups(self) -> int:
        """How many sets of parameters there are."""
        return max(len(self.series.groups), 1)

    def by_group(self, labels: Sequence[str]) -> tuple[str, ...]:
        """Return labels for each group of series, if there are groups."""
        if not self.series.groups:
            return tuple(labels)
        return tuple(f"{group}: {label}" for group in self.series.groups for label in labels)

    def take(self, rows: Index) -> Sequential:
        """Return some of the rows."""
        return replace(self, series=self.series.take(rows))


class Parameters(NamedTuple):
    """Values of what R over σ² depends on.

    Attributes
    ----------
    sds : ndarray, shape (k,)
        Labelled standard deviations over σ; one number, 1, where there are none.
    z : ndarray, shape (groups, m)
        Coordinates of the correlation.
    exponents : ndarray, shape (e,)
    """

    sds: Array
    z: Array
    exponents: Array


@dataclass(frozen=True, eq=False)
class StructuredResidual(ParametricResidual):
    """R = D C D: C of a family within series, D by visits, groups, strata or covariates.

    Attributes
    ----------
    text : str
        As written: ``ar1(day | subject)``, ``strata(sex)``.
    sequential : Sequential or None
        None where rows are uncorrelated.
    scales : RowScales
    known : ndarray, shape (n,), or None
        Known w: the variance of a row is divided by it.
    n : int
        Number of rows.
    """

    text: str
    sequential: Sequential | None
    scales: RowScales
    known: Array | None
    n: int

    def __post_init__(self) -> None:
        check_fields(self, _FIELDS)
        strata, part = self.scales.strata, self.sequential
        sizes = {self.n} | self.scales.sizes
        sizes |= set() if part is None else {part.series.n}
        sizes |= set() if self.known is None else {len(self.known)}
        if len(sizes) > 1:
            raise DataError(f"{self.text}: its parts have {sorted(sizes)} rows; they must agree.")
        if self.known is not None and not (np.isfinite(self.known) & (self.known > 0)).all():
            raise DataError(f"{self.text}: known weights must be positive numbers.")
        several = part is not None and (part.structure.n_sds > 1 or part.series.groups)
        if strata is not None and several:
            raise DataError(
                f"{self.text}: standard deviations of {strata.name} and of the visits or groups "
                "of the correlation are both stated. Give the correlation one SD (cs, ar1, toep, "
                f"ad) beside strata, or parameters by group: 'us(visit | {strata.name} / series)'."
            )
        if strata is not None and len(strata.levels) < 2:
            raise DataError(f"{self.text}: {strata.name} has one level in the rows used.")

    @property
    def size(self) -> int:
        """Number of rows, n."""
        return self.n

    @property
    def clusters(self) -> Index | None:
        """Series of each row; None where rows are uncorrelated."""
        return None if self.sequential is None else self.sequential.series.codes

    @property
    def weight_range(self) -> tuple[float, float] | None:
        """Smallest and largest known weight, if there are any."""
        return None if self.known is None else (self.known.min(), self.known.max())

    @property
    def by_visit(self) -> bool:
        """Whether R is a function of visits alone."""
        part = self.sequential
        return part is not None and part.series.by_visit and not self.scales

    @property
    def smooth_beside(self) -> float | None:
        """Distance of the nearest rows where correlations are smooth at 0; None elsewhere."""
        if (part := self.sequential) is None or not isinstance(part.structure, Spatial):
            return None
        rough = part.structure.nugget or isinstance(part.structure, ChainRoot)
        near = part.series.nearest
        return None if rough or not len(near) else float(near.min())

    @property
    def series(self) -> Series | None:
        """Which rows are correlated; None if none are."""
        return None if self.sequential is None else self.sequential.series

    def equals(self, other: StructuredResidual) -> bool:
        """Return whether another has the same family over the same rows and weights."""
        if self.text != other.text or self.n != other.n or self.labels != other.labels:
            return False
        mine, theirs = self._rows, other._rows
        return len(mine) == len(theirs) and all(map(np.array_equal, mine, theirs))

    @property
    def labels(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Labels of the standard deviations, and of what else there is."""
        return self.sd_labels, self.corr_labels

    @property
    def _rows(self) -> list[NDArray[Any]]:
        """What of each row R depends on."""
        part, scales = self.sequential, self.scales
        rows: list[NDArray[Any]] = [power.log_x for power in scales.powers]
        rows += [] if self.known is None else [self.known]
        rows += [] if scales.strata is None else [scales.strata.codes]
        if part is not None:
            series = part.series
            rows += [pd.factorize(series.codes)[0], series.visit, series.coordinates, series.group]
        return rows

    # --- labels ----------------------------------------------------------------------------------

    @cached_property
    def sd_labels(self) -> tuple[str, ...]:
        """Visits, groups or strata, where each has an SD."""
        if self.scales.strata is not None:
            return self.scales.strata.levels
        if self.sequential is None:
            return ()
        structure, series = self.sequential.structure, self.sequential.series
        if structure.n_sds == 1:
            return series.groups
        return self.sequential.by_group(structure.sd_labels(series.visits))

    @cached_property
    def corr_labels(self) -> tuple[str, ...]:
        """Labels of the family, of each group if there are any; then the exponents."""
        labels = self.scales.exponent_labels
        if self.sequential is None:
            return labels
        structure, series = self.sequential.structure, self.sequential.series
        return self.sequential.by_group(structure.corr_labels(series.visits)) + labels

    def describe(self) -> str:
        """Return the structure in words."""
        if self.sequential is None:
            return self.text
        series = self.sequential.series
        least, most = series.sizes.min(), series.sizes.max()
        rows = f"{least}" if least == most else f"{least} to {most}"
        visits = f", {len(series.visits)} visits" if series.by_visit else ""
        return f"{self.text}: {len(series.sizes)} series of {rows} rows{visits}"

    # --- values ----------------------------------------------------------------------------------

    def values_of(self, parameters: Parameters, sigma2: float) -> tuple[ResidualValues, float]:
        """Return labelled values and σ², the mean of the variances that have labels.

        Parameters
        ----------
        parameters : Parameters
        sigma2 : float
            What the SDs of ``parameters`` are relative to.
        """
        sds = np.sqrt(sigma2) * parameters.sds
        values = ResidualValues(
            dict(zip(self.sd_labels, map(float, sds), strict=True)) if self.sd_labels else {},
            dict(zip(self.corr_labels, map(float, self.numbers(parameters)), strict=True)),
        )
        return values, self.sigma2_of(sds)

    def numbers(self, parameters: Parameters) -> Array:
        """Return what `corr_labels` name: natural parameters of C, exponents; shape (..., k)."""
        if self.sequential is None:
            return parameters.exponents
        natural = self.sequential.structure.natural(parameters.z)
        flat = natural.reshape(*natural.shape[:-2], -1)
        return np.concatenate([flat, parameters.exponents], axis=-1)

    def of_numbers(self, sds: Array, numbers: Array) -> Parameters:
        """Return the parameters of SDs over σ, (..., k), and what `corr_labels` name.

        Raises
        ------
        DataError
            If these are of no correlation of the family.
        """
        stop = numbers.shape[-1] - len(self.scales.powers)
        natural, exponents = numbers[..., :stop], numbers[..., stop:]
        if self.sequential is None:
            return Parameters(sds, np.zeros((*numbers.shape[:-1], 0, 0)), exponents)
        groups = natural.reshape(*natural.shape[:-1], self.sequential.n_groups, -1)
        return Parameters(sds, self.sequential.structure.from_natural(groups), exponents)

    def parameters(self, values: ResidualValues | None, sigma2: float) -> Parameters:
        """Return the parameters of labelled values.

        Raises
        ------
        ComponentsError
            If labels do not fit, or correlations are none.
        """
        values = self.aligned(values, sigma2)
        sds = np.array(list(values.sd.values()) or [np.sqrt(sigma2)]) / np.sqrt(sigma2)
        try:
            return self.of_numbers(sds, np.array(list(values.corr.values())))
        except DataError as error:
            raise ComponentsError(f"residual corr: {error}") from error

    def member(self, values: ResidualValues, sigma2: float) -> Residual:
        """Return R over σ² at these values."""
        return self.member_of(self.parameters(values, sigma2))

    def member_of(self, parameters: Parameters) -> Residual:
        """Return R over σ² at parameters."""
        row_sds = self.row_sds(parameters)
        if self.sequential is None:
            return Independent(1.0 / row_sds**2)
        return Blockwise.of(
            self.sequential.series.codes, lambda rows: self._blocks(rows, row_sds, parameters.z)
        )

    def covariance(self, parameters: Parameters, rows: Index) -> Array:
        """Return R over σ² of sets of m rows, (S, m) → (..., S, m, m).

        It may be singular: two rows may stand at one position.
        """
        R = self._blocks(rows, self.row_sds(parameters), parameters.z)
        if self.sequential is None:
            return np.where(np.eye(rows.shape[1]) > 0, R, 0.0)
        codes = self.sequential.series.codes[rows]
        return np.where(codes[:, :, None] == codes[:, None, :], R, 0.0)

    def _blocks(self, rows: Index, row_sds: Array, z: Array) -> Array:
        scale = row_sds[..., rows]
        both = scale[..., :, None] * scale[..., None, :]
        return np.asarray(both if self.sequential is None else both * self.correlations(rows, z))

    @cached_property
    def sd_codes(self) -> Index:
        """Place of each row's standard deviation among those with labels, shape (n,)."""
        if self.scales.strata is not None:
            return self.scales.strata.codes
        if self.sequential is None or not self.sd_labels:
            return np.zeros(self.n, np.intp)
        series, structure = self.sequential.series, self.sequential.structure
        codes = series.group * structure.n_sds
        return codes + structure.sd_of_row[series.visit] if series.by_visit else codes

    def row_sds(self, parameters: Parameters) -> Array:
        """Return the SD of every row over σ, shape (..., n)."""
        scale = np.ones((*parameters.sds.shape[:-1], self.n))
        if self.sd_labels:
            scale = parameters.sds[..., self.sd_codes]
        scale = scale * self.scales.at(parameters.exponents, self.n)
        return np.asarray(scale if self.known is None else scale / np.sqrt(self.known))

    def lags(self, rows: Index) -> Array:
        """Return lags of sets of m rows of a series, (S, m) → (S, m, m), of a stationary family."""
        assert self.sequential is not None
        series = self.sequential.series
        if series.by_visit:
            places = series.times[series.visit[rows]]
            return np.asarray(np.abs(places[:, :, None] - places[:, None]))
        places = series.coordinates[rows]
        lags = np.sqrt(((places[:, :, None] - places[:, None]) ** 2).sum(axis=-1))
        # Two rows at one place are told apart by a nugget; a row is one with itself.
        return np.where(np.eye(rows.shape[1]) > 0, 0.0, np.maximum(lags, np.finfo(float).tiny))

    def correlations(self, rows: Index, z: Array, lags: Array | None = None) -> Array:
        """Return correlations of sets of m rows as if each set were a series, (S, m) → (S, m, m).

        Parameters
        ----------
        rows : ndarray of int, shape (S, m)
        z : ndarray, shape (..., groups, m)
            For which correlations have the same leading axes.
        lags : ndarray, shape (S, m, m), optional
            Of a stationary family, `lags` of the rows if they are known.
        """
        assert self.sequential is not None
        series, structure = self.sequential.series, self.sequential.structure
        group = series.group[rows]
        if not isinstance(structure, Stationary):
            corr, visit = structure.corr(z), series.visit[rows]
            places = group[:, :, None], visit[:, :, None], visit[:, None, :]
            return np.asarray(corr[..., *places])
        lags = self.lags(rows) if lags is None else lags
        corr = structure.at_lags(structure.natural(z[..., 0, :]), lags)
        for k in range(1, z.shape[-2]):
            own = structure.at_lags(structure.natural(z[..., k, :]), lags)
            corr = np.where(group[:, :, None] == k, own, corr)
        return np.asarray(corr)

    def take(self, rows: Index | slice) -> Residual:
        """Return the residuals of some of the rows."""
        chosen = np.arange(self.n)[rows]
        part = None if self.sequential is None else self.sequential.take(chosen)
        known = None if self.known is None else self.known[chosen]
        return replace(
            self, sequential=part, scales=self.scales.take(chosen), known=known, n=len(chosen)
        )
