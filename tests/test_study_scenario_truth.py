"""What scenarios simulate has the covariance they state, and any worker simulates the same."""

from __future__ import annotations

import multiprocessing
import pickle
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import numpy as np
import pandas as pd
import pytest

import bayesv as bv
from tests.test_study_scenario import BASE, CROSSED, NESTED

Scenario = bv.study.Scenario


def prepared(base: dict[str, Any], **more: Any) -> Any:
    return Scenario(**(base | more)).prepare(7)


def dense(model: bv.Model, blocks: dict[str, Any], R: Any) -> Any:
    """V entry by entry: rows of the same level share its effects."""
    V = np.array(R, dtype=float)
    for term in model.design.terms:
        cov = np.atleast_2d(blocks[term.group])
        for i in range(model.design.n):
            for j in range(model.design.n):
                if term.codes[i] == term.codes[j]:
                    V[i, j] += term.values[i] @ cov @ term.values[j]
    return V


TIMED = BASE | {"covariates": {"x": {"law": "grid"}}, "levels": {"g": 4}}
SLOPES = {"g": [[1.0, 0.15], [0.15, 0.25]]}


def lagged(design: bv.Design, rho: float, sd: Any) -> Any:
    codes, t = design.terms[0].codes, design.X[:, 1]
    same = codes[:, None] == codes
    return np.where(same, rho ** np.abs(t[:, None] - t), 0.0) * np.outer(sd, sd)


# What is said, and R of it by formula: design → (n, n).
TRUTHS = {
    "plain": ({}, lambda d: 4 * np.eye(d.n)),
    "weights": (
        {"weights": {"law": "uniform", "low": 0.5, "high": 3}},
        lambda d: np.diag(4 / d.residual.weights),
    ),
    "t errors": ({"errors": {"law": "t", "df": 5}}, lambda d: 4 * np.eye(d.n)),
    "gamma effects": ({"effects": {"law": "gamma", "shape": 2}}, lambda d: 4 * np.eye(d.n)),
    "by covariate": (
        {"heteroscedastic": {"by": "x", "rate": 0.3}},
        lambda d: np.diag((2 * np.exp(0.3 * d.X[:, 1])) ** 2),
    ),
    "by group": (
        {"heteroscedastic": {"by": "g", "ratios": {"1": 1, "2": 2, "3": 0.5, "4": 1}}},
        lambda d: np.diag((2 * np.array([1, 2, 0.5, 1])[d.terms[0].codes]) ** 2),
    ),
    "AR(1)": (
        {"ar1": {"rho": 0.7, "group": "g", "time": "x"}, "shuffle": True, "missing": 0.2},
        lambda d: lagged(d, 0.7, np.full(d.n, 2.0)),
    ),
    "AR(1) by position, negative": (
        {"ar1": {"rho": -0.6, "group": "g"}, "missing": 0.2},
        lambda d: lagged(d, -0.6, np.full(d.n, 2.0)),
    ),
    "AR(1) of weighted t errors by covariate": (
        {
            "ar1": {"rho": 0.5, "group": "g"},
            "errors": {"law": "t", "df": 8},
            "heteroscedastic": {"by": "x", "rate": -0.2},
            "weights": {"law": "lognormal", "sdlog": 0.5},
        },
        lambda d: lagged(d, 0.5, 2 * np.exp(-0.2 * d.X[:, 1]) / np.sqrt(d.residual.weights)),
    ),
}


@pytest.mark.parametrize("case", TRUTHS)
def test_V_equals_its_formula_and_the_simulated_moments(case):
    change, R = TRUTHS[case]
    made = prepared(TIMED, corr={"g": 0.3}, **change)
    design = made.replicate(0).model.design
    truth = made.replicate(0).truth
    V = truth.V.toarray()
    np.testing.assert_allclose(V, dense(made.replicate(0).model, SLOPES, R(design)), atol=1e-12)
    assert truth.normal == (not {"errors", "effects"} & set(change))
    assert truth.well_specified == (not {"heteroscedastic", "ar1"} & set(change))
    if truth.well_specified:
        own = bv.MarginalCovariance(design, truth.components).to_dense()
        np.testing.assert_allclose(V, own, atol=1e-12)
    _check_moments(made, design.X @ truth.beta.to_numpy(), V)


