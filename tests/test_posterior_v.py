"""The posterior of V and of what is computed from it: dense algebra draw by draw."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

import bayesv as bv
from bayesv.covariance import ComponentDraws
from bayesv.covariance.functionals import definition, functionals
from bayesv.gram import statistics_of
from bayesv.inference.density import MarginalDensity
from bayesv.inference.draws import Draws
from bayesv.posterior import estimators
from bayesv.posterior.covariance_draws import PosteriorV
from bayesv.posterior.estimators import ESTIMATES
from bayesv.posterior.labelled import tree_of
from bayesv.structures import of_blocks
from bayesv.support.deferred import later


@pytest.fixture(scope="module")
def post():
    rng = np.random.default_rng(3)
    n = 60
    frame = pd.DataFrame(
        {
            "x": rng.normal(size=n),
            "a": rng.integers(0, 7, n),
            "b": rng.integers(0, 4, n),
            "w": rng.uniform(0.5, 2.0, n),
        }
    )
    frame["y"] = frame["x"] + rng.normal(size=7)[frame["a"]] + rng.normal(size=n)
    model = bv.Model("y ~ x + (x | a) + (1 | b)", frame, var_weights="w")
    return model.sample(seed=1, draws=500, keep_u=True)


@pytest.fixture(scope="module")
def dense(post):
    """V of every 50th draw, n × n."""
    return post.map(lambda vc: bv.MarginalCovariance(post.design, vc).to_dense(), every=50)


def test_draws_of_V_are_V_at_the_draws(post, dense):
    rows = [3, 10, 17, 40]
    V = post.V(rows=rows)
    want = dense.to_numpy()[:, :, rows][..., rows]
    assert np.allclose(V.draws(every=50), want, rtol=1e-10)
    sd = np.sqrt(np.diagonal(want, axis1=-2, axis2=-1))
    assert np.allclose(V.marginal_sd(every=50), sd)
    assert np.allclose(V.corr(every=50), want / (sd[..., None] * sd[..., None, :]))
    assert np.allclose(V.components().sum("component"), 1.0)
    assert list(V.components()["component"].to_numpy()) == ["a", "b", "Residual"]


def test_moments_and_quantiles_are_those_of_the_draws(post):
    V = post.V("a", post.design.term("a").levels[2])
    draws = V.draws().to_numpy().reshape(-1, *V.mean().shape)
    assert np.allclose(V.mean(), draws.mean(axis=0))
    assert np.allclose(V.sd(), draws.std(axis=0, ddof=1))
    low, high = V.interval(0.9)
    assert np.allclose(low, np.quantile(draws, 0.05, axis=0))
    assert np.allclose(high, np.quantile(draws, 0.95, axis=0))
    at_mean = bv.MarginalCovariance(post.design, post.estimate("mean"))
    assert np.allclose(V.mean(), at_mean.rows(V.positions))
    assert list(V.mean().index) == V.labels


def test_functionals_equal_dense_algebra(post, dense):
    found = post.functionals().isel(draw=slice(None, None, 50))
    design, V = post.design, dense.to_numpy()
    n, diagonal = design.n, np.diagonal(dense.to_numpy(), axis1=-2, axis2=-1)
    assert np.allclose(found["log|V|"], np.linalg.slogdet(V)[1], rtol=1e-10)
    assert np.allclose(found["tr V"], diagonal.sum(axis=-1))
    effect = V.sum(axis=(-2, -1)) / diagonal.sum(axis=-1)
    assert np.allclose(found["design effect"], effect)
    assert np.allclose(found["effective n"], n / effect)
    codes = design.term("a").codes
    pairs = (codes[:, None] == codes) & ~np.eye(n, dtype=bool)
    icc = V[..., pairs].mean(axis=-1) / diagonal.mean(axis=-1)
    assert np.allclose(found["correlation within a"], icc)
    shares = sum(found[f"VPC {name}"] for name in ("a", "b", "Residual"))
    assert np.allclose(shares, 1.0)
    # Reliability of a level's mean: its variance by its own effect over all of it.
    averages = np.array([(codes == j) / (codes == j).sum() for j in range(7)])
    whole = np.einsum("ji,cdik,jk->cdj", averages, V, averages)
    z = averages @ design.term("a").values
    own = np.einsum("ja,cdab,jb->cdj", z, post.cov("a")[:, ::50], z)
    assert np.allclose(found["reliability of mean a"], (own / whole).mean(axis=-1))
    assert np.allclose(found["repeatability a"], found["VPC a"])
    assert np.allclose(found["ICC a"], found["VPC a"])  # crossed: nothing contains a


def test_icc_and_repeatability_are_the_fields():
    """Hand-worked shares of nested variances, as Stata's ``estat icc`` and rptR define them."""
    pupils = bv.load_dataset("three_level")
    design = bv.Model("y ~ 1 + (1 | sch.cl/tch.cl)", pupils).design
    covs = {"tch.cl:sch.cl": np.array([[[3.0]]]), "sch.cl": np.array([[[2.0]]])}
    values = ComponentDraws(design, covs, np.array([5.0]), np.zeros((1, design.p)))
    found = functionals(values, statistics_of(design))
    assert found["ICC sch.cl"] == pytest.approx(0.2)
    assert found["ICC tch.cl:sch.cl"] == pytest.approx(0.5)
    assert found["repeatability tch.cl:sch.cl"] == pytest.approx(0.3)
    assert found["repeatability sch.cl"] == pytest.approx(0.2)
    # Pairs of one school that share a teacher correlate .5, all others .2.
    assert 0.2 < found["correlation within sch.cl"][0] < 0.5
    assert found["correlation within tch.cl:sch.cl"] == pytest.approx(0.5)
    assert found["reliability of mean sch.cl"][0] > 0.2
    for name in found:
        assert definition(name), name


