"""Linear combinations of sums over rows, derivatives by the sums, and designs without terms."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bayesv.design.residual import Homoscedastic, Independent
from bayesv.gram import (
    FixedCoordinates,
    GramStatistics,
    Responses,
    RowBatch,
    Scaling,
    Sums,
    Triangles,
    accumulate,
    arrange,
    draw_effects,
    eliminate,
    eliminate_many,
    flat_directions,
    gram_statistics,
    in_scaling,
    inner,
    merge,
)
from bayesv.gram.elimination import Adjoint, eliminate_units
from tests.test_gram import (
    agrees,
    balanced_rows,
    dense,
    designs,
    in_user_coordinates,
    random_lambdas,
    random_rows,
)


def symmetric(rng: np.random.Generator, m: int) -> np.ndarray:
    a = rng.normal(size=(m, m))
    return a + a.T


def directions(stats: GramStatistics, rng: np.random.Generator) -> dict[str, Sums]:
    """One random change of each array of the merged sums, symmetric where these are."""
    layout, zero = stats.layout, Sums(*(np.zeros_like(values) for values in stats.merged))
    A = zero.A.copy()
    table, units = layout.plan.tables.table, len(layout.plan.tables.unit)
    stops = np.append(table[1:, 3], len(A))
    for row, stop in zip(table, stops, strict=True):
        blocks = A[row[3] : stop].reshape(-1, row[0], row[0])
        blocks += [symmetric(rng, row[0]) for _ in range(len(blocks))]
    assert units
    E = rng.normal(size=zero.E.shape)
    starts = np.cumsum([0, *(len(factor.columns) for factor in layout.chain)])
    for factor, start, stop in zip(layout.chain, starts[:-1], starts[1:], strict=True):
        E[start:stop, factor.k :] = 0.0  # padding
    return {
        "A": zero._replace(A=A),
        "H": zero._replace(H=rng.normal(size=zero.H.shape)),
        "E": zero._replace(E=E),
        "A_border": zero._replace(A_border=symmetric(rng, len(zero.A_border))),
        "B_border": zero._replace(B_border=rng.normal(size=zero.B_border.shape)),
        "C": zero._replace(C=symmetric(rng, len(zero.C))),
    }


def adjoint_agrees(stats: GramStatistics, lambdas, rng: np.random.Generator) -> None:
    T_bar = symmetric(rng, stats.p + 1)
    in_basis = stats.in_basis(lambdas)
    done = eliminate(stats, in_basis)
    adjoint = done.adjoint(T_bar)
    assert isinstance(adjoint, Adjoint)
    for one, two in zip(adjoint.lambdas, done.gradient(T_bar), strict=True):
        assert np.allclose(one, two, rtol=1e-12, atol=1e-12 * np.abs(two).max())

    def value(change: Sums, h: float) -> float:
        sums = Sums(*(a + h * b for a, b in zip(stats.merged, change, strict=True)))
        moved = eliminate_units(stats.layout, stats.layout.plan, sums, in_basis)
        return moved.logdet + float((T_bar * moved.T).sum())

    has_effects = all(lam.any() for lam in lambdas)
    for name, change in directions(stats, rng).items():
        numeric = (value(change, 1e-5) - value(change, -1e-5)) / 2e-5
        got, derivative = inner(adjoint.sums, change), getattr(adjoint.sums, name)
        size = max(1.0, float(np.linalg.norm(derivative)))
        assert got == pytest.approx(numeric, abs=3e-6 * size), name
        assert derivative.any() == (derivative.size > 0) or not has_effects


@settings(max_examples=60, deadline=None)
@given(**designs, p=st.integers(0, 3), k=st.integers(1, 4))
def test_derivative_by_sums_equals_central_differences(seed, structure, forced, weighted, p, k):
    rng = np.random.default_rng(seed)
    rows = random_rows(structure, rng, p, k, weighted)
    rows = replace(rows, y=rows.y - 100)
    lambdas = [0.5 * lam for lam in random_lambdas(rows, rng)]
    adjoint_agrees(gram_statistics(rows, forced, dedupe=False), lambdas, rng)


@pytest.mark.parametrize("nested", [False, True])
def test_derivative_by_sums_of_merged_units(nested):
    rng = np.random.default_rng(7)
    rows = balanced_rows(60, rng)
    if not nested:
        rows = replace(rows, groupings=rows.groupings[:1])
    stats = gram_statistics(rows)
    assert stats.layout.merging is not None
    adjoint_agrees(stats, random_lambdas(rows, rng), rng)


def test_derivative_by_sums_of_several_tasks():
    """Units of different tasks write to different places."""
    rng = np.random.default_rng(8)
    n, J = 60_000, 20_000
    leaf = np.concatenate([np.arange(J), rng.integers(0, J, n - J)]).astype(np.intp)
    values = np.column_stack([np.ones(n), rng.normal(size=n)])
    groupings = tuple(
        replace(balanced_rows(6, rng).groupings[0], codes=c, values=values, n_levels=c.max() + 1)
        for c in (leaf, leaf // 10)
    )
    stats = gram_statistics(RowBatch(values, rng.normal(size=n), Homoscedastic(n), groupings))
    assert len(stats.layout.plan.spans) > 1
    lambdas = [np.array([[0.5, 0.0], [0.1, 0.3]])] * 2
    adjoint = eliminate(stats, stats.in_basis(lambdas)).adjoint(np.eye(3))
    change = Sums(*(values * rng.uniform(0.5, 1) for values in stats.sums))

    def value(h: float) -> float:
        moved = replace(
            stats, sums=Sums(*(a + h * b for a, b in zip(stats.sums, change, strict=True)))
        )
        done = eliminate(moved, stats.in_basis(lambdas))
        return done.logdet + float(np.trace(done.T))

    numeric = (value(1e-5) - value(-1e-5)) / 2e-5
    assert inner(adjoint.sums, change) == pytest.approx(numeric, rel=1e-6)


# --- strata ---------------------------------------------------------------------------------------


def strata(
    rows: RowBatch, rng: np.random.Generator, forced: str, reference: list[float]
) -> tuple[np.ndarray, GramStatistics]:
    """Rows in two strata, and statistics with a sum for each."""
    stratum = rng.integers(0, 2, len(rows.y))
    scaling = Scaling.of(rows)
    parts = [accumulate(rows.take(np.flatnonzero(stratum == s)), scaling) for s in (0, 1)]
    return stratum, arrange(parts, scaling, forced, reference=reference)


def with_precisions(rows: RowBatch, stratum: np.ndarray, c: np.ndarray) -> RowBatch:
    return replace(rows, residual=Independent(rows.residual.weights * c[stratum]))


@settings(max_examples=60, deadline=None)
@given(**designs, p=st.integers(0, 3), k=st.integers(1, 3))
def test_strata_equal_dense_algebra(seed, structure, forced, weighted, p, k):
    """T and log|M| of R = diag(σ_s²/w) are those of Σ_s σ_s⁻² Gram_s, and so are derivatives."""
    rng = np.random.default_rng(seed)
    rows = random_rows(structure, rng, p, k, weighted)
    lambdas = [0.5 * lam for lam in random_lambdas(rows, rng)]
    stratum, stats = strata(rows, rng, forced, [1.0, 0.3])
    c = np.exp(rng.normal(size=2))
    n_weights = np.log(rows.residual.weights).sum()
    assert stats.n == len(rows.y)
    assert stats.log_weights == pytest.approx(n_weights)
    combination = stats.at(c)
    assert combination.total == pytest.approx(
        (with_precisions(rows, stratum, c).residual.weights * rows.y**2).sum()
    )
    agrees(combination, with_precisions(rows, stratum, c), lambdas)
    in_basis = stats.in_basis(lambdas)
    done = eliminate(combination, in_basis)
    several = [np.stack([lam, lam]) for lam in in_basis]
    logdet, T = eliminate_many(stats, several, coefficients=np.array([c, [1.0, 0.3]]))
    assert logdet[0] == pytest.approx(done.logdet, rel=1e-12)
    assert np.allclose(T[0], done.T, rtol=1e-10, atol=1e-10 * np.abs(T[0]).max())
    at_reference = eliminate(stats, in_basis)
    assert logdet[1] == pytest.approx(at_reference.logdet, rel=1e-12)
    assert np.allclose(at_reference.T, T[1], rtol=1e-10, atol=1e-10 * np.abs(T[1]).max())
    assert np.allclose(stats.sums.C[:-1, :-1], np.eye(stats.p), atol=1e-9)

    T_bar = symmetric(rng, stats.p + 1)
    adjoint = done.adjoint(T_bar)
    back = np.linalg.inv(in_user_coordinates_matrix(stats))

    def value(at: np.ndarray) -> float:
        logdet, T = dense(with_precisions(rows, stratum, at), lambdas)
        return logdet + float((T_bar * (back.T @ T @ back)).sum())

    for s in (0, 1):
        h = 1e-5 * c[s]
        step = h * np.eye(2)[s]
        numeric = (value(c + step) - value(c - step)) / (2 * h)
        got = inner(adjoint.sums, stats.merged_parts[s])
        size = abs(T_bar).max() * np.abs(done.T).max() / c.min()
        assert got == pytest.approx(numeric, rel=1e-5, abs=1e-6 * size)


def in_user_coordinates_matrix(stats: GramStatistics) -> np.ndarray:
    p, fixed = stats.p, stats.fixed
    back = np.eye(p + 1)
    back[:p, :p] = fixed.upper
    back[:p, p] = fixed.upper @ fixed.start
    return back


@pytest.mark.parametrize("structure", ["single", "nested three", "chain and crossed"])
def test_effects_of_strata_are_those_of_weighted_rows(structure):
    rng = np.random.default_rng(3)
    rows = random_rows(structure, rng, 2, 2, True)
    lambdas = random_lambdas(rows, rng)
    stratum, stats = strata(rows, rng, "auto", [2.0, 0.7])
    c, beta = np.array([0.4, 3.0]), np.array([99.0, 0.5])
    weighted = gram_statistics(with_precisions(rows, stratum, c))
    one, two = (
        draw_effects(s, s.in_basis(lambdas), 1.3, s.fixed.to_gamma(beta), np.random.default_rng(1))
        for s in (stats.at(c), weighted)
    )
    for name in ("u", "mean", "var"):
        for a, b in zip(getattr(one, name), getattr(two, name), strict=True):
            assert np.allclose(a, b, rtol=1e-8, atol=1e-10)


def test_units_are_merged_where_all_sums_of_theirs_are_equal():
    """Equal rows in different strata keep units apart; the same rows of every unit do not."""
    rng = np.random.default_rng(0)
    rows = balanced_rows(60, rng)
    rows = replace(rows, groupings=rows.groupings[:1])
    lambdas, c = random_lambdas(rows, rng), np.array([0.4, 3.0])
    alone = strata(rows, rng, "auto", [1.0, 1.0])[1].layout.plan.n_leaves
    assert gram_statistics(rows).layout.plan.n_leaves < alone
    values = rows.groupings[0].values[:, 1]
    stratum = (values > np.median(values)).astype(int)
    scaling = Scaling.of(rows)
    parts = [accumulate(rows.take(np.flatnonzero(stratum == s)), scaling) for s in (0, 1)]
    stats = arrange(parts, scaling, reference=[1.0, 1.0])
    assert stats.layout.plan.n_leaves < alone
    agrees(stats.at(c), with_precisions(rows, stratum, c), lambdas)
    in_basis, T_bar = stats.in_basis(lambdas), symmetric(rng, stats.p + 1)
    sums = eliminate(stats.at(c), in_basis).adjoint(T_bar).sums

    def value(c: np.ndarray) -> float:
        done = eliminate(stats.at(c), in_basis)
        return done.logdet + float((T_bar * done.T).sum())

    for s in (0, 1):
        step = 1e-5 * np.eye(2)[s]
        numeric = (value(c + step) - value(c - step)) / 2e-5
        assert inner(sums, stats.merged_parts[s]) == pytest.approx(numeric, rel=1e-6)


def test_sums_over_rows_that_others_count():
    """AR(1) within levels: rows, all but the last and products of neighbours; n is that of rows."""
    rng = np.random.default_rng(5)
    J, T, rho = 9, 7, 0.6
    codes = np.repeat(np.arange(J), T)
    grouping = replace(
        random_rows("single", rng, 1, 2, False).groupings[0],
        codes=codes, values=np.column_stack([np.ones(J * T), np.tile(np.arange(T), J)]), n_levels=J,
        blocks=((0, 1),),
    )  # fmt: skip
    rows = RowBatch(
        np.column_stack([np.ones(J * T), rng.normal(size=J * T)]),
        10 + rng.normal(size=J * T), Homoscedastic(J * T), (grouping,),
    )  # fmt: skip
    later = np.flatnonzero(np.tile(np.arange(T), J) > 0)
    scaling = Scaling.of(rows)
    differences = RowBatch(
        rows.X[later] - rows.X[later - 1],
        rows.y[later] - rows.y[later - 1],
        Homoscedastic(len(later)),
        (replace(grouping, codes=codes[later],
                 values=grouping.values[later] - grouping.values[later - 1]),),
    )  # fmt: skip
    whole = accumulate(rows, scaling)
    first, before, ahead, change = (
        replace(accumulate(part, scaling), n=0)
        for part in (
            rows.take(np.setdiff1d(np.arange(J * T), later)),
            rows.take(later - 1),
            rows.take(later),
            differences,
        )
    )
    # (w_k − ρ w_{k−1})² = (1 − ρ) w_k² + (ρ² − ρ) w_{k−1}² + ρ (w_k − w_{k−1})²
    s = 1.0 / (1.0 - rho**2)
    c = [0.0, 1.0, (rho**2 - rho) * s, (1 - rho) * s, rho * s]
    stats = arrange([whole, first, before, ahead, change], scaling, reference=[1.0, 0, 0, 0, 0])
    assert stats.n == J * T
    lam = np.array([[0.8, 0.0], [0.1, 0.3]])
    effect = grouping.values @ lam
    same = codes[:, None] == codes
    days = np.tile(np.arange(T), J)
    R = np.where(same, rho ** np.abs(days[:, None] - days), 0.0)
    V = R + (effect @ effect.T) * same
    XY = np.column_stack([rows.X, rows.y])
    done = eliminate(stats.at(c), stats.in_basis([lam]))
    want = np.linalg.slogdet(V)[1] - np.linalg.slogdet(R)[1]
    assert done.logdet == pytest.approx(want, rel=1e-10)
    got = in_user_coordinates(stats, done.T)
    want_T = XY.T @ np.linalg.solve(V, XY)
    assert np.allclose(got, want_T, rtol=1e-9, atol=1e-9 * np.abs(want_T).max())


# --- no random terms ------------------------------------------------------------------------------


def no_terms(rng: np.random.Generator, weighted: bool) -> RowBatch:
    return replace(random_rows("single", rng, 3, 1, weighted), groupings=())


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("elimination", ["auto", "single", "nested", "crossed"])
def test_without_terms_nothing_is_eliminated(weighted, elimination):
    rng = np.random.default_rng(1)
    rows = no_terms(rng, weighted)
    stats = gram_statistics(rows, elimination)
    assert stats.describe([]) == "none: there are no random effects"
    assert stats.relative_error([]) == 0.0
    assert stats.squares == []
    done = eliminate(stats, [])
    want_logdet, want_T = dense(rows, [])
    assert done.logdet == 0.0 == pytest.approx(want_logdet, abs=1e-12)
    assert np.allclose(done.T, stats.sums.C, rtol=1e-14, atol=1e-12)
    assert np.allclose(in_user_coordinates(stats, done.T), want_T, rtol=1e-10)
    logdet, T = eliminate_many(stats, [])
    assert np.array_equal(logdet, [0.0])
    assert np.array_equal(T, done.T[None])
    T_bar = symmetric(rng, stats.p + 1)
    assert done.gradient(T_bar) == []
    adjoint = done.adjoint(T_bar)
    assert adjoint.lambdas == []
    assert np.array_equal(adjoint.sums.C, T_bar)
    effects = draw_effects(stats, [], 1.0, np.zeros(stats.p), rng)
    assert effects.u == effects.mean == effects.var == []
    assert flat_directions(stats, [])[1].shape == (1, 0)
    y = rng.normal(size=len(rows.y))
    new, fresh = Responses.of(rows, stats).statistics(y), gram_statistics(replace(rows, y=y))
    assert np.allclose(eliminate(new, []).T, eliminate(fresh, []).T, atol=1e-9)
    assert np.allclose(new.fixed.start, fresh.fixed.start)


def test_without_terms_strata_and_parts_add_up():
    rng = np.random.default_rng(2)
    rows = no_terms(rng, False)
    c = np.array([0.5, 4.0])
    stratum, stats = strata(rows, rng, "auto", [1.0, 1.0])
    T = in_user_coordinates(stats, eliminate(stats.at(c), []).T)
    assert np.allclose(T, dense(with_precisions(rows, stratum, c), [])[1], rtol=1e-9)
    logdet, several = eliminate_many(stats, [], coefficients=np.array([c, c]))
    assert logdet.shape == (2,)
    assert np.array_equal(several[1], eliminate(stats.at(c), []).T)
    halves = [rows.take(slice(None, 40)), rows.take(slice(40, None))]
    scaling = (Triangles.of(halves[0]) + Triangles.of(halves[1])).scaling([])
    parts = [
        in_scaling(accumulate(half, own), own, scaling)
        for half in halves
        for own in [Scaling.of(half)]
    ]
    together = arrange(merge(*parts), scaling)
    whole = gram_statistics(rows)
    one, two = (in_user_coordinates(s, eliminate(s, []).T) for s in (together, whole))
    assert np.allclose(one, two, rtol=1e-9)


# --- fixed effects --------------------------------------------------------------------------------


def test_fixed_coordinates_go_back_and_forth():
    rng = np.random.default_rng(0)
    upper = np.triu(rng.normal(size=(3, 3))) + 3 * np.eye(3)
    fixed = FixedCoordinates(upper, rng.normal(size=3), np.arange(3))
    gamma = rng.normal(size=(5, 3))
    beta = fixed.to_beta(gamma)
    assert np.allclose(beta, [fixed.start + np.linalg.solve(upper, g) for g in gamma])
    assert np.allclose(fixed.to_gamma(beta), gamma)
    assert np.allclose(fixed.to_beta(gamma[0]), beta[0])
    S = symmetric(rng, 3) + 10 * np.eye(3)
    inverse = np.linalg.inv(upper)
    assert np.allclose(fixed.cov_beta(S), inverse @ S @ inverse.T)
    assert np.allclose(fixed.precision_beta(np.linalg.inv(S)), np.linalg.inv(fixed.cov_beta(S)))
    assert np.allclose(fixed.precision_gamma(fixed.precision_beta(S)), S)
    assert fixed.logdet == pytest.approx(np.linalg.slogdet(upper.T @ upper)[1])
    moved = fixed.with_start(upper @ beta[0])
    assert np.allclose(moved.start, beta[0])
