"""A study gives the same numbers wherever it runs, loses nothing, and scores what it says."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import bayesv as bv
from bayesv.study import Bayes, Scenario, Scores, read, run
from bayesv.study.execution.chunks import Died, in_chunks

SLOPES = Scenario(
    name="slopes", formula="y ~ x + (x | g)", levels={"g": 8}, rows=5,
    covariates={"x": {"law": "grid"}}, beta={"Intercept": 250, "x": 10},
    sd={"g": {"Intercept": 25, "x": 6}}, corr={"g": 0.1}, sigma=25,
)  # fmt: skip
UNDRAWN = bv.study.grid(SLOPES, heteroscedastic={"undrawn": {"by": "g", "ratios": {"1": 2}}})[0]
SEED = 20
SHORT = Bayes(draws=50, chains=2)
ESTIMATORS = ["REML", SHORT, Bayes(draws=50, chains=2, estimate="log_euclidean")]
SCORES = Scores(at={"x": [0, 4]}, functionals=["log|V|", "VPC", "ICC", "design effect"])


def same(a, b):
    """Bit for bit, but for seconds."""
    a, b = (r.to_frame()[lambda d: d["quantity"] != "seconds"] for r in (a, b))
    pd.testing.assert_frame_equal(
        a.reset_index(drop=True), b.reset_index(drop=True), check_exact=True
    )


@pytest.fixture(scope="module")
def scenarios():
    return bv.study.grid(SLOPES, **{"levels.g": [6, 12]})


@pytest.fixture(scope="module")
def result(scenarios):
    return run(scenarios, ESTIMATORS, replicates=8, seed=SEED, scores=SCORES, workers=1)


def test_two_processes_and_files_give_the_same(result, scenarios, tmp_path):
    there = run(
        scenarios, ESTIMATORS, replicates=8, seed=SEED, scores=SCORES, workers=2, out=tmp_path
    )
    same(result, there)
    same(result, read(tmp_path))
    assert not list(tmp_path.rglob("*.tmp"))


def test_a_dask_cluster_gives_the_same(result, scenarios):
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(
            n_workers=2, processes=True, threads_per_worker=1, dashboard_address=None
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        there = run(scenarios, ESTIMATORS, replicates=8, seed=SEED, scores=SCORES, client=client)
    same(result, there)


def interrupted(model):
    interrupted.calls += 1
    if interrupted.calls == 5:
        raise KeyboardInterrupt
    return model.reml()


def plain(model):
    return model.reml()


def test_interrupted_and_resumed_is_the_same(scenarios, tmp_path):
    whole = run(scenarios, {"own": plain}, replicates=6, seed=SEED, workers=1)
    interrupted.calls = 0
    with pytest.raises(KeyboardInterrupt, match=r"of 12 replicates done.*goes on"):
        run(scenarios, {"own": interrupted}, replicates=6, seed=SEED, workers=1, out=tmp_path)
    partial = read(tmp_path)
    assert 0 < partial.done.sum() < 12
    assert "not complete" in repr(partial)
    again = run(scenarios, {"own": interrupted}, replicates=6, seed=SEED, workers=1, out=tmp_path)
    same(whole, again)
    # More replicates of the same study: the first ones stay.
    more = run(scenarios, {"own": interrupted}, replicates=7, seed=SEED, workers=1, out=tmp_path)
    assert (more.done == 7).all()
    less = run(scenarios, {"own": interrupted}, replicates=6, seed=SEED, workers=1, out=tmp_path)
    same(whole, less)


KILLED = """
import sys
import bayesv as bv
from tests.test_study_run import SLOPES
if __name__ == "__main__":
    bv.study.run(SLOPES, ["REML"], replicates=4000, seed=20, workers=2, out=sys.argv[1])
"""


SCRIPT = """
import bayesv as bv
print("once")
few = bv.study.Scenario(name="few", formula="y ~ 1 + (1 | g)", levels={"g": 6}, rows=5,
                        sd={"g": 1}, sigma=2)
def own(model):
    return model.reml().components
