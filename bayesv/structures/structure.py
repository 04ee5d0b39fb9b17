"""What a family of covariances D C D must be able to do, whatever uses it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from bayesv.linalg import Array

__all__ = ["CovarianceStructure"]


class CovarianceStructure(ABC):
    """A family of r × r covariances Σ = D C D: standard deviations apart from the correlation.

    Coordinates are log standard deviations, and z ∈ ℝ^m for the correlation C. Everything is
    vectorised over leading axes, written ``...``, unless shapes say otherwise.

    Attributes
    ----------
    kind : str
        The word for it in formulas, such as ``us`` or ``ar1``.
    size : int
        r, the number of rows of Σ.
    """

    kind: ClassVar[str]
    size: int

    @property
    @abstractmethod
    def n_sds(self) -> int:
        """Number of free standard deviations: r, or 1 where all are equal."""

    @property
    @abstractmethod
    def n_corrs(self) -> int:
        """Number m of coordinates of the correlation."""

    @abstractmethod
    def root(self, z: Array) -> Array:
        """Return L with LL' = C for coordinates z, (..., m), as shape (..., r, r).

        Lower triangular; exact where C is singular.
        """

    @abstractmethod
    def pullback(self, z: Array, bar: Array) -> Array:
        """Return the derivative by z, (m,), of what has derivative ``bar`` by the root, (r, r)."""

    @abstractmethod
    def coordinates(self, corr: Array) -> Array:
        """Return z of correlations of the family, (..., r, r) → (..., m); ±∞ on the boundary."""

    @abstractmethod
    def log_density(self, z: Array, eta: float, *, by_coordinates: bool = True) -> Array:
        """Return the log prior density of the correlation, (..., m) → (...), normalised.

        Parameters
        ----------
        z : ndarray, shape (..., m)
        eta : float
            Of LKJ(η) restricted to the family; η = 1 is uniform over its correlation matrices.
        by_coordinates : bool
            By z, with the Jacobian; else by the family's natural parameters (`corr_labels`).
        """

    @abstractmethod
    def log_density_gradient(self, z: Array, eta: float) -> Array:
        """Return the derivative of `log_density` by z, shape (m,), at one z."""

    @abstractmethod
    def draw(self, rng: np.random.Generator, count: int, eta: float) -> Array:
        """Return z of so many draws from the prior, shape (count, m)."""

    @abstractmethod
    def sd_labels(self, columns: Sequence[str]) -> tuple[str, ...]:
        """Return a label of each free standard deviation, given names of the r rows."""

    @abstractmethod
    def corr_labels(self, columns: Sequence[str]) -> tuple[str, ...]:
        """Return a label of each natural parameter of the correlation, such as ``lag 1``."""

    @abstractmethod
    def natural(self, z: Array) -> Array:
        """Return the natural parameters of C (what `corr_labels` name), (..., m) → (..., m)."""

    @abstractmethod
    def project(self, cov: Array) -> Array:
        """Return the member of the family nearest to covariances (..., r, r), and itself if in it.

        Nearest in the sense that each family states; what an average over draws must go through to
        be a point estimate of the family.
        """

    @property
    def mask(self) -> Array:
        """Which elements of Σ may differ from zero, shape (r, r)."""
        return np.ones((self.size, self.size), dtype=bool)

    def sds(self, free: Array) -> Array:
        """Return all r standard deviations given the free ones, (..., n_sds) → (..., r)."""
        return np.broadcast_to(free, (*free.shape[:-1], self.size))
