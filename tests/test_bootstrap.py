"""Parametric bootstrap of REML fits."""

from __future__ import annotations

import numpy as np
import pytest

import bayesv as bv


@pytest.fixture(scope="module")
def fit():
    data = bv.load_dataset("sleepstudy")
    return bv.Model("Reaction ~ Days + (Days | Subject)", data).reml()


def test_standard_errors_of_beta_are_those_of_gls(fit):
    """The model is true in the simulated data, and balanced: GLS barely depends on V."""
    found = bv.bootstrap(fit, draws=400, seed=1)
    table = found.interval()
    assert len(found.draws) == 400
    assert not found.failed
    for name in ("Intercept", "Days"):
        row = table.loc[f"beta {name}"]
        assert row["se"] == pytest.approx(fit.se[name], rel=4 / np.sqrt(800))
        assert abs(row["bias"]) < 4 * row["se"] / np.sqrt(400)
    # σ̂² has the distribution of a χ² with n − 2 J − … degrees of freedom: se ≈ σ²√(2/144).
    assert table.loc["var Residual", "se"] == pytest.approx(fit.sigma2 * np.sqrt(2 / 144), rel=0.15)
    assert "400 refits" in repr(found)


def test_reproducible_and_counts_singular_refits():
    fit = bv.Model("Yield ~ 1 + (1 | Batch)", bv.load_dataset("dyestuff2")).reml()
    one, two = (bv.bootstrap(fit, draws=50, seed=3) for _ in range(2))
    assert one.draws.equals(two.draws)
    # Var(u) = 0 is true: half of the refits or more end there.
    assert 0.4 < one.singular.mean() < 0.9
    with pytest.raises(bv.BayesvError, match="At least 2"):
        bv.bootstrap(fit, draws=1)
