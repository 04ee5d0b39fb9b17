"""Reasons of a comparison: planted causes are found, with their share; what is none is said."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import bayesv as bv
from bayesv.comparison.counterfactuals import reweighted
from bayesv.comparison.reasons import _listed, _of_it


def groups(J: int, n: int, sd: float, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    g = np.repeat(np.arange(J), n)
    return pd.DataFrame({"g": g, "y": sd * rng.normal(size=J)[g] + rng.normal(size=J * n)})


def reason(lines: list[str], start: str) -> str:
    (line,) = [line for line in lines if line.startswith(start)]
    return line


def share(line: str, cause: str) -> float:
    """The percentage that a line gives to a cause."""
    words = re.search(rf"(all of|all and|\d+ %)(?: (\d+) % more of it)?[^;%]*{cause}", line)
    if words.group(1).startswith("all"):
        return 100.0 + float(words.group(2) or 0)
    number = float(words.group(1).removesuffix(" %"))
    return -number if "the other way" in words.group(0) else number


@pytest.mark.parametrize(
    ("share", "error", "said"),
    [
        (0.84, 0.05, "84 %"),
        (0.97, 0.05, "all of it is"),
        (1.04, 0.01, "all of it is"),
        (1.30, 0.40, "all of it is"),
        (1.30, 0.05, "all and 30 % more of it is"),
        (-0.30, 0.05, "30 % the other way is"),
        (np.nan, 0.05, "an unknown share"),
    ],
)
def test_no_share_is_above_all_of_it(share, error, said):
    assert _of_it(share, error) == said


def test_shares_of_several_differences():
    keys = [("var", "g", name, "") for name in "abcd"]
    gaps = dict.fromkeys(keys, (2.0, 0.01))
    said = _listed(dict(zip(keys, (2.01, 1.0, 0.001, -1.0), strict=True)), gaps)
    assert said == (
        "all of var g: a, 50 % of var g: b, none of var g: c, "
        "none of var g: d, which it moves 50 % the other way"
    )


def tampered(post, change):
    """The same posterior with other draws under its name."""
    data = {name: values.copy() for name, values in post.draws["posterior"].data_vars.items()}
    change(data)
    return replace(post, draws=xr.DataTree.from_dict({"posterior": xr.Dataset(data)}))


def doubled(data):
    data["cov_g"].values = 2.0 * data["cov_g"].to_numpy()


@pytest.fixture(scope="module")
def few():
    model = bv.Model("y ~ 1 + (1 | g)", groups(8, 6, 2.0, 1))
    return model, model.reml(), model.sample(seed=1)


def test_ml_s_neglect_of_beta():
    """20 fixed effects between 40 groups: ML finds half of the variance, and nothing else does."""
    frame = groups(40, 4, 1.2, 3)
    x = np.random.default_rng(4).normal(size=(40, 19))
    frame = frame.assign(**{f"x{i}": x[frame["g"], i] for i in range(19)})
    formula = "y ~ " + " + ".join(f"x{i}" for i in range(19)) + " + (1 | g)"
    model = bv.Model(formula, frame, bv.Priors(sd=bv.HalfNormal(10.0), sigma=bv.HalfNormal(10.0)))
    ml, reml, post = model.reml("ML"), model.reml(), model.sample(seed=1)
    assert ml.components["g"].iloc[0, 0] < 0.6 * reml.components["g"].iloc[0, 0]
    line = reason(bv.compare(ml, post).reasons(), "collapsed: var g")
    gap = post.estimate().block_for(model.design.terms[0])[0, 0] - ml.components["g"].iloc[0, 0]
    by_reml = (reml.components["g"].iloc[0, 0] - ml.components["g"].iloc[0, 0]) / gap
    assert share(line, "ML's neglect of the estimation of β") == pytest.approx(100 * by_reml, abs=1)
    assert by_reml > 0.5
    assert not any("ML's" in other for other in bv.compare(reml, post).reasons())


def test_a_tight_prior_is_the_cause_not_the_number_of_groups(few):
    model, fit, _ = few
    tight = model.with_priors(bv.Priors(sd=bv.HalfNormal(0.1))).sample(seed=1)
    line = reason(bv.compare(fit, tight).reasons(), "collapsed: var g")
    assert share(line, "the prior") > 90
    assert "not computable: Pareto k̂" in line
    assert "skewness" not in line


def test_skewness_of_few_groups_and_the_pull_of_the_prior(few):
    model, fit, post = few
    line = reason(bv.compare(fit, post).reasons(), "collapsed: var g")
    flat = model.with_priors(bv.Priors(sd=bv.Flat(), sigma=bv.Flat())).sample(seed=2)
    at_flat = float(flat.cov("g").mean())
    said = float(re.search(r"under a flat one is ([\d.]+)", line).group(1))
    assert said == pytest.approx(at_flat, rel=0.1)
    assert share(line, "skewness") + share(line, "the prior") == pytest.approx(100, abs=2)
    assert "g has 8 levels" in line


def test_boundary_estimates():
    model = bv.Model("Yield ~ 1 + (1 | Batch)", bv.load_dataset("dyestuff2"))
    line = reason(bv.compare(model.reml(), model.sample(seed=1)).reasons(), "collapsed: var Batch")
    assert "a boundary estimate" in line


def test_another_structure():
    frame = bv.load_dataset("sleepstudy")
    frame["Days"] += 5  # far from where the effects are uncorrelated
    one = bv.Model("Reaction ~ Days + (Days | Subject)", frame)
    other = bv.Model("Reaction ~ Days + (Days || Subject)", frame)
    fits, posts = (one.reml(), other.reml()), (one.sample(seed=1), other.sample(seed=1))
    line = reason(bv.compare(fits[0], posts[1]).reasons(), "collapsed: var Subject: Intercept")
    assert share(line, "another structure") > 80
    gap = posts[1].cov("Subject")[..., 0, 0].mean() - fits[0].components["Subject"].iloc[0, 0]
    by_fit = fits[1].components["Subject"].iloc[0, 0] - fits[0].components["Subject"].iloc[0, 0]
    assert share(line, "another structure") == pytest.approx(100 * by_fit / gap, abs=1)
    pair = reason(bv.compare(*posts).reasons(), "collapsed and collapsed 2 differ")
    assert "another structure of correlations; by REML of both it explains" in pair


def test_monte_carlo_error(few):
    """Nine draws of one chain, those that lie highest: as far from REML as noise goes."""
    _, fit, post = few
    x = post.cov("g")[0, :, 0, 0]
    picked = [*np.argsort(x)[10:20], *np.argsort(x)[-6:]]  # two stays: strongly dependent
    draws = post.draws["posterior"].to_dataset().isel(chain=[0], draw=picked)
    short = replace(post, draws=xr.DataTree.from_dict({"posterior": draws}))
    line = reason(bv.compare(fit, short).reasons(), "collapsed: var g")
    assert "within Monte Carlo error" in line
    again = bv.compare(fit, post, replace(post)).reasons()
    assert "collapsed and collapsed 2 agree within 4 Monte Carlo standard errors" in again


def test_draws_that_nothing_explains(few):
    _, fit, post = few
    wrong = tampered(post, doubled)
    line = reason(bv.compare(fit, wrong).reasons(), "collapsed: var g")
    assert "all of it is not explained (the draws contradict their own density" in line
    pair = reason(bv.compare(post, wrong).reasons(), "collapsed and collapsed 2 differ")
    assert "not explained: the draws of collapsed 2 contradict their own density" in pair
    unknown = replace(post, priors=None, density=None)
    line = reason(bv.compare(fit, unknown).reasons(), "collapsed: var g")
    assert "all of it is not explained (the priors of the draws are not known)" in line


def test_unknown_priors_leave_what_does_not_need_them(few):
    model, _, post = few
    unknown = replace(post, priors=None, density=None)
    line = reason(bv.compare(model.reml("ML"), unknown).reasons(), "collapsed: var g")
    assert share(line, "ML's neglect") + share(line, "not explained") == pytest.approx(100, abs=2)
    unknown = replace(tampered(post, doubled), priors=None, density=None)
    pair = reason(bv.compare(post, unknown).reasons(), "collapsed and collapsed 2 differ")
    assert "not explained: the priors of one are not known" in pair


def test_priors_of_two_posteriors(few):
    model, fit, post = few
    half = model.with_priors(bv.Priors(sd=bv.HalfNormal(1.0))).sample(seed=1)
    line = reason(bv.compare(fit, post, half).reasons(), "collapsed and collapsed 2 differ")
    assert "their priors differ" in line
    assert share(line, "var g") == pytest.approx(100, abs=12)
    assert "is not explained" not in line
    tight = model.with_priors(bv.Priors(sd=bv.HalfNormal(0.1))).sample(seed=1)
    line = reason(bv.compare(fit, post, tight).reasons(), "collapsed and collapsed 2 differ")
    assert "by reweighting not computable" in line
    assert "the joint modes differ by" in line


def test_reweighted_draws_are_those_of_the_other_prior(few):
    """Under another prior of SDs, and of β, which changes the likelihood of (Σ, σ)."""
    model, _, post = few
    other = model.with_priors(bv.Priors(sd=bv.HalfNormal(1.5), beta=bv.Normal(1.0, 0.5)))
    found = reweighted(post, other.priors)
    fresh = other.sample(seed=3, draws=4000)
    for quantity in fresh.quantities:
        if quantity.scale in ("var", "sd"):
            error = found.mcse[quantity.key] + quantity.values.std() / np.sqrt(8000)
            gap = found.values[quantity.key] - quantity.values.mean()
            assert abs(gap) < 4 * error, quantity.label
    assert not any(key[0] == "beta" for key in found.values)
    assert reweighted(post, post.priors).k == 0.0
    assert any(key[0] == "beta" for key in reweighted(post, post.priors).values)
