"""The command line with posteriors and files: priors, saved fits, and the other commands."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from scipy.io import mmread

import bayesv as bv
from bayesv.cli import main
from bayesv.cli.listing import _describe_v as describe_v
from bayesv.cli.priors import read_prior

FORMULA = "Reaction ~ Days + (Days | Subject)"
SMALL = ("--draws", "800", "--chains", "2")
R_FITS = Path(__file__).parent / "references" / "r_export"


@pytest.fixture(autouse=True)
def keep_showwarning() -> Iterator[None]:
    """Restore what ``main`` replaces for its process."""
    before = warnings.showwarning
    yield
    warnings.showwarning = before


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder with data, a saved posterior and a saved REML fit."""
    path = tmp_path_factory.mktemp("cli")
    bv.load_dataset("sleepstudy").to_csv(path / "sleep.csv", index=False)
    data = str(path / "sleep.csv")
    before = warnings.showwarning
    assert main(["fit", data, FORMULA, *SMALL, "-q", "--save", str(path / "post.nc")]) == 0
    none = ["--engine", "none", "--quiet", "--save", str(path / "reml.nc")]
    assert main(["fit", data, FORMULA, *none]) == 0
    warnings.showwarning = before
    return path


@pytest.fixture(scope="module")
def post(folder) -> bv.Posterior:
    return bv.load(folder / "post.nc")


def strict_json(text: str) -> Any:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(text, parse_constant=refuse)


def refused(capsys: Any, *arguments: str) -> str:
    """Exit code 1, one message, nothing on stdout, no traceback."""
    assert main(arguments) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert "Traceback" not in err
    return err


# --- fit ------------------------------------------------------------------------------------------


def test_what_is_saved_is_what_the_library_makes(post, folder):
    model = bv.Model(FORMULA, pd.read_csv(folder / "sleep.csv"))
    own = model.sample(draws=800, chains=2, seed=1)
    assert own.estimate("mean") == post.estimate("mean")
    assert bv.load(folder / "reml.nc").components == model.reml().components


def test_quiet_prints_nothing_but_the_file(folder, tmp_path, capsys):
    out = tmp_path / "o.json"
    data = str(folder / "sleep.csv")
    assert main(["fit", data, FORMULA, "--engine", "none", "-q", "--json", str(out)]) == 0
    assert capsys.readouterr() == ("", "")
    assert strict_json(out.read_text())["rows"] == 180


@pytest.mark.filterwarnings("default")
def test_warnings_go_to_standard_error(folder, capsys):
    data = str(folder / "sleep.csv")
    assert main(["fit", data, FORMULA, "--draws", "20", "--chains", "2", "--json", "-"]) == 0
    out, err = capsys.readouterr()
    assert strict_json(out)["posterior"]["problems"]
    assert err.startswith("warning: ")


def test_data_from_standard_input(folder, monkeypatch, capsys):
    content = (folder / "sleep.csv").read_bytes()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    assert main(["fit", "-", FORMULA, "--engine", "none", "--json", "-"]) == 0
    assert strict_json(capsys.readouterr().out)["reml"]["criterion"] == pytest.approx(1743.6283)


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (b"", "is empty"),
        (b"\xff\xfe", "not text in UTF-8"),
        (b"a,b\n1,2,3\n1\n1,2,3,4", "cannot be"),
    ],
)
def test_standard_input_that_is_no_table(content, part, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    message = refused(capsys, "fit", "-", FORMULA)
    assert "standard input" in message
    assert part in message


@pytest.mark.parametrize("name", ["d.tsv", "d.tsv.gz"])
def test_tabs(name, tmp_path, capsys):
    path = tmp_path / name
    bv.load_dataset("sleepstudy").to_csv(path, sep="\t", index=False)
    assert main(["describe", str(path), FORMULA, "--json", "-"]) == 0
    assert strict_json(capsys.readouterr().out)["rows"] == 180


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["--save", "{}/post.nc"], "exists already"),
        (["--save", "{}/x.txt"], "saved as .nc"),
        (["--save", "{}/no/x.nc"], "no folder"),
        (["--json", "{}/no/x.json"], "no folder"),
        (["--report", "{}/x.pdf"], "an .html file"),
        (["--json", "{}"], "this is a folder"),
        (["--json", "there_is_no_such.csv"], "named twice"),
        (["--json", "{}/x.html", "--report", "{}/x.html"], "named twice"),
        (["--report", "{}/no/x.html"], "no folder"),
    ],
)
def test_outputs_are_refused_before_the_data_are_read(arguments, part, folder, capsys):
    arguments = [a.format(folder) for a in arguments]
    assert part in refused(capsys, "fit", "there_is_no_such.csv", FORMULA, *arguments)


