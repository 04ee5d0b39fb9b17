"""Read values of a scenario: every refusal names the key, what was found, and what is allowed."""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from bayesv.errors import ScenarioError, near

__all__ = ["choice", "number", "refusal", "table", "toml"]


def refusal(key: str, found: Any, allowed: str) -> ScenarioError:
    """Return the error that names key, what was found and what is allowed."""
    return ScenarioError(f"{key}: found {_shown(found)}; allowed: {allowed}")


def choice(key: str, found: Any, allowed: Collection[str]) -> str:
    """Return one of the allowed words."""
    if not isinstance(found, str) or found not in allowed:
        listed = ", ".join(repr(word) for word in allowed) or "none"
        raise refusal(key, found, f"{listed}{near(str(found), allowed)}")
    return found


def number(key: str, found: Any, within: str = "(-inf, inf)", *, whole: bool = False) -> float:
    """Return a number within an interval written as ``"(0, 1]"``."""
    low, high = (float(end) for end in within[1:-1].split(","))
    kinds = int | np.integer if whole else int | float | np.integer | np.floating
    good = isinstance(found, kinds) and not isinstance(found, bool)
    if good:
        try:
            good = bool(np.isfinite(float(found)))
        except OverflowError:
            good = False
    if good:
        above = found > low or (within[0] == "[" and found == low)
        below = found < high or (within[-1] == "]" and found == high)
        good = above and below
    if not good:
        raise refusal(key, found, f"a {'whole ' if whole else ''}number in {within}.")
    return float(found)


def table(
    key: str, found: Any, required: Collection[str] = (), optional: Collection[str] | None = None
) -> dict[str, Any]:
    """Return a mapping with the required keys, and the optional ones (None: any)."""
    if not isinstance(found, Mapping):
        words = ", ".join([*required, *(optional or ())])
        raise refusal(key, found, f"a table{f' with keys {words}' if words else ''}.")
    for name in found:
        if optional is not None and name not in required and name not in optional:
            choice(f"{key}: its keys", name, [*required, *optional])
    for name in required:
        if name not in found:
            raise ScenarioError(f"{key}: the key {name!r} is missing; found {_shown(dict(found))}.")
    return {str(name): value for name, value in found.items()}


def toml(text: str, place: str) -> dict[str, Any]:
    """Return what a TOML text holds, or say where it is none."""
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # also of numbers too long, and of nesting
        raise ScenarioError(f"{place} is no TOML: {error}") from error


def _shown(found: Any) -> str:
    try:
        text = repr(found)
    except RecursionError:
        return f"a {type(found).__name__} that is nested without end"
    return text if len(text) <= 80 else text[:77] + "…"
