"""The posterior of structured residuals: density, priors, both engines, and what is said of V."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.integrate import trapezoid

import bayesv as bv
from bayesv.design.structured import Parameters
from bayesv.diagnostics.convergence import ess_mean
from bayesv.errors import without
from bayesv.inference.target import Target
from bayesv.posterior.coherence import coherence
from bayesv.posterior.covariance_draws import v_of_rows
from bayesv.posterior.expected import expected_v
from bayesv.posterior.functions_of_v import functionals_of_v

CASES = {
    "ar1 and slopes": ("y ~ x + (x | g)", {"residual": "ar1(day | g)"}),
    "strata": ("y ~ x + (1 | g)", {"residual_sd": "strata(sex)"}),
    "power of a time": (
        "y ~ x + (1 | g)",
        {"residual": "car1(time | g)", "residual_sd": "power(time)"},
    ),
    "exp and strata": ("y ~ x + (1 | g)", {"residual_sd": "exp(x) * strata(sex)"}),
    "us": ("y ~ x", {"residual": "us(day | g)"}),
    "by group": ("y ~ x", {"residual": "ar1h(day | sex / g)"}),
    "range and nugget": ("y ~ x", {"residual": "sp_exp(time | g, nugget=True)"}),
    "known": ("y ~ x + (1 | g)", {"residual": bv.Known("v")}),
}


@pytest.fixture(scope="module")
def data() -> pd.DataFrame:
    """Twenty series of up to five days; the residuals of a series are correlated."""
    rng = np.random.default_rng(8)
    frame = pd.DataFrame({"g": np.repeat(np.arange(20), 5), "day": np.tile(np.arange(5), 20)})
    lags = np.abs(np.subtract.outer(np.arange(5), np.arange(5)))
    e = rng.multivariate_normal(np.zeros(5), 0.5**lags, 20).ravel()
    frame = frame.assign(
        sex=np.where(frame["g"] % 2, "f", "m"),
        time=1.0 + frame["day"] + rng.uniform(0, 0.4, len(frame)).round(1),
        x=rng.uniform(size=len(frame)),
        v=rng.uniform(0.3, 1.5, len(frame)),
    )
    frame["y"] = 3.0 + frame["x"] + e + 0.7 * np.repeat(rng.normal(size=20), 5)
    return frame[rng.uniform(size=len(frame)) < 0.9].reset_index(drop=True)


def model_of(name: str, data: pd.DataFrame, **more) -> bv.Model:
    formula, options = CASES[name]
    return bv.Model(formula, data, **options, **more)


@pytest.fixture(scope="module")
def posterior(data):
    """Posteriors of some of the models, made when they are first asked for."""
    made: dict[str, bv.Posterior] = {}

    def get(name: str) -> bv.Posterior:
        if name not in made:
            with without(bv.SamplingWarning):  # few draws are enough here
                made[name] = model_of(name, data).sample(seed=3, draws=300, progressbar=False)
        return made[name]

    return get


@pytest.mark.parametrize("name", CASES)
def test_the_gradient_is_that_of_central_differences(name, data):
    target = Target(model_of(name, data).density)
    x = 0.3 * np.random.default_rng(2).normal(size=target.size)
    value, gradient = target.value_and_gradient(x)

    def at(point: np.ndarray) -> float:
        return float(target.evaluate(point[None])[0][0])

    assert value == pytest.approx(at(x), abs=1e-9)
    steps = 1e-5 * np.eye(target.size)
    numeric = [(at(x + step) - at(x - step)) / 2e-5 for step in steps]
    assert gradient == pytest.approx(numeric, abs=1e-5)
    coordinates = target.coordinates
    assert coordinates.from_values(coordinates.to_values(x)) == pytest.approx(x, abs=1e-9)
    assert len(coordinates.names) == target.size


@pytest.mark.parametrize("name", CASES)
def test_the_density_is_that_of_dense_algebra(name, data):
    """log p(y | Σ, R) with flat β, at components as they are printed."""
    model = model_of(name, data)
    target = Target(model.density)
    values = target.coordinates.to_values(0.2 * np.random.default_rng(1).normal(size=target.size))
    vc, X, y = values.components(), model.design.X, model.design.target
    V = bv.MarginalCovariance(model.design, vc).to_dense()
    S = X.T @ np.linalg.solve(V, X)
    rest = y - X @ np.linalg.solve(S, X.T @ np.linalg.solve(V, y))
    logs = np.linalg.slogdet(V)[1] + np.linalg.slogdet(S)[1]
    dense = (len(y) - X.shape[1]) * np.log(2 * np.pi) + logs + rest @ np.linalg.solve(V, rest)
    value = model.density.log_likelihood(values.reshape(1))[0]
    assert value == pytest.approx(-0.5 * dense, rel=1e-9)


def test_one_parameter_is_that_of_quadrature(data):
    """AR(1) with σ and ρ: the marginal of ρ by a grid of both."""
    model = bv.Model("y ~ x", data, residual="ar1(day | g)")
    target = Target(model.density)
    grid = np.linspace(-1.5, 2.5, 120)
    sigma = np.linspace(-1.2, 1.2, 80)
    x = np.stack(np.meshgrid(grid, sigma, indexing="ij"), axis=-1).reshape(-1, 2)
    log = target.evaluate(x)[0].reshape(len(grid), len(sigma))
    weights = np.exp(log - log.max()).sum(axis=1)
    weights /= weights.sum()
    rho = np.tanh(grid)
    mean, square = weights @ rho, weights @ rho**2
    draws = model.sample(seed=1, progressbar=False).draws["posterior"]["corr_Residual"].to_numpy()
    ess = float(ess_mean(draws)[0])
    sd = np.sqrt(square - mean**2)
    assert draws.mean() == pytest.approx(mean, abs=4 * sd / np.sqrt(ess))
    assert draws.std() == pytest.approx(sd, rel=0.1)


def test_both_engines_agree(data, posterior):
    collapsed = posterior("strata")
    with without(bv.SamplingWarning):  # a few draws are enough to compare means
        nuts = model_of("strata", data).sample(
            "nuts", seed=5, draws=150, tune=150, chains=2, progressbar=False
        )
    assert collapsed.engine == "collapsed"
    for one, two in zip(collapsed.quantities, nuts.quantities, strict=True):
        assert one.label == two.label
        errors = [x.values.std() / np.sqrt(ess_mean(x.values[..., None])[0]) for x in (one, two)]
        assert abs(one.values.mean() - two.values.mean()) < 4.5 * np.hypot(*errors), one.label


STRUCTURES = {
    "intercept": "(1 | Subject)",
    "diag": "(Days || Subject)",
    "us": "(Days | Subject)",
}


@pytest.mark.parametrize("random", STRUCTURES)
def test_evidence_of_autoregressive_residuals_is_that_of_importance_sampling(random):
    """Against 12,000 draws of a dense implementation; priors are of the columns as written."""
    path = Path(__file__).parent / "references" / "structures" / "marginal_likelihoods.json"
    wanted = json.loads(path.read_text())[f"sleepstudy {random}+ar1"]
    frame = bv.load_dataset("sleepstudy")
    scale, spread = frame["Reaction"].std(), frame["Days"].std()
    sds = {"Intercept": bv.HalfStudentT(3, scale)}
    if random != "intercept":
        sds["Days"] = bv.HalfStudentT(3, scale / spread)
    priors = bv.Priors(
        sd={"Subject": sds}, sigma=bv.HalfStudentT(3, scale),
        center={"Subject": {}} if random == "us" else None,
    )  # fmt: skip
    formula = f"Reaction ~ Days + {STRUCTURES[random]}"
    model = bv.Model(formula, frame, priors=priors, residual="ar1(Days | Subject)")
    evidence = model.sample(seed=2, progressbar=False).evidence()
    error = np.hypot(evidence.mcse, wanted["mcse_log"])
    assert evidence.log == pytest.approx(wanted["log_m"], abs=4 * error)


@pytest.mark.parametrize(
    ("residual", "prior"),
    [
        ("ar1(day | g)", bv.LKJ(2.0)),
        ("ar1(day | g)", bv.CorrelationAbove(0.5, 0.1)),
        ("sp_exp(time | g)", bv.RangeBelow(1.0, 0.1)),
    ],
)
def test_stated_priors_integrate_to_1(residual, prior, data):
    priors = bv.Priors(sd={"Residual": bv.HalfNormal(2.0)}, corr={"Residual": prior})
    model = bv.Model("y ~ x", data, residual=residual, priors=priors)
    target = Target(model.density)

    z, log_sigma = np.linspace(-25, 25, 4001), np.linspace(-14, 4, 200)
    points = np.stack(np.meshgrid(z, log_sigma, indexing="ij"), axis=-1)
    total = trapezoid(trapezoid(np.exp(target.log_prior(points)), log_sigma, axis=1), z)
    assert total == pytest.approx(1.0, abs=1e-3)
    assert str(prior) in str(model.priors)
    assert "HalfNormal(2)" in str(model.priors)
    again = model.priors.stated().resolve(model.design)
    assert str(again) == str(model.priors)


def test_priors_of_what_is_not_there_are_refused(data):
    residual, half = "cs(day | g)", bv.HalfNormal(1)
    above = bv.Priors(corr={"Residual": bv.CorrelationAbove(0.5, 0.1)})
    with pytest.raises(bv.BayesvError, match="CorrelationAbove is for ar1"):
        bv.Model("y ~ x", data, residual=residual, priors=above)
    with pytest.raises(bv.BayesvError, match="but the grouping factors are g"):
        bv.Model("y ~ x + (1 | g)", data, priors=bv.Priors(sd={"Residual": half}))
    both = bv.Priors(sd={"Residual": half}, sigma=half)
    with pytest.raises(bv.BayesvError, match="both stated"):
        bv.Model("y ~ x", data, residual=residual, priors=both)


@pytest.mark.parametrize("name", ["power of a time", "by group"])
def test_prior_draws_are_of_the_prior(name, data):
    """Logs of SDs at the mean of the covariate, correlations and exponents, by their quantiles."""
    model = model_of(name, data)
    draws = model.prior_predictive(2000, seed=4)
    scale = model.design.response_scale.sigma
    sds = [x for x in draws if x.startswith("sd Residual")][-1]
    sd = draws[sds].to_numpy().ravel()
    if name == "power of a time":
        delta = draws["corr Residual: power time"].to_numpy().ravel()
        assert abs(delta.mean()) < 4 / np.sqrt(len(delta))
        sd = sd * np.exp(delta * np.log(data["time"]).mean())
    below = np.mean(sd < bv.HalfStudentT(3, scale).scale * 0.7648923)  # median of a half-t(3)
    assert abs(below - 0.5) < 4 * 0.5 / np.sqrt(len(sd))


# --- what is said of V ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["ar1 and slopes", "power of a time", "by group", "known"])
def test_moments_of_v_are_those_over_draws(name, posterior):
    values, rows = posterior(name).values.every(30), np.array([0, 1, 2, 6, 11])
    design = values.design
    each = np.array(
        [
            bv.MarginalCovariance(design, point.components()).rows(rows).to_numpy()
            for point in values.flat
        ]
    )
    V = v_of_rows(values, None, None, rows=rows, newdata=None, weights=None)
    assert np.allclose(V.mean(), each.mean(axis=0))
    assert np.allclose(V.sd(), each.std(axis=0, ddof=1))
    assert np.allclose(V.quantile(0.9), np.quantile(each, 0.9, axis=0))
    assert np.allclose(expected_v(values.flat).rows(rows), each.mean(axis=0))
    assert np.allclose(V.components().to_numpy().sum(axis=2), 1.0)
    dense = bv.MarginalCovariance(design, values.components((0, 0)))
    functionals = functionals_of_v(values, posterior(name).density, np.inf)
    assert float(functionals["log|V|"][0, 0]) == pytest.approx(dense.logdet())
    assert float(functionals["tr V"][0, 0]) == pytest.approx(np.trace(dense.to_dense()))


@pytest.mark.parametrize("name", ["ar1 and slopes", "strata", "us"])
def test_log_likelihoods_are_those_of_dense_algebra(name, posterior):
    post = posterior(name)
    tree = post.log_likelihood(every=250)["log_likelihood"]
    point = post.values.take((0, 0))
    V = bv.MarginalCovariance(post.design, point.components()).to_dense()
    inverse, away = np.linalg.inv(V), post.design.target - post.design.X @ point.beta
    q, g = np.diagonal(inverse), inverse @ away
    rows = 0.5 * (np.log(q) - g**2 / q - np.log(2 * np.pi))
    assert np.allclose(tree["by_row"][0, 0], rows)
    total = np.linalg.slogdet(2 * np.pi * V)[1] + away @ g
    assert float(tree["by_cluster"][0, 0].sum()) == pytest.approx(-0.5 * total)


@pytest.mark.parametrize("name", ["ar1 and slopes", "exp and strata", "us", "known"])
def test_draws_belong_to_the_model(name, data, posterior):
    post = posterior(name)
    assert coherence(post.density, post.values.every(2), {}, None).passed
    values = post.values.every(3)
    if (residual := values.residual) is not None:
        # Draws whose correlations or exponents are shifted are not of the model.
        z, exponents = residual.z + 0.5, residual.exponents + 0.5
        wrong = replace(values, residual=Parameters(residual.sds, z, exponents))
        assert not coherence(post.density, wrong, {}, None).passed


def test_random_effects_are_kept_and_coherent(data):
    model = model_of("ar1 and slopes", data)
    with without(bv.SamplingWarning):
        post = model.sample(seed=1, draws=300, keep_u=True, progressbar=False)
    assert post.check(100).passed
    effects = post.random_effects(200)
    fit = model.reml()
    assert np.corrcoef(effects["mean"], fit.blup)[0, 1] > 0.9


@pytest.mark.parametrize("kind", ["mean", "median", "mode", "log_euclidean", "medoid"])
@pytest.mark.parametrize("name", ["ar1 and slopes", "strata", "us"])
def test_estimates_are_members(name, kind, posterior):
    post = posterior(name)
    vc = post.estimate(kind)
    assert vc.aligned(post.design) is not None
    if kind == "mean" and name == "us":
        V = bv.MarginalCovariance(post.design, vc)
        assert np.allclose(V.to_dense(), post.expected_V().to_dense())
    if kind == "median" and name == "ar1 and slopes":
        rho = post.draws["posterior"]["corr_Residual"].to_numpy()
        # An even number of draws: the middle on the scale of the coordinates.
        assert vc.residual.corr["rho"] == pytest.approx(np.median(rho), rel=1e-4)
    if kind == "mode":
        at_mode = post.density.log_posterior(
            type(post.values).with_parameters(post.design, vc).reshape(1)
        )
        assert at_mode[0] >= post.density.log_posterior(post.values.flat.every(20)).max() - 1e-6


def test_predictions_continue_series(data, posterior):
    """A new row of a series is drawn given its last residual; of a new series it is not."""
    post = posterior("ar1 and slopes")
    new = pd.DataFrame({"g": [3, 99], "day": [4, 4], "x": [0.5, 0.5]})
    frame = data[~((data["g"] == 3) & (data["day"] == 4))].reset_index(drop=True)
    fit = bv.Model("y ~ x + (x | g)", frame, residual="ar1(day | g)")
    with without(bv.SamplingWarning):
        fitted = fit.sample(seed=2, draws=400, progressbar=False)
    draws = fitted.predict(new, draws=800, seed=1)
    means = fitted.predict(new, of="mean", draws=800, seed=1)
    reml = fit.reml().predict(new)
    # What is known of a residual of a series that goes on stays; the rest is noise.
    assert float(means[:, 0].mean()) == pytest.approx(reml["mean"].iloc[0], abs=0.25)
    assert (means.std("sample") < draws.std("sample")).all()
    assert float(draws[:, 0].mean()) == pytest.approx(reml["mean"].iloc[0], abs=0.25)
    assert float(draws[:, 0].std()) < float(draws[:, 1].std())
    again = post.predict(draws=200, seed=3)
    assert again.shape == (200, len(data))


def test_stored_posteriors_are_the_same(tmp_path, posterior):
    for k, name in enumerate(("ar1 and slopes", "exp and strata", "known")):
        post = posterior(name)
        again = bv.load(post.save(tmp_path / f"{k}.nc"))
        assert str(again.priors) == str(post.priors)
        some = post.values.flat.every(100)
        assert np.allclose(again.density.log_posterior(again.values.flat.every(100)),
                           post.density.log_posterior(some))  # fmt: skip
        assert again.evidence().log == pytest.approx(post.evidence().log)


def test_of_known_residuals_sigma_is_no_parameter(posterior):
    post = posterior("known")
    assert not any(q.group == "Residual" for q in post.quantities)
    assert np.all(post.sigma2 == 1.0)
