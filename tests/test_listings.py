"""Variance components as programs print them and as people paste them, read or refused."""

from __future__ import annotations

import contextlib
import json
import re
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import bayesv as bv

# Printed correlations are rounded, and some of a nearly singular Σ not quite a correlation matrix.
pytestmark = pytest.mark.filterwarnings("ignore::bayesv.DesignWarning")

FOLDER = Path(__file__).parent / "references" / "listings"
TRUTH = json.loads((FOLDER / "listings.json").read_text())
COARSE = {"lme4_summary", "lme4_print", "lme4_wrapped_summary", "glmmtmb_summary", "glmmtmb_print"}

# Laid out as in the manuals of these programs; the numbers are those of sleepstudy and Penicillin.
JULIA = """
Linear mixed model fit by maximum likelihood
 reaction ~ 1 + days + (1 + days | subj)

Variance components:
            Column    Variance Std.Dev.   Corr.
subj     (Intercept)  565.51067 23.78047
         days          32.68212  5.71683 +0.08
Residual              654.94145 25.59182
 Number of obs: 180; levels of grouping factors: 18
"""
JULIA_CROSSED = """
              Column   Variance Std.Dev.  Corr.
batch & cask (Intercept)  8.4337 2.90408
batch        (Intercept)  1.6573 1.28736
             x            2.0000 1.41421   .
Residual                  0.6780 0.82342
"""
SAS = """
          Covariance Parameter Estimates

Cov Parm     Subject    Estimate    Standard Error    Z Value      Pr Z

UN(1,1)      Subject      612.10          288.72       2.12     0.0170
UN(2,1)      Subject      9.6046         46.6783       0.21     0.8370
UN(2,2)      Subject     35.0717         14.7832       2.37     0.0088
Residual                  654.94         77.1858       8.49     <.0001
"""
SAS_VC = """
Cov Parm       Estimate
plate            0.7169
sample(plate)    3.7311
Residual         0.3024
"""
STATA = """
------------------------------------------------------------------------------
  Random-effects parameters  |   Estimate   Std. err.     [95% conf. interval]
-----------------------------+------------------------------------------------
Subject: Unstructured        |
                   var(days) |   32.68216   13.48616      14.55769    73.37204
                  var(_cons) |   565.5154   260.3641       229.398    1394.113
             cov(days,_cons) |   11.05543   42.45166     -72.14829    94.25914
-----------------------------+------------------------------------------------
               var(Residual) |   654.9409   77.18586      519.8477    825.1413
------------------------------------------------------------------------------
LR test vs. linear model: chi2(3) = 146.30                Prob > chi2 = 0.0000
"""
STATA_LEVELS = """
  Random-effects Parameters  |   Estimate   Std. Err.     [95% Conf. Interval]
-----------------------------+------------------------------------------------
_all: Identity               |
                var(R.rater) |    .5
-----------------------------+
school: Independent          |
                       sd(x) |   2
                   sd(_cons) |   3
-----------------------------+
class: Identity              |
                   sd(_cons) |   1
-----------------------------+
                sd(Residual) |   1.5
"""


def read(text):
    return bv.VarianceComponents.from_varcorr(text)


def plain(name):
    return (FOLDER / f"{name}.txt").read_text()


def agree(vc, truth, tolerance):
    assert vc.sigma2 == pytest.approx(truth["sigma2"], rel=1e-3)
    assert set(vc.groups) == set(truth["blocks"])
    for group, block in truth["blocks"].items():
        cov = np.atleast_2d(np.array(block["cov"], dtype=float))
        names = np.atleast_1d(block["names"])
        assert [str(n).strip("`") for n in vc[group].index] == [n.strip("`") for n in names]
        sd = np.sqrt(np.diagonal(cov))
        assert (np.abs(vc[group] - cov) <= tolerance * np.outer(sd, sd) + 1e-12).to_numpy().all()


@pytest.mark.parametrize("name", TRUTH)
def test_what_r_prints(name):
    agree(read(plain(name)), TRUTH[name], 0.006 if name in COARSE else 6e-4)


@pytest.mark.parametrize("name", [n for n in TRUTH if n.startswith(("lme4", "glmmtmb"))])
@pytest.mark.parametrize(
    "pasted",
    [
        lambda text: re.sub(" +", " ", text),
        lambda text: "\n".join(line.strip() for line in text.splitlines()),
        lambda text: "\n".join(f"## {line}" for line in text.splitlines()),
        lambda text: "\n".join(f"#> {line}" for line in text.splitlines()),
        lambda text: "```\n" + text.replace(" ", "\u00a0").replace("-", "\u2212") + "```",
        lambda text: "\n".join(f"      {line}   " for line in text.splitlines()),
        lambda text: text.strip(),
    ],
    ids=["blanks", "stripped", "knitr", "reprex", "web", "indented", "trimmed"],
)
def test_as_people_paste_it(name, pasted):
    text = plain(name)
    assert read(pasted(text)) == read(text)


