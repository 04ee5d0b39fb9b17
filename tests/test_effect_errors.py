"""Standard errors of random effects and of predictions without a matrix of all effects."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import bayesv as bv
from bayesv.covariance import effect_errors
from bayesv.covariance.effects import effects_table
from bayesv.covariance.iterative_factor import IterativeFactor
from bayesv.errors import FitWarning
from tests.test_iterative import DATA, FORMULAS

COMPONENTS = {"Intercept": [[0.3]], "x": [[0.3, 0.1], [0.1, 0.2]]}


def estimates(formula: str) -> bv.GLSFit:
    """GLS at given components, which no search has to find."""
    design = bv.Model(formula, DATA).design
    blocks = {t.group: COMPONENTS["x" if t.n_columns == 2 else "Intercept"] for t in design.terms}
    return bv.gls(design, bv.VarianceComponents(blocks, sigma2=0.9))


def defined(est: bv.GLSFit, A: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Roots of the diagonal of A Var(û − u) A', with β estimated and known, by dense matrices."""
    V, design = est.V, est.V.design
    across = (design.Z @ V.G).toarray() @ A.T
    solved = V.solve(across)
    given = (A @ V.G @ A.T).diagonal() - (across * solved).sum(axis=0)
    by_beta = design.X.T @ solved
    return np.sqrt(given + (by_beta * (est.cov.to_numpy() @ by_beta)).sum(axis=0)), np.sqrt(given)


def iterated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(effect_errors, "_DENSE", 10)
    monkeypatch.setattr(effect_errors, "_FEW", 8)
    monkeypatch.setattr("bayesv.covariance.marginal.DENSE_COLUMNS", 50)


@pytest.mark.parametrize("way", ["dense", "factor"])
@pytest.mark.parametrize("name", FORMULAS)
def test_errors_are_those_of_the_definition(name, way, monkeypatch):
    if way == "factor":
        monkeypatch.setattr(effect_errors, "_DENSE", -1)
    est = estimates(FORMULAS[name])
    table = effects_table(est)
    se, given = defined(est, np.eye(est.V.design.q))
    assert np.allclose(table["se"], se, rtol=1e-9)
    assert np.allclose(table["se_given_beta"], given, rtol=1e-9)


@pytest.mark.parametrize("name", FORMULAS)
def test_probes_are_good_to_a_hundredth(name, monkeypatch):
    iterated(monkeypatch)
    est = estimates(FORMULAS[name])
    table = effects_table(est)
    assert isinstance(est.V.factor, IterativeFactor)
    se, _ = defined(est, np.eye(est.V.design.q))
    error = table["se"] / se - 1.0
    assert np.sqrt((error**2).mean()) < 0.02
    assert abs(error.mean()) < 0.003
    # A few effects are solved for, exactly.
    few = sparse.eye_array(est.V.design.q, format="csr")[:8]
    _, given = defined(est, few.toarray())
    assert np.allclose(np.sqrt(effect_errors.conditional_variances(est.V, few)), given, rtol=1e-9)


def test_too_few_probes_are_said(monkeypatch):
    iterated(monkeypatch)
    monkeypatch.setattr(effect_errors, "_MOST", 4)
    monkeypatch.setattr(effect_errors, "_FEWEST", 4)
    monkeypatch.setattr(effect_errors, "_ERROR", 1e-4)
    with pytest.warns(FitWarning, match=r"estimated by 4 probes, with errors of .*%"):
        effects_table(estimates(FORMULAS["slopes"]))


def test_a_variance_of_zero_has_no_error(monkeypatch):
    iterated(monkeypatch)
    design = bv.Model(FORMULAS["intercepts"], DATA).design
    blocks = {t.group: [[0.3 * (t.group == "user")]] for t in design.terms}
    est = bv.gls(design, bv.VarianceComponents(blocks, sigma2=0.9))
    table = effects_table(est)
    assert (table.loc["item"] == 0.0).all(axis=None)
    se, _ = defined(est, np.eye(design.q))
    assert np.allclose(table["se"], se, rtol=1e-6)


@pytest.mark.parametrize("include", ["all", "random"])
def test_predictions_by_effects_are_those_by_rows(include):
    """Rows of known and new levels against covariances with all fitted rows."""
    fit = bv.Model(FORMULAS["slopes"], DATA).reml()
    new = pd.DataFrame({"x": [0.0, 1.0, 2.0, -1.0], "user": [1, 2, 999, 999],
                        "item": [5, 999, 7, 999]})  # fmt: skip
    table, est = fit.predict(new, include=include), fit.gls
    design, V = fit.design, est.V
    C, own = np.zeros((4, design.n)), np.zeros(4)
    values = np.column_stack([np.ones(4), new["x"]])
    for term in design.terms:
        block, codes = V.vc.block_for(term), pd.Index(term.levels).get_indexer(
            new[term.group].astype(str)
        )  # fmt: skip
        for row in range(4):
            own[row] += values[row] @ block @ values[row]
            same = term.codes == codes[row]
            C[row, same] += term.values[same] @ block @ values[row]
    slopes = values - C @ V.solve(design.X)
    error = own - (C * V.solve(C.T).T).sum(axis=1)
    error += ((slopes @ est.cov.to_numpy()) * slopes).sum(axis=1)
    assert np.allclose(table["mean"], values @ est.beta + C @ V.solve(est.left), atol=1e-9)
    assert np.allclose(table["se"], np.sqrt(error), rtol=1e-9)
    assert np.allclose(table["sd"], np.sqrt(error + fit.sigma2), rtol=1e-9)
