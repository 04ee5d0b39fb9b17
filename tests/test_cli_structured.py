"""The command line with structured residuals: what is fitted, printed, written and refused."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

import bayesv as bv
from bayesv.cli import main

FEV = Path(__file__).parent / "references" / "structures" / "fev.csv"
US = ("--residual", "us(AVISIT | USUBJID)")
NONE = ("--engine", "none")
SLEEP = "Reaction ~ Days + (1 | Subject)"


@pytest.fixture(autouse=True)
def keep_showwarning() -> Iterator[None]:
    """Restore what ``main`` replaces for its process."""
    before = warnings.showwarning
    yield
    warnings.showwarning = before


@pytest.fixture(scope="module")
def sleep(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("structured") / "sleep.csv"
    data = bv.load_dataset("sleepstudy")
    data["half"] = (data["Days"] > 4).map({True: "late", False: "early"})
    data.to_csv(path, index=False)
    return str(path)


def refused(capsys, *arguments: str) -> str:
    assert main(arguments) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert "Traceback" not in err
    return err


def test_a_model_without_random_terms_is_fitted(capsys):
    assert main(["fit", str(FEV), "FEV1 ~ ARMCD", *US, *NONE]) == 0
    out = capsys.readouterr().out
    assert "REML criterion: 3667.9628" in out
    assert "Correlations of residuals" in out
    assert "collapsed" not in out
    assert "197 independent clusters" in " ".join(out.split())


def test_json_has_what_the_library_estimates(capsys):
    assert main(["fit", str(FEV), "FEV1 ~ ARMCD", *US, *NONE, "--json", "-"]) == 0
    values = json.loads(capsys.readouterr().out)
    fit = bv.Model("FEV1 ~ ARMCD", pd.read_csv(FEV), residual=US[1]).reml()
    assert values["residual"] == fit.design.residual.describe()
    assert "posterior" not in values
    assert values["reml"]["beta"] == fit.beta.to_dict()
    assert values["reml"]["residual"]["sd"] == dict(fit.components.residual.sd)
    assert values["reml"]["residual"]["corr"] == dict(fit.components.residual.corr)
    assert list(values["reml"]["residual"]["sd"]) == ["VIS1", "VIS2", "VIS3", "VIS4"]
    again = bv.VarianceComponents({}, values["reml"]["sigma2"], values["reml"]["residual"])
    assert again == fit.components


def test_sds_of_strata_and_correlations_come_together(sleep, capsys):
    both = ("--residual", "ar1(Days | Subject)", "--residual-sd", "strata(half)")
    assert main(["fit", sleep, "Reaction ~ Days", *both, *NONE, "--json", "-"]) == 0
    residual = json.loads(capsys.readouterr().out)["reml"]["residual"]
    assert list(residual["sd"]) == ["early", "late"]
    assert list(residual["corr"]) == ["rho"]


def test_independent_residuals_are_written_as_they_were(sleep, capsys):
    assert main(["fit", sleep, SLEEP, "--engine", "none", "--json", "-"]) == 0
    values = json.loads(capsys.readouterr().out)
    assert "residual" not in values
    assert "residual" not in values["reml"]


def test_describe_names_the_structure(sleep, capsys):
    options = (SLEEP, "--residual-sd", "strata(half)", "--json", "-")
    assert main(["describe", sleep, *options]) == 0
    assert json.loads(capsys.readouterr().out)["residual"] == "strata(half)"
    assert main(["describe", str(FEV), "FEV1 ~ ARMCD", *US]) == 0
    assert "us(AVISIT | USUBJID): 197 series of 1 to 4 rows, 4 visits" in capsys.readouterr().out


def test_the_posterior_of_structured_residuals_is_sampled(sleep, capsys):
    options = ("--residual", "ar1(Days | Subject)", "--json", "-")
    assert main(["fit", sleep, "Reaction ~ Days", *options]) == 0
    values = json.loads(capsys.readouterr().out)
    rho = values["posterior"]["mean"]["residual"]["corr"]["rho"]
    assert rho == pytest.approx(values["reml"]["residual"]["corr"]["rho"], abs=0.1)


def test_a_known_v_is_not_sampled(tmp_path, capsys):
    bv.load_dataset("konstantopoulos").to_csv(tmp_path / "k.csv", index=False)
    assert main(["fit", str(tmp_path / "k.csv"), "yi ~ 1", "--known-variances", "vi"]) == 0
    assert "nothing to sample" in capsys.readouterr().out


def test_the_report_states_the_structure(sleep, tmp_path):
    page = tmp_path / "report.html"
    options = ("--residual", "ar1(Days | Subject)", "--report", str(page), "-q", *NONE)
    assert main(["fit", sleep, SLEEP, *options]) == 0
    text = page.read_text()
    assert "residual=&#34;ar1(Days | Subject)&#34;" in text
    assert "σ²I" not in text


def test_engine_none_is_no_contradiction(sleep, capsys):
    options = ("--residual", "ar1(Days | Subject)", "--engine", "none", "-q")
    assert main(["fit", sleep, "Reaction ~ Days", *options]) == 0
    assert capsys.readouterr().out == ""


def test_misspelt_kinds_are_answered_with_the_near_ones(sleep, capsys):
    message = refused(capsys, "fit", sleep, SLEEP, "--residual", "ar2(Days | Subject)")
    assert "did you mean 'ar1'" in message
    message = refused(capsys, "describe", sleep, SLEEP, "--residual-sd", "stratum(half)")
    assert "did you mean 'strata'" in message


def test_a_model_with_neither_random_terms_nor_structure_is_refused(sleep, capsys):
    assert "no random term" in refused(capsys, "fit", sleep, "Reaction ~ Days")
