"""Crossed factors whose levels fall into sets that no row joins, against one dense block."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import bayesv as bv
from bayesv.design.residual import Residual
from bayesv.gram import (
    Grouping,
    RowBatch,
    draw_effects,
    eliminate,
    eliminate_many,
    elimination_order,
    flat_directions,
    gram_statistics,
    inner,
    layout,
    predicted_effects,
    squares_of_effects,
)
from bayesv.gram.column_sets import column_sets, connected_levels
from bayesv.gram.layout import border_table
from tests.test_gram import random_lambdas, random_rows

SETS = 3
FORMULA = "y ~ 1 + (1 | student) + (1 | teacher)"


def disconnected_rows(structure: str, rng: np.random.Generator) -> RowBatch:
    """Three batches of rows that share no level, whose labels are mixed."""
    parts = [random_rows(structure, rng, 2, 2, weighted=False) for _ in range(SETS)]
    groupings = []
    for f, first in enumerate(parts[0].groupings):
        J = first.n_levels
        codes = np.concatenate([s * J + part.groupings[f].codes for s, part in enumerate(parts)])
        values = np.concatenate([part.groupings[f].values for part in parts])
        label = rng.permutation(SETS * J)
        groupings.append(replace(first, codes=label[codes], values=values, n_levels=SETS * J))
    X, y = (np.concatenate([getattr(part, name) for part in parts]) for name in ("X", "y"))
    residual = type(parts[0].residual)(len(y))
    return RowBatch(X, y, residual, tuple(groupings))


@pytest.mark.parametrize("structure", ["crossed", "chain and crossed", "many"])
@pytest.mark.parametrize("singular", [False, True])
def test_disconnected_sets_are_the_dense_block(monkeypatch, structure, singular):
    rng = np.random.default_rng(11)
    rows = disconnected_rows(structure, rng)
    lambdas = random_lambdas(rows, rng)
    if singular:
        lambdas[-1][:] = 0.0
    monkeypatch.setattr(layout, "_LARGE_BORDER", 1)
    dense = gram_statistics(rows)
    assert dense.layout.connected is None
    size = dense.layout.border_size
    monkeypatch.setattr(elimination_order, "DENSE_COLUMNS", 2 * size // SETS)
    apart = gram_statistics(rows)
    sets = apart.layout.connected
    assert sets is not None
    assert sets.sizes.tolist() == [size // SETS] * SETS
    assert apart.sums.A_border.shape == (size, size // SETS)
    T_bar = rng.normal(size=(3, 3))
    T_bar = T_bar + T_bar.T
    masks = [np.ones((g.k, g.k), dtype=bool) for g in rows.groupings]
    found = []
    for stats in (dense, apart):
        inside = stats.in_basis(lambdas)
        done = eliminate(stats, inside)
        many = eliminate_many(stats, [lam[None] for lam in inside])
        adjoint = done.adjoint(T_bar)
        drawn = draw_effects(stats, inside, 1.0, np.zeros(stats.p), np.random.default_rng(0))
        predicted = predicted_effects(stats, inside)
        border = stats.layout.border_terms
        found.append(
            [done.logdet, done.T, *done.gradient(T_bar), many[0], many[1], *adjoint.lambdas]
            + [adjoint.sums.A, adjoint.sums.H, adjoint.sums.E, adjoint.sums.B_border]
            + [drawn.mean[term] for term in border]
            + [drawn.var[term] for term in border]
            + [inner(adjoint.sums, stats.sums), *predicted.of_xy, *predicted.var]
            + [squares_of_effects(stats).toarray(), *stats.squares]
            + [flat_directions(stats, masks, fixed=True)[1]]
        )
    for want, got in zip(*found, strict=True):
        scale = np.abs(want).max(initial=0.0) + 1e-12
        assert np.allclose(got, want, rtol=1e-9, atol=1e-11 * scale)


@pytest.mark.parametrize(("k", "seed"), [(2, 1), (3, 3)])
def test_large_lambdas_lose_no_more_digits_than_in_one_block(monkeypatch, k, seed):
    """N of two factors that share their sets has condition 1e14: its inverse comes by its root."""
    rng, n = np.random.default_rng(seed), 60
    block = np.arange(n) % SETS
    codes = [size * block + rng.integers(0, size, n) for size in (10, 3, 2)]
    ones, x = np.ones((n, 1)), rng.normal(size=(n, k - 1))
    groupings = []
    for code, values in zip(codes, (ones, np.hstack([ones, x]), ones), strict=True):
        levels, code = np.unique(code, return_inverse=True)
        columns = tuple(range(values.shape[1]))
        groupings.append(Grouping(code.astype(np.intp), values, len(levels), (columns,)))
    rows = RowBatch(ones, rng.normal(size=n), Residual.of_weights(None, n), tuple(groupings))
    rng = np.random.default_rng(seed)
    roots = [np.tril(rng.normal(size=(g.k, g.k))) for g in groupings[1:]]
    lambdas = [0.5 * np.eye(1), *(1e6 * root for root in roots)]
    dense = gram_statistics(rows)
    monkeypatch.setattr(elimination_order, "DENSE_COLUMNS", dense.layout.border_size - 1)
    apart = gram_statistics(rows)
    assert apart.layout.connected is not None
    want, got = (predicted_effects(s, s.in_basis(lambdas)).var[0] for s in (dense, apart))
    np.testing.assert_allclose(got, want, atol=0.01 * want.max())


def test_levels_that_no_unit_meets_are_sets_of_their_own():
    levels, none = border_table([layout.BorderTerm(0, 0, 3, 1)]), np.zeros(0, dtype=np.intp)
    assert connected_levels(np.array([0, 0, 0]), none, levels).tolist() == [0, 1, 2]
    assert connected_levels(np.array([0]), none, levels).tolist() == [0, 1, 2]
    one = connected_levels(np.array([0, 0, 2, 2]), np.array([0, 2]), levels)
    assert one.tolist() == [0, 1, 0]


def test_draws_of_disconnected_effects_have_their_variance(monkeypatch):
    rng = np.random.default_rng(3)
    rows = disconnected_rows("crossed", rng)
    monkeypatch.setattr(elimination_order, "DENSE_COLUMNS", 10)
    stats = gram_statistics(rows)
    assert stats.layout.connected is not None
    lambdas = stats.in_basis([0.8 * np.eye(g.k) for g in rows.groupings])
    draws = [
        draw_effects(stats, lambdas, 1.3, np.zeros(stats.p), rng, moments=s == 0)
        for s in range(4000)
    ]
    u = np.array([draw.u[1] for draw in draws])
    var = draws[0].var[1]
    np.testing.assert_allclose(u.var(axis=0), var, rtol=6 * np.sqrt(2 / len(u)))
    error = np.sqrt(var / len(u))
    assert (np.abs(u.mean(axis=0) - draws[0].mean[1]) < 5 * error).all()


def test_sets_are_found_whatever_order_units_join_levels_in():
    rng = np.random.default_rng(5)
    for _ in range(50):
        n_sets, n_levels = int(rng.integers(1, 6)), 40
        of_level = rng.integers(0, n_sets, n_levels)
        of_level[:n_sets] = np.arange(n_sets)
        units = []
        for s in range(n_sets):
            own = rng.permutation(np.flatnonzero(of_level == s))
            units += [sorted(pair) for pair in pairwise(own)] or [list(own)]
        units = [units[i] for i in rng.permutation(len(units))]
        edges = np.cumsum([0, *map(len, units)])
        levels = border_table([layout.BorderTerm(0, 0, n_levels, 1)])
        sets = column_sets(connected_levels(edges, np.concatenate(units), levels), levels)
        assert len(sets.sizes) == n_sets
        assert len({*zip(sets.of_column.tolist(), of_level.tolist(), strict=True)}) == n_sets


def classes(n_sets: int) -> pd.DataFrame:
    """Students who meet four teachers each, in schools that share none."""
    rng = np.random.default_rng(1)
    student = np.repeat(np.arange(10 * n_sets), 4)
    teacher = student // 10 * 3 + rng.integers(0, 3, len(student))
    u, v = rng.normal(size=10 * n_sets), rng.normal(size=3 * n_sets)
    y = 1.0 + u[student] + 0.7 * v[teacher] + rng.normal(size=len(student))
    return pd.DataFrame({"y": y, "student": student, "teacher": teacher})


@pytest.mark.filterwarnings("ignore::bayesv.SamplingWarning")
def test_a_disconnected_design_is_fitted_exactly(monkeypatch):
    data = classes(30)
    want = bv.Model(FORMULA, data).reml()
    monkeypatch.setattr(elimination_order, "DENSE_COLUMNS", 30)
    model = bv.Model(FORMULA, data)
    assert "90 columns in 30 disconnected sets of 3 at most" in " ".join(model.describe().split())
    fit = model.reml()
    assert fit.certificate is None
    assert fit.criterion == pytest.approx(want.criterion, abs=1e-8)
    for group in ("student", "teacher"):
        found, block = fit.components[group].to_numpy(), want.components[group].to_numpy()
        np.testing.assert_allclose(found, block, rtol=1e-4)
    post = model.sample(draws=100, chains=2, seed=1)
    same = bv.Model(FORMULA, data).sample(draws=100, chains=2, seed=1)
    np.testing.assert_allclose(post.sigma2, same.sigma2, rtol=1e-6)


def test_sets_that_are_too_large_are_iterated(monkeypatch):
    data = classes(2)
    monkeypatch.setattr(elimination_order, "DENSE_COLUMNS", 3)
    model = bv.Model(FORMULA, data)
    assert "by iteration" in " ".join(model.describe().split())


@pytest.mark.filterwarnings("ignore::bayesv.SamplingWarning")
@pytest.mark.parametrize("elimination", ["auto", "iterative"])
def test_sums_of_batches_are_saved(monkeypatch, tmp_path, elimination):
    monkeypatch.setattr(elimination_order, "DENSE_COLUMNS", 30)
    table = pa.Table.from_pandas(classes(30), preserve_index=False)
    reader = pa.Table.to_reader(table, max_chunksize=500)
    model = bv.Model(FORMULA, reader, elimination=elimination)
    post = model.sample(draws=50, chains=2, seed=1)
    twin = bv.load(bv.save(post, tmp_path / "post.nc"))
    kept = twin.density.stats.layout
    assert (kept.connected is not None) == (elimination == "auto")
    one, two = (each.random_effects() for each in (post, twin))
    pd.testing.assert_frame_equal(one, two)
