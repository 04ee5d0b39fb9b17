"""Fixed effects in the coordinates of the statistics, and as the user wrote them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from bayesv.gram.scaling import Index
from bayesv.linalg import Array

__all__ = ["FixedCoordinates"]


@dataclass(frozen=True, eq=False)
class FixedCoordinates:
    """β = start + U⁻¹γ: X = QU with Q orthonormal, and y − X start is the response.

    Attributes
    ----------
    upper : ndarray, shape (p, p)
        U, upper triangular.
    start : ndarray, shape (p,)
        Weighted least squares, taken off y beforehand so that large means cost no digits.
    kept : ndarray of int, shape (p,)
        Columns of X that earlier ones do not determine.
    """

    upper: Array
    start: Array
    kept: Index

    @cached_property
    def inverse(self) -> Array:
        """U⁻¹, shape (p, p)."""
        return np.asarray(np.linalg.inv(self.upper))

    @cached_property
    def logdet(self) -> float:
        """log|X'WX| = 2 log|U|: what log|T_XX| of orthonormal columns lacks."""
        return 2.0 * float(np.log(np.abs(np.diagonal(self.upper))).sum())

    def with_start(self, gamma: Array) -> FixedCoordinates:
        """Return the coordinates of a response whose least squares are Q'y = γ, shape (p,)."""
        new = replace(self, start=self.inverse @ gamma)
        new.__dict__.update(inverse=self.inverse, logdet=self.logdet)
        return new

    def to_beta(self, gamma: Array) -> Array:
        """Return β of γ, shape (..., p)."""
        return np.asarray(self.start + gamma @ self.inverse.T)

    def to_gamma(self, beta: Array) -> Array:
        """Return γ of β, shape (..., p)."""
        return np.asarray((beta - self.start) @ self.upper.T)

    def cov_beta(self, cov: Array) -> Array:
        """Return the covariance of β given that of γ, shape (..., p, p)."""
        return np.asarray(self.inverse @ cov @ self.inverse.T)

    def precision_beta(self, precision: Array) -> Array:
        """Return the precision of β given that of γ, shape (..., p, p)."""
        return np.asarray(self.upper.T @ precision @ self.upper)

    def precision_gamma(self, precision: Array) -> Array:
        """Return the precision of γ given that of β, shape (..., p, p)."""
        return np.asarray(self.inverse.T @ (precision @ self.inverse))
