"""Covariances by natural parameters θ, with the derivatives that small-sample theory needs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np

from bayesv.linalg import Array

__all__ = ["LinearForm", "NaturalForm", "ProductForm"]


class NaturalForm(ABC):
    """Σ as a function of the parameters θ that SAS's PROC MIXED prints for the same family.

    Kenward and Roger's covariance of fixed effects depends on the parameters by which Σ is twice
    differentiated; these are SAS's.
    """

    @property
    def is_linear(self) -> bool:
        """Whether Σ is linear in θ, so that all second derivatives are 0."""
        return False

    @abstractmethod
    def theta_labels(self, columns: Sequence[str]) -> tuple[str, ...]:
        """Return a label of each θ, given names of the r rows."""

    @abstractmethod
    def theta(self, free_sds: Array, z: Array) -> Array:
        """Return θ of free SDs (n_sds,) and coordinates of the correlation (m,), shape (h,)."""

    @abstractmethod
    def natural_covariance(self, theta: Array) -> Array:
        """Return Σ of θ, (h,) → (r, r)."""

    @abstractmethod
    def first(self, theta: Array) -> Array:
        """Return ∂Σ/∂θ, shape (h, r, r)."""

    @abstractmethod
    def second(self, theta: Array) -> Array:
        """Return ∂²Σ/∂θ∂θ', shape (h, h, r, r)."""


class LinearForm(NaturalForm):
    """Σ = Σ_h θ_h B_h: all second derivatives are 0."""

    @property
    def is_linear(self) -> bool:  # noqa: D102
        return True

    @abstractmethod
    def basis(self) -> Array:
        """Return B_h, shape (h, r, r)."""

    def natural_covariance(self, theta: Array) -> Array:  # noqa: D102
        return np.tensordot(theta, self.basis(), axes=1)

    def first(self, theta: Array) -> Array:  # noqa: D102
        return self.basis()

    def second(self, theta: Array) -> Array:  # noqa: D102
        basis = self.basis()
        return np.zeros((len(basis), *basis.shape))


class ProductForm(NaturalForm):
    """Σ_ij = s_i s_j c_ij(ψ): θ are the free variances s², then parameters ψ of the correlation."""

    @property
    @abstractmethod
    def variance_of_row(self) -> Array:
        """Which free variance each row has, as integers, shape (r,)."""

    @abstractmethod
    def correlations(self, psi: Array) -> Array:
        """Return C of its parameters, (..., m) → (..., r, r)."""

    @abstractmethod
    def corr_first(self, psi: Array) -> Array:
        """Return ∂C/∂ψ, shape (m, r, r)."""

    @abstractmethod
    def corr_second(self, psi: Array) -> Array:
        """Return ∂²C/∂ψ∂ψ', shape (m, m, r, r)."""

    def _split(self, theta: Array) -> tuple[Array, Array, Array]:
        """Return variances, ψ and the products s_i s_j, (r, r)."""
        n_variances = int(self.variance_of_row.max()) + 1
        sds = np.sqrt(theta[:n_variances])[self.variance_of_row]
        return theta[:n_variances], theta[n_variances:], np.outer(sds, sds)

    def _shares(self, variances: Array) -> Array:
        """Return ∂log(s_i s_j)/∂(variance k), shape (n_variances, r, r)."""
        owns = np.arange(len(variances))[:, None] == self.variance_of_row
        counts = owns[:, :, None].astype(float) + owns[:, None, :]
        return np.asarray(counts / (2.0 * variances[:, None, None]))

    def natural_covariance(self, theta: Array) -> Array:  # noqa: D102
        _, psi, scales = self._split(theta)
        return np.asarray(scales * self.correlations(psi))

    def first(self, theta: Array) -> Array:  # noqa: D102
        variances, psi, scales = self._split(theta)
        by_variance = self._shares(variances) * scales * self.correlations(psi)
        return np.concatenate([by_variance, scales * self.corr_first(psi)])

    def second(self, theta: Array) -> Array:  # noqa: D102
        variances, psi, scales = self._split(theta)
        n, shares = len(variances), self._shares(variances)
        cov = scales * self.correlations(psi)
        curvature = np.zeros((len(theta), len(theta), *cov.shape))
        curvature[:n, :n] = shares[:, None] * shares[None] * cov
        curvature[range(n), range(n)] -= shares / variances[:, None, None] * cov
        curvature[:n, n:] = shares[:, None] * (scales * self.corr_first(psi))[None]
        curvature[n:, :n] = np.swapaxes(curvature[:n, n:], 0, 1)
        curvature[n:, n:] = scales * self.corr_second(psi)
        return curvature
