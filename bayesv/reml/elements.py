"""Elements of λ as coordinates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bayesv.linalg import Array
from bayesv.reml.course import Course, begun

__all__ = ["ChainDescent", "ElementTable", "approaching", "joined"]

Index = NDArray[np.intp]


class ElementTable(NamedTuple):
    """Where elements of λ stand.

    Attributes
    ----------
    size : int
        Of the flat λ of all terms.
    places : ndarray of int, shape (d,)
        In it.
    units : ndarray, shape (d,)
        The element is the coordinate × unit.
    of_row, of_column : ndarray of int, shape (d,)
        Coordinate of the diagonal element of the same row, and of the same column.
    terms : ndarray of int, shape (terms, 3)
        Where the λ of each term starts, its number of columns, and of levels.
    """

    size: int
    places: Index
    units: Array
    of_row: Index
    of_column: Index
    terms: Index

    def flat(self, x: Array) -> Array:
        """Return the flat λ, shape (S, size), at S points x, shape (S, d)."""
        lam = np.zeros((len(x), self.size))
        lam[:, self.places] = x * self.units
        return lam


class ChainDescent(NamedTuple):
    """What a compiled descent over some elements of λ needs beside its course.

    Attributes
    ----------
    x : ndarray, shape (d,)
        Coordinates; those that are free are written to.
    free : ndarray of int, shape (f,)
        Which are.
    known : ndarray, shape (d,) or (0,)
        A minimum, of one sign, at which the descent ends; empty if there is none.
    curvature : ndarray, shape (f,)
    near : float
        Σ curvature × distance² to a minimum that is the same.
    evaluations : ndarray of int, shape (1,)
        Counted here.
    rest : ndarray, shape (p + 1, p + 1)
        Receives T at the lowest point.
    steps : int
        Of EM, at most; 0 for a descent.
    far : float
        How much they let the largest row of λ grow, to go on.
    turn : int
        Evaluations of a descent after which it comes back to Python, which may interrupt it.
    """

    x: Array
    free: Index
    known: Array
    curvature: Array
    near: float
    evaluations: Index
    rest: Array
    steps: int
    far: float
    turn: int


_NONE, _NO_PLACES = np.zeros(0), np.zeros(0, dtype=np.intp)
_NO_COURSE = begun(_NONE, _NONE, _NONE, None, 0)


def approaching(x: Array, rest: Array, steps: int, far: float) -> tuple[ChainDescent, Course]:
    """Return what so many steps of EM at most from x, which is written to, need."""
    descent = ChainDescent(x, _NO_PLACES, _NONE, _NONE, 0.0, _NO_PLACES, rest, steps, far, 0)
    return descent, _NO_COURSE


def joined(tables: Sequence[ElementTable], starts: Sequence[int]) -> ElementTable:
    """Return the table of all terms, the λ of each of which starts so far into the flat one."""
    moved, done = list[ElementTable](), 0
    for table, start in zip(tables, starts, strict=True):
        moved.append(
            ElementTable(
                table.size,
                table.places + start,
                table.units,
                table.of_row + done,
                table.of_column + done,
                table.terms + np.array([start, 0, 0]),
            )
        )
        done += len(table.places)
    sizes, *columns = zip(*moved, strict=True)
    return ElementTable(sum(sizes), *map(np.concatenate, columns))
