"""The command line with REML only: what is printed, JSON, files, exit codes, errors."""

from __future__ import annotations

import gzip
import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import bayesv as bv
from bayesv.cli import main

FORMULA = "Reaction ~ Days + (Days | Subject)"


@pytest.fixture(autouse=True)
def keep_showwarning() -> Iterator[None]:
    """Restore what ``main`` replaces for its process."""
    before = warnings.showwarning
    yield
    warnings.showwarning = before


@pytest.fixture
def sleep_csv(tmp_path: Path) -> str:
    path = tmp_path / "sleep.csv"
    bv.load_dataset("sleepstudy").to_csv(path, index=False)
    return str(path)


def fit(*arguments: str) -> int:
    return main(["fit", *arguments, "--engine", "none"])


def strict_json(text: str) -> Any:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(text, parse_constant=refuse)


def reml_of(capsys: Any, *arguments: str) -> Any:
    assert fit(*arguments, "--json", "-") == 0
    return strict_json(capsys.readouterr().out)


def test_fit_prints_what_lme4_prints(sleep_csv, capsys):
    assert fit(sleep_csv, FORMULA) == 0
    out, err = capsys.readouterr()
    assert err == ""
    for piece in (
        "restricted maximum likelihood",
        f"Formula: {FORMULA}",
        "REML criterion: 1743.6283",
        "Scaled residuals:",
        "-3.9536",
        "612.09",
        "0.066",
        "654.94",
        "251.41",
        "6.8246",
        "36.838",
        "Correlation of fixed effects",
        "-0.138",
        "V at the REML estimate: 180 × 180, 1800 elements stored (5.56 %),",
        "18 independent clusters",
        "log|V| = 1243.179",
    ):
        assert piece in out
    assert max(len(line) for line in out.splitlines()) <= 100


def test_json_to_stdout_is_only_json(sleep_csv, capsys):
    result = reml_of(capsys, sleep_csv, FORMULA)
    assert result["formula"] == FORMULA
    assert (result["rows"], result["rows_dropped"], result["levels"]) == (180, 0, {"Subject": 18})
    reml = result["reml"]
    assert reml["criterion"] == pytest.approx(1743.6282719, abs=1e-5)
    assert reml["beta"] == pytest.approx({"Intercept": 251.40510485, "Days": 10.46728596})
    assert reml["se"] == pytest.approx({"Intercept": 6.824556, "Days": 1.545789}, rel=1e-4)
    assert reml["sigma2"] == pytest.approx(654.941, rel=1e-4)
    block = reml["covariance"]["Subject"]
    assert block["names"] == ["Intercept", "Days"]
    np.testing.assert_allclose(block["matrix"], [[612.09, 9.604], [9.604, 35.072]], rtol=1e-3)
    assert reml["singular"] is False
    assert reml["converged"] is True
    assert "posterior" not in result


def test_json_to_a_file_beside_the_listing(sleep_csv, tmp_path, capsys):
    path = tmp_path / "out.json"
    assert fit(sleep_csv, FORMULA, "--json", str(path)) == 0
    assert "REML criterion" in capsys.readouterr().out
    assert strict_json(path.read_text(encoding="utf-8"))["reml"]["singular"] is False


def test_json_of_a_singular_fit_has_no_nan(tmp_path, capsys):
    path = tmp_path / "dyestuff2.csv"
    bv.load_dataset("dyestuff2").to_csv(path, index=False)
    result = reml_of(capsys, str(path), "Yield ~ 1 + (1 | Batch)")
    assert result["reml"]["singular"] is True
    assert result["reml"]["covariance"]["Batch"]["matrix"] == [[0.0]]


@pytest.mark.parametrize("name", ["d.csv.gz", "d.parquet"])
def test_other_files_give_the_same_fit(name, sleep_csv, tmp_path, capsys):
    path = tmp_path / name
    data = bv.load_dataset("sleepstudy")
    if name.endswith("parquet"):
        data.to_parquet(path)
    else:
        data.to_csv(path, index=False)
    want, got = reml_of(capsys, sleep_csv, FORMULA), reml_of(capsys, str(path), FORMULA)
    assert got["reml"]["beta"] == pytest.approx(want["reml"]["beta"], rel=1e-9)
    assert got["levels"] == want["levels"]


def test_the_suffix_may_be_upper_case(sleep_csv, tmp_path):
    path = tmp_path / "SLEEP.CSV"
    path.write_bytes(Path(sleep_csv).read_bytes())
    assert fit(str(path), FORMULA) == 0


def test_factor_reads_numbers_as_levels(sleep_csv, capsys):
    formula = "Reaction ~ Days + (1 | Subject)"
    result = reml_of(capsys, sleep_csv, formula, "--factor", "Days")
    names = list(result["reml"]["beta"])
    assert names == ["Intercept", *(f"Days[{day}]" for day in range(1, 10))]
    assert list(reml_of(capsys, sleep_csv, formula)["reml"]["beta"]) == ["Intercept", "Days"]


def test_weights(tmp_path, capsys):
    data = bv.load_dataset("sleepstudy").assign(w=np.linspace(1, 2, 180))
    path = tmp_path / "w.csv"
    data.to_csv(path, index=False)
    result = reml_of(capsys, str(path), FORMULA, "--weights", "w")
    want = bv.Model(FORMULA, data, var_weights="w").reml()
    assert result["reml"]["criterion"] == pytest.approx(want.criterion, abs=1e-6)
    assert result["reml"]["criterion"] != pytest.approx(1743.6283, abs=1)


