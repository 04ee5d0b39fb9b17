"""The elimination of a chain of factors for many λ, each with sums of its own: a compiled loop."""

from __future__ import annotations

import numpy as np

from bayesv.gram.compiled import compiled
from bayesv.gram.kernels import forward
from bayesv.gram.tables import Sums

__all__ = ["forward_several"]


@compiled
def forward_several(tables, sums, start, stop, lam, width, logdet, T):
    """Add log|N| of the units of events start…stop to ``logdet``, (S,), and what T loses to ``T``.

    ``sums`` have a leading axis of S values, as ``lam`` has, (S, …); there is no border. ``T``,
    (S, m, m), loses in its upper triangle.
    """
    m = T.shape[1]
    left = Sums(
        np.empty_like(sums.A[0]), np.empty_like(sums.H[0]),
        sums.E[0], sums.A_border[0], sums.B_border[0], sums.C[0],
    )  # fmt: skip
    for s in range(len(lam)):
        own = Sums(
            sums.A[s], sums.H[s], sums.E[s], sums.A_border[s], sums.B_border[s], sums.C[s]
        )  # fmt: skip
        front = np.zeros((width, width))
        logdet[s] += forward(tables, own, left, start, stop, lam[s], front, None)
        for a in range(m):
            for b in range(m):
                T[s, a, b] += front[width - m + a, width - m + b]
