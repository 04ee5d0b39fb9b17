"""A fit as tables, beside broom.mixed and performance."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import bayesv as bv

WANT = json.loads(
    (Path(__file__).parent / "references" / "small_sample" / "tables.json").read_text()
)


FRAME = bv.load_dataset("sleepstudy").assign(w=lambda d: 1.0 + d["Days"] % 3)


@pytest.fixture(scope="module")
def fits():
    return {
        "plain": bv.Model("Reaction ~ Days + (Days | Subject)", FRAME).reml(),
        "weights": bv.Model("Reaction ~ Days + (1 | Subject)", FRAME, var_weights="w").reml(),
    }


@pytest.mark.parametrize("name", ["plain", "weights"])
def test_rows_are_those_of_broom(fits, name):
    want, found = WANT[name]["augment"], fits[name].augment(FRAME)
    assert found.columns[:3].to_list() == ["Reaction", "Days", "Subject"]
    names = {"fitted": ".fitted", "fixed": ".fixed", "residual": ".resid", "hat": ".hat",
             "cook": ".cooksd"}  # fmt: skip
    for own, theirs in names.items():
        np.testing.assert_allclose(found[own], want[theirs], rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["plain", "weights"])
def test_one_line_of_a_fit_is_that_of_broom_and_performance(fits, name):
    line = fits[name].glance().iloc[0]
    performance, glance = WANT[name]["performance"], WANT[name]["glance"]
    for own, theirs in {"aic": "AIC", "aicc": "AICc", "bic": "BIC", "rmse": "RMSE"}.items():
        assert line[own] == pytest.approx(performance[theirs], rel=1e-6)
    assert line["criterion"] == pytest.approx(glance["REMLcrit"], rel=1e-9)
    assert line["rows"] == glance["nobs"]
    assert line["rows"] - line["parameters"] == glance["df.residual"]
    assert not line["singular"]
    if name == "plain":  # performance leaves weights out of its R² and ICC
        assert line["R² conditional"] == pytest.approx(performance["R2_conditional"], rel=1e-5)
        assert line["R² marginal"] == pytest.approx(performance["R2_marginal"], rel=1e-5)
        assert line["ICC Subject"] == pytest.approx(performance["ICC"], rel=1e-5)


def test_all_parameters_stand_in_one_table(fits):
    fit = fits["plain"]
    table, intervals = fit.tidy(prob=0.9), fit.confint(prob=0.9)
    assert table["effect"].to_list() == ["fixed"] * 2 + ["random"] * 3 + ["residual"]
    assert table["term"].to_list()[2:] == [
        "sd Intercept", "sd Days", "corr Intercept, Days", "sd",
    ]  # fmt: skip
    kr = bv.kenward_roger(fit).table(prob=0.9)
    columns = ["estimate", "se", "df", "t", "p", "low", "high"]
    np.testing.assert_allclose(table.loc[:1, columns].astype(float), kr[columns])
    np.testing.assert_allclose(table.loc[2:, "low"], intervals["low"].iloc[:4])
    assert table.loc[2:, ["se", "df", "t", "p"]].isna().all(axis=None)
    series = bv.Model("Reaction ~ Days", FRAME, residual="ar1(Days | Subject)").reml()
    assert series.tidy()["term"].to_list()[2:] == ["sd", "corr rho"]
    assert "hat" not in series.augment()
    assert np.isinf(bv.Model("Reaction ~ Days + (1 | Subject)", FRAME).reml("ML").tidy().df[0])


def test_rows_of_known_variances_have_leverages():
    trials = pd.DataFrame({"y": [0.1, 0.9, 0.4, 1.6], "v": [0.1, 0.2, 0.3, 0.1], "s": list("abcd")})
    fit = bv.Model("y ~ 1 + (1 | s)", trials, residual=bv.Known(np.diag(trials["v"]))).reml()
    variance = fit.components["s"].iloc[0, 0]
    total, own = 1.0 / (variance + trials["v"]), trials["v"] / (variance + trials["v"])
    hat = 1.0 - own + own * total / total.sum()  # of the effect, and of the mean in what is left
    np.testing.assert_allclose(fit.augment()["hat"], hat, rtol=1e-9)


def test_a_model_without_fixed_effects_has_its_tables():
    fit = bv.Model("Reaction ~ 0 + (1 | Subject)", FRAME).reml()
    assert fit.tidy()["effect"].to_list() == ["random", "residual"]
    assert fit.confint().index.to_list() == ["sd Subject: Intercept", "sd Residual"]
    assert fit.glance()["parameters"].item() == 2
    assert "cook" not in fit.augment()


def test_curvature_that_says_nothing_of_an_sd_makes_no_interval():
    frame = bv.load_dataset("star_k20")
    fit = bv.Model("read ~ cltype + sx + (sx | sch/tch)", frame).reml()
    table = fit.confint()
    free = table.index.str.contains(r"sd .*sx\[F\]|^corr")
    assert fit.singular
    assert table.loc[free, ["low", "high"]].isna().all(axis=None)
    assert table.loc[~free, ["low", "high"]].notna().all(axis=None)


def test_other_rows_are_refused(fits):
    fit = fits["plain"]
    with pytest.raises(bv.DataError, match="rows of data are not those of the fit"):
        fit.augment(FRAME.iloc[:5])
    with pytest.raises(bv.DataError, match="data must be a pandas DataFrame; found list"):
        fit.augment([1])
    with pytest.raises(bv.DataError, match="has columns fitted already"):
        fit.augment(FRAME.assign(fitted=1.0))
    assert isinstance(fit.augment(), pd.DataFrame)
