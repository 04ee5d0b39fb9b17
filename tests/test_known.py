"""Known residual covariances: REML and ML with σ fixed at 1, against dense algebra and metafor."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from scipy.optimize import minimize_scalar

import bayesv as bv


@pytest.fixture(scope="module")
def studies():
    rng = np.random.default_rng(3)
    n = 24
    frame = pd.DataFrame(
        {"study": [f"s{i}" for i in range(n)], "pair": [f"p{i // 2}" for i in range(n)],
         "x": rng.normal(size=n), "v": rng.uniform(0.05, 0.6, n)}
    )  # fmt: skip
    frame["y"] = 0.4 * frame.x + rng.normal(size=n) * np.sqrt(0.3 + frame.v)
    return frame


def _dense(frame, R, tau2, method, group):
    X, y = np.column_stack([np.ones(len(frame)), frame.x]), frame.y.to_numpy()
    V = tau2 * (frame[group].to_numpy()[:, None] == frame[group].to_numpy()) + R
    inverse = np.linalg.inv(V)
    S = X.T @ inverse @ X
    e = y - X @ np.linalg.solve(S, X.T @ inverse @ y)
    value = np.linalg.slogdet(V)[1] + e @ inverse @ e + len(y) * np.log(2 * np.pi)
    if method == "REML":
        value += np.linalg.slogdet(S)[1] - 2 * np.log(2 * np.pi)
    return value


@pytest.mark.parametrize("method", ["REML", "ML"])
@pytest.mark.parametrize("correlated", [False, True])
def test_estimates_are_those_of_dense_algebra(studies, method, correlated):
    R = np.diag(studies.v)
    if correlated:  # pairs of estimates from one sample
        for i in range(0, len(R), 2):
            R[i, i + 1] = R[i + 1, i] = 0.5 * np.sqrt(R[i, i] * R[i + 1, i + 1])
    known = bv.Known(R) if correlated else bv.Known("v")
    group = "pair" if correlated else "study"
    fit = bv.Model(f"y ~ x + (1 | {group})", studies, residual=known).reml(method)
    best = minimize_scalar(
        lambda t: _dense(studies, R, np.exp(t), method, group), bounds=(-8, 4), method="bounded",
        options={"xatol": 1e-10},
    )  # fmt: skip
    assert fit.criterion == pytest.approx(best.fun, abs=1e-8)
    assert fit.components[group].iloc[0, 0] == pytest.approx(np.exp(best.x), rel=1e-4)
    assert fit.sigma2 == 1.0
    V = bv.MarginalCovariance(fit.design, fit.components).to_dense()
    same = studies[group].to_numpy()[:, None] == studies[group].to_numpy()
    np.testing.assert_allclose(V, fit.components[group].iloc[0, 0] * same + R)
    assert fit.gls.criterion(method) == pytest.approx(fit.criterion, abs=1e-9)


def test_variances_may_be_a_vector_and_rows_without_one_are_dropped(studies):
    with_gap = studies.assign(v=studies.v.where(studies.index != 3))
    by_column = bv.Model("y ~ x + (1 | study)", with_gap, residual=bv.Known("v")).reml()
    vector = bv.Known(studies.v.drop(3).to_numpy())
    by_vector = bv.Model("y ~ x + (1 | study)", studies.drop(index=3), residual=vector).reml()
    assert by_column.design.n == 23
    assert by_column.criterion == pytest.approx(by_vector.criterion, abs=1e-9)


def test_a_level_a_row_is_told_apart_from_known_residuals():
    studies = bv.load_dataset("konstantopoulos")
    formula = "yi ~ 1 + (1 | district/school)"
    known = bv.Model(formula, studies, residual=bv.Known("vi"))
    assert not [note for note in known.design.notes if "told apart" in note]
    # metafor: rma.mv(yi, vi, random = ~ 1 | district/school)
    fit = known.reml()
    assert fit.components["school:district"].iloc[0, 0] == pytest.approx(0.0327, abs=5e-5)
    assert fit.components["district"].iloc[0, 0] == pytest.approx(0.0651, abs=5e-5)


def test_without_random_terms_it_is_the_common_effect(studies):
    fit = bv.Model("y ~ 1", studies, residual=bv.Known("v")).reml()
    w = 1 / studies.v
    assert fit.beta.iloc[0] == pytest.approx((w * studies.y).sum() / w.sum())
    assert fit.se.iloc[0] == pytest.approx(w.sum() ** -0.5)


@pytest.mark.parametrize(
    ("known", "options", "words"),
    [
        (bv.Known("w"), {}, "no column 'w'"),
        (bv.Known("study"), {}, "is text"),
        (bv.Known([1.0, 2.0]), {}, "needed are"),
        (bv.Known(-np.ones(24)), {}, "must be positive"),
        (bv.Known(np.ones((24, 24))), {}, "not positive definite"),
        (bv.Known(np.triu(np.ones((24, 24)))), {}, "not symmetric"),
        (bv.Known("v"), {"var_weights": "x"}, "would change it"),
        (bv.Known("v"), {"residual_sd": "strata(study)"}, "would change it"),
        (bv.Known({"a": 1}), {}, "needs numbers"),
        (bv.Known(np.ones(24) + 1j), {}, "needs numbers"),
        (bv.Known(sparse.csr_array(np.eye(24) + 0j)), {}, "needs numbers"),
        (bv.Known(sparse.csr_array(-np.ones(24))), {}, "must be positive"),
    ],
)
def test_what_is_no_known_covariance_is_refused(studies, known, options, words):
    with pytest.raises(bv.BayesvError, match=words):
        bv.Model("y ~ x + (1 | study)", studies, residual=known, **options)


def test_components_with_another_scale_are_refused(studies):
    fit = bv.Model("y ~ x + (1 | study)", studies, residual=bv.Known("v")).reml()
    with pytest.raises(bv.ComponentsError, match="sigma2 is 1"):
        bv.gls(fit.design, bv.VarianceComponents({"study": 1.0}, 2.0))


def test_a_v_without_parameters_is_not_sampled(studies):
    with pytest.raises(bv.DataError, match="nothing to sample"):
        bv.Model("y ~ x", studies, residual=bv.Known("v")).sample()


def test_residuals_that_are_correlated_across_levels_are_refused(studies):
    R = np.diag(studies.v) + 0.0
    R[0, 1] = R[1, 0] = 0.02
    with pytest.raises(bv.DataError, match=r"rows 0 and 1 are correlated.*across levels"):
        bv.Model("y ~ x + (1 | study)", studies, residual=bv.Known(R)).reml()


def test_new_rows_have_a_mean_and_need_their_variances_for_responses():
    studies = bv.load_dataset("konstantopoulos")
    fit = bv.Model("yi ~ 1 + (1 | district/school)", studies, residual=bv.Known("vi")).reml()
    new = pd.DataFrame({"district": ["new"], "school": ["new"], "w": [1 / 0.05]})
    mean = fit.predict(new, of="mean").iloc[0]
    variances = sum(fit.components[g].iloc[0, 0] for g in fit.components.groups)
    assert mean["se"] ** 2 == pytest.approx(float(fit.se.iloc[0]) ** 2 + variances, rel=1e-9)
    assert np.isfinite(mean["low"])
    with pytest.raises(bv.DataError, match="weights="):
        fit.predict(new, of="response")
    response = fit.predict(new, of="response", weights="w").iloc[0]
    assert response["sd"] ** 2 == pytest.approx(mean["se"] ** 2 + 0.05, rel=1e-9)


@pytest.mark.parametrize("method", ["REML", "ML"])
def test_profiles_end_where_the_dense_criterion_has_risen(studies, method):
    R = np.diag(studies.v)
    fit = bv.Model("y ~ x + (1 | pair)", studies, residual=bv.Known("v")).reml(method)
    estimate, low, high = bv.profile(fit).loc["sd pair: Intercept"]

    def level(sd):
        return _dense(studies, R, sd**2, method, "pair")

    least = level(estimate)
    assert level(high) == pytest.approx(least + 3.841459, abs=1e-4)
    assert low == 0.0 or level(low) == pytest.approx(least + 3.841459, abs=1e-4)
    if low == 0.0:
        assert level(0.0) < least + 3.841459
    assert "sd Residual" not in bv.profile(fit).index
    # Wald's interval is of the curvature by the log of the SD.
    wald = fit.confint().loc["sd pair: Intercept"]
    h = 1e-3
    at = [level(estimate * np.exp(k * h)) for k in (-1, 0, 1)]
    se = np.sqrt(2 / ((at[0] - 2 * at[1] + at[2]) / h**2))
    assert np.log(wald["high"] / wald["low"]) == pytest.approx(2 * 1.959964 * se, rel=1e-4)


def test_intervals_of_a_V_without_parameters(studies):
    fit = bv.Model("y ~ x", studies, residual=bv.Known("v")).reml()
    with pytest.raises(bv.BayesvError, match="nothing is to be profiled"):
        bv.profile(fit)
    table = fit.confint()
    assert list(table.index) == ["beta Intercept", "beta x"]
    half = 1.959964 * fit.se["x"]
    assert table.loc["beta x", "high"] == pytest.approx(fit.beta["x"] + half, rel=1e-6)


def test_integers_beyond_double_precision_are_refused():
    data = bv.load_dataset("dyestuff")
    for known in ([10**400] * len(data), np.full(len(data), 10**400, dtype=object)):
        with pytest.raises(bv.DataError, match="needs numbers"):
            bv.Model("Yield ~ 1 + (1 | Batch)", data, residual=bv.Known(known))
