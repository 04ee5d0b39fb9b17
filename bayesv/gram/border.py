"""The border of crossed factors: what a chain takes from it, and its own blocks; compiled loops."""

from __future__ import annotations

import numpy as np

from bayesv.gram.compiled import compiled
from bayesv.gram.eights import load, spread, store
from bayesv.gram.tables import K, S

__all__ = ["border_gradient", "from_border", "mirror", "sandwich", "to_border"]


@compiled
def to_border(tables, f, first, last, P, half, left):
    """Take E'DE and E'DH of one unit off the border and off the E of its ancestors.

    Of a border that is not dense, whose A is empty, E'DE is left where it is.
    """
    table, columns, slots, places = tables.table, tables.columns, tables.slots, tables.places
    E, border_A, border_B = left.E, left.A_border, left.B_border
    k, s, m = table[f, K], table[f, S], border_B.shape[1]
    # Signed indices may count from the end, which is tested each time.
    first, size = np.uintp(first), np.uintp(last - first)
    half_E = np.empty((size, k))
    for x in range(size):
        for i in range(k):
            v = 0.0
            for j in range(k):
                v += P[i, j] * E[first + x, j]
            half_E[x, i] = v
    for x in range(size):
        row = np.uintp(columns[first + x])
        for i in range(k):
            v = half_E[x, i]
            if len(border_A):
                for y in range(x + np.uintp(1)):
                    border_A[row, places[first + y]] -= v * half_E[y, i]
            for b in range(m):
                border_B[row, b] -= v * half[i, s - m + b]
        if f + 1 == len(table):
            continue
        target, column = np.intp(first + x), 0
        for g in range(f + 1, len(table)):
            target = slots[target]
            for b in range(table[g, K]):
                for i in range(k):
                    E[target, b] -= half[i, column + b] * half_E[x, i]
            column += table[g, K]


@compiled
def from_border(tables, f, first, last, h, p, D, D_bar, left, bar, factors, of_sums):
    """Add what the border and the E of ancestors say to p, the unit's D_bar and its E_bar.

    The derivative by A is ``bar.A_border``, read in its lower triangle, or that of ``factors``.
    E_bar of the finest factor is only wanted ``of_sums``.
    """
    table, columns, slots, E = tables.table, tables.columns, tables.slots, left.E
    E_bar, A_bar, B_bar = bar.E, bar.A_border, bar.B_border
    k, s, m = table[f, K], table[f, S], B_bar.shape[1]
    p_E = np.zeros((last - first, k))
    wanted = f > 0 or of_sums
    if len(factors.signs):
        own_h, own_p = h[:k, s - m : s], p[:k, s - m : s]
        _from_factors(E, columns, first, last, factors, own_h, own_p, p_E, D_bar, wanted)
    else:
        _add_dense(E, columns, tables.places, first, last, k, A_bar, p_E)
        for x in range(last - first):
            row = columns[first + x]
            for b in range(m):
                v = 0.5 * B_bar[row, b]
                for i in range(k):
                    p_E[x, i] += h[i, s - m + b] * v
                    p[i, s - m + b] += E[first + x, i] * v
    for x in range(last - first if f + 1 < len(table) else 0):
        target, column = first + x, 0
        for g in range(f + 1, len(table)):
            target = slots[target]
            for b in range(table[g, K]):
                v = 0.5 * E_bar[target, b]
                for i in range(k):
                    p_E[x, i] += h[i, column + b] * v
                    p[i, column + b] += E[first + x, i] * v
            column += table[g, K]
    for i in range(k):
        for j in range(k):
            total = 0.0
            for x in range(last - first):
                total += p_E[x, i] * E[first + x, j]
            D_bar[i, j] -= total
    if wanted:
        for x in range(last - first):
            for i in range(k):
                total = 0.0
                for j in range(k):
                    total -= D[i, j] * p_E[x, j]
                E_bar[first + x, i] = 2.0 * total


@compiled
def _add_dense(E, columns, places, first, last, k, A_bar, p_E):
    """Add A_bar times the couplings of one unit, A_bar by its lower triangle."""
    for x in range(last - first):
        row = columns[first + x]
        for y in range(x):
            v = A_bar[row, places[first + y]]
            for i in range(k):
                p_E[x, i] += E[first + y, i] * v
                p_E[y, i] += E[first + x, i] * v
        for i in range(k):
            p_E[x, i] += E[first + x, i] * A_bar[row, places[first + x]]