def test_markdown_and_tabs():
    rows = [
        ["Groups", "Name", "Variance", "Std.Dev.", "Corr"],
        ["Subject", "(Intercept)", "612.10", "24.741", ""],
        ["", "Days", "35.07", "5.922", "0.07"],
        ["Residual", "", "654.94", "25.592", ""],
    ]
    bars = [f"| {' | '.join(row)} |" for row in rows]
    bars.insert(1, "|:---|:---|---:|---:|---:|")
    expected = read(plain("lme4_summary"))
    assert read("\n".join(bars)) == expected
    assert read("\n".join("\t".join(row) for row in rows)) == expected


@pytest.mark.parametrize("name", ["sleep", "double", "two", "zero"])
def test_data_frames(name):
    kinds = {"sleep": "lme4_varcorr", "double": "lme4_double_bar", "two": "lme4_two_factors"}
    vc = read(pd.read_csv(FOLDER / f"frame_{name}.csv"))
    agree(vc, TRUTH[kinds.get(name, "lme4_zero")], 1e-9)


def test_each_number_in_its_most_exact_form():
    vc = read(plain("lme4_summary"))
    assert vc["Subject"].iloc[0, 0] == 612.10  # not 24.741², known to 5 digits only
    assert read(plain("lme4_zero"))["Subject"].to_numpy().tolist() == [[0, 0], [0, 0]]


def test_other_programs():
    vc = read(JULIA)
    assert vc.groups == ("subj",)
    assert vc["subj"].iloc[0, 1] == pytest.approx(0.08 * np.sqrt(565.51067 * 32.68212))
    crossed = read(JULIA_CROSSED)
    assert crossed.groups == ("batch:cask", "batch")
    np.testing.assert_allclose(crossed["batch"], [[1.6573, 0], [0, 2]], rtol=1e-4)
    sas = read(SAS)
    assert sas["Subject"].to_numpy().tolist() == [[612.10, 9.6046], [9.6046, 35.0717]]
    assert sas.sigma2 == 654.94
    assert read(SAS_VC).groups == ("plate", "sample:plate")
    stata = read(STATA)
    assert list(stata["Subject"].index) == ["days", "Intercept"]
    assert stata["Subject"].iloc[0, 1] == 11.05543
    levels = read(STATA_LEVELS)
    assert levels.groups == ("rater", "school", "class:school")
    assert levels["school"].to_numpy().tolist() == [[4, 0], [0, 9]]
    assert levels.sigma2 == 2.25


NLME = """
Random effects:
 Formula: ~{formula} | Subject{structure}
        {names}
StdDev:    {sds}

Number of Observations: 180
Number of Groups: 18
"""


def test_sds_of_nlme_below_their_names():
    """What print(lme(Reaction ~ Days, random = …)) gives: ~ 1 | Subject, and pdDiag(~ Days)."""
    one = read(NLME.format(formula=1, structure="", names="(Intercept) Residual",
                           sds="37.12383 30.99123"))  # fmt: skip
    assert one["Subject"].to_numpy().tolist() == [[pytest.approx(37.12383**2)]]
    assert one.sigma2 == pytest.approx(30.99123**2)
    two = read(NLME.format(formula="Days", structure="\n Structure: Diagonal",
                           names="(Intercept)     Days Residual",
                           sds="25.05133 5.988172 25.56529"))  # fmt: skip
    assert np.allclose(two["Subject"], np.diag([25.05133**2, 5.988172**2]))
    assert two.sigma2 == pytest.approx(25.56529**2)


def test_they_give_v_of_the_design(sleepstudy, sleepstudy_fit):
    for text in (plain("nlme_varcorr"), SAS, re.sub(" +", " ", plain("lme4_digits"))):
        V = bv.MarginalCovariance(sleepstudy.design, read(text))
        assert V.logdet() == pytest.approx(sleepstudy_fit.gls.V.logdet(), abs=0.01)