def test_force_replaces_a_saved_fit(folder, tmp_path):
    path = bv.load(folder / "post.nc").save(tmp_path / "p.nc")
    arguments = ["--engine", "none", "-q", "--save", str(path), "--force"]
    assert main(["fit", str(folder / "sleep.csv"), FORMULA, *arguments]) == 0
    assert isinstance(bv.load(path), bv.RemlFit)


def test_an_interrupt_exits_with_130(folder, monkeypatch, capsys):
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(bv.Model, "reml", interrupted)
    assert main(["fit", str(folder / "sleep.csv"), FORMULA]) == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_a_closed_pipe_is_no_error(folder):
    command = [sys.executable, "-m", "bayesv", "describe", str(folder / "sleep.csv"), FORMULA]
    done = subprocess.run(
        f"{' '.join(repr(c) for c in command)} | head -n 1",
        shell=True,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == f"{FORMULA}\n"
    assert done.stderr == ""


def test_a_closed_pipe_does_not_keep_files_from_being_written(folder, tmp_path):
    command = [sys.executable, "-m", "bayesv", "fit", str(folder / "sleep.csv"), FORMULA]
    command += ["--engine", "none", "--save", str(tmp_path / "fit.nc")]
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", f"{' '.join(repr(c) for c in command)} | true"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    assert isinstance(bv.load(tmp_path / "fit.nc"), bv.RemlFit)


def test_a_large_v_is_described_without_being_made(monkeypatch):
    rng = np.random.default_rng(1)
    data = pd.DataFrame({"y": rng.normal(size=20_000), "g": np.arange(20_000) % 2})
    monkeypatch.setattr(bv.MarginalCovariance, "to_sparse", None)
    said = describe_v(bv.Model("y ~ 1 + (1 | g)", data).reml().gls.V, "REML")
    assert "20000 × 20000, sparse,\n2 independent clusters" in said


def test_what_cannot_be_written_is_named(folder, capsys):
    data = str(folder / "sleep.csv")
    full = ["--engine", "none", "-q", "--json", "/dev/full"]
    assert "/dev/full cannot be written" in refused(capsys, "fit", data, FORMULA, *full)


def test_a_negative_seed_is_refused(capsys):
    message = refused(capsys, "fit", "there_is_no_such.csv", FORMULA, "--seed", "-5")
    assert "seed must be an integer of at least 0" in message


# --- priors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("part", "text", "target", "prior"),
    [
        ("sd", "HalfNormal(50)", (), bv.HalfNormal(50)),
        ("sd", "Subject = HalfStudentT(3, 20)", ("Subject",), bv.HalfStudentT(3, 20)),
        ("sd", "Days|Subject=Gamma(shape=2, scale=1e1)", ("Subject", "Days"), bv.Gamma(2, 10)),
        ("sd", "I(x == 2) | a:b = Flat()", ("a:b", "I(x == 2)"), bv.Flat()),
        ("sigma", " Exponential( 5 ) ", (), bv.Exponential(5)),
        ("corr", "tch:sch = LKJ(2)", ("tch:sch",), bv.LKJ(2)),
        ("beta", "I(x | z) = Normal(0, 10)", ("I(x | z)",), bv.Normal(0, 10)),
        ("beta", "Normal(mean=-1, sd=.5)", (), bv.Normal(-1, 0.5)),
    ],
)
def test_priors_are_read(part, text, target, prior):
    assert read_prior(part, text) == (target, prior)


