"""What R's export refuses, and folders of exported fits that are damaged or were changed."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

import bayesv as bv
from bayesv.extract import r_script

EXPORTS = Path(__file__).parent / "references" / "r_export"

REFUSED = {
    "lm": "its class is lm",
    "glmer": "not Gaussian",
    "given sigma": r"residual SD was given \(lmeControl\(sigma = \)\)",
    "lost data": "its data are gone",
    "named twice": "two of its coefficients are named 'grade2'",
    "several levels": "effects of several levels of one factor",
    "zero inflation": "zero inflation",
    "poisson": "family is poisson",
    "glmmTMB weights": "powers of the likelihood",
    "rstanarm weights": "powers of the likelihood",
    "rstanarm prior": "draws are of the prior",
    "stan_glm": "made by stan_glm",
    "rstanarm binomial": "family is binomial",
    "brms weights": "powers of the likelihood",
    "brms prior": "draws are of the prior",
    "brms multivariate": "several responses",
    "brms poisson": "family is poisson",
    "brms student": "not normal",
    "brms by": "several covariances",
    "brms smooth": "smooth terms",
    "brms nonlinear": "not linear",
    "brms without groups": "no group-level effects",
}


def test_R_refuses_what_has_no_such_V():
    messages = pd.read_csv(EXPORTS / "refused.csv").set_index("fit")["message"]
    assert set(messages.index) == set(REFUSED)
    assert messages.str.startswith("bayesv_export cannot write this fit: ").all()
    for name, reason in REFUSED.items():
        assert pd.Series(messages[name]).str.contains(reason).all(), name


def changed(tmp_path: Path, name: str = "lmer_sleepstudy", **values) -> Path:
    """Return a copy of an exported fit whose fit.json is changed; None leaves a key out."""
    folder = Path(shutil.copytree(EXPORTS / name, tmp_path / name))
    record = json.loads((folder / "fit.json").read_text()) | values
    record = {key: value for key, value in record.items() if value is not None}
    (folder / "fit.json").write_text(json.dumps(record))
    return folder


def edited(tmp_path: Path, name: str, file: str, edit) -> Path:
    """Return a copy of an exported fit one of whose tables is changed."""
    folder = changed(tmp_path, name)
    with gzip.open(folder / file, "rt", encoding="utf-8") as old:
        text = old.read()
    with gzip.open(folder / file, "wt", encoding="utf-8") as new:
        new.write(edit(text))
    return folder


def test_a_fit_that_did_not_converge_says_so(tmp_path):
    folder = changed(tmp_path, "lmer_sleepstudy", converged=False, messages=["failed to converge"])
    with pytest.warns(bv.FitWarning, match="lme4 says that this fit did not converge"):
        fit = bv.read_fit(folder)
    assert not fit.converged
    assert "note: failed to converge" in repr(fit)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"format": 99}, r"format 99; this version of bayesv reads 1 and 2"),
        ({"format": None}, "names no format"),
        ({"engine": "MixedModels"}, "'engine' is 'MixedModels'; known are lme4"),
        ({"method": "PQL"}, "'method' must be REML or ML"),
        ({"sigma": None}, "'sigma' is missing"),
        ({"sigma": "large"}, "'sigma' must be numbers, found \"large\""),
        ({"sigma": [1, 2]}, "'sigma' must be numbers of shape"),
        ({"terms": []}, "'terms' must be a list of objects"),
        ({"weights": 1}, "'weights' must be true or false"),
        ({"messages": [1]}, "'messages' must be a list of texts"),
        ({"n_rows": 181}, "has 180 rows; fit.json says 181"),
        ({"omitted": [3, 3]}, "'omitted' must hold different positions"),
        ({"log_likelihood": -871.0}, r"-2 log L is 1742 in the fit, 1743\.6"),
        ({"sigma": 30.0}, "not those of V at its components"),
        ({"weights": True}, "has no column 'weights'"),
    ],
)
def test_changed_records(tmp_path, values, message):
    folder = changed(tmp_path, **values)
    with pytest.raises(bv.ExtractionError, match=message):
        bv.read_fit(folder)


def first_term(**values) -> list[dict]:
    record = json.loads((EXPORTS / "lmer_sleepstudy" / "fit.json").read_text())
    return [record["terms"][0] | values]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"columns": ["(Intercept)", "Weeks"]}, r"no column 'Z\[Subject: Weeks\]'"),
        ({"columns": ["Days", "Days"]}, "appears in two random terms of 'Subject'"),
        ({"columns": ["Days", "(Intercept)"]}, "not those of V at its components"),
        ({"group": "Patient"}, r"no column 'level\[Patient\]'"),
        ({"levels": ["308", "309"]}, "needs whole numbers from 1 to 2, found 3"),
        ({"cov": [[1.0]]}, r"'cov' must be numbers of shape \(2, 2\)"),
        ({"cov": [[1.0, 2.0], [2.0, 1.0]]}, "positive semi-definite"),
        ({"correlated": None}, "'correlated' must be true or false"),
    ],
)
def test_changed_terms(tmp_path, values, message):
    folder = changed(tmp_path, terms=first_term(**values))
    with pytest.raises(bv.ExtractionError, match=message):
        bv.read_fit(folder)


@pytest.mark.parametrize(
    ("name", "file", "edit", "message"),
    [
        ("lmer_sleepstudy", "design.csv.gz", lambda t: t.replace("X[Days]", "X[Day]"), "no column"),
        ("lmer_sleepstudy", "design.csv.gz", lambda t: t[: len(t) // 2], "rows|damaged"),
        ("lmer_sleepstudy", "design.csv.gz", lambda t: t.replace("249.56", "NA"), "row 1"),
        ("lmer_sleepstudy", "design.csv.gz", lambda t: t.replace("249.56", "245.96"), "those of V"),
        ("lmer_sleepstudy", "design.csv.gz", lambda t: "", "damaged"),
        ("lmer_mixed", "design.csv.gz", lambda t: t.replace(",0.5,", ",-0.5,"), "not positive"),
        ("rstanarm", "draws.csv.gz", lambda t: t.replace("beta[x]", "beta[z]"), r"beta\[x\]"),
        ("rstanarm", "draws.csv.gz", lambda t: t[: t.rindex("\n2,")], "every draw of every chain"),
    ],
)
def test_changed_tables(tmp_path, name, file, edit, message):
    folder = edited(tmp_path, name, file, edit)
    with pytest.raises(bv.ExtractionError, match=message):
        bv.read_fit(folder)


def test_columns_that_the_data_do_not_identify(tmp_path):
    record = json.loads((EXPORTS / "rstanarm" / "fit.json").read_text())
    beta = record["beta"] | {"names": [*record["beta"]["names"], "twice"]}
    folder = changed(tmp_path, "rstanarm", beta=beta)
    table = pd.read_csv(folder / "design.csv.gz", dtype=str)
    table["X[twice]"] = table["X[x]"].astype(float) * 2
    table.to_csv(folder / "design.csv.gz", index=False)
    with pytest.raises(bv.ExtractionError, match="determine twice"):
        bv.read_fit(folder)


def test_missing_and_damaged_files(tmp_path):
    with pytest.raises(bv.ExtractionError, match="is no folder"):
        bv.read_fit(tmp_path / "nowhere")
    with pytest.raises(bv.ExtractionError, match=r"has no fit\.json"):
        bv.read_fit(tmp_path)
    folder = changed(tmp_path, "rstanarm")
    (folder / "draws.csv.gz").unlink()
    with pytest.raises(bv.ExtractionError, match=r"draws\.csv\.gz is missing"):
        bv.read_fit(folder)
    packed = folder / "design.csv.gz"
    whole = packed.read_bytes()
    for damaged in (whole[:-200], b"no gzip", b""):
        packed.write_bytes(damaged)
        with pytest.raises(bv.ExtractionError, match="damaged or incomplete"):
            bv.read_fit(folder)
    text = (folder / "fit.json").read_text()
    (folder / "fit.json").write_text(text[: len(text) // 2])
    with pytest.raises(bv.ExtractionError, match=r"fit\.json is damaged or incomplete"):
        bv.read_fit(folder)


def test_unpacked_tables_and_the_path_of_the_record_are_read(tmp_path):
    folder = changed(tmp_path)
    table = folder / "design.csv.gz"
    (folder / "design.csv").write_bytes(gzip.decompress(table.read_bytes()))
    table.unlink()
    assert bv.read_fit(folder / "fit.json").design.n == 180


def test_the_script_comes_with_the_package():
    script = r_script()
    for piece in (Path(bv.__file__).parent / "extract" / "r").glob("*.R"):
        assert piece.read_text() in script
    assert "bayesv_export <- local({" in script
