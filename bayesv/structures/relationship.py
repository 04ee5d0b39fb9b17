"""Known relationships K of a factor's levels: effects have covariance Σ ⊗ K."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.api.types import is_list_like
from scipy import sparse

from bayesv.errors import DataError, near
from bayesv.linalg import PSD_TOLERANCE, Array, smallest_relative_eigenvalue
from bayesv.names import level_label
from bayesv.structures.level_root import LevelRoot, families
from bayesv.support.arguments import found
from bayesv.support.memory import refuse_unless

__all__ = [
    "KnownRelationship",
    "RelatedLevels",
    "Relationship",
    "known_relationship",
    "relationship_of",
]

_COPIES = 4  # of K, while it is checked and its root is made
_ASYMMETRY = 1e-8  # of K's elements, relative to their SDs: what writing to a file takes away


class Relationship(ABC):
    """K of labelled levels, of which a model needs those it observes.

    Attributes
    ----------
    labels : tuple of str
        Of all levels that K has.
    what : str
        What it was read from, for messages.
    """

    labels: tuple[str, ...]
    what: str

    @abstractmethod
    def among(self, levels: Sequence[str]) -> Array:
        """Return K of these levels, in their order, shape (J, J).

        Raises
        ------
        DataError
            If a level has no row in K.
        """

    @cached_property
    def _place(self) -> dict[str, int]:
        return {label: i for i, label in enumerate(self.labels)}

    def places(self, levels: Sequence[str]) -> NDArray[np.intp]:
        """Return the place of each level among `labels`; refuse those that have none."""
        try:
            strange = [level for level in levels if level not in self._place]
        except TypeError:
            raise DataError(f"Labels of levels are needed, as text; {found(levels)}.") from None
        if strange:
            raise DataError(
                f"The {self.what} has no row for {len(strange)} of {len(levels)} levels: "
                f"{named(strange)}{near(strange[0], self.labels)} Add rows for them, or leave "
                "their rows out of the data."
            )
        return np.array([self._place[level] for level in levels], dtype=np.intp)

    def describe(self) -> str:
        """Return what it is and how many it has, such as ``pedigree of 500``."""
        return f"{self.what} of {len(self.labels):,}"

    def of(self, levels: Sequence[str]) -> RelatedLevels:
        """Return K of these levels with its root; what was made once is kept."""
        key = tuple(levels)
        if key not in self._made:
            K = self.among(key)
            if not np.diagonal(K).all():
                lone = key[int(np.argmin(np.diagonal(K)))]
                raise DataError(
                    f"The {self.what} has 0 on its diagonal at '{lone}', whose effects would all "
                    "be 0. Correct it, or leave the rows of this level out of the data."
                )
            self._made[key] = RelatedLevels(K)
        return self._made[key]

    @cached_property
    def _made(self) -> dict[tuple[str, ...], RelatedLevels]:
        return {}


@dataclass(frozen=True, eq=False)
class RelatedLevels:
    """K of some levels.

    Parameters
    ----------
    K : ndarray, shape (J, J)
    """

    K: Array

    @cached_property
    def root(self) -> LevelRoot:
        """L with LL' = K."""
        return LevelRoot.of(self.K)

    @cached_property
    def variances(self) -> Array:
        """K_jj, shape (J,)."""
        return np.diagonal(self.K).copy()

    @cached_property
    def components(self) -> NDArray[np.intp]:
        """Which levels are connected by relationships, each to the next, shape (J,)."""
        return families(self.K)


@dataclass(frozen=True, eq=False)
class KnownRelationship(Relationship):
    """A matrix with labels.

    Parameters
    ----------
    labels : tuple of str
    matrix : ndarray or sparse array, shape (J, J)
        Symmetric and positive semi-definite.
    """

    labels: tuple[str, ...]
    matrix: Any

    what = "relationship matrix"

    def __post_init__(self) -> None:
        refuse_twice(self.labels, self.what, "row")
        refuse_levels(len(self.labels))
        shape = np.shape(self.matrix) or self.matrix.shape
        if shape != (len(self.labels),) * 2:
            raise DataError(
                f"The relationship matrix has shape {shape}, and there are {len(self.labels)} "
                "labels: it must have a row and a column for each."
            )
        object.__setattr__(self, "matrix", _checked(self.matrix, self.labels))

    def among(self, levels: Sequence[str]) -> Array:  # noqa: D102
        places = self.places(levels)
        refuse_levels(len(places))
        if sparse.issparse(self.matrix):
            return np.asarray(self.matrix[places][:, places].toarray())
        return np.asarray(self.matrix[np.ix_(places, places)])