def test_priors_reach_the_model(folder, capsys):
    arguments = [
        "--prior-sd", "Intercept | Subject = HalfNormal(50)", "--prior-sd",
        "Days | Subject = Exponential(7)", "--prior-sigma", "HalfStudentT(4, 56)", "--prior-corr",
        "LKJ(2)", "--prior-beta", "Days = Normal(0, 10)",
    ]  # fmt: skip
    assert main(["describe", str(folder / "sleep.csv"), FORMULA, *arguments]) == 0
    out = capsys.readouterr().out
    priors = bv.Priors(
        sd={"Subject": {"Intercept": bv.HalfNormal(50), "Days": bv.Exponential(7)}},
        sigma=bv.HalfStudentT(4, 56),
        corr=bv.LKJ(2),
        beta={"Days": bv.Normal(0, 10)},
    )
    assert str(bv.Model(FORMULA, bv.load_dataset("sleepstudy"), priors).priors) in out


@pytest.mark.parametrize(
    ("arguments", "center"),
    [
        (["Days | Subject = 4.5"], {"Subject": {"Days": 4.5}}),
        (["Days|Subject=-1e1"], {"Subject": {"Days": -10.0}}),
        (["Subject"], {"Subject": {}}),
    ],
)
def test_centres_reach_the_priors(arguments, center, folder, capsys):
    options = [part for text in arguments for part in ("--center", text)]
    options += ["--prior-sd", "Intercept | Subject = HalfNormal(50)"]
    assert main(["describe", str(folder / "sleep.csv"), FORMULA, *options]) == 0
    out = capsys.readouterr().out
    priors = bv.Priors(sd={"Subject": {"Intercept": bv.HalfNormal(50)}}, center=center)
    said = str(bv.Model(FORMULA, bv.load_dataset("sleepstudy"), priors).priors)
    assert said in out
    assert ("4.5" in said) == (center == {"Subject": {"Days": 4.5}})


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["--prior-sd", "50"], "not NAME(numbers)"),
        (["--prior-sd", "HalfNorma(50)"], "did you mean 'HalfNormal'"),
        (["--prior-sd", "Normal(0, 1)"], "there is no 'Normal' for it"),
        (["--prior-sd", "HalfNormal(x)"], "is not a prior; write it as"),
        (["--prior-sd", "HalfNormal(__import__('os'))"], "not NAME(numbers)"),
        (["--prior-sd", "HalfNormal(1, 2)"], "HalfNormal takes (scale)"),
        (["--prior-sd", "HalfStudentT(3)"], "HalfStudentT takes (nu, scale)"),
        (["--prior-sd", "HalfStudentT(3, nu=2)"], "HalfStudentT takes (nu, scale)"),
        (["--prior-sd", "HalfNormal(-1)"], "positive finite"),
        (["--prior-sd", "Subjekt = HalfNormal(1)"], "did you mean 'Subject'"),
        (["--prior-sd", "Dayz | Subject = HalfNormal(1)"], "did you mean 'Days'"),
        (["--prior-sd", "HalfNormal(1)", "--prior-sd", "Subject = Flat()"], "stands alone"),
        (["--prior-sd", "Subject = Flat()", "--prior-sd", "Subject = Flat()"], "already"),
        (["--prior-sigma", "s = HalfNormal(1)"], "no name"),
        (["--prior-corr", "Days | Subject = LKJ(1)"], "one prior per group"),
        (["--prior-corr", "LKJ(0)"], "positive finite"),
        (["--center", "Days = 3"], "not COLUMN | GROUP = NUMBER"),
        (["--center", "Days | Subject"], "not COLUMN | GROUP = NUMBER"),
        (["--center", "Days | Subject = nan"], "not COLUMN | GROUP = NUMBER"),
        (["--center", "Days | Subject = 1e999"], "not COLUMN | GROUP = NUMBER"),
        (["--center", "Days | Subject = __import__('os')"], "not COLUMN | GROUP = NUMBER"),
        (["--center", ""], "not COLUMN | GROUP = NUMBER"),
        (["--center", "Days | Subject = 1", "--center", "Days | Subject = 2"], "one already"),
        (["--center", "Days | Subject = 1", "--center", "Subject"], "one already"),
        (["--center", "Subject", "--center", "Days | Subject = 1"], "one already"),
        (["--center", "Days | Subjekt = 1"], "did you mean 'Subject'"),
        (["--center", "Intercept | Subject = 1"], "no centre of its own"),
    ],
)
def test_bad_priors(arguments, part, folder, capsys):
    message = refused(capsys, "fit", str(folder / "sleep.csv"), FORMULA, *arguments)
    assert part in message
    assert ".." not in message.replace("…", "")


