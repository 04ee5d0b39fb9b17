"""Elimination on Gram statistics against dense Gaussian algebra, values and gradients."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bayesv.design.residual import Homoscedastic, Independent, Residual
from bayesv.errors import BayesvError
from bayesv.gram import (
    Grouping,
    RowBatch,
    Scaling,
    accumulate,
    arrange,
    eliminate,
    eliminate_many,
    gram_statistics,
    merge,
    recode,
    threads,
)

STRUCTURES = ("single", "nested", "nested three", "crossed", "chain and crossed", "many")


def random_rows(
    structure: str, rng: np.random.Generator, p: int, k: int, weighted: bool
) -> RowBatch:
    """72 rows in random order; some columns repeat, so that some levels have equal rows."""
    n = 72
    leaf = rng.integers(0, 12, n)
    leaf[:12] = np.arange(12)
    middle, top = leaf // 2, leaf // 6
    other = rng.integers(0, 5, n)
    other[:5] = np.arange(5)
    third = rng.integers(0, 3, n)
    third[:3] = np.arange(3)
    codes = {
        "single": [leaf],
        "nested": [leaf, top],
        "nested three": [leaf, middle, top],
        "crossed": [leaf, other],
        "chain and crossed": [leaf, top, other],
        "many": [leaf, middle, other, third],
    }[structure]
    groupings = []
    for i, code in enumerate(codes):
        width = k if i % 2 == 0 else max(1, k - 1)
        values = np.column_stack([np.ones(n), rng.normal(size=(n, width - 1))])
        blocks = (tuple(range(width)),)
        if rng.uniform() < 0.3:
            blocks = tuple((j,) for j in range(width))
        groupings.append(Grouping(code.astype(np.intp), values, int(code.max()) + 1, blocks))
    X = np.column_stack([np.ones(n), rng.normal(size=(n, max(p - 1, 0)))])[:, :p]
    w = np.exp(rng.normal(size=n)) if weighted else None
    return RowBatch(X, 100 + rng.normal(size=n), Residual.of_weights(w, n), tuple(groupings))


def balanced_rows(n_levels: int, rng: np.random.Generator, p: int = 2) -> RowBatch:
    """Levels with the same days in different orders, parents of three levels, one level short."""
    days = np.tile(np.arange(5.0) + 0.1, n_levels)
    leaf = np.repeat(np.arange(n_levels), 5)
    order = rng.permutation(len(leaf))[:-2]
    leaf, days = leaf[order], days[order]
    values = np.column_stack([np.ones(len(leaf)), days])
    X = np.column_stack([np.ones(len(leaf)), days])[:, :p]
    groupings = (
        Grouping(leaf.astype(np.intp), values, n_levels, ((0, 1),)),
        Grouping((leaf // (n_levels // 2)).astype(np.intp), values[:, :1], 2, ((0,),)),
    )
    return RowBatch(X, rng.normal(size=len(leaf)), Homoscedastic(len(leaf)), groupings)


def random_lambdas(rows: RowBatch, rng: np.random.Generator) -> list[np.ndarray]:
    """Roots of Σ_f/σ² for the user's columns."""
    out = []
    for grouping in rows.groupings:
        mask = np.zeros((grouping.k, grouping.k), dtype=bool)
        for block in grouping.blocks:
            mask[np.ix_(block, block)] = True
        lam = np.tril(rng.normal(size=(grouping.k, grouping.k))) * mask
        if rng.uniform() < 0.3:
            lam[:, -1] = 0.0  # singular
        out.append(lam)
    return out


def dense(rows: RowBatch, lambdas) -> tuple[float, np.ndarray]:
    """log|M| and [X y]'V_r⁻¹[X y] with V_r formed."""
    w = rows.residual.weights
    V = np.diag(1 / w)
    for grouping, lam in zip(rows.groupings, lambdas, strict=True):
        effect = grouping.values @ lam
        V += (effect @ effect.T) * (grouping.codes[:, None] == grouping.codes)
    XY = np.column_stack([rows.X, rows.y])
    logdet = np.linalg.slogdet(V)[1] + np.log(w).sum()
    return logdet, XY.T @ np.linalg.solve(V, XY)


def in_user_coordinates(stats, T: np.ndarray) -> np.ndarray:
    """Undo X = QR and y − X start."""
    p = stats.p
    back = np.eye(p + 1)
    back[:p, :p] = stats.fixed.upper
    back[:p, p] = stats.fixed.upper @ stats.fixed.start
    return back.T @ T @ back


def agrees(stats, rows: RowBatch, lambdas) -> None:
    want_logdet, want_T = dense(rows, lambdas)
    done = eliminate(stats, stats.in_basis(lambdas))
    assert done.logdet == pytest.approx(want_logdet, rel=1e-10, abs=1e-10)
    got = in_user_coordinates(stats, done.T)
    assert np.allclose(got, want_T, rtol=1e-10, atol=1e-10 * np.abs(want_T).max())
    several = [np.stack([lam, 0 * lam]) for lam in stats.in_basis(lambdas)]
    logdet, T = eliminate_many(stats, several)
    assert logdet[0] == pytest.approx(want_logdet, rel=1e-10, abs=1e-10)
    assert np.allclose(T[0], done.T, rtol=1e-10, atol=1e-10 * np.abs(done.T).max())
    assert logdet[1] == pytest.approx(0.0, abs=1e-12)


