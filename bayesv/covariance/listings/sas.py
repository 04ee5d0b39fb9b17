"""The table 'Covariance Parameter Estimates' of SAS PROC MIXED."""

from __future__ import annotations

import re

from bayesv.covariance.listings.entries import RESIDUAL, Entry, is_number, refused, words_of
from bayesv.names import INTERCEPT

__all__ = ["read_sas"]

_ELEMENT = re.compile(r"UN\((\d+),(\d+)\)$")
_NESTED = re.compile(r"([\w*]+)\(([\w*]+)\)$")
# Structures of R, or of G that are no list of variances.
_STRUCTURES = re.compile(r"(CSH?|Variance|Rho|Var\(\d+\)|[A-Z]+\([\d,]+\)|SP\(.*|Corr\(.*)$")


def read_sas(lines: list[str], head: int) -> tuple[list[Entry], set[str] | None]:
    """Return the printed numbers.

    ``UN(i,j)`` are elements of Σ without names, in the order of the RANDOM statement; else a
    parameter is a random column of its subject, or, without a subject, the random intercept of a
    factor.
    """
    titles = words_of(lines[head])
    if "Estimate" not in titles or "Group" in titles:
        raise refused(lines[head], "columns Cov Parm, Subject and Estimate are needed.")
    entries: list[Entry] = []
    for line in lines[head + 1 :]:
        words = words_of(line)
        if not words:
            if entries and entries[-1].group == RESIDUAL:
                break
            continue
        start = next((i for i, word in enumerate(words) if is_number(word)), len(words))
        names, numbers = words[:start], words[start:]
        if not numbers or not 1 <= len(names) <= 1 + ("Subject" in titles):
            if entries and entries[-1].group == RESIDUAL:
                break  # what follows the table
            raise refused(line, "a parameter, its subject and an estimate are needed.")
        entries.append(_entry(names, numbers[0], line))
        if entries[-1].group == RESIDUAL:
            break
    return entries, None


def _entry(names: list[str], word: str, line: str) -> Entry:
    parameter = names[0]
    if parameter == RESIDUAL:
        return Entry(RESIDUAL, "var", "", "", word, line)
    element = _ELEMENT.match(parameter)
    if element is not None and len(names) == 2:
        i, j = sorted((int(element[1]) - 1, int(element[2]) - 1))
        return Entry(_factor(names[1]), "var" if i == j else "cov", i, j, word, line)
    if _STRUCTURES.match(parameter):
        raise refused(
            line, "this covariance structure is no list of variances; only UN and VC are."
        )
    if len(names) == 2:
        return Entry(_factor(names[1]), "var", parameter, parameter, word, line)
    return Entry(_factor(parameter), "var", INTERCEPT, INTERCEPT, word, line)


def _factor(effect: str) -> str:
    """Return ``side:dog`` for SAS's ``side(dog)`` and ``a:b`` for ``a*b``."""
    nested = _NESTED.match(effect)
    return (f"{nested[1]}:{nested[2]}" if nested else effect).replace("*", ":")