REFUSED = {
    "decimal commas": (plain("lme4_varcorr").replace("24.7407", "24,7407"), "24,7407"),
    "a stray line": (
        plain("lme4_varcorr").replace(" Residual", " what is this\n Residual"), "what is this",
    ),
    "no residual": ("\n".join(plain("lme4_varcorr").splitlines()[:3]), "Residual"),
    "a lost correlation": (
        "\n".join(plain("lme4_wrapped").splitlines()[:11]), "correlations needed",
    ),
    "an unknown column": (plain("lme4_varcorr").replace("Corr", "Cosy"), "Cosy"),
    "a wrapped head": (
        plain("lme4_variance").replace("Corr", "    ").replace("0.066", "") + "\n Std.Dev. Corr\n",
        "wrapped",
    ),
    "a missing correlation": (plain("lme4_varcorr").replace("0.066", "  NaN"), "NaN"),
    "beyond one": (plain("lme4_varcorr").replace("0.066", "1.066"), "1.066"),
    "blanks in a name": (
        re.sub(" +", " ", plain("lme4_varcorr")).replace("Subject", "the subject").replace(
            "(Intercept)", "week"), "keep the blanks",
    ),
    "twice the same": (
        plain("lme4_varcorr").replace(" Residual", " Subject  (Intercept) 3.0000\n Residual"),
        "3.0000",
    ),
    "compound symmetry": (SAS.replace("UN(1,1)", "CS     "), "CS"),
    "an autoregression": (SAS.replace("UN(2,2)", "AR(1)  "), "AR(1)"),
    "groups of variances": (SAS.replace("Standard Error", "Group"), "Group"),
    "an abbreviation": (STATA.replace("var(days)", "var(d~s)"), "d~s"),
    "exchangeable": (STATA.replace("var(_cons)", "var(a b)(1)"), "var(a b)(1)"),
    "a structured R": (STATA.replace("        var(R", "Residual: AR(1) |\n  var(R"), "AR(1)"),
    "a correlation of rows": (
        plain("nlme_print").replace("Fixed:", "Correlation Structure: AR(1)\n Fixed:"), "AR(1)",
    ),
    "blocked": (plain("nlme_print").replace(" Structure:", " Composite Structure:"), "Composite"),
    "two fits of lme4": (plain("lme4_summary") + plain("lme4_print"), "second table"),
    "two fits of nlme": (plain("nlme_nested_print") + plain("nlme_print"), "second table"),
    "two fits of nlme, VarCorr": (plain("nlme_varcorr") * 2, "second table"),
    "two fits of SAS": (SAS + SAS, "second table"),
    "two fits of Stata": (STATA + STATA, "second table"),
    "nothing": ("Fixed effects:\n x 1 2 3", "Groups"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_understood_is_refused(case):
    text, part = REFUSED[case]
    with pytest.raises(bv.ComponentsError, match=re.escape(part)):
        read(text)


FRAME = pd.read_csv(FOLDER / "frame_sleep.csv")


@pytest.mark.parametrize(
    "frame",
    [
        FRAME.drop(columns="vcov"),
        FRAME[FRAME.grp != "Residual"],
        FRAME[FRAME.grp == "Residual"],
        FRAME.assign(vcov=["a", "b", "c", "d"]),
        FRAME.assign(grp=None),
        FRAME[FRAME.var2.notna() | (FRAME.grp == "Residual")],
        pd.concat([FRAME, FRAME]),
        FRAME.head(0),
    ],
)
def test_frames_that_say_too_little_or_too_much(frame):
    with pytest.raises(bv.ComponentsError):
        read(frame)


@pytest.mark.parametrize("thing", [None, 95, [1, 2], {"a": 1}, b"Groups Name"])
def test_other_things(thing):
    with pytest.raises(bv.ComponentsError):
        read(thing)


def test_mutilated_listings_are_read_or_refused_by_name():
    rng = np.random.default_rng(5)
    texts = [*(plain(name) for name in TRUTH), JULIA, JULIA_CROSSED, SAS, SAS_VC, STATA]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bv.DesignWarning)
        for _ in range(800):
            text = texts[rng.integers(len(texts))]
            for _ in range(rng.integers(1, 4)):
                i, j = np.sort(rng.integers(0, len(text), 2))
                piece = rng.choice(["", " ", "\n", "|", "1", "-", ".", "NaN", "(", "`", "Residual"])
                text = text[:i] + str(piece) + text[min(j, i + rng.integers(0, 4)) :]
            with contextlib.suppress(bv.ComponentsError):
                read(text)


def test_correlations_that_do_not_exist_come_back():
    vc = bv.VarianceComponents({"g": [[4.0, 0.0], [0.0, 0.0]]}, sigma2=1.0)
    again = bv.VarianceComponents.from_sd_corr(
        {"g": vc.sd("g").to_numpy()}, {"g": vc.corr("g").to_numpy()}, sigma=1.0
    )
    assert again["g"].to_numpy().tolist() == [[4.0, 0.0], [0.0, 0.0]]
    assert bv.VarianceComponents.from_sd_corr({"g": [2, 0]}, {"g": np.nan}, sigma=1.0) == again
    with pytest.raises(bv.ComponentsError):
        bv.VarianceComponents.from_sd_corr({"g": [2, 1]}, {"g": np.nan}, sigma=1.0)
