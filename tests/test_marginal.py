"""The marginal PyMC model: value and gradient of its Op, and its place in a user's model."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import bayesv as bv
from bayesv.covariance import ComponentDraws
from bayesv.inference.density import MarginalDensity

pm = pytest.importorskip("pymc")
from bayesv.inference.marginal import MarginalLikelihoodOp  # noqa: E402


@pytest.fixture(scope="module")
def model() -> bv.Model:
    rng = np.random.default_rng(3)
    n = 80
    frame = pd.DataFrame(
        {"y": 5 + rng.normal(size=n), "x": rng.normal(size=n), "g": rng.integers(0, 8, n),
         "c": rng.integers(0, 4, n), "w": np.exp(rng.normal(size=n))}
    )  # fmt: skip
    priors = bv.Priors(beta={"x": bv.Normal(0.3, 0.2)}, corr=bv.LKJ(2))
    return bv.Model("y ~ x + (x | g) + (1 | c)", frame, priors, var_weights="w")


def test_value_and_gradient(model):
    density = MarginalDensity(model.statistics, model.priors)
    rng = np.random.default_rng(0)
    for _ in range(3):
        lambdas = [np.tril(rng.normal(size=(t.n_columns,) * 2)) for t in model.design.terms]
        sigma = float(np.exp(rng.normal()))
        value, bars, by_sigma, by_residual = density.value_and_gradient(lambdas, sigma)
        assert by_residual is None
        stacked = [lam[None] for lam in lambdas]
        at = np.array([sigma**2])
        assert value == pytest.approx(density.conditional(stacked, at).log_likelihood[0])
        h = 1e-5
        up, down = ((sigma + s) ** 2 * np.ones(1) for s in (h, -h))
        slope = np.subtract(*(density.conditional(stacked, s).log_likelihood for s in (up, down)))
        assert by_sigma == pytest.approx(float(slope[0]) / (2 * h), rel=1e-6)
        for f, lam in enumerate(lambdas):
            for i, j in np.ndindex(lam.shape):
                both = []
                for step in (h, -h):
                    moved = [m.copy() for m in lambdas]
                    moved[f][i, j] += step
                    both.append(density.value_and_gradient(moved, sigma)[0])
                assert bars[f][i, j] == pytest.approx(
                    (both[0] - both[1]) / (2 * h), rel=1e-5, abs=1e-6
                )


@pytest.mark.filterwarnings("ignore:PyTensor could not link")
def test_model_has_the_posterior_density_and_can_be_extended(model):
    import pytensor

    density = MarginalDensity(model.statistics, model.priors)
    with pytensor.config.change_flags(mode="FAST_COMPILE"):
        stated = bv.to_pymc(model, marginal=True)
        assert {v.name for v in stated.free_RVs} == {"sigma", "sd_g", "chol_g", "sd_c"}
        values = []
        want = []
        for seed in (0, 1):
            rng = np.random.default_rng(seed)
            sd, sdc, sigma = np.exp(rng.normal(size=2)), np.exp(rng.normal(size=1)), 0.7 + seed
            rho = rng.uniform(-0.8, 0.8)
            point = {"sigma": sigma, "sd_g": sd, "sd_c": sdc,
                     "chol_g": np.array([[1.0, 0.0], [rho, np.sqrt(1 - rho**2)]])}  # fmt: skip
            given = {}
            for v in stated.free_RVs:
                transform = stated.rvs_to_transforms[v]
                value = pytensor.tensor.as_tensor(np.asarray(point[v.name], dtype=float))
                given[stated.rvs_to_values[v].name] = transform.forward(
                    value, *v.owner.inputs
                ).eval()
            values.append(float(stated.compile_logp(jacobian=False)(given)))
            cov = np.outer(sd, sd) * np.array([[1, rho], [rho, 1]])
            covs = {"g": cov, "c": sdc[:, None] ** 2}
            want.append(density.log_posterior(ComponentDraws(model.design, covs, sigma**2)))
        assert values[0] - values[1] == pytest.approx(want[0] - want[1], abs=1e-8)
        with stated:
            pm.Potential("mine", -10.0 * (stated["sigma"] - 1.0) ** 2)
        gradient = stated.compile_dlogp()(stated.initial_point())
        assert np.isfinite(gradient).all()


@pytest.mark.filterwarnings(
    "ignore:`find_MAP` will:FutureWarning", "ignore:PyTensor could not link"
)
def test_find_map_is_the_joint_mode(sleepstudy, sleepstudy_posterior):
    stated = bv.to_pymc(sleepstudy, marginal=True)
    with stated:
        # find_MAP maximises the density by SD and correlation, without Jacobians.
        point = pm.find_MAP(progressbar=False)
    mode = sleepstudy_posterior.estimate("mode")
    A = sleepstudy.priors.basis(sleepstudy.design.terms[0]).map  # of the intercept at mean Days
    cov = A @ mode["Subject"].to_numpy() @ A.T
    assert np.allclose(point["sd_Subject"], np.sqrt(np.diagonal(cov)), rtol=2e-3)
    assert point["sigma"] == pytest.approx(mode.sigma, rel=2e-3)


def test_where_the_residuals_are_singular_there_is_no_density():
    frame = pd.DataFrame({"y": np.arange(6.0) ** 2 % 5, "t": np.tile([0, 1, 2], 2),
                          "g": [1, 1, 1, 2, 2, 2]})  # fmt: skip
    model = bv.Model("y ~ 1", frame, residual="ar1(t | g)")
    op = MarginalLikelihoodOp(model.density)
    for z, finite in ((0.5, True), (25.0, False)):  # of a correlation of 1 to rounding
        outputs = [[None] for _ in range(6)]
        op.perform(None, [np.zeros(0), 1.0, np.ones(1), np.array([[z]]), np.zeros(0)], outputs)
        assert np.isfinite(outputs[0][0]) == finite
        assert all(np.isfinite(part).all() for ((part,),) in zip(outputs[1:], strict=True))
    assert outputs[0][0] == -np.inf
