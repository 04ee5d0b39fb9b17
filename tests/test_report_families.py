"""Formulas and words of the report for every family of R and of G."""

from __future__ import annotations

import math
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from scipy.special import gamma, kv

import bayesv as bv
from bayesv.report.families import FORMS, effect_formulas, family_words, residual_sentences
from bayesv.report.mathematics import equations, words
from bayesv.report.mathml import equation, quoted
from bayesv.structures.kinds import KINDS, family

TIMES = np.array([0.0, 1.0, 2.0, 3.0])

# Of each kind: the correlation as it is read, and as a function of its parameters by label.
ELEMENTS = {
    "us": ("ρ_ab", lambda p, a, b: p[f"v{a}, v{b}"]),
    "diag": ("0", lambda p, a, b: 0.0),
    "homdiag": ("0", lambda p, a, b: 0.0),
    "cs": ("ρ", lambda p, a, b: p["rho"]),
    "csh": ("ρ", lambda p, a, b: p["rho"]),
    "ar1": ("ρ^|t_a − t_b|", lambda p, a, b: p["rho"] ** (b - a)),
    "ar1h": ("ρ^|t_a − t_b|", lambda p, a, b: p["rho"] ** (b - a)),
    "toep": ("ρ_h, h = |t_a − t_b|", lambda p, a, b: p[f"lag {b - a}"]),
    "toeph": ("ρ_h, h = |t_a − t_b|", lambda p, a, b: p[f"lag {b - a}"]),
    "ad": (
        "ρ_a ρ_(a + 1) ⋯ ρ_(b − 1), a < b",
        lambda p, a, b: math.prod(p[f"v{k}, v{k + 1}"] for k in range(a, b)),
    ),
    "adh": (
        "ρ_a ρ_(a + 1) ⋯ ρ_(b − 1), a < b",
        lambda p, a, b: math.prod(p[f"v{k}, v{k + 1}"] for k in range(a, b)),
    ),
    "ma1": (
        "ρ_1 if |t_a − t_b| = 1, 0 beyond",
        lambda p, a, b: p["lag 1"] if b - a == 1 else 0.0,
    ),
    "arma11": ("γ φ^(|t_a − t_b| − 1)", lambda p, a, b: p["lag 1"] * p["phi"] ** (b - a - 1)),
    "car1": ("φ^|t_a − t_b|", lambda p, a, b: p["phi"] ** (b - a)),
    "sp_exp": ("exp(−d_ab / r)", lambda p, a, b: math.exp(-(b - a) / p["range"])),
    "sp_gau": ("exp(−d_ab^2 / r^2)", lambda p, a, b: math.exp(-((b - a) ** 2) / p["range"] ** 2)),
    "sp_pow": ("ρ^d_ab", lambda p, a, b: p["rho"] ** (b - a)),
    "sp_mat": (
        "(2^(1 − κ))/Γ(κ) x^κ K_κ(x), x = d_ab / r",
        lambda p, a, b: (
            2 ** (1 - 1.5) / gamma(1.5) * ((b - a) / p["range"]) ** 1.5
            * kv(1.5, (b - a) / p["range"])
        ),
    ),
}  # fmt: skip


def test_every_kind_is_there():
    assert set(FORMS) == set(KINDS) == set(ELEMENTS)


