"""What every family of covariances must do, held against dense algebra; add a family to the list.

`FAMILIES` has (name, family). Draws and densities of each are tested at two values of η.
"""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from scipy import integrate, stats

import bayesv as bv
from bayesv.design.design import RandomTerm
from bayesv.linalg import cov_to_sd_corr
from bayesv.structures import (
    CovarianceStructure,
    Diagonal,
    DirectSum,
    Unstructured,
    direct_sum,
    of_blocks,
    of_linked,
)

FAMILIES: list[tuple[str, CovarianceStructure]] = [
    ("us1", Unstructured(1)),
    ("us2", Unstructured(2)),
    ("us3", Unstructured(3)),
    ("us5", Unstructured(5)),
    ("diag1", Diagonal(1)),
    ("diag3", Diagonal(3)),
    ("us1+us2", of_blocks([[0], [1, 2]])),
    ("us2+us1, apart", of_blocks([[0, 2], [1]])),
    ("us3+us2, mixed", of_blocks([[0, 2, 4], [3, 1]])),
]
families = pytest.mark.parametrize("family", [f for _, f in FAMILIES], ids=[n for n, _ in FAMILIES])
etas = pytest.mark.parametrize("eta", [1.0, 2.5])


def coordinates(family: CovarianceStructure, *shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0.0, 0.8, (*shape, family.n_corrs))


def correlation(root: np.ndarray) -> np.ndarray:
    return root @ np.swapaxes(root, -1, -2)


def differences(function, x: np.ndarray) -> np.ndarray:
    """Central differences, (m, …)."""
    steps = 1e-5 * np.eye(len(x))
    values = [(np.asarray(function(x + h)) - function(x - h)) / 2e-5 for h in steps]
    return np.array(values) if values else np.zeros(0)


@families
def test_roots_are_of_correlations(family):
    root = family.root(coordinates(family, 4, 3))
    r = family.size
    assert root.shape == (4, 3, r, r)
    assert (np.triu(root, 1) == 0).all()
    corr = correlation(root)
    np.testing.assert_allclose(np.diagonal(corr, axis1=-2, axis2=-1), 1.0, rtol=1e-14)
    assert np.linalg.eigvalsh(corr).min() > 0
    assert (corr[..., ~family.mask] == 0).all()
    assert (corr[..., family.mask] != 0).all()
    np.testing.assert_array_equal(root[2, 1], family.root(coordinates(family, 4, 3)[2, 1]))


@families
def test_coordinates_are_inverse_to_roots(family):
    z = coordinates(family, 4, 3)
    np.testing.assert_allclose(family.coordinates(correlation(family.root(z))), z, atol=1e-10)


@families
def test_coordinates_on_the_boundary_are_finite(family):
    z = 40.0 * np.sign(coordinates(family, 5) + 0.1)
    corr = correlation(family.root(z))
    again = family.coordinates(corr)
    assert np.isfinite(again).all()
    np.testing.assert_allclose(correlation(family.root(again)), corr, atol=1e-7)


@families
def test_natural_parameters_are_elements_that_labels_name(family):
    names = [f"c{i}" for i in range(family.size)]
    z = coordinates(family, 3)
    labels = family.corr_labels(names)
    assert len(labels) == len(set(labels)) == family.n_corrs
    natural = family.natural(z)
    assert natural.shape == z.shape
    corr = correlation(family.root(z))
    for label, values in zip(labels, natural.T, strict=True):
        j, i = (names.index(name) for name in label.split(", "))
        np.testing.assert_allclose(values, corr[:, i, j], rtol=1e-14)


@families
def test_pullback_by_differences(family):
    rng = np.random.default_rng(1)
    for z in coordinates(family, 3):
        bar = rng.normal(size=(family.size, family.size))
        want = differences(lambda x, bar=bar: (family.root(x) * bar).sum(), z)
        np.testing.assert_allclose(family.pullback(z, bar), want, atol=1e-8)


