"""Influence of clusters on the fixed effects is that of fits without them."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

import bayesv as bv
from tests.pictures import drawn, inside


def left_out(formula, data, fit, group, level, **options):
    """Return the moves of β̂ over its standard errors, by GLS of the other rows at the same V."""
    kept = data[data[group].astype(str) != level]
    beta = bv.gls(bv.Model(formula, kept, **options).design, fit.components).beta
    return (beta - fit.beta) / fit.se


@pytest.mark.parametrize(
    ("name", "formula", "group", "asked", "options"),
    [
        ("sleepstudy", "Reaction ~ Days + (Days | Subject)", "Subject", None, {}),
        ("penicillin", "diameter ~ 1 + (1 | plate) + (1 | sample)", "sample", "sample", {}),
        ("sleepstudy", "Reaction ~ Days", "Subject", None, {"residual": "ar1(Days | Subject)"}),
    ],
    ids=["clusters", "crossed", "series"],
)
def test_influence_is_that_of_fits_without_a_level(name, formula, group, asked, options):
    data = bv.load_dataset(name)
    fit = bv.Model(formula, data, **options).reml()
    table = fit.influence(asked)
    assert table["rows"].sum() == len(data)
    for level in (table.index[0], table["cook"].idxmax()):
        want = left_out(formula, data, fit, group, level, **options)
        np.testing.assert_allclose(
            table.loc[level, list(want.index)].astype(float), want, rtol=1e-6
        )
        moves = want * fit.se
        cook = moves @ np.linalg.inv(fit.cov_beta) @ moves / len(moves)
        assert table.loc[level, "cook"] == pytest.approx(cook, rel=1e-6)


def test_what_has_no_influence_is_said():
    data = bv.load_dataset("penicillin")
    fit = bv.Model("diameter ~ 1 + (1 | plate) + (1 | sample)", data).reml()
    with pytest.raises(bv.BayesvError, match=r"fit\.influence\('plate'\)"):
        fit.influence()
    with pytest.raises(bv.BayesvError, match="none"):
        bv.Model("diameter ~ 0 + (1 | plate)", data).reml().influence()


def test_a_coefficient_of_one_cluster_alone_has_no_move():
    rng = np.random.default_rng(0)
    data = pd.DataFrame({"g": np.repeat(list("abcdef"), 4), "y": rng.normal(size=24)})
    data["only"] = (data["g"] == "a") * np.tile([1.0, 2.0, 3.0, 5.0], 6)
    table = bv.Model("y ~ only + (1 | g)", data).reml().influence()
    assert np.isnan(table.loc["a", "cook"])
    assert np.isfinite(table.loc["b":, "cook"]).all()


@pytest.mark.parametrize("groups", [3, 18, 400])
def test_the_picture_names_the_most_influential(groups):
    rng = np.random.default_rng(2)
    names = [f"a rather long name of level {i}" for i in range(groups)]
    data = pd.DataFrame({"g": np.repeat(names, 3), "x": rng.normal(size=3 * groups)})
    data["y"] = data["x"] + rng.normal(size=3 * groups) + np.repeat(rng.normal(size=groups), 3)
    fit = bv.Model("y ~ x + (1 | g)", data).reml()
    axes = drawn(bv.plots.influence(fit))
    worst = fit.influence()["cook"].idxmax()
    assert f"the largest are {worst}" in bv.plots.describe(axes)
    assert inside(axes)
    plt.close(axes[0].figure)
