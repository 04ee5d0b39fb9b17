"""What takes a fit or a design knows residuals with parameters, or refuses them by name."""

from __future__ import annotations

import pickle
import re
import warnings
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

import bayesv as bv
from bayesv.comparison.alignment import difference
from bayesv.covariance import ComponentDraws
from bayesv.covariance.functionals import function_of_covariates, functionals
from bayesv.covariance.reliability import reliability
from bayesv.covariance.sandwich import robust
from bayesv.design.simulation import StandardScores, simulate
from bayesv.errors import without
from bayesv.gram import statistics_of
from bayesv.plots.effects import conditional_sd

FEV = Path(__file__).parent / "references" / "structures" / "fev.csv"
MEAN = "FEV1 ~ RACE + ARMCD * AVISIT"
NAMES = ["us", "us_by_group", "ar1", "toeph", "ar1_slopes", "strata", "car1", "spatial"]
WITH_TERMS = ["ar1_slopes", "strata"]


def frames():
    fev = pd.read_csv(FEV)  # missing responses, visits that patients lack
    fev["AVISIT"] = fev["AVISIT"].astype("category")
    fev = fev.sample(frac=1, random_state=3)
    sleep, rng = bv.load_dataset("sleepstudy"), np.random.default_rng(5)
    sleep["w"] = rng.uniform(0.5, 2.0, len(sleep))
    sleep["sex"] = np.where(sleep["Subject"].astype(str).astype(int) % 2, "F", "M")
    sleep["Subject"] = sleep["Subject"].astype("category").cat.add_categories("none")
    sleep["east"], sleep["north"] = rng.normal(size=(2, len(sleep)))
    return fev, sleep.sample(frac=1, random_state=4)


def statement(name):
    fev, sleep = frames()
    mean = "Reaction ~ Days"
    return {
        "us": (MEAN, fev, {"residual": "us(AVISIT | USUBJID)", "var_weights": "WEIGHT"}),
        "us_by_group": (MEAN, fev, {"residual": "us(AVISIT | ARMCD / USUBJID)"}),
        "ar1": (MEAN, fev, {"residual": "ar1(AVISIT | USUBJID)", "var_weights": "WEIGHT"}),
        "toeph": (MEAN, fev, {"residual": "toeph(AVISIT | USUBJID)"}),
        "ar1_slopes": (
            f"{mean} + (Days || Subject)", sleep,
            {"residual": "ar1(Days | Subject)", "var_weights": "w"},
        ),
        "strata": (
            f"{mean} + (Days | Subject)", sleep,
            {"residual_sd": "strata(sex)", "var_weights": "w"},
        ),
        "car1": (mean, sleep, {"residual": "car1(Days | Subject)"}),
        "spatial": (mean, sleep, {"residual": "sp_exp(east + north | Subject, nugget=True)"}),
    }[name]  # fmt: skip


@pytest.fixture(scope="module")
def fits():
    made = {}
    for name in NAMES:
        formula, frame, options = statement(name)
        with without(bv.FitWarning):
            made[name] = bv.Model(formula, frame, **options).reml()
    return made


@pytest.fixture
def fit(fits, request):
    return fits[request.param]


every = pytest.mark.parametrize("fit", NAMES, indirect=True)
with_terms = pytest.mark.parametrize("fit", WITH_TERMS, indirect=True)


def series_of_rows(fit, frame):
    column = "USUBJID" if "USUBJID" in frame else "Subject"
    return frame[column].astype(str).to_numpy()


def correlations(name, values, frame):
    """Correlations of all rows by the formulas of the families, whoever the rows belong to."""
    corr = values.corr
    if name.startswith("us") or name in ("ar1", "toeph"):
        visits = [str(v) for v in frame["AVISIT"].cat.categories]
        place = frame["AVISIT"].cat.codes.to_numpy()
        lag = np.abs(place[:, None] - place)
        if name == "ar1":
            return corr["rho"] ** lag
        if name == "toeph":
            return np.array([1.0, *corr.values()])[lag]
        tables = {}
        for arm in ("PBO", "TRT"):
            head = f"{arm}: " if name == "us_by_group" else ""
            pairs = {
                (i, k): corr[f"{head}{visits[i]}, {visits[k]}"]
                for i in range(4)
                for k in range(i + 1, 4)
            }
            tables[arm] = np.eye(4)
            for (i, k), value in pairs.items():
                tables[arm][i, k] = tables[arm][k, i] = value
        return np.array([tables[a][i] for a, i in zip(frame["ARMCD"], place, strict=True)])[
            :, place
        ]
    if name in ("ar1_slopes", "car1"):
        days = frame["Days"].to_numpy()
        return float(next(iter(corr.values()))) ** np.abs(days[:, None] - days)
    if name == "spatial":
        places = frame[["east", "north"]].to_numpy()
        lag = np.sqrt(((places[:, None] - places) ** 2).sum(axis=-1))
        decay = np.exp(-lag / corr["range"]) * (1 - corr["nugget"])
        return np.where(np.eye(len(frame)) > 0, 1.0, decay)
    return np.eye(len(frame))


