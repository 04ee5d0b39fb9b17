"""Random terms: labels, levels, columns, and the family of Σ_f."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from bayesv.design.labels import TERM_FIELDS, check_fields
from bayesv.design.scales import ColumnFacts
from bayesv.errors import DataError, near
from bayesv.linalg import Array
from bayesv.names import level_label
from bayesv.structures import CovarianceStructure
from bayesv.structures.relationship import RelatedLevels, Relationship
from bayesv.support.arguments import a, accepts, array

__all__ = ["Index", "RandomTerm", "TermSummary"]

Index = NDArray[np.intp]


class _Term:
    """What the names of a random term say."""

    group: str
    columns: tuple[str, ...]
    levels: NDArray[np.object_]
    structure: CovarianceStructure
    relationship: Relationship | None

    @property
    def n_columns(self) -> int:
        """Number of coefficients per level, r_f."""
        return len(self.columns)

    @cached_property
    def column_index(self) -> pd.Index:
        """Names of the coefficients as labels of tables."""
        return pd.Index(self.columns)

    @property
    def n_levels(self) -> int:
        """Number of observed levels, J_f."""
        return len(self.levels)

    @property
    def n_effects(self) -> int:
        """Number of random effects, q_f = J_f r_f."""
        return self.n_levels * self.n_columns

    @property
    def related(self) -> RelatedLevels | None:
        """K of the observed levels, effects being of covariance Σ_f ⊗ K; None where it is I."""
        return None if self.relationship is None else self.relationship.of(list(self.levels))

    @property
    def n_independent(self) -> int:
        """Number of effects of a column that are independent: levels, or the rank of K."""
        return self.n_levels if self.related is None else self.related.root.rank

    def level_index(self, level: object) -> int:
        """Return the position of a level given by its label; DataError if there is none."""
        found = np.flatnonzero(self.levels == level_label(level))
        if len(found) == 0:
            raise DataError(
                f"Group {self.group!r} has no level {level!r} among its {self.n_levels} observed "
                f"levels{near(level_label(level), self.levels)}"
            )
        return int(found[0])


@dataclass(frozen=True, eq=False)
class TermSummary(_Term):
    """A random term without its rows.

    Attributes
    ----------
    group, columns, levels, structure, relationship
        As in `RandomTerm`.
    rms, spread : ndarray, shape (r_f,)
        Root mean square and standard deviation of each column over the rows.
    facts : ColumnFacts or None
        None in files of versions that did not keep them.
    """

    group: str
    columns: tuple[str, ...]
    levels: NDArray[np.object_]
    structure: CovarianceStructure
    rms: Array
    spread: Array
    facts: ColumnFacts | None = None
    relationship: Relationship | None = None


@dataclass(frozen=True, eq=False)
class RandomTerm(_Term):
    """All random effects of one grouping factor, ``(columns | factor)``.

    Attributes
    ----------
    group : str
        Label of the grouping factor as lme4 prints it, e.g. ``"tch:sch"``.
    columns : tuple of str
        Names of the r_f coefficients that vary over the levels.
    levels : ndarray of str, shape (J_f,)
        Labels of the observed levels, in the order of their columns in Z.
    codes : ndarray of int, shape (n,)
        Level of each row.
    values : ndarray, shape (n, r_f)
        Value of each coefficient's column in each row.
    structure : CovarianceStructure
        The family of Σ_f: ``Unstructured(2)`` for ``(x | g)``, ``Diagonal(2)`` for ``(x || g)``.
    relationship : Relationship, optional
        Known K of levels, these and perhaps more: effects have covariance Σ_f ⊗ K. Without one they
        are independent between levels.
    """

    group: str
    columns: tuple[str, ...]
    levels: NDArray[np.object_]
    codes: Index
    values: Array
    structure: CovarianceStructure
    relationship: Relationship | None = None

    def __post_init__(self) -> None:
        check_fields(self, TERM_FIELDS)
        n, r = self.values.shape
        if len(self.columns) != r or self.codes.shape != (n,):
            raise DataError(
                f"Term {self.group!r}: values {self.values.shape}, {len(self.columns)} column "
                f"names and codes {self.codes.shape} do not fit together; needed are (n, r), r, n."
            )
        if self.structure.size != r or sorted(sum(self.structure.blocks, ())) != list(range(r)):
            raise DataError(
                f"Term {self.group!r}: {self.structure} is of {self.structure.size} columns, but "
                f"the term has {r}."
            )
        if n and not (self.codes.min() >= 0 and self.codes.max() < len(self.levels)):
            raise DataError(f"Term {self.group!r}: a code is outside 0…{len(self.levels) - 1}.")
        if self.relationship is not None:
            self.relationship.places(list(self.levels))  # refuses levels without a row

    @cached_property
    def Z(self) -> sparse.csr_array:
        """Columns of Z of this term, level by level, shape (n, q_f)."""
        n, r = self.values.shape
        columns = self.codes[:, None] * r + np.arange(r)
        pointers = np.arange(n + 1) * r
        return sparse.csr_array(
            (self.values.ravel(), columns.ravel(), pointers), shape=(n, self.n_effects)
        )

    @cached_property
    def Z_independent(self) -> sparse.csr_array:
        """Z(L ⊗ I) with K = LL', shape (n, rank r_f): columns of effects of covariance I ⊗ Σ_f."""
        if self.related is None:
            return self.Z
        L, (n, r) = self.related.root.matrix[self.codes], self.values.shape
        values = self.values[np.repeat(np.arange(n), np.diff(L.indptr))]
        columns = L.indices[:, None] * r + np.arange(r)
        return sparse.csr_array(
            ((L.data[:, None] * values).ravel(), columns.ravel(), L.indptr * r),
            shape=(n, L.shape[1] * r),
        )

    def of_independent(self, v: Array) -> Array:
        """Return u = (L ⊗ I)v of all levels, shape (J_f, r_f), for v of shape (rank, r_f)."""
        return v if self.related is None else np.asarray(self.related.root.matrix @ v)

    @accepts(u=array(2, "biuf"))
    def apply(self, u: Array) -> Array:
        """Return Z_f u, shape (n,), for the effects u of all levels, shape (J_f, r_f)."""
        return np.asarray(np.einsum("ij,ij->i", u[self.codes], self.values))

    def shared(self, left: Index, right: Index) -> Array:
        """Return K of levels with each other, 1 where they are the same if they are not related.

        Parameters
        ----------
        left, right : ndarray of int
            Codes of levels, in shapes that broadcast.
        """
        if self.related is None:
            return np.asarray(left == right, dtype=float)
        return np.asarray(self.related.K[left, right])

    @accepts(codes=a(np.ndarray))
    def splits_as(self, codes: Index) -> bool:
        """Whether other codes put the same rows together, whatever their labels and order."""
        if len(codes) != len(self.codes):
            return False
        pairs = np.unique(np.stack([codes, self.codes]), axis=1).shape[1]
        return bool(pairs == len(np.unique(self.codes)) == len(np.unique(codes)))

    def related_as(self, other: RandomTerm) -> bool:
        """Whether the levels of another term, which splits the rows alike, are related alike."""
        if self.relationship is None and other.relationship is None:
            return True
        twin = np.zeros(self.n_levels, dtype=np.intp)
        twin[self.codes] = other.codes
        levels = np.unique(self.codes)
        left, right = levels[:, None], levels[None, :]
        K, K_other = self.shared(left, right), other.shared(twin[left], twin[right])
        return bool(np.abs(K - K_other).max(initial=0.0) <= 1e-8 * np.abs(K).max(initial=0.0))

    @cached_property
    def rms(self) -> Array:
        """Root mean square of each column, shape (r_f,)."""
        return np.asarray(np.sqrt((self.values**2).mean(axis=0)))

    @cached_property
    def facts(self) -> ColumnFacts:
        """Scales of the columns, and what they have to do with each other."""
        return ColumnFacts.of(self.values)

    @property
    def spread(self) -> Array:
        """Standard deviation of each column over the rows, shape (r_f,); 0 where constant."""
        return self.facts.spread
