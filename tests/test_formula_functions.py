"""What a formula may call, what it gives, and what no formula can reach."""

from __future__ import annotations

import pickle
import sys
import threading

import numpy as np
import pandas as pd
import pytest

import bayesv as bv
from bayesv.study import Scenario

N = 60


def frame() -> pd.DataFrame:
    rng = np.random.default_rng(5)
    return pd.DataFrame(
        {
            "y": rng.normal(20, 3, N),
            "pre": rng.uniform(5, 9, N),
            "x": rng.normal(size=N),
            "z": rng.uniform(0.5, 2, N),
            "w": rng.normal(size=N),
            "k": rng.integers(0, 3, N),
            "f": rng.choice(list("abc"), N),
            "b": rng.choice(list("uv"), N),
            "t": rng.random(N) > 0.5,
            "g": np.tile(np.arange(6), N // 6),
        }
    )


def columns(text: str, data: pd.DataFrame | None = None, **options: object) -> np.ndarray:
    return bv.Model(f"y ~ {text} + (1|g)", frame() if data is None else data, **options).design.X[
        :, 1:
    ]


# --- the response is arithmetic -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("left", "values"),
    [
        ("y - pre", lambda d: d.y - d.pre),
        ("log(y) - log(pre)", lambda d: np.log(d.y) - np.log(d.pre)),
        ("y^2", lambda d: d.y**2),
        ("I(y^2)", lambda d: d.y**2),
        ("y - 200", lambda d: d.y - 200),
        ("y %% 2", lambda d: d.y % 2),
        ("(y + pre)/2", lambda d: (d.y + d.pre) / 2),
        ("-y", lambda d: -d.y),
        ("y * -1", lambda d: -d.y),
        ("scale(y)", lambda d: (d.y - d.y.mean()) / d.y.std()),
        ("k", lambda d: d.k),
        ("t", lambda d: d.t),
    ],
)
def test_response(left, values):
    data = frame()
    design = bv.Model(f"{left} ~ x + (1 | g)", data).design
    np.testing.assert_allclose(design.y, values(data).astype(float))


def test_a_difference_is_fitted_as_in_lme4():
    data = bv.load_dataset("sleepstudy").assign(pre=lambda d: 10 * d.Days + 200)
    fit = bv.Model("Reaction - pre ~ Days + (Days | Subject)", data).reml()
    assert fit.criterion == pytest.approx(1743.6283, abs=1e-3)
    np.testing.assert_allclose(fit.beta, [251.405 - 200, 10.467 - 10], atol=1e-3)


@pytest.mark.parametrize("left", ["f", "factor(k)", "g:k", "1", "pi"])
def test_what_is_no_response(left):
    with pytest.raises(bv.BayesvError, match=r"numeric|no column|value in each row|arithmetic"):
        bv.Model(f"{left} ~ x + (1 | g)", frame())


# --- functions ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("log(z, 2)", lambda d: np.log2(d.z)),
        ("log(z, base=3)", lambda d: np.log(d.z) / np.log(3)),
        ("np.log(z)", lambda d: np.log(d.z)),
        ("np.sqrt(z)", lambda d: np.sqrt(d.z)),
        ("pmin(x, w)", lambda d: np.minimum(d.x, d.w)),
        ("pmax(x, 0)", lambda d: np.maximum(d.x, 0)),
        ("np.maximum(x, w)", lambda d: np.maximum(d.x, d.w)),
        ("ifelse(x > 0, x, -1)", lambda d: np.where(d.x > 0, d.x, -1)),
        ("ifelse(f == 'b', 1, 0)", lambda d: d.f == "b"),
        ("ifelse(t & x > 0, x, w)", lambda d: np.where(d.t & (d.x > 0), d.x, d.w)),
        ("I(pi * x)", lambda d: np.pi * d.x),
        ("I(np.pi * x)", lambda d: np.pi * d.x),
        ("I(x - mean(x))", lambda d: d.x - d.x.mean()),
        ("I((x - min(x))/(max(x) - min(x)))", lambda d: (d.x - d.x.min()) / np.ptp(d.x)),
        ("I(x/sd(x))", lambda d: d.x / d.x.std()),
        ("I(x/np.std(x))", lambda d: d.x / d.x.std(ddof=0)),
        ("I(x - median(x))", lambda d: d.x - d.x.median()),
        ("as.numeric(t)", lambda d: d.t),
        ("as.numeric(k)", lambda d: d.k),
        ("x %% 2", lambda d: d.x % 2),
        ("I(x %/% 2)", lambda d: d.x // 2),
        ("round(z, 1)", lambda d: np.round(d.z, 1)),
        ("I(-x^2)", lambda d: -(d.x**2)),
        ("I(2^x^2)", lambda d: 2 ** (d.x**2)),
        ("I(x^-2)", lambda d: d.x**-2.0),
        ("I(-2^2 * x)", lambda d: -4 * d.x),
        ("center(x)", lambda d: d.x - d.x.mean()),
        ("standardize(x)", lambda d: (d.x - d.x.mean()) / d.x.std()),
        ("scale(x, 1, 2)", lambda d: (d.x - 1) / 2),
        ("I(x < 0)", lambda d: d.x < 0),
        ("(x < 0)", lambda d: d.x < 0),
        ("I(!t)", lambda d: ~d.t),
        ("I(f %in% c('a', 'b'))", lambda d: d.f.isin(["a", "b"])),
        ("I(k == 2)", lambda d: d.k == 2),
        ("cut(x, c(-9, 0, 9))", lambda d: d.x > 0),
    ],
)
def test_functions(text, values):
    data = frame()
    np.testing.assert_allclose(columns(text, data)[:, 0], values(data).astype(float), atol=1e-12)


