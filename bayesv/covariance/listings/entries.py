"""Elements of Σ_f and σ² as they are printed, and the covariances they make."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from bayesv.errors import ComponentsError, DesignWarning, warn
from bayesv.linalg import Array, cov_to_sd_corr, nearest_psd, smallest_relative_eigenvalue

__all__ = [
    "RESIDUAL",
    "Entry",
    "assembled",
    "is_number",
    "refuse_second",
    "refused",
    "triangle",
    "words_of",
]

RESIDUAL = "Residual"

Name = str | int


@dataclass(frozen=True)
class Entry:
    """One printed number.

    Attributes
    ----------
    group : str
        Label of the grouping factor, or ``"Residual"``.
    kind : {"var", "sd", "cov", "corr"}
    first, second : str or int
        The coefficients, numbers where the listing has no names; the same for "var" and "sd".
    word : str
        The number as printed; ``NaN`` for a correlation that does not exist.
    line : str
        Where it stands, for messages.
    """

    group: str
    kind: str
    first: Name
    second: Name
    word: str
    line: str

    @property
    def value(self) -> float:
        """The number."""
        return float(self.word)

    @property
    def rounding(self) -> float:
        """Half a unit of the last printed digit."""
        mantissa, _, exponent = self.word.lower().partition("e")
        # Of powers that no float has it is 0 or infinite.
        return 0.5 * float(f"1e{int(exponent or 0) - self.decimals(mantissa)}")

    @staticmethod
    def decimals(word: str) -> int:
        """Return the number of digits after the point."""
        return len(word.partition(".")[2])


def is_number(word: str) -> bool:
    """Whether a word is a printed number, or says that there is none."""
    return bool(_NUMBER.match(word)) or word in ("NaN", "NA")


_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d{1,4})?$")


def words_of(line: str) -> list[str]:
    """Split a line at blanks, but not within brackets and backticks.

    >>> words_of(" g  poly(x, 2)1 `my x` 0.5")
    ['g', 'poly(x, 2)1', '`my x`', '0.5']
    """
    words: list[str] = []
    depth, open_word = 0, False
    for piece in line.split():
        if open_word:
            words[-1] += f" {piece}"
        else:
            words.append(piece)
        depth += piece.count("(") - piece.count(")")
        open_word = depth > 0 or words[-1].count("`") % 2 == 1
    return words


def refused(line: str, why: str) -> ComponentsError:
    """Return the error that shows a line which cannot be read."""
    return ComponentsError(f"This line of the listing cannot be read: {line.strip()!r}: {why}")


def refuse_second(head: str, lines: Sequence[str]) -> None:
    """Refuse lines below a table among which another table begins: it would go unread."""
    if (second := next((line for line in lines if re.match(head, line)), None)) is not None:
        raise refused(second, "it begins a second table; paste the listing of one fit.")


def triangle(rows: Sequence[tuple[str, Name, Sequence[str], str]]) -> list[Entry]:
    """Return correlations that stand beside names, row by row of a lower triangle.

    Parameters
    ----------
    rows : sequence of (group, name, words, line)
        All rows of a group in their order; a group that prints none is uncorrelated.
    """
    names: dict[str, list[Name]] = {}
    groups: dict[str, list[tuple[Name, Sequence[str], str]]] = {}
    for group, name, words, line in rows:
        names.setdefault(group, []).append(name)
        groups.setdefault(group, []).append((name, words, line))
    entries = []
    for group, of_group in groups.items():
        if not any(words for _, words, _ in of_group):
            continue
        for i, (name, words, line) in enumerate(of_group):
            if len(words) != i:
                raise refused(
                    line, f"{group!r}, row {name!r}: {i} correlations needed, found {len(words)}."
                )
            entries += [
                Entry(group, "corr", name, other, word, line)
                for other, word in zip(names[group], words, strict=False)
            ]
    return entries


def assembled(
    entries: Sequence[Entry], factors: Collection[str] | None = None
) -> tuple[dict[str, pd.DataFrame], float]:
    """Return ({group: Σ_f}, σ²) of printed numbers.

    Parameters
    ----------
    entries : sequence of Entry
    factors : collection of str, optional
        Grouping factors, where the listing says which there are: ``g.1`` beside ``g`` is a second
        term of g for lme4, unless there is a factor of that name.
    """
    residual = [entry for entry in entries if entry.group == RESIDUAL]
    if not residual or len(residual) == len(entries):
        raise ComponentsError(
            "The listing needs at least one group and a line 'Residual'; a model without a "
            "residual variance has no V = Z G Z' + R."
        )
    blocks = {}
    for group in dict.fromkeys(e.group for e in entries if e.group != RESIDUAL):
        blocks[group] = _block(group, [e for e in entries if e.group == group])
    return _merge_split_groups(blocks, factors), _variance(residual)


def _variance(entries: Sequence[Entry]) -> float:
    """Return the variance that its printed forms say most exactly."""
    best, least = float("nan"), np.inf
    for entry in entries:
        value, half = entry.value, entry.rounding
        if not np.isfinite(value * value) or value < 0:
            raise refused(entry.line, f"{entry.word} is not a variance or an SD.")
        error = (2.0 if entry.kind == "sd" else 1.0) * half / value if value else 0.0
        if error < least:
            best, least = value * value if entry.kind == "sd" else value, error
    kinds = [entry.kind for entry in entries]
    if len(set(kinds)) < len(kinds):
        raise refused(entries[-1].line, "there are two variances of one name.")
    return best


def _block(group: str, entries: list[Entry]) -> pd.DataFrame:
    scales: dict[Name, list[Entry]] = {}
    for entry in entries:
        if entry.kind in ("var", "sd"):
            scales.setdefault(entry.first, []).append(entry)
    names = list(scales)
    cov = np.diag([_variance(scale) for scale in scales.values()])
    digits = None
    for entry in entries:
        if entry.kind in ("var", "sd"):
            continue
        if not {entry.first, entry.second} <= set(names):
            raise refused(entry.line, f"{group!r} has no variance of one of its two names.")
        i, j = names.index(entry.first), names.index(entry.second)
        cov[i, j] = cov[j, i] = _covariance(entry, cov[i, i], cov[j, j])
        if entry.kind == "corr" and entry.word not in _NONE:
            places = entry.decimals(entry.word)
            digits = places if digits is None else min(digits, places)
    if digits is not None:
        cov = _nearest(group, cov, digits)
    return pd.DataFrame(cov, names, names)


_NONE = ("NaN", "NA")


def _covariance(entry: Entry, first: float, second: float) -> float:
    """Return the covariance that a correlation or covariance states beside two variances."""
    if entry.word in _NONE:
        if first and second:
            raise refused(entry.line, "a correlation is missing although both variances are not 0.")
        return 0.0
    if entry.kind == "cov":
        return entry.value
    if not -1.0 <= entry.value <= 1.0:
        raise refused(
            entry.line,
            f"{entry.word!r} is not a correlation; Σ of {entry.group!r} would not be "
            "positive semi-definite.",
        )
    return float(entry.value * np.sqrt(first * second))


def _nearest(group: str, cov: Array, digits: int) -> Array:
    """Return the nearest covariance where only rounding of the correlations makes it indefinite."""
    sd, corr = cov_to_sd_corr(cov)
    corr = np.where(np.isnan(corr), np.eye(len(corr)), corr)
    if -len(cov) * 10.0**-digits < smallest_relative_eigenvalue(corr) < 0:
        warn(
            f"The printed correlations of {group!r} are rounded to {digits} digits and not quite a "
            "correlation matrix; the nearest one is used.",
            DesignWarning,
        )
        return np.asarray(nearest_psd(corr) * np.outer(sd, sd))
    return cov


def _merge_split_groups(
    blocks: dict[str, pd.DataFrame], factors: Collection[str] | None
) -> dict[str, pd.DataFrame]:
    """lme4 prints ``(x || g)`` as groups g and g.1; here it is one group with a diagonal block."""
    merged: dict[str, pd.DataFrame] = {}
    for label, block in blocks.items():
        group = re.sub(r"\.\d+$", "", label)
        apart = group == label or group not in merged or label in (factors or ())
        if apart or set(merged[group].index) & set(block.index):
            merged[label] = block  # two intercepts are of two factors
            continue
        both = [*merged[group].index, *block.index]
        joined = pd.DataFrame(0.0, both, both)
        for part in (merged[group], block):
            joined.loc[part.index, part.index] = part
        merged[group] = joined
    return merged
