"""Borders eliminated in an order that keeps their factor sparse, against one dense block."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import bayesv as bv
from bayesv.gram import (
    draw_effects,
    eliminate,
    eliminate_many,
    elimination_order,
    gram_statistics,
    inner,
    layout,
    ordering,
    predicted_effects,
)
from tests.test_gram import random_lambdas, random_rows


@pytest.mark.parametrize("scattered", [1e-9, 0.05, 1e9])  # all columns, some, none one by one
@pytest.mark.parametrize("structure", ["crossed", "chain and crossed", "many"])
@pytest.mark.parametrize("singular", [False, True])
def test_an_ordered_border_is_the_dense_one(monkeypatch, scattered, structure, singular):
    rng = np.random.default_rng(7)
    rows = random_rows(structure, rng, 2, 2, weighted=True)
    lambdas = random_lambdas(rows, rng)
    if singular:
        lambdas[-1][:] = 0.0
    monkeypatch.setattr(layout, "_LARGE_BORDER", 1)
    dense = gram_statistics(rows)
    assert dense.layout.ordering is None  # columns are few
    for name, value in (("_WORTH", 1), ("_FULL", 1.1), ("_GAIN", np.inf)):
        monkeypatch.setattr(ordering, name, value)
    monkeypatch.setattr(ordering, "_SCATTERED", scattered)
    ordered = gram_statistics(rows)
    assert ordered.layout.ordering is not None
    T_bar = rng.normal(size=(3, 3))
    T_bar = T_bar + T_bar.T
    found = []
    for stats in (dense, ordered):
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
        )
    for want, got in zip(*found, strict=True):
        scale = np.abs(want).max() + 1e-12
        assert np.allclose(got, want, rtol=1e-9, atol=1e-11 * scale)


def test_a_sparse_block_may_have_more_columns(monkeypatch):
    unit = np.repeat(np.arange(200), 4)
    near = (unit // 2 + np.tile([0, 1], 400)) % 100  # neighbours meet: a long circle
    y = np.random.default_rng(1).normal(size=len(unit))
    data = pd.DataFrame({"y": y, "unit": unit, "near": near})
    for name, value in (("_WORTH", 1), ("_GAIN", 1.0), ("_SCATTERED", 0.05)):
        monkeypatch.setattr(ordering, name, value)
    formula = "y ~ 1 + (1 | unit) + (1 | near)"
    for columns, word in ((70, "1 dense block of 100"), (60, "100 columns by iteration")):
        monkeypatch.setattr(elimination_order, "DENSE_COLUMNS", columns)
        assert word in " ".join(bv.Model(formula, data).describe().split())
