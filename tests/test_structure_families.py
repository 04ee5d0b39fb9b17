"""Families of covariances on positions: dense algebra and derivatives."""

from __future__ import annotations

import numpy as np
import pytest

from bayesv.structures.direct_sum import Diagonal, DirectSum
from bayesv.structures.durbin import autocorrelations, reflections
from bayesv.structures.kinds import family
from bayesv.structures.moving_average import lag_one
from bayesv.structures.unstructured import Unstructured
from tests.structures import (
    DOUBLED,
    FIELD,
    GAPS,
    REAL_KINDS,
    TIMES,
    coordinates,
    each_family,
    made,
    slopes,
)

# --- matrices -------------------------------------------------------------------------------------


@each_family
def test_correlations_are_positive_definite_and_their_roots_triangular(structure):
    z = coordinates(structure, 5, 3)
    corr, root = structure.corr(z), structure.root(z)
    assert corr.shape == root.shape == (5, 3, structure.size, structure.size)
    assert np.linalg.eigvalsh(corr).min() > 0.0
    assert np.array_equal(root, np.tril(root))
    np.testing.assert_allclose(root @ np.swapaxes(root, -1, -2), corr, atol=1e-12)
    np.testing.assert_array_equal(np.diagonal(corr, axis1=-2, axis2=-1), 1.0)
    np.testing.assert_array_equal(corr[2, 1], structure.corr(z[2, 1]))


@each_family
def test_coordinates_invert_correlations(structure):
    # Of a short range and a nugget, one distance alone says something.
    z = coordinates(structure, 4, 2, spread=0.3 if getattr(structure, "nugget", False) else 0.7)
    corr = structure.corr(z)
    again = structure.coordinates(corr)
    assert again.shape == z.shape
    assert np.isfinite(again).all()
    if structure != made("toep", 7).on((1, 2, 5)):  # which lacks a lag
        np.testing.assert_allclose(structure.corr(again), corr, atol=1e-10)
    np.testing.assert_allclose(structure.from_natural(structure.natural(z)), z, atol=1e-9)


@each_family
def test_pullback_is_the_derivative_through_the_root(structure):
    rng = np.random.default_rng(1)
    for z in coordinates(structure, 3):
        bar = rng.normal(size=(structure.size, structure.size))
        expected = slopes(lambda x, bar=bar: (structure.root(x) * bar).sum(), z)
        np.testing.assert_allclose(structure.pullback(z, bar), expected, rtol=1e-7, atol=1e-8)


@each_family
def test_derivatives_of_correlations(structure):
    for z in coordinates(structure, 2, seed=2):
        expected = slopes(structure.corr, z).reshape(-1, structure.size, structure.size)
        np.testing.assert_allclose(structure.corr_derivatives(z), expected, atol=1e-8)
        bar = np.random.default_rng(2).normal(size=(structure.size,) * 2)
        by_z = (expected * bar).sum(axis=(1, 2))
        np.testing.assert_allclose(structure.corr_pullback(z, bar), by_z, atol=1e-7)
        logdet = np.linalg.slogdet(structure.jacobian(z))[1] if len(z) else 0.0
        np.testing.assert_allclose(structure.log_jacobian(z), logdet, atol=1e-10)
        expected = slopes(structure.natural, z).reshape(len(z), len(z)).T
        np.testing.assert_allclose(structure.jacobian(z), expected, atol=1e-8)


@each_family
def test_first_and_second_derivatives_by_natural_parameters(structure):
    rng = np.random.default_rng(4)
    sds = np.exp(0.3 * rng.normal(size=structure.n_sds))
    z = coordinates(structure, seed=5)
    theta = structure.theta(sds, z)
    columns = [f"V{i}" for i in range(structure.size)]
    assert len(structure.theta_labels(columns)) == len(theta) == len(structure.first(theta))
    assert len(set(structure.theta_labels(columns))) == len(theta)
    every_sd = structure.sds(sds)
    cov = structure.natural_covariance(theta)
    np.testing.assert_allclose(cov, np.outer(every_sd, every_sd) * structure.corr(z), atol=1e-12)
    expected = slopes(structure.natural_covariance, theta)
    np.testing.assert_allclose(structure.first(theta), expected, atol=2e-9)
    expected = slopes(structure.first, theta)
    np.testing.assert_allclose(structure.second(theta), expected, atol=2e-8)


def test_parameters_of_sas_are_linear_where_sas_has_covariances():
    for kind in ("cs", "toep", "ma1"):
        structure = family(kind, 4)
        theta = structure.theta(np.array([1.3]), coordinates(structure))
        assert not structure.second(theta).any()
        np.testing.assert_allclose(
            structure.natural_covariance(2 * theta), 2 * structure.natural_covariance(theta)
        )
    assert family("cs", 3).theta_labels("abc") == ("covariance", "residual")
    assert family("csh", 3).theta_labels("ab") == ("variance a", "variance b", "rho")
    assert family("toep", 3).theta_labels("abc")[1:] == ("covariance lag 1", "covariance lag 2")
    assert family("adh", 3).corr_labels("abc") == ("a, b", "b, c")


