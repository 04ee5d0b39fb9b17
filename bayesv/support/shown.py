"""What results show of themselves: paragraphs and tables, once, for terminals and notebooks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from html import escape
from textwrap import wrap
from typing import Any

import numpy as np
import pandas as pd

__all__ = [
    "WIDTH",
    "Part",
    "Shown",
    "Table",
    "WholeFrame",
    "as_html",
    "as_text",
    "digits",
    "p_value",
]

WIDTH = 80  # columns of a terminal
_LABEL = 30  # columns for names where not all of a table fits
_MOST_ROWS = 60  # of a table that prints itself

_RULE = "1px solid rgba(128,128,128,.6)"  # seen on light and on dark ground
_CELL = "padding:.15em .6em;background:transparent;color:inherit;vertical-align:top;text-align:"


class WholeFrame(pd.DataFrame):
    """A table that prints all its columns within 80, p-values as such; long ones their ends.

    ``attrs["note"]`` stands under it. What is made of it is a plain table.
    """

    @property
    def _constructor(self) -> Any:
        return pd.DataFrame

    def __repr__(self) -> str:
        return as_text(self._parts())

    def _repr_html_(self) -> str:
        return as_html(self._parts())

    def _parts(self) -> list[Part]:
        table, left_out = Table.of(self), len(self) - _MOST_ROWS
        notes = [self.attrs["note"]] if "note" in self.attrs else []
        if left_out <= 0:
            return [table, *notes]
        gap = tuple("…" for _ in table.heads)
        half = _MOST_ROWS // 2
        ends = (*table.rows[:half], gap, *table.rows[-half:])
        return [Table(table.heads, ends, table.n_labels), f"{len(self)} rows", *notes]


@dataclass(frozen=True)
class Table:
    """A table whose cells are written already.

    Attributes
    ----------
    heads : tuple of str, shape (K,)
    rows : tuple of tuple of str, shape (n, K)
    n_labels : int
        How many of the first columns say what a line is; the others are numbers.
    """

    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    n_labels: int = 1

    @classmethod
    def of(cls, frame: pd.DataFrame, number: Callable[[float], str] | None = None) -> Table:
        """Write a frame, its index as the labels; numbers have five digits unless said otherwise.

        Parameters
        ----------
        frame : DataFrame
            One that only counts its lines has its first column, and texts that follow, as labels.
        number : callable, optional
            How a float is written; p-values and criteria are written as such.
        """
        counted = isinstance(frame.index, pd.RangeIndex) and isinstance(frame, WholeFrame)
        index = [name if isinstance(name, tuple) else (name,) for name in frame.index]
        names = tuple("" if name is None else str(name) for name in frame.index.names)
        write = [_OWN.get(name, number or digits(5)) for name in frame.columns]
        n_labels = _leading_texts(frame) if counted else 0
        rows = tuple(
            (
                *(() if counted else map(str, labels)),
                *map(str, values[:n_labels]),
                *map(_written, values[n_labels:], write[n_labels:]),
            )
            for labels, values in zip(index, frame.itertuples(index=False, name=None), strict=True)
        )
        heads = tuple(map(str, frame.columns))
        return cls(heads, rows, n_labels) if counted else cls((*names, *heads), rows, len(names))


def _leading_texts(frame: pd.DataFrame) -> int:
    """Return how many columns say what a line is: the first, and texts or levels that follow."""
    kinds = pd.api.types
    texts = [kinds.is_bool_dtype(k) or not kinds.is_numeric_dtype(k) for k in frame.dtypes[1:]]
    return 1 + [*texts, False].index(False)


type Part = str | Table | Shown


class Shown:
    """What has parts: it prints within 80 columns, and notebooks render it."""

    def _shown(self) -> Iterable[Part]:
        """Return paragraphs, tables, and other objects that are shown; '' is an empty line."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return as_text(self._shown())

    def _repr_html_(self) -> str:
        return as_html(self._shown())


def digits(n: int) -> Callable[[float], str]:
    """Return what writes numbers with n significant digits, and a dash for NaN."""

    def write(value: float) -> str:
        return "–" if value is None or np.isnan(value) else f"{value:.{n}g}"

    return write


def p_value(value: float) -> str:
    """Write a p-value: four decimals, or what it is below."""
    return "–" if np.isnan(value) else f"{value:.4f}" if value >= 5e-5 else "<0.0001"


def _criterion(value: float) -> str:
    """Write what differences are taken of: two decimals, however large it is."""
    return "–" if np.isnan(value) else f"{value:.2f}"


def _share(value: float) -> str:
    """Write a probability that was counted in draws: none of some thousands is not 0."""
    if value is None or np.isnan(value):
        return "–"
    return "<0.001" if value < 1e-3 else ">0.999" if value > 1 - 1e-3 else f"{value:.3f}"


