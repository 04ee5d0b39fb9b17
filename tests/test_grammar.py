"""lme4's formula language: what is read as random terms, labels, names, and where errors point."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import bayesv as bv
from bayesv.formula import parse
from bayesv.formula.algebra import Terms
from bayesv.formula.syntax import label


def random_terms(right: str) -> list[tuple[str, tuple[str, ...], str, bool]]:
    return [(t.lhs, t.factors, t.label, t.correlated) for t in parse(f"y ~ x + {right}").random]


@pytest.mark.parametrize(
    ("text", "lhs", "factors", "label", "correlated"),
    [
        ("(1 | g)", "1", ("g",), "g", True),
        ("(x | g)", "x", ("g",), "g", True),
        ("(0 + x | g)", "0 + x", ("g",), "g", True),
        ("(x - 1 | g)", "x - 1", ("g",), "g", True),
        ("(x || g)", "x", ("g",), "g", False),
        ("(1 | a:b)", "1", ("a", "b"), "a:b", True),
        ("(1 | a:b:c)", "1", ("a", "b", "c"), "a:b:c", True),
        ("(x|g)", "x", ("g",), "g", True),
        ("(x + I(x**2) | g)", "x + I(x ** 2)", ("g",), "g", True),
        ("(x + I(x^2) | g)", "x + I(x ** 2)", ("g",), "g", True),
        ("(poly(x, 2) | g)", "poly(x, 2)", ("g",), "g", True),
        ("(Machine | Worker)", "Machine", ("Worker",), "Worker", True),
        ("(1 | sch.cl)", "1", ("sch.cl",), "sch.cl", True),
        ("(1 | `a b`)", "1", ("a b",), "a b", True),
        ("(1 | factor(g))", "1", ("g",), "g", True),
        ("(1 | as.factor(g):h)", "1", ("g", "h"), "g:h", True),
        ("(1 |\n g)", "1", ("g",), "g", True),
    ],
)
def test_one_term(text, lhs, factors, label, correlated):
    assert random_terms(text) == [(lhs, factors, label, correlated)]


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("(1 | sch/tch)", {"sch": ("sch",), "tch:sch": ("tch", "sch")}),
        (
            "(x | a/b/c)",
            {"a": ("a",), "b:a": ("b", "a"), "c:(b:a)": ("c", "b", "a")},
        ),
        ("(1 | sch.cl/tch.cl)", {"sch.cl": ("sch.cl",), "tch.cl:sch.cl": ("tch.cl", "sch.cl")}),
        ("(1 | h/(k))", {"h": ("h",), "k:h": ("k", "h")}),
        ("(1 | a/(b:c))", {"a": ("a",), "(b:c):a": ("b", "c", "a")}),
        ("(1 | a:b/c)", {"a:b": ("a", "b"), "c:(a:b)": ("c", "a", "b")}),
    ],
)
def test_nesting_has_the_labels_of_lme4(text, labels):
    terms = random_terms(text)
    assert {label: factors for _, factors, label, _ in terms} == labels
    assert len({lhs for lhs, *_ in terms}) == 1


def test_crossed_and_shared_factors_stay_separate_terms():
    terms = random_terms("(1 | g) + (0 + x | g) + (x || h)")
    assert terms == [
        ("1", ("g",), "g", True),
        ("0 + x", ("g",), "g", True),
        ("x", ("h",), "h", False),
    ]


def test_double_bar_over_nested_factors():
    terms = random_terms("(x || a/b)")
    assert [(label, correlated) for *_, label, correlated in terms] == [
        ("a", False),
        ("b:a", False),
    ]


@pytest.mark.parametrize(
    ("lhs", "sides"),
    [
        ("x", ["1", "0 + x"]),
        ("0 + x", ["0 + x"]),
        ("x + z", ["1", "0 + x", "0 + z"]),
        ("x * z", ["1", "0 + x", "0 + z", "0 + x:z"]),
        ("x - 1", ["0 + x"]),
        ("x * z - z:x", ["1", "0 + x", "0 + z"]),
        ("f/x", ["1", "0 + f", "0 + f:x"]),
        ("1", ["1"]),
        ("0 + `my x` * z", ["0 + `my x`", "0 + z", "0 + `my x`:z"]),
        ("log(`my x`)", ["1", "0 + log(`my x`)"]),
    ],
)
def test_double_bar_splits_the_left_side(lhs, sides):
    (term,) = parse(f"y ~ ({lhs} || g)").random
    assert [written(side) for side in term.sides] == sides
    (term,) = parse(f"y ~ ({lhs} | g)").random
    assert len(term.sides) == 1


def written(terms: Terms) -> str:
    """The terms of a side as R's terms() lists them."""
    names = [label(node) for node in terms.variables]
    texts = [":".join(names[v] for v in term) for term in terms.terms]
    return " + ".join(["1"] * terms.intercept + ([] if terms.intercept else ["0"]) + texts)


