"""Loops of the collapsed engine over proposals: compiled."""

from __future__ import annotations

import numpy as np

from bayesv.gram.compiled import compiled

__all__ = ["accept", "apart", "directions", "distances", "log_mixture", "update"]


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
def log_mixture(x, centre, kappa, means, inverses, constants, nu, logs):
    """Fill log densities, (S,), of a mixture of K t distributions in warped coordinates.

    ``inverses``, (K, d, d), are L⁻¹; ``constants``, (K,), the log densities at the centres. See
    `bayesv.inference.proposal.Warp` for ``centre`` and ``kappa``; without warp they are 0.
    """
    (S, d), K = x.shape, len(means)
    z, values = np.empty(d), np.empty(K)
    half = 0.5 * (nu + d)
    for s in range(S):
        log_slopes = 0.0
        for j in range(d):
            z[j] = x[s, j] - centre[j]
            bend = kappa[j] * z[j]
            if bend < 0.0:
                slope = np.sqrt(1.0 - 2.0 * bend)
                z[j] = (1.0 - slope) / kappa[j]
                log_slopes += np.log(slope)
        top = -np.inf
        for k in range(K):
            square = 0.0
            for i in range(d):
                total = 0.0
                for j in range(i + 1):
                    total += inverses[k, i, j] * (z[j] - means[k, j])
                square += total * total
            values[k] = constants[k] - half * np.log1p(square / nu)
            top = max(top, values[k])
        total = 0.0
        for k in range(K):
            total += np.exp(values[k] - top)
        logs[s] = top + np.log(total) - log_slopes


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


@compiled
def directions(inverse, slope, longest, step):
    """Fill steps of climbs, (K, d), no coordinate longer than that; return slope'H⁻¹slope, (K,)."""
    K, d = slope.shape
    gains = np.zeros(K)
    for k in range(K):
        largest = 0.0
        for i in range(d):
            total = 0.0
            for j in range(d):
                total += inverse[k, i, j] * slope[k, j]
            step[k, i] = total
            gains[k] += total * slope[k, i]
            largest = max(largest, abs(total))
        if largest > longest:
            for i in range(d):
                step[k, i] *= longest / largest
    return gains


@compiled
def update(inverse, moved, move, change):
    """Update inverse Hessians of minus the log density at climbs that moved (BFGS)."""
    K, d = move.shape
    product = np.empty(d)
    for k in range(K):
        H, along, bent = inverse[moved[k]], 0.0, 0.0
        for i in range(d):
            along += move[k, i] * change[k, i]
            product[i] = 0.0
            for j in range(d):
                product[i] += H[i, j] * change[k, j]
            bent += change[k, i] * product[i]
        if not along > 1e-10:
            continue
        for i in range(d):
            for j in range(d):
                H[i, j] += (1.0 + bent / along) * move[k, i] * move[k, j] / along
                H[i, j] -= (product[i] * move[k, j] + move[k, i] * product[j]) / along


@compiled
def apart(x, order, curvature, near):
    """Return which climbs, (K,), are not next to a higher one; ``order`` is from the highest."""
    K, d = x.shape
    kept = np.zeros(K, dtype=np.bool_)
    for a in range(K):
        k, alone = order[a], True
        for b in range(a):
            other, square = order[b], 0.0
            if kept[other]:
                for j in range(d):
                    square += (x[other, j] - x[k, j]) ** 2 * curvature[other, j]
                alone = alone and square > near
        kept[k] = alone
    return kept
