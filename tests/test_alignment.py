"""Fits in other columns are brought to one set of columns, or said not to be comparable."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest

import bayesv as bv

pytestmark = [
    pytest.mark.filterwarnings("ignore::bayesv.SamplingWarning"),
    # Levels that read as numbers are the point: dose[1] beside dose1.
    pytest.mark.filterwarnings("ignore:dose is text:bayesv.DesignWarning"),
    pytest.mark.filterwarnings("ignore:The variance of .* not identified:bayesv.FitWarning"),
]


def frame(n=150, J=10, seed=3):
    rng = np.random.default_rng(seed)
    data = pd.DataFrame(
        {
            "x": rng.normal(size=n), "z": rng.normal(size=n), "w": rng.normal(size=n),
            "g": rng.integers(0, J, n), "f": rng.choice(list("abc"), n),
            "dose": rng.choice(["0", "1", "2"], n),
        }
    )  # fmt: skip
    u = rng.normal(size=(J, 3))
    data["y"] = 2 + data.x + u[data.g, 0] + u[data.g, 1] * data.x + rng.normal(size=n)
    data["y"] += u[data.g, 2] * (data.f == "b")
    return data


def model(formula, data):
    return bv.Model(formula, data)


def draws(of):
    return of.sample(seed=1, draws=40, chains=2)


DATA = frame()


def test_another_zero_of_x():
    here, there = (
        model("y ~ x + (x | g)", DATA),
        model("y ~ x + (x | g)", DATA.assign(x=DATA.x + 9)),
    )
    fit, post = here.reml(), draws(there)
    comparison = bv.compare(fit, post)
    N = np.array([[1.0, 9.0], [0.0, 1.0]])  # u there is of x + 9
    cov = N @ post.cov("g") @ N.T
    table = comparison.table.set_index(["scale", "group", "first", "second"])["mean"]
    assert table["var", "g", "Intercept", ""] == pytest.approx(cov[..., 0, 0].mean())
    assert table["cov", "g", "Intercept", "x"] == pytest.approx(cov[..., 0, 1].mean())
    beta = post.beta @ N.T
    np.testing.assert_allclose(comparison.fixed["mean"], beta.mean(axis=(0, 1)))
    assert list(comparison.fixed["gls_reml"]) == list(fit.beta)
    assert "brought from the columns" in repr(comparison)
    assert not bv.compare(fit, draws(here)).notes
    np.testing.assert_allclose(
        comparison.posteriors[0].expected_V().logdet(), post.expected_V().logdet()
    )


def test_points_in_one_basis():
    fits = [
        model("y ~ x + f + (x | g)", DATA).reml(),
        model("y ~ 0 + f + x + (x | g)", DATA.assign(x=3 - 2 * DATA.x)).reml("ML"),
        model("y ~ x + f + (x | g)", DATA).reml("ML"),
    ]
    points = bv.compare(*fits).points
    assert points.shape[1] == 3
    np.testing.assert_allclose(points.iloc[:, 1], points.iloc[:, 2], rtol=2e-4, atol=1e-5)
    assert points.index[-4:].tolist() == ["beta Intercept", "beta x", "beta f[b]", "beta f[c]"]


def test_every_covariance_of_a_fit_is_listed():
    """(x || g) at another zero of x has a covariance in the columns of the first, which has none.

    What is listed makes the fit's V.
    """
    first = model("y ~ x + (x || g)", DATA).reml()
    other = model("y ~ x + (x || g)", DATA.assign(x=DATA.x + 5)).reml()
    points = bv.compare(first, other).points
    assert points.loc["cov g: Intercept, x"].iloc[0] == 0
    Sigma = points.iloc[:, 1][["var g: Intercept", "cov g: Intercept, x", "var g: x"]]
    block = pd.DataFrame(Sigma.to_numpy()[[0, 1, 1, 2]].reshape(2, 2), *[("Intercept", "x")] * 2)
    vc = bv.VarianceComponents({"g": block}, points.iloc[:, 1]["var Residual"])
    V = bv.MarginalCovariance(model("y ~ x + (x | g)", DATA).design, vc)
    assert V.logdet() == pytest.approx(other.gls.V.logdet(), rel=1e-6)
    assert not bv.compare(first, first).points.index.str.startswith("cov").any()


def test_priors_that_hold_in_other_columns_explain():
    """Another coding of a fixed factor leaves the priors of Σ and a flat one of β what they are."""
    narrow = bv.Priors(sd=bv.HalfNormal(0.05))
    post = bv.Model("y ~ f + (1 | g)", DATA, narrow).sample(seed=1, draws=150, chains=2)
    direct = bv.compare(bv.Model("y ~ f + (1 | g)", DATA).reml(), post)
    moved = bv.compare(bv.Model("y ~ 0 + f + (1 | g)", DATA).reml(), post)
    said = [
        re.sub(r"mode to \S+", "mode", " ".join(c.reasons()))  # of rounding where it is 0
        for c in (moved, direct)
    ]
    assert said[0] == said[1]
    assert any("the prior" in line for line in moved.reasons())
    assert moved.posteriors[0].priors.design is moved.posteriors[0].design
    assert "its priors speak" not in repr(moved)
    informed = bv.Priors(beta=bv.Normal(0.0, 1.0))
    there = bv.Model("y ~ f + (1 | g)", DATA, informed).sample(seed=1, draws=40, chains=2)
    cells = bv.Model("y ~ 0 + f + (1 | g)", DATA).reml()
    assert "is not computed" in repr(bv.compare(cells, there))


@pytest.mark.parametrize("bar", ["|", "||"])
def test_cells_beside_contrasts(bar):
    """(0 + f | g) is (f | g) in other columns."""
    fit = model("y ~ x + (f | g)", DATA).reml()
    post = draws(model(f"y ~ x + (0 + f {bar} g)", DATA))
    there = bv.compare(fit, post).posteriors[0]
    assert there.design.terms[0].columns == ("Intercept", "f[b]", "f[c]")
    A = np.array([[1, 0, 0], [-1, 1, 0], [-1, 0, 1]])
    np.testing.assert_allclose(there.cov("g"), A @ post.cov("g") @ A.T, rtol=1e-8)


def test_uncorrelated_at_another_zero_has_a_correlation_here():
    fit = model("y ~ x + (x || g)", DATA).reml()
    post = draws(model("y ~ x + (x || g)", DATA.assign(x=DATA.x + 5)))
    table = bv.compare(fit, post).table
    corr = table[table["scale"] == "corr"]
    assert len(corr) == 1
    assert corr["mean"].iloc[0] > 0.3


def test_exchanged_names_are_not_mixed_up():
    fit = model("y ~ x + z + (1 | g)", DATA).reml()
    swapped = model("y ~ x + z + (1 | g)", DATA.rename(columns={"x": "z", "z": "x"})).reml()
    points = bv.compare(fit, swapped).points
    np.testing.assert_allclose(points.iloc[:, 0], points.iloc[:, 1], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("one", "other", "what"),
    [
        ("y ~ x + (1 | g)", "y ~ z + (1 | g)", "fixed effects"),
        ("y ~ x + (x | g)", "y ~ x + (z | g)", "random columns of g"),
        ("y ~ x + (x | g)", "y ~ x + (1 | g)", "random columns of g"),
        ("y ~ x + (1 | g)", "y ~ x + (1 | f)", "groups"),
        ("y ~ x + (1 | g)", "w ~ x + (1 | g)", "responses"),
    ],
)
def test_other_spaces_are_refused(one, other, what):
    with pytest.raises(bv.BayesvError, match=re.escape(f"their {what}")):
        bv.compare(model(one, DATA).reml(), model(other, DATA).reml())


@pytest.mark.parametrize(
    "formula",
    [
        "y ~ dose1 + dose + (1 | g)", "y ~ const + (1 | g)", "y ~ `a b` + ab + (1 | g)",
        "y ~ log(u) + logu + (1 | g)", "y ~ f + fb + (1 | g)", "y ~ x + (dose1 + dose || g)",
    ],
)  # fmt: skip
def test_names_alike_show_their_own_values(formula):
    rng = np.random.default_rng(1)
    extra = {name: rng.normal(size=len(DATA)) for name in ("dose1", "const", "a b", "ab", "logu")}
    data = DATA.assign(**extra, u=np.exp(DATA.x), fb=rng.normal(size=len(DATA)))
    of = model(formula, data)
    fit, post = of.reml(), draws(of)
    fixed = bv.compare(fit, post).fixed.set_index("coefficient")
    np.testing.assert_array_equal(fixed["gls_reml"], fit.beta[list(fixed.index)])
    np.testing.assert_allclose(fixed["mean"], post.beta_mean[list(fixed.index)])
    for name in of.design.fixed_names:
        priors = of.with_priors(bv.Priors(beta={name: bv.Normal(0, 1e-3)})).priors
        given = [
            n for n, p in zip(of.design.fixed_names, priors.beta, strict=True) if p != bv.Flat()
        ]
        assert given == [name]
    for name in of.design.terms[0].columns:
        priors = of.with_priors(bv.Priors(sd={"g": {name: bv.HalfNormal(1e-3)}})).priors
        pairs = zip(of.design.terms[0].columns, priors.sd["g"], strict=True)
        assert [n for n, p in pairs if p == bv.HalfNormal(1e-3)] == [name]
