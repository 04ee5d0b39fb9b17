"""The elimination of a chain of factors for many λ at once: compiled, values only."""

from __future__ import annotations

import numpy as np

from bayesv.gram.compiled import FLUSH, compiled, widths
from bayesv.gram.narrow import NARROW, invert_narrow, take_off, take_off_numbers
from bayesv.gram.tables import A_START, H_START, L_START, PLACE, U_START, K, S

__all__ = ["forward_many"]


@compiled
def forward_many(tables, sums, start, stop, lam, front, logdet):
    """`forward` without a border for W values of λ at once: values only.

    The innermost loops run over the W lanes, which the compiler turns into vector instructions;
    shapes are those of `forward` with a last axis of W.
    """
    table, mult, pointer = tables.table, tables.mult, tables.pointer
    depth, unit = tables.depth, tables.unit
    A, H = sums.A, sums.H
    k_max, s_max = widths(table)
    W = lam.shape[1]
    a, N = np.empty((k_max, k_max, W)), np.empty((k_max, k_max, W))
    P, h = np.empty((k_max, k_max, W)), np.empty((k_max, s_max, W))
    half, D = np.empty((k_max, s_max, W)), np.empty((3, W))
    determinant, product = np.empty(W), np.ones(W)
    for e in range(start, stop):
        f, c = depth[e], unit[e]
        k, s, place = table[f, K], table[f, S], table[f, PLACE]
        trail = place + k if f > 0 else 0
        base = table[f, A_START] + c * k * k
        for i in range(k):
            for j in range(k):
                v = A[base + i * k + j]
                if f > 0:
                    lower, upper = place + min(i, j), place + max(i, j)
                    for w in range(W):
                        a[i, j, w] = v + front[lower, upper, w]
                else:
                    for w in range(W):
                        a[i, j, w] = v
        if f > 0:
            for i in range(k):
                for j in range(i, k):
                    for w in range(W):
                        front[place + i, place + j, w] = 0.0
        own_lam = lam[table[f, L_START] : table[f, L_START] + k * k]
        if k <= NARROW:
            invert_narrow(a, own_lam, k, D, determinant)
        else:
            _root_many(a, own_lam, k, N, P, determinant)
        u = table[f, U_START] + c
        if mult[u] == 1.0:
            full = False
            for w in range(W):
                product[w] *= determinant[w]
                full = full or not product[w] < FLUSH
            if full:
                for w in range(W):
                    logdet[w] += np.log(product[w])
                    product[w] = 1.0
        else:
            for w in range(W):
                logdet[w] += mult[u] * np.log(determinant[w])
        for r in range(pointer[u], pointer[u + 1]):
            base = table[f, H_START] + (r - pointer[table[f, U_START]]) * k * s
            if f == 0 and k <= NARROW:
                take_off_numbers(H, base, k, s, D, front)
                continue
            for i in range(k):
                for t in range(s):
                    v = H[base + i * s + t]
                    if f > 0:
                        for w in range(W):
                            h[i, t, w] = v + front[place + i, trail + t, w]
                            front[place + i, trail + t, w] = 0.0
                    else:
                        for w in range(W):
                            h[i, t, w] = v
            if k <= NARROW:
                take_off(h, k, s, D, front[trail:, trail:], half)
                continue
            for i in range(k):
                for t in range(s):
                    for w in range(W):
                        half[i, t, w] = P[i, 0, w] * h[0, t, w]
                    for j in range(1, k):
                        for w in range(W):
                            half[i, t, w] += P[i, j, w] * h[j, t, w]
            for i in range(k):
                for t in range(s):
                    for b in range(t, s):
                        for w in range(W):
                            front[trail + t, trail + b, w] -= half[i, t, w] * half[i, b, w]
    for w in range(W):
        logdet[w] += np.log(product[w])


@compiled
def _root_many(a, lam, k, N, P, determinant):
    """`_root` over lanes; lam has shape (k k, W)."""
    W = len(determinant)
    for i in range(k):
        for j in range(k):
            for w in range(W):
                P[i, j, w] = a[i, 0, w] * lam[j, w]
            for t in range(1, k):
                for w in range(W):
                    P[i, j, w] += a[i, t, w] * lam[t * k + j, w]
    for i in range(k):
        for j in range(i + 1):
            one = 1.0 if i == j else 0.0
            for w in range(W):
                N[i, j, w] = one
            for t in range(k):
                for w in range(W):
                    N[i, j, w] += lam[t * k + i, w] * P[t, j, w]
    for w in range(W):
        determinant[w] = 1.0
    for j in range(k):
        for t in range(j):
            for w in range(W):
                N[j, j, w] -= N[j, t, w] * N[j, t, w]
        for w in range(W):
            determinant[w] *= N[j, j, w]
            N[j, j, w] = 1.0 / np.sqrt(N[j, j, w])
        for i in range(j + 1, k):
            for t in range(j):
                for w in range(W):
                    N[i, j, w] -= N[i, t, w] * N[j, t, w]
            for w in range(W):
                N[i, j, w] *= N[j, j, w]
    for j in range(k):
        for i in range(k):
            for w in range(W):
                P[i, j, w] = lam[j * k + i, w]
            for t in range(i):
                for w in range(W):
                    P[i, j, w] -= N[i, t, w] * P[t, j, w]
            for w in range(W):
                P[i, j, w] *= N[i, i, w]
