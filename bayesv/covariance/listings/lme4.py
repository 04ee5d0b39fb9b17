"""The table that lme4 and glmmTMB print: Groups, Name, Variance, Std.Dev., Corr."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from bayesv.covariance.listings.entries import (
    RESIDUAL,
    Entry,
    is_number,
    refused,
    triangle,
    words_of,
)

__all__ = ["read_lme4"]

Splitter = Callable[[str], tuple[str, str, list[str]]]  # group, name, numbers

_SCALES = {"Variance": "var", "Std.Dev.": "sd"}
_TITLES = (*_SCALES, "Corr", "Cov")


@dataclass
class _Row:
    """One line of the table: a coefficient's numbers, scales first."""

    group: str
    name: str
    words: list[str]
    line: str
    beside: list[str] = field(default_factory=list)  # correlations or covariances


def read_lme4(lines: list[str], head: int) -> tuple[list[Entry], set[str] | None]:
    """Return the printed numbers and, where the listing says them, the grouping factors."""
    titles = words_of(lines[head].replace("|", " "))[2:]
    unknown = [title for title in titles if title not in _TITLES]
    if unknown or not set(titles) & set(_SCALES):
        raise refused(lines[head], f"its columns may be {', '.join(_TITLES)} after Groups, Name.")
    split = _splitter(lines[head], titles)
    rows: list[_Row] = []
    stop = len(lines)
    for i, line in enumerate(lines[head + 1 :], head + 1):
        if not re.search(r"[^\s|:-]", line):
            continue
        group, name, words = split(line)
        group = group or (rows[-1].group if rows else "")
        if not group:
            raise refused(line, "it has no group, and there is none above it.")
        rows.append(_row(group, name, words, titles, line))
        if group == RESIDUAL:
            stop = i + 1
            break
        if len(rows) > 1 and group != rows[-2].group and group in {r.group for r in rows[:-1]}:
            raise refused(line, f"the group {group!r} has appeared before.")
    _continue(rows, lines[stop:])
    return _entries(rows, titles), _factors(lines[stop:])


def _splitter(header: str, titles: list[str]) -> Splitter:
    """Return what takes a line apart: at bars, by position, or, if blanks collapsed, by words."""
    if "|" in header:
        return partial(_by_cells, framed=header.lstrip().startswith("|"))
    if re.search(r"Groups Name\b", header):
        return _by_words
    name_start, value_start = header.index("Name"), header.index(titles[0])

    def by_position(line: str) -> tuple[str, str, list[str]]:
        head, name, rest = line[:name_start], line[name_start:value_start], line[value_start:]
        tidy = all(not part or part[-1] == " " for part in (head, name)) or not rest
        words = rest.split()
        head, name = head.strip(), name.strip()
        # Where the blanks before a name were lost, a number stands in its place, or nothing.
        lost = any(map(is_number, name.split())) or (not name and head != RESIDUAL)
        if not tidy or lost or not words or not all(map(is_number, words)):
            return _by_words(line)
        return head, name, words

    return by_position


def _by_cells(line: str, framed: bool) -> tuple[str, str, list[str]]:
    cells = [cell.strip() for cell in line.split("|")][framed:]
    words = " ".join(cells[2:]).split()
    if len(cells) < 3 or not words or not all(map(is_number, words)):
        raise refused(line, "cells for group, name and numbers are needed.")
    return cells[0], cells[1], words


def _by_words(line: str) -> tuple[str, str, list[str]]:
    words = words_of(line)
    numbers: list[str] = []
    while words and is_number(words[-1]):
        numbers.insert(0, words.pop())
    if not numbers or not words:
        raise refused(line, "a name and numbers are needed.")
    if len(words) == 1:
        return (words[0], "", numbers) if words[0] == RESIDUAL else ("", words[0], numbers)
    if len(words) > 2 and words[-1] != "(Intercept)":
        raise refused(line, "its group and its name cannot be told apart; keep the blanks.")
    return " ".join(words[:-1]), words[-1], numbers


def _row(group: str, name: str, words: list[str], titles: list[str], line: str) -> _Row:
    count = sum(title in _SCALES for title in titles)
    if len(words) < count:
        raise refused(line, f"numbers for {', '.join(titles[:count])} are needed.")
    if (group == RESIDUAL) != (not name):
        raise refused(line, "a coefficient's name is needed for every group but Residual.")
    return _Row(group, name, words[:count], line, words[count:])


def _continue(rows: list[_Row], lines: list[str]) -> None:
    """Append to the rows what R wrapped to further blocks of columns, under the table."""
    left: list[list[str]] = []
    for line in lines:
        words = line.split()
        if words and all(word in _TITLES for word in words):
            raise refused(line, "the table is wrapped; print it with options(width = 200).")
        if words and not all(map(is_number, words)):
            break
        if words:
            left.append(words)
    if left and not _consumed(rows, left):
        raise refused(
            " ".join(left[0]), "the table is wrapped in a way that is not understood; print it "
            "with options(width = 200)."
        )  # fmt: skip


def _consumed(rows: list[_Row], left: list[list[str]]) -> bool:
    """Give the numbers of wrapped blocks to their rows; whether they fit.

    A block of m columns has, in every row i of a group, the next min(m, i − those it has) ones.
    """
    if not left:
        return all(len(row.beside) in (0, place) for place, row in _placed(rows))
    for m in range(max(map(len, left)), 0, -1):
        wanted = [(row, min(m, place - len(row.beside))) for place, row in _placed(rows)]
        block = [(row, count) for row, count in wanted if count > 0]
        if not block or [count for _, count in block] != [
            len(words) for words in left[: len(block)]
        ]:
            continue
        for (row, _), words in zip(block, left, strict=False):
            row.beside += words
        if _consumed(rows, left[len(block) :]):
            return True
        for row, count in block:
            del row.beside[-count:]
    return False


def _placed(rows: list[_Row]) -> list[tuple[int, _Row]]:
    """Return every row with its place within its group; of uncorrelated groups, 0."""
    places, seen = [], dict[str, int]()
    correlated = {row.group for row in rows if row.beside}
    for row in rows:
        place = seen.get(row.group, 0)
        seen[row.group] = place + 1
        places.append((place if row.group in correlated else 0, row))
    return places


def _entries(rows: list[_Row], titles: list[str]) -> list[Entry]:
    scales = [_SCALES[title] for title in titles if title in _SCALES]
    entries = [
        Entry(row.group, kind, row.name, row.name, word, row.line)
        for row in rows
        for kind, word in zip(scales, row.words, strict=True)
    ]
    beside = triangle([(row.group, row.name, row.beside, row.line) for row in rows])
    if beside and "Corr" not in titles and "Cov" not in titles:
        raise refused(rows[0].line, "there are more numbers than columns.")
    kind = "cov" if "Cov" in titles else "corr"
    return entries + [Entry(e.group, kind, e.first, e.second, e.word, e.line) for e in beside]


def _factors(lines: list[str]) -> set[str] | None:
    """Return the grouping factors of the line ``Number of obs: 180, groups:  Subject, 18``."""
    text = "\n".join(lines)
    match = re.search(r"Number of obs: \d+(, groups:| / Conditional model:)([^\0]+?)(\n\n|$)", text)
    if match is None:
        return None
    return {name.strip() for name in re.findall(r"([^;]+?), \d+", match[2])}
