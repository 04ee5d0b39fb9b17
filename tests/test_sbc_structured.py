"""Posteriors of structured V are calibrated, and planted errors would be seen.

``python -m tests.sbc ar1 us strata car1 relationship --replicates 500`` runs them at length.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import multivariate_normal

import bayesv as bv
from bayesv.inference.log_prior import LogPrior
from bayesv.priors.draws import draw_prior
from bayesv.structures.autoregressive import Autoregressive
from bayesv.study import sbc
from bayesv.study.calibration import calibrate
from bayesv.study.calibration.ranked import ranked_quantities
from bayesv.study.calibration.setting import Drawn, prior_setting
from tests.sbc import STRUCTURED, Structured, _visits, priors

each_case = pytest.mark.parametrize("name", STRUCTURED)


@each_case
def test_quantities_are_those_of_dense_algebra(name):
    model = STRUCTURED[name].model()
    rng = np.random.default_rng(5)
    _, fitted = prior_setting(model, "collapsed").replicate(0, rng)
    values = draw_prior(model.priors, 4, rng)
    found = ranked_quantities(fitted.density, Drawn(values, {}))
    design, i = fitted.design, model.design.n - 1
    for s in range(4):
        V = bv.MarginalCovariance(design, values.components(s)).to_dense()
        assert found["V[i, i]"][s] == pytest.approx(V[i, i])
        assert found["V[i, k]"][s] in (pytest.approx(v) for v in V[i, :i])
        assert found["log|V|"][s] == pytest.approx(np.linalg.slogdet(V)[1])
        mean = design.X @ values.beta[s]
        density = multivariate_normal(mean, V).logpdf(design.y)
        assert found["log p(y | Σ, σ, β)"][s] == pytest.approx(density)
        VX = V + 4.0 * design.X @ design.X.T  # β ~ N(0, 2²)
        of_v = multivariate_normal(np.zeros(design.n), VX).logpdf(design.y)
        assert found["log p(y | Σ, σ)"][s] == pytest.approx(of_v)
    labels = [label for label in found if "Residual" in label]
    form = design.structured_residual
    assert len(labels) >= (1 if form is None else 1 + len(form.sd_labels + form.corr_labels))
    assert np.isfinite(list(found.values())).all()


@each_case
def test_responses_have_the_covariance_of_the_parameters(name):
    """Whitened by a root of V at the parameters drawn, what is simulated is standard normal."""
    model = STRUCTURED[name].model()
    setting, rng = prior_setting(model, "collapsed"), np.random.default_rng(6)
    scores = []
    for _ in range(20):
        truth, fitted = setting.replicate(0, rng)
        V = bv.MarginalCovariance(model.design, truth.values.components(0)).to_dense()
        gap = fitted.design.y - fitted.design.X @ truth.values.beta[0]
        scores.append(np.linalg.solve(np.linalg.cholesky(V), gap))
    squares = np.square(scores)
    assert squares.mean() == pytest.approx(1.0, abs=4 * np.sqrt(2 / squares.size))
    lagged = (np.array(scores)[:, 1:] * np.array(scores)[:, :-1]).mean()
    assert abs(lagged) < 4 / np.sqrt(squares.size)


@each_case
def test_structured_posteriors_are_calibrated(name):
    result = sbc(STRUCTURED[name].model(), replicates=6, seed=3, workers=1)
    assert result.fallbacks == ()
    assert result.failures.empty
    assert result.passed, repr(result)
    known = name == "relationship"
    assert known or any(moved.endswith("sd Residual: a") or "Residual" in moved
                        for moved in result.sensitivity)  # fmt: skip


# --- negative controls ----------------------------------------------------------------------------

# So few rows that priors decide: of σ, away from 0, and of ρ, nearly uniform.
SHORT = Structured(
    "y ~ 1",
    _visits(2, 2, 1.0, 31),
    priors(eta=1.05, sigma=bv.Gamma(3.0, 0.4)),
    {"residual": "ar1(day | g)"},
)
QUANTITIES = ["sd Residual", "corr Residual: rho", "log|C| Residual", "log|V|"]


def _ranks(replicates: int, case: Structured = SHORT):
    # One process: others would import the right density.
    return sbc(case.model(), replicates=replicates, seed=8, workers=1, quantities=QUANTITIES)


def test_few_rows_are_calibrated():
    result = _ranks(50)
    assert result.fallbacks == ()
    assert result.passed, repr(result)


def test_a_missing_jacobian_is_seen(monkeypatch):
    right = LogPrior.__call__
    monkeypatch.setattr(LogPrior, "__call__", lambda self, x, jacobian=True: right(self, x, False))
    result = _ranks(50)
    assert "sd Residual" in result.failed, repr(result)


def test_a_prior_of_rho_on_the_wrong_scale_is_seen(monkeypatch):
    """The density of ρ taken for that of its coordinate: ρ is drawn towards ±1."""
    right = Autoregressive.log_density

    def of_coordinate(self, z, eta, *, by_coordinates=True):
        return right(self, z, eta, by_coordinates=False)

    monkeypatch.setattr(Autoregressive, "log_density", of_coordinate)
    result = _ranks(50)
    assert "log|C| Residual" in result.failed, repr(result)
    assert "sd Residual" not in result.failed


def test_gaps_that_are_ignored_are_seen(monkeypatch):
    """Days that are missing taken for no time: the fitted lags are row numbers' differences."""
    case = STRUCTURED["ar1"]._replace(formula="y ~ x", frame=_visits(10, 9, 0.35, 32))
    wrong = case._replace(structure={"residual": "ar1(1 | g)"}).model()
    right = prior_setting

    def ignores_gaps(model, engine):
        return replace(right(model, engine), template=right(wrong, engine).template)

    monkeypatch.setattr(calibrate, "prior_setting", ignores_gaps)
    result = _ranks(40, case)
    assert "corr Residual: rho" in result.failed, repr(result)


def test_a_second_copy_of_series_is_refused():
    with pytest.raises(bv.BayesvError, match="correlated within series"):
        sbc(STRUCTURED["ar1"].model(), kind="posterior", replicates=3, seed=1, workers=1)
    with pytest.raises(bv.BayesvError, match="known relationship"):
        sbc(STRUCTURED["relationship"].model(), kind="posterior", replicates=3, seed=1, workers=1)
