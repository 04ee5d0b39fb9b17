"""Rows that were not fitted are coded as the fitted ones were, or refused."""

from __future__ import annotations

import numpy as np
import pandas as pd
import polars as pl
import pytest

import bayesv as bv
from bayesv.formula.new_rows import new_rows

N = 90
# Codes such as '02' are meant to be text here.
pytestmark = pytest.mark.filterwarnings("ignore:.*reads as numbers:bayesv.errors.DesignWarning")


def frame() -> pd.DataFrame:
    rng = np.random.default_rng(8)
    return pd.DataFrame(
        {
            "y": rng.normal(20, 3, N),
            "age": rng.uniform(10, 18, N),
            "x": rng.normal(size=N),
            "k": rng.integers(0, 3, N),
            "f": rng.choice(list("abc"), N),
            "t": rng.random(N) > 0.5,
            "day": pd.to_datetime("2020-01-01") + pd.to_timedelta(rng.integers(0, 4, N), unit="D"),
            "code": [f"{v:02d}" for v in rng.integers(0, 3, N)],
            "g": np.tile(np.arange(9), N // 9),
            "h": rng.integers(0, 5, N),
        }
    )


LEFT = (
    "1", "x", "0 + x", "I(age - 14)", "poly(age, 2)", "bs(age, df=4)", "ns(age, df=3)", "scale(x)",
    "center(age)", "f", "0 + f", "f*x", "f:t", "0 + t", "factor(k)", "C(f, contr.sum)",
    "cut(age, 3)",
    "relevel(f, ref='b')", "I(x > 0)", "I(x - mean(x))", "log(age, 2)", "as.numeric(f == 'b')",
    "C(f, contr.helmert)*x", "poly(scale(age), 2)", "f/x", "ifelse(x > 0, 'p', 'q')", "day", "code",
    "factor(code)", "cut(age, c(0, 13, 99))", "t/x", "x - x + age", "ordered(k)",
    "(k == 1)",
)  # fmt: skip


@pytest.mark.parametrize("left", LEFT)
@pytest.mark.parametrize("bar", ["|", "||"])
def test_the_fitted_rows_come_back(left, bar):
    data = frame()
    data.loc[:2, "y"] = np.nan
    design = bv.Model(f"y ~ {left} + ({left} {bar} g) + (1 | g:h)", data).design
    some = [5, 40, 11, 89]
    for new in (data.loc[some], pl.from_pandas(data.loc[some]), data.loc[some].to_dict("list")):
        rows = new_rows(design, new)
        for fitted, term in zip(design.terms, rows.terms, strict=True):
            assert term.columns == fitted.columns
            np.testing.assert_allclose(term.values, fitted.values[np.array(some) - 3], atol=1e-12)
            same = fitted.codes[np.array(some) - 3]
            np.testing.assert_array_equal(term.codes[:, None] == term.codes, same[:, None] == same)
    names, X = design.encoding.fixed_columns(data.loc[some])
    keep = [names.index(name) for name in design.fixed_names]
    np.testing.assert_allclose(X[:, keep], design.X[np.array(some) - 3], atol=1e-12)


REFUSED = [
    ("f", {"f": ["zzz"]}, "level 'zzz'"),
    ("f", {"f": [" b"]}, "level ' b'"),
    ("f", {"f": [None]}, "missing"),
    ("f", {"f": [""]}, "level ''"),
    ("0 + f", {"f": ["zzz"]}, "level 'zzz'"),
    ("f", {"x": [1.0]}, "no column for 'f'"),
    ("code", {"code": [2]}, "level '2'"),
    ("factor(k)", {"k": [7]}, "level '7'"),
    ("factor(k)", {"k": ["2"]}, "had numbers"),
    ("x", {"x": ["2"]}, "had numbers"),
    ("x", {"x": [np.nan]}, "missing or infinite"),
    ("x", {"x": [np.inf]}, "missing or infinite"),
    ("log(age)", {"age": [-1.0]}, "missing or infinite"),
    ("day", {"day": ["2020-01-02"]}, "had times"),
    ("t", {"t": [2]}, "truth values"),
    ("t", {"t": ["yes"]}, "truth values"),
    ("cut(age, c(0, 13, 99))", {"age": [120.0]}, "missing or infinite"),
]


@pytest.mark.parametrize(("left", "new", "message"), REFUSED)
def test_what_was_not_fitted_is_refused(left, new, message):
    design = bv.Model(f"y ~ age + ({left} | g)", frame()).design
    with pytest.raises(bv.DataError, match=message):
        new_rows(design, pd.DataFrame({**new, "g": [1]}))


def test_levels_written_as_another_type_are_recognised():
    data = frame()
    design = bv.Model("y ~ age + (t | g)", data).design
    for truth in ([True], [1], [1.0], ["True"], ["TRUE"]):
        (term,) = new_rows(design, pd.DataFrame({"t": truth, "g": [1]})).terms
        np.testing.assert_array_equal(term.values, [[1, 1]])
    design = bv.Model("y ~ age + (s | g)", data.assign(s=data.k.astype(str))).design
    (term,) = new_rows(design, pd.DataFrame({"s": [2], "g": [1]})).terms
    np.testing.assert_array_equal(term.values, [[1, 0, 1]])


def test_a_level_of_dropped_rows_only_is_refused():
    data = frame()
    data.loc[data.f == "a", "y"] = np.nan
    design = bv.Model("y ~ age + (f | g)", data).design
    with pytest.raises(bv.DataError, match="level 'a'"):
        new_rows(design, pd.DataFrame({"f": ["a"], "g": [1]}))


def test_rows_without_a_group_share_nothing():
    design = bv.Model("y ~ age + (1 | g) + (1 | g:h)", frame()).design
    new = pd.DataFrame({"g": [1, None, None, 1], "h": [2, 2, 2, None]})
    terms = {term.group: term.codes for term in new_rows(design, new).terms}
    assert len(set(terms["g"])) == 3
    assert terms["g"][0] == terms["g"][3]
    assert len(set(terms["g:h"])) == 4


@pytest.mark.parametrize("name", ["a:b", "x(1)", "my g", "c|d"])
def test_grouping_columns_of_any_name(name):
    data = frame().rename(columns={"g": name}).assign(a=0, b=lambda d: d.k)
    design = bv.Model(f"y ~ x + (x | `{name}`)", data).design
    new = pd.DataFrame({name: [1, 1, 2], "a": [0, 1, 2], "b": [0, 1, 2], "x": [1.0, 2.0, 3.0]})
    (term,) = new_rows(design, new).terms
    assert term.codes[0] == term.codes[1] != term.codes[2]


def test_new_data_without_rows_are_refused_by_name():
    design = bv.Model("y ~ x + (x | g)", frame()).design
    with pytest.raises(bv.DataError, match="no rows"):
        new_rows(design, pd.DataFrame({"x": [], "g": []}))
    with pytest.raises(bv.DataError, match="data frame is needed"):
        new_rows(design, [1, 2])


def test_an_offset_of_new_rows():
    design = bv.Model("y ~ x + offset(log(age) - 2) + (1 | g)", frame()).design
    got = design.encoding.offset(frame().iloc[:4])
    np.testing.assert_allclose(got, design.offset[:4])


@pytest.mark.filterwarnings("ignore::bayesv.errors.SamplingWarning")
def test_posterior_v_and_curves_of_transforms():
    data = frame()
    post = bv.Model("y ~ age + (I(age - 14) | g)", data).sample(draws=50, chains=2, seed=1)
    new = pd.DataFrame({"age": [13.0, 15.0], "g": ["new", "new"]})
    cov = post.cov("g").mean(axis=(0, 1))
    z = np.column_stack([np.ones(2), new.age - 14])
    want = z @ cov @ z.T + post.sigma2.mean() * np.eye(2)
    np.testing.assert_allclose(post.V(newdata=new).mean(), want)
    by_age = post.curves(pd.DataFrame({"age": [13.0, 15.0]}))["variance"].mean(("chain", "draw"))
    np.testing.assert_allclose(by_age, np.diagonal(want))
    by_name = post.curves(pd.DataFrame({"I(age - 14)": [-1.0, 1.0]}))["variance"]
    np.testing.assert_allclose(by_name.mean(("chain", "draw")), np.diagonal(want))


@pytest.mark.filterwarnings("ignore::bayesv.errors.SamplingWarning")
def test_saved_posteriors_know_their_encoders(tmp_path):
    data = frame()
    post = bv.Model("y ~ age + (poly(age, 2) + f || g)", data).sample(draws=50, chains=2, seed=1)
    again = bv.load(post.save(tmp_path / "fit.nc"))
    new = pd.DataFrame({"age": [13.0, 15.0], "f": ["a", "c"], "g": [1, 1]})
    assert again.V(newdata=new).mean().equals(post.V(newdata=new).mean())


def test_a_design_made_elsewhere_reads_labels():
    from dataclasses import replace

    design = replace(bv.Model("y ~ x + (x + f | g)", frame()).design, encoding=None)
    new = pd.DataFrame({"x": [1.0, 2.0], "f": ["b", "c"], "g": [1, 2]})
    (term,) = new_rows(design, new).terms
    np.testing.assert_array_equal(term.values, [[1, 1, 1, 0], [1, 2, 0, 1]])
    with pytest.raises(bv.DataError, match="may be the reference or a mistake"):
        new_rows(design, new.assign(f=["a", "zzz"]))
    named = new.drop(columns="f").assign(**{"f[b]": [0.0, 0.0], "f[c]": [0.0, 1.0]})
    (term,) = new_rows(design, named).terms
    np.testing.assert_array_equal(term.values, [[1, 1, 0, 0], [1, 2, 0, 1]])
