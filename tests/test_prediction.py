"""Predictions of rows that were not fitted: coded as the fitted ones, groups known or new."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import bayesv as bv


@pytest.fixture(scope="module")
def post():
    data = bv.load_dataset("sleepstudy")
    data = data.assign(dose=np.where(data.Days > 5, "high", "low"), base=data.Days / 10)
    formula = "Reaction ~ poly(Days, 2) + dose + offset(base) + (I(Days - 4.5) | Subject)"
    return bv.Model(formula, data).sample(seed=1)


def rows(post, places):
    data = bv.load_dataset("sleepstudy").iloc[places]
    return data.assign(dose=np.where(data.Days > 5, "high", "low"), base=data.Days / 10)


def test_fitted_rows_as_new_data_have_the_same_law(post):
    """Conditional on y: mean and SD of the rows of the fit, in Monte Carlo errors."""
    places = [0, 9, 57, 121]
    old = post.predict(draws=4000, seed=1).to_numpy()[:, places]
    new = post.predict(draws=4000, newdata=rows(post, places), seed=2).to_numpy()
    error = old.std(axis=0) / np.sqrt(2000)
    assert (np.abs(old.mean(axis=0) - new.mean(axis=0)) < 4 * error).all()
    assert new.std(axis=0) == pytest.approx(old.std(axis=0), rel=0.08)


def test_new_groups_share_effects_and_rows_without_one_do_not(post):
    data = rows(post, [0, 0, 0, 0]).astype({"Subject": object})
    data["Subject"] = ["new", "new", None, "other"]
    y = post.predict(draws=4000, newdata=data, seed=3).to_numpy()
    covs = post.cov("Subject").reshape(-1, 2, 2)
    z = np.array([1.0, -4.5])
    shared = (covs @ z @ z).mean()
    total = shared + post.sigma2.mean()
    corr = np.corrcoef(y, rowvar=False)
    assert corr[0, 1] == pytest.approx(shared / total, abs=0.08)
    assert np.abs(corr[[0, 0, 2], [2, 3, 3]]).max() < 0.15  # of β alone
    assert y.var(axis=0).mean() > total


def test_known_and_new_groups_differ(post):
    data = rows(post, [0, 0]).astype({"Subject": object})
    data["Subject"] = ["308", "someone"]
    spread = post.predict(draws=2000, newdata=data, seed=4).std("sample").to_numpy()
    assert spread[0] < 0.8 * spread[1]
    both = post.predict(draws=2000, newdata=data, new_levels=True, seed=4).std("sample").to_numpy()
    assert both[0] == pytest.approx(both[1], rel=0.1)


@pytest.mark.parametrize(
    ("change", "text"),
    [({"dose": "hihg"}, "hihg"), ({"Days": None}, "Days"), ({"base": np.nan}, "base")],
)
def test_what_cannot_be_coded_is_refused(post, change, text):
    with pytest.raises(bv.BayesvError, match=text):
        post.predict(rows(post, [0, 1]).assign(**change))


def test_a_mapping_is_a_table(post):
    data = {"Days": [1], "Subject": ["308"], "dose": ["low"], "base": [0.1]}
    assert post.predict(draws=50, newdata=data).shape == (50, 1)
    with pytest.raises(bv.BayesvError, match="data frame"):
        post.predict([1, 2])
    assert pd.notna(post.predict(draws=10, newdata=data).to_numpy()).all()


def test_means_are_responses_without_the_noise_of_residuals(post):
    """Same u and β, draw by draw: what is left of responses has the variance σ²."""
    data = rows(post, [0, 9, 57, 121])
    mean = post.predict(data, of="mean", draws=4000, seed=5).to_numpy()
    y = post.predict(data, draws=4000, seed=6).to_numpy()
    error = y.std(axis=0) / np.sqrt(2000)
    assert (np.abs(mean.mean(axis=0) - y.mean(axis=0)) < 4 * error).all()
    gap = y.var(axis=0) - mean.var(axis=0)
    assert gap == pytest.approx(np.full(4, post.sigma2.mean()), rel=0.12)


def test_summaries_of_predictions(post):
    drawn = post.predict(rows(post, [0, 9]), draws=500, seed=7)
    table = bv.summarize(drawn, prob=0.9)
    assert table["quantity"].tolist() == [f"y[{label}]" for label in drawn["row"].to_numpy()]
    assert table["mean"].to_numpy() == pytest.approx(drawn.mean("sample").to_numpy())
    low = drawn.quantile(0.05, "sample").to_numpy()
    assert table["eti_low"].to_numpy() == pytest.approx(low)
