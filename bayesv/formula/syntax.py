"""The tree of a formula: what can be written, and how it reads as text."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from bayesv.formula.scan import quoted

__all__ = ["Bar", "Binary", "Call", "Name", "Node", "Number", "Paren", "Sum", "Template", "Text",
           "Unary", "Word", "label", "nodes"]  # fmt: skip


@dataclass(frozen=True)
class Node:
    """A part of a formula, and where it starts in the text."""

    start: int = field(compare=False)


@dataclass(frozen=True)
class Name(Node):
    """A column, or a value of the namespace."""

    name: str


@dataclass(frozen=True)
class Number(Node):
    """A number as written."""

    value: float


@dataclass(frozen=True)
class Text(Node):
    """A text in quotes."""

    value: str


@dataclass(frozen=True)
class Word(Node):
    """TRUE, FALSE or NULL."""

    value: bool | None


@dataclass(frozen=True)
class Paren(Node):
    """Something in parentheses."""

    inner: Node


@dataclass(frozen=True)
class Unary(Node):
    """A sign, or ``!``, before something."""

    op: str
    operand: Node


@dataclass(frozen=True)
class Binary(Node):
    """An operator between two things, sums apart."""

    op: str
    left: Node
    right: Node


@dataclass(frozen=True)
class Sum(Node):
    """What is added and subtracted, in turn; long sums are wide, not deep."""

    items: tuple[tuple[str, Node], ...]


@dataclass(frozen=True)
class Call(Node):
    """A function with arguments, each with the name it was given or None."""

    function: str
    arguments: tuple[tuple[str | None, Node], ...]


@dataclass(frozen=True)
class Template:
    """A family of covariances of random effects: its word as written, and its kind."""

    word: str
    kind: str


@dataclass(frozen=True)
class Bar(Node):
    """``(left | grouping)``: the grouping factors it stands for, and their labels.

    ``template`` is the family of ``kind(left | grouping)``.
    """

    left: Node
    groups: tuple[tuple[tuple[str, ...], str], ...]
    correlated: bool
    bar: int = field(compare=False, default=0)
    template: Template | None = None


def children(node: Node) -> tuple[Node, ...]:
    """Return what a node is made of."""
    match node:
        case Paren():
            return (node.inner,)
        case Unary():
            return (node.operand,)
        case Binary():
            return (node.left, node.right)
        case Sum():
            return tuple(item for _, item in node.items)
        case Call():
            return tuple(argument for _, argument in node.arguments)
        case Bar():
            return (node.left,)
    return ()


def nodes(node: Node) -> Iterator[Node]:
    """Yield a node and all that is in it, in the order of the text."""
    stack = [node]
    while stack:
        current = stack.pop()
        yield current
        stack.extend(reversed(children(current)))


def label(node: Node) -> str:
    """Return a node as text, one spelling whatever blanks were written.

    Powers read as in Python, ``x ** 2``.
    """
    match node:
        case Name():
            return quoted(node.name)
        case Number():
            return _number(node.value)
        case Text():
            return f'"{node.value}"' if "'" in node.value else f"'{node.value}'"
        case Word():
            return str(node.value)
        case Paren():
            return f"({label(node.inner)})"
        case Unary():
            return f"{node.op}{label(node.operand)}"
        case Binary(op=":", left=Number(), right=Number()):
            return f"{label(node.left)}:{label(node.right)}"
        case Binary():
            op = "**" if node.op == "^" else node.op
            return f"{label(node.left)} {op} {label(node.right)}"
        case Sum():
            (_, first), *rest = node.items
            return " ".join([label(first), *(f"{sign} {label(item)}" for sign, item in rest)])
        case Call():
            arguments = [f"{f'{key}=' if key else ''}{label(a)}" for key, a in node.arguments]
            return f"{node.function}({', '.join(arguments)})"
        case Bar():
            bar = "|" if node.correlated else "||"
            groups = " + ".join(name for _, name in node.groups)
            word = "" if node.template is None else node.template.kind
            return f"{word}({label(node.left)} {bar} {groups})"
    raise TypeError(type(node).__name__)


def _number(value: float) -> str:
    if value == int(value) and abs(value) < 1e15:
        return str(int(value))
    return repr(float(np.float64(value)))
