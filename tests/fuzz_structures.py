"""Texts of structures, relationships, known variances and new rows, for `tests.fuzz`."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

import bayesv as bv
from tests.fuzz_inputs import column, damaged

__all__ = ["known", "pedigrees", "predictions", "residuals", "structures"]

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
        data[rng.choice("xzgtsv")] = column(rng, n)

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
            values = [column(rng, n), np.eye(n), "v", None, np.ones((n, n)), [[1]], {}]
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


KINDS = ("us", "cs", "csh", "ar1", "ar1h", "toep", "toeph", "ad", "adh", "ma1", "arma11", "car1",
         "sp_exp", "sp_gau", "sp_pow", "sp_mat", "cS", "")  # fmt: skip
POSITIONS = (*["t"] * 8, "x", "s", "1", "x + z", "0", "x + x", "t:s", "nothing", "v + t")


def residuals(rng: random.Random) -> None:
    """Residuals of any kind at any positions of any series, and fits of some."""
    seed = np.random.default_rng(rng.randrange(1 << 30))
    data: dict[str, Any] = {name: seed.normal(size=24) for name in "yxz"}
    data |= {"g": np.arange(24) % 6, "t": np.arange(24) // 6, "v": seed.uniform(0.5, 2.0, 24)}
    data["s"] = np.where(np.arange(24) % 2, "a", "b")
    series = rng.choice(["g"] * 9 + ["s / g", "s:g", "s", "g / s", "1", "t", "x", ""])
    more = rng.choice(["", "", "", "", "", "", "", ", nugget=True", ", nugget=False", ", hom=TRUE"])
    scales = [None] * 7 + [*RESIDUAL_SDS, "strata(g)", "power(x)", "power(v) * power(v)"]
    model = bv.Model(
        rng.choice(["y ~ x", "y ~ x", "y ~ x + (1 | g)", "y ~ t + (x || g)", "y ~ 1 + (1 | s)"]),
        pd.DataFrame(data),
        residual=f"{rng.choice(KINDS)}({rng.choice(POSITIONS)} | {series}{more})",
        residual_sd=rng.choice(scales),
    )
    if rng.random() < 0.3:
        model.reml()


def pedigrees(rng: random.Random) -> None:
    """Pedigrees with circles, doubles, odd names and parents without a row; A of some of them."""
    names: list[Any] = [rng.choice([str(i), i, f"a {i}", float(i)]) for i in range(12)]
    odd = [None, "", 0, ".", "NA", pd.NA, "\x00", float("inf"), True, (), b"1", 10**400, "é"]

    def parent(i: int) -> Any:
        before = names[rng.randrange(i)] if i and rng.random() < 0.6 else None
        return rng.choice([names[rng.randrange(12)], *odd]) if rng.random() < 0.05 else before

    columns = {"id": list(names), "sire": [*map(parent, range(12))],
               "dam": [*map(parent, range(12))]}  # fmt: skip
    if rng.random() < 0.2:
        columns["id"][rng.randrange(12)] = rng.choice([*odd, names[0]])
    order = rng.sample(range(12), 12)
    table: Any = {name: [values[i] for i in order] for name, values in columns.items()}
    table = pd.DataFrame(table, dtype=object) if rng.random() < 0.7 else table
    ped = bv.pedigree(table, **rng.choice([{}, {}, {}, {"id": "sire"}, {"dam": "mother"}]))
    A = ped.among(rng.sample(list(ped.labels), 5))
    assert np.linalg.eigvalsh(A).min() > -1e-9


def known(rng: random.Random) -> None:
    """Known variances and covariances, as columns, arrays and sparse arrays, some of them odd."""
    n, seed = 12, np.random.default_rng(rng.randrange(1 << 30))
    root = np.eye(n) + 0.2 * seed.normal(size=(n, n))
    odd = [0.0, -1.0, np.nan, np.inf, 1e300, 1e-300, 1e-12]
    values: Any = rng.choice([seed.uniform(0.5, 2.0, n), root @ root.T, np.eye(n)])
    for _ in range(rng.choice([0, 0, 1, 2])):
        values.ravel()[rng.randrange(values.size)] = rng.choice(odd)
    data = pd.DataFrame({"y": seed.normal(size=n), "g": np.arange(n) % 4, "v": values.ravel()[:n]})
    forms: list[Callable[[], Any]] = [
        lambda: values, lambda: values.tolist(), lambda: "v", lambda: sparse.csr_array(values),
        lambda: values[: n - 1], lambda: values.astype(object), lambda: values + 0j,
        lambda: pd.DataFrame(values), lambda: sparse.coo_array(np.atleast_2d(values)),
        lambda: values[..., None], lambda: rng.choice(["w", None, 3.0, {}, set()]),
    ]  # fmt: skip
    form = rng.choice(forms[:4]) if rng.random() < 0.7 else rng.choice(forms)
    formula = rng.choice(["y ~ 1 + (1 | g)", "y ~ 1", "y ~ v + (1 | g)"])
    bv.Model(formula, data, residual=bv.Known(form())).reml()


@cache
def _fits() -> tuple[bv.RemlFit, ...]:
    """Return fits of a plain model, of residuals in series, of visits, and of related levels."""
    seed = np.random.default_rng(3)
    data = pd.DataFrame({name: seed.normal(size=48) for name in "yxz"})
    data = data.assign(g=np.arange(48) % 8, t=np.arange(48) // 8, v=seed.uniform(0.5, 2.0, 48))
    data["s"] = np.where(data["g"] % 2, "a", "b")
    kin = bv.pedigree({"id": range(8), "sire": [None, *["0"] * 7], "dam": [None] * 8})
    made: list[tuple[str, dict[str, Any]]] = [
        ("y ~ poly(x, 2) + s + (x | g)", {}),
        ("y ~ x + s", {"residual": "ar1(t | g)", "residual_sd": "strata(s)"}),
        ("y ~ log(v) + x", {"residual": "csh(t | s / g)"}),
        ("y ~ x + (1 | g)", {"relationship": {"g": kin}, "residual_sd": "power(v)"}),
        ("y ~ x", {"residual": "sp_exp(x + z | s, nugget=True)"}),
    ]
    return tuple(bv.Model(formula, data, **asked).reml() for formula, asked in made)


def predictions(rng: random.Random) -> None:
    """New rows of odd columns, levels, positions and kinds, for fits of several structures."""
    seed = np.random.default_rng(rng.randrange(1 << 30))
    n = rng.choice([0, 1, 6, 12])
    data: dict[Any, Any] = {name: seed.normal(size=n) for name in "xz"}
    data |= {"g": seed.integers(0, 10, n), "t": np.arange(n) % 6, "v": seed.uniform(0.5, 2.0, n)}
    data |= {"s": np.where(data["g"] % 2, "a", "b"), "w": np.ones(n)}
    for _ in range(rng.choice([0, 0, 1, 2])):
        data[rng.choice("xzgtvs")] = column(rng, n)
    if rng.random() < 0.1:
        del data[rng.choice("xzgtvs")]
    frame = pd.DataFrame(data) if rng.random() < 0.9 else data
    frame = frame if rng.random() < 0.95 else rng.choice([3, "x", [], np.ones((n, 3))])
    asked = {"include": rng.choice([None, "all", "random", "fixed"]),
             "of": rng.choice(["mean", "response"]),
             "prob": 0.95,
             "weights": rng.choice([None, None, None, "w", "x"])}  # fmt: skip
    if rng.random() < 0.1:
        asked[rng.choice(list(asked))] = rng.choice(["u", -1, 1.0, float("nan"), None, []])
    table = rng.choice(_fits()).predict(frame, **asked)
    assert len(table) == n
    assert np.isfinite(table["mean"]).all()
