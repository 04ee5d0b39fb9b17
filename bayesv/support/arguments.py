"""What public functions accept: a wrong kind of argument is refused in words before any work."""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable, Mapping
from numbers import Integral, Real
from typing import Any, ParamSpec, TypeVar

import numpy as np

from bayesv.errors import BayesvError, near

__all__ = [
    "FLAG",
    "FUNCTION",
    "INDEX",
    "NUMBER",
    "PATH",
    "PROBABILITY",
    "SEED",
    "TEXT",
    "TEXTS",
    "a",
    "accepts",
    "array",
    "called",
    "choice",
    "found",
    "mapping",
    "numeric",
    "optional",
    "renamed",
    "some",
    "whole",
]

P = ParamSpec("P")
T = TypeVar("T")

Demand = Callable[[str, Any], None]
"""Raises a BayesvError unless the named value can be used."""


def accepts(**rules: Demand) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Check arguments of a function by name, where they are given.

    Examples
    --------
    >>> @accepts(prob=PROBABILITY)
    ... def interval(prob=0.95):
    ...     return prob
    >>> interval(95)
    Traceback (most recent call last):
    bayesv.errors.BayesvError: prob is a probability between 0 and 1; found 95.
    """

    def decorate(function: Callable[P, T]) -> Callable[P, T]:
        signature = inspect.signature(function)
        names = list(signature.parameters)
        kinds = {one.kind for one in signature.parameters.values()}
        several = kinds & {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}

        @functools.wraps(function)
        def checked(*args: P.args, **kwargs: P.kwargs) -> T:
            if several:
                given = signature.bind(*args, **kwargs).arguments
            else:  # takes a tenth of the time
                given = {**dict(zip(names, args, strict=False)), **kwargs}
            for name, rule in rules.items():
                if name in given:
                    rule(name, given[name])
            return function(*args, **kwargs)

        return checked

    return decorate


def renamed(**names: str) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Refuse arguments by their former names, and say the new ones.

    Examples
    --------
    >>> @renamed(structure="elimination")
    ... def fit(elimination="auto"):
    ...     return elimination
    >>> fit(structure="nested")
    Traceback (most recent call last):
    bayesv.errors.BayesvError: structure= is called elimination= now: write elimination='nested'.
    """

    def decorate(function: Callable[P, T]) -> Callable[P, T]:
        @functools.wraps(function)
        def checked(*args: P.args, **kwargs: P.kwargs) -> T:
            for former, name in names.items():
                if former in kwargs:
                    raise BayesvError(
                        f"{former}= is called {name}= now: write {name}={kwargs[former]!r}."
                    )
            return function(*args, **kwargs)

        return checked

    return decorate


def a(*kinds: type, hint: str = "") -> Demand:
    """Require an instance of one of some classes; ``hint`` says how to get one."""

    def rule(name: str, value: Any) -> None:
        if not isinstance(value, kinds):
            classes = " or ".join(kind.__name__ for kind in kinds)
            raise BayesvError(f"{name} must be a {classes}; {found(value)}.{hint and ' '}{hint}")

    return rule


def called(*classes: str, hint: str = "") -> Demand:
    """Require an instance of classes of a room above, which cannot be imported here."""

    def rule(name: str, value: Any) -> None:
        if not {kind.__name__ for kind in type(value).__mro__} & set(classes):
            words = " or ".join(classes)
            raise BayesvError(f"{name} must be a {words}; {found(value)}.{hint and ' '}{hint}")

    return rule


def optional(rule: Demand) -> Demand:
    """Require None or what another rule requires."""
    return lambda name, value: None if value is None else rule(name, value)


def some(rule: Demand) -> Demand:
    """Require a list, tuple, set or array of what another rule requires."""

    def every(name: str, value: Any) -> None:
        if not isinstance(value, list | tuple | set | range | np.ndarray):
            raise BayesvError(f"{name} must be a list; {found(value)}.")
        for item in value:
            rule(f"every item of {name}", item)

    return every


