"""REML and ML find the lowest of several minima, at the cost that one minimum has."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import bayesv as bv
from bayesv.gram import statistics_of
from bayesv.reml import fit_reml
from bayesv.reml.criterion import Criterion
from bayesv.reml.search import Search
from bayesv.reml.starts import Screen, lattice_of

OPTIMA = Path(__file__).parent / "references" / "optima"
# Of few rows and many effects: the lowest of 25 BFGS searches from random λ that keeps a residual,
# and whether one of them ended where nothing is left to it.
FEW_ROWS = json.loads((OPTIMA / "few_rows.json").read_text())
CASES = json.loads((OPTIMA / "designs.json").read_text())
read_design = runpy.run_path(str(OPTIMA / "make_reference.py"))["read_design"]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['seed']}-{case['method']}")
def test_the_lowest_minimum_is_found(case):
    design = read_design(case)
    fit = fit_reml(design, statistics_of(design), case["method"])
    assert fit.converged
    assert fit.criterion < case["lowest"] + 1e-4
    # A search from λ = I alone, as it was before, ends elsewhere: the cases can fail.
    search = Search(Criterion(design, statistics_of(design), case["method"]), 300)
    assert search.run(search.start(1.0)).value > case["lowest"] + 1e-4


@pytest.mark.filterwarnings("ignore::bayesv.FitWarning")
@pytest.mark.parametrize("case", FEW_ROWS, ids=lambda case: f"{len(case['data']['y'])} rows")
def test_nearly_exact_valleys_are_searched_and_what_has_no_residual_is_said(case):
    fit = bv.Model(case["formula"], pd.DataFrame(case["data"])).reml()
    assert fit.converged
    assert fit.criterion == pytest.approx(case["lowest"], abs=2e-6)
    lower = [problem for problem in fit.problems if "the criterion is lower still" in problem]
    assert bool(lower) == case["without_residual"]


@pytest.mark.parametrize(
    ("name", "formula", "most"),
    [
        ("sleepstudy", "Reaction ~ Days + (Days | Subject)", 13),
        ("dyestuff", "Yield ~ 1 + (1 | Batch)", 10),
        ("penicillin", "diameter ~ 1 + (1 | plate) + (1 | sample)", 14),
        ("star_k20", "read ~ cltype + sx + (sx | sch/tch)", 50),
    ],
)
def test_where_nothing_hints_at_several_minima_one_search_is_enough(name, formula, most):
    assert bv.Model(formula, bv.load_dataset(name)).reml().n_evaluations <= most


def test_many_values_are_those_of_one_evaluation_each(star, sleepstudy):
    rng = np.random.default_rng(0)
    for model in (star, sleepstudy):
        for method in ("REML", "ML"):
            criterion = Criterion(model.design, model.statistics, method)
            x = rng.normal(size=(5, criterion.size))
            wanted = [criterion.value_and_gradient(point)[0] for point in x]
            assert np.allclose(criterion.values(x), wanted, rtol=1e-12)


def test_the_lattice_finds_the_valley_of_competing_sizes():
    """One of two sizes is large, either of them: from one valley the other is found."""

    def values(x):
        a, b = np.log(x.T)
        first = (a - np.log(0.15)) ** 2 + (b - np.log(5.0)) ** 2
        second = (a - np.log(5.0)) ** 2 + (b - np.log(0.15)) ** 2 - 0.2
        return np.minimum(first, second)

    row = np.array([0, 1])
    starts = Screen(values, lattice_of(tuple(row), tuple(row))).starts(
        30, np.array([0.15, 5.0]), 0.0, False
    )
    assert starts.tolist() == [[5.0, 0.15]]


def test_a_zero_below_which_a_correlation_is_free_is_left():
    """λ₁₁ = 0 with the rest in λ₂₂ looks stationary; turning the row into λ₂₁ shows the descent."""
    rng = np.random.default_rng(4)
    g = np.repeat(np.arange(12), 8)
    x = rng.normal(size=96)
    slope = rng.normal(size=12)

    y = (0.4 + x) * slope[g] + 0.3 * rng.normal(size=96)
    model = bv.Model("y ~ x + (x | g)", pd.DataFrame({"y": y, "x": x, "g": g}))
    search = Search(Criterion(model.design, model.statistics, "REML"), 300)
    stuck = np.array([0.0, 0.0, 3.0])
    value, gradient = search.criterion.value_and_gradient(stuck)
    assert abs(gradient[0]) < 1e-9
    assert abs(gradient[1]) < 1e-9
    free = np.array([False, True, True])
    away = search._leave_zero(stuck, value, free)
    assert away is not None
    assert search.criterion.value_and_gradient(away)[0] < value - 1e-3


VISITS = pd.read_csv(OPTIMA / "visits.csv")  # few series, of which visits are missing


def of_visits(kind: str) -> tuple[bv.Model, pd.DataFrame]:
    data = VISITS[VISITS["case"] == kind].reset_index(drop=True)
    data["visit"] = pd.Categorical(data["t"])
    return bv.Model("y ~ time * x", data, residual=f"{kind}(visit | id)"), data


def test_unstructured_visits_have_several_valleys():
    """Of which nlme finds the lowest, from where it starts."""
    model, _ = of_visits("us")
    fit = model.reml()
    assert fit.criterion == pytest.approx(287.5038244, abs=1e-6)
    assert fit.problems == ()


def test_autoregression_and_moving_average_have_several_valleys():
    model, data = of_visits("arma11")
    X = model.design.X
    series = list(data.groupby("id").indices.values())
    lags = np.abs(np.subtract.outer(*[data["t"].to_numpy()] * 2))

    def criterion(phi: float, first: float) -> float:
        C = np.where(lags > 0, first * phi ** np.maximum(lags - 1.0, 0.0), 1.0)
        try:
            halves = [np.linalg.cholesky(C[np.ix_(rows, rows)]) for rows in series]
        except np.linalg.LinAlgError:
            return np.inf
        both = [
            np.linalg.solve(half, np.column_stack([X, data["y"]])[rows])
            for half, rows in zip(halves, series, strict=True)
        ]
        upper = np.diagonal(np.linalg.qr(np.vstack(both), mode="r"))
        df, n_fixed = len(data) - X.shape[1], X.shape[1]
        logdet = 2.0 * sum(np.log(np.diagonal(half)).sum() for half in halves)
        logdet += 2.0 * np.log(np.abs(upper[:n_fixed])).sum()
        return float(logdet + df * (1.0 + np.log(2.0 * np.pi * upper[-1] ** 2 / df)))

    grid = np.linspace(-0.98, 0.98, 29)
    lowest = min(criterion(phi, first) for phi in grid for first in grid)
    with pytest.warns(bv.FitWarning, match="end of its range"):
        assert model.reml().criterion < lowest


def test_a_criterion_that_falls_without_end_elsewhere_is_said():
    model, _ = of_visits("toep")
    with pytest.warns(bv.FitWarning, match="falls without end"):
        fit = model.reml()
    assert fit.converged
    assert fit.gradient_norm < 1e-4
