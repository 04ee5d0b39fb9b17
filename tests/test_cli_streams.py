"""Standard streams of every kind: other encodings, closed ones; errors of numbers raised."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest

import bayesv as bv

FORMULA = "Reaction ~ Days + (Days | Subject)"


@pytest.fixture(scope="module")
def csv(tmp_path_factory):
    path = tmp_path_factory.mktemp("streams") / "sleep.csv"
    data = bv.load_dataset("sleepstudy")
    data["Subject"] = "σ" + data["Subject"].astype(str)
    data.to_csv(path, index=False)
    return str(path)


def run(arguments: list[str], redirect: str = "", encoding: str = "utf-8"):
    """Run the command line in a shell, which can close streams."""
    command = f'"$0" -m bayesv "$@" {redirect}'
    environment = {**os.environ, "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
    return subprocess.run(
        ["sh", "-c", command, sys.executable, *arguments], env=environment, capture_output=True
    )


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1251"])
def test_every_terminal_can_show_a_fit(csv, encoding):
    done = run(["fit", csv, FORMULA, "--draws", "100", "--chains", "2"], encoding=encoding)
    assert done.returncode == 0
    text = done.stdout.decode(encoding)
    assert "1743.6283" in text
    assert "UnicodeEncodeError" not in done.stderr.decode(encoding)
    plain = run(["describe", csv, FORMULA, "--json", "-"], encoding=encoding)
    assert json.loads(plain.stdout)["rows"] == 180


@pytest.mark.parametrize(
    ("redirect", "arguments", "code"),
    [
        (">&-", [], 0),
        (">&-", ["--json", "-"], 1),
        ("2>&-", [], 0),
        ("2>&-", ["--weights", "none"], 1),
        ("<&- >&- 2>&-", [], 0),
    ],
)
def test_closed_streams(csv, redirect, arguments, code):
    done = run(["describe", csv, FORMULA, *arguments], redirect)
    assert done.returncode == code
    assert b"Traceback" not in done.stderr


def test_a_closed_standard_input_is_said(csv):
    done = run(["describe", "-", FORMULA], "<&-")
    assert done.returncode == 1
    assert b"Standard input is closed" in done.stderr


@pytest.mark.filterwarnings("ignore::bayesv.SamplingWarning")
def test_fits_do_not_depend_on_how_errors_of_numbers_are_handled():
    model = bv.Model(FORMULA, bv.load_dataset("sleepstudy"))
    want = model.sample(draws=100, chains=2, seed=1).sigma2
    with np.errstate(all="raise"):
        again = bv.Model(FORMULA, bv.load_dataset("sleepstudy"))
        assert again.reml().criterion == model.reml().criterion
        np.testing.assert_array_equal(again.sample(draws=100, chains=2, seed=1).sigma2, want)
        bv.compare(again.reml(), again.sample(draws=100, chains=2, seed=1))