def mapping(rule: Demand | None = None) -> Demand:
    """Require a mapping with text for keys, and values of a rule."""

    def every(name: str, value: Any) -> None:
        if not isinstance(value, Mapping):
            raise BayesvError(f"{name} must be a mapping such as a dict; {found(value)}.")
        for key, item in value.items():
            TEXT(f"a key of {name}", key)
            if rule is not None:
                rule(f"{name}[{key!r}]", item)

    return every


def array(ndim: int, kinds: str = "") -> Demand:
    """Require an array of so many dimensions, its dtype of one of NumPy's kinds."""

    def rule(name: str, value: Any) -> None:
        is_array = isinstance(value, np.ndarray) and value.ndim == ndim
        if not is_array or (kinds and value.dtype.kind not in kinds):
            what = {"": "", "iu": " of integers", "biuf": " of numbers"}[kinds]
            raise BayesvError(
                f"{name} must be an array{what} of {ndim} dimensions; {found(value)}."
            )

    return rule


def numeric(name: str, value: Any) -> None:
    """Require real numbers, in an array or what makes one."""
    try:
        values = np.asarray(value)
    except ValueError:  # lists of different lengths
        values = np.array([None])
    if values.dtype.kind in "biuf" or all(isinstance(item, Real) for item in values.ravel()):
        return
    raise BayesvError(f"{name} must be real numbers; {found(value)}.")


def choice(*values: str) -> Demand:
    """Require one of some words."""
    words = " or ".join(map(repr, values)) if len(values) < 3 else f"one of {', '.join(values)}"

    def rule(name: str, value: Any) -> None:
        if not isinstance(value, str) or value not in values:
            hint = near(value, values) if isinstance(value, str) else "."
            raise BayesvError(f"{name} must be {words}; {found(value)}{hint}")

    return rule


def whole(least: int = 0) -> Demand:
    """Require an integer that is not below a bound."""

    def rule(name: str, value: Any) -> None:
        if isinstance(value, bool | np.bool_) or not isinstance(value, Integral) or value < least:
            raise BayesvError(f"{name} must be an integer of at least {least}; {found(value)}.")

    return rule


def _probability(name: str, value: Any) -> None:
    if not _is_real(value) or not 0 < value < 1:
        raise BayesvError(f"{name} is a probability between 0 and 1; found {_short(value)}.")


def _number(name: str, value: Any) -> None:
    if not _is_real(value) or not np.isfinite(value):
        raise BayesvError(f"{name} must be a finite number; {found(value)}.")


def _flag(name: str, value: Any) -> None:
    if not isinstance(value, bool | np.bool_):
        raise BayesvError(f"{name} must be True or False; {found(value)}.")


def _path(name: str, value: Any) -> None:
    text = os.fspath(value) if isinstance(value, str | os.PathLike) else None
    if not isinstance(text, str) or not text or "\0" in text:
        raise BayesvError(f"{name} must be a path; {found(value)}.")


def _function(name: str, value: Any) -> None:
    if not callable(value):
        raise BayesvError(f"{name} must be a function; {found(value)}.")


def found(value: Any) -> str:
    """Say what was passed: small values themselves, else their kind."""
    if value is None or isinstance(value, str | bool | Real):
        return f"found {_short(value)}"
    return f"found a {type(value).__name__}"


def _is_real(value: Any) -> bool:
    return not isinstance(value, bool | np.bool_) and isinstance(value, Real)


def _short(value: Any) -> str:
    text = repr(value) if isinstance(value, str | Real) or value is None else type(value).__name__
    return text if len(text) <= 60 else f"{text[:57]}…"


FLAG: Demand = _flag
FUNCTION: Demand = _function
INDEX: Demand = a(int, np.integer)
NUMBER: Demand = _number
PATH: Demand = _path
PROBABILITY: Demand = _probability
SEED: Demand = optional(whole(0))
TEXT: Demand = a(str)
TEXTS: Demand = some(TEXT)
