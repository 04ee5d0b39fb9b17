"""What a family of covariances D C D must be able to do, whatever uses it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from bayesv.linalg import Array
from bayesv.structures.natural_form import NaturalForm

__all__ = ["Blocks", "CovarianceStructure"]

Blocks = tuple[tuple[int, ...], ...]


class CovarianceStructure(NaturalForm):
    """A family of r × r covariances Σ = D C D: standard deviations apart from the correlation.

    Coordinates are log standard deviations, and z ∈ ℝ^m for the correlation C. Everything is
    vectorised over leading axes, written ``...``, unless shapes say otherwise. Families are frozen
    dataclasses: equal where kind and parameters are.

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
        """Return z of correlations of the family, (..., r, r) → (..., m).

        Finite: a correlation of ±1 is as far out as numbers go, see `fisher_z`. Of a matrix near
        the family, z of a member near it.
        """

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
    def from_natural(self, psi: Array) -> Array:
        """Return z of natural parameters of C, (..., m) → (..., m): the inverse of `natural`.

        Finite, as `coordinates`.

        Raises
        ------
        DataError
            If they are of no correlation of the family.
        """

    @abstractmethod
    def project(self, cov: Array) -> Array:
        """Return the member of the family nearest to covariances (..., r, r), and itself if in it.

        Nearest in the sense that each family states; what an average over draws must go through to
        be a point estimate of the family.
        """

    def corr(self, z: Array) -> Array:
        """Return C, (..., m) → (..., r, r)."""
        root = self.root(z)
        return np.asarray(root @ np.swapaxes(root, -1, -2))

    def corr_pullback(self, z: Array, bar: Array) -> Array:
        """Return the derivative by z, (m,), of what has derivative ``bar`` by C, (r, r)."""
        return self.pullback(z, (bar + bar.T) @ self.root(z))

    @property
    def mask(self) -> NDArray[np.bool_]:
        """Which elements of Σ may differ from zero, shape (r, r)."""
        return np.ones((self.size, self.size), dtype=bool)

    @property
    def blocks(self) -> Blocks:
        """Sets of rows that may be correlated with each other; every row is in one of them."""
        return (tuple(range(self.size)),)

    @property
    def free_blocks(self) -> Blocks:
        """Those of `blocks` whose covariance may be any.

        A linear change of their rows stays in the family.
        """
        return ()

    @property
    def is_free(self) -> bool:
        """Whether elements of Σ that may differ from 0 may be any, and no other parameters are."""
        return sum(map(len, self.free_blocks)) == self.size

    @property
    def words(self) -> str:
        """Its kinds in words, such as ``ar1``; of independent parts, joined by plus."""
        return " + ".join(part.kind for _, part in self.parts)

    @property
    def parts(self) -> tuple[tuple[tuple[int, ...], CovarianceStructure], ...]:
        """Independent parts: rows of each and its family; coordinates of C stand in this order."""
        return ((tuple(range(self.size)), self),)

    @property
    def sd_of_row(self) -> NDArray[np.intp]:
        """Which free standard deviation each row has, shape (r,)."""
        return np.arange(self.size) if self.n_sds == self.size else np.zeros(self.size, np.intp)

    def sds(self, free: Array) -> Array:
        """Return all r standard deviations given the free ones, (..., n_sds) → (..., r)."""
        return free if self.n_sds == self.size else free[..., self.sd_of_row]

    def sds_pullback(self, bar: Array) -> Array:
        """Return the derivative by the free SDs, given that by those of all rows: (r,) → (n_sds,).

        Of logs as of the SDs themselves.
        """
        if self.n_sds == self.size:
            return bar
        return np.bincount(self.sd_of_row, bar, self.n_sds)

    def free_sds(self, sds: Array) -> Array:
        """Return the free standard deviations, (..., r) → (..., n_sds): root mean squares."""
        if self.n_sds == self.size:
            return sds
        rows = [self.sd_of_row == k for k in range(self.n_sds)]
        return np.stack(
            [np.sqrt((sds[..., columns] ** 2).mean(axis=-1)) for columns in rows], axis=-1
        )

    def __str__(self) -> str:
        return f"{self.kind}({self.size})"