@families
@etas
def test_gradient_of_the_prior_by_differences(family, eta):
    for z in coordinates(family, 3):
        want = differences(lambda x: family.log_density(x, eta), z)
        np.testing.assert_allclose(family.log_density_gradient(z, eta), want, atol=1e-7)


@families
@etas
def test_densities_by_coordinates_and_by_parameters_differ_by_the_jacobian(family, eta):
    z = coordinates(family, 3)
    gap = family.log_density(z, eta) - family.log_density(z, eta, by_coordinates=False)
    assert gap.shape == (3,)
    volumes = [np.linalg.slogdet(differences(family.natural, x))[1] if len(x) else 0.0 for x in z]
    np.testing.assert_allclose(gap, volumes, atol=1e-7)


@families
@etas
def test_prior_is_normalised(family, eta):
    def density(*z: float) -> float:
        return float(np.exp(family.log_density(np.array(z), eta)))

    if family.n_corrs == 0:
        assert density() == 1.0
    elif family.n_corrs == 1:
        total, _ = integrate.quad(density, -30, 30, points=[0.0], epsabs=1e-10)
        assert total == pytest.approx(1.0, abs=1e-8)
    else:  # importance sampling: weights are bounded, for tails of densities fall by e^−2η|z|
        law, shape = stats.logistic(scale=0.6 / eta), (200_000, family.n_corrs)
        z = law.rvs(shape, random_state=np.random.default_rng(2))
        weights = np.exp(family.log_density(z, eta) - law.logpdf(z).sum(axis=1))
        error = weights.std() / np.sqrt(len(weights))
        assert error < 0.02
        assert weights.mean() == pytest.approx(1.0, abs=4.5 * error)


@families
@etas
def test_draws_are_of_the_density(family, eta):
    z = family.draw(np.random.default_rng(3), 20_000, eta)
    assert z.shape == (20_000, family.n_corrs)
    if family.n_corrs == 0:
        return
    # ∫ q = 1 for any density q, here with tails that fall faster; and E[∇ log p] = 0, E[−z'∇] = m.
    law = stats.norm(scale=0.25)
    weights = np.exp(law.logpdf(z).sum(axis=1) - family.log_density(z, eta))
    assert weights.mean() == pytest.approx(1.0, abs=4.5 * weights.std() / np.sqrt(len(z)))
    slopes = np.array([family.log_density_gradient(x, eta) for x in z])
    for values, want in ((slopes, 0.0), (-slopes * z, 1.0)):
        error = values.std(axis=0) / np.sqrt(len(z))
        np.testing.assert_array_less(np.abs(values.mean(axis=0) - want), 4.5 * error)


@families
def test_standard_deviations_of_rows(family):
    labels = family.sd_labels([f"c{i}" for i in range(family.size)])
    assert len(labels) == len(set(labels)) == family.n_sds
    rng = np.random.default_rng(4)
    free, bar = np.exp(rng.normal(size=family.n_sds)), rng.normal(size=family.size)
    rows = family.sds(free)
    np.testing.assert_array_equal(rows, free[family.sd_of_row])
    np.testing.assert_allclose(family.free_sds(rows), free, rtol=1e-14)
    np.testing.assert_array_equal(family.sds(np.stack([free, free]))[1], rows)
    np.testing.assert_allclose(rows @ bar, free @ family.sds_pullback(bar), rtol=1e-12)


@families
def test_projection_is_in_the_family_and_keeps_its_members(family):
    rng = np.random.default_rng(5)
    free = np.exp(rng.normal(size=(3, family.n_sds)))
    members = correlation(family.sds(free)[..., :, None] * family.root(coordinates(family, 3)))
    np.testing.assert_allclose(family.project(members), members, rtol=1e-10)
    others = correlation(rng.normal(size=(3, family.size, family.size)))
    for cov in family.project(others):
        assert np.linalg.eigvalsh(cov).min() > -1e-12
        sds, corr = cov_to_sd_corr(cov)
        again = family.sds(family.free_sds(sds))[:, None] * family.root(family.coordinates(corr))
        np.testing.assert_allclose(correlation(again), cov, rtol=1e-7, atol=1e-10)


