"""Independent rows of one standard deviation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from bayesv.linalg import Array
from bayesv.structures.coordinate_maps import CoordinateMap
from bayesv.structures.coordinate_priors import CoordinatePrior
from bayesv.structures.family import Family
from bayesv.structures.natural_form import LinearForm
from bayesv.structures.structure import Blocks

__all__ = ["ScaledIdentity"]


@dataclass(frozen=True)
class ScaledIdentity(LinearForm, Family):
    """s²I: one standard deviation of all rows, and no correlation."""

    kind: ClassVar[str] = "homdiag"

    def check(self) -> None:
        """Accept any rows."""

    @property
    def maps(self) -> tuple[CoordinateMap, ...]:  # noqa: D102
        return ()

    def own_priors(self, eta: float) -> tuple[CoordinatePrior, ...]:  # noqa: D102
        return ()

    def psi_of(self, corr: Array) -> Array:  # noqa: D102
        return np.zeros((*corr.shape[:-2], 0))

    def corr_labels(self, columns: Sequence[str]) -> tuple[str, ...]:  # noqa: D102
        return ()

    def correlations(self, psi: Array) -> Array:  # noqa: D102
        return np.broadcast_to(np.eye(self.size), (*psi.shape[:-1], self.size, self.size)).copy()

    def corr_first(self, psi: Array) -> Array:  # noqa: D102
        return np.zeros((0, self.size, self.size))

    def corr_second(self, psi: Array) -> Array:  # noqa: D102
        return np.zeros((0, 0, self.size, self.size))

    @property
    def mask(self) -> NDArray[np.bool_]:  # noqa: D102
        return np.eye(self.size, dtype=bool)

    @property
    def blocks(self) -> Blocks:  # noqa: D102
        return tuple((i,) for i in range(self.size))

    def theta_labels(self, columns: Sequence[str]) -> tuple[str, ...]:  # noqa: D102
        return ("variance",)

    def theta(self, free_sds: Array, z: Array) -> Array:  # noqa: D102
        return np.asarray(free_sds) ** 2

    def basis(self) -> Array:  # noqa: D102
        return np.eye(self.size)[None]

    def project(self, cov: Array) -> Array:
        """Return the mean variance on the diagonal: the member of least Stein loss."""
        variance = np.diagonal(cov, axis1=-2, axis2=-1).mean(axis=-1)
        return np.asarray(variance[..., None, None] * np.eye(self.size))
