"""The table that MixedModels.jl shows: Column, Variance, Std.Dev., Corr."""

from __future__ import annotations

import re

from bayesv.covariance.listings.entries import (
    RESIDUAL,
    Entry,
    is_number,
    refused,
    triangle,
    words_of,
)

__all__ = ["read_julia"]


def read_julia(lines: list[str], head: int) -> tuple[list[Entry], set[str] | None]:
    """Return the printed numbers.

    Names stand under each other, further right than the groups; ``.`` is a correlation that the
    model does not have (``zerocorr``).
    """
    table = []
    for line in lines[head + 1 :]:
        if line.strip():
            table.append(line)
        if line.strip().startswith(RESIDUAL):
            break
    outermost = min((len(line) - len(line.lstrip()) for line in table), default=0)
    group, entries, rows = "", list[Entry](), list[tuple[str, str | int, list[str], str]]()
    for line in table:
        words = words_of(line)
        start = next((i for i, word in enumerate(words) if i and is_number(word)), len(words))
        names, numbers = words[:start], words[start:]
        if len(numbers) < 2 or not all(is_number(word) or word == "." for word in numbers):
            raise refused(line, "a name, a variance and an SD are needed.")
        inner = len(line) - len(line.lstrip()) > outermost
        if names == [RESIDUAL]:
            group, name = RESIDUAL, ""
        elif inner or len(names) == 1:
            name = " ".join(names)
        else:
            group, name = re.sub(r"\s*&\s*", ":", " ".join(names[:-1])), names[-1]
        if not group:
            raise refused(line, "it has no group, and there is none above it.")
        for kind, word in zip(("var", "sd"), numbers[:2], strict=True):
            entries.append(Entry(group, kind, name, name, word, line))
        beside = ["0" if word == "." else word for word in numbers[2:]]
        rows.append((group, name, beside, line))
    return entries + triangle(rows), None