# As R's terms() has them, by attr(, "intercept") and attr(, "term.labels").
ALGEBRA = {
    "x + z": "1 + x + z",
    "(a + b) %in% c": "1 + a:c + b:c",
    "(a + b) %in% (c + d)": "1 + a:c:d + b:c:d",
    "a %in% b %in% c": "1 + a:b:c",
    "a/b/c": "1 + a + a:b + a:b:c",
    "(a + b)/c": "1 + a + b + a:b:c",
    "a/(b + c)": "1 + a + a:b + a:c",
    "a*b/c": "1 + a + b + a:b + a:b:c",
    "x - a/b": "1 + x",
    "x + a + a:b + b - a/b": "1 + x + b",
    "x - (z - 1)": "1 + x",
    "(x - 1)*f": "0 + x + f + x:f",
    "x*z - 1": "0 + x + z + x:z",
    "a:b:a": "1 + a:b",
    "a*b*c - b:a": "1 + a + b + c + a:c + b:c + a:b:c",
    "0 + x - 0": "1 + x",
    "x + 1 - 1": "0 + x",
    "-1 + 1 + x": "1 + x",
    "a^3": "1 + a",
    "(a + b + c)^2 - a": "1 + b + c + a:b + a:c + b:c",
    "b:a + a": "1 + a + b:a",
    "a + x:a": "1 + a + a:x",
    "x %% 2:f": "1 + x %% 2 : f",
    "a %in% b:c": "1 + a:b:c",
    "(0 + x)": "0 + x",
    "log(x) + log( x )": "1 + log(x)",
    "a/b - a": "1 + a:b",
    "(a*b)/c": "1 + a + b + a:b + a:b:c",
    "(a + b + c)^2/d": "1 + a + b + c + a:b + a:c + b:c + a:b:c:d",
    "(a + 0)/b": "0 + a + a:b",
    "a:b*c": "1 + c + a:b + a:b:c",
    "-x": "1",
    "+x": "1 + x",
    "z*w - w:z": "1 + z + w",
    "(x + z - 1)": "0 + x + z",
    "(x < 0)": "1 + x < 0",
    "f:g + f*x": "1 + f + x + f:g + f:x",
    "(z + w)*(w + z)": "1 + z + w + z:w",
}


@pytest.mark.parametrize("text", ALGEBRA)
def test_terms_are_those_of_r(text):
    assert written(parse(f"y ~ {text} + (1 | id)").terms) == ALGEBRA[text]
    if text[0] not in "+-":
        assert written(parse(f"y ~ (1 | id) + {text}").terms) == ALGEBRA[text]
    (term,) = parse(f"y ~ 1 + ({text} | id)").random
    assert written(term.sides[0]) == ALGEBRA[text]


def test_what_deletes_nothing_is_said():
    model = bv.Model("y ~ x - z + (1 | g)", small())
    assert model.design.fixed_names == ("Intercept", "x")
    assert "'- z' deletes no term" in model.design.describe()


