"""Cholesky's factor of a border in an order that keeps it sparse, and its inverse: compiled loops.

Positions are places in the order. What of a matrix is not 0, or is wanted, stands in a flat array,
see `bayesv.gram.ordering.Ordering`.
"""

from __future__ import annotations

import numpy as np

from bayesv.gram.compiled import compiled

__all__ = ["factor", "inverse", "lower", "scaled", "scaled_back", "solve_first", "solve_last"]


@compiled
def scaled(a, lam, levels, order, N):
    """Write λ_i'a_ij λ_j + I of the levels that couple to the flat N.

    ``a``, in the columns' own order, is read in its lower triangle. Level b has levels.widths[b]
    columns from levels.starts[b] on; its λ stands at levels.places[b] of the flat ``lam``.
    """
    x = 0
    for pair in range(len(order.one)):
        b, d = order.one[pair], order.two[pair]
        k, h, first, second = levels.widths[b], levels.widths[d], levels.starts[b], levels.starts[d]
        of_b, of_d = levels.places[b], levels.places[d]
        for i in range(k):
            for j in range(h):
                total = 1.0 if b == d and i == j else 0.0
                for t in range(k):
                    part = 0.0
                    for y in range(h):
                        row, column = first + t, second + y
                        part += a[max(row, column), min(row, column)] * lam[of_d + y * h + j]
                    total += lam[of_b + t * k + i] * part
                N[order.places[x]] = total
                x += 1


@compiled
def factor(N, order):
    """Overwrite the first columns of N by those of its factor, and the block by what they leave.

    Returns whether all pivots are positive.
    """
    starts, rows = order.starts, order.rows
    s = len(starts) - 1
    block, width = s + len(rows), len(order.order) - s
    for j in range(s):
        if not N[j] > 0.0:
            return False
        root = np.sqrt(N[j])
        N[j] = root
        for x in range(starts[j], starts[j + 1]):
            N[s + x] /= root
        for x in range(starts[j], starts[j + 1]):
            c, v = rows[x], N[s + x]
            if c < s:  # what is below j is below c, too
                N[c] -= v * v
                place = starts[c]
                for y in range(x + 1, starts[j + 1]):
                    while rows[place] < rows[y]:
                        place += 1
                    N[s + place] -= v * N[s + y]
            else:
                for y in range(x, starts[j + 1]):
                    N[block + (rows[y] - s) * width + c - s] -= v * N[s + y]
    return True


@compiled
def solve_first(L, order, b):
    """Overwrite b, (q, m) by positions, by what the first columns of Lx = b leave of it."""
    starts, rows = order.starts, order.rows
    s = len(starts) - 1
    for j in range(s):
        for c in range(b.shape[1]):
            b[j, c] /= L[j]
        for x in range(starts[j], starts[j + 1]):
            for c in range(b.shape[1]):
                b[rows[x], c] -= L[s + x] * b[j, c]


@compiled
def solve_last(L, order, b):
    """Overwrite b by the solution of L'x = b, given that at the positions after the first."""
    starts, rows = order.starts, order.rows
    s = len(starts) - 1
    for j in range(s - 1, -1, -1):
        for x in range(starts[j], starts[j + 1]):
            for c in range(b.shape[1]):
                b[j, c] -= L[s + x] * b[rows[x], c]
        for c in range(b.shape[1]):
            b[j, c] /= L[j]


@compiled
def inverse(L, order, Z):
    """Write (LL')⁻¹ where the factor is not 0 to the flat Z, which has its block already.

    Each column follows from those below it
    (Takahashi's equations: Erisman and Tinney 1975, https://doi.org/10.1145/360680.360704).
    """
    starts, rows = order.starts, order.rows
    s = len(starts) - 1
    block, width, most = s + len(rows), len(order.order) - s, 0
    for j in range(s):
        most = max(most, starts[j + 1] - starts[j])
    column, values = np.empty(most), np.empty(most)
    for j in range(s - 1, -1, -1):
        start, n = starts[j], starts[j + 1] - starts[j]
        for x in range(n):
            column[x] = L[s + start + x] / L[j]
            values[x] = 0.0
        for x in range(n):
            c = rows[start + x]
            values[x] -= (Z[c] if c < s else Z[block + (c - s) * (width + 1)]) * column[x]
            place = starts[c] if c < s else 0
            for y in range(x + 1, n):
                if c < s:
                    while rows[place] < rows[start + y]:
                        place += 1
                    z = Z[s + place]
                else:
                    z = Z[block + (rows[start + y] - s) * width + c - s]
                values[y] -= z * column[x]
                values[x] -= z * column[y]
        own = 1.0 / (L[j] * L[j])
        for x in range(n):
            Z[s + start + x] = values[x]
            own -= column[x] * values[x]
        Z[j] = own


@compiled
def scaled_back(a, Z, lam, levels, order, W, W_bar, lam_bar, AW, A_bar):
    """Take derivatives back to λ and A, of levels that couple, given Z = (I + Λ'AΛ)⁻¹.

    Adds the blocks of 2AΛZ to ``lam_bar`` and A W to ``AW``; writes ΛZΛ' + W_bar W' to the lower
    triangle of ``A_bar``. ``a`` is read as by `scaled`.
    """
    k_max, x = 1, 0
    for k in levels.widths:
        k_max = max(k_max, k)
    own, one, two = np.empty((k_max, k_max)), np.empty((k_max, k_max)), np.empty((k_max, k_max))
    for pair in range(len(order.one)):
        b, d = order.one[pair], order.two[pair]
        k, h, first, second = levels.widths[b], levels.widths[d], levels.starts[b], levels.starts[d]
        of_b, of_d = levels.places[b], levels.places[d]
        for i in range(k):
            for j in range(h):
                row, column = first + i, second + j
                own[i, j] = a[max(row, column), min(row, column)]
                for c in range(W.shape[1]):
                    AW[row, c] += own[i, j] * W[column, c]
                    if b != d:
                        AW[column, c] += own[i, j] * W[row, c]
        for i in range(k):
            for j in range(h):
                one[i, j], two[i, j], total = 0.0, 0.0, 0.0
                for t in range(h):
                    one[i, j] += own[i, t] * lam[of_d + t * h + j]  # AΛ
                    total += Z[order.places[x + i * h + t]] * lam[of_d + j * h + t]
                for t in range(k):
                    two[i, j] += lam[of_b + t * k + i] * own[t, j]  # Λ'A
                for c in range(W.shape[1]):
                    A_bar[first + i, second + j] += W_bar[first + i, c] * W[second + j, c]
                for t in range(k):
                    A_bar[first + t, second + j] += lam[of_b + t * k + i] * total
        for i in range(k):
            for j in range(h):
                z = 2.0 * Z[order.places[x]]
                for t in range(k):
                    lam_bar[of_b + t * k + i] += one[t, j] * z
                if b != d:
                    for t in range(h):
                        lam_bar[of_d + t * h + j] += two[i, t] * z
                x += 1


@compiled
def lower(L, order, full):
    """Write a flat factor to the lower triangle of a square array, (q, q), by positions."""
    starts, rows = order.starts, order.rows
    s = len(starts) - 1
    x = s + len(rows)
    for j in range(s):
        full[j, j] = L[j]
        for y in range(starts[j], starts[j + 1]):
            full[rows[y], j] = L[s + y]
    for i in range(s, len(full)):
        for j in range(s, len(full)):
            full[i, j] = L[x] if j <= i else 0.0
            x += 1
