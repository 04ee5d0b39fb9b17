"""Structures of V in studies: as fitted models, as truths, chosen among and averaged over."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t

import bayesv as bv
from bayesv.cli import main as cli
from bayesv.comparison.structures import candidates_of, variant
from bayesv.study import Averaged, Chosen, Scenario, Scores, read_study
from bayesv.study.scoring.fixed import Approximation, combined

GROWTH = {
    "name": "growth",
    "formula": "y ~ arm * t + (1 | g)",
    "residual": "ar1(t | g)",
    "levels": {"g": 8},
    "rows": 5,
    "covariates": {
        "t": {"law": "grid"},
        "arm": {"law": "cycle", "values": [0, 1], "group": "g"},
    },
    "beta": {"Intercept": 10.0, "t": 1.0},
    "sd": {"g": {"Intercept": 1.5}},
    "corr": {"Residual": {"rho": 0.4}},
    "sigma": 2.0,
    "missing": 0.2,
}
VISITS = {
    "name": "visits",
    "formula": "y ~ visit",
    "residual": "us(visit | g)",
    "levels": {"g": 12},
    "rows": 3,
    "covariates": {"visit": {"law": "cycle", "values": ["a", "b", "c"]}},
    "sd": {"Residual": {"a": 1.0, "b": 2.0, "c": 3.0}},
    "corr": {"Residual": {"a, b": 0.5, "a, c": 0.2, "b, c": 0.6}},
}
CANDIDATES = ["(1 | g)", "(t || g)", {"random": "(1 | g)", "residual": "ar1(t | g)"}]
SCORES = Scores(
    scales=["sd", "corr"], functionals=["log|V|"], beta=["Kenward–Roger", "CR2", "posterior"]
)


def _dense(scenario: Scenario, k: int = 0):
    replicate = scenario.prepare(1).replicate(k)
    return replicate, replicate.truth.V.toarray()


# --- truths ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [GROWTH, VISITS], ids=["ar1", "us"])
def test_a_structured_scenario_is_a_table_of_toml(content):
    scenario = Scenario(**content)
    again = Scenario.from_toml(scenario.to_toml())
    assert again.to_dict() == scenario.to_dict()
    assert again.crc == scenario.crc
    y = [one.prepare(3).replicate(2).model.design.y for one in (scenario, again)]
    np.testing.assert_array_equal(*y)


def test_the_truth_has_gaps_and_intercepts():
    replicate, V = _dense(Scenario(**GROWTH))
    frame = replicate.model.frame.data
    design = replicate.model.design
    day, g = design.X[:, 2], design.terms[0].codes
    assert len(frame) == design.n == 32
    lag = np.abs(day[:, None] - day)
    assert lag[(g[:, None] == g) & (lag > 0)].min() == 1
    expected = (g[:, None] == g) * (1.5**2 + 2.0**2 * 0.4**lag)
    np.testing.assert_allclose(V, expected, atol=1e-12)
    assert replicate.truth.well_specified
    assert dict(replicate.truth.components.residual.corr) == pytest.approx({"rho": 0.4})


def test_the_truth_over_visits_is_the_stated_matrix():
    replicate, V = _dense(Scenario(**VISITS))
    sd = np.array([1.0, 2.0, 3.0])
    C = np.array([[1, 0.5, 0.2], [0.5, 1, 0.6], [0.2, 0.6, 1]])
    np.testing.assert_allclose(V, np.kron(np.eye(12), C * np.outer(sd, sd)), atol=1e-12)
    assert replicate.model.reml().components.residual.sd.keys() == {"a", "b", "c"}


def test_levels_are_related_by_law_and_by_file(tmp_path):
    content = {k: v for k, v in GROWTH.items() if k not in ("residual", "corr", "missing")}
    families = Scenario(**content, relationship={"g": {"law": "families", "size": 4, "r": 0.5}})
    _, V = _dense(families)
    level = np.repeat(np.arange(8), 5)
    K = np.where(level[:, None] // 4 == level // 4, 0.5, 0.0)
    K[level[:, None] == level] = 1.0
    np.testing.assert_allclose(V, 1.5**2 * K + 4.0 * np.eye(40), atol=1e-12)
    chain = 0.7 ** np.abs(np.arange(8)[:, None] - np.arange(8))
    labels = [str(i + 1) for i in range(8)]
    pd.DataFrame(chain, labels, labels).to_csv(tmp_path / "K.csv", index_label="g")
    by_law = Scenario(**content, relationship={"g": {"law": "chain", "r": 0.7}})
    by_file = Scenario(**content, relationship={"g": {"matrix": str(tmp_path / "K.csv")}})
    np.testing.assert_allclose(_dense(by_file)[1], _dense(by_law)[1])
    with pytest.raises(bv.BayesvError, match=r"relationship\.g\.law: found 'clan'"):
        Scenario(**content, relationship={"g": {"law": "clan"}})


def test_true_structures_that_are_not_fitted():
    fitted = {k: v for k, v in GROWTH.items() if k != "residual"}
    simple = Scenario(**fitted, truth_residual="ar1(t | g)")
    np.testing.assert_allclose(_dense(simple)[1].diagonal(), 1.5**2 + 2.0**2)
    replicate, _ = _dense(simple)
    assert not replicate.truth.well_specified
    assert replicate.model.design.parametric_residual is None
    without = {k: v for k, v in GROWTH.items() if k != "corr"}
    other = Scenario(**without, truth_residual="iid")
    rows = bv.study.run(
        other, "REML", replicates=1, seed=1, workers=1, scores=SCORES, progressbar=False
    ).to_frame()
    assert rows.loc[rows["kind"] == "status", "estimate"].iloc[0] == 0
    rho = rows[rows["quantity"] == "corr Residual: rho"].iloc[0]
    assert np.isnan(rho["truth"])
    assert np.isfinite(rho["estimate"])
    assert rows.set_index("quantity").loc["sd g: Intercept", "truth"] == 1.5
    V = _dense(other)[1]
    log_det = rows.set_index("quantity").loc["log|V|", "truth"]
    assert log_det == pytest.approx(np.linalg.slogdet(V)[1])


REFUSED = {
    "kind": ({"residual": "ar2(t | g)"}, "residual: .*no kind|residual: .*ar2"),
    "missing label": ({"corr": {"Residual": {"lag": 0.4}}}, r"corr\.Residual: its keys"),
    "no value": ({"corr": None}, r"corr\.Residual"),
    "not a correlation": ({"corr": {"Residual": {"rho": 1.4}}}, r"corr\.Residual"),
    "two truths": ({"ar1": {"rho": 0.3, "group": "g"}}, "ar1: .*truth_residual"),
    "unused": ({"residual": None, "corr": None, "formula": "y ~ 1 + (1 | g)"}, "nothing uses it"),
    "text": ({"residual": 3}, "residual: found 3; allowed: a text"),
}


@pytest.mark.parametrize(("change", "said"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_no_structure_is_refused(change, said):
    with pytest.raises(bv.BayesvError, match=said):
        Scenario(**(GROWTH | change))


def test_labelled_sds_leave_no_sigma():
    with pytest.raises(bv.BayesvError, match=r"sigma: found 2\.0"):
        Scenario(**VISITS, sigma=2.0)


# --- choosing and averaging -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    estimators = [
        Chosen(CANDIDATES, "AIC"), Chosen(CANDIDATES), Averaged(CANDIDATES), "REML",
    ]  # fmt: skip
    result = bv.study.run(
        Scenario(**GROWTH), estimators, replicates=2, seed=5, scores=SCORES, workers=1
    )
    assert result.failures.empty
    scores = result.scores()
    shares = scores[(scores["kind"] == "weight") & (scores["score"] == "mean")]
    assert shares.groupby("estimator", observed=True)["value"].sum().to_numpy() == pytest.approx(1)
    frame = result.to_frame()
    return frame[frame["replicate"] == 1].set_index(["estimator", "quantity", "method"])


@pytest.fixture(scope="module")
def models() -> dict[str, bv.Model]:
    model = Scenario(**GROWTH).prepare(5).replicate(1).model
    return {name: variant(model, one) for name, one in candidates_of(model, CANDIDATES).items()}


def test_candidates_are_of_the_response_of_the_model(models):
    model = Scenario(**GROWTH).prepare(5).replicate(1).model
    for one in models.values():
        np.testing.assert_array_equal(one.design.y, model.design.y)


def test_the_smallest_AIC_is_chosen_and_has_its_Kenward_Roger_interval(rows, models):
    aic = {}
    for name, model in models.items():
        fit = model.reml()
        n = {"(1 | g)": 2, "(t || g)": 3, "(1 | g), ar1(t | g)": 3}[name]
        aic[name] = fit.criterion + 2 * (4 + n)
    best = min(aic, key=aic.get)
    assert rows.loc[("chosen by AIC", best, ""), "estimate"] == 1.0
    fit = models[best].reml()
    kr = fit.kenward_roger()
    own = rows.loc[("chosen by AIC", "beta t", "Kenward–Roger")]
    half = kr.se["t"] * t.ppf(0.975, kr.df["t"])
    np.testing.assert_allclose(
        own[["estimate", "se", "low", "high"]].to_numpy(dtype=float),
        [fit.beta["t"], kr.se["t"], fit.beta["t"] - half, fit.beta["t"] + half],
        rtol=1e-6,
    )
    V = bv.MarginalCovariance(models[best].design, fit.components)
    assert rows.loc[("chosen by AIC", "log|V|", ""), "estimate"] == pytest.approx(V.logdet())


def test_averages_are_those_of_bayesv(rows, models):
    estimator = Averaged(CANDIDATES)
    replicate = Scenario(**GROWTH).prepare(5).replicate(1)
    seed = estimator.seed(replicate)
    posts = [one.sample(draws=250, seed=seed, progressbar=False) for one in models.values()]
    mixed = bv.average(*posts, names=list(models))
    for name, weight in zip(models, mixed.weights, strict=True):
        assert rows.loc[("averaged by evidence", name, ""), "estimate"] == pytest.approx(weight)
    expected = mixed.fixed().loc["t"]
    own = rows.loc[("averaged by evidence", "beta t", "posterior")]
    for column, name in (("estimate", "mean"), ("se", "sd"), ("low", "low"), ("high", "high")):
        assert own[column] == pytest.approx(expected[name], rel=1e-6)
    V = mixed.V(rows=[0, 1]).mean().to_numpy()
    # The estimate is that at REML's V̂; its interval is the mixture's.
    assert rows.loc[("averaged by evidence", "V[0, 1]", "posterior"), "low"] < V[0, 1]
    best = rows.loc["chosen by evidence"]
    chosen = list(models)[int(np.argmax(mixed.weights))]
    assert best.loc[(chosen, ""), "estimate"] == 1.0
    post = posts[list(models).index(chosen)]
    draws = post.beta[..., 2].ravel()
    low = best.loc[("beta t", "posterior"), "low"]
    assert low == pytest.approx(np.quantile(draws, 0.025))


def test_an_averaged_interval_has_equal_tails():
    parts = [
        Approximation(np.array([1.0]), np.array([0.5]), np.array([4.0])),
        Approximation(np.array([2.0]), np.array([1.0]), np.array([np.inf])),
    ]
    weights = np.array([0.3, 0.7])
    scored = combined(parts, weights, 0.9)
    for end, tail in ((scored.low[0], 0.05), (scored.high[0], 0.95)):
        reached = 0.3 * t.cdf((end - 1.0) / 0.5, 4) + 0.7 * t.cdf((end - 2.0) / 1.0, 1e9)
        assert reached == pytest.approx(tail, abs=1e-7)
    assert scored.beta[0] == pytest.approx(1.7)
    assert scored.se[0] ** 2 == pytest.approx(0.3 * (0.25 + 0.49) + 0.7 * (1.0 + 0.09))
    alone = combined(parts[:1], np.ones(1), 0.9)
    assert alone.high[0] == pytest.approx(1.0 + 0.5 * t.ppf(0.95, 4))
    unknown = [parts[0], parts[1]._replace(se=np.array([np.nan]), why="no digits")]
    none = combined(unknown, weights, 0.9)
    assert np.isnan(none.low[0])
    assert none.why == "no digits"


def test_a_candidate_that_cannot_be_fitted_is_counted():
    scenario = Scenario(**(GROWTH | {"missing": None, "rows": 2}))
    chosen = Chosen(["(1 | g)", "(t | g)", "(1 + t + I(t^2) | g)"], "AIC")
    result = bv.study.run(
        scenario, chosen, replicates=1, seed=1, workers=1, scores=Scores(losses=[], rows=[])
    )
    frame = result.to_frame().set_index("quantity")
    assert frame.loc["failed", "estimate"] == 0
    if frame.loc["without a candidate", "estimate"]:
        assert frame.loc["(1 + t + I(t^2) | g)", "estimate"] == 0.0


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (lambda: Chosen(CANDIDATES, "DIC"), "by must be one of evidence, AIC, BIC"),
        (lambda: Chosen([]), "candidates are"),
        (lambda: Averaged(CANDIDATES, draws=0), "draws"),
        (lambda: Averaged(CANDIDATES, priors="wide"), r"priors must be bv\.Priors"),
    ],
)
def test_what_cannot_be_chosen_among_is_refused(made, said):
    with pytest.raises(bv.BayesvError, match=said):
        made()
    with pytest.raises(bv.BayesvError, match="two candidates"):
        bv.study.run(Scenario(**GROWTH), Chosen(["(1 | g)"]), replicates=1, seed=1, workers=1)
    with pytest.raises(bv.FormulaError, match="zz"):
        bv.study.run(
            Scenario(**GROWTH), Chosen(["(1 | g)", "(zz | g)"]), replicates=1, seed=1, workers=1
        )


# --- files ----------------------------------------------------------------------------------------

TOML = """
[study]
replicates = 1
seed = 4
[scenario]
name = "growth"
formula = "y ~ t + (1 | g)"
residual = "ar1(t | g)"
levels = { g = 6 }
rows = 4
covariates = { t = { law = "grid" } }
sd = { g = 1.0 }
corr = { Residual = 0.0 }
sigma = 1.0
[grid]
"corr.Residual" = [0.0, 0.5]
[[estimators]]
kind = "averaged"
by = "BIC"
candidates = ["(1 | g)", { random = "(1 | g)", residual = "ar1(t | g)" }]
[scores]
functionals = []
"""


def test_a_study_of_structures_runs_from_the_command_line(tmp_path, capsys):
    path = tmp_path / "study.toml"
    path.write_text(TOML, encoding="utf-8")
    declared = read_study(path)
    assert declared.estimators[0].to_dict()["by"] == "BIC"
    assert [s.factors["corr.Residual"] for s in declared.scenarios] == [0.0, 0.5]
    cli(["study", str(path), "--workers", "1", "--json", str(tmp_path / "scores.json")])
    assert "averaged by BIC" in capsys.readouterr().out
    assert '"weight"' in (tmp_path / "scores.json").read_text(encoding="utf-8")
    path.write_text(TOML.replace('kind = "averaged"', 'kind = "average"'), encoding="utf-8")
    with pytest.raises(bv.BayesvError, match=r"estimators\[0\]\.kind: found 'average'"):
        read_study(path)
    path.write_text(TOML.replace("candidates =", "# "), encoding="utf-8")
    with pytest.raises(bv.BayesvError, match="the key 'candidates' is missing"):
        read_study(path)


def test_stored_scores_can_be_computed_again(tmp_path):
    path = Path(__file__).parent.parent / "notebooks" / "studies" / "recreate.py"
    spec = importlib.util.spec_from_file_location("recreate", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert {"few_groups", "no_slopes", "which_structure"} <= set(module.STUDIES)
    made = module.recreate("no_slopes", tmp_path / "r", tmp_path, replicates=1, workers=1)
    again = pd.read_parquet(made)
    stored = pd.read_parquet(path.with_name("no_slopes.parquet"))
    assert list(again.columns) == list(stored.columns)
    assert set(again["estimator"]) == set(stored["estimator"])
    assert made.parent == tmp_path


def test_scores_that_any_v_has_are_scored_of_mixtures(rows):
    frame = rows.reset_index()
    kinds = set(frame.loc[frame["estimator"] == "averaged by evidence", "kind"])
    assert kinds == {"status", "weight", "functional", "V", "loss", "beta"}