@pytest.mark.parametrize(
    ("text", "fixed"),
    [
        ("y ~ x + (1|g)", "x"),
        ("y ~ (1|g) + x", "x"),
        ("y ~ (1|g)", "1"),
        ("y ~ x - 1 + (1|g)", "x - 1"),
        ("y ~ 0 + x + (1|g) + z", "0 + x + z"),
        ("y ~ x*z - x:z + (1|g)", "x * z - x : z"),
        ("y ~ I(x^2) + (1|g)", "I(x ** 2)"),
        ("y ~ (x + z)^2 + (1|g)", "(x + z) ** 2"),
        ("y ~ poly(x, 2, raw=TRUE) + (1|g)", "poly(x, 2, raw=True)"),
        ("y ~ f(x, FALSE) + (1|g)", "f(x, False)"),
        ("y ~ a %in% b + (1|g)", "a %in% b"),
        ("y ~ `a b` + x.1 + (1|g)", "`a b` + x.1"),
        ("y ~ I(f == 'a (1|b) ~ c') + (1|g)", "I(f == 'a (1|b) ~ c')"),
        ("y ~ x +\n  (1|g)\n", "x"),
    ],
)
def test_fixed_part_as_text(text, fixed):
    assert parse(text).fixed == fixed
    assert parse(f"y ~ {fixed} + (1 | g)").terms == parse(text).terms


def test_response_and_the_places_of_names():
    formula = parse("log(y.1) ~ x + I(w^2) + (z | `a b`/c) + poly(x, 2, raw=TRUE)")
    assert formula.response == "log(y.1)"
    assert formula.names == {"y.1": 4, "x": 11, "w": 17, "z": 25, "a b": 29, "c": 35}
    assert set(formula.functions) == {"log", "I", "poly"}


@pytest.mark.parametrize(
    "text",
    [
        "y ~ " + "(" * 500 + "x" + ")" * 500 + " + (1|g)",
        "y ~ I(" + "-" * 5000 + "x) + (1|g)",
        "y ~ " + "*".join(f"x{i}" for i in range(200)) + " + (1|g)",
        "y ~ (" + " + ".join(f"x{i}" for i in range(300)) + ")^3 + (1|g)",
        "y ~ " + "log(" * 300 + "x" + ")" * 300 + " + (1|g)",
        "y ~ x" + "^2" * 300 + " + (1|g)",
        "y ~ " + "x + " * 20_000 + "(1|g)",
        "y ~ " + "*".join(f"x{i}" for i in range(14)) + " + (1|g)",
    ],
)
def test_deep_and_huge_formulas_are_refused_at_once(text):
    with pytest.raises(bv.FormulaError, match=r"deep|in a row|more than"):
        parse(text)


def test_long_sums_are_read():
    text = " + ".join(f"x{i}" for i in range(3000))
    assert len(parse(f"y ~ {text} + (1|g)").terms.terms) == 3000


def test_newlines_are_spaces():
    formula = parse("y ~ x +\n   (1 | g)")
    assert formula.text == "y ~ x + (1 | g)"
    assert formula.fixed == "x"