def gradient_agrees(stats, rows: RowBatch, lambdas, rng: np.random.Generator) -> None:
    m = stats.p + 1
    T_bar = rng.normal(size=(m, m))
    T_bar = T_bar + T_bar.T

    def value(at: list[np.ndarray]) -> float:
        done = eliminate(stats, stats.in_basis(at))
        return done.logdet + float((T_bar * done.T).sum())

    bars = eliminate(stats, stats.in_basis(lambdas)).gradient(T_bar)
    bars = [basis.T @ bar for basis, bar in zip(stats.bases, bars, strict=True)]
    scale = max(1.0, *(np.abs(bar).max() for bar in bars))
    h = 1e-5
    for f, lam in enumerate(lambdas):
        for i, j in np.ndindex(lam.shape):
            up, down = [m.copy() for m in lambdas], [m.copy() for m in lambdas]
            up[f][i, j] += h
            down[f][i, j] -= h
            assert bars[f][i, j] == pytest.approx(
                (value(up) - value(down)) / (2 * h), abs=3e-7 * scale
            )


designs = {
    "seed": st.integers(0, 10_000),
    "structure": st.sampled_from(STRUCTURES),
    "forced": st.sampled_from(["auto", "crossed"]),
    "weighted": st.booleans(),
}


@settings(max_examples=80, deadline=None)
@given(**designs, p=st.integers(0, 3), k=st.integers(1, 6))
def test_values_equal_dense_algebra(seed, structure, forced, weighted, p, k):
    rng = np.random.default_rng(seed)
    rows = random_rows(structure, rng, p, k, weighted)
    agrees(gram_statistics(rows, forced), rows, random_lambdas(rows, rng))


@settings(max_examples=60, deadline=None)
@given(**designs, k=st.integers(1, 6))
def test_gradient_equals_central_differences(seed, structure, forced, weighted, k):
    rng = np.random.default_rng(seed)
    rows = random_rows(structure, rng, 2, k, weighted)
    gradient_agrees(gram_statistics(rows, forced), rows, random_lambdas(rows, rng), rng)


@pytest.mark.parametrize("n_levels", [6, 60])
@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("p", [0, 2])
def test_equal_levels_are_merged_exactly(n_levels, nested, p):
    rng = np.random.default_rng(n_levels)
    rows = balanced_rows(n_levels, rng, p)
    if not nested:
        rows = RowBatch(rows.X, rows.y, Homoscedastic(len(rows.y)), rows.groupings[:1])
    merged, apart = gram_statistics(rows), gram_statistics(rows, dedupe=False)
    assert merged.layout.plan.n_leaves <= 3 * len(rows.groupings) < n_levels + 1
    assert apart.layout.plan.n_leaves == n_levels
    lambdas = random_lambdas(rows, rng)
    agrees(merged, rows, lambdas)
    gradient_agrees(merged, rows, lambdas, rng)
    one, two = (eliminate(s, s.in_basis(lambdas)) for s in (merged, apart))
    assert one.logdet == pytest.approx(two.logdet, rel=1e-12)
    assert np.allclose(one.T, two.T, rtol=1e-12, atol=1e-12 * np.abs(one.T).max())


def test_levels_that_differ_in_a_weight_stay_apart():
    rng = np.random.default_rng(0)
    rows = balanced_rows(6, rng)
    w = np.ones(len(rows.y))
    w[rows.groupings[0].codes == 2] = 2.0
    weighted = RowBatch(rows.X, rows.y, Independent(w), rows.groupings[:1])
    plain = RowBatch(rows.X, rows.y, Homoscedastic(len(w)), rows.groupings[:1])
    one, two = (gram_statistics(rows).layout.plan.n_leaves for rows in (weighted, plain))
    assert one == two + 1


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), structure=st.sampled_from(STRUCTURES), weighted=st.booleans())
def test_parts_add_up(seed, structure, weighted):
    """Sums over parts whose levels were numbered apart equal the sums over all rows."""
    rng = np.random.default_rng(seed)
    rows = random_rows(structure, rng, 2, 2, weighted)
    scaling = Scaling.of(rows)
    whole = arrange(accumulate(rows, scaling), scaling)
    cuts = np.sort(rng.choice(np.arange(1, len(rows.y)), 3, replace=False))
    total = None
    for at in np.split(np.arange(len(rows.y)), cuts):
        local, seen = [], []
        for g in rows.groupings:
            levels, codes = np.unique(g.codes[at], return_inverse=True)
            local.append(Grouping(codes, g.values[at], len(levels), g.blocks))
            seen.append(levels)
        part = accumulate(replace(rows.take(at), groupings=tuple(local)), scaling)
        part = recode(part, seen, [g.n_levels for g in rows.groupings])
        total = part if total is None else merge(total, part)
    parts = arrange(total, scaling)
    lambdas = random_lambdas(rows, rng)
    one, two = (eliminate(s, s.in_basis(lambdas)) for s in (whole, parts))
    assert one.logdet == pytest.approx(two.logdet, rel=1e-12, abs=1e-12)
    assert np.allclose(
        in_user_coordinates(whole, one.T), in_user_coordinates(parts, two.T), rtol=1e-9
    )
    for one, two in zip(total.hashes, accumulate(rows, scaling).hashes, strict=True):
        assert np.array_equal(one, two)


