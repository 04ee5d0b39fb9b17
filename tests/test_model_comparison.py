"""Models side by side: probabilities, what is left out, criteria, averages, sensitivity."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import multivariate_normal

import bayesv as bv
from bayesv.comparison.criteria import conditional_aic
from bayesv.comparison.stacking import stacking_weights
from tests.test_evidence import stated

pytestmark = pytest.mark.filterwarnings("ignore::bayesv.SamplingWarning")

TERMS = ("(1 | Subject)", "(Days || Subject)", "(Days | Subject)")


@pytest.fixture(scope="module")
def posts() -> list[bv.Posterior]:
    data = bv.load_dataset("sleepstudy")
    return [
        bv.Model(
            f"Reaction ~ Days + {term}",
            data,
            stated(data, "Reaction", "Subject", "Days" if "Days" in term else None),
        ).sample(draws=500, seed=4)
        for term in TERMS
    ]


@pytest.fixture(scope="module")
def comparison(posts) -> bv.ModelComparison:
    return bv.compare_models(*posts)


def test_probabilities_follow_from_evidence_and_prior(posts, comparison):
    assert comparison.names == TERMS
    log = np.array([post.evidence().log for post in posts])
    assert comparison.log_evidence == pytest.approx(log)
    odds = np.exp(log - log.max())
    assert comparison.probabilities == pytest.approx(odds / odds.sum())
    prior = dict(zip(TERMS, (0, 1, 3), strict=True))
    weighed = bv.compare_models(*posts, prior=prior, leave_out=False)
    expected = odds * [0, 1, 3]
    assert weighed.probabilities == pytest.approx(expected / expected.sum())
    log_bf, mcse = comparison.bayes_factor(TERMS[1], TERMS[2])
    assert log_bf == pytest.approx(log[1] - log[2])
    # 0.8886 in the reference of test_evidence.
    assert abs(log_bf - 0.8886485) < 4 * np.hypot(mcse, 0.0052)


def test_errors_of_probabilities_are_those_of_their_evidences(comparison):
    rng = np.random.default_rng(0)
    errors = [e.mcse for e in comparison.evidences]
    logs = comparison.log_evidence + rng.normal(size=(20_000, 3)) * errors
    odds = np.exp(logs - logs.max(axis=1, keepdims=True))
    spread = (odds / odds.sum(axis=1, keepdims=True)).std(axis=0)
    assert comparison.probability_errors == pytest.approx(spread, rel=0.05)


def test_what_is_left_out_is_arviz(posts, comparison):
    array_stats = pytest.importorskip("arviz_stats.base").array_stats
    tree = posts[1].log_likelihood()
    for name, left in (("by_row", comparison.by_row), ("by_cluster", comparison.by_cluster)):
        values = tree["log_likelihood"][name].to_numpy()
        for i in range(0, values.shape[-1], 9):
            elpd = float(array_stats.loo(values[..., i], chain_axis=0, draw_axis=1)[0])
            assert left.elpd[i, 1] == pytest.approx(elpd, rel=1e-9)


def test_stacking_meets_its_conditions():
    """At the maximum the mean ratio of a model's density to the mixture's is 1, or below at 0."""
    rng = np.random.default_rng(1)
    elpd = rng.normal([0.0, 0.3, -2.0, 0.3], size=(60, 4))
    weights = stacking_weights(elpd)
    ratio = (np.exp(elpd) / (np.exp(elpd) @ weights)[:, None]).mean(axis=0)
    assert weights.sum() == pytest.approx(1.0)
    assert ratio[weights > 1e-6] == pytest.approx(1.0, abs=1e-4)
    assert (ratio[weights <= 1e-6] <= 1 + 1e-4).all()


def test_table_prints_within_80_columns(comparison):
    table = comparison.to_frame()
    assert list(table["model"]) == [TERMS[1], TERMS[2], TERMS[0]]
    assert max(map(len, repr(comparison).splitlines())) <= 80
    assert "stacking" in repr(comparison)
    long = replace(comparison, names=tuple(name * 4 for name in TERMS))
    assert max(map(len, repr(long).splitlines())) <= 80


def test_criteria_of_lme4(comparison):
    """lme4 1.1-31: AIC and BIC of REML fits of sleepstudy; SAS's BIC by its number of subjects."""
    row = comparison.to_frame().set_index("model").loc[TERMS[2]]
    assert row["aic"] == pytest.approx(1743.6283 + 2 * 6, abs=1e-3)
    assert row["bic_rows"] == pytest.approx(1743.6283 + 6 * np.log(180), abs=1e-3)
    assert row["bic_clusters"] == pytest.approx(1743.6283 + 6 * np.log(18), abs=1e-3)


