"""What bayesv itself prints of variance components, and its tidy table of them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from bayesv.covariance.listings.entries import RESIDUAL, refused
from bayesv.covariance.listings.residual_text import TRIANGLE, groupings, triangle
from bayesv.errors import ComponentsError
from bayesv.support.shown import WIDTH

__all__ = ["COLUMNS", "HEAD", "Printed", "listed_line", "read_own", "read_own_frame"]

HEAD = r"\s*Group\s+Name\s+Variance\s+Std\.Dev\."
COLUMNS = ("group", "var1", "var2", "cov", "sd_or_corr")

_NUMBER = r"(?:-?\d[\d.]*(?:e[+-]?\d+)?|NaN)"
_SCALED = re.compile(rf"(.{{17}}.*?)\s{{2,}}({_NUMBER})\s+({_NUMBER})((?:\s+{_NUMBER})*)$")
_INDENT = 39  # of what is continued: under the numbers
_CONTINUED = re.compile(rf"\s{{{_INDENT},}}{_NUMBER}(?:\s+{_NUMBER})*$")
_PARAMETER = re.compile(rf"\s{{17}}(\S.*?)\s{{2,}}({_NUMBER})$")


class Printed(NamedTuple):
    """Blocks by group, σ², and the parameters of residuals if there are any."""

    blocks: dict[str, pd.DataFrame]
    sigma2: float
    residual: dict[str, dict[str, float]] | None = None


def read_own(lines: Sequence[str], head: int) -> Printed:
    """Return the components of lines that bayesv printed, with their rounding.

    Raises
    ------
    ComponentsError
        If a line is not understood, or a name was cut.
    """
    groups: dict[str, list[tuple[str, float, list[float]]]] = {}
    corr: dict[str, float] = {}
    group, rest = "", iter(_joined(lines[head + 1 :]))
    for line in rest:
        if not line.strip():
            break
        if line == TRIANGLE:
            corr |= _pairs([name for name, _, _ in groups[RESIDUAL]], rest)
            break
        if "…" in line:
            raise refused(line, "a name is cut; take .to_frame() or JSON, which have it whole.")
        if match := _SCALED.match(line):
            label, name = _names(match[1])
            group = label or group
            sd, beside = float(match[3]), [float(word) for word in match[4].split()]
            groups.setdefault(group, []).append((name, sd, beside))
        elif group == RESIDUAL and (match := _PARAMETER.match(line)):
            corr[match[1]] = float(match[2])
        elif RESIDUAL in groups:
            break
        else:
            raise refused(line, "a group, a name, a variance and an SD are needed.")
    if RESIDUAL not in groups:
        raise ComponentsError("The listing has no line for the residual variance.")
    return _printed(groups, corr)


def listed_line(group: str, name: str, numbers: Sequence[str]) -> list[str]:
    """Return the lines of one coefficient: numbers that do not fit are continued below.

    Parameters
    ----------
    group, name : str
        The group is blank after its first line.
    numbers : sequence of str
        Variance, SD and correlations with the coefficients before.
    """
    lines = [f"{group:<16} {name:<22}"]
    for number in numbers:
        if len(lines[-1]) + 1 + len(number) > WIDTH:
            lines.append(" " * _INDENT)
        lines[-1] += f" {number}"
    return lines


def _joined(lines: Sequence[str]) -> list[str]:
    """Return lines with what is continued below them."""
    whole: list[str] = []
    for line in lines:
        if whole and whole[-1].strip() and _CONTINUED.match(line):
            whole[-1] += f"  {line.strip()}"
        else:
            whole.append(line)
    return whole


def _names(start: str) -> tuple[str, str]:
    """Return the group, where the line has one, and the name."""
    if start[16] == " ":
        return start[:16].strip(), start[17:].strip()
    label, _, name = start.partition(" ")
    return label, name.strip()


def _printed(groups: dict[str, list[tuple[str, float, list[float]]]], corr: Any) -> Printed:
    residual = groups.pop(RESIDUAL)
    blocks = {}
    for group, rows in groups.items():
        names, sds = [name for name, _, _ in rows], np.array([sd for _, sd, _ in rows])
        table = np.eye(len(rows))
        for i, (_, _, beside) in enumerate(rows):
            table[i, : len(beside)] = table[: len(beside), i] = np.nan_to_num(beside)
        blocks[group] = pd.DataFrame(table * np.outer(sds, sds), names, names)
    sds_by_label = {name: sd for name, sd, _ in residual if name}
    sigma2 = float(np.mean([sd**2 for _, sd, _ in residual]))
    parts = {"sd": sds_by_label, "corr": corr}
    return Printed(blocks, sigma2, parts if any(parts.values()) else None)


def _pairs(names: list[str], rest: Iterator[str]) -> dict[str, float]:
    """Return the correlations of visits from their triangles."""
    lines = [line for line in rest if line.strip()]
    for parts in groupings(names):
        shape = [triangle(pd.DataFrame(np.eye(len(part)), part, part)) for part in parts]
        heads = [line[:16] for table in shape for line in table]
        if [line[:16].ljust(16) for line in lines[: len(heads)]] != heads:
            continue
        values: dict[str, float] = {}
        start = 0
        for part, table in zip(parts, shape, strict=True):
            ends = [""] if len(parts) == 1 else [part[0].rpartition(": ")[0] + ": "]
            pairs = _triangle_values(lines[start : start + len(table)], len(part))
            for i, k in combinations(range(len(part)), 2):
                values[f"{part[i]}, {part[k].removeprefix(ends[0])}"] = pairs[i, k]
            start += len(table)
        return values
    raise ComponentsError(
        "The correlations of residuals are not a triangle of the visits above; take .to_frame()."
    )


def _triangle_values(lines: list[str], size: int) -> dict[tuple[int, int], float]:
    """Return the correlation of each two visits, printed in pieces of columns."""
    values: dict[tuple[int, int], float] = {}
    first, row, each = 0, size, 0
    for line in lines:
        if row == size:  # the head of another piece
            first, row = first + each, first + each + 1
            continue
        words = [float(word) for word in line[16:].split()]
        values |= {(first + k, row): value for k, value in enumerate(words)}
        each, row = max(each, len(words)), row + 1
    return values


def read_own_frame(frame: pd.DataFrame) -> Printed:
    """Return the components of `VarianceComponents.to_frame`, to all digits.

    Raises
    ------
    ComponentsError
        If a row is not understood.
    """
    blocks: dict[str, pd.DataFrame] = {}
    parts: dict[str, dict[str, float]] = {"sd": {}, "corr": {}}
    sigma2: float | None = None
    for group, rows in frame.groupby("group", sort=False):
        if group == RESIDUAL:
            for name, cov, value in zip(rows["var1"], rows["cov"], rows["sd_or_corr"], strict=True):
                if name == "":
                    sigma2 = float(cov)
                else:
                    parts["corr" if pd.isna(cov) else "sd"][str(name)] = float(value)
            continue
        names = [str(name) for name in rows.loc[rows["var2"].isna(), "var1"]]
        block = pd.DataFrame(np.full((len(names), len(names)), np.nan), names, names)
        for one, two, cov in zip(rows["var1"], rows["var2"], rows["cov"], strict=True):
            two = one if pd.isna(two) else two
            if one not in names or two not in names:
                raise ComponentsError(f"The table has {one}, {two} of {group}, and no variance.")
            block.loc[one, two] = block.loc[two, one] = float(cov)
        blocks[str(group)] = block
    if sigma2 is None:
        if not parts["sd"]:
            raise ComponentsError("The table has no row for the residual variance.")
        sigma2 = float(np.mean(np.array(list(parts["sd"].values())) ** 2))
    return Printed(blocks, sigma2, parts if any(parts.values()) else None)
