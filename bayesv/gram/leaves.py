"""Units of a chain's finest factor, of one or two columns: what `forward` and `reverse` do there.

λ = [[x, u], [y, v]] and N = I + λ'Aλ are numbers, not arrays; of one column only x is not 0.
"""

from __future__ import annotations

import numpy as np

from bayesv.gram.compiled import compiled

__all__ = ["SMALL", "eliminate_leaf", "reverse_leaf"]

SMALL = 2  # columns


@compiled
def _inverse(A, base, lam, offset, k):
    """Return D = λN⁻¹λ', elements (0, 0), (0, 1) and (1, 1), then λN⁻¹, row by row, and |N|."""
    if k == 1:
        x = lam[offset]
        N = 1.0 + x * A[base] * x
        N = N if N > 0.0 else np.nan
        return x * x / N, 0.0, 0.0, x / N, 0.0, 0.0, 0.0, N
    x, u, y, v = lam[offset], lam[offset + 1], lam[offset + 2], lam[offset + 3]
    a, b, d = A[base], A[base + 1], A[base + 3]
    au, av = a * u + b * v, b * u + d * v
    first = 1.0 + x * (a * x + b * y) + y * (b * x + d * y)
    first = first if first > 0.0 else np.nan
    ratio = (x * au + y * av) / first
    second = 1.0 + u * au + v * av - ratio * (x * au + y * av)
    second = second if second > 0.0 else np.nan
    e, g = (u - ratio * x) / second, (v - ratio * y) / second
    c, d = x / first - ratio * e, y / first - ratio * g
    return x * c + u * e, x * d + u * g, y * d + v * g, c, e, d, g, first * second


@compiled
def eliminate_leaf(A, base, H, span, lam, offset, k, s, front):
    """Take H'DH off the upper triangle of ``front`` for all couplings H of a unit; return |N|."""
    D, E, F, _, _, _, _, determinant = _inverse(A, base, lam, offset, k)
    for r in range(span[0], span[1], k * s):
        for t in range(s):
            if k == 1:
                one = D * H[r + t]
                for b in range(t, s):
                    front[t, b] -= one * H[r + b]
            else:
                one = D * H[r + t] + E * H[r + s + t]
                other = E * H[r + t] + F * H[r + s + t]
                for b in range(t, s):
                    front[t, b] -= one * H[r + b] + other * H[r + s + b]
    return determinant


@compiled
def reverse_leaf(A, base, H, span, lam, offset, k, s, mult, bars, lam_bar):
    """Add to ``lam_bar`` what a unit adds to the derivative by λ; see `reverse`.

    ``bars``, (s, s), is the derivative by all that loses H'DH.
    """
    D, E, F, c, e, d, g, _ = _inverse(A, base, lam, offset, k)
    p, q, r = 0.0, 0.0, 0.0  # −D_bar
    for first in range(span[0], span[1], k * s):
        for t in range(s):  # bars are symmetric: one half of them, and half of the diagonal
            half = 0.5 * bars[t, t]
            one, other = half * H[first + t], half * H[first + t + s] if k == 2 else 0.0
            for b in range(t + 1, s):
                one += bars[t, b] * H[first + b]
                if k == 2:
                    other += bars[t, b] * H[first + s + b]
            p += 2.0 * one * H[first + t]
            if k == 2:
                q += one * H[first + s + t] + other * H[first + t]
                r += 2.0 * other * H[first + s + t]
    # λ_bar = 2W + 2A(m λN⁻¹ − DW), W = D_bar λN⁻¹
    if k == 1:
        W = -p * c
        lam_bar[offset] += 2.0 * (W + A[base] * (mult * c - D * W))
        return
    W, X, Y, Z = -(p * c + q * d), -(p * e + q * g), -(q * c + r * d), -(q * e + r * g)
    c, e = mult * c - D * W - E * Y, mult * e - D * X - E * Z
    d, g = mult * d - E * W - F * Y, mult * g - E * X - F * Z
    a, b, h = A[base], A[base + 1], A[base + 3]
    lam_bar[offset] += 2.0 * (W + a * c + b * d)
    lam_bar[offset + 1] += 2.0 * (X + a * e + b * g)
    lam_bar[offset + 2] += 2.0 * (Y + b * c + h * d)
    lam_bar[offset + 3] += 2.0 * (Z + b * e + h * g)
