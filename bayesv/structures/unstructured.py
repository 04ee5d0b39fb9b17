"""The family of all covariances."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from bayesv.errors import DataError
from bayesv.linalg import PSD_TOLERANCE, Array
from bayesv.structures.elements import ElementForm
from bayesv.structures.partials import (
    FARTHEST,
    all_partials,
    fisher_z,
    lkj_log_constant,
    lkj_powers,
    lkj_roots,
    log_one_less_square,
    partial_root,
)
from bayesv.structures.structure import Blocks

__all__ = ["Unstructured"]

_Index = NDArray[np.intp]


@dataclass(frozen=True)
class Unstructured(ElementForm):
    """All covariances: r standard deviations and every correlation.

    Coordinates are atanh of the canonical partial correlations c of rows i and j < i given the
    rows before j, row by row. Under LKJ(η) they are independent, see `lkj_log_constant`.
    """

    kind: ClassVar[str] = "us"
    size: int

    @property
    def n_sds(self) -> int:  # noqa: D102
        return self.size

    @property
    def n_corrs(self) -> int:  # noqa: D102
        return self.size * (self.size - 1) // 2

    @property
    def free_blocks(self) -> Blocks:  # noqa: D102
        return self.blocks

    @cached_property
    def _pairs(self) -> tuple[_Index, _Index]:
        """Rows i and columns j of the coordinates."""
        rows, columns = np.tril_indices(self.size, -1)
        return rows, columns

    def root(self, z: Array) -> Array:  # noqa: D102
        return partial_root(np.tanh(z), self.size)

    def pullback(self, z: Array, bar: Array) -> Array:  # noqa: D102
        if self.size == 1:
            return np.zeros(0)
        i, j = self._pairs
        root = self.root(z)
        moments = (bar * root)[:, ::-1].cumsum(axis=1)[:, ::-1]  # of a row, from a column on
        rest = np.sqrt((root**2)[:, ::-1].cumsum(axis=1)[:, ::-1])
        c, s = np.tanh(z), 1.0 / np.cosh(z)
        return np.asarray(bar[i, j] * rest[i, j] * s**2 - c * moments[i, j + 1])

    def coordinates(self, corr: Array) -> Array:  # noqa: D102
        return fisher_z(all_partials(corr))

    def _powers(self, eta: float, by_coordinates: bool) -> Array:
        """Powers of 1 − c² in the density of the coordinates, or of the correlations."""
        if by_coordinates:
            return lkj_powers(self.size, eta)
        return np.full(self.n_corrs, eta - 1.0)

    def log_density(  # noqa: D102
        self, z: Array, eta: float, *, by_coordinates: bool = True
    ) -> Array:
        logs = log_one_less_square(z)
        if not by_coordinates:
            # Of a singular correlation, which finite coordinates cannot state, |C| is 0.
            logs = np.where(np.abs(z) >= FARTHEST, 0.0 if eta == 1.0 else -np.inf, logs)
        logs = logs @ self._powers(eta, by_coordinates)
        return np.asarray(logs - lkj_log_constant(self.size, eta))

    def log_density_gradient(self, z: Array, eta: float) -> Array:  # noqa: D102
        return -2.0 * self._powers(eta, True) * np.tanh(z)

    def draw(self, rng: np.random.Generator, count: int, eta: float) -> Array:  # noqa: D102
        i, j = self._pairs
        root = lkj_roots(self.size, eta, count, rng)
        rest = np.sqrt((root**2)[..., ::-1].cumsum(axis=-1)[..., ::-1])
        return fisher_z(root[:, i, j] / rest[:, i, j])

    def sd_labels(self, columns: Sequence[str]) -> tuple[str, ...]:  # noqa: D102
        return tuple(columns)

    def corr_labels(self, columns: Sequence[str]) -> tuple[str, ...]:  # noqa: D102
        return tuple(f"{columns[j]}, {columns[i]}" for i, j in zip(*self._pairs, strict=True))

    def natural(self, z: Array) -> Array:  # noqa: D102
        root = self.root(z)
        i, j = self._pairs
        return np.asarray((root @ np.swapaxes(root, -1, -2))[..., i, j])

    def from_natural(self, psi: Array) -> Array:  # noqa: D102
        i, j = self._pairs
        corr = np.broadcast_to(np.eye(self.size), (*psi.shape[:-1], self.size, self.size)).copy()
        corr[..., i, j] = corr[..., j, i] = psi
        least = float(np.linalg.eigvalsh(corr).min(initial=1.0)) if np.isfinite(psi).all() else -1.0
        if least < -PSD_TOLERANCE:
            raise DataError(
                f"These {len(i)} correlations of 'us' are no correlation matrix (its smallest "
                f"eigenvalue would be {least:.3g}). Give those of one positive semi-definite "
                "matrix, pair by pair: of row 2 with 1, 3 with 1, 3 with 2 and so on."
            )
        return self.coordinates(corr)

    def project(self, cov: Array) -> Array:
        """Return the covariances themselves."""
        return cov
