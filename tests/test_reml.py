"""REML and ML: what must not change, what must change as theory says, and the boundary."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import bayesv as bv
from bayesv.reml.criterion import Criterion

FORMULA = "y ~ x + f + (x | g) + (1 | c)"


@pytest.fixture(scope="module")
def data() -> pd.DataFrame:
    rng = np.random.default_rng(5)
    n = 240
    g, c = rng.integers(0, 15, n), rng.integers(0, 6, n)
    u = rng.normal(size=(15, 2)) @ np.array([[1.5, 0.4], [0.0, 0.8]])
    x = rng.normal(size=n)
    y = 3 + 0.5 * x + u[g, 0] + u[g, 1] * x + rng.normal(size=6)[c] + rng.normal(size=n)
    return pd.DataFrame(
        {
            "y": y,
            "x": x,
            "g": [f"g{i:02d}" for i in g],
            "c": [f"c{i}" for i in c],
            "f": pd.Categorical(rng.choice(["lo", "mid", "hi"], n), ["lo", "mid", "hi"]),
            "w": np.exp(0.5 * rng.normal(size=n)),
        }
    )


@pytest.fixture(scope="module")
def fit(data) -> bv.RemlFit:
    return bv.Model(FORMULA, data).reml()


def same(a: bv.RemlFit, b: bv.RemlFit) -> None:
    assert a.sigma2 == pytest.approx(b.sigma2, rel=1e-6)
    for group in a.components.groups:
        assert np.allclose(a.components[group], b.components[group], rtol=1e-5, atol=1e-7)


def test_the_optimum_is_stationary(fit):
    assert fit.converged
    assert fit.gradient_norm < 1e-5
    rng = np.random.default_rng(0)
    for _ in range(20):
        blocks = {}
        for group in fit.components.groups:
            block = fit.components[group].to_numpy()
            nudge = rng.normal(size=block.shape) * 0.02 * np.sqrt(np.diagonal(block).min())
            blocks[group] = (np.linalg.cholesky(block) + np.tril(nudge)) @ (
                np.linalg.cholesky(block) + np.tril(nudge)
            ).T
        near = bv.VarianceComponents(blocks, fit.sigma2 * np.exp(0.02 * rng.normal()))
        assert fit.criterion_at(near) > fit.criterion


def test_shuffled_rows_and_relabelled_levels(data, fit):
    shuffled = data.sample(frac=1, random_state=1)
    other = bv.Model(FORMULA, shuffled).reml()
    assert other.criterion == pytest.approx(fit.criterion, abs=1e-8)
    same(other, fit)
    assert np.allclose(other.gls.fitted.sort_index(), fit.gls.fitted.sort_index(), atol=1e-6)
    relabelled = data.assign(g=data["g"].map(lambda s: f"z{99 - int(s[1:])}"))
    same(bv.Model(FORMULA, relabelled).reml(), fit)
    empty = data.assign(g=pd.Categorical(data["g"], [*sorted(set(data["g"])), "never"]))
    same(bv.Model(FORMULA, empty).reml(), fit)


def test_relevelled_factor_gives_the_same_v(data, fit):
    other = bv.Model(
        FORMULA, data.assign(f=data["f"].cat.reorder_categories(["hi", "lo", "mid"]))
    ).reml()
    same(other, fit)
    assert other.beta["f[lo]"] == pytest.approx(-fit.beta["f[hi]"], abs=1e-7)


def test_scaling_and_shifting_the_response(data, fit):
    other = bv.Model(FORMULA, data.assign(y=1e4 + 100 * data["y"])).reml()
    assert other.sigma2 == pytest.approx(1e4 * fit.sigma2, rel=1e-6)
    assert np.allclose(other.components["g"], 1e4 * fit.components["g"], rtol=1e-5)
    assert other.beta["Intercept"] == pytest.approx(1e4 + 100 * fit.beta["Intercept"], rel=1e-9)
    n, p = fit.design.n, fit.design.p
    assert other.criterion == pytest.approx(fit.criterion + 2 * (n - p) * np.log(100), abs=1e-6)


def test_shifting_and_scaling_x_changes_only_the_basis(data, fit):
    moved = bv.Model(FORMULA, data.assign(x=1000 * (data["x"] + 3))).reml()
    # The same model in another basis: x' = 1000 (x + 3), so u = A'u' with
    A = np.array([[1.0, 0.0], [3000.0, 1000.0]])
    assert np.allclose(A.T @ moved.components["g"] @ A, fit.components["g"], rtol=1e-4, atol=1e-6)
    n_columns = fit.design.p
    assert n_columns == 4
    # log|X'V⁻¹X| moves by the determinant of the change of basis.
    assert moved.criterion == pytest.approx(fit.criterion + 2 * np.log(1000), abs=1e-5)
    ml = bv.Model(FORMULA, data).reml("ML").criterion
    assert bv.Model(FORMULA, data.assign(x=1000 * (data["x"] + 3))).reml("ML").criterion == (
        pytest.approx(ml, abs=1e-6)
    )


@pytest.mark.parametrize("offset", [1e4, 1e6])
@pytest.mark.parametrize("method", ["REML", "ML"])
def test_an_offset_of_x_costs_nothing(data, offset, method):
    """For correlated effects the criterion does not depend on where x has its zero."""
    formula = "y ~ x + (x | g)"
    # Rounding of the sum is a change of the data; take it back before comparing.
    far = data["x"] + offset
    near = bv.Model(formula, data.assign(x=far - offset)).reml(method)
    fit = bv.Model(formula, data.assign(x=far)).reml(method)
    assert fit.converged
    assert fit.criterion == pytest.approx(near.criterion, abs=1e-6)
    assert fit.components["g"].iloc[1, 1] == pytest.approx(
        near.components["g"].iloc[1, 1], rel=1e-4
    )


def test_lost_digits_are_announced():
    rng = np.random.default_rng(0)
    g = np.repeat(np.arange(20), 10)
    y = 1e5 * rng.normal(size=20)[g] + rng.normal(size=200)
    with pytest.warns(bv.FitWarning, match="half of the digits are lost"):
        bv.Model("y ~ 1 + (1 | g)", pd.DataFrame({"y": y, "g": g})).reml()


def test_weights(data):
    ones = bv.Model(FORMULA, data, var_weights=np.ones(len(data))).reml()
    plain = bv.Model(FORMULA, data).reml()
    assert ones.criterion == pytest.approx(plain.criterion, abs=1e-8)
    fit = bv.Model(FORMULA, data, var_weights="w").reml()
    scaled = bv.Model(FORMULA, data.assign(w=4 * data["w"]), var_weights="w").reml()
    assert scaled.sigma2 == pytest.approx(4 * fit.sigma2, rel=1e-6)
    assert scaled.criterion == pytest.approx(fit.criterion, abs=1e-6)
    assert np.allclose(scaled.components["g"], fit.components["g"], rtol=1e-4)


def test_nested_as_chain_equals_nested_as_crossed(data):
    by_slash = bv.Model("y ~ x + (1 | g/c)", data).reml()
    column = data.assign(gc=data["g"] + "_" + data["c"])
    by_column = bv.Model("y ~ x + (1 | g) + (1 | gc)", column).reml()
    assert by_slash.criterion == pytest.approx(by_column.criterion, abs=1e-8)


def test_offset_is_taken_off_the_mean(data):
    shifted = bv.Model("y ~ x + offset(o) + (1 | g)", data.assign(o=7 * data["x"])).reml()
    plain = bv.Model("y ~ x + (1 | g)", data).reml()
    assert shifted.beta["x"] == pytest.approx(plain.beta["x"] - 7, abs=1e-8)
    assert shifted.sigma2 == pytest.approx(plain.sigma2, rel=1e-8)
    assert np.allclose(shifted.gls.fitted, plain.gls.fitted, atol=1e-6)


def test_zero_variance_is_exactly_zero_and_flagged():
    fit = bv.Model("Yield ~ 1 + (1 | Batch)", bv.load_dataset("dyestuff2")).reml()
    assert fit.singular
    assert fit.components["Batch"].iloc[0, 0] == 0.0
    assert fit.sigma2 == pytest.approx(np.var(fit.design.y, ddof=1))
    assert "singular" in repr(fit)


def test_perfect_correlation_is_exact(star):
    fit = star.reml()
    assert fit.singular
    for group in star.design.groups:
        assert np.linalg.matrix_rank(fit.components[group].to_numpy(), tol=1e-9) == 1
        assert fit.components.corr(group).iloc[0, 1] == pytest.approx(-1, abs=1e-12)


def test_a_variance_ratio_far_from_one():
    rng = np.random.default_rng(2)
    g = np.repeat(np.arange(30), 8)
    for ratio in (1e-3, 1e3):
        y = 1e5 + ratio * rng.normal(size=30)[g] + rng.normal(size=240)
        fit = bv.Model("y ~ 1 + (1 | g)", pd.DataFrame({"y": y, "g": g})).reml()
        means = pd.Series(y).groupby(g).mean()
        within = (y - means.to_numpy()[g]).var() * 240 / 210
        between = max(means.var() - within / 8, 0.0)
        if between > 0:  # balanced data: REML is the ANOVA estimate
            assert fit.sigma2 == pytest.approx(within, rel=1e-5)
            assert fit.components["g"].iloc[0, 0] == pytest.approx(between, rel=1e-4)
        else:
            assert fit.singular


def test_summary_says_what_lme4_says(sleepstudy):
    text = sleepstudy.reml().summary()
    for piece in (
        "1743.6283",
        "-3.9536",
        "24.74",
        "5.9221",
        "0.066",
        "25.592",
        "251.41",
        "6.8246",
        "36.838",
        "-0.138",
        "Subject 18",
    ):
        assert piece in text
    weights = bv.Model(
        "Reaction ~ Days + (Days | Subject)",
        bv.load_dataset("sleepstudy"),
        var_weights=np.full(180, 2.0),
    ).reml()
    assert "-3.9536" in weights.summary()  # scaled by σ/√w


def test_a_response_that_the_columns_determine_is_refused(data):
    with pytest.raises(bv.DataError, match="exactly"):
        bv.Model("y ~ x + (1 | g)", data.assign(y=2 * data["x"] + 1)).reml()


@pytest.mark.parametrize(
    ("formula", "sd", "levels", "rows", "method", "replicate"),
    [
        ("y ~ x + (x | g)", {"Intercept": 1.0, "x": 0.6}, 20, 3, "ML", 85),
        ("y ~ x + (x | g)", {"Intercept": 0.3, "x": 0.2}, 5, 10, "REML", 48),
        ("y ~ x + (x || g)", {"Intercept": 0.3, "x": 0.2}, 5, 10, "ML", 47),
    ],
)
def test_flat_criteria_near_zero_are_searched_to_the_end(
    formula, sd, levels, rows, method, replicate
):
    """Where the curvature by a small λ is far below the expected one, first steps are too long."""
    scenario = bv.study.Scenario(
        name="near zero",
        formula=formula,
        levels={"g": levels},
        rows=rows,
        covariates={"x": {"law": "normal"}},
        beta={"Intercept": 10, "x": 1},
        sd={"g": sd},
        corr={"g": 0.3} if "||" not in formula else None,
        sigma=1.0,
    )
    fit = scenario.prepare(5).replicate(replicate).model.reml(method)
    assert fit.converged
    assert fit.gradient_norm < 1e-4


@pytest.mark.parametrize("columns", ["1", "x", "x + w"])
@pytest.mark.parametrize("groups", ["g", "c/g"])
def test_values_at_many_points_are_those_at_each(data, columns, groups):
    """In one compiled pass or with the gradient; also of λ with a column of zeros."""
    model = bv.Model(f"y ~ x + ({columns} | {groups})", data)
    criterion = Criterion(model.design, model.statistics, "REML")
    points = np.random.default_rng(1).normal(size=(20, criterion.size))
    points[0] = 0.0
    each = [criterion.value_and_gradient(point)[0] for point in points]
    np.testing.assert_allclose(criterion.values(points), each, rtol=1e-12)