def test_dropped_rows_are_counted(tmp_path, capsys):
    data = bv.load_dataset("sleepstudy")
    data.loc[[3, 7], "Reaction"] = np.nan
    path = tmp_path / "gaps.csv"
    data.to_csv(path, index=False)
    result = reml_of(capsys, str(path), FORMULA)
    assert (result["rows"], result["rows_dropped"]) == (178, 2)
    assert any("2 in Reaction" in note for note in result["notes"])


# --- refusals -------------------------------------------------------------------------------------


def refused(capsys: Any, *arguments: str) -> str:
    """Exit code 1, one message, nothing on stdout, no traceback."""
    assert fit(*arguments) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert "Traceback" not in err
    return err


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["Reaction ~ Dayz + (1 | Subject)"], "did you mean 'Days'"),
        (["Reaction ~ Days"], "no random term"),
        (["Reaction ~ Days + (1 | Subject"], "never closed"),
        (["Subject ~ Days + (1 | Reaction)"], "as many levels"),
        ([FORMULA, "--factor", "zz"], "--factor zz"),
        ([FORMULA, "--weights", "zz"], "no column 'zz'"),
    ],
)
def test_bad_arguments(arguments, part, sleep_csv, capsys):
    assert part in refused(capsys, sleep_csv, *arguments)


@pytest.mark.parametrize(
    ("name", "content", "part"),
    [
        ("nope.csv", None, "no file"),
        ("y ~ x + (1 | g)", None, "this is a formula; the data file comes first"),
        ("d.doc", b"a,b\n1,2\n", "ends in .csv, .csv.gz, .tsv, .tsv.gz, .txt"),
        ("d.xlsx", b"PK", "cannot be read as a workbook"),
        ("empty.csv", b"", "is empty"),
        ("ragged.csv", b"a,b\n1,2\n1,2,3\n", "cannot be read"),
        ("bad.parquet", b"x", "cannot be read"),
        ("latin.csv", b"a,b\n\xe9,2\n", "not text in UTF-8"),
        ("bad.csv.gz", b"not gzip", "cannot be read"),
        (
            "cut.csv.gz",
            gzip.compress(b"a,b\n" + bytes(range(48, 58)) * 90, mtime=0)[:25],
            "cannot be read",
        ),
    ],
)
def test_bad_files(name, content, part, tmp_path, capsys):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    message = refused(capsys, str(path), FORMULA)
    assert part in message
    assert name in message


def test_names_that_are_nearly_right(sleep_csv, capsys):
    near = f"{sleep_csv[:-3]}cvs"
    assert f"did you mean {Path(sleep_csv).name!r}" in refused(capsys, near, FORMULA)
    with pytest.raises(SystemExit) as stopped:
        main(["fitt", sleep_csv, FORMULA])
    assert stopped.value.code == 2
    assert "no command 'fitt'; did you mean 'fit'?" in capsys.readouterr().err


def test_a_directory_is_no_file(tmp_path, capsys):
    (tmp_path / "d.csv").mkdir()
    assert "d.csv" in refused(capsys, str(tmp_path / "d.csv"), FORMULA)


def test_an_unwritable_output_is_refused_before_fitting(sleep_csv, tmp_path, capsys):
    refused(capsys, sleep_csv, FORMULA, "--json", str(tmp_path / "no" / "out.json"))


def test_bad_numbers_are_refused_before_fitting(sleep_csv, capsys):
    assert main(["fit", sleep_csv, FORMULA, "--draws", "0"]) in (1, 2)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["nocommand"],
        ["fit"],
        ["fit", "d.csv"],
        ["fit", "d.csv", FORMULA, "--engine", "stan"],
        ["fit", "d.csv", FORMULA, "--draws", "many"],
    ],
)
def test_usage_errors_exit_with_two(arguments, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert "usage: bayesv" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["--help"], ["demo", "fit", "V = Z G Z' + R"]),
        (["fit", "--help"], ["--engine", "--json", "--weights", "--factor", "examples: bayesv"]),
        (["demo", "--help"], ["sleepstudy, three_level and star_k20", "--seed"]),
        (["--version"], [bv.__version__]),
    ],
)
def test_help(arguments, parts, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    assert all(part in text for part in parts)


def test_demo_fits_the_three_seeds(capsys):
    assert main(["demo", "--engine", "none"]) == 0
    out = capsys.readouterr().out
    places = [out.index(name) for name in ("\nsleepstudy\n", "\nthree_level\n", "\nstar_k20\n")]
    assert places == sorted(places)
    assert out.count("V at the REML estimate") == 3
    assert "1743.6283" in out
    assert "Done in" in out


def test_a_column_of_text_is_a_factor(tmp_path, capsys):
    rng = np.random.default_rng(0)
    data = pd.DataFrame({"y": rng.normal(size=30), "s": ["b", "a", "c"] * 10, "g": range(30)})
    data["g"] %= 6
    path = tmp_path / "t.csv"
    data.to_csv(path, index=False)
    result = reml_of(capsys, str(path), "y ~ s + (1 | g)")
    assert list(result["reml"]["beta"]) == ["Intercept", "s[b]", "s[c]"]
