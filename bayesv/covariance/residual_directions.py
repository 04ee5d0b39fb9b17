"""Derivatives of the residual covariance R by its natural parameters, cluster by cluster."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from bayesv.covariance.components import VarianceComponents
from bayesv.design.design import Design
from bayesv.design.parametric import ParametricResidual
from bayesv.design.residual import Residual
from bayesv.design.structured import Sequential, StructuredResidual
from bayesv.errors import DataError
from bayesv.linalg import Array
from bayesv.structures.family import Family
from bayesv.structures.stationary import Stationary
from bayesv.structures.structure import CovarianceStructure

__all__ = ["ResidualDirections", "Scaled", "residual_directions"]

Index = NDArray[np.intp]


class ResidualDirections(Protocol):
    """R and its derivatives by h parameters θ, in units of y²; rows are sets of m, (b, m)."""

    @property
    def labels(self) -> tuple[str, ...]:
        """Of the parameters, (h,)."""

    @property
    def theta(self) -> Array:
        """Values of the parameters, (h,)."""

    @property
    def is_linear(self) -> bool:
        """Whether all second derivatives are 0."""

    @property
    def features(self) -> Array:
        """What of each row R depends on, (n, f): equal features, equal R."""

    def covariance(self, rows: Index) -> Array:
        """Return R, (b, m, m)."""

    def first(self, rows: Index) -> Array:
        """Return ∂R/∂θ, (h, b, m, m)."""

    def second(self, rows: Index) -> Array:
        """Return ∂²R/∂θ∂θ', (h, h, b, m, m)."""


def residual_directions(design: Design, vc: VarianceComponents) -> ResidualDirections:
    """Return the derivatives for components that are aligned with the design.

    Raises
    ------
    DataError
        If the residuals have parameters of a kind without derivatives.
    """
    form = design.residual
    if not isinstance(form, ParametricResidual):
        return Scaled(form, vc.sigma2)
    if not isinstance(form, StructuredResidual):
        raise DataError(
            f"Kenward–Roger: R of {form.describe()} has no derivatives by its parameters."
        )
    relative, z, exponents = form.parameters(vc.residual, vc.sigma2)
    return _Structured(form, vc.sigma * relative, z, exponents)


@dataclass(frozen=True, eq=False)
class Scaled:
    """R = σ² times what is known; σ = 1 and no parameter if R itself is."""

    form: Residual
    sigma2: float

    is_linear = True

    @property
    def labels(self) -> tuple[str, ...]:  # noqa: D102
        return () if self.form.scale_is_known else ("sigma2",)

    @property
    def theta(self) -> Array:  # noqa: D102
        return np.full(len(self.labels), self.sigma2)

    @property
    def features(self) -> Array:  # noqa: D102
        if self.form.clusters is None:
            return np.asarray(self.form.weights[:, None])
        return np.arange(self.form.size, dtype=float)[:, None]  # any block may be another

    def covariance(self, rows: Index) -> Array:  # noqa: D102
        return np.asarray(self.sigma2 * self.form.block(rows))

    def first(self, rows: Index) -> Array:  # noqa: D102
        return np.asarray(self.form.block(rows)[None])[: len(self.labels)]

    def second(self, rows: Index) -> Array:  # noqa: D102
        h, m = len(self.labels), rows.shape[-1]
        return np.zeros((h, h, len(rows), m, m))