def test_levels_of_factors_made_in_a_formula():
    names = bv.Model(
        "y ~ relevel(f, ref='c') + factor(k, levels=c(2, 0, 1)) + cut(x, c(-9, -1, 0, 9)) "
        "+ factor(b, labels=c('p', 'q')) + (1 | g)",
        frame(),
    ).design.fixed_names
    assert names == (
        "Intercept",
        "relevel(f, ref='c')[a]",
        "relevel(f, ref='c')[b]",
        "factor(k, levels=c(2, 0, 1))[0]",
        "factor(k, levels=c(2, 0, 1))[1]",
        "cut(x, c(-9, -1, 0, 9))[(-1,0]]",
        "cut(x, c(-9, -1, 0, 9))[(0,9]]",
        "factor(b, labels=c('p', 'q'))[q]",
    )


def test_text_that_is_numeric():
    data = frame()
    data["s"] = [f"{v:.2f}" for v in data.x]
    np.testing.assert_allclose(columns("as.numeric(s)", data)[:, 0], data.x.round(2))
    data["f"] = pd.Categorical(data.f, categories=["c", "b", "a"])
    np.testing.assert_allclose(
        columns("as.numeric(f)", data)[:, 0], data.f.map({"c": 1, "b": 2, "a": 3}).astype(float)
    )
    with pytest.raises(bv.FormulaError, match="no number"):
        columns("as.numeric(b)")


@pytest.mark.parametrize("n", [11, 25])
def test_transforms_see_all_rows_of_their_column(n):
    """R evaluates variables on all rows and drops incomplete ones afterwards."""
    data = frame()
    data.loc[: n - 1, "y"] = np.nan
    got = bv.Model("y ~ scale(x) + (center(w) || g)", data).design
    np.testing.assert_allclose(got.X[:, 1], ((data.x - data.x.mean()) / data.x.std())[n:])
    np.testing.assert_allclose(got.terms[0].values[:, 1], (data.w - data.w.mean())[n:])


def test_rows_are_dropped_by_what_is_evaluated():
    data = frame()
    data.loc[:3, "x"] = np.nan
    assert bv.Model("y ~ ifelse(is.na(x), 0, x) + (1 | g)", data).design.n == N
    assert bv.Model("y ~ w + x - x + (1 | g)", data).design.n == N - 4
    assert bv.Model("y ~ w + (w + x - x || g)", data).design.n == N


# --- names ----------------------------------------------------------------------------------------

AWKWARD = (
    "T", "S", "C", "I", "pi", "Intercept", "x:z", "f[b]", "my x", "a`b", "ü/ö", "log", "np.e", "1",
    "TRUE", "x + z", "'q'", "a\\b",
)  # fmt: skip


@pytest.mark.parametrize("name", AWKWARD)
def test_a_column_of_any_name_is_that_column(name):
    data = frame()
    awkward = data.rename(columns={"w": name})
    quoted = "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"
    for text in ("y ~ {} + (1 | g)", "y ~ z + ({} | g)", "y ~ f + {}:x + x:z + (0 + {} | g)"):
        a = bv.Model(text.replace("{}", "w"), data).design
        b = bv.Model(text.replace("{}", quoted), awkward).design
        np.testing.assert_array_equal(a.X, b.X)
        np.testing.assert_array_equal(a.Z.toarray(), b.Z.toarray())
        assert len(set(b.fixed_names)) == b.p