def test_icc_of_random_slopes_is_by_the_mean_variance(post):
    """Johnson 2014: mean over rows of z'Σz, with known weights the mean of σ²/w."""
    found, design = post.functionals(), post.design
    z = design.term("a").values
    own = np.einsum("ia,cdab,ib->cdi", z, post.cov("a"), z).mean(axis=-1)
    total = own + post.cov("b")[..., 0, 0] + post.sigma2 * (1 / design.residual.weights).mean()
    assert np.allclose(found["ICC a"], own / total)
    assert np.allclose(found["repeatability b"], post.cov("b")[..., 0, 0] / total)


def test_each_functional_is_defined_where_it_is_printed(post):
    table = bv.summarize(post.functionals())
    text = repr(table)
    assert "ICC a, ICC b: shares of this factor and of the factors that it is nested in" in text
    assert "divisor n − 1" in text
    assert set(table.attrs["definitions"]) == set(table["quantity"])
    assert "estat icc" in table._repr_html_()
    assert "estat icc" not in repr(table[["quantity", "mean"]])
    assert bv.summarize(post.map(lambda vc: vc.sigma2, every=50)).attrs == {}


def test_r_squared(post):
    found = post.functionals()
    design = post.design
    fixed = (post.beta @ design.X.T).var(axis=-1, ddof=1)
    random = found["tr V"] / design.n - post.sigma2 * (1 / design.residual.weights).mean()
    residual = post.sigma2 * (1 / design.residual.weights).mean()
    assert np.allclose(found["R² marginal"], fixed / (fixed + random + residual))
    assert np.allclose(found["R² conditional"], (fixed + random) / (fixed + random + residual))


def test_curves_over_covariates(post):
    at = pd.DataFrame({"x": [-1.0, 0.0, 2.0]})
    found = post.curves(at, groups=["a"])
    cov, s2 = post.cov("a"), post.sigma2[..., None]
    z = np.column_stack([np.ones(3), at["x"]])
    shared = z @ cov @ z.T
    variance = np.diagonal(shared, axis1=-2, axis2=-1) + post.cov("b")[..., 0] + s2
    assert np.allclose(found["variance"], variance)
    sd = np.sqrt(variance)
    assert np.allclose(found["corr"], shared / (sd[..., None] * sd[..., None, :]))
    with pytest.raises(bv.BayesvError, match="x of term 'a' are missing"):
        post.curves(pd.DataFrame(index=[0]))


