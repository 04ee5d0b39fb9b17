"""Parametric bootstrap and profile likelihood of REML and ML fits, held against lme4."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import bayesv as bv

FOLDER = Path(__file__).parent / "references" / "small_sample"


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


def test_bootstrap_is_bootmer(fit):
    """1,000 refits by lme4's bootMer: same means and SDs within Monte Carlo error."""
    want = json.loads((FOLDER / "profile.json").read_text())["boot"]
    found = bv.bootstrap(fit, draws=1000, seed=2).draws
    labels = [
        "beta Intercept",
        "beta Days",
        "sd Subject: Intercept",
        "sd Subject: Days",
        "corr Subject: Intercept, Days",
        "sd Residual",
    ]
    for label, mean, sd in zip(labels, want["mean"], want["sd"], strict=True):
        assert found[label].mean() == pytest.approx(mean, abs=4 * sd * np.sqrt(2 / 1000))
        assert found[label].std() == pytest.approx(sd, rel=0.15)


# --- profile likelihood ---------------------------------------------------------------------------

CASES = {
    "sleepstudy": ("Reaction ~ Days + (Days | Subject)", [0, 2, 1, 3]),
    "dyestuff": ("Yield ~ 1 + (1 | Batch)", [0, 1]),
    "penicillin": ("diameter ~ 1 + (1 | plate) + (1 | sample)", [0, 1, 2]),
    "dyestuff2": ("Yield ~ 1 + (1 | Batch)", [0, 1]),
}


@pytest.mark.parametrize("name", list(CASES))
def test_profile_is_lme4(name):
    want = json.loads((FOLDER / "profile.json").read_text())[name]
    formula, order = CASES[name]  # of lme4's rows in ours
    found = bv.profile(bv.Model(formula, bv.load_dataset(name)).reml("ML"))
    assert np.allclose(found["low"], np.array(want["low"])[order], rtol=1e-4, atol=1e-3)
    assert np.allclose(found["high"], np.array(want["high"])[order], rtol=1e-4)


def test_profile_of_a_perfect_correlation():
    star = bv.Model("read ~ cltype + sx + (sx | sch/tch)", bv.load_dataset("star_k20"))
    fit = star.reml()
    found = bv.profile(fit, parameters=["sd sch: sx[F]", "corr sch: Intercept, sx[F]"])
    corr = found.loc["corr sch: Intercept, sx[F]"]
    assert corr["estimate"] == pytest.approx(-1.0, abs=1e-6)
    assert corr["low"] == -1.0
    assert (found["low"] <= found["estimate"] + 1e-6).all()
    assert (found["estimate"] <= found["high"] + 1e-6).all()
    with pytest.raises(bv.BayesvError, match="probability"):
        bv.profile(fit, prob=95)