@compiled
def _from_factors(E, columns, first, last, factors, h, p, p_E, D_bar, wanted):
    """Add what the border's derivatives, by factors and blocks, say to p, p_E and D_bar.

    ``factors.F`` has rows of eight numbers, an even number for each column: of the factors, and
    last of half the derivative by B. Unless ``wanted``, only the blocks go by way of p_E.
    """
    F, signs, own, mates, blocks = factors
    (k, m), n = p.shape, len(F) // len(own)
    R = len(signs)
    sums = np.empty((k * n, 8))
    for i in range(k):
        for r in range(0, n, 2):
            total, other = spread(0.0), spread(0.0)
            for x in range(np.uintp(first), np.uintp(last)):
                row, v = columns[x] * n + r, spread(E[x, i])
                total = total + v * load(F, row)
                other = other + v * load(F, row + 1)
            store(sums, i * n + r, total)
            store(sums, i * n + r + 1, other)
    along = sums.reshape(k, 8 * n)
    for i in range(k):
        for b in range(m):
            p[i, b] += along[i, R + b]
    back = np.zeros((k, 8 * n))
    for i in range(k):
        for r in range(R):
            back[i, r] = signs[r] * along[i, r]
        for b in range(m):
            back[i, R + b] = h[i, b]
    if not wanted:
        for i in range(k):
            for j in range(k):
                for r in range(R + m):
                    D_bar[i, j] -= back[i, r] * along[j, r]
    first = np.uintp(first)
    for x in range(np.uintp(len(p_E))):
        row = np.uintp(columns[first + x])
        for i in range(k):
            v, y = 0.0, first + x
            if wanted:
                for r in range(R + m):
                    v += F[np.intp(row) * n + r // 8, r % 8] * back[i, r]
            while True:
                v += blocks[row, own[columns[y]]] * E[y, i]
                y = np.uintp(mates[y]) if len(mates) else first + x
                if y == first + x:
                    break
            p_E[x, i] = v


@compiled
def mirror(a):
    """Copy the lower triangle of a square array to the upper one, in blocks that fit the cache."""
    n, step = len(a), 64
    for i0 in range(0, n, step):
        for j0 in range(0, i0 + 1, step):
            for i in range(i0, min(i0 + step, n)):
                for j in range(j0, min(j0 + step, i)):
                    a[j, i] = a[i, j]


@compiled
def sandwich(a, lam, blocks, identity, transpose, result):
    """Write λ_i' a_ij λ_j + I (``identity`` 1) of all blocks to the lower triangle of ``result``.

    ``a`` is read in its lower triangle. Block b stands at starts[b], has widths[b] columns, and its
    λ, or its transpose, stands at places[b] of the flat ``lam``.
    """
    starts, ks, places = blocks.starts, blocks.widths, blocks.places
    k_max = 1
    for k in ks:
        k_max = max(k_max, k)
    work = np.empty((k_max, k_max))
    for b in range(len(starts)):
        k_b, start_b, lam_b = ks[b], starts[b], places[b]
        for d in range(b + 1):
            k_d, start_d, lam_d = ks[d], starts[d], places[d]
            if k_b == 1 and k_d == 1:
                result[start_b, start_d] = lam[lam_b] * a[start_b, start_d] * lam[lam_d]
                if b == d:
                    result[start_b, start_d] += identity
                continue
            for i in range(k_b):
                for j in range(k_d):
                    total = 0.0
                    for t in range(k_d):
                        y = lam[lam_d + (j * k_d + t if transpose else t * k_d + j)]
                        row, column = start_b + i, start_d + t
                        total += a[max(row, column), min(row, column)] * y
                    work[i, j] = total
            for i in range(k_b):
                for j in range(k_d):
                    total = identity if b == d and i == j else 0.0
                    for t in range(k_b):
                        y = lam[lam_b + (i * k_b + t if transpose else t * k_b + i)]
                        total += y * work[t, j]
                    result[start_b + i, start_d + j] = total


@compiled
def border_gradient(a, N_inv, lam, blocks, lam_bar):
    """Add the diagonal blocks of 2AΛN⁻¹, the derivative of log|I + Λ'AΛ|, to ``lam_bar``."""
    starts, ks, places = blocks.starts, blocks.widths, blocks.places
    for b in range(len(starts)):
        k_b, start_b = ks[b], starts[b]
        for i in range(k_b):
            for j in range(k_b):
                total = 0.0
                for d in range(len(starts)):
                    k_d, start_d, lam_d = ks[d], starts[d], places[d]
                    for t in range(k_d):
                        for h in range(k_d):
                            y = lam[lam_d + t * k_d + h] * N_inv[start_b + j, start_d + h]
                            total += a[start_b + i, start_d + t] * y
                lam_bar[places[b] + i * k_b + j] += 2.0 * total
