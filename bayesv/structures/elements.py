"""Families whose natural parameters are elements of Σ."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from bayesv.linalg import Array
from bayesv.structures.natural_form import LinearForm
from bayesv.structures.structure import CovarianceStructure

__all__ = ["ElementForm"]


class ElementForm(LinearForm, CovarianceStructure):
    """θ are the elements of Σ that may differ from 0, row by row of the lower triangle."""

    @cached_property
    def _places(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Rows and columns of the elements."""
        rows, columns = np.nonzero(np.tril(self.mask))
        return rows, columns

    def theta_labels(self, columns: Sequence[str]) -> tuple[str, ...]:  # noqa: D102
        return tuple(
            f"variance {columns[i]}" if i == j else f"covariance {columns[j]}, {columns[i]}"
            for i, j in zip(*self._places, strict=True)
        )

    def theta(self, free_sds: Array, z: Array) -> Array:  # noqa: D102
        root = self.sds(free_sds)[:, None] * self.root(z)
        return np.asarray((root @ root.T)[self._places])

    def basis(self) -> Array:  # noqa: D102
        rows, columns = self._places
        basis = np.zeros((len(rows), self.size, self.size))
        basis[range(len(rows)), rows, columns] = 1.0
        basis[range(len(rows)), columns, rows] = 1.0
        return basis
