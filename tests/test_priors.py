"""Priors: densities against scipy, location-free defaults, resolution by meaning."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import integrate, stats

import bayesv as bv
from bayesv.priors.draws import draw_prior

SLEEP = "Reaction ~ Days + (Days | Subject)"


def sleep() -> pd.DataFrame:
    return bv.load_dataset("sleepstudy")


def resolved(priors: bv.Priors | None = None, formula: str = SLEEP, data=None):
    return bv.Model(formula, sleep() if data is None else data, priors).priors


# --- densities ------------------------------------------------------------------------------------

SD_PRIORS = [
    (bv.HalfNormal(2.5), stats.halfnorm(scale=2.5)),
    (bv.HalfCauchy(1.5), stats.halfcauchy(scale=1.5)),
    (bv.Exponential(3.0), stats.expon(scale=3.0)),
    (bv.Gamma(2.0, 0.7), stats.gamma(2.0, scale=0.7)),
    (bv.Gamma(1.0, 0.7), stats.expon(scale=0.7)),
]


@pytest.mark.parametrize(("prior", "law"), SD_PRIORS)
def test_log_density_equals_that_of_scipy(prior, law):
    sd = np.array([1e-6, 0.1, 1.0, 2.5, 40.0])
    np.testing.assert_allclose(prior.log_density(sd), law.logpdf(sd), rtol=1e-12)


@pytest.mark.parametrize(("nu", "scale"), [(3.0, 2.0), (4.0, 56.0), (0.5, 0.01)])
def test_half_t_is_twice_the_t(nu, scale):
    sd = np.array([0.0, 0.1, 1.0, 100.0])
    want = np.log(2) + stats.t(nu, scale=scale).logpdf(sd)
    np.testing.assert_allclose(bv.HalfStudentT(nu, scale).log_density(sd), want, rtol=1e-12)


def test_inverse_gamma_is_on_the_variance():
    sd = np.array([0.3, 1.0, 5.0])
    want = stats.invgamma(2.0, scale=1.5).logpdf(sd**2) + np.log(2 * sd)
    np.testing.assert_allclose(bv.InverseGamma(2.0, 1.5).log_density(sd), want, rtol=1e-12)
    assert bv.InverseGamma(2.0, 1.5).log_density(np.array(0.0)) == -np.inf


@pytest.mark.parametrize("shape", [0.001, 0.4, 3.0])
def test_inverse_gamma_has_finite_draws_of_its_law(shape):
    """Without a warning: with a small shape, most of 1/variance is below the smallest double."""
    one_way = "Reaction ~ Days + (1 | Subject)"
    drawn = (
        draw_prior(
            resolved(bv.Priors(sd=bv.InverseGamma(shape, 2.0)), one_way),
            4000,
            np.random.default_rng(1),
        )
        .covs["Subject"]
        .ravel()
    )
    assert np.isfinite(drawn).all()
    for q in (0.3, 1.0, 30.0):
        want = stats.invgamma(shape, scale=2.0).cdf(q)
        assert (drawn <= q).mean() == pytest.approx(want, abs=4 * (want / 4000) ** 0.5 + 1e-12)


@pytest.mark.parametrize("prior", [p for p, _ in SD_PRIORS] + [bv.InverseGamma(2.0, 1.5)])
def test_densities_integrate_to_one(prior):
    total, _ = integrate.quad(lambda sd: float(np.exp(prior.log_density(sd))), 0, np.inf)
    assert total == pytest.approx(1, abs=1e-6)


def test_at_a_standard_deviation_of_zero():
    assert bv.HalfNormal(1.0).log_density(0.0) == pytest.approx(0.5 * np.log(2 / np.pi))
    assert bv.Gamma(2.0, 1.0).log_density(0.0) == -np.inf
    np.testing.assert_array_equal(bv.Flat().log_density(np.array([0.0, 7.0])), [0, 0])


@pytest.mark.parametrize("eta", [0.5, 1.0, 2.0, 5.0])
def test_lkj_integrates_to_one_for_two_columns(eta):
    lkj = bv.LKJ(eta)

    def density(rho: float) -> float:
        return float(np.exp(lkj.log_density(np.log1p(-(rho**2)), 2)))

    total, _ = integrate.quad(density, -1, 1)
    assert total == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("eta", [1.0, 2.0, 3.5])
def test_lkj_integrates_to_one_for_three_columns(eta):
    """In partial correlations the determinant factors: |C| = (1−a²)(1−b²)(1−p²)."""
    lkj = bv.LKJ(eta)
    nodes, weights = np.polynomial.legendre.leggauss(60)
    a, b, p = np.meshgrid(nodes, nodes, nodes, indexing="ij")
    w = weights[:, None, None] * weights[:, None] * weights
    det = (1 - a**2) * (1 - b**2) * (1 - p**2)
    jacobian = np.sqrt((1 - a**2) * (1 - b**2))
    total = np.sum(w * jacobian * np.exp(lkj.log_density(np.log(det), 3)))
    assert total == pytest.approx(1, abs=1e-4)


def test_lkj_of_one_is_uniform():
    values = bv.LKJ(1.0).log_density(np.log([0.1, 0.5, 1.0]), 3)
    np.testing.assert_allclose(values, values[0])


# --- defaults -------------------------------------------------------------------------------------


def test_defaults_by_hand():
    d = sleep()
    priors = resolved()
    X = np.column_stack([np.ones(len(d)), d.Days])
    s = np.sqrt(np.linalg.lstsq(X, d.Reaction)[1][0] / (len(d) - 2))
    scales = [2.5 * s, 2.5 * s / d.Days.std(), s]
    for prior, scale in zip((*priors.sd["Subject"], priors.sigma), scales, strict=True):
        assert isinstance(prior, bv.HalfStudentT)
        assert (prior.nu, prior.scale) == (3.0, pytest.approx(scale))
    assert priors.basis(priors.design.terms[0]).centres == {"Days": 4.5}
    assert priors.corr == {"Subject": bv.LKJ(1.0)}
    assert priors.beta == (bv.Flat(), bv.Flat())
    assert priors.flat_beta


def scales(data: pd.DataFrame) -> np.ndarray:
    priors = resolved(data=data)
    return np.array([p.scale for p in (*priors.sd["Subject"], priors.sigma)])


def test_defaults_do_not_move_with_the_origin_of_x_or_y():
    d = sleep()
    base = scales(d)
    np.testing.assert_allclose(scales(d.assign(Days=d.Days + 1990)), base)
    np.testing.assert_allclose(scales(d.assign(Reaction=d.Reaction - 1e4)), base)


def test_defaults_follow_the_units_of_x_and_y():
    d = sleep()
    base = scales(d)
    np.testing.assert_allclose(scales(d.assign(Days=24 * d.Days)), base / [1, 24, 1])
    np.testing.assert_allclose(scales(d.assign(Reaction=d.Reaction / 1000)), base / 1000)


def test_uncorrelated_columns_have_no_correlation_prior():
    assert resolved(formula="Reaction ~ Days + (Days || Subject)").corr == {}
    assert resolved(formula="Reaction ~ Days + (1 | Subject)").corr == {}


# --- resolution -----------------------------------------------------------------------------------


def test_one_prior_for_all_sds():
    assert resolved(bv.Priors(sd=bv.HalfNormal(5))).sd["Subject"] == (bv.HalfNormal(5),) * 2


@pytest.mark.parametrize("intercept", ["Intercept", "(Intercept)", "1"])
def test_by_group_and_column_the_rest_by_default(intercept):
    given = bv.Priors(sd={"Subject": {intercept: bv.HalfNormal(261)}}, corr={"Subject": bv.LKJ(2)})
    priors = resolved(given)
    assert priors.sd["Subject"] == (bv.HalfNormal(261), resolved().sd["Subject"][1])
    assert priors.corr["Subject"] == bv.LKJ(2)


def test_groups_are_found_whatever_the_order_of_their_factors():
    d = bv.load_dataset("three_level")
    given = bv.Priors(sd={"sch.cl:tch.cl": bv.HalfNormal(7)})
    priors = resolved(given, "y ~ x1 + (1 | sch.cl/tch.cl)", d)
    assert priors.sd["tch.cl:sch.cl"] == (bv.HalfNormal(7),)
    assert isinstance(priors.sd["sch.cl"][0], bv.HalfStudentT)


def test_beta_by_coefficient():
    assert resolved(bv.Priors(beta=bv.Normal(0, 10))).beta == (bv.Normal(0, 10),) * 2
    priors = resolved(bv.Priors(beta={"Days": bv.Normal(0, 10)}))
    assert priors.beta == (bv.Flat(), bv.Normal(0, 10))
    assert not priors.flat_beta


def test_priors_are_readable():
    given = bv.Priors(
        sd={"Subject": {"Days": bv.HalfStudentT(3, 49.25)}}, beta={"Days": bv.Normal(0, 10)}
    )
    assert str(given) == (
        "Priors(sd={Subject: {Days: HalfStudentT(3, 49.25)}}, sigma=default, corr=default, "
        "beta={Days: Normal(0, 10)})"
    )
    assert str(resolved(given)).splitlines() == [
        "sd   Subject: Intercept at Days = 4.5 ~ HalfStudentT(3, 119.3)",
        "sd   Subject: Days ~ HalfStudentT(3, 49.25)",
        "corr Subject at Days = 4.5 ~ LKJ(1)",
        "sd   residual ~ HalfStudentT(3, 47.71)",
        "beta Intercept ~ Flat()",
        "beta Days ~ Normal(0, 10)",
    ]
    assert "\n" not in resolved(given).one_line()
