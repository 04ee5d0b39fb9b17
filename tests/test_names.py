"""A name is first taken exactly, then by meaning, else refused; any text goes all the way round."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

import bayesv as bv
from bayesv.names import canonical, factors_of, matched, paired, reordered_levels, resolved

pytestmark = pytest.mark.filterwarnings("ignore::bayesv.SamplingWarning")

TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=8)
# What a formula with backticks can name; slashes are of levels and covariates only.
COLUMN = TEXT.filter(lambda name: "`" not in name and name.strip() == name)


def frame(seed=1, n=60, J=6):
    rng = np.random.default_rng(seed)
    g = np.arange(n) % J
    data = pd.DataFrame({"x": rng.normal(size=n), "g": g, "h": rng.integers(0, 4, n)})
    data["y"] = rng.normal(size=J)[g] + data.x + rng.normal(size=n)
    return data


DATA = frame()


@settings(max_examples=4, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(COLUMN, COLUMN, COLUMN, st.lists(TEXT, min_size=6, max_size=6, unique=True))
@example("I(x/2)", "row", "a:b", ["a/b", "a:b", "[1]", " ", "NA", "α β"])
@example("x:z", "chain", "x(1)", ["1", "01", "1.0", "(1)", "'1'", '"1"'])
@example("const", "draw", "g[1]", ["TRUE", "True", "1", "t", "T", "°"])
def test_any_text_goes_round(tmp_path_factory, x, y, g, levels):
    assume(len({x, y, g}) == 3 and "NA" not in levels)
    data = pd.DataFrame(
        {x: DATA.x.to_numpy(), y: DATA.y.to_numpy(), g: [levels[i] for i in DATA.g]}
    )
    try:
        model = bv.Model(f"`{y}` ~ `{x}` + (`{x}` | `{g}`)", data)
        fit, post = model.reml(), model.sample(seed=1, draws=20, chains=2)
    except bv.BayesvError:
        return  # refused in words
    plain = bv.Model("y ~ x + (x | g)", DATA).reml()
    np.testing.assert_allclose(fit.criterion, plain.criterion)
    design = model.design
    group, column, name = design.groups[0], design.terms[0].columns[1], design.fixed_names[1]
    np.testing.assert_allclose(fit.beta[name], plain.beta["x"], rtol=1e-4)
    folder = tmp_path_factory.mktemp("names")
    again = bv.load(post.save(folder / "post.nc"))
    assert again.design.groups == (group,)
    assert again.summary().equals(post.summary())
    fixed = bv.compare(fit, again).fixed.set_index("coefficient")
    assert fixed.loc[name, "gls_reml"] == fit.beta[name]
    assert post.V(group, levels[0]).labels == list(data.index[data[g] == levels[0]])
    priors = model.with_priors(bv.Priors(sd={group: {column: bv.HalfNormal(3)}})).priors
    assert priors.sd[group][1] == bv.HalfNormal(3)
    assert fit.components.aligned(design) == fit.components
    assert name in fit.summary()


def test_levels_are_reversed_with_their_factors():
    rng = np.random.default_rng(4)
    data = pd.DataFrame({"a": rng.integers(1, 4, 90), "b": rng.integers(1, 4, 90)})
    data["y"] = rng.normal(size=90) + data.a
    model = bv.Model("y ~ 1 + (1 | a:b)", data)
    V = bv.MarginalCovariance(model.design, model.reml().components)
    own = V.block("a:b", "1:3")
    assert list(own.index) == list(data.index[(data.a == 1) & (data.b == 3)])
    assert V.block("b:a", "3:1").equals(own)
    with pytest.raises(bv.DataError, match="calls it 'a:b'"):
        V.block("b:a", "3:9")
    with pytest.raises(bv.DataError, match="No grouping factor 'c'"):
        V.block("c", "1")


def test_levels_with_colons_are_reversed_only_one_way():
    assert list(reordered_levels("a:b", "b:a", "x:1:2")) == ["1:2:x", "2:x:1"]
    data = pd.DataFrame({"a": ["x", "x:1"] * 20, "b": ["1:2", "2", "2", "1:2"] * 10})
    data["b"] = data["b"].where(data.a == "x", "2")
    data["y"] = np.random.default_rng(1).normal(size=40)
    try:
        model = bv.Model("y ~ 1 + (1 | a:b)", data)
    except bv.DataError:
        return  # levels x:1:2 of two kinds
    with pytest.raises(bv.DataError):
        model.design.level("b:a", "2:x:1:9")


def test_a_group_called_residual_is_refused():
    with pytest.raises(bv.DataError, match="'Residual'"):
        bv.Model("y ~ x + (1 | Residual)", DATA.rename(columns={"g": "Residual"}))


@pytest.mark.parametrize("response", ["row", "chain", "draw", "sigma", "y/2", ".", "beta"])
def test_responses_of_any_name(response, tmp_path):
    model = bv.Model(f"`{response}` ~ x + (1 | g)", DATA.rename(columns={"y": response}))
    post = model.sample(seed=1, draws=20, chains=2)
    again = bv.load(post.save(tmp_path / "post.nc"))
    assert again.design.response == model.design.response
    assert len(again.draws["observed_data"].data_vars) == 1


@pytest.mark.parametrize("group", ["fixed", "beta", "sigma", "chain", "coef", "posterior mean"])
def test_groups_of_any_name(group):
    model = bv.Model(f"y ~ x + (1 | `{group}`)", DATA.rename(columns={"g": group}))
    post = model.sample(seed=1, draws=20, chains=2)
    labels = [q.label for q in post.quantities]
    assert len(set(labels)) == len(labels)
    assert f"var {group}: Intercept" in labels
    table = bv.compare(model.reml(), post).table
    assert ((table["group"] == group) & (table["scale"] != "beta")).sum() == 2


def test_exact_names_come_first():
    assert matched(["dose1"], ["dose[1]", "dose1"]) == [1]
    assert paired(["Intercept", "f[b]"], ["fb", "(Intercept)"]) == [1, 0]
    assert paired(["fb", "f[b]"], ["f[b]", "fb"]) == [1, 0]
    assert paired(["fb", "f[b]"], ["fb", "fb"]) is None
    with pytest.raises(bv.BayesvError, match=re.escape("'dose1' or 'dose[1]'")):
        resolved("C(dose)[1]", ["dose1", "dose[1]"], "coefficient")


@given(st.lists(TEXT, min_size=1, max_size=5, unique=True), st.randoms())
@settings(max_examples=200, deadline=None)
def test_an_order_of_names_is_found_whatever_they_are(names, random):
    other = list(names)
    random.shuffle(other)
    assert [other[i] for i in paired(names, other)] == names
    assert paired(names, other, factors_of) is not None


@given(TEXT)
@settings(max_examples=200, deadline=None)
def test_any_text_has_a_meaning(name):
    assert isinstance(canonical(name), str)
    assert factors_of(name) == factors_of(f" {name}")