@pytest.mark.parametrize("kind", KINDS)
def test_the_formula_is_the_family_s_correlation(kind):
    text, element = ELEMENTS[kind]
    assert equation(FORMS[kind].correlation)["text"] == text
    structure = family(kind, 4)
    rng = np.random.default_rng(3)
    z = rng.normal(size=structure.n_corrs) * 0.4
    corr = structure.corr(z)
    labels = structure.corr_labels([f"v{k}" for k in range(4)])
    values = dict(zip(labels, np.atleast_1d(structure.natural(z)), strict=True))
    for a in range(4):
        for b in range(a + 1, 4):
            assert corr[a, b] == pytest.approx(element(values, a, b), abs=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_words_say_whether_positions_have_their_own_sd(kind):
    structure = family(kind, 4)
    said = family_words(structure, "visit")
    assert ("each visit has its own SD" in said) == (structure.n_sds > 1)
    assert "{" not in said
    assert ("smoothness" in said) == (kind == "sp_mat")


def elements(source: str) -> list[str]:
    """Return the elements of a formula's MathML, which has to be well formed."""
    tree = ElementTree.fromstring(equation(source)["mathml"])
    assert all(len(e) == 2 for e in tree.iter() if e.tag in ("msub", "msup", "mfrac"))
    return [e.tag for e in tree.iter()]


@pytest.mark.parametrize("kind", KINDS)
def test_formulas_are_well_formed(kind):
    tags = elements(FORMS[kind].correlation)
    assert ("mfrac" in tags) == (kind == "sp_mat")
    assert ("msup" in tags) == (
        kind in ("ar1", "ar1h", "arma11", "car1", "sp_gau", "sp_pow", "sp_mat")
    )


def test_words_in_formulas_may_be_anything():
    for name in ("a[x/y]", "x_1", "{z", "f<g", 'yes, "très"', "⟨w⟩", "I(x^2)"):
        shown = equation(f"σ_{{{quoted(name)} j}} + 1")
        plain = name.replace("⟨", "").replace("⟩", "")
        assert shown["text"] == f"σ_({plain} j) + 1"
        tree = ElementTree.fromstring(shown["mathml"])
        assert [e.text for e in tree.iter("mtext")] == [plain]


# --- models -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def visits() -> pd.DataFrame:
    rng = np.random.default_rng(8)
    frame = pd.DataFrame(
        [(s, v, "ab"[s % 2]) for s in range(14) for v in range(4)], columns=["g", "v", "arm"]
    )
    frame["x"] = rng.uniform(1, 3, len(frame))
    frame["vi"] = rng.uniform(0.5, 2, len(frame))
    walk = rng.normal(size=(14, 4)).cumsum(axis=1).ravel()
    frame["y"] = 0.3 * frame["v"] + walk + 0.4 * rng.normal(size=len(frame))
    return frame


def said(frame: pd.DataFrame, formula: str = "y ~ v", **request) -> tuple[str, str, bv.RemlFit]:
    """Return the equations and the words of a fit."""
    model = bv.Model(formula, frame, **request)
    fit = model.reml()
    for line in equations(model.design):
        ElementTree.fromstring(line["mathml"])
    lines = "\n".join(line["text"] for line in equations(model.design))
    return lines, "\n".join(words(model.design, fit.components, "REML")), fit


RESIDUALS = [
    ("us", "σ_j σ_k ρ_ab", "σ_j = σ_a"),
    ("cs", "σ^2 ρ", None),
    ("csh", "σ_j σ_k ρ", "σ_j = σ_a"),
    ("ar1", "σ^2 ρ^|t_a − t_b|", None),
    ("ar1h", "σ_j σ_k ρ^|t_a − t_b|", "σ_j = σ_a"),
    ("toep", "σ^2 ρ_h,", None),
    ("toeph", "σ_j σ_k ρ_h,", "σ_j = σ_a"),
    ("ad", "σ^2 ρ_a ρ_(a + 1)", None),
    ("adh", "σ_j σ_k ρ_a ρ_(a + 1)", "σ_j = σ_a"),
    ("ma1", "σ^2 ρ_1 if", None),
    ("arma11", "σ^2 γ φ^(|t_a − t_b| − 1)", None),
    ("car1", "σ^2 φ^|t_a − t_b|", None),
    ("sp_exp", "σ^2 exp(−d_ab / r)", None),
    ("sp_gau", "σ^2 exp(−d_ab^2 / r^2)", None),
    ("sp_pow", "σ^2 ρ^d_ab", None),
    ("sp_mat", "σ^2 (2^(1 − κ))/Γ(κ)", None),
]


@pytest.mark.parametrize(("kind", "element", "sds"), RESIDUALS)
def test_R_of_every_kind(visits, kind, element, sds):
    design = bv.Model("y ~ v", visits, residual=f"{kind}(v | g)").design
    lines = [line["text"] for line in equations(design)]
    assert "ε ~ N(0, R)" in lines
    own = next(line for line in lines if line.startswith("R_jk"))
    assert own.startswith(f"R_jk = {element}")
    assert own.endswith("for rows j, k at a, b of a series")
    assert (sds in lines) if sds else not any(line.startswith("σ_j") for line in lines)
    first = next(residual_sentences(design))
    assert first.startswith("Within a series of g, ")
    assert first.endswith("rows of different series are uncorrelated.")


def test_R_with_a_nugget_strata_and_covariates(visits):
    lines, text, fit = said(
        visits, residual="sp_exp(v | g, nugget=True)", residual_sd="power(x) * exp(v)"
    )
    assert "R_jk = σ_j σ_k (1 − ν) exp(−d_ab / r) for rows" in lines
    assert "σ_j = σ |x_j|^δ_1 exp(δ_2 v_j)" in lines
    assert "the nugget, is of each row alone" in text
    corr = fit.components.residual.corr
    assert f"r = {corr['range']:.4g}, ν = {corr['nugget']:.4g}, δ(power x) = " in text
    lines, text, fit = said(visits, residual_sd="strata(arm)", var_weights="x")
    assert "R = diag(σ_1^2, …, σ_n^2)" in lines
    assert "σ_j = σ_(arm j) w_j^−1/2" in lines
    sd = fit.components.residual.sd
    assert f"REML found σ(a) = {sd['a']:.4g}, σ(b) = {sd['b']:.4g}." in text
    assert "Rows have the SD of their level of arm." in text


def test_R_with_parameters_by_group(visits):
    lines, text, fit = said(visits, residual="ar1h(v | arm / g)")
    assert "σ_j = σ_(a, group)" in lines
    assert "Each of a, b has its own parameters." in text
    assert "the 8 SDs that are among the variance components" in text
    assert f"ρ of a = {fit.components.residual.corr['a: rho']:.4g}" in text
    lines, _, _ = said(visits, residual="cs(v | arm / g)")
    assert "σ_j = σ_group" in lines


def test_known_R(visits):
    lines, text, _ = said(visits, "y ~ v + (1 | g)", residual=bv.Known("vi"))
    assert "R = diag(v_1, …, v_n), v known" in lines
    assert "a variance that is known" in text
    assert "σ" not in text.rsplit("REML found", 1)[1]
    matrix = np.diag(visits["vi"]) + 0.1 * np.equal.outer(*2 * [visits["g"].to_numpy()])
    lines, text, _ = said(visits, "y ~ v + (1 | g)", residual=bv.Known(matrix))
    assert "R known" in lines
    assert "a covariance R that is known" in text


@pytest.mark.parametrize("kind", KINDS)
def test_templates_of_G(visits, kind):
    structure = family(kind, 4)  # fits made elsewhere have spatial ones
    term = replace(
        bv.Model("y ~ 1 + (0 + factor(v) | g)", visits).design.terms[0], structure=structure
    )
    (line,) = effect_formulas(term, "_2")
    text = equation(line)["text"]
    if structure.n_corrs == 0:
        square = "s_a^2" if structure.n_sds > 1 else "s^2"
        assert text == f"Σ_2,aa = {square}, Σ_2,ab = 0"
    else:
        scale = "s_a s_b" if structure.n_sds > 1 else "s^2"
        assert text == f"Σ_2,ab = {scale} {ELEMENTS[structure.kind][0]}"
    elements(line)


def test_G_of_independent_parts_and_K(visits):
    K = pd.DataFrame(0.5 ** np.abs(np.subtract.outer(range(14), range(14))), range(14), range(14))
    lines, text, fit = said(visits, "y ~ v + (1 | g)", relationship={"g": K})
    assert "u of the levels of g ~ N(0, K ⊗ Σ)\nΣ = s^2" in lines
    assert "K_ij times that of one level" in text
    assert f"REML found s = {math.sqrt(fit.components['g'].iloc[0, 0]):.4g}." in text
    twice = pd.concat([visits, visits.assign(y=visits["y"] + visits["x"])])
    lines, text, _ = said(twice, "y ~ v + (1 | g) + cs(0 + factor(v) | g)")
    assert "Σ_aa = s^2 for Intercept" in lines
    assert "Σ_ab = s_a s_b ρ for factor(v)[0], factor(v)[1]" in lines
    assert "In the form csh, every two effects have the same correlation ρ" in text


def test_a_page_has_them(visits):
    fit = bv.Model("y ~ v", visits, residual="ar1(v | g)").reml()
    html = bv.report(fit, pictures=False).html
    assert 'alttext="R_jk = σ^2 ρ^|t_a − t_b| for rows j, k at a, b of a series"' in html
    assert f"REML found σ = {fit.sigma2**0.5:.4g}, ρ = " in html
