"""Loops of the collapsed engine over proposals: compiled."""

from __future__ import annotations

import numpy as np

from bayesv.gram.compiled import compiled

__all__ = ["accept", "aim", "apart", "distances", "log_mixture", "rise", "turn"]


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
def aim(x, slope, inverse, active, lengths, longest, gain, going, trials):
    """Fill points along the steps of climbs, (K T, d), T for each; return how many climbs go on.

    ``going`` says which they are. Those that expect to gain less than that have arrived. No
    coordinate of a step is longer than ``longest``.
    """
    (K, d), T, count = x.shape, len(lengths), 0
    step = np.empty(d)
    for k in range(K):
        largest, expected = 0.0, 0.0
        for i in range(d):
            step[i] = 0.0
            for j in range(d):
                step[i] += inverse[k, i, j] * slope[k, j]
            expected += step[i] * slope[k, i]
            largest = max(largest, abs(step[i]))
        active[k] = active[k] and expected > gain
        if active[k]:
            scale = longest / largest if largest > longest else 1.0
            for t in range(T):
                for i in range(d):
                    trials[count * T + t, i] = x[k, i] + lengths[t] * scale * step[i]
            going[count] = k
            count += 1
    return count


@compiled
def rise(going, count, trials, heights, spacing, x, value, curvature, inverse, fresh, active, move,
         around):  # fmt: skip
    """Take each climb to its highest trial; return how many moved, which ``going`` says then.

    Around these, (2 d moved, d), are the points for differences. A climb that cannot rise starts
    again along the diagonal, and then has arrived.
    """
    d, T, moved = x.shape[1], len(heights) // count, 0
    for g in range(count):
        k, best, higher = going[g], 0, False
        top = value[k] + 1e-9
        for t in range(T):
            if heights[g * T + t] > top:
                best, top, higher = t, heights[g * T + t], True
        if not higher:
            active[k] = not fresh[k]
            fresh[k] = True
            for i in range(d):
                for j in range(d):
                    inverse[k, i, j] = 1.0 / curvature[k, i] if i == j else 0.0
            continue
        value[k] = top
        for i in range(d):
            move[moved, i] = trials[g * T + best, i] - x[k, i]
            x[k, i] += move[moved, i]
        for j in range(2 * d):
            for i in range(d):
                around[moved * 2 * d + j, i] = x[k, i]
            around[moved * 2 * d + j, j % d] += spacing if j < d else -spacing
        going[moved] = k
        moved += 1
    return moved


@compiled
def turn(moved, count, heights, spacing, least, move, value, slope, curvature, inverse, fresh):
    """Fill slopes and (positive) diagonal curvatures of climbs that moved, by the heights around.

    Inverse Hessians of minus the log density are updated as Broyden, Fletcher, Goldfarb and
    Shanno's method has it. Next to where there is no density the slope leads away from there.
    """
    d = slope.shape[1]
    change, product = np.empty(d), np.empty(d)
    for m in range(count):
        k, first = moved[m], m * 2 * d
        for j in range(d):
            up, down = heights[first + j], heights[first + d + j]
            up = up if np.isfinite(up) else value[k] - 1.0
            down = down if np.isfinite(down) else value[k] - 1.0
            change[j] = slope[k, j]
            slope[k, j] = (up - down) / (2.0 * spacing)
            change[j] -= slope[k, j]
            curvature[k, j] = max(abs((2.0 * value[k] - up - down) / spacing**2), least)
        H, along, bent = inverse[k], 0.0, 0.0
        for i in range(d):
            along += move[m, i] * change[i]
            product[i] = 0.0
            for j in range(d):
                product[i] += H[i, j] * change[j]
            bent += change[i] * product[i]
        fresh[k] = False
        if not along > 1e-10:
            continue
        for i in range(d):
            for j in range(d):
                H[i, j] += (1.0 + bent / along) * move[m, i] * move[m, j] / along
                H[i, j] -= (product[i] * move[m, j] + move[m, i] * product[j]) / along


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