def test_map_and_summarize(post):
    values = post.map(lambda vc: vc.sigma2, every=5)
    assert np.allclose(values, post.sigma2[:, ::5])
    table = bv.summarize(post.functionals()[["tr V", "log|V|"]])
    assert list(table["quantity"]) == ["tr V", "log|V|"]
    assert {"mean", "eti_low", "eti_high", "ess_bulk", "rhat", "mcse_mean"} <= set(table.columns)


# --- estimators -----------------------------------------------------------------------------------


def test_stein_minimises_its_loss(post, monkeypatch):
    monkeypatch.setattr(estimators, "_STEIN_DRAWS", 100)
    at = np.unique(np.linspace(0, post.sigma2.size - 1, 100).astype(int))
    drawn = [post.components(*divmod(int(i), post.n_draws)) for i in at]

    def expected_loss(kind: str) -> float:
        vc = post.estimate(kind)
        return np.mean([bv.v_distances(post.design, other, vc)["stein"] for other in drawn])

    loss = expected_loss("stein")
    assert all(loss < expected_loss(k) for k in ("mean", "median", "log_euclidean", "medoid"))


@st.composite
def block_patterns(draw):
    """Which of up to three columns are correlated with which, in any order."""
    r = draw(st.integers(2, 3))
    owner = [draw(st.integers(0, r - 1)) for _ in range(r)]
    blocks = [tuple(i for i in range(r) if owner[i] == b) for b in sorted(set(owner))]
    return tuple(blocks), draw(st.integers(0, 10**6))


@given(block_patterns())
@settings(max_examples=12, deadline=None, derandomize=True)
def test_every_estimate_keeps_the_blocks_of_its_term(pattern):
    """Mean, median, mode, Stein, log-Euclidean and medoid are 0 where the model says 0."""
    blocks, seed = pattern
    rng = np.random.default_rng(seed)
    codes, r = np.repeat(np.arange(6), 5), sum(map(len, blocks))
    values = np.column_stack([np.ones(30), rng.normal(size=(30, r - 1))])
    # Columns whose effects go together, so that an estimate without a mask finds a correlation.
    y = (values.sum(axis=1) * rng.normal(size=6)[codes]) + 0.5 * rng.normal(size=30)
    frame = pd.DataFrame({"y": y, "g": codes} | {f"x{j}": values[:, j] for j in range(1, r)})
    names = " + ".join(f"x{j}" for j in range(1, r))
    design = bv.Model(f"y ~ 1 + ({names} | g)", frame).design
    design = replace(design, terms=(replace(design.terms[0], structure=of_blocks(blocks)),))
    model = bv.Model.from_design(design)
    mask = design.terms[0].structure.mask
    roots = np.tril(rng.normal(size=(2, 20, r, r))) * mask
    covs = roots @ np.swapaxes(roots, -1, -2)
    sigma2, beta = rng.gamma(5.0, 0.2, (2, 20)), rng.normal(size=(2, 20, 1))
    draws = Draws(ComponentDraws(design, {"g": covs}, sigma2, beta))
    density = MarginalDensity(model.statistics, model.priors)
    post = bv.Posterior(later(tree_of, draws), design, model.priors, "planted", density)
    for kind in ESTIMATES:
        cov = post.estimate(kind)["g"].to_numpy()
        assert (cov[~mask] == 0.0).all(), (kind, cov)
        within = mask & ~np.eye(r, dtype=bool)
        assert within.sum() == 0 or np.abs(cov[within]).max() > 0.0


def test_log_euclidean_and_medoid(post):
    vc = post.estimate("log_euclidean")
    assert vc.sigma2 == pytest.approx(np.exp(np.log(post.sigma2).mean()))
    assert vc["b"].to_numpy()[0, 0] == pytest.approx(np.exp(np.log(post.cov("b")).mean()))
    assert np.linalg.eigvalsh(vc["a"])[0] > 0
    medoid = post.estimate("medoid")
    assert medoid.sigma2 in post.sigma2


# --- distances ------------------------------------------------------------------------------------


