"""Design, REML/ML, V, GLS and BLUPs against lme4, every frozen case; the scripts stand beside."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import bayesv as bv
from bayesv.names import canonical, factors_of

HERE = Path(__file__).parent / "references"
FILES = sorted(HERE.glob("lme4*/*.json"))
# In the package; the CSV files are not copied.
PACKAGED = {
    f"{name}.csv": name
    for name in (
        "sleepstudy",
        "three_level",
        "star_k20",
        "penicillin",
        "dyestuff",
        "dyestuff2",
        "insteval",
    )
}


def load(path: Path, ref: dict) -> pd.DataFrame:
    if ref["data"] in PACKAGED:
        return bv.load_dataset(PACKAGED[ref["data"]])
    frame = pd.read_csv(path.parent / ref["data"])
    groups = "|".join(re.findall(r"\|\|?\s*([^)]+)\)", ref["formula"]))
    for column in frame.columns:
        text = frame[column].astype(str).where(frame[column].notna())
        if column in ref.get("levels", {}):
            frame[column] = pd.Categorical(text, [str(v) for v in ref["levels"][column]])
        elif re.search(rf"(?<![\w.]){re.escape(column)}(?![\w.])", groups):
            frame[column] = text.astype("category")
    return frame


def reference_blocks(ref: dict) -> dict[tuple, float]:
    out = {}
    for label, block in ref["G"].items():
        names = [block["coef"]] if isinstance(block["coef"], str) else block["coef"]
        cov = np.atleast_2d(block["cov"])
        group = factors_of(re.sub(r"\.\d$", "", label))
        for i, a in enumerate(names):
            for j, b in enumerate(names):
                out[group, canonical(a), canonical(b)] = cov[i, j]
    return out


def blocks_for(design: bv.Design, ref: dict) -> dict[str, np.ndarray]:
    want = reference_blocks(ref)
    return {
        term.group: np.array(
            [
                [
                    want.get((factors_of(term.group), canonical(a), canonical(b)), 0.0)
                    for b in term.columns
                ]
                for a in term.columns
            ]
        )
        for term in design.terms
    }


@pytest.fixture(params=FILES, ids=lambda path: path.stem, scope="module")
def case(request):
    ref = json.loads(request.param.read_text())
    weights = ref.get("weights") or None
    return ref, bv.Model(ref["formula"], load(request.param, ref), var_weights=weights)


def test_there_are_references():
    assert len(FILES) >= 50


def test_reference_fit(case):
    ref, model = case
    design = model.design
    assert design.n == ref["nobs"]
    assert list(design.Z.shape) == ref["Z_shape"]
    counts = {factors_of(t.group): t.n_levels for t in design.terms}
    assert counts == {factors_of(g): n for g, n in ref["ngroups"].items()}

    fit = model.reml("REML" if ref["reml"] else "ML")
    # lmer's default optimiser stops early, and the large crossed fit was run less tightly.
    loose = ref["id"].endswith("_lmer_default") or ref["nobs"] > 6000
    assert fit.converged
    assert fit.criterion <= ref["criterion"] + 1e-7 * (1e3 if loose else 1)
    assert fit.criterion == pytest.approx(ref["criterion"], abs=5e-4 if loose else 1e-5)
    assert fit.singular == ref["singular"]

    flat = ref["singular"] or loose
    scale = np.sqrt(ref["sigma2"])
    for group, want in blocks_for(design, ref).items():
        got = fit.components[group].to_numpy()
        sd = np.sqrt(np.diagonal(want)) + 1e-3 * scale
        assert np.abs(got - want).max() <= np.max((0.1 if flat else 1e-4) * np.outer(sd, sd))
    assert fit.sigma2 == pytest.approx(ref["sigma2"], rel=1e-3 if flat else 1e-4)

    names = {canonical(name): value for name, value in ref["fixef"].items()}
    assert {canonical(name) for name in fit.beta.index} == set(names)
    want_beta = np.array([names[canonical(name)] for name in fit.beta.index])
    order = [list(names).index(canonical(name)) for name in fit.beta.index]
    want_cov = np.atleast_2d(ref["vcov_beta"])[np.ix_(order, order)]
    sd = np.sqrt(np.diagonal(want_cov))
    tolerance = 1e-2 if flat else 1e-4
    assert (np.abs(fit.beta.to_numpy() - want_beta) <= tolerance * sd).all()
    assert (np.abs(fit.cov_beta.to_numpy() - want_cov) <= tolerance * np.outer(sd, sd)).all()

    if flat:
        return
    for label, listing in ref["ranef"].items():
        group = re.sub(r"\.\d$", "", label)
        term = design.term(group)
        # ranef joins what VarCorr splits, so the columns are those of the term.
        split = [key for key in ref["G"] if re.sub(r"\.\d$", "", key) == group] or [label]
        names = [c for key in split if key in ref["G"] for c in np.ravel(ref["G"][key]["coef"])]
        columns = [canonical(c) for c in names] or [canonical(c) for c in term.columns]
        u = fit.blup[term.group].unstack("coefficient")
        u.columns = [canonical(c) for c in u.columns]
        for level, value in zip(
            np.ravel(listing["level"]), np.atleast_2d(listing["value"]), strict=True
        ):
            got = u.loc[str(level), columns].to_numpy()
            assert np.allclose(got, value, rtol=1e-4, atol=1e-4 * np.sqrt(fit.sigma2))


def test_v_and_gls_at_the_reference(case):
    ref, model = case
    design = model.design
    vc = bv.VarianceComponents(blocks_for(design, ref), sigma2=ref["sigma2"])
    fit = bv.gls(design, vc)
    names = {canonical(name): value for name, value in ref["fixef"].items()}
    want = np.array([names[canonical(name)] for name in fit.beta.index])
    assert np.allclose(fit.beta, want, rtol=1e-7, atol=1e-7 * fit.se.max())
    method = "REML" if ref["reml"] else "ML"
    assert fit.criterion(method) == pytest.approx(ref["criterion"], abs=1e-6, rel=1e-9)
    if not ref.get("V"):
        return
    V = bv.MarginalCovariance(design, vc)
    sparse = V.to_sparse()
    sparse.eliminate_zeros()
    assert sparse.nnz == ref["V"]["nnz"]
    assert V.trace() == pytest.approx(ref["V"]["trace"], rel=1e-9)
    assert V.logdet() == pytest.approx(ref["V"]["logdet"], rel=1e-9)
    assert np.allclose(sparse[:6, :6].toarray(), ref["V"]["first6"], rtol=1e-8, atol=1e-8)
    assert np.sqrt((sparse.data**2).sum()) == pytest.approx(ref["V"]["frobenius"], rel=1e-9)


PUBLISHED = {
    "m1_sleepstudy_lmer_default": {"Intercept": 251.40510485, "Days": 10.46728596},
    "m2_three_level_lmer_default": {"Intercept": 0.3758944630, "x1": 0.3587506591},
    "m3_star_k20_lmer_default": {
        "Intercept": 438.908738032,
        "cltype[reg]": -5.923651561,
        "cltype[reg+A]": -2.209975227,
        "sx[F]": 2.045771286,
    },
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_listing(name):
    path = HERE / "lme4" / f"{name}.json"
    ref = json.loads(path.read_text())
    design = bv.Model(ref["formula"], load(path, ref)).design
    vc = bv.VarianceComponents(blocks_for(design, ref), sigma2=ref["sigma2"])
    beta = bv.gls(design, vc).beta
    assert beta.to_dict() == pytest.approx(PUBLISHED[name], rel=1e-7)