@families
def test_parts_and_blocks_cover_all_rows_once(family):
    everything = list(range(family.size))
    assert sorted(i for block in family.blocks for i in block) == everything
    assert sorted(i for rows, _ in family.parts for i in rows) == everything
    assert set(family.free_blocks) <= set(family.blocks)
    assert sum(part.n_corrs for _, part in family.parts) == family.n_corrs
    for block in family.blocks:
        assert family.mask[np.ix_(block, block)].all()
    assert family.mask.sum() == sum(len(block) ** 2 for block in family.blocks)


@families
def test_a_change_of_rows_within_free_blocks_stays_in_the_family(family):
    rng = np.random.default_rng(6)
    change = np.eye(family.size)
    for block in family.free_blocks:
        change[np.ix_(block, block)] = rng.normal(size=(len(block), len(block)))
    cov = correlation(change @ family.root(coordinates(family)))
    np.testing.assert_allclose(family.project(cov), cov, atol=1e-12)


@families
def test_families_are_values(family):
    again = pickle.loads(pickle.dumps(family))
    assert again == family
    assert hash(again) == hash(family)
    assert str(again) == str(family)


def test_equal_families_have_one_form():
    assert of_blocks([[0], [1], [2]]) == Diagonal(3) == direct_sum([Diagonal(2), Unstructured(1)])
    assert of_blocks([[1, 0]]) == Unstructured(2) == direct_sum([Unstructured(2)])
    assert of_blocks([[0]]) == Unstructured(1) == direct_sum([Diagonal(1)])
    assert direct_sum([Diagonal(2), Unstructured(2)]) == of_blocks([[0], [1], [2, 3]])
    chain = np.array([[1, 1, 0, 0], [1, 1, 0, 1], [0, 0, 1, 0], [0, 1, 0, 1]])
    assert of_linked(chain) == of_blocks([[0, 1, 3], [2]])


def test_a_sum_shares_standard_deviations_within_parts_alone():
    class Equal(Diagonal):
        """One variance."""

        n_sds = 1

        def sd_labels(self, columns):
            return ("all of " + "".join(columns),)

    family = DirectSum((((0, 2), Equal(2)), ((1, 3), Unstructured(2))))
    assert family.n_sds == 3
    assert family.sd_labels("abcd") == ("all of ac", "b", "d")
    np.testing.assert_array_equal(family.sds(np.array([1.0, 2.0, 3.0])), [1, 2, 1, 3])
    np.testing.assert_array_equal(family.sds_pullback(np.array([1.0, 2.0, 3.0, 4.0])), [4, 2, 4])


def test_the_constant_of_LKJ_is_that_of_the_prior():
    """By elements and by partial correlations."""
    family, lkj = Unstructured(4), bv.LKJ(1.7)
    z = coordinates(family, 3)
    logdet = np.linalg.slogdet(correlation(family.root(z)))[1]
    want = family.log_density(z, 1.7, by_coordinates=False)
    np.testing.assert_allclose(lkj.log_density(logdet, 4), want, rtol=1e-12)


def test_a_term_whose_family_is_of_other_columns_is_refused():
    design = bv.Model("Reaction ~ Days + (Days | Subject)", bv.load_dataset("sleepstudy")).design
    term = design.terms[0]
    fields = (term.group, term.columns, term.levels, term.codes, term.values)
    with pytest.raises(bv.DataError, match=r"us\(3\) is of 3 columns, but the term has 2"):
        RandomTerm(*fields, Unstructured(3))
    with pytest.raises(bv.BayesvError, match="must be a CovarianceStructure"):
        RandomTerm(*fields, ((0, 1),))


@pytest.mark.parametrize(("eta", "want"), [(0.1, np.inf), (1.0, -np.log(2.0)), (3.0, -np.inf)])
def test_density_of_a_singular_correlation_is_that_of_its_determinant(eta, want):
    z = Unstructured(2).coordinates(np.array([[[1.0, -1.0], [-1.0, 1.0]]]))
    density = Unstructured(2).log_density(z, eta, by_coordinates=False)
    assert density == pytest.approx([want])
