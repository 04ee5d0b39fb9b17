"""Directions of a border that its chain nearly determines: levels that move together."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from bayesv.gram.scaling import Index
from bayesv.linalg import connected

__all__ = ["flat_columns"]

_FEW = 64  # columns of a term

Meeting = Callable[[int, int], tuple[Index, Index]]


def flat_columns(
    chain: int, border: Sequence[int], sizes: Sequence[tuple[int, int]], meeting: Meeting
) -> tuple[Index, ...]:
    """Return which columns of C have a 1 in each row of each term of a border, shapes (J, k).

    Parameters
    ----------
    chain : int
        The largest term.
    border : sequence of int
        The terms that are not in its chain.
    sizes : sequence of (int, int)
        Levels J and columns k of every term.
    meeting : callable
        Returns the levels of two terms that meet.

    Notes
    -----
    C has a column for each column of a term and class of its levels, 1 at all levels of the class.
    Of a term with few levels each is a class, so that it is eliminated exactly. Levels of others
    are in one class if rows connect them and they lie in one level of each such term that they are
    nested in: constants of a class are nearly those of the chain, or just those of that level. If
    the classes are many, all levels are one.
    """
    few = [term for term in border if np.prod(sizes[term]) <= _FEW]
    component = _components(chain, border, sizes, meeting)
    places, start = [], 0
    for term, connecting in zip(border, component, strict=True):
        J, k = sizes[term]
        coarser = [other for other in few if other != term]
        kinds = [connecting, *(_parents(J, *meeting(term, other)) for other in coarser)]
        classes = np.arange(J) if term in few else _classes(kinds, _FEW // k)
        places.append(start + classes[:, None] * k + np.arange(k))
        start = int(places[-1].max()) + 1
    return tuple(places)


def _components(
    chain: int, border: Sequence[int], sizes: Sequence[tuple[int, int]], meeting: Meeting
) -> list[Index]:
    """Return the connected component of each level of each term of the border."""
    starts = np.cumsum([sizes[chain][0], *(sizes[term][0] for term in border)])
    pairs = [meeting(chain, term) for term in border]
    left = np.concatenate([i for i, _ in pairs])
    right = np.concatenate([start + j for start, (_, j) in zip(starts, pairs, strict=False)])
    return np.split(connected(int(starts[-1]), left, right), starts[:-1])[1:]


def _parents(J: int, i: Index, j: Index) -> Index:
    """Return the level that each of J levels is in; 0 of all if one is in several."""
    parents = np.zeros(J, dtype=np.intp)
    if len(i) == J:
        parents[i] = j
    return parents


def _classes(kinds: Sequence[Index], most: int) -> Index:
    """Return the class of each level, alike in all kinds, of no more classes than are allowed."""
    classes = np.zeros(len(kinds[0]), dtype=np.intp)
    for kind in kinds:
        finer, seen = pd.factorize(classes * (int(kind.max()) + 1) + kind)
        if len(seen) <= most:
            classes = finer.astype(np.intp)
    return classes
