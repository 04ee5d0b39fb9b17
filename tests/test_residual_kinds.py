"""Residuals of every kind, robust covariances, lags: against nlme, clubSandwich, dense algebra."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import bayesv as bv
from bayesv.covariance.residual_kinds import residuals_of
from bayesv.errors import without
from tests.test_structured_downstream import statement

REFERENCES = Path(__file__).parent / "references" / "residual_kinds"
REFERENCE = json.loads((REFERENCES / "residual_kinds.json").read_text())
MODELS = {
    "ar1": ("Reaction ~ Days", {"residual": "ar1(Days | Subject)"}),
    "ar1_intercept": ("Reaction ~ Days + (1 | Subject)", {"residual": "ar1(Days | Subject)"}),
    "cs_strata": ("Reaction ~ Days", {"residual": "cs(Days | Subject)",
                                      "residual_sd": "strata(sex)"}),
}  # fmt: skip


def sleep():
    frame = bv.load_dataset("sleepstudy")
    frame["sex"] = np.where(frame["Subject"].astype(str).astype(int) % 2, "F", "M")
    return frame


@pytest.fixture(scope="module", params=MODELS)
def at_nlme(request):
    """The estimates of nlme in a design of its rows, and what nlme and clubSandwich say."""
    expected = REFERENCE[request.param]
    formula, options = MODELS[request.param]
    frame = sleep().iloc[np.array(REFERENCE["rows"]) - 1]
    design = bv.Model(formula, frame, **options).design
    blocks = {"Subject": expected["sd"] ** 2} if "intercept" in request.param else {}
    residual, sigma2 = {"corr": {"rho": expected["rho"]}}, expected["sigma"] ** 2
    if "residual_sd" in options:
        residual["sd"] = expected["sd"]
        sigma2 = float(np.mean(np.array(list(expected["sd"].values())) ** 2))
    return design, bv.VarianceComponents(blocks, sigma2, residual), expected


@pytest.mark.parametrize(
    ("kind", "name"),
    [("conditional", "response"), ("pearson", "pearson"), ("normalized", "normalized")],
)
def test_residuals_are_those_of_nlme(at_nlme, kind, name):
    design, vc, expected = at_nlme
    values = residuals_of(bv.gls(design, vc), kind)
    theirs = np.array(expected["residuals"][name])
    if "cs" in design.residual.text and kind == "normalized":  # nlme takes another root of C
        codes = design.clusters
        np.testing.assert_allclose(
            np.bincount(codes, values**2), np.bincount(codes, theirs**2), rtol=1e-8
        )
        return
    np.testing.assert_allclose(values, theirs, rtol=1e-7, atol=1e-6)
    assert list(values.index) == list(design.row_labels)


@pytest.mark.parametrize("kind", ["CR0", "CR1", "CR2"])
def test_robust_covariances_are_those_of_clubSandwich(at_nlme, kind):
    design, vc, expected = at_nlme
    result = bv.cluster_robust(design, vc, kind=kind)
    np.testing.assert_allclose(result, expected["robust"][kind], rtol=1e-7)


@pytest.fixture(scope="module", params=["ar1_slopes", "strata", "us", "spatial"])
def fit(request):
    formula, frame, options = statement(request.param)
    with without(bv.FitWarning):
        return bv.Model(formula, frame, **options).reml()


def test_scaled_residuals_are_whitened_by_the_whole_of_V(fit):
    V = fit.gls.V.to_dense()
    e = fit.design.target - fit.design.X @ fit.beta.to_numpy()
    np.testing.assert_allclose(fit.residuals("marginal"), e, atol=1e-7)
    scaled = fit.residuals("scaled")
    assert (scaled**2).sum() == pytest.approx(e @ np.linalg.solve(V, e), rel=1e-9)
    for cluster in np.unique(fit.design.clusters)[:5]:
        rows = np.flatnonzero(fit.design.clusters == cluster)
        L = np.linalg.cholesky(V[np.ix_(rows, rows)])
        np.testing.assert_allclose(scaled.iloc[rows], np.linalg.solve(L, e[rows]), rtol=1e-7)
    normal = fit.residuals("normalized")
    R = fit.gls.V.R.toarray()
    left = fit.residuals("conditional").to_numpy()
    assert (normal**2).sum() == pytest.approx(left @ np.linalg.solve(R, left), rel=1e-8)


def test_means_by_lag_are_those_of_all_pairs():
    formula, frame, options = statement("ar1_slopes")
    fit = bv.Model(formula, frame, **options).reml()
    table = fit.by_lag()
    V, R = fit.gls.V.to_dense(), fit.gls.V.R.toarray()
    kept = frame.loc[fit.design.row_labels]
    days, subject = kept["Days"].to_numpy(), kept["Subject"].astype(str).to_numpy()
    e = fit.residuals("marginal").to_numpy()
    for _, row in table.iterrows():
        apart = np.abs(days[:, None] - days) == row["lag"]
        i, k = np.nonzero(np.triu((subject[:, None] == subject) & apart, 1))
        assert row["pairs"] == len(i)
        assert row["corr_R"] == pytest.approx(
            fit.components.residual.corr["rho"] ** row["lag"], rel=1e-9
        )
        corr = V[i, k] / np.sqrt(V[i, i] * V[k, k])
        assert row["corr_V"] == pytest.approx(corr.mean(), rel=1e-9)
        half = 0.5 * (V[i, i] + V[k, k]) - V[i, k]
        assert row["semivariance"] == pytest.approx(half.mean(), rel=1e-9)
        assert row["semivariance_residuals"] == pytest.approx(
            (0.5 * (e[i] - e[k]) ** 2).mean(), rel=1e-9
        )
    again = fit.by_lag("Subject", days)
    np.testing.assert_allclose(again, table, rtol=1e-12)
    assert R.shape == V.shape


def test_distances_are_put_into_classes(fit):
    if fit.design.residual.series is None:
        with pytest.raises(bv.DataError, match="no series; name a grouping factor"):
            fit.by_lag()
        return
    table = fit.by_lag()
    assert 3 <= len(table) <= 40
    assert (np.diff(table["lag"]) > 0).all()
    if "spatial" not in fit.design.formula and len(table) == 15:
        assert table["pairs"].max() < 1.2 * table["pairs"].min()


def test_functionals_of_a_fit_are_those_of_dense_matrices(fit):
    values = fit.functionals()
    V, R = fit.gls.V.to_dense(), fit.gls.V.R.toarray()
    assert values["log|V|"] == pytest.approx(np.linalg.slogdet(V)[1])
    assert values["VPC Residual"] == pytest.approx(np.trace(R) / np.trace(V))
    assert values["design effect"] == pytest.approx(V.sum() / np.trace(V))
    fixed = np.var(fit.design.X @ fit.beta.to_numpy(), ddof=1)
    assert values["R² marginal"] == pytest.approx(fixed / (fixed + np.trace(V) / len(V)))
