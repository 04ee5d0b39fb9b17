"""The density of free covariances in one compiled pass is the one that classes put together."""

from __future__ import annotations

import numpy as np
import pytest

import bayesv as bv
from bayesv.inference.log_prior import coordinates_for
from bayesv.inference.target import Target

SLEEP = "Reaction ~ Days + (Days | Subject)"
CENTRED = {"Subject": {"Days": 2.0}}
MODELS = {
    "correlated": (SLEEP, None),
    "uncorrelated": ("Reaction ~ Days + (Days || Subject)", bv.Priors(sd=bv.InverseGamma(2, 30))),
    "three columns": (
        "Reaction ~ Days + (Days + I(Days**2) | Subject)",
        bv.Priors(sd=bv.HalfCauchy(30), corr=bv.LKJ(2.5)),
    ),
    "blocks": (
        "Reaction ~ Days + (Days | Subject) + (0 + I(Days**2) | Subject)",
        bv.Priors(sd=bv.Gamma(2, 30), sigma=bv.Exponential(20)),
    ),
    "other effects": (SLEEP, bv.Priors(center=CENTRED, corr=bv.LKJ(1.5), beta=bv.Normal(0, 300))),
    "nested": ("Reaction ~ Days + (Days | Half/Subject)", bv.Priors(sd=bv.HalfNormal(40))),
}


@pytest.fixture(scope="module")
def sleep():
    data = bv.load_dataset("sleepstudy")
    return data.assign(Half=np.where(data["Subject"].astype(int) < 340, "a", "b"))


@pytest.mark.parametrize("name", MODELS)
def test_both_ways_give_one_density(name, sleep):
    formula, priors = MODELS[name]
    model = bv.Model(formula, sleep, priors=priors)
    rng = np.random.default_rng(0)
    for coordinates in coordinates_for(model.priors):
        target = Target(model.density, coordinates=coordinates)
        d = target.size
        x = np.concatenate(
            [
                target.log_prior.draws(rng, 40),
                rng.normal(size=(37, d)),
                60 * rng.normal(size=(6, d)),
            ]
        )
        assert target._plain is not None
        value, conditional = target.evaluate(x)
        target.__dict__["_plain"] = None
        other, want = target.evaluate(x)
        known = np.isfinite(other)
        assert known.sum() > 60
        np.testing.assert_array_equal(np.isfinite(value), known)
        for one, two in ((value, other), (conditional.log_likelihood, want.log_likelihood)):
            np.testing.assert_allclose(one[known], two[known], rtol=1e-9)
        near = known & (np.abs(x).max(axis=1) < 4)  # elsewhere hardly a digit of the precision
        np.testing.assert_allclose(conditional.mean[near], want.mean[near], rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(conditional.root[near], want.root[near], rtol=1e-6, atol=1e-9)


def test_families_are_put_together_by_classes(sleep):
    """What is not free has no compiled pass; the sampler takes either."""
    model = bv.Model("Reaction ~ Days + cs(Days | Subject)", sleep)
    assert Target(model.density)._plain is None


def test_draws_are_labelled_when_asked_for(sleep):
    post = bv.Model(SLEEP, sleep).sample(draws=500, seed=1)
    values, weights, chains = post.values, post.log_weights, post.n_chains
    tree = post.draws
    assert tree is post.draws
    again = bv.Posterior(tree, post.design, post.priors, post.engine, post.density, post.problems)
    assert again.n_chains == chains
    np.testing.assert_array_equal(again.log_weights, weights)
    np.testing.assert_array_equal(again.values.covs["Subject"], values.covs["Subject"])
    np.testing.assert_array_equal(again.values.beta, values.beta)
    np.testing.assert_array_equal(again.sigma2, values.sigma2)
