"""Inputs made at random or damaged: every one is read, or refused by an error of bayesv.

In large: ``python -m tests.fuzz NAME COUNT SEED``, with a name of `TARGETS` or "all". Prints how
many inputs were read and refused, and each that raised anything else or took longer than a minute.
"""

from __future__ import annotations

import json
import random
import shutil
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import bayesv as bv
from bayesv.priors.text import prior_from_text, priors_from_dict
from bayesv.study import Scenario
from tests.fuzz_formulas import formulas
from tests.fuzz_inputs import NUMBERS, column, damaged
from tests.fuzz_structures import known, pedigrees, predictions, residuals, structures

__all__ = ["TARGETS", "fuzz"]

SLOW = 60.0  # seconds of computing: longer is a hang
EXPORTS = Path(__file__).parent / "references" / "r_export"

NAMES = ("HalfNormal", "HalfStudentT", "HalfCauchy", "Exponential", "Gamma", "InverseGamma",
         "Normal", "Flat", "LKJ", "halfnormal", "Gama", "Priors", "", "os.system")  # fmt: skip

LISTING = """ Groups   Name        Variance Std.Dev. Corr
 Subject  (Intercept) 612.10   24.741
          Days         35.07    5.922   0.07
 Item     (Intercept)   1.50    1.225
 Residual             654.94   25.592
"""

TOML = """[scenario]
name = "slopes"
formula = "y ~ x + (x | g)"
levels = {g = 12}
rows = {law = "poisson", mean = 4.0, least = 2}
covariates = {x = {law = "normal", mean = 0.0, sd = 1.0}}
beta = {Intercept = 250.0, x = 10.0}
sd = {g = {Intercept = 25.0, x = 6.0}}
corr = {g = 0.1}
sigma = 25.0
missing = 0.1
shuffle = true
design = "fixed"
errors = {law = "t", df = 5.0}
weights = {law = "uniform", low = 0.5, high = 2.0}
"""


def priors(rng: random.Random) -> None:
    """Texts of priors, alone and in a table of them."""
    numbers = [rng.choice(NUMBERS) for _ in range(rng.randrange(4))]
    named = [rng.choice(["nu=", "scale=", "x=", "sd=", "**", "*", ""]) + n for n in numbers]
    text = f"{rng.choice(NAMES)}({', '.join(named)})"
    text = damaged(text, rng) if rng.random() < 0.5 else text
    if rng.random() < 0.5:
        prior_from_text(text)
        return
    values: list[Any] = [text, 3, None, [], {"g": text}, {"g": {"x": text}}, float("nan"), {3: 4}]
    table = {rng.choice(["sd", "sigma", "corr", "beta", "center", "Sd"]): rng.choice(values)
             for _ in range(2)}  # fmt: skip
    priors_from_dict(table)


def varcorr(rng: random.Random) -> None:
    """Listings of variance components, as text and as a frame."""
    if rng.random() < 0.8:
        bv.VarianceComponents.from_varcorr(damaged(LISTING, rng))
        return
    columns = {"grp": ["g", "g", "g", "Residual"], "var1": ["a", "b", "a", None],
               "var2": [None, None, "b", None], "vcov": [1.0, 2.0, 0.5, 3.0]}  # fmt: skip
    frame = pd.DataFrame(columns, dtype=object)
    for _ in range(rng.randint(1, 3)):
        cell = rng.choice([None, "x", float("nan"), -1.0, [], pd.NA, "Residual", 10**400, True])
        frame.iat[rng.randrange(4), rng.randrange(4)] = cell
    if rng.random() < 0.3:
        frame = frame.iloc[rng.choices(range(4), k=rng.randrange(5))]
    if rng.random() < 0.2:
        frame.columns = rng.choices(list(frame), k=4)
    bv.VarianceComponents.from_varcorr(frame)


def toml(rng: random.Random) -> None:
    """Scenarios: damaged tables and values, prepared and simulated once."""
    text = damaged(TOML, rng)
    if rng.random() < 0.5:
        lines = TOML.splitlines()
        k = rng.randrange(1, len(lines))
        value = rng.choice([*NUMBERS, '"x"', "[1, 2]", "{a = 1}", "1e7", "10000000", "1e18", "-5"])
        lines[k] = f"{lines[k].split('=')[0]} = {value}"
        text = "\n".join(lines)
    Scenario.from_toml(text).prepare(seed=1).replicate(0)


