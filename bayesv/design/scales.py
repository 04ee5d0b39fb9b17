"""Scales of the response and of random columns: what default priors are made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from bayesv.errors import DataError
from bayesv.linalg import Array

__all__ = ["ColumnFacts", "ResponseScale", "refuse_constant", "refuse_sizes", "residual_scale"]

_LARGEST, _SMALLEST = 1e152, 1e-152  # sums of squares of larger ones are infinite, of smaller 0
_SAMPLE = 8  # rows that rule out nearly all products of columns
_EQUAL = 1e-10  # relative to the largest value
_EXACT = 1e-8  # residual SD, relative to the response's, below which X is said to leave nothing


@dataclass(frozen=True)
class ResponseScale:
    """Scales of the default priors, from the rows alone.

    Attributes
    ----------
    sigma : float
        Of a residual of weight 1, in units of σ.
    effects : float
        Of a residual of typical (geometric mean) weight, in units of the response.
    source : str
        What they are: ``"residual sd"`` or, where X leaves no residual, ``"sd(y)"``.
    """

    sigma: float
    effects: float
    source: str = "residual sd"


def residual_scale(
    square: float, n: int, p: int, log_weights: float, response_sd: float
) -> ResponseScale:
    """Return the scales after X: s_σ² = Σ w r²/(n − p), s² = s_σ²/(geometric mean of w).

    Parameters
    ----------
    square : float
        Σ w r² of the residuals of weighted least squares.
    n, p : int
        Rows and columns of X.
    log_weights : float
        Σ log w.
    response_sd : float
        Standard deviation of the response less the offset: the scale where X leaves no residual.

    Notes
    -----
    Weights that are all 100 times as large make σ² 100 times as large and V = Z G Z' + σ²W⁻¹ the
    same; so do these scales.
    """
    typical = float(np.exp(0.5 * log_weights / n))
    effects = float(np.sqrt(square / (n - p))) / typical if n > p else 0.0
    if effects > _EXACT * response_sd:
        return ResponseScale(effects * typical, effects)
    return ResponseScale(response_sd * typical, response_sd, "sd(y)")


@dataclass(frozen=True, eq=False)
class ColumnFacts:
    """What is known of the r columns of a random term. Facts of two parts of the rows add up.

    Attributes
    ----------
    n : int
        Number of rows.
    mean, squares : ndarray, shape (r,)
        Means, and sums of squares about them.
    low, high : ndarray, shape (r,)
        Smallest and largest values.
    two : ndarray of bool, shape (r,)
        Whether a column has no values but these two.
    together : ndarray, shape (r, r)
        Number of rows in which both columns are other than 0.
    products : tuple of (int, int, int)
        (k, i, j) with i ≤ j < k: column k is the product of columns i and j, such as ``x:z`` of
        ``x`` and ``z``.
    """

    n: int
    mean: Array
    squares: Array
    low: Array
    high: Array
    two: NDArray[np.bool_]
    together: Array
    products: tuple[tuple[int, int, int], ...]

    @classmethod
    def of(cls, values: Array) -> ColumnFacts:
        """Return the facts of columns, shape (n, r), of at least one row."""
        low, high = values.min(axis=0), values.max(axis=0)
        # A constant must give exactly 0.
        mean = np.where(low == high, low, values.mean(axis=0))
        seen = (values != 0).astype(float)
        return cls(
            n=len(values),
            mean=mean,
            squares=((values - mean) ** 2).sum(axis=0),
            low=low,
            high=high,
            two=((values == low) | (values == high)).all(axis=0),
            together=seen.T @ seen,
            products=_products(values),
        )

    def __add__(self, other: ColumnFacts) -> ColumnFacts:
        """Return the facts of the rows of both."""
        n = self.n + other.n
        delta = other.mean - self.mean
        low, high = np.minimum(self.low, other.low), np.maximum(self.high, other.high)
        two = self.two & other.two
        for part in (self, other):
            for end in (part.low, part.high):
                two = two & ((end == low) | (end == high))
        return ColumnFacts(
            n=n,
            mean=self.mean + delta * (other.n / n),
            squares=self.squares + other.squares + delta**2 * (self.n * other.n / n),
            low=low,
            high=high,
            two=two,
            together=self.together + other.together,
            products=tuple(sorted(set(self.products) & set(other.products))),
        )

    @property
    def spread(self) -> Array:
        """Standard deviation of each column over the rows; 0 where constant."""
        sd = np.sqrt(self.squares / max(self.n - 1, 1))
        largest = np.maximum(np.abs(self.low), np.abs(self.high))
        return np.where(sd > 1e-12 * largest, sd, 0.0)

    @property
    def rms(self) -> Array:
        """Root mean square of each column."""
        return np.asarray(np.sqrt(self.mean**2 + self.squares / self.n))

    @cached_property
    def constant(self) -> NDArray[np.bool_]:
        """Which columns have one value in all rows."""
        return np.asarray(self.spread == 0)


def _products(values: Array) -> tuple[tuple[int, int, int], ...]:
    """Return (k, i, j) for each column k that is the product of columns i ≤ j before it."""
    few = values[np.linspace(0, len(values) - 1, _SAMPLE).astype(np.intp)]
    products = []
    for k in range(1, values.shape[1]):
        sizes = np.abs(values[:, k])
        limit, close = _EQUAL * sizes.max(), np.ones((k, k), dtype=bool)
        # First in the row that tells most, where indicators of other levels are 0.
        for row in (values[sizes.argmax()], *few):
            close &= np.abs(np.multiply.outer(row[:k], row[:k]) - row[k]) <= limit
        for i, j in zip(*np.nonzero(np.triu(close)), strict=True):
            if (np.abs(values[:, i] * values[:, j] - values[:, k]) <= limit).all():
                products.append((k, int(i), int(j)))
    return tuple(products)


def refuse_constant(response: str, y: Array, offset: Array | None, n: int) -> None:
    """Refuse a response without variance beside its offset; its ends among n rows will do."""
    target, what = (y, "") if offset is None else (y - offset, " less its offset")
    highest, lowest = float(target.max()), float(target.min())
    _refuse_size(f"Response {response!r}{what}", max(highest, -lowest))
    if highest - lowest <= 1e-13 * float(np.abs(y).max()):
        raise DataError(
            f"Response {response!r}{what} is constant ({target[0]:g}) in the {n} rows used."
        )


def refuse_sizes(names: Sequence[str], columns: Array) -> None:
    """Refuse columns whose squares, or sums of squares, are 0 or infinite in double precision.

    Parameters
    ----------
    names : sequence of str
        What the columns are called.
    columns : ndarray, shape (n, k)
        Finite; a column of zeros is not refused.
    """
    if not columns.size:
        return
    sizes = np.maximum(columns.max(axis=0), -columns.min(axis=0))
    for name, size in zip(names, sizes.tolist(), strict=True):
        _refuse_size(name, size)


def _refuse_size(name: str, size: float) -> None:
    if size > _LARGEST or 0.0 < size < _SMALLEST:
        raise DataError(
            f"{name} is {size:.3g} at most in absolute value; double precision does not hold its "
            f"squares. Give it in a unit of which it is {_SMALLEST:g} to {_LARGEST:g}."
        )
