"""Matrices of sets of a border's columns, see `bayesv.gram.column_sets`: compiled loops."""

from __future__ import annotations

import numpy as np

from bayesv.gram.border import border_gradient, mirror, sandwich
from bayesv.gram.compiled import compiled
from bayesv.gram.eights import load, spread, store
from bayesv.gram.tables import BorderTable

__all__ = [
    "blocks_of_scaling",
    "by_blocks",
    "factor",
    "invert",
    "join_closest",
    "mates_of",
    "mirror_sets",
    "multiply",
    "reverse_sets",
    "scale",
    "times",
]


@compiled
def _block(A, rows):
    """Return a copy of the elements of one set."""
    n = len(rows)
    block = np.empty((n, n))
    for i in range(n):
        block[i] = A[rows[i], :n]
    return block


@compiled
def _levels_of(levels, sets, c):
    """Return the levels of set c, which start at their places in it."""
    some = sets.levels[sets.level_starts[c] : sets.level_starts[c + 1]]
    return BorderTable(sets.own[levels.starts[some]], levels.widths[some], levels.places[some])


@compiled
def factor(A, lam, levels, sets, L, b):
    """Write the factors of N = I + Λ'AΛ to L and N⁻¹b to b, (q, m); return log|N|.

    ``A`` is read in its lower triangle.

    Raises
    ------
    LinAlgError
        If N is not positive definite.
    """
    logdet = 0.0
    for c in range(len(sets.starts) - 1):
        rows = sets.members[sets.starts[c] : sets.starts[c + 1]]
        n, a = len(rows), _block(A, rows)
        N = np.empty((n, n))
        sandwich(a, lam, _levels_of(levels, sets, c), 1.0, False, N)
        mirror(N)
        root = np.linalg.cholesky(N)
        for i in range(n):
            logdet += 2.0 * np.log(root[i, i])
            L[rows[i], :n] = root[i]
        for r in range(b.shape[1]):
            for i in range(n):
                total = b[rows[i], r]
                for j in range(i):
                    total -= root[i, j] * b[rows[j], r]
                b[rows[i], r] = total / root[i, i]
            for i in range(n - 1, -1, -1):
                value = b[rows[i], r] / root[i, i]
                b[rows[i], r] = value
                for j in range(i):
                    b[rows[j], r] -= root[i, j] * value
    return logdet


@compiled
def reverse_sets(A, L, lam, levels, sets, W, W_bar, lam_bar, AW, A_bar):
    """Take derivatives back to λ and A, given L of N = LL'.

    Adds the blocks of 2AΛN⁻¹ to ``lam_bar``; writes A W to ``AW``, and ΛN⁻¹Λ' + W_bar W' of each
    set to the lower triangle of ``A_bar``. ``A`` is read in its lower triangle.
    """
    for c in range(len(sets.starts) - 1):
        rows = sets.members[sets.starts[c] : sets.starts[c + 1]]
        own, n, a = _levels_of(levels, sets, c), len(rows), _block(A, rows)
        mirror(a)
        root, D = np.ascontiguousarray(np.linalg.inv(_block(L, rows))), np.empty((n, n))
        inverse = root.T @ root  # not of N itself, whose condition is the square of that of L
        border_gradient(a, inverse, lam, own, lam_bar)
        sandwich(inverse, lam, own, 0.0, True, D)
        for i in range(n):
            row = rows[i]
            for r in range(W.shape[1]):
                total = 0.0
                for j in range(n):
                    total += a[i, j] * W[rows[j], r]
                AW[row, r] = total
            for j in range(i + 1):
                total = D[i, j]
                for r in range(W.shape[1]):
                    total += W_bar[row, r] * W[rows[j], r]
                A_bar[row, j] = total


@compiled
def invert(L, sets):
    """Return L⁻ᵀ of each set, (q, width)."""
    roots = np.zeros(L.shape)
    for c in range(len(sets.starts) - 1):
        rows = sets.members[sets.starts[c] : sets.starts[c + 1]]
        n, inverse = len(rows), np.linalg.inv(_block(L, rows))
        for i in range(n):
            for j in range(i, n):
                roots[rows[i], j] = inverse[j, i]
    return roots


@compiled
def times(blocks, sets, z):
    """Return the product of the blocks of the sets, (q, width), and z, (q,)."""
    product = np.zeros(len(z))
    for c in range(len(sets.starts) - 1):
        rows = sets.members[sets.starts[c] : sets.starts[c + 1]]
        for i in rows:
            for j in range(len(rows)):
                product[i] += blocks[i, j] * z[rows[j]]
    return product


@compiled
def mirror_sets(A, sets):
    """Copy the lower triangle of each set to the upper one."""
    for c in range(len(sets.starts) - 1):
        rows = sets.members[sets.starts[c] : sets.starts[c + 1]]
        for i in range(len(rows)):
            for j in range(i):
                A[rows[j], i] = A[rows[i], j]


@compiled
def join_closest(one, two, widths, most):
    """Return the first level of the set of each, (J,): pairs are joined one after the other.

    A set has no more than ``most`` columns.
    """
    root, size = np.arange(len(widths)), widths.copy()
    for pair in range(len(one)):
        a, b = _first(root, one[pair]), _first(root, two[pair])
        if a != b and size[a] + size[b] <= most:
            first, last = min(a, b), max(a, b)
            root[last] = first
            size[first] += size[last]
    for j in range(len(root)):
        root[j] = root[root[j]]  # what is before j is done
    return root


