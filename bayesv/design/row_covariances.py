"""R over σ² of sets of rows by the parameters of structured residuals, and derivatives back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import numpy as np

from bayesv.design.residual import Index
from bayesv.design.structured import Parameters, StructuredResidual
from bayesv.linalg import Array
from bayesv.structures.stationary import Stationary
from bayesv.structures.structure import CovarianceStructure
from bayesv.support.memory import refuse_unless

__all__ = ["RowCovariances"]

_COPIES = 6  # of the covariances: lags, correlations, roots, inverses, derivatives


@dataclass(frozen=True, eq=False)
class RowCovariances:
    """R over σ² of sets of rows, each within a series, without known weights.

    Attributes
    ----------
    form : StructuredResidual
        Of the rows that are in some set.
    sets : tuple of ndarray of int, shapes (P, T)
        Places of their rows in ``form``.
    """

    form: StructuredResidual
    sets: tuple[Index, ...]

    @classmethod
    def of(cls, form: StructuredResidual, sets: Sequence[Index]) -> Self:
        """Return those of sets of rows of residuals, shapes (P, T)."""
        refuse_unless(
            8.0 * _COPIES * sum(float(part.size) * part.shape[1] for part in sets),
            f"The covariance of {form.text} within sets of up to "
            f"{max((part.shape[1] for part in sets), default=0):,} rows",
            "Divide the rows into smaller series.",
        )
        rows, places = np.unique(
            np.concatenate([np.zeros(0, np.intp), *(part.ravel() for part in sets)]),
            return_inverse=True,
        )
        stops = np.cumsum([part.size for part in sets])[:-1]
        parts = [
            place.reshape(part.shape)
            for place, part in zip(np.split(places.ravel(), stops), sets, strict=True)
        ]
        chosen = form.take(rows)
        assert isinstance(chosen, StructuredResidual)
        return cls(replace(chosen, known=None), tuple(parts))

    @cached_property
    def _pairs(self) -> tuple[tuple[Index, Index], ...]:
        """Places of two different rows of each set, in order."""
        return tuple(np.triu_indices(rows.shape[1], 1) for rows in self.sets)

    @cached_property
    def _lags(self) -> tuple[Array | None, ...]:
        """Lags of the rows of each set, (P, T, T), where correlations are functions of them."""
        part = self.form.sequential
        by_lags = part is not None and isinstance(part.structure, Stationary)
        return tuple(self.form.lags(rows) if by_lags else None for rows in self.sets)

    def at(self, parameters: Parameters) -> list[Array]:
        """Return the covariances, (..., P, T, T) of each size of sets."""
        scales, covariances = self.form.row_sds(parameters), []
        for rows, lags in zip(self.sets, self._lags, strict=True):
            scale = scales[..., rows]
            both = scale[..., :, None] * scale[..., None, :]
            if rows.shape[1] > 1:
                both = both * self.form.correlations(rows, parameters.z, lags)
            covariances.append(both)
        return covariances

    def pullback(
        self, parameters: Parameters, covariances: Sequence[Array], bars: Sequence[Array]
    ) -> Parameters:
        """Return the derivative by log SDs, z and exponents.

        Parameters
        ----------
        parameters : Parameters
        covariances : sequence of ndarray
            There, as of `at`.
        bars : sequence of ndarray, shapes (P, T, T)
            Derivative by the covariances, symmetric.
        """
        form, by_sd = self.form, np.zeros(len(parameters.sds))
        exponents = np.zeros(len(form.scales.powers))
        if form.sd_labels or len(exponents):
            by_row = np.zeros(form.n)
            for rows, cov, bar in zip(self.sets, covariances, bars, strict=True):
                by_row += np.bincount(rows.ravel(), 2.0 * (bar * cov).sum(axis=2).ravel(), form.n)
            exponents = np.array([by_row @ power.log_x for power in form.scales.powers])
            if form.sd_labels:
                by_sd = np.bincount(form.sd_codes, by_row, len(parameters.sds))
        return Parameters(by_sd, self._by_z(parameters, bars), exponents)

    def _by_z(self, parameters: Parameters, bars: Sequence[Array]) -> Array:
        form, z = self.form, parameters.z
        slopes = np.zeros(z.shape)
        if form.sequential is None or not z.size:
            return slopes
        structure, series = form.sequential.structure, form.sequential.series
        scales = form.row_sds(parameters)
        is_one = not form.sd_labels and not form.scales.powers
        size = 0 if isinstance(structure, Stationary) else structure.size
        by_corr = np.zeros((len(z), size, size))
        for rows, lags, pairs, bar in zip(self.sets, self._lags, self._pairs, bars, strict=True):
            if rows.shape[1] == 1:
                continue
            group = series.group[rows[:, 0]]
            if not is_one:
                bar = scales[rows][:, :, None] * bar * scales[rows][:, None, :]
            if lags is not None:
                twice, between = 2.0 * bar[:, *pairs], lags[:, *pairs]
                slopes += _by_lags(structure, z, group, between, twice)
                continue
            visit = series.visit[rows]
            np.add.at(by_corr, (group[:, None, None], visit[:, :, None], visit[:, None, :]), bar)
        if size:
            diagonal = np.arange(size)
            by_corr[:, diagonal, diagonal] = 0.0
            slopes += [structure.corr_pullback(own, b) for own, b in zip(z, by_corr, strict=True)]
        return slopes


def _by_lags(
    structure: CovarianceStructure, z: Array, group: Index, lags: Array, bar: Array
) -> Array:
    """Return the derivative by z, (groups, m), given that by correlations at lags, (P, pairs)."""
    assert isinstance(structure, Stationary)
    slopes = np.empty(z.shape)
    for g, own in enumerate(z):
        mine = slice(None) if len(z) == 1 else group == g
        first = structure.first_at_lags(structure.natural(own), lags[mine])
        by_psi = first.reshape(len(first), -1) @ bar[mine].ravel()
        slopes[g] = by_psi @ structure.jacobian(own)
    return slopes
