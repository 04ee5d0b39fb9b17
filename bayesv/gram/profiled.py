"""The profiled criterion of what an elimination leaves; whole for a chain: compiled."""

from __future__ import annotations

import numpy as np

from bayesv.gram.compiled import compiled
from bayesv.gram.kernels import forward, reverse
from bayesv.gram.lanes import forward_eight
from bayesv.gram.tables import Kept

__all__ = ["profile", "profile_chain", "profile_lanes", "profile_many", "solve_fixed"]


@compiled
def solve_fixed(T):
    """Return γ̂, r² = t − c'S⁻¹c, log|S| and S⁻¹ from T = [[S, c], [c', t]].

    NaN where S is not positive definite.
    """
    p = len(T) - 1
    gamma, half, r2, logdet = np.zeros(p), np.zeros(p), T[p, p], 0.0
    root, inverse = np.zeros((p, p)), np.zeros((p, p))
    if p == 0:
        return gamma, r2, logdet, inverse
    try:
        L = np.linalg.cholesky(T[:p, :p].copy())
    except Exception:  # not positive definite
        return gamma, np.nan, np.nan, inverse
    for j in range(p):
        logdet += 2.0 * np.log(L[j, j])
        root[j, j] = 1.0 / L[j, j]
        for i in range(j + 1, p):
            total = 0.0
            for t in range(j, i):
                total += L[i, t] * root[t, j]
            root[i, j] = -total / L[i, i]
    for i in range(p):
        for t in range(i + 1):
            half[i] += root[i, t] * T[t, p]
        r2 -= half[i] ** 2
    gamma = root.T @ half
    return gamma, r2, logdet, root.T @ root


@compiled
def profile(T, logdet, rule):
    """Return the profiled criterion and its derivative by T.

    −∞ if nothing but rounding is left to the residual, ∞ if T is not positive definite.
    """
    p = len(T) - 1
    T_bar = np.zeros_like(T)
    gamma, r2, logdet_S, S_inv = solve_fixed(T)
    if np.isnan(logdet_S):
        return np.inf, T_bar
    if rule.sigma_is_known:
        sigma2, scaled = 1.0, r2
    elif r2 <= rule.exact:
        return -np.inf, T_bar
    else:
        sigma2, scaled = r2 / rule.df, rule.df
    value = logdet + rule.constant + rule.df * np.log(2.0 * np.pi * sigma2) + scaled
    for i in range(p + 1):
        for j in range(p + 1):
            one = -gamma[i] if i < p else 1.0
            other = -gamma[j] if j < p else 1.0
            T_bar[i, j] = one * other / sigma2
    if rule.restricted:
        value += logdet_S
        for i in range(p):
            for j in range(p):
                T_bar[i, j] += S_inv[i, j]
    return value, T_bar


@compiled
def profile_many(T, logdet, rule):
    """Return the profiled criterion of S eliminations; ∞ where rounding leaves none.

    S is destroyed in ``T``, (S, p + 1, p + 1), whose upper triangles are not looked at.
    """
    values = np.empty(len(T))
    for s in range(len(T)):
        values[s] = _value(T[s], logdet[s], rule)
    return values


@compiled
def _value(L, logdet, rule):
    """Return the profiled criterion of T, in the lower triangle of ``L``, where S is destroyed."""
    p, total = len(L) - 1, logdet + rule.constant
    for j in range(p):
        for t in range(j):
            L[j, j] -= L[j, t] ** 2
        if rule.restricted:
            total += np.log(L[j, j])
        L[j, j] = np.sqrt(L[j, j])
        for i in range(j + 1, p + 1):
            for t in range(j):
                L[i, j] -= L[i, t] * L[j, t]
            L[i, j] /= L[j, j]
    r2 = L[p, p]
    for t in range(p):
        r2 -= L[p, t] ** 2
    sigma2, scaled = (1.0, r2) if rule.sigma_is_known else (r2 / rule.df, rule.df)
    total += rule.df * np.log(2.0 * np.pi * sigma2) + scaled
    return total if np.isfinite(total) and r2 > 0 else np.inf


@compiled
def profile_chain(given, lam):
    """Return the criterion at a flat λ, its derivative by λ, and T; as `profile` does."""
    m, C, left = len(given.sums.C), given.sums.C, given.left
    start, stop = np.intp(0), len(given.tables.unit)  # no literal, which is a type of its own
    front, lam_bar = np.zeros((given.width, given.width)), np.zeros_like(lam)
    logdet = forward(given.tables, given.sums, left, start, stop, lam, front, None)
    first, T = given.width - m, np.empty((m, m))
    for i in range(m):
        for j in range(i, m):
            T[i, j] = T[j, i] = C[i, j] + front[first + i, first + j]
    value, T_bar = profile(T, logdet, given.rule)
    if not np.isinf(value):
        front[:] = 0.0
        for i in range(m):
            for j in range(m):
                front[first + i, first + j] = T_bar[i, j]
        reverse(
            given.tables, left, left, start, stop, lam, front, lam_bar, given.factors, False, None
        )  # fmt: skip
    return value, lam_bar, T


@compiled
def profile_lanes(given, lam, finest, fronts, corners, first, places):
    """Return the criterion at W flat λ, (W, Σk²), whose finest factor stands at ``places``, (W,).

    Of N more λ of the finest factor, (N, k²), what its units leave is put into ``fronts``, a
    `Kept`'s, from the place ``first`` on, and into ``corners``: log|M| and what [X y] loses. Of a
    single factor W λ of it are all there is to do.
    """
    m, C, width, tables = len(given.sums.C), given.sums.C, given.width, given.tables
    T, stop, depth = np.empty((m, m)), len(tables.unit), width - m
    eight, front = np.empty((lam.shape[1], 8)), np.empty((width * width, 8))
    own, log = np.empty(8, np.intp), np.empty((1, 8))
    n_finest, W = (len(finest) + 7) // 8, len(finest) if depth == 0 else len(lam)
    values = np.empty(W)
    for batch in range(n_finest if depth == 0 else n_finest + (W + 7) // 8):
        of_finest = batch < n_finest
        start = 8 * (batch if of_finest else batch - n_finest)
        source = finest if of_finest else lam
        front[:] = 0.0
        for w in range(8):
            s = min(start + w, len(source) - 1)
            own[w] = first + s if of_finest else places[s]
            for i in range(source.shape[1]):
                eight[i, w] = source[s, i]
            log[0, w] = 0.0
            if not of_finest:
                log[0, w] = corners[own[w], 0, m]
                for i in range(m):
                    for j in range(i, m):
                        front[(depth + i) * width + depth + j, w] = corners[own[w], i, j]
        kept = Kept(fronts, depth, own, of_finest)
        forward_eight(tables, given.sums, np.intp(0), stop, eight, front, width, log, kept)
        for w in range(min(8, len(source) - start)):
            for i in range(m):
                for j in range(i, m):
                    value = front[(depth + i) * width + depth + j, w]
                    if of_finest and depth > 0:
                        corners[own[w], i, j] = value
                    T[j, i] = C[i, j] + value
            if of_finest and depth > 0:
                corners[own[w], 0, m] = log[0, w]
            else:
                values[start + w] = _value(T, log[0, w], given.rule)
    return values
