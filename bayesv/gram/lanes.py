"""The elimination of a chain of factors for eight λ at once: compiled, values only."""

from __future__ import annotations

import numpy as np

from bayesv.gram.compiled import FLUSH, compiled, widths
from bayesv.gram.eights import all_below, load, root, spread, store
from bayesv.gram.tables import A_START, H_START, L_START, PLACE, U_START, K, S

__all__ = ["forward_eight", "forward_many"]


@compiled
def forward_many(tables, sums, spans, lam, width, logdet, T):
    """Fill log|M|, (W,), and what T loses, (W, m, m), in its upper triangle, for λ, (W, Σk²)."""
    (W, size), m = lam.shape, T.shape[1]
    corner = width - m
    eight, front, logs = np.empty((size, 8)), np.empty((width * width, 8)), np.empty((1, 8))
    for first in range(0, W, 8):
        for w in range(8):
            for i in range(size):
                eight[i, w] = lam[min(first + w, W - 1), i]
        front[:] = 0.0
        logs[:] = 0.0
        for span in range(len(spans)):
            start, stop = spans[span]
            forward_eight(tables, sums, start, stop, eight, front, width, logs, None)
        for w in range(min(8, W - first)):
            logdet[first + w] = logs[0, w]
            for i in range(m):
                for j in range(m):
                    T[first + w, i, j] = front[(corner + i) * width + corner + j, w]


@compiled
def forward_eight(tables, sums, start, stop, lam, front, width, logdet, kept):
    """`forward` without a border for eight values of λ at once: values only.

    Rows of eight: λ, (Σk², 8), the frontal matrix, (width², 8), which is added to, and log|M|,
    (1, 8), too. ``kept`` is None; or a `Kept`, and what is done is one of two parts.
    """
    table, mult, pointer = tables.table, tables.mult, tables.pointer
    depth, unit = tables.depth, tables.unit
    A, H = sums.A, sums.H
    k_max, s_max = widths(table)
    N, P = np.empty((k_max * k_max, 8)), np.empty((k_max * k_max, 8))
    a, h = np.empty((k_max * k_max, 8)), np.empty((k_max * s_max, 8))
    half, last = np.empty((k_max * s_max, 8)), np.empty((1, 8))
    nothing, product = spread(0.0), spread(1.0)
    for e in range(start, stop):
        f, c = depth[e], unit[e]
        if kept is not None:
            if f == 1:
                _exchange(kept, c, front, width)
            if kept.of_finest != (f == 0):
                continue
        k, s, place = table[f, K], table[f, S], table[f, PLACE]
        trail = place + k if f > 0 else 0
        base = table[f, A_START] + c * k * k
        for i in range(k):
            for j in range(k):
                value = spread(A[base + i * k + j])
                if f > 0:
                    lower, upper = place + min(i, j), place + max(i, j)
                    value = value + load(front, lower * width + upper)
                store(a, i * k + j, value)
        if f > 0:
            for i in range(k):
                for j in range(i, k):
                    store(front, (place + i) * width + place + j, nothing)
        determinant = _root(a, lam, table[f, L_START], k, N, P)
        u = table[f, U_START] + c
        if mult[u] == 1.0:
            product = product * determinant
            if not all_below(product, FLUSH):
                store(last, 0, product)
                _add_logs(last, 1.0, logdet)
                product = spread(1.0)
        else:
            store(last, 0, determinant)
            _add_logs(last, mult[u], logdet)
        for r in range(pointer[u], pointer[u + 1]):
            base = table[f, H_START] + (r - pointer[table[f, U_START]]) * k * s
            for i in range(k):
                for t in range(s):
                    value = spread(H[base + i * s + t])
                    if f > 0:
                        row = (place + i) * width + trail + t
                        value = value + load(front, row)
                        store(front, row, nothing)
                    store(h, i * s + t, value)
            _product(P, h, k, s, half)
            _take_off(half, k, s, front, trail, width)
    store(last, 0, product)
    _add_logs(last, 1.0, logdet)


@compiled
def _exchange(kept, c, front, width):
    """Keep what the finest units below a unit took off it and its ancestors; or take it off."""
    fronts, places, x = kept.fronts, kept.places, 0
    for i in range(kept.depth):
        for j in range(i, width):
            row = i * width + j
            if kept.of_finest:
                for w in range(8):
                    fronts[places[w], c, x] = front[row, w]
                store(front, row, spread(0.0))
            else:
                for w in range(8):
                    front[row, w] += fronts[places[w], c, x]
            x += 1


@compiled
def _add_logs(values, times, logdet):
    """Add multiples of logarithms to a row."""
    for w in range(8):
        logdet[0, w] += times * np.log(values[0, w])


@compiled
def _product(P, h, k, s, half):
    """Fill the product of rows P, (k², 8), and h, (k s, 8)."""
    for i in range(k):
        first = load(P, i * k)
        if k == 1:
            for t in range(s):
                store(half, t, first * load(h, t))
        elif k == 2:
            second = load(P, i * k + 1)
            for t in range(s):
                store(half, i * s + t, first * load(h, t) + second * load(h, s + t))
        else:
            for t in range(s):
                total = first * load(h, t)
                for j in range(1, k):
                    total = total + load(P, i * k + j) * load(h, j * s + t)
                store(half, i * s + t, total)


@compiled
def _take_off(half, k, s, front, trail, width):
    """Take the products of rows of ``half``, (k s, 8), off the frontal matrix's upper triangle."""
    for t in range(s):
        row = (trail + t) * width + trail
        first = load(half, t)
        if k == 1:
            for b in range(t, s):
                store(front, row + b, load(front, row + b) - first * load(half, b))
        elif k == 2:
            second = load(half, s + t)
            for b in range(t, s):
                value = load(front, row + b) - first * load(half, b)
                store(front, row + b, value - second * load(half, s + b))
        else:
            for b in range(t, s):
                value = load(front, row + b) - first * load(half, b)
                for i in range(1, k):
                    value = value - load(half, i * s + t) * load(half, i * s + b)
                store(front, row + b, value)


@compiled
def _root(a, lam, start, k, N, P):
    """`_root` of eight values: fill N and P, (k², 8), and return |M| of the unit."""
    one, nothing = spread(1.0), spread(0.0)
    for i in range(k):
        for j in range(k):
            total = load(a, i * k) * load(lam, start + j)
            for t in range(1, k):
                total = total + load(a, i * k + t) * load(lam, start + t * k + j)
            store(P, i * k + j, total)
    for i in range(k):
        for j in range(i + 1):
            total = one if i == j else nothing
            for t in range(k):
                total = total + load(lam, start + t * k + i) * load(P, t * k + j)
            store(N, i * k + j, total)
    determinant = one
    for j in range(k):
        pivot = load(N, j * k + j)
        for t in range(j):
            pivot = pivot - load(N, j * k + t) * load(N, j * k + t)
        determinant = determinant * pivot
        inverse = one / root(pivot)
        store(N, j * k + j, inverse)
        for i in range(j + 1, k):
            total = load(N, i * k + j)
            for t in range(j):
                total = total - load(N, i * k + t) * load(N, j * k + t)
            store(N, i * k + j, total * inverse)
    for j in range(k):
        for i in range(k):
            total = load(lam, start + j * k + i)
            for t in range(i):
                total = total - load(N, i * k + t) * load(P, t * k + j)
            store(P, i * k + j, total * load(N, i * k + i))
    return determinant
