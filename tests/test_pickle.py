"""Models, fits and results go through pickle, deepcopy and cloudpickle and say the same."""

from __future__ import annotations

import copy
import pickle

import cloudpickle
import numpy as np
import pandas as pd
import pytest

import bayesv as bv
from bayesv.study import Scenario, Scores, run

WAYS = {
    "pickle": lambda thing: pickle.loads(pickle.dumps(thing)),
    "deepcopy": copy.deepcopy,
    "cloudpickle": lambda thing: pickle.loads(cloudpickle.dumps(thing)),
}


@pytest.fixture(params=WAYS, scope="module")
def copied(request):
    return WAYS[request.param]


def test_a_model_fits_alike(sleepstudy, copied):
    again = copied(sleepstudy)
    assert again.reml().criterion == sleepstudy.reml().criterion
    draws = [model.sample(seed=1).sigma2 for model in (again, sleepstudy)]
    np.testing.assert_array_equal(*draws)
    y = sleepstudy.design.y[::-1]
    assert copied(sleepstudy.with_response(y)).design.y.tolist() == y.tolist()


def test_a_model_keeps_the_functions_it_was_given(copied):
    data = pd.DataFrame({"y": np.arange(12.0) % 5, "x": np.arange(12.0), "g": list("abc") * 4})
    model = bv.Model("y ~ half(x) + (1 | g)", data, namespace={"half": np.tanh})
    again = copied(model)
    assert again.design.fixed_names == model.design.fixed_names
    assert again.frame.data.equals(model.frame.data)


def test_v_is_the_same_before_and_after_it_was_factored(sleepstudy_fit, copied):
    fresh = bv.MarginalCovariance(sleepstudy_fit.design, sleepstudy_fit.components)
    logdet = copied(fresh).logdet()
    assert fresh.logdet() == logdet == copied(fresh).logdet()  # a factor exists by now
    b = np.arange(180.0)
    np.testing.assert_array_equal(copied(fresh).solve(b), fresh.solve(b))


def test_a_fit_is_the_same_before_and_after_its_v_was_used(sleepstudy, copied):
    fit = sleepstudy.reml()
    assert copied(fit).summary() == fit.summary()  # which computes gls
    assert fit.gls.V.logdet() == copied(fit).gls.V.logdet()
    assert copied(fit.gls).blup.equals(fit.blup)


def test_posteriors_comparisons_and_the_rest(sleepstudy_fit, sleepstudy_posterior, copied):
    fit, post = sleepstudy_fit, sleepstudy_posterior
    assert copied(post).estimate("mode") == post.estimate("mode")
    assert copied(post).summary().equals(post.summary())
    comparison = bv.compare(fit, post)
    assert repr(copied(comparison)) == repr(comparison)
    kr = bv.kenward_roger(fit.design, fit.components)
    assert copied(kr).df.equals(kr.df)
    boot = bv.bootstrap(fit, draws=4, seed=1)
    assert copied(boot).draws.equals(boot.draws)
    V = post.V("Subject", "308")
    assert copied(V).mean().equals(V.mean())
    assert str(copied(post.priors)) == str(post.priors)


def test_a_study(copied):
    scenario = Scenario(
        name="one", formula="y ~ 1 + (1 | g)", levels={"g": 5}, rows=4, beta={"Intercept": 1},
        sd={"g": 1}, sigma=1,
    )  # fmt: skip
    result = run([scenario], ["REML"], replicates=2, seed=1, scores=Scores(), workers=1)
    assert vars(copied(scenario)) == vars(scenario)
    assert copied(result).to_frame().equals(result.to_frame())


def test_labels_that_nobody_has_read(sleepstudy, copied):
    fit = sleepstudy.reml()
    again = copied(fit)
    pd.testing.assert_series_equal(again.beta, fit.beta)
    pd.testing.assert_frame_equal(again.cov_beta, fit.cov_beta)
    assert again.components == fit.components
