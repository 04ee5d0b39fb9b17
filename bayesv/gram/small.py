"""Cholesky factors, solutions and inverses of many small systems: compiled."""

from __future__ import annotations

import numpy as np

from bayesv.gram.compiled import compiled

__all__ = ["invert_many", "solve_many"]


@compiled
def solve_many(P, h, L, x):
    """Factor P_s = LL' and solve P_s x = h_s; return (log|P_s|, h'P⁻¹h), shape (S, 2).

    Shapes (S, p, p) and (S, p); ``L`` and ``x`` are filled. NaN where P_s is not positive definite.
    """
    S, p = h.shape
    result = np.zeros((S, 2))
    for s in range(S):
        product = 1.0
        for j in range(p):
            for i in range(j, p):
                total = P[s, i, j]
                for t in range(j):
                    total -= L[s, i, t] * L[s, j, t]
                if i == j:
                    L[s, j, j] = np.sqrt(total)
                    product *= total
                else:
                    L[s, i, j] = total / L[s, j, j]
            for i in range(j):
                L[s, i, j] = 0.0
            if product > 1e200 or product < 1e-200:
                result[s, 0] += np.log(product)
                product = 1.0
        result[s, 0] += np.log(product)
        for i in range(p):
            total = h[s, i]
            for t in range(i):
                total -= L[s, i, t] * x[s, t]
            x[s, i] = total / L[s, i, i]
            result[s, 1] += x[s, i] ** 2
        for i in range(p - 1, -1, -1):
            for t in range(i + 1, p):
                x[s, i] -= L[s, t, i] * x[s, t]
            x[s, i] /= L[s, i, i]
        if not np.isfinite(result[s, 1]):
            result[s, 0] = np.nan
    return result


@compiled
def invert_many(P, inverse):
    """Fill ``inverse`` with P_s⁻¹, shapes (S, k, k), and return log|P_s|, shape (S,).

    NaN where P_s is not positive definite.
    """
    S, k, _ = P.shape
    logdet = np.zeros(S)
    for s in range(S):
        A = inverse[s]  # L below, then L⁻¹; P⁻¹ above, then everywhere
        for j in range(k):
            for i in range(j, k):
                total = P[s, i, j]
                for t in range(j):
                    total -= A[i, t] * A[j, t]
                if i > j:
                    A[i, j] = total / A[j, j]
                else:
                    A[j, j] = np.sqrt(total) if total > 0.0 else np.nan
                    logdet[s] += 2.0 * np.log(A[j, j])
        for j in range(k):
            A[j, j] = 1.0 / A[j, j]
            for i in range(j + 1, k):
                total = 0.0
                for t in range(j, i):
                    total -= A[i, t] * A[t, j]
                A[i, j] = total / A[i, i]
        for j in range(k):
            for i in range(j + 1):
                total = 0.0
                for t in range(j, k):
                    total += A[t, i] * A[t, j]
                A[i, j] = total
        for j in range(k):
            for i in range(j):
                A[j, i] = A[i, j]
    return logdet
