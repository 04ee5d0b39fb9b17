"""Arrays that compiled loops take together: where things stand, and sums over rows."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bayesv.gram.scaling import Index
from bayesv.linalg import Array

__all__ = [
    "A_START",
    "H_START",
    "L_START",
    "PLACE",
    "U_START",
    "BorderTable",
    "ChainProblem",
    "K",
    "Kept",
    "Rule",
    "S",
    "StackedSums",
    "Sums",
    "Tables",
    "combined",
    "inner",
]

# Columns of the table with one row per chain factor: number of columns k, width s of its couplings
# H, its place in the frontal matrix, and where its A, H, units and λ start in the flat arrays.
K, S, PLACE, A_START, H_START, U_START, L_START = range(7)


class Tables(NamedTuple):
    """Where the units of a chain stand, and when each is eliminated.

    Attributes
    ----------
    table : ndarray of int, shape (factors, 7)
        One row per grouping factor; columns `K` to `L_START`.
    mult : ndarray, shape (units,)
        How many equal units each stands for.
    pointer : ndarray of int, shape (units + 1,)
        Where the couplings of each unit start: merged units keep several.
    depth, unit : ndarray of int, shape (units,)
        What is eliminated, in post-order: the place of its factor in the chain, and the unit.
    edges : ndarray of int, shape (units + 1,)
        Where the couplings of each unit to the border start.
    columns, slots : ndarray of int, shape (nnz,)
        Columns of the border that units meet, and where each stands at the unit's parent.
    places : ndarray of int, shape (nnz,)
        Column of each in a matrix of the border: the same, but for a border in sets.
    """

    table: Index
    mult: Array
    pointer: Index
    depth: NDArray[np.int32]
    unit: NDArray[np.int32]
    edges: Index
    columns: Index
    slots: Index
    places: Index


class BorderTable(NamedTuple):
    """Where the levels of the border stand: first column, number of columns, and place of λ."""

    starts: Index
    widths: Index
    places: Index


class Sums(NamedTuple):
    """Products of [Z X y], linear in the weights of the rows; a `Layout` says what stands where.

    Attributes
    ----------
    A, H : ndarray, flat
        Z_j'WZ_j of every unit of the chain, and its couplings Z_j'W[Z of coarser factors, X, y],
        factor after factor.
    E : ndarray, shape (nnz, k)
        Z_j'WZ_border where units meet the border, transposed.
    A_border, B_border : ndarray, shapes (q_border, q_border) and (q_border, p + 1)
        Z_b'WZ_b and Z_b'W[X y]. A of a border in sets has fewer columns, see `ColumnSets`; that of
        an iteration is flat.
    C : ndarray, shape (p + 1, p + 1)
        [X y]'W[X y].
    """

    A: Array
    H: Array
    E: Array
    A_border: Array
    B_border: Array
    C: Array


class Rule(NamedTuple):
    """What a profiled criterion makes of log|M| and T.

    Attributes
    ----------
    df : float
        Rows, by REML less the fixed effects.
    restricted : bool
        Whether it is that of REML.
    sigma_is_known : bool
        σ is 1 then.
    constant : float
        What depends on nothing that is estimated.
    exact : float
        r² that is rounding, and so no residual variance.
    """

    df: float
    restricted: bool
    sigma_is_known: bool
    constant: float
    exact: float


class ChainProblem(NamedTuple):
    """The profiled criterion of a chain without a border, for one compiled pass.

    Attributes
    ----------
    tables : Tables
    sums, left : Sums
        What is eliminated, and room for what units look like when their turn comes.
    factors : Factors
        Of no border.
    width : int
        Of the frontal matrix.
    rule : Rule
    """

    tables: Tables
    sums: Sums
    left: Sums
    factors: Any
    width: int
    rule: Rule


class Kept(NamedTuple):
    """What the finest factor's units took off the frontal matrix, for several λ of it.

    Attributes
    ----------
    fronts : ndarray, shape (N, units, numbers)
        Off each unit of the next coarser factor, at N values of λ: the upper triangle of the first
        ``depth`` rows. What is taken off [X y] is summed over units, and no part of it.
    depth : int
    places : ndarray of int, shape (8,)
        Which of the N, of eight that are eliminated at once.
    of_finest : bool
        Whether the finest units are eliminated, and it is written; or all others, and it is read.
    """

    fronts: Array
    depth: int
    places: Index
    of_finest: bool


class StackedSums:
    """K sums of one layout side by side, whose linear combinations are one product.

    Parameters
    ----------
    parts : sequence of Sums
    """

    def __init__(self, parts: Sequence[Sums]) -> None:
        self.shapes = [values.shape for values in parts[0]]
        stops = np.cumsum([0, *(int(np.prod(shape)) for shape in self.shapes)]).tolist()
        self.places = [slice(*ends) for ends in pairwise(stops)]
        self.matrix = np.empty((len(parts), stops[-1]))
        for row, part in zip(self.matrix, parts, strict=True):
            np.concatenate([values.ravel() for values in part], out=row)

    def combined(self, coefficients: Array) -> Sums:
        """Return Σ_k c_k Sums_k, for coefficients (..., K) with leading axes (..., of each)."""
        flat = coefficients @ self.matrix
        pairs = zip(self.places, self.shapes, strict=True)
        return Sums(*(flat[..., own].reshape(*flat.shape[:-1], *shape) for own, shape in pairs))

    def inner(self, sums: Sums) -> Array:
        """Return Σ of the products of all elements with those of each of the sums, (K,)."""
        return np.asarray(self.matrix @ np.concatenate([values.ravel() for values in sums]))


def combined(parts: Sequence[Sums], coefficients: Array | Sequence[float]) -> Sums:
    """Return Σ_k c_k Sums_k.

    Parameters
    ----------
    parts : sequence of Sums
        Of the same layout.
    coefficients : array_like, shape (K,)
    """
    totals = [coefficients[0] * values for values in parts[0]]
    for part, c in zip(parts[1:], coefficients[1:], strict=True):
        for total, values in zip(totals, part, strict=True):
            total += c * values
    return Sums(*totals)


def inner(one: Sums, other: Sums) -> float:
    """Return Σ of the products of all elements: ∂/∂c_k, given a derivative by sums and Sums_k."""
    return float(sum(np.vdot(a, b) for a, b in zip(one, other, strict=True)))