def dense(name, fit, vc=None):
    """V of a fit's rows from its labelled components and the data frame, without the design."""
    _, frame, options = statement(name)
    vc = fit.components if vc is None else vc
    frame = frame.loc[fit.design.row_labels]
    values, n = vc.residual, len(frame)
    sds = np.full(n, vc.sigma)
    if name == "strata":
        sds = frame["sex"].map(dict(values.sd)).to_numpy()
    elif values.sd:
        visit = frame["AVISIT"].astype(str)
        label = frame["ARMCD"] + ": " + visit if name == "us_by_group" else visit
        sds = label.map(dict(values.sd)).to_numpy()
    if "var_weights" in options:
        sds = sds / np.sqrt(frame[options["var_weights"]].to_numpy())
    series = series_of_rows(fit, frame)
    together = series[:, None] == series
    R = np.outer(sds, sds) * correlations(name, values, frame) * together
    if not fit.design.terms:
        return R, R
    Z = np.column_stack([np.ones(n), frame["Days"]])
    return R + (Z @ vc["Subject"].to_numpy() @ Z.T) * together, R


def other_components(vc):
    """The same components, moved: SDs by a tenth, the correlations by a tenth towards 0."""
    residual = {
        "sd": {label: value * (1.1 + 0.05 * k) for k, (label, value) in enumerate(
            vc.residual.sd.items())},
        "corr": {label: 0.9 * value for label, value in vc.residual.corr.items()},
    }  # fmt: skip
    sds = np.array(list(residual["sd"].values()))
    sigma2 = float(np.mean(sds**2)) if len(sds) else 1.3 * vc.sigma2
    return bv.VarianceComponents({g: 1.2 * vc[g] for g in vc}, sigma2, residual)


