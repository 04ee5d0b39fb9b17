"""The collapsed engine is calibrated by simulation, and known errors of a density would be seen."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import bayesv as bv
import bayesv.model
from bayesv.inference.coordinates import Coordinates
from bayesv.inference.density import MarginalDensity
from tests.sbc import Case, ecdf_band, run_sbc


def frame(n: int, seed: int, **levels: int) -> pd.DataFrame:
    """Covariates x, y and z, weights w, and unbalanced factors, each level present."""
    rng = np.random.default_rng(seed)
    out = pd.DataFrame({name: rng.normal(size=n) for name in ("y", "x", "z")})
    out["far"] = out["x"] + 1e3
    out["w"] = np.exp(0.5 * rng.normal(size=n))
    for name, count in levels.items():
        share = rng.dirichlet(np.full(count, 5.0))
        rest = rng.choice(count, n - count, p=share)
        out[name] = rng.permutation(np.concatenate([np.arange(count), rest]))
    return out


def priors(
    sd: object = bv.HalfNormal(1.0),
    eta: float = 1.0,
    sigma: object = bv.HalfNormal(1.0),
    beta: float = 2.0,
) -> bv.Priors:
    return bv.Priors(sd=sd, sigma=sigma, corr=bv.LKJ(eta), beta=bv.Normal(0.0, beta))


SLOPES = Case("y ~ x + (x | g)", frame(40, 1, g=8), priors(eta=2.0), "w")
CROSSED = Case("y ~ 1 + (1 | a) + (1 | b)", frame(30, 2, a=6, b=5), priors())
# The edges of the vocabulary, for ``python -m tests.sbc``.
SLOW = {
    "gamma": Case("y ~ x + (1 | g)", frame(40, 3, g=8), priors(bv.Gamma(0.1, 5.0))),
    "lkj": Case("y ~ x + (x | g)", frame(40, 4, g=8), priors(eta=0.1)),
    "three crossed": Case(
        "y ~ x + (1 | a) + (1 | b) + (1 | c)", frame(48, 5, a=8, b=6, c=4), priors()
    ),
    "three columns": Case("y ~ x + z + (x + z | g)", frame(48, 6, g=8), priors(eta=1.5)),
    "nested": Case("y ~ x + (x || a / b)", frame(48, 7, a=5, b=3), priors(bv.Exponential(1.0))),
    "offset": Case(
        "y ~ far + (far | g)",
        frame(40, 8, g=8),
        priors(bv.HalfStudentT(3.0, 2.5), sigma=bv.HalfStudentT(3.0, 2.5)),
    ),
}

# --- the band -------------------------------------------------------------------------------------


@pytest.mark.parametrize("prob", [0.95, 0.99])
def test_uniform_ranks_leave_the_band_as_often_as_stated(prob):
    band = ecdf_band(200, 101, prob)
    ranks = np.random.default_rng(1).integers(101, size=(2000, 200))
    outside = np.mean([band.excess(one) > 0 for one in ranks])
    assert outside == pytest.approx(1 - prob, abs=4 * np.sqrt(prob * (1 - prob) / 2000))


@pytest.mark.parametrize(
    ("a", "b"), [(1.3, 1.0), (0.6, 0.6), (1.7, 1.7)], ids=["biased", "narrow", "wide"]
)
def test_ranks_of_a_wrong_posterior_leave_the_band(a, b):
    ranks = (101 * np.random.default_rng(2).beta(a, b, size=500)).astype(int)
    band = ecdf_band(500, 101, 0.99)
    assert band.excess(ranks) > 0.0
    assert band.p_value(ranks) < 1e-3


# --- the engine -----------------------------------------------------------------------------------


def test_random_slopes_with_weights_are_calibrated():
    result = run_sbc(SLOPES, n_replicates=500, seed=1, keep_u=True, workers=2)
    assert {"u g: Intercept", "u g: x", "fitted value", "log p(y | Σ, σ)"} <= set(result.ranks)
    assert result.fallbacks == 0
    assert not result.failed, str(result)


def test_crossed_factors_are_calibrated():
    result = run_sbc(CROSSED, n_replicates=500, seed=2, workers=2)
    assert result.fallbacks == 0
    assert not result.failed, str(result)


def test_priors_that_move_with_the_data_are_refused():
    with pytest.raises(ValueError, match="move with the data"):
        run_sbc(CROSSED._replace(priors=bv.Priors(beta=bv.Normal(0.0, 1.0))), n_replicates=1)


def test_refused_replicates_are_counted_and_not_ranked(monkeypatch):
    engine, calls = bayesv.model.sample_collapsed, []

    def refuses_the_first(*args, **kwargs):
        calls.append(1)
        if len(calls) == 1:
            raise bayesv.model.ProposalError("refused")
        return engine(*args, **kwargs)

    monkeypatch.setattr(bayesv.model, "sample_collapsed", refuses_the_first)
    result = run_sbc(SLOPES, ["sigma", "corr g: 1 0"], n_replicates=3, draws=8, thin=2)
    assert result.fallbacks == 1
    assert [len(ranks) for ranks in result.ranks.values()] == [2, 2]
    assert result.n_draws == 16


# --- negative controls ----------------------------------------------------------------------------

_log_prior = Coordinates.log_prior
_conditional = MarginalDensity.conditional


def no_jacobian(self, x, jacobian=True):
    return _log_prior(self, x, jacobian=False)


def no_log_S(self, lambdas, sigma2, *given):
    found = _conditional(self, lambdas, sigma2, *given)
    half_logdet = np.log(np.diagonal(found.factor, axis1=1, axis2=2)).sum(axis=1)
    return replace(found, log_likelihood=found.log_likelihood + half_logdet)


def n_for_n_minus_p(self, lambdas, sigma2, *given):
    found = _conditional(self, lambdas, sigma2, *given)
    extra = 0.5 * self.stats.p * np.log(sigma2)
    return replace(found, log_likelihood=found.log_likelihood - extra)


# Few rows for four wide fixed effects make the errors large; gamma priors of shape above 1 keep the
# posterior proper without its Jacobian.
FEW_ROWS = Case(
    "y ~ x + z + w + (1 | g)",
    frame(15, 9, g=4),
    priors(bv.Gamma(1.5, 0.8), sigma=bv.Gamma(3.0, 0.4), beta=10.0),
)


def test_few_rows_are_calibrated():
    result = run_sbc(FEW_ROWS, n_replicates=100, seed=4)
    assert result.fallbacks == 0
    assert not result.failed, str(result)


@pytest.mark.parametrize(
    ("owner", "name", "wrong", "seen"),
    [
        (Coordinates, "log_prior", no_jacobian, "sd g: Intercept"),
        (MarginalDensity, "conditional", no_log_S, "sigma"),
        (MarginalDensity, "conditional", n_for_n_minus_p, "sigma"),
    ],
    ids=["no Jacobian", "no log|S|", "n for n - p"],
)
def test_a_wrong_density_leaves_the_band(monkeypatch, owner, name, wrong, seen):
    monkeypatch.setattr(owner, name, wrong)
    # One process: others would import the right density.
    result = run_sbc(FEW_ROWS, n_replicates=100, seed=4)
    assert result.fallbacks == 0
    assert result.excess[seen] > 0.05, str(result)
