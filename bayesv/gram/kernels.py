"""The elimination of a chain of factors, and its reverse pass, one λ at a time: compiled loops.

All factors of a chain, whatever their number of columns and the depth of nesting, lie in flat
arrays described by one table, so that one compiled function serves every design. Units (levels of
a factor) are visited in post-order: all levels below a unit come right before it. What a unit loses
to its descendants therefore fits in one small frontal matrix, whose rows and columns are the
columns of the coarser factors, then [X y].
"""

from __future__ import annotations

import numpy as np

from bayesv.gram.border import from_border, to_border
from bayesv.gram.compiled import FLUSH, compiled, widths
from bayesv.gram.leaves import SMALL, eliminate_leaf, reverse_leaf
from bayesv.gram.tables import A_START, H_START, L_START, PLACE, U_START, K, S

__all__ = ["draw_units", "forward", "reverse"]


@compiled
def forward(tables, sums, left, start, stop, lam, front, crossed):
    """Eliminate the units of events start…stop; return Σ log|N|, NaN if rounding leaves no N > 0.

    ``front``, (s, s), loses H'DH in its upper triangle. A and H of ``left`` receive what the units
    of coarser factors looked like when their turn came, for `reverse`. With a border, ``crossed``
    is True, its E is updated in place, and its border loses E'DE (lower triangle) and E'DH;
    without one, it is None, so that nothing of borders is compiled.
    """
    table, mult, pointer = tables.table, tables.mult, tables.pointer
    depth, unit = tables.depth, tables.unit
    A, H, kept_A, kept_H = sums.A, sums.H, left.A, left.H
    k_max, s_max = widths(table)
    a, N, P = np.empty((k_max, k_max)), np.empty((k_max, k_max)), np.empty((k_max, k_max))
    h, half = np.empty((k_max, s_max)), np.empty((k_max, s_max))
    logdet, product = 0.0, 1.0
    for e in range(start, stop):
        f, c = depth[e], unit[e]
        k, s, place = table[f, K], table[f, S], table[f, PLACE]
        trail = place + k if f > 0 else 0
        base = table[f, A_START] + c * k * k
        offset, u = table[f, L_START], table[f, U_START] + c
        is_leaf = f == 0 and k <= SMALL and crossed is None
        if is_leaf:
            span = pointer[u] * k * s, pointer[u + 1] * k * s
            determinant = eliminate_leaf(A, base, H, span, lam, offset, k, s, front)
        else:
            for i in range(k):
                for j in range(k):
                    a[i, j] = A[base + i * k + j]
            if f > 0:
                _take_from_front(a, k, place, front, kept_A, base)
            determinant = _root(a, lam[offset : offset + k * k].reshape(k, k), k, N, P)
        if mult[u] == 1.0:
            product *= determinant
            if not product < FLUSH:
                logdet += np.log(product)
                product = 1.0
        else:
            logdet += mult[u] * np.log(determinant)
        if is_leaf:
            continue
        for r in range(pointer[u], pointer[u + 1]):
            base = table[f, H_START] + (r - pointer[table[f, U_START]]) * k * s
            for i in range(k):
                for t in range(s):
                    h[i, t] = H[base + i * s + t]
                    if f > 0:
                        h[i, t] += front[place + i, trail + t]
                        front[place + i, trail + t] = 0.0
                        kept_H[base + i * s + t] = h[i, t]
            for i in range(k):
                for t in range(s):
                    total = 0.0
                    for j in range(k):
                        total += P[i, j] * h[j, t]
                    half[i, t] = total
            for i in range(k):
                for t in range(s):
                    for b in range(t, s):
                        front[trail + t, trail + b] -= half[i, t] * half[i, b]
        if crossed is not None:
            to_border(tables, f, tables.edges[u], tables.edges[u + 1], P, half, left)
    return logdet + np.log(product)


@compiled
def _take_from_front(a, k, place, front, kept_A, base):
    """Add to a unit's ``a`` what its descendants took off it, and keep the sum."""
    for i in range(k):
        for j in range(k):
            a[i, j] += front[place + min(i, j), place + max(i, j)]
            kept_A[base + i * k + j] = a[i, j]
    for i in range(k):
        for j in range(i, k):
            front[place + i, place + j] = 0.0