@pytest.mark.parametrize("weighted", [False, True])
def test_distances_of_V_equal_dense_ones(post, weighted):
    design = post.design
    if not weighted:
        frame = pd.DataFrame({"y": design.y, "x": design.X[:, 1]})
        frame["a"], frame["b"] = design.term("a").codes, design.term("b").codes
        design = bv.Model("y ~ x + (x | a) + (1 | b)", frame).design
    a, b = post.components(0, 3), post.components(1, 77)
    found = bv.v_distances(design, a, b)
    want = bv.distances(*(bv.MarginalCovariance(design, vc).to_dense() for vc in (a, b)))
    for name, value in want.items():
        if weighted and name in ("bures_wasserstein", "frobenius"):
            assert np.isnan(found[name])
        else:
            assert found[name] == pytest.approx(value, rel=1e-8), name


def test_distances_of_singular_fits_and_of_itself():
    model = bv.Model("Yield ~ 1 + (1 | Batch)", bv.load_dataset("dyestuff2"))
    fit = model.reml()
    assert fit.singular
    other = bv.VarianceComponents({"Batch": [[2.0]]}, fit.sigma2)
    found = bv.v_distances(model.design, fit.components, other)
    assert all(np.isfinite(list(found.values())))
    assert found["affine_invariant"] > 0
    assert max(bv.v_distances(model.design, other, other).values()) < 1e-6
    on_sigma = bv.distances(fit.components["Batch"], other["Batch"])
    assert np.isnan(on_sigma["stein"])
    assert np.isfinite(on_sigma["bures_wasserstein"])


def test_affine_invariance():
    rng = np.random.default_rng(0)
    a, b, T = (rng.normal(size=(4, 4)) for _ in range(3))
    a, b = a @ a.T, b @ b.T
    one, two = bv.distances(a, b), bv.distances(T @ a @ T.T, T @ b @ T.T)
    for name in ("affine_invariant", "stein", "kl"):
        assert one[name] == pytest.approx(two[name], rel=1e-8)
    assert bv.distances(b, a)["affine_invariant"] == pytest.approx(one["affine_invariant"])


def test_distance_from_reml_is_a_posterior(post):
    found = post.distance(post.estimate("mean"), every=50)
    assert found.dims == ("chain", "draw")
    assert (found > 0).all()
    with pytest.raises(bv.BayesvError, match="affine_invariant"):
        post.distance(post.estimate("mean"), "euclidean")


# --- β and coherence ------------------------------------------------------------------------------


def test_gls_draws_are_gls_at_the_draws(post):
    beta, cov = post.gls_draws()
    for at in (0, 700, 1999):
        want = bv.gls(post.design, post.components(*divmod(at, 500)))
        assert np.allclose(beta[at], want.beta, rtol=1e-8)
        assert np.allclose(cov[at], want.cov, rtol=1e-8)


def test_beta_uncertainty(post):
    frame = pd.DataFrame({"y": post.design.y, "x": post.design.X[:, 1]})
    frame["a"], frame["b"] = post.design.term("a").codes, post.design.term("b").codes
    frame["w"] = post.design.residual.weights
    fit = bv.Model("y ~ x + (x | a) + (1 | b)", frame, var_weights="w").reml()
    found = bv.beta_uncertainty(fit, post, {"sum": [1.0, 1.0]})
    table = found.table.set_index(["coefficient", "method"])
    assert table.loc[("x", "REML plug-in"), "se"] == pytest.approx(fit.se["x"], rel=1e-8)
    assert table.loc[("x", "Kenward–Roger"), "se"] > fit.se["x"]
    assert any(note.startswith("CR2") for note in found.notes)  # crossed
    parts = found.decomposition
    # Equal within Monte Carlo error: 2,000 draws.
    assert np.allclose(parts["total"], parts["draws"], rtol=0.15)
    assert (parts["share_between"] < 1).all()
    assert "sum" in repr(found)
    with pytest.raises(bv.BayesvError, match="needed are 2 weights"):
        bv.beta_uncertainty(fit, post, {"sum": [1.0]})


def test_check_passes_and_catches_planted_errors(post):
    found = post.check()
    assert found.passed, found
    assert set(found.table["identity"]) == {
        "Σ and σ² vary",
        "mean of β − β̂(V)",
        "variance of β given V",
        "score E[∇ log p(θ | y)]",
        "spread E[(θ − c)∇'log p(θ | y)] + I",
        "score given u, E[∇ log p(θ | u, β, y)]",
        "mean of u − E[u | β, V, y]",
        "second moments of u given (β, V, y)",
        "distance of u from E[u | β, V, y]",
    }


