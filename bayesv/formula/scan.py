"""Cut the text of a formula into tokens, and point at places in it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from bayesv.errors import FormulaError

__all__ = ["WORDS", "Token", "one_line", "pointed_error", "quoted", "scan"]

# Names that are values, whatever columns there are; a column of such a name takes backticks.
WORDS = {"TRUE": True, "FALSE": False, "True": True, "False": False, "NULL": None, "None": None}

_TOKEN = re.compile(
    r"(?P<space>\s+)|(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)(?:L(?!\w))?"
    r"|(?P<name>(?:[^\W\d]|\.(?=[^\W\d]))[\w.]*)"
    r"|`(?P<quoted>(?:[^`\\]|\\.)+)`|(?P<string>'[^'\\]*'|\"[^\"\\]*\")"
    r"|(?P<op>\*\*|\|\||&&|[=!<>]=|%in%|%%|%/%|[-+*/:^~|&()=,>!]|<(?!-))"
)
_PLAIN = re.compile(r"(?:[^\W\d]|\.(?=[^\W\d]))[\w.]*")
_BLANKS = re.compile(r"(`(?:[^`\\]|\\.)+`|'[^'\\]*'|\"[^\"\\]*\")|\s+")
_MOST_TOKENS = 20_000
# What other languages write, with what this one writes instead.
_FOREIGN = {
    "%": "the remainder is written I(x %% 2)",
    "<": "R's '<-' gives a name; what is less than a negative number is written x < -1",
    "[": "brackets pick nothing in a formula; make a column of it",
    "{": "arithmetic is written I(…)",
    "$": "columns are named as they are, without the data frame",
    ".": "'.' for all other columns is not known; name the columns",
}


@dataclass(frozen=True)
class Token:
    """A word of a formula: its kind, its text without backticks, and where it starts."""

    kind: str
    text: str
    start: int

    def is_op(self, *texts: str) -> bool:
        """Whether the token is one of these operators or brackets."""
        return self.kind == "op" and self.text in texts


def scan(text: str) -> list[Token]:
    """Return the tokens of a formula, all brackets closed.

    Raises
    ------
    FormulaError
        At a character without meaning, a bracket that does not match, or a text that is too long.
    """
    tokens: list[Token] = []
    position = 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            character = text[position]
            if character in "]}":
                raise pointed_error(f"This {character!r} closes nothing.", text, position)
            hint = f"; {_FOREIGN[character]}" if character in _FOREIGN else ""
            raise pointed_error(f"Unexpected character {character!r}{hint}.", text, position)
        kind = str(match.lastgroup)
        if kind != "space":
            word = match[kind]
            if kind == "quoted":
                word = re.sub(r"\\([`\\])", r"\1", word)
            tokens.append(Token(kind, "^" if word == "**" and kind == "op" else word, position))
        position = match.end()
        if len(tokens) > _MOST_TOKENS:
            raise FormulaError(
                f"The formula has more than {_MOST_TOKENS} words and signs; columns of one kind "
                "are better made a matrix elsewhere."
            )
    _check_brackets(tokens, text)
    return tokens


def _check_brackets(tokens: list[Token], text: str) -> None:
    stack: list[Token] = []
    for token in tokens:
        if token.is_op("("):
            stack.append(token)
        elif token.is_op(")"):
            if not stack:
                raise pointed_error(f"This {token.text!r} closes nothing.", text, token.start)
            stack.pop()
    if stack:
        raise pointed_error(f"This {stack[-1].text!r} is never closed.", text, stack[-1].start)


def one_line(text: str) -> str:
    """Return a formula with one blank for each gap between words; what is in quotes stays.

    >>> one_line("y   ~ `a  b`")
    'y ~ `a  b`'
    """
    return _BLANKS.sub(lambda gap: gap[1] or " ", text).strip()


def quoted(name: str) -> str:
    """Return a name as a formula writes it: in backticks unless it is a plain word.

    >>> quoted("x.1"), quoted("my x"), quoted("TRUE")
    ('x.1', '`my x`', '`TRUE`')
    """
    if _PLAIN.fullmatch(name) and name not in WORDS:
        return name
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"


def pointed_error(message: str, text: str, place: int | None) -> FormulaError:
    """Return an error that shows the formula with a caret at the place."""
    if place is None:
        return FormulaError(f"{message}\n  {text}")
    flat = text.replace("\n", " ")
    return FormulaError(f"{message}\n  {flat}\n  {' ' * place}^")