# The place is the part of the formula at which the caret points.
MALFORMED = [
    ("y + x + (1|g)", "exactly one '~'", None),
    ("y ~ x ~ z + (1|g)", "found 2", "~ z"),
    ("~ x + (1|g)", "no response", "~"),
    ("y ~", "missing", None),
    ("y ~ x", "no random term", None),
    ("y ~ x + (1 | g", "never closed", "(1"),
    ("y ~ x + 1 | g)", "closes nothing", ")"),
    ("y ~ f(x] + (1|g)", "closes nothing", "]"),
    ("y ~ x ++ z + (1|g)", "nothing before this '+'", "+ z"),
    ("y ~ x + (1|g) +", "missing", None),
    ("y ~ x + (|g)", "left of this bar", "|"),
    ("y ~ x + (1|)", "right of this bar", "|"),
    ("y ~ x + (1|g|h)", "alone in parentheses", "|g|"),
    ("y ~ x + (1|g) z", "operator is missing", "z"),
    ("y ~ x * (1|g)", "alone in parentheses", "|"),
    ("y ~ x | g", "alone in parentheses", "|"),
    ("y ~ x - (1|g)", "cannot be subtracted", "(1"),
    ("y ~ x $ (1|g)", "'$'", "$"),
    ("y ~ 'a + (1|g)", "Unexpected character", "'a"),
    ("y ~ I(x <- z) + (1|g)", "gives a name", "<- z"),
    ("y ~ x + (1|g*h)", "'*' has no meaning", "*"),
    ("y ~ x + (1|g+h)", "'+' has no meaning", "+h"),
    ("y ~ x + (1|log(g))", "not the function 'log'", "log"),
    ("y ~ x + (1|1)", "grouping factor is needed", "1)"),
    ("y ~ x + (1|g:)", "missing", None),
    ("y ~ x + (1|a/(b/c))", "missing", "/c"),
    ("y ~ x % 2 + (1|g)", "'%'", "%"),
    ("y ~ x // 2 + (1|g)", "There is nothing before", "/ 2"),
    ("y ~ x == 2 + (1|g)", "alone in parentheses", "|"),
    ("y ~ x < 0 + (1|g)", "alone in parentheses", "|"),
    ("y ~ !x + (1|g)", "alone in parentheses", "|"),
    ("y ~ {x + 1} + (1|g)", "'{'", "{"),
    ("y ~ x[1] + (1|g)", "'['", "["),
    ("y ~ . + (1|g)", "name the columns", "."),
    ("y, x ~ z + (1|g)", "Unexpected ','", ","),
    ("cbind(y, x) ~ z + (1|g)", "one response", "cbind"),
    ("y ~ x, z + (1|g)", "Unexpected ','", ","),
    ("y ~ x + 2 + (1|g)", "2 is no term", "2"),
    ("y ~ x * 1e-3 + (1|g)", "no meaning beside '*'", "1e-3"),
    ("y ~ x:1 + (1|g)", "no meaning beside ':'", "1 "),
    ("y ~ x + (x - 4.5 || g)", "4.5 is no term", "4.5"),
    ("y ~ x^z + (1|g)", "no power of terms", "z"),
    ("y ~ x^1 + (1|g)", "no power of terms", "1 "),
    ("y ~ (x - x):z + (1|g)", "one on either side", "(x"),
    ("y ~ offset(x):z + (1|g)", "offset() stands alone", "offset"),
    ("y ~ x - offset(z) + (1|g)", "offset() stands alone", "offset"),
    ("y ~ x + (offset(z) | g)", "has an offset", "offset"),
    ("y ~ x + (0 | g)", "has no column", "(0"),
    ("y ~ x + 'a' + (1|g)", "'a' is no term", "'a'"),
    ("y ~ TRUE + (1|g)", "True is no term", "TRUE"),
    ("y ~ x*-z + (1|g)", "no meaning beside", "-z"),
    ("y ~ I(x | z) + (1|g)", "no 'or'", "| z"),
    ("y ~ f(x; z) + (1|g)", "';'", ";"),
    ("y ~ I(0 < x < 1) + (1|g)", "do not chain", "< 1"),
    ("y ~ I(1e999 * x) + (1|g)", "too large", "1e999"),
]


@pytest.mark.parametrize(("text", "message", "place"), MALFORMED)
def test_malformed_formulas_are_pointed_at(text, message, place):
    with pytest.raises(bv.FormulaError) as error:
        parse(text)
    lines = str(error.value).split("\n")
    assert message in str(error.value)
    if place is not None:
        assert lines[-2].strip() == text.strip()
        assert lines[-1].strip() == "^"
        assert lines[-1].index("^") - 2 == text.index(place)


@pytest.mark.parametrize("text", [None, 3, "", "  ", b"y ~ x"])
def test_what_is_no_text_is_refused(text):
    with pytest.raises(bv.FormulaError, match="formula is needed as text"):
        parse(text)


def test_the_caret_survives_a_newline():
    text = "y ~ x +\n (1 | g*h)"
    with pytest.raises(bv.FormulaError) as error:
        parse(text)
    caret = str(error.value).split("\n")[-1]
    assert caret.index("^") - 2 == text.index("*")


# --- evaluated: grammar that must give R's numbers or be refused ----------------------------------


