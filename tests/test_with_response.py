"""A new response on an old design equals a fresh model, whatever the structure."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import bayesv as bv
from bayesv.gram import Responses, draw_effects, eliminate, eliminate_many, gram_statistics
from bayesv.inference.density import MarginalDensity
from tests.conftest import random_components
from tests.test_gram import designs, random_lambdas, random_rows


def _frame(seed: int = 0) -> pd.DataFrame:
    """Rows whose groups often have equal rows of (z, w), in balanced and in unequal sizes."""
    rng = np.random.default_rng(seed)
    school = np.repeat(np.arange(6), 24)
    cl = np.repeat(np.arange(36), 4)
    n = len(cl)
    return pd.DataFrame(
        {
            "school": school,
            "cl": cl,
            "rater": rng.integers(0, 5, n),
            "t": np.tile(np.arange(4.0), 36),
            "x": rng.normal(size=n),
            "far": 1e5 + rng.normal(size=n),
            "w": np.tile([1.0, 2.0, 0.5, 1.0], 36),
            "y": rng.normal(size=n),
        }
    )


CASES = {
    "single": ("y ~ t + (t | cl)", {}),
    "single, merged more than k s": ("y ~ 1 + (1 | cl)", {}),
    "uncorrelated": ("y ~ x + t + (t || cl)", {}),
    "no fixed effects": ("y ~ 0 + (1 | cl)", {}),
    "nested": ("y ~ x + (t | school/cl)", {}),
    "crossed": ("y ~ t + (t | cl) + (1 | rater)", {}),
    "forced crossed": ("y ~ t + (1 | school/cl)", {"elimination": "crossed"}),
    "nested and crossed": ("y ~ x + (x | school/cl) + (x | rater)", {}),
    "weights": ("y ~ t + (t | cl)", {"var_weights": "w"}),
    "offset": ("y ~ t + offset(2 * x) + (t | cl)", {}),
    "far from 0": ("y ~ far + (far | school)", {}),
}


@pytest.mark.parametrize("dedupe", [True, False])
@pytest.mark.parametrize("case", CASES)
def test_equals_a_fresh_model(case, dedupe):
    formula, options = CASES[case]
    frame, rng = _frame(), np.random.default_rng(1)
    y = 1e3 + rng.normal(size=len(frame)) + rng.normal(size=36)[frame["cl"]]
    old = bv.Model(formula, frame, dedupe=dedupe, **options)
    new = old.with_response(y)
    fresh = bv.Model(formula, frame.assign(y=y), dedupe=dedupe, **options)

    assert new.statistics.layout.plan.n_leaves == fresh.statistics.layout.plan.n_leaves
    np.testing.assert_allclose(new.statistics.total, fresh.statistics.total, rtol=1e-14)
    np.testing.assert_allclose(new.statistics.fixed.start, fresh.statistics.fixed.start, rtol=1e-8)
    for _ in range(3):
        vc = random_components(old.design, rng)
        lambdas = [vc.relative_root(term) for term in old.design.terms]
        done = [eliminate(m.statistics, m.statistics.in_basis(lambdas)) for m in (new, fresh)]
        size = np.abs(done[1].T).max()
        np.testing.assert_allclose(done[0].T, done[1].T, atol=1e-9 * size)
        np.testing.assert_allclose(done[0].logdet, done[1].logdet, rtol=1e-12)
        T_bar = np.eye(len(done[0].T))
        for a, b in zip(done[0].gradient(T_bar), done[1].gradient(T_bar), strict=True):
            np.testing.assert_allclose(a, b, atol=1e-8 * (1 + np.abs(b).max()))
        many = [
            eliminate_many(m.statistics, m.statistics.in_basis([x[None] for x in lambdas]))[1]
            for m in (new, fresh)
        ]
        np.testing.assert_allclose(many[0], many[1], atol=1e-9 * size)
        gamma = np.zeros(old.design.p)
        effects = [
            draw_effects(
                m.statistics,
                m.statistics.in_basis(lambdas),
                vc.sigma,
                gamma,
                np.random.default_rng(3),
            )
            for m in (new, fresh)
        ]
        for a, b in zip(effects[0].u, effects[1].u, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-7)


@pytest.mark.parametrize("case", ["single", "nested", "crossed", "weights", "offset"])
def test_fits_and_log_density_equal_those_of_a_fresh_model(case):
    formula, options = CASES[case]
    frame, rng = _frame(), np.random.default_rng(2)
    y = 5 + 2 * rng.normal(size=len(frame)) + rng.normal(size=36)[frame["cl"]]
    new = bv.Model(formula, frame, **options).with_response(y)
    fresh = bv.Model(formula, frame.assign(y=y), **options)
    for method in ("REML", "ML"):
        a, b = new.reml(method), fresh.reml(method)
        assert a.criterion == pytest.approx(b.criterion, abs=1e-9)
        pd.testing.assert_series_equal(a.beta, b.beta, rtol=1e-7)
        cov_a, cov_b = (f.components.to_frame()["cov"] for f in (a, b))
        pd.testing.assert_series_equal(cov_a, cov_b, rtol=1e-5, atol=1e-7)
    assert str(new.priors) == str(fresh.priors)
    vc = random_components(new.design, rng)
    lambdas = [vc.relative_root(term)[None] for term in new.design.terms]
    values = [
        MarginalDensity(m.statistics, m.priors).conditional(lambdas, np.array([vc.sigma2]))
        for m in (new, fresh)
    ]
    np.testing.assert_allclose(values[0].log_likelihood, values[1].log_likelihood, rtol=1e-11)


@settings(max_examples=60, deadline=None)
@given(**designs, p=st.integers(0, 3), k=st.integers(1, 4))
def test_statistics_of_any_design_and_response(seed, structure, forced, weighted, p, k):
    rng = np.random.default_rng(seed)
    rows = random_rows(structure, rng, p, k, weighted)
    y = 10 ** rng.uniform(-3, 3) * (rng.normal() * 10 + rng.normal(size=len(rows.y)))
    old = gram_statistics(rows, forced)
    new = Responses.of(rows, old).statistics(y)
    fresh = gram_statistics(replace(rows, y=y), forced)
    lambdas = random_lambdas(rows, rng)
    a, b = (eliminate(s, s.in_basis(lambdas)) for s in (new, fresh))
    size = np.sqrt(np.abs(np.diagonal(b.T)))
    np.testing.assert_allclose(a.T, b.T, atol=1e-8 * np.outer(size, size).max())
    assert a.logdet == pytest.approx(b.logdet, rel=1e-12)
    np.testing.assert_allclose(
        new.fixed.start, fresh.fixed.start, rtol=1e-7, atol=1e-9 * np.abs(y).max()
    )


def test_posterior_draws_are_those_of_a_fresh_model(sleepstudy):
    y = sleepstudy.design.y[::-1].copy()
    frame = bv.load_dataset("sleepstudy").assign(Reaction=y)
    options = {"draws": 200, "seed": 3, "keep_u": True}
    fresh = bv.Model("Reaction ~ Days + (Days | Subject)", frame).sample(**options)
    sleepstudy.reml()  # must not be where the search of the new response starts
    new = sleepstudy.with_response(y).sample(**options)
    for name in ("beta", "sigma2", "cov_Subject", "u_Subject"):
        a, b = (post.draws["posterior"][name].to_numpy() for post in (new, fresh))
        np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-6)


def test_models_of_other_responses_do_not_touch_each_other(sleepstudy):
    before = sleepstudy.reml().criterion
    first = sleepstudy.with_response(np.arange(180.0) ** 1.5)
    second = first.with_response(sleepstudy.design.y)
    assert second.reml().criterion == pytest.approx(before, abs=1e-9)
    assert sleepstudy.reml().criterion == before
    assert first.reml().criterion != pytest.approx(before)
    assert sleepstudy.design.Z is sleepstudy.with_response(np.arange(180.0)).design.Z


def test_the_frame_of_other_engines_has_the_new_response(sleepstudy):
    y = np.random.default_rng(0).normal(size=180)
    np.testing.assert_array_equal(sleepstudy.with_response(y).frame.data["Reaction"], y)
    computed = bv.Model("log(Reaction) ~ Days + (1 | Subject)", bv.load_dataset("sleepstudy"))
    new = computed.with_response(y)
    assert new.reml().converged
    with pytest.raises(bv.DataError, match="computed from columns"):
        _ = new.frame


def test_refusals(sleepstudy, tmp_path):
    for y, message in (
        (np.zeros(3), "has shape"),
        (np.full(180, np.nan), "180 missing or infinite"),
        (np.full(180, 7.0), "is constant"),
        (["a"] * 180, "one real number a row"),
    ):
        with pytest.raises(bv.DataError, match=message):
            sleepstudy.with_response(y)
    path = tmp_path / "rows.parquet"
    _frame().to_parquet(path)
    with pytest.raises(bv.DataError, match="read in batches"):
        bv.Model("y ~ t + (t | cl)", str(path)).with_response(np.arange(144.0))
