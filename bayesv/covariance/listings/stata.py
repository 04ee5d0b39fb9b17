"""The table 'Random-effects parameters' of Stata's mixed."""

from __future__ import annotations

import re

from bayesv.covariance.listings.entries import RESIDUAL, Entry, is_number, refused
from bayesv.names import INTERCEPT

__all__ = ["read_stata"]

_ELEMENT = re.compile(r"(var|sd|cov|corr)\(([^,()]+)(?:,([^,()]+))?\)$")


def read_stata(lines: list[str], head: int) -> tuple[list[Entry], set[str] | None]:
    """Return the printed numbers; levels of an inner factor are those of ``inner:outer``.

    ``_all: var(R.f)`` is Stata's way to write a crossed factor f.
    """
    entries: list[Entry] = []
    outer, group = list[str](), ""  # factors, outermost first
    for line in lines[head + 1 :]:
        left, bar, right = (part.strip() for part in line.partition("|"))
        if re.fullmatch(r"[-+\s|]*", line):
            continue
        if not bar:
            raise refused(line, "a name, a bar and an estimate are needed.")
        if not right and (level := re.match(r"(\w+):\s*\w", left)):
            if level[1] == RESIDUAL:
                raise refused(line, "residuals with a structure are not σ² alone.")
            if level[1] not in ("_all", *outer):
                outer.append(level[1])
            group = level[1]
            continue
        element, words = _ELEMENT.match(left), right.split()
        if element is None or "~" in left or not words or not is_number(words[0]):
            raise refused(line, "var(), cov(), sd() or corr() of named columns is needed.")
        kind, first, second = element[1], element[2], element[3] or element[2]
        if first == RESIDUAL:
            return [*entries, Entry(RESIDUAL, kind, "", "", words[0], line)], None
        if not group:
            raise refused(line, "no group is named above it.")
        crossed = group == "_all"
        if crossed and (not first.startswith("R.") or first != second):
            raise refused(line, "under _all, only var(R.factor) is a random intercept of a factor.")
        label = first.removeprefix("R.") if crossed else _label(outer, group)
        names = (INTERCEPT, INTERCEPT) if crossed else (_name(first), _name(second))
        entries.append(Entry(label, kind, *names, words[0], line))
    return entries, None


def _label(outer: list[str], group: str) -> str:
    return ":".join(outer[: outer.index(group) + 1][::-1])


def _name(column: str) -> str:
    return INTERCEPT if column.strip() == "_cons" else column.strip()
