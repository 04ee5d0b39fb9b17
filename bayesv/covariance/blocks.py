"""Covariance blocks as people give them: checked, symmetric, positive semi-definite, aligned."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from bayesv.design.design import RandomTerm
from bayesv.errors import ComponentsError
from bayesv.linalg import PSD_TOLERANCE, Array, smallest_relative_eigenvalue, symmetrize
from bayesv.names import paired

__all__ = ["Block", "block_of", "block_of_term", "correlation_of", "number", "real_array"]


@dataclass(frozen=True, eq=False)
class Block:
    """Σ_f as numbers; a table of it is made for those who ask, because it costs more.

    Attributes
    ----------
    matrix : ndarray, shape (r, r)
    labels : sequence, or None
        Names of its rows; None if it has none.
    """

    matrix: Array
    labels: Sequence[Hashable] | pd.Index | None

    @property
    def frame(self) -> pd.DataFrame:
        """A labelled copy."""
        return pd.DataFrame(self.matrix.copy(), self.labels, self.labels)

    @property
    def shown_names(self) -> list[str]:
        """What its rows are called in tables: their places if they have no names."""
        labels = range(len(self.matrix)) if self.labels is None else self.labels
        return [str(name) for name in labels]

    @property
    def names(self) -> tuple[str, ...] | None:
        """Names of its rows; None if they are counted only."""
        if self.labels is None or all(isinstance(name, int | np.integer) for name in self.labels):
            return None
        return tuple(map(str, self.labels))


def number(value: Any) -> float:
    """Return a number, or refuse what is none."""
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        raise ComponentsError(f"A number is needed, found {value!r}.") from None


def block_of(group: str, values: Any) -> Block:
    """Return Σ_f with its labels; refuse what is no covariance."""
    labels: Sequence[Hashable] | pd.Index | None = None
    if isinstance(values, Block):
        labels, values = values.labels, values.matrix
    elif isinstance(values, pd.DataFrame):
        labels = values.index
        if not values.index.equals(values.columns):
            raise ComponentsError(
                f"Σ of {group!r} has rows {list(values.index)} and columns {list(values.columns)}; "
                "they must be the same names in the same order."
            )
        values = values.to_numpy()
    matrix = real_array(f"Σ of {group!r}", values)
    if matrix.ndim == 0:
        matrix = matrix.reshape(1, 1)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or not matrix.size:
        raise ComponentsError(f"Σ of {group!r} must be square, found shape {matrix.shape}.")
    if not np.isfinite(matrix).all():
        raise ComponentsError(f"Σ of {group!r} has missing or infinite elements.")
    diagonal = matrix.diagonal()
    sds = np.sqrt(np.abs(diagonal))
    scale = sds[:, None] * sds
    if (np.abs(matrix - matrix.T) > 1e-8 * scale + 1e-300).any():
        raise ComponentsError(f"Σ of {group!r} is not symmetric:\n{matrix}")
    matrix = symmetrize(matrix)
    negative = (diagonal < 0).any() or matrix[diagonal == 0].any()
    if negative or (low := smallest_relative_eigenvalue(matrix)) < -PSD_TOLERANCE * len(matrix):
        detail = (
            "a variance is negative, or 0 with covariances that are not"
            if negative
            else f"in correlation units its smallest eigenvalue is {low:.3g}"
        )
        raise ComponentsError(
            f"Σ of {group!r} is not positive semi-definite: {detail}. A covariance is needed; "
            "check signs, units and rounding of what was typed in."
        )
    return Block(matrix, labels)


def real_array(what: str, values: Any) -> Array:
    """Return an array of real numbers, or refuse what is none."""
    try:
        if not np.iscomplexobj(values):
            return np.array(values, dtype=float)
    except (TypeError, ValueError, OverflowError):
        pass
    raise ComponentsError(f"{what}: real numbers are needed, found {values!r}.")


def correlation_of(group: str, matrix: Any, sds: Array, names: list[str] | None) -> Array:
    """Return the correlation matrix; with an SD of 0, NaN stands for what does not exist."""
    r, none = len(sds), np.outer(sds, sds) == 0
    if matrix is None:
        return np.eye(r)
    if isinstance(matrix, pd.DataFrame) and names is not None:
        order = _align(group, [str(name) for name in matrix.index], [str(name) for name in names])
        if list(matrix.index) != list(matrix.columns):
            raise ComponentsError(f"Rows and columns of the correlation of {group!r} differ.")
        matrix = matrix.to_numpy()[np.ix_(order, order)]
    values = real_array(f"Correlation of {group!r}", matrix)
    if values.shape == (r, r):
        values = np.where(np.isnan(values) & none, np.eye(r), values)
        if not np.allclose(np.diagonal(values), 1.0, atol=1e-8):
            raise ComponentsError(
                f"The correlation of {group!r} needs 1 on its diagonal, found "
                f"{np.diagonal(values)}; a covariance goes to VarianceComponents itself."
            )
        return values
    corr = np.eye(r)
    if values.size != r * (r - 1) // 2:
        raise ComponentsError(
            f"{group!r} has {r} SDs and so needs {r * (r - 1) // 2} correlations or a {r}×{r} "
            f"matrix; found shape {values.shape}."
        )
    rows, columns = np.tril_indices(r, -1)
    corr[rows, columns] = corr[columns, rows] = values.ravel()
    return np.where(np.isnan(corr) & none, np.eye(r), corr)


def block_of_term(block: Block, term: RandomTerm) -> Array:
    """Return Σ_f in the column order of a term, by name unless it has none."""
    matrix = block.matrix
    if block.labels is term.columns:
        return matrix
    if len(matrix) != term.n_columns:
        raise ComponentsError(
            f"Σ of {term.group!r} is {len(matrix)}×{len(matrix)}; the design has "
            f"{term.n_columns} columns there: {', '.join(term.columns)}."
        )
    if (names := block.names) is None:
        return matrix
    order = _align(term.group, list(names), term.columns)
    return np.asarray(matrix[np.ix_(order, order)])


def _align(group: str, names: list[str], columns: Sequence[str]) -> list[int]:
    """Positions in ``names`` of each of ``columns``, by exact name or else by meaning."""
    order = paired(list(columns), names)
    if order is not None:
        return order
    raise ComponentsError(
        f"Labels of Σ of {group!r} do not match the design: found {', '.join(names)}; needed "
        f"{', '.join(columns)}."
    )
