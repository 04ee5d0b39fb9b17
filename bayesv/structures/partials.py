"""Correlation matrices by canonical partial correlations, and the LKJ law of these."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from scipy.special import gammaln

from bayesv.linalg import Array

__all__ = [
    "FARTHEST",
    "all_partials",
    "fisher_z",
    "lkj_log_constant",
    "lkj_powers",
    "lkj_roots",
    "log_one_less_square",
    "partial_root",
]

_INSIDE = 1.0 - np.finfo(float).eps
FARTHEST = float(np.arctanh(_INSIDE))
"""What `fisher_z` returns of a correlation of 1."""


def fisher_z(c: Array) -> Array:
    """Return atanh of correlations; of ±1, as far out as numbers go."""
    return np.asarray(np.arctanh(np.clip(c, -_INSIDE, _INSIDE)))


def log_one_less_square(z: Array) -> Array:
    """Return log(1 − tanh²z) without cancellation."""
    z = np.abs(z)
    return np.asarray(2.0 * (np.log(2.0) - z - np.log1p(np.exp(-2.0 * z))))


def partial_root(partials: Array, r: int) -> Array:
    """Return the Cholesky factor of the correlation with given canonical partial correlations.

    Parameters
    ----------
    partials : ndarray, shape (..., r (r − 1)/2)
        Row by row of the lower triangle.
    r : int
    """
    root = np.zeros((*partials.shape[:-1], r, r))
    root[..., 0, 0] = 1.0
    place = 0
    for i in range(1, r):
        left = np.ones(partials.shape[:-1])
        for j in range(i):
            root[..., i, j] = partials[..., place] * np.sqrt(left)
            left = left * (1.0 - partials[..., place]) * (1.0 + partials[..., place])
            place += 1
        root[..., i, i] = np.sqrt(left)
    return root


def all_partials(corr: Array) -> Array:
    """Return canonical partial correlations of correlations, (..., r, r) → (..., r (r − 1)/2).

    Row by row of the lower triangle, inside (−1, 1).
    """
    r = corr.shape[-1]
    root, partials = np.zeros_like(corr), []
    root[..., 0, 0] = 1.0
    for i in range(1, r):
        left = np.ones(corr.shape[:-2])
        for j in range(i):
            rest = corr[..., i, j] - (root[..., i, :j] * root[..., j, :j]).sum(axis=-1)
            c = rest / np.maximum(root[..., j, j] * np.sqrt(left), np.finfo(float).tiny)
            c = np.clip(c, -_INSIDE, _INSIDE)
            partials.append(c)
            root[..., i, j] = c * np.sqrt(left)
            left = left * (1.0 - c) * (1.0 + c)
        root[..., i, i] = np.sqrt(left)
    return np.stack(partials, axis=-1) if partials else np.zeros((*corr.shape[:-2], 0))


@lru_cache
def lkj_log_constant(r: int, eta: float) -> float:
    """Return log ∫ |C|^(η − 1) dC over r × r correlation matrices.

    The same by elements and by partial correlations: these are independent with density
    ∝ (1 − c²)^(η − 1 + (r − 2 − j)/2) for the pair of i and j < i (Lewandowski, Kurowicka and Joe
    2009, https://doi.org/10.1016/j.jmva.2009.04.008).
    """
    k = np.arange(1, r)
    beta = gammaln(eta + 0.5 * (r - 1 - k)) - gammaln(eta + 0.5 * (r - 1))
    return float(np.sum(0.5 * k * np.log(np.pi) + beta))


def lkj_powers(r: int, eta: float) -> Array:
    """Return the powers of 1 − c² in the density by atanh c of the partial correlations c.

    Row by row of the lower triangle; 1 more than in that by c, see `lkj_log_constant`.
    """
    _, j = np.tril_indices(r, -1)
    return np.asarray(eta + 0.5 * (r - 2 - j))


def lkj_roots(r: int, eta: float, count: int, rng: np.random.Generator) -> Array:
    """Draw Cholesky factors of LKJ(η) correlation matrices, (count, r, r), by the onion method.

    Lewandowski, Kurowicka and Joe 2009, https://doi.org/10.1016/j.jmva.2009.04.008, section 3.2.
    """
    root = np.tile(np.eye(r), (count, 1, 1))
    for k in range(1, r):
        square = rng.beta(k / 2.0, eta + (r - 1 - k) / 2.0, count)
        direction = rng.normal(size=(count, k))
        direction /= np.linalg.norm(direction, axis=1, keepdims=True)
        root[:, k, :k] = np.sqrt(square)[:, None] * direction
        root[:, k, k] = np.sqrt(1.0 - square)
    return root
