"""To how many digits random effects of any size reproduce the response."""

from __future__ import annotations

import numpy as np

from bayesv.gram.many import eliminate_many
from bayesv.gram.statistics import GramStatistics

__all__ = ["digits_reproduced"]

_SIZES = np.array([1e8, 1e10, 1e13])  # n_j λ²: two that tell the rank, and one next to infinity
_WHOLE = 0.1  # how near a measured rank must be to a whole number
_DIGITS = 5.5  # half of what double precision leaves of products: less is reproduced by none


def digits_reproduced(stats: GramStatistics) -> float | None:
    """Return to how many digits the random effects reproduce the response, if to too many.

    Parameters
    ----------
    stats : GramStatistics
        Of any R that is well conditioned; what random effects can reproduce does not depend on it.

    Returns
    -------
    float or None
        −log₁₀ of the SD that is left within levels over the SD of the response after X. None if
        enough is left, there are no effects, or as many as rows: these reproduce every response.

    Notes
    -----
    As λ → ∞, r² goes to the square of what [X Z] leaves of y, and log|M| + log|S| grows by
    rank [X Z] − rank X times log λ².
    """
    from bayesv.gram.small import solve_many  # compiled: loaded when it is needed

    lambdas = []
    for squares in stats.squares:
        size = np.einsum("jaa->a", squares) / len(squares)
        inverse = np.where(size > 0.0, 1.0 / np.where(size > 0.0, size, 1.0), 0.0)
        lambdas.append(np.sqrt(_SIZES)[:, None, None] * np.diag(np.sqrt(inverse)))
    if not lambdas:
        return None
    p = stats.p
    logdet, T = eliminate_many(stats, lambdas)
    S, c = T[:, :p, :p], T[:, :p, p]
    logdet_S, explained = solve_many(S, c, np.empty_like(S), np.empty_like(c)).T
    growth = np.diff(logdet + logdet_S)[0] / np.log(_SIZES[1] / _SIZES[0])
    n_left = stats.n - p - np.ceil(growth - _WHOLE)
    if not n_left >= 1.0:  # NaN where X and Z are next to dependent
        return None
    near, far = (T[1:, p, p] - explained[1:]).tolist()
    limit = far - (near - far) * _SIZES[1] / _SIZES[2]  # r² falls as λ⁻²
    within = max(limit, stats.rounding) / n_left
    digits = -0.5 * np.log10(within / (stats.sums.C[p, p] / (stats.n - p)))
    return float(digits) if digits > _DIGITS else None
