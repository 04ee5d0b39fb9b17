"""NUTS through PyMC and through Bambi agree with the collapsed engine, in Monte Carlo errors."""

from __future__ import annotations

import numpy as np
import pytest

import bayesv as bv

pytest.importorskip("pymc")

pytestmark = pytest.mark.filterwarnings("ignore::bayesv.SamplingWarning", "ignore::UserWarning")


def assert_agree(a: bv.Posterior, b: bv.Posterior) -> None:
    """Means of every SD, correlation and β, and their second moments, within 4 MCSE."""
    from arviz_stats.base import array_stats

    assert len(a.quantities) == len(b.quantities)
    for x, y in zip(a.quantities, b.quantities, strict=True):
        assert x.key == y.key
        if x.scale not in ("sd", "corr", "beta"):
            continue
        center = x.values.mean()
        for power in (1, 2):
            u, v = (x.values - center) ** power, (y.values - center) ** power
            error = np.hypot(
                *(array_stats.mcse(w, chain_axis=0, draw_axis=1, method="mean") for w in (u, v))
            )
            assert abs(u.mean() - v.mean()) < 4 * error, f"{x.label}, power {power}"


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["pymc", "bambi"])
def test_sleepstudy(sleepstudy, engine):
    post = sleepstudy.sample(engine, seed=1, progressbar=False, keep_u=True)
    assert_agree(post, sleepstudy.sample(seed=2, draws=2000))
    u = post.draws["posterior"]["u_Subject"].mean(("chain", "draw")).to_numpy()
    blup = bv.gls(sleepstudy.design, post.estimate("mean")).blup.to_numpy().reshape(18, 2)
    assert np.corrcoef(u[:, 0], blup[:, 0])[0, 1] > 0.99
    assert np.corrcoef(u[:, 1], blup[:, 1])[0, 1] > 0.99
    assert "diverging" in post.draws["sample_stats"]


@pytest.mark.slow
def test_weights_mixed_priors_and_a_normal_beta():
    rng = np.random.default_rng(0)
    n = 90
    g, c = np.repeat(np.arange(10), 9), np.tile(np.arange(3), 30)
    x = rng.normal(size=n)
    w = np.exp(rng.normal(size=n))
    y = 2 + x + rng.normal(size=10)[g] + 0.5 * rng.normal(size=10)[g] * x
    y = y + rng.normal(size=3)[c] + rng.normal(size=n) / np.sqrt(w)
    priors = bv.Priors(
        sd={"g": {"Intercept": bv.Gamma(2, 0.7), "x": bv.Exponential(0.5)},
            "c": bv.InverseGamma(2.0, 1.0)},
        sigma=bv.HalfCauchy(1.0),
        corr=bv.LKJ(2.0),
        beta={"x": bv.Normal(0.5, 0.3)},
    )  # fmt: skip
    frame = {"y": y, "x": x, "g": g, "c": c, "w": w}
    model = bv.Model("y ~ x + (x | g) + (1 | c)", frame, priors, var_weights="w")
    assert_agree(model.sample("pymc", seed=1, progressbar=False), model.sample(seed=2, draws=2000))


STRUCTURED = {
    "a chain": ("Reaction ~ Days + (Days || Subject)", {"residual": "ar1(Days | Subject)"}),
    "patterns and an exponent": (
        "Reaction ~ Days",
        {"residual": "toep(Days | Subject)", "residual_sd": "exp(Days)"},
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", STRUCTURED)
def test_structured_residuals(name):
    formula, options = STRUCTURED[name]
    rows = bv.load_dataset("sleepstudy").query("Days < 5 and not (Subject == '308' and Days == 2)")
    model = bv.Model(formula, rows, **options)
    post = model.sample("pymc", seed=1, progressbar=False)
    assert_agree(post, model.sample(seed=2, draws=2000, progressbar=False))
