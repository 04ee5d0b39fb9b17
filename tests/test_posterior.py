"""The collapsed posterior against exact grids and identities; estimates, intervals, comparison."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

import bayesv as bv
from bayesv.covariance import ComponentDraws
from bayesv.inference.coordinates import Coordinates
from bayesv.inference.density import MarginalDensity
from bayesv.inference.log_prior import LogPrior
from bayesv.linalg import cov_to_sd_corr
from bayesv.posterior.estimators import geometric_median


def mcse(values: np.ndarray) -> float:
    from arviz_stats.base import array_stats

    return float(array_stats.mcse(values, chain_axis=0, draw_axis=1, method="mean"))


# --- density --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "beta", [bv.Flat(), bv.Normal(1.0, 3.0), {"x": bv.Normal(-1.0, 0.5)}], ids=str
)
def test_marginal_likelihood_equals_dense_gaussian_algebra(beta):
    from scipy.stats import multivariate_normal

    rng = np.random.default_rng(0)
    n = 40
    frame = pd.DataFrame(
        {
            "y": rng.normal(size=n),
            "x": rng.normal(size=n),
            "g": rng.integers(0, 5, n),
            "c": rng.integers(0, 3, n),
            "w": np.exp(rng.normal(size=n)),
        }
    )
    model = bv.Model("y ~ x + (x | g) + (1 | c)", frame, bv.Priors(beta=beta), var_weights="w")
    density = MarginalDensity(model.statistics, model.priors)
    design = model.design

    def dense(vc: bv.VarianceComponents) -> float:
        V = bv.MarginalCovariance(design, vc).to_dense()
        mean = np.zeros(n)
        wide = 3e3  # a flat prior as the limit of a wide normal one
        value = 0.0
        for j, prior in enumerate(model.priors.beta):
            flat = isinstance(prior, bv.Flat)
            sd = wide if flat else prior.sd
            mean += 0.0 if flat else design.X[:, j] * prior.mean
            V += sd**2 * np.outer(design.X[:, j], design.X[:, j])
            value += np.log(np.sqrt(2 * np.pi) * wide) if flat else 0.0
        return value + multivariate_normal.logpdf(design.y, mean, V)

    for seed in range(3):
        root = np.random.default_rng(seed).normal(size=(2, 2))
        vc = bv.VarianceComponents({"g": root @ root.T, "c": 0.3 + seed}, 0.5 + seed)
        values = ComponentDraws.of(design, vc)
        assert float(density.log_likelihood(values)) == pytest.approx(dense(vc), abs=1e-4)


def test_prior_in_coordinates_has_the_right_jacobian(star):
    coordinates = Coordinates.centred(star.design)
    rng = np.random.default_rng(1)
    x = 0.5 * rng.normal(size=coordinates.size)

    bases = [star.priors.basis(term).map for term in star.design.terms]

    def parameters(x: np.ndarray) -> np.ndarray:
        """SDs and correlations that the priors speak of: at the mean of sx."""
        values = coordinates.to_values(x)
        out = [values.sigma]
        for A, cov in zip(bases, values.covs.values(), strict=True):
            cov = A @ cov @ A.T
            sd = np.sqrt(np.diagonal(cov))
            out += [*sd, cov[0, 1] / sd.prod()]
        return np.array(out)

    h = 1e-6
    J = np.array(
        [(parameters(x + h * e) - parameters(x - h * e)) / (2 * h) for e in np.eye(len(x))]
    )
    want = star.priors.log_density(coordinates.to_values(x)) + np.linalg.slogdet(J)[1]
    other = x + 0.3
    J2 = np.array(
        [(parameters(other + h * e) - parameters(other - h * e)) / (2 * h) for e in np.eye(len(x))]
    )
    want2 = star.priors.log_density(coordinates.to_values(other)) + np.linalg.slogdet(J2)[1]
    got = LogPrior(star.priors, coordinates)(np.stack([x, other]))
    assert got == pytest.approx([want, want2], abs=1e-6)


def test_lkj_in_three_dimensions_has_the_right_marginals():
    """Under LKJ(η) each correlation is Beta(η + (r − 2)/2) on (−1, 1).

    Given the SDs of the effects that the priors speak of, not those at the centre of a and b.
    """
    rng = np.random.default_rng(0)
    n = 60
    frame = pd.DataFrame({c: rng.normal(size=n) for c in ("y", "a", "b")})
    frame["g"] = rng.integers(0, 12, n)
    model = bv.Model("y ~ a + b + (a + b | g)", frame, bv.Priors(corr=bv.LKJ(1.7)))
    coordinates = Coordinates(model.design, tuple(map(model.priors.basis, model.design.terms)))
    # Integrate over the three partial correlations by quadrature.
    nodes = np.linspace(-6, 6, 81)
    grid = np.stack(np.meshgrid(nodes, nodes, nodes, indexing="ij"), axis=-1).reshape(-1, 3)
    x = np.zeros((len(grid), coordinates.size))
    x[:, 3:6] = grid
    weight = np.exp(LogPrior(model.priors, coordinates)(x))
    lambdas, _ = coordinates.to_lambdas(x)
    _, corr = cov_to_sd_corr(lambdas[0] @ np.swapaxes(lambdas[0], -1, -2))
    for i, j in ((0, 1), (0, 2), (1, 2)):
        second = (weight * corr[:, i, j] ** 2).sum() / weight.sum()
        shape = 1.7 + 0.5
        assert second == pytest.approx(1 / (2 * shape + 1), rel=1e-6)


# --- the sampler ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prior", "mean_variance"),
    [
        (bv.HalfNormal(2.5 * 63.02), 3825.0),
        (bv.HalfStudentT(3, 63.02), 2736.0),
        (bv.HalfNormal(0.5 * 63.02), 1573.0),
    ],
    ids=str,
)
def test_dyestuff_equals_the_exact_grid(prior, mean_variance):
    """E[var | y] by exact grids, with a flat mean and a half-t(4, sd y) residual SD."""
    priors = bv.Priors(sd=prior, sigma=bv.HalfStudentT(4, 63.02))
    model = bv.Model("Yield ~ 1 + (1 | Batch)", bv.load_dataset("dyestuff"), priors)
    post = model.sample(seed=11, draws=4000)
    variance = post.cov("Batch")[..., 0, 0]
    assert variance.mean() == pytest.approx(mean_variance, abs=4 * mcse(variance) + 0.5)
    grid = _grid(model)
    for q in (0.05, 0.5, 0.95):
        sd = np.sqrt(variance)
        below = (sd < grid(q)).astype(float)
        assert below.mean() == pytest.approx(q, abs=4 * mcse(below))


def _grid(model: bv.Model):
    """Quantile function of the group SD by a fine tensor grid over (log τ, log σ)."""
    density = MarginalDensity(model.statistics, model.priors)
    tau, sigma = np.exp(np.linspace(-4, 8, 500)), np.exp(np.linspace(3, 5.5, 200))
    T, S = np.meshgrid(tau, sigma, indexing="ij")
    lam = (T / S).reshape(-1, 1, 1)
    value = density.conditional([lam], S.ravel() ** 2).log_likelihood
    value += model.priors.sd["Batch"][0].log_density(T.ravel())
    value += model.priors.sigma.log_density(S.ravel()) + np.log(T.ravel()) + np.log(S.ravel())
    weight = np.exp(value - value.max()).reshape(T.shape).sum(axis=1)
    cdf = np.cumsum(weight) / weight.sum()
    return lambda q: float(np.interp(q, cdf, tau))


@pytest.mark.filterwarnings("ignore::bayesv.SamplingWarning")  # fewer draws than one would use
@pytest.mark.parametrize("name", ["sleepstudy", "star"])
def test_identities_per_draw(name, request):
    """E[β | y] = E[GLS(V)] and Var(β | y) = E[(X'V⁻¹X)⁻¹] + Var(GLS(V)), for flat β."""
    model = request.getfixturevalue(name)
    post = model.sample(seed=3, draws=250)
    fits = [bv.gls(model.design, vc) for vc in post.each_components()]
    shape = (post.n_chains, post.n_draws, -1)
    hats = np.array([fit.beta for fit in fits]).reshape(shape)
    within = np.mean([fit.cov.to_numpy() for fit in fits], axis=0)
    gap = post.beta - hats
    for j in range(model.design.p):
        assert gap[..., j].mean() == pytest.approx(0, abs=4 * mcse(gap[..., j]))
        left = (post.beta[..., j] - post.beta[..., j].mean()) ** 2
        right = within[j, j] + hats[..., j].var()
        assert left.mean() == pytest.approx(right, abs=4 * mcse(left))


def test_random_effects_are_drawn_from_their_conditional(sleepstudy, sleepstudy_posterior):
    post = sleepstudy_posterior
    u = post.draws["posterior"]["u_Subject"]
    assert u.dims == ("chain", "draw", "Subject_level", "Subject_coef")
    blups = np.array(
        [bv.gls(sleepstudy.design, vc).blup.to_numpy() for vc in post.each_components(step=5)]
    ).reshape(-1, 18, 2)
    got = u.to_numpy()
    # β is drawn too, so E[u | y] = E[BLUP at V] over draws of V.
    for i, j in ((0, 0), (5, 1), (17, 0)):
        error = np.hypot(mcse(got[..., i, j]), blups[:, i, j].std() / np.sqrt(len(blups)))
        assert got[..., i, j].mean() == pytest.approx(blups[:, i, j].mean(), abs=4 * error)


@pytest.mark.filterwarnings("ignore::bayesv.SamplingWarning")
def test_a_seed_repeats_and_another_does_not(sleepstudy):
    a, b, c = (sleepstudy.sample(seed=s, draws=50, chains=2) for s in (5, 5, 6))
    assert np.array_equal(a.sigma2, b.sigma2)
    assert np.array_equal(a.beta, b.beta)
    assert not np.array_equal(a.sigma2, c.sigma2)


def test_contract_of_the_draws(sleepstudy_posterior):
    tree = sleepstudy_posterior.draws
    posterior = tree["posterior"]
    for name in ("beta", "sigma", "sigma2", "cov_Subject", "sd_Subject", "corr_Subject"):
        assert posterior[name].dims[:2] == ("chain", "draw")
    assert np.allclose(posterior["sigma"] ** 2, posterior["sigma2"])
    cov, sd = posterior["cov_Subject"].to_numpy(), posterior["sd_Subject"].to_numpy()
    assert np.allclose(np.diagonal(cov, axis1=2, axis2=3), sd**2)
    corr = posterior["corr_Subject"].to_numpy()
    assert np.allclose(corr * sd[..., :, None] * sd[..., None, :], cov)
    assert list(posterior["coef"].to_numpy()) == ["Intercept", "Days"]
    assert tree["observed_data"]["Reaction"].shape == (180,)
    assert {"accepted", "lp"} <= set(tree["sample_stats"].data_vars)
    assert posterior.attrs["pareto_k"] < 0.7


def test_low_ess_and_divergences_are_named(sleepstudy):
    with pytest.warns(bv.SamplingWarning, match="effective sample size"):
        post = sleepstudy.sample(seed=1, draws=20, chains=2)
    assert any("effective sample size" in problem for problem in post.problems)
    assert "problem:" in repr(post)


@pytest.mark.filterwarnings("ignore:.*effective sample size:bayesv.SamplingWarning")
def test_a_proposal_that_does_not_fit_is_announced_and_nuts_runs(sleepstudy, monkeypatch):
    from bayesv.inference import collapsed

    exact = sleepstudy.sample(seed=2, draws=2000)
    monkeypatch.setattr(collapsed, "_MIN_ACCEPTANCE", 1.1)
    with pytest.warns(bv.SamplingWarning, match="NUTS on the same density runs instead"):
        post = sleepstudy.sample(seed=1, draws=500, tune=300, progressbar=False, keep_u=True)
    assert post.engine == "nuts"
    assert post.draws["posterior"]["u_Subject"].shape == (4, 500, 18, 2)
    assert int(post.draws["sample_stats"]["diverging"].sum()) == 0
    one, two = exact.summary(), post.summary()
    z = (one["mean"] - two["mean"]) / np.hypot(one["mcse_mean"], two["mcse_mean"])
    assert np.abs(z).max() < 4


def test_random_effects_agree_with_their_draws(star):
    """Rao–Blackwell means and SDs against draws of u itself, in Monte Carlo standard errors."""
    post = star.sample(seed=3, keep_u=True)
    table = post.random_effects(draws=1000)
    assert list(table.columns) == ["mean", "sd"]
    assert table.index.equals(star.design.effect_labels)
    for group in star.design.groups:
        u = post.draws["posterior"][f"u_{group}"].to_numpy()
        u = u.reshape(-1, u.shape[2] * u.shape[3])
        own = table.loc[group]
        z = (own["mean"].to_numpy() - u.mean(axis=0)) / (u.std(axis=0) / np.sqrt(800))
        assert np.abs(z).max() < 5
        assert np.allclose(own["sd"], u.std(axis=0), rtol=0.35)
        assert np.mean(own["sd"] / u.std(axis=0)) == pytest.approx(1.0, abs=0.02)


@pytest.mark.filterwarnings("ignore::bayesv.SamplingWarning")
@pytest.mark.parametrize(("of_x", "of_y"), [(1e-6, 1.0), (1e9, 1.0), (1.0, 1e-9), (1e4, 1e8)])
def test_units_do_not_matter(of_x, of_y):
    """The default priors scale with x and y, and so must every draw."""
    data = bv.load_dataset("sleepstudy")
    formula = "Reaction ~ Days + (Days | Subject)"
    one = bv.Model(formula, data).sample(seed=4, draws=200)
    scaled = data.assign(Days=of_x * data["Days"], Reaction=of_y * data["Reaction"])
    other = bv.Model(formula, scaled).sample(seed=4, draws=200)
    medians = [np.median(np.sqrt(p.cov("Subject")[..., 1, 1])) for p in (one, other)]
    assert medians[1] == pytest.approx(medians[0] * of_y / of_x, rel=0.05)
    assert np.median(other.sigma2) == pytest.approx(np.median(one.sigma2) * of_y**2, rel=0.05)


@pytest.mark.filterwarnings("ignore::bayesv.SamplingWarning")
@pytest.mark.parametrize("chains", [1, 4])
def test_few_draws(sleepstudy, chains):
    post = sleepstudy.sample(draws=4, chains=chains, seed=1)
    assert post.sigma2.shape == (chains, 4)


def test_no_fixed_effects():
    model = bv.Model("Reaction ~ 0 + (1 | Subject)", bv.load_dataset("sleepstudy"))
    table = bv.compare(model.reml(), model.sample(seed=1, draws=500))
    frame = table.to_frame()
    assert set(frame["scale"]) == {"var", "sd"}
    assert repr(table)


# --- summaries ------------------------------------------------------------------------------------


def test_estimates(sleepstudy, sleepstudy_posterior):
    post = sleepstudy_posterior
    mean = post.estimate("mean")
    assert np.allclose(mean["Subject"], post.cov("Subject").mean(axis=(0, 1)))
    assert mean.sigma2 == pytest.approx(post.sigma2.mean())
    assert post.estimate().sigma2 == mean.sigma2
    median = post.estimate("median")
    assert median.sigma2 == pytest.approx(np.median(post.sigma2))
    for kind in ("mean", "median", "mode"):
        assert np.linalg.eigvalsh(post.estimate(kind)["Subject"])[0] >= 0
    mode = post.estimate("mode")
    at_mode = post.density.log_posterior(ComponentDraws.of(post.design, mode))
    for vc in post.each_components(step=20):
        other = post.density.log_posterior(ComponentDraws.of(post.design, vc))
        assert other < at_mode
    with pytest.raises(bv.BayesvError, match="mean, median, mode"):
        post.estimate("average")


def test_geometric_median_stays_positive_semidefinite_where_elements_do_not():
    rng = np.random.default_rng(4)
    v = rng.normal(size=(400, 3, 1))
    draws = v @ np.swapaxes(v, 1, 2)
    elementwise = np.median(draws, axis=0)
    center = geometric_median(draws)
    assert np.linalg.eigvalsh(center)[0] > 0
    scale = np.sqrt(np.diagonal(elementwise))

    def loss(at: np.ndarray) -> float:
        sd = np.median(np.sqrt(np.diagonal(draws, axis1=1, axis2=2)), axis=0)
        return np.linalg.norm((draws - at) / np.outer(sd, sd), axis=(1, 2)).sum()

    for _ in range(20):
        step = rng.normal(size=(3, 3)) * 0.02 * np.outer(scale, scale)
        assert loss(center) <= loss(center + step + step.T) + 1e-9
    assert geometric_median(draws[:, :1, :1])[0, 0] == np.median(draws[:, 0, 0])


def test_summary_is_per_draw_with_labelled_scales(sleepstudy_posterior):
    table = sleepstudy_posterior.summary(prob=0.9).set_index(["scale", "group", "first", "second"])
    cov = sleepstudy_posterior.cov("Subject")
    rho = cov[..., 0, 1] / np.sqrt(cov[..., 0, 0] * cov[..., 1, 1])
    row = table.loc[("corr", "Subject", "Intercept", "Days")]
    assert row["mean"] == pytest.approx(rho.mean())
    assert row["eti_low"] == pytest.approx(np.quantile(rho, 0.05))
    sd = table.loc[("sd", "Residual", "", "")]
    assert sd["mean"] == pytest.approx(np.sqrt(sleepstudy_posterior.sigma2).mean())
    inside = (rho > row["hdi_low"]) & (rho < row["hdi_high"])
    assert inside.mean() == pytest.approx(0.9, abs=0.01)
    assert row["hdi_high"] - row["hdi_low"] <= row["eti_high"] - row["eti_low"] + 1e-9
    assert (table["ess_bulk"] > 100).all()


# --- comparison -----------------------------------------------------------------------------------


def test_comparison(sleepstudy, sleepstudy_posterior):
    fit = sleepstudy.reml()
    table = bv.compare(fit, sleepstudy_posterior)
    frame = table.to_frame().set_index(["scale", "group", "first", "second"])
    rho = frame.loc[("corr", "Subject", "Intercept", "Days")]
    assert rho["reml"] == pytest.approx(fit.components.corr("Subject").iloc[0, 1])
    assert rho["inside"] is True
    assert rho["prior"] == "implied by LKJ(1) of Intercept at Days = 4.5"
    beta = frame.loc[("beta", "fixed", "Days", "")]
    at_mean = bv.gls(sleepstudy.design, sleepstudy_posterior.estimate("mean"))
    assert beta["gls_posterior"] == pytest.approx(at_mean.beta["Days"])
    assert beta["gls_reml"] == pytest.approx(fit.beta["Days"])
    assert beta["mean"] == pytest.approx(sleepstudy_posterior.beta_mean["Days"])
    marginal = table.marginal.set_index("V at")
    assert marginal.loc["REML", "criterion"] == pytest.approx(fit.criterion, abs=1e-7)
    assert (marginal["criterion"] >= fit.criterion - 1e-9).all()
    assert marginal.loc["collapsed: mean", "log_det"] == pytest.approx(at_mean.V.logdet())
    text = repr(table)
    assert max(len(line) for line in text.splitlines()) <= 100
    assert "Intercept at Days = 4.5 ~ HalfStudentT(3, 119.3)" in text
    json.dumps(table.to_frame().astype(str).to_dict())


def test_comparison_of_several_posteriors(sleepstudy, sleepstudy_posterior, star):
    wide = bv.Model(
        "Reaction ~ Days + (Days | Subject)",
        bv.load_dataset("sleepstudy"),
        bv.Priors(sd=bv.HalfNormal(5.0)),
    ).sample(seed=2, draws=500)
    table = bv.compare(sleepstudy.reml(), sleepstudy.reml("ML"), sleepstudy_posterior, wide)
    assert set(table.to_frame()["posterior"]) == {"collapsed", "collapsed 2"}
    assert list(table.marginal["V at"])[:2] == ["REML", "ML"]
    sd = table.to_frame().query("scale == 'sd' and first == 'Intercept'").set_index("posterior")
    assert sd.loc["collapsed 2", "mean"] < 0.7 * sd.loc["collapsed", "mean"]
    with pytest.raises(bv.BayesvError, match="different data"):
        bv.compare(star.reml(), wide)


@pytest.mark.filterwarnings("ignore::bayesv.SamplingWarning")
def test_comparison_shows_a_singular_fit(star):
    table = bv.compare(star.reml(), star.sample(seed=1, draws=300))
    rows = table.to_frame().query("scale == 'corr'")
    assert np.allclose(rows["reml"], -1)
    assert not any(rows["inside"])  # an equal-tailed interval never reaches the boundary
    assert "singular" in repr(table)
    assert max(len(line) for line in repr(table).splitlines()) <= 100


def test_compare_says_where_fits_differ_and_why():
    model = bv.Model("Yield ~ 1 + (1 | Batch)", bv.load_dataset("dyestuff2"))
    fit = model.reml()
    tight = bv.Model(
        "Yield ~ 1 + (1 | Batch)",
        bv.load_dataset("dyestuff2"),
        bv.Priors(sd=bv.HalfNormal(0.2)),
    )
    found = bv.compare(fit, model.sample(seed=1), tight.sample(seed=1)).reasons()
    assert any("boundary" in line and "var Batch" in line for line in found)
    assert any("their priors differ" in line for line in found)
    again = bv.compare(fit, model.sample(seed=1), model.sample(seed=2)).reasons()
    assert any("agree within" in line for line in again)
    few = bv.Model("Yield ~ 1 + (1 | Batch)", bv.load_dataset("dyestuff"))
    lines = bv.compare(few.reml(), few.sample(seed=1)).reasons()
    assert any("skewness" in line and "Batch has 6 levels" in line for line in lines)


def test_compare_takes_any_number_of_fits():
    model = bv.Model("Reaction ~ Days + (Days | Subject)", bv.load_dataset("sleepstudy"))
    both = bv.compare(model.reml(), model.reml("ML"))
    assert list(both.points.columns) == ["REML", "ML"]
    assert both.points.loc["sd Residual", "ML"] == pytest.approx(25.5918, rel=1e-5)
    assert "Estimates" in repr(both)
    assert list(both.to_frame().columns) == ["quantity", "REML", "ML"]
    # V of both is held against the same criterion, of which REML is the minimum.
    assert both.marginal["criterion"].idxmin() == 0
    posts = bv.compare(model.sample(seed=1), model.sample(seed=2))
    assert posts.fits[0].method == "REML"
    assert posts.names == ("collapsed", "collapsed 2")
