"""Which rows belong to one series, and where in it they stand: what residuals are correlated by."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from bayesv.design.labels import check_fields
from bayesv.errors import DataError, near
from bayesv.linalg import Array
from bayesv.names import level_label
from bayesv.support.arguments import TEXT, TEXTS, array

__all__ = ["Series"]

Index = NDArray[np.intp]

_FIELDS = {
    "label": TEXT, "codes": array(1, "iu"), "labels": array(1), "position": TEXT, "visits": TEXTS,
    "times": array(1, "biuf"), "visit": array(1, "iu"), "coordinates": array(2, "biuf"),
    "groups": TEXTS, "group": array(1, "iu"),
}  # fmt: skip
_SHOWN = 5  # rows or pairs that a message names


@dataclass(frozen=True, eq=False)
class Series:
    """The series of some rows.

    Attributes
    ----------
    label : str
        Of the series: their columns, joined by ``:``; ``1`` if all rows are one.
    codes : ndarray of int, shape (n,)
        Series of each row.
    labels : ndarray of str, shape (S,)
    position : str
        Name of the position; ``row`` where it is the row's number within the series.
    visits : tuple of str
        Labels of the planned visits, in order, those that no row has too; empty where positions are
        coordinates.
    times : ndarray, shape (v,)
        Place of each visit, of which differences are lags.
    visit : ndarray of int, shape (n,)
        Visit of each row.
    coordinates : ndarray, shape (n, d)
        Times or places that are no visits; d = 0 where positions are visits.
    groups : tuple of str
        Levels that have parameters of their own; empty if there is one set of parameters.
    group : ndarray of int, shape (n,)
        Level of each row; 0 if there are none.
    """

    label: str
    codes: Index
    labels: NDArray[np.object_]
    position: str
    visits: tuple[str, ...]
    times: Array
    visit: Index
    coordinates: Array
    groups: tuple[str, ...]
    group: Index

    def __post_init__(self) -> None:
        check_fields(self, _FIELDS)
        per_row = (self.visit, self.coordinates, self.group)
        if any(len(values) != self.n for values in per_row) or len(self.times) != len(self.visits):
            raise DataError(
                f"Series of {self.label!r}: there are {self.n} codes, and "
                f"{[len(values) for values in per_row]} visits, coordinates and groups; "
                f"{len(self.times)} times of {len(self.visits)} visits. They must agree."
            )
        for what, codes, labels in (
            ("series", self.codes, self.labels),
            ("visit", self.visit, self.visits),
            ("group", self.group, self.groups),
        ):
            if self.n and not (codes.min() >= 0 and codes.max() < max(len(labels), 1)):
                raise DataError(
                    f"Series of {self.label!r}: a {what} is outside 0…{len(labels) - 1}."
                )

    @property
    def n(self) -> int:
        """Number of rows."""
        return len(self.codes)

    @property
    def by_visit(self) -> bool:
        """Whether positions are planned visits rather than coordinates."""
        return not self.coordinates.size

    @cached_property
    def sizes(self) -> Index:
        """Number of rows of each series, shape (S,)."""
        return np.bincount(self.codes, minlength=len(self.labels))

    @cached_property
    def nearest(self) -> Array:
        """Distances above 0 of rows to the nearest of their series, by coordinates."""
        from scipy.spatial import KDTree  # takes a while to load

        # A coordinate more keeps series further apart than rows of one can be.
        beyond = 2.0 * float(np.ptp(self.coordinates, axis=0).sum())
        places = np.column_stack([beyond * self.codes, self.coordinates])
        places = np.unique(places, axis=0)
        distances = KDTree(places).query(places, k=2)[0][:, 1]
        return np.asarray(distances[distances < beyond])

    @cached_property
    def met(self) -> NDArray[np.bool_]:
        """Which visits some series has both, shape (v, v)."""
        return self._met(np.ones(self.n, dtype=bool))

    def _met(self, rows: NDArray[np.bool_]) -> NDArray[np.bool_]:
        shape = len(self.labels), len(self.visits)
        ones = np.ones(int(rows.sum()))
        seen = sparse.csr_array((ones, (self.codes[rows], self.visit[rows])), shape=shape)
        return np.asarray((seen.T @ seen).toarray() > 0)

    @cached_property
    def never_met(self) -> tuple[tuple[str, str], ...]:
        """Pairs of visits that have rows and that no series has both, of each group."""
        pairs: list[tuple[str, str]] = []
        for k, name in enumerate(self.groups or ("",)):
            met, head = self._met(self.group == k), name and f"{name}: "
            present = np.diagonal(met)
            apart = np.triu(~met & present & present[:, None], 1)
            pairs += [
                (head + self.visits[i], head + self.visits[j])
                for i, j in zip(*np.nonzero(apart), strict=True)
            ]
        return tuple(pairs)

    def place(self, label: object) -> int:
        """Return the number of a series.

        Raises
        ------
        DataError
            If there is none of this label.
        """
        text, labels = level_label(label), [str(name) for name in self.labels]
        if text not in labels:
            raise DataError(f"There is no series {text!r} of {self.label!r}{near(text, labels)}")
        return labels.index(text)

    def take(self, rows: Index) -> Series:
        """Return the series of chosen rows, with all labels and visits."""
        return Series(
            self.label, self.codes[rows], self.labels, self.position, self.visits, self.times,
            self.visit[rows], self.coordinates[rows], self.groups, self.group[rows],
        )  # fmt: skip

    def check(self, row_labels: pd.Index, *, repeated: bool = False) -> None:
        """Refuse series that no correlation can be told from.

        Parameters
        ----------
        row_labels : Index
            The user's labels of the rows.
        repeated : bool
            Whether two rows may stand at one position (with a nugget).

        Raises
        ------
        DataError
            If two rows of a series stand at one position, no series has two rows, or a series is in
            two groups.
        """
        self._refuse_two_groups(row_labels)
        if not repeated:
            self._refuse_repeats(row_labels)
        if self.sizes.max() == 1:
            raise DataError(
                f"Every series of {self.label!r} has one row, so that there is no correlation "
                "within series; name the column whose rows belong together after the bar."
            )

    def _refuse_repeats(self, row_labels: pd.Index) -> None:
        place = self.visit[:, None] if self.by_visit else self.coordinates
        order = np.lexsort([*place.T, self.codes])
        same = (np.diff(self.codes[order]) == 0) & (np.diff(place[order], axis=0) == 0).all(axis=1)
        if not same.any():
            return
        first = np.flatnonzero(same)[0]
        pair = order[[first, first + 1]]
        where = (
            repr(self.visits[self.visit[pair[0]]])
            if self.by_visit
            else ", ".join(f"{value:g}" for value in self.coordinates[pair[0]])
        )
        raise DataError(
            f"Rows {row_labels[pair[0]]} and {row_labels[pair[1]]} of series "
            f"{self.labels[self.codes[pair[0]]]!r} are both at {self.position} = {where} (and "
            f"{int(same.sum()) - 1} pairs more): a series has one row at a position. Name all "
            "columns that tell series apart, as in '(day | site:subject)', or average these rows."
        )

    def _refuse_two_groups(self, row_labels: pd.Index) -> None:
        low = np.full(len(self.labels), len(self.groups) + 1)
        high = np.full(len(self.labels), -1)
        np.minimum.at(low, self.codes, self.group)
        np.maximum.at(high, self.codes, self.group)
        if (mixed := low < high).any() and len(self.groups) > 1:
            series = int(np.flatnonzero(mixed)[0])
            rows = np.flatnonzero(self.codes == series)
            raise DataError(
                f"Series {self.labels[series]!r} is in the groups {self.groups[low[series]]!r} and "
                f"{self.groups[high[series]]!r} (rows {_shown(row_labels, rows)}): parameters by "
                "group need a column that is constant within series."
            )


def _shown(row_labels: pd.Index, rows: Index) -> str:
    """Name a few rows."""
    names = ", ".join(str(label) for label in row_labels[rows[:_SHOWN]])
    return names + (" …" if len(rows) > _SHOWN else "")


def numbered(codes: Index) -> Index:
    """Return the number of each row within its series, in the order of the rows, from 0."""
    order = np.argsort(codes, kind="stable")
    starts = np.flatnonzero(np.diff(codes[order], prepend=-1))
    places: Any = np.arange(len(codes)) - np.repeat(starts, np.diff([*starts, len(codes)]))
    number = np.empty(len(codes), dtype=np.intp)
    number[order] = places
    return number
