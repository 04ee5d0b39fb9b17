"""Additive relationships of individuals by their pedigree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.api.types import is_list_like
from scipy import sparse

from bayesv.errors import DataError, near
from bayesv.linalg import Array, symmetrize
from bayesv.names import level_label
from bayesv.structures.relationship import Relationship, named, refuse_levels, refuse_twice
from bayesv.support.arguments import TEXT, TEXTS, accepts, array, found

__all__ = ["Pedigree", "pedigree"]

_Index = NDArray[np.intp]

_BLOCK = 10_000_000  # numbers held at a time
_UNKNOWN = ("", "0", ".", "NA")  # words for a parent that is not known, unless they name a row


@dataclass(frozen=True, eq=False)
class Pedigree(Relationship):
    """Individuals, their parents and so their additive relationship A.

    A_ij is twice the probability that an allele of i and one of j at a place, drawn at random, are
    copies of the same one of an ancestor; A_ii = 1 + F_i with the coefficient of inbreeding F_i.

    Parameters
    ----------
    labels : tuple of str
        Of the individuals.
    sires, dams : ndarray of int, shape (n,)
        Places of their parents; −1 where one is not known.

    Notes
    -----
    A = T D T' with T = (I − P)⁻¹, P having ½ for each known parent, and D the variances of
    Mendelian sampling, D_j = ½ − ¼(F_s + F_d) with both parents known, ¾ − ¼F_s with one, 1 with
    none (Henderson 1976, https://doi.org/10.2307/2529339; Quaas 1976).
    """

    labels: tuple[str, ...]
    sires: _Index
    dams: _Index

    what = "pedigree"

    def __post_init__(self) -> None:
        TEXTS("Pedigree.labels", self.labels)
        n = len(self.labels)
        for name, parents in (("sires", self.sires), ("dams", self.dams)):
            array(1, "iu")(f"Pedigree.{name}", parents)
            if parents.shape != (n,) or (n and not (-1 <= parents.min() <= parents.max() < n)):
                raise DataError(
                    f"Pedigree.{name} must be the place of a parent, or −1, for each of {n} labels."
                )
        refuse_twice(self.labels, self.what, "row")
        self.generations  # noqa: B018  (refuses those who are their own ancestors)

    @cached_property
    def generations(self) -> tuple[_Index, ...]:
        """Places of individuals: without known parents, then those whose parents are before."""
        left = np.arange(len(self.labels))
        known = np.zeros(len(self.labels) + 1, dtype=bool)
        known[-1] = True  # place −1: no parent to wait for
        generations = []
        while len(left):
            ready = known[self.sires[left]] & known[self.dams[left]]
            if not ready.any():
                self._refuse_circle(left)
            generations.append(left[ready])
            known[left[ready]] = True
            left = left[~ready]
        return tuple(generations)

    def _refuse_circle(self, left: _Index) -> None:
        """Name individuals who are their own ancestors."""
        waiting = set(left.tolist())
        path = [int(left[0])]
        while path[-1] not in path[:-1]:
            parents = (int(self.sires[path[-1]]), int(self.dams[path[-1]]))
            path.append(next(parent for parent in parents if parent in waiting))
        circle = path[path.index(path[-1]) :]
        steps = ", ".join(
            f"'{self.labels[child]}' is a child of '{self.labels[parent]}'"
            for child, parent in list(pairwise(circle))[:5]
        )
        raise DataError(
            f"The pedigree makes '{self.labels[circle[0]]}' its own ancestor: {steps}. Correct "
            "these rows."
        )

    @cached_property
    def _parents(self) -> sparse.csr_matrix:
        """P: ½ for each known parent of a row."""
        n = len(self.labels)
        rows = np.tile(np.arange(n), 2)
        columns = np.concatenate([self.sires, self.dams])
        known = columns >= 0
        halves = np.full(int(known.sum()), 0.5)
        return sparse.csr_matrix((halves, (rows[known], columns[known])), shape=(n, n))

    def _descent(self, places: _Index) -> sparse.csr_matrix:
        """Return rows of T: what each takes from each ancestor, (len(places), n)."""
        n = len(self.labels)
        ones = np.ones(len(places))
        step = sparse.csr_matrix((ones, (np.arange(len(places)), places)), shape=(len(places), n))
        total = step
        for _ in self.generations[1:]:
            step = step @ self._parents
            if not step.nnz:
                break
            total = total + step
        return total

    @cached_property
    def inbreeding(self) -> Array:
        """F of each individual: half the relationship of its parents, shape (n,)."""
        F, mendelian = np.zeros(len(self.labels)), np.ones(len(self.labels))
        for generation in self.generations[1:]:
            both = generation[(self.sires[generation] >= 0) & (self.dams[generation] >= 0)]
            pairs, mine = np.unique(
                np.stack([self.sires[both], self.dams[both]], axis=1), axis=0, return_inverse=True
            )
            if len(pairs):
                F[both] = 0.5 * self._related(pairs, mendelian)[mine.ravel()]
            mendelian[generation] = self._mendelian(generation, F)
        return F

    def _mendelian(self, places: _Index, F: Array) -> Array:
        """Return D of individuals whose parents' inbreeding is known."""
        padded = np.append(F, -1.0)  # a parent that is not known leaves ¼ more
        return np.asarray(0.5 - 0.25 * (padded[self.sires[places]] + padded[self.dams[places]]))

    def _related(self, pairs: _Index, mendelian: Array) -> Array:
        """Return A of pairs of individuals, given D of all their ancestors."""
        each, mine = np.unique(pairs, return_inverse=True)
        descent = self._descent(each)
        mine = mine.reshape(pairs.shape)
        weighted = descent @ sparse.diags(mendelian)
        products = descent[mine[:, 0]].multiply(weighted[mine[:, 1]])
        return np.asarray(products.sum(axis=1)).ravel()

    @cached_property
    def _steps(self) -> list[tuple[_Index, _Index, sparse.csr_matrix]]:
        """Of each generation but the first: its places, those of its parents, P between these."""
        steps = []
        for generation in self.generations[1:]:
            halves = self._parents[generation]
            parents = np.unique(halves.indices)
            steps.append((generation, parents, halves[:, parents]))
        return steps

    def among(self, levels: Sequence[str]) -> Array:
        """Return A of these individuals, shape (J, J); J may be far below the pedigree's size.

        Columns TDT'e of A, a block of them at a time, up and down the generations (Colleau 2002,
        https://doi.org/10.1186/1297-9686-34-4-409).
        """
        places = self.places(levels)
        refuse_levels(len(places))
        mendelian = self._mendelian(np.arange(len(self.labels)), self.inbreeding)
        A = np.empty((len(places), len(places)))
        width = max(1, _BLOCK // max(len(self.labels), 1))
        for start in range(0, len(places), width):
            block = places[start : start + width]
            x = np.zeros((len(self.labels), len(block)))
            x[block, np.arange(len(block))] = 1.0
            for generation, parents, halves in reversed(self._steps):
                x[parents] += halves.T @ x[generation]
            x *= mendelian[:, None]
            for generation, parents, halves in self._steps:
                x[generation] += halves @ x[parents]
            A[:, start : start + width] = x[places]
        return symmetrize(A)


@accepts(id=TEXT, sire=TEXT, dam=TEXT)
def pedigree(ped: Any, id: str = "id", sire: str = "sire", dam: str = "dam") -> Pedigree:
    """Read a pedigree, for ``relationship={"animal": bv.pedigree(…)}``.

    Parameters
    ----------
    ped : DataFrame or mapping
        One row for each individual, in any order.
    id, sire, dam : str
        Columns of the individual and of its parents. A parent is not known where the cell is
        missing or empty, or is 0, ``.`` or NA and no row has that name. A parent without a row is
        one whose parents are not known.

    Returns
    -------
    Pedigree

    Raises
    ------
    DataError
        If a column is not there, an individual has two rows or none of a name, or is its own
        ancestor.

    Examples
    --------
    >>> family = {"id": ["a", "b", "c", "d"], "sire": ["", "", "a", "a"], "dam": ["", "", "b", "c"]}
    >>> print(pedigree(family).among(["b", "c", "d"]))
    [[1.   0.5  0.25]
     [0.5  1.   0.75]
     [0.25 0.75 1.25]]
    """
    columns = {name: _column(ped, name) for name in (id, sire, dam)}
    individuals = _labels(columns[id])
    nameless = [i for i, label in enumerate(individuals) if label is None]
    if nameless:
        raise DataError(
            f"The pedigree's column '{id}' has no value in row {nameless[0] + 1}: each row is of "
            "one individual. Give it a name, or leave the row out."
        )
    labels = [label for label in individuals if label is not None]
    refuse_twice(labels, "pedigree", "row")
    place = {label: i for i, label in enumerate(labels)}
    parents = []
    for name in (sire, dam):
        known = [_parent(label, place) for label in _labels(columns[name])]
        for label in known:
            if label is not None:
                place.setdefault(label, len(place))
        parents.append([-1 if label is None else place[label] for label in known])
    founders = [-1] * (len(place) - len(labels))
    sires, dams = (np.array([*column, *founders], dtype=np.intp) for column in parents)
    return Pedigree(tuple(place), sires, dams)


def _column(ped: Any, name: str) -> list[Any]:
    """Return a column of a data frame or mapping."""
    if not (hasattr(ped, "columns") or isinstance(ped, Mapping)):
        raise DataError(f"A pedigree is a data frame or mapping of columns; {found(ped)}.")
    names = [str(c) for c in (ped.columns if hasattr(ped, "columns") else ped)]
    if name not in names:
        raise DataError(
            f"The pedigree has no column '{name}'{near(name, names)} It has {named(names)}; say "
            "which is which with id=, sire= and dam=."
        )
    return list(ped[name])


def _labels(column: Sequence[Any]) -> list[str | None]:
    """Return the text of each cell; None where it is missing."""
    if many := [cell for cell in column if is_list_like(cell)]:
        raise DataError(f"A cell of a pedigree is one name; {found(many[0])}.")
    return [None if pd.isna(cell) else level_label(cell) for cell in column]


def _parent(label: str | None, place: dict[str, int]) -> str | None:
    """Return the name of a parent; None if it says that there is none known."""
    if label is None or (label.strip() in _UNKNOWN and label not in place):
        return None
    return label
