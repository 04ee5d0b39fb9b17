"""Every kind of residual beside every kind of random term: dense algebra, or a refusal by name."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import bayesv as bv
from bayesv.design.structured import StructuredResidual
from bayesv.errors import without
from bayesv.formula.residual_text import KINDS
from bayesv.gram import refuse_crossed_clusters
from bayesv.reml.ridges import refuse_ridges, refuse_unseen

SPATIAL = ("sp_exp", "sp_gau", "sp_pow", "sp_mat")
RESIDUALS = {kind: {"residual": f"{kind}({'e + n' if kind in SPATIAL else 't'} | s)"}
             for kind in KINDS} | {
    "strata": {"residual_sd": "strata(sex)"},
    "power": {"residual_sd": "power(age)"},
    "exp": {"residual_sd": "exp(age)"},
    "product": {"residual_sd": "strata(sex) * exp(age)"},
    "ar1 strata": {"residual": "ar1(t | s)", "residual_sd": "strata(sex)"},
    "nugget": {"residual": "sp_exp(e + n | s, nugget=True)"},
    "known": {"residual": bv.Known("v")},
}  # fmt: skip
TERMS = ("", "(1 | s)", "(0 + x | s)", "(x || s)", "(1 | outer)", "(1 | cross)")

CROSSED, SAME = "no way yet to fit residuals that are correlated across", "tell"
REFUSED = {(kind, "(1 | cross)"): CROSSED for kind in (*KINDS, "ar1 strata", "nugget")} | {
    (kind, term): SAME
    for kind in ("us", "toep", "toeph", "ad", "adh", "cs")
    for term in ("(1 | s)", "(x || s)")
}
# Where the search takes a fraction of a second: elsewhere the criterion is evaluated at a point.
SLOW = ("nugget", "sp_exp", "sp_gau", "sp_mat", "product", "toeph", "arma11")
SEARCHED = [(kind, "") for kind in RESIDUALS if kind not in SLOW] + [
    ("ar1", "(0 + x | s)"), ("cs", "(1 | outer)"), ("car1", "(1 | s)"), ("strata", "(1 | cross)"),
    ("power", "(x || s)"), ("known", "(1 | s)"),
]  # fmt: skip


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    rows = [(s, t) for s in range(14) for t in range(4) if s % 4 != 1 or t != 2]
    data = pd.DataFrame(rows, columns=["s", "t"])
    size = len(data)
    series = rng.normal(size=14)[data["s"]]
    data = data.assign(
        y=rng.normal(size=size) + series + 0.5 * data["t"],
        x=rng.normal(size=size), e=rng.normal(size=size), n=rng.normal(size=size),
        age=1.0 + rng.integers(1, 5, size=size), v=rng.uniform(0.5, 2.0, size=size),
        sex=np.where(data["s"] % 3, "F", "M"), outer="o" + (data["s"] // 3).astype(str),
        cross=np.where(data["t"] < 2, "a", np.where(data["s"] % 2, "b", "c")),
    )  # fmt: skip
    data["s"] = "s" + data["s"].astype(str)
    return data.sample(frac=1, random_state=1)


def correlations(kind: str, corr: dict[str, float], data: pd.DataFrame) -> np.ndarray:
    """Correlations within a series, by the formula of each kind."""
    t = data["t"].to_numpy()
    lag = np.abs(t[:, None] - t)
    places = data[["e", "n"]].to_numpy()
    d = np.sqrt(((places[:, None] - places) ** 2).sum(axis=-1))
    first = next(iter(corr.values()), 0.0)
    if kind == "us":
        table = np.eye(4)
        for label, value in corr.items():
            i, k = map(int, label.split(", "))
            table[i, k] = table[k, i] = value
        return table[t[:, None], t]
    if kind in ("ad", "adh"):
        logs = np.concatenate([[0.0], np.cumsum(np.log(np.abs(list(corr.values()))))])
        signs = np.concatenate([[1.0], np.cumprod(np.sign(list(corr.values())))])
        return signs[t[:, None]] * signs[t] * np.exp(-np.abs(logs[t[:, None]] - logs[t]))
    table = {
        "cs": np.where(lag > 0, first, 1.0),
        "ar1": float(first) ** lag,
        "car1": float(first) ** lag,
        "toep": np.array([1.0, *corr.values(), 0.0, 0.0, 0.0])[lag],
        "ma1": np.where(lag == 0, 1.0, np.where(lag == 1, first, 0.0)),
        "sp_exp": np.exp(-d / (first or 1.0)),
        "sp_gau": np.exp(-((d / (first or 1.0)) ** 2)),
        "sp_pow": np.abs(first) ** d,
        "sp_mat": (1.0 + d / (first or 1.0)) * np.exp(-d / (first or 1.0)),
    }
    if kind == "arma11":
        powers = corr["phi"] ** np.maximum(lag - 1, 0) * corr["lag 1"]
        return np.where(lag == 0, 1.0, powers)
    if kind == "nugget":
        return np.where(d == 0, 1.0, (1.0 - corr["nugget"]) * np.exp(-d / corr["range"]))
    if kind in ("strata", "power", "exp", "product", "known"):
        return np.eye(len(data))
    return table[kind.removesuffix("h").removesuffix(" strata")]


def criterion(kind: str, term: str, vc: bv.VarianceComponents, data: pd.DataFrame) -> float:
    """−2 log restricted likelihood by dense matrices and labelled values alone."""
    size, values = len(data), vc.residual
    corr = dict(values.corr)
    log_sds = np.full(size, np.log(vc.sigma))
    if values.sd:
        label = (
            data["sex"] if kind in ("strata", "product", "ar1 strata") else data["t"].astype(str)
        )
        log_sds = np.log(label.map(dict(values.sd)).to_numpy())
    for name in [name for name in corr if name.endswith(" age")]:
        x = data["age"].to_numpy()
        log_sds = log_sds + corr.pop(name) * (np.log(x) if name.startswith("power") else x)
    if kind == "known":
        log_sds = 0.5 * np.log(data["v"].to_numpy())
    sds, s = np.exp(log_sds), data["s"].to_numpy()
    V = np.outer(sds, sds) * correlations(kind, corr, data) * (s[:, None] == s)
    if term:
        group = term.rstrip(")").split(" | ")[-1].split(" || ")[-1]
        columns = {"(1": ["one"], "(0": ["x"], "(x": ["one", "x"]}[term[:2]]
        Z = data.assign(one=1.0)[columns].to_numpy()
        level = data[group].to_numpy()
        V = V + (Z @ vc[group].to_numpy() @ Z.T) * (level[:, None] == level)
    X, y = np.column_stack([np.ones(size), data["t"]]), data["y"].to_numpy()
    W = np.linalg.inv(V)
    S = X.T @ W @ X
    e = y - X @ np.linalg.solve(S, X.T @ W @ y)
    log_dets = np.linalg.slogdet(V)[1] + np.linalg.slogdet(S)[1]
    return float((size - 2) * np.log(2 * np.pi) + log_dets + e @ W @ e)


def a_point(design: bv.Design, rng: np.random.Generator) -> bv.VarianceComponents:
    """Components of the family that no search has chosen."""
    blocks = {}
    for term in design.terms:
        names, sds = list(term.columns), rng.uniform(0.5, 1.5, size=term.n_columns)
        blocks[term.group] = pd.DataFrame(np.diag(sds**2), names, names)
    form = design.residual
    if not isinstance(form, StructuredResidual):
        return bv.VarianceComponents(blocks, 1.0)
    labels = form.sd_labels
    sds = rng.uniform(0.7, 1.4, size=len(labels))
    sigma2 = float(np.mean(sds**2)) if labels else 1.3
    corr = dict.fromkeys(form.corr_labels, 0.3)
    if "lag 2" in corr:
        corr |= {"lag 2": 0.2, "lag 3": 0.1}
    return bv.VarianceComponents(
        blocks, sigma2, {"sd": dict(zip(labels, map(float, sds), strict=True)), "corr": corr}
    )


@pytest.mark.parametrize("term", TERMS)
@pytest.mark.parametrize("kind", RESIDUALS)
def test_each_pair_is_dense_algebra_or_refused(kind, term, frame):
    formula = "y ~ t" + (f" + {term}" if term else "")
    model = bv.Model(formula, frame, **RESIDUALS[kind])
    if (kind, term) in REFUSED:
        with pytest.raises(bv.DataError, match=REFUSED[kind, term]):
            model.reml()
        return
    design = model.design
    if design.parametric_residual is not None:  # nothing that a search would refuse
        refuse_unseen(design.residual)
        refuse_ridges(design)
        refuse_crossed_clusters(design)
    vc = a_point(design, np.random.default_rng(len(kind) + 7 * len(term)))
    value = bv.gls(design, vc).criterion()
    assert value == pytest.approx(criterion(kind, term, vc, frame), abs=1e-8)
    if (kind, term) not in SEARCHED:
        return
    with without(bv.FitWarning):
        fit = model.reml()
    assert fit.converged
    assert fit.criterion == pytest.approx(criterion(kind, term, fit.components, frame), abs=1e-6)
    assert fit.criterion <= value
    for change in (0.97, 1.03):  # no lower point beside it
        residual = fit.components.residual
        corr = {label: change * v for label, v in residual.corr.items()}
        moved = bv.VarianceComponents(
            {g: change * fit.components[g] for g in fit.components},
            fit.components.sigma2, {"sd": dict(residual.sd), "corr": corr},
        )  # fmt: skip
        try:
            beside = criterion(kind, term, moved, frame)
        except np.linalg.LinAlgError:
            continue
        assert not beside < fit.criterion - 1e-5


def test_residuals_of_a_visit_that_the_random_effects_reproduce_are_named():
    rng = np.random.default_rng(8)
    rows = [(s, t) for s in range(14) for t in range(4) if s % 4 != 1 or t != 2]
    data = pd.DataFrame(rows, columns=["s", "t"])
    data = data.assign(e=0.0, n=0.0, age=1.0, sex="F")
    data["y"] = rng.normal(size=len(data)) + rng.normal(size=14)[data["s"]] + 0.5 * data["t"]
    with without(bv.FitWarning):
        fit = bv.Model("y ~ t + (1 | s)", data, residual="csh(t | s)").reml()
    assert any("lower still where the SD of the residuals of 3" in why for why in fit.problems)
    sds = {"0": 1.1806, "1": 1.6715, "2": 1.6745, "3": 1e-3}
    vanishing = bv.VarianceComponents(
        {"s": [[2.3306]]},
        float(np.mean(np.square(list(sds.values())))),
        {"sd": sds, "corr": {"rho": 0.74711}},
    )
    assert criterion("csh", "(1 | s)", vanishing, data) < fit.criterion - 1.0
