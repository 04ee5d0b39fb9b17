"""Losses, truths and standard errors of a study against dense algebra."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import linalg, stats

import bayesv as bv
from bayesv.covariance import ComponentDraws
from bayesv.study import Scenario, Scores, run
from bayesv.study.results.performance import performance
from bayesv.study.scoring import losses
from bayesv.study.scoring.estimands import Estimand, Estimands, interval
from bayesv.study.scoring.losses import LOSSES, Losses

COMMON = {"beta": {"Intercept": 1, "x": 2}, "sigma": 1.5}
X = {"covariates": {"x": {"law": "normal"}}}
NESTED = Scenario(
    name="nested", formula="y ~ x + (x | s) + (1 | s:c)", levels={"s": 5, "c": 2},
    nested={"c": "s"}, rows={"law": "poisson", "mean": 3}, sd={"s": {"Intercept": 1, "x": 0.5},
    "s:c": 0.5}, shuffle=True, missing=0.1, **X, **COMMON,
)  # fmt: skip
WEIGHTS = Scenario(
    name="weights", formula="y ~ x + (x || g)", levels={"g": 6}, rows=4,
    sd={"g": {"Intercept": 1, "x": 0.5}}, weights={"law": "uniform", "low": 0.5, "high": 2},
    **X, **COMMON,
)  # fmt: skip
AR1 = Scenario(
    name="ar1", formula="y ~ x + (1 | g)", levels={"g": 6}, rows=5, sd={"g": 1},
    ar1={"rho": 0.5, "group": "g"}, covariates={"x": {"law": "grid"}}, **COMMON,
)  # fmt: skip
CROSSED = Scenario(
    name="crossed", formula="y ~ x + (1 | a) + (1 | b)", levels={"a": 5, "b": 4}, rows=2,
    sd={"a": 1, "b": 0.5}, **X, **COMMON,
)  # fmt: skip


@pytest.mark.parametrize("scenario", [NESTED, WEIGHTS, AR1, CROSSED], ids=lambda s: s.name)
def test_losses_are_those_of_dense_algebra(scenario, monkeypatch):
    replicate = scenario.prepare(3).replicate(0)
    design, truth = replicate.model.design, replicate.truth
    vc = replicate.model.reml().components
    V, estimate = truth.V.toarray(), bv.MarginalCovariance(design, vc).to_dense()
    ratio = linalg.eigh(estimate, V, eigvals_only=True)
    want = {
        "stein": np.trace(np.linalg.solve(V, estimate))
        - np.linalg.slogdet(estimate)[1] + np.linalg.slogdet(V)[1] - len(V),
        "affine_invariant": np.sqrt((np.log(ratio) ** 2).sum()),
        "frobenius": np.linalg.norm(estimate - V) / np.linalg.norm(V),
    }  # fmt: skip
    assert tuple(want) == LOSSES
    assert Losses(design, truth)(vc) == pytest.approx(want, rel=1e-8)
    # The other way, for clusters that are large, where it exists.
    monkeypatch.setattr(losses, "_ROWS_WITHOUT_Z", 0)
    other = Losses(design, truth)
    assert other.through_Z == (truth.well_specified and design.residual.iid)
    assert other(vc) == pytest.approx(want, rel=1e-8)
    monkeypatch.setattr(losses, "_MOST_ROWS_DENSE", 0)
    if not other.through_Z:
        none = Losses(design, truth)
        assert np.isnan(list(none(vc).values())).all()
        assert "more than 0" in none.missing


@pytest.mark.parametrize("scenario", [NESTED, WEIGHTS, AR1], ids=lambda s: s.name)
def test_truths_are_those_of_the_simulated_v(scenario):
    replicate = scenario.prepare(3).replicate(0)
    model, truth = replicate.model, replicate.truth
    scores = Scores(functionals=["log|V|", "tr V", "design effect", "ICC"], rows=[0, 3])
    targets = Estimands(model.design, model.density.statistics, scores)
    found = {t.name: v for t, v in targets.truth(truth).items()}
    V = truth.V.toarray()
    assert found["log|V|"] == pytest.approx(np.linalg.slogdet(V)[1])
    assert found["tr V"] == pytest.approx(np.trace(V))
    assert found["design effect"] == pytest.approx(V.sum() / np.trace(V))
    assert found["V[0, 3]"] == pytest.approx(V[0, 3])
    assert found["V[3, 3]"] == pytest.approx(V[3, 3])
    # Correlated residuals are no part of what an ICC of the fitted model means.
    assert any(name.startswith("ICC") for name in found) == truth.well_specified
    assert found["sd Residual"] == 1.5


def test_wald_errors_are_the_delta_method():
    replicate = NESTED.prepare(3).replicate(1)
    model = replicate.model
    design, fit = model.design, model.reml()
    targets = Estimands(design, model.density.statistics, Scores(functionals=["log|V|"], rows=[]))
    vc = bv.VarianceComponents.from_sd_corr(
        {"s": {"Intercept": 1.0, "x": 0.6}, "s:c": {"Intercept": 0.5}}, {"s": 0.2}, sigma=1.4
    ).aligned(design)
    point = ComponentDraws.of(design, vc, fit.beta.to_numpy()).flat
    slopes = targets.with_slopes(point, fit.se.to_numpy())[1][: -design.p]
    inverse = np.linalg.inv(bv.MarginalCovariance(design, vc).to_dense())
    want = []  # d log|V| = tr(V⁻¹ dV)
    for term in design.terms:
        same = term.codes[:, None] == term.codes
        for a, b in zip(*np.nonzero(np.tril(term.structure.mask)), strict=True):
            z = np.outer(term.values[:, a], term.values[:, b])
            dV = (z if a == b else z + z.T) * same
            want.append(np.trace(inverse @ dV))
    want.append(np.trace(inverse))
    at = [t.name for t in targets.list].index("log|V|")
    assert slopes[:, at] == pytest.approx(want, rel=1e-6)


@pytest.mark.filterwarnings("ignore::bayesv.SamplingWarning")
def test_scalars_of_one_pass_are_those_of_each_point_alone():
    replicate = NESTED.prepare(3).replicate(1)
    model, few = replicate.model, Scores(functionals=["ICC", "tr V"])
    fit, every = model.reml(), Scores(functionals=[*few.functionals, "reliability", "R² marginal"])
    targets, more = (Estimands(model.design, model.density.statistics, s) for s in (few, every))
    point = ComponentDraws.of(model.design, fit.components, fit.beta.to_numpy()).flat
    draws = model.sample(draws=20, chains=1, seed=1, progressbar=False).values
    alone, of_draws = targets(point)[0], targets(draws.flat)
    here, beside = targets.with_draws(point, draws)
    assert here == pytest.approx(alone, rel=1e-12)
    assert beside == pytest.approx(of_draws, rel=1e-12)
    assert targets.with_slopes(point, fit.se.to_numpy())[0] == pytest.approx(alone, rel=1e-12)
    known = dict(zip(targets.list, alone, strict=True))  # costly ones left out change no other
    at = more(point)[0]
    values = dict(zip(more.list, at, strict=True))
    assert len(values) > len(known)
    assert {name: values[name] for name in known} == pytest.approx(known, rel=1e-12)


def test_wald_errors_of_r_squared_have_those_of_beta():
    replicate = WEIGHTS.prepare(3).replicate(1)
    model, names = replicate.model, ["R² marginal", "log|V|"]
    design, fit = model.design, model.reml()
    targets = Estimands(
        design, model.density.statistics, Scores(functionals=names, rows=[], scales=["var"])
    )
    vc = bv.VarianceComponents.from_sd_corr({"g": [1.0, 0.5]}, sigma=1.5)
    point = ComponentDraws.of(design, vc.aligned(design), fit.beta.to_numpy()).flat
    slopes = targets.with_slopes(point, fit.se.to_numpy())[1][-design.p :]
    at = {t.name: k for k, t in enumerate(targets.list)}
    # R² = f/(f + c) with f = β'Cβ, and C the covariance of the columns of X
    f = np.var(design.X @ fit.beta.to_numpy())
    r2 = targets(point)[0][at["R² marginal"]]
    c = f / r2 - f
    df = 2 * np.atleast_2d(np.cov(design.X.T, ddof=0)) @ fit.beta.to_numpy()
    assert slopes[:, at["R² marginal"]] == pytest.approx(df * c / (f + c) ** 2, rel=1e-5, abs=1e-9)
    others = [k for name, k in at.items() if name != "R² marginal"]
    assert not slopes[:, others].any()


def test_intervals_on_their_own_scales():
    targets = [Estimand("sd", "sd g"), Estimand("corr", "corr g"), Estimand("functional", "VPC g"),
               Estimand("V", "V[0, 1]"), Estimand("corr", "corr h"),
               Estimand("functional", "design effect")]  # fmt: skip
    values, se = np.array([2.0, 0.5, 0.25, -1.0, 1.0, 4.0]), np.full(6, 0.1)
    low, high = interval(values, se, targets, 2.0)
    assert np.sqrt(low[0] * high[0]) == pytest.approx(2.0)
    assert np.log(high[0] / 2.0) == pytest.approx(2 * 0.1 / 2.0)
    assert np.arctanh(high[1]) - np.arctanh(0.5) == pytest.approx(0.2 / (1 - 0.25))
    odds = high[2] / (1 - high[2])
    assert np.log(odds * 3) == pytest.approx(0.2 / (0.25 * 0.75))
    assert (low[3], high[3]) == (-1.2, -0.8)
    assert np.isnan(low[4])
    assert np.isnan(high[4])
    assert np.sqrt(low[5] * high[5]) == pytest.approx(4.0)


def test_monte_carlo_errors_are_right_over_many_studies():
    """The standard error of each score is the spread of that score between studies."""
    rng = np.random.default_rng(1)
    studies, n, sd = 400, 60, 2.0
    estimate = rng.normal(0.3, sd, (studies, n))
    se = sd * np.sqrt(rng.chisquare(9, (studies, n)) / 9)
    half = stats.norm.ppf(0.95) * se
    rows = pd.DataFrame(
        {"study": np.repeat(np.arange(studies), n), "kind": "sd", "quantity": "sd g", "truth": 1.0,
         "estimate": 1.0 + estimate.ravel(), "se": se.ravel(),
         "low": (1.0 + estimate - half).ravel(), "high": (1.0 + estimate + half).ravel()}
    )  # fmt: skip
    table = performance(rows, by=("study", "kind", "quantity"))
    spread = table.groupby("score")["value"].std()
    told = np.sqrt((table["mcse"] ** 2).groupby(table["score"]).mean())
    # The spread of 400 values is known to 3.5 %; formulas are of first order in 1/n.
    assert set(spread.index) >= {
        "bias",
        "empirical se",
        "rmse",
        "model se",
        "se² ratio",
        "coverage",
    }
    assert (told / spread).to_numpy() == pytest.approx(1.0, abs=0.15)


def test_without_fixed_effects_and_at_the_boundary():
    bare = Scenario(name="bare", formula="y ~ 0 + (1 | g)", levels={"g": 6}, rows=3,
                    sd={"g": 0}, sigma=1)  # fmt: skip
    from bayesv.study import Bayes

    result = run(bare, ["REML", Bayes(draws=50)], replicates=5, seed=1, workers=1)
    assert result.failures.empty
    scores = result.scores()
    singular = scores[(scores["quantity"] == "singular")]["value"].iloc[0]
    frame = result.to_frame()
    reml = frame[(frame["estimator"] == "REML") & (frame["quantity"] == "sd g: Intercept")]
    assert (reml["estimate"] == 0).mean() == singular > 0
    assert (reml["truth"] == 0).all()
    # No relative bias of what is 0.
    at = scores["quantity"] == "sd g: Intercept"
    assert "relative bias" not in set(scores[at]["score"])
    assert "bias" in set(scores[at]["score"])


def test_robust_intervals_that_do_not_exist_say_why():
    result = run(CROSSED, ["REML"], replicates=2, seed=1, workers=1)
    rows = result.to_frame()
    rows = rows[rows["method"] == "CR2"]
    assert rows["low"].isna().all()
    assert rows["message"].str.contains("crossed").all()
    scores = result.scores()
    assert "coverage" not in set(scores[scores["method"] == "CR2"]["score"])
