"""Read the tokens of a formula as a tree, with R's precedence of operators."""

from __future__ import annotations

from dataclasses import replace

from bayesv.formula.functions import ELEMENTWISE
from bayesv.formula.grouping import grouping_factors
from bayesv.formula.scan import WORDS, Token, pointed_error
from bayesv.formula.syntax import (
    Bar,
    Binary,
    Call,
    Name,
    Node,
    Number,
    Paren,
    Sum,
    Text,
    Unary,
    Word,
)
from bayesv.formula.templates import is_template, template_of

__all__ = ["Parser", "holds_bar"]

# How tightly operators bind, loosest first, as in R's table of syntax; sums stand between 4 and 6.
_BINDS = {
    "&": 2, "&&": 2,
    "==": 4, "!=": 4, "<": 4, ">": 4, "<=": 4, ">=": 4,
    "+": 5, "-": 5,
    "*": 6, "/": 6,
    "%in%": 7, "%%": 7, "%/%": 7,
    ":": 8,
    "^": 10,
}  # fmt: skip
_NOT, _COMPARES, _SUM, _SIGN, _POWER = 3, 4, 5, 9, 10
_TRUTH = ("TRUE", "FALSE", "True", "False")
_DEEPEST = 60


class Parser:
    """Precedence climbing over tokens; one parser reads one side of a formula.

    Parameters
    ----------
    tokens : list of Token
        Brackets match.
    text : str
        The whole formula, for messages.
    end : int
        Where the text of these tokens ends.
    depth : int
        How deep the tokens are nested in the formula.
    """

    def __init__(self, tokens: list[Token], text: str, end: int, depth: int = 0) -> None:
        self.tokens, self.text, self.end = tokens, text, end
        self.position, self.depth, self.calls = 0, depth, 0

    def whole(self) -> Node:
        """Return the tree of all tokens.

        Raises
        ------
        FormulaError
            Pointing at what cannot be read.
        """
        node = self._expression(0)
        if self.position < len(self.tokens):
            self._stray(self.tokens[self.position])
        return node

    def _stray(self, token: Token) -> None:
        if token.is_op("|", "||"):
            raise pointed_error(
                "A random term is written alone in parentheses, as '(x | group)', and added with "
                "'+'.",
                self.text,
                token.start,
            )
        if token.is_op(",", "=", ")"):
            raise pointed_error(f"Unexpected {token.text!r} here.", self.text, token.start)
        raise pointed_error(
            f"An operator is missing before {token.text!r}.", self.text, token.start
        )

    # --- operators --------------------------------------------------------------------------------

    def _expression(self, least: int) -> Node:
        """Read what binds at least so tightly."""
        self.depth += 1
        if self.depth > _DEEPEST:
            raise self._error(f"The formula is nested more than {_DEEPEST} deep here.")
        node = self._prefixed()
        chain = 0
        while (token := self._peek()) is not None and token.kind == "op":
            binds = _BINDS.get(token.text, -1)
            if binds < max(least, 0) or binds < 0:
                break
            chain += token.text not in "+-"
            if self.depth + chain > _DEEPEST:
                raise self._error(f"More than {_DEEPEST} operators in a row.")
            if binds == _SUM:
                node = self._sum(node)
                continue
            self.position += 1
            # A power takes its right side first, and a sign there: 2^-1, x^2^3.
            right = self._expression(_SIGN if binds == _POWER else binds + 1)
            if binds == _COMPARES and (after := self._peek()) and _BINDS.get(after.text) == binds:
                raise pointed_error(
                    "Comparisons do not chain; join two with '&'.", self.text, after.start
                )
            node = Binary(node.start, token.text, node, right)
        self.depth -= 1
        return node

    def _prefixed(self) -> Node:
        token = self._peek()
        if token is None or not token.is_op("-", "+", "!"):
            return self._operand()
        self.position += 1
        if token.text == "!":
            return Unary(token.start, "!", self._expression(_NOT))
        return Unary(token.start, token.text, self._expression(_SIGN))

    def _sum(self, first: Node) -> Node:
        items = [("+", first)]
        while (token := self._peek()) is not None and token.is_op("+", "-"):
            self.position += 1
            after = self._peek()
            if after is None:
                raise pointed_error("A term is missing here.", self.text, token.start)
            if self.calls == 0 and after.is_op("+", "-"):
                raise pointed_error(
                    f"There is nothing before this {after.text!r}.", self.text, after.start
                )
            items.append((token.text, self._expression(_SUM + 1)))
        return Sum(first.start, tuple(items))

    # --- operands ---------------------------------------------------------------------------------

    def _operand(self) -> Node:
        token = self._peek()
        if token is None:
            raise self._error("A term is missing here.")
        self.position += 1
        after = self._peek()
        if token.kind == "number":
            if (value := float(token.text)) == float("inf"):
                raise pointed_error("This number is too large.", self.text, token.start)
            return Number(token.start, value)
        if token.kind == "string":
            return Text(token.start, token.text[1:-1])
        if token.kind == "name" and after is not None and after.is_op("("):
            template = token.text not in ("I", *ELEMENTWISE) or is_template(token.text)
            if not self.calls and template and holds_bar(self.tokens, self.position):
                return self._templated(token)
            return self._call(token)
        if token.kind == "name" and token.text in WORDS:
            return Word(token.start, WORDS[token.text])
        if token.kind in ("name", "quoted"):
            return Name(token.start, token.text)
        if token.is_op("("):
            return self._parenthesis(token)
        if token.is_op("|", "||"):
            raise pointed_error("Nothing stands left of this bar.", self.text, token.start)
        if token.is_op(")"):
            raise pointed_error("A term is missing here.", self.text, token.start)
        if token.is_op("~"):
            raise pointed_error("'~' stands once, after the response.", self.text, token.start)
        package = ""
        if token.is_op(":") and self.text[: token.start].endswith(":"):
            package = " Functions are written without a package, such as ns(x, 3)."
        raise pointed_error(
            f"There is nothing before this {token.text!r}.{package}", self.text, token.start
        )

    def _parenthesis(self, opening: Token) -> Node:
        inner = self._inside()
        bars = [t for t, depth in zip(inner, _depths(inner), strict=True)
                if depth == 0 and t.is_op("|", "||")]  # fmt: skip
        closing = self.tokens[self.position - 1]
        if not bars or self.calls:
            return Paren(opening.start, self._within(inner, closing.start))
        return self._bar(opening, inner, bars)

    def _templated(self, word: Token) -> Bar:
        """Read ``kind(left | grouping, hom=TRUE)``."""
        opening = self.tokens[self.position]
        self.position += 1
        inner = self._inside()
        commas = [i for i, (t, depth) in enumerate(zip(inner, _depths(inner), strict=True))
                  if depth == 0 and t.is_op(",")]  # fmt: skip
        stop = commas[0] if commas else len(inner)
        template = template_of(word, self._option(inner[stop:]), self.text)
        bars = [t for t, depth in zip(inner, _depths(inner), strict=True)
                if depth == 0 and t.is_op("|", "||")]  # fmt: skip
        bar = self._bar(opening, inner[:stop], [t for t in bars if t in inner[:stop]])
        if not bar.correlated:
            raise pointed_error(
                f"{word.text}() says how its columns are correlated; write one bar.",
                self.text,
                bar.bar,
            )
        return replace(bar, start=word.start, template=template)

    def _option(self, tokens: list[Token]) -> tuple[Token, str] | None:
        """Read ``, hom=TRUE``."""
        if not tokens:
            return None
        words = [token.text for token in tokens[1:]]
        if len(words) != 3 or words[:2] != ["hom", "="] or words[2] not in _TRUTH:
            raise pointed_error(
                "After the grouping factor stands hom=TRUE (one SD) or hom=FALSE (an SD for each "
                "column), or nothing.",
                self.text,
                tokens[min(1, len(tokens) - 1)].start,
            )
        return tokens[1], words[2]

    def _bar(self, opening: Token, inner: list[Token], bars: list[Token]) -> Bar:
        """Read what stands on both sides of a bar."""
        if not bars:
            raise pointed_error("A bar and a grouping factor are needed before this comma.",
                                self.text, opening.start)  # fmt: skip
        bar = bars[0]
        if len(bars) > 1:
            self._stray(bar)
        place = inner.index(bar)
        left, right = inner[:place], inner[place + 1 :]
        for side, what in ((left, "left"), (right, "right")):
            if not side:
                raise pointed_error(f"Nothing stands {what} of this bar.", self.text, bar.start)
        groups = tuple(grouping_factors(right, self.text))
        return Bar(
            opening.start,
            self._within(left, bar.start),
            groups,
            bar.text == "|",
            bar.start,
        )

    def _within(self, tokens: list[Token], end: int) -> Node:
        inner = Parser(tokens, self.text, end, self.depth)
        inner.calls = self.calls
        return inner.whole()

    def _inside(self) -> list[Token]:
        """Return the tokens up to the closing bracket, and step behind it."""
        first, depth = self.position, 1
        while depth:
            token = self.tokens[self.position]
            depth += token.is_op("(") - token.is_op(")")
            self.position += 1
        return self.tokens[first : self.position - 1]

    def _call(self, name: Token) -> Call:
        self.position += 1
        self.calls += 1
        arguments: list[tuple[str | None, Node]] = []
        while (token := self._peek()) is not None and not token.is_op(")"):
            if arguments:
                if not token.is_op(","):
                    self._stray_in_call(token)
                self.position += 1
            arguments.append(self._argument())
        self.position += 1
        self.calls -= 1
        return Call(name.start, name.text, tuple(arguments))

    def _stray_in_call(self, token: Token) -> None:
        if token.is_op("|", "||"):
            raise pointed_error(
                "A bar inside a function is no 'or' in lme4's formulas, where it makes a random "
                "term; make a column of it.",
                self.text,
                token.start,
            )
        self._stray(token)

    def _argument(self) -> tuple[str | None, Node]:
        token = self._peek()
        after = self.tokens[self.position + 1] if self.position + 1 < len(self.tokens) else None
        key = None
        if token is not None and token.kind == "name" and after is not None and after.is_op("="):
            key = token.text
            self.position += 2
        return key, self._expression(0)

    # --- where the parser is ----------------------------------------------------------------------

    def _peek(self) -> Token | None:
        return self.tokens[self.position] if self.position < len(self.tokens) else None

    def _error(self, message: str) -> Exception:
        token = self._peek()
        return pointed_error(message, self.text, self.end if token is None else token.start)


def holds_bar(tokens: list[Token], opening: int) -> bool:
    """Whether a bar stands in a pair of brackets, and in none inside it."""
    depth = 0
    for token in tokens[opening:]:
        depth += token.is_op("(") - token.is_op(")")
        if depth == 0:
            break
        if depth == 1 and token.is_op("|", "||"):
            return True
    return False


def _depths(tokens: list[Token]) -> list[int]:
    """Bracket depth at each token."""
    depths, depth = [], 0
    for token in tokens:
        depth -= token.is_op(")")
        depths.append(depth)
        depth += token.is_op("(")
    return depths