def _check_moments(made: Any, mean: Any, V: Any, draws: int = 4000) -> None:
    """Mean, squares and products in random directions, in Monte Carlo standard errors."""
    simulator, point = made.setting.simulator, made.setting.point_of(0)
    rng = np.random.default_rng(11)
    y = np.array([simulator.draw(point, rng) for _ in range(draws)]) - mean
    directions = np.vstack([np.eye(len(V)), rng.normal(size=(20, len(V)))])
    along = y @ directions.T
    z = along.mean(axis=0) / (along.std(axis=0) / np.sqrt(draws))
    assert np.abs(z).max() < 4.5
    square = along**2
    expected = np.einsum("ij,jk,ik->i", directions, V, directions)
    z = (square.mean(axis=0) - expected) / (square.std(axis=0) / np.sqrt(draws))
    assert np.abs(z).max() < 4.5


@pytest.mark.parametrize(
    "base",
    [
        NESTED | {"levels": {"a": 3, "b": 2, "c": 2}},
        CROSSED | {"levels": {"s": 6, "d": 4}, "crossing": 0.5},
    ],
    ids=["nested", "crossed"],
)
def test_moments_of_nested_and_crossed_truths(base):
    made = prepared(base, sigma=0.5)
    replicate = made.replicate(0)
    ones = {group: [[1.0]] for group in replicate.model.design.groups}
    V = replicate.truth.V.toarray()
    expected = dense(replicate.model, ones, 0.25 * np.eye(len(V)))
    np.testing.assert_allclose(V, expected, atol=1e-12)
    _check_moments(made, np.zeros(len(V)), V)


@pytest.mark.parametrize(
    ("law", "skewness", "kurtosis"),
    [
        ({"law": "t", "df": 9}, 0.0, 3 + 6 / 5),
        ({"law": "gamma", "shape": 4}, 1.0, 3 + 6 / 4),
        ({"law": "contaminated", "share": 0.1, "ratio": 3}, 0.0, 3 * (0.9 + 8.1) / 1.8**2),
    ],
)
def test_laws_of_errors_have_variance_1_and_their_own_shape(law, skewness, kurtosis):
    from bayesv.study.declared.laws import STANDARD, read_law

    found, values = read_law("errors", law, STANDARD)
    x = found.draw(np.random.default_rng(5), 400_000, values)
    assert x.mean() == pytest.approx(0, abs=0.007)
    assert x.var() == pytest.approx(1, abs=0.02)
    assert (x**3).mean() == pytest.approx(skewness, abs=0.06)
    assert (x**4).mean() == pytest.approx(kurtosis, rel=0.06)


# --- truths that the fitted formula does not hold -------------------------------------------------


def test_an_omitted_slope_is_in_V_but_not_in_the_components():
    made = prepared(
        TIMED, corr={"g": 0.3}, formula="y ~ x + (1 | g)", truth_formula="y ~ x + (x | g)"
    )
    replicate = made.replicate(0)
    assert replicate.model.design.formula == "y ~ x + (1 | g)"
    truth = replicate.truth
    assert not truth.well_specified
    assert truth.components == bv.VarianceComponents(
        {"g": pd.DataFrame([[1.0]], ["Intercept"], ["Intercept"])}, 4.0
    )
    full = bv.Model("y ~ x + (x | g)", replicate.model.frame.data)
    np.testing.assert_allclose(truth.V.toarray(), dense(full, SLOPES, 4 * np.eye(20)), atol=1e-12)
    assert truth.beta.to_dict() == {"Intercept": 1.0, "x": 0.5}