def planted(post, error):
    """The draws as another library's, with one error; and the design they are read with."""
    import xarray as xr

    data = {n: v.copy() for n, v in post.draws["posterior"].data_vars.items()}
    design = post.design
    if error == "shuffled levels":
        data["u_a"] = xr.DataArray(data["u_a"].to_numpy()[:, :, ::-1], dims=data["u_a"].dims)
    elif error == "wrong contrast":
        data["beta"] = xr.DataArray(
            data["beta"].to_numpy() @ np.array([[1.0, 0.0], [0.5, 1.0]]), dims=data["beta"].dims
        )
    elif error == "swapped Kronecker order":
        u = data["u_a"].to_numpy()
        swapped = u.reshape(*u.shape[:2], -1).reshape(*u.shape[:2], 2, -1)
        data["u_a"] = xr.DataArray(np.swapaxes(swapped, 2, 3), dims=data["u_a"].dims)
    elif error == "dropped weights":
        frame = pd.DataFrame({"y": design.y, "x": design.X[:, 1]})
        frame["a"], frame["b"] = design.term("a").codes, design.term("b").codes
        design = bv.Model("y ~ x + (x | a) + (1 | b)", frame).design
    tree = xr.DataTree.from_dict({"posterior": xr.Dataset(data)})
    return bv.Posterior(tree, design, None, "elsewhere")


@pytest.mark.parametrize(
    "error",
    [None, "shuffled levels", "wrong contrast", "swapped Kronecker order", "dropped weights"],
)
def test_check_of_foreign_draws(post, error):
    found = planted(post, error).check()
    assert found.passed == (error is None), found
    assert any("flat" in note for note in found.notes)


# --- bad input ------------------------------------------------------------------------------------


def test_refusals(post):
    with pytest.raises(bv.BayesvError, match="which rows"):
        post.V()
    with pytest.raises(bv.DataError, match="below 60"):
        post.V(rows=[60])
    with pytest.raises(bv.DataError, match="integers"):
        post.V(rows=[0.5])
    with pytest.raises(bv.BayesvError):
        post.V("a", "nowhere")
    with pytest.raises(bv.ComponentsError, match="positive semi-definite"):
        bv.distances(np.eye(2), np.array([[1.0, 2.0], [2.0, 1.0]]))
    with pytest.raises(bv.BayesvError, match="not the same"):
        bv.distances(np.eye(2), np.eye(3))
    many = PosteriorV(post.design, post.values, np.zeros(3000, dtype=int))
    with pytest.raises(bv.DataError, match="too many"):
        many.mean()


# --- predictive -----------------------------------------------------------------------------------


def test_log_likelihood_equals_dense_algebra(post):
    tree = post.log_likelihood(every=250)
    found = tree["log_likelihood"]
    design = post.design
    clusters = bv.MarginalCovariance(design, post.components(0, 0)).clusters
    for chain, draw in ((0, 0), (3, 250)):
        V = bv.MarginalCovariance(design, post.components(chain, draw)).to_dense()
        e = design.target - design.X @ post.beta[chain, draw]
        at = {"chain": chain, "draw": draw}
        rows = []
        for i in (0, 7, 33):
            rest = np.arange(design.n) != i
            gain = V[i, rest] @ np.linalg.inv(V[np.ix_(rest, rest)])
            sd = np.sqrt(V[i, i] - gain @ V[rest, i])
            rows.append(stats.norm(gain @ e[rest], sd).logpdf(e[i]))
        assert np.allclose(found["by_row"].sel(at).to_numpy()[[0, 7, 33]], rows, rtol=1e-8)
        for c in range(clusters.max() + 1):
            own = clusters == c
            want = stats.multivariate_normal(cov=V[np.ix_(own, own)]).logpdf(e[own])
            assert float(found["by_cluster"].sel(at)[c]) == pytest.approx(want, rel=1e-8)