# --- V, GLS and what follows from them ------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_V_and_its_parts_are_the_dense_ones(fits, name):
    fit = fits[name]
    V, R = dense(name, fit)
    operator = bv.MarginalCovariance(fit.design, fit.components)
    np.testing.assert_allclose(operator.to_dense(), V, rtol=1e-10, atol=1e-8)
    residual = bv.residual_R(fit.design, fit.components).toarray()
    np.testing.assert_allclose(residual, R, rtol=1e-10, atol=1e-8)
    assert operator.logdet() == pytest.approx(np.linalg.slogdet(V)[1], rel=1e-11)
    assert operator.trace() == pytest.approx(np.trace(V), rel=1e-12)
    x = np.random.default_rng(0).normal(size=(len(V), 2))
    np.testing.assert_allclose(operator.solve(x), np.linalg.solve(V, x), rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(operator.quadratic(x), x.T @ np.linalg.solve(V, x), rtol=1e-9)
    group = "USUBJID" if "FEV1" in fit.design.formula else "Subject"
    level = "PT2" if group == "USUBJID" else "308"
    rows = operator.rows_of(group, level)
    np.testing.assert_allclose(operator.block(group, level), V[np.ix_(rows, rows)], rtol=1e-9)
    frame = statement(name)[1].loc[fit.design.row_labels]
    assert set(series_of_rows(fit, frame)[rows]) == {level}
    again = pickle.loads(pickle.dumps(operator))
    np.testing.assert_array_equal(again.to_dense(), operator.to_dense())


@pytest.mark.parametrize("name", NAMES)
def test_gls_blups_fits_and_residuals_are_those_of_dense_algebra(fits, name):
    fit = fits[name]
    V, R = dense(name, fit)
    X, y = fit.design.X, fit.design.target
    S = X.T @ np.linalg.solve(V, X)
    beta = np.linalg.solve(S, X.T @ np.linalg.solve(V, y))
    np.testing.assert_allclose(fit.beta, beta, rtol=1e-7)
    np.testing.assert_allclose(fit.cov_beta, np.linalg.inv(S), rtol=1e-7, atol=1e-9)
    e = y - X @ beta
    left = R @ np.linalg.solve(V, e)
    np.testing.assert_allclose(fit.gls.residuals, left, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(fit.gls.fitted, y - left, rtol=1e-7)
    n, p = X.shape
    value = np.linalg.slogdet(V)[1] + np.linalg.slogdet(S)[1] + e @ np.linalg.solve(V, e)
    value += (n - p) * np.log(2 * np.pi)
    assert fit.criterion == pytest.approx(value, abs=1e-6)
    assert fit.criterion_at(fit.components) == pytest.approx(value, abs=1e-6)
    moved = other_components(fit.components)
    assert fit.criterion_at(moved) > fit.criterion + 0.01
    if fit.design.terms:
        G = bv.expand_G(fit.design, fit.components).toarray()
        Z = fit.design.Z.toarray()
        np.testing.assert_allclose(fit.blup, G @ Z.T @ np.linalg.solve(V, e), rtol=1e-6, atol=1e-6)
        given = np.linalg.inv(np.linalg.inv(G) + Z.T @ np.linalg.solve(R, Z))
        np.testing.assert_allclose(conditional_sd(fit), np.sqrt(np.diagonal(given)), rtol=1e-8)


@pytest.mark.parametrize("name", NAMES)
def test_distances_of_V_are_those_of_dense_matrices(fits, name):
    fit = fits[name]
    moved = other_components(fit.components)
    rows = bv.v_distances(fit.design, fit.components, moved)
    whole = bv.distances(dense(name, fit)[0], dense(name, fit, moved)[0])
    assert set(rows) == set(whole)
    for kind, value in whole.items():
        assert rows[kind] == pytest.approx(value, rel=1e-6), kind
    same = bv.v_distances(fit.design, fit.components, fit.components)
    assert max(same.values()) < 1e-4


@pytest.mark.parametrize("name", NAMES)
def test_cluster_robust_covariances_are_those_of_dense_algebra(fits, name):
    fit = fits[name]
    V, _ = dense(name, fit)
    X, y = fit.design.X, fit.design.target
    W = np.linalg.inv(V)
    bread = np.linalg.inv(X.T @ W @ X)
    e = y - X @ (bread @ X.T @ W @ y)
    frame = statement(name)[1].loc[fit.design.row_labels]
    series = series_of_rows(fit, frame)
    meat = 0.0
    for one in np.unique(series):
        rows = series == one
        score = X[rows].T @ np.linalg.solve(V[np.ix_(rows, rows)], e[rows])
        meat = meat + np.outer(score, score)
    result = bv.cluster_robust(fit.design, fit.components, kind="CR0")
    np.testing.assert_allclose(result, bread @ meat @ bread, rtol=1e-6, atol=1e-8)
    # CR2 is unbiased if V is the truth: its mean over responses of covariance V is the bread.
    adjusted = robust(fit.design, fit.components, "CR2")
    assert (adjusted.df > 2).all()
    assert (np.diagonal(adjusted.cov) > 0.9 * np.diagonal(result)).all()


# --- refits ---------------------------------------------------------------------------------------


@every
def test_responses_are_simulated_with_the_residuals_of_the_fit(fit):
    point = ComponentDraws.of(fit.design, fit.components, fit.beta.to_numpy())
    rows, n = point.design, fit.design.n
    columns = []
    for i in range(n):
        scores = StandardScores(
            [np.zeros((t.n_levels, t.n_columns)) for t in rows.terms], np.eye(n)[i]
        )
        columns.append(simulate(rows, point, scores)[0] - fit.design.X @ fit.beta.to_numpy())
    L = np.array(columns).T
    R = bv.residual_R(fit.design, fit.components).toarray()
    np.testing.assert_allclose(L @ L.T, R, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("fit", ["us", "ar1_slopes", "strata"], indirect=True)
def test_the_bootstrap_refits_the_structure(fit):
    refits = bv.bootstrap(fit, draws=3, seed=1)
    labels = {f"sd Residual: {label}" for label in fit.components.residual.sd}
    labels |= {f"corr Residual: {label}" for label in fit.components.residual.corr}
    assert labels <= set(refits.draws.columns)
    assert not refits.failed
    for label in labels:
        assert refits.draws[label].nunique() == 3
    for label, value in fit.components.residual.corr.items():
        assert refits.estimate[f"corr Residual: {label}"] == pytest.approx(value, rel=1e-12)


@pytest.mark.parametrize("name", ["us", "ar1_slopes", "strata"])
def test_another_response_is_fitted_as_by_a_fresh_model(fits, name):
    formula, frame, options = statement(name)
    fit = fits[name]
    with without(bv.FitWarning):
        model = bv.Model(formula, frame, **options).with_response(3.0 * fit.design.y)
        refit = model.reml()
    n, p = fit.design.X.shape
    assert refit.criterion == pytest.approx(fit.criterion + 2 * (n - p) * np.log(3), abs=1e-4)
    assert refit.components.sigma == pytest.approx(3 * fit.components.sigma, rel=2e-3)
    for label, sd in fit.components.residual.sd.items():
        assert refit.components.residual.sd[label] == pytest.approx(3 * sd, rel=2e-3)
    for label, value in fit.components.residual.corr.items():
        assert refit.components.residual.corr[label] == pytest.approx(value, abs=2e-3)
    np.testing.assert_allclose(refit.beta, 3 * fit.beta, rtol=1e-3)


@pytest.mark.parametrize("name", ["toeph", "ar1_slopes", "car1"])
def test_order_of_rows_and_names_of_series_do_not_matter(fits, name):
    formula, frame, options = statement(name)
    column = "USUBJID" if "USUBJID" in frame else "Subject"
    changed = frame.sample(frac=1, random_state=11)
    changed[column] = "s" + changed[column].astype(str).str[::-1]
    with without(bv.FitWarning):
        refit = bv.Model(formula, changed, **options).reml()
    assert refit.criterion == pytest.approx(fits[name].criterion, abs=1e-5)
    for label, value in fits[name].components.residual.corr.items():
        assert refit.components.residual.corr[label] == pytest.approx(value, abs=1e-3)


def test_the_unit_of_time_is_in_the_correlation_of_car1_alone(fits):
    formula, frame, options = statement("car1")
    frame["Days"] = frame["Days"] * 24.0
    refit = bv.Model(formula, frame, **options).reml()
    fit = fits["car1"]
    (rho,), (new,) = fit.components.residual.corr.values(), refit.components.residual.corr.values()
    assert new**24 == pytest.approx(rho, rel=1e-3)
    assert refit.components.sigma2 == pytest.approx(fit.components.sigma2, rel=1e-3)
    # log|X'V⁻¹X| of REML knows the unit of X.
    assert refit.criterion - 2 * np.log(24) == pytest.approx(fit.criterion, abs=1e-4)


def test_the_unit_of_space_is_in_the_range_alone():
    frame = sleep()
    fits = [
        bv.Model("Reaction ~ 1", frame.assign(Days=unit * frame["Days"]),
                 residual=f"{kind}(Days | Subject)").reml()
        for kind in ("sp_exp", "sp_pow") for unit in (1.0, 24.0)
    ]  # fmt: skip
    a, b, c, d = ((fit.criterion, *fit.components.residual.corr.values()) for fit in fits)
    assert a[0] == pytest.approx(b[0], abs=1e-5)
    assert 24 * a[1] == pytest.approx(b[1], rel=1e-3)
    assert c == pytest.approx((a[0], np.exp(-1 / a[1])), rel=1e-3)
    assert d[1] ** 24 == pytest.approx(c[1], rel=1e-3)


@pytest.mark.parametrize("kind", ["car1", "sp_exp", "sp_pow", "sp_mat"])
def test_no_unit_of_times_is_taken_for_the_end_of_the_range(kind):
    frame = sleep()
    fits = [
        bv.Model("Reaction ~ 1", frame.assign(Days=unit * frame["Days"]),
                 residual=f"{kind}(Days | Subject)").reml()
        for unit in (1.0, 0.05, 86_400.0, 86_400e3)  # days, twenties of days, seconds, ms
    ]  # fmt: skip
    for fit in fits:
        assert not fit.singular
        assert not fit.problems
        assert fit.criterion == pytest.approx(fits[0].criterion, abs=1e-5)


@pytest.mark.parametrize("unit", [0.05, 1.0, 86_400e3])
@pytest.mark.parametrize("kind", ["car1", "sp_exp"])
def test_no_correlation_at_all_is_the_end_of_the_range_in_every_unit(kind, unit):
    rng = np.random.default_rng(11)
    frame = pd.DataFrame({"t": np.tile(np.arange(6) * unit, 30), "g": np.repeat(np.arange(30), 6)})
    wave = np.tile([1.0, -1.0], 90)  # neighbours differ: the best correlation is none
    frame["y"] = 5.0 + wave + 0.3 * rng.normal(size=180)
    with pytest.warns(bv.FitWarning, match="at the end of its range"):
        fit = bv.Model("y ~ 1", frame, residual=f"{kind}(t | g)").reml()
    assert fit.singular
    assert fit.components.sigma2 == pytest.approx(frame["y"].var(), rel=1e-3)


def test_the_unit_of_a_covariate_of_the_SD_is_in_sigma_alone():
    frame = sleep().assign(x=lambda f: 1.0 + f["Days"])
    fits = [
        bv.Model("Reaction ~ 1", frame.assign(x=unit * frame["x"]), residual_sd=text).reml()
        for text in ("power(x)", "exp(x)")
        for unit in (1.0, 10.0)
    ]
    a, b, c, d = ((fit.criterion, *fit.components.residual.corr.values()) for fit in fits)
    assert a == pytest.approx(b, rel=1e-4)
    assert fits[0].sigma2 == pytest.approx(fits[1].sigma2 * 10 ** (2 * b[1]), rel=1e-3)
    assert c[0] == pytest.approx(d[0], abs=1e-5)
    assert c[1] == pytest.approx(10 * d[1], rel=1e-3)


@every
def test_a_design_at_the_estimates_is_one_with_known_residuals(fit):
    known, vc = fit.components.known_at(fit.design)
    assert known.parametric_residual is None
    refit = bv.Model.from_design(known).reml()
    assert refit.criterion == pytest.approx(fit.criterion, abs=1e-5)
    assert refit.sigma2 == pytest.approx(vc.sigma2, rel=1e-3)


# --- objects --------------------------------------------------------------------------------------


@every
def test_fits_models_and_components_can_be_pickled_and_compared(fit):
    copy = pickle.loads(pickle.dumps(fit))
    assert copy.components == fit.components
    assert repr(copy) == repr(fit)
    assert copy.gls.V.logdet() == fit.gls.V.logdet()
    assert fit.components != other_components(fit.components)
    if fit.components.residual.corr:
        vc = fit.components
        residual = {"sd": vc.residual.sd, "corr": dict.fromkeys(vc.residual.corr, 0.0)}
        assert bv.VarianceComponents({g: vc[g] for g in vc}, vc.sigma2, residual) != vc


@every
def test_tables_name_every_parameter(fit):
    frame = fit.components.to_frame()
    values = fit.components.residual
    rows = frame[frame["group"] == "Residual"].set_index("var1")["sd_or_corr"]
    for label, value in {**values.sd, **values.corr}.items():
        assert rows[label] == value
    assert max(map(len, repr(fit.components).splitlines())) <= 80
    assert f"Residuals: {fit.design.residual.describe()}" in fit.summary()
    assert dict(fit.components.sd("Residual")) == (
        dict(values.sd) or {"sigma": fit.components.sigma}
    )
    with pytest.raises(bv.ComponentsError, match="The residuals have no Σ"):
        fit.components["Residual"]


def test_correlations_of_many_visits_are_a_triangle():
    labels = [f"week {k}" for k in range(10)]
    corr = {
        f"{a}, {b}": round(0.9 ** (k - i) - 0.01 * i, 3)
        for i, a in enumerate(labels) for k, b in enumerate(labels) if i < k
    }  # fmt: skip
    vc = bv.VarianceComponents({}, 1.0, {"sd": dict.fromkeys(labels, 1.0), "corr": corr})
    text = repr(vc)
    assert max(map(len, text.splitlines())) <= 80
    assert len(text.splitlines()) < 35
    assert len(re.findall(r"-?\d\.\d{3}\b", text.split("Correlations of residuals")[1])) == 45
    table = vc.corr("Residual")
    assert table.loc["week 2", "week 7"] == table.loc["week 7", "week 2"] == corr["week 2, week 7"]
    assert (np.diagonal(table) == 1).all()


def test_correlations_by_group_are_tables_of_each_group(fits):
    vc = fits["us_by_group"].components
    table = vc.corr("Residual")
    assert table.loc["TRT: VIS1", "TRT: VIS3"] == vc.residual.corr["TRT: VIS1, VIS3"]
    assert table.loc["PBO: VIS1", "PBO: VIS3"] == vc.residual.corr["PBO: VIS1, VIS3"]
    assert np.isnan(table.loc["PBO: VIS1", "TRT: VIS1"])
    with pytest.raises(bv.ComponentsError, match="do not state a correlation of each two"):
        fits["ar1"].components.corr("Residual")


@pytest.mark.parametrize("name", ["us", "strata", "ar1_slopes"])
def test_a_report_states_the_residuals_and_how_to_make_the_fit_again(fits, name):
    fit = fits[name]
    _, _, options = statement(name)
    html = bv.report(fit, data="data.csv", pictures=False, weights="w").html
    text = html.replace("&quot;", '"').replace("&#34;", '"')
    assert "ε ~ N(0, R)" in text
    assert "σ²I" not in text
    assert "What is left in a row is independent" not in text
    (key,) = set(options) - {"var_weights"}
    assert f'{key}="{options[key]}"' in text
    for label in (*fit.components.residual.sd, *fit.components.residual.corr):
        assert label in text
    for value in fit.components.residual.corr.values():
        assert f"{value:.3f}".replace("-", "−") in text


def test_fits_with_one_structure_are_compared_and_others_are_not(fits):
    formula, frame, options = statement("ar1_slopes")
    fit = fits["ar1_slopes"]
    shifted = frame.assign(Days=frame["Days"] - 4)
    with without(bv.FitWarning):
        ml = bv.Model(formula, frame, **options).reml("ML")
        other = bv.Model("Reaction ~ I(Days / 2) + (Days || Subject)", frame, **options).reml()
        shift = bv.Model(formula, shifted, **options)
    table = bv.compare(fit, ml, other).points
    rho = fit.components.residual.corr["rho"]
    assert table.loc["corr Residual: rho", "REML"] == pytest.approx(rho, rel=1e-12)
    assert table.loc["corr Residual: rho", "ML"] == ml.components.residual.corr["rho"]
    assert table.loc["beta Days"].iloc[2] == pytest.approx(table.loc["beta Days"].iloc[0], rel=1e-3)
    marginal = bv.compare(fit, ml).marginal
    assert marginal["log_det"].iloc[1] == pytest.approx(ml.gls.V.logdet())
    assert difference(fit.design, shift.design) is None
    independent = bv.Model(formula, frame).reml()
    weighted = bv.Model(formula, frame, residual=options["residual"])
    for design in (independent.design, weighted.design, fits["strata"].design):
        assert "residual covariances" in difference(fit.design, design)
    with pytest.raises(bv.BayesvError, match=r"residual covariances \(ar1"):
        bv.compare(fit, independent)


def test_components_do_not_pass_for_those_of_independent_residuals(fits):
    fit = fits["ar1_slopes"]
    formula, frame, _ = statement("ar1_slopes")
    design = bv.Model(formula, frame).design
    for function in (bv.gls, bv.MarginalCovariance, bv.residual_R, ComponentDraws.of,
                     bv.kenward_roger, bv.cluster_robust):  # fmt: skip
        with pytest.raises(bv.ComponentsError, match="parameters of the residuals, rho"):
            function(design, fit.components)
    plain = bv.VarianceComponents({g: fit.components[g] for g in fit.components}, fit.sigma2)
    for function in (bv.gls, bv.MarginalCovariance, bv.residual_R, ComponentDraws.of):
        with pytest.raises(bv.ComponentsError, match="needed are rho; found none"):
            function(fit.design, plain)


# --- functionals at correlated residuals ----------------------------------------------------------


@with_terms
def test_functionals_of_V_are_those_of_dense_matrices(fit, request):
    name = request.node.callspec.params["fit"]
    V, R = dense(name, fit)
    point = ComponentDraws.of(fit.design, fit.components, fit.beta.to_numpy())
    values = functionals(point.flat, statistics_of(point.design))
    n, codes = len(V), fit.design.term("Subject").codes
    same = (codes[:, None] == codes) & ~np.eye(n, dtype=bool)
    L = np.equal.outer(codes, np.unique(codes)) / np.bincount(codes)
    of_means, of_noise = np.diagonal(L.T @ V @ L), np.diagonal(L.T @ R @ L)
    dense_values = {
        "log|V|": np.linalg.slogdet(V)[1],
        "tr V": np.trace(V),
        "VPC Residual": np.trace(R) / np.trace(V),
        "ICC Subject": 1 - np.trace(R) / np.trace(V),
        "correlation within Subject": V[same].mean() / np.diagonal(V).mean(),
        "reliability of mean Subject": (1 - of_noise / of_means).mean(),
        "design effect": V.sum() / np.trace(V),
        "effective n": n * np.trace(V) / V.sum(),
    }
    for what, value in dense_values.items():
        assert float(values[what][0]) == pytest.approx(value, rel=1e-8), what


@with_terms
def test_reliabilities_are_those_of_dense_matrices(fit, request):
    V, _ = dense(request.node.callspec.params["fit"], fit)
    design = fit.design
    point = ComponentDraws.with_parameters(design, fit.components)
    draws = point.reshape(1).followed_by(point.reshape(1))
    G, Z, X = bv.expand_G(design, fit.components).toarray(), design.Z.toarray(), design.X
    Vi = np.linalg.inv(V)
    P = Vi - Vi @ X @ np.linalg.inv(X.T @ Vi @ X) @ X.T @ Vi
    share = np.diagonal(G @ Z.T @ P @ Z @ G) / np.diagonal(G)
    np.testing.assert_allclose(reliability(draws), [[share[::2].mean(), share[1::2].mean()]] * 2)


def test_reliabilities_are_of_random_effects(fits):
    fit = fits["ar1"]
    point = ComponentDraws.with_parameters(fit.design, fit.components)
    with pytest.raises(bv.DataError, match="no random effects, of which reliabilities are"):
        reliability(point.reshape(1))


@every
def test_components_by_sds_have_the_parameters_of_residuals(fit):
    vc = fit.components
    again = bv.VarianceComponents.from_sd_corr(
        {group: vc.sd(group) for group in vc},
        {group: vc.corr(group).to_numpy() for group in vc},
        sigma=vc.sigma,
        residual={"sd": vc.residual.sd, "corr": vc.residual.corr},
    )
    assert again.residual == vc.residual
    np.testing.assert_allclose(bv.gls(fit.design, again).beta, fit.beta, rtol=1e-9)


def test_two_rows_of_no_series_have_no_correlation_by_covariates(fits):
    fit = fits["ar1_slopes"]
    point = ComponentDraws.of(fit.design, fit.components)
    with pytest.raises(bv.BayesvError, match="correlated within series"):
        function_of_covariates(point.flat, pd.DataFrame({"Days": [0.0, 1.0]}))


# --- what is not there ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("what", "match"),
    [
        (lambda model, fit, path: model.statistics, "no Gram statistics of the design"),
        (lambda model, fit, path: fit.statistics, "has no Gram statistics"),
        (lambda model, fit, path: fit.design.residual.diagonal, "at given components only"),
        (lambda model, fit, path: fit.design.residual.weights, "at given components only"),
    ],
)
def test_what_does_not_know_them_yet_says_so(fits, tmp_path, name, what, match):
    formula, frame, options = statement(name)
    model = bv.Model(formula, frame, **options)
    with pytest.raises(bv.BayesvError, match=match) as error:
        what(model, fits[name], tmp_path)
    assert not isinstance(error.value, AttributeError)


@pytest.mark.filterwarnings("ignore:.* not positive definite:bayesv.FitWarning")  # of "spatial"
@pytest.mark.parametrize("name", NAMES)
def test_kenward_roger_is_adjusted_with_the_structure(fits, name):
    fit = fits[name]
    result = bv.kenward_roger(fit)
    np.testing.assert_allclose(result.cov_plugin, fit.cov_beta, rtol=1e-6, atol=1e-8)
    assert len(result.parameters) >= len(fit.components.residual.corr) + 1


@every
def test_pictures_show_V_and_R_of_the_structure(fit):
    group = "USUBJID" if "FEV1" in fit.design.formula else "Subject"
    level = "PT2" if group == "USUBJID" else "308"
    V = fit.gls.V
    ax = bv.plots.block(V, group, level)
    np.testing.assert_allclose(ax.images[0].get_array(), V.block(group, level), rtol=1e-9)
    plt.close(ax.figure)
    for draw in (bv.plots.image_R, bv.plots.image_V):
        plt.close(draw(fit.design, fit.components).figure)
    if not fit.design.terms:
        for draw in (bv.plots.image_G, bv.plots.matrices):
            with pytest.raises(bv.DataError, match="no random term"):
                draw(fit.design, fit.components)


# --- bad input ------------------------------------------------------------------------------------


def sleep():
    return frames()[1]


@pytest.mark.parametrize(
    ("formula", "residual", "match"),
    [
        ("Reaction ~ Days + (1 | Subject)", "cs(Days | Subject)", "V stays the same"),
        ("Reaction ~ Days + (1 | Subject)", "toep(Days | Subject)", "functions of the visit"),
        ("Reaction ~ Days + (Days | Subject)", "us(Days | Subject)", "functions of the visit"),
        ("Reaction ~ Days + (0 + Days | Subject)", "toeph(Days | Subject)", "tell the two apart"),
        ("Reaction ~ Days + (1 | Subject)", "adh(Days | Subject)", "functions of the visit"),
    ],
)
def test_residuals_that_a_random_term_repeats_are_refused(formula, residual, match):
    model = bv.Model(formula, sleep(), residual=residual)
    with pytest.raises(bv.DataError, match=match) as error:
        model.reml()
    assert residual in str(error.value)
    assert "Leave one of them out" in str(error.value)


@pytest.mark.parametrize(
    ("formula", "residual"),
    [
        ("Reaction ~ Days + (1 | Subject)", "ar1(Days | Subject)"),
        ("Reaction ~ Days + (Days || Subject)", "ar1(Days | Subject)"),
        ("Reaction ~ Days + (0 + east | Subject)", "cs(Days | Subject)"),  # no function of the day
        ("Reaction ~ Days + (1 | sex)", "cs(Days | Subject)"),  # a level has several series
    ],
)
def test_residuals_that_the_data_tell_apart_are_fitted(formula, residual):
    with without(bv.FitWarning):
        fit = bv.Model(formula, sleep(), residual=residual).reml()
    assert np.isfinite(fit.criterion)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"residual": "ar2(Days | Subject)"}, "no kind of residual correlation 'ar2'"),
        ({"residual": "ar1(Day | Subject)"}, "no column 'Day'.*Days"),
        ({"residual": "car1(sex | Subject)"}, "car1 needs numbers as positions, and 'sex' is text"),
        ({"residual": "ar1(Days | sex)"}, "series 'F' are both at Days = '0'"),
        ({"residual": "ar1(w | Subject)"}, "Times between whole numbers are for car1"),
        ({"residual": "sp_exp(Days | sex)"}, "are both at Days = 0"),
        ({"residual_sd": "power(Days)"}, "stays on one side of 0"),
        ({"residual_sd": "power(east)"}, "stays on one side of 0"),
        ({"residual_sd": "stratum(sex)"}, "strata"),
        ({"residual_sd": "power(fitted(.))"}, "makes V a function of β"),
        ({"residual_sd": "strata(sex) * exp()"}, "makes V a function of β"),
        ({"residual": "us(Days | sex / Subject)", "residual_sd": "strata(sex)"}, "both stated"),
        ({"residual": 3}, "residual is a text"),
    ],
)
def test_bad_statements_are_refused_by_name(options, match):
    with pytest.raises(bv.BayesvError, match=match):
        bv.Model("Reaction ~ Days + (1 | Subject)", sleep(), **options)


