"""Functions of formulas against the values that R 4 gives for the same columns."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import bayesv as bv
from bayesv.formula.functions import quantiles, sequence
from bayesv.formula.new_rows import new_rows
from bayesv.support import memory

X = np.array([-1.3, 0.2, 2.5, 0.7, -0.4, 1.1, 0.2, 3.25])
DATA = pd.DataFrame(
    {
        "y": [1.0, 2.5, 3.0, 2.0, 4.5, 1.5, 3.5, 2.25],
        "x": X,
        "f": list("abcabcab"),
        "b": list("uvuvvuuv"),
        "p": [0.1, 0.5, 0.9, 0.25, 0.75, 0.3, 0.6, 0.8],
        "g": [0, 1, 0, 1, 0, 1, 0, 1],
    }
)
# As R prints them with 17 digits.
NUMBERS = {
    "plogis(x)": [
        0.21416501695744139, 0.54983399731247795, 0.92414181997875655, 0.66818777216816616,
        0.40131233988754800, 0.75026010559511769, 0.54983399731247795, 0.96267311265587063,
    ],
    "pnorm(x)": [
        0.096800484585610344, 0.579259709439102988, 0.993790334674223841, 0.758036347776926966,
        0.344578258389675818, 0.864333939053617328, 0.579259709439102988, 0.999422974957609234,
    ],
    "asinh(x)": [
        -1.07845105895489701, 0.19869011034924142, 1.64723114637109580, 0.65266656608235574,
        -0.39003531977071526, 0.95034692982113433, 0.19869011034924142, 1.89467213542304092,
    ],
    "c(scale(x))": [
        -1.395959554883190235, -0.389862578390800962, 1.152819452230863018, -0.054496919560004457,
        -0.792301368987756605, 0.213795607504632834, -0.389862578390800962, 1.655867940477057765,
    ],
    "as.logical(x > 0.5)": [0, 0, 1, 1, 0, 1, 0, 1],
    "xor(x > 0, b == 'u')": [1, 1, 0, 1, 0, 0, 0, 1],
    "I(x > quantile(x, 0.5))": [0, 0, 1, 1, 0, 1, 0, 1],
}  # fmt: skip
NUMBERS["as.vector(scale(x))"] = NUMBERS["c(scale(x))"]


def model(text: str, data: pd.DataFrame = DATA) -> bv.Model:
    return bv.Model(f"y ~ {text} + (1 | g)", data)


@pytest.mark.parametrize("text", NUMBERS)
def test_numbers(text):
    np.testing.assert_allclose(model(text).design.X[:, 1], NUMBERS[text], rtol=1e-14)


@pytest.mark.parametrize(
    ("text", "levels", "codes"),
    [
        ("interaction(f, b)", "a.u b.u c.u a.v b.v c.v", [1, 5, 3, 4, 5, 3, 1, 5]),
        (
            "interaction(f, b, sep = '_', lex.order = TRUE)",
            "a_u a_v b_u b_v c_u c_v",
            [1, 4, 5, 2, 4, 5, 1, 4],
        ),
        ("interaction(f, b, drop = TRUE)", "a.u c.u a.v b.v", [1, 4, 2, 3, 4, 2, 1, 4]),
    ],
)
def test_interaction(text, levels, codes):
    """Levels that no row has are in no column, as R's are aliased there."""
    levels = levels.split()
    columns = np.eye(len(levels))[np.array(codes) - 1]
    seen = [j for j in range(1, len(levels)) if columns[:, j].any()]
    design = model(text).design
    assert list(design.fixed_names[1:]) == [
        f"{text}[{levels[j]}]".replace(" = ", "=").replace("TRUE", "True") for j in seen
    ]
    np.testing.assert_array_equal(design.X[:, 1:], columns[:, seen])


def test_combinations_of_one_label_are_one_level():
    data = DATA.assign(f=["x.y", "x"] * 4, b=["z", "y.z", "w", "y.z"] * 2)
    names = model("interaction(f, b)", data).design.fixed_names
    assert list(names) == ["Intercept", "interaction(f, b)[x.y.z]"]  # beside x.y.w


def test_cut_at_quantiles_and_at_infinity():
    text = "cut(x, quantile(x), include.lowest = TRUE, labels = FALSE)"
    np.testing.assert_array_equal(model(text).design.X[:, 1], [1, 2, 4, 3, 1, 3, 2, 4])
    names = model("cut(x, c(-Inf, 0, Inf))").design.fixed_names
    assert names[1] == "cut(x, c(-Inf, 0, Inf))[(0, Inf]]"
    text = "cut(x, seq(-2, 4, by = 3), labels = FALSE)"
    np.testing.assert_array_equal(model(text).design.X[:, 1], [1, 1, 2, 1, 1, 2, 1, 2])


