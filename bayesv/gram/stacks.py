"""Stacks of rows with the same products, of no more rows than columns: compiled."""

from __future__ import annotations

import numpy as np

from bayesv.gram.compiled import compiled

__all__ = ["shorten"]


@compiled
def shorten(rows, members, counts, kept, short):
    """Fill ``short`` with what classes of ``rows`` keep, class by class.

    The members of each class, which follow each other in ``members``, are kept as they are, or
    replaced by the triangle R of their QR decomposition where fewer rows are kept than there are.
    """
    d = rows.shape[1]
    x, first, place = np.empty(d), 0, 0
    for c in range(len(counts)):
        own = short[place : place + kept[c]]
        if kept[c] == counts[c]:
            for i in range(counts[c]):
                for j in range(d):
                    own[i, j] = rows[members[first + i], j]
        else:
            own[:] = 0.0
            for i in range(counts[c]):
                for j in range(d):
                    x[j] = rows[members[first + i], j]
                _rotate_into(own, x)
        first, place = first + counts[c], place + kept[c]


@compiled
def _rotate_into(R, x):
    """Let R'R of an upper triangle R grow by xx', by Givens' rotations."""
    for j in range(len(x)):
        size = np.hypot(R[j, j], x[j])
        if size == 0.0:
            continue
        cosine, sine = R[j, j] / size, x[j] / size
        R[j, j] = size
        for t in range(j + 1, len(x)):
            above = R[j, t]
            R[j, t] = cosine * above + sine * x[t]
            x[t] = cosine * x[t] - sine * above
