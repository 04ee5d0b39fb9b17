"""Groups that ArviZ's checks read: predictive and prior draws beside those of the posterior."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

import bayesv as bv

az = pytest.importorskip("arviz")

FORMULA = "Reaction ~ Days + (Days | Subject)"
VARIABLES = ["sd_Subject", "sigma"]


@pytest.fixture(scope="module")
def post():
    return bv.Model(FORMULA, bv.load_dataset("sleepstudy")).sample(draws=500, seed=1)


@pytest.fixture(autouse=True)
def _close():
    yield
    import matplotlib.pyplot as plt

    plt.close("all")


@pytest.mark.filterwarnings("ignore:Estimated shape parameter of Pareto")
def test_plots_of_arviz(post):
    tree = post.to_datatree(draws=400)
    assert {"prior", "posterior_predictive", "observed_data"} <= set(tree.children)
    assert az.plot_ppc_dist(tree, num_samples=10, backend="matplotlib").viz
    assert az.plot_prior_posterior(tree, var_names=VARIABLES, backend="matplotlib").viz
    left_out = post.to_datatree("left_out", draws=2000)
    assert az.plot_loo_pit(left_out, backend="matplotlib").viz
    assert az.loo(left_out).elpd == pytest.approx(
        az.loo(post.log_likelihood(), var_name="by_row").elpd, abs=1.5
    )


def test_rows_left_out_are_the_conditionals_of_V(post):
    tree, design = post.to_datatree("left_out", draws=2000, seed=3), post.design
    log_density = tree["log_likelihood"]["Reaction"].to_numpy().reshape(-1, design.n)
    drawn = tree["posterior_predictive"]["Reaction"].to_numpy().reshape(-1, design.n)
    z = []
    for s in (0, 700):
        V = bv.MarginalCovariance(design, post.values.flat.take(s).components()).to_dense()
        V = V if V.ndim == 2 else V[0]
        W, beta = np.linalg.inv(V), post.beta.reshape(-1, 2)[s]
        q = np.diagonal(W)
        mean = design.y - (W @ (design.y - design.X @ beta)) / q
        np.testing.assert_allclose(
            log_density[s], norm.logpdf(design.y, mean, 1 / np.sqrt(q)), rtol=1e-9
        )
        z.append((drawn[s] - mean) * np.sqrt(q))
    z = np.concatenate(z)
    assert abs(z.mean()) < 4 / np.sqrt(z.size)
    assert abs(z.std() - 1) < 4 / np.sqrt(2 * z.size)


def test_predictive_draws_are_those_of_predict(post):
    for predictive, new in (("fitted", False), ("new", True)):
        tree = post.to_datatree(predictive, draws=2000, seed=5)
        want = post.predict(draws=2000, new_levels=new, seed=5).to_numpy()
        got = tree["posterior_predictive"]["Reaction"].to_numpy().reshape(want.shape)
        np.testing.assert_array_equal(got, want)


def test_prior_draws():
    data = bv.load_dataset("dyestuff")
    priors = bv.Priors(sd=bv.HalfNormal(50), sigma=bv.HalfNormal(80), beta=bv.Normal(1500, 100))
    post = bv.Model("Yield ~ 1 + (1 | Batch)", data, priors).sample(draws=500, seed=1)
    tree = post.to_datatree(draws=2000)
    prior = tree["prior"]
    for name, scale in (("sd_Batch", 50.0), ("sigma", 80.0)):
        mean = float(prior[name].mean())
        assert mean == pytest.approx(scale * np.sqrt(2 / np.pi), rel=0.08)
    assert float(prior["beta"].mean()) == pytest.approx(1500, abs=10)
    spread = float(tree["prior_predictive"]["Yield"].to_numpy().std())
    assert spread == pytest.approx(np.sqrt(100**2 + 50**2 + 80**2), rel=0.06)
    assert az.plot_prior_posterior(tree, var_names=["sd_Batch", "beta"], backend="matplotlib").viz
    flat = bv.Model("Reaction ~ 1 + (1 | Subject)", bv.load_dataset("sleepstudy"),
                    bv.Priors(sd=bv.Flat()))  # fmt: skip
    assert "prior" not in flat.sample(draws=250, seed=1).to_datatree(draws=100).children


@pytest.mark.filterwarnings("ignore::bayesv.SamplingWarning")
def test_structured_residuals():
    model = bv.Model("Reaction ~ Days", bv.load_dataset("sleepstudy"), residual="ar1(Days|Subject)")
    post = model.sample(draws=100, seed=1)
    tree = post.to_datatree("left_out", draws=100)
    assert tree["log_likelihood"]["Reaction"].shape == (4, 25, 180)
    assert "corr_Residual" in tree["prior"]
    np.testing.assert_allclose(
        tree["log_likelihood"]["Reaction"],
        post.log_likelihood(every=4)["log_likelihood"]["by_row"],
    )
