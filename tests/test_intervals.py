"""Intervals, predicted effects, simulated responses and likelihood ratios of REML and ML fits."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize

import bayesv as bv
from bayesv.errors import without
from bayesv.reml.surface import Surface

# R 4: references/intervals/make.R.
NLME_AR1 = {
    "sd Subject: Intercept": (18.49463, 31.71358, 54.38072),
    "corr Residual: rho": (0.4341414, 0.6531333, 0.7992378),
    "sd Residual": (29.19232, 37.63734, 48.52541),
}
NLME_STRATA = {
    "corr Residual: rho": (0.4256336, 0.6161311, 0.7704661),
    "sd Residual: a": (28.27982, 35.86970, 45.49660),
}


@pytest.fixture(scope="module")
def sleep() -> pd.DataFrame:
    return bv.load_dataset("sleepstudy")


@pytest.fixture(scope="module")
def slopes(sleep) -> bv.RemlFit:
    return bv.Model("Reaction ~ Days + (Days | Subject)", sleep).reml()


@pytest.fixture(scope="module")
def ar1(sleep) -> bv.RemlFit:
    formula = "Reaction ~ Days + (1 | Subject)"
    return bv.Model(formula, sleep, residual="ar1(Days | Subject)").reml()


@pytest.mark.parametrize("method", ["REML", "ML"])
@pytest.mark.parametrize(
    ("formula", "residual"),
    [("(Days | Subject)", None), ("(1 | Subject)", "ar1h(Days | Subject)"),
     ("ar1(0 + factor(Days) | Subject)", None)],
)  # fmt: skip
def test_surface_is_the_criterion_and_its_gradient(sleep, method, formula, residual):
    data = sleep[sleep["Days"] < 4]
    with without(bv.FitWarning):
        fit = bv.Model(f"Reaction ~ Days + {formula}", data, residual=residual).reml(method)
    surface = Surface(fit, method)
    value, _ = surface.value_and_gradient(surface.exact(fit))
    assert value == pytest.approx(fit.criterion, abs=1e-5)
    y = surface.best + 0.2 * np.random.default_rng(1).normal(size=surface.size)
    for held in (None, (1, 8.0)) if method == "ML" else (None,):
        slope = surface.value_and_gradient(y, held)[1]
        steps = 1e-5 * np.eye(surface.size)
        differences = [
            (
                surface.value_and_gradient(y + h, held)[0]
                - surface.value_and_gradient(y - h, held)[0]
            )
            / 2e-5
            for h in steps
        ]
        assert np.allclose(slope, differences, rtol=1e-5, atol=1e-4)


def test_wald_intervals_are_nlme(sleep, ar1):
    table = ar1.confint()
    for name, (low, estimate, high) in NLME_AR1.items():
        row = table.loc[name, ["low", "estimate", "high"]]
        assert np.allclose(row, [low, estimate, high], rtol=2e-4)
    data = sleep.assign(g=np.where(sleep["Days"] < 5, "a", "b"))
    model = bv.Model("Reaction ~ Days", data, residual="cs(Days | Subject)",
                     residual_sd="strata(g)")  # fmt: skip
    table = model.reml().confint()
    for name, (low, estimate, high) in NLME_STRATA.items():
        row = table.loc[name, ["low", "estimate", "high"]]
        assert np.allclose(row, [low, estimate, high], rtol=1e-3)


def test_wald_intervals_are_the_curvature_of_the_dense_criterion(slopes):
    def value(t):
        a, b, s = np.exp(t[[0, 1, 3]])
        cov = np.tanh(t[2]) * a * b
        vc = bv.VarianceComponents({"Subject": [[a * a, cov], [cov, b * b]]}, s * s)
        return 0.5 * bv.gls(slopes.design, vc).criterion()

    table = slopes.confint().iloc[:4]
    scale = [np.log, np.log, np.arctanh, np.log]
    point = np.array([f(v) for f, v in zip(scale, table["estimate"], strict=True)])
    h = 1e-3 * np.eye(4)
    hessian = [[value(point + a + b) - value(point + a - b) - value(point - a + b)
                + value(point - a - b) for b in h] for a in h]  # fmt: skip
    half = 1.959964 * np.sqrt(np.diagonal(np.linalg.inv(np.array(hessian) / 4e-6)))
    ends = [f(v) for f, v in zip(scale, table["high"], strict=True)]
    assert np.allclose(ends - point, half, rtol=1e-3)
    kr = slopes.kenward_roger().table()
    assert np.allclose(slopes.confint().loc["beta Days", ["low", "high"]], kr.loc["Days"].iloc[-2:])


def test_profile_intervals_are_lme4_with_fixed_effects(slopes):
    """lme4's confint(…, method = "profile"): by ML also of a REML fit."""
    table = slopes.confint("profile")
    want = {
        "beta Intercept": (237.68067, 265.12952),
        "beta Days": (7.35865, 13.57592),
        "sd Subject: Days": (3.80117, 8.75338),
        "sd Residual": (22.89826, 28.85800),
    }
    for name, ends in want.items():
        assert np.allclose(table.loc[name, ["low", "high"]], ends, rtol=1e-4)
    with pytest.raises(bv.BayesvError, match="restricted likelihood has no fixed effects"):
        bv.profile(slopes, fixed=True)