# --- describe, export-r ---------------------------------------------------------------------------


def test_describe_does_not_fit(folder, monkeypatch, capsys):
    monkeypatch.delattr(bv.Model, "reml")
    monkeypatch.delattr(bv.Model, "sample")
    assert main(["describe", str(folder / "sleep.csv"), FORMULA]) == 0
    out = capsys.readouterr().out
    for part in ("180 rows", "Subject: 18 levels", "elimination: single", "LKJ(1)"):
        assert part in out


def test_describe_as_json(folder, capsys):
    assert main(["describe", str(folder / "sleep.csv"), FORMULA, "--json", "-"]) == 0
    values = strict_json(capsys.readouterr().out)
    assert values["fixed"] == ["Intercept", "Days"]
    (term,) = values["random"]
    assert (term["group"], term["columns"]) == ("Subject", ["Intercept", "Days"])
    assert (term["blocks"], term["covariance"]) == ([[0, 1]], "us")
    assert (values["effects"], values["levels"]) == (36, {"Subject": 18})
    assert len(values["priors"]) == 5


def test_export_r_prints_the_script(tmp_path, capsys):
    assert main(["export-r"]) == 0
    out = capsys.readouterr().out
    assert "bayesv_export" in out
    assert main(["export-r", "-o", str(tmp_path / "e.R")]) == 0
    assert (tmp_path / "e.R").read_text(encoding="utf-8") == out
    assert capsys.readouterr().out == ""


# --- compare --------------------------------------------------------------------------------------


def test_compare_prints_what_the_library_prints(folder, post, capsys):
    reml = str(folder / "reml.nc")
    assert main(["compare", reml, str(folder / "post.nc")]) == 0
    assert capsys.readouterr().out == f"{bv.compare(bv.load(reml), post)}\n"


def test_compare_as_json(folder, post, capsys):
    arguments = [str(folder / "reml.nc"), str(folder / "post.nc"), "--json", "-", "--prob", "0.9"]
    assert main(["compare", *arguments]) == 0
    values = strict_json(capsys.readouterr().out)
    assert values["fits"][0]["criterion"] == pytest.approx(1743.6283)
    assert values["posteriors"][0]["engine"] == "collapsed"
    row = values["comparison"]["quantities"][0]
    low = float(np.quantile(post.covs["Subject"][..., 0, 0], 0.05))
    assert row["low"] == pytest.approx(low, rel=1e-6)


def test_compare_with_a_fit_exported_from_r(folder, capsys):
    exported = R_FITS / "lmer_sleepstudy"
    assert main(["compare", str(exported), str(folder / "post.nc"), "--json", "-"]) == 0
    values = strict_json(capsys.readouterr().out)
    assert "lme4" in values["fits"][0]["name"]
    assert values["fits"][0]["sigma2"] == pytest.approx(654.94, rel=1e-4)


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["{}/reml.nc"], "at least two"),
        (["{}/reml.nc", "{}/none.nc"], "no file"),
        (["{}/reml.nc", "{}/sleep.csv"], ".nc or .zarr file"),
        (["{}/reml.nc", "{}"], ""),
        (["{}/reml.nc", "{}/post.nc", "--prob", "95"], "between 0 and 1"),
        (["{}/reml.nc", "{}/post.nc", "--json", "{}/no/o.json"], "no folder"),
    ],
)
def test_compare_refuses(arguments, part, folder, capsys):
    assert part in refused(capsys, "compare", *(a.format(folder) for a in arguments))


def test_compare_refuses_fits_of_other_data(folder, tmp_path, capsys):
    other = bv.Model("Yield ~ 1 + (1 | Batch)", bv.load_dataset("dyestuff")).reml()
    path = other.save(tmp_path / "o.nc")
    message = refused(capsys, "compare", str(folder / "reml.nc"), str(path))
    assert "different data" in message


# --- v --------------------------------------------------------------------------------------------


def v(folder: Path, *arguments: str, fit: str = "post.nc") -> int:
    return main(["v", str(folder / fit), *arguments])


