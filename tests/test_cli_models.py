"""The command line of models: evidence of a fit, saved posteriors compared, lists of structures."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator

import pytest

import bayesv as bv
from bayesv.cli import main


@pytest.fixture(autouse=True)
def keep_showwarning() -> Iterator[None]:
    before = warnings.showwarning
    yield
    warnings.showwarning = before


@pytest.fixture(scope="module")
def sleep(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("models") / "sleep.csv"
    bv.load_dataset("sleepstudy").to_csv(path, index=False)
    return str(path)


def test_evidence_and_models(sleep, tmp_path, capsys):
    files = []
    for k, term in enumerate(("(1 | Subject)", "(Days || Subject)")):
        files.append(str(tmp_path / f"{k}.nc"))
        options = ("--evidence", "--draws", "300", "--save", files[-1], "--json", "-")
        assert main(["fit", sleep, f"Reaction ~ Days + {term}", *options]) == 0
        values = json.loads(capsys.readouterr().out)
        post = bv.load(files[-1])
        assert values["evidence"]["log"] == pytest.approx(post.evidence().log)
        assert values["evidence"]["flat"] == ["Intercept", "Days"]
    assert main(["models", *files, "--name", "one", "--name", "two", "--prior", "3", "--prior", "1",
                 "--no-leave-out", "--json", str(tmp_path / "m.json")]) == 0  # fmt: skip
    out = capsys.readouterr().out
    assert "log evidence" in out
    first, second = json.loads((tmp_path / "m.json").read_text())["models"]
    assert (first["model"], first["prior"], second["prior"]) == ("two", 0.25, 0.75)
    assert first["stacking"] is None


def test_structures(sleep, capsys):
    formula = "Reaction ~ Days + (Days | Subject)"
    options = ("--random", "(1 | Subject)", "--random", "(Days || Subject)", "--draws", "200")
    assert main(["structures", sleep, formula, *options, "--no-leave-out", "--json", "-"]) == 0
    values = json.loads(capsys.readouterr().out)
    assert [row["model"] for row in values["models"]] == ["(Days || Subject)", "(1 | Subject)"]


def test_refusals(sleep, tmp_path, capsys):
    fit = str(tmp_path / "fit.nc")
    formula = "Reaction ~ Days + (Days | Subject)"
    bv.Model(formula, bv.load_dataset("sleepstudy")).reml().save(fit)
    for arguments, text in (
        (["models", fit, fit], "REML fit"),
        (["fit", sleep, formula, "--engine", "none", "--evidence"], "--evidence"),
        (["structures", sleep, formula, "--random", "(1 | Subject)", "--candidates", "growth"],
         "--candidates"),
        (["structures", sleep, formula, "--random", "(1 | Subject)", "--prior", "1", "--prior",
          "2"], "--prior"),
        (["structures", sleep, formula, "--candidates", "mmrm"], "mmrm"),
    ):  # fmt: skip
        assert main(arguments) == 1
        assert text in capsys.readouterr().err