def test_omitted_and_superfluous_fixed_effects():
    both = {"x": {"law": "grid"}, "z": {"law": "normal"}}
    less = prepared(
        BASE, covariates=both, truth_formula="y ~ x + z + (x | g)", beta={"x": 1, "z": 2}
    )
    assert not less.replicate(0).truth.well_specified
    assert less.replicate(0).truth.beta.to_dict() == {"Intercept": 0.0, "x": 1.0}
    more = prepared(
        BASE, covariates=both, formula="y ~ x + z + (x | g)", truth_formula="y ~ x + (x | g)"
    )
    assert more.replicate(0).truth.well_specified
    assert more.replicate(0).truth.beta.to_dict() == {"Intercept": 1.0, "x": 0.5, "z": 0.0}


def test_superfluous_random_slope_has_variance_0_in_the_truth():
    made = prepared(BASE, truth_formula="y ~ x + (1 | g)", sd={"g": 1.5})
    truth = made.replicate(0).truth
    assert truth.well_specified
    np.testing.assert_array_equal(truth.components["g"], [[2.25, 0], [0, 0]])
    assert made.replicate(0).model.design.terms[0].columns == ("Intercept", "x")


def test_a_correlation_that_the_fit_leaves_out():
    made = prepared(
        BASE, corr={"g": 0.4}, truth_formula="y ~ x + (x | g)", formula="y ~ x + (x || g)"
    )
    assert not made.replicate(0).truth.well_specified
    none = prepared(BASE, truth_formula="y ~ x + (x | g)", formula="y ~ x + (x || g)")
    assert none.replicate(0).truth.well_specified


# --- parameters of fits ---------------------------------------------------------------------------


def test_parameters_of_a_fit_and_of_posterior_draws(sleepstudy, sleepstudy_posterior, tmp_path):
    own = {"name": "own", "formula": "Reaction ~ Days + (Days | Subject)", "data": "sleepstudy"}
    fit = sleepstudy.reml()
    given = Scenario(**own, parameters=fit).prepare(1)
    asked = Scenario(**own, parameters="REML").prepare(1)
    truth = given.replicate(0).truth
    assert truth.components == fit.components == asked.replicate(0).truth.components

    post = sleepstudy_posterior
    drawn = Scenario(**own, parameters=post).prepare(1)
    truths = [drawn.replicate(k).truth for k in range(40)]
    sigma2 = [truth.components.sigma2 for truth in truths]
    taken = drawn.setting.source.values.sigma2  # no draw twice before all were taken
    assert sorted(taken) == sorted(post.sigma2.ravel())
    assert list(taken) != list(post.sigma2.ravel())
    assert set(sigma2) <= set(post.sigma2.ravel())
    # A chain stays at a point for several draws, each with another β.
    same = np.argwhere(post.sigma2 == taken[7])
    (at,) = (tuple(place) for place in same if (post.beta[tuple(place)] == truths[7].beta).all())
    np.testing.assert_allclose(truths[7].components["Subject"], post.cov("Subject")[at])
    V = bv.MarginalCovariance(sleepstudy.design, truths[7].components).to_dense()
    np.testing.assert_allclose(truths[7].V.toarray(), V, rtol=1e-12)

    path = str(bv.save(post, tmp_path / "post.nc"))
    saved = Scenario(**own, parameters=path).prepare(1)
    np.testing.assert_array_equal(
        saved.replicate(3).model.design.y, drawn.replicate(3).model.design.y
    )


def test_rows_that_the_own_data_lack_stay_away():
    frame = bv.load_dataset("sleepstudy")
    frame.loc[[3, 50], "Reaction"] = np.nan
    made = Scenario(
        name="own", formula="Reaction ~ Days + (Days | Subject)", data=frame, parameters="REML",
        ar1={"rho": 0.5, "group": "Subject", "time": "Days"}, shuffle=True,
    ).prepare(1)  # fmt: skip
    replicate = made.replicate(0)
    assert replicate.model.design.n == 178
    assert replicate.truth.V.shape == (178, 178)
    assert not replicate.truth.well_specified