def test_whole_v_in_every_format(folder, post, tmp_path):
    want = bv.MarginalCovariance(post.design, post.estimate("mean")).to_sparse()
    for name in ("v.npz", "v.mtx", "v.csv", "v.tsv", "v.parquet"):
        assert v(folder, "-o", str(tmp_path / name)) == 0
    found = sparse.load_npz(tmp_path / "v.npz")
    assert (found != want).nnz == 0
    dense = mmread(tmp_path / "v.mtx", spmatrix=False).toarray()
    np.testing.assert_allclose(dense, want.toarray(), rtol=1e-15)  # V is symmetric but for rounding
    tables = [
        pd.read_csv(tmp_path / "v.csv"),
        pd.read_csv(tmp_path / "v.tsv", sep="\t"),
        pd.read_parquet(tmp_path / "v.parquet").astype({"row": int, "column": int}),
    ]
    for table in tables:
        assert len(table) == want.nnz
        np.testing.assert_allclose(table["V"], want.toarray()[table["row"], table["column"]])


def test_a_block_of_a_level(folder, post, tmp_path, capsys):
    vc = post.estimate("median")
    want = bv.MarginalCovariance(post.design, vc).block("Subject", "308")
    place = ("--group", "Subject", "--level", "308", "--estimate", "median")
    assert v(folder, *place) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    printed = [number for line in lines for number in line.split() if "." in number]
    assert sorted(printed) == sorted(f"{value:.8g}" for value in want.to_numpy().ravel())
    for name in ("b.npz", "b.mtx", "b.csv"):
        assert v(folder, *place, "-o", str(tmp_path / name)) == 0
    with np.load(tmp_path / "b.npz") as found:
        np.testing.assert_array_equal(found["V"], want)
        assert list(found["labels"]) == [str(i) for i in want.index]
    dense = mmread(tmp_path / "b.mtx", spmatrix=False).toarray()
    np.testing.assert_allclose(dense, want, rtol=1e-15)
    np.testing.assert_allclose(pd.read_csv(tmp_path / "b.csv")["V"], want.to_numpy().ravel())


def test_chosen_rows_of_a_reml_fit(folder, tmp_path):
    fit = bv.load(folder / "reml.nc")
    path = tmp_path / "r.npz"
    assert v(folder, "--rows", "0:3,15,178:", "-o", str(path), fit="reml.nc") == 0
    at = [0, 1, 2, 15, 178, 179]
    with np.load(path) as found:
        np.testing.assert_allclose(found["V"], fit.gls.V.to_dense()[np.ix_(at, at)], rtol=1e-12)
        assert list(found["labels"]) == [str(i) for i in at]


def test_the_posterior_summary(folder, post, tmp_path, capsys):
    block = post.V("Subject", "308")
    low, high = block.interval(0.9)
    place = ("--group", "Subject", "--level", "308", "--summary", "--prob", "0.9")
    assert v(folder, *place, "-o", str(tmp_path / "s.npz")) == 0
    assert v(folder, *place, "-o", str(tmp_path / "s.parquet")) == 0
    table = pd.read_parquet(tmp_path / "s.parquet")
    with np.load(tmp_path / "s.npz") as found:
        for name, want in {
            "mean": block.mean(),
            "sd": block.sd(),
            "low": low,
            "high": high,
        }.items():
            np.testing.assert_array_equal(found[name], want)
            np.testing.assert_array_equal(table[name], want.to_numpy().ravel())
    assert v(folder, *place) == 0
    assert capsys.readouterr().out.startswith("mean\n")


def test_v_of_a_fit_exported_from_r(tmp_path):
    path = tmp_path / "v.npz"
    assert main(["v", str(R_FITS / "lmer_sleepstudy"), "-o", str(path)]) == 0
    assert sparse.load_npz(path).shape == (180, 180)


