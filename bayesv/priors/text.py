"""Priors as text and plain values, for files and command lines: ``HalfStudentT(3, 50)``."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from bayesv.errors import PriorError, near
from bayesv.priors import families
from bayesv.priors.priors import Priors

__all__ = ["KINDS", "prior_from_text", "prior_to_text", "priors_from_dict", "priors_to_dict"]

# Every prior by its name.
KINDS = {name: getattr(families, name) for name in families.__all__ if name != "SdPrior"}
_PARTS = ("sd", "sigma", "corr", "beta", "center")


def prior_from_text(text: str) -> Any:
    """Return the prior that a text such as ``HalfStudentT(3, scale=50)`` states.

    Parameters
    ----------
    text : str
        A prior's name with numbers; nothing is evaluated.

    Raises
    ------
    PriorError
        If it is not one; the message names what there is.

    Examples
    --------
    >>> prior_from_text("HalfStudentT(3, scale=50)")
    HalfStudentT(nu=3.0, scale=50.0)
    """
    example = "write it as HalfNormal(50) or HalfStudentT(nu=3, scale=50)."
    try:
        call = ast.parse(str(text).strip(), mode="eval").body
        call = ast.Call(call, [], []) if isinstance(call, ast.Name) else call
        if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Name)):
            raise ValueError
        name = call.func.id
        values = [float(ast.literal_eval(value)) for value in call.args]
        named = {str(k.arg): float(ast.literal_eval(k.value)) for k in call.keywords}
    except (SyntaxError, ValueError, TypeError, OverflowError, RecursionError, MemoryError):
        shown = repr(text) if len(str(text)) < 200 else f"{str(text)[:200]!r}…"
        raise PriorError(f"{shown} is not a prior; {example}") from None
    if name not in KINDS:
        raise PriorError(
            f"There is no prior {name!r}; there are {', '.join(KINDS)}{near(name, KINDS)}"
        )
    try:
        return KINDS[name](*values, **named)
    except TypeError:
        wanted = ", ".join(item.name for item in fields(KINDS[name]))
        raise PriorError(f"{text!r}: {name} takes ({wanted}); {example}") from None


def prior_to_text(prior: Any) -> str:
    """Return the text of a prior, with all digits.

    Examples
    --------
    >>> from bayesv.priors.families import HalfNormal
    >>> prior_to_text(HalfNormal(1 / 3))
    'HalfNormal(0.3333333333333333)'
    """
    values = [repr(float(getattr(prior, item.name))) for item in fields(prior)]
    return f"{type(prior).__name__}({', '.join(value.removesuffix('.0') for value in values)})"


def priors_to_dict(priors: Priors) -> dict[str, Any]:
    """Return plain values that say what differs from the default priors.

    Examples
    --------
    >>> from bayesv.priors.families import Gamma
    >>> priors_to_dict(Priors(sd={"g": Gamma(2, 5)}))
    {'sd': {'g': 'Gamma(2, 5)'}}
    """

    def plain(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {str(key): plain(inner) for key, inner in value.items()}
        return float(value) if isinstance(value, int | float) else prior_to_text(value)

    default = Priors()
    parts = {part: getattr(priors, part) for part in _PARTS}
    return {part: plain(value) for part, value in parts.items() if value != getattr(default, part)}


def priors_from_dict(parts: Mapping[str, Any]) -> Priors:
    """Return the priors that plain values state, as `priors_to_dict` writes them.

    Parameters
    ----------
    parts : mapping
        Keys ``sd``, ``sigma``, ``corr``, ``beta``; texts, or mappings of group (and column) to
        texts. Key ``center``: a mapping of group to mappings of column to numbers.

    Raises
    ------
    PriorError
        If a key or a text is not understood.

    Examples
    --------
    >>> print(priors_from_dict({"sd": "HalfNormal(50)"}).sd)
    HalfNormal(50)
    """
    if not isinstance(parts, Mapping):
        raise PriorError(f"priors need keys among {', '.join(_PARTS)}; found {parts!r}.")
    for key in parts:
        if key not in _PARTS:
            raise PriorError(
                f"priors has no part {key!r}; there are {', '.join(_PARTS)}{near(str(key), _PARTS)}"
            )

    def read(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: read(inner) for key, inner in value.items()}
        return prior_from_text(value)

    return Priors(
        **{key: value if key == "center" else read(value) for key, value in parts.items()}
    )