def test_a_pair_of_visits_that_never_meet_is_named():
    frame = frames()[0].dropna(subset="FEV1")
    apart = frame.groupby("USUBJID")["AVISIT"].transform(lambda v: {"VIS1", "VIS4"} <= set(v))
    frame = frame[~(apart & (frame["AVISIT"] == "VIS4"))]
    model = bv.Model(MEAN, frame, residual="us(AVISIT | USUBJID)")
    with pytest.raises(bv.DataError, match="no series has both visits VIS1 and VIS4") as error:
        model.reml()
    assert "toeph" in str(error.value)
    with without(bv.FitWarning):
        assert bv.Model(MEAN, frame, residual="toeph(AVISIT | USUBJID)").reml().converged
    both = frame["ARMCD"].eq("PBO") | frame["AVISIT"].ne("VIS4")
    by_arm = bv.Model(MEAN.replace("*", "+"), frame[both & ~frame["USUBJID"].eq("none")],
                      residual="us(AVISIT | ARMCD / USUBJID)")  # fmt: skip
    with pytest.raises(bv.DataError, match="PBO: VIS1 and PBO: VIS4"):
        by_arm.reml()


def test_series_that_cross_levels_are_refused():
    frame = sleep().assign(half=lambda f: np.where(f["Days"] < 5, "a", "b"))
    model = bv.Model("Reaction ~ Days + (1 | half)", frame, residual="ar1(Days | Subject)")
    with pytest.raises(
        bv.DataError, match="no way yet to fit residuals that are correlated across"
    ):
        model.reml()


