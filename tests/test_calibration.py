"""Bands, test quantities, simulator and bookkeeping of `bv.study.sbc`, against dense algebra."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import chi2, ks_2samp, kstest

import bayesv as bv
from bayesv.covariance import ComponentDraws
from bayesv.design.simulation import normal_scores, simulate
from bayesv.inference import engines
from bayesv.inference.density import MarginalDensity
from bayesv.priors.draws import draw_prior
from bayesv.study import ecdf_band, sbc
from bayesv.study.calibration import setting as calibration_setting
from bayesv.study.calibration.bands import detectable
from bayesv.study.calibration.calibrate import _rank
from bayesv.study.calibration.ranked import ranked_quantities, sensitivities
from bayesv.study.calibration.setting import (
    Drawn,
    posterior_setting,
    prior_setting,
    stacked,
)
from tests import sbc as dense
from tests.sbc import CROSSED, FEW_ROWS, SLOPES, SLOW

CASES = {"slopes": SLOPES, "crossed": CROSSED, "few rows": FEW_ROWS, **SLOW}
# Few draws are enough here.
pytestmark = pytest.mark.filterwarnings("ignore::bayesv.SamplingWarning")
each_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())


@pytest.fixture(scope="module")
def small() -> bv.study.Calibration:
    return sbc(bv.Model(*CROSSED), replicates=6, draws=4, seed=7, keep_u=True, workers=1)


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


def test_p_values_of_uniform_ranks_are_uniform():
    band = ecdf_band(100, 41)
    ranks = np.random.default_rng(3).integers(41, size=(400, 100))
    assert kstest([band.p_value(one) for one in ranks], "uniform").pvalue > 1e-3


def test_a_band_refuses_other_ranks():
    band = ecdf_band(10, 5)
    with pytest.raises(bv.BayesvError, match="10 ranks from 0 to 4; found 10 from 5 to 5"):
        band.excess(np.full(10, 5))
    with pytest.raises(bv.BayesvError, match="found 9 from"):
        band.excess(np.zeros(9, dtype=int))
    with pytest.raises(bv.BayesvError, match=r"found 1\.0"):
        ecdf_band(10, 5, 1.0)


# --- simulator and quantities ---------------------------------------------------------------------


@each_case
def test_quantities_are_those_of_dense_algebra(case):
    rng = np.random.default_rng(11)
    model = bv.Model(*case)
    truths, ys = zip(*[dense.simulate(model.priors, rng) for _ in range(6)], strict=True)
    values = {name: np.stack([truth[name] for truth in truths]) for name in truths[0]}
    fitted = model.with_response(ys[0])
    expected = dense.quantities(model.priors, values, ys[0])
    found = _found(fitted, fitted.priors, values)
    assert set(found) == set(expected)
    for name, numbers in expected.items():
        np.testing.assert_allclose(found[name], numbers, rtol=1e-7, atol=1e-8, err_msg=name)


def test_the_likelihood_is_the_restricted_one_where_beta_is_flat():
    rng = np.random.default_rng(12)
    model = bv.Model(*SLOPES)
    truths = [dense.simulate(model.priors, rng)[0] for _ in range(6)]
    values = {name: np.stack([truth[name] for truth in truths]) for name in truths[0]}
    flat = model.with_priors(replace(SLOPES.priors, beta=bv.Flat()))
    expected = dense.quantities(flat.priors, values, model.design.y)
    found = _found(flat, flat.priors, values)
    name = "log p(y | Σ, σ)"
    np.testing.assert_allclose(found[name], expected[name], rtol=1e-9)


def _found(model, priors, values):
    covs, u = {}, {}
    for term in model.design.terms:
        sd, corr = values[f"sd_{term.group}"], values[f"corr_{term.group}"]
        covs[term.group] = (
            np.where(term.structure.mask, corr, 0.0) * sd[:, :, None] * sd[:, None, :]
        )
        u[term.group] = values[f"u_{term.group}"]
    parameters = ComponentDraws(model.design, covs, values["sigma"] ** 2, values["beta"])
    density = MarginalDensity(model.statistics, priors)
    return ranked_quantities(density, Drawn(parameters, u))


def simulated(point, rng):
    design, scores = point.design, normal_scores(point.design, rng)
    y, u = simulate(design, point, scores)
    return y, dict(zip(design.groups, u, strict=True))


@each_case
def test_simulated_parameters_and_data_are_distributed_as_dense_ones(case):
    model, rng = bv.Model(*case), np.random.default_rng(13)
    theirs, ours = [], []
    for _ in range(300):
        truth, y = dense.simulate(model.priors, rng)
        roots = [truth[f"sd_{t.group}"] for t in model.design.terms]
        corrs = [_low(truth[f"corr_{t.group}"]) for t in model.design.terms]
        theirs.append(_features(truth["sigma"], truth["beta"], roots, corrs, y))
        point = draw_prior(model.priors, 1, rng).take(0)
        y, _ = simulated(point, rng)
        covs = point.covs
        sds = [np.sqrt(np.diagonal(cov)) for cov in covs.values()]
        corrs = [
            _low(covs[t.group] / np.outer(sd, sd))
            for t, sd in zip(model.design.terms, sds, strict=True)
        ]
        ours.append(_features(point.sigma, point.beta, sds, corrs, y))
    for a, b in zip(np.transpose(theirs), np.transpose(ours), strict=True):
        assert ks_2samp(a, b).pvalue > 1e-4


def _low(corr):
    return corr[np.tril_indices(len(corr), -1)].round(12)


def _features(sigma, beta, sds, corrs, y):
    """Parameters, and what data say of each variance: spread, neighbours, first and last row."""
    moments = [np.ptp(y), (y[1:] * y[:-1]).mean(), y[0], y[-1], (y**2).mean()]
    return np.concatenate([[sigma], beta, *sds, *corrs, moments])


@each_case
def test_residuals_and_effects_are_normal_with_the_stated_covariance(case):
    model, rng = bv.Model(*case), np.random.default_rng(14)
    design = model.design
    w = _weights(design)
    residuals, effects = [], []
    for _ in range(100):
        point = draw_prior(model.priors, 1, rng).take(0)
        y, u = simulated(point, rng)
        Zu = design.Z.toarray() @ np.concatenate([u[t.group].ravel() for t in design.terms])
        residuals.append((y - design.X @ point.beta - Zu) * np.sqrt(w / point.sigma2))
        for term in design.terms:
            cov = point.covs[term.group]
            if np.linalg.cond(cov) < 1e10:
                z = np.linalg.solve(np.linalg.cholesky(cov), u[term.group].T)
                effects.append(z.ravel())
    assert kstest(np.concatenate(residuals), "norm").pvalue > 1e-3
    squares = (np.array(residuals) ** 2).sum(axis=0)  # a row's, which a wrong weight moves
    assert kstest(chi2(len(residuals)).cdf(squares), "uniform").pvalue > 1e-3
    assert kstest(np.concatenate(effects), "norm").pvalue > 1e-3


# --- settings -------------------------------------------------------------------------------------


def test_priors_do_not_move_with_simulated_data():
    case = CROSSED._replace(priors=bv.Priors(beta=bv.Normal(0.0, 1.0)))
    model = bv.Model(*case)
    truth, fitted = prior_setting(model, "collapsed").replicate(0, np.random.default_rng(1))
    assert (fitted.priors.sd, fitted.priors.sigma) == (model.priors.sd, model.priors.sigma)
    assert model.with_response(fitted.design.y).priors.sigma != model.priors.sigma
    assert truth.u["a"].shape == (1, 6, 1)


@pytest.mark.parametrize("engine", ["collapsed", "bambi"])
@pytest.mark.parametrize("name", ["slopes", "crossed", "nested"])
def test_new_data_are_of_the_same_design_and_of_new_levels(name, engine):
    case = CASES[name]
    if engine == "bambi":
        case = case._replace(var_weights=None)
    model = bv.Model(*case)
    levels = [c for c in case.frame if c in "gab"]
    again = case.frame.assign(**{c: case.frame[c] + 100 for c in levels})
    both = pd.concat([case.frame, again], ignore_index=True)
    expected = bv.Model(*case._replace(frame=both)).design
    post = _some(model)
    setting = posterior_setting(model, post, 3, np.random.default_rng(9), engine)
    truth, fitted = setting.replicate(2, np.random.default_rng(2))
    design, n = fitted.design, model.design.n
    # A chain may stay at a point, of which β is drawn anew each time.
    same = post.sigma2[0] == truth.values.sigma2[0]
    assert (post.beta[0, same] == truth.values.beta[0]).all(axis=-1).sum() == 1
    assert fitted.priors.sigma == model.priors.sigma
    np.testing.assert_array_equal(design.y[:n], model.design.y)
    new = {group: u[0, len(u[0]) // 2 :] for group, u in truth.u.items()}
    Zu = model.design.Z @ np.concatenate([new[group].ravel() for group in design.groups])
    residual = (design.y[n:] - model.design.X @ truth.values.beta[0] - Zu) / truth.values.sigma
    assert kstest(residual * np.sqrt(_weights(design)[n:]), "norm").pvalue > 1e-3
    if engine == "bambi":
        np.testing.assert_array_equal(fitted.frame.data["y"], design.y)
    np.testing.assert_array_equal(design.X, expected.X)
    np.testing.assert_array_equal(design.Z.toarray(), expected.Z.toarray())
    for term in design.terms:
        assert len(set(term.levels)) == term.n_levels == 2 * model.design.term(term.group).n_levels


def _weights(design):
    return design.residual.weights


def _some(model):
    return model.sample(draws=4, chains=1, seed=1)


def test_labels_of_new_levels_differ_from_all_there_are():
    frame = CROSSED.frame.assign(a=CROSSED.frame["a"].map(lambda a: "p" + "'" * a))
    design = stacked(bv.Model(CROSSED.formula, frame).design)
    assert len(set(design.term("a").levels)) == 12
    assert design.row_labels.is_unique


# --- running it -----------------------------------------------------------------------------------


def test_ranks_do_not_depend_on_workers(small):
    model = bv.Model(*CROSSED)
    two = sbc(model, replicates=6, draws=4, seed=7, keep_u=True, workers=2)
    pd.testing.assert_frame_equal(small.ranks, two.ranks)
    other = sbc(model, replicates=6, draws=4, seed=8, workers=1)
    assert not small.ranks[list(other.ranks)].equals(other.ranks)


@pytest.mark.parametrize("kind", ["prior", "posterior"])
def test_a_replicate_can_be_repeated_alone(kind):
    options = {"kind": kind, "draws": 4, "seed": 9, "workers": 1}
    three = sbc(bv.Model(*CROSSED), replicates=3, **options)
    one = sbc(bv.Model(*CROSSED), replicates=[1], **options)
    pd.testing.assert_frame_equal(one.ranks, three.ranks.loc[[1]])


def test_nuts_is_thinned_and_ranked():
    model = bv.Model(*CROSSED)
    found = sbc(
        model, engine="nuts", replicates=2, draws=4, chains=2, thin=3, tune=50, workers=1, seed=1
    )
    assert found.n_draws == 8
    assert found.ranks.to_numpy().max() <= 8


def test_refused_replicates_are_counted_and_not_ranked(monkeypatch):
    engine, calls = engines.sample_collapsed, []

    def refuses_the_first(*args, **kwargs):
        calls.append(1)
        if len(calls) == 1:
            raise engines.ProposalError("refused")
        return engine(*args, **kwargs)

    monkeypatch.setattr(engines, "sample_collapsed", refuses_the_first)
    names = ["sd Residual", "corr g: Intercept, x"]
    found = sbc(bv.Model(*SLOPES), replicates=3, draws=4, thin=2, quantities=names, workers=1)
    assert found.fallbacks == (0,)
    assert list(found.ranks) == names
    assert list(found.ranks.index) == [1, 2]
    assert found.n_draws == 16
    assert "1 fallbacks" in repr(found)


def test_errors_are_recorded_with_replicate_and_seed(monkeypatch, small):
    sample, calls = bv.Model.sample, []

    def fails_the_second(*args, **kwargs):
        calls.append(1)
        if len(calls) == 2:
            raise bv.DataError("out of paper")
        return sample(*args, **kwargs)

    monkeypatch.setattr(bv.Model, "sample", fails_the_second)
    found = sbc(bv.Model(*CROSSED), replicates=6, draws=4, seed=7, keep_u=True, workers=1)
    assert found.failures.to_dict("records") == [
        {"replicate": 1, "seed": "(7, 1)", "error": "DataError: out of paper"}
    ]
    pd.testing.assert_frame_equal(found.ranks, small.ranks.drop(index=1))
    assert "out of paper" in repr(found)


def test_nothing_ranked_is_an_error(monkeypatch):
    def fails(*args, **kwargs):
        raise bv.DataError("out of paper")

    monkeypatch.setattr(bv.Model, "sample", fails)
    with pytest.raises(bv.BayesvError, match=r"None of 2 replicates .*2 failed.*out of paper"):
        sbc(bv.Model(*CROSSED), replicates=2, workers=1)


def test_ties_are_broken_at_random():
    rng = np.random.default_rng(5)
    ranks = [_rank(1.0, np.array([0.0, 1.0, 1.0, 1.0, 2.0]), rng) for _ in range(400)]
    assert np.bincount(ranks, minlength=6)[[0, 5]].tolist() == [0, 0]
    assert np.bincount(ranks)[1:5].min() > 70
    assert _rank(np.nan, np.array([0.0, 1.0]), rng) == 0


REFUSED = {
    "flat beta": (CROSSED._replace(priors=bv.Priors()), {}, "prior of Intercept is flat"),
    "flat sd": (
        CROSSED._replace(priors=replace(CROSSED.priors, sd={"a": bv.Flat()})),
        {},
        "SD of a is flat",
    ),
    "kind": (CROSSED, {"kind": "both"}, "kind must be one of prior, posterior; found 'both'"),
    "engine": (CROSSED, {"engine": "stan"}, "engine must be one of"),
    "replicates": (CROSSED, {"replicates": 0}, "replicates must be a positive integer, .* found 0"),
    "twice": (CROSSED, {"replicates": [1, 1]}, r"different integers .* found \[1, 1\]"),
    "thin": (CROSSED, {"thin": 0.5}, "thin must be a positive integer; found 0.5"),
    "seed": (CROSSED, {"seed": -1}, "seed must be a non-negative integer; found -1"),
    "prob": (CROSSED, {"prob": 95}, "prob must lie between 0 and 1; found 95"),
    "workers": (CROSSED, {"workers": 0}, "workers must be a positive integer"),
    "unknown": (CROSSED, {"quantities": ["sd a"]}, "no quantity 'sd a' among sd a: Intercept"),
    "one name": (CROSSED, {"quantities": "sd Residual"}, "a list of names; found 'sd Residual'"),
    "none": (CROSSED, {"quantities": []}, r"a list of names; found \[\]"),
    "weights": (SLOPES, {"engine": "bambi"}, "Bambi cannot state known weights"),
}


@pytest.mark.parametrize(("case", "options", "said"), REFUSED.values(), ids=REFUSED.keys())
@pytest.mark.filterwarnings("ignore::bayesv.DesignWarning")
def test_what_cannot_be_calibrated_is_refused(case, options, said):
    with pytest.raises(bv.BayesvError, match=said):
        sbc(bv.Model(*case), **{"replicates": 3, "workers": 1, **options})


def test_other_things_than_models_and_their_posteriors_are_refused(tmp_path):
    model = bv.Model(*CROSSED)
    with pytest.raises(bv.BayesvError, match=r"A bv.Model is needed; found str"):
        sbc("y ~ x")
    post = _some(model)
    with pytest.raises(bv.BayesvError, match="parameters come from the priors"):
        sbc(model, posterior=post)
    with pytest.raises(bv.BayesvError, match="not of this model"):
        sbc(bv.Model(*CROSSED), kind="posterior", posterior=post)
    with pytest.raises(bv.BayesvError, match=r"5 replicates start from .* which has 4"):
        sbc(model, kind="posterior", posterior=post, replicates=5)
    CROSSED.frame.to_parquet(tmp_path / "rows.parquet")
    batches = bv.Model(CROSSED.formula, tmp_path / "rows.parquet", CROSSED.priors)
    with pytest.raises(bv.DataError, match="keeps no rows"):
        sbc(batches, replicates=2, workers=1)


# --- the result -----------------------------------------------------------------------------------


def test_the_table_says_what_the_ranks_say(small):
    ranks = small.ranks.copy()
    ranks["sd Residual"] = 16
    off = replace(small, ranks=ranks)
    table = off.table
    band = ecdf_band(6, 17, 1 - 0.05 / ranks.shape[1])
    for name in ranks:
        assert table.loc[name, "excess"] == band.excess(ranks[name])
        assert table.loc[name, "p"] == band.p_value(ranks[name])
    assert table.loc["sd Residual", "mean"] == 16.5 / 17
    assert table.loc["sd Residual", "spread"] == 0.0
    assert off.failed == ("sd Residual",)
    assert not off.passed
    assert small.passed
    assert "Outside their bands: sd Residual" in repr(off)
    assert "HalfNormal(1)" in repr(small)


def test_stated_power_is_that_of_wrong_draws():
    """A shift and a spread of the stated size leave the band 4 times in 5."""
    shift, narrow, wide = detectable(100, 41, 0.995)
    band, rng = ecdf_band(100, 41, 0.995), np.random.default_rng(8)
    for offset, factor in ((shift, 1.0), (0.0, narrow), (0.0, wide)):
        left = []
        for _ in range(200):
            draws = rng.normal(offset, factor, size=(100, 40))
            ranks = (draws < rng.normal(size=(100, 1))).sum(axis=1)
            left.append(band.excess(ranks) > 0)
        assert np.mean(left) == pytest.approx(0.8, abs=0.12)
    # 4 times as many replicates see half of the error or so.
    assert detectable(400, 41, 0.995)[0] == pytest.approx(0.5 * shift, rel=0.2)


def test_sensitivities_are_derivatives_of_posterior_means():
    """Of exact draws of a half-normal: a change of scale moves its score by its variance."""
    rng = np.random.default_rng(3)
    model = bv.Model(*CROSSED)
    found = sensitivities(model.priors, draw_prior(model.priors, 40_000, rng))
    # −∂ log p/∂ log sd = sd²/s² is χ² with 1 degree of freedom.
    assert found["scale of sd a: Intercept"] == pytest.approx(np.sqrt(2), rel=0.05)
    sd = np.abs(rng.normal(size=400_000))
    ratio = np.log1p(sd**2 / 3) * -2 + sd**2 / 2
    assert found["tails of sd Residual"] == pytest.approx(ratio.std(), rel=0.1)
    slopes = bv.Model(*SLOPES)
    moves = sensitivities(slopes.priors, draw_prior(slopes.priors, 40_000, rng))
    # log(1 − c²), (c + 1)/2 ~ beta(2, 2).
    logs = np.log1p(-((2 * rng.beta(2, 2, 400_000) - 1) ** 2))
    assert moves["η of g"] == pytest.approx(logs.std(), rel=0.05)


def test_a_wrong_prior_is_seen_or_the_power_says_that_it_is_not(monkeypatch):
    """Truths from priors of .3 the scale are seen; what 60 replicates miss is stated."""
    narrow = bv.Model(*CROSSED._replace(priors=dense.priors(bv.HalfNormal(0.3)))).priors
    monkeypatch.setattr(
        calibration_setting, "draw_prior", lambda _, size, rng: draw_prior(narrow, size, rng)
    )
    found = sbc(bv.Model(*CROSSED), replicates=60, seed=5, workers=1)
    assert {"log prior", "product of SDs"} & set(found.failed), repr(found)
    assert 1.1 < found.power["scale of sd a: Intercept"] < 10.0
    assert found.power["tails of sd a: Intercept"] > 60
    text = " ".join(repr(found).split())
    assert "replicates see 4 times in 5 (smaller ones are likely to be missed)" in text
    assert "a wrong prior: scale of sd a: Intercept × " in text
    around = replace(found, kind="posterior")
    assert "act like another prior are not seen" in " ".join(repr(around).split())
    assert list(around.power.index) == ["shift", "narrow", "wide"]


def test_ranks_go_to_arviz(small):
    group = small.to_datatree()["prior_sbc"]
    assert dict(group.sizes) == {"chain": 1, "draw": 6}
    expected = (small.ranks["log|V|"] + 0.5) / 17
    np.testing.assert_allclose(group["log|V|"].to_numpy()[0], expected)


def test_the_picture_shows_ranks_and_band(small):
    import matplotlib.pyplot as plt

    off = replace(small, ranks=small.ranks.assign(**{"sd Residual": 16}))
    axes = off.plot()
    assert len(axes) == small.ranks.shape[1]
    titles = {ax.get_title(loc="left") for ax in axes}
    assert {"sd Residual: FAIL", "log|V|: pass"} <= titles
    at = list(off.ranks).index("sd Residual")
    np.testing.assert_allclose(axes[at].lines[1].get_ydata(), -np.arange(1, 17) / 17)
    assert "leaves the simultaneous band" in bv.plots.describe(axes[at])
    one = off.plot(quantities=["log|V|"], axes=plt.figure().gca())
    assert one[0].get_title(loc="left") == "log|V|: pass"
    with pytest.raises(bv.BayesvError, match="no quantity 'sd Residua'"):
        off.plot(quantities=["sd Residua"])
    plt.close("all")
