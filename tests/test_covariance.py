"""V, G, R and GLS against dense algebra, for any rank of Σ; components from every source."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import bayesv as bv
from tests.conftest import random_components

FORMULAS = (
    "y ~ x + (x | g)",
    "y ~ x + (x || g)",
    "y ~ x + (1 | g/h)",
    "y ~ x + (x | g) + (1 | c)",
    "y ~ f + (f | c) + (1 | g)",
    "y ~ 0 + x + (0 + x | g)",
)


def frame(seed: int, n: int = 60) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    g = np.concatenate([np.arange(6), rng.integers(0, 6, n - 6)])
    return pd.DataFrame(
        {
            "y": rng.normal(size=n) + g,
            "x": rng.normal(size=n),
            "g": [f"g{i}" for i in g],
            "h": rng.choice(["a", "b"], n),
            "c": rng.choice(list("uvw"), n),
            "f": rng.choice(["p", "q", "r"], n),
            "w": np.exp(rng.normal(size=n)),
        },
        index=[f"row{i}" for i in rng.permutation(n)],
    )


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), formula=st.sampled_from(FORMULAS), weighted=st.booleans())
def test_everything_equals_dense_algebra(seed, formula, weighted):
    rng = np.random.default_rng(seed)
    design = bv.Model(formula, frame(seed), var_weights="w" if weighted else None).design
    vc = random_components(design, rng)
    Z = design.Z.toarray()
    G = np.zeros((design.q, design.q))
    start = 0
    for term in design.terms:
        block = vc[term.group].to_numpy()
        for _ in range(term.n_levels):
            r = term.n_columns
            G[start : start + r, start : start + r] = block
            start += r
    R = vc.sigma2 * np.diag(1 / design.residual.weights if weighted else np.ones(design.n))
    dense = Z @ G @ Z.T + R
    V = bv.MarginalCovariance(design, vc)
    scale = np.abs(dense).max()
    assert np.allclose(bv.expand_G(design, vc).toarray(), G)
    assert np.allclose(bv.residual_R(design, vc).toarray(), R)
    assert np.allclose(V.to_dense(), dense, atol=1e-12 * scale)
    assert np.allclose(V.diagonal(), np.diagonal(dense))
    b = rng.normal(size=(design.n, 2))
    assert np.allclose(V @ b, dense @ b, atol=1e-12 * scale)
    assert np.allclose(V @ b[:, 0], dense @ b[:, 0], atol=1e-12 * scale)
    assert np.allclose(V.solve(V @ b), b, atol=1e-8)
    assert np.allclose(V.T @ b, dense @ b, atol=1e-12 * scale)
    assert V.logdet() == pytest.approx(np.linalg.slogdet(dense)[1], rel=1e-10, abs=1e-9)
    assert V.trace() == pytest.approx(np.trace(dense))
    inverse = np.linalg.inv(dense)
    cov = np.linalg.inv(design.X.T @ inverse @ design.X)
    beta = cov @ design.X.T @ inverse @ design.y
    fit = bv.gls(design, vc)
    assert np.allclose(fit.beta, beta, rtol=1e-7, atol=1e-9)
    assert np.allclose(fit.cov, cov, rtol=1e-7, atol=1e-10)
    u = G @ Z.T @ inverse @ (design.y - design.X @ beta)
    assert np.allclose(fit.blup, u, atol=1e-7)
    assert np.allclose(fit.fitted, design.X @ beta + Z @ u, atol=1e-7)
    assert np.allclose(fit.fitted + fit.residuals, design.y)
    assert list(fit.fitted.index) == list(design.row_labels)


def test_reml_criterion_of_the_fit_equals_the_one_from_v():
    model = bv.Model("y ~ x + (x | g) + (1 | c)", frame(1), var_weights="w")
    for method in ("REML", "ML"):
        fit = model.reml(method)
        assert fit.criterion == pytest.approx(fit.gls.criterion(method), abs=1e-7)
        assert fit.criterion == pytest.approx(fit.criterion_at(fit.components), abs=1e-7)


def test_blocks_and_clusters(star, sleepstudy):
    vc = bv.VarianceComponents({"Subject": [[612.1, 9.604], [9.604, 35.07]]}, sigma2=654.94)
    V = bv.MarginalCovariance(sleepstudy.design, vc)
    block = V.block("Subject", "308")
    assert block.shape == (10, 10)
    assert block.iloc[0, 0] == pytest.approx(612.1 + 654.94)
    assert block.iloc[0, 9] == pytest.approx(612.1 + 9 * 9.604)
    corr = V.corr_block("Subject", "308")
    assert np.allclose(np.diagonal(corr), 1)
    assert corr.iloc[0, 9] == pytest.approx(
        block.iloc[0, 9] / np.sqrt(block.iloc[0, 0] * block.iloc[9, 9])
    )
    assert list(np.unique(V.clusters)) == list(range(18))
    fit = star.reml()
    V = fit.gls.V
    design = star.design
    labels = V.clusters
    school = design.term("sch").codes
    pairs = pd.DataFrame({"cluster": labels, "school": school}).drop_duplicates()
    assert len(pairs) == 79
    rows, columns = V.to_sparse().nonzero()
    assert (labels[rows] == labels[columns]).all()
    # Row order is the data's: a block holds the user's labels of one teacher's pupils.
    level = design.term("tch:sch").levels[0]
    at = V.rows_of("tch:sch", level)
    assert list(V.block("tch:sch", level).index) == list(design.row_labels[at])
    assert np.allclose(V.block("tch:sch", level), V.to_sparse()[at][:, at].toarray())


def test_components_from_every_source_agree():
    cov = np.array([[612.1, 9.604], [9.604, 35.07]])
    sd = np.sqrt(np.diagonal(cov))
    rho = cov[0, 1] / sd.prod()
    direct = bv.VarianceComponents({"Subject": cov}, 654.94)
    by_sd = bv.VarianceComponents.from_sd_corr(
        {"Subject": {"(Intercept)": sd[0], "Days": sd[1]}},
        {"Subject": rho},
        sigma=np.sqrt(654.94),
    )
    table = pd.DataFrame(
        {
            "grp": ["Subject"] * 3 + ["Residual"],
            "var1": ["(Intercept)", "Days", "(Intercept)", None],
            "var2": [None, None, "Days", None],
            "vcov": [612.1, 35.07, 9.604, 654.94],
        }
    )
    by_table = bv.VarianceComponents.from_varcorr(table)
    text = f"""
 Groups   Name        Variance Std.Dev. Corr
 Subject  (Intercept) 612.10   {sd[0]:.9f}
          Days         35.07    {sd[1]:.9f}  {rho:.9f}
 Residual             654.94   {654.94**0.5:.9f}