def test_labels_that_would_be_the_same_are_told_apart():
    data = frame().assign(**{"x:z": lambda d: d.w, "f[b]": lambda d: d.w})
    got = bv.Model("y ~ `x:z` + x:z + f + `f[b]` + (1 | g)", data).design
    assert got.fixed_names == ("Intercept", "`x:z`", "f[b]", "f[c]", "x:z")
    assert got.aliased == ("`f[b]`",)
    data["f[b]"] = data.pre
    got = bv.Model("y ~ `x:z` + x:z + f + `f[b]` + (1 | g)", data).design
    assert got.fixed_names == ("Intercept", "`x:z`", "f[b]", "f[c]", "`f[b]`", "x:z")


@pytest.mark.parametrize("digits", ["x", "1.5", "Inf", "-Inf"])
def test_digits_are_one_whole_number(digits):
    with pytest.raises(bv.FormulaError, match=r"round\(\): digits must be one whole number"):
        columns(f"round(z, {digits})")


@pytest.mark.parametrize("base", ["x", "1.5", "Inf", "0/0"])
def test_a_base_is_one_whole_number(base):
    with pytest.raises(bv.FormulaError, match="the place of a level, must be one whole number"):
        columns(f"C(f, base={base})")


def test_more_digits_than_numbers_have():
    np.testing.assert_array_equal(columns("round(z, 400)")[:, 0], frame().z)
    assert columns("x + round(z, -400)").shape == (N, 1)  # zeros are no column


def test_one_level_is_refused():
    with pytest.raises(bv.DataError, match="one level"):
        columns("f", frame().assign(f="a"))
    with pytest.raises(bv.DataError, match="one level"):
        bv.Model("y ~ x + (0 + f | g)", frame().assign(f="a"))


@pytest.mark.parametrize("dtype", [bool, "boolean", object])
@pytest.mark.parametrize("text", ["t + (0 + t | g)", "0 + t + (1 | g)", "x:t + (t || g)"])
def test_a_logical_is_a_factor_however_it_is_stored(text, dtype):
    data = frame()
    stored = data.assign(t=data.t.astype(dtype))
    as_factor = data.assign(t=data.t.map({True: "True", False: "False"}))
    a, b = bv.Model(f"y ~ {text}", stored).design, bv.Model(f"y ~ {text}", as_factor).design
    assert a.fixed_names == b.fixed_names
    np.testing.assert_array_equal(a.X, b.X)
    np.testing.assert_array_equal(a.Z.toarray(), b.Z.toarray())


# --- a closed world -------------------------------------------------------------------------------

ATTACKS = (
    "I(np.f2py.os.system('touch {}')*x)", "np.f2py.os.system('touch {}')",
    "`np`.f2py.os.system('touch {}')", "np.load('{}', allow_pickle=True)", "np.savetxt('{}', x)",
    "__import__('os').system('touch {}')", "I(x.__class__.__base__)", "x.to_csv('{}')",
    "eval('1')", "exec('1')", "open('{}', 'w')", "getattr(x, 'to_csv')('{}')", "I((lambda: 1)())",
    "log(x, out=x)", "exp(x, z)", "exp(x, out=z)", "np.add(x, z, z)", "np.exp(x, z)", "sqrt(x, z)",
    "log(z, x=1, x=2)", "system('touch {}')", "I(np)", "np", "bv", "os.system('touch {}')",
    "C(f, np.load('{}'))", "poly(x, open('{}'))", "I('a' 'b')", "f'{{x}}'", "I(x)(1)", "vars()",
    "x.y(1)", "`x`(1)", "np.log.reduce(x)",
)  # fmt: skip


def scenario(text: str) -> Scenario:
    return Scenario(
        name="a", formula=text, levels={"g": 6}, rows=5, covariates={"x": {"law": "normal"}},
        beta={"x": 1.0}, sigma=1.0, sd={"g": 1.0},
    )  # fmt: skip


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("place", ["fixed", "bar", "response", "offset", "scenario"])
def test_nothing_runs_that_is_not_in_the_table(attack, place, tmp_path):
    target = tmp_path / "written"
    attack = attack.format(target)
    text = {
        "fixed": f"y ~ x + {attack} + (1 | g)",
        "bar": f"y ~ x + ({attack} | g)",
        "response": f"{attack} ~ x + (1 | g)",
        "offset": f"y ~ x + offset({attack}) + (1 | g)",
        "scenario": f"y ~ x + {attack} + (1 | g)",
    }[place]
    data = frame()
    before = data.copy()
    make = scenario if place == "scenario" else lambda text: bv.Model(text, data)
    with pytest.raises(bv.BayesvError):
        make(text)
    assert not target.exists()
    pd.testing.assert_frame_equal(data, before)


