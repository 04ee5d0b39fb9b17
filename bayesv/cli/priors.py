"""Priors written on the command line: read by a small grammar, never evaluated."""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Sequence
from typing import Any

import bayesv as bv
from bayesv.priors.text import prior_from_text

__all__ = ["read_prior", "read_priors"]

_SD = (
    bv.HalfNormal, bv.HalfStudentT, bv.HalfCauchy, bv.Exponential, bv.Gamma, bv.InverseGamma,
    bv.Flat,
)  # fmt: skip
_KINDS: dict[str, tuple[type[Any], ...]] = {
    "sd": _SD,
    "sigma": _SD,
    "corr": (bv.LKJ,),
    "beta": (bv.Normal, bv.Flat),
}
# What it is the prior of, if that is said, and a name with arguments at the end.
_PRIOR = re.compile(r"(?:(?P<target>.+?)\s*=\s*)?(?P<prior>[A-Za-z]+\s*\([^()]*\))")
# A column, its group and a number, or a group.
_CENTRE = re.compile(
    r"(?P<column>.+\S)\s*\|\s*(?P<group>[^|]*[^|\s])\s*=\s*(?P<number>[^=|]+)|(?P<alone>[^=|]+)"
)


def read_priors(arguments: argparse.Namespace) -> bv.Priors | None:
    """Return the priors of ``--prior-sd``, ``-sigma``, ``-corr`` and ``-beta``, and ``--center``.

    Raises
    ------
    PriorError
        If one cannot be read, or a parameter gets two.
    """
    parts: dict[str, Any] = {}
    for part in _KINDS:
        texts = getattr(arguments, f"prior_{part}")
        if texts:
            parts[part] = _part(part, texts)
    if arguments.center:
        parts["center"] = _centres(arguments.center)
    return bv.Priors(**parts) if parts else None


def read_prior(part: str, text: str) -> tuple[tuple[str, ...], Any]:
    """Return what a prior is of (nothing, a group or coefficient, or both) and the prior.

    Parameters
    ----------
    part : {"sd", "sigma", "corr", "beta"}
    text : str
        ``PRIOR``, ``NAME = PRIOR`` or, of an SD, ``COLUMN | GROUP = PRIOR``.

    Examples
    --------
    >>> read_prior("sd", "Days | Subject = HalfStudentT(3, scale=20)")
    (('Subject', 'Days'), HalfStudentT(nu=3.0, scale=20.0))
    """
    match = _PRIOR.fullmatch(text.strip())
    if match is None:
        raise _error(part, text, "this is not NAME(numbers)")
    try:
        prior = prior_from_text(match["prior"])
    except bv.PriorError as error:
        raise _error(part, text, str(error)) from None
    if not isinstance(prior, _KINDS[part]):
        known = ", ".join(kind.__name__ for kind in _KINDS[part])
        raise _error(part, text, f"there is no {type(prior).__name__!r} for it; there are {known}")
    if match["target"] is None:
        return (), prior
    if part == "sigma":
        raise _error(part, text, "σ has one prior and no name")
    column, bar, group = (s.strip() for s in match["target"].rpartition("|"))
    if not bar or part == "beta":
        return (match["target"].strip(),), prior
    if part == "corr":
        raise _error(part, text, "correlations have one prior per group, without a column")
    return (group, column), prior


def _part(part: str, texts: Sequence[str]) -> Any:
    """Return one prior for all, or priors by name."""
    named: dict[str, Any] = {}
    for text in texts:
        target, prior = read_prior(part, text)
        if not target:
            if len(texts) > 1:
                raise _error(part, text, "a prior for all stands alone; name the others' groups")
            return prior
        first, *column = target
        if column:
            columns = named.setdefault(first, {})
            if not isinstance(columns, dict) or column[0] in columns:
                raise _error(part, text, "it has a prior already")
            columns[column[0]] = prior
        elif first in named:
            raise _error(part, text, f"{first} has a prior already")
        else:
            named[first] = prior
    return named


def _centres(texts: Sequence[str]) -> dict[str, dict[str, float]]:
    """Return where covariates are centred, of ``COLUMN | GROUP = NUMBER`` or ``GROUP`` alone."""
    centres: dict[str, dict[str, float]] = {}
    for text in texts:
        match = _CENTRE.fullmatch(text.strip())
        if match is None or not _is_finite(match["number"] or "0"):
            raise bv.PriorError(
                f"--center {text!r}: this is not COLUMN | GROUP = NUMBER, nor a GROUP alone, whose "
                "columns are then as written."
            )
        group, column = match["group"] or match["alone"], match["column"]
        before = centres.get(group)
        if before is not None and (column is None or not before or column in before):
            raise bv.PriorError(f"--center {text!r}: {group} has one already.")
        centres.setdefault(group, {})
        if column is not None:
            centres[group][column] = float(match["number"])
    return centres


def _is_finite(number: str) -> bool:
    """Whether a text is a finite number."""
    try:
        return math.isfinite(float(number))
    except ValueError:
        return False


def _error(part: str, text: str, reason: str) -> bv.PriorError:
    return bv.PriorError(
        f"--prior-{part} {text!r}: {reason}.".replace("..", ".").replace("?.", "?")
    )
