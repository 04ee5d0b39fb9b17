"""Fits with structured or known residuals in files, listings and JSON; hostile files of them."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import bayesv as bv
from bayesv.cli import main
from bayesv.cli.results import components_values
from bayesv.design.known import KnownBlocks, KnownVariances
from bayesv.errors import without
from bayesv.storage.codec import decode, encode
from tests.test_structured_downstream import known_model, statement

NAMES = ("us", "us_by_group", "toeph", "ar1_slopes", "strata", "car1", "spatial")
SAVED = Path(__file__).parent / "references" / "saved"


@pytest.fixture(scope="module")
def fits() -> dict[str, bv.RemlFit]:
    made = {}
    for name in NAMES:
        formula, frame, options = statement(name)
        with without(bv.FitWarning):
            made[name] = bv.Model(formula, frame, **options).reml()
    return made


# --- files ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_a_fit_comes_back_whole(fits, name, tmp_path):
    fit = fits[name]
    again = bv.load(fit.save(tmp_path / ("f.zarr" if name == "us" else "f.nc")))
    assert isinstance(again, bv.RemlFit)
    assert again.components == fit.components
    assert repr(again) == repr(fit)
    assert again.problems == fit.problems
    form, form_again = fit.design.parametric_residual, again.design.parametric_residual
    assert form_again.equals(form)
    np.testing.assert_array_equal(again.gls.V.to_dense(), fit.gls.V.to_dense())
    assert again.criterion_at(fit.components) == fit.criterion_at(fit.components)
    with without(bv.FitWarning):
        assert bv.Model.from_design(again.design).reml().criterion == pytest.approx(
            fit.criterion, abs=1e-6
        )


@pytest.mark.parametrize(
    ("kind", "family"),
    [("column", KnownVariances), ("matrix", KnownBlocks), ("no terms", KnownBlocks)],
)
def test_known_residuals_stay_known(kind, family, tmp_path):
    fit = known_model(kind)[0].reml()
    again = bv.load(fit.save(tmp_path / "f.nc"))
    assert type(again.design.residual) is family
    assert again.design.sigma_is_known
    np.testing.assert_array_equal(again.gls.V.to_dense(), fit.gls.V.to_dense())
    assert repr(again) == repr(fit)


def test_fits_of_the_format_before_are_read():
    fit = bv.load(SAVED / "sleepstudy_format_3.nc")
    assert fit.criterion == pytest.approx(1743.62827, abs=1e-4)
    assert fit.problems == ()
    assert fit.statistics.layout.n == 180


CHANGES = {
    "a code of no series": lambda arrays: arrays["codes"].__setitem__(0, 1000),
    "a visit that is not planned": lambda arrays: arrays["visit"].__setitem__(0, -1),
    "rows that are not there": lambda arrays: arrays.__setitem__("visit", arrays["visit"][1:]),
    "weights below 0": lambda arrays: arrays["known"].__setitem__(0, -1.0),
}


@pytest.mark.parametrize("change", CHANGES)
def test_rows_that_contradict_the_series_are_refused(fits, change):
    text, arrays = encode({"design": fits["us"].design})
    place = "design.residual." + ("" if change == "weights below 0" else "sequential.series.")
    part = {key.removeprefix(place): np.array(v) for key, v in arrays.items() if place in key}
    CHANGES[change](part)
    with pytest.raises(bv.StorageError, match="cannot be understood"):
        decode(text, {**arrays, **{place + key: v for key, v in part.items()}})


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"structure toeph"', '"structure toephs"'),
        ('"StructuredResidual"', '"Popen"'),
        ('"order"', '"orders"'),
        (r'\{"tuple": \[0, 1, 2, 3\]\}', '{"tuple": [0, 1, 2]}'),
        (r'\{"tuple": \[0, 1, 2, 3\]\}', '{"tuple": [0, 1, 1, 3]}'),
        (r'\{"tuple": \[0, 1, 2, 3\]\}', '{"tuple": [0, 1, 2, "__import__"]}'),
        ('"n": 537', '"n": 536'),
    ],
)
def test_families_that_no_model_has_are_refused(fits, old, new):
    text, arrays = encode({"design": fits["toeph"].design})
    changed, count = re.subn(old, new, text)
    assert count
    with pytest.raises(bv.StorageError):
        decode(changed, arrays)


def test_a_family_of_too_many_visits_takes_no_memory(fits):
    text, arrays = encode({"design": fits["us"].design})
    huge = text.replace(
        '"blocks": {"tuple": [{"tuple": [0, 1, 2, 3]}]}',
        '"structure": {"class": "structure us", "fields": {"size": 100000000000}}',
    )
    assert huge != text
    with pytest.raises(bv.StorageError, match="a row for each visit"):
        decode(huge, arrays)


def test_blocks_that_are_no_covariance_are_refused():
    design = known_model("matrix")[0].design
    text, arrays = encode({"design": design})
    (name,) = [key for key in arrays if key.startswith("design.residual.blocks")]
    for value in (-1.0, np.nan):
        wrong = np.array(arrays[name])
        wrong[0, 0, 0] = value
        with pytest.raises(bv.StorageError):
            decode(text, {**arrays, name: wrong})
    skew = np.array(arrays[name])
    skew[0, 0, 1] += 1.0
    with pytest.raises(bv.StorageError, match="no covariance"):
        decode(text, {**arrays, name: skew})


def test_components_of_another_design_are_no_fit(fits, tmp_path):
    mixed = replace(fits["us"], components=fits["toeph"].components)
    path = mixed.save(tmp_path / "f.nc")
    with pytest.raises(bv.StorageError, match="residual corr: needed are VIS1, VIS2"):
        bv.load(path)


# --- what is printed ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_components_are_made_again_of_what_shows_them(fits, name):
    fit, vc = fits[name], fits[name].components
    assert bv.VarianceComponents.from_varcorr(vc.to_frame()) == vc
    for text in (repr(vc), fit.summary()):
        printed = bv.VarianceComponents.from_varcorr(text).aligned(fit.design)
        assert printed.sigma2 == pytest.approx(vc.sigma2, rel=1e-4)
        for what, values in vars(vc.residual).items():
            read = getattr(printed.residual, what)
            assert list(read) == list(values)
            np.testing.assert_allclose(
                list(read.values()), list(values.values()), rtol=1e-3, atol=6e-4
            )
        for group in vc:
            np.testing.assert_allclose(printed[group], vc[group], rtol=2e-3, atol=0.1)
    values = json.loads(json.dumps(components_values(vc)))
    blocks = {
        group: pd.DataFrame(part["matrix"], part["names"], part["names"])
        for group, part in values["covariance"].items()
    }
    assert bv.VarianceComponents(blocks, values["sigma2"], values.get("residual")) == vc


def test_names_that_are_cut_are_not_guessed():
    long = "a visit whose name is longer than its column"
    vc = bv.VarianceComponents({}, 1.0, {"sd": {long: 1.0, "b": 1.0}})
    with pytest.raises(bv.ComponentsError, match="a name is cut"):
        bv.VarianceComponents.from_varcorr(repr(vc))
    assert bv.VarianceComponents.from_varcorr(vc.to_frame()) == vc


def test_small_parameters_keep_their_digits():
    vc = bv.VarianceComponents({}, 2.0, {"corr": {"range": 0.00012345, "nugget": 0.25}})
    assert bv.VarianceComponents.from_varcorr(repr(vc)).residual.corr["range"] == 0.0001234


# --- the command line -----------------------------------------------------------------------------


def test_a_structured_fit_is_saved_and_its_V_written(tmp_path, capsys):
    data = str(Path(__file__).parent / "references" / "structures" / "fev.csv")
    path = str(tmp_path / "fit.nc")
    call = ["fit", data, "FEV1 ~ ARMCD", "--residual", "us(AVISIT | USUBJID)", "-q"]
    assert main([*call, "--save", path, "--json", str(tmp_path / "fit.json")]) == 0
    values = json.loads((tmp_path / "fit.json").read_text())["reml"]
    assert values["criterion"] == pytest.approx(3667.9628, abs=1e-3)
    post = bv.load(path)
    assert isinstance(post, bv.Posterior)
    assert main(["v", path, "--group", "USUBJID", "--level", "PT2"]) == 0
    out = capsys.readouterr().out
    value = post.V("USUBJID", "PT2").mean().iloc[0, 0]
    assert f"{value:.8g}" in out


def test_known_variances_are_named_by_their_column(tmp_path, capsys):
    frame = bv.load_dataset("sleepstudy").assign(v=np.linspace(300.0, 600.0, 180))
    frame.to_csv(tmp_path / "d.csv", index=False)
    known = ("--known-variances", "v")
    arguments = ["fit", str(tmp_path / "d.csv"), "Reaction ~ Days + (Days | Subject)", *known]
    assert main([*arguments, "--json", "-"]) == 0
    values = json.loads(capsys.readouterr().out)["reml"]
    expected = bv.Model(arguments[2], frame, residual=bv.Known("v")).reml()
    assert values["criterion"] == pytest.approx(expected.criterion, abs=1e-6)
    assert values["sigma2"] == 1.0
    assert main([*arguments, "--residual", "ar1(Days | Subject)"]) == 1
    assert "leave one of them out" in capsys.readouterr().err