def test_blocks_of_series_that_are_not_there_are_refused(fits):
    V = fits["us"].gls.V
    with pytest.raises(bv.DataError, match="no series 'PT0' of 'USUBJID'"):
        V.block("USUBJID", "PT0")
    with pytest.raises(bv.DataError, match="No grouping factor 'site'"):
        V.block("site", "1")
    with pytest.raises(bv.DataError, match="No grouping factor 'site'"):
        bv.cluster_robust(fits["us"].design, fits["us"].components, cluster="site")


def test_nothing_warns_of_arithmetic(fits):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for fit in fits.values():
            repr(fit)
            bv.v_distances(fit.design, fit.components, other_components(fit.components))


# --- known residuals ------------------------------------------------------------------------------


def known_model(kind):
    frame, n = bv.load_dataset("sleepstudy"), 180
    frame["v"] = np.linspace(300.0, 600.0, n)
    block = 400.0 * np.exp(-np.abs(np.subtract.outer(range(10), range(10))))
    R = np.diag(frame["v"]) if kind == "column" else np.kron(np.eye(18), block)
    formula = "Reaction ~ Days" + ("" if kind == "no terms" else " + (Days | Subject)")
    known = bv.Known("v") if kind == "column" else bv.Known(R)
    return bv.Model(formula, frame, residual=known), R


