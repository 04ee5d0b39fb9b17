"""What is stated in priors: checked, and found by the names of groups and columns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from bayesv.design.design import Design
from bayesv.errors import PriorError, near
from bayesv.names import Meaning, canonical, factors_of, matched, places

__all__ = ["as_text", "by_meaning", "check_center", "check_groups", "check_leaves", "for_group"]


def check_leaves(what: str, given: Any, kind: Any, depth: int) -> None:
    """Refuse what is no prior of its kind, however deep it stands in mappings."""
    if given is None or isinstance(given, kind):
        return
    if isinstance(given, Mapping) and depth:
        for key, value in given.items():
            check_leaves(f"{what}[{key!r}]", value, kind, depth - 1)
        return
    raise PriorError(
        f"{what} has {given!r}, which is not a prior for it; see bayesv.priors.priors."
    )


def check_groups(what: str, given: Any, design: Design) -> None:
    """Refuse a group that the design lacks."""
    if not isinstance(given, Mapping):
        return
    by_meaning(given, _groups(design), what, "grouping factors", factors_of)


def _groups(design: Design) -> tuple[str, ...]:
    """Return the groups that priors may be stated of: residuals, too, with a structure."""
    structured = design.structured_residual is not None
    return (*design.groups, "Residual") if structured else tuple(design.groups)


def for_group(given: Any, group: str, design: Design) -> Any:
    """Return what is stated of a group: of all, or of the one of that meaning; None if nothing."""
    if not isinstance(given, Mapping):
        return given
    return by_meaning(given, _groups(design), "", "grouping factors", factors_of).get(group)


def by_meaning(
    given: Mapping[str, Any],
    names: tuple[str, ...],
    what: str,
    things: str = "coefficients",
    meaning: Meaning = canonical,
) -> dict[str, Any]:
    """Return what is given by its exact name, or by the one name of its meaning."""
    if strangers := [key for key in given if not isinstance(key, str)]:
        raise PriorError(f"{what}: names of {things} are text; found {strangers[0]!r}.")
    found = matched(list(given), names, f"{what}: the name", PriorError, meaning)
    for key, place in zip(given, found, strict=True):
        if place is not None:
            continue
        if taken := places(key, names, meaning):
            raise PriorError(f"{what} has two priors for {names[taken[0]]!r}; leave one.")
        raise PriorError(
            f"{what} has a prior for {key!r}, but the {things} are {', '.join(names)}"
            f"{near(key, names)}"
        )
    return {names[i]: given[key] for key, i in zip(given, found, strict=True) if i is not None}


def check_center(given: Any) -> None:
    """Refuse centres that are no numbers by group and column."""
    if given is None:
        return
    ok = isinstance(given, Mapping) and all(isinstance(v, Mapping) for v in given.values())
    values = [x for inner in given.values() for x in inner.values()] if ok else []
    if not ok or not all(
        isinstance(x, int | float | np.number) and not isinstance(x, bool) and np.isfinite(x)
        for x in values
    ):
        raise PriorError(
            "center needs, for a group, the values at which covariates are centred, such as "
            f"{{'Subject': {{'Days': 4.5}}}}; found {given!r}."
        )


def as_text(value: Any) -> str:
    """Return what is stated, as it is printed."""
    if value is None:
        return "default"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{k}: {as_text(v)}" for k, v in value.items()) + "}"
    return f"{value:.4g}" if isinstance(value, int | float | np.number) else str(value)