@pytest.mark.filterwarnings("ignore:Estimated shape parameter")
def test_leave_one_cluster_out():
    """PSIS-LOO of subjects against refits without each of three subjects."""
    arviz_stats = pytest.importorskip("arviz_stats")
    data, formula = bv.load_dataset("sleepstudy"), "Reaction ~ Days + (Days | Subject)"
    priors = bv.Priors(sd=bv.HalfNormal(50.0), sigma=bv.HalfNormal(50.0), beta=bv.Normal(200, 200))
    post = bv.Model(formula, data, priors).sample(seed=1)
    loo = arviz_stats.loo(post.log_likelihood(every=2), var_name="by_cluster", pointwise=True)
    assert loo.n_data_points == 18
    for at in np.argsort(loo.pareto_k.to_numpy())[[0, 4, 8]]:
        subject = data["Subject"].unique()[at]
        rest = bv.Model(formula, data[data["Subject"] != subject], priors).sample(seed=2)
        own = np.flatnonzero((data["Subject"] == subject).to_numpy())
        V = PosteriorV(post.design, rest.values, own).draws(every=4).to_numpy()
        e = post.design.y[own] - rest.beta[:, ::4] @ post.design.X[own].T
        log_p = [
            stats.multivariate_normal(cov=v).logpdf(r)
            for v, r in zip(V.reshape(-1, *V.shape[2:]), e.reshape(-1, len(own)), strict=True)
        ]
        want = np.logaddexp.reduce(log_p) - np.log(len(log_p))
        assert float(loo.elpd_i[at]) == pytest.approx(want, abs=0.15)


def test_predictive_moments(post):
    """New levels: mean and covariance of y over draws; the same levels: nearer to y."""
    rows = slice(0, 12)
    new = post.predict(draws=2000, new_levels=True, seed=3).to_numpy()
    V = post.V(rows=np.arange(post.design.n)[rows])
    expected = V.mean().to_numpy()
    fixed = post.beta.reshape(-1, 2) @ post.design.X[rows].T
    expected = expected + np.cov(fixed.T)
    found = np.cov(new[:, rows].T)
    scale = np.sqrt(np.outer(np.diagonal(expected), np.diagonal(expected)))
    assert np.abs(found - expected).max() < 0.15 * scale.max()
    same = post.predict(draws=500, seed=4).to_numpy()
    errors = [((draws - post.design.y) ** 2).mean() for draws in (same, new)]
    assert errors[0] < errors[1]


def test_prior_predictive():
    priors = bv.Priors(
        sd=bv.InverseGamma(3.0, 2.0),
        sigma=bv.Exponential(0.5),
        corr=bv.LKJ(2.0),
        beta=bv.Normal(0, 1),
    )
    model = bv.Model("Reaction ~ Days + (Days | Subject)", bv.load_dataset("sleepstudy"), priors)
    found = model.prior_predictive(draws=20_000, seed=1)
    sd = found["sd Subject: Intercept"].to_numpy().ravel()
    assert (sd**2).mean() == pytest.approx(1.0, rel=0.05)  # scale/(shape − 1)
    assert float(found["sd Residual"].mean()) == pytest.approx(0.5, rel=0.03)
    corr = found["corr Subject: Intercept, Days"].to_numpy().ravel()
    assert stats.kstest((corr + 1) / 2, stats.beta(2.0, 2.0).cdf).pvalue > 1e-3
    assert {"VPC Subject", "R² marginal"} <= set(found.data_vars)
    flat = bv.Model(
        "Reaction ~ Days + (Days | Subject)",
        bv.load_dataset("sleepstudy"),
        bv.Priors(sd=bv.Flat()),
    )
    with pytest.raises(bv.PriorError, match="no draws"):
        flat.prior_predictive()


def test_reliability_equals_dense_algebra(post):
    found = post.reliability(every=250)
    design = post.design
    for chain, draw in ((0, 0), (2, 250)):
        vc = post.components(chain, draw)
        V = bv.MarginalCovariance(design, vc).to_dense()
        G, Z, X = bv.expand_G(design, vc).toarray(), design.Z.toarray(), design.X
        Vi = np.linalg.inv(V)
        P = Vi - Vi @ X @ np.linalg.inv(X.T @ Vi @ X) @ X.T @ Vi
        left = np.diagonal(G - G @ Z.T @ P @ Z @ G) / np.diagonal(G)
        want = [1 - left[:14:2].mean(), 1 - left[1:14:2].mean(), 1 - left[14:].mean()]
        assert np.allclose(found.sel(chain=chain, draw=draw), want, rtol=1e-8)
    assert list(found["effect"].to_numpy()) == ["a: Intercept", "a: x", "b: Intercept"]


