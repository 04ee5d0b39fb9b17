"""Families of covariances on positions: dense algebra, derivatives, densities, draws."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from scipy import integrate, stats

from bayesv.errors import DataError, FormulaError, PriorError
from bayesv.structures.coordinate_priors import CorrelationPC, RangePC
from bayesv.structures.direct_sum import Diagonal, DirectSum
from bayesv.structures.durbin import autocorrelations, reflections
from bayesv.structures.family import Family, positions_of
from bayesv.structures.kinds import KINDS, family
from bayesv.structures.moving_average import lag_one
from bayesv.structures.unstructured import Unstructured

GAPS = (0, 1, 3, 4, 7, 8, 10)
DOUBLED = (2, 6, 8, 12)
TIMES = (0.3, 0.9, 2.0, 2.25, 4.1, 7.0, 7.3)
FIELD = tuple(map(tuple, np.random.default_rng(3).uniform(0, 4, (7, 2)).tolist()))
VISIT_KINDS = ("cs", "csh", "toep", "toeph", "ad", "adh")
INTEGER_KINDS = ("ar1", "ar1h", "ma1", "arma11")
REAL_KINDS = ("car1", "sp_exp", "sp_gau", "sp_pow", "sp_mat")


def made(kind: str, positions, **options) -> Family:
    """Without a check of positions: a family may meet clusters that say little."""
    structure = KINDS[kind](positions_of(positions), **options)
    assert isinstance(structure, Family)
    return structure


def every_family() -> list[Family]:
    families = [made(kind, size) for kind in VISIT_KINDS + INTEGER_KINDS for size in (1, 2, 3, 7)]
    families += [made(kind, GAPS) for kind in ("ar1", "ar1h", "ma1", "arma11", "toep", "ad")]
    families += [made("ar1", DOUBLED), made("ar1", (7, 3, 0, 4)), made("toeph", (0, 1, 3))]
    families += [made("cs", 3, largest=5), made("csh", 3, largest=5)]
    families += [made("adh", 7).on((1, 2, 5)), made("toep", 7).on((1, 2, 5))]
    families += [made("toep", 7).on((2, 3, 4)), made("ad", 4).on((3, 1))]
    for kind in REAL_KINDS:
        families += [made(kind, TIMES[:size]) for size in (1, 2, 3, 7)]
        families.append(made(kind, TIMES, nugget=True))
        families.append(made(kind, TIMES[::-1]))
    for kind in REAL_KINDS[1:]:
        families += [made(kind, FIELD), made(kind, FIELD, nugget=True)]
    families += [made("sp_mat", FIELD, smoothness=nu) for nu in (0.5, 0.8, 2.5)]
    return families


def label(structure: Family) -> str:
    first = structure.positions[0]
    where = "field" if isinstance(first, tuple) else "-".join(map(str, structure.positions))
    return f"{structure.kind}({where}{'+nugget' if getattr(structure, 'nugget', False) else ''})"


FAMILIES = every_family()
each_family = pytest.mark.parametrize("structure", FAMILIES, ids=label)


def coordinates(structure: Family, *shape: int, seed: int = 0, spread: float = 0.7):
    return spread * np.random.default_rng(seed).normal(size=(*shape, structure.n_corrs))


def slopes(function, x, step=1e-5):
    """Central differences of fourth order, by the last axis of x as the first of the result."""
    columns = []
    for k in range(len(x)):
        e = np.zeros_like(x)
        e[k] = step * max(1.0, abs(x[k]))
        near = function(x + e) - function(x - e)
        far = function(x + 2 * e) - function(x - 2 * e)
        columns.append((8.0 * near - far) / (12.0 * e[k]))
    return np.array(columns)


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


# --- priors ---------------------------------------------------------------------------------------

DENSITIES = [
    (made("cs", 4), 1.0),
    (made("cs", 4), 2.5),
    (made("csh", 3, largest=6), 1.2),
    (made("ar1", GAPS), 0.6),
    (made("ar1", GAPS), 3.0),
    (made("ar1", DOUBLED), 0.6),
    (made("ar1", DOUBLED), 2.0),
    (made("ma1", 3), 1.7),
    (made("car1", TIMES), 1.0),
    (made("sp_exp", TIMES), 1.0),
    (made("sp_gau", FIELD), 1.0),
    (made("ar1", 3, priors=(CorrelationPC(1.3),)), 1.0),
    (made("toep", 2), 2.0),
    (made("ad", 2), 0.5),
]


@pytest.mark.parametrize(("structure", "eta"), DENSITIES, ids=lambda v: getattr(v, "kind", v))
def test_densities_of_one_parameter(structure, eta):
    def density(z):
        return float(np.exp(structure.log_density(np.array([z]), eta)))

    edges = np.array([-600.0, -60.0, -5.0, 0.0, 5.0, 100.0, 600.0])
    parts = [integrate.quad(density, a, b, limit=200)[0] for a, b in pairwise(edges)]
    assert sum(parts) == pytest.approx(1.0, abs=1e-7)
    draws = structure.draw(np.random.default_rng(8), 4000, eta)
    assert draws.shape == (4000, 1)
    grid = np.linspace(-40.0, 80.0, 60_001)
    cdf = integrate.cumulative_trapezoid(
        np.exp(structure.log_density(grid[:, None], eta)), grid, initial=0.0
    )
    test = stats.kstest(draws[:, 0], lambda z: np.interp(z, grid, cdf))
    assert test.pvalue > 0.005


@pytest.mark.parametrize(("structure", "eta"), DENSITIES, ids=lambda v: getattr(v, "kind", v))
def test_densities_by_natural_parameters(structure, eta):
    z = np.array([[-0.4], [0.9]])
    by_z = structure.log_density(z, eta)
    by_psi = structure.log_density(z, eta, by_coordinates=False)
    expected = [np.log(abs(slopes(structure.natural, row)[0, 0])) for row in z]
    np.testing.assert_allclose(by_z - by_psi, expected, atol=1e-7)


@each_family
def test_gradients_of_densities(structure):
    for z in coordinates(structure, 3, seed=9):
        expected = slopes(lambda x: structure.log_density(x, 1.4), z)
        np.testing.assert_allclose(structure.log_density_gradient(z, 1.4), expected, atol=1e-7)
    assert structure.draw(np.random.default_rng(1), 6, 1.4).shape == (6, structure.n_corrs)
    several = structure.log_density(coordinates(structure, 2, 3), 1.4)
    assert several.shape == (2, 3)


@pytest.mark.parametrize("eta", [0.7, 1.0, 2.0])
def test_toeplitz_is_the_restricted_lkj(eta):
    """∝ |C|^(η − 1) by autocorrelations, and normalised over those that are positive definite."""
    structure = made("toep", 3)
    z = coordinates(structure, 20)
    logs = structure.log_density(z, eta, by_coordinates=False)
    kernel = (eta - 1.0) * np.linalg.slogdet(structure.corr(z))[1]
    np.testing.assert_allclose(logs - kernel, (logs - kernel)[0], atol=1e-10)
    grid = np.arange(-24.0, 24.0, 0.05)
    plane = np.stack(np.meshgrid(grid, grid), axis=-1)
    total = np.exp(structure.log_density(plane, eta)).sum() * 0.05**2
    assert total == pytest.approx(1.0, abs=1e-9)
    if eta == 1.0:
        # Uniform: every pair (ρ₁, ρ₂) with ρ₂ > 2ρ₁² − 1, an area of 8/3.
        np.testing.assert_allclose(logs, -np.log(8.0 / 3.0), atol=1e-12)


@pytest.mark.parametrize("kind", ["toep", "ad", "arma11", "sp_exp", "sp_pow"])
def test_densities_of_several_parameters_by_importance(kind):
    options = {"nugget": True} if kind.startswith("sp") else {}
    structure = made(kind, 4, **options)
    proposal = stats.multivariate_t(
        np.full(structure.n_corrs, 0.3), 2.0 * np.eye(structure.n_corrs), df=3, seed=5
    )
    z = np.atleast_2d(proposal.rvs(200_000)).reshape(200_000, -1)
    weights = np.exp(structure.log_density(z, 1.0) - proposal.logpdf(z))
    error = weights.std() / np.sqrt(len(weights))
    assert error < 0.02
    assert weights.mean() == pytest.approx(1.0, abs=4 * error)


@pytest.mark.parametrize("kind", ["toep", "ad", "arma11"])
def test_draws_of_several_parameters(kind):
    """Uniform over correlation matrices: (1 + r_j)/2 of η = 1 has the stated beta density."""
    structure = made(kind, 4)
    draws = np.tanh(structure.draw(np.random.default_rng(11), 4000, 1.5))
    for j in range(structure.n_corrs):
        power = 1.5 * (structure.n_corrs - j) if kind == "toep" else 1.5
        assert stats.kstest(0.5 + 0.5 * draws[:, j], stats.beta(power, power).cdf).pvalue > 0.005
    assert np.abs(np.corrcoef(draws.T) - np.eye(structure.n_corrs)).max() < 0.06


def test_restricted_lkj_of_compound_symmetry():
    structure = made("cs", 5)
    z = coordinates(structure, 20)
    logs = structure.log_density(z, 3.0, by_coordinates=False)
    kernel = 2.0 * np.linalg.slogdet(structure.corr(z))[1]
    np.testing.assert_allclose(logs - kernel, (logs - kernel)[0], atol=1e-10)
    uniform = structure.log_density(z, 1.0, by_coordinates=False)
    np.testing.assert_allclose(uniform, -np.log(1.25), atol=1e-12)
    with pytest.raises(PriorError, match=r"needs η > 0\.75"):
        structure.log_density(z, 0.75)


def test_priors_that_shrink():
    range_prior = RangePC.below(2.0, 0.1, dimension=2)
    ranges = np.exp(range_prior.draw(np.random.default_rng(2), 20_000))
    assert (ranges < 2.0).mean() == pytest.approx(0.1, abs=0.01)
    correlation = CorrelationPC.above(0.5, 0.3)
    z = correlation.draw(np.random.default_rng(2), 20_000)
    assert (np.abs(np.tanh(z)) > 0.5).mean() == pytest.approx(0.3, abs=0.015)
    x = np.array([-30.0, -0.3, 0.0, 1e-9, 2.0, 25.0])
    # Sørbye and Rue's density by ρ, where it can be evaluated
    rho = np.tanh(x[[1, 4]])
    root = np.sqrt(-np.log1p(-(rho**2)))
    stated = np.log(correlation.rate * np.abs(rho) / (2 * (1 - rho**2) * root))
    stated -= correlation.rate * root
    by_rho = correlation.log_density(x[[1, 4]]) - np.log1p(-(rho**2))
    np.testing.assert_allclose(by_rho, stated, rtol=1e-10)
    assert np.isfinite(correlation.log_density(x)).all()
    expected = [slopes(correlation.log_density, v[None])[0, 0] for v in x[[0, 1, 4, 5]]]
    np.testing.assert_allclose(correlation.gradient(x[[0, 1, 4, 5]]), expected, rtol=1e-6)


# --- the nearest member ---------------------------------------------------------------------------


def stein(cov, S):
    return np.trace(np.linalg.solve(cov, S)) + np.linalg.slogdet(cov)[1]


@each_family
def test_members_are_their_own_projection(structure):
    z = coordinates(structure, 2)
    sds = np.exp(0.4 * np.random.default_rng(6).normal(size=(2, structure.n_sds)))
    every_sd = structure.sds(sds)
    cov = every_sd[..., :, None] * structure.corr(z) * every_sd[..., None, :]
    np.testing.assert_allclose(structure.project(cov), cov, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("kind", [*VISIT_KINDS, *INTEGER_KINDS, *REAL_KINDS])
def test_projection_has_the_least_stein_loss(kind):
    structure = made(kind, (0, 1, 2, 3))
    rng = np.random.default_rng(7)
    A = rng.normal(size=(4, 9))
    S = A @ A.T / 9 + 0.3
    nearest = structure.project(S)
    sds = np.sqrt(np.diag(nearest))
    z = structure.coordinates(nearest / np.outer(sds, sds))
    free = structure.free_sds(sds)

    def loss(x):
        widths = structure.sds(free * np.exp(x[: structure.n_sds]))
        return stein(np.outer(widths, widths) * structure.corr(z + x[structure.n_sds :]), S)

    origin = np.zeros(structure.n_sds + structure.n_corrs)
    np.testing.assert_allclose(
        np.outer(structure.sds(free), structure.sds(free)) * structure.corr(z), nearest, atol=1e-9
    )
    np.testing.assert_allclose(slopes(loss, origin, step=1e-3), 0.0, atol=2e-5)
    for _ in range(20):
        assert loss(rng.normal(size=len(origin))) > loss(origin)


def test_projection_of_several_and_of_zero_variances():
    structure = made("ar1h", 3)
    S = np.array([[2.0, 0.5, 0.0], [0.5, 1.0, 0.0], [0.0, 0.0, 0.0]])
    nearest = structure.project(np.stack([S, np.zeros((3, 3)), np.eye(3)]))
    np.testing.assert_allclose(nearest[0], S, atol=1e-8)
    assert not nearest[1].any()
    np.testing.assert_allclose(nearest[2], np.eye(3))
    ones = np.ones((3, 3))
    np.testing.assert_allclose(made("ar1", 3).project(ones), ones, atol=1e-9)
    singular = made("toep", 3).project(np.diag([1.0, 2.0, 0.0]))
    np.testing.assert_allclose(singular, np.eye(3), atol=0.2)


# --- words ----------------------------------------------------------------------------------------


def test_every_word_makes_its_family():
    assert set(KINDS) >= {*VISIT_KINDS, *INTEGER_KINDS, *REAL_KINDS, "us", "diag"}
    for kind, cls in KINDS.items():
        structure = family(kind, 4)
        assert type(structure) is cls
        assert structure.kind == kind
        assert structure.size == 4
        assert structure == family(kind, 4)
        assert hash(structure) == hash(family(kind, 4))
        assert len(structure.sd_labels("abcd")) == structure.n_sds
        assert len(structure.corr_labels("abcd")) == structure.n_corrs


@pytest.mark.parametrize(
    ("kind", "positions", "options", "message"),
    [
        ("ar", 3, {}, "did you mean 'ar1'"),
        ("sp_exq", 3, {}, "'sp_exp'"),
        ("ar1", 3, {"nugget": True}, "'ar1' has no option 'nugget'"),
        ("us", 3, {"nugget": True}, "has no option"),
        ("sp_exp", 3, {"smoothness": 1.0}, "It has nugget"),
    ],
)
def test_words_that_are_none(kind, positions, options, message):
    with pytest.raises(FormulaError, match=message):
        family(kind, positions, **options)


@pytest.mark.parametrize(
    ("kind", "positions", "options", "message"),
    [
        ("ar1", [0, 1, 1, 2], {}, "two rows at position 1"),
        ("sp_gau", [(0.0, 1.0), (0.0, 1.0)], {}, "two rows at position"),
        ("ar1", [0, 1.5, 2], {}, r"integer positions.*1\.5.*car1"),
        ("toep", [0, 1, 5], {}, "are 2, 3 apart"),
        ("ma1", [0, 2, 4], {}, "are 1 apart"),
        ("arma11", [0, 1], {}, "are 2 apart"),
        ("ad", [0, 2, 1], {}, "in their order"),
        ("car1", ["a", "b"], {}, "needs numbers"),
        ("car1", [(0, 1), (1, 1)], {}, "sp_pow"),
        ("sp_exp", [0, 1], {"nugget": True}, "two different distances"),
        ("cs", 1, {}, "two at least"),
    ],
)
def test_positions_that_do_not_tell(kind, positions, options, message):
    with pytest.raises(DataError, match=message):
        family(kind, positions, **options)


@pytest.mark.parametrize(
    ("kind", "psi", "message"),
    [
        ("ar1", [1.2], r"rho of 'ar1' with 4 positions is 1\.2, and must be between -1 and 1"),
        ("cs", [-0.4], r"is -0\.4, and must be between -0\.333333 and 1"),
        ("car1", [-0.1], "phi of 'car1'"),
        ("sp_exp", [-1.0], "between 0 and inf"),
        ("ma1", [0.7], r"between -0\.5 and 0\.5"),
        ("arma11", [0.5, 0.9], r"with phi 0\.5 must be between -0\.25 and 0\.75"),
        ("arma11", [1.5, 0.9], "phi of 'arma11'"),
        ("toep", [0.5, -0.9, 0.0], r"No 'toep' has lag 1 0\.5, lag 2 -0\.9"),
        ("ad", [0.5, np.nan, 0.0], "is nan"),
        ("us", [0.9, 0.9, -0.9, 0, 0, 0], "no correlation matrix"),
    ],
)
def test_natural_parameters_that_are_none(kind, psi, message):
    with pytest.raises(DataError, match=message):
        family(kind, 4).from_natural(np.array(psi))


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_natural_parameters_are_inverted(kind):
    structure = family(kind, 4)
    z = coordinates(structure, 3, 2)
    np.testing.assert_allclose(structure.from_natural(structure.natural(z)), z, atol=1e-8)


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