STRUCTURED = {
    "chain": ("Reaction ~ Days + (1 | Subject)", {"residual": "ar1(Days | Subject)"}),
    "no term": ("Reaction ~ Days", {"residual": "cs(Days | Subject)"}),
    "exponent": ("Reaction ~ Days + (1 | Subject)", {"residual_sd": "exp(Days)"}),
    "known": ("Reaction ~ Days + (1 | Subject)", {"residual": bv.Known("known")}),
}


@pytest.mark.parametrize("name", ["dyestuff", "dyestuff2", "few", "uncorrelated", *STRUCTURED])
def test_conditional_aic_counts_how_fits_follow_the_response(name):
    """Its penalty is the sum of ∂ŷ_i/∂y_i of whole REML fits, by central differences."""
    if name in STRUCTURED:
        formula, options = STRUCTURED[name]
        data = bv.load_dataset("sleepstudy").iloc[:40].query("Days % 2 == 0")
        data = data.assign(known=np.linspace(300.0, 900.0, len(data)))
        model = bv.Model(formula, data, **options)
    elif name in ("few", "uncorrelated"):
        data = bv.load_dataset("sleepstudy").iloc[:30]
        bar = "|" if name == "few" else "||"
        model = bv.Model(f"Reaction ~ Days + (Days {bar} Subject)", data)
    else:
        model = bv.Model("Yield ~ 1 + (1 | Batch)", bv.load_dataset(name))
    fit, y = model.reml(), model.design.y
    step, slopes = 1e-3 * float(y.std()), 0.0
    for i in range(len(y)):
        ends = []
        for sign in (1, -1):
            moved = y.copy()
            moved[i] += sign * step
            ends.append(float(model.with_response(moved).reml().gls.fitted.iloc[i]))
        slopes += (ends[0] - ends[1]) / (2 * step)
    r, n = fit.gls.residuals.to_numpy(), len(y)
    R = bv.residual_R(fit.design, fit.components).toarray()
    log_likelihood = multivariate_normal(np.zeros(n), R).logpdf(r)
    count = {"known": 0, "chain": 2, "no term": 2, "exponent": 2}.get(name, 1)
    want = 2 * (slopes + count - log_likelihood)
    assert conditional_aic(fit) == pytest.approx(want, abs=5e-3)


def test_other_rows_and_other_flat_effects_are_refused(posts):
    data = bv.load_dataset("sleepstudy")
    fewer = bv.Model("Reaction ~ Days + (1 | Subject)", data.iloc[:170]).sample(seed=1, draws=100)
    with pytest.raises(bv.BayesvError, match="different rows"):
        bv.compare_models(posts[0], fewer)
    moved = data.assign(Days=data["Days"] + 1.0)
    other = bv.Model("Reaction ~ Days + (1 | Subject)", moved).sample(seed=1, draws=100)
    with pytest.raises(bv.BayesvError, match="arbitrary factor"):
        bv.compare_models(posts[0], other)
    by_prediction = bv.compare_models(posts[0], other, evidence=False)
    assert np.isnan(by_prediction.log_evidence).all()
    assert any("AIC" in note for note in by_prediction.notes)
    with pytest.raises(bv.BayesvError, match="Two or more"):
        bv.compare_models(posts[0])
    with pytest.raises(bv.BayesvError, match="different names"):
        bv.compare_models(posts[0], posts[1], names=["a", "a"])
    for prior in ([1.0], [-1.0, 1.0], {"a": 1}, "even", [0, 0]):
        with pytest.raises(bv.BayesvError):
            bv.compare_models(posts[0], posts[1], prior=prior, leave_out=False)


def test_proper_fixed_effects_may_differ():
    """With proper priors the evidence does not depend on the coding of X."""
    data = bv.load_dataset("dyestuff").assign(late=np.arange(30) >= 15)
    data["early"] = ~data["late"]
    s = float(data["Yield"].std())
    sds = {"sd": bv.HalfStudentT(3, s), "sigma": bv.HalfStudentT(3, s)}
    posts = [
        bv.Model(f"Yield ~ 0 + {x} + (1 | Batch)", data.assign(**{x: data[x].astype(float)}),
                 bv.Priors(**sds, beta=bv.Normal(1500, 500))).sample(seed=1, draws=200)
        for x in ("late", "early")
    ]  # fmt: skip
    comparison = bv.compare_models(*posts, leave_out=False)
    assert np.isfinite(comparison.log_evidence).all()
    assert comparison.names[0] != comparison.names[1]


