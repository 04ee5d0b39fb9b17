"""Bad input: the class of the error, and what was found, is needed, or is to be done."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

import bayesv as bv
from bayesv.covariance import ComponentDraws
from bayesv.inference.draws import Draws
from bayesv.posterior.posterior import Posterior

N = 40
FORMULA = "y ~ x + (x | g)"
OK = {"g": [[2.0, 0.5], [0.5, 1.0]]}


def frame(**columns: Any) -> pd.DataFrame:
    rng = np.random.default_rng(4)
    data = pd.DataFrame(
        {
            "y": rng.normal(size=N),
            "x": rng.normal(size=N),
            "g": np.repeat(np.arange(8), 5),
            "s": np.tile(["u", "v"], N // 2),
        }
    )
    return data.assign(**columns)


def with_value(column: str, value: Any, rows: slice = slice(0, 1)) -> pd.DataFrame:
    data = frame().astype({"y": float, "g": float})
    data.loc[data.index[rows], column] = value
    return data


@pytest.fixture(scope="module")
def model() -> bv.Model:
    return bv.Model(FORMULA, frame())


@pytest.mark.parametrize("name", [name for name in bv.__all__ if name.endswith("Error")])
def test_one_family_of_errors(name):
    assert issubclass(getattr(bv, name), bv.BayesvError)


# --- formula and data -----------------------------------------------------------------------------

MODELS = [
    ("y ~ xx + (1 | g)", frame(), bv.FormulaError, ["no column 'xx'", "did you mean 'x'", "^"]),
    ("y ~ x + (1 | gg)", frame(), bv.FormulaError, ["no column 'gg'", "did you mean 'g'"]),
    ("yy ~ x + (1 | g)", frame(), bv.FormulaError, ["no column 'yy'", "columns: y, x, g, s"]),
    ("y ~ lgo(x) + (1 | g)", frame(), bv.FormulaError, ["function 'lgo'", "'log'", "namespace="]),
    ("y ~ x", frame(), bv.FormulaError, ["no random term", "(1 | group)"]),
    ("y ~ x + (1 | g", frame(), bv.FormulaError, ["never closed"]),
    ("y ~ (x | g) + (x | g)", frame(), bv.FormulaError, ["two random terms of 'g'"]),
    ("y ~ 1 + (1 | `a/b`)", frame(**{"a/b": 1}), bv.FormulaError, ["'a/b'", "rename", "^"]),
    ("y ~ x + (0 | g)", frame(), bv.FormulaError, ["no column"]),
    ("y ~ x + (offset(x) | g)", frame(), bv.FormulaError, ["has an offset"]),
    ("s ~ x + (1 | g)", frame(), bv.DataError, ["'s' is not numeric"]),
    (FORMULA, frame(y=pd.Timestamp("2020")), bv.DataError, ["'y' is not numeric"]),
    (FORMULA, with_value("y", np.nan, slice(0, N)), bv.DataError, ["No complete row", "40 in y"]),
    (FORMULA, with_value("x", np.inf, slice(0, N)), bv.DataError, ["40 in x"]),
    ("y ~ x + (1 | g)", frame(g=1), bv.DataError, ["one level ('1')", "Drop the term"]),
    ("y ~ x + (1 | g)", frame(g=range(N)), bv.DataError, ["as many levels as there are rows (40)"]),
    (FORMULA, frame(y=3.0), bv.DataError, ["constant (3)", "40 rows"]),
    (
        "y ~ x + offset(o) + (1 | g)",
        frame().assign(o=lambda data: data["y"] - 2.0),
        bv.DataError,
        ["less its offset", "constant (2)"],
    ),
    (FORMULA, frame().iloc[:0], bv.DataError, ["no rows"]),
    (FORMULA, pd.DataFrame(), bv.BayesvError, ["no column 'y'"]),
    (FORMULA, None, bv.DataError, ["data frame is needed", "NoneType"]),
    (FORMULA, [1, 2], bv.DataError, ["data frame is needed", "list"]),
    (FORMULA, frame().to_numpy(), bv.DataError, ["data frame is needed", "ndarray"]),
    (FORMULA, "data.csv", bv.DataError, ["no file", "data.csv"]),
    (FORMULA, pd.concat([frame(), frame()[["x"]]], axis=1), bv.DataError, ["more than one", "'x'"]),
    (
        "y ~ x + (1 | g)",
        frame(g=pd.Series([1, "1"] * 20, dtype=object)),
        bv.DataError,
        ["same text"],
    ),
    (FORMULA, {"y": [1, 2], "x": [1], "g": [1, 2]}, bv.DataError, ["length"]),
    (FORMULA, {"y": 1, "x": 1, "g": 1}, bv.DataError, ["column"]),
    ("y ~ x + (1 | np)", frame(), bv.FormulaError, ["column 'np'"]),
    ("y ~ np + (1 | g)", frame(), bv.FormulaError, ["column 'np'"]),
    ("y ~ x + (1 | l)", frame(l=[[1], [2]] * 20), bv.DataError, ["'l'"]),
    ("y ~ y + (1 | g)", frame(), bv.FormulaError, ["response"]),
    (FORMULA, frame(y=frame().y + 1j), bv.DataError, ["complex"]),
]


@pytest.mark.filterwarnings("ignore:Casting complex values")
@pytest.mark.parametrize(("formula", "data", "error", "parts"), MODELS)
def test_model(formula, data, error, parts):
    with pytest.raises(error) as caught:
        bv.Model(formula, data)
    for part in parts:
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("weights", "parts"),
    [
        (-np.ones(N), ["must be positive", "40 are not", "-1"]),
        (np.r_[1.0, 0.0, np.ones(N - 2)], ["1 are not", "row 1"]),
        (np.full(N, np.nan), ["No complete row", "40 in var_weights"]),
        (np.ones(3), ["shape (3,)", "40 rows"]),
        (2.0, ["shape ()"]),
        (np.ones((N, 1)), ["shape (40, 1)"]),
        (["a"] * N, ["numbers"]),
        (pd.Series(np.ones(N), index=range(1, N + 1)), ["another index"]),
        ("zz", ["no column 'zz'"]),
        ("s", ["'s'"]),
        (np.ones(N) * 1j, ["complex"]),
    ],
)
@pytest.mark.filterwarnings("ignore:Casting complex values")
def test_weights(weights, parts):
    with pytest.raises(bv.BayesvError) as caught:
        bv.Model(FORMULA, frame(), var_weights=weights)
    for part in parts:
        assert part in str(caught.value)


@pytest.mark.parametrize(("column", "value"), [("y", np.nan), ("x", -np.inf), ("g", np.nan)])
def test_one_gap_is_one_row_less(column, value):
    design = bv.Model(FORMULA, with_value(column, value)).design
    assert (design.n, design.n_dropped, design.rows[0]) == (N - 1, 1, 1)
    assert f"1 in {column}" in design.notes[0]


def test_more_random_effects_than_rows_is_flagged():
    design = bv.Model("y ~ x + (x + z | k)", frame(k=np.arange(N) // 2, z=np.arange(N) % 7)).design
    assert design.q == 60
    assert any("60 random effects for 40 rows" in note for note in design.notes)


def test_too_few_rows_for_the_fixed_effects():
    data = frame(z=np.arange(N) ** 2.0).iloc[[0, 1, 5]]
    with pytest.raises(bv.DataError, match=r"3 rows .* 3 fixed effects"):
        bv.Model("y ~ x + z + (1 | g)", data).reml()


# --- variance components and V --------------------------------------------------------------------


def labelled(*names: str) -> pd.DataFrame:
    return pd.DataFrame(np.eye(len(names)), names, names)


@pytest.mark.parametrize(
    ("blocks", "sigma2", "part"),
    [
        ({"g": [[1, 2], [2, 1]]}, 1, "not positive semi-definite"),
        ({"g": [[-1, 0], [0, 1]]}, 1, "negative"),
        ({"g": [[0, 1], [1, 1]]}, 1, "0 with covariances"),
        ({"g": [[1, 2], [0, 4]]}, 1, "not symmetric"),
        ({"g": [[1, 2, 3], [2, 4, 3]]}, 1, "square, found shape (2, 3)"),
        ({"g": [[1, 2], [3]]}, 1, "real numbers"),
        ({"g": np.eye(3)}, 1, "3×3; the design has 2 columns there: Intercept, x"),
        ({"g": 1.0}, 1, "1×1"),
        ({"g": [[np.nan, 0], [0, 1]]}, 1, "missing or infinite"),
        ({"g": labelled("a", "b")}, 1, "found a, b; needed Intercept, x"),
        ({"g": labelled("x", "x")}, 1, "found x, x"),
        ({"G": np.eye(2)}, 1, "G, which the design lacks; it has g"),
        ({**OK, "h": 1.0}, 1, "h, which the design lacks"),
        ({}, 1, "No variance components for group 'g'"),
        ([1], 1, "{group: covariance matrix}"),
        (OK, 0, "must be positive and finite; found 0"),
        (OK, -2, "must be positive"),
        (OK, np.nan, "must be positive"),
        (OK, "a", "A number is needed"),
        (OK, None, "A number is needed"),
    ],
)
def test_components(model, blocks, sigma2, part):
    with pytest.raises(bv.ComponentsError) as caught:
        bv.MarginalCovariance(model.design, bv.VarianceComponents(blocks, sigma2))
    assert part in str(caught.value)


@pytest.mark.parametrize(
    ("sd", "corr", "sigma", "part"),
    [
        ({"g": [-1, 1]}, None, 1, "numbers ≥ 0"),
        ({"g": [1, 1]}, {"g": 2}, 1, "not positive semi-definite"),
        ({"g": [1, 1]}, {"g": [0.1, 0.2]}, 1, "2 SDs and so needs 1 correlations"),
        ({"g": [1, 1]}, {"h": 0.1}, 1, "no SDs"),
        ({"g": [1, 1]}, None, 0, "must be positive"),
        ({"g": [1, 1]}, None, -2, "sigma"),
        ({"g": [1, 1]}, {"g": [[2, 0], [0, 2]]}, 1, "diagonal"),
        ({"g": ["a", 1]}, None, 1, "numbers"),
        ({"g": [1, 1]}, {"g": "a"}, 1, "number"),
        ([1], None, 1, "group"),
    ],
)
def test_from_sd_corr(sd, corr, sigma, part):
    with pytest.raises(bv.ComponentsError, match=part):
        bv.VarianceComponents.from_sd_corr(sd, corr, sigma=sigma)


def test_labelled_correlations_are_aligned():
    corr = pd.DataFrame([[1, 0.1, 0.2], [0.1, 1, 0.3], [0.2, 0.3, 1]], list("cba"), list("cba"))
    sd = {"g": {"a": 1, "b": 1, "c": 1}}
    vc = bv.VarianceComponents.from_sd_corr(sd, {"g": corr}, sigma=1)
    assert vc["g"].loc["a", "b"] == pytest.approx(0.3)


HEAD = " Groups   Name        Std.Dev. Corr\n g        (Intercept) 2.0\n"


@pytest.mark.parametrize(
    ("listing", "part"),
    [
        ("hello", "No header"),
        (HEAD, "line 'Residual'"),
        (HEAD + "          x           1.0      1.5\n Residual             1.0\n", "semi-definite"),
        (pd.DataFrame({"a": [1]}), "columns"),
        (HEAD + "          x           1.0      abc\n Residual             1.0\n", "abc"),
    ],
)
def test_from_varcorr(listing, part):
    with pytest.raises(bv.ComponentsError, match=part):
        bv.VarianceComponents.from_varcorr(listing)


DESIGN = bv.Model(FORMULA, frame()).design
V = bv.MarginalCovariance(DESIGN, bv.VarianceComponents(OK, 1.5))


@pytest.mark.parametrize(
    ("call", "parts"),
    [
        (lambda: V.solve(np.ones(3)), ["shape (3,)", "40 rows"]),
        (lambda: V.quadratic(np.ones((3, 2))), ["shape (3, 2)"]),
        (lambda: V.to_dense(limit=10), ["40 rows", "to_sparse()", "limit"]),
        (lambda: V.block("h", "0"), ["'h'", "g"]),
        (lambda: V.block("g", "77"), ["no level '77'", "8 observed"]),
        (lambda: V.vc["h"], ["'h'", "g"]),
        (lambda: DESIGN.term("h"), ["'h'", "g"]),
        (lambda: bv.Model(FORMULA, frame()).reml(method="reml"), ["'REML' or 'ML'", "'reml'"]),
        (lambda: V.solve(["a"] * N), ["numbers"]),
        (lambda: V.solve(np.ones((N, 2, 2))), ["shape"]),
        (lambda: V.rows([500]), ["500"]),
        (lambda: bv.gls(DESIGN, OK), ["VarianceComponents"]),
        (lambda: bv.gls(DESIGN, None), ["VarianceComponents"]),
        (lambda: bv.gls(bv.Model(FORMULA, frame()), V.vc), ["design"]),
        (lambda: bv.expand_G(DESIGN, OK), ["VarianceComponents"]),
        (
            lambda: bv.expand_G(DESIGN, bv.VarianceComponents({**OK, "h": 1.0}, 1.0)),
            ["h, which the design lacks"],
        ),
        (lambda: bv.gls(DESIGN, V.vc).criterion("reml"), ["'reml'"]),
    ],
)
def test_V_and_what_takes_it(call, parts):
    with pytest.raises(bv.BayesvError) as caught:
        call()
    for part in parts:
        assert part in str(caught.value)


def test_a_level_may_be_asked_for_as_a_number():
    assert V.block("g", 3).equals(V.block("g", "3"))


# --- priors, data sets, sampling, comparison ------------------------------------------------------


def with_priors(**priors: Any) -> bv.Model:
    return bv.Model(FORMULA, frame(), bv.Priors(**priors))


HALF = bv.HalfNormal(1.0)


@pytest.mark.parametrize(
    ("call", "parts"),
    [
        (lambda: bv.HalfNormal(0), ["HalfNormal(scale=0)", "positive finite"]),
        (lambda: bv.HalfNormal("a"), ["positive finite"]),
        (lambda: bv.HalfStudentT(3, np.inf), ["scale=inf"]),
        (lambda: bv.LKJ(-1), ["eta=-1"]),
        (lambda: bv.Normal(np.nan, 1), ["mean=nan", "a finite number"]),
        (lambda: bv.Priors(sd=3), ["sd has 3"]),
        (lambda: bv.Priors(sd=bv.LKJ(1)), ["sd has LKJ"]),
        (lambda: bv.Priors(sigma=bv.Normal(0, 1)), ["sigma needs"]),
        (lambda: bv.Priors(corr=2), ["corr has 2"]),
        (lambda: bv.Priors(beta=HALF), ["beta has HalfNormal"]),
        (lambda: with_priors(sd={"G": HALF}), ["'G'", "grouping factors are g"]),
        (lambda: with_priors(sd={"g": {"xx": HALF}}), ["'xx'", "Intercept, x", "did you mean 'x'"]),
        (lambda: with_priors(beta={"xx": bv.Flat()}), ["'xx'", "Intercept, x"]),
        (lambda: with_priors(corr={"h": bv.LKJ(2)}), ["'h'"]),
        (lambda: bv.Model(FORMULA, frame(), {"sd": HALF}), ["must be a bv.Priors", "dict"]),
        (lambda: with_priors(beta={"x": {"a": bv.Flat()}}), ["beta"]),
        (lambda: with_priors(sd={"g": {"x": {"a": HALF}}}), ["sd"]),
        (lambda: with_priors(corr={"g": {"x": bv.LKJ(1)}}), ["corr"]),
        (
            lambda: with_priors(sd={"g": {"1": HALF, "(Intercept)": bv.HalfNormal(2)}}),
            ["Intercept"],
        ),
    ],
)
def test_priors(call, parts):
    with pytest.raises(bv.PriorError) as caught:
        call()
    for part in parts:
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("sleep", "did you mean 'sleepstudy'"),
        ("nope", "Available: sleepstudy, three_level"),
        (None, "Available"),
        (["a"], "Available"),
    ],
)
def test_datasets(name, part):
    with pytest.raises(bv.DataError, match=part):
        bv.load_dataset(name)


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"engine": "gibbs"}, "engine must be one of .*'gibbs'"),
        ({"draws": 0}, "draws must be an integer of at least 4; found 0"),
        ({"draws": 10.0}, "draws must be an integer"),
        ({"draws": "a"}, "draws must be an integer"),
        ({"chains": 0}, "chains must be an integer of at least 1"),
        ({"tune": 0}, "tune must be"),
        ({"target_accept": 1.0}, "between 0 and 1; found 1.0"),
        ({"target_accept": "a"}, "target_accept"),
    ],
)
def test_sample(model, options, part):
    with pytest.raises(bv.BayesvError, match=part):
        model.sample(**{"engine": "pymc", "progressbar": False, **options})


def posterior(design: bv.Design) -> Posterior:
    rng = np.random.default_rng(0)
    shape = (2, 300)
    covs = {t.group: rng.uniform(1, 2, (*shape, 1, 1)) * np.eye(t.n_columns) for t in design.terms}
    sigma2, beta = rng.uniform(1, 2, shape), rng.normal(size=(*shape, design.p))
    draws = Draws(ComponentDraws(design, covs, sigma2, beta))
    return Posterior.from_draws(draws, None, "made up")


POST = posterior(DESIGN)


def fit_of(formula: str = FORMULA, rows: int = N, **options: Any) -> bv.RemlFit:
    return bv.Model(formula, frame(z=np.arange(N) % 7).iloc[:rows], **options).reml()


@pytest.mark.filterwarnings("ignore::bayesv.FitWarning")
@pytest.mark.parametrize(
    ("call", "part"),
    [
        (lambda: bv.compare(), "at least two fits.*nothing"),
        (lambda: bv.compare(fit_of()), "found RemlFit"),
        (lambda: bv.compare(bv.Model(FORMULA, frame()), POST), "found Model, Posterior"),
        (lambda: bv.compare(fit_of(), POST, prob=2), "between 0 and 1; found 2"),
        (lambda: bv.compare(fit_of(rows=30), POST), "30 and 40 rows"),
        (lambda: bv.compare(fit_of("y ~ x + (1 | g)"), POST), "random columns of g"),
        (lambda: bv.compare(fit_of("y ~ 1 + (x | g)"), POST), "fixed effects"),
        (lambda: bv.compare(fit_of("y ~ x + (x | s)"), POST), "grouping factor|different data"),
        (lambda: POST.estimate("max"), "'max'"),
        (lambda: POST.estimate("mode"), "Use 'mean' or 'median'"),
        (lambda: POST.summary(prob=0), "found 0"),
        (lambda: bv.compare(fit_of("y ~ x + z + (x | g)"), POST), "fixed"),
        (lambda: bv.compare(fit_of(var_weights=np.linspace(1, 2, N)), POST), "weights"),
    ],
)
def test_compare(call, part):
    with pytest.raises(bv.BayesvError, match=part):
        call()


def test_comparison_aligns_standard_errors_by_name():
    d = frame(z=np.arange(N) % 7 / 2)
    fit = bv.Model("y ~ x + z + (1 | g)", d).reml()
    fixed = bv.compare(fit, posterior(bv.Model("y ~ z + x + (1 | g)", d).design)).fixed
    got = fixed.set_index("coefficient")["gls_reml_se"]
    assert got["z"] == pytest.approx(fit.se["z"])


@pytest.mark.parametrize(
    ("covs", "sigma2", "part"),
    [
        ({"g": np.ones((2, 9, 3, 3))}, np.ones((2, 9)), "have shape .*needed is"),
        ({"g": np.full((2, 9, 2, 2), np.nan)}, np.ones((2, 9)), "finite"),
        ({"h": np.ones((2, 9, 2, 2))}, np.ones((2, 9)), "'g'"),
        ({"g": np.ones((2, 9, 2, 2))}, -np.ones((2, 9)), "positive"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_draws_that_do_not_fit_the_design(covs, sigma2, part):
    def label():
        draws = Draws(ComponentDraws(DESIGN, covs, sigma2, np.ones((2, 9, 2))))
        return Posterior.from_draws(draws, None, "made up")

    with pytest.raises(bv.BayesvError, match=part):
        label()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("size", [1e-300, 1e-160, 1e160, 1e300])
@pytest.mark.parametrize("name", ["y", "x", "w", "z"])
def test_sizes_whose_squares_are_no_numbers_are_named(size, name):
    """Their unit is the reason, and no warning of NumPy's or a story about random effects."""
    rng = np.random.default_rng(1)
    data = pd.DataFrame(rng.uniform(1, 2, (24, 4)), columns=list("yxwz"))
    data["g"] = list("abcd") * 6
    data[name] *= size
    with np.errstate(all="raise"), pytest.raises(bv.DataError, match="in a unit") as refusal:
        bv.Model("y ~ x + (z | g)", data, var_weights="w")
    assert {"y": "'y'", "x": "x is", "w": "var_weights", "z": "z is"}[name] in str(refusal.value)


def test_points_in_time_are_no_weights_and_no_offsets():
    data = pd.DataFrame({"y": np.arange(24.0) % 7, "t": pd.date_range("2020", periods=24)})
    data["g"], data["w"] = list("abcd") * 6, data["t"].dt.tz_localize("Asia/Tokyo")
    with pytest.raises(bv.BayesvError, match=r"offset\(t\) holds points in time"):
        bv.Model("y ~ offset(t) + (1 | g)", data)
    with pytest.raises(bv.DataError, match=r"var_weights \('w'\) .* points in time"):
        bv.Model("y ~ 1 + (1 | g)", data, var_weights="w")
