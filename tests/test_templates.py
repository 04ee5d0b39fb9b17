"""Families of covariances of random effects: formulas, REML and ML, posterior, PyMC."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize

import bayesv as bv
from bayesv.covariance.quantities import point_quantities
from bayesv.errors import BayesvError, DataError, FitWarning, FormulaError
from bayesv.inference.coordinates import Coordinates
from bayesv.inference.density import MarginalDensity
from bayesv.inference.log_prior import LogPrior
from bayesv.structures import Diagonal, Unstructured

REFERENCES = Path(__file__).parent / "references" / "structures"
DAYS = (1, 2, 4, 5)


# Seeds of noise in which an SD is best at 0.
SINGULAR = {"homcs(0 + f | h)": 6, "ar1(0 + f | h)": 6, "csh(0 + f | h)": 4}


def simulated(seed: int = 0, groups: int = 20, reps: int = 2, *, sd=1.0, rho=0.6) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    rows = [(g, k, r) for g in range(groups) for k in range(4) for r in range(reps)]
    data = pd.DataFrame(rows, columns=["g", "item", "rep"])
    data = data[rng.random(len(data)) < 0.85].reset_index(drop=True)
    data["day"] = np.array(DAYS)[data["item"]]
    data["f"] = pd.Categorical(np.array(list("abde"))[data["item"]], list("abcdef"))
    data["x"] = rng.normal(size=len(data))
    data["h"] = rng.integers(0, 7, len(data))
    corr = rho ** np.abs(np.subtract.outer(DAYS, DAYS))
    u = sd * rng.normal(size=(groups, 4)) @ np.linalg.cholesky(corr + 1e-12 * np.eye(4)).T
    crossed = 0.5 * rng.normal(size=7)[data["h"]]
    noise = 0.7 * rng.normal(size=len(data))
    return data.assign(y=1 + 0.5 * data["x"] + u[data["g"], data["item"]] + crossed + noise)


def dense(design: bv.Design, vc: bv.VarianceComponents, method: str = "REML") -> float:
    """−2 log (restricted) likelihood by V itself."""
    V = vc.sigma2 * np.eye(design.n)
    for term in design.terms:
        same = term.codes[:, None] == term.codes
        V += same * (term.values @ vc.block_for(term) @ term.values.T)
    L = np.linalg.cholesky(V)
    X, y = np.linalg.solve(L, design.X), np.linalg.solve(L, design.y)
    rest = y - X @ np.linalg.lstsq(X, y)[0]
    value = 2 * np.log(np.diag(L)).sum() + rest @ rest
    if method == "ML":
        return value + design.n * np.log(2 * np.pi)
    return value + (design.n - design.p) * np.log(2 * np.pi) + np.linalg.slogdet(X.T @ X)[1]


def members(design: bv.Design, x: np.ndarray) -> bv.VarianceComponents:
    """Components by log σ, then log SDs and z of each term."""
    blocks, k = {}, 1
    for term in design.terms:
        structure = term.structure
        sds = structure.sds(np.exp(x[k : k + structure.n_sds]))
        k += structure.n_sds
        corr = structure.corr(x[k : k + structure.n_corrs])
        k += structure.n_corrs
        blocks[term.group] = corr * np.outer(sds, sds)
    return bv.VarianceComponents(blocks, float(np.exp(2 * x[0])))


def lowest(design: bv.Design, tries: int = 3) -> float:
    """The least dense criterion that a plain search over the family finds."""
    size = 1 + sum(t.structure.n_sds + t.structure.n_corrs for t in design.terms)
    rng, best = np.random.default_rng(1), np.inf
    for _ in range(tries):
        done = minimize(
            lambda x: dense(design, members(design, x)),
            0.3 * rng.normal(size=size),
            method="L-BFGS-B",
            bounds=[(-6, 5)] * size,
        )
        best = min(best, done.fun)
    return best


EVERY = {
    "cs(0 + f | g)": "csh",
    "cs(0 + f | g, hom=TRUE)": "cs",
    "homcs(0 + item | g)": "cs",
    "cs(1 + x | g, hom = TRUE)": "cs",
    "ar1(0 + day | g)": "ar1",
    "ar1(0 + f | g, hom=FALSE)": "ar1h",
    "hetar1(0 + f | g)": "ar1h",
    "ar1(1 + f | g, hom = TRUE)": "ar1",
    "toep(0 + item | g)": "toeph",
    "homtoep(0 + item | g)": "toep",
    "ad(0 + f | g)": "ad",
    "ad(0 + f | g, hom = FALSE)": "adh",
    "ma1(0 + f | g)": "ma1",
    "arma11(0 + f | g)": "arma11",
    "ou(0 + day | g)": "car1",
    "homdiag(0 + f | g)": "homdiag",
    "diag(0 + f | g)": "diag",
}


@pytest.mark.parametrize("text", EVERY)
def test_every_kind_ends_at_the_lowest_dense_criterion(text):
    model = bv.Model(f"y ~ x + {text}", simulated(groups=12))
    (term,) = model.design.terms
    assert term.structure.kind == EVERY[text]
    fit = model.reml()
    assert fit.converged
    assert fit.criterion == pytest.approx(dense(model.design, fit.components), abs=1e-8)
    assert fit.criterion < lowest(model.design, tries=1) + 1e-5
    if not isinstance(term.structure, Diagonal):
        assert term.structure.is_member(fit.components.block_for(term))


@pytest.mark.parametrize("text", ["ar1(0 + day | g) + (1 | h)", "(1 | g) + csh(0 + f | h)"])
def test_families_beside_crossed_terms(text):
    model = bv.Model(f"y ~ x + {text}", simulated(groups=12))
    for method in ("REML", "ML"):
        fit = model.reml(method)
        value = dense(model.design, fit.components, method)
        assert fit.criterion == pytest.approx(value, abs=1e-8)
    assert model.reml().criterion < lowest(model.design, tries=2) + 1e-4


def test_families_in_a_chain_and_of_one_factor():
    data = simulated().assign(school=lambda d: d["g"] // 5)
    fit = bv.Model("y ~ x + homcs(0 + f | school/g)", data).reml()
    assert [term.group for term in fit.design.terms] == ["g:school", "school"]
    assert fit.criterion == pytest.approx(dense(fit.design, fit.components), abs=1e-8)
    fit = bv.Model("y ~ x + (0 + x | g) + ar1(0 + day | g)", data).reml()
    assert fit.criterion == pytest.approx(dense(fit.design, fit.components), abs=1e-8)
    assert fit.components["g"].loc["x", "day[1]"] == 0.0


def test_us_and_diag_are_bars():
    data = simulated()
    us = bv.Model("y ~ x + us(x | g)", data)
    assert us.design.terms[0].structure == Unstructured(2)
    assert us.reml().criterion == bv.Model("y ~ x + (x | g)", data).reml().criterion
    diag = bv.Model("y ~ x + diag(x | g)", data)
    assert diag.design.terms[0].structure == Diagonal(2)
    assert diag.reml().criterion == bv.Model("y ~ x + (x || g)", data).reml().criterion


def test_positions_keep_levels_that_no_row_has_and_gaps_of_numbers():
    data = simulated()
    (by_level,) = bv.Model("y ~ ar1(0 + f | g)", data).design.terms
    assert by_level.structure.positions == (0, 1, 3, 4)
    assert by_level.columns == ("f[a]", "f[b]", "f[d]", "f[e]")
    (by_number,) = bv.Model("y ~ ar1(0 + day | g)", data).design.terms
    assert by_number.structure.positions == DAYS
    assert by_number.columns == ("day[1]", "day[2]", "day[4]", "day[5]")


def test_new_rows_stand_at_fitted_positions():
    model = bv.Model("y ~ x + ar1(0 + day | g)", simulated())
    fit = model.reml()
    rows = pd.DataFrame({"x": [0.0, 1.0], "day": [4, 1], "g": [3, 3]})
    encoding = fit.design.encoding
    names, values = encoding.random_columns(rows)["g"]
    assert names == fit.design.terms[0].columns
    assert values.tolist() == [[0, 0, 1, 0], [1, 0, 0, 0]]
    with pytest.raises(DataError, match="New data: day is 3"):
        encoding.random_columns(rows.assign(day=[3, 1]))


REFUSED = {
    "arr1(0 + f | g)": "did you mean 'ar1'",
    "exp(0 + f | g)": "residual='sp_exp",
    "rr(0 + f | g)": "reduced rank",
    "propto(0 + f | g)": "relationship=",
    "cs(x || g)": "one bar",
    "cs(0 + f | g, hom)": "hom=TRUE",
    "csh(0 + f | g, hom=TRUE)": "an SD for each column",
    "homcs(0 + f | g, hom=FALSE)": "one SD",
    "cs(0 + f | g) + cs(0 + f | g)": "two random terms",
}


@pytest.mark.parametrize("text", REFUSED)
def test_what_formulas_do_not_have(text):
    with pytest.raises(FormulaError, match=REFUSED[text].replace("(", r"\(")):
        bv.Model(f"y ~ x + {text}", simulated())


REFUSED_DATA = {
    "ar1(1 + x | g)": "no positions",
    "ar1(0 + x | g)": "a category or a whole number",
    "cs(1 | g)": "has one column",
    "toep(0 + day | g)": "apart",
    "ou(0 + f | g)": "needs times",
}


@pytest.mark.parametrize("text", REFUSED_DATA)
def test_what_data_do_not_have(text):
    data = simulated().assign(day=lambda d: d["day"].replace(5, 8))
    with pytest.raises(DataError, match=REFUSED_DATA[text]):
        bv.Model(f"y ~ x + {text}", data)


def test_lags_over_columns_are_noted():
    notes = bv.Model("y ~ ar1(1 + f | g)", simulated()).design.notes
    assert any("lags count the columns in their order" in note for note in notes)


@pytest.mark.parametrize("text", ["ar1(0 + day | g)", "csh(0 + f | g)"])
def test_rows_levels_and_units(text):
    data = simulated(3)
    first = bv.Model(f"y ~ x + {text}", data).reml()
    shuffled = data.sample(frac=1, random_state=1).assign(
        g=lambda d: "s" + (97 * d["g"] % 101).astype(str), y=lambda d: 10 * d["y"] + 3
    )
    again = bv.Model(f"y ~ x + {text}", shuffled).reml()
    assert np.allclose(again.components["g"], 100 * first.components["g"], rtol=2e-5)
    df = first.design.n - first.design.p
    assert again.criterion == pytest.approx(first.criterion + 2 * df * np.log(10), abs=1e-6)


@pytest.mark.parametrize("text", ["homcs(0 + f | h)", "ar1(0 + f | h)", "csh(0 + f | h)"])
def test_an_sd_of_0_is_reached(text):
    noise = np.random.default_rng(SINGULAR[text]).normal(size=len(simulated()))
    data = simulated().assign(y=noise, h=lambda d: d.index % 9)
    fit = bv.Model(f"y ~ x + {text}", data).reml()
    assert fit.singular
    assert fit.converged
    assert (fit.components.sd("h") == 0.0).any()
    assert fit.criterion == pytest.approx(dense(fit.design, fit.components), abs=1e-8)
    assert fit.criterion < lowest(fit.design) + 1e-5


@pytest.mark.parametrize("text", ["ar1(0 + day | g)", "homcs(0 + f | g)", "homtoep(0 + item | g)"])
def test_a_correlation_at_the_end_of_its_range_is_reached(text):
    fit = bv.Model(f"y ~ x + {text}", simulated(6, rho=1.0)).reml()
    assert fit.components.corr("g").iloc[0, 1] == pytest.approx(1.0, abs=1e-12)
    assert fit.converged
    assert fit.singular
    assert fit.criterion == pytest.approx(dense(fit.design, fit.components), abs=1e-6)
    assert fit.criterion < lowest(fit.design) + 1e-5


NOT_TOLD = {
    "homcs(0 + f | g)": "parameters of cs in g and the residual variance",
    "homtoep(0 + item | g)": "parameters of toep in g and the residual variance",
    "homdiag(0 + f | g)": "parameters of homdiag in g and the residual variance",
    "(1 | g) + homcs(0 + f | g)": "parameters of us . cs in g and the residual variance",
}


@pytest.mark.parametrize("text", NOT_TOLD)
def test_what_one_row_an_effect_does_not_tell(text):
    with pytest.warns(FitWarning, match=NOT_TOLD[text]):
        fit = bv.Model(f"y ~ x + {text}", simulated(reps=1)).reml()
    assert fit.problems
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not bv.Model("y ~ x + ar1(0 + day | g)", simulated(reps=1)).reml().problems


def test_the_same_family_on_both_sides_is_refused():
    data = simulated(reps=1)
    with pytest.raises(DataError, match="with the two exchanged"):
        bv.Model("y ~ x + ar1(0 + day | g)", data, residual="ar1(day | g)").reml()
    with pytest.raises(DataError, match="along a line"):
        bv.Model("y ~ x + homdiag(0 + f | g)", data, residual="cs(day | g)").reml()


def glmmtmb() -> list[tuple[str, str]]:
    table = pd.read_csv(REFERENCES / "glmmTMB.csv")
    return list(zip(table["formula"], table["method"], strict=True))


@pytest.mark.parametrize(("formula", "method"), glmmtmb())
def test_glmmtmb(formula, method):
    table = pd.read_csv(REFERENCES / "glmmTMB.csv").set_index(["formula", "method"])
    want = table.loc[formula, method]
    fit = bv.Model(formula, pd.read_csv(REFERENCES / "templates.csv")).reml(method)
    assert fit.criterion == pytest.approx(dense(fit.design, fit.components, method), abs=1e-8)
    # Of toep and us it stops a little above the minimum (its "false convergence").
    assert fit.criterion < want.criterion + 2e-6
    if "toep" in formula or "us(" in formula:
        assert fit.criterion > want.criterion - 0.5
        return
    assert fit.components.sigma == pytest.approx(want.sigma, rel=1e-3)
    assert fit.beta["x"] == pytest.approx(want.beta_x, rel=1e-3)
    sds = [float(sd) for sd in want.sds.split()]
    assert np.allclose(fit.components.sd("g"), sds, rtol=5e-3)
    assert fit.components.corr("g").iloc[1, 0] == pytest.approx(want.corr12, abs=5e-3)
    assert fit.components.corr("g").iloc[4, 0] == pytest.approx(want.corr15, abs=5e-3)


# --- posterior ------------------------------------------------------------------------------------

POSTERIORS = ["csh(0 + f | g)", "ar1(0 + day | g)", "(1 | h) + homtoep(0 + item | g)",
              "adh(0 + f | g)", "arma11(0 + f | g)", "ma1(0 + f | g)", "homcs(0 + f | g)",
              "ou(0 + day | g)", "(0 + x | g) + ar1(0 + f | g)", "toep(0 + item | g)"]  # fmt: skip


@pytest.mark.parametrize("text", POSTERIORS[:4])
def test_gradients_and_parameters_by_name(text):
    model = bv.Model(f"y ~ x + {text}", simulated(groups=10))
    prior = LogPrior(model.priors, Coordinates.centred(model.design))
    x = 0.4 * np.random.default_rng(1).normal(size=prior.coordinates.size)
    gradient = prior.gradient(x)
    for k, e in enumerate(1e-5 * np.eye(len(x))):
        slope = float(prior(x + e) - prior(x - e)) / 2e-5
        assert slope == pytest.approx(gradient[k], abs=1e-6, rel=1e-6)
    fit = model.reml()
    labels = [one.label for one in point_quantities(fit.design, fit.components)]
    assert len(set(labels)) == len(labels)


def test_parameters_of_two_families_of_one_factor_have_names_of_their_own():
    data = simulated().assign(k=lambda d: d["rep"].map(["u", "v"].__getitem__))
    model = bv.Model("y ~ ar1(0 + day | g) + ar1(0 + k | g)", data)
    structure, columns = model.design.terms[0].structure, model.design.terms[0].columns
    assert structure.sd_labels(columns) == ("all of ar1(day[1] …)", "all of ar1(k[u] …)")
    assert structure.corr_labels(columns) == ("rho of ar1(day[1] …)", "rho of ar1(k[u] …)")


@pytest.fixture(scope="module")
def posterior() -> bv.Posterior:
    model = bv.Model("y ~ x + ar1(0 + day | g)", simulated(groups=15))
    return model.sample(draws=500, chains=2, seed=1)


def test_collapsed_draws_against_a_grid(posterior):
    density = MarginalDensity(
        bv.Model("y ~ x + ar1(0 + day | g)", simulated(groups=15)).statistics,
        posterior.priors,
    )
    prior = LogPrior(posterior.priors, Coordinates.centred(posterior.design))
    axes = [np.linspace(-2.0, 2.5, 41), np.linspace(-1.5, 3.5, 41), np.linspace(-1.5, 0.6, 41)]
    x = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    lambdas, sigma = prior.coordinates.to_lambdas(x)
    logs = density.conditional(lambdas, sigma**2).log_likelihood + prior(x)
    weights = np.exp(logs - logs.max())
    weights /= weights.sum()
    rho = np.tanh(x[:, 1])
    drawn = np.asarray(posterior.cov("g"))
    own = (drawn[..., 0, 1] / drawn[..., 0, 0]).ravel()
    mean = float(weights @ rho)
    spread = float(np.sqrt(weights @ (rho - mean) ** 2))
    assert abs(own.mean() - mean) < 5 * spread / np.sqrt(500)
    assert own.std() == pytest.approx(spread, rel=0.15)


def test_draws_and_estimates_are_of_the_family(posterior):
    (term,) = posterior.design.terms
    drawn = np.asarray(posterior.cov("g")).reshape(-1, 4, 4)
    assert all(term.structure.is_member(cov, 1e-9) for cov in drawn[::50])
    for loss in ("median", "mode", "stein", "log_euclidean", "medoid"):
        assert term.structure.is_member(posterior.estimate(loss).block_for(term), 1e-7), loss
    mean = posterior.estimate("mean").block_for(term)
    assert np.allclose(mean, drawn.mean(axis=0))


def test_bambi_has_no_families(posterior):
    model = bv.Model("y ~ x + ar1(0 + day | g)", simulated(groups=6))
    with pytest.raises(BayesvError, match="to_pymc"):
        bv.to_bambi(model)


@pytest.mark.parametrize(
    ("text", "marginal"),
    [*((text, False) for text in POSTERIORS), *((text, True) for text in POSTERIORS[:3])],
)
def test_pymc_states_the_same_density(text, marginal):
    pytensor = pytest.importorskip("pytensor")
    model = bv.Model(f"y ~ x + {text}", simulated(groups=6))
    rng, design = np.random.default_rng(2), model.design
    coordinates = Coordinates.as_written(design)
    x = 0.4 * rng.normal(size=coordinates.size)
    x[-1] += 0.2
    lambdas, sigma = coordinates.to_lambdas(x)
    point, jacobian = {"sigma": sigma, "beta": rng.normal(size=design.p)}, 0.0
    for part in coordinates.parts:
        term, start = part.term, part.corrs.start
        sds = np.exp(x[part.sds] - part.log_units) * sigma
        point[f"sd_{term.group}"] = sds
        point[f"z_{term.group}"] = rng.normal(size=(term.n_levels, term.n_columns))
        jacobian += np.log(sds).sum()
        for k, (_, family) in enumerate(term.structure.parts):
            if family.n_corrs == 0:
                continue
            z = x[start : start + family.n_corrs]
            start += family.n_corrs
            name = f"chol_{term.group}" + (f"_{k}" if len(term.structure.parts) > 1 else "")
            if family.kind == "car1":
                inverse = float(-np.log(family.natural(z)[0]))
                point[f"{name}_inverse_range"] = inverse
                jacobian += np.log(inverse)
                continue
            steepness = np.array([one.steepness for one in family.maps])
            share = 1.0 / (1.0 + np.exp(-steepness * z))
            point[f"{name}_share"] = share
            jacobian += np.log(steepness * share * (1 - share)).sum()
    stated = LogPrior(model.priors, coordinates)(x) - jacobian - np.log(sigma)
    with pytensor.config.change_flags(mode="FAST_COMPILE"):
        pymc_model = bv.to_pymc(model, marginal=marginal)
        values = {}
        for variable in pymc_model.free_RVs:
            given = pytensor.tensor.as_tensor(np.asarray(point[variable.name], dtype=float))
            if (transform := pymc_model.rvs_to_transforms[variable]) is not None:
                given = transform.forward(given, *variable.owner.inputs)
            values[pymc_model.rvs_to_values[variable].name] = given.eval()
        logp = float(pymc_model.compile_logp(jacobian=False)(values))
    if marginal:
        density = MarginalDensity(model.statistics, model.priors)
        stated += float(density.conditional([lam[None] for lam in lambdas], sigma[None] ** 2)
                        .log_likelihood[0])  # fmt: skip
    else:
        mean = design.X @ point["beta"]
        for term, lam in zip(design.terms, lambdas, strict=True):
            z = point[f"z_{term.group}"]
            mean = mean + term.apply(z @ (sigma * lam).T)
            stated += (-0.5 * z**2 - 0.5 * np.log(2 * np.pi)).sum()
        rest = (design.y - mean) / sigma
        stated += (-0.5 * rest**2 - 0.5 * np.log(2 * np.pi) - np.log(sigma)).sum()
    assert logp == pytest.approx(float(stated), rel=1e-9)


def test_fits_and_posteriors_of_a_family_side_by_side(posterior):
    data = simulated(groups=15)
    fit = bv.Model("y ~ x + ar1(0 + day | g)", data).reml()
    assert "Covariance of g: ar1; sd all" in fit.summary()
    assert "covariance ar1" in fit.design.describe()
    shown = str(bv.compare(posterior, fit))
    assert "corr g: rho" in shown
    us = bv.Model("y ~ x + (0 + day | g)", data.assign(day=data["day"].astype("category"))).reml()
    assert "var g" in str(bv.compare(fit, us))
    predictive = bv.Model("y ~ x + ar1(0 + day | g)", data).prior_predictive(50, seed=1)
    assert {"sd g: all", "corr g: rho"} <= set(predictive.data_vars)


@pytest.mark.parametrize("text", ["ar1(0 + day | g)", "(1 | h) + toep(0 + item | g)"])
def test_files_keep_families(text, tmp_path):
    fit = bv.Model(f"y ~ x + {text}", simulated()).reml()
    fit.save(tmp_path / "fit.nc")
    again = bv.load(tmp_path / "fit.nc")
    assert again.components == fit.components
    assert [t.structure for t in again.design.terms] == [t.structure for t in fit.design.terms]


def test_batches_have_families(tmp_path):
    data = simulated().assign(g=lambda d: d["g"].astype(str))
    data.to_parquet(tmp_path / "rows.parquet")
    batched = bv.Model("y ~ x + cs(0 + f | g)", tmp_path / "rows.parquet").reml()
    whole = bv.Model("y ~ x + cs(0 + f | g)", data).reml()
    assert batched.criterion == pytest.approx(whole.criterion, abs=1e-8)


def test_families_over_related_levels():
    data = simulated(groups=10).assign(g=lambda d: d["g"].astype(str))
    A = np.random.default_rng(0).normal(size=(10, 30))
    names = [str(i) for i in range(10)]
    K = pd.DataFrame(A @ A.T / 30, names, names)
    fit = bv.Model("y ~ x + ar1(0 + day | g)", data, relationship={"g": K}).reml()
    (term,) = fit.design.terms
    place = [names.index(str(level)) for level in term.levels]
    related = K.to_numpy()[np.ix_(place, place)][np.ix_(term.codes, term.codes)]
    V = related * (term.values @ fit.components.block_for(term) @ term.values.T)
    L = np.linalg.cholesky(V + fit.sigma2 * np.eye(fit.design.n))
    X, y = np.linalg.solve(L, fit.design.X), np.linalg.solve(L, fit.design.y)
    rest = y - X @ np.linalg.lstsq(X, y)[0]
    df = fit.design.n - fit.design.p
    value = 2 * np.log(np.diag(L)).sum() + rest @ rest + df * np.log(2 * np.pi)
    assert fit.criterion == pytest.approx(value + np.linalg.slogdet(X.T @ X)[1], abs=1e-8)
