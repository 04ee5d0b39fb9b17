"""Cholesky's factor of a border in an order that keeps it sparse, and its inverse: compiled loops.

Positions are places in the order; arrays with numbers at scattered positions are whole squares, of
which only the numbers named by the order are touched.
"""

from __future__ import annotations

import numpy as np

from bayesv.gram.compiled import compiled

__all__ = ["factor", "inverse", "permuted", "solve_first", "solve_last"]


@compiled
def permuted(a, lam, columns, order, starts, rows, N):
    """Write λ_i'a_ij λ_j + I of the columns to the lower triangle of N, by positions.

    ``a``, in the columns' own order, is read in its lower triangle. Column c is in a level that
    starts at columns.starts[c], of columns.widths[c] columns, whose λ stands at columns.places[c]
    of the flat ``lam``.
    """
    q, s = len(order), len(starts) - 1
    for j in range(q):
        first, last = (starts[j], starts[j + 1]) if j < s else (0, q - j - 1)
        N[j, j] = 1.0 + _element(a, lam, columns, order[j], order[j])
        for x in range(first, last):
            r = rows[x] if j < s else j + 1 + x
            N[r, j] = _element(a, lam, columns, order[r], order[j])


@compiled
def _element(a, lam, columns, c, d):
    """Return (λ_i'a_ij λ_j) of two columns."""
    k, h, c0, d0 = columns.widths[c], columns.widths[d], columns.starts[c], columns.starts[d]
    place = columns.places
    if k == 1 and h == 1:
        return lam[place[c]] * a[max(c, d), min(c, d)] * lam[place[d]]
    total = 0.0
    for i in range(k):
        part = 0.0
        for j in range(h):
            part += a[max(c0 + i, d0 + j), min(c0 + i, d0 + j)] * lam[place[d] + j * h + d - d0]
        total += lam[place[c] + i * k + c - c0] * part
    return total


@compiled
def factor(N, starts, rows):
    """Overwrite the first columns of N by those of its factor, and the rest by what they leave.

    Returns whether all pivots are positive.
    """
    column = np.empty(len(N))
    for j in range(len(starts) - 1):
        if not N[j, j] > 0.0:
            return False
        root, below = np.sqrt(N[j, j]), rows[starts[j] : starts[j + 1]]
        N[j, j] = root
        for x in range(len(below)):
            column[x] = N[below[x], j] / root
            N[below[x], j] = column[x]
        for x in range(len(below)):
            r, v = below[x], column[x]
            for y in range(x + 1):
                N[r, below[y]] -= v * column[y]
    return True


@compiled
def solve_first(L, starts, rows, b):
    """Overwrite b, (q, m) by positions, by what the first columns of Lx = b leave of it."""
    for j in range(len(starts) - 1):
        for c in range(b.shape[1]):
            b[j, c] /= L[j, j]
        for x in range(starts[j], starts[j + 1]):
            for c in range(b.shape[1]):
                b[rows[x], c] -= L[rows[x], j] * b[j, c]


@compiled
def solve_last(L, starts, rows, b):
    """Overwrite b by the solution of L'x = b, given that at the positions after the first."""
    for j in range(len(starts) - 2, -1, -1):
        for x in range(starts[j], starts[j + 1]):
            for c in range(b.shape[1]):
                b[j, c] -= L[rows[x], j] * b[rows[x], c]
        for c in range(b.shape[1]):
            b[j, c] /= L[j, j]


@compiled
def inverse(L, order, starts, rows, Z):
    """Write (LL')⁻¹ where the factor is not 0, by columns in their own order, both triangles.

    Z has it at the columns after the first already. Each column follows from those below it
    (Takahashi's equations: Erisman and Tinney 1975, https://doi.org/10.1145/360680.360704).
    """
    most = 0
    for j in range(len(starts) - 1):
        most = max(most, starts[j + 1] - starts[j])
    column, places, values = np.empty(most), np.empty(most, np.intp), np.empty(most)
    for j in range(len(starts) - 2, -1, -1):
        n = starts[j + 1] - starts[j]
        for x in range(n):
            r = rows[starts[j] + x]
            places[x], column[x] = order[r], L[r, j] / L[j, j]
        own = 1.0 / (L[j, j] * L[j, j])
        for x in range(n):
            total = 0.0
            for y in range(n):
                total -= Z[places[x], places[y]] * column[y]
            values[x] = total
            own -= column[x] * total
        c = order[j]
        Z[c, c] = own
        for x in range(n):
            Z[c, places[x]] = values[x]
            Z[places[x], c] = values[x]