# --- closed forms ---------------------------------------------------------------------------------


def test_determinant_of_compound_symmetry():
    structure = made("cs", 6)
    rho = structure.natural(coordinates(structure, 9, spread=3.0))[:, 0]
    assert rho.min() > -0.2
    assert rho.min() < 0.0
    expected = 5 * np.log1p(-rho) + np.log1p(5 * rho)
    corr = structure.correlations(rho[:, None])
    np.testing.assert_allclose(np.linalg.slogdet(corr)[1], expected, rtol=1e-9)


@pytest.mark.parametrize("kind", ["ar1", "ar1h", "ad", "adh", "car1", "sp_exp"])
def test_inverse_of_a_chain_is_tridiagonal(kind):
    structure = made(kind, TIMES if kind in REAL_KINDS else GAPS)
    inverse = np.linalg.inv(structure.corr(coordinates(structure)))
    far = np.abs(np.subtract.outer(np.arange(7), np.arange(7))) > 1
    assert np.abs(inverse[far]).max() < 1e-12
    assert np.abs(inverse[~far]).min() > 1e-6


def test_powers_of_a_negative_correlation():
    corr = made("ar1", GAPS).correlations(np.array([-0.6]))
    np.testing.assert_allclose(corr[0], np.array([1, -0.6, -(0.6**3), 0.6**4, *corr[0, 4:]]))
    np.testing.assert_allclose(corr[4, 0], -(0.6**7))


def test_products_of_ante_dependence():
    corr = made("ad", 4).correlations(np.array([0.5, -0.4, 0.9]))
    assert corr[0, 3] == pytest.approx(0.5 * -0.4 * 0.9)
    assert corr[3, 1] == pytest.approx(-0.4 * 0.9)


def test_determinants_of_toeplitz_correlations():
    structure = made("toep", 6)
    for z in coordinates(structure, 4):
        r, j, m = np.tanh(z), np.arange(1, 6), 6
        expected = ((m - j) * np.log1p(-(r**2))).sum()
        assert np.linalg.slogdet(structure.corr(z))[1] == pytest.approx(expected, rel=1e-10)
        by_r = slopes(autocorrelations, r).T
        expected = ((m - 1 - j) * np.log1p(-(r**2))).sum()
        assert np.linalg.slogdet(by_r)[1] == pytest.approx(expected, rel=1e-7)
        np.testing.assert_allclose(reflections(autocorrelations(r)), r, atol=1e-12)


def test_toeplitz_of_an_autoregression():
    structure = made("toep", 5)
    corr = made("ar1", 5).correlations(np.array([-0.7]))
    np.testing.assert_allclose(np.tanh(structure.coordinates(corr)), [-0.7, 0, 0, 0], atol=1e-12)


def test_moving_averages_by_their_weights():
    theta, phi = -0.4, 0.7
    # Weights of past shocks, to the end that floats can tell.
    weights = np.concatenate([[1.0], (phi + theta) * phi ** np.arange(200)])
    process = np.array([weights[: 201 - h] @ weights[h:] for h in range(5)])
    structure = made("arma11", 5)
    corr = structure.correlations(np.array([phi, lag_one(theta, phi)]))
    np.testing.assert_allclose(corr[0], process / process[0], atol=1e-12)
    z = structure.from_natural(np.array([phi, lag_one(theta, phi)]))
    np.testing.assert_allclose(z, [np.arctanh(phi), np.arctanh(phi) + 2 * np.arctanh(theta)])
    moving = made("ma1", 5)
    np.testing.assert_allclose(
        moving.from_natural(np.array([lag_one(theta)])), [2 * np.arctanh(theta)]
    )
    np.testing.assert_allclose(
        moving.correlations(np.array([lag_one(theta)])),
        structure.correlations(np.array([0.0, lag_one(theta)])),
    )


def test_matern_of_half_integers():
    d = np.array([0.0, 0.1, 1.0, 3.0])
    x = d / 1.7
    forms = {0.5: np.exp(-x), 1.5: (1 + x) * np.exp(-x), 2.5: (1 + x + x**2 / 3) * np.exp(-x)}
    for nu, expected in forms.items():
        structure = made("sp_mat", d, smoothness=nu)
        np.testing.assert_allclose(structure.at_lags(np.array([1.7]), d), expected, rtol=1e-12)
    # Distances that are next to nothing are next to 1, without overflow.
    assert structure.at_lags(np.array([1.0]), np.array([1e-200, 1e-310])).tolist() == [1.0, 1.0]


