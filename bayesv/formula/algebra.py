"""R's algebra of terms: operators become sets of variables, in R's order and with R's coding."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

from bayesv.errors import FormulaError
from bayesv.formula.scan import pointed_error
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
    label,
    nodes,
)

__all__ = ["Terms", "expand", "variable_label"]

_MOST_TERMS = 2_000
_OPERATORS = ("*", ":", "/", "%in%", "^")


@dataclass(frozen=True)
class Terms:
    """What one side of a formula stands for.

    Attributes
    ----------
    variables : tuple of Node
        In the order in which they are first written, those of deleted terms too: as in R, rows
        where one is missing are not used.
    terms : tuple of tuple of int
        Positions of the variables of each term, by increasing number of variables.
    intercept : bool
    notes : tuple of str
        What was written without effect.
    """

    variables: tuple[Node, ...]
    terms: tuple[tuple[int, ...], ...]
    intercept: bool
    notes: tuple[str, ...] = ()

    def coded_in_full(self, factors: Collection[int]) -> list[frozenset[int]]:
        """Return for each term the factors among its variables with one column for each level.

        Parameters
        ----------
        factors : collection of int
            Positions of the variables that are factors.

        Notes
        -----
        A factor v of a term t is coded by contrasts if an earlier term contains t without v, or
        t is v alone, and by indicators of all levels if not; without an intercept, the first factor
        of the first term that has one is coded by indicators. These are the rules of R's
        ``terms`` and ``model.matrix``, which do not look at whether the other variables are
        factors.
        """
        earlier: list[set[int]] = []
        full = []
        for term in self.terms:
            members, coded = set(term), set[int]()
            for v in term:
                rest = members - {v}
                if rest and v in factors and not any(rest <= other for other in earlier):
                    coded.add(v)
            earlier.append(members)
            full.append(coded)
        if not self.intercept:
            for term, coded in zip(self.terms, full, strict=True):
                first = next((v for v in term if v in factors), None)
                if first is not None:
                    coded.add(first)
                    break
        return [frozenset(coded) for coded in full]

    def apart(self) -> tuple[Terms, ...]:
        """Return the intercept and each term by itself, as lme4 reads ``(… || g)``.

        What is deleted there is gone with its variables, whose gaps cost no row.
        """
        parts = [Terms((), (), True)] if self.intercept else []
        for term in self.terms:
            variables = tuple(self.variables[v] for v in term)
            parts.append(Terms(variables, (tuple(range(len(variables))),), False))
        return replace(parts[0], notes=self.notes), *parts[1:]


def variable_label(node: Node) -> str:
    """Return the text of a variable; a column has its own name, one called Intercept in quotes."""
    node = without_parentheses(node)
    if isinstance(node, Name) and node.name != "Intercept":
        return node.name
    return f"`{node.name}`" if isinstance(node, Name) else label(node)


def without_parentheses(node: Node) -> Node:
    """Return what stands in parentheses, however many."""
    while isinstance(node, Paren):
        node = node.inner
    return node


def expand(node: Node | None, text: str) -> Terms:
    """Return the terms of one side of a formula; None is an empty side.

    Raises
    ------
    FormulaError
        If something in it cannot be a term; the message points at the place.
    """
    expansion = _Expansion(text)
    terms = [] if node is None else expansion.of(node)
    terms = sorted(dict.fromkeys(terms), key=len)
    return Terms(
        tuple(expansion.variables.values()),
        tuple(tuple(sorted(term)) for term in terms),
        expansion.intercept,
        tuple(expansion.notes),
    )


_Term = frozenset[int]


class _Expansion:
    """One walk over a side; the intercept is switched as it is met, as in R."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.variables: dict[str, Node] = {}
        self.places: dict[str, int] = {}
        self.intercept, self.adding = True, True
        self.notes: list[str] = []

    def of(self, node: Node) -> list[_Term]:
        match node:
            case Paren():
                return self.of(node.inner)
            case Sum():
                return self._sum(node)
            case Unary(op="+"):
                return self.of(node.operand)
            case Unary(op="-"):
                return self._deleted([], node.operand)
            case Binary() if node.op in _OPERATORS:
                return self._product(node)
            case Number(value=0 | 1):
                self.intercept = self.adding == (node.value == 1)
                return []
            case Number() | Text() | Word():
                raise pointed_error(
                    f"{label(node)} is no term; 1 and 0 stand for an intercept or none, and "
                    "arithmetic is written in I(…), such as I(2 * x).",
                    self.text,
                    node.start,
                )
            case Bar():
                raise pointed_error(
                    "A random term is written alone in parentheses, as '(x | group)', and added "
                    "with '+'.",
                    self.text,
                    node.bar,
                )
            case Call(function="offset"):
                raise pointed_error(
                    "offset() stands alone and is added with '+'.", self.text, node.start
                )
        return [self._variable(node)]

    def _variable(self, node: Node) -> _Term:
        for inner in nodes(node):
            if isinstance(inner, Bar) or (isinstance(inner, Call) and inner.function == "offset"):
                self.of(inner)  # says what is wrong with it
        key = label(node)
        self.variables.setdefault(key, node)
        return frozenset([self.places.setdefault(key, len(self.places))])

    def _sum(self, node: Sum) -> list[_Term]:
        terms: dict[_Term, None] = {}
        for sign, item in node.items:
            if sign == "-":
                terms = dict.fromkeys(self._deleted(list(terms), item))
            else:
                terms.update(dict.fromkeys(self.of(item)))
        return list(terms)

    def _deleted(self, terms: list[_Term], node: Node) -> list[_Term]:
        self.adding = not self.adding
        deleted = self.of(node)
        self.adding = not self.adding
        if deleted and not any(term in terms for term in deleted):
            self.notes.append(f"'- {label(node)}' deletes no term")
        return [term for term in terms if term not in deleted]

    def _product(self, node: Binary) -> list[_Term]:
        operands = (node.left,) if node.op == "^" else (node.left, node.right)
        for operand in operands:
            inner = without_parentheses(operand)
            if isinstance(inner, Number | Text | Word | Unary):
                raise pointed_error(
                    f"{label(inner)} has no meaning beside {node.op!r} in a formula; arithmetic is "
                    "written in I(…).",
                    self.text,
                    inner.start,
                )
        left = self.of(node.left)
        if node.op == "^":
            return self._power(left, node)
        right = self.of(node.right)
        for terms, operand in ((left, node.left), (right, node.right)):
            if not terms:
                raise pointed_error(
                    f"{label(operand)} has no term, and {node.op!r} needs one on either side.",
                    self.text,
                    operand.start,
                )
        if node.op == ":":
            return self._crossed(left, right)
        if node.op == "*":
            return self._few([*left, *right, *self._crossed(left, right)])
        if node.op == "/":
            outer = frozenset[int]().union(*left)
            return self._few([*left, *(outer | term for term in right)])
        outer = frozenset[int]().union(*right)
        return self._few([outer | term for term in left])

    def _power(self, left: list[_Term], node: Binary) -> list[_Term]:
        power = node.right
        if not isinstance(power, Number) or power.value < 2 or power.value % 1:
            raise pointed_error(
                f"'^ {label(power)}' is no power of terms; it needs a whole number from 2, and "
                "arithmetic is written I(x^2).",
                self.text,
                power.start,
            )
        terms = left
        for _ in range(int(min(power.value, len(left) + 1)) - 1):  # no more terms after that
            terms = self._crossed(terms, left)
        return terms

    def _crossed(self, left: list[_Term], right: list[_Term]) -> list[_Term]:
        if len(left) * len(right) > _MOST_TERMS**2:
            self._few(left + right, more=True)
        return self._few([a | b for a in left for b in right])

    def _few(self, terms: list[_Term], more: bool = False) -> list[_Term]:
        """Drop repeated terms; refuse what no computer holds."""
        terms = list(dict.fromkeys(terms))
        if more or len(terms) > _MOST_TERMS:
            raise FormulaError(
                f"The operators of the formula make more than {_MOST_TERMS} terms; write the "
                f"terms that are meant.\n  {self.text}"
            )
        return terms
