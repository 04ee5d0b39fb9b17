"""Write random formulas and data frames for reference.R: make_cases.py SEED NUMBER OUT.json."""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np

NUMERIC = (
    "x", "z", "w", "k", "`my x`", "log(w)", "exp(z)", "I(x^2)", "I(-x^2)", "I(2 * x + z)",
    "I(x/w)", "I(-z)", "I(x - mean(x))", "I((x - mean(x))/sd(x))", "scale(x)",
    "scale(z, scale = FALSE)", "scale(x, center = FALSE)", "scale(log(w))", "poly(x, 2)",
    "poly(w, 3)", "poly(x, 2, raw = TRUE)", "poly(x, degree = 2)", "bs(w, df = 4)",
    "bs(x, knots = c(-0.5, 0.5))", "bs(x, df = 5, degree = 2)", "ns(x, df = 3)",
    "ns(w, knots = c(1, 2))", "pmin(x, z)", "pmax(x, 0)", "ifelse(x > 0, x, 0)",
    "ifelse(f == \"a\", 1, 0)", "as.numeric(o)", "sqrt(w)", "abs(z)", "round(x, 1)", "log(w, 2)",
    "log2(w)", "log1p(w)", "I(x %% 2)", "I(x %/% 1)", "cut(x, 3, labels = FALSE)", "I(x^-1)",
    "I(w^2^0.5)", "I(x * (z - 1))", "I(pi * x)", "I(1 / (1 + exp(-x)))", "floor(x)", "sign(z)",
    "as.numeric(t)", "I(k * 100)", "I(x - 3)", "cos(pi * x)",
    "center(x)", "I(z - center(w))", "T", "C", "Intercept", "`x:z`", "poly(I(w + 1000), 2)",
    "I(t * x)",
    "I(w %in% c(1, 2) + x)", "sin(x)", "ifelse(t, z, x)", "I(sum(z) * x / 9)", "I(x - median(z))",
)  # fmt: skip
FACTORS = (
    "f", "h", "o", "t", "factor(k)", "as.factor(k)", "cut(x, 3)", "cut(z, c(-9, 0, 9))",
    "cut(w, 2)", "relevel(o, ref = \"a\")", "relevel(factor(k), ref = \"2\")",
    "C(o, contr.sum)", "C(o, contr.helmert)", "C(h, contr.sum)", "C(factor(k), contr.poly)",
    "C(o, contr.treatment, base = 2)", "factor(f, levels = c(\"b\", \"a\", \"c\"))",
    "factor(f, levels = c(\"a\", \"b\", \"c\"), labels = c(\"p\", \"q\", \"r\"))",
    "factor(k, ordered = TRUE)", "I(x > 0)", "(x < 0)", "I(x > 0 & z < 1)", "I(!t)",
    "ifelse(x > 0, \"p\", \"q\")", "I(f %in% c(\"a\", \"c\"))", "I(f == \"a\")", "factor(t)",
    "as.character(o)", "I(x != 0)", "factor(x > 0)", "(z >= 0)", "factor(o)",
)  # fmt: skip
RESPONSES = (
    "y", "y", "y", "y", "y - pre", "log(y + 50)", "log(y + 50) - log(pre)", "y^2", "I(y^2)",
    "y/2", "-y", "y - 2 * pre", "sqrt(pre) + y", "scale(y)", "(y + pre)/2", "y * pre",
)  # fmt: skip
GROUPS = ("g", "s", "g:s", "s/g", "g/s", "`the g`", "s:g", "t:g")


