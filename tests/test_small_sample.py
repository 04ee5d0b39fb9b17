"""Kenward–Roger, Satterthwaite and cluster-robust covariances: pbkrtest, lmerTest, clubSandwich."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import bayesv as bv
from bayesv.covariance.sandwich import robust

FOLDER = Path(__file__).parent / "references" / "small_sample"
CASES = ["sleep_few", "nested", "slopes3", "crossed"]


def load(name: str):
    want = json.loads((FOLDER / f"{name}.json").read_text())
    return want, bv.Model(want["formula"], pd.read_csv(FOLDER / f"{name}.csv"))


@pytest.fixture(params=CASES)
def case(request):
    return at_reference(request.param)


def at_reference(name: str):
    want, model = load(name)
    # At R's own variance components, so that optimisers do not enter.
    blocks = {group: np.array(cov, dtype=float) for group, cov in want["G"].items()}
    return want, model, bv.VarianceComponents(blocks, want["sigma2"])


def test_kenward_roger_is_pbkrtest(case):
    want, model, vc = case
    found = bv.kenward_roger(model.design, vc)
    assert np.allclose(found.cov_plugin, want["vcov"], rtol=1e-6, atol=1e-10)
    scale = np.sqrt(np.outer(*[np.diagonal(want["vcov_kr"])] * 2))
    assert np.abs((found.cov.to_numpy() - want["vcov_kr"]) / scale).max() < 1e-6
    assert np.allclose(found.df, want["ddf_kr"], rtol=1e-6)


def test_satterthwaite_is_lmertest(case):
    want, model, vc = case
    found = bv.kenward_roger(model.design, vc)
    # lmerTest differentiates numerically.
    assert np.allclose(found.df_satterthwaite, want["ddf_satterthwaite"], rtol=2e-3)


@pytest.mark.parametrize("name", ["nested", "slopes3"])
def test_f_test_is_pbkrtest(name):
    want, model, vc = at_reference(name)
    L = np.eye(model.design.p)[np.array(want["F"]["keep"]) - 1]
    found = bv.kenward_roger(model.design, vc).test(L, list(want["fixef"].values()))
    assert found["F"] == pytest.approx(want["F"]["Fstat"], rel=1e-5)
    assert found["df2"] == pytest.approx(want["F"]["ddf"], rel=1e-5)
    assert found["scale"] == pytest.approx(want["F"]["scaling"], rel=1e-6)


def test_cluster_robust_is_clubsandwich(case):
    want, model, vc = case
    if "CR2" not in want:
        with pytest.raises(bv.DataError, match="crossed"):
            bv.cluster_robust(model.design, vc)
        return
    for kind in ("CR0", "CR2"):
        found = bv.cluster_robust(model.design, vc, kind)
        scale = np.sqrt(np.outer(*[np.diagonal(want[kind])] * 2))
        assert np.abs((found.to_numpy() - want[kind]) / scale).max() < 1e-5


@pytest.mark.parametrize("name", ["sleep_few", "nested", "slopes3"])
@pytest.mark.parametrize("kind", ["CR0", "CR2"])
def test_robust_degrees_of_freedom_are_clubsandwich(name, kind):
    _, model, vc = at_reference(name)
    want = json.loads((FOLDER / "robust_df.json").read_text())[name][kind]
    assert np.allclose(robust(model.design, vc, kind).df, want, rtol=1e-5)


def dense_kenward_roger(design, vc):
    """The formulas of the paper, with n × n matrices."""
    V = bv.MarginalCovariance(design, vc).to_dense()
    X, Vi = design.X, np.linalg.inv(V)
    parts = []
    for term in design.terms:
        same = (term.codes[:, None] == term.codes).astype(float)
        for a, b in zip(*np.nonzero(np.tril(term.structure.mask)), strict=True):
            E = np.zeros(term.structure.mask.shape)
            E[a, b] = E[b, a] = 1.0
            parts.append(term.values @ E @ term.values.T * same)
    parts.append(bv.residual_R(design, vc).toarray() / vc.sigma2)
    Phi = np.linalg.inv(X.T @ Vi @ X)
    P = [-X.T @ Vi @ part @ Vi @ X for part in parts]
    projected = Vi - Vi @ X @ Phi @ X.T @ Vi
    twice = np.array([[np.trace(projected @ a @ projected @ b) for b in parts] for a in parts])
    W = 2 * np.linalg.inv(twice)
    inner = sum(
        W[i, j] * (X.T @ Vi @ a @ Vi @ b @ Vi @ X - P[i] @ Phi @ P[j])
        for i, a in enumerate(parts)
        for j, b in enumerate(parts)
    )
    return Phi + 2 * Phi @ inner @ Phi, W


@pytest.mark.parametrize(
    "formula", ["y ~ x + (x | a)", "y ~ x + (1 | a/b)", "y ~ x + (x || a) + (1 | b)"]
)
def test_weights_equal_dense_algebra(formula):
    rng = np.random.default_rng(1)
    n = 60
    frame = pd.DataFrame(
        {
            "x": 1e3 + rng.normal(size=n),
            "a": rng.integers(0, 8, n),
            "b": rng.integers(0, 5, n),
            "w": rng.uniform(0.3, 3.0, n),
        }
    )
    frame["y"] = frame["x"] + rng.normal(size=8)[frame["a"]] + rng.normal(size=n)
    design = bv.Model(formula, frame, var_weights="w").design
    blocks = {}
    for term in design.terms:
        root = np.tril(rng.normal(size=(term.n_columns,) * 2)) * term.structure.mask
        blocks[term.group] = (root @ root.T) * term.structure.mask
    vc = bv.VarianceComponents(blocks, 0.8)
    found = bv.kenward_roger(design, vc)
    cov, W = dense_kenward_roger(design, vc)
    assert np.allclose(found.cov, cov, rtol=1e-6)
    assert np.allclose(found.W, W, rtol=1e-6, atol=1e-9 * np.abs(W).max())


def test_units_do_not_matter():
    want, model = load("slopes3")
    fit = model.reml()
    frame = pd.read_csv(FOLDER / "slopes3.csv").assign(y=lambda d: 1e4 * d["y"])
    other = bv.Model(want["formula"], frame)
    found = [bv.kenward_roger(m.design, m.reml().components) for m in (model, other)]
    assert np.allclose(found[0].df, found[1].df, rtol=1e-4)
    assert np.allclose(1e8 * found[0].cov, found[1].cov, rtol=1e-4)
    assert fit.converged


def test_refusals():
    dyestuff = bv.load_dataset("dyestuff").assign(one=1.0)
    model = bv.Model("Yield ~ 1 + (1 | Batch)", dyestuff)
    vc = model.reml().components
    with pytest.raises(bv.BayesvError, match="weights"):
        bv.kenward_roger(model.design, vc).df_of([1.0, 2.0])
    with pytest.raises(bv.BayesvError, match="found shape"):
        bv.kenward_roger(model.design, vc).test([[1.0, 2.0]], [1.0])
    with pytest.raises(bv.BayesvError, match="CR2"):
        bv.cluster_robust(model.design, vc, "CR3")
    with pytest.raises(bv.DataError, match="no fixed effects"):
        bv.kenward_roger(bv.Model("Yield ~ 0 + (1 | Batch)", dyestuff).design, vc)