@compiled
def reverse(tables, left, bar, start, stop, lam, bars, lam_bar, factors, of_sums, crossed):
    """Take derivatives back through `forward`, events stop…start, and add them to ``lam_bar``.

    ``left`` has A, H and E as they stood when their unit was eliminated; ``bar`` the derivatives by
    the border (that by A in ``factors`` if it is not dense), and it receives those by E and, if
    ``of_sums``, by A and H: a sum enters where its unit is eliminated, with all that was taken off
    it before. With K = [H E] the coupling of a unit
    and S_bar the derivative by all that loses K'DK: P = K S_bar, K_bar = −2DP, D_bar = −PK',
    A_bar = D − D D_bar D (the first D from log|N|), and λ_bar = 2AλN⁻¹ + 2(I − AD) D_bar λN⁻¹.
    ``crossed`` is that of `forward`. ``bars`` is S_bar in the place of the frontal matrix; what is
    stored once but stands twice in a symmetric matrix enters by half its derivative. Backwards in
    post-order, the unit visited last at a coarser factor is the ancestor, so that its bars are in
    place.
    """
    table, mult, pointer = tables.table, tables.mult, tables.pointer
    depth, unit = tables.depth, tables.unit
    A, H = left.A, left.H
    k_max, s_max = widths(table)
    shape = (k_max, k_max)
    a, N, P, D = np.empty(shape), np.empty(shape), np.empty(shape), np.empty(shape)
    lam_N, D_bar, work = np.empty(shape), np.empty(shape), np.empty(shape)
    h, p = np.empty((k_max, s_max)), np.empty((k_max, s_max))
    for e in range(stop - 1, start - 1, -1):
        f, c = depth[e], unit[e]
        k, s, place = table[f, K], table[f, S], table[f, PLACE]
        trail = place + k if f > 0 else 0
        base = table[f, A_START] + c * k * k
        offset, u = table[f, L_START], table[f, U_START] + c
        if f == 0 and k <= SMALL and crossed is None and not of_sums:
            span = pointer[u] * k * s, pointer[u + 1] * k * s
            reverse_leaf(A, base, H, span, lam, offset, k, s, mult[u], bars, lam_bar)
            continue
        for i in range(k):
            for j in range(k):
                a[i, j] = A[base + i * k + j]
        _root(a, lam[offset : offset + k * k].reshape(k, k), k, N, P)
        for i in range(k):
            for j in range(k):
                D[i, j] = 0.0
                D_bar[i, j] = 0.0
                for t in range(k):
                    D[i, j] += P[t, i] * P[t, j]
            for j in range(k - 1, -1, -1):  # λN⁻¹ = P'L⁻¹
                total = P[j, i]
                for t in range(j + 1, k):
                    total -= lam_N[i, t] * N[t, j]
                lam_N[i, j] = total / N[j, j]
        for r in range(pointer[u], pointer[u + 1]):
            base = table[f, H_START] + (r - pointer[table[f, U_START]]) * k * s
            for i in range(k):
                for t in range(s):
                    h[i, t] = H[base + i * s + t]
            for i in range(k):
                for t in range(s):
                    total = 0.0
                    for b in range(s):
                        total += h[i, b] * bars[trail + b, trail + t]
                    p[i, t] = total
            if crossed is not None:
                first, last = tables.edges[u], tables.edges[u + 1]
                from_border(tables, f, first, last, h, p, D, D_bar, left, bar, factors, of_sums)
            for i in range(k):
                for j in range(k):
                    for t in range(s):
                        D_bar[i, j] -= p[i, t] * h[j, t]
            if of_sums:
                for i in range(k):
                    for t in range(s):
                        total = 0.0
                        for j in range(k):
                            total -= D[i, j] * p[j, t]
                        bar.H[base + i * s + t] = 2.0 * total
        for i in range(k):
            for j in range(i):
                D_bar[i, j] = D_bar[j, i] = 0.5 * (D_bar[i, j] + D_bar[j, i])
        for i in range(k):
            for j in range(k):
                work[i, j] = 0.0
                for t in range(k):
                    work[i, j] += D_bar[i, t] * lam_N[t, j]
        for i in range(k):
            for j in range(k):
                P[i, j] = mult[u] * lam_N[i, j]
                for t in range(k):
                    P[i, j] -= D[i, t] * work[t, j]
        for i in range(k):
            for j in range(k):
                total = work[i, j]
                for t in range(k):
                    total += a[i, t] * P[t, j]
                lam_bar[offset + i * k + j] += 2.0 * total
        if f > 0 or of_sums:
            for i in range(k):
                for j in range(k):
                    work[i, j] = 0.0
                    for t in range(k):
                        work[i, j] += D_bar[i, t] * D[t, j]
            for i in range(k):
                for j in range(k):
                    total = mult[u] * D[i, j]
                    for t in range(k):
                        total -= D[i, t] * work[t, j]
                    P[i, j] = total
        if of_sums:
            base = table[f, A_START] + c * k * k
            for i in range(k):
                for j in range(k):
                    bar.A[base + i * k + j] = P[i, j]
        if f > 0:
            for i in range(k):
                for j in range(k):
                    bars[place + i, place + j] = P[i, j]
                for t in range(s):
                    total = 0.0
                    for j in range(k):
                        total -= D[i, j] * p[j, t]
                    bars[place + i, trail + t] = total
                    bars[trail + t, place + i] = total