@dataclass(frozen=True, eq=False)
class _Structured:
    """R = s s' ∘ B: B of a family by its natural parameters, log s linear in exponents.

    Where strata have variances of their own, these are in s, and B is a correlation.
    """

    form: StructuredResidual
    sds: Array
    z: Array
    exponents: Array

    @property
    def part(self) -> Sequential | None:
        return self.form.sequential

    @cached_property
    def scaled(self) -> bool:
        """Whether variances are in s."""
        return self.part is None or self.form.scales.strata is not None

    @cached_property
    def thetas(self) -> list[Array]:
        """Parameters of B of each group."""
        if self.part is None:
            return []
        structure = self.part.structure
        if self.scaled:
            return [structure.natural(z) for z in self.z]
        table = np.broadcast_to(
            self.sds.reshape(-1, structure.n_sds), (self.part.n_groups, structure.n_sds)
        )
        return [structure.theta(sds, z) for sds, z in zip(table, self.z, strict=True)]

    @cached_property
    def theta(self) -> Array:
        variances = self.sds**2 if self.scaled else np.zeros(0)
        return np.concatenate([variances, self.exponents, *self.thetas])

    @cached_property
    def labels(self) -> tuple[str, ...]:
        form, strata = self.form, self.form.scales.strata
        labels: tuple[str, ...] = ()
        if self.scaled:
            levels = ("variance",) if strata is None else strata.levels
            labels = levels if strata is None else tuple(f"variance {x}" for x in levels)
        labels += form.scales.exponent_labels
        if self.part is not None:
            structure, visits = self.part.structure, self.part.series.visits
            own = structure.corr_labels if self.scaled else structure.theta_labels
            labels += self.part.by_group(own(visits))
        return tuple(f"Residual: {label}" for label in labels)

    @cached_property
    def is_linear(self) -> bool:
        if self.scaled and self.part is None and not self.form.scales.powers:
            return True
        return not self.form.scales and self.part is not None and self.part.structure.is_linear

    @cached_property
    def features(self) -> Array:
        scales, known = self.form.scales, self.form.known
        columns: list[NDArray[Any]] = [power.log_x for power in scales.powers]
        columns += [] if scales.strata is None else [scales.strata.codes]
        columns += [] if known is None else [known]
        if self.part is not None:
            series = self.part.series
            columns += [series.group, series.visit if series.by_visit else series.coordinates]
        return np.column_stack([np.zeros((self.form.n, 0)), *columns])

    # --- the scale of a row ----------------------------------------------------------------------

    @cached_property
    def log_slopes(self) -> Array:
        """Derivatives of log s by what it depends on, (n, q): variances, then exponents."""
        n, scales = self.form.n, self.form.scales
        slopes = [power.log_x for power in scales.powers]
        if not self.scaled:
            return np.array(slopes).reshape(len(slopes), n).T
        codes = np.zeros(n, np.intp) if scales.strata is None else scales.strata.codes
        owns = codes[:, None] == np.arange(len(self.sds))
        return np.column_stack([owns / (2.0 * self.sds**2), *slopes])

    @cached_property
    def scale(self) -> Array:
        """Return s of every row, (n,)."""
        scales, known = self.form.scales, self.form.known
        scale = scales.at(self.exponents, self.form.n)
        if scales.strata is not None:
            scale = scale * self.sds[scales.strata.codes]
        elif self.scaled:
            scale = scale * self.sds[0]
        return scale if known is None else scale / np.sqrt(known)

    def _outer(self, rows: Index) -> Array:
        scale = self.scale[rows]
        return np.asarray(scale[:, :, None] * scale[:, None, :])

    def _slopes(self, rows: Index) -> Array:
        """Return ∂log(s_i s_j), (q, b, m, m)."""
        by_row = np.moveaxis(self.log_slopes[rows], 2, 0)
        return np.asarray(by_row[:, :, :, None] + by_row[:, :, None, :])

    # --- the family ------------------------------------------------------------------------------

    def _families(self, rows: Index) -> Iterator[tuple[int, Index, CovarianceStructure, Index]]:
        """Yield group, which sets have rows of it, a family and where in it these rows are."""
        assert self.part is not None
        series, structure = self.part.series, self.part.structure
        groups = series.group[rows]
        if series.by_visit:
            for g in np.unique(groups).tolist():
                sets = np.flatnonzero((groups == g).any(axis=1))
                yield g, sets, structure, series.visit[rows[sets]]
            return
        assert isinstance(structure, Stationary)
        everywhere = np.arange(rows.shape[1])[None]
        for k, chosen in enumerate(rows):
            places = series.coordinates[chosen].tolist()
            positions = tuple(p[0] if len(p) == 1 else tuple(p) for p in places)
            for g in np.unique(groups[k]).tolist():
                yield g, np.array([k]), structure.on(positions), everywhere

    def _table(self, structure: CovarianceStructure, group: int, order: int) -> Array:
        """Return B or derivatives of it by the parameters of its group, (…, r, r)."""
        theta = self.thetas[group]
        if self.scaled:
            assert isinstance(structure, Family)
            return (structure.correlations, structure.corr_first, structure.corr_second)[order](
                theta
            )
        return (structure.natural_covariance, structure.first, structure.second)[order](theta)

    def _family(self, rows: Index, order: int) -> Array:
        """Return B or derivatives of it, (b, m, m) after 0 to 2 axes of parameters of groups."""
        b, m = rows.shape
        h = sum(len(theta) for theta in self.thetas)
        B = np.zeros((*[h] * order, b, m, m))
        if self.part is None:  # a row is correlated with itself alone
            return B + np.eye(m) if not order else B
        series = self.part.series
        for g, sets, structure, places in self._families(rows):
            start = sum(len(theta) for theta in self.thetas[:g])
            own = slice(start, start + len(self.thetas[g]))
            table = self._table(structure, g, order)
            block = table[..., places[:, :, None], places[:, None, :]]
            place: tuple[Any, ...] = (*[own] * order, sets)
            B[place] += block * (series.group[rows[sets]] == g)[:, :, None]
        codes = series.codes[rows]
        return np.asarray(B * (codes[:, :, None] == codes[:, None, :]))

    # --- R ---------------------------------------------------------------------------------------

    def covariance(self, rows: Index) -> Array:
        return np.asarray(self._outer(rows) * self._family(rows, 0))

    def first(self, rows: Index) -> Array:
        outer = self._outer(rows)
        of_scale = self._slopes(rows) * (outer * self._family(rows, 0))
        return np.concatenate([of_scale, outer * self._family(rows, 1)])

    def second(self, rows: Index) -> Array:
        outer, slopes = self._outer(rows), self._slopes(rows)
        R, q = outer * self._family(rows, 0), len(slopes)
        by_family = outer * self._family(rows, 1)
        h = q + len(by_family)
        second = np.zeros((h, h, *R.shape))
        second[:q, :q] = slopes[:, None] * slopes[None] * R
        if self.scaled:
            k = np.arange(len(self.sds))
            second[k, k] -= slopes[k] / self.sds[:, None, None, None] ** 2 * R
        second[:q, q:] = slopes[:, None] * by_family[None]
        second[q:, :q] = np.swapaxes(second[:q, q:], 0, 1)
        if self.part is not None and not self._family_is_linear:
            second[q:, q:] = outer * self._family(rows, 2)
        return second

    @property
    def _family_is_linear(self) -> bool:
        return not self.scaled and self.part is not None and self.part.structure.is_linear
