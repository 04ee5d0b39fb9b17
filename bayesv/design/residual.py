"""Residual covariance R = σ² LL' of the rows: what every family of it can do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, TypeVar, cast

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from bayesv.design.labels import check_fields
from bayesv.errors import DataError
from bayesv.linalg import Array
from bayesv.support.arguments import array

__all__ = ["Autoregressive", "Homoscedastic", "Independent", "Residual"]

Index = NDArray[np.intp]
Columns = TypeVar("Columns")  # a dense array, or a sparse one


class Residual(ABC):
    """R over σ² of n rows, LL'. Families say what L is; σ² is a variance component.

    Attributes
    ----------
    iid : bool
        Whether R = σ²I.
    scale_is_known : bool
        Whether R itself is known: σ is 1 then, and no component.
    """

    iid: ClassVar[bool] = False
    scale_is_known: ClassVar[bool] = False

    @staticmethod
    def of_weights(weights: Array | None, n: int) -> Residual:
        """Return R/σ² = diag(1/w), or I for n rows without weights.

        Parameters
        ----------
        weights : ndarray, shape (n,), or None
            Known w > 0.
        n : int

        Raises
        ------
        DataError
            If weights are not positive.

        Examples
        --------
        >>> Residual.of_weights(np.array([1.0, 4.0]), 2).diagonal
        array([1.  , 0.25])
        """
        return Homoscedastic(n) if weights is None else Independent(weights)

    @property
    @abstractmethod
    def size(self) -> int:
        """Number of rows, n."""

    @property
    def clusters(self) -> Index | None:
        """Cluster of each row, shape (n,): between clusters R is 0; None: between any two rows."""
        return None

    @property
    def weights(self) -> Array:
        """Return w in R = σ² diag(1/w), ones for σ²I, shape (n,).

        Raises
        ------
        DataError
            If residuals are correlated: no weights say what R is.
        """
        raise DataError(f"Residuals are correlated ({type(self).__name__}): R is not σ² diag(1/w).")

    @property
    def weight_range(self) -> tuple[float, float] | None:
        """Smallest and largest known weight, if there are any."""
        return None

    @property
    @abstractmethod
    def diagonal(self) -> Array:
        """Variances of the residuals over σ², shape (n,)."""

    @property
    @abstractmethod
    def log_det(self) -> float:
        """log|R/σ²|."""

    @property
    @abstractmethod
    def matrix(self) -> sparse.sparray:
        """R/σ², sparse of shape (n, n)."""

    @abstractmethod
    def block(self, rows: Index) -> Array:
        """Return R/σ² of sets of m rows, shape (…, m, m) for rows of shape (…, m)."""

    @abstractmethod
    def whiten(self, columns: Columns, *, transposed: bool = False) -> Columns:
        """Return L⁻¹ times columns, or L'⁻¹ times them: of R⁻¹ = L'⁻¹L⁻¹/σ² a half each.

        Parameters
        ----------
        columns : ndarray, shape (n,) or (n, k), or sparse array, shape (n, k)
        transposed : bool
        """

    @abstractmethod
    def draw(self, scores: Array) -> Array:
        """Return residuals over σ, L times standard scores, shape (n,) or (n, k)."""

    @abstractmethod
    def take(self, rows: Index | slice) -> Residual:
        """Return the family for some of the rows, in that order."""


@dataclass(frozen=True, eq=False)
class Homoscedastic(Residual):
    """R = σ²I.

    Attributes
    ----------
    n : int
    """

    n: int

    iid: ClassVar[bool] = True

    @property
    def size(self) -> int:
        """Number of rows, n."""
        return self.n

    @property
    def weights(self) -> Array:
        """Ones, shape (n,), which take no memory."""
        return np.broadcast_to(1.0, (self.n,))

    @property
    def diagonal(self) -> Array:
        """Ones, shape (n,), which take no memory."""
        return np.broadcast_to(1.0, (self.n,))

    @property
    def log_det(self) -> float:
        """log|I| = 0."""
        return 0.0

    @property
    def matrix(self) -> sparse.sparray:
        """I, sparse of shape (n, n)."""
        return sparse.diags_array(self.diagonal)

    def block(self, rows: Index) -> Array:
        """Return I of m rows for each set of them."""
        m = rows.shape[-1]
        return np.broadcast_to(np.eye(m), (*rows.shape, m))

    def whiten(self, columns: Columns, *, transposed: bool = False) -> Columns:
        """Return the columns themselves."""
        return columns

    def draw(self, scores: Array) -> Array:
        """Return the scores themselves."""
        return scores

    def take(self, rows: Index | slice) -> Residual:
        """Return the family for some of the rows."""
        return Homoscedastic(len(self.weights[rows]))


@dataclass(frozen=True, eq=False)
class Independent(Residual):
    """R = σ² diag(1/w), w known: weights, or strata whose variances over σ² are 1/w.

    Attributes
    ----------
    known : ndarray, shape (n,)
        w, positive.
    """

    known: Array

    def __post_init__(self) -> None:
        check_fields(self, {"known": array(1, "biuf")})
        if not (np.isfinite(self.known) & (self.known > 0)).all():
            raise DataError("Known weights must be positive numbers: R = σ² diag(1/w).")

    @property
    def weights(self) -> Array:
        """The known weights w, shape (n,)."""
        return self.known

    @property
    def size(self) -> int:
        """Number of rows, n."""
        return len(self.weights)

    @property
    def weight_range(self) -> tuple[float, float] | None:
        """Smallest and largest weight."""
        return float(self.weights.min()), float(self.weights.max())

    @cached_property
    def diagonal(self) -> Array:
        """1/w, shape (n,)."""
        return 1.0 / self.weights

    @cached_property
    def log_det(self) -> float:
        """−Σ log w."""
        return -float(np.log(self.weights).sum())

    @property
    def matrix(self) -> sparse.sparray:
        """diag(1/w), sparse of shape (n, n)."""
        return sparse.diags_array(self.diagonal)

    def block(self, rows: Index) -> Array:
        """Return diag(1/w) of each set of rows."""
        return self.diagonal[rows][..., None] * np.eye(rows.shape[-1])

    def whiten(self, columns: Columns, *, transposed: bool = False) -> Columns:
        """Return √w times columns; L is diagonal."""
        if sparse.issparse(columns):
            return cast(Columns, sparse.csr_array(sparse.diags_array(self._root) @ columns))
        return cast(Columns, _scaled(cast(Array, columns), self._root))

    def draw(self, scores: Array) -> Array:
        """Return scores over √w."""
        return _scaled(scores, 1.0 / self._root)

    def take(self, rows: Index | slice) -> Residual:
        """Return the weights of some of the rows."""
        return Independent(self.weights[rows])

    @cached_property
    def _root(self) -> Array:
        return np.sqrt(self.weights)


@dataclass(frozen=True, eq=False)
class Autoregressive(Residual):
    """R = σ² D C D with C_ij = ρ^|t_i − t_j| within a series and 0 between.

    Attributes
    ----------
    rho : float
        In (−1, 1); not negative unless times are whole numbers.
    series : ndarray of int, shape (n,)
    times : ndarray, shape (n,)
        Different within a series, in the units of the lag.
    sd : ndarray, shape (n,)
        The diagonal of D.

    Notes
    -----
    In the order of time e_i = φ_i e_{i−1} + √(1 − φ_i²) z_i with φ_i = ρ^(t_i − t_{i−1}), and
    e_i = z_i for the first of a series. Then C_ij = φ_{j+1} ⋯ φ_i, L⁻¹ has two elements a row, and
    log|C| = Σ log(1 − φ_i²).

    Examples
    --------
    >>> times = np.array([0.0, 1.0, 3.0])
    >>> residual = Autoregressive(0.5, np.zeros(3, dtype=int), times, np.ones(3))
    >>> residual.block(np.arange(3))[2]
    array([0.125, 0.25 , 1.   ])
    """

    rho: float
    series: Index
    times: Array
    sd: Array

    @property
    def clusters(self) -> Index:
        """The series."""
        return self.series

    @property
    def size(self) -> int:
        """Number of rows, n."""
        return len(self.sd)

    @property
    def diagonal(self) -> Array:
        """D², shape (n,)."""
        return self.sd**2

    @cached_property
    def log_det(self) -> float:
        """2 Σ log d + Σ log(1 − φ²)."""
        return float(2.0 * np.log(self.sd).sum() + np.log1p(-(self._steps[1] ** 2)).sum())

    @cached_property
    def matrix(self) -> sparse.sparray:
        """DCD, sparse of shape (n, n)."""
        half = self._factor
        return sparse.csr_array(half @ half.T)

    def block(self, rows: Index) -> Array:
        """Return DCD of each set of rows."""
        series, times, sd = self.series[rows], self.times[rows], self.sd[rows]
        same = series[..., :, None] == series[..., None, :]
        lag = np.abs(times[..., :, None] - times[..., None, :])
        corr = np.where(same, np.power(float(self.rho), lag), 0.0)
        return np.asarray(sd[..., :, None] * corr * sd[..., None, :])

    def whiten(self, columns: Columns, *, transposed: bool = False) -> Columns:
        """Return L⁻¹ or L'⁻¹ times columns."""
        inverse = self._inverse
        return cast(Columns, (inverse.T if transposed else inverse) @ columns)

    def draw(self, scores: Array) -> Array:
        """Return D times a moving average of the scores over all earlier ones of the series."""
        return np.asarray(self._factor @ scores)

    def take(self, rows: Index | slice) -> Residual:
        """Return some of the rows: gaps count as the time that passes."""
        return Autoregressive(self.rho, self.series[rows], self.times[rows], self.sd[rows])

    @cached_property
    def _steps(self) -> tuple[Index, Array, NDArray[np.bool_]]:
        """Rows in the order of series and time; φ of each in that order; whether it is a first."""
        order = np.lexsort([self.times, self.series])
        first = np.diff(self.series[order], prepend=-1) != 0
        first[:1] = True
        step = np.where(first, 1.0, np.diff(self.times[order], prepend=0.0))
        return order, np.where(first, 0.0, np.power(float(self.rho), step)), first

    @cached_property
    def _inverse(self) -> sparse.csr_array:
        """L⁻¹ with rows and columns in the order of the rows, sparse of shape (n, n)."""
        order, phi, _ = self._steps
        n = self.size
        size = 1.0 / np.sqrt(1.0 - phi**2)
        present = sparse.coo_array((size / self.sd[order], (order, order)), shape=(n, n))
        before = np.roll(order, 1)
        lagged = sparse.coo_array((-size * phi / self.sd[before], (order, before)), shape=(n, n))
        return sparse.csr_array(present + lagged)

    @cached_property
    def _factor(self) -> sparse.csr_array:
        """L, lower triangular in the order of time, sparse of shape (n, n)."""
        order, _, first = self._steps
        parts, rows, columns = [], [], []
        for members in np.split(order, np.flatnonzero(first)[1:]):
            times = self.times[members]
            L = np.tril(np.power(float(self.rho), np.tril(times[:, None] - times[None, :])))
            L[:, 1:] *= np.sqrt(1 - np.power(float(self.rho), 2 * np.diff(times)))
            i, j = np.tril_indices(len(members))
            parts.append((self.sd[members][:, None] * L)[i, j])
            rows.append(members[i])
            columns.append(members[j])
        places = (np.concatenate(rows), np.concatenate(columns))
        shape = (self.size, self.size)
        return sparse.csr_array(sparse.coo_array((np.concatenate(parts), places), shape=shape))


def _scaled(columns: Array, scale: Array) -> Array:
    """Rows of columns, shape (n,) or (n, k), times a number each."""
    return np.asarray(columns * (scale if columns.ndim == 1 else scale[:, None]))