@compiled
def _root(a, lam, k, N, P):
    """Overwrite N by the Cholesky factor of I + λ'aλ and P by L⁻¹λ'; return |I + λ'aλ|."""
    for i in range(k):
        for j in range(k):
            total = 0.0
            for t in range(k):
                total += a[i, t] * lam[t, j]
            P[i, j] = total
    for i in range(k):
        for j in range(i + 1):
            total = 1.0 if i == j else 0.0
            for t in range(k):
                total += lam[t, i] * P[t, j]
            N[i, j] = total
    determinant = 1.0
    for j in range(k):
        for t in range(j):
            N[j, j] -= N[j, t] * N[j, t]
        determinant *= N[j, j]
        N[j, j] = np.sqrt(N[j, j])
        for i in range(j + 1, k):
            for t in range(j):
                N[i, j] -= N[i, t] * N[j, t]
            N[i, j] /= N[j, j]
    for j in range(k):
        for i in range(k):
            total = lam[j, i]
            for t in range(i):
                total -= N[i, t] * P[t, j]
            P[i, j] = total / N[i, i]
    return determinant


@compiled
def draw_units(tables, left, lam, back, sigma, front, z, u_border, starts, effects):
    """Draw the effects of all units given (β, σ, λ), coarser factors before finer ones.

    ``left`` is as it stood when a unit was eliminated. ``front``, (s,), ends with the
    coefficients of [X y], those of y being −1; the effects of a unit's ancestors are put into it.
    With N = LL' and P = L⁻¹λ', u = P'(P r + σz) for the rest r = −[H E] × (what is known).
    ``effects`` are u, mean and var, each flat like ``z``: a draw, E[u | what is known] and its
    variance; all three are of the user's columns, ``back`` × those of the statistics.
    """
    table, depth, unit = tables.table, tables.depth, tables.unit
    edges, columns = tables.edges, tables.columns
    A, H, E = left.A, left.H, left.E
    u, mean, var = effects
    k_max, _ = widths(table)
    a, N, P = np.empty((k_max, k_max)), np.empty((k_max, k_max)), np.empty((k_max, k_max))
    rest, half, draw = np.empty(k_max), np.empty(k_max), np.empty(k_max)
    for e in range(len(depth) - 1, -1, -1):
        f, c = depth[e], unit[e]
        k, s, place = table[f, K], table[f, S], table[f, PLACE]
        trail = place + k if f > 0 else 0
        base = table[f, A_START] + c * k * k
        for i in range(k):
            for j in range(k):
                a[i, j] = A[base + i * k + j]
        offset = table[f, L_START]
        _root(a, lam[offset : offset + k * k].reshape(k, k), k, N, P)
        row = table[f, U_START] + c
        base = table[f, H_START] + c * k * s
        for i in range(k):
            rest[i] = 0.0
            for t in range(s):
                rest[i] -= H[base + i * s + t] * front[trail + t]
            for x in range(edges[row], edges[row + 1]):
                rest[i] -= E[x, i] * u_border[columns[x]]
        first = starts[f] + c * k
        for i in range(k):
            half[i] = 0.0
            for t in range(k):
                half[i] += P[i, t] * rest[t]
        for t in range(k):
            draw[t] = half[t] + sigma * z[first + t]
        for i in range(k):
            mean[first + i], var[first + i], u[first + i] = 0.0, 0.0, 0.0
            for t in range(k):
                v = 0.0  # of back P'
                for b in range(k):
                    v += back[offset + i * k + b] * P[t, b]
                mean[first + i] += v * half[t]
                var[first + i] += (sigma * v) ** 2
                u[first + i] += v * draw[t]
            if f > 0:
                front[place + i] = 0.0
                for t in range(k):
                    front[place + i] += P[t, i] * draw[t]
