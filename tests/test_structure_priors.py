"""Priors of correlations: normalised, drawn as stated, and LKJ restricted to the family."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from scipy import integrate, stats

from bayesv.errors import PriorError
from bayesv.structures.coordinate_priors import CorrelationPC, RangePC
from tests.structures import (
    DOUBLED,
    FIELD,
    GAPS,
    TIMES,
    coordinates,
    each_family,
    made,
    slopes,
)

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
