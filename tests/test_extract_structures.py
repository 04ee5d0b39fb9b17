"""Fits made in R whose residuals or random effects have a structure, frozen with their script."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import bayesv as bv
from bayesv.extract import read_data

EXPORTS = Path(__file__).parent / "references" / "r_structures"

# What R's words are in bayesv's: the residuals, and the families of the terms.
FITS = {
    "gls_us": ("us(number | USUBJID)", []),
    "gls_symm_ml": ("us(1 | Subject)", []),
    "gls_ar1": ("ar1(number | USUBJID)", []),
    "gls_cs_strata": ("cs(1 | Subject) × strata(Sex:age)", []),
    "gls_arma": ("arma11(1 | Mare)", []),
    "gls_ma_power": ("ma1(1 | Mare) × power(late)", []),
    "gls_gaus_nugget": ("sp_gau(latitude + longitude | 1, nugget=True)", []),
    "gls_strata_ml": ("strata(Sex)", []),
    "lme_ar1": ("ar1(1 | Mare)", ["us(1)"]),
    "lme_car1": ("car1(Time | Rat) × strata(Diet) × exp(Time)", ["us(2)"]),
    "lme_nested": ("ar1(1 | Variety:Block)", ["us(1)", "us(1)"]),
    "lme_ident": ("weights", ["homdiag(2)"]),
    "lme_blocked": ("σ²I", ["us(1) + cs(3)"]),
    "tmb_us_r": ("us(visit | g)", []),
    "tmb_ar1_r_site": ("ar1(visit | g)", ["us(1)"]),
    "tmb_exp_r": ("sp_exp(where.1 + where.2 | g)", []),
    "tmb_cs": ("σ²I", ["csh(5)"]),
    "tmb_ar1_strata": ("strata(arm)", ["ar1(5)"]),
    "tmb_ou": ("σ²I", ["car1(5)"]),
    "tmb_mat": ("σ²I", ["sp_mat(5)"]),
    "tmb_scales": ("strata(arm) × exp(time) × power(t)", ["us(1)"]),
    "rma_nested": ("known", ["us(1)", "us(1)"]),
    "rma_cs": ("known", ["cs(11)"]),
    "rma_uni": ("known", ["us(1)"]),
    "rma_knha": ("known", ["us(1)"]),
    "rma_equal": ("known", []),
    "rma_un": ("known", ["us(2)"]),
    "rma_car": ("known", ["car1(5)", "us(1)"]),
    "rma_har": ("known", ["ar1h(5)"]),
    "rma_gen": ("known", ["us(2)"]),
    "rma_phylo": ("known", ["us(1)"] * 3),
    "mmrm_us": ("us(AVISIT | USUBJID)", []),
    "mmrm_sp_exp": ("sp_exp(time | g)", []),
    "mmrm_ar1_group": ("ar1(visit | arm / g)", []),
    "lmer_cs": ("σ²I", ["cs(3)"]),
    "lmer_ar1": ("σ²I", ["ar1(3)"]),
}
REFUSED = {
    "lme4 family": "class Covariance.rr",
    "gls independent": "no random effects",
    "corAR1 fixed": "correlation was given",
    "corARMA(2, 0)": r"corARMA\(p = 2, q = 0\)",
    "corRatio": "rational quadratic",
    "corExp manhattan": "metric manhattan",
    "varPower fitted": "V depends on beta and REML is not defined",
    "varConstPower": "modelled by varConstPower",
    "varExp by stratum": "a parameter for each level of Sex",
    "varIdent fixed": "varIdent were given",
    "corSymm beside strata": "in no family",
    "rr": "structure 'rr'",
    "dispformula = ~ 0": "no random term has a column for each position",
    "dispformula product": "modelled by arm:time",
    "rma DL": 'by method "DL"',
    "rma weights": "weights of the user's",
    "rma given": "components were given",
    "rma scale": "is modelled",
    "rma SPLIN": "SPLIN",
    "rma robust": "sandwich",
    "mmrm type": "type 'ar2'",
}


@pytest.fixture(scope="module")
def fits() -> dict[str, bv.RemlFit]:
    return {name: bv.read_fit(EXPORTS / name) for name in FITS}


def record_of(name: str) -> dict:
    return json.loads((EXPORTS / name / "fit.json").read_text())


def residual_text(design: bv.Design) -> str:
    if design.parametric_residual is not None:
        return design.residual.text
    if design.sigma_is_known:
        return "known"
    return "σ²I" if design.residual.iid else "weights"


def test_all_are_listed():
    folders = {path.name for path in EXPORTS.iterdir() if path.is_dir()}
    assert folders == set(FITS)


@pytest.mark.parametrize("name", FITS)
def test_families_and_numbers_are_those_of_R(fits, name):
    """−2 log L and β̂ by dense algebra are what R found; reading held them against V."""
    fit, record = fits[name], record_of(name)
    assert (residual_text(fit.design), [str(t.structure) for t in fit.design.terms]) == FITS[name]
    np.testing.assert_allclose(fit.beta, record["beta"]["values"], rtol=1e-4, atol=1e-5)
    design = fit.design
    V = bv.MarginalCovariance(design, fit.components).to_dense()
    X, n = design.X, design.n
    W = np.linalg.solve(V, np.column_stack([X, design.target]))
    A = X.T @ W[:, :-1]
    beta = np.linalg.solve(A, X.T @ W[:, -1])
    e = design.target - X @ beta
    value = n * np.log(2 * np.pi) + np.linalg.slogdet(V)[1] + e @ np.linalg.solve(V, e)
    if fit.method == "REML":
        value += np.linalg.slogdet(A)[1] - design.p * np.log(2 * np.pi)
    assert -0.5 * value == pytest.approx(record["log_likelihood"], abs=1e-4)


OTHER = {
    "gls_symm_ml": "n/(n - p)",
    "gls_strata_ml": "n/(n - p)",
    "rma_knha": "Knapp",
    "tmb_cs": "Hessian",
}


@pytest.mark.parametrize("name", FITS)
def test_another_covariance_of_the_estimates_is_kept(fits, name):
    fit, stated = fits[name], np.array(record_of(name)["beta"]["vcov"])
    if name in OTHER or name.startswith("tmb"):
        np.testing.assert_allclose(fit.reported_cov_beta, stated)
        assert OTHER.get(name, "Hessian") in repr(fit)
        ratio = np.diagonal(stated) / np.diagonal(fit.cov_beta)
        if name.startswith("gls"):
            np.testing.assert_allclose(ratio, fit.design.n / (fit.design.n - fit.design.p), 1e-4)
    else:
        assert fit.reported_cov_beta is None
        np.testing.assert_allclose(fit.cov_beta, stated, rtol=1e-3, atol=1e-12)


REFITTED = (
    "gls_us", "gls_ar1", "gls_strata_ml", "lme_ident", "tmb_us_r", "mmrm_ar1_group", "rma_nested",
    "rma_un", "rma_phylo", "lmer_cs", "lmer_ar1",
)  # fmt: skip


@pytest.mark.parametrize("name", REFITTED)
def test_refitting_finds_the_optimum_of_R(fits, name):
    fit = fits[name]
    own = bv.Model.from_design(fit.design).reml(fit.method)
    assert own.criterion == pytest.approx(fit.criterion, abs=2e-4)
    assert own.criterion <= fit.criterion + 1e-6
    assert f"{fit.label}: criterion" in repr(bv.compare(fit, own))


def test_the_residual_s_words_on_the_exported_data_are_the_same_model(fits):
    for name in ("gls_ar1", "lme_car1", "mmrm_ar1_group"):
        fit, data = fits[name], read_data(EXPORTS / name)
        record = record_of(name)["residual"]
        model = bv.Model(
            fit.design.formula, data, residual=record["form"], residual_sd=record["sd_form"] or None
        )
        again = bv.gls(model.design, fit.components)
        assert again.criterion(fit.method) == pytest.approx(fit.criterion, abs=1e-8)


def test_rows_of_mmrm_are_in_the_order_of_the_data(fits):
    data = read_data(EXPORTS / "mmrm_us")
    np.testing.assert_allclose(fits["mmrm_us"].design.y, data["FEV1"])
    assert list(data["USUBJID"]) != sorted(data["USUBJID"])
    assert any("kenward_roger" in note for note in fits["mmrm_us"].design.notes)


def test_what_is_wider_than_what_was_fitted_says_so(fits):
    for name, word in (("gls_symm_ml", "corSymm"), ("tmb_mat", "smoothness")):
        assert any(word in note for note in fits[name].design.notes)


def test_both_covariances_are_saved(fits, tmp_path):
    fit = fits["gls_strata_ml"]
    again = bv.load(fit.save(tmp_path / "fit.nc"))
    assert again.reported_cov_beta.equals(fit.reported_cov_beta)
    assert again.notes == fit.notes


def test_R_refuses_by_name():
    messages = pd.read_csv(EXPORTS / "refused.csv").set_index("fit")["message"]
    assert set(messages.index) == set(REFUSED)
    assert messages.str.startswith("bayesv_export cannot write this fit: ").all()
    for name, reason in REFUSED.items():
        assert pd.Series(messages[name]).str.contains(reason).all(), name


# --- damaged exports ------------------------------------------------------------------------------


def changed(tmp_path: Path, name: str, **values) -> Path:
    """Return a copy of an export whose description of the residuals, or first term, is changed."""
    folder = Path(shutil.copytree(EXPORTS / name, tmp_path / name))
    record = json.loads((folder / "fit.json").read_text())
    wide = [term for term in record["terms"] if len(term["columns"]) > 1]
    part = wide[0] if wide else record["residual"]
    part |= values
    (folder / "fit.json").write_text(json.dumps(record))
    return folder


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("gls_ar1", {"form": "ar2(number | USUBJID)"}, "no kind of residual correlation"),
        ("gls_ar1", {"form": "ar1(week | USUBJID)"}, "no column 'week'"),
        ("gls_ar1", {"form": "", "sd_form": ""}, "both empty"),
        ("gls_ar1", {"form": 3}, "'form' must be a text"),
        ("gls_ar1", {"corr": [1.5]}, "rho of 'ar1'"),
        ("gls_ar1", {"corr": [0.2]}, "not those of V"),
        ("gls_ar1", {"corr": []}, r"'corr' must be numbers of shape \(1,\)"),
        ("gls_ar1", {"levels": {}}, "no column 'USUBJID'"),
        ("gls_ar1", {"numbers": ["number", "day"]}, r"no column 'residual\[day\]'"),
        ("gls_us", {"sd": [1.0, 2.0, 3.0]}, r"'sd' must be numbers of shape \(4,\)"),
        ("gls_us", {"sd": [1.0, 2.0, 3.0, -1.0]}, "must be positive"),
        ("rma_car", {"kind": "car2"}, "'car2' is no kind of covariance"),
        ("rma_car", {"kind": "cs"}, "not of the family 'cs'"),
        ("rma_car", {"positions": [0, 1, 2.5, 4, 4]}, "two rows at position"),
        ("rma_car", {"positions": [0, 1]}, "'positions' must be numbers of shape"),
        ("tmb_mat", {"smoothness": "much"}, "'smoothness' must be numbers"),
    ],
)  # fmt: skip
def test_changed_structures(tmp_path, name, values, message):
    with pytest.raises(bv.ExtractionError, match=message):
        bv.read_fit(changed(tmp_path, name, **values))


def test_a_known_relationship_of_levels(fits, tmp_path):
    term = fits["rma_phylo"].design.term("phylo")
    K = term.relationship.among(["sp1", "sp2"])
    assert (K.diagonal() == 1).all()
    assert K[0, 1] != 0
    folder = Path(shutil.copytree(EXPORTS / "rma_phylo", tmp_path / "a"))
    table = pd.read_csv(folder / "relationships.csv.gz")
    for bad, message in (
        (table.assign(value=-table["value"]), "variances cannot be negative"),
        (table.assign(term=9), "no elements of term 2"),
        (table.drop(columns="term"), "no column 'term'"),
        (table.assign(row=99), "whole numbers from 1 to 12"),
    ):
        bad.to_csv(folder / "relationships.csv.gz", index=False)
        with pytest.raises(bv.ExtractionError, match=message):
            bv.read_fit(folder)


def test_a_known_covariance_that_is_damaged(tmp_path):
    folder = Path(shutil.copytree(EXPORTS / "rma_un", tmp_path / "a"))
    table = pd.read_csv(folder / "covariance.csv.gz")
    for bad, message in (
        (table.assign(value=-table["value"]), "not positive definite"),
        (table.assign(row=table["row"] + 1), "whole numbers from 1"),
        (table.drop(columns="value"), "no column 'value'"),
    ):
        bad.to_csv(folder / "covariance.csv.gz", index=False)
        with pytest.raises(bv.ExtractionError, match=message):
            bv.read_fit(folder)
    (folder / "covariance.csv.gz").unlink()
    with pytest.raises(bv.ExtractionError, match=r"covariance\.csv\.gz is missing"):
        bv.read_fit(folder)


def test_random_changes_are_refused_or_harmless(tmp_path):
    """No change of a value of fit.json raises anything but a named error."""
    rng = np.random.default_rng(5)
    for name in ("gls_us", "rma_car", "lme_blocked"):
        folder = Path(shutil.copytree(EXPORTS / name, tmp_path / name))
        text = (folder / "fit.json").read_text()
        for _ in range(15):
            record = json.loads(text)
            part = record["residual"] if rng.integers(2) and record["residual"] else record
            while isinstance(part, dict | list) and len(part):
                keys = list(part) if isinstance(part, dict) else list(range(len(part)))
                key, whole = keys[rng.integers(len(keys))], part
                part = whole[key]
                if rng.integers(3) == 0:
                    break
            whole[key] = [None, "x", -1, [], {}, 1e300, True][rng.integers(7)]
            (folder / "fit.json").write_text(json.dumps(record))
            try:
                bv.read_fit(folder)
            except bv.BayesvError:
                continue
