"""lme4's formula language: the response, the fixed part, offsets and random terms of a text."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from bayesv.errors import FormulaError
from bayesv.formula.algebra import Terms, expand, without_parentheses
from bayesv.formula.grouping import FACTOR_CALLS
from bayesv.formula.parser import Parser, holds_bar
from bayesv.formula.scan import WORDS, Token, one_line, pointed_error, scan
from bayesv.formula.syntax import Bar, Call, Name, Node, Paren, Sum, Template, Unary, label, nodes

__all__ = ["Formula", "RandomText", "parse", "pointed_error"]


@dataclass(frozen=True)
class RandomText:
    """One random term: its left side, its ``factors`` (column names, outermost last) and label.

    ``label`` is lme4's: ``c:(b:a)`` for the innermost factor of ``a/b/c``; ``sides`` are the parts
    of the left side whose columns are correlated within, not between: one of ``(x | g)``, and of
    ``(x || g)`` one for the intercept and each term, as in lme4. ``template`` is the family of
    covariances of ``kind(left | g)``.
    """

    lhs: str
    factors: tuple[str, ...]
    label: str
    correlated: bool
    start: int
    sides: tuple[Terms, ...]
    template: Template | None = None


@dataclass(frozen=True)
class Formula:
    """A formula taken apart.

    ``names`` and ``functions`` map what is used to its place in the text; ``factors`` are variables
    that the formula itself turns into factors; ``response``, ``fixed`` and ``offsets`` (the
    arguments of ``offset()``) are text, of which ``response_node``, ``terms`` and ``offset_nodes``
    are the meaning.
    """

    text: str
    response: str
    fixed: str
    offsets: tuple[str, ...]
    random: tuple[RandomText, ...]
    names: dict[str, int]
    functions: dict[str, int]
    factors: frozenset[str]
    response_node: Node
    terms: Terms
    offset_nodes: tuple[Node, ...]


def parse(text: str, *, random: bool = True) -> Formula:
    """Take an lme4 formula apart.

    Parameters
    ----------
    text : str
        Such as ``"y ~ x + (x | a/b) + (1 | c)"``.
    random : bool
        Whether it must have a random term.

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
    return _parsed(text, random)


@lru_cache(maxsize=256)
def _parsed(text: str, random: bool) -> Formula:
    tokens = scan(text)
    left, right = _sides(tokens, text)
    response = _response(left, text)
    summands = list(_summands(Parser(right, text, len(text)).whole(), "+", text))
    fixed = [(sign, node) for sign, node in summands if not isinstance(node, Bar | Call)
             or (isinstance(node, Call) and node.function != "offset")]  # fmt: skip
    offsets = [_offset(sign, node, text) for sign, node in summands
               if isinstance(node, Call) and node.function == "offset"]  # fmt: skip
    part = Sum(0, tuple(fixed)) if fixed else None
    terms = expand(part, text)
    terms_of_groups = [term for sign, node in summands if isinstance(node, Bar)
                       for term in _random_terms(sign, node, text)]  # fmt: skip
    if random and not terms_of_groups:
        raise FormulaError(
            f"The formula {text!r} has no random term. Add one, such as '(1 | group)', or a "
            "residual correlation, such as residual='us(visit | subject)'; without either, V = σ²I "
            "and ordinary least squares is the answer."
        )
    names, functions = _used(tokens)
    used_again, _ = _used(right)
    if isinstance(response, Name) and response.name in used_again:
        raise pointed_error(
            f"The response {response.name!r} is also a predictor.", text, used_again[response.name]
        )
    return Formula(
        text=one_line(text),
        response=response.name if isinstance(response, Name) else label(response),
        fixed="1" if part is None else label(part).removeprefix("+ "),
        offsets=tuple(label(node) for node in offsets),
        random=tuple(terms_of_groups),
        names=names,
        functions=functions,
        factors=_made_factors(tokens),
        response_node=response,
        terms=terms,
        offset_nodes=tuple(offsets),
    )


def _sides(tokens: list[Token], text: str) -> tuple[list[Token], list[Token]]:
    tildes = [i for i, token in enumerate(tokens) if token.is_op("~")]
    if len(tildes) != 1:
        place = tokens[tildes[1]].start if tildes else None
        raise pointed_error(f"A formula needs exactly one '~', found {len(tildes)}.", text, place)
    left, right = tokens[: tildes[0]], tokens[tildes[0] + 1 :]
    if not left:
        raise pointed_error(
            "There is no response on the left of '~'.", text, tokens[tildes[0]].start
        )
    if sum(t.is_op("(") - t.is_op(")") for t in left):
        raise pointed_error("'~' stands inside brackets.", text, tokens[tildes[0]].start)
    if not right:
        raise pointed_error("A term is missing here.", text, len(text))
    return left, right