@pytest.mark.parametrize(
    ("fit", "arguments", "part"),
    [
        ("post.nc", [], "All of V needs a file"),
        ("post.nc", ["--summary", "-o", "{}/v.npz"], "no --summary"),
        ("post.nc", ["--group", "Subject"], "needs --level"),
        ("post.nc", ["--group", "Subject", "--level", "308", "--rows", "1"], "not both"),
        ("post.nc", ["--group", "Subjekt", "--level", "308"], "No grouping factor"),
        ("post.nc", ["--group", "Subject", "--level", "999"], "no level '999'"),
        ("post.nc", ["--rows", "a"], "neither a number"),
        ("post.nc", ["--rows", "170:190"], "not within the rows, 0:180"),
        ("post.nc", ["--rows", "-3"], "not within the rows"),
        ("post.nc", ["--rows", "5:5"], "not within the rows"),
        ("post.nc", ["-o", "{}/v.xlsx"], "must be one of .npz"),
        ("post.nc", ["-o", "{}/no/v.npz"], "no folder"),
        ("post.nc", ["--rows", "1", "--summary", "-o", "{}/v.mtx"], "holds one matrix"),
        ("post.nc", ["--rows", "1", "--summary", "--estimate", "mode"], "leave --estimate out"),
        ("post.nc", ["--rows", "1", "--prob", "0"], "between 0 and 1"),
        ("reml.nc", ["--rows", "1", "--summary"], "needs draws"),
        ("reml.nc", ["--rows", "1", "--estimate", "mean"], "needs draws"),
        ("none.nc", ["--rows", "1"], "no file"),
        ("sleep.csv", ["--rows", "1"], ".nc or .zarr file"),
    ],
)
def test_v_refuses(fit, arguments, part, folder, capsys):
    arguments = [a.format(folder) for a in arguments]
    # "--rows -3" looks like an option to argparse; joined it is a value
    if arguments[:2] == ["--rows", "-3"]:
        arguments = ["--rows=-3"]
    assert part in refused(capsys, "v", str(folder / fit), *arguments)


def test_v_without_rows_says_what_to_do(tmp_path, capsys):
    import pyarrow as pa

    table = pa.Table.from_pandas(bv.load_dataset("sleepstudy").astype({"Subject": str}))
    model = bv.Model(FORMULA, pa.RecordBatchReader.from_batches(table.schema, table.to_batches()))
    path = model.reml().save(tmp_path / "f.nc")
    assert "keeps no rows" in refused(capsys, "v", str(path), "-o", str(tmp_path / "v.npz"))


@pytest.mark.parametrize("command", ["fit", "demo", "compare", "v", "describe", "export-r"])
def test_help_has_examples(command, capsys):
    with pytest.raises(SystemExit) as stopped:
        main([command, "--help"])
    assert stopped.value.code == 0
    out = capsys.readouterr().out
    assert f"examples:\n  bayesv {command}" in out
    assert all(len(line) <= 100 for line in out.splitlines())


def test_progress_is_off_when_nobody_watches(folder, monkeypatch):
    seen = {}

    def sample(self: Any, **options: Any) -> None:
        seen.update(options)
        raise bv.DataError("enough")

    monkeypatch.setattr(bv.Model, "sample", sample)
    assert main(["fit", str(folder / "sleep.csv"), FORMULA, "-q"]) == 1
    assert seen["progressbar"] is False
    terminal = SimpleNamespace(isatty=lambda: True)
    from bayesv.cli import options

    monkeypatch.setattr(options, "sys", SimpleNamespace(stderr=terminal))
    main(["fit", str(folder / "sleep.csv"), FORMULA])
    assert seen["progressbar"] is True


def test_tests_and_means_are_printed_and_in_json(tmp_path, capsys):
    data = str(Path(__file__).parent / "references" / "small_sample" / "oats.csv")
    call = ["fit", data, "y ~ variety + factor(nitro) + (1 | block/variety)", "--engine", "none"]
    target = str(tmp_path / "fit.json")
    assert main([*call, "--anova", "--means", "nitro", "--json", target]) == 0
    printed = capsys.readouterr().out
    assert "marginal means" in printed
    values = strict_json(Path(target).read_text())["reml"]
    assert [row["term"] for row in values["anova"]] == ["variety", "factor(nitro)"]
    assert round(values["marginal_means"][0]["se"], 2) == 7.13
    assert len(values["contrasts"]) == 6
    assert main([*call, "--means", "nitro", "--prob", "0.5", "--json", target]) == 0
    narrow = strict_json(Path(target).read_text())["reml"]
    for name in ("marginal_means", "contrasts"):
        assert narrow[name][0]["low"] > values[name][0]["low"]
    assert main([*call, "--means", "nitro", "--adjust", "none", "--json", target]) == 0
    alone = strict_json(Path(target).read_text())["reml"]["contrasts"][0]
    assert alone["p"] < values["contrasts"][0]["p"]
    for option in ("--by", "--adjust"):
        assert main([*call, option, "none"]) != 0
        assert f"{option} goes with --means" in capsys.readouterr().err


