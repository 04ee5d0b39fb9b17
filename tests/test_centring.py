"""Where a covariate or the response has its zero costs no digits, at 10⁹ of its spread."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import bayesv as bv
from bayesv.covariance.centring import centred

FAR = 2.0**30


def data(x_zero: float = 0.0, y_zero: float = 0.0) -> pd.DataFrame:
    """Six binary digits after the point: the same values lie exactly elsewhere."""
    rng = np.random.default_rng(3)
    g = np.repeat(np.arange(6), 5)
    x = np.round(rng.normal(size=30) * 64) / 64
    y = 2 + 0.5 * x + rng.normal(size=6)[g] + rng.normal(size=30)
    y = np.round(y * 64) / 64
    f = [f"f{i}" for i in rng.integers(0, 3, 30)]
    return pd.DataFrame({"y": y + y_zero, "x": x + x_zero, "g": g, "f": f})


@pytest.mark.parametrize(
    "formula", ["y ~ x + (1 | g)", "y ~ f + x + (1 | g)", "y ~ 0 + f + x + (1 | g)"]
)
@pytest.mark.parametrize("x_zero", [0.0, FAR])
@pytest.mark.parametrize("y_zero", [0.0, FAR])
def test_zeros_cost_no_digits(formula, x_zero, y_zero):
    vc = bv.VarianceComponents({"g": [[1.0]]}, sigma2=1.0)
    near, far = (bv.Model(formula, frame).design for frame in (data(), data(x_zero, y_zero)))
    here, there = bv.gls(near, vc), bv.gls(far, vc)
    assert there.beta["x"] == pytest.approx(here.beta["x"], rel=1e-12)
    assert there.se["x"] == pytest.approx(here.se["x"], rel=1e-12)
    np.testing.assert_allclose(there.blup, here.blup, rtol=1e-12)
    np.testing.assert_allclose(there.residuals, here.residuals, rtol=1e-11)
    for method in ("REML", "ML"):
        assert there.criterion(method) == pytest.approx(here.criterion(method), rel=1e-13)
    for kind in ("CR2", "CR0"):
        se = [np.sqrt(bv.cluster_robust(d, vc, kind=kind).loc["x", "x"]) for d in (near, far)]
        assert se[1] == pytest.approx(se[0], rel=1e-10)
    one, two = (bv.kenward_roger(d, vc).table().loc["x"] for d in (near, far))
    np.testing.assert_allclose(two.astype(float), one.astype(float), rtol=1e-8)


def test_a_slope_that_varies_at_a_far_zero():
    """(x | g) with Σ of x's own zero moved along: the same V."""
    near, far = (bv.Model("y ~ x + (x | g)", d).design for d in (data(), data(1024.0)))
    turn = np.array([[1.0, -1024.0], [0.0, 1.0]])
    cov = np.array([[1.0, 0.25], [0.25, 0.5]])
    here = bv.gls(near, bv.VarianceComponents({"g": cov}, sigma2=1.0))
    there = bv.gls(far, bv.VarianceComponents({"g": turn @ cov @ turn.T}, sigma2=1.0))
    assert there.beta["x"] == pytest.approx(here.beta["x"], rel=1e-9)
    assert there.criterion() == pytest.approx(here.criterion(), rel=1e-9)


@pytest.mark.parametrize(
    ("formula", "changes"),
    [("y ~ x + (1 | g)", True), ("y ~ 0 + f + x + (1 | g)", True), ("y ~ 0 + x + (1 | g)", False)],
)
def test_only_what_has_a_constant_is_centred(formula, changes):
    design = bv.Model(formula, data(FAR)).design
    rows = centred(design)
    np.testing.assert_allclose(design.X @ rows.M, rows.X, atol=1e-6)
    assert (np.abs(rows.X[:, -1]).max() < 10) == changes
    np.testing.assert_allclose(rows.y + design.X @ rows.shift, design.y, atol=1e-15)
