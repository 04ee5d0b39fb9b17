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
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import bayesv as bv
from bayesv.priors.text import prior_from_text, priors_from_dict
from bayesv.study import Scenario

__all__ = ["TARGETS", "fuzz"]

SLOW = 60.0  # seconds: longer is a hang
EXPORTS = Path(__file__).parent / "references" / "r_export"

NUMBERS = (
    "0", "1", "-1", "3", "0.5", "1e308", "1e-320", "1e400", "-0.0", "nan", "inf", "1e6", "1e13",
    "9" * 30, "9" * 5000, "0x10", "1_000", "1j", "True", "None", "''", "'3'", "()", "[1]", "{}",
    "-(1)", "--1", "1+1", "2**9", "((((1))))", "(" * 300 + "1" + ")" * 300, "-" * 3000 + "1",
)  # fmt: skip
PIECES = (
    "(", ")", ",", "=", " ", "\n", "\x00", "é", "​", "٣", "'", '"', "\\", "#", ";", ":",
    "*", "**", ".", "lambda", "__import__", "\t", "[", "]", "{", "}", "0", "9", "-", "+", "e", "NA",
)  # fmt: skip
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


def _column(rng: random.Random, n: int) -> Any:
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


def frames(rng: random.Random) -> None:
    """Frames of odd columns, and a REML fit of what can be built."""
    n = rng.choice([0, 1, 5, 12, 30, 30, 30])
    seed = np.random.default_rng(rng.randrange(1 << 30))
    data: dict[Any, Any] = {"y": seed.normal(size=n), "x": seed.normal(size=n),
                            "g": np.arange(n) % 5}  # fmt: skip
    for _ in range(rng.randint(0, 2)):
        data[rng.choice(["y", "x", "g"])] = _column(rng, n)
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


RESIDUALS = (
    "us(t | g)", "ar1(t | s:g)", "cs(t | s / g)", "car1(x | g)", "sp_exp(x + z | g, nugget=True)",
    "toeph(1 | g)", "arma11(t | 1)", "sp_mat(x | g)",
)  # fmt: skip
RESIDUAL_SDS = ("strata(s)", "power(v) * strata(s)", "exp(x)", "power(v)*exp(x)")
TEMPLATES = (
    "cs(0 + factor(t) | g)", "ar1(0 + t | g)", "us(x | g)", "diag(1 + x | s:g)",
    "homcs(0 + s | g)", "toep(0 + factor(t) | g, hom=TRUE)", "car1(0 + x | g)",
)  # fmt: skip


def structures(rng: random.Random) -> None:
    """Texts of residuals, of their SDs and of templates, whole or damaged; odd relationships."""
    n, seed = 24, np.random.default_rng(rng.randrange(1 << 30))
    data: dict[str, Any] = {name: seed.normal(size=n) for name in "yxz"}
    data |= {"g": np.arange(n) % 6, "t": np.arange(n) // 6, "v": seed.uniform(0.5, 2.0, n)}
    data["s"] = np.where(np.arange(n) % 2, "a", "b")
    if rng.random() < 0.4:
        data[rng.choice("xzgtsv")] = _column(rng, n)

    def text(choices: tuple[str, ...]) -> str:
        whole = rng.choice(choices)
        return damaged(whole, rng) if rng.random() < 0.6 else whole

    formula, asked = "y ~ x + (1 | g)", {}
    match rng.randrange(5):
        case 0:
            asked["residual"] = text(RESIDUALS)
        case 1:
            asked["residual_sd"] = text(RESIDUAL_SDS)
        case 2:
            formula = f"y ~ x + {text(TEMPLATES)}"
        case 3:
            values = [_column(rng, n), np.eye(n), "v", None, np.ones((n, n)), [[1]], {}]
            asked["residual"] = bv.Known(rng.choice(values))
        case 4:
            asked["relationship"] = {rng.choice(["g", "g", "h", "", "x"]): _relationship(rng)}
    model = bv.Model(formula, pd.DataFrame(data), **asked)
    if rng.random() < 0.1:
        model.reml()


def _relationship(rng: random.Random) -> Any:
    """Return K of six levels or a pedigree of them, some of them odd."""
    labels: list[Any] = list("012345")
    K = np.eye(6) + 0.3
    for _ in range(rng.randrange(3)):
        K[rng.randrange(6), rng.randrange(6)] = rng.choice([0.0, -1.0, np.nan, np.inf, 1e300, 0.3])
        labels[rng.randrange(6)] = rng.choice(["0", 0, None, 1.5, (), "\x00", "é", pd.NA, True])
    if rng.random() < 0.5:
        pair = [K, K.tolist(), K[:5], K.astype(str), pd.DataFrame(K, labels, labels), None, "K"]
        return rng.choice([(rng.choice(pair), labels), rng.choice(pair)])
    parents = [rng.choice(["0", None, "1", 2, pd.NA, "z", float("nan"), [], b"1"]) for _ in labels]
    return bv.pedigree({"id": labels, "sire": parents, "dam": rng.choices(parents, k=6)})


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
    "r_folders": r_folders,
}


def fuzz(name: str, count: int, seed: int) -> tuple[Counter[str], list[str]]:
    """Try so many inputs; return how they ended, and reports of those that should not have."""
    ends: Counter[str] = Counter()
    reports = []
    for k in range(count):
        started = time.monotonic()
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
        if (took := time.monotonic() - started) > SLOW:
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
