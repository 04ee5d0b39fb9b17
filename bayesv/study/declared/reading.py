"""Read values of a scenario: every refusal names the key, what was found, and what is allowed."""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from bayesv.errors import ScenarioError, near

__all__ = ["choice", "number", "refusal", "table", "toml"]


def refusal(key: str, value: Any, allowed: str) -> ScenarioError:
    """Return the error that names key, what was found and what is allowed."""
    return ScenarioError(f"{key}: found {_shown(value)}; allowed: {allowed}")


def choice(key: str, value: Any, allowed: Collection[str]) -> str:
    """Return one of the allowed words."""
    if not isinstance(value, str) or value not in allowed:
        listed = ", ".join(repr(word) for word in allowed) or "none"
        raise refusal(key, value, f"{listed}{near(str(value), allowed)}")
    return value


def number(key: str, value: Any, within: str = "(-inf, inf)", *, whole: bool = False) -> float:
    """Return a number within an interval written as ``"(0, 1]"``."""
    low, high = (float(end) for end in within[1:-1].split(","))
    kinds = int | np.integer if whole else int | float | np.integer | np.floating
    good = isinstance(value, kinds) and not isinstance(value, bool)
    if good:
        try:
            good = bool(np.isfinite(float(value)))
        except OverflowError:
            good = False
    if good:
        above = value > low or (within[0] == "[" and value == low)
        below = value < high or (within[-1] == "]" and value == high)
        good = above and below
    if not good:
        raise refusal(key, value, f"a {'whole ' if whole else ''}number in {within}.")
    return float(value)


def table(
    key: str, content: Any, required: Collection[str] = (), optional: Collection[str] | None = None
) -> dict[str, Any]:
    """Return a mapping with the required keys, and the optional ones (None: any)."""
    if not isinstance(content, Mapping):
        words = ", ".join([*required, *(optional or ())])
        raise refusal(key, content, f"a table{f' with keys {words}' if words else ''}.")
    for name in content:
        if optional is not None and name not in required and name not in optional:
            choice(f"{key}: its keys", name, [*required, *optional])
    for name in required:
        if name not in content:
            raise ScenarioError(
                f"{key}: the key {name!r} is missing; found {_shown(dict(content))}."
            )
    return {str(name): value for name, value in content.items()}


def toml(text: str, place: str) -> dict[str, Any]:
    """Return what a TOML text holds, or say where it is none."""
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # also of numbers too long, and of nesting
        raise ScenarioError(f"{place} is no TOML: {error}") from error


def _shown(value: Any) -> str:
    try:
        text = repr(value)
    except RecursionError:
        return f"a {type(value).__name__} that is nested without end"
    return text if len(text) <= 80 else text[:77] + "…"
