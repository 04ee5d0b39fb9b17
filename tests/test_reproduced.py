"""Responses that random effects reproduce to many digits: right, or refused in words."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import bayesv as bv
from bayesv.gram import digits_reproduced
from bayesv.inference.density import MarginalDensity
from bayesv.inference.modes import find_modes
from bayesv.inference.nuts import sample_nuts
from bayesv.inference.options import NutsOptions
from bayesv.inference.target import Target

pytestmark = pytest.mark.filterwarnings("ignore::bayesv.errors.FitWarning")

KINDS = [
    {},
    {"residual": "ar1(t | g)"},
    {"residual": "car1(t | g)"},
    {"residual_sd": "strata(half)"},
]
LEVELS, ROWS = 12, 5


def data(noise, seed=1, n_rows=ROWS):
    rng = np.random.default_rng(seed)
    rows = np.arange(LEVELS * n_rows)
    g, t = rows // n_rows, rows % n_rows
    y = rng.normal(size=LEVELS)[g] + noise * rng.normal(size=len(rows))
    return pd.DataFrame({"y": y, "g": g, "t": t, "half": t % 2})


@pytest.mark.parametrize("noise", [1e-3, 1e-4, 1e-5])
@pytest.mark.parametrize("seed", [1, 3, 5])
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_noise_of_five_digits_less_is_fitted_right(noise, seed, kind):
    frame = data(noise, seed)
    fit = bv.Model("y ~ 1 + (1 | g)", frame, **kind).reml()
    within = frame["y"] - frame.groupby("g")["y"].transform("mean")
    sigma2 = (within**2).sum() / (LEVELS * (ROWS - 1))
    assert fit.sigma2 == pytest.approx(sigma2, rel=0.15)  # strata and ar1 differ a little
    assert fit.converged


@pytest.mark.parametrize("noise", [1e-6, 1e-8, 1e-10, 1e-12, 0.0])
@pytest.mark.parametrize("seed", [1, 3, 5])
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_less_noise_is_refused_in_words(noise, seed, kind):
    model = bv.Model("y ~ 1 + (1 | g)", data(noise, seed), **kind)
    with pytest.raises(bv.DataError, match="reproduces the response"):
        model.reml()
    with pytest.raises(bv.DataError, match="reproduces the response"):
        model.sample(draws=10, chains=1, seed=1)


@pytest.mark.parametrize("noise", [1e-3, 1e-8])
@pytest.mark.parametrize("residual", ["cs(t | g)", "us(t | g)"])
def test_residuals_that_make_the_same_V_are_refused_before(noise, residual):
    model = bv.Model("y ~ 1 + (1 | g)", data(noise), residual=residual)
    with pytest.raises(bv.DataError, match="Leave one of them out"):
        model.reml()


@pytest.mark.parametrize(("noise", "digits"), [(1e-4, None), (1e-6, 6.0), (1e-7, 7.0)])
def test_digits_are_counted_whatever_the_effects(noise, digits):
    frame = data(noise)
    frame["x"] = np.random.default_rng(2).normal(size=len(frame))
    frame["y"] += 0.5 * frame["x"] + frame["t"]
    stats = bv.Model("y ~ x + (x | g) + (1 | t)", frame).statistics
    found = digits_reproduced(stats)
    assert found == (None if digits is None else pytest.approx(digits, abs=0.6))


def test_as_many_effects_as_rows_reproduce_nothing_by_merit():
    frame = bv.load_dataset("sleepstudy")
    frame = frame[frame["Days"] < 2]
    stats = bv.Model("Reaction ~ Days + (Days | Subject)", frame).statistics
    assert digits_reproduced(stats) is None


@pytest.mark.parametrize("kind", [{}, {"residual": "ar1(t | g)"}], ids=str)
def test_the_density_is_unknown_where_digits_are_lost(kind):
    model = bv.Model("y ~ 1 + (1 | g)", data(1e-9, n_rows=40), **kind)
    target = Target(model.density)
    at = np.zeros((1, target.size))
    assert np.isfinite(target.evaluate(at)[0][0])
    at[0, 0] = 11.9  # log SD over σ: what is left of the response is rounding
    assert target.evaluate(at)[0][0] == -np.inf
    value, slope = target.value_and_gradient(at[0])
    assert value == -np.inf
    assert not slope.any()


def test_modes_without_a_density_are_refused(monkeypatch):
    model = bv.Model("y ~ 1 + (1 | g)", data(0.1))
    target, start = Target(model.density), model.reml().components
    monkeypatch.setattr("bayesv.inference.modes.climb", lambda *_: (np.zeros((0, 2)), np.zeros(0)))
    with pytest.raises(bv.BayesvError, match="cannot be evaluated around its mode"):
        find_modes(target, start, np.random.default_rng(1))


def test_nuts_does_not_start_on_a_rough_density(monkeypatch):
    model = bv.Model("y ~ 1 + (1 | g)", data(0.1))
    exact = MarginalDensity.conditional

    def rough(self, lambdas, sigma2, *others, **named):
        known = exact(self, lambdas, sigma2, *others, **named)
        noise = np.sin(1e9 * sigma2)
        return replace(known, log_likelihood=known.log_likelihood + noise)

    monkeypatch.setattr(MarginalDensity, "conditional", rough)
    monkeypatch.setattr(Target, "_plain", None)  # classes put the density together
    options = NutsOptions(10, 10, 1, None, 1, 0.9, False)
    with pytest.raises(bv.BayesvError, match="cannot be evaluated around its mode"):
        sample_nuts(model.density, model.reml().components, options, False)


def test_near_rows_of_a_smooth_correlation_are_named():
    """Its matrix has no inverse: neither random effects nor the response are to blame."""
    rng = np.random.default_rng(5)
    places = rng.uniform(0, 10, 20)
    data = pd.DataFrame({"y": rng.normal(size=40), "x": [*places, *(places + 1e-3)], "g": 1})
    model = bv.Model("y ~ 1", data, residual="sp_gau(x | g)")
    with pytest.raises(bv.DataError, match=r"rows 0\.001 apart .* Add nugget=True"):
        model.reml()
    assert bv.Model("y ~ 1", data, residual="sp_gau(x | g, nugget=True)").reml().converged
