"""Small matrix helpers without words of the domain."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.csgraph import connected_components

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

_ALIAS_TOLERANCE = 1e-7
_ROUNDING = 1e-14  # of a column's size: what is smaller is rounding of its values

PSD_TOLERANCE = 1e-10
"""Most negative eigenvalue, relative to the largest, that rounding is allowed to explain."""


def aligned(shape: tuple[int, ...]) -> Array:
    """Return an array not yet filled whose first number starts a cache line, of eight numbers."""
    size = math.prod(shape)
    whole = np.empty(size + 7)
    start = -(whole.__array_interface__["data"][0] // 8) % 8
    return whole[start : start + size].reshape(shape)


def symmetrize(a: Array) -> Array:
    """Return the symmetric part, over the last two axes."""
    return np.asarray(0.5 * (a + a.swapaxes(-1, -2)))


def log_sum(log: Array) -> Array:
    """Return the log of the sum of exponentials over the first axis; −inf counts as nothing."""
    top = log.max(axis=0)
    top = np.where(np.isfinite(top), top, 0.0)
    with np.errstate(divide="ignore"):
        return np.asarray(top + np.log(np.exp(log - top).sum(axis=0)))


def smallest_relative_eigenvalue(a: Array) -> float:
    """Return the smallest eigenvalue after scaling to unit diagonal (0 where a variance is 0).

    The scaling makes the answer independent of units: variances of 1e-8 and 1e6 in one matrix are
    judged alike.
    """
    sd = np.sqrt(np.clip(np.diagonal(a), 0.0, None))
    safe = np.where(sd > 0, sd, 1.0)
    return float(np.linalg.eigvalsh(symmetrize(a / np.outer(safe, safe)))[0])


def independent_columns(X: Array, constant: Array | None = None) -> NDArray[np.intp]:
    """Return the columns that those before them do not determine to 7 digits, as lme4's rule.

    Gram–Schmidt, twice for accuracy. Where the columns before determine a constant, the digits are
    counted from the column's mean: its zero may be far away.

    Parameters
    ----------
    X : ndarray, shape (n, p)
    constant : ndarray, shape (n,), optional
        The column of ones in the coordinates of the columns; ones if left out.
    """
    basis: list[Array] = []
    kept: list[int] = []
    ones = np.ones(len(X)) if constant is None else constant
    rest_of_ones, size_of_ones = ones.copy(), math.sqrt(ones @ ones)
    centred = size_of_ones == 0.0
    for j in range(X.shape[1]):
        rest = X[:, j].copy()
        spread = size = math.sqrt(rest @ rest)
        if centred and size_of_ones:
            deviations = rest - (ones @ rest / size_of_ones**2) * ones
            spread = math.sqrt(deviations @ deviations)
        for _ in range(2):
            for b in basis:
                rest -= (b @ rest) * b
        left = math.sqrt(rest @ rest)
        if left > max(_ALIAS_TOLERANCE * spread, _ROUNDING * size):
            basis.append(rest / left)
            kept.append(j)
            if not centred:
                rest_of_ones -= (basis[-1] @ rest_of_ones) * basis[-1]
                left_of_ones = math.sqrt(rest_of_ones @ rest_of_ones)
                centred = left_of_ones <= _ALIAS_TOLERANCE * size_of_ones
    return np.array(kept, dtype=np.intp)


def psd_root(a: Array) -> Array:
    """Return the lower-triangular Λ with ΛΛ' = a, for positive *semi*-definite a, (..., k, k).

    A pivot that is zero to rounding gives a zero column, so that variances of 0 and correlations
    of ±1 are factored exactly.
    """
    a = symmetrize(np.asarray(a, dtype=float))
    k = a.shape[-1]
    root = np.zeros_like(a)
    for j in range(k):
        row = root[..., j, :j, None]
        pivot = a[..., j, j, None] - (root[..., j, None, :j] @ row)[..., 0]
        zero = pivot <= 4 * k * np.finfo(float).eps * a[..., j, j, None]
        size = np.sqrt(np.where(zero, 1.0, pivot))
        rest = a[..., j + 1 :, j] - (root[..., j + 1 :, :j] @ row)[..., 0]
        root[..., j, j] = np.where(zero, 0.0, size)[..., 0]
        root[..., j + 1 :, j] = np.where(zero, 0.0, rest / size)
    return root


def psd_roots(a: Array) -> Array:
    """Return roots Λ with ΛΛ' = a, not triangular, of many matrices (…, k, k) at once."""
    values, vectors = np.linalg.eigh(a)
    return np.asarray(vectors * np.sqrt(np.clip(values, 0.0, None))[..., None, :])


