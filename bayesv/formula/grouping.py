"""The grouping side of a random term: ``/`` nests, ``:`` interacts."""

from __future__ import annotations

from bayesv.formula.scan import Token, pointed_error

__all__ = ["FACTOR_CALLS", "grouping_factors"]

# What may stand around the name of a grouping factor, without meaning there.
FACTOR_CALLS = ("factor", "as.factor", "C", "T", "S")


def grouping_factors(tokens: list[Token], text: str) -> list[tuple[tuple[str, ...], str]]:
    """Return (factors, lme4's label) of every grouping factor written, outermost first.

    Raises
    ------
    FormulaError
        Pointing at what is no grouping factor.
    """
    return _Grouping(tokens, text).expand()


class _Grouping:
    """Recursive descent over the grouping side."""

    def __init__(self, tokens: list[Token], text: str) -> None:
        self.tokens, self.text, self.position = tokens, text, 0

    def expand(self) -> list[tuple[tuple[str, ...], str]]:
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
        groups = [nested[0]]
        for factors, label in nested[1:]:
            outer_factors, outer_label = groups[-1]
            outer = f"({outer_label})" if len(outer_factors) > 1 else outer_label
            groups.append((factors + outer_factors, f"{label}:{outer}"))
        return groups

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
            return factors, f"({label})" if len(factors) > 1 else label
        token = self._next("a grouping factor")
        if token.kind == "name" and token.text in FACTOR_CALLS and self._accept("("):
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
        if "/" in token.text:  # it would be read as nesting, and draws are stored under paths
            raise pointed_error(
                f"The name of the grouping factor {token.text!r} has a '/'; rename the column.",
                self.text,
                token.start,
            )
        return (token.text,), token.text

    def _accept(self, text: str) -> bool:
        here = self.position < len(self.tokens) and self.tokens[self.position].is_op(text)
        self.position += here
        return here

    def _expect(self, text: str) -> None:
        if not self._accept(text):
            place = self.tokens[min(self.position, len(self.tokens) - 1)].start
            raise pointed_error(f"{text!r} is missing here.", self.text, place)

    def _next(self, what: str) -> Token:
        if self.position >= len(self.tokens):
            raise pointed_error(f"{what} is missing here.", self.text, self.tokens[-1].start + 1)
        self.position += 1
        return self.tokens[self.position - 1]
