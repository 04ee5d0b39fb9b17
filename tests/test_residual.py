"""Every family of residual covariances against dense algebra, and what is put together with it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import bayesv as bv
from bayesv.covariance import ComponentDraws
from bayesv.design.residual import Autoregressive, Homoscedastic, Independent, Residual
from bayesv.design.simulation import StandardScores, normal_scores, response, simulate
from bayesv.linalg import connected

N = 40


def autoregressive(rho: float, step: float) -> tuple[Residual, np.ndarray]:
    rng = np.random.default_rng(3)
    series, times = rng.integers(0, 4, N), rng.permutation(N) * step
    sd = np.exp(0.3 * rng.normal(size=N))
    lag = np.abs(times[:, None] - times)
    corr = np.where(series[:, None] == series, float(rho) ** lag, 0.0)
    return Autoregressive(rho, series, times, sd), sd[:, None] * corr * sd


def independent() -> tuple[Residual, np.ndarray]:
    w = np.exp(np.random.default_rng(1).normal(size=N))
    return Independent(w), np.diag(1 / w)


FAMILIES = {
    "σ²I": lambda: (Homoscedastic(N), np.eye(N)),
    "weights": independent,
    "AR(1), gaps": lambda: autoregressive(0.8, 0.5),
    "AR(1), ρ < 0": lambda: autoregressive(-0.6, 1.0),
    "AR(1), ρ = 0": lambda: autoregressive(0.0, 1.0),
}


@pytest.fixture(params=list(FAMILIES))
def family(request) -> tuple[Residual, np.ndarray]:
    return FAMILIES[request.param]()


def test_family_is_its_dense_matrix(family):
    residual, dense = family
    assert residual.size == N
    np.testing.assert_allclose(residual.matrix.toarray(), dense, atol=1e-13)
    np.testing.assert_allclose(residual.diagonal, np.diagonal(dense), rtol=1e-13)
    assert residual.log_det == pytest.approx(np.linalg.slogdet(dense)[1], rel=1e-11, abs=1e-11)
    rows = np.random.default_rng(2).permutation(N)[:12].reshape(3, 4)
    expected = np.stack([dense[np.ix_(part, part)] for part in rows])
    np.testing.assert_allclose(residual.block(rows), expected, atol=1e-13)
    assert residual.iid == np.array_equal(dense, np.eye(N))


def test_whitening_undoes_drawing(family):
    residual, dense = family
    scores = np.random.default_rng(4).normal(size=(N, 3))
    np.testing.assert_allclose(residual.whiten(residual.draw(scores)), scores, atol=1e-12)
    L = residual.draw(np.eye(N))
    np.testing.assert_allclose(L @ L.T, dense, atol=1e-13)
    np.testing.assert_allclose(residual.draw(scores[:, 0]), L @ scores[:, 0], atol=1e-13)
    inverse = residual.whiten(residual.whiten(np.eye(N)), transposed=True)
    np.testing.assert_allclose(inverse @ dense, np.eye(N), atol=1e-11)
    columns = sparse.random_array((N, 5), density=0.3, random_state=0, format="csr")
    white = residual.whiten(columns)
    assert sparse.issparse(white)
    np.testing.assert_allclose(white.toarray(), residual.whiten(columns.toarray()), atol=1e-13)
    np.testing.assert_allclose(
        residual.whiten(scores[:, 0]), residual.whiten(scores)[:, 0], atol=1e-13
    )


@pytest.mark.parametrize("rows", [np.array([7, 3, 30, 12, 3 + 8]), slice(5, 25), np.arange(0)])
def test_some_rows(family, rows):
    residual, dense = family
    part = residual.take(rows)
    np.testing.assert_allclose(part.matrix.toarray(), dense[rows][:, rows], atol=1e-13)
    assert part.size == len(dense[rows])
    assert isinstance(part, type(residual))


def test_clusters_of_a_family_are_uncorrelated(family):
    residual, dense = family
    if residual.clusters is None:
        assert not (dense - np.diag(np.diagonal(dense))).any()
    else:
        apart = residual.clusters[:, None] != residual.clusters
        assert not dense[apart].any()


def test_weights_are_of_independent_residuals_only(family):
    residual, dense = family
    if isinstance(residual, Autoregressive):
        with pytest.raises(bv.BayesvError, match="correlated"):
            _ = residual.weights
    else:
        np.testing.assert_allclose(1 / residual.weights, np.diagonal(dense))
        low, high = residual.weight_range or (1.0, 1.0)
        assert low == residual.weights.min()
        assert high == residual.weights.max()
    assert isinstance(Residual.of_weights(None, 3), Homoscedastic)
    np.testing.assert_array_equal(Residual.of_weights(np.array([1.0, 4.0]), 2).diagonal, [1, 0.25])


@pytest.mark.parametrize(
    "wrong", [[1.0, 0.0], [1.0, -1.0], [1.0, np.nan], ["a", "b"], [[1.0]], 2.0]
)
def test_weights_are_positive(wrong):
    with pytest.raises(bv.BayesvError, match=r"weights must be positive|known must be"):
        bv.Residual.of_weights(np.array(wrong), 2)


# --- designs with it ------------------------------------------------------------------------------


def design_with(residual: Residual) -> bv.Design:
    rng = np.random.default_rng(5)
    frame = pd.DataFrame({"y": rng.normal(size=N), "x": rng.normal(size=N)})
    frame = frame.assign(g=rng.integers(0, 20, N), h=rng.integers(0, 15, N))
    design = bv.Model("y ~ x + (x | g) + (1 | h)", frame).design
    return replace(design, residual=residual)


VC = bv.VarianceComponents({"g": [[1.0, 0.2], [0.2, 0.5]], "h": [[0.3]]}, sigma2=1.7)


def test_V_of_a_design_with_any_residual(family):
    """Operator, solve, log|V|, blocks, GLS: all of them know R by what the family says."""
    residual, dense = family
    design = design_with(residual)
    V = bv.MarginalCovariance(design, VC)
    full = 1.7 * dense
    for term in design.terms:
        Z = term.Z.toarray()
        full = full + Z @ np.kron(np.eye(term.n_levels), VC.block_for(term)) @ Z.T
    np.testing.assert_allclose(V.to_dense(), full, atol=1e-12)
    np.testing.assert_allclose(V @ np.eye(N), full, atol=1e-12)
    np.testing.assert_allclose(V.diagonal(), np.diagonal(full), rtol=1e-12)
    np.testing.assert_allclose(V.solve(full), np.eye(N), atol=1e-10)
    assert V.logdet() == pytest.approx(np.linalg.slogdet(full)[1], rel=1e-11)
    rows = np.array([4, 0, 21])
    np.testing.assert_allclose(V.rows(rows), full[np.ix_(rows, rows)], atol=1e-12)
    np.testing.assert_allclose(bv.residual_R(design, VC).toarray(), 1.7 * dense, atol=1e-12)
    solved = np.linalg.solve(full, design.X)
    beta = np.linalg.solve(design.X.T @ solved, solved.T @ design.y)
    np.testing.assert_allclose(bv.gls(design, VC).beta, beta, rtol=1e-9)


def test_clusters_are_what_V_connects(family):
    residual, _ = family
    design = design_with(residual)
    clusters = design.clusters
    V = bv.MarginalCovariance(design, VC).to_dense()
    reached = np.linalg.matrix_power((V != 0).astype(float), N) > 0
    np.testing.assert_array_equal(clusters[:, None] == clusters, reached)
    firsts = [int(np.flatnonzero(clusters == c)[0]) for c in range(clusters.max() + 1)]
    assert firsts == sorted(firsts)


def test_R_must_have_the_rows_of_y():
    with pytest.raises(bv.BayesvError, match="R has 39 rows, but y has 40"):
        design_with(Homoscedastic(N - 1))
    with pytest.raises(bv.BayesvError, match="residual must be a Residual"):
        design_with(np.ones(N))


@pytest.mark.parametrize("seed", range(20))
def test_connected_is_the_closure_of_links(seed):
    rng = np.random.default_rng(seed)
    size, m = int(rng.integers(1, 12)), int(rng.integers(0, 10))
    left, right = rng.integers(0, size, m), rng.integers(0, size, m)
    links = np.eye(size)
    links[left, right] = links[right, left] = 1
    reached = np.linalg.matrix_power(links, size) > 0
    labels = connected(size, left, right)
    np.testing.assert_array_equal(labels[:, None] == labels, reached)
    assert list(pd.unique(labels)) == list(range(labels.max() + 1))


# --- responses ------------------------------------------------------------------------------------


def test_response_is_linear_in_the_scores(family):
    residual, _ = family
    design = design_with(residual)
    beta, roots = np.array([2.0, -1.0]), [np.array([[1.0, 0.0], [0.3, 0.4]]), np.array([[0.5]])]
    rng = np.random.default_rng(6)
    covs = {term.group: L @ L.T for term, L in zip(design.terms, roots, strict=True)}
    point = ComponentDraws(design, covs, 1.3**2, beta)
    scores = normal_scores(design, rng)
    y, effects = simulate(design, point, scores)
    u = np.concatenate([part.ravel() for part in effects])
    L = np.asarray(residual.draw(np.eye(N)))
    expected = design.X @ beta + design.Z @ u + 1.3 * (L @ scores.residuals)
    np.testing.assert_allclose(y, expected, atol=1e-12)
    np.testing.assert_allclose(effects[0], scores.effects[0] @ roots[0].T)
    # Residuals are drawn before effects: seeds keep their data.
    again = np.random.default_rng(6)
    np.testing.assert_array_equal(scores.residuals, again.normal(size=N))
    np.testing.assert_array_equal(scores.effects[0], again.normal(size=scores.effects[0].shape))
    none = StandardScores([np.zeros_like(z) for z in scores.effects], np.zeros(N))
    np.testing.assert_array_equal(simulate(design, point, none)[0], design.X @ beta)


def test_offset_is_in_the_response():
    design = replace(design_with(Homoscedastic(N)), offset=np.arange(float(N)))
    zeros = [np.zeros((term.n_levels, term.n_columns)) for term in design.terms]
    np.testing.assert_array_equal(
        response(design, np.zeros(2), zeros, np.zeros(N)), np.arange(float(N))
    )


def test_designs_have_the_weights_that_say_their_residuals():
    frame = bv.load_dataset("sleepstudy")
    formula, w = "Reaction ~ Days + (Days | Subject)", np.linspace(0.5, 2.0, 180)
    assert bv.Model(formula, frame).design.weights is None
    weighted = bv.Model(formula, frame, var_weights=w).design
    np.testing.assert_array_equal(weighted.weights, w)
    structured = bv.Model("Reaction ~ Days", frame, residual="ar1(Days | Subject)").design
    with pytest.raises(bv.DataError, match="have parameters"):
        _ = structured.weights