def _response(tokens: list[Token], text: str) -> Node:
    """Read the left side, which is arithmetic: ``post - pre`` is a difference, ``y^2`` a square."""
    parser = Parser(tokens, text, tokens[-1].start + 1)
    parser.calls = 1
    node = without_parentheses(parser.whole())
    for inner in nodes(node):
        if isinstance(inner, Call) and inner.function in ("cbind", "c", "offset"):
            raise pointed_error(
                f"{inner.function}() on the left of '~': a model has one response, a number a row.",
                text,
                inner.start,
            )
    return node


def _summands(node: Node, sign: str, text: str) -> list[tuple[str, Node]]:
    """Return what is added and subtracted at the top, through parentheses that hold bars."""
    if isinstance(node, Sum):
        parts: list[tuple[str, Node]] = []
        for item_sign, item in node.items:
            if sign == "-" and _has_parts(item):
                raise pointed_error("A random term cannot be subtracted.", text, item.start)
            parts += _summands(item, item_sign, text)
        return parts
    if isinstance(node, Paren) and _has_parts(node):
        if sign == "-":
            raise pointed_error("A random term cannot be subtracted.", text, node.start)
        return _summands(node.inner, "+", text)
    if isinstance(node, Unary) and node.op == "-" and _has_parts(node):
        raise pointed_error("A random term cannot be subtracted.", text, node.start)
    return [(sign, node)]


def _has_parts(node: Node) -> bool:
    """Whether bars or offsets are among the summands of a node."""
    stack = [node]
    while stack:
        current = stack.pop()
        if isinstance(current, Bar) or (isinstance(current, Call) and current.function == "offset"):
            return True
        if isinstance(current, Paren):
            stack.append(current.inner)
        elif isinstance(current, Sum):
            stack += [item for _, item in current.items]
        elif isinstance(current, Unary):
            stack.append(current.operand)
    return False


def _offset(sign: str, node: Call, text: str) -> Node:
    if sign == "-" or len(node.arguments) != 1 or node.arguments[0][0] is not None:
        raise pointed_error(
            "offset() stands alone, is added with '+' and has one argument.", text, node.start
        )
    return node.arguments[0][1]


def _random_terms(sign: str, bar: Bar, text: str) -> list[RandomText]:
    if sign == "-":
        raise pointed_error("A random term cannot be subtracted.", text, bar.start)
    for inner in nodes(bar.left):
        if isinstance(inner, Call) and inner.function == "offset":
            raise pointed_error("The left side of a random term has an offset.", text, inner.start)
    terms = expand(bar.left, text)
    if not terms.terms and not terms.intercept:
        raise pointed_error(
            f"'({label(bar.left)} | …)' has no column; the left side of a random term needs some.",
            text,
            bar.start,
        )
    sides = (terms,) if bar.correlated else terms.apart()
    return [
        RandomText(label(bar.left), factors, name, bar.correlated, bar.start, sides, bar.template)
        for factors, name in bar.groups
    ]


def _used(tokens: list[Token]) -> tuple[dict[str, int], dict[str, int]]:
    """Return names of variables and of functions with their first place; keywords excluded."""
    names: dict[str, int] = {}
    functions: dict[str, int] = {}
    for i, (token, after) in enumerate(
        zip(tokens, [*tokens[1:], Token("end", "", 0)], strict=True)
    ):
        if token.kind == "quoted":
            names.setdefault(token.text, token.start)
        elif token.kind == "name" and after.is_op("("):
            if not holds_bar(tokens, i + 1):
                functions.setdefault(token.text, token.start)
        elif token.kind == "name" and not after.is_op("=") and token.text not in WORDS:
            names.setdefault(token.text, token.start)
    return names, functions


def _made_factors(tokens: list[Token]) -> frozenset[str]:
    """Names that stand first in a call that makes a factor."""
    return frozenset(
        name.text
        for call, opening, name in zip(tokens, tokens[1:], tokens[2:], strict=False)
        if call.kind == "name" and call.text in (*FACTOR_CALLS, "ordered") and opening.is_op("(")
        and name.kind in ("name", "quoted")
    )  # fmt: skip
