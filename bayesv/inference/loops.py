"""Loops of the collapsed engine over proposals: compiled."""

from __future__ import annotations

import numpy as np

from bayesv.gram.compiled import compiled

__all__ = ["accept", "distances", "log_mixture"]


@compiled
def distances(x, means, inverses, squares):
    """Fill Mahalanobis distances², (S, K), of points (S, d) by lower-triangular L⁻¹, (K, d, d)."""
    S, d = x.shape
    for s in range(S):
        for k in range(len(means)):
            total = 0.0
            for i in range(d):
                z = 0.0
                for j in range(i + 1):
                    z += inverses[k, i, j] * (x[s, j] - means[k, j])
                total += z * z
            squares[s, k] = total


@compiled
def log_mixture(squares, constants, nu, half, logs):
    """Fill log densities, (S,), of a mixture of t distributions at distances², (S, K).

    ``half`` is (ν + d)/2; ``constants``, (K,), are the log densities at the centres.
    """
    S, K = squares.shape
    for s in range(S):
        top = -np.inf
        for k in range(K):
            squares[s, k] = constants[k] - half * np.log1p(squares[s, k] / nu)
            top = max(top, squares[s, k])
        total = 0.0
        for k in range(K):
            total += np.exp(squares[s, k] - top)
        logs[s] = top + np.log(total)


@compiled
def accept(log_w, log_u, first, path):
    """Fill the path of independence Metropolis–Hastings chains, shapes (chains, length).

    ``path`` counts proposals chain after chain; behind them stand the first points, whose log
    weights are ``first``.
    """
    chains, length = log_w.shape
    for c in range(chains):
        position, current = chains * length + c, first[c]
        for i in range(length):
            if log_u[c, i] < log_w[c, i] - current:
                position, current = c * length + i, log_w[c, i]
            path[c, i] = position
