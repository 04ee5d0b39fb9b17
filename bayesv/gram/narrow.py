"""Units of one or two columns, for many λ at once: compiled.

With D = λN⁻¹λ' in closed form, all that couplings H take off, H'DH, is one loop over lanes for each
element. Shapes have a last axis of W lanes, which the compiler turns into vector instructions.
"""

from __future__ import annotations

import numpy as np

from bayesv.gram.compiled import compiled

__all__ = ["NARROW", "invert_narrow", "take_off", "take_off_numbers"]

NARROW = 2  # columns


@compiled
def invert_narrow(a, lam, k, D, determinant):
    """Fill D, elements (0, 0), (0, 1) and (1, 1), with λN⁻¹λ', and |N| of N = I + λ'aλ.

    ``lam`` has shape (k k, W). NaN where rounding leaves no N > 0.
    """
    if k == 1:
        for w in range(len(determinant)):
            square = lam[0, w] ** 2
            N = 1.0 + a[0, 0, w] * square
            N = N if N > 0.0 else np.nan
            D[0, w] = square / N
            determinant[w] = N
        return
    for w in range(len(determinant)):
        x, u, y, v = lam[0, w], lam[1, w], lam[2, w], lam[3, w]  # λ = [[x, u], [y, v]]
        au = a[0, 0, w] * u + a[0, 1, w] * v
        av = a[1, 0, w] * u + a[1, 1, w] * v
        ax = a[0, 0, w] * x + a[0, 1, w] * y
        ay = a[1, 0, w] * x + a[1, 1, w] * y
        first, both = 1.0 + x * ax + y * ay, x * au + y * av
        first = first if first > 0.0 else np.nan
        over_first = 1.0 / first
        ratio = both * over_first
        second = 1.0 + u * au + v * av - ratio * both
        second = second if second > 0.0 else np.nan
        over_second = 1.0 / second
        u -= ratio * x
        v -= ratio * y
        D[0, w] = x * x * over_first + u * u * over_second
        D[1, w] = x * y * over_first + u * v * over_second
        D[2, w] = y * y * over_first + v * v * over_second
        determinant[w] = first * second


@compiled
def take_off_numbers(H, place, k, s, D, front):
    """Take H'DH off the upper triangle of ``front`` for the coupling at a place of the flat H.

    It is the same in all lanes, as those of a chain's finest factor are.
    """
    first, second, W = H[place : place + s], H[place + s : place + k * s], front.shape[2]
    for t in range(s):
        for b in range(t, s):
            c = first[t] * first[b]
            if k == 1:
                for w in range(W):
                    front[t, b, w] -= c * D[0, w]
            else:
                d, e = first[t] * second[b] + second[t] * first[b], second[t] * second[b]
                for w in range(W):
                    front[t, b, w] -= c * D[0, w] + d * D[1, w] + e * D[2, w]


@compiled
def take_off(h, k, s, D, front, half):
    """Take h'Dh off the upper triangle of ``front``, (s, s, W), for h of shape (k, s, W)."""
    W = front.shape[2]
    for t in range(s):
        if k == 1:
            for w in range(W):
                half[0, t, w] = D[0, w] * h[0, t, w]
            for b in range(t, s):
                for w in range(W):
                    front[t, b, w] -= half[0, t, w] * h[0, b, w]
        else:
            for w in range(W):
                half[0, t, w] = D[0, w] * h[0, t, w] + D[1, w] * h[1, t, w]
                half[1, t, w] = D[1, w] * h[0, t, w] + D[2, w] * h[1, t, w]
            for b in range(t, s):
                for w in range(W):
                    front[t, b, w] -= half[0, t, w] * h[0, b, w] + half[1, t, w] * h[1, b, w]