_OWN = {  # names of columns that are written in their own way
    **dict.fromkeys(("p", "p_boundary"), p_value),
    **dict.fromkeys(("positive", "within"), _share),
    **dict.fromkeys(("criterion", "aic", "aicc", "bic"), _criterion),
}


def as_text(parts: Iterable[Part]) -> str:
    """Return lines of at most 80 columns, with whole names.

    A table that is too wide is continued below; a name that is too long has a line for itself, and
    a head that is has a key in its place.
    """
    lines: list[str] = []
    for part in parts:
        if isinstance(part, Table):
            lines += _text_of(part)
        elif isinstance(part, str):
            for line in part.split("\n"):
                lines += wrap(line, WIDTH, subsequent_indent="  ") or [""]
        else:
            lines += repr(part).splitlines()
    return "\n".join(lines).rstrip("\n")


def as_html(parts: Iterable[Part]) -> str:
    """Return HTML that works on light and on dark ground; every text is escaped."""
    return f'<div style="overflow-x:auto">{_inner_html(parts)}</div>'


def _inner_html(parts: Iterable[Part]) -> str:
    return "".join(
        _html_of(part) if isinstance(part, Table)
        else _inner_html(part._shown()) if isinstance(part, Shown)
        else f'<p style="margin:.3em 0;white-space:pre-wrap">{escape(part)}</p>' if part
        else ""
        for part in parts
    )  # fmt: skip


def _html_of(table: Table) -> str:
    def row(cells: Sequence[str], head: bool) -> str:
        rule = f";border-bottom:{_RULE}" if head else ""
        written = []
        for k, cell in enumerate(cells):
            side = "left" if k < table.n_labels else "right"
            tag = "th" if head or k < table.n_labels else "td"
            written.append(f'<{tag} style="{_CELL}{side}{rule}">{escape(cell)}</{tag}>')
        return "".join(written)

    body = "".join(f"<tr>{row(cells, False)}</tr>" for cells in table.rows)
    return (
        '<table style="border-collapse:collapse;color:inherit;margin:.3em 0;'
        f'font-variant-numeric:tabular-nums"><thead><tr>{row(table.heads, True)}</tr></thead>'
        f"<tbody>{body}</tbody></table>"
    )


def _written(value: object, number: Callable[[float], str]) -> str:
    if value is None or value is pd.NA:
        return "–"
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    return number(float(value)) if isinstance(value, float | np.floating) else str(value)


def _text_of(table: Table) -> list[str]:
    k = table.n_labels
    keys = {j: f"[{j}]" for j, head in enumerate(table.heads) if j >= k and len(head) > _LABEL}
    legend = [f"{key} {table.heads[j]}" for j, key in keys.items()]
    heads = tuple(keys.get(j, head) for j, head in enumerate(table.heads))
    cells = (heads, *table.rows)
    label_widths = [max(len(row[j]) for row in cells) for j in range(k)]
    labels = [
        "  ".join(f"{text:<{width}}" for text, width in zip(row[:k], label_widths, strict=True))
        for row in cells
    ]
    longest = max(len(label.rstrip()) for label in labels)
    numbers = [max(len(row[j]) for row in cells) for j in range(k, len(table.heads))]
    gap = 2 if longest + sum(numbers) + 2 * len(numbers) <= WIDTH else 1
    room = WIDTH - sum(numbers) - gap * len(numbers)
    width = longest if longest <= room else min(longest, max(room, _LABEL))
    lines = [line for each in legend for line in wrap(each, WIDTH, subsequent_indent="  ")]
    for block in _blocks(numbers, WIDTH - width, gap):
        for label, row in zip(labels, cells, strict=True):
            if len(label.rstrip()) > width:
                lines += wrap(label.rstrip(), WIDTH, subsequent_indent="  ")
                label = ""
            values = "".join(f"{row[k + j]:>{numbers[j] + gap}}" for j in block)
            lines.append(f"{label.rstrip():<{width}}{values}".rstrip())
    return lines


def _blocks(widths: Sequence[int], room: int, gap: int) -> list[list[int]]:
    """Return columns of numbers that fit beside each other: few blocks, about equally wide."""
    blocks = _filled(widths, room, gap)
    least = (sum(widths) + gap * len(widths)) // len(blocks)
    tries = (_filled(widths, narrower, gap) for narrower in range(least, room))
    return next((even for even in tries if len(even) == len(blocks)), blocks)


def _filled(widths: Sequence[int], room: int, gap: int) -> list[list[int]]:
    blocks: list[list[int]] = [[]]
    left = room
    for j, width in enumerate(widths):
        if blocks[-1] and width + gap > left:
            blocks.append([])
            left = room
        blocks[-1].append(j)
        left -= width + gap
    return blocks
