"""Tables of results in the languages of documents."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

import pandas as pd

from bayesv.errors import BayesvError, none_of
from bayesv.support.shown import Part, Shown, Table, as_html, as_text

__all__ = ["to_table"]

_LATEX = {
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    **{"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"},
    **{"<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", "–": "--", "…": r"\dots{}"},
    **{"±": r"$\pm$", "β": r"$\beta$", "σ": r"$\sigma$", "×": r"$\times$", "²": r"$^2$"},
}
_MARKDOWN = re.compile(r"([\\`*_{}\[\]<>#|~$&])")
_TYPST = re.compile(r"([\\#$*_`<>@\[\]~=/\"'+-])")


def to_table(result: object, language: str = "markdown") -> str:
    r"""Write a result, or any frame, for a document.

    Parameters
    ----------
    result : fit, posterior, comparison, other result, or DataFrame
        Whatever bayesv prints as a table.
    language : {"markdown", "latex", "typst", "html", "text"}
        LaTeX needs the package booktabs. HTML is what notebooks show.

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
    return "".join(_LATEX.get(sign, sign) for sign in text)


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