result = bv.study.run(few, [own], replicates=6, seed=1, workers=2)
print(int(result.done.sum()), len(result.failures))
"""


def test_a_plain_script_runs_a_study_once(tmp_path):
    """Processes do not import the script, and functions of it reach them all the same."""
    path = tmp_path / "script.py"
    path.write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, path], capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout.split() == ["once", "6", "0"]


def test_a_killed_study_resumes(tmp_path):
    out = tmp_path / "study"
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(out)], start_new_session=True)
    deadline = time.monotonic() + 120
    while not list(out.glob("parts/*.parquet")) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.kill()
    process.wait()
    wait_for_the_end_of(process.pid)  # its workers end with it
    partial = read(out)
    done = int(partial.done.sum())
    assert 0 < done < 4000
    wanted = int(partial.to_frame()["replicate"].max()) + 3
    same(
        run(SLOPES, ["REML"], replicates=wanted, seed=20, workers=1, out=out),
        run(SLOPES, ["REML"], replicates=wanted, seed=20, workers=1),
    )


BUSY = """
import time
from bayesv.study.execution.chunks import in_chunks
def work(chunk):
    if 0 not in chunk:
        print("busy", flush=True)
        time.sleep(600)
    return chunk
if __name__ == "__main__":
    list(in_chunks(work, range(3), workers=2))
"""


def test_busy_workers_end_with_a_parent_that_is_killed():
    with subprocess.Popen(
        [sys.executable, "-c", BUSY], stdout=subprocess.PIPE, start_new_session=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"busy\n"
        process.kill()
    wait_for_the_end_of(process.pid)


def wait_for_the_end_of(group):
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    os.killpg(group, signal.SIGKILL)
    pytest.fail("workers outlive their parent")


INTERRUPTED = """
import os, signal, threading, time
from bayesv.study.execution.chunks import in_chunks
def work(chunk):
    if chunk == (0,):
        return os.getpid()
    time.sleep(600)
if __name__ == "__main__":
    results = in_chunks(work, range(3), workers=2)
    print(next(results)[0])
    threading.Timer(0.5, os.killpg, (os.getpgrp(), signal.SIGINT)).start()
    try:
        next(results)
    except KeyboardInterrupt:
        results.close()
        print("interrupted")
