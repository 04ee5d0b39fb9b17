"""Predictions of fits: old and new groups and series, against dense algebra and glmmTMB."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import bayesv as bv
from bayesv.errors import without
from tests.test_structured_downstream import known_model, statement

PREDICTED = Path(__file__).parent / "references" / "prediction" / "ar1.csv"
NAMES = ("us", "us_by_group", "toeph", "ar1", "ar1_slopes", "strata", "car1", "spatial")


@pytest.fixture(scope="module")
def held_out():
    """A fit without some rows, the design of all rows, and which were left out."""
    made = {}
    for name in NAMES:
        formula, frame, options = statement(name)
        frame = frame.dropna(subset=formula.split(" ~ ")[0])
        rows = np.random.default_rng(1).choice(len(frame), 9, replace=False)
        with without(bv.FitWarning):
            fit = bv.Model(formula, frame.drop(index=frame.index[rows]), **options).reml()
        whole = bv.Model(formula, frame, **options).design
        made[name] = fit, whole, frame, np.sort(rows), options.get("var_weights")
    return made


def dense(fit, whole, rows, *, random=True, series=True):
    """Mean and error variances by the conditional normal distribution of all rows."""
    kept = np.setdiff1d(np.arange(whole.n), rows)
    V = bv.MarginalCovariance(whole, fit.components)
    R = V.R.toarray()
    ZGZ = V.to_dense() - R
    inner, X = np.ix_(kept, kept), whole.X
    W = np.linalg.inv((ZGZ + R)[inner])
    across = (random * ZGZ + series * R)[np.ix_(rows, kept)]
    D = X[rows] - across @ W @ X[kept]
    beta = fit.beta.to_numpy()
    mean = X[rows] @ beta + across @ W @ (whole.target[kept] - X[kept] @ beta)
    phi = np.linalg.inv(X[kept].T @ W @ X[kept])
    error = np.diagonal((ZGZ + R)[np.ix_(rows, rows)] - across @ W @ across.T + D @ phi @ D.T)
    R_across = R[np.ix_(rows, kept)]
    left = np.diagonal(R[np.ix_(rows, rows)])
    if series:
        left = left - np.diagonal(R_across @ np.linalg.solve(R[inner], R_across.T))
    # Of what is expected: less the innovation; without random effects, those are in no mean.
    of_mean = error - left - (0.0 if random else np.diagonal(ZGZ[np.ix_(rows, rows)]))
    return mean, np.sqrt(np.maximum(of_mean, 0)), np.sqrt(error)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("include", "parts"),
    [
        ("all", {}),
        ("random", {"series": False}),
        ("fixed", {"series": False, "random": False}),
    ],
)
def test_rows_left_out_are_predicted_as_by_dense_algebra(held_out, name, include, parts):
    fit, whole, frame, rows, weights = held_out[name]
    table = fit.predict(frame.iloc[rows], include=include, weights=weights)
    mean, se, sd = dense(fit, whole, rows, **parts)
    np.testing.assert_allclose(table["mean"], mean, rtol=1e-9)
    np.testing.assert_allclose(table["se"], se, rtol=1e-6, atol=1e-5)
    np.testing.assert_allclose(table["sd"], sd, rtol=1e-8)
    half = 1.2815515655446004 * table["sd"]
    response = fit.predict(
        frame.iloc[rows], include=include, weights=weights, of="response", prob=0.8
    )
    np.testing.assert_allclose(response["high"], mean + half, rtol=1e-9)
    assert list(table.index) == [str(label) for label in frame.index[rows]]


def test_the_default_of_new_rows_uses_their_series(held_out):
    fit, _, frame, rows, _ = held_out["car1"]
    new = frame.iloc[rows]
    pd.testing.assert_frame_equal(fit.predict(new), fit.predict(new, include="all"))
    elsewhere = fit.predict(new.assign(Subject="nobody"))
    pd.testing.assert_frame_equal(elsewhere, fit.predict(new, include="fixed"))
    assert (fit.predict(new)["sd"] < elsewhere["sd"]).all()


def test_glmmTMB_predicts_the_same_at_the_same_components():
    expected = pd.read_csv(PREDICTED)
    frame = bv.load_dataset("sleepstudy")
    keys = set(zip(expected["Subject"].astype(str), expected["Days"], strict=True))
    held = [key in keys for key in zip(frame["Subject"].astype(str), frame["Days"], strict=True)]
    train = frame[~np.array(held)]
    design = bv.Model("Reaction ~ Days", train, residual="ar1(Days | Subject)").design
    sd, rho = expected["sd"][0], expected["rho"][0]
    vc = bv.VarianceComponents({}, sd**2, {"corr": {"rho": rho}})
    fit = bv.Model("Reaction ~ Days", train, residual="ar1(Days | Subject)").reml()
    assert fit.components.residual.corr["rho"] == pytest.approx(rho, abs=2e-3)
    at = bv.RemlFit(
        design, "REML", vc, bv.gls(design, vc).beta, bv.gls(design, vc).cov,
        0.0, False, True, 0, 0.0,
    )  # fmt: skip
    table = at.predict(frame[held])
    np.testing.assert_allclose(table["mean"], expected["mean"], rtol=2e-5)


def test_rows_of_the_fit_are_fitted_values(held_out):
    for name in ("strata", "ar1_slopes"):
        fit = held_out[name][0]
        table = fit.predict()
        design = fit.design
        expected = design.X @ fit.beta.to_numpy() + design.Z @ fit.blup.to_numpy()
        np.testing.assert_allclose(table["mean"], expected, rtol=1e-9)
        assert (table["se"] < table["sd"]).all()
    with pytest.raises(bv.DataError, match="predicted to be what they were"):
        fit.predict(include="all")


def test_independent_residuals_as_textbooks_have_it():
    frame = bv.load_dataset("sleepstudy")
    fit = bv.Model("Reaction ~ Days + (Days | Subject)", frame).reml()
    new = pd.DataFrame({"Days": [3.5, 3.5], "Subject": ["308", "new"]})
    table = fit.predict(new)
    x = np.array([1.0, 3.5])
    u = fit.blup["Subject", "308"].to_numpy()
    assert table["mean"].iloc[0] == pytest.approx(x @ (fit.beta.to_numpy() + u))
    assert table["mean"].iloc[1] == pytest.approx(x @ fit.beta.to_numpy())
    Sigma = fit.components["Subject"].to_numpy()
    variance = x @ (fit.cov_beta.to_numpy() + Sigma) @ x
    assert table["se"].iloc[1] == pytest.approx(np.sqrt(variance))
    assert table["sd"].iloc[1] == pytest.approx(np.sqrt(variance + fit.sigma2))


def test_a_fitted_position_has_its_residual(held_out):
    fit = held_out["car1"][0]
    frame = statement("car1")[1].loc[fit.design.row_labels].iloc[:3]
    table = fit.predict(frame)
    np.testing.assert_allclose(table["mean"], frame["Reaction"], rtol=1e-9)
    np.testing.assert_allclose(table["sd"], 0.0, atol=1e-3)


def test_times_beyond_the_fit_are_predicted_where_lags_say_how():
    frame = bv.load_dataset("sleepstudy")
    new = {"Days": [9, 12, 40], "Subject": ["308"] * 3}
    for kind in ("ar1", "cs", "car1", "sp_exp"):
        fit = bv.Model("Reaction ~ Days", frame, residual=f"{kind}(Days | Subject)").reml()
        table = fit.predict(new)
        V = bv.MarginalCovariance(fit.design, fit.components)
        rows = V.rows_of("Subject", "308")
        (value,) = fit.components.residual.corr.values()
        lag = np.subtract.outer([9, 12, 40], np.arange(10.0))
        decay = np.exp(-np.abs(lag) / value) if kind == "sp_exp" else value ** np.abs(lag)
        corr = np.where(lag == 0, 1.0, value) if kind == "cs" else decay
        e = (fit.design.y - fit.design.X @ fit.beta.to_numpy())[rows]
        weights = fit.sigma2 * corr @ np.linalg.inv(V.block("Subject", "308"))
        expected = fit.beta.iloc[0] + fit.beta.iloc[1] * np.array([9, 12, 40]) + weights @ e
        np.testing.assert_allclose(table["mean"], expected, rtol=1e-9)
    after = bv.Model("Reaction ~ Days", frame, residual="ar1(1 | Subject)").reml()
    expected = fit_of("ar1", frame).predict({"Days": [10], "Subject": ["308"]})
    table = after.predict({"Days": [10], "Subject": ["308"]})
    np.testing.assert_allclose(table["mean"], expected["mean"], rtol=1e-6)


def fit_of(kind, frame):
    return bv.Model("Reaction ~ Days", frame, residual=f"{kind}(Days | Subject)").reml()


@pytest.mark.parametrize(
    ("name", "change", "match"),
    [
        ("us", {"AVISIT": "VIS9"}, "VIS9"),
        ("us_by_group", {"ARMCD": "XXX"}, "XXX"),
        ("strata", {"sex": "X"}, "'X' is not a stratum of 'sex'"),
        ("car1", {"Days": np.nan}, "missing or infinite"),
        ("ar1_slopes", {"Days": 3.5}, r"3\.5 is no visit"),
        ("spatial", {"east": "there"}, "was fitted at numbers"),
        ("toeph", {"USUBJID": None}, "gap in AVISIT, USUBJID"),
    ],
)
def test_what_the_fit_says_nothing_of_is_refused(held_out, name, change, match):
    fit, _, frame, rows, _ = held_out[name]
    with pytest.raises(bv.DataError, match=match):
        fit.predict(frame.iloc[rows].assign(**change))


@pytest.mark.parametrize("kind", ["us", "toep", "ad", "ar1h"])
def test_positions_that_families_do_not_reach_are_refused(kind):
    frame = bv.load_dataset("sleepstudy").query("Days < 4")
    with without(bv.FitWarning):
        fit = fit_of(kind, frame)
    assert np.isfinite(fit.predict({"Days": [2], "Subject": ["new"]})["mean"]).all()
    with pytest.raises(bv.DataError, match=r"is no visit|the fit says nothing|up to lag 3"):
        fit.predict({"Days": [7], "Subject": ["308"]})


def test_missing_columns_are_named(held_out):
    fit = held_out["strata"][0]
    with pytest.raises(bv.DataError, match="no column 'sex', which residuals"):
        fit.predict({"Days": [1], "Subject": ["308"]})


def test_known_variances_of_new_rows_must_be_said():
    model, _ = known_model("column")
    fit = model.reml()
    new = {"Days": [1], "Subject": ["308"], "w": [1 / 400.0]}
    assert np.isnan(fit.predict(new)["sd"]).all()
    with pytest.raises(bv.DataError, match="name the column of their reciprocals"):
        fit.predict(new, of="response")
    table = fit.predict(new, of="response", weights="w")
    assert table["sd"].iloc[0] == pytest.approx(np.sqrt(table["se"].iloc[0] ** 2 + 400.0))
