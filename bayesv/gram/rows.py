"""Compiled sums over rows."""

from __future__ import annotations

import numpy as np

from bayesv.gram.compiled import compiled

__all__ = ["add_hashes", "add_products", "dots", "times_blocks"]


@compiled
def add_products(codes, left, right, totals):
    """Add left_i' right_i of every row i to totals[codes[i]]; shapes (n, a), (n, b), (J, a, b)."""
    for i in range(len(codes)):
        target = totals[codes[i]]
        for a in range(left.shape[1]):
            for b in range(right.shape[1]):
                target[a, b] += left[i, a] * right[i, b]


@compiled
def _mix(x):
    """Finaliser of splitmix64: every bit of x changes every bit of the result."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


@compiled
def add_hashes(codes, bits, totals):
    """Add two hashes of every row's bits to totals[codes[i]], shape (J, 2), modulo 2⁶⁴.

    Sums do not depend on the order of rows, and those of parts add up to those of the whole.
    """
    for i in range(len(codes)):
        x = np.uint64(0x9E3779B97F4A7C15)
        for a in range(bits.shape[1]):
            x = _mix(x ^ bits[i, a]) + np.uint64(0x9E3779B97F4A7C15)
        totals[codes[i], 0] += _mix(x)
        totals[codes[i], 1] += _mix(x ^ np.uint64(0xD1B54A32D192ED03))


@compiled
def times_blocks(codes, rows, blocks, products):
    """Put rows_i B of B = blocks[codes[i]] into products; shapes (n, w), (J, w, w), (n, w)."""
    for i in range(len(codes)):
        block = blocks[codes[i]]
        for b in range(rows.shape[1]):
            total = 0.0
            for a in range(rows.shape[1]):
                total += rows[i, a] * block[a, b]
            products[i, b] = total


@compiled
def dots(i, j, left, right, totals):
    """Put the inner products of rows i of left and j of right, (n, w) each, into totals."""
    for e in range(len(i)):
        total = 0.0
        for a in range(left.shape[1]):
            total += left[i[e], a] * right[j[e], a]
        totals[e] = total
