"""What a study shows: its pictures, its command, its file."""

from __future__ import annotations

import json

import matplotlib.pyplot as plt
import numpy as np
import pytest
from scipy import stats

import bayesv as bv
from bayesv.cli import main
from bayesv.priors.text import prior_from_text, prior_to_text, priors_from_dict, priors_to_dict
from bayesv.study import ML, REML, Bayes, read, read_study

FILE = """
[study]
replicates = 4
seed = 1

[scenario]
name = "slopes"
formula = "y ~ x + (x | g)"
levels = { g = 8 }
rows = 5
beta = { Intercept = 250, x = 10 }
sd = { g = { Intercept = 25, x = 6 } }
corr = { g = 0.1 }
sigma = 25
covariates = { x = { law = "grid" } }

[grid]
"levels.g" = [6, 12]

[[estimators]]
kind = "REML"

[[estimators]]
kind = "posterior"
name = "half-normal"
estimate = "log_euclidean"
draws = 50
priors = { sd = { g = { Intercept = "HalfNormal(50)" } } }

[scores]
at = { x = [0, 4] }
beta = ["plug-in", "Kenward-Roger", "posterior"]
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("study")
    (path / "study.toml").write_text(FILE)
    arguments = ["study", str(path / "study.toml"), "--out", str(path / "out"), "--workers", "1"]
    assert main([*arguments, "--json", str(path / "out.json"), "--quiet"]) == 0
    return path


def test_the_file_says_what_the_arguments_say(folder):
    declared = read_study(folder / "study.toml")
    assert (declared.replicates, declared.seed) == (4, 1)
    priors = bv.Priors(sd={"g": {"Intercept": bv.HalfNormal(50)}})
    assert declared.estimators == (
        REML(), Bayes(priors, "log_euclidean", draws=50, name="half-normal"),
    )  # fmt: skip
    assert declared.scores.beta == ("plug-in", "Kenward–Roger", "posterior")
    direct = bv.study.run(
        declared.scenarios, declared.estimators, scores=declared.scores, replicates=4, seed=1,
        workers=1,
    )  # fmt: skip
    ours, theirs = (
        r.to_frame()[lambda d: d["quantity"] != "seconds"] for r in (direct, read(folder / "out"))
    )
    assert ours.reset_index(drop=True).equals(theirs.reset_index(drop=True))


def test_the_command_writes_all_scores(folder, capsys):
    values = json.loads((folder / "out.json").read_text())
    table = read(folder / "out").scores()
    assert len(values["scores"]) == len(table)
    row, want = values["scores"][20], table.iloc[20]
    assert (row["score"], row["value"]) == (want["score"], want["value"])
    assert values["failures"] == []
    # The same command again computes nothing and prints the table.
    assert main(["study", str(folder / "study.toml"), "--out", str(folder / "out")]) == 0
    printed = capsys.readouterr().out
    assert "2 scenarios × 4 replicates" in printed
    assert "beta x (Kenward–Roger)" in printed


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('kind = "REML"', 'kind = "REMLS"', "estimators[0].kind: found 'REMLS'; allowed: 'REML'"),
        ("draws = 50", "draw = 50", "found 'draw'; allowed: 'kind', 'priors', 'estimate', 'draws'"),
        ("draws = 50", "draws = 0", "estimators[1]: draws must be an integer"),
        ("HalfNormal(50)", "Halfnormal(50)", "no prior 'Halfnormal'"),
        ("HalfNormal(50)", "HalfNormal(1, 2)", "HalfNormal takes (scale)"),
        ("HalfNormal(50)", "__import__('os')", "is not a prior"),
        ("seed = 1", "sed = 1", "found 'sed'; allowed: 'replicates', 'seed'"),
        ("replicates = 4", "replicates = 0.5", "study.replicates: found 0.5"),
        ("[scores]", "[score]", "found 'score'"),
        ("at = {", "att = {", "scores has no key 'att'"),
        ("[scores]", "[scores]\nprob = 2", "between 0 and 1"),
    ],
)
def test_bad_files_name_the_key(folder, tmp_path, capsys, old, new, message):
    assert old in FILE
    (tmp_path / "bad.toml").write_text(FILE.replace(old, new, 1))
    assert main(["study", str(tmp_path / "bad.toml"), "--workers", "1"]) == 1
    assert message in capsys.readouterr().err


def test_what_the_command_needs(folder, tmp_path, capsys):
    (tmp_path / "open.toml").write_text(FILE.replace("replicates = 4\n", ""))
    assert main(["study", str(tmp_path / "open.toml")]) == 1
    assert "--replicates is missing" in capsys.readouterr().err
    other = ["study", str(folder / "study.toml"), "--out", str(folder / "out"), "--seed", "2"]
    assert main(other) == 1
    assert "seed is 1 there and 2 here" in capsys.readouterr().err


def test_interrupted_the_command_says_how_to_go_on(folder, tmp_path, capsys, monkeypatch):
    def stop(self, model, seed):
        raise KeyboardInterrupt

    monkeypatch.setattr(REML, "fit", stop)
    out = str(tmp_path / "out")
    command = ["study", str(folder / "study.toml"), "--out", out, "--workers", "1"]
    assert main(command) == 130
    assert "interrupted with 0 of 8 replicates done" in capsys.readouterr().err
    assert read(out).failures.empty
    assert read(out).scores().empty
    assert "8 replicates are missing" in repr(read(out))
    monkeypatch.undo()
    assert main([*command, "--quiet"]) == 0
    assert (read(out).done == 4).all()


@pytest.mark.parametrize(
    "priors",
    [
        bv.Priors(),
        bv.Priors(sd=bv.HalfStudentT(3, 1 / 3), sigma=bv.InverseGamma(2, 5), corr=bv.LKJ(2)),
        bv.Priors(sd={"g": {"x": bv.Gamma(2, 1)}}, corr={"g": bv.LKJ(1)}, beta=bv.Normal(-1, 2)),
        bv.Priors(beta={"x": bv.Normal(0, 1e-3), "z": bv.Flat()}),
    ],
)
def test_priors_go_to_text_and_back(priors):
    assert priors_from_dict(priors_to_dict(priors)) == priors
    assert prior_from_text(prior_to_text(bv.HalfCauchy(0.1))) == bv.HalfCauchy(0.1)
    assert prior_from_text("Flat") == bv.Flat()


def rows_of(table, quantity):
    rows = table[(table["quantity"] == quantity) & (table["score"] == "coverage")]
    return list(rows[["estimator", "method"]].astype(str).itertuples(index=False))


def test_pictures_draw_the_scores(folder):
    result = read(folder / "out")
    table = result.scores()
    axes = bv.plots.study_scores(result, quantities=["beta x", "sd g: x"])
    row = table[(table["quantity"] == "sd g: x") & (table["score"] == "coverage")]
    row = row[row["estimator"] == "half-normal"]
    lines = [line.get_ydata() for line in axes[1].lines if len(line.get_ydata()) == 2]
    assert any(np.array_equal(y, row["value"]) for y in lines)
    assert any(np.array_equal(y, [0.95, 0.95]) for y in lines)  # nominal
    for _, share, n in row[["value", "n"]].itertuples():
        want = stats.binomtest(round(share * n), int(n)).proportion_ci(0.95, "wilson")
        bars = [bar[:, 1] for c in axes[1].collections for bar in c.get_segments() if len(bar) == 2]
        assert any(np.allclose(bar, want, atol=1e-4) for bar in bars)
    assert "coverage of sd g: x against levels.g" in bv.plots.describe(axes[1])
    of_sd = bv.plots.study_scores(result, quantities=["sd g: x"])
    listed = [text.get_text() for text in bv.plots.figure_of(of_sd).legends[0].get_texts()]
    own = {" · ".join(key) for key in rows_of(table, "sd g: x")}
    assert set(listed) == own  # nothing that is not drawn
    bias = bv.plots.study_scores(result, "relative bias", quantities=["log|V|"])
    zipped = bv.plots.study_intervals(result, "beta x")
    assert len(zipped) == 4  # plug-in and Kenward–Roger; plug-in and posterior
    losses = bv.plots.study_losses(result, "stein")
    want = table[(table["quantity"] == "stein") & (table["estimator"] == "REML")]["value"]
    dotted = [line.get_xdata()[0] for line in losses[0].lines if line.get_linestyle() == ":"]
    assert dotted[0] == pytest.approx(want.iloc[0])
    for picture in (axes, bias, zipped, losses):
        bv.plots.figure_of(picture).canvas.draw()
    plt.close("all")


def test_the_funnel_shows_bias_and_spread(folder):
    result = read(folder / "out")
    axes = bv.plots.study_funnel(result, "sd g: x", estimators=["REML"])
    frame = result.to_frame().query("quantity == 'sd g: x' and estimator == 'REML'")
    errors = (frame["estimate"] - frame["truth"]).astype(float).groupby(frame["levels.g"])
    (bias,) = [
        line for line in axes[0].lines if len(line.get_xdata()) == 2 and line.get_marker() == "o"
    ]
    np.testing.assert_allclose(bias.get_ydata().astype(float), errors.mean())
    band = axes[0].collections[0].get_paths()[0].vertices[:, 1]
    assert band.min() == pytest.approx(errors.quantile(0.05).min())
    assert band.max() == pytest.approx(errors.quantile(0.95).max())
    assert "bias" in bv.plots.describe(axes)
    plt.close("all")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda r: bv.plots.study_scores(r, "covrage"), "no score 'covrage'.*did you mean"),
        (lambda r: bv.plots.study_scores(r, against="rows"), "no factor 'rows'"),
        (lambda r: bv.plots.study_scores(r, quantities=["sd h"]), "no quantity 'sd h'"),
        (lambda r: bv.plots.study_intervals(r, "stein"), "no intervals of 'stein'"),
        (lambda r: bv.plots.study_losses(r, "kl"), "no loss 'kl'"),
        (lambda r: bv.plots.study_funnel(r, "sd h"), "no quantity 'sd h'"),
        (lambda r: bv.plots.study_funnel(r, "sd g: x", estimators=["ML"]), "no estimator 'ML'"),
    ],
)
def test_pictures_that_cannot_be_drawn(folder, call, message):
    with pytest.raises(bv.BayesvError, match=message):
        call(read(folder / "out"))
    plt.close("all")


def test_ml_and_reml_differ_in_name_and_fit():
    assert (REML().key, ML().key) == ("REML", "ML")
    assert Bayes(estimate="stein").name == "posterior stein"
    assert Bayes(estimate="stein").key == Bayes().key != Bayes(draws=300).key
