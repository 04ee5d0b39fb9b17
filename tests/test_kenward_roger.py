"""Kenward–Roger and Satterthwaite where they are hard: boundaries, (f || g), ratios, contrasts."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import bayesv as bv
from bayesv.covariance import geometry as geometry_room
from bayesv.covariance.moments import f_moments
from bayesv.covariance.sandwich import robust
from bayesv.study.scoring.scorer import _moved_along

FOLDER = Path(__file__).parent / "references" / "small_sample"
BOUNDARY = json.loads((FOLDER / "boundary.json").read_text())
ROWS = pd.read_csv(FOLDER / "boundary.csv")
HIGH = json.loads((FOLDER / "high_ratio.json").read_text())
NAMED = json.loads((FOLDER / "satterthwaite_named.json").read_text())


def scaled(found, want) -> float:
    """Largest difference of two covariances, in units of their variances."""
    want, found = np.asarray(want, dtype=float), np.asarray(found, dtype=float)
    return float(np.abs((found - want) / np.sqrt(np.outer(*[np.diagonal(want)] * 2))).max())


def in_order_of(model: bv.Model, names: list[str]) -> list[int]:
    own = [n.replace("[", "").replace("]", "").replace("Intercept", "(Intercept)")
           for n in model.design.fixed_names]  # fmt: skip
    return [own.index(name) for name in names]


@pytest.fixture(scope="module")
def factors():
    """Rows with a factor f inside groups g, and a column between groups."""
    rng = np.random.default_rng(0)
    g = np.concatenate([np.arange(8), rng.integers(0, 8, 62)])
    f, x = rng.integers(0, 3, 70), rng.normal(size=70)
    y = x + rng.normal(size=(8, 3))[g, f] + rng.normal(size=8)[g] + rng.normal(size=70)
    frame = pd.DataFrame({"y": y, "x": x, "g": g, "f": np.array(list("abc"))[f], "t": g % 2})
    return frame.assign(one=[f"l{j}" for j in g])


# --- references -----------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:.* not identified:bayesv.FitWarning")  # of how V is split
def test_boundaries_and_double_bars_are_pbkrtest_and_lmertest():
    compared = 0
    for want in BOUNDARY:
        model = bv.Model(want["formula"], ROWS[ROWS["case"] == want["case"]])
        fit = model.reml()
        assert fit.criterion < want["criterion"] + 1e-6
        if fit.criterion < want["criterion"] - 1e-6:
            continue  # lme4 ended at another optimum
        found, order = bv.kenward_roger(fit), in_order_of(model, want["names"])
        assert scaled(found.cov.to_numpy()[np.ix_(order, order)], want["cov"]) < 1e-4
        assert np.allclose(found.df.to_numpy()[order], want["df"], rtol=1e-4)
        # lmerTest differentiates numerically.
        lmertest = want["df_satterthwaite"]
        assert np.allclose(found.df_satterthwaite.to_numpy()[order], lmertest, rtol=5e-4)
        if "F" in want:
            L = np.eye(len(order))[[order[1], order[2]]]
            test = found.test(L)
            for name in ("F", "df2", "scale", "p"):
                assert test[name] == pytest.approx(want["F"][name], rel=1e-3)
        compared += 1
    assert compared >= len(BOUNDARY) - 1 > 15


def test_satterthwaite_of_published_data_is_lmertest(star_fit):
    dyestuff2 = bv.Model("Yield ~ 1 + (1 | Batch)", bv.load_dataset("dyestuff2")).reml()
    assert bv.kenward_roger(dyestuff2).df_satterthwaite["Intercept"] == pytest.approx(29, rel=1e-9)
    found = bv.kenward_roger(star_fit).df_satterthwaite  # both correlations −1
    assert np.allclose(found, NAMED["star_k20"]["df_satterthwaite"], rtol=5e-4)
    want = NAMED["assay_block"]
    assay = bv.Model(want["formula"], pd.read_csv(FOLDER / "assay.csv")).reml()
    found = bv.kenward_roger(assay).df_satterthwaite
    assert np.allclose(found, want["df_satterthwaite"], rtol=1e-4)


@pytest.mark.parametrize("case", HIGH["cases"], ids=lambda case: case["formula"])
@pytest.mark.filterwarnings("ignore:Kenward–Roger. the random effects' variance")
def test_variances_far_above_sigma2_cost_no_digits(case):
    design = bv.Model(case["formula"], pd.DataFrame(HIGH["data"])).design
    vc = bv.VarianceComponents(dict(zip(("g", "k"), case["blocks"], strict=False)), 1.0)
    found = bv.kenward_roger(design, vc)
    assert scaled(found.cov_plugin, case["plug_in"]) < 1e-6
    assert scaled(found.cov, case["cov"]) < 1e-6
    assert np.allclose(found.df, case["df"], rtol=1e-6)
    assert scaled(found.W, case["W"]) < 1e-6
    if "CR2" in case:
        assert scaled(bv.cluster_robust(design, vc), case["CR2"]) < 1e-6


def test_lost_digits_are_named(factors):
    design = bv.Model("y ~ x + t + (1 | g)", factors).design
    with pytest.warns(bv.FitWarning, match=r"digits or fewer are left"):
        found = bv.kenward_roger(design, bv.VarianceComponents({"g": [[1e10]]}, 1.0))
    near = bv.kenward_roger(design, bv.VarianceComponents({"g": [[1e7]]}, 1.0))
    assert np.allclose(found.df, near.df, rtol=1e-3)
    with pytest.raises(bv.ComponentsError, match=r"no digit|cannot be factored"):
        bv.kenward_roger(design, bv.VarianceComponents({"g": [[1e16]]}, 1.0))


# --- what is identified ---------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e4])
@pytest.mark.parametrize("shared", [0.0, 0.5])
@pytest.mark.parametrize("unit", [1.0, 1e4])
def test_a_v_stated_by_too_many_parameters_has_the_numbers_of_the_plain_one(
    factors, scale, shared, unit
):
    frame = factors.assign(y=unit * factors["y"])
    designs = [
        bv.Model(f"y ~ x + f + t + ({left} g)", frame).design for left in ("f ||", "0 + f |")
    ]
    inner = np.array([[1.0, 0.3, 0.2], [0.3, 1.5, 0.1], [0.2, 0.1, 0.7]])
    double = np.zeros((4, 4))
    double[0, 0], double[1:, 1:] = shared, inner
    size = scale * unit**2
    found, want = (
        bv.kenward_roger(design, bv.VarianceComponents({"g": size * block}, unit**2))
        for design, block in zip(designs, (double, inner + shared), strict=True)
    )
    assert scaled(found.cov, want.cov) < 1e-9
    assert np.allclose(found.df, want.df, rtol=1e-9)
    L = np.eye(5)[1:4]
    for name in ("F", "df2", "scale", "p"):
        assert found.test(L)[name] == pytest.approx(want.test(L)[name], rel=1e-8)
    assert "several ways" in found.notes[0]


def test_aliased_directions_leave_v_where_it_is(factors):
    design = bv.Model("y ~ x + (f || g)", factors).design
    vc = bv.VarianceComponents({"g": np.diag([1.0, 2.0, 1.5, 1.2])}, 1.0)
    found = bv.kenward_roger(design, vc)
    assert found.aliased.shape == (len(found.parameters), 1)
    assert found.aliased[-1] == pytest.approx(0.0, abs=1e-12)
    block = np.zeros((4, 4))
    places = zip(*np.nonzero(np.tril(design.terms[0].structure.mask)), strict=True)
    for (a, b), step in zip(places, found.aliased[:-1, 0], strict=True):
        block[a, b] = block[b, a] = 0.1 * step / np.abs(found.aliased).max()
    moved = bv.VarianceComponents({"g": vc["g"].to_numpy() + block}, 1.0)
    V, W = (bv.MarginalCovariance(design, one).to_dense() for one in (vc, moved))
    assert np.allclose(V, W, atol=1e-12)
    # A study gives no standard error to what moves along it: here the intercept's variance.
    slopes = np.vstack([np.eye(len(found.parameters)), np.zeros((design.p, len(found.aliased)))])
    lost = _moved_along(found.aliased, slopes)
    assert lost[0]
    assert not lost[-1]


@pytest.mark.filterwarnings("ignore:.* not identified:bayesv.FitWarning")  # of how V is split
def test_satterthwaite_of_a_v_stated_by_too_many_parameters(factors):
    fits = [bv.Model(f"y ~ x + f + t + ({left} g)", factors).reml() for left in ("f ||", "0 + f |")]
    found, want = (bv.kenward_roger(fit) for fit in fits)
    assert np.allclose(found.df_satterthwaite, want.df_satterthwaite, rtol=1e-5)


def test_g_inverse_is_that_of_dense_algebra(factors):
    design = bv.Model("y ~ x + (f || g)", factors).design
    block = np.diag([0.4, 1.0, 0.7, 0.2])
    block[1, 2] = block[2, 1] = 0.3
    vc = bv.VarianceComponents({"g": block}, 0.8)
    found = bv.kenward_roger(design, vc)
    V, X, term = bv.MarginalCovariance(design, vc).to_dense(), design.X, design.terms[0]
    same, parts = (term.codes[:, None] == term.codes).astype(float), [np.eye(design.n)]
    for a, b in zip(*np.nonzero(np.tril(term.structure.mask)), strict=True):
        E = np.zeros((4, 4))
        E[a, b] = E[b, a] = 1.0
        parts.append(term.values @ E @ term.values.T * same)
    inverse = np.linalg.inv(V)
    Phi = np.linalg.inv(X.T @ inverse @ X)
    P = inverse - inverse @ X @ Phi @ X.T @ inverse
    twice = np.array([[np.trace(P @ a @ P @ b) for b in parts] for a in parts])
    W = 2 * np.linalg.pinv(twice, rcond=1e-10)
    to = inverse @ X @ Phi
    middle = sum(
        W[i, j] * to.T @ a @ P @ b @ to
        for i, a in enumerate(parts)
        for j, b in enumerate(parts)
    )  # fmt: skip
    assert scaled(found.cov, Phi + 2 * middle) < 1e-9
    slopes = np.array([np.diagonal(to.T @ part @ to) for part in parts])
    df = 2 * np.diagonal(Phi) ** 2 / np.einsum("ik,ij,jk->k", slopes, W, slopes)
    assert np.allclose(found.df, df, rtol=1e-9)


def test_a_variance_that_the_data_say_nothing_of_is_named(factors):
    model = bv.Model("y ~ one + x + (1 | g)", factors)
    vc = bv.VarianceComponents({"g": [[0.5]]}, 1.0)
    with pytest.warns(bv.FitWarning, match="say nothing of g: Intercept beside the fixed"):
        found = bv.kenward_roger(model.design, vc)
    assert found.se.drop("x").isna().all()
    assert found.df.drop("x").isna().all()
    # x does not depend on it: ordinary least squares, whose t is exact.
    assert found.df["x"] == pytest.approx(70 - 9)
    ols = np.linalg.inv(model.design.X.T @ model.design.X)[-1, -1]
    assert found.se["x"] ** 2 == pytest.approx(ols)
    with pytest.warns(bv.FitWarning, match="No Kenward–Roger test"):
        assert np.isnan(found.test({"one[l1]": 1, "one[l2]": -1})["F"])
    assert found.test({"x": 1})["df2"] == pytest.approx(61)


def test_large_clusters_have_the_numbers_of_small_ones(monkeypatch):
    rng = np.random.default_rng(4)
    frame = pd.DataFrame({"a": rng.integers(0, 9, 80), "b": rng.integers(0, 6, 80)})
    frame["x"] = rng.normal(size=80)
    frame["y"] = frame["x"] + rng.normal(size=9)[frame["a"]] + rng.normal(size=80)
    fit = bv.Model("y ~ x + (x | a) + (1 | b)", frame).reml()
    small = bv.kenward_roger(fit)
    monkeypatch.setattr(geometry_room, "_BATCHED_EFFECTS", 0)
    large = bv.kenward_roger(fit)
    assert scaled(large.cov, small.cov) < 1e-10
    assert np.allclose(large.df, small.df, rtol=1e-10)


@pytest.mark.parametrize("zero", [300.0, -2000.0])
def test_zero_of_a_covariate_does_not_matter(sleepstudy, sleepstudy_fit, zero):
    frame = bv.load_dataset("sleepstudy").assign(Days=lambda d: d["Days"] + zero)
    design = bv.Model("Reaction ~ Days + (Days | Subject)", frame).design
    to = np.array([[1.0, -zero], [0.0, 1.0]])
    block = to @ sleepstudy_fit.components["Subject"].to_numpy() @ to.T
    vc = bv.VarianceComponents({"Subject": block}, sleepstudy_fit.sigma2)
    found, want = bv.kenward_roger(design, vc), bv.kenward_roger(sleepstudy_fit)
    assert found.se["Days"] == pytest.approx(want.se["Days"], rel=1e-7)
    assert found.df["Days"] == pytest.approx(want.df["Days"], rel=1e-6)
    at_zero = found.variance_of({"Intercept": 1, "Days": zero})
    assert at_zero == pytest.approx(want.variance_of({"Intercept": 1}), rel=1e-6)


# --- ML, and components that are no estimates -----------------------------------------------------


def test_ml_is_named(factors):
    fit = bv.Model("y ~ x + t + (1 | g)", factors).reml(method="ML")
    with pytest.warns(bv.FitWarning, match="its theory is REML's"):
        found = bv.kenward_roger(fit)
    assert any("ML" in note for note in found.notes)
    assert not any("no ML estimates" in note for note in found.notes)
    bare = bv.kenward_roger(fit.design, fit.components)
    assert any("no REML estimates" in note for note in bare.notes)
    assert not bv.kenward_roger(bv.Model("y ~ x + t + (1 | g)", factors).reml()).notes


@pytest.mark.parametrize(
    "arguments", [([1, 2],), (None,), ("fit", "fit")], ids=["list", "nothing", "texts"]
)
def test_other_kinds_are_refused(arguments):
    with pytest.raises(bv.BayesvError, match="takes a REML fit"):
        bv.kenward_roger(*arguments)


# --- tests and tables -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sleep(sleepstudy_fit):
    return bv.kenward_roger(sleepstudy_fit)


@pytest.mark.parametrize(
    "L",
    [
        [[0.0, 1.0]],
        [0, 1],
        {"Days": 1},
        {"slope": {"Days": 1}},
        {"slope": [0, 1]},
        pd.Series({"Days": 1.0}),
        pd.DataFrame([[1.0, 0.0]], columns=["Days", "Intercept"]),
        pd.DataFrame([[1.0, 0.0]], columns=["Days", "(Intercept)"]),
        [[0.0, 1e-9]],
    ],
)
@pytest.mark.parametrize("turned", [False, True])
def test_contrasts_and_estimates_are_aligned_by_label(sleep, sleepstudy_fit, L, turned):
    beta = sleepstudy_fit.beta[::-1] if turned else sleepstudy_fit.beta
    found = sleep.test(L, beta)
    assert found["F"] == pytest.approx(45.853, rel=1e-5)
    assert found["df2"] == pytest.approx(sleep.df_of({"Days": 1}), rel=1e-12)
    assert found["p"] == pytest.approx(stats.f.sf(found["F"], 1, found["df2"]), rel=1e-9)
    assert sleep.test(L)["F"] == pytest.approx(found["F"], rel=1e-6)


@pytest.mark.parametrize(
    ("L", "message"),
    [
        ([[0, 1], [0, 1]], "rank 1: row 2 follows"),
        ([[0, 1], [0, 1e6], [1, 0]], "row 2 follows"),
        ([[0, 0]], "Row 1 of L is 0"),
        (np.zeros((0, 2)), "no rows"),
        ({"Day": 1}, "did you mean 'Days'"),
        ({"Days": 1, "(Intercept)": 1, "Intercept": 2}, "named twice"),
        (pd.DataFrame([[1.0]], columns=["Days"]), "no column for Intercept"),
        ([[np.nan, 1]], "finite"),
        ("Days", "needs numbers"),
        ([[1, 2, 3]], "rows of 2 weights"),
    ],
)
def test_contrasts_that_cannot_be_tested_are_refused(sleep, L, message):
    with pytest.raises(bv.BayesvError, match=message):
        sleep.test(L)


@pytest.mark.parametrize(
    ("beta", "message"),
    [
        (pd.Series({"Days": 1.0}), "no value for Intercept"),
        (pd.Series({"a": 1.0, "b": 2.0}), "No fixed effect"),
        ([1.0], "2 elements"),
        ("abc", "needs numbers"),
    ],
)
def test_estimates_that_do_not_fit_are_refused(sleep, beta, message):
    with pytest.raises(bv.BayesvError, match=message):
        sleep.test({"Days": 1}, beta)
    with pytest.raises(bv.BayesvError, match=message):
        sleep.table(beta)


@pytest.mark.parametrize("method", ["Kenward–Roger", "Kenward-Roger", "Satterthwaite"])
def test_table(sleep, sleepstudy_fit, method):
    table = sleep.table(prob=0.9, method=method)
    assert np.allclose(table["estimate"], sleepstudy_fit.beta)
    se = sleep.se if "K" in method else sleepstudy_fit.se
    df = sleep.df if "K" in method else sleep.df_satterthwaite
    assert np.allclose(table["se"], se)
    assert np.allclose(table["p"], 2 * stats.t.sf(sleepstudy_fit.beta / se, df))
    assert np.allclose(table["high"] - table["estimate"], stats.t.ppf(0.95, df) * se)
    assert "Days" in repr(sleep)
    with pytest.raises(bv.BayesvError, match="prob"):
        sleep.table(prob=95)
    with pytest.raises(bv.BayesvError, match="method"):
        sleep.table(method="Wald")


def test_moments_that_are_none_of_an_f_distribution():
    scale, df, why = f_moments(2, 0.1, 0.05)
    assert df > 0
    assert scale > 0
    assert not why
    for q, A1, A2 in ((2, 8.0, 8.0), (3, 12.0, 8.0), (2, 2.0, 2.0)):
        scale, df, why = f_moments(q, A1, A2)
        assert why
        assert np.isnan([scale, df]).all()
    # One contrast has 2/A₂ whatever the general formula says.
    assert f_moments(1, 0.9, 0.9) == (1.0, 2.0 / 0.9, "")
    assert f_moments(3, 0.0, 0.0) == (1.0, np.inf, "")


def test_a_test_without_moments_says_so(factors):
    few = factors[factors["g"] < 3].assign(u=lambda d: d["g"] == 1, v=lambda d: 1.0 * d["g"])
    few = few.assign(u=few["u"].astype(float))
    design = bv.Model("y ~ t + x + (x | g)", few).design
    vc = bv.VarianceComponents({"g": [[2.0, 0.2], [0.2, 2.0]]}, 0.1)
    found = bv.kenward_roger(design, vc)
    with pytest.warns(bv.FitWarning, match="No Kenward–Roger test: the moments"):
        test = found.test(np.eye(3))
    assert np.isnan([test["F"], test["df2"], test["p"]]).all()
    assert "one by one" in test["problem"]


# --- cluster-robust -------------------------------------------------------------------------------


def test_intervals_of_robust_methods_take_their_degrees_of_freedom(
    sleepstudy_fit, sleepstudy_posterior
):
    contrasts = {"at 5": {"Intercept": 1, "Days": 5}}
    table = bv.beta_uncertainty(sleepstudy_fit, sleepstudy_posterior, contrasts).table
    frame = bv.load_dataset("sleepstudy").assign(Days=lambda d: d["Days"] - 5)
    moved = bv.Model("Reaction ~ Days + (Days | Subject)", frame).reml()
    for kind in ("CR0", "CR2"):
        rows = table[table["method"] == f"cluster-robust {kind}"].set_index("coefficient")
        half = stats.t.ppf(0.975, rows["df"]) * rows["se"]
        assert np.allclose(rows["high"] - rows["estimate"], half)
        assert (rows["df"] < 18).all()
        # A contrast has the numbers of the coefficient it is after a change of x's zero.
        same = robust(moved.design, moved.components, kind)
        assert rows.loc["at 5", "df"] == pytest.approx(same.df["Intercept"], rel=1e-5)
        assert rows.loc["at 5", "se"] ** 2 == pytest.approx(same.cov.iloc[0, 0], rel=1e-5)
    with pytest.raises(bv.BayesvError, match="where they have their zeros"):
        bv.beta_uncertainty(moved, sleepstudy_posterior)


def test_methods_that_do_not_exist_are_notes(sleepstudy, sleepstudy_posterior):
    fit = sleepstudy.reml(method="ML")
    found = bv.beta_uncertainty(fit, sleepstudy_posterior)
    assert "ML plug-in" in set(found.table["method"])
    assert any("its theory is REML's" in note for note in found.notes)
    huge = bv.VarianceComponents({"Subject": 1e15 * np.eye(2)}, 1.0)
    found = bv.beta_uncertainty(replace(fit, components=huge), sleepstudy_posterior)
    assert "Kenward–Roger" not in set(found.table["method"])
    assert any("no digit of a Kenward–Roger" in note for note in found.notes)


def test_a_coefficient_that_one_cluster_determines_has_no_robust_variance(factors):
    frame = factors.assign(rest=(factors["g"] != 3) * 1.0)
    fit = bv.Model("y ~ rest + (1 | g)", frame).reml()
    for kind in ("CR0", "CR2"):
        with pytest.warns(bv.FitWarning, match="one cluster alone determines Intercept"):
            found = bv.cluster_robust(fit.design, fit.components, kind)
        assert np.isnan(found.loc["Intercept", "Intercept"])
        assert np.isnan(found.loc["Intercept", "rest"])
