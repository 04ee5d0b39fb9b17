"""The tables that nlme prints: VarCorr(fit), print(fit) and summary(fit)."""

from __future__ import annotations

import re

from bayesv.covariance.listings.entries import (
    RESIDUAL,
    Entry,
    is_number,
    refuse_second,
    refused,
    triangle,
    words_of,
)

__all__ = ["HEAD", "read_nlme"]

HEAD = r"\s*(?:Variance\s+)?StdDev\b"  # of each table of a listing

_ACROSS = "StdDev:"  # before a line of SDs, below a line of names
_SCALES = {"Variance": "var", "StdDev": "sd", _ACROSS: "sd"}
_GROUP = re.compile(r"\s*(.+?)\s*=\s+pd(\w+)\((.*)\)\s*$")  # Subject = pdLogChol(Days)
_FORMULA = re.compile(r"\s*Formula: ~(.*)\|(.*)$")  # Formula: ~Days | Subject
_NOT_R = re.compile(r"\s*(Correlation [Ss]tructure|Variance function|Composite Structure)")


def read_nlme(lines: list[str], head: int) -> tuple[list[Entry], set[str] | None]:
    """Return the printed numbers; levels of an inner factor are those of ``inner:outer``."""
    if (bad := next((line for line in lines if _NOT_R.match(line)), None)) is not None:
        raise refused(bad, "residuals with a structure, or blocks, are not in such a listing's V.")
    table = _Table()
    start = head
    if lines[head].lstrip().startswith(_ACROSS):
        start -= 1  # the names of the columns stand above
    while start > 0 and (not lines[start - 1].strip() or _is_head(lines[start - 1])):
        start -= 1
    for i, line in enumerate(lines[max(start, 0) :], max(start, 0) + 1):
        table.read(line)
        if table.complete:
            refuse_second(HEAD, lines[i:])
            break
    return table.entries + triangle(table.rows), None


def _is_head(line: str) -> bool:
    return bool(_GROUP.match(line) or _FORMULA.match(line) or "Structure:" in line)


class _Table:
    """What was read so far."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.rows: list[tuple[str, str | int, list[str], str]] = []
        self.complete = False
        self._outer: list[str] = []  # factors, outermost first
        self._scales: list[str] = []
        self._across: list[str] = []  # names above a line of SDs
        self._first = True  # whether the next row is a term's first

    def read(self, line: str) -> None:
        """Take one line in."""
        if not line.strip() or "Structure:" in line:
            return
        words = words_of(line)
        if (group := _GROUP.match(line)) is not None:
            self._begin([*self._outer, group[1].strip()])
        elif (formula := _FORMULA.match(line)) is not None:
            self._begin([part.strip() for part in formula[2].split("%in%")][::-1])
        elif words[0] == _ACROSS:
            self._read_across(words[1:], line)
        elif words[0] in _SCALES:
            self._scales = [_SCALES[word] for word in words if word in _SCALES]
        elif self._scales and any(map(is_number, words[1:])):
            self._read_row(words, line)
        elif self._outer and not any(map(is_number, words)):
            self._across = words
        else:
            raise refused(line, "a coefficient with its variance or SD is needed.")

    def _begin(self, factors: list[str]) -> None:
        self._outer, self._first, self._across = factors, True, []

    def _group(self, line: str) -> str:
        if not self._outer:
            raise refused(line, "no group is named above it, as in 'Subject = pdLogChol(Days)'.")
        return ":".join(self._outer[::-1])

    def _read_row(self, words: list[str], line: str) -> None:
        start = next(i for i, word in enumerate(words) if i and is_number(word))
        name, numbers = " ".join(words[:start]), words[start:]
        count = len(self._scales)
        beside = numbers[count:]
        if name == RESIDUAL:
            group, name, beside = RESIDUAL, "", []
        else:
            group = self._group(line)
            if self._first:  # beside the first row stand the names of the columns
                beside = [word for word in beside if is_number(word)]
        if not all(map(is_number, [*numbers[:count], *beside])) or len(numbers) < count:
            raise refused(line, "a name and its numbers are needed.")
        self._first = False
        self._add(group, name, numbers[:count], line)
        self.rows.append((group, name, beside, line))

    def _read_across(self, words: list[str], line: str) -> None:
        if len(words) != len(self._across) or not all(map(is_number, words)):
            raise refused(line, "an SD for each name above it is needed.")
        self._scales = ["sd"]
        for name, word in zip(self._across, words, strict=True):
            group = RESIDUAL if name == RESIDUAL else self._group(line)
            self._add(group, "" if group == RESIDUAL else name, [word], line)

    def _add(self, group: str, name: str, numbers: list[str], line: str) -> None:
        self.entries += [
            Entry(group, kind, name, name, word, line)
            for kind, word in zip(self._scales, numbers, strict=True)
        ]
        self.complete = group == RESIDUAL
