"""The collapsed engine is calibrated by simulation, and known errors of a density would be seen."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import bayesv as bv
from bayesv.inference.density import MarginalDensity
from bayesv.inference.log_prior import LogPrior
from bayesv.inference.target import Target
from bayesv.study import sbc
from tests.sbc import CROSSED, FEW_ROWS, SLOPES


def test_random_slopes_with_weights_are_calibrated():
    result = sbc(bv.Model(*SLOPES), replicates=500, seed=1, keep_u=True, workers=2)
    assert {"u g: Intercept", "u g: x", "fitted value", "log p(y | Σ, σ)"} <= set(result.ranks)
    assert result.fallbacks == ()
    assert len(result.failures) == 0
    assert result.passed, repr(result)


def test_crossed_factors_are_calibrated():
    result = sbc(bv.Model(*CROSSED), replicates=500, seed=2, workers=2)
    assert result.fallbacks == ()
    assert len(result.failures) == 0
    assert result.passed, repr(result)


def test_slopes_are_calibrated_around_data(sleepstudy):
    """Flat β and default priors; ranks of what y and new data of new subjects leave possible."""
    result = sbc(sleepstudy, kind="posterior", replicates=50, seed=3, keep_u=True, workers=1)
    assert result.fallbacks == ()
    assert len(result.failures) == 0
    assert result.passed, repr(result)


# --- negative controls ----------------------------------------------------------------------------

_log_prior = LogPrior.__call__
_conditional = MarginalDensity.conditional


def no_jacobian(self, x, jacobian=True):
    return _log_prior(self, x, jacobian=False)


def no_log_S(self, lambdas, sigma2, *given):
    found = _conditional(self, lambdas, sigma2, *given)
    half_logdet = np.log(np.diagonal(found.root, axis1=1, axis2=2)).sum(axis=1)
    return replace(found, log_likelihood=found.log_likelihood + half_logdet)


def n_for_n_minus_p(self, lambdas, sigma2, *given):
    found = _conditional(self, lambdas, sigma2, *given)
    extra = 0.5 * self.stats.p * np.log(sigma2)
    return replace(found, log_likelihood=found.log_likelihood - extra)


def narrow_beta(self, lambdas, sigma2, *given):
    found = _conditional(self, lambdas, sigma2, *given)
    return replace(found, root=4.0 * found.root)


def test_few_rows_are_calibrated():
    result = sbc(bv.Model(*FEW_ROWS), replicates=100, seed=4, workers=1)
    assert result.fallbacks == ()
    assert result.passed, repr(result)


@pytest.mark.parametrize(
    ("owner", "name", "wrong", "seen"),
    [
        (LogPrior, "__call__", no_jacobian, "sd g: Intercept"),
        (MarginalDensity, "conditional", no_log_S, "sd Residual"),
        (MarginalDensity, "conditional", n_for_n_minus_p, "sd Residual"),
    ],
    ids=["no Jacobian", "no log|S|", "n for n - p"],
)
def test_a_wrong_density_leaves_the_band(monkeypatch, owner, name, wrong, seen):
    monkeypatch.setattr(owner, name, wrong)
    monkeypatch.setattr(Target, "_plain", None)  # classes put the density together
    # One process: others would import the right density.
    result = sbc(bv.Model(*FEW_ROWS), replicates=100, seed=4, workers=1)
    assert result.fallbacks == ()
    assert seen in result.failed
    assert result.table.loc[seen, "excess"] > 0.05, repr(result)


def test_narrow_draws_leave_the_band_around_data(monkeypatch):
    monkeypatch.setattr(MarginalDensity, "conditional", narrow_beta)
    monkeypatch.setattr(Target, "_plain", None)
    model = bv.Model("Yield ~ 1 + (1 | Batch)", bv.load_dataset("dyestuff"))
    result = sbc(model, kind="posterior", replicates=40, seed=4, workers=1)
    assert "beta Intercept" in result.failed, repr(result)
    assert "sd Residual" not in result.failed
    assert result.table.loc["beta Intercept", "spread"] > 1.2
