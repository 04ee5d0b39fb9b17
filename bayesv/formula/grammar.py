"""lme4's formula language: find the random terms, leave the rest to formulae.

Only text is read here. The fixed part and the left-hand sides of random terms come back as text
that formulae understands (R's ``^``, ``TRUE`` translated); the grouping side is fully resolved.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from bayesv.errors import FormulaError

__all__ = ["Formula", "RandomText", "parse", "pointed_error"]

_TOKEN = re.compile(
    r"(?P<space>\s+)|(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)|(?P<name>(?:[^\W\d]|\.(?=[^\W\d]))[\w.]*)|"
    r"(?P<quoted>`[^`]+`)|(?P<string>'[^']*'|\"[^\"]*\")|"
    r"(?P<op>\*\*|\|\||//|[=!<>]=|%in%|[-+*/:^~|()\[\]{},=<>%!])"
)
_TRANSLATE = {"^": "**", "TRUE": "True", "FALSE": "False", "%in%": ":", "as.factor": "factor"}
_FACTOR_CALLS = ("factor", "as.factor", "C", "T", "S")


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str
    start: int


@dataclass(frozen=True)
class RandomText:
    """One random term as written: ``lhs`` is text, ``factors`` are column names, outermost last.

    ``label`` is lme4's: ``c:(b:a)`` for the innermost factor of ``a/b/c``.
    """

    lhs: str
    factors: tuple[str, ...]
    label: str
    correlated: bool
    start: int


@dataclass(frozen=True)
class Formula:
    """A formula taken apart.

    ``names`` and ``functions`` map what is used to its place in the text; ``factors`` are variables
    that the formula itself turns into factors; ``offsets`` are the arguments of ``offset()``.
    """

    text: str
    response: str
    fixed: str
    offsets: tuple[str, ...]
    random: tuple[RandomText, ...]
    names: dict[str, int]
    functions: dict[str, int]
    factors: frozenset[str]


def parse(text: str) -> Formula:
    """Take an lme4 formula apart.

    Parameters
    ----------
    text : str
        Such as ``"y ~ x + (x | a/b) + (1 | c)"``.

    Returns
    -------
    Formula

    Raises
    ------
    FormulaError
        If the formula is malformed; the message points at the place.
    """
    if not isinstance(text, str) or not text.strip():
        raise FormulaError(
            f"A formula is needed as text, such as 'y ~ x + (x | group)'; found {text!r}."
        )
    tokens = _scan(text)
    _check_brackets(tokens, text)
    _check_operators(tokens, text)
    _refuse_ambiguous_powers(tokens, text)
    tildes = [i for i, token in enumerate(tokens) if token.text == "~"]
    if len(tildes) != 1:
        place = tokens[tildes[1]].start if tildes else None
        raise pointed_error(f"A formula needs exactly one '~', found {len(tildes)}.", text, place)
    left, right = tokens[: tildes[0]], tokens[tildes[0] + 1 :]
    if not left:
        raise pointed_error(
            "There is no response on the left of '~'.", text, tokens[tildes[0]].start
        )
    fixed: list[str] = []
    offsets: list[str] = []
    random: list[RandomText] = []
    for sign, chunk in _summands(right, text):
        if any(token.kind == "op" and token.text in ("|", "||") for token in chunk):
            if sign == "-":
                raise pointed_error("A random term cannot be subtracted.", text, chunk[0].start)
            random.extend(_random_terms(chunk, text))
        elif chunk[0].text == "offset" and _operand_end(chunk, 0) == len(chunk) and sign == "+":
            offsets.append(_text(chunk[2:-1]))
        elif any(token.kind == "name" and token.text == "offset" for token in chunk):
            raise pointed_error(
                "offset() stands alone and is added with '+'.", text, chunk[0].start
            )
        else:
            fixed.append(f"{sign} {_text(_without_slash(chunk))}")
    if not random:
        raise FormulaError(
            f"The formula {text!r} has no random term. Add one, such as '(1 | group)'; "
            "without one, V = σ² R and ordinary least squares is the answer."
        )
    names, functions = _variables(tokens)
    response = left[0].text.strip("`")
    used_again, _ = _variables(right)
    if len(left) == 1 and response in used_again:
        raise pointed_error(
            f"The response {response!r} is also a predictor.", text, used_again[response]
        )
    return Formula(
        text=" ".join(text.split()),
        response=_text(left),
        fixed=re.sub(r"^\+\s*", "", " ".join(fixed)) or "1",
        offsets=tuple(offsets),
        random=tuple(random),
        names=names,
        functions=functions,
        factors=frozenset(
            name.text.strip("`")
            for call, name in zip(tokens, tokens[2:], strict=False)
            if call.text in _FACTOR_CALLS and call.kind == "name"
        ),
    )


def _scan(text: str) -> list[_Token]:
    tokens: list[_Token] = []
    position = 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise pointed_error(f"Unexpected character {text[position]!r}.", text, position)
        kind = str(match.lastgroup)
        if kind != "space":
            tokens.append(_Token(kind, match.group(), position))
        position = match.end()
    return tokens


def _check_brackets(tokens: list[_Token], text: str) -> None:
    closing = {")": "(", "]": "[", "}": "{"}
    stack: list[_Token] = []
    for token in tokens:
        if token.kind != "op":
            continue
        if token.text in closing.values():
            stack.append(token)
        elif token.text in closing and (not stack or stack.pop().text != closing[token.text]):
            raise pointed_error(f"This {token.text!r} closes nothing.", text, token.start)
    if stack:
        raise pointed_error(f"This {stack[-1].text!r} is never closed.", text, stack[-1].start)


def _depths(tokens: list[_Token]) -> list[int]:
    """Bracket depth at each token; an opening and its closing bracket have the outer depth."""
    depths, depth = [], 0
    for token in tokens:
        if token.kind == "op" and token.text in ")]}":
            depth -= 1
        depths.append(depth)
        if token.kind == "op" and token.text in "([{":
            depth += 1
    return depths


def _summands(tokens: list[_Token], text: str) -> list[tuple[str, list[_Token]]]:
    """Split the right-hand side at + and − outside brackets."""
    chunks: list[tuple[str, list[_Token]]] = []
    sign, chunk = "+", list[_Token]()
    last = tokens[-1].start + 1 if tokens else len(text)
    for token, depth in zip(tokens, _depths(tokens), strict=True):
        if depth == 0 and token.kind == "op" and token.text in "+-":
            if chunk:
                chunks.append((sign, chunk))
            elif chunks:
                raise pointed_error(
                    f"There is nothing before this {token.text!r}.", text, token.start
                )
            sign, chunk, last = token.text, [], token.start
        else:
            chunk.append(token)
    if not chunk:
        raise pointed_error("A term is missing here.", text, last)
    return [*chunks, (sign, chunk)]


def _random_terms(chunk: list[_Token], text: str) -> list[RandomText]:
    depths = _depths(chunk)
    wrapped = chunk[0].text == "(" and all(depth > 0 for depth in depths[1:-1])
    bars = [i for i, t in enumerate(chunk) if t.kind == "op" and t.text in ("|", "||")]
    if not wrapped or len(bars) != 1 or depths[bars[0]] != 1:
        raise pointed_error(
            "A random term is written alone in parentheses, as '(x | group)', and added with '+'.",
            text,
            chunk[bars[0]].start,
        )
    bar = bars[0]
    lhs, rhs = chunk[1:bar], chunk[bar + 1 : -1]
    for token in lhs:
        if token.kind == "name" and token.text == "offset":
            raise pointed_error("The left side of a random term has an offset.", text, token.start)
    for side, what in ((lhs, "left"), (rhs, "right")):
        if not side:
            raise pointed_error(f"Nothing stands {what} of this bar.", text, chunk[bar].start)
    correlated = chunk[bar].text == "|"
    return [
        RandomText(_text(lhs), factors, label, correlated, chunk[0].start)
        for factors, label in _Grouping(rhs, text).expand()
    ]


class _Grouping:
    """Recursive descent over the grouping side: ``/`` nests, ``:`` interacts."""

    def __init__(self, tokens: list[_Token], text: str) -> None:
        self.tokens, self.text, self.position = tokens, text, 0

    def expand(self) -> list[tuple[tuple[str, ...], str]]:
        """Return (factors, lme4 label) of every grouping factor written."""
        nested = [self._interaction()]
        while self._accept("/"):
            nested.append(self._interaction())
        if self.position < len(self.tokens):
            token = self.tokens[self.position]
            raise pointed_error(
                f"{token.text!r} has no meaning among grouping factors; use ':' for an "
                "interaction, '/' for nesting, and separate terms for crossed factors.",
                self.text,
                token.start,
            )
        out = [nested[0]]
        for factors, label in nested[1:]:
            outer_factors, outer_label = out[-1]
            outer = f"({outer_label})" if ":" in outer_label else outer_label
            out.append((factors + outer_factors, f"{label}:{outer}"))
        return out

    def _interaction(self) -> tuple[tuple[str, ...], str]:
        factors, label = self._primary()
        while self._accept(":"):
            more, more_label = self._primary()
            factors, label = factors + more, f"{label}:{more_label}"
        return factors, label

    def _primary(self) -> tuple[tuple[str, ...], str]:
        if self._accept("("):
            factors, label = self._interaction()
            self._expect(")")
            return factors, f"({label})" if ":" in label else label
        token = self._next("a grouping factor")
        if token.text in _FACTOR_CALLS and self._accept("("):
            factors, label = self._primary()
            self._expect(")")
            return factors, label
        if token.kind not in ("name", "quoted"):
            raise pointed_error(
                f"A grouping factor is needed here, found {token.text!r}.", self.text, token.start
            )
        if self._accept("("):
            raise pointed_error(
                f"The grouping side takes column names, not the function {token.text!r}; make a "
                "column of it first.",
                self.text,
                token.start,
            )
        name = token.text.strip("`")
        if "/" in name:  # it would be read as nesting, and draws are stored under paths
            raise pointed_error(
                f"The name of the grouping factor {name!r} has a '/'; rename the column.",
                self.text,
                token.start,
            )
        return (name,), name

    def _accept(self, text: str) -> bool:
        found = self.position < len(self.tokens) and self.tokens[self.position].text == text
        self.position += found
        return found

    def _expect(self, text: str) -> None:
        if not self._accept(text):
            place = self.tokens[min(self.position, len(self.tokens) - 1)].start
            raise pointed_error(f"{text!r} is missing here.", self.text, place)

    def _next(self, what: str) -> _Token:
        if self.position >= len(self.tokens):
            raise pointed_error(f"{what} is missing here.", self.text, self.tokens[-1].start + 1)
        self.position += 1
        return self.tokens[self.position - 1]


def _variables(tokens: list[_Token]) -> tuple[dict[str, int], dict[str, int]]:
    """Return names of variables and of functions with their first place; keywords excluded."""
    names: dict[str, int] = {}
    functions: dict[str, int] = {}
    for i, token in enumerate(tokens):
        after = tokens[i + 1].text if i + 1 < len(tokens) else ""
        if token.kind == "quoted":
            names.setdefault(token.text.strip("`"), token.start)
        elif token.kind == "name" and after == "(":
            functions.setdefault(token.text, token.start)
        elif token.kind == "name" and after != "=" and token.text not in _LITERALS:
            names.setdefault(token.text, token.start)
    return names, functions


_LITERALS = ("TRUE", "FALSE", "True", "False", "None", "NULL")


def _check_operators(tokens: list[_Token], text: str) -> None:
    """Refuse two operands side by side: formulae would silently stop reading there."""
    for before, token in pairwise(tokens):
        ends = before.kind in _OPERANDS or before.text in ")]"
        begins = token.kind in _OPERANDS or (token.text == "(" and before.kind != "name")
        if ends and begins:
            raise pointed_error(f"An operator is missing before {token.text!r}.", text, token.start)


_OPERANDS = ("name", "number", "quoted", "string")


def _operand_end(tokens: list[_Token], start: int) -> int:
    """Position after the operand at ``start``: a name, a number, a bracket, or a call."""
    depths = _depths(tokens)
    at = start
    if tokens[at].text != "(":
        at += 1
        if at >= len(tokens) or tokens[at].text != "(" or tokens[start].kind != "name":
            return at
    closing = (k for k in range(at + 1, len(tokens)) if depths[k] == depths[at])
    return next(closing, len(tokens) - 1) + 1


def _refuse_ambiguous_powers(tokens: list[_Token], text: str) -> None:
    """Ask for brackets where formulae's powers are not R's and Python's.

    formulae reads ``-x**2`` as ``(-x)**2`` and ``a**b**c`` as ``(a**b)**c``.
    """
    powers = ("^", "**")
    for i, token in enumerate(tokens[:-1]):
        negative = token.text == "-" and i and tokens[i - 1].text in ("(", ",", "=", "*", "/")
        if token.kind != "op" or not (negative or token.text in powers):
            continue
        end = _operand_end(tokens, i + 1)
        if end < len(tokens) and tokens[end].text in powers:
            operand = _text(tokens[i + 1 : end])
            raise pointed_error(
                f"'{token.text}{operand}{tokens[end].text}…' is read differently by R and by "
                f"formulae; set brackets, such as '{token.text}({operand}{tokens[end].text}…)'.",
                text,
                token.start,
            )


def _without_slash(chunk: list[_Token]) -> list[_Token]:
    """Write ``a/b`` of the fixed part as ``a + a:b``."""
    slashes = [i for i, d in enumerate(_depths(chunk)) if d == 0 and chunk[i].text == "/"]
    if not slashes or any(
        d == 0 and token.text == "*" for token, d in zip(chunk, _depths(chunk), strict=True)
    ):
        return chunk
    parts, start = [], 0
    for stop in [*slashes, len(chunk)]:
        parts.append(chunk[start:stop])
        start = stop + 1
    out = list(parts[0])
    for k in range(2, len(parts) + 1):
        out.append(_Token("op", "+", chunk[0].start))
        for i, part in enumerate(parts[:k]):
            out += [_Token("op", ":", part[0].start)] * bool(i) + part
    return out


def _text(tokens: list[_Token]) -> str:
    """Return tokens as text for formulae: Python's operators, plain decimals, tidy brackets."""
    out = ""
    for i, token in enumerate(tokens):
        before = tokens[i - 1] if i else None
        word = token.text
        call = i + 1 < len(tokens) and tokens[i + 1].text == "("
        if token.kind in ("op", "name"):
            word = _TRANSLATE.get(word, word)
        elif token.kind == "number":
            word = np.format_float_positional(float(word), trim="-")
        if token.kind == "name" and not call and not word[0].isalpha():
            word = f"`{word}`"  # formulae's names start with a letter
        opening = token.text == "(" and before is not None and before.kind == "name"
        tight = before is None or before.text in "([" or token.text in ")]," or opening
        out += word if tight else f" {word}"
    return out


def pointed_error(message: str, text: str, place: int | None) -> FormulaError:
    """Return an error that shows the formula with a caret at the place."""
    if place is None:
        return FormulaError(f"{message}\n  {text}")
    flat = text.replace("\n", " ")
    return FormulaError(f"{message}\n  {flat}\n  {' ' * place}^")
