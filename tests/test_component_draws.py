"""Values of (Σ, σ², β) in one class: shapes, choices among them, roots and labels."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import bayesv as bv
from bayesv.covariance import ComponentDraws
from bayesv.covariance.functionals import functionals, log_determinant
from bayesv.covariance.pointwise import Pointwise
from bayesv.covariance.quantities import quantities
from bayesv.gram import statistics_of
from bayesv.linalg import psd_root

RNG = np.random.default_rng(1)
N = 24
FRAME = pd.DataFrame(
    {
        "y": RNG.normal(size=N), "x": RNG.normal(size=N),
        "g": np.arange(N) % 4, "h": np.arange(N) % 3,
    }
)  # fmt: skip
DESIGN = bv.Model("y ~ x + (x | g) + (1 | h)", FRAME, var_weights=RNG.uniform(1, 3, N)).design


def drawn(*shape: int) -> ComponentDraws:
    root = RNG.normal(size=(*shape, 2, 2))
    covs = {"h": RNG.gamma(2.0, size=(*shape, 1, 1)), "g": root @ np.swapaxes(root, -1, -2)}
    return ComponentDraws(DESIGN, covs, RNG.gamma(2.0, size=shape), RNG.normal(size=(*shape, 2)))


def test_terms_are_in_the_order_of_the_design():
    assert list(drawn(3).covs) == ["g", "h"]


@pytest.mark.parametrize("shape", [(), (5,), (2, 7)])
def test_roots_are_lower_triangular_roots_of_every_covariance(shape):
    draws = drawn(*shape)
    for cov, root, lam in zip(
        draws.covs.values(), draws.roots(), draws.relative_roots(), strict=True
    ):
        assert not np.triu(root, 1).any()
        np.testing.assert_allclose(root @ np.swapaxes(root, -1, -2), cov, rtol=1e-12)
        np.testing.assert_allclose(
            lam @ np.swapaxes(lam, -1, -2), cov / draws.sigma2[..., None, None], rtol=1e-12
        )


def test_roots_of_singular_covariances_have_columns_of_zero():
    cov = np.array([[[4.0, 2.0], [2.0, 1.0]], [[0.0, 0.0], [0.0, 9.0]], [[1.0, 0.5], [0.5, 1.0]]])
    root = psd_root(cov)
    np.testing.assert_array_equal(root[0], [[2.0, 0.0], [1.0, 0.0]])
    np.testing.assert_array_equal(root[1], [[0.0, 0.0], [0.0, 3.0]])
    np.testing.assert_array_equal(root[2], psd_root(cov[2]))


def test_choices_keep_values_together():
    draws = drawn(2, 6)
    for some, index in (
        (draws.take((1, 4)), (1, 4)),
        (draws.every(4), (slice(None), slice(None, None, 4))),
        (draws.take(np.array([1, 0])), np.array([1, 0])),
    ):
        np.testing.assert_array_equal(some.sigma2, draws.sigma2[index])
        np.testing.assert_array_equal(some.beta, draws.beta[index])
        np.testing.assert_array_equal(some.covs["g"], draws.covs["g"][index])
    assert draws.flat.shape == (12,)
    assert draws.every(4).shape == (2, 2)
    np.testing.assert_array_equal(draws.flat.beta[7], draws.beta[1, 1])
    both = draws.flat.followed_by(draws.take(1))
    np.testing.assert_array_equal(both.covs["h"][12:], draws.covs["h"][1])
    assert [float(point.sigma2) for point in draws.flat] == draws.sigma2.ravel().tolist()


def test_components_are_labelled_and_come_back():
    draws = drawn(2, 3)
    vc = draws.components((1, 2))
    assert list(vc["g"].columns) == list(DESIGN.terms[0].columns)
    np.testing.assert_array_equal(vc["g"].to_numpy(), draws.covs["g"][1, 2])
    swapped = bv.VarianceComponents({"g": vc["g"].iloc[::-1, ::-1], "h": vc["h"]}, vc.sigma2)
    point = ComponentDraws.of(DESIGN, swapped)
    assert point.shape == ()
    assert np.isnan(point.beta).all()
    np.testing.assert_array_equal(point.covs["g"], draws.covs["g"][1, 2])
    assert point.components() == vc


def test_what_does_not_fit_is_refused():
    draws = drawn(3)
    with pytest.raises(bv.BayesvError, match="no draws of Σ for 'h', only for g"):
        ComponentDraws(DESIGN, {"g": draws.covs["g"]}, draws.sigma2)
    with pytest.raises(bv.BayesvError, match=r"'h' have shape \(3,\); needed is \(3, 1, 1\)"):
        ComponentDraws(DESIGN, {**draws.covs, "h": np.ones(3)}, draws.sigma2)
    with pytest.raises(bv.BayesvError, match=r"β have shape \(2,\); needed is \(3, 2\)"):
        ComponentDraws(DESIGN, draws.covs, draws.sigma2, np.ones(2))


def test_functions_of_draws_are_those_of_dense_covariances():
    draws, stats = drawn(4), statistics_of(DESIGN)
    dense = [bv.MarginalCovariance(DESIGN, point.components()).to_dense() for point in draws]
    np.testing.assert_allclose(
        log_determinant(draws, stats), [np.linalg.slogdet(V)[1] for V in dense], rtol=1e-10
    )
    np.testing.assert_allclose(
        functionals(draws, stats)["tr V"], [np.trace(V) for V in dense], rtol=1e-12
    )
    of_rows, of_clusters = Pointwise(DESIGN)(draws)
    for s, V in enumerate(dense):
        e = DESIGN.y - DESIGN.X @ draws.beta[s]
        whole = -0.5 * (np.linalg.slogdet(2 * np.pi * V)[1] + e @ np.linalg.solve(V, e))
        assert of_clusters[s].sum() == pytest.approx(whole)
        g, q = np.linalg.solve(V, e), np.diagonal(np.linalg.inv(V))
        np.testing.assert_allclose(of_rows[s], 0.5 * np.log(q / (2 * np.pi)) - 0.5 * g**2 / q)


def test_scalars_of_many_are_those_of_each():
    draws = drawn(2, 3)
    for together, alone in zip(
        quantities(draws), quantities(draws.take((1, 2)), fixed=True), strict=True
    ):
        assert together.key == alone.key
        assert together.values.shape == (2, 3)
        assert together.values[1, 2] == alone.values
    assert not [q for q in quantities(draws, fixed=False) if q.scale == "beta"]
