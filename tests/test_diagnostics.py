"""Diagnostics: ArviZ's definitions, for all scalars at once."""

from __future__ import annotations

import numpy as np
import pytest

from bayesv.diagnostics.convergence import (
    density_mode,
    ess_bulk,
    ess_mean,
    ess_tail,
    hdi,
    pareto_k,
    rhat,
)
from bayesv.diagnostics.loo import leave_out

array_stats = pytest.importorskip("arviz_stats.base").array_stats
AXES = {"chain_axis": 0, "draw_axis": 1}


def draws(chains: int, n: int, seed: int = 0) -> np.ndarray:
    """White noise, slow and antithetic AR(1), shifted chains, ties, heavy tails, a drift."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(chains, n, 3))
    ar = np.zeros_like(noise)
    for t in range(1, n):
        ar[:, t] = ar[:, t - 1] * [0.95, -0.6, 0.3] + noise[:, t]
    shifted = noise[..., 0] + np.arange(chains)[:, None]
    repeated = np.repeat(noise[:, : -(-n // 3), 1], 3, axis=1)[:, :n]
    heavy = rng.standard_cauchy(size=(chains, n))
    drift = noise[..., 2] + np.linspace(0, 3, n)
    columns = [noise[..., 0], *np.moveaxis(ar, 2, 0), shifted, repeated, heavy, drift]
    return np.stack(columns, axis=-1)


@pytest.mark.parametrize(("chains", "n"), [(4, 1000), (4, 25), (2, 101), (3, 9), (1, 500)])
def test_equal_to_arviz(chains, n):
    x = draws(chains, n)
    for ours, kind in [(ess_bulk(x), "bulk"), (ess_mean(x), "mean")]:
        assert np.allclose(ours, array_stats.ess(x, method=kind, **AXES), rtol=1e-9), kind
    tail = array_stats.ess(x, method="tail", prob=(0.05, 0.95), **AXES)
    assert np.allclose(ess_tail(x), tail, rtol=1e-9)
    if chains > 1:
        assert np.allclose(rhat(x), array_stats.rhat(x, **AXES), rtol=1e-9)
    else:
        assert np.isnan(rhat(x)).all()
    for prob in (0.5, 0.95):
        assert np.allclose(hdi(x, prob), array_stats.hdi(x, prob, axis=(0, 1)))


def test_tail_is_5_and_95_percent():
    x = draws(4, 1000)
    at = {q: array_stats.ess(x, method="quantile", prob=q, **AXES) for q in (0.05, 0.1, 0.9, 0.95)}
    assert np.allclose(ess_tail(x), np.minimum(at[0.05], at[0.95]), rtol=1e-9)
    assert not np.allclose(ess_tail(x), np.minimum(at[0.1], at[0.9]), rtol=0.05)


def test_nan_and_constants():
    x = draws(4, 100)
    x[1, 5, 0] = np.nan
    x[..., 1] = 2.0
    assert np.isnan(ess_bulk(x)[0])
    assert np.isnan(rhat(x)[0])
    assert ess_bulk(x)[1] == 400
    assert np.isfinite(hdi(x, 0.9)).all()


@pytest.mark.parametrize("size", [100, 1000, 20_000])
@pytest.mark.parametrize("nu", [1, 3, 30])
def test_pareto_k_is_arviz(size, nu):
    rng = np.random.default_rng(size + nu)
    log_w = rng.exponential(size=size) / nu
    assert pareto_k(log_w) == pytest.approx(array_stats.psislw(-log_w)[1], rel=1e-9)


def test_pareto_k_of_few_or_equal_weights():
    assert pareto_k(np.zeros(10)) == np.inf
    assert pareto_k(np.zeros(1000)) == np.inf


def test_density_mode():
    x = np.random.default_rng(1).gamma(3.0, size=20_000)
    assert density_mode(x) == pytest.approx(2.0, abs=0.15)
    half = np.abs(np.random.default_rng(2).normal(size=20_000))
    assert density_mode(half) < 0.25
    assert density_mode(np.full(5, 3.0)) == 3.0
    assert np.isnan(density_mode(np.array([np.nan])))


@pytest.mark.parametrize("size", [50, 400, 1000])
def test_leaving_out_is_arviz(size):
    rng = np.random.default_rng(size)
    log_likelihood = -0.5 * rng.standard_t(4, size=(size, 6)) ** 2 * [0.2, 0.5, 1.0, 2.0, 0.0, 1e-3]
    log_likelihood[:, 4] = -1.0 - 1e-3 * rng.normal(size=size)
    elpd, khat = leave_out(log_likelihood)
    for i, column in enumerate(log_likelihood.T):
        theirs = array_stats.loo(column[None], chain_axis=0, draw_axis=1)
        assert elpd[i] == pytest.approx(float(theirs[0]), rel=1e-10)
        assert khat[i] == pytest.approx(float(theirs[1]), rel=1e-10)


def test_leaving_out_without_variation_is_the_density():
    elpd, khat = leave_out(np.full((100, 2), -1.5))
    assert elpd == pytest.approx(-1.5)
    assert np.isinf(khat).all()