def frames(rng: random.Random) -> None:
    """Frames of odd columns, and a REML fit of what can be built."""
    n = rng.choice([0, 1, 5, 12, 30, 30, 30])
    seed = np.random.default_rng(rng.randrange(1 << 30))
    data: dict[Any, Any] = {"y": seed.normal(size=n), "x": seed.normal(size=n),
                            "g": np.arange(n) % 5}  # fmt: skip
    for _ in range(rng.randint(0, 2)):
        data[rng.choice(["y", "x", "g"])] = column(rng, n)
    frame: Any = pd.DataFrame(data)
    if rng.random() < 0.1:
        frame.columns = rng.choice([["y", "y", "g"], [0, 1, 2], ["y", "x", ("g", 1)]])
    if rng.random() < 0.1:
        frame.index = rng.choices([0, "a", None, 1.5], k=n)
    if rng.random() < 0.1:
        frame = rng.choice(
            [data, frame.iloc[:, 0], frame.to_numpy(), None, "frame", [], frame.T, 3]
        )
    formula = rng.choice(["y ~ x + (1 | g)", "y ~ x + (x | g)", "log(y) ~ x + (1 | g:x)",
                          "y ~ 1 + (1 | g) + (0 + x || g)",
                          "y ~ factor(x) * g + (1 | g)"])  # fmt: skip
    weights = rng.choice([None, None, None, "x", np.ones(n), [0] * n, "w"])
    bv.Model(formula, frame, var_weights=weights).reml()


def r_folders(rng: random.Random) -> None:
    """Folders of fits exported from R, with values of fit.json or bytes of a table changed."""
    source = EXPORTS / rng.choice(
        ["lmer_sleepstudy", "lme_diagonal", "lmer_nested_ml", "glmmtmb_reml"]
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "fit"
        shutil.copytree(source, folder)
        if rng.random() < 0.75:
            file = folder / "fit.json"
            content = json.loads(file.read_text())
            for _ in range(rng.randint(1, 2)):
                _spoil(content, rng)
            text = json.dumps(content)
            file.write_text(damaged(text, rng) if rng.random() < 0.2 else text)
        else:
            file = rng.choice(sorted(folder.glob("*.gz")))
            data = bytearray(file.read_bytes())
            for _ in range(rng.randint(1, 3)):
                data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
            file.write_bytes(data[: rng.choice([len(data), len(data), len(data) // 2, 0])])
        bv.read_fit(folder)


def _spoil(content: Any, rng: random.Random) -> None:
    """Change one value somewhere inside."""
    while isinstance(content, dict | list) and content:
        key = rng.choice(list(content) if isinstance(content, dict) else range(len(content)))
        inside = content[key]
        if isinstance(inside, dict | list) and inside and rng.random() < 0.8:
            content = inside
            continue
        values = [None, 0, -1, 1.5, 10**400, 1e13, "", "x", "Days", [], {}, [[]], [None], True,
                  [1e13], "NaN", float("nan"), [0] * 1000, {"x": 1}, "\x00"]  # fmt: skip
        content[key] = rng.choice(values)
        if rng.random() < 0.2 and isinstance(content, dict):
            del content[key]
        return


TARGETS: dict[str, Callable[[random.Random], None]] = {
    "priors": priors,
    "varcorr": varcorr,
    "toml": toml,
    "frames": frames,
    "structures": structures,
    "residuals": residuals,
    "pedigrees": pedigrees,
    "known": known,
    "predictions": predictions,
    "formulas": formulas,
    "r_folders": r_folders,
}


def fuzz(name: str, count: int, seed: int) -> tuple[Counter[str], list[str]]:
    """Try so many inputs; return how they ended, and reports of those that should not have."""
    ends: Counter[str] = Counter()
    reports = []
    for k in range(count):
        started = time.process_time()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                TARGETS[name](random.Random(f"{name} {seed} {k}"))
                ends["read"] += 1
            except bv.BayesvError:
                ends["refused"] += 1
            except Exception:  # what is looked for
                ends["raised"] += 1
                reports.append(f"{name} {seed} {k}: {traceback.format_exc(limit=-6)}")
        if (took := time.process_time() - started) > SLOW:
            ends["slow"] += 1
            reports.append(f"{name} {seed} {k}: {took:.0f} s")
    return ends, reports


if __name__ == "__main__":
    chosen, number, start = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    bad = 0
    for one in TARGETS if chosen == "all" else [chosen]:
        ended, wrong = fuzz(one, number, start)
        print(*wrong, sep="\n")
        print(one, dict(ended))
        bad += len(wrong)
    sys.exit(bool(bad))
