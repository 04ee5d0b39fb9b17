"""Coordinates are of centred effects; priors may speak of others, and densities stay the same."""

from __future__ import annotations

import numpy as np
import pytest

import bayesv as bv
from bayesv.inference.coordinates import Coordinates
from bayesv.inference.log_prior import LogPrior
from bayesv.linalg import cov_to_sd_corr

FORMULAS = ("Reaction ~ Days + (Days | Subject)", "Reaction ~ Days + (Days + z | Subject)")
PRIORS = {
    "default": None,
    "of the columns": bv.Priors(
        sd={"Subject": {"Intercept": bv.HalfNormal(50), "Days": bv.HalfStudentT(3, 20)}}
    ),
    "correlation": bv.Priors(corr=bv.LKJ(3)),
    "both": bv.Priors(sd=bv.HalfNormal(40), corr=bv.LKJ(0.7)),
}


def log_prior(formula, priors, offset) -> LogPrior:
    data = bv.load_dataset("sleepstudy")
    z = np.random.default_rng(0).normal(3.0, 1.0, len(data))
    model = bv.Model(formula, data.assign(Days=data.Days + offset, z=z), priors)
    return LogPrior(model.priors, Coordinates.centred(model.design))


@pytest.fixture(params=[(f, p, c) for f in FORMULAS for p in PRIORS for c in (0, 20)])
def case(request):
    formula, priors, offset = request.param
    found = log_prior(formula, PRIORS[priors], offset)
    x = np.clip(found.draws(np.random.default_rng(1), 3), -1.5, 1.5)
    return found, x


def stated(found: LogPrior, x: np.ndarray) -> np.ndarray:
    """SDs and correlations that priors speak of, and σ, in one vector."""
    point = found.coordinates.to_values(x)
    values = []
    for term in found.priors.design.terms:
        A = found.priors.basis(term).map
        sd, corr = cov_to_sd_corr(A @ point.covs[term.group] @ A.T)
        values += [*sd, *corr[np.tril_indices(len(sd), -1)]]
    return np.array([*values, point.sigma])


def test_gradient_of_the_prior(case):
    found, x = case
    steps = 1e-6 * np.eye(found.coordinates.size)
    for point in x:
        slope = [(found(point + h) - found(point - h)) / 2e-6 for h in steps]
        assert found.gradient(point) == pytest.approx(np.array(slope), rel=1e-4, abs=1e-4)


def test_density_by_parameter_is_that_of_the_priors(case):
    found, x = case
    gaps = []
    for point in x:
        values = found.coordinates.to_values(point)
        gaps.append(found.priors.log_density(values) - found(point, jacobian=False))
    assert gaps == pytest.approx([0.0] * len(x), abs=1e-7)


def test_jacobian_by_differences(case):
    """log p(x) − log p(SDs, correlations, σ) is log |∂(SDs, correlations, σ)/∂x|."""
    found, x = case
    gaps = []
    for point in x:
        columns = [
            (stated(found, point + h) - stated(found, point - h)) / 2e-5
            for h in 1e-5 * np.eye(found.coordinates.size)
        ]
        volume = np.linalg.slogdet(np.array(columns))[1]
        gaps.append(found(point) - found(point, jacobian=False) - volume)
    assert gaps == pytest.approx([0.0] * len(x), abs=1e-4)


def test_there_and_back(case):
    found, x = case
    values = found.coordinates.to_values(x)
    assert found.coordinates.from_values(values) == pytest.approx(x, abs=1e-7)


def test_draws_of_the_prior_are_of_the_stated_scale():
    """Median of a half-normal SD of the user's column, whatever the coordinates are of."""
    found = log_prior(FORMULAS[0], PRIORS["of the columns"], 20)
    values = found.coordinates.to_values(found.draws(np.random.default_rng(3), 20_000))
    sd = np.sqrt(values.covs["Subject"][:, 0, 0])
    assert np.median(sd) == pytest.approx(50 * 0.6745, rel=0.03)
