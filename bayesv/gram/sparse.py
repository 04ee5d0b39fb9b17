"""Products with what a chain leaves of the border, eight columns at a time: compiled loops.

Eight numbers of a row fill a cache line: of random accesses to levels, none is in vain. Each column
is computed for itself, so that results do not depend on how columns are put together.
"""

from __future__ import annotations

import numpy as np

from bayesv.gram.compiled import compiled
from bayesv.gram.eights import load, spread, store
from bayesv.gram.tables import A_START, L_START, U_START, K

__all__ = ["WIDTH", "by_pattern", "combine", "orthogonalise", "scale_edges", "times"]

WIDTH = 8


@compiled
def scale_edges(tables, A, lam, E, scaled):
    """Write P_u E_u of all units to ``scaled``, with P = L⁻¹λ' and LL' = I + λ'A_uλ.

    What a chain takes off the border is the sum of (P_u E_u)'(P_u E_u). ``A`` and ``E`` are as they
    stood when a unit was eliminated.
    """
    table, edges = tables.table, tables.edges
    k_max = E.shape[1]
    N, P = np.empty((k_max, k_max)), np.empty((k_max, k_max))
    for f in range(len(table)):
        k, offset = table[f, K], table[f, L_START]
        last_unit = table[f + 1, U_START] if f + 1 < len(table) else len(edges) - 1
        for u in range(table[f, U_START], last_unit):
            base = table[f, A_START] + (u - table[f, U_START]) * k * k
            for i in range(k):
                for j in range(k):
                    P[i, j] = 0.0
                    for t in range(k):
                        P[i, j] += A[base + i * k + t] * lam[offset + t * k + j]
            for i in range(k):
                for j in range(i + 1):
                    N[i, j] = 1.0 if i == j else 0.0
                    for t in range(k):
                        N[i, j] += lam[offset + t * k + i] * P[t, j]
            for j in range(k):
                for t in range(j):
                    N[j, j] -= N[j, t] * N[j, t]
                N[j, j] = np.sqrt(N[j, j])
                for i in range(j + 1, k):
                    for t in range(j):
                        N[i, j] -= N[i, t] * N[j, t]
                    N[i, j] /= N[j, j]
            for j in range(k):
                for i in range(k):
                    total = lam[offset + j * k + i]
                    for t in range(i):
                        total -= N[i, t] * P[t, j]
                    P[i, j] = total / N[i, i]
            scaled[edges[u] : edges[u + 1]] = 0.0
            for i in range(k):
                for j in range(k):
                    for x in range(edges[u], edges[u + 1]):
                        scaled[x, i] += P[i, j] * E[x, j]


@compiled
def take_squares(columns, mates, scaled, own, blocks):
    """Take the blocks of Σ_u scaled_u' scaled_u within sets of columns off ``blocks``, (q, width).

    ``mates`` has the next column of the set that the unit meets, in a circle; it is empty if sets
    are of one column.
    """
    for x in range(len(columns)):
        c, y = columns[x], x
        while True:
            for i in range(scaled.shape[1]):
                blocks[c, own[columns[y]]] -= scaled[x, i] * scaled[y, i]
            y = mates[y] if len(mates) else x
            if y == x:
                break


@compiled
def times(edges, columns, scaled, rows, places, values, w, product):
    """Write (A − Σ_u scaled_u' scaled_u) w to ``product``, both (q, 8).

    A is sparse, with ``values`` at the columns ``places[rows[i] : rows[i + 1]]`` of row i.
    """
    one = np.uintp(1)  # an index that cannot be negative needs no test of it
    for i in range(len(w)):
        total = spread(0.0)
        for x in range(np.uintp(rows[i]), np.uintp(rows[i + 1])):
            total = total + spread(values[x]) * load(w, places[x])
        store(product, i, total)
    for u in range(len(edges) - 1):
        first, last = np.uintp(edges[u]), np.uintp(edges[u + 1])
        for i in range(scaled.shape[1]):
            total, other = spread(0.0), spread(0.0)  # sums that do not wait for each other
            half = first + (last - first) // np.uintp(2)
            for x in range(first, half):
                y = x + half - first
                total = total + spread(scaled[x, i]) * load(w, columns[x])
                other = other + spread(scaled[y, i]) * load(w, columns[y])
            if (last - first) % np.uintp(2) == one:
                y = last - one
                total = total + spread(scaled[y, i]) * load(w, columns[y])
            total = total + other
            for x in range(first, last):
                c = columns[x]
                store(product, c, load(product, c) - spread(scaled[x, i]) * total)


@compiled
def orthogonalise(basis, n, w):
    """Take the parts along the first n of ``basis``, (k, q, 8), off w, (q, 8); return them."""
    parts = np.zeros((n, WIDTH))
    for s in range(n):
        for i in range(len(w)):
            for c in range(WIDTH):
                parts[s, c] += basis[s, i, c] * w[i, c]
    for i in range(len(w)):
        for s in range(n):
            for c in range(WIDTH):
                w[i, c] -= parts[s, c] * basis[s, i, c]
    return parts


@compiled
def combine(basis, coefficients):
    """Return Σ_s basis[s, :, c] coefficients[s, c, r], shape (q, 8, r)."""
    k, q = basis.shape[:2]
    n = coefficients.shape[2]
    total = np.zeros((q, WIDTH, n))
    for i in range(q):
        for s in range(k):
            for c in range(WIDTH):
                for r in range(n):
                    total[i, c, r] += basis[s, i, c] * coefficients[s, c, r]
    return total


@compiled
def by_pattern(rows, places, factor, signs, of_column, own, blocks, values):
    """Write (F diag(signs) F' + blockdiag)_ij to ``values`` at the pattern's places."""
    for i in range(len(rows) - 1):
        for x in range(rows[i], rows[i + 1]):
            j = places[x]
            total = 0.0
            for r in range(len(signs)):
                total += signs[r] * factor[i, r] * factor[j, r]
            if of_column[j] == of_column[i]:
                total += blocks[i, own[j]]
            values[x] = total
