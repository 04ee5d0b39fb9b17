"""Formulas made at random, with what other languages would run: of one meaning, or refused."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

import bayesv as bv
from bayesv.formula import parse

__all__ = ["formulas"]

ROWS = 24
SENTINEL = Path(tempfile.gettempdir()) / "bayesv-formula-ran-code"
COLUMNS = ("x", "z", "np", "exp", "I", "os", "True", "None", "a b", "a  b", "x.1", "а", "__class__")
PLAIN = ("x", "z", "f", "b", "exp", "2", "-1", "TRUE", "`True`", "`None`", "`a b`", "`a  b`",
         "`x.1`", "а", "'a'", '"u  v"', "`__class__`")  # fmt: skip
FOREIGN = ("np.load", "os.system", "__import__", "x.__class__", "x.values", "x[0]", "f'{x}'",
           "b'1'", "lambda: 1", "(x := 3)", "[x for x in z]", "*x", "**x", "\\x", "x#z", "x;z",
           "``", "'", "`x`+`", "1j", "0x10", "NaN", "x\u200b", "ｅｘｐ", "\x00", "\ud800", "...",
           "x -> z", f"open('{SENTINEL}', 'w')", f"np.savetxt('{SENTINEL}', x)",
           f"__import__('os').mkdir('{SENTINEL}')")  # fmt: skip
FUNCTIONS = ("I", "exp", "log", "abs", "sqrt", "scale", "poly", "ns", "cut", "C", "factor", "round",
             "pmin", "mean", "np.power", "np.load", "eval", "getattr", "x", "offset", "us",
             "c")  # fmt: skip
NAMED = ("", "", "", "out=", "where=", "dtype=", "df=", "base=", "digits=", "__class__=")
SIGNS = ("+", "-", "*", "/", ":", "^", "**", "%in%", "%%", "==", "&", "|", ",", "~", "=", "@")


def _part(rng: random.Random, depth: int) -> str:
    kind = rng.random()
    if depth == 0 or kind < 0.3:
        return rng.choice(PLAIN if rng.random() < 0.85 else FOREIGN)
    if kind < 0.65:
        arguments = [rng.choice(NAMED) + _part(rng, depth - 1) for _ in range(rng.randint(1, 2))]
        return f"{rng.choice(FUNCTIONS)}({', '.join(arguments)})"
    if kind < 0.9:
        sign = rng.choice(SIGNS[:6] if rng.random() < 0.8 else SIGNS)
        return f"{_part(rng, depth - 1)} {sign} {_part(rng, depth - 1)}"
    return f"({_part(rng, depth - 1)})"


def formulas(rng: random.Random) -> None:
    """Formulas of columns whose names are words, blanks or functions; no column may change."""
    numbers = np.random.default_rng(1).normal(5.0, 1.0, (ROWS, len(COLUMNS) + 1))
    data = pd.DataFrame(numbers, columns=["y", *COLUMNS]).assign(
        g=np.arange(ROWS) % 6, f=["a", "u  v", "u v"] * 8, b=[True, False] * 12
    )
    before = data.copy(deep=True)
    fixed = " + ".join(_part(rng, rng.randrange(4)) for _ in range(rng.randint(1, 3)))
    left = rng.choice(["1", "x", "`a  b`", "`True`", _part(rng, 2)])
    text = f"{rng.choice(['y', 'log(y)', _part(rng, 1)])} ~ {fixed} + ({left} | g)"
    try:
        read = parse(text)
        again = parse(read.text)
        assert again.terms == read.terms, text
        assert again.names.keys() == read.names.keys(), text
        assert parse(f"y ~ {read.fixed}", random=False).terms == read.terms, text
        bv.Model(text, data)
    finally:
        assert data.equals(before), text
        assert not SENTINEL.exists(), text
