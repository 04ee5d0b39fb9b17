"""What the data do not identify is said, in the user's words, and nothing else is."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import bayesv as bv
from bayesv.gram import flat_directions, statistics_of
from bayesv.reml import unidentified


@pytest.fixture(scope="module")
def data() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    n = 120
    g, h, x = rng.integers(0, 10, n), rng.integers(0, 6, n), rng.normal(size=n)
    return pd.DataFrame(
        {
            "g": g,
            "again": [f"k{9 - i}" for i in g],
            "f": [f"f{i}" for i in g],
            "h": h,
            "x": x,
            "x2": 2 * x,
            "one": 3.0,
            "even": (g % 2).astype(float),
            "of_g": rng.normal(size=10)[g],
            "y": rng.normal(size=n) + rng.normal(size=10)[g],
        }
    )


WRONG = [
    ("y ~ x + (one | g)", ["Intercept in g", "one in g", "determined by the others"], True),
    ("y ~ 1 + (x + x2 | g)", ["x in g and the variance of x2 in g", "determined"], True),
    ("y ~ 1 + (x + x2 || g)", ["x in g and the variance of x2 in g", "determined"], True),
    ("y ~ x + (1 | g) + (1 | again)", ["group the rows alike"], True),
    ("y ~ x + (1 | g) + (1 | again) + (1 | h)", ["g and again group the rows alike"], True),
    ("y ~ x + (even | g)", ["even in g", "too few values"], True),
    ("y ~ f + (1 | g)", ["Intercept in g is not", "fixed effects already"], False),
    ("y ~ f + (x | g) + (1 | h)", ["Intercept in g", "fixed effects already"], False),
    ("y ~ f * x + (x | g)", ["Intercept in g and the variance of x in g", "already"], False),
]


@pytest.mark.parametrize(("formula", "words", "V_is_unique"), WRONG)
def test_what_is_not_identified_is_said(data, formula, words, V_is_unique):
    model = bv.Model(formula, data)
    with pytest.warns(bv.FitWarning, match="not identified"):
        fit = model.reml()
    (problem,) = fit.problems
    for word in [*words, "V and what follows from it are unique" if V_is_unique else "V itself"]:
        assert word in problem
    assert f"problem: {problem}" in " ".join(fit.summary().split())  # lines are wrapped
    assert unidentified(model.design, model.statistics) == fit.problems


@pytest.mark.parametrize(
    "formula",
    [
        "y ~ x + (1 | g)",
        "y ~ x + (x | g) + (x | h)",
        "y ~ x + (1 | g/h) + (x | h)",
        "y ~ of_g + (of_g | g)",
        "y ~ x + (x || g) + (1 | h)",
        "y ~ f + (1 | h)",
        "y ~ 0 + (even || g)",
    ],
)
def test_nothing_else_is(data, formula):
    model = bv.Model(formula, data)
    assert unidentified(model.design, model.statistics) == ()


def test_maximum_likelihood_sees_v_whole(data):
    model = bv.Model("y ~ f + (1 | g)", data)
    fit = model.reml("ML")
    assert fit.problems == ()
    assert fit.singular
    with pytest.warns(bv.FitWarning, match="not identified"):
        assert bv.Model("y ~ x + (one | g)", data).reml("ML").problems


def test_what_is_unique_is_right(data):
    """The same V as that of the model without the column that says nothing."""
    whole = bv.Model("y ~ x + (1 | g)", data).reml()
    with pytest.warns(bv.FitWarning, match="not identified"):
        split = bv.Model("y ~ x + (1 | g) + (1 | again)", data).reml()
    assert split.criterion == pytest.approx(whole.criterion, abs=1e-8)
    total = split.components["g"].iloc[0, 0] + split.components["again"].iloc[0, 0]
    assert total == pytest.approx(whole.components["g"].iloc[0, 0], rel=1e-4)
    assert np.allclose(split.beta, whole.beta)


def test_other_responses_remember_the_answer(data):
    model = bv.Model("y ~ x + (x | g)", data)
    assert unidentified(model.design, model.statistics) == ()
    other = model.with_response(data["y"] ** 2)
    assert other.statistics.layout.remembered is model.statistics.layout.remembered


def test_in_batches_it_is_the_same(data, tmp_path):
    data.to_parquet(tmp_path / "data.parquet")
    model = bv.Model("y ~ x + (1 | g) + (1 | again)", str(tmp_path / "data.parquet"))
    (sentence,) = unidentified(model.design, model.statistics)
    assert "group the rows alike" in sentence


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.integers(0, 10_000))
def test_directions_are_those_of_dense_algebra(seed):
    """The null space of tr(MV_iMV_j), formed densely."""
    rng = np.random.default_rng(seed)
    n = 24
    x = rng.normal(size=n) if seed % 3 else np.ones(n)
    g = rng.integers(0, 5, n)
    frame = pd.DataFrame(
        {
            "y": rng.normal(size=n),
            "x": x,
            "g": g,
            "h": g if seed % 4 == 0 else rng.integers(0, 4, n),
            "k": rng.integers(0, 3, n),
            "w": np.exp(rng.normal(size=n)),
        }
    )
    fixed = "0 + factor(g)" if seed % 5 == 0 else "1"
    formula = f"y ~ {fixed} + (x | g) + (x || h) + (1 | k)"
    design = bv.Model(formula, frame, var_weights="w" if seed % 2 else None).design
    root = np.sqrt(design.residual.weights)
    Q = np.linalg.qr(design.X * root[:, None])[0]
    M = np.eye(n) - Q @ Q.T
    parts = []
    for term in design.terms:
        Z = [
            (term.Z.toarray() * root[:, None])[:, i :: term.n_columns]
            for i in range(term.n_columns)
        ]
        rms = [np.sqrt((z**2).sum()) for z in Z]
        for i, j in zip(*np.nonzero(np.tril(term.structure.mask)), strict=True):
            outer = Z[i] @ Z[j].T / rms[i] / rms[j]
            parts.append(outer if i == j else outer + outer.T)
    parts.append(np.eye(n) / n)
    flat = np.array([(M @ part @ M).ravel() for part in parts])
    rank = np.linalg.matrix_rank(flat, tol=1e-9 * np.linalg.norm(flat, 2))
    stats = statistics_of(design)
    _, directions = flat_directions(stats, [term.structure.mask for term in design.terms])
    assert directions.shape[1] == len(parts) - rank
    assert np.abs(directions.T @ flat).max(initial=0.0) < 1e-8


def nearly_twice(noise: float) -> pd.DataFrame:
    """A second slope over what is twice the first covariate, and a little noise."""
    rng = np.random.default_rng(1)
    g = np.repeat(np.arange(20), 8)
    x, e = rng.normal(size=(2, 160))
    u = rng.normal(size=(2, 20))
    y = 1 + x + u[0][g] + 0.7 * u[1][g] * x + rng.normal(size=160)
    return pd.DataFrame({"y": y, "x": x, "x2": 2 * x + noise * e, "g": g})


def test_a_little_noise_between_correlated_columns_is_a_direction_of_its_own():
    """Correlated columns are the same model in any basis, however little there is of one."""
    fits = [bv.Model("y ~ x + (x + x2 | g)", nearly_twice(s)).reml() for s in (1e-2, 1e-4, 1e-6)]
    assert [fit.problems for fit in fits] == [(), (), ()]
    for fit in fits[1:]:
        assert fit.criterion == pytest.approx(fits[0].criterion, abs=1e-5)


def test_uncorrelated_columns_that_are_nearly_one_are_named():
    with pytest.warns(bv.FitWarning, match="variance of x in g and the variance of x2 in g"):
        bv.Model("y ~ x + (x + x2 || g)", nearly_twice(1e-6)).reml()