"""


def test_ctrl_c_is_the_parents_alone():
    """The terminal sends it to all processes of the group; workers say nothing and end."""
    process = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        start_new_session=True, text=True,
    )  # fmt: skip
    said, errors = process.communicate(timeout=120)
    assert said.split("\n") == ["(0,)", "interrupted", ""]
    assert errors == ""
    wait_for_the_end_of(process.pid)


def fails_on_small_values(model):
    if model.design.y[0] < 250:
        raise ArithmeticError("too small")
    return model.reml().components


def test_failures_are_recorded_and_end_nothing(tmp_path):
    estimators = {"picky": fails_on_small_values, "own": plain, "wrong": len}
    result = run(SLOPES, estimators, replicates=10, seed=SEED, workers=1, out=tmp_path)
    first = [SLOPES.prepare(SEED).replicate(k).model.design.y[0] < 250 for k in range(10)]
    failures = result.failures
    picky = failures[failures["estimator"] == "picky"]
    assert picky["replicate"].tolist() == np.flatnonzero(first).tolist()
    assert 0 < len(picky) < 10
    assert (picky["error"] == "ArithmeticError: too small").all()
    assert (failures["seed"] == SEED).all()
    assert "own" not in set(failures["estimator"])
    assert (failures["estimator"] == "wrong").sum() == 10
    scores = result.scores()
    rate = scores[(scores["quantity"] == "failed") & (scores["estimator"] == "picky")].iloc[0]
    assert rate["value"] == np.mean(first)
    assert rate["mcse"] == pytest.approx(np.sqrt(np.mean(first) * (1 - np.mean(first)) / 10))
    assert "failures" in repr(result)


def dies_at_seven(chunk):
    if 7 in chunk:
        os.kill(os.getpid(), signal.SIGKILL)
    return [k * k for k in chunk]


def test_a_dying_process_costs_its_own_key_alone():
    found = dict(in_chunks(dies_at_seven, range(8), workers=2, seconds=0.001))
    died = [chunk for chunk, value in found.items() if isinstance(value, Died)]
    assert died == [(7,)]
    values = {k: v for c, vs in found.items() if c not in died for k, v in zip(c, vs, strict=True)}
    assert values == {k: k * k for k in range(7)}


def sleeps_at_one(chunk):
    time.sleep(120 * (1 in chunk))
    return list(chunk)


def test_nobody_waits_for_what_is_given_up():
    found = in_chunks(sleeps_at_one, range(2), workers=2)
    assert next(found) == ((0,), [0])
    started = time.monotonic()
    found.close()
    assert time.monotonic() - started < 60


def test_a_cluster_that_goes_away_is_named():
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=1, processes=False, threads_per_worker=1, dashboard_address=None
    ) as cluster:
        client = distributed.Client(cluster)
        found = in_chunks(list, range(1000), client=client, seconds=1e-6)
        next(found)
    with pytest.raises(bv.BayesvError, match="does not answer any more"):
        list(found)


def test_other_estimators_and_scenarios_change_nothing(result, scenarios):
    def of(frame):
        keep = (frame["estimator"] == SHORT.name) & (frame["scenario"] == scenarios[1].name)
        keep &= (frame["replicate"] < 3) & (frame["quantity"] != "seconds")
        return frame.loc[keep, ["quantity", "estimate", "low", "high"]].astype({"quantity": str})

    alone = run(scenarios[1], [SHORT], replicates=3, seed=SEED, scores=SCORES, workers=1)
    among = run(scenarios[1], ["ML", SHORT], replicates=3, seed=SEED, scores=SCORES, workers=1)
    for other in (alone, among):
        pd.testing.assert_frame_equal(
            of(result.to_frame()).reset_index(drop=True),
            of(other.to_frame()).reset_index(drop=True),
            check_exact=True,
        )


def test_what_cannot_be_simulated_is_no_failure_of_an_estimator():
    rare = {"c": {"law": "categorical", "levels": {"a": 0.98, "b": 0.02}}}
    scenario = Scenario(
        name="rare", formula="y ~ 1 + (1 | g)", levels={"g": 6}, rows=5, covariates=rare,
        heteroscedastic={"by": "c", "ratios": {"a": 1}}, sd={"g": 1}, sigma=1, design="redrawn",
    )  # fmt: skip
    result = run(scenario, ["REML"], replicates=12, seed=1, workers=1)
    lost = len(result.failures)
    assert 0 < lost < 12
    assert set(result.failures["estimator"]) == {""}
    assert (result.done == 12).all()
    scores = result.scores()
    assert set(scores["estimator"].astype(str)) == {"REML"}
    failed = scores[scores["quantity"] == "failed"].iloc[0]
    assert (failed["value"], failed["n"]) == (0, 12 - lost)
    assert f"{lost} failures, see .failures; the first: rare, replicate" in repr(result)


def test_coverage_of_some_replicates_says_of_how_many():
    flat = bv.study.grid(SLOPES, **{"sd.g": [[25, 0]]})
    result = run(flat, ["REML"], replicates=10, seed=SEED, workers=1)
    scores = result.scores()
    row = scores[(scores["quantity"] == "sd g: Intercept") & (scores["score"] == "coverage")]
    n = row["n"].iloc[0]
    assert 0 < n < 10
    assert f" of {n}" in repr(result)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"estimators": []}, "no estimator"),
        ({"estimators": ["REML", "REML"]}, "names that differ"),
        ({"estimators": ["lme4"]}, "one of REML, ML, posterior"),
        ({"scenarios": [SLOPES, SLOPES]}, "names that differ"),
        ({"scenarios": "slopes"}, "Scenario objects"),
        ({"replicates": 0}, "replicates must be an integer of at least 1"),
        ({"replicates": 10**12}, r"1,000,000,000,000 replicates .* needs .* of memory"),
        ({"seed": "one"}, "seed must be"),
        ({"workers": 0}, "workers must be"),
        ({"client": object()}, "dask.distributed.Client"),
        ({"scores": Scores(rows=[40])}, "has row 40; the design has 40 rows"),
        ({"scores": Scores(at={"z": [1]})}, "z"),
        ({"scores": {"prob": 0.9}}, r"scores must be bv\.study\.Scores"),
        (
            {"estimators": [Bayes(bv.Priors(sd={"h": bv.HalfNormal(1)}))]},
            "priors of 'posterior mean'",
        ),
        (
            {"scenarios": [SLOPES, UNDRAWN]},
            r"heteroscedastic=undrawn: heteroscedastic\.ratios: found",
        ),
        ({"out": __file__}, "cannot be the folder of a study"),
    ],
)
def test_arguments_that_cannot_be_used(change, message):
    given = {"scenarios": SLOPES, "estimators": ["REML"], "replicates": 1, "seed": 1} | change
    scenarios, estimators = given.pop("scenarios"), given.pop("estimators")
    with pytest.raises(bv.BayesvError, match=message):
        run(scenarios, estimators, **given)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"scales": ["sds"]}, "scores.scales has 'sds'; allowed are sd, var, cov, corr; did you"),
        ({"beta": "CR2"}, "scores.beta must be a list"),
        ({"rows": [-1]}, "integers from 0"),
        ({"rows": [True]}, "integers from 0"),
        ({"at": {"x": [1], "z": [1, 2]}}, "same length"),
        ({"at": {"x": [1, 1]}}, "points x that differ"),
        ({"at": {"x": [1, np.inf]}}, "of finite numbers"),
        ({"prob": 95}, "between 0 and 1"),
        ({"los": []}, "scores has no key 'los'; allowed are scales"),
    ],
)
def test_scores_that_cannot_be_taken(given, message):
    with pytest.raises(bv.BayesvError, match=message):
        Scores.from_dict(given)
    again = Scores.from_dict(SCORES.to_dict())
    assert again == SCORES
    assert Scores(losses=["stein", "stein"]).losses == ("stein",)  # counted once


def test_posteriors_that_differ_in_the_summary_are_sampled_once(result):
    frame = result.to_frame()
    beta = frame[(frame["kind"] == "beta") & (frame["method"] == "posterior")]
    mean, log = (
        beta[beta["estimator"] == f"posterior {name}"]["estimate"].to_numpy()
        for name in ("mean", "log_euclidean")
    )
    assert np.array_equal(mean, log)
    sd = frame[frame["quantity"] == "sd Residual"].set_index("estimator")["estimate"]
    assert (sd["posterior log_euclidean"].to_numpy() < sd["posterior mean"].to_numpy()).all()


def test_estimates_are_those_of_the_public_functions(result, scenarios):
    k, scenario = 3, scenarios[1]
    replicate = scenario.prepare(SEED).replicate(k)
    model, truth = replicate.model, replicate.truth
    frame = result.to_frame()
    here = frame[(frame["scenario"] == scenario.name) & (frame["replicate"] == k)]
    reml = here[here["estimator"] == "REML"].set_index(["quantity", "method"])
    fit = model.reml()
    vc = fit.components["g"].to_numpy()
    assert reml.loc[("sd g: x", "Wald"), "estimate"] == np.sqrt(vc[1, 1])
    assert reml.loc[("sd g: x", "Wald"), "truth"] == pytest.approx(6)
    V, V_true = bv.MarginalCovariance(model.design, fit.components), truth.V.toarray()
    row = reml.loc[("log|V|", "Wald")]
    assert row["estimate"] == pytest.approx(V.logdet())
    assert row["truth"] == pytest.approx(np.linalg.slogdet(V_true)[1])
    dense = bv.distances(V_true, V.to_dense())
    for name in ("stein", "affine_invariant", "frobenius"):
        assert reml.loc[(name, ""), "estimate"] == pytest.approx(dense[name], rel=1e-9)
    kr = bv.kenward_roger(model.design, fit.components)
    row = reml.loc[("beta x", "Kenward–Roger")]
    half = stats.t.ppf(0.975, kr.df["x"]) * kr.se["x"]
    assert row["high"] - row["estimate"] == pytest.approx(half)
    if not fit.singular:  # Wald: the elements of Σ themselves have KR's W
        assert reml.loc[("var g: x", "Wald"), "se"] == pytest.approx(np.sqrt(kr.W[2, 2]), rel=1e-6)
        low, high = reml.loc[("var g: x", "Wald"), ["low", "high"]]
        assert np.sqrt(low * high) == pytest.approx(vc[1, 1])
    # 100 draws are few, which is a warning here and a count in the study.
    with pytest.warns(bv.SamplingWarning) as told:
        post = model.sample(
            draws=50, chains=2, seed=SHORT.seed(replicate), cores=1, progressbar=False
        )
    mean = here[here["estimator"] == "posterior mean"].set_index(["quantity", "method"])
    warned = mean.loc[("warned", "")]
    assert (warned["estimate"], warned["message"]) == (1, str(told[0].message))
    assert mean.loc[("problems", ""), "estimate"] == 1
    x = post.cov("g")[..., 1, 1].ravel()
    assert mean.loc[("var g: x", "posterior"), "estimate"] == pytest.approx(x.mean())
    assert mean.loc[("var g: x", "posterior"), "low"] == pytest.approx(np.quantile(x, 0.025))
    corr = post.curves(pd.DataFrame({"x": [0, 4]}))["corr"].to_numpy()[..., 1, 0].ravel()
    row = mean.loc[("corr y(x=4), y(x=0)", "posterior")]
    assert row["se"] == pytest.approx(corr.std(ddof=1))
    assert mean.loc[("V[0, 1]", "posterior"), "se"] == pytest.approx(
        post.V(rows=[0, 1]).sd().iloc[0, 1]
    )


def test_scores_recomputed_with_numpy(result):
    frame, table = result.to_frame(), result.scores()
    n = 8
    for estimator, quantity, method in (
        ("posterior mean", "sd g: Intercept", "posterior"),
        ("REML", "beta x", "Kenward–Roger"),
    ):
        for scenario in result.scenarios:
            at = {
                "scenario": scenario, "estimator": estimator, "quantity": quantity,
                "method": method,
            }  # fmt: skip
            rows = frame[np.all([frame[key] == value for key, value in at.items()], axis=0)]
            scores = table[np.all([table[key] == value for key, value in at.items()], axis=0)]
            scores = scores.set_index("score")
            e = (rows["estimate"] - rows["truth"]).to_numpy()
            assert len(e) == n
            s2, se2 = e.var(ddof=1), rows["se"].to_numpy() ** 2
            inside = np.mean((rows["low"] <= rows["truth"]) & (rows["truth"] <= rows["high"]))
            width = np.sort(rows["high"] - rows["low"])
            ratio = se2.mean() / s2
            want = {
                "bias": (e.mean(), np.sqrt(s2 / n)),
                "empirical se": (np.sqrt(s2), np.sqrt(s2 / (2 * (n - 1)))),
                "rmse": (
                    np.sqrt(np.mean(e**2)),
                    np.std(e**2, ddof=1) / np.sqrt(n) / 2 / np.sqrt(np.mean(e**2)),
                ),
                "model se": (
                    np.sqrt(se2.mean()), np.sqrt(se2.var(ddof=1) / (4 * n * se2.mean())),
                ),
                "se² ratio": (
                    ratio,
                    ratio * np.sqrt(se2.var(ddof=1) / n / se2.mean() ** 2 + 2 / (n - 1)),
                ),
                "coverage": (inside, np.sqrt(inside * (1 - inside) / n)),
                "width": (
                    width[n // 2 - 1 : n // 2 + 1].mean(),
                    (np.interp((n - 1) * (0.5 + 0.5 / np.sqrt(n)), np.arange(n), width)
                     - np.interp((n - 1) * (0.5 - 0.5 / np.sqrt(n)), np.arange(n), width)) / 2,
                ),
            }  # fmt: skip
            for name, (value, mcse) in want.items():
                assert scores.loc[name, "value"] == pytest.approx(value), name
                assert scores.loc[name, "mcse"] == pytest.approx(mcse), name
                assert scores.loc[name, "n"] == n
    factors = table.drop_duplicates("scenario")["levels.g"].tolist()
    assert factors == [6, 12]


def test_scores_as_xarray(result):
    data, table = result.to_xarray(), result.scores()
    row = table[(table["score"] == "coverage") & (table["method"] == "Kenward–Roger")].iloc[-1]
    at = {key: row[key] for key in ("scenario", "estimator", "quantity", "method")}
    assert float(data["coverage"].sel(at)) == row["value"]
    assert float(data["coverage mcse"].sel(at)) == row["mcse"]
    assert data["levels.g"].sel(scenario=row["scenario"]).item() == 12


def knows_everything(model):
    """The truth itself: then β̂ is normal with the covariance that GLS says."""
    return bv.VarianceComponents.from_sd_corr(
        {"g": {"Intercept": 25, "x": 6}}, {"g": 0.1}, sigma=25
    )


def test_known_v_covers_as_it_says():
    result = run(
        SLOPES, {"known": knows_everything}, replicates=250, seed=SEED, workers=1,
        scores=Scores(prob=0.8, scales=["sd"], functionals=[], rows=[], beta=["plug-in"]),
    )  # fmt: skip
    scores = result.scores().set_index(["quantity", "score"])
    for name in ("beta Intercept", "beta x"):
        coverage = scores.loc[(name, "coverage")]
        assert abs(coverage["value"] - 0.8) < 4 * np.sqrt(0.16 / 250)
        bias, ratio = scores.loc[(name, "bias")], scores.loc[(name, "se² ratio")]
        assert abs(bias["value"]) < 4 * bias["mcse"]
        assert abs(ratio["value"] - 1) < 4 * ratio["mcse"]
    assert scores.loc[("sd g: x", "bias"), "value"] == pytest.approx(0, abs=1e-9)
    assert scores.loc[("stein", "mean"), "value"] == pytest.approx(0, abs=1e-9)