class Generator:
    """Random formulas from a generator of numbers."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng

    def pick(self, items: Any) -> str:
        return str(items[int(self.rng.integers(len(items)))])

    def atom(self) -> str:
        u = self.rng.random()
        if u < 0.3:
            return self.pick(("x", "z", "w", "k", "`my x`"))
        if u < 0.55:
            return self.pick(("f", "h", "o", "t"))
        return self.pick(NUMERIC if u < 0.8 else FACTORS)

    def expression(self, depth: int) -> str:
        if depth == 0 or self.rng.random() < 0.25:
            return self.atom()
        u = self.rng.random()
        left, right = self.expression(depth - 1), self.expression(depth - 1)
        if u < 0.35:
            return f"{left} + {right}"
        if u < 0.5:
            return f"{self.factor(left)} * {self.factor(right)}"
        if u < 0.64:
            return f"{self.factor(left)}:{self.factor(right)}"
        if u < 0.74:
            return f"{self.factor(left)}/{self.factor(right)}"
        if u < 0.8:
            return f"{self.factor(left)} %in% {self.factor(right)}"
        if u < 0.86:
            return f"({left} + {right})^{self.pick((2, 3))}"
        if u < 0.93:
            return f"{left} - {self.factor(right)}"
        if u < 0.96:
            return f"({left} + {self.pick((0, 1))})"
        return f"({left} - 1)"

    def factor(self, text: str) -> str:
        return f"({text})" if any(op in text for op in (" + ", " - ")) and text[0] != "I" else text

    def side(self, depth: int) -> str:
        u = self.rng.random()
        text = self.expression(depth)
        if u < 0.12:
            return f"0 + {text}"
        if u < 0.2:
            return f"{text} - 1"
        if u < 0.23:
            return f"-1 + {text}"
        return text

    def formula(self) -> str:
        rng = self.rng
        parts = [self.side(int(rng.integers(1, 4))) if rng.random() < 0.93 else "1"]
        if rng.random() < 0.07:
            parts.append(self.pick(("offset(w)", "offset(log(w))", "offset(2 * x)")))
        for _ in range(1 if rng.random() < 0.7 else 2):
            left = "1" if rng.random() < 0.25 else self.side(int(rng.integers(0, 3)))
            group = self.pick(GROUPS)
            # lme4 pastes 0+ before each term of a double bar, which makes another thing of (x < 0),
            # and cannot read (1 || g), nor a name in backticks there.
            strange = left == "1" or "`" in group or "(x <" in left or "(z >" in left
            bar = "||" if rng.random() < 0.3 and not strange else "|"
            parts.append(f"({left} {bar} {group})")
        if rng.random() < 0.1:
            parts.append(self.atom())
        return f"{self.pick(RESPONSES)} ~ {' + '.join(parts)}"


def frame(rng: np.random.Generator, i: int) -> dict[str, list[Any]]:
    """A frame of 48 rows; every second one has gaps."""
    n = 48
    columns: dict[str, list[Any]] = {
        "y": rng.normal(20, 5, n).round(2).tolist(),
        "pre": rng.uniform(5, 9, n).round(2).tolist(),
        "x": (rng.normal(size=n).round(2) + 0.005).tolist(),
        "z": rng.normal(0.5, 1, n).round(2).tolist(),
        "w": rng.uniform(0.3, 3, n).round(3).tolist(),
        "k": rng.integers(1, 4, n).tolist(),
        "my x": rng.normal(size=n).round(2).tolist(),
        "T": rng.normal(size=n).round(2).tolist(),
        "C": rng.normal(size=n).round(2).tolist(),
        "Intercept": rng.normal(size=n).round(2).tolist(),
        "x:z": rng.normal(size=n).round(2).tolist(),
        "f": rng.choice(list("abc"), n).tolist(),
        "h": rng.choice(list("uv"), n).tolist(),
        "o": rng.choice(list("abd"), n).tolist(),
        "t": rng.choice([True, False], n).tolist(),
        "g": rng.integers(1, 7, n).tolist(),
        "s": [f"s{v}" for v in rng.integers(0, 5, n)],
        "the g": rng.integers(1, 7, n).tolist(),
    }
    if i % 2:
        for name in ("y", "x", "w", "k", "f", "o", "t", "g"):
            for row in rng.choice(n, int(rng.integers(0, 5)), replace=False):
                columns[name][int(row)] = None
    return columns


def main() -> None:
    seed, number, path = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    rng = np.random.default_rng(seed)
    frames = [frame(rng, i) for i in range(8)]
    generator = Generator(rng)
    cases = [[int(rng.integers(len(frames))), generator.formula()] for _ in range(number)]
    with open(path, "w") as file:
        json.dump({"seed": seed, "frames": frames, "cases": cases}, file, separators=(",", ":"))


if __name__ == "__main__":
    main()