def test_slopes_are_printed_and_in_json(folder, tmp_path, capsys):
    target = str(tmp_path / "fit.json")
    call = ["fit", str(folder / "sleep.csv"), FORMULA, "--engine", "none", "--json", target]
    assert main([*call, "--slope", "Days"]) == 0
    assert "slopes\n" in capsys.readouterr().out
    values = strict_json(Path(target).read_text())["reml"]
    assert values["slopes"][0]["estimate"] == pytest.approx(values["beta"]["Days"])
    assert "contrasts" not in values


def test_intervals_and_likelihood_ratios(folder, tmp_path, capsys):
    data, call = str(folder / "sleep.csv"), ["--engine", "none", "-q"]
    one, two, target = (str(tmp_path / name) for name in ("one.nc", "two.nc", "fit.json"))
    assert main(["fit", data, "Reaction ~ Days + (1 | Subject)", *call, "--save", one]) == 0
    assert main(["fit", data, FORMULA, *call, "--save", two, "--confint", "--json", target]) == 0
    values = strict_json(Path(target).read_text())["reml"]
    wanted = bv.load(two).confint()
    assert [row["parameter"] for row in values["intervals"]] == list(wanted.index)
    assert values["intervals"][1]["low"] == pytest.approx(wanted["low"].iloc[1])
    wide = ["--prob", "0.5", "--confint", "--json", target]
    assert main(["fit", data, FORMULA, *call, *wide]) == 0
    values = strict_json(Path(target).read_text())["reml"]
    half = bv.load(two).confint(prob=0.5)
    assert values["intervals"][1]["low"] == pytest.approx(half["low"].iloc[1])
    assert values["functionals"]["ICC Subject"] == pytest.approx(
        bv.load(two).functionals()["ICC Subject"]
    )
    capsys.readouterr()
    assert main(["lrt", one, two]) == 0
    assert "42.837 " in capsys.readouterr().out
    assert main(["lrt", one, two, "--json", "-"]) == 0
    table = strict_json(capsys.readouterr().out)
    assert table[1]["statistic"] == pytest.approx(42.8368, abs=1e-3)
    assert table[0]["statistic"] is None
    assert "is a posterior" in refused(capsys, "lrt", one, str(folder / "post.nc"))
    assert "comes second" in refused(capsys, "lrt", two, one)


@pytest.mark.filterwarnings("ignore::bayesv.SamplingWarning", "ignore::bayesv.DesignWarning")
@pytest.mark.parametrize("summary", [False, True], ids=["estimate", "summary"])
def test_v_of_a_fit_in_batches_reads_the_rows_of_the_level_again(tmp_path, capsys, summary):
    """Of nested factors, too, whose levels have names of several columns."""
    data = pd.read_csv(Path(__file__).parent / "references" / "small_sample" / "oats.csv")
    data.to_parquet(tmp_path / "oats.parquet")
    formula = "y ~ nitro + (1 | block/variety)"
    rows, batches = bv.Model(formula, data), bv.Model(formula, tmp_path / "oats.parquet")
    fits = [m.sample(draws=50, chains=2, seed=1) if summary else m.reml() for m in (rows, batches)]
    group, level = fits[0].design.groups[0], fits[0].design.terms[0].levels[3]
    bv.save(fits[1], tmp_path / "fit.nc")
    command = ["v", str(tmp_path / "fit.nc"), "--group", group, "--level", str(level)]
    assert main(command) == 1
    assert "--data FILE" in capsys.readouterr().err
    command += ["--data", str(tmp_path / "oats.parquet"), "-o", str(tmp_path / "v.npz")]
    assert main([*command, *(["--summary"] if summary else [])]) == 0
    written = np.load(tmp_path / "v.npz")
    want = fits[1].V(group, level).mean() if summary else fits[0].V(group, level)
    assert ":" in str(level)
    np.testing.assert_allclose(written["mean" if summary else "V"], want.to_numpy(), rtol=1e-5)
    assert main([*command[:5], "none", *command[6:]]) == 1
