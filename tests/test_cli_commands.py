"""Commands on saved fits, and what the command line is to a shell."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import bayesv as bv
from bayesv.cli import main
from bayesv.cli.commands import COMMANDS

FORMULA = "Reaction ~ Days + (Days | Subject)"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Data, and a REML fit and a posterior of them."""
    folder = tmp_path_factory.mktemp("fits")
    data = bv.load_dataset("sleepstudy")
    data.to_csv(folder / "sleep.csv", index=False)
    data.iloc[[3, 14]].assign(Subject=["308", "new"]).to_csv(folder / "new.csv", index=False)
    model = bv.Model(FORMULA, data)
    model.reml().save(folder / "reml.nc")
    with pytest.warns(bv.SamplingWarning):
        post = model.sample(draws=50, chains=2, seed=1)
    post.save(folder / "post.nc")
    return folder


@pytest.fixture(autouse=True)
def _in_folder(folder, monkeypatch) -> None:
    monkeypatch.chdir(folder)


def test_fit_by_ml_with_other_intervals(capsys):
    assert main(["fit", "sleep.csv", FORMULA, "--ml", "--engine", "none"]) == 0
    out = capsys.readouterr().out
    assert "1751.9393" in out  # lme4: -2 * logLik of the ML fit
    assert "V at the ML estimate" in out
    options = ["--prob", "0.5", "--cores", "1", "--draws", "1000"]
    assert main(["fit", "sleep.csv", FORMULA, *options]) == 0
    assert "50 % interval" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("option", "value", "found"),
    [("--prob", "95", "probability"), ("--cores", "0", "at least one")],
)
def test_numbers_out_of_range_are_refused_before_work(capsys, option, value, found):
    assert main(["fit", "none.csv", FORMULA, option, value]) == 1
    assert found in capsys.readouterr().err


def test_predict_from_reml(folder, capsys):
    assert main(["predict", "reml.nc", "new.csv", "--prob", "0.9"]) == 0
    printed = capsys.readouterr().out
    want = bv.load("reml.nc").predict(pd.read_csv("new.csv"), of="response", prob=0.9)
    assert printed.strip() == want.to_string().strip()
    assert main(["predict", "reml.nc", "new.csv", "-o", "p.csv"]) == 0
    table = pd.read_csv("p.csv")
    assert list(table.columns[:3]) == ["Reaction", "Days", "Subject"]
    np.testing.assert_allclose(table["mean"], want["mean"], rtol=1e-12)


def test_predict_from_draws(capsys):
    assert main(["predict", "post.nc", "new.csv", "-o", "q.csv", "--seed", "3"]) == 0
    table = pd.read_csv("q.csv")
    draws = bv.load("post.nc").predict(pd.read_csv("new.csv"), seed=3)
    np.testing.assert_allclose(table["mean"], draws.mean("sample"), rtol=1e-12)
    assert (table["low"] < table["mean"]).all()
    assert main(["predict", "post.nc", "new.csv", "-o", "q.xlsx"]) == 1
    assert ".csv, .tsv, .parquet" in capsys.readouterr().err


def test_level_without_group_where_there_is_one(capsys):
    assert main(["v", "reml.nc", "--level", "308"]) == 0
    first = capsys.readouterr().out
    assert main(["v", "reml.nc", "--group", "Subject", "--level", "308"]) == 0
    assert capsys.readouterr().out == first
    crossed = bv.load_dataset("penicillin")
    bv.Model("diameter ~ 1 + (1 | plate) + (1 | sample)", crossed).reml().save("crossed.nc")
    assert main(["v", "crossed.nc", "--level", "a"]) == 1
    assert "--level needs --group, one of plate, sample" in capsys.readouterr().err


def test_report_of_saved_fits(capsys):
    assert main(["report", "reml.nc", "post.nc", "-o", "page.html", "--title", "Sleep"]) == 0
    assert "<title>Sleep</title>" in Path("page.html").read_text()
    assert main(["report", "reml.nc", "-o", "page.pdf"]) == 1
    assert ".html" in capsys.readouterr().err


