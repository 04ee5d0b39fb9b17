"""Matrices as pixels: large sparse ones are binned from their elements and never made dense."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse

from bayesv.errors import DataError
from bayesv.linalg import Array

__all__ = ["MOST_PIXELS", "pixels"]

MOST_PIXELS = 600
"""Most pixels along each side of an image of a matrix."""


def pixels(matrix: Any, most: int = MOST_PIXELS) -> Array:
    """Return a matrix as an image of at most ``most`` × ``most`` pixels.

    Parameters
    ----------
    matrix : array_like or sparse array, shape (m, k)
    most : int

    Returns
    -------
    ndarray, shape (min(m, most), min(k, most))
        The matrix itself if it is small; else each pixel has the element of largest absolute value
        among those that fall on it, with its sign, so that no element is lost between pixels.

    Raises
    ------
    DataError
        If it is not a matrix of numbers with at least one element.

    Examples
    --------
    >>> import numpy as np
    >>> pixels(np.diag([1.0, -2.0, 3.0, 0.5]), most=2)
    array([[-2.,  0.],
           [ 0.,  3.]])
    """
    if not sparse.issparse(matrix):
        try:
            matrix = np.asarray(matrix, dtype=float)
        except (TypeError, ValueError, OverflowError):
            raise DataError("An image needs a matrix of numbers.") from None
    if matrix.ndim != 2 or 0 in matrix.shape:
        raise DataError(
            f"An image needs a matrix with rows and columns; found shape {matrix.shape}."
        )
    m, k = matrix.shape
    if m <= most and k <= most:
        return np.asarray(matrix.toarray() if sparse.issparse(matrix) else matrix, dtype=float)
    elements = sparse.coo_array(matrix)
    height, width = min(m, most), min(k, most)
    row = elements.coords[0].astype(np.int64) * height // m
    column = elements.coords[1].astype(np.int64) * width // k
    values = np.asarray(elements.data, dtype=float)
    image = np.zeros((height, width))
    order = np.argsort(np.abs(values))  # what is assigned last stays: the largest
    image[row[order], column[order]] = values[order]
    return image
