"""Which posteriors are proper and which moments exist, against exact integrals over one SD."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest

import bayesv as bv
from bayesv.inference.density import MarginalDensity
from bayesv.inference.tails import Tails

PRIORS = [
    bv.Flat(),
    bv.HalfCauchy(1.0),
    bv.HalfStudentT(1, 1.0),
    bv.HalfStudentT(3, 1.0),
    bv.InverseGamma(0.001, 0.001),
    bv.InverseGamma(1.0, 1.0),
]
LIGHT = [bv.HalfNormal(1.0), bv.Exponential(1.0), bv.Gamma(2.0, 1.0)]


def frame(J: int, rows: int = 6) -> pd.DataFrame:
    rng = np.random.default_rng(J)
    g = np.repeat(np.arange(J), rows)
    return pd.DataFrame(
        {
            "g": g,
            "h": g // 2,
            "tr": (g % 2).astype(float),
            "lev": (g // 2).astype(float),
            "x": np.where(g < 2, np.tile(np.arange(rows), J), 0.0),
            "z": rng.normal(size=len(g)),
            "y": rng.normal(size=len(g)),
        }
    )


def tails(formula: str, data: pd.DataFrame, priors: bv.Priors | None = None) -> Tails:
    model = bv.Model(formula, data, priors)
    return Tails(MarginalDensity(model.statistics, model.priors))


def log_likelihood(design: bv.Design, column: int, tau: np.ndarray) -> np.ndarray:
    """Log restricted likelihood of one SD at σ = 1, by dense algebra, up to a constant."""
    term = design.terms[0]
    Z = np.zeros((design.n, term.n_levels))
    Z[np.arange(design.n), term.codes] = term.values[:, column]
    Q, _ = np.linalg.qr(design.X, mode="complete")
    K = Q[:, design.p :]
    values, vectors = np.linalg.eigh(K.T @ Z @ Z.T @ K)
    values = np.where(values < 1e-9 * values.max(), 0.0, values)
    V = 1.0 + tau[:, None] ** 2 * values
    return -0.5 * (np.log(V) + (vectors.T @ K.T @ design.y) ** 2 / V).sum(axis=1)


@pytest.mark.parametrize("J", [2, 3, 4, 5, 8])
@pytest.mark.parametrize("formula", ["y ~ 1", "y ~ z", "y ~ tr + z", "y ~ tr + lev + z"])
def test_powers_are_those_of_the_density(J, formula):
    data, tau = frame(J), np.array([1e5, 1e6])
    formula += " + (1 | g)"
    for prior in PRIORS:
        found = tails(formula, data, bv.Priors(sd=prior))
        density = log_likelihood(found.density.priors.design, 0, tau) + prior.log_density(tau)
        slope = float(np.diff(density)[0] / np.log(10.0))
        # Beyond the power that decides anything, a lower bound is enough.
        assert min(found.powers[0][0], 3.9) == pytest.approx(min(-slope - 1.0, 3.9), abs=1e-3)
    for prior in LIGHT:
        assert tails(formula, data, bv.Priors(sd=prior)).powers == [[np.inf]]


def test_a_slope_that_few_levels_see():
    """x is 0 but in two of eight groups, and X has a column that these determine."""
    data, tau = frame(8), np.array([1e5, 1e6])
    for formula in ("y ~ x + (0 + x | g)", "y ~ 1 + (0 + x | g)"):
        for prior in PRIORS:
            found = tails(formula, data, bv.Priors(sd=prior))
            density = log_likelihood(found.density.priors.design, 0, tau) + prior.log_density(tau)
            slope = float(np.diff(density)[0] / np.log(10.0))
            assert found.powers[0][0] == pytest.approx(-slope - 1.0, abs=1e-3)


def test_moments_exist_as_the_integrals_say():
    """E τ^m up to T grows without bound exactly where the moment is said not to exist."""
    ends = np.exp(np.linspace(-3, 40, 20_000))
    for J in (3, 4, 5, 6):
        found = tails("y ~ 1 + (1 | g)", frame(J), bv.Priors(sd=bv.Flat()))
        likelihood = np.exp(log_likelihood(found.density.priors.design, 0, ends)) * ends
        for m, key in ((1, ("sd", "g", "Intercept", "")), (2, ("var", "g", "Intercept", ""))):
            sums = np.cumsum(ends**m * likelihood)
            grows = sums[-1] > 1.1 * sums[np.searchsorted(ends, 1e10)]
            assert (found.moments(key) <= 1.0) == grows, (J, m)


def test_improper_posteriors_are_refused_but_reml_works():
    data = frame(4)
    model = bv.Model("y ~ tr + z + lev + (1 | g)", data, bv.Priors(sd=bv.Flat()))
    assert np.isfinite(model.reml().criterion)
    with pytest.raises(bv.PriorError, match=r"improper.*'Intercept' in 'g'.* 4 levels 1 are left"):
        model.sample()
    two = bv.Model("y ~ 1 + (1 | g)", frame(2), bv.Priors(sd=bv.Flat()))
    with pytest.raises(bv.PriorError, match="2 levels 1 are left"):
        two.sample()
    slope = bv.Model("y ~ x + (x || g)", frame(8), bv.Priors(sd={"g": {"x": bv.Flat()}}))
    with pytest.raises(bv.PriorError, match=r"of 'x' in 'g'.* 8 levels 1 are left"):
        slope.sample()


def test_flat_sds_that_grow_together():
    """Two factors with the same levels: each SD alone has a proper posterior, both have not."""
    data = frame(3).assign(again=lambda d: d.g.map({0: "u", 1: "v", 2: "w"}))
    one = tails("y ~ 1 + (1 | g) + (1 | again)", data, bv.Priors(sd={"g": bv.Flat()}))
    assert min(min(own) for own in one.powers) > 0
    both = tails("y ~ 1 + (1 | g) + (1 | again)", data, bv.Priors(sd=bv.Flat()))
    assert both.powers == [[0.0], [0.0]]
    with pytest.raises(bv.PriorError, match="improper"):
        both.refuse_improper()


def test_a_combination_that_stays_bounded():
    """x is constant, but not 0, in six of eight groups: slope and intercept can grow together.

    With Σ = t²vv' + O(1) and v the effect that is 0 in these groups, prior and likelihood fall as
    t^−(a₁ + a₂ + 2η) and t^−d; there is one group of the two more than fixed effects in them.
    """
    found = tails(
        "y ~ x + (x | g)", frame(8).assign(x=lambda d: d.x + 3.0), bv.Priors(sd=bv.Flat())
    )
    assert found.powers == [[2.0, 2.0]]
    assert found.infinite_mean == ["g: Intercept", "g: x"]


def test_a_normal_prior_of_beta_leaves_all_levels():
    flat = tails("y ~ tr + (1 | g)", frame(4), bv.Priors(sd=bv.Flat()))
    normal = tails("y ~ tr + (1 | g)", frame(4), bv.Priors(sd=bv.Flat(), beta=bv.Normal(0, 1)))
    assert (flat.powers, normal.powers) == ([[1.0]], [[3.0]])


def test_fixed_effects_on_few_levels():
    """β of a column that varies between levels only has the moments of their SD."""
    found = tails("y ~ tr + z + (1 | g)", frame(4), bv.Priors(sd=bv.HalfCauchy(1.0)))
    power = found.powers[0][0]
    assert power == 3.0
    assert [found.moments(("beta", "fixed", b, "")) for b in ("Intercept", "tr")] == [power, power]
    assert found.moments(("beta", "fixed", "z", "")) > 10
    assert found.moments(("sd", "g", "Intercept", "")) == power
    assert found.moments(("var", "g", "Intercept", "")) == power / 2
    assert found.moments(("corr", "g", "Intercept", "x")) == np.inf


@pytest.mark.filterwarnings("ignore:.*effective sample size:bayesv.SamplingWarning")
def test_what_does_not_exist_is_not_printed():
    data = frame(2, 20)
    model = bv.Model("y ~ 1 + (1 | g)", data)
    post = model.sample(seed=1)
    assert not post.problems
    row = post.summary().set_index(["scale", "group"]).loc[("var", "g")]
    assert np.isfinite(row["mean"])
    assert np.isnan(row[["sd", "mcse_mean"]].to_numpy(float)).all()
    assert list(post.undefined) == ["var g: Intercept"]
    assert "no finite variance" in repr(post)
    trace = bv.summarize(post.functionals()).set_index("quantity").loc["tr V"]
    assert np.isnan(trace["mcse_mean"])
    heavy = model.with_priors(bv.Priors(sd=bv.HalfStudentT(1, 1.0)))
    with pytest.warns(bv.SamplingWarning, match=r"E\[V \| y\] is infinite.*g: Intercept"):
        post = heavy.sample(seed=1)
    table = post.summary().set_index(["scale", "group"])
    assert np.isnan(table.loc[("var", "g"), "mean"])
    assert np.isfinite(table.loc[("sd", "g"), "mean"])
    assert np.isnan(table.loc[("sd", "g"), "sd"])
    assert np.isnan(table.loc[("beta", "fixed"), "sd"])


@pytest.mark.filterwarnings("ignore:.*effective sample size:bayesv.SamplingWarning")
@pytest.mark.parametrize(
    ("prior", "levels"), [(bv.Flat(), 6), (bv.HalfCauchy(1.0), 4), (bv.HalfNormal(1.0), 2)]
)
def test_enough_levels_are_silent(prior, levels):
    with warnings.catch_warnings():
        warnings.simplefilter("error", bv.DesignWarning)
        post = bv.Model("y ~ 1 + (1 | g)", frame(levels), bv.Priors(sd=prior)).sample(seed=1)
    assert not any("infinite" in problem for problem in post.problems)


@pytest.mark.filterwarnings("ignore::bayesv.SamplingWarning")
@pytest.mark.filterwarnings("ignore::bayesv.FitWarning")
def test_uncertainty_of_beta_states_only_moments_that_exist():
    """5 levels, less 3 of X, and a flat SD: the posterior of β has no mean; x within levels has."""
    data = frame(5)
    data["y"] += np.random.default_rng(4).normal(size=5)[data.g]
    data["within"] = np.tile([-1.0, 1.0], 15)
    data["lev"] = np.array([0.3, -1.0, 0.4, 2.0, 0.1])[data.g]
    model = bv.Model("y ~ tr + lev + within + (1 | g)", data, bv.Priors(sd=bv.Flat()))
    post = model.sample(seed=1, draws=300)
    assert post.moments["beta lev"] == pytest.approx(1.0)
    assert post.moments["beta within"] > 2
    found = bv.beta_uncertainty(model.reml(), post, contrasts={"sum": {"lev": 1, "within": 1}})
    table = found.table.set_index(["coefficient", "method"])
    for name in ("Intercept", "lev", "sum"):
        row = table.loc[(name, "posterior")]
        assert row[["estimate", "se"]].isna().all()
        assert np.isfinite(row[["low", "high"]].astype(float)).all()
        assert found.decomposition.loc[name].isna().all()
    assert np.isfinite(found.decomposition.loc["within"]).all()
    assert np.isfinite(table.loc[("within", "posterior"), "se"])
    assert np.isnan(table.loc[("within", "GLS at E[V | y]"), "se"])
    assert any("E[V | y] is infinite (var g: Intercept)" in note for note in found.notes)
    assert "the posterior has no finite variance" in repr(found)


def test_a_far_covariate_leaves_digits_or_a_reason():
    """x at 10⁴ with five groups: S of the fixed effects is singular to rounding at huge SDs."""
    rng = np.random.default_rng(3)
    g = np.repeat(np.arange(5), 10)
    data = pd.DataFrame({"g": g, "x": rng.normal(size=50) + 1e4, "k": g // 2})
    data["y"] = rng.normal(size=50) + rng.normal(size=5)[g] + data["x"] - 1e4
    near = data.assign(x=data["x"] - 1e4)
    formula = "y ~ x + (x | g) + (1 | k)"
    powers = [
        Tails(MarginalDensity(m.statistics, m.priors)).powers
        for m in (bv.Model(formula, data), bv.Model(formula, near))
    ]
    assert powers[0] == powers[1]