@compiled
def _first(root, j):
    while root[j] != j:
        root[j] = root[root[j]]
        j = root[j]
    return j


@compiled
def mates_of(edges, columns, of_column, n_sets):
    """Return for each column that a unit meets the next one of its set there, in a circle."""
    mates = np.empty(len(columns), dtype=np.intp)
    seen, first, last = np.full(n_sets, -1), np.empty(n_sets, np.intp), np.empty(n_sets, np.intp)
    for u in range(len(edges) - 1):
        for x in range(edges[u], edges[u + 1]):
            s = of_column[columns[x]]
            if seen[s] == u:
                mates[last[s]] = x
            else:
                seen[s], first[s] = u, x
            last[s] = x
            mates[x] = first[s]
    return mates


@compiled
def scale(squares, lam, levels, sets, L, L_inv, R):
    """Write the Cholesky roots L of I + Λ'AΛ, their inverses, and ΛL⁻ᵀ, of the sets' blocks of A.

    Returns whether all are positive definite.
    """
    a, N, back = np.empty((0, 0)), np.empty((0, 0)), np.empty((0, 0))
    for c in range(len(sets.starts) - 1):
        rows = sets.members[sets.starts[c] : sets.starts[c + 1]]
        own, n = _levels_of(levels, sets, c), len(rows)
        if n != len(N):  # most sets have one size
            a, N, back = np.empty((n, n)), np.empty((n, n)), np.zeros((n, n))
        for i in range(n):
            a[i] = squares[rows[i], :n]
        sandwich(a, lam, own, 1.0, False, N)
        for j in range(n):
            for t in range(j):
                for i in range(j, n):
                    N[i, j] -= N[i, t] * N[j, t]
            if not 0.0 < N[j, j] < np.inf:
                return False
            root = np.sqrt(N[j, j])
            for i in range(j, n):
                N[i, j] /= root
        for j in range(n):
            back[j, j] = 1.0 / N[j, j]
            for i in range(j + 1, n):
                total = 0.0
                for t in range(j, i):
                    total -= N[i, t] * back[t, j]
                back[i, j] = total / N[i, i]
        for i in range(n):
            for j in range(i + 1):
                L[rows[i], j], L_inv[rows[i], j] = N[i, j], back[i, j]
        for b in range(len(own.starts)):
            first, k, place = own.starts[b], own.widths[b], own.places[b]
            for i in range(k):
                for j in range(n):
                    total = 0.0
                    for t in range(k):
                        total += lam[place + i * k + t] * back[j, first + t]
                    R[rows[first + i], j] = total
    return True


@compiled
def multiply(blocks, sets, x, transposed, product):
    """Write the blocks, (q, width), times x, (q, m), to ``product``: eight columns in registers."""
    for c in range(len(sets.starts) - 1):
        rows = sets.members[sets.starts[c] : sets.starts[c + 1]]
        for i in range(len(rows)):
            if x.shape[1] == 8:
                total = spread(0.0)
                for j in range(len(rows)):
                    v = blocks[rows[j], i] if transposed else blocks[rows[i], j]
                    total = total + spread(v) * load(x, rows[j])
                store(product, rows[i], total)
                continue
            target = product[rows[i]]
            target[:] = 0.0
            for j in range(len(rows)):
                v = blocks[rows[j], i] if transposed else blocks[rows[i], j]
                if v == 0.0:
                    continue
                other = x[rows[j]]
                for r in range(len(target)):
                    target[r] += v * other[r]


@compiled
def blocks_of_scaling(across, along, u, by_delta, flat, L, sets, blocks):
    """Write the derivative by the scaling to ``blocks``, (q, width), in the coordinates of Ã.

    It is I − 2Ψ + L'(by_delta)L, Ψ the symmetric matrix of the upper triangle of
    across u' − u along', all (q, r); ``flat`` has the column of C of each column.
    """
    for c in range(len(sets.starts) - 1):
        rows = sets.members[sets.starts[c] : sets.starts[c + 1]]
        n, root, own = len(rows), _block(L, rows), u[rows]
        inner = np.empty((n, n))
        for i in range(n):
            for j in range(n):
                inner[i, j] = by_delta[flat[rows[i]], flat[rows[j]]]
        of_flat = np.dot(root.T, np.dot(inner, root))
        product = np.dot(across[rows], own.T) - np.dot(own, along[rows].T)
        for i in range(n):
            for j in range(i, n):
                value = (1.0 if i == j else 0.0) - product[i, j] + of_flat[i, j]
                blocks[rows[i], j] = value
                blocks[rows[j], i] = value


@compiled
def by_blocks(squares, R, blocks, L_inv, levels, sets, lam_bar, rows_bar):
    """Add the levels' blocks of A R Ψ L⁻¹ to ``lam_bar``, flat; write R Ψ R' to ``rows_bar``."""
    for c in range(len(sets.starts) - 1):
        rows = sets.members[sets.starts[c] : sets.starts[c + 1]]
        own, n, right = _levels_of(levels, sets, c), len(rows), _block(R, rows)
        moved = np.dot(right, _block(blocks, rows))
        back, product = np.dot(moved, _block(L_inv, rows)), np.dot(moved, right.T)
        for i in range(n):
            rows_bar[rows[i], :n] = product[i]
        for b in range(len(own.starts)):
            first, k, place = own.starts[b], own.widths[b], own.places[b]
            for i in range(k):
                for t in range(n):
                    v = squares[rows[first + i], t]
                    for j in range(k):
                        lam_bar[place + i * k + j] += v * back[t, first + j]
