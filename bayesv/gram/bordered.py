"""The elimination of a chain and a small border for many λ, one after the other: compiled."""

from __future__ import annotations

import numpy as np

from bayesv.gram.border import sandwich
from bayesv.gram.compiled import compiled
from bayesv.gram.kernels import forward
from bayesv.gram.tables import Sums

__all__ = ["forward_bordered"]


@compiled
def forward_bordered(tables, sums, lam, width, nested, blocks, border_lam, logdet, T):
    """Add log|M| to ``logdet``, (W,), and what T loses to the upper triangles of ``T``, (W, m, m).

    ``lam``, (W, Σk²), is λ of the chain, ``border_lam`` that of the border, whose levels stand at
    ``blocks``. ``nested`` says that units of the chain have ancestors in it, which the
    elimination writes to.
    """
    A, H, E, border_A, border_B, C = sums
    n, m = border_B.shape
    front, base = np.empty((width, width)), width - m
    kept_A, kept_H, kept_E = (A.copy(), H.copy(), E.copy()) if nested else (A, H, E)
    A_left, B_left = np.empty_like(border_A), np.empty_like(border_B)
    left = Sums(kept_A, kept_H, kept_E, A_left, B_left, C)
    N, half = np.empty((n, n)), np.empty((n, m))
    for w in range(len(lam)):
        front[:] = 0.0
        A_left[:] = border_A
        B_left[:] = border_B
        if nested:
            kept_E[:] = E
        stop = len(tables.unit)
        logdet[w] += forward(tables, sums, left, np.intp(0), stop, lam[w], front, True)
        sandwich(A_left, border_lam[w], blocks, 1.0, False, N)
        for b in range(len(blocks.starts)):
            k, start, place = blocks.widths[b], blocks.starts[b], blocks.places[b]
            for i in range(k):
                for c in range(m):
                    half[start + i, c] = 0.0
                    for t in range(k):
                        x = border_lam[w, place + t * k + i]
                        half[start + i, c] += x * B_left[start + t, c]
        logdet[w] += _solve_lower(N, half)
        for c in range(m):
            for d in range(c, m):
                T[w, c, d] += front[base + c, base + d]
                for i in range(n):
                    T[w, c, d] -= half[i, c] * half[i, d]


@compiled
def _solve_lower(N, half):
    """Factor N = LL' in its lower triangle, overwrite ``half`` by L⁻¹half, return log|N|."""
    n, m = half.shape
    logdet = 0.0
    for i in range(n):
        for j in range(i + 1):
            total = N[i, j]
            for t in range(j):
                total -= N[i, t] * N[j, t]
            N[i, j] = np.sqrt(total) if i == j else total / N[j, j]
        for t in range(i):
            for c in range(m):
                half[i, c] -= N[i, t] * half[t, c]
        for c in range(m):
            half[i, c] /= N[i, i]
        logdet += 2.0 * np.log(N[i, i])
    return logdet