@pytest.mark.parametrize(
    ("probs", "values"),
    [
        ("", [-1.3, 0.050000000000000017, 0.449999999999999956, 1.450000000000000178, 3.25]),
        (", c(0.1, 1/3, 0.9)", [-0.66999999999999993, 0.2, 2.72499999999999964]),
    ],
)
def test_quantiles(probs, values):
    wanted = (0, 0.25, 0.5, 0.75, 1) if not probs else (0.1, 1 / 3, 0.9)
    np.testing.assert_allclose(quantiles(X, wanted), values, rtol=1e-15)


def test_quantiles_of_the_fit_hold_for_new_rows():
    fitted = bv.Model("y ~ 1 + (0 + I((x > quantile(x, 0.75)) * 1) | g)", DATA).design
    (term,) = new_rows(fitted, DATA.assign(x=X - 2.0)).terms
    np.testing.assert_array_equal(term.values[:, 0], X - 2.0 > 1.45)


def test_ordered():
    names = model("as.ordered(f)").design.fixed_names
    assert list(names) == ["Intercept", "as.ordered(f)[.L]", "as.ordered(f)[.Q]"]


def test_sequences():
    assert sequence(0, 1, 0.3) == (0.0, 0.3, 0.6, 0.8999999999999999)
    assert sequence(5, 1) == (5, 4, 3, 2, 1)
    np.testing.assert_allclose(sequence(0, 1, count=4), [0, 1 / 3, 2 / 3, 1], rtol=1e-15)
    for wrong in ((0, 1, -1.0), (0, 1, 0.0), (0, 1e9, 1.0), (0, np.inf, 1.0)):
        with pytest.raises(ValueError, match=r"steps"):
            sequence(*wrong)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("paste(f, b)", r"interaction\(f, g\)"),
        ("rank(x)", r"pandas\.Series\.rank"),
        ("lag(x)", "rows' order"),
        ("s(x)", r"ns\(x, df=3\)"),
        ("ave(x, f)", "transform"),
        ("cbind(x, p)", r"by '\+'"),
        ("splines::ns(x, 3)", "without a package"),
        ("interaction(f, b, sep = 3)", "sep must be a text"),
        ("I(quantile(x, 2) * x)", "between 0 and 1"),
        ("I(quantile(x, 0.5, type = 6) * x)", "type 7"),
        ("cut(x, seq(0, 1, by = 0))", "does not come"),
    ],
)
def test_what_is_refused_says_what_stands_for_it(text, words):
    with pytest.raises(bv.FormulaError, match=words):
        model(text)


def test_too_many_combinations_are_refused(monkeypatch):
    monkeypatch.setattr(memory, "available", lambda: 1 << 28)
    n = 2000
    rng = np.random.default_rng(1)
    data = pd.DataFrame(
        {"y": rng.normal(size=n), "f": [f"a{i}" for i in range(n)], "g": np.arange(n) % 7}
    )
    with pytest.raises(bv.BayesvError, match=r"interaction\(\) of 2,000 × 2,000 levels"):
        bv.Model("y ~ interaction(f, f) + (1 | g)", data)


@pytest.mark.parametrize(
    ("short", "long"),
    [
        ("factor(g, levels = 1:0)", "factor(g, levels = c(1, 0))"),
        ("I(g %in% 1:2)", "I(g %in% c(1, 2))"),
        ("cut(x, -2:4)", "cut(x, c(-2, -1, 0, 1, 2, 3, 4))"),
    ],
)
def test_steps_between_two_numbers(short, long):
    np.testing.assert_array_equal(model(short).design.X, model(long).design.X)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("I(x:p)", "between two numbers"),
        ("cut(x, 0:1e9)", "at most 10,000"),
        ("I(x + 1:8)", "no number"),
    ],
)
def test_steps_that_are_none(text, said):
    with pytest.raises(bv.FormulaError, match=said):
        model(text)


def test_a_number_that_also_groups_is_refused():
    """lme4 makes a factor of it on both sides of that bar."""
    for side in ("p | g:p", "0 + x + p || b:p"):
        with pytest.raises(bv.FormulaError, match="lme4 reads as a factor"):
            bv.Model(f"y ~ x + ({side})", DATA)
    bv.Model("y ~ x + (p | g) + (1 | b)", DATA)
    bv.Model("y ~ x + (factor(g) | b:g)", DATA)
