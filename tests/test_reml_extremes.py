"""REML at the ends of double precision: huge variance ratios, exact responses, far covariates."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest

import bayesv as bv

L = np.longdouble


def anova(kind: str, ratio: float, seed: int) -> tuple[str, pd.DataFrame, dict[str, float]]:
    """Return balanced data and their REML estimates in closed form, in extended precision."""
    rng = np.random.default_rng(seed)
    J, K, m = 12, 5, 4
    a = np.repeat(np.arange(J), K * m)
    between = ratio * rng.normal(size=J)[a]
    if kind == "single":
        y = between + rng.normal(size=J * K * m)
        Y = y.astype(L).reshape(J, K * m)
        means = Y.mean(1)
        s2 = ((Y - means[:, None]) ** 2).sum() / (J * (K * m - 1))
        var = ((means - means.mean()) ** 2).sum() / (J - 1) - s2 / (K * m)
        return "y ~ 1 + (1 | a)", pd.DataFrame({"a": a, "y": y}), {"a": var, "s2": s2}
    if kind == "nested":
        c = np.repeat(np.arange(J * K), m)
        y = between + ratio * rng.normal(size=J * K)[c] + rng.normal(size=J * K * m)
        Y = y.astype(L).reshape(J, K, m)
        mc = Y.mean(2)
        ma = mc.mean(1)
        s2 = ((Y - mc[..., None]) ** 2).sum() / (J * K * (m - 1))
        of_c = m * ((mc - ma[:, None]) ** 2).sum() / (J * (K - 1))
        of_a = m * K * ((ma - ma.mean()) ** 2).sum() / (J - 1)
        wanted = {"c": (of_c - s2) / m, "a": (of_a - of_c) / (m * K), "s2": s2}
        return "y ~ 1 + (1 | a) + (1 | c)", pd.DataFrame({"a": a, "c": c, "y": y}), wanted
    a, c = np.repeat(np.arange(J), K), np.tile(np.arange(K), J)
    y = ratio * rng.normal(size=J)[a] + ratio * rng.normal(size=K)[c] + rng.normal(size=J * K)
    Y = y.astype(L).reshape(J, K)
    ma, mc, mean = Y.mean(1), Y.mean(0), Y.mean()
    s2 = ((Y - ma[:, None] - mc + mean) ** 2).sum() / ((J - 1) * (K - 1))
    wanted = {
        "a": (K * ((ma - mean) ** 2).sum() / (J - 1) - s2) / K,
        "c": (J * ((mc - mean) ** 2).sum() / (K - 1) - s2) / J,
        "s2": s2,
    }
    return "y ~ 1 + (1 | a) + (1 | c)", pd.DataFrame({"a": a, "c": c, "y": y}), wanted


@pytest.mark.parametrize("kind", ["single", "nested", "crossed"])
@pytest.mark.parametrize("ratio", [1e2, 1e3, 1e4, 3e4, 1e5, 2e6, 1e7, 1e8])
def test_ratios_of_sd_are_right_to_what_is_said_or_refused(kind, ratio):
    formula, data, wanted = anova(kind, ratio, seed=int(np.log10(ratio)))
    model = bv.Model(formula, data)
    if ratio > 1e5:
        with pytest.raises(bv.DataError, match="exactly, or so nearly"):
            model.reml()
        return
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit = model.reml()
    assert fit.converged
    estimates = {g: fit.components[g].iloc[0, 0] for g in fit.components.groups}
    estimates["s2"] = fit.sigma2
    worst = max(abs(estimates[name] / float(value) - 1) for name, value in wanted.items())
    roots = [np.sqrt(fit.components[t.group].to_numpy() / fit.sigma2) for t in fit.design.terms]
    said = model.statistics.relative_error(roots)
    assert worst < max(said, 3e-5)
    assert len(caught) == (said > 1e-6)
    assert any("digits" in problem for problem in fit.problems) == (said > 1e-6)


@pytest.mark.parametrize(("levels", "rows"), [(3, 2), (10, 5), (10, 12), (30, 4)])
@pytest.mark.parametrize("within", [0.0, 1e-14, 1e-12, 1e-9, 1e-8, 1e-7])
@pytest.mark.parametrize("formula", ["y ~ 1 + (1 | g)", "y ~ x + (x | g)"])
def test_a_response_that_is_nearly_the_same_within_levels_is_refused(levels, rows, within, formula):
    rng = np.random.default_rng(1)
    g = np.repeat(np.arange(levels), rows)
    y = g + within * rng.normal(size=len(g))
    model = bv.Model(formula, pd.DataFrame({"g": g, "y": y, "x": rng.normal(size=len(g))}))
    with pytest.raises(bv.DataError, match="exactly, or so nearly"):
        model.reml()


@pytest.mark.parametrize("engine", ["collapsed", "nuts"])
@pytest.mark.parametrize("within", [0.0, 1e-8])
def test_it_is_refused_before_sampling_begins(engine, within):
    rng = np.random.default_rng(1)
    g = np.repeat(np.arange(10), 5)
    data = pd.DataFrame({"g": g, "y": g + within * rng.normal(size=50)})
    with pytest.raises(bv.DataError, match="exactly, or so nearly"):
        bv.Model("y ~ 1 + (1 | g)", data).sample(engine, seed=1)


@pytest.fixture(scope="module")
def seconds() -> pd.DataFrame:
    """A day in whole seconds: a shift by Unix time is exact."""
    rng = np.random.default_rng(3)
    g = np.repeat(np.arange(12), 10)
    t = np.round(rng.uniform(0, 86400, 120))
    y = 5 + 2e-5 * t + rng.normal(size=12)[g] + rng.normal(size=120)
    return pd.DataFrame({"g": g, "t": t, "y": y})


@pytest.mark.parametrize("offset", [1.7e9, 1.7e12])
@pytest.mark.parametrize("formula", ["y ~ t + (1 | g)", "y ~ t + (t | g)"])
def test_a_covariate_far_from_zero_is_kept(seconds, formula, offset):
    near = bv.Model(formula, seconds).reml()
    far = bv.Model(formula, seconds.assign(t=seconds["t"] + offset)).reml()
    assert far.design.aliased == ()
    assert far.criterion == pytest.approx(near.criterion, abs=1e-6)
    assert far.beta["t"] == pytest.approx(near.beta["t"], rel=1e-7)
    assert far.se["t"] == pytest.approx(near.se["t"], rel=1e-7)


def test_the_intercept_far_from_zero_keeps_its_digits(seconds):
    offset = 1.7e9
    far = bv.Model("y ~ t + (1 | g)", seconds.assign(t=seconds["t"] + offset)).reml()
    tau2, s2 = L(far.components["g"].iloc[0, 0]), L(far.sigma2)
    # V⁻¹ of one group by Sherman and Morrison, in extended precision; centred t
    X = np.column_stack([np.ones(120), seconds["t"] - seconds["t"].mean()]).astype(L)
    y = seconds["y"].to_numpy().astype(L)
    S, c = np.zeros((2, 2), L), np.zeros(2, L)
    for j in range(12):
        rows = slice(10 * j, 10 * j + 10)
        V_inv = (np.eye(10, dtype=L) - tau2 / (s2 + 10 * tau2)) / s2
        S, c = S + X[rows].T @ V_inv @ X[rows], c + X[rows].T @ V_inv @ y[rows]
    determinant = S[0, 0] * S[1, 1] - S[0, 1] ** 2
    slope = (S[0, 0] * c[1] - S[0, 1] * c[0]) / determinant
    at_mean = (S[1, 1] * c[0] - S[0, 1] * c[1]) / determinant
    wanted = at_mean - slope * (L(offset) + L(seconds["t"].mean()))
    assert far.beta["Intercept"] == pytest.approx(float(wanted), rel=1e-12)
    assert far.beta["t"] == pytest.approx(float(slope), rel=1e-12)


def test_a_square_far_from_zero_is_kept_and_an_aliased_column_dropped(seconds):
    far = seconds.assign(t=seconds["t"] + 1.7e9)
    assert bv.Model("y ~ t + I(t**2) + (1 | g)", far).design.aliased == ()
    twice = far.assign(u=2 * far["t"] + 3)
    assert bv.Model("y ~ t + u + (1 | g)", twice).design.aliased == ("u",)
    constant = far.assign(k=0.1 * 3)
    assert bv.Model("y ~ t + k + (1 | g)", constant).design.aliased == ("k",)
    rounded = far.assign(u=(far["t"] + seconds["y"]).astype(np.float32).astype(float))
    pieces = rounded.assign(v=(rounded["u"] * (1 + 1e-9)))
    assert bv.Model("y ~ u + v + (1 | g)", pieces).design.aliased == ("v",)


@pytest.mark.parametrize(("offset", "said"), [(1e8, False), (1e12, True)])
def test_numbers_too_coarse_beside_sigma_are_named(offset, said):
    """Around 1e12 doubles are 1e-4 apart: what is left of y holds their rounding."""
    rng = np.random.default_rng(1)
    level = np.repeat(np.arange(20), 10)
    y = offset + rng.normal(size=20)[level] + rng.normal(size=200)
    model = bv.Model("y ~ 1 + (1 | g)", pd.DataFrame({"y": y, "g": level.astype(str)}))
    with warnings.catch_warnings(record=True):
        warnings.simplefilter("always")
        problems = [*model.reml().problems, *model.sample(seed=1, draws=200).problems]
    assert sum("double precision" in problem for problem in problems) == 2 * said
