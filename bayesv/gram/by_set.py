"""Elimination of a border set by set, see `bayesv.gram.connected`: compiled loops."""

from __future__ import annotations

import numpy as np

from bayesv.gram.border import border_gradient, mirror, sandwich
from bayesv.gram.compiled import compiled
from bayesv.gram.tables import BorderTable

__all__ = ["factor", "invert", "mirror_sets", "reverse_sets", "times"]


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
def reverse_sets(A, lam, levels, sets, W, W_bar, lam_bar, AW, A_bar):
    """Take derivatives back to λ and A.

    Adds the blocks of 2AΛN⁻¹ to ``lam_bar``; writes A W to ``AW``, and ΛN⁻¹Λ' + W_bar W' of each
    set to the lower triangle of ``A_bar``. ``A`` is read in its lower triangle.
    """
    for c in range(len(sets.starts) - 1):
        rows = sets.members[sets.starts[c] : sets.starts[c + 1]]
        own, n, a = _levels_of(levels, sets, c), len(rows), _block(A, rows)
        mirror(a)
        N, D = np.empty((n, n)), np.empty((n, n))
        sandwich(a, lam, own, 1.0, False, N)
        mirror(N)
        inverse = np.ascontiguousarray(np.linalg.inv(N))
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
