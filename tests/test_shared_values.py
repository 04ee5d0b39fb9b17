"""Values of the criterion at many points, which share what they can, against one at a time."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from bayesv import Model
from bayesv.gram import many
from bayesv.reml.criterion import Criterion
from bayesv.reml.search import Search
from bayesv.reml.starts import Screen, lattice_of


def nested_data(rng, slopes):
    """Return rows of pupils in classes in schools, a few of each."""
    school = np.repeat(np.arange(7), 18)
    pupil = np.repeat(np.arange(42), 3)
    x = rng.normal(size=126) if slopes else np.zeros(126)
    y = rng.normal(size=7)[school] + rng.normal(size=42)[pupil] * (1 + x) + rng.normal(size=126)
    return pd.DataFrame(
        {"y": y, "x": rng.normal(size=126) + x, "school": school, "class": pupil, "w": 1.0 + pupil}
    )


FORMULAS = [
    "y ~ x + (x | school)",
    "y ~ x + (x | class) + (1 | school)",
    "y ~ 1 + (x | class) + (x | school)",
    "y ~ x + (x || class) + (x | school)",
]


def criterion_of(formula, rng, method="REML", weights=None):
    model = Model(formula, nested_data(rng, True), var_weights=weights)
    return Criterion(model.design, model.statistics, method)


def dense_value(criterion, x):
    """−2 log likelihood at x by V itself."""
    design, df = criterion.design, criterion.df
    Z, start, V = design.Z.toarray(), 0, np.diag(1.0 / design.weights)
    for term, root in zip(design.terms, criterion.roots(x), strict=True):
        own = Z[:, start : start + term.n_effects]
        V = V + own @ np.kron(np.eye(term.n_levels), root @ root.T) @ own.T
        start += term.n_effects
    solved = np.linalg.solve(V, np.column_stack([design.X, design.y]))
    S, c = design.X.T @ solved[:, :-1], design.X.T @ solved[:, -1]
    r2 = design.y @ solved[:, -1] - c @ np.linalg.solve(S, c)
    value = np.linalg.slogdet(V)[1] + df * (1.0 + np.log(2.0 * np.pi * r2 / df))
    return value + (np.linalg.slogdet(S)[1] if criterion.method == "REML" else 0.0)


@pytest.mark.parametrize("method", ["REML", "ML"])
@pytest.mark.parametrize("formula", FORMULAS)
@pytest.mark.parametrize("room", [1 << 20, 1])  # for all of the finest factor, or for eight
def test_values_that_share_the_finest_factor_are_those_of_v(monkeypatch, formula, method, room):
    monkeypatch.setattr(many, "_NUMBERS", room)
    rng = np.random.default_rng(3)
    criterion = criterion_of(formula, rng, method, weights="w")
    few = rng.normal(size=(3, criterion.size))
    x = few[rng.integers(3, size=(40, criterion.size)), np.arange(criterion.size)]
    x[::7] = 0.0
    assert criterion.chain is not None
    for _ in range(2):  # at first, and where all of it was met before
        got = criterion.values(x)
        assert np.allclose(got, [dense_value(criterion, point) for point in x], rtol=1e-9)


def test_a_search_of_the_lattice_finds_points_that_no_choice_improves():
    criterion = criterion_of(FORMULAS[2], np.random.default_rng(5))
    rows, columns, _ = criterion.places
    lattice = lattice_of(tuple(rows.tolist()), tuple(columns.tolist()))
    points, x, lows = Screen(criterion.values, lattice)._valleys(12)
    assert len({tuple(point) for point in points.tolist()}) == len(points) > 0
    assert np.allclose(lows, criterion.values(x), rtol=1e-12)
    for point, low in zip(points, lows, strict=True):
        for place, n in lattice.choices:
            trials = np.repeat(point[None], n, axis=0)
            trials[:, place] = np.arange(n)
            assert criterion.values(lattice.coordinates(trials)).min() >= low - 1e-9


def test_points_of_a_huge_lattice_have_numbers_of_their_own():
    places = tuple(range(30))  # 7³⁰ points
    lattice = lattice_of(places, places)
    screen = Screen(lambda x: (np.log(x) ** 2).sum(axis=1), lattice)
    points, _, lows = screen._valleys(9)
    assert lattice.size > 1 << 63
    assert len(points) == 1
    assert lows[0] == pytest.approx(30 * np.log(1.5) ** 2)


@pytest.mark.parametrize("formula", FORMULAS)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_no_other_start_leads_lower(formula, seed):
    rng = np.random.default_rng(seed)
    criterion = criterion_of(formula, rng)
    fit = Model(formula, nested_data(np.random.default_rng(seed), True)).reml()
    search = Search(criterion, 500)
    for start in rng.normal(size=(6, criterion.size)):
        assert search.run(start).value > fit.criterion - 1e-7


@pytest.mark.parametrize("formula", FORMULAS)
def test_what_a_descent_leaves_is_what_an_elimination_leaves(formula):
    criterion = criterion_of(formula, np.random.default_rng(2))
    search = Search(criterion, 500)
    best = search.run(search.start(1.0))
    known = criterion.remaining(best.x)
    assert np.allclose(known, criterion.eliminated(best.x).T, rtol=1e-9, atol=1e-10)
