"""Which grouping factor has levels of a known relationship."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bayesv.errors import DataError, near
from bayesv.names import factors_of, places
from bayesv.structures.relationship import Relationship, relationship_of

__all__ = ["relationships_of"]


def relationships_of(
    relationship: Mapping[str, Any] | None, groups: Sequence[str]
) -> dict[str, Relationship]:
    """Return the relationship of each grouping factor that has one, by its label.

    Parameters
    ----------
    relationship : mapping of str to relationships, or None
        As a user gives it: pedigrees, labelled matrices.
    groups : sequence of str
        Labels of the grouping factors of the model.

    Raises
    ------
    DataError
        If a name is no grouping factor of the model, or two are the same one.
    """
    given: dict[str, Relationship] = {}
    for name, value in (relationship or {}).items():
        meant = places(name, groups, factors_of)
        if not meant:
            raise DataError(
                f"relationship names {name!r}, which is no grouping factor of the model: there are "
                f"{', '.join(groups) or 'none'}{near(name, groups)} Give the factor a random term, "
                f"such as (1 | {name}), or leave its relationship out."
            )
        group = groups[meant[0]]
        if group in given:
            raise DataError(f"relationship names the grouping factor {group!r} twice; once is due.")
        given[group] = relationship_of(value)
    return given
