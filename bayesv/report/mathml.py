"""Formulas written in a line, such as ``C_{ab} = ρ^{|t_a − t_b|}``, as MathML and as text."""

from __future__ import annotations

import re
from html import escape

__all__ = ["equation", "quoted"]

_TOKEN = re.compile(r"⟨[^⟩]*⟩|\d+(?:\.\d+)?|exp|blockdiag|diag|β̂|\s+|.", re.DOTALL)
_WORDS = ("exp", "blockdiag", "diag")


def equation(source: str, text: str | None = None) -> dict[str, str]:
    """Return a formula in a line of its own, and its text for readers that do not see it.

    Parameters
    ----------
    source : str
        Letters, numbers and signs; ``_`` and ``^`` before an index or exponent, ``{ }`` around
        several parts of one, ``[above/below]`` for fractions, ``⟨ ⟩`` around words.
    text : str, optional
        What is read; made of the source if left out.

    Returns
    -------
    dict
        Keys ``mathml`` and ``text``.

    Examples
    --------
    >>> equation("R_{jj} = σ^2")["text"]
    'R_jj = σ^2'
    >>> "<msup><mi>σ</mi><mn>2</mn></msup>" in equation("σ^2")["mathml"]
    True
    """
    text = _spoken(source) if text is None else text
    body = _row(_TOKEN.findall(source))
    head = f'<math display="block" alttext="{escape(text)}" aria-label="{escape(text)}">'
    return {"mathml": f"{head}{body}</math>", "text": text}


def quoted(words: str) -> str:
    """Return words for a formula, whatever characters they have."""
    return f"⟨{re.sub('[⟨⟩]', '', words)}⟩"


def _spoken(source: str) -> str:
    """Return the text of a source: parts of an index or exponent in brackets if they have gaps."""
    words = re.findall("⟨([^⟩]*)⟩", source)
    text = re.sub(r"\s+", " ", re.sub("⟨[^⟩]*⟩", "⟨⟩", source))
    text = re.sub(r"\[([^/\]]*)/([^\]]*)\]", r"{\1 }/{\2 }", text)
    while "{" in text:
        text = re.sub(r"\{([^{}]*)\}", lambda part: _bracketed(part[1]), text)
    return re.sub("⟨⟩", lambda _: words.pop(0), text)


def _bracketed(part: str) -> str:
    shown = part.strip()
    plain = " " not in shown or re.fullmatch(r"\|[^|]*\||\([^()]*\)", shown)
    return shown if plain else f"({shown})"


def _row(tokens: list[str]) -> str:
    """Return what tokens say, side by side."""
    parts: list[str] = []
    rest = list(tokens)
    while rest:
        if rest[0] in "_^" and parts:
            tag = "msub" if rest.pop(0) == "_" else "msup"
            parts[-1] = f"<{tag}>{parts[-1]}{_part(rest)}</{tag}>"
        elif part := _part(rest):
            parts.append(part)
    return parts[0] if len(parts) == 1 else f"<mrow>{''.join(parts)}</mrow>"


def _part(tokens: list[str]) -> str:
    """Take the first part of tokens, and return it."""
    token = tokens.pop(0)
    if token == "{":
        return _row(_until(tokens, "{", "}"))
    if token == "[":
        inside = _until(tokens, "[", "]")
        bar = inside.index("/")
        return f"<mfrac>{_row(inside[:bar])}{_row(inside[bar + 1 :])}</mfrac>"
    return _atom(token)


def _until(tokens: list[str], opening: str, closing: str) -> list[str]:
    """Take tokens up to the bracket that closes, and return those before it."""
    depth, inside = 1, []
    while depth:
        token = tokens.pop(0)
        depth += (token == opening) - (token == closing)
        if depth:
            inside.append(token)
    return inside


def _atom(token: str) -> str:
    if token.isspace():
        return '<mspace width="0.6em"/>' if len(token) > 1 else ""
    if token.startswith("⟨"):
        return f"<mtext>{escape(token[1:-1])}</mtext>"
    if token[0].isdigit():
        return f"<mn>{token}</mn>"
    if token in _WORDS:
        return f"<mtext>{token}</mtext>"
    if token[0].isalpha():
        return f"<mi>{token}</mi>"
    return f"<mo>{escape(token)}</mo>"