def evenly_spaced(total: int, wanted: int) -> NDArray[np.intp]:
    """Return at most ``wanted`` positions below ``total``, evenly spaced."""
    return np.unique(np.linspace(0, total - 1, min(wanted, total)).astype(np.intp))


def connected(size: int, left: NDArray[np.intp], right: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return the connected component of each of ``size`` things, numbered by their first ones.

    Parameters
    ----------
    size : int
    left, right : ndarray of int, shape (m,)
        The two ends of each link.

    Examples
    --------
    >>> connected(4, np.array([0, 3]), np.array([2, 1])).tolist()
    [0, 1, 0, 1]
    """
    links = sparse.coo_array((np.ones(len(left), dtype=np.int8), (left, right)), shape=(size, size))
    labels = connected_components(links, directed=False)[1]
    return np.asarray(pd.factorize(labels)[0], dtype=np.intp)


def cholesky_or_nan(a: Array) -> Array:
    """Return lower Cholesky factors of (S, …, k, k); NaN where one is not positive definite."""
    try:
        return np.asarray(np.linalg.cholesky(a))
    except np.linalg.LinAlgError:
        if len(a) == 1:
            return np.full_like(a, np.nan)
        half = len(a) // 2
        return np.concatenate([cholesky_or_nan(a[:half]), cholesky_or_nan(a[half:])])


def cov_to_sd_corr(cov: Array) -> tuple[Array, Array]:
    """Split covariances (…, k, k) into SDs (…, k) and correlations (…, k, k).

    A correlation with a variable of SD 0 is not defined and comes back as NaN.
    """
    sd = np.sqrt(np.clip(np.diagonal(cov, axis1=-2, axis2=-1), 0.0, None))
    scale = sd[..., :, None] * sd[..., None, :]
    with np.errstate(divide="ignore", invalid="ignore"):
        corr = np.where(scale > 0, cov / scale, np.nan)
    i = np.arange(cov.shape[-1])
    corr[..., i, i] = np.where(sd > 0, 1.0, np.nan)
    # Only rounding is taken off: what is not a correlation must stay visible.
    return sd, np.where(np.abs(corr) < 1 + 1e-9, np.clip(corr, -1.0, 1.0), corr)


def nearest_psd(a: Array) -> Array:
    """Return the nearest positive semi-definite matrix with the same diagonal scale."""
    sd = np.sqrt(np.clip(np.diagonal(a), 0.0, None))
    safe = np.where(sd > 0, sd, 1.0)
    values, vectors = np.linalg.eigh(symmetrize(a / np.outer(safe, safe)))
    corr = (vectors * np.clip(values, 0.0, None)) @ vectors.T
    unit = np.sqrt(np.where(np.diagonal(corr) > 0, np.diagonal(corr), 1.0))
    return np.asarray(corr / np.outer(unit, unit) * np.outer(sd, sd))


def block_diagonal(blocks: Array) -> Array:
    """Return one matrix of blocks (..., k, r, r) along its diagonal, shape (..., k r, k r)."""
    *leading, k, r, _ = blocks.shape
    matrix = np.zeros((*leading, k, r, k, r))
    for i in range(k):
        matrix[..., i, :, i, :] = blocks[..., i, :, :]
    return matrix.reshape(*leading, k * r, k * r)
