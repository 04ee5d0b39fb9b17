"""Residual covariances that are known to the last number, as in meta-analysis: σ is 1."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from bayesv.design.blockwise import Blockwise
from bayesv.design.residual import Independent, Residual
from bayesv.errors import DataError, MemoryNeededError
from bayesv.linalg import Array
from bayesv.support.memory import refuse_unless

__all__ = ["Known", "KnownBlocks", "KnownVariances"]

Index = NDArray[np.intp]

_ROUNDING = 1e-8  # of the SDs: difference of a matrix and its transpose
_BYTES = 64.0  # for each element of a sparse covariance, while it is checked


@dataclass(frozen=True, eq=False)
class Known:
    """A known covariance of the residuals, for ``bv.Model(…, residual=bv.Known(…))``.

    Parameters
    ----------
    values : str, array_like of shape (n,) or (n, n), or sparse array of shape (n, n)
        The column of variances, the variances, or the covariance, of the rows of the data in their
        order, in units of y².

    Examples
    --------
    >>> import bayesv as bv, pandas as pd
    >>> frame = pd.DataFrame({"y": [1.0, 3.0, 2.0, 5.0], "v": [0.1, 0.2, 0.1, 0.3],
    ...                       "study": list("abcd")})
    >>> fit = bv.Model("y ~ 1 + (1 | study)", frame, residual=bv.Known("v")).reml()
    >>> fit.sigma2, round(float(fit.components["study"].iloc[0, 0]), 3)
    (1.0, 2.66)
    """

    values: Any

    @property
    def column(self) -> str | None:
        """Name of the column of variances, if they are one."""
        return self.values if isinstance(self.values, str) else None

    def covariance(self, column: Array | None, n: int) -> Array | sparse.csr_array:
        """Return variances, (n,), or a sparse covariance, (n, n).

        Parameters
        ----------
        column : ndarray, shape (n,), or None
            Values of the column, if there is one; NaN where one is missing.
        n : int
            Number of rows of the data.

        Raises
        ------
        DataError
            If they are of another shape, or no variances or covariance.
        """
        values: Any = self.values if column is None else column
        try:
            if np.iscomplexobj(values):
                raise TypeError
            if not sparse.issparse(values):
                values = np.asarray(values, dtype=float)
            elif values.ndim == 1:
                values = values.toarray()
        except (TypeError, ValueError, OverflowError):
            raise DataError(f"Known(…) needs numbers, found {type(values).__name__}.") from None
        if values.shape not in ((n,), (n, n)):
            raise DataError(
                f"Known(…) has shape {values.shape}; the data have {n} rows: needed are ({n},) "
                f"variances, or the covariance of shape ({n}, {n})."
            )
        if values.ndim == 1:
            if (bad := values <= 0).any():
                row = int(np.flatnonzero(bad)[0])
                raise DataError(
                    f"Known(…): a variance must be positive, found {values[row]:g} in row {row}."
                )
            return values
        elements = values.nnz if sparse.issparse(values) else _not_zero(values)
        refuse_unless(
            _BYTES * elements,
            f"Known(…) of {n:,} rows with {elements:,} covariances",
            "Give the variances alone, or fewer rows.",
        )
        matrix = sparse.csr_array(values)
        scale = np.sqrt(np.abs(matrix.diagonal())).max()
        if not np.isfinite(matrix.data).all() or abs(matrix - matrix.T).max() > (
            _ROUNDING * scale**2
        ):
            raise DataError("Known(…): the covariance is not symmetric, or has gaps.")
        return matrix

    def residual(self, covariance: Any, rows: Index) -> Residual:
        """Return the residuals of chosen rows.

        Raises
        ------
        DataError
            If their covariance is not positive definite.
        """
        if covariance.ndim == 1:
            return KnownVariances(1.0 / covariance[rows])
        matrix = sparse.csr_array(covariance[rows][:, rows])
        matrix.eliminate_zeros()
        dense = matrix.toarray() if matrix.nnz > matrix.shape[0] ** 2 / 4 else None
        _, codes = connected_components(matrix, directed=False)

        def blocks(sets: Index) -> Array:
            if dense is not None:
                return np.asarray(dense[sets[:, :, None], sets[:, None, :]])
            return np.stack([matrix[chosen][:, chosen].toarray() for chosen in sets])

        try:
            return KnownBlocks.of(codes, blocks)
        except MemoryNeededError:
            raise
        except DataError:
            raise DataError(
                "Known(…): the covariance is not positive definite. Check signs and rounding, and "
                "whether two rows are the same estimate."
            ) from None


def _not_zero(values: Array) -> int:
    """Return how many elements are not 0, if there is memory to tell."""
    refuse_unless(
        float(values.size),
        f"Known(…) of {len(values):,} rows, dense,",
        "Give a sparse covariance, or the variances alone.",
    )
    return int(np.count_nonzero(values))


class KnownVariances(Independent):
    """R = diag(v), v known: weights 1/v with σ = 1."""

    scale_is_known: ClassVar[bool] = True

    @property
    def weight_range(self) -> None:
        """None: variances are no weights of a common σ²."""
        return None

    def take(self, rows: Index | slice) -> Self:
        """Return some of the rows."""
        return type(self)(self.known[rows])


class KnownBlocks(Blockwise):
    """R known, with σ = 1."""

    scale_is_known: ClassVar[bool] = True