def test_units_of_unlike_rows_do_for_all():
    """Scaling may come from a first batch in which a column is constant or determined."""
    rng = np.random.default_rng(4)
    rows = random_rows("nested", rng, 3, 2, False)
    X = rows.X.copy()
    X[:40, 2] = 0.0
    X[:40, 1] = 3.0
    rows = RowBatch(X, rows.y, Homoscedastic(len(X)), rows.groupings)
    scaling = Scaling.of(rows.take(slice(40)))
    agrees(arrange(accumulate(rows, scaling), scaling), rows, random_lambdas(rows, rng))


def test_determined_columns_are_left_out():
    rng = np.random.default_rng(5)
    rows = random_rows("single", rng, 3, 1, False)
    X = np.column_stack([rows.X[:, :2], rows.X[:, 0] + rows.X[:, 1], rows.X[:, 2]])
    stats = gram_statistics(RowBatch(X, rows.y, Homoscedastic(len(X)), rows.groupings))
    assert stats.fixed.kept.tolist() == [0, 1, 3]
    agrees(stats, rows, random_lambdas(rows, rng))


@pytest.mark.parametrize("structure", ["single", "nested three"])
def test_threads_change_nothing(structure):
    rng = np.random.default_rng(6)
    n, J = 60_000, 20_000
    leaf = np.concatenate([np.arange(J), rng.integers(0, J, n - J)])
    values = np.column_stack([np.ones(n), rng.normal(size=n)])
    codes = [leaf] if structure == "single" else [leaf, leaf // 10, leaf // 100]
    groupings = tuple(Grouping(c, values, int(c.max()) + 1, ((0, 1),)) for c in codes)
    stats = gram_statistics(RowBatch(values, rng.normal(size=n), Homoscedastic(n), groupings))
    assert len(stats.layout.plan.spans) > 1
    lambdas = [np.array([[0.5, 0.0], [0.1, 0.3]])] * len(codes)
    results = []
    for limit in (1, 2):
        with threads(limit):
            done = eliminate(stats, stats.in_basis(lambdas))
            many = eliminate_many(stats, [np.stack([lam] * 70) for lam in stats.in_basis(lambdas)])
            results.append([done.logdet, done.T, *done.gradient(np.eye(3)), *many])
    for one, two in zip(*results, strict=True):
        assert np.array_equal(one, two)


def test_structure_in_words():
    rng = np.random.default_rng(0)
    rows = random_rows("chain and crossed", rng, 2, 1, False)
    text = gram_statistics(rows).describe(["leaf", "top", "other"])
    assert text == "crossed: leaf (12×1) in top (2×1); 1 dense block of 5 (other (5×1))"
    rows = random_rows("nested", rng, 2, 2, False)
    text = gram_statistics(rows).describe(["leaf", "top"])
    assert text == "nested: leaf (12×2) in top (2×1)"
    text = gram_statistics(rows, "crossed").describe(["leaf", "top"])
    assert text == "crossed: leaf (12×2); 1 dense block of 2 (top (2×1))"
    rows = balanced_rows(60, rng)
    text = gram_statistics(replace(rows, groupings=rows.groupings[:1])).describe(["leaf"])
    assert text.startswith("single: leaf (60×2); 60 levels of leaf merged into")


@pytest.mark.parametrize(
    ("structure", "forced", "said"),
    [
        ("nested", "single", "needs one grouping factor"),
        ("crossed", "nested", "some are crossed"),
        ("single", "tree", "must be one of auto"),
    ],
)
def test_structures_that_do_not_fit_are_refused(structure, forced, said):
    rows = random_rows(structure, np.random.default_rng(0), 1, 1, False)
    with pytest.raises(BayesvError, match=said):
        gram_statistics(rows, forced)


def test_large_means_cost_no_digits():
    rng = np.random.default_rng(3)
    rows = random_rows("single", rng, 2, 2, False)
    lambdas = random_lambdas(rows, rng)

    def rest(y: np.ndarray) -> float:
        stats = gram_statistics(RowBatch(rows.X, y, Homoscedastic(len(y)), rows.groupings))
        return float(eliminate(stats, stats.in_basis(lambdas)).T[-1, -1])

    assert rest(rows.y + 2.0**30) == pytest.approx(rest(rows.y - 100), rel=1e-6)
