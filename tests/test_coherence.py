"""`check()` fails on draws that are planted wrong, of each kind, and passes on right ones."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import bayesv as bv
from bayesv.inference.coordinates import Coordinates
from bayesv.inference.log_prior import LogPrior
from bayesv.inference.score import posterior_score
from bayesv.posterior.coherence import fails_score
from bayesv.posterior.zero_means import family


@pytest.fixture(scope="module")
def post():
    model = bv.Model("Reaction ~ Days + (Days | Subject)", bv.load_dataset("sleepstudy"))
    return model.sample(seed=2, draws=500, keep_u=True)


def with_fault(post, fault, *, known=True, keep_u=True):
    """The same draws with one fault in them."""
    data = {name: values.copy() for name, values in post.draws["posterior"].data_vars.items()}
    cov, sigma2 = data["cov_Subject"].to_numpy().copy(), data["sigma2"].to_numpy().copy()
    order = np.random.default_rng(0).permutation(sigma2.size)
    if fault == "σ² × .8":
        sigma2 *= 0.8
    elif fault == "Σ × .9":
        cov *= 0.9
    elif fault == "Σ frozen at its mean":
        cov[:] = cov.mean(axis=(0, 1))
    elif fault == "Σ frozen at a draw":
        cov[:] = cov[1, 3]
    elif fault == "swapped labels":
        cov = cov[..., ::-1, ::-1]
    elif fault == "Σ too narrow":
        log_sd = 0.5 * np.log(cov[..., 0, 0])
        cov = cov * np.exp(-0.5 * (log_sd - log_sd.mean()))[..., None, None]
    elif fault in ("Σ of other draws", "V of other draws"):
        cov = cov.reshape(-1, 2, 2)[order].reshape(cov.shape)
        if fault == "V of other draws":
            sigma2 = sigma2.ravel()[order].reshape(sigma2.shape)
    data["cov_Subject"].values, data["sigma2"].values = cov, sigma2
    if not keep_u:
        del data["u_Subject"]
    tree = xr.DataTree.from_dict({"posterior": xr.Dataset(data)})
    priors, density = (post.priors, post.density) if known else (None, None)
    return bv.Posterior(tree, post.design, priors, "planted", density)


FAULTS = (
    "σ² × .8", "Σ × .9", "Σ frozen at its mean", "Σ frozen at a draw", "swapped labels",
    "Σ too narrow", "Σ of other draws", "V of other draws",
)  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_planted_faults_fail(post, fault):
    found = with_fault(post, fault).check(draws_of_u=50)
    assert not found.passed, found


@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault != "V of other draws"])
def test_planted_faults_of_sigma_fail_without_u(post, fault):
    found = with_fault(post, fault, keep_u=False).check()
    assert not found.passed, found
    assert any("u was not kept" in note for note in found.notes)


def test_of_unknown_priors_is_tested_what_can_be_and_the_rest_is_said(post):
    for fault in ("Σ frozen at its mean", "swapped labels", "V of other draws"):
        assert not with_fault(post, fault, known=False).check(draws_of_u=50).passed, fault
    clean = with_fault(post, None, known=False).check(draws_of_u=50)
    assert clean.passed, clean
    assert any("may be off by a factor" in note for note in clean.notes)
    assert not any(identity.startswith("score") for identity in clean.table["identity"])


def test_right_draws_pass():
    """Few and correlated draws, near the boundary: the limits are for these as well."""
    model = bv.Model("Yield ~ 1 + (1 | Batch)", bv.load_dataset("dyestuff2"))
    for seed in range(4):
        post = model.sample(seed=seed, draws=200, keep_u=True)
        found = post.check(draws_of_u=40)
        assert found.passed, (seed, found)
    foreign = xr.DataTree.from_dict({"posterior": post.draws["posterior"].isel(draw=slice(6))})
    with pytest.raises(bv.BayesvError, match="6 draws a chain are too few to check"):
        bv.Posterior(foreign, post.design, post.priors, "x", post.density).check()


def test_draws_that_hold_too_few_digits_are_not_scored(post, monkeypatch):
    monkeypatch.setattr("bayesv.inference.score._rounding", lambda *_: 0.1)
    found = post.check(draws_of_u=20)
    assert any("centre the covariates" in note for note in found.notes)
    assert not any(identity.startswith("score") for identity in found.table["identity"])


@pytest.mark.parametrize("fault", [None, "σ² × .8", "Σ × .9", "Σ frozen at its mean"])
def test_gradients_at_few_draws_see_faults_of_all(post, fault, monkeypatch):
    monkeypatch.setattr("bayesv.posterior.coherence._SCORES_LOOK", 48)
    found = with_fault(post, fault)
    assert fails_score(post.density, found.values) == (fault is not None)


def test_means_of_a_sum_over_many_and_few_draws_fail_as_seldom_as_stated():
    rng, step = np.random.default_rng(7), 20
    every = rng.normal(size=(4, 240, 3000))
    for few in (0.3 * rng.normal(size=(4, 12, 3000)), -0.5 * every[:, ::step]):
        rows = family("planted", list(map(str, range(3000))), few, every, step)
        assert np.std([row[4] for row in rows]) == pytest.approx(1.0, abs=0.12)
        assert np.mean([abs(row[4]) > 3.29 for row in rows]) < 0.006
        shifted = family("planted", list(map(str, range(3000))), few + 0.7, every, step)
        assert all(abs(row[4]) > 3.29 for row in shifted)


@pytest.mark.parametrize("kind", ["normal", "χ²", "minus χ²"])
def test_series_of_mean_0_fail_as_seldom_as_stated(kind):
    z = np.random.default_rng(4).normal(size=(2, 100, 4000))
    x = {"normal": z, "χ²": z**2 - 1, "minus χ²": 1 - z**2}[kind]
    found = np.array([row[4] for row in family("planted", list(map(str, range(4000))), x)])
    assert np.mean(np.abs(found) > 3.29) < 0.004  # .001 of normal ones
    assert np.std(found) == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize(
    "formula", ["y ~ 1 + (x + z | g)", "y ~ 1 + (x || g) + (1 | h)", "y ~ 1 + (z | g / h)"]
)
@pytest.mark.filterwarnings("ignore::bayesv.SamplingWarning")
def test_coordinates_of_draws_are_inverse_and_their_score_is_a_derivative(formula):
    rng = np.random.default_rng(5)
    n = 60
    frame = {"y": rng.normal(size=n), "x": rng.normal(size=n), "z": rng.normal(size=n) + 3}
    frame |= {"g": np.arange(n) % 6, "h": np.arange(n) // 20}
    model = bv.Model(formula, pd.DataFrame(frame))
    post = model.sample(seed=1, draws=30, chains=1)
    coordinates = Coordinates.centred(model.design)
    log_prior = LogPrior(model.priors, coordinates)
    x = coordinates.from_values(post.values)
    assert x.shape == (1, 30, coordinates.size)
    values = coordinates.to_values(x)
    assert np.allclose(values.sigma2, post.sigma2)
    for group, cov in values.covs.items():
        assert np.allclose(cov, post.cov(group), rtol=1e-9, atol=1e-12)
    score = posterior_score(post.density, post.values.take(0))
    assert score.rounding < 1e-12
    # By central differences of log p(Σ, σ | y) at one draw: σ alone, SDs and correlations held.
    h, at = 1e-5, x[0, 7].copy()
    step = np.where(coordinates.is_sd, -1.0, 0.0)
    step[-1] = 1.0
    values = []
    for shift in (h, -h):
        lambdas, sigma = coordinates.to_lambdas((at + shift * step)[None])
        likelihood = post.density.conditional(lambdas, sigma**2).log_likelihood[0]
        values.append(likelihood + log_prior(at + shift * step))
    assert score.gradient[7, -1] == pytest.approx((values[0] - values[1]) / (2 * h), rel=1e-5)
