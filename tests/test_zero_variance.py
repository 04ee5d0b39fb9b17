"""A variance of 0: two Bayes factors that agree, priors that fit, the restricted ratio's null."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import kstest

import bayesv as bv
from bayesv.comparison.restricted_ratio import eigenvalues_of, null_ratios, refitted_ratio
from bayesv.comparison.without_effect import effect_of, without_effect
from tests.test_evidence import stated

pytestmark = pytest.mark.filterwarnings("ignore::bayesv.SamplingWarning")

RLRT = json.loads((Path(__file__).parent / "references/evidence/rlrt.json").read_text())


def few() -> pd.DataFrame:
    sleep = bv.load_dataset("sleepstudy")
    first = sleep["Subject"].isin(list(dict.fromkeys(sleep["Subject"]))[:6])
    return sleep[first & (np.arange(1, len(sleep) + 1) % 3 != 0)]


def weak() -> pd.DataFrame:
    """Intercepts and slopes of 12 levels; slopes vary little."""
    rng = np.random.default_rng(3)
    frame = pd.DataFrame({"g": np.repeat(np.arange(12), 6), "x": np.tile(np.arange(6.0), 12)})
    u = rng.normal(size=(12, 2)) * [1.0, 0.1]
    frame["y"] = (u[frame["g"]] * np.column_stack([np.ones(72), frame["x"]])).sum(axis=1)
    frame["y"] += rng.normal(size=72)
    return frame


# log BF₁₀ by exact quadrature, priors half-t(3, sd y) of both SDs.
@pytest.mark.parametrize(("name", "exact"), [("dyestuff", 2.3039637), ("dyestuff2", -1.2258014)])
def test_bayes_factors_are_those_of_quadrature(name, exact):
    data = bv.load_dataset(name)
    post = bv.Model("Yield ~ 1 + (1 | Batch)", data, stated(data, "Yield", "Batch")).sample(seed=1)
    result = bv.zero_variance(post, "Batch", simulations=2000)
    assert abs(result.log_bf - exact) < 4 * result.mcse
    log_bf, mcse = result.savage_dickey
    assert abs(log_bf - exact) < 4 * mcse
    assert result.without_effect.mcse == 0.0
    assert result.probability == pytest.approx(1 / (1 + np.exp(result.log_bf)))
    assert max(map(len, repr(result).splitlines())) <= 80


@pytest.mark.parametrize("bar", ["|", "||"])
@pytest.mark.parametrize("column", ["x", "Intercept"])
def test_savage_dickey_agrees_with_the_evidences(bar, column):
    """Only if the smaller model has LKJ(η + ½) and SDs of the effects that priors speak of."""
    priors = bv.Priors(corr=bv.LKJ(1.5), center={"g": {"x": 2.5}}) if bar == "|" else None
    post = bv.Model(f"y ~ x + (x {bar} g)", weak(), priors).sample(seed=1, draws=2000)
    result = bv.zero_variance(post, "g", column, simulations=100)
    log_bf, mcse = result.savage_dickey
    if column == "x":
        assert abs(log_bf - result.log_bf) < 4 * np.hypot(mcse, result.mcse)
        assert np.hypot(mcse, result.mcse) < 0.1
    assert (result.ratio is None) == (bar == "|")


def test_correlations_that_are_left_have_another_prior():
    rng = np.random.default_rng(4)
    frame = weak().assign(z=rng.normal(size=72))
    priors = bv.Priors(corr=bv.LKJ(1.5))
    post = bv.Model("y ~ x + (x + z | g)", frame, priors).sample(seed=1, draws=1000)
    smaller = without_effect(post, effect_of(post, "g", "z"))
    assert smaller is not None
    assert smaller.priors.corr["g"] == bv.LKJ(2.0)
    assert smaller.design.terms[0].columns == ("Intercept", "x")
    result = bv.zero_variance(post, "g", "z", simulations=100)
    log_bf, mcse = result.savage_dickey
    assert abs(log_bf - result.log_bf) < 4 * np.hypot(mcse, result.mcse)
    assert np.hypot(mcse, result.mcse) < 0.1


def test_a_term_beside_others_is_dropped_whole():
    post = bv.Model("diameter ~ 1 + (1 | plate) + (1 | sample)", bv.load_dataset("penicillin"))
    result = bv.zero_variance(post.sample(seed=1, draws=300), "plate", simulations=200)
    assert result.log_bf > 20
    assert result.ratio is not None
    assert not result.ratio.exact
    assert "approximate" in repr(result)


def test_prior_without_a_density_at_zero():
    data = bv.load_dataset("dyestuff")
    priors = bv.Priors(sd=bv.Gamma(2, 30.0))
    post = bv.Model("Yield ~ 1 + (1 | Batch)", data, priors).sample(seed=1, draws=200)
    result = bv.zero_variance(post, "Batch", simulations=100)
    assert np.isnan(result.savage_dickey[0])
    assert "density 0 at 0" in result.notes[0]
    assert np.isfinite(result.log_bf)


@pytest.mark.parametrize("name", list(RLRT))
def test_restricted_ratio_is_rlrsim(name):
    """Statistic of lme4, null of RLRsim (200,000 draws), in Monte Carlo errors."""
    known = RLRT[name]
    data = few() if name == "few" else bv.load_dataset(name)
    model = bv.Model(known["formula"], data)
    term = model.design.terms[0]
    mu = eigenvalues_of(model.design, term, term.values[:, 0])
    null = null_ratios(mu, model.design.n - model.design.p, 100_000, np.random.default_rng(1))
    null_model = bv.Model.from_design(replace(model.design, terms=()))
    statistic = null_model.reml().criterion - model.reml().criterion
    assert statistic == pytest.approx(known["statistic"], abs=1e-5)
    share = (null <= 0).mean()
    assert abs(share - known["zeros"]) < 4 * np.sqrt(share * (1 - share) * (1e-5 + 5e-6))
    p = (null >= statistic).mean()
    assert abs(p - known["p"]) < 4 * np.sqrt(max(p, 1e-5) * (1e-5 + 5e-6)) + 1e-5
    for q, value in zip((0.8, 0.9, 0.95, 0.99), known["q"], strict=True):
        above = (null > value).mean()
        assert abs(above - (1 - q)) < 4 * np.sqrt(q * (1 - q) * (1e-5 + 5e-6)) + 2e-4


def test_null_is_that_of_fits_of_simulated_responses():
    """Of an unbalanced weighted design: responses without the effect, fitted with it."""
    frame = weak().iloc[:40].assign(w=np.tile([0.5, 1.0, 2.0, 1.0], 10))
    model = bv.Model("y ~ x + (1 | g)", frame, var_weights="w")
    design, term = model.design, model.design.terms[0]
    rng = np.random.default_rng(5)
    null = null_ratios(
        eigenvalues_of(design, term, term.values[:, 0]), design.n - design.p, 20_000, rng
    )
    w, ratios = design.residual.weights, []
    for _ in range(120):
        y = rng.normal(size=design.n) / np.sqrt(w)
        fit = model.with_response(y).reml()
        r = y - design.X @ np.linalg.lstsq(design.X * w[:, None] ** 0.5, y * w**0.5)[0]
        df = design.n - design.p
        S = (design.X * w[:, None]).T @ design.X
        at_zero = df * (1 + np.log(2 * np.pi * (w * r**2).sum() / df))
        at_zero += np.linalg.slogdet(S)[1] - np.log(w).sum()
        ratios.append(at_zero - fit.criterion)
    ratios = np.array(ratios)
    assert ratios.min() > -1e-5
    for value in (1e-4, 0.5, 1.5):
        p = (null > value).mean()
        assert abs((ratios > value).mean() - p) < 4 * np.sqrt(p * (1 - p) / 120)


def test_refusals():
    post = bv.Model("y ~ x + (x | g)", weak()).sample(seed=1, draws=100)
    with pytest.raises(bv.BayesvError, match="several effects"):
        bv.zero_variance(post, "g")
    with pytest.raises(bv.BayesvError, match="has the effects"):
        bv.zero_variance(post, "g", "z")
    with pytest.raises(bv.BayesvError, match="probability"):
        bv.zero_variance(post, "g", "x", prior=1.0)


def test_refits_have_the_exact_null():
    """Of one variance, where the distribution is known, and of one beside a correlated effect."""
    model = bv.Model("Yield ~ 1 + (1 | Batch)", bv.load_dataset("dyestuff"))
    design, (term,) = model.design, model.design.terms
    null_fit = bv.Model.from_design(replace(design, terms=(), encoding=None)).reml()
    ratio, failed = refitted_ratio(null_fit, model.reml(), 300, np.random.default_rng(3))
    assert failed == 0
    mu = eigenvalues_of(design, term, term.values[:, 0])
    exact = null_ratios(mu, design.n - design.p, 20_000, np.random.default_rng(4))
    assert kstest(ratio.null[ratio.null > 1e-7], exact[exact > 1e-7]).pvalue > 1e-3
    share = (exact <= 1e-7).mean()
    error = np.sqrt(share * (1 - share) / 300)
    assert abs((ratio.null <= 1e-7).mean() - share) < 4 * error
    assert ratio.p_value == (1 + (ratio.null >= ratio.statistic).sum()) / 301