def test_functions_and_values_of_the_namespace():
    seen = []

    def twice(v):
        seen.append(type(v))
        return 2 * v

    space = {
        "twice": twice,
        "knots": [0.0, 0.5],
        "c0": 3,
        "both": lambda v: np.column_stack([v, v**2]),
    }
    data = frame()
    np.testing.assert_allclose(columns("twice(x)", data, namespace=space)[:, 0], 2 * data.x)
    assert seen == [pd.Series]
    np.testing.assert_allclose(columns("I(c0 * x)", data, namespace=space)[:, 0], 3 * data.x)
    assert columns("bs(x, knots=knots)", data, namespace=space).shape[1] == 5
    np.testing.assert_allclose(columns("both(x)", data, namespace=space)[:, 1], data.x**2)
    with pytest.raises(bv.FormulaError, match="fails"):
        columns("bad(x)", data, namespace={"bad": lambda v: v.nothing})
    with pytest.raises(bv.FormulaError, match="shape"):
        columns("bad(x)", data, namespace={"bad": lambda v: np.ones((3, 2))})


def test_fits_in_threads_leave_the_process_as_it_was():
    out, data = sys.stdout, frame()
    threads = [
        threading.Thread(target=lambda: [columns("poly(x, 2) * f", data) for _ in range(5)])
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sys.stdout is out


def test_errors_of_numpy_do_not_decide():
    with np.errstate(all="raise"):
        data = frame()
        data.loc[0, "x"] = 0.0
        design = bv.Model("y ~ log(x) + I(1/x) + (1 | g)", data).design
    assert design.n == int((data.x > 0).sum())


def test_models_survive_pickle():
    model = bv.Model("y ~ poly(x, 2) + C(f, contr.sum) + (bs(z, df=4) || g)", frame())
    again = pickle.loads(pickle.dumps(model.design))
    names, X = again.encoding.fixed_columns(frame())
    assert names == model.design.fixed_names
    np.testing.assert_allclose(X, model.design.X)


WORDS = (
    "y", "x", "z", "f", "t", "k", "g", "`x`", "`x:z`", "1", "0", "2", "1e3", "2L", "'a'", "TRUE",
    "+", "-", "*", ":", "/", "^", "**", "%in%", "%%", "(", ")", "|", "||", "~", ",", "=", "<", "==",
    "!", "&", "log", "I", "poly", "factor", "C", "offset", "c", "cut", "bs", "scale", "ifelse", "T",
    "log(x", "poly(x, 2", "C(f, ", "contr.sum", "(1 | g)", " + (x | g)", "ref", "levels", "NULL",
)  # fmt: skip
INTERNAL = ("TypeError", "IndexError", "AttributeError", "object has no", "unsupported operand")


def message_of(text: str, data: pd.DataFrame) -> str:
    """What a formula is refused with, nothing if it is fitted; any other error is raised."""
    try:
        bv.Model(text, data)
    except bv.BayesvError as error:
        return str(error)
    return ""


def test_random_texts_are_fitted_or_refused_in_our_words():
    rng, data = np.random.default_rng(11), frame()
    messages = []
    for i in range(800):
        words = [WORDS[j] for j in rng.integers(len(WORDS), size=int(rng.integers(1, 12)))]
        text = " ".join(words)
        messages.append(message_of(f"y ~ {text} + (1 | g)" if i % 3 else text, data))
    assert messages.count("") > 5
    assert not [m for m in messages if any(word in m for word in INTERNAL)]


@pytest.mark.parametrize(
    "text", ["I(1)", "I(!1)", "!0", "I(NULL)", "I('a')", "c(1, 2)", "I(pi)", "mean(x)", "Sum('a')",
             "1 < 2", "log(2)", "I(TRUE)", "factor(1)", "I(1 < 2)", "poly(2, 1)"]
)  # fmt: skip
@pytest.mark.parametrize("place", ["y ~ x + ({}) + (1|g)", "y ~ ({} | g)", "({}) ~ x + (1|g)"])
def test_constants_are_no_columns(text, place):
    with pytest.raises(bv.BayesvError):
        bv.Model(place.replace("{}", text), frame())


def test_a_prefix_of_a_formula_raises_nothing_else():
    text = "log(y) ~ poly(x, 2, raw=T)*C(f, contr.sum) + cut(z, c(0, 1, 9)) %in% t + (x/f || g:k) "
    data = frame()
    bv.Model(text, data)
    for i in range(len(text) - 2):
        with pytest.raises(bv.BayesvError):
            bv.Model(text[:i], data)


@pytest.mark.parametrize("right", ["x", "C(f, contr.helmert)", "poly(x, 2)", "ordered(k)"])
def test_no_row_left_is_said(right):
    with pytest.raises(bv.DataError, match="No complete row"):
        bv.Model(f"log(0) + y ~ {right} + (1 | g)", frame())
