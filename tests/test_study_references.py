"""The worked study's replicates and scores are those that lme4, lmerTest and pbkrtest compute."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t

import bayesv as bv

ROOT = Path(__file__).parent
FOLDER = ROOT / "references" / "study"
R = pd.read_csv(FOLDER / "lme4.csv", skipinitialspace=True).set_index("replicate")
DATA = pd.read_csv(FOLDER / "replicates.csv.gz", dtype={"g": str})


@pytest.fixture(scope="module")
def study():
    declared = bv.study.read_study(ROOT.parent / "notebooks" / "studies" / "few_groups.toml")
    (scenario,) = (s for s in declared.scenarios if s.factors["levels.g"] == 8)
    return scenario, declared


@pytest.fixture(scope="module")
def rows(study):
    scenario, declared = study
    result = bv.study.run(
        scenario, "REML", replicates=len(R), seed=declared.seed, scores=declared.scores, workers=1
    )
    assert result.failures.empty
    return result.to_frame().set_index("replicate")


def test_replicates_are_the_frozen_ones(study):
    scenario, declared = study
    prepared = scenario.prepare(declared.seed)
    for k, rows in DATA.groupby("replicate"):
        design = prepared.replicate(k).model.design
        np.testing.assert_allclose(design.y, rows["y"], rtol=1e-12)
        np.testing.assert_allclose(design.X[:, 1], rows["x"], rtol=1e-12)
        levels = design.terms[0].levels[design.terms[0].codes]
        assert list(levels) == list(rows["g"])


@pytest.mark.parametrize(
    ("quantity", "column"), [("sd g: Intercept", "sd_intercept"), ("sd g: x", "sd_x")]
)
def test_variance_components_are_those_of_lme4(rows, quantity, column):
    own = rows[rows["quantity"] == quantity]["estimate"]
    np.testing.assert_allclose(own, R[column], rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize(
    ("method", "se", "df", "rtol"),
    [
        ("plug-in", "se_x", None, 1e-5),
        ("Satterthwaite", "se_x", "df_satterthwaite", 5e-3),
        ("Kenward–Roger", "se_kr", "df_kr", 1e-4),
    ],
)
def test_intervals_of_beta_are_those_of_R(rows, method, se, df, rtol):
    own = rows[(rows["quantity"] == "beta x") & (rows["method"] == method)]
    regular = ~R["singular"].to_numpy()  # at the boundary R's derivatives are one-sided
    assert regular.sum() >= 8
    own, wanted = own[regular], R[regular]
    np.testing.assert_allclose(own["estimate"], wanted["beta_x"], rtol=1e-5)
    np.testing.assert_allclose(own["se"], wanted[se], rtol=rtol)
    half = wanted[se] * (1.959963984540054 if df is None else t.ppf(0.975, wanted[df]))
    np.testing.assert_allclose(own["low"], wanted["beta_x"] - half, rtol=rtol, atol=rtol)
    covers = (own["low"] <= own["truth"]) & (own["truth"] <= own["high"])
    theirs = (wanted["beta_x"] - half <= 1.0) & (wanted["beta_x"] + half >= 1.0)
    assert (covers.to_numpy() == theirs.to_numpy()).all()


def test_singular_fits_are_counted_as_lme4_counts_them(rows):
    own = rows[rows["quantity"] == "singular"]["estimate"].astype(bool)
    assert (own.to_numpy() == R["singular"].to_numpy()).all()
