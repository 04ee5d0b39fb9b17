"""Odd numbers, texts and columns, of which fuzzers make inputs."""

from __future__ import annotations

import random
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd

__all__ = ["NUMBERS", "column", "damaged"]

NUMBERS = (
    "0", "1", "-1", "3", "0.5", "1e308", "1e-320", "1e400", "-0.0", "nan", "inf", "1e6", "1e13",
    "9" * 30, "9" * 5000, "0x10", "1_000", "1j", "True", "None", "''", "'3'", "()", "[1]", "{}",
    "-(1)", "--1", "1+1", "2**9", "((((1))))", "(" * 300 + "1" + ")" * 300, "-" * 3000 + "1",
)  # fmt: skip
PIECES = (
    "(", ")", ",", "=", " ", "\n", "\x00", "é", "​", "٣", "'", '"', "\\", "#", ";", ":",
    "*", "**", ".", "lambda", "__import__", "\t", "[", "]", "{", "}", "0", "9", "-", "+", "e", "NA",
)  # fmt: skip


def damaged(text: str, rng: random.Random) -> str:
    """Return a text with a few pieces cut out, doubled, exchanged or put in."""
    for _ in range(rng.randint(1, 4)):
        a, b = sorted(rng.randrange(len(text) + 1) for _ in range(2))
        b = min(b, a + rng.choice([1, 1, 3, 10, 40]))
        match rng.randrange(5):
            case 0:
                text = text[:a] + text[b:]
            case 1:
                text = text[:b] + text[a:b] * rng.randint(1, 3) + text[b:]
            case 2:
                text = text[:a] + rng.choice(PIECES) + text[b:]
            case 3:
                text = text[:a] + rng.choice(PIECES) + text[a:]
            case 4:
                text = text[:a] + rng.choice(NUMBERS) + text[b:]
    return text


def column(rng: random.Random, n: int) -> Any:
    """Return a column of one of many kinds, some of them odd."""
    seed = np.random.default_rng(rng.randrange(1 << 30))
    numbers = seed.normal(size=n)
    codes = seed.integers(0, 4, n)
    kinds: list[Callable[[], Any]] = [
        lambda: numbers,
        lambda: codes,
        lambda: pd.array([None, *codes[1:]], dtype="Int64"),
        lambda: pd.array(["a", *map(str, codes[1:])], dtype="string"),
        lambda: pd.Categorical(codes),
        lambda: pd.Categorical.from_codes(codes % 2, ["a", "b"], ordered=True),
        lambda: [rng.choice([1, "a", None, 2.5, pd.NA, pd.NaT, ()]) for _ in range(n)],
        lambda: [Decimal("sNaN"), *map(Decimal, map(int, codes[1:]))],
        lambda: [10**400, *map(int, codes[1:])],
        lambda: numbers.astype(">f8"),
        lambda: numbers.astype("f2"),
        lambda: numbers + 1j,
        lambda: codes.astype("u8") + (1 << 63),
        lambda: pd.date_range("2020-01-01", periods=n),
        lambda: pd.to_timedelta(codes, unit="D"),
        lambda: [pd.NaT] * n,
        lambda: [None] * n,
        lambda: codes % 2 == 0,
        lambda: pd.array(codes % 2 == 0, dtype="boolean"),
        lambda: pd.arrays.SparseArray(codes),
        lambda: pd.interval_range(0, n),
        lambda: pd.period_range("2020-01", periods=n, freq="M"),
        lambda: [np.array([1, 2])] * n,
        lambda: [{"a": 1}] * n,
        lambda: [b"x"] * n,
        lambda: ["\x00", "é", "", "​"] * (n // 4) + [""] * (n % 4),
        lambda: np.where(codes == 0, np.inf, numbers),
        lambda: np.full(n, 1e308) * np.sign(numbers),
        lambda: np.full(n, 5e-324) * codes,
        lambda: np.zeros(n),
    ]
    return rng.choice(kinds)()[:n]