def test_sensitivity_is_the_evidence_of_other_priors():
    data = bv.load_dataset("sleepstudy")
    s = float(data["Reaction"].std())

    def post(scale: float) -> bv.Posterior:
        priors = bv.Priors(sd=bv.HalfNormal(0.3 * s * scale), sigma=bv.HalfStudentT(3, s))
        return bv.Model("Reaction ~ Days + (1 | Subject)", data, priors).sample(seed=1, draws=500)

    one, two = post(1.0), post(0.5)
    other = bv.Model("Reaction ~ Days + (Days || Subject)", data).sample(seed=1, draws=200)
    result = bv.sensitivity(bv.compare_models(one, other, leave_out=False), [0.5, 1.0])
    table = result.to_frame().set_index(["model", "factor"])
    moved = table.loc[(result.names[0], 0.5)]
    exact = two.evidence()
    assert abs(moved["log_evidence"] - exact.log) < 4 * np.hypot(moved["mcse"], exact.mcse)
    assert table.loc[(result.names[0], 1.0), "log_evidence"] == pytest.approx(one.evidence().log)
    assert "factor" in repr(result)
    with pytest.raises(bv.BayesvError, match="positive"):
        bv.sensitivity(bv.compare_models(one, other, leave_out=False), [0.0])


# --- averages -------------------------------------------------------------------------------------


def test_variance_of_the_mixture_is_within_plus_between(posts):
    mixed = bv.average(*posts, weights=[0.2, 0.5, 0.3])
    V = mixed.V("Subject", "309")
    parts = [post.V("Subject", "309") for post in posts]
    w = [0.2, 0.5, 0.3]
    mean = sum(a * p.mean() for a, p in zip(w, parts, strict=True))
    second = sum(a * (p.sd() ** 2 + p.mean() ** 2) for a, p in zip(w, parts, strict=True))
    assert np.allclose(V.mean(), mean, rtol=1e-12)
    assert np.allclose(V.sd() ** 2, second - mean**2, rtol=1e-8)
    assert np.allclose(V.within() + V.between(), V.sd() ** 2, rtol=1e-12)
    assert list(V.mean().index) == list(parts[0].mean().index)
    low, high = V.interval(0.9)
    assert ((low < V.mean()) & (V.mean() < high)).to_numpy().all()


def test_effects_and_functionals_of_the_mixture(posts):
    w = np.array([0.25, 0.5, 0.25])
    mixed = bv.average(*posts, weights=w)
    fixed = mixed.fixed()
    means = np.array([post.beta[..., 1].mean() for post in posts])
    variances = np.array([post.beta[..., 1].var(ddof=1) for post in posts])
    assert fixed.loc["Days", "mean"] == pytest.approx(w @ means)
    total = w @ variances + w @ (means - w @ means) ** 2
    assert fixed.loc["Days", "sd"] ** 2 == pytest.approx(total)
    draws = mixed.beta(2000, seed=1).to_numpy().reshape(-1, 2)
    assert draws[:, 1].std() == pytest.approx(total**0.5, rel=0.05)
    icc = mixed.functionals(2000)["ICC Subject"]
    exact = w @ [float(post.functionals()["ICC Subject"].mean()) for post in posts]
    assert icc.dims == ("chain", "draw")
    assert float(icc.mean()) == pytest.approx(exact, abs=4 * float(icc.std()) / np.sqrt(500))
    assert isinstance(bv.summarize(mixed.functionals()), pd.DataFrame)


def test_predictions_of_the_mixture(posts):
    mixed = bv.average(*posts, weights=[0.5, 0.5, 0.0])
    y = mixed.predict(draws=400, seed=2)
    assert y.shape == (400, 180)
    each = [post.predict(draws=200, seed=3).to_numpy() for post in posts[:2]]
    expected = np.concatenate(each)
    error = expected.std(axis=0) * np.sqrt(2 / 400)
    assert (abs(y.to_numpy().mean(axis=0) - expected.mean(axis=0)) < 5 * error).all()
    assert np.array_equal(mixed.predict(draws=40, seed=2), mixed.predict(draws=40, seed=2))


def test_weights_by_evidence_and_by_stacking(posts, comparison):
    assert bv.average(*posts).weights == pytest.approx(comparison.probabilities)
    stacked = bv.average(*posts, weights="stacking")
    assert stacked.weights == pytest.approx(comparison.stacking)
    assert "stacking" in repr(stacked)
    with pytest.raises(bv.BayesvError, match="weights"):
        bv.average(*posts, weights="votes")