@pytest.mark.parametrize("kind", ["column", "matrix", "no terms"])
def test_known_residuals_are_known_downstream(kind):
    model, R = known_model(kind)
    fit = model.reml()
    Z = fit.design.Z.toarray()
    moved = bv.VarianceComponents({g: 1.4 * fit.components[g] for g in fit.components}, 1.0)
    V, W = (Z @ bv.expand_G(fit.design, vc).toarray() @ Z.T + R for vc in (fit.components, moved))
    np.testing.assert_allclose(fit.gls.V.to_dense(), V, rtol=1e-10, atol=1e-9)
    rows, whole = bv.v_distances(fit.design, fit.components, moved), bv.distances(V, W)
    for what, value in rows.items():
        if not np.isnan(value):
            assert value == pytest.approx(whole[what], rel=1e-6, abs=1e-6), what
    y = fit.design.y + np.random.default_rng(0).normal(size=180)
    again = model.with_response(y).reml()
    fresh = bv.Model.from_design(fit.design.with_response(y)).reml()
    assert again.criterion == pytest.approx(fresh.criterion, abs=1e-7)
    refits = bv.bootstrap(fit, draws=3, seed=1)
    assert not refits.failed
    assert "var Residual" not in refits.draws  # it is known, and no scalar of the fit
    robust_cov = bv.cluster_robust(fit.design, fit.components)
    assert np.isfinite(robust_cov).all(axis=None)
    code = bv.report(fit, data="d.csv", pictures=False).html
    assert "residual=bv.Known(R)" in code
    assert "σ²I" not in code


@pytest.mark.parametrize("kind", ["column", "matrix", "no terms"])
def test_sigma_of_known_residuals_is_nowhere_free(kind):
    model, _ = known_model(kind)
    fit = model.reml()
    other = bv.VarianceComponents({g: fit.components[g] for g in fit.components}, 2.0)
    for refused in (
        lambda: bv.gls(fit.design, other),
        lambda: fit.criterion_at(other),
        lambda: bv.to_bambi(model),
        lambda: bv.compare(fit, bv.Model.from_design(fits_twin(fit)).reml()),
    ):
        with pytest.raises(bv.BayesvError, match=r"known|no random term"):
            refused()


def fits_twin(fit):
    """The same rows with R known up to σ²."""
    formula = fit.design.formula
    if not fit.design.terms:
        formula += " + (1 | Subject)"
    return bv.Model(formula, bv.load_dataset("sleepstudy")).design