Number of obs: 180, groups:  Subject, 18
"""
    by_text = bv.VarianceComponents.from_varcorr(text)
    for vc in (by_sd, by_table, by_text):
        assert np.allclose(vc["Subject"], direct["Subject"], rtol=1e-6)
        assert vc.sigma2 == pytest.approx(654.94)


def test_split_terms_of_a_listing_become_one_diagonal_block():
    text = """
 Groups    Name        Std.Dev.
 Subject   (Intercept) 25.0513
 Subject.1 Days         5.9882
 Residual              25.5653
"""
    vc = bv.VarianceComponents.from_varcorr(text)
    assert vc.groups == ("Subject",)
    assert vc["Subject"].iloc[0, 1] == 0
    assert vc["Subject"].iloc[1, 1] == pytest.approx(5.9882**2)


def test_rounded_correlations_move_to_the_nearest_covariance():
    text = """
 Groups   Name        Std.Dev. Corr
 g        (Intercept) 1.0
          a           2.0      0.990
          b           3.0      0.990 0.961
 Residual             1.0
"""
    vc = bv.VarianceComponents.from_varcorr(text.replace("0.961", "0.961"))
    assert np.allclose(vc.sd("g"), [1, 2, 3])
    with pytest.warns(bv.DesignWarning, match="rounded"):
        vc = bv.VarianceComponents.from_varcorr(text.replace("0.961", "0.959"))
    assert np.allclose(vc.sd("g"), [1, 2, 3])
    assert np.linalg.eigvalsh(vc["g"])[0] > -1e-12


def test_labels_align_by_meaning(sleepstudy):
    design = sleepstudy.design
    cov = pd.DataFrame(
        [[35.07, 9.604], [9.604, 612.1]], ["Days", "(Intercept)"], ["Days", "(Intercept)"]
    )
    vc = bv.VarianceComponents({"Subject": cov}, 654.94).aligned(design)
    assert list(vc["Subject"].index) == ["Intercept", "Days"]
    assert vc["Subject"].iloc[0, 0] == 612.1
    star_names = bv.VarianceComponents({"sch:tch": np.eye(2), "sch": 2 * np.eye(2)}, 1.0)
    assert star_names["tch:sch"].iloc[0, 0] == 1


def test_zero_variance_and_perfect_correlation_are_legal(sleepstudy):
    design = sleepstudy.design
    ols = np.linalg.lstsq(design.X, design.y, rcond=None)[0]
    zero = bv.VarianceComponents({"Subject": np.zeros((2, 2))}, 2.0)
    assert np.allclose(bv.gls(design, zero).beta, ols)
    assert bv.MarginalCovariance(design, zero).logdet() == pytest.approx(180 * np.log(2))
    assert np.allclose(bv.gls(design, zero).blup, 0)
    perfect = bv.VarianceComponents({"Subject": [[4.0, -2.0], [-2.0, 1.0]]}, 2.0)
    V = bv.MarginalCovariance(design, perfect)
    assert V.logdet() == pytest.approx(np.linalg.slogdet(V.to_dense())[1])
    assert perfect.corr("Subject").iloc[0, 1] == -1