@each_family
def test_the_same_parameters_at_other_positions(structure):
    z = coordinates(structure, 2)
    chosen = [i for i in range(structure.size) if i % 3 != 1][::-1]
    part = structure.on(tuple(structure.positions[i] for i in chosen))
    expected = structure.corr(z)[:, chosen][:, :, chosen]
    assert part.n_corrs == structure.n_corrs
    np.testing.assert_allclose(part.corr(z), expected, atol=1e-14)


# --- boundaries -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "positions", "z"),
    [
        ("ar1", GAPS, 60.0),
        ("ar1", GAPS, -60.0),
        ("ar1", DOUBLED, 60.0),
        ("ad", 4, 60.0),
        ("toep", 4, 60.0),
        ("toep", 4, -60.0),
        ("cs", 4, 60.0),
        ("cs", 4, -60.0),
        ("cs", 2, -60.0),
        ("arma11", 4, 60.0),
        ("car1", TIMES, 60.0),
        ("sp_exp", TIMES, 60.0),
        ("sp_gau", TIMES, 60.0),
        ("sp_gau", FIELD, 9.0),
        ("sp_mat", FIELD, 60.0),
    ],
)
def test_roots_where_correlations_are_singular(kind, positions, z):
    structure = made(kind, positions)
    z = np.full(structure.n_corrs, z)
    corr, root = structure.corr(z), structure.root(z)
    assert np.linalg.eigvalsh(corr)[0] < 1e-12
    np.testing.assert_allclose(root @ root.T, corr, atol=1e-12)
    gradient = structure.pullback(z, np.ones_like(root))
    assert np.isfinite(gradient).all()
    assert np.isfinite(structure.coordinates(corr)).all()
    assert np.isfinite(structure.log_density_gradient(z, 1.0)).all()


def test_an_end_of_the_range_is_exact():
    for z in (-800.0, 800.0):
        assert np.array_equal(made("ar1", GAPS).root(np.array([z]))[:, 1:], np.zeros((7, 6)))
    root = made("cs", 4).root(np.array([-800.0]))
    assert root[3, 3] == 0.0
    np.testing.assert_allclose((root @ root.T).sum(), 0.0, atol=1e-15)
    root = made("toep", 3).root(np.array([-60.0, 0.0]))
    np.testing.assert_allclose(root[:, 0], [1.0, -1.0, 1.0])


@pytest.mark.parametrize("kind", ["ar1", "toep", "ad", "cs", "car1", "sp_exp"])
@pytest.mark.parametrize("far", [-14.0, 14.0])
def test_pullback_near_the_ends_of_the_range(kind, far):
    """Where Cholesky factors have lost their digits, the closed forms have not."""
    structure = made(kind, (0, 1, 2, 3))
    z = np.full(structure.n_corrs, far)
    z[1:] = 0.3
    bar = np.random.default_rng(1).normal(size=(4, 4))
    expected = slopes(lambda x: (structure.root(x) * bar).sum(), z, step=1e-3)
    np.testing.assert_allclose(structure.pullback(z, bar), expected, rtol=1e-3, atol=1e-12)


MIXED = DirectSum(
    (
        ((0, 3), Unstructured(2)),
        ((1, 2, 5), made("ar1h", 3)),
        ((4,), Diagonal(1)),
        ((6, 7), made("cs", 2)),
    )
)


@pytest.mark.parametrize("structure", [Unstructured(1), Unstructured(4), Diagonal(3), MIXED])
def test_natural_parameters_of_elements_and_of_sums(structure):
    rng = np.random.default_rng(3)
    sds = np.exp(0.3 * rng.normal(size=structure.n_sds))
    z = 0.6 * rng.normal(size=structure.n_corrs)
    theta = structure.theta(sds, z)
    labels = structure.theta_labels([f"V{i}" for i in range(structure.size)])
    assert len(labels) == len(theta)
    root = structure.sds(sds)[:, None] * structure.root(z)
    np.testing.assert_allclose(structure.natural_covariance(theta), root @ root.T, atol=1e-12)
    first = slopes(structure.natural_covariance, theta)
    np.testing.assert_allclose(structure.first(theta), first, atol=1e-9)
    second = slopes(structure.first, theta)
    np.testing.assert_allclose(structure.second(theta), second, atol=1e-8)
    assert structure.is_linear == (not structure.second(theta).any())
    np.testing.assert_allclose(structure.from_natural(structure.natural(z)), z, atol=1e-10)
    bar = rng.normal(size=(structure.size,) * 2)
    by_z = slopes(lambda x: (structure.corr(x) * bar).sum(), z)
    np.testing.assert_allclose(structure.corr_pullback(z, bar), by_z, atol=1e-8)


def test_labels_of_elements():
    assert Unstructured(2).theta_labels("ab") == ("variance a", "covariance a, b", "variance b")
    assert Diagonal(2).theta_labels("ab") == ("variance a", "variance b")
    assert MIXED.theta_labels("abcdefgh")[3:7] == ("variance b", "variance c", "variance f", "rho")
