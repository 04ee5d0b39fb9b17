"""Which member of a family is nearest, which words make one, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from bayesv.errors import DataError, FormulaError
from bayesv.structures.kinds import KINDS, family
from tests.structures import (
    INTEGER_KINDS,
    REAL_KINDS,
    VISIT_KINDS,
    coordinates,
    each_family,
    made,
    slopes,
)

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


def test_positions_that_a_family_does_not_know():
    toeplitz, chain = family("toep", 4), family("ad", [1, 2, 5])
    with pytest.raises(DataError, match="up to lag 3, and there are positions 6 apart"):
        toeplitz.on((0, 6)).corr(np.zeros(3))
    with pytest.raises(DataError, match="knows no position 4"):
        chain.on((1, 4)).corr(np.zeros(2))