def test_completion_knows_every_command(capsys):
    for shell in ("bash", "zsh"):
        assert main(["completion", shell]) == 0
        script = capsys.readouterr().out
        assert all(command in script for command in COMMANDS)
        assert "--residual-sd" in script


def test_bash_completes_files_where_files_are_taken(capsys):
    assert main(["completion", "bash"]) == 0
    Path("completion.sh").write_text(capsys.readouterr().out, encoding="utf-8")
    Path("a folder").mkdir()
    asked = {
        ("report", "rem"): ["reml.nc"],
        ("report", "reml.nc", "pos"): ["post.nc"],
        ("report", "reml.nc", "post.nc", "rem"): ["reml.nc"],
        ("lrt", "reml.nc", "rem"): ["reml.nc"],
        ("compare", "a"): ["a folder"],
        ("predict", "reml.nc", "-o", "completion"): ["completion.sh"],
        ("fit", "--engine", "col"): ["collapsed"],
        ("fit", "--adj"): ["--adjust"],
    }
    for words, expected in asked.items():
        script = (
            f"source completion.sh; COMP_WORDS=(bayesv {' '.join(words)}); "
            f"COMP_CWORD={len(words)}; _shtab_bayesv 2>/dev/null; "
            'printf "%s\\n" "${COMPREPLY[@]}"'
        )
        done = subprocess.run(["bash", "-c", script], capture_output=True, text=True)
        assert done.stdout.splitlines() == expected, words


def test_the_package_runs_as_a_module():
    done = subprocess.run(
        [sys.executable, "-m", "bayesv", "--version"], capture_output=True, text=True
    )
    assert done.stdout.strip() == f"bayesv {bv.__version__}"


def test_words_near_choices_are_named():
    model = bv.Model(FORMULA, bv.load_dataset("sleepstudy"))
    wrong: dict[str, Any] = {
        "did you mean 'ML'": lambda: model.reml("ml"),
        "did you mean 'nuts'": lambda: model.sample(engine="NUTS"),
        "did you mean 'Subject'": lambda: model.design.level("subject", "308"),
    }
    for hint, call in wrong.items():
        with pytest.raises(bv.BayesvError, match=hint):
            call()


def test_an_interrupt_while_modules_are_read_is_no_traceback():
    code = (
        "import sys, bayesv.cli as cli, importlib\n"
        "def interrupted(name): raise KeyboardInterrupt\n"
        "cli.importlib.import_module = interrupted\n"
        "sys.exit(cli.main(['fit', 'a.csv', 'y ~ x']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (130, "interrupted\n")


_EARLY = """
import os, signal, sys
class Interrupts:
    def find_spec(self, name, *_):
        if name == "bayesv.cli":
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Interrupts())
from bayesv.__main__ import main
main()
"""
_LATE = """
import atexit, os, signal, sys
from bayesv.__main__ import main
sys.argv = ["bayesv", "export-r"]
atexit.register(os.kill, os.getpid(), signal.SIGINT)
main()
"""


_LOST = """
import os, signal, sys, time
import bayesv.cli
class Compiled:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGINT)
def run():
    try:
        Compiled()
        for _ in range(500):
            time.sleep(0.01)
    except KeyboardInterrupt:
        return 130
bayesv.cli.main = run
from bayesv.__main__ import main
main()
"""


@pytest.mark.parametrize(
    ("script", "code", "said"),
    [(_EARLY, 130, "interrupted\n"), (_LATE, 0, ""), (_LOST, 130, "")],
)
def test_interrupts_before_and_after_a_command_leave_no_traceback(script, code, said):
    def as_from_a_terminal():
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    done = subprocess.run(
        [sys.executable, "-c", script], cwd=Path(__file__).parent.parent,
        capture_output=True, text=True, preexec_fn=as_from_a_terminal,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (code, said)
