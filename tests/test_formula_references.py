"""Random formulas on random frames: y, X, offset and every bar as R and lme4 make them."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import bayesv as bv
from bayesv.formula.build import check_formula
from bayesv.formula.encoding import encode
from bayesv.formula.frame import as_factor, take_columns

STORED = Path(__file__).parent / "references/formulas/cases.json.gz"
# Why a formula that R reads is refused; anything else is a fault.
REASONS = {
    "appears in two random terms": "a column twice under one grouping factor",
    "has no meaning beside": "a number or a sign as a factor of a product",
    "is no term": "a number as a term",
    "needs one on either side": "a sum without terms in a product",
    "':' has no meaning in arithmetic": "a sequence of numbers",
    "has no column": "no column left of a bar",
    "is also a predictor": "the response among the predictors",
    "no random term": "no random term",
    "Unexpected character": "a sign of another language",
    "There is nothing before": "two signs in a row",
}


def by_row(rows: np.ndarray, a: int, m: int) -> np.ndarray:
    return ((rows * a) % m) / m - 0.5


def sketch(M: np.ndarray, rows: np.ndarray) -> tuple[list[float], float]:
    """Projections as in reference.R, and how large their rounding errors may be."""
    if not M.shape[1]:
        return [0, 0, 0], 0.0
    j = np.arange(1, M.shape[1] + 1)
    W = M * (((j * 104729 + 17) % 1009) / 1009 + 0.5)
    projections = [
        float((by_row(rows, *c)[:, None] * W).sum()) for c in ((7919, 10007), (5563, 7001))
    ]
    return [M.shape[1], *projections], float(np.abs(W).sum())


def ours(frame: pd.DataFrame, text: str) -> dict[str, Any]:
    formula, space, used = check_formula(text, list(frame.columns), None, None)
    encoded = encode(formula, frame[used], space)
    rows = encoded.rows + 1
    X, x_size = sketch(encoded.X, rows)
    bars = []
    for term, blocks in zip(formula.random, encoded.lhs, strict=True):
        codes = np.column_stack([as_factor(frame[f]).codes[encoded.rows] for f in term.factors])
        _, codes = np.unique(codes, axis=0, return_inverse=True)
        sums = np.bincount(np.ravel(codes), by_row(rows, 7919, 10007))
        for values, *_ in blocks:
            block, size = sketch(values, rows)
            bars.append(([*block, int(codes.max()) + 1, float((sums**2).sum())], size + 10.0))
    y = [float((by_row(rows, 7919, 10007) * encoded.y).sum()), int(rows.sum())]
    offset = 0.0 if encoded.offset is None else by_row(rows, 7919, 10007) @ encoded.offset
    return {"n": len(rows), "y": y, "X": X, "size": x_size, "o": float(offset), "bars": bars}


def near(a: list[float], b: list[float], size: float) -> bool:
    return len(a) == len(b) and bool(np.all(np.abs(np.subtract(a, b)) <= 1e-9 * (10 + size)))


def difference(got: dict[str, Any], want: dict[str, Any]) -> str | None:
    if got["n"] != want["n"] or not near(got["y"], want["y"], 1e4):
        return "rows or y"
    if not near([got["o"]], [want["o"]], 1e3):
        return "offset"
    if not near(got["X"], want["X"], got["size"]):
        return "X"
    left = list(want["bars"])
    for bar, size in got["bars"]:
        match = next((i for i, other in enumerate(left) if near(bar, other, size)), None)
        if match is None:
            return "a bar"
        del left[match]
    return "a bar of R" if left else None


def frames_of(stored: dict[str, Any]) -> list[pd.DataFrame]:
    frames = []
    for columns in stored["frames"]:
        frame = pd.DataFrame({name: pd.Series(v, dtype=object) for name, v in columns.items()})
        for name in ("f", "h", "s"):
            frame[name] = frame[name].where(frame[name].notna(), None)
        frame["o"] = pd.Categorical(frame["o"], categories=["d", "a", "b"])
        frames.append(take_columns(frame, frame.columns))
    return frames


def compared(stored: dict[str, Any], results: list[dict[str, Any]]) -> tuple[Counter, list[str]]:
    """Count what became of each case; list those that differ in silence."""
    frames = frames_of(stored)
    counts: Counter = Counter()
    faults = []
    for (i, text), want in zip(stored["cases"], results, strict=True):
        got, refusal = None, ""
        try:
            got = ours(frames[i], text)
        except bv.BayesvError as error:
            refusal = str(error)
        if "error" in want:
            counts["refused by R" + ("" if got is None else ", not by bayesv")] += 1
        elif got is not None:
            wrong = difference(got, want)
            counts["equal" if wrong is None else "different"] += 1
            if wrong:
                faults.append(f"{i} {wrong}: {text}")
        else:
            reason = next((r for key, r in REASONS.items() if key in refusal), None)
            counts[f"refused: {reason or refusal.splitlines()[0]}"] += 1
            if reason is None:
                faults.append(f"{i} {refusal}: {text}")
    return counts, faults


@cache
def stored() -> dict[str, Any]:
    with gzip.open(STORED, "rt") as file:
        return json.load(file)


@pytest.mark.parametrize("part", range(4))
def test_every_formula_is_what_r_makes_of_it_or_refused(part):
    everything = stored()
    cases = everything["cases"][part::4]
    counts, faults = compared({**everything, "cases": cases}, everything["results"][part::4])
    assert not faults, "\n".join(faults[:20])
    assert counts["equal"] > 0.7 * len(cases), counts
