"""Tables of results in the languages of documents."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable

import pandas as pd

from bayesv.errors import BayesvError, none_of
from bayesv.support.shown import Part, Shown, Table, as_html, as_text

__all__ = ["to_table"]

_LATEX = {
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    **{"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"},
    **{"<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", "…": r"\dots{}"},
    **{"–": "--", "—": "---", "\u00a0": "~", "\u202f": r"\,"},
}
_MATHEMATICS = {
    **{"−": "-", "±": r"\pm", "×": r"\times", "÷": r"\div", "·": r"\cdot", "√": r"\surd"},
    **{"⊗": r"\otimes", "∇": r"\nabla", "∝": r"\propto", "∼": r"\sim", "≈": r"\approx"},
    **{"≥": r"\ge", "≤": r"\le", "≠": r"\ne", "→": r"\to", "←": r"\gets", "∞": r"\infty"},
    **{"⟨": r"\langle", "⟩": r"\rangle", "⋯": r"\cdots", "⊤": r"\top", "ᵀ": r"^{\top}"},
    **{"½": r"\frac{1}{2}", "ε": r"\varepsilon", "φ": r"\varphi"},
}
_GREEK_CAPITALS = "ΓΔΘΛΞΠΣΥΦΨΩ"  # that are not those of Latin letters
_HAT = "\u0302"
_MARKDOWN = re.compile(r"([\\`*_{}\[\]<>#|~$&])")
_TYPST = re.compile(r"([\\#$*_`<>@\[\]~=/\"'+-])")


def to_table(result: object, language: str = "markdown") -> str:
    r"""Write a result, or any frame, for a document.

    Parameters
    ----------
    result : fit, posterior, comparison, other result, or DataFrame
        Whatever bayesv prints as a table.
    language : {"markdown", "latex", "typst", "html", "text"}
        LaTeX needs the package booktabs, and XeLaTeX or LuaLaTeX for names that are neither
        Latin nor Greek. HTML is what notebooks show.

    Returns
    -------
    str
        All that the result prints: paragraphs, and each table whole.

    Raises
    ------
    BayesvError
        If the language is another, or the result has no table.

    Examples
    --------
    >>> import bayesv as bv
    >>> model = bv.Model("Yield ~ 1 + (1 | Batch)", bv.load_dataset("dyestuff"))
    >>> print(bv.to_table(model.reml().gls.beta.round(1), "markdown"))
    |  | beta |
    | :-- | --: |
    | Intercept | 1527.5 |
    """
    if not isinstance(language, str) or language not in _LANGUAGES:
        raise BayesvError(none_of("language", language, tuple(_LANGUAGES)))
    if isinstance(result, pd.Series):
        result = result.to_frame()
    if isinstance(result, pd.DataFrame):
        return _LANGUAGES[language]([Table.of(result)])
    if not isinstance(result, Shown):
        raise BayesvError(
            f"to_table writes results of bayesv and DataFrames; found {type(result).__name__}."
        )
    return _LANGUAGES[language](result._shown())


def _flat(parts: Iterable[Part]) -> list[str | Table]:
    """Return paragraphs and tables, those of objects within objects too."""
    flat: list[str | Table] = []
    for part in parts:
        flat += _flat(part._shown()) if isinstance(part, Shown) else [part]
    return [part for part in flat if part]


def _document(
    paragraph: Callable[[str], str], table: Callable[[Table], str]
) -> Callable[[Iterable[Part]], str]:
    def write(parts: Iterable[Part]) -> str:
        return "\n\n".join(
            paragraph(part) if isinstance(part, str) else table(part) for part in _flat(parts)
        )

    return write


def _in_markdown(text: str) -> str:
    return _MARKDOWN.sub(r"\\\1", " ".join(text.splitlines()))


def _in_latex(text: str) -> str:
    return re.sub(f"(.)({_HAT}?)", _latex_of, text, flags=re.DOTALL)


def _latex_of(found: re.Match[str]) -> str:
    """Return a letter, which may have a hat, as mathematics where it is that."""
    sign, hat = found.groups()
    math = _in_mathematics(sign)
    if hat:
        return rf"$\hat{{{math or sign}}}$"
    return f"${math}$" if math else _LATEX.get(sign, sign)


def _in_mathematics(sign: str) -> str | None:
    """Return what a sign, a Greek letter or a raised or lowered one is in LaTeX's mathematics."""
    if sign in _MATHEMATICS:
        return _MATHEMATICS[sign]
    name, made_of = unicodedata.name(sign, ""), unicodedata.decomposition(sign)
    small = re.fullmatch(r"GREEK SMALL LETTER ([A-Z]+)", name)
    if small and small[1] != "OMICRON":
        return "\\" + ("lambda" if small[1] == "LAMDA" else small[1].lower())
    if sign in _GREEK_CAPITALS:
        return "\\" + name.split()[-1].capitalize().replace("Lamda", "Lambda")
    for kind, shift in (("<super> ", "^"), ("<sub> ", "_")):
        if made_of.startswith(kind) and sign not in "ªº":
            base = "".join(chr(int(code, 16)) for code in made_of.removeprefix(kind).split())
            return f"{shift}{{{_MATHEMATICS.get(base, base)}}}"
    return None


def _in_typst(text: str) -> str:
    return _TYPST.sub(r"\\\1", text)


def _markdown(table: Table) -> str:
    sides = [":--" if k < table.n_labels else "--:" for k in range(len(table.heads))]
    rows = [[_in_markdown(cell) for cell in row] for row in (table.heads, *table.rows)]
    return "\n".join(f"| {' | '.join(row)} |" for row in (rows[0], sides, *rows[1:]))


def _latex(table: Table) -> str:
    sides = "l" * table.n_labels + "r" * (len(table.heads) - table.n_labels)
    head, *rows = (
        f"{_apart(' & '.join(_in_latex(cell) for cell in row))} \\\\"
        for row in (table.heads, *table.rows)
    )
    return "\n".join(
        (
            f"\\begin{{tabular}}{{{sides}}}", r"\toprule", head, r"\midrule",
            *rows, r"\bottomrule", r"\end{tabular}",
        )
    )  # fmt: skip


def _apart(row: str) -> str:
    """Keep a row that starts with [ or * from being read as an argument of what ends the last."""
    return f"{{}}{row}" if row.startswith(("[", "*")) else row


def _typst(table: Table) -> str:
    sides = ["left"] * table.n_labels + ["right"] * (len(table.heads) - table.n_labels)
    head, *rows = (
        ", ".join(f"[{_in_typst(cell)}]" for cell in row) for row in (table.heads, *table.rows)
    )
    lines = [f"  columns: {len(table.heads)},", f"  align: ({', '.join(sides)},),"]
    lines += [f"  table.header({head}),", *(f"  {row}," for row in rows)]
    return "\n".join(("#table(", *lines, ")"))


_LANGUAGES: dict[str, Callable[[Iterable[Part]], str]] = {
    "markdown": _document(_in_markdown, _markdown),
    "latex": _document(_in_latex, _latex),
    "typst": _document(_in_typst, _typst),
    "html": as_html,
    "text": as_text,
}