# --- the same whoever makes it --------------------------------------------------------------------


def _response(made: Any, k: int) -> Any:
    replicate = made.replicate(k)
    return replicate.model.design.y, replicate.seed


@pytest.fixture(scope="module")
def elsewhere():
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        yield pool


@pytest.mark.parametrize("design", ["fixed", "redrawn"])
def test_replicates_do_not_depend_on_order_or_process(design, elsewhere):
    scenario = Scenario(**(BASE | {"design": design, "rows": {"law": "poisson", "mean": 4}}))
    made = scenario.prepare(3)
    first = {k: _response(made, k) for k in (5, 0, 2)}
    again = pickle.loads(pickle.dumps(scenario)).prepare(3)
    two, five = elsewhere.map(_response, [pickle.loads(pickle.dumps(made))] * 2, [2, 5])
    for y, seed, k in ((*two, 2), (*five, 5), (*_response(again, 0), 0)):
        np.testing.assert_array_equal(y, first[k][0])
        assert seed == first[k][1]
    other = scenario.prepare(4)
    assert not np.array_equal(_response(other, 0)[0][:3], first[0][0][:3])
    sizes = {made.replicate(k).model.design.n for k in range(6)}
    assert (len(sizes) == 1) == (design == "fixed")


def test_fixed_designs_share_what_does_not_change():
    made = prepared(BASE)
    a, b = made.replicate(0), made.replicate(1)
    assert a.model.design.X is b.model.design.X
    assert a.truth is b.truth
    assert a.seed != b.seed
    assert not np.array_equal(a.model.design.y, b.model.design.y)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"heteroscedastic": {"by": "g", "ratios": {"1": 2}}}, r"ratios: found .*also 10"),
        ({"heteroscedastic": {"by": "g", "rate": 1.0}}, r"by: found 'g'; allowed: a column of num"),
        ({"weights": "x"}, "weights: found 'x'; allowed: a column of positive"),
        ({"covariates": {"x": {"law": "bernoulli"}},
          "ar1": {"rho": 0.5, "group": "g", "time": "x"}},
         r"ar1\.time: found 'x'; allowed: different times"),
        ({"ar1": {"rho": -0.5, "group": "g", "time": "x"}}, r"ar1\.rho: found -0\.5.*no whole"),
        ({"rows": [3, 4]}, "rows: found .*one size for each of 12 units"),
        ({"rows": {"law": "dirichlet", "total": 5}}, r"rows\.total: found 5; allowed: at least"),
        ({"rows": {"law": "poisson", "mean": 1e-9, "least": 0}}, "rows: .*gave no row at all"),
    ],
)  # fmt: skip
def test_refusals_when_rows_are_drawn(change, message):
    with pytest.raises(bv.ScenarioError, match=message):
        prepared(BASE, **change)


def test_the_order_of_keys_does_not_matter():
    levels, covariates = {"g": 5, "h": 4}, {"x": {"law": "normal"}, "z": {"law": "uniform"}}
    both = [
        bv.study.Scenario(
            name="order",
            formula="y ~ x + z + (1 | g) + (1 | h)",
            levels=dict(order(levels.items())),
            rows=2,
            covariates=dict(order(covariates.items())),
            sd={"g": 1, "h": 1},
            sigma=1,
        )
        for order in (list, reversed)
    ]
    first, second = (one.prepare(1).replicate(3).model.design for one in both)
    assert both[0].crc == both[1].crc
    np.testing.assert_array_equal(first.y, second.y)
    np.testing.assert_array_equal(first.X, second.X)


@pytest.mark.parametrize("seed", [-1, 1.5, "a"])
def test_seeds_are_whole_numbers(seed):
    with pytest.raises(bv.ScenarioError, match="seed: found"):
        Scenario(**BASE).prepare(seed)