def relationship_of(value: Any) -> Relationship:
    """Return the relationship that a user gave for a factor.

    Parameters
    ----------
    value : Relationship, DataFrame or pair (matrix, labels)
        A pedigree as `pedigree` reads it, or what `known_relationship` takes.
    """
    if isinstance(value, Relationship):
        return value
    if isinstance(value, tuple | list) and len(value) == 2 and is_list_like(value[1]):
        return known_relationship(value[0], value[1])
    return known_relationship(value)


def known_relationship(K: Any, labels: Sequence[Hashable] | None = None) -> KnownRelationship:
    """Read a known relationship matrix.

    Parameters
    ----------
    K : DataFrame, ndarray or sparse matrix, shape (J, J)
        A frame's index and columns are the labels; they may stand in different orders.
    labels : sequence, optional
        Of the rows of an array or sparse matrix.

    Raises
    ------
    DataError
        If labels are not there, are double or do not fit, or K is not symmetric, not finite or not
        positive semi-definite.

    Examples
    --------
    >>> K = known_relationship([[1.0, 0.5], [0.5, 1.0]], labels=["a", "b"])
    >>> K.among(["b"])
    array([[1.]])
    """
    if isinstance(K, pd.DataFrame):
        rows, columns = ([level_label(label) for label in axis] for axis in (K.index, K.columns))
        refuse_twice(rows, "relationship matrix", "row")
        refuse_twice(columns, "relationship matrix", "column")
        if set(rows) != set(columns):
            lone = sorted(set(rows) ^ set(columns))
            raise DataError(
                "Rows and columns of the relationship matrix have different labels: "
                f"{named(lone)} are in one of them only. Set the frame's index to the labels of "
                "its columns."
            )
        place = {label: j for j, label in enumerate(columns)}
        matrix: Any = _numbers(K)[:, [place[label] for label in rows]]
    else:
        if labels is None:
            raise DataError(
                "A relationship matrix needs the labels of its rows: give a DataFrame with them as "
                "index and columns, or the pair (matrix, labels)."
            )
        rows = [level_label(label) for label in labels]
        matrix = sparse.csr_matrix(K) if sparse.issparse(K) else _numbers(K)
    return KnownRelationship(tuple(rows), matrix)


def _numbers(K: Any) -> Array:
    try:
        return np.asarray(K, dtype=float)
    except (TypeError, ValueError, OverflowError):
        raise DataError(f"A relationship matrix is of numbers alone; {found(K)}.") from None


def _checked(matrix: Any, labels: Sequence[str]) -> Any:
    """Refuse what is no covariance; return it exactly symmetric."""
    elements = matrix.data if sparse.issparse(matrix) else matrix
    if not np.isfinite(elements).all():
        raise DataError("The relationship matrix has elements that are missing or infinite.")
    diagonal = matrix.diagonal()
    if (diagonal < 0).any():
        label = labels[int(np.argmin(diagonal))]
        raise DataError(
            f"The relationship matrix has {diagonal.min():g} on its diagonal, at '{label}': "
            "variances cannot be negative."
        )
    gap = abs(matrix - matrix.T)
    if gap.max() > _ASYMMETRY * diagonal.max(initial=0.0):
        i, j = divmod(int(gap.argmax()), len(labels))
        raise DataError(
            f"The relationship matrix is not symmetric: '{labels[i]}' with '{labels[j]}' has "
            f"{matrix[i, j]:g}, and the other way round {matrix[j, i]:g}."
        )
    matrix = 0.5 * (matrix + matrix.T)
    dense = matrix.toarray() if sparse.issparse(matrix) else matrix
    try:
        np.linalg.cholesky(dense)
    except np.linalg.LinAlgError:
        least = smallest_relative_eigenvalue(dense)
        if least < -max(PSD_TOLERANCE, 1e-15 * len(dense)):
            raise DataError(
                "The relationship matrix is not positive semi-definite: scaled to unit diagonal, "
                f"its smallest eigenvalue is {least:.3g}. It can be of rank below its size, not "
                "below 0: take the nearest such matrix, or check how it was made."
            ) from None
    return matrix


def refuse_levels(count: int) -> None:
    """Refuse K of more levels than there is memory for."""
    refuse_unless(
        8.0 * _COPIES * float(count) ** 2,
        f"K of {count:,} related levels, dense,",
        "Leave levels out.",
    )


def refuse_twice(labels: Sequence[str], what: str, part: str) -> None:
    """Refuse labels that name two rows."""
    twice = [label for label, count in Counter(labels).items() if count > 1]
    if twice:
        raise DataError(
            f"The {what} has more than one {part} for {named(twice)}: each level can have one. "
            "Leave the others out."
        )


def named(labels: Sequence[str], most: int = 5) -> str:
    """Name a few labels."""
    names = ", ".join(f"'{label}'" for label in labels[:most])
    return names if len(labels) <= most else f"{names} and {len(labels) - most} more"