def small() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "y": rng.normal(size=24),
            "x": rng.uniform(1, 2, 24),
            "z": rng.normal(size=24),
            "g": np.repeat(np.arange(6), 4),
            "f": np.tile(["a", "b", "c", "b"], 6),
        }
    )


def column(text: str, data: pd.DataFrame) -> np.ndarray:
    return bv.Model(f"y ~ {text} + (1|g)", data).design.X[:, 1]


def test_powers_and_signs_as_in_r():
    data = small()
    x, z = data["x"], data["z"]
    for text, want in {
        "I(x^2)": x**2,
        "I(x**2)": x**2,
        "I(-(x^2))": -(x**2),
        "I(2 - x^2)": 2 - x**2,
        "I(-2 * x^2)": -2 * x**2,
        "I(x^-2)": x**-2.0,
        "I(x - -2)": x + 2,
        "I(-x + z)": -x + z,
        "I(2 - x - z)": 2 - x - z,
        "I(2 / x / z)": 2 / x / z,
        "I(x * -2e-3)": -2e-3 * x,
        "exp(-x)": np.exp(-x),
        "abs(-z)": np.abs(z),
        "I(f == 'b')": data["f"] == "b",
    }.items():
        np.testing.assert_allclose(column(text, data), want, err_msg=text)


def right_or_refused(text: str, want: pd.Series, data: pd.DataFrame) -> None:
    """Formulae's precedence differs from R's: the column is R's, or the formula is refused."""
    try:
        got = column(text, data)
    except bv.FormulaError:
        return
    np.testing.assert_allclose(got, want)


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("I(-x^2)", lambda d: -(d.x**2)),
        ("I(-(x + 1)^2)", lambda d: -((d.x + 1) ** 2)),
        ("I(-log(x)^2)", lambda d: -(np.log(d.x) ** 2)),
        ("I(x^2^3)", lambda d: d.x**8),
        ("I(z - (-x)^3)", lambda d: d.z + d.x**3),
    ],
)
def test_ambiguous_powers(text, want):
    data = small()
    right_or_refused(text, want(data), data)


@pytest.mark.parametrize("text", ["y ~ x z + (1|g)", "y ~ x + f z + (1|g)", "y ~ (x|g) + x 2"])
def test_a_missing_operator_is_refused(text):
    with pytest.raises(bv.FormulaError):
        bv.Model(text, small())


WORDS = ("TRUE", "FALSE", "True", "False", "NULL", "None")


@pytest.mark.parametrize("word", WORDS)
def test_a_column_named_as_a_word_is_not_the_word(word):
    formula = parse(f"y ~ I(x * `{word}`) + I(x * TRUE) + (`{word}` | g)")
    assert [word in formula.names, len(formula.terms.terms)] == [True, 2]
    assert parse(formula.text).names == formula.names
    again = parse(f"y ~ {formula.fixed} + ({formula.random[0].lhs} | g)")
    assert (again.terms, again.random[0].sides) == (formula.terms, formula.random[0].sides)


def test_blanks_within_quotes_are_kept():
    text = "y ~\n `a  b`  + `a b` + I(f == 'p  q') +\t(`a  b` | g)"
    formula = parse(text)
    assert formula.text == "y ~ `a  b` + `a b` + I(f == 'p  q') + (`a  b` | g)"
    assert parse(formula.text).names.keys() == formula.names.keys()


def test_new_rows_take_the_columns_of_the_formula():
    rng = np.random.default_rng(1)
    names = ["y", "a  b", "a b", "True"]
    data = pd.DataFrame(rng.normal(size=(40, 4)), columns=names)
    data = data.assign(g=np.arange(40) % 8, f=["p q", "p  q"] * 20)
    model = bv.Model("y ~ `a  b` + `True` + I(f == 'p  q') + (`a  b` | g)", data)
    columns = [np.ones(40), data["a  b"], data["True"], data["f"] == "p  q"]
    np.testing.assert_array_equal(model.design.X, np.column_stack(columns).astype(float))
    fit = model.reml()
    again = fit.predict(data)
    pd.testing.assert_frame_equal(again, fit.predict(data.drop(columns="a b")))