def test_new_rows(post):
    """V of rows that were not fitted: of one new level of a, two rows of a known level of b."""
    new = pd.DataFrame({"a": ["new", "new", "other"], "b": [1, 2, 1], "x": [0.0, 2.0, -1.0]})
    V = post.V(newdata=new)
    cov, between = post.cov("a").mean(axis=(0, 1)), post.cov("b").mean()
    z = np.column_stack([np.ones(3), new["x"]])
    shared = np.array([[1, 1, 0], [1, 1, 0], [0, 0, 1]])
    want = (z @ cov @ z.T) * shared + between * np.array([[1, 0, 1], [0, 1, 0], [1, 0, 1]])
    assert np.allclose(V.mean(), want + post.sigma2.mean() * np.eye(3))
    values = np.linalg.eigvalsh(V.draws(every=100).to_numpy())[..., [0, -1]]
    assert np.allclose(V.eigenvalues(every=100), values)
    weighted = post.V(newdata=new.assign(w=2.0), weights="w").mean()
    assert np.allclose(np.diagonal(weighted), np.diagonal(want) + post.sigma2.mean() / 2)
    with pytest.raises(bv.DataError, match="no column for 'x'"):
        post.V(newdata=new.drop(columns="x"))
    with pytest.raises(bv.DataError, match="factor b is missing"):
        post.V(newdata=new.drop(columns="b"))


def test_new_rows_of_nested_factors_and_dummies():
    star = bv.load_dataset("star_k20")
    post = bv.Model("read ~ cltype + sx + (sx | sch/tch)", star).sample(seed=1, draws=600)
    rows = np.arange(40)
    known = post.V(rows=rows).mean().to_numpy()
    new = star.loc[post.design.row_labels[rows], ["sch", "tch", "sx"]]
    assert np.allclose(post.V(newdata=new).mean(), known)


@pytest.mark.filterwarnings("ignore:Estimated shape parameter")
def test_power_scaling(post):
    """Doubling down on a tight prior moves the posterior; on the likelihood the other way."""
    arviz_stats = pytest.importorskip("arviz_stats")
    data = bv.load_dataset("dyestuff")
    tables = []
    for scale in (20.0, 500.0):
        priors = bv.Priors(sd=bv.HalfNormal(scale))
        tree = bv.Model("Yield ~ 1 + (1 | Batch)", data, priors).sample(seed=1).log_likelihood()
        tables.append(
            arviz_stats.psense_summary(
                tree,
                var_names=["sd_Batch"],
                prior_var_names=["sd_Batch"],
                likelihood_var_names=["by_cluster"],
            )
        )
    assert float(tables[0]["prior"].iloc[0]) > float(tables[1]["prior"].iloc[0])


def test_without_fixed_effects_and_without_rows(tmp_path):
    data, formula = bv.load_dataset("sleepstudy"), "Reaction ~ 0 + (Days | Subject)"
    post = bv.Model(formula, data).sample(seed=1)
    assert "R² marginal" not in post.functionals()
    assert post.check().passed
    pytest.importorskip("pyarrow")
    data.to_parquet(tmp_path / "sleep.parquet")
    post = bv.Model("Reaction ~ Days + (Days | Subject)", tmp_path / "sleep.parquet").sample(seed=1)
    assert post.check().passed
    new = pd.DataFrame({"Days": [1.0, 2.0], "Subject": ["a", "a"]})
    assert post.V(newdata=new).mean().shape == (2, 2)
    with pytest.raises(bv.DataError, match="keeps no rows"):
        post.log_likelihood()


def test_expected_v_is_the_mean_of_the_draws(post):
    mean = post.map(lambda vc: bv.MarginalCovariance(post.design, vc).to_dense(), every=1).mean(
        ("chain", "draw")
    )
    assert np.allclose(post.expected_V().to_sparse().toarray(), mean, rtol=1e-9)