@pytest.mark.parametrize("seed", [9, 14, 24])
def test_ends_of_fixed_effects_are_at_the_limit_beyond_where_a_variance_was_0(seed):
    """A search that passes an SD of 0 must come back from it: held far off, the groups vanish."""
    rng = np.random.default_rng(seed)
    group, x = np.repeat(np.arange(10), 3), rng.normal(size=30)
    y = 20 * x + 0.7 * rng.normal(size=10)[group] + rng.normal(size=30)
    data = pd.DataFrame({"g": group.astype(str), "x": x, "y": y})
    fit = bv.Model("y ~ x + (1 | g)", data).reml("ML")
    for end in fit.confint("profile").loc["beta x", ["low", "high"]]:
        held = bv.Model("z ~ 1 + (1 | g)", data.assign(z=y - end * x)).reml("ML")
        assert held.criterion - fit.criterion == pytest.approx(3.841459, abs=1e-3)


def test_ends_of_profiles_of_structured_residuals_are_at_the_limit(sleep):
    """The least criterion, under the constraint that a parameter is the end, is the limit."""
    data = sleep[sleep["Days"] < 3]
    with without(bv.FitWarning):
        fit = bv.Model("Reaction ~ Days", data, residual="toeph(Days | Subject)").reml()
    names = ["corr Residual: lag 1", "sd Residual: 2"]
    table = bv.profile(fit, parameters=names)
    assert list(table.index) == names
    rise = 3.841459
    for name, side in [(name, side) for name in names for side in ("low", "high")]:
        surface = Surface(fit, "REML")
        end = table.loc[name, side]

        constraint = {
            "type": "eq",
            "fun": lambda y, s=surface, name=name, end=end: s.scalars(y)[name] / end - 1.0,
        }
        least = minimize(
            surface.value_and_gradient, surface.best, jac=True, method="SLSQP",
            constraints=constraint, bounds=[(v - 3.0, v + 3.0) for v in surface.best],
        ).fun  # fmt: skip
        assert least - fit.criterion == pytest.approx(rise, abs=0.02)


def test_singular_fits_have_no_wald_interval_on_the_boundary():
    fit = bv.Model("Yield ~ 1 + (1 | Batch)", bv.load_dataset("dyestuff2")).reml()
    table = fit.confint()
    assert table.loc["sd Batch: Intercept", "estimate"] == 0.0
    assert table.loc["sd Batch: Intercept", ["low", "high"]].isna().all()
    assert table.loc["sd Residual", "low"] < fit.components.sigma < table.loc["sd Residual", "high"]


def test_bootstrap_intervals_are_of_the_refits(slopes):
    refits = bv.bootstrap(slopes, draws=20, seed=1)
    table = slopes.confint("bootstrap", refits=refits)
    assert table.loc["beta Days", "low"] == refits.draws["beta Days"].quantile(0.025)
    with pytest.raises(bv.BayesvError, match="refits="):
        slopes.confint("bootstrap")


def test_random_effects_are_lme4_and_henderson(sleep):
    fit = bv.Model("Reaction ~ Days + (Days | Subject)", sleep).reml("ML")
    table = fit.random_effects()
    # sqrt of attr(ranef(fm, condVar = TRUE), "postVar")
    assert np.allclose(table["se_given_beta"].iloc[:2], [11.872864, 2.271065], rtol=2e-5)
    design, vc = fit.design, fit.components
    W = np.column_stack([design.X, design.Z.toarray()])
    C = W.T @ W / vc.sigma2
    C[2:, 2:] += np.linalg.inv(bv.expand_G(design, vc).toarray())
    assert np.allclose(table["se"], np.sqrt(np.diagonal(np.linalg.inv(C)))[2:])
    assert fit.random_effects("Subject").equals(table)


def test_simulated_responses_have_the_mean_and_covariance_of_the_fit(ar1):
    drawn = ar1.simulate(4000, seed=1).to_numpy()[:10]
    V = ar1.gls.V.rows(np.arange(10)).to_numpy()
    mean = ar1.design.X[:10] @ ar1.beta.to_numpy()
    assert np.allclose(drawn.mean(axis=1), mean, atol=5 * np.sqrt(V[0, 0] / 4000))
    assert np.allclose(np.cov(drawn), V, atol=5 * V[0, 0] * np.sqrt(2 / 4000))


def test_likelihood_ratios_are_lme4_anova(sleep, slopes):
    intercepts = bv.Model("Reaction ~ Days + (1 | Subject)", sleep).reml()
    table = bv.lrt(intercepts, slopes)
    assert table["statistic"].iloc[1] == pytest.approx(42.8368, abs=1e-3)  # restricted
    assert slopes.aic == pytest.approx(1755.628, abs=1e-3)
    assert slopes.bic == pytest.approx(1774.786, abs=1e-3)
    ml = [bv.Model(fit.design.formula, sleep).reml("ML") for fit in (intercepts, slopes)]
    table = bv.lrt(*ml)
    assert table["statistic"].iloc[1] == pytest.approx(42.139, abs=1e-3)
    assert table["p"].iloc[1] == pytest.approx(7.072e-10, rel=1e-3)
    assert table["aic"].iloc[1] == pytest.approx(1763.939, abs=1e-3)
    assert table["p_boundary"].iloc[1] < table["p"].iloc[1]
    flat = bv.Model("Reaction ~ 1 + (Days | Subject)", sleep).reml()
    assert list(bv.lrt(flat, slopes)["method"]) == ["ML", "ML"]
    with pytest.raises(bv.BayesvError, match="larger model comes second"):
        bv.lrt(slopes, intercepts)
    with pytest.raises(bv.DataError, match="other data"):
        bv.lrt(bv.Model("Yield ~ 1 + (1 | Batch)", bv.load_dataset("dyestuff")).reml(), slopes)
