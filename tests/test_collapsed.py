"""The collapsed engine's parts: gradients, interpolation, threads, structures, extreme inputs."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import bayesv as bv
from bayesv.gram import layout
from bayesv.inference.density import MarginalDensity
from bayesv.inference.target import Target

PENICILLIN = "diameter ~ 1 + (1 | plate) + (1 | sample)"


@pytest.fixture(scope="module")
def penicillin():
    return bv.Model(PENICILLIN, bv.load_dataset("penicillin"))


def three_columns() -> pd.DataFrame:
    rng = np.random.default_rng(2)
    n, J = 240, 24
    frame = pd.DataFrame({"g": np.repeat(np.arange(J), n // J), "x": rng.normal(size=n)})
    frame["z"] = rng.normal(size=n)
    frame["h"] = rng.integers(0, 6, n)
    u = rng.normal(size=(J, 3)) * [1.0, 0.5, 0.3]
    rows = u[frame["g"]]
    frame["y"] = rows[:, 0] + rows[:, 1] * frame["x"] + rows[:, 2] * frame["z"]
    frame["y"] += rng.normal(size=n) + rng.normal(size=6)[frame["h"]]
    return frame


@pytest.mark.parametrize(
    "sd",
    [
        bv.HalfNormal(2.0),
        bv.HalfStudentT(3, 1.5),
        bv.HalfCauchy(1.0),
        bv.Exponential(1.0),
        bv.Gamma(2.0, 0.5),
        bv.InverseGamma(2.0, 1.0),
        bv.Flat(),
    ],
    ids=lambda prior: type(prior).__name__,
)
@pytest.mark.parametrize("beta", [bv.Flat(), bv.Normal(0.3, 2.0)], ids=str)
def test_gradient_equals_central_differences(sd, beta):
    priors = bv.Priors(sd=sd, sigma=bv.Gamma(2.0, 1.0), corr=bv.LKJ(1.7), beta=beta)
    model = bv.Model("y ~ x + (x + z | g) + (1 | h)", three_columns(), priors)
    target = Target(MarginalDensity(model.statistics, model.priors))
    rng = np.random.default_rng(0)
    for _ in range(3):
        x = rng.normal(size=target.size)
        value, gradient = target.value_and_gradient(x)
        assert value == pytest.approx(target.evaluate(x[None])[0][0], rel=1e-10)
        h = 1e-5
        around = np.concatenate([x + h * np.eye(len(x)), x - h * np.eye(len(x))])
        up, down = np.split(target.evaluate(around)[0], 2)
        assert np.allclose(gradient, (up - down) / (2 * h), rtol=1e-6, atol=1e-5)


def test_far_outside_the_density_is_zero(penicillin):
    target = Target(MarginalDensity(penicillin.statistics, penicillin.priors))
    x = np.array([[0.0, 0.0, 0.0], [50.0, 0.0, 0.0], [0.0, -400.0, 0.0]])
    assert np.isfinite(target.evaluate(x)[0]).tolist() == [True, False, False]
    value, gradient = target.value_and_gradient(x[1])
    assert value == -np.inf
    assert (gradient == 0).all()


def test_interpolation_changes_nothing(penicillin, monkeypatch):
    """Polynomials of log|M| and T: the density at the draws is the exact one."""
    monkeypatch.setattr(layout, "_LARGE_BORDER", 1)
    # Six samples: under a wider prior the tail is longer than polynomials reach.
    penicillin = penicillin.with_priors(bv.Priors(sd=bv.HalfStudentT(3, 2.1)))
    post = penicillin.sample(seed=1)
    attrs = post.draws["posterior"].attrs
    assert attrs["interpolation_error"] <= 1e-3
    assert attrs["n_evaluations"] < 0.3 * attrs["n_interpolated"]
    density = MarginalDensity(penicillin.statistics, penicillin.priors)
    values = post.values.flat.every(40)
    lp = post.draws["sample_stats"]["lp"].to_numpy().ravel()[::40]
    variances = [values.sigma2, *(cov[:, 0, 0] for cov in values.covs.values())]
    exact = density.log_posterior(values) + 0.5 * np.log(variances).sum(axis=0)
    assert np.abs(lp - exact).max() < 2e-3


def test_interpolation_that_is_not_good_enough_is_not_used(penicillin, monkeypatch):
    from bayesv.support import interpolation

    monkeypatch.setattr(layout, "_LARGE_BORDER", 1)
    monkeypatch.setattr(interpolation, "_TOLERANCE", 1e-30)
    attrs = penicillin.sample(seed=1).draws["posterior"].attrs
    assert "interpolation_error" not in attrs


@pytest.mark.parametrize("formula", ["y ~ x + (x + z | g) + (1 | h)", "y ~ x + (x | g)"])
def test_draws_do_not_depend_on_threads(formula):
    model = bv.Model(formula, three_columns())
    one, two = (model.sample(seed=3, cores=cores, keep_u=True) for cores in (1, 2))
    for name in one.draws["posterior"].data_vars:
        a, b = (post.draws["posterior"][name].to_numpy() for post in (one, two))
        assert np.array_equal(a, b, equal_nan=True)


def test_structures_give_the_same_fit():
    star = bv.load_dataset("star_k20")
    formula = "read ~ cltype + sx + (sx | sch/tch)"
    models = [
        bv.Model(formula, star),
        bv.Model(formula, star, elimination="crossed"),
        bv.Model(formula, star, elimination="nested", dedupe=False),
    ]
    assert "nested: tch:sch (319×2) in sch (79×2)" in models[0].describe()
    assert "1 dense block of 158 (sch (79×2))" in models[1].describe()
    assert "merged" in models[0].describe()
    assert "merged" not in models[2].describe()
    fits = [model.reml() for model in models]
    for fit in fits[1:]:
        assert fit.criterion == pytest.approx(fits[0].criterion, abs=1e-7)
        assert np.allclose(fit.beta, fits[0].beta, rtol=1e-5)
    with pytest.raises(bv.BayesvError, match="elimination must be one of"):
        bv.Model(formula, star, elimination="tree")
    with pytest.raises(bv.BayesvError, match="write elimination='nested'"):
        bv.Model(formula, star, structure="nested")
    with pytest.raises(bv.BayesvError, match="write elimination='nested'"):
        bv.Model.from_design(models[0].design, structure="nested")


@pytest.mark.filterwarnings("ignore::bayesv.FitWarning", "ignore::bayesv.SamplingWarning")
@pytest.mark.parametrize("ratio", [1e-8, 1e-4, 1.0, 1e4, 1e6])
def test_variance_ratios(ratio):
    """Groups of 1 to 10,000 rows, Var(u)/σ² from 1e-8 to 1e6: right, or a named status."""
    rng = np.random.default_rng(int(1 / ratio) % 97)
    sizes = np.concatenate([np.ones(10), np.full(20, 10), [10_000]]).astype(int)
    g = np.repeat(np.arange(len(sizes)), sizes)
    u = rng.normal(size=len(sizes)) * np.sqrt(ratio)
    frame = pd.DataFrame({"y": 1e8 + u[g] + rng.normal(size=len(g)), "g": g})
    model = bv.Model("y ~ 1 + (1 | g)", frame)
    fit, post = model.reml(), model.sample(seed=1)
    assert fit.converged
    assert any("digits are lost" in p for p in post.problems) == (ratio == 1e6)
    assert fit.sigma2 == pytest.approx(1.0, rel=0.1)
    var = fit.components["g"].to_numpy()[0, 0]
    if ratio >= 1:
        assert var == pytest.approx(ratio, rel=1.2)
        assert np.quantile(post.cov("g"), 0.001) < var < np.quantile(post.cov("g"), 0.999)
    else:
        assert var < 0.1
