"""The words for residuals: ``ar1(day | subject)``, and ``strata(sex) * power(x)`` for their SD."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from bayesv.errors import FormulaError, near
from bayesv.formula.scan import Token, one_line, pointed_error, scan

__all__ = [
    "KINDS",
    "SD_KINDS",
    "ResidualText",
    "SDText",
    "parse_residual",
    "parse_residual_sd",
    "structure_columns",
]

KINDS = (
    "us", "cs", "csh", "ar1", "ar1h", "toep", "toeph", "ad", "adh", "ma1", "arma11",
    "car1", "sp_exp", "sp_gau", "sp_pow", "sp_mat",
)  # fmt: skip
SD_KINDS = ("strata", "power", "exp")
_SPATIAL = ("sp_exp", "sp_gau", "sp_pow", "sp_mat")
_FITTED = re.compile(r"\b(power|exp)\(\s*(?:\)|fitted\b)")  # nlme's default
_EXAMPLE = "such as 'ar1(day | subject)' or 'us(visit | treatment / subject)'"


@dataclass(frozen=True)
class ResidualText:
    """A residual correlation as written.

    Attributes
    ----------
    text : str
        Without superfluous blanks.
    kind : str
        One of `KINDS`.
    positions : tuple of str
        Columns of the position, several for spatial kinds; empty for ``1``: the row's number
        within its series.
    series : tuple of str
        Columns whose combinations are the series; empty for ``1``: all rows are one.
    group : str or None
        Column whose levels have parameters of their own.
    nugget : bool
        Whether a part of the variance is independent between rows.
    """

    text: str
    kind: str
    positions: tuple[str, ...]
    series: tuple[str, ...]
    group: str | None = None
    nugget: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """The columns that are used."""
        group = () if self.group is None else (self.group,)
        return tuple(dict.fromkeys((*self.positions, *self.series, *group)))


@dataclass(frozen=True)
class SDText:
    """One factor of a residual SD as written: its kind, one of `SD_KINDS`, and its column."""

    kind: str
    column: str


def parse_residual(text: str) -> ResidualText:
    """Take ``kind(position | series)`` apart.

    Parameters
    ----------
    text : str
        Such as ``"ar1(day | subject)"``; with parameters by group, ``"us(visit | arm / subject)"``;
        ``"sp_exp(x + y | field, nugget=True)"``.

    Raises
    ------
    FormulaError
        If it is malformed or there is no such kind; the message points at the place.
    """
    reader = _Reader(text, "residual", _EXAMPLE)
    kind = reader.kind(KINDS, "kind of residual correlation")
    positions = reader.names("+", "a position")
    reader.expect("|", "a bar before the series")
    sides = [reader.names(":", "a series")]
    if reader.accept("/"):
        sides.append(reader.names(":", "a series"))
    nugget = reader.accept(",") and reader.flag("nugget")
    reader.expect(")", "a closing bracket")
    reader.end()
    return _checked(text, kind, positions, sides, nugget)


def _checked(
    text: str, kind: str, positions: list[Token], sides: list[list[Token]], nugget: bool
) -> ResidualText:
    if len(positions) > 1 and kind not in _SPATIAL:
        raise pointed_error(
            f"{kind} takes one position; several are coordinates of {', '.join(_SPATIAL)}.",
            text,
            positions[1].start,
        )
    if len(sides) > 1 and len(sides[0]) > 1:
        raise pointed_error(
            "Parameters differ by one column, 'group / series'; make a column of the combinations.",
            text,
            sides[0][1].start,
        )
    for token in [*positions, *sides[-1], *(sides[0] if len(sides) > 1 else [])]:
        several = len(positions) > 1 if token in positions else len(sides[-1]) > 1
        if token.kind == "number" and (several or token in sides[0][: len(sides) - 1]):
            raise pointed_error("The number 1 stands alone.", text, token.start)
    by_row = positions[0].kind == "number"
    if by_row and kind in (*_SPATIAL, "car1"):
        raise pointed_error(
            f"{kind} needs {'coordinates' if kind in _SPATIAL else 'times'}: a column of numbers.",
            text,
            positions[0].start,
        )
    series = () if sides[-1][0].kind == "number" else tuple(t.text for t in sides[-1])
    return ResidualText(
        text=one_line(text),
        kind=kind,
        positions=() if by_row else tuple(token.text for token in positions),
        series=series,
        group=sides[0][0].text if len(sides) > 1 else None,
        nugget=nugget,
    )


def parse_residual_sd(text: str) -> tuple[SDText, ...]:
    """Take a product of ``strata(g)``, ``power(x)`` and ``exp(x)`` apart.

    Raises
    ------
    FormulaError
        If it is malformed or there is no such kind; the message points at the place.
    """
    if isinstance(text, str) and (fitted := _FITTED.search(text)):
        raise pointed_error(
            f"{fitted[1]} of fitted values makes V a function of β, for which REML is not defined. "
            f"Name a covariate that the mean depends on, as in '{fitted[1]}(age)'.",
            text,
            fitted.start(),
        )
    reader = _Reader(text, "residual_sd", "such as 'strata(sex)' or 'strata(sex) * power(age)'")
    parts = []
    while True:
        kind = reader.kind(SD_KINDS, "kind of residual SD")
        (column, *more) = reader.names(",", "a column")
        if more:
            raise pointed_error(f"{kind} takes one column.", text, more[0].start)
        if column.kind == "number":
            raise pointed_error("The name of a column is needed here.", text, column.start)
        parts.append(SDText(kind, column.text))
        reader.expect(")", "a closing bracket")
        if not reader.accept("*"):
            break
    reader.end()
    if len(set(parts)) < len(parts):
        raise FormulaError(f"residual_sd has a factor twice: {text}")
    return tuple(parts)


def structure_columns(
    form: ResidualText | None, factors: Sequence[SDText], available: Sequence[str]
) -> tuple[str, ...]:
    """Return the columns that the structure of residuals uses, all of which exist.

    Raises
    ------
    FormulaError
        If one does not; the message points at it.
    """
    texts = [] if form is None else [(name, form.text) for name in form.names]
    texts += [(one.column, f"{one.kind}({one.column})") for one in factors]
    for name, text in texts:
        if name not in available:
            raise pointed_error(
                f"The data have no column {name!r}{near(name, available)}", text, text.find(name)
            )
    return tuple(dict.fromkeys(name for name, _ in texts))


class _Reader:
    """Tokens of a text, one after the other."""

    def __init__(self, text: str, what: str, example: str) -> None:
        if not isinstance(text, str) or not text.strip():
            raise FormulaError(f"{what} is a text, {example}; found {text!r}.")
        self.text, self.tokens, self.position = text, scan(text), 0
        self.example = example

    def kind(self, kinds: tuple[str, ...], what: str) -> str:
        """Read the name of a kind and its opening bracket."""
        token = self._next(f"a {what}")
        if token.kind != "name" or token.text not in kinds:
            raise pointed_error(
                f"There is no {what} {token.text!r}{near(token.text, kinds)} "
                f"There are: {', '.join(kinds)}.",
                self.text,
                token.start,
            )
        self.expect("(", f"an opening bracket, {self.example},")
        return token.text

    def names(self, joint: str, what: str) -> list[Token]:
        """Read names of columns, or the number 1, joined by an operator."""
        names = [self._name(what)]
        while self.accept(joint):
            names.append(self._name(what))
        return names

    def _name(self, what: str) -> Token:
        token = self._next(what)
        if token.kind in ("name", "quoted") or (token.kind == "number" and token.text == "1"):
            return token
        raise pointed_error(f"{what.capitalize()} is needed here.", self.text, token.start)

    def flag(self, name: str) -> bool:
        """Read ``name=True``."""
        token = self._next(f"{name}=True")
        if token.text != name:
            raise pointed_error(
                f"{token.text!r} is no option{near(token.text, [name])}", self.text, token.start
            )
        self.expect("=", "'='")
        value = self._next("True or False")
        if value.text not in ("True", "TRUE", "False", "FALSE"):
            raise pointed_error("True or False is needed here.", self.text, value.start)
        return value.text in ("True", "TRUE")

    def accept(self, text: str) -> bool:
        """Step over an operator, if it is next."""
        there = self.position < len(self.tokens) and self.tokens[self.position].is_op(text)
        self.position += there
        return there

    def expect(self, text: str, what: str) -> None:
        """Step over an operator; refuse anything else."""
        if not self.accept(text):
            raise pointed_error(f"{what.capitalize()} is missing here.", self.text, self._place())

    def end(self) -> None:
        """Refuse what is left."""
        if self.position < len(self.tokens):
            raise pointed_error(
                "Nothing is expected here; a residual has one correlation, written "
                f"{self.example}.",
                self.text,
                self._place(),
            )

    def _place(self) -> int:
        if self.position < len(self.tokens):
            return self.tokens[self.position].start
        return len(self.text)

    def _next(self, what: str) -> Token:
        if self.position >= len(self.tokens):
            raise pointed_error(f"{what.capitalize()} is missing here.", self.text, len(self.text))
        self.position += 1
        return self.tokens[self.position - 1]
