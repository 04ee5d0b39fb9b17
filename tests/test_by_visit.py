"""REML and ML over visits: derivatives, references, groups, weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import bayesv as bv
from bayesv.formula.frame import take_columns
from bayesv.formula.residual_text import parse_residual
from bayesv.formula.series import read_series
from bayesv.reml.by_visit import VisitCriterion, search_by_visit
from bayesv.structures.kinds import family

FOLDER = Path(__file__).parent / "references" / "structures"
KINDS = ["us", "cs", "csh", "ar1", "ar1h", "toep", "toeph", "ad", "adh", "ma1", "arma11"]


@pytest.fixture(scope="module")
def fev():
    frame = pd.read_csv(FOLDER / "fev.csv").dropna(subset="FEV1").reset_index(drop=True)
    X = np.column_stack([np.ones(len(frame)), frame.ARMCD == "TRT"]).astype(float)
    return frame, X, frame.FEV1.to_numpy()


def criterion_of(fev, text, **options):
    frame, X, y = fev
    spec = parse_residual(text)
    series = read_series(spec, take_columns(frame, spec.names))
    structure = family(spec.kind, series.times.astype(int))
    return VisitCriterion(series, X, y, structure, **options)


def dense(criterion, x, X, y, weights=None):
    roots = criterion.roots(x)
    series, covariances = criterion.series, roots @ np.swapaxes(roots, 1, 2)
    V = covariances[series.group[:, None], series.visit[:, None], series.visit]
    V = V * (series.codes[:, None] == series.codes)
    if weights is not None:
        V = V / np.sqrt(np.outer(weights, weights))
    inverse = np.linalg.inv(V)
    S = X.T @ inverse @ X
    e = y - X @ np.linalg.solve(S, X.T @ inverse @ y)
    df = len(y) - X.shape[1] * (criterion.method == "REML")
    value = np.linalg.slogdet(V)[1] + e @ inverse @ e + df * np.log(2 * np.pi)
    return value + (np.linalg.slogdet(S)[1] if criterion.method == "REML" else 0.0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("group", ["", "ARMCD / "])
def test_criterion_and_slopes_are_those_of_dense_algebra(fev, kind, group):
    _, X, y = fev
    weights = np.random.default_rng(0).uniform(0.5, 2.0, len(y)) if group else None
    method = "ML" if kind in ("cs", "us") else "REML"
    criterion = criterion_of(
        fev, f"{kind}(VISITN | {group}USUBJID)", weights=weights, method=method
    )
    x = criterion.beginnings()[0] + 0.1
    value, slopes = criterion(x)
    assert value == pytest.approx(dense(criterion, x, X, y, weights), rel=1e-11)
    step = 1e-5
    for i, slope in enumerate(slopes):
        shift = step * np.eye(len(x))[i]
        difference = (criterion(x + shift)[0] - criterion(x - shift)[0]) / (2 * step)
        assert slope == pytest.approx(difference, rel=1e-5, abs=1e-5)


@pytest.mark.parametrize(
    ("kind", "reference"),
    [("us", 3667.96275618014), ("ar1", 3855.12433950821), ("cs", 3890.97896858931)],
)
def test_optima_are_those_of_nlme(fev, kind, reference):
    fit = search_by_visit(criterion_of(fev, f"{kind}(VISITN | USUBJID)"))
    assert fit.converged
    assert fit.criterion == pytest.approx(reference, abs=1e-6)


def test_a_family_within_another_is_never_better(fev):
    fits = {kind: search_by_visit(criterion_of(fev, f"{kind}(VISITN | USUBJID)")) for kind in KINDS}
    assert all(fit.converged for fit in fits.values())
    for small, large in [("cs", "csh"), ("csh", "us"), ("ar1", "arma11"), ("ar1", "ar1h"),
                         ("ma1", "arma11"), ("arma11", "toep"), ("toep", "toeph"), ("ar1", "ad"),
                         ("ar1h", "adh"), ("toeph", "us"), ("adh", "us")]:  # fmt: skip
        assert fits[large].criterion < fits[small].criterion + 1e-6


def test_groups_with_parameters_of_their_own_are_fitted_apart(fev):
    frame, X, _ = fev
    together = search_by_visit(criterion_of(fev, "ar1(VISITN | ARMCD / USUBJID)", method="ML"))
    alone = 0.0
    for arm in ("PBO", "TRT"):
        part = frame[arm == frame.ARMCD].reset_index(drop=True)
        own = (part, np.ones((len(part), 1)), part.FEV1.to_numpy())
        alone += search_by_visit(criterion_of(own, "ar1(VISITN | USUBJID)", method="ML")).criterion
    assert together.criterion == pytest.approx(alone, abs=1e-6)
    assert X.shape[1] == 2  # a mean for each arm, as in the two fits


def still(noise, seed=3):
    """Twenty series of five visits that move by so much beside the SD between series."""
    rng = np.random.default_rng(seed)
    g, v = np.repeat(np.arange(20), 5), np.tile(np.arange(5), 20)
    y = rng.normal(size=20)[g] + noise * rng.normal(size=100)
    return pd.DataFrame({"y": y, "g": g, "v": v})


@pytest.mark.filterwarnings("ignore:.*at the end of its range")
@pytest.mark.parametrize("noise", [1e-1, 1e-3])
def test_series_that_hardly_move_are_fitted_as_with_an_effect_of_each(noise):
    data = still(noise)
    fit = bv.Model("y ~ 1", data, residual="cs(v | g)").reml()
    effect = bv.Model("y ~ 1 + (1 | g)", data).reml()
    assert fit.converged
    assert fit.criterion == pytest.approx(effect.criterion, abs=1e-4)
    free = bv.Model("y ~ 1", data, residual="us(v | g)").reml()
    assert free.converged
    assert free.criterion < fit.criterion


@pytest.mark.parametrize(("kind", "noise"), [("us", 0.0), ("ar1", 1e-8), ("adh", 1e-7)])
def test_series_that_do_not_move_are_refused(kind, noise):
    model = bv.Model("y ~ 1", still(noise), residual=f"{kind}(v | g)")
    for work in (model.reml, lambda: model.sample(draws=10, chains=1)):
        with pytest.raises(bv.DataError, match="its variance to chance"):
            work()


@pytest.mark.parametrize("size", [1e-150, 1e150])
def test_responses_of_any_size(size):
    data = still(0.5)
    usual = bv.Model("y ~ 1", data, residual="us(v | g)").reml()
    fit = bv.Model("y ~ 1", data.assign(y=data.y * size), residual="us(v | g)").reml()
    assert fit.converged
    shift = 2 * (len(data) - 1) * np.log(size)
    assert fit.criterion == pytest.approx(usual.criterion + shift, rel=1e-12)
    np.testing.assert_allclose(fit.beta, usual.beta * size, rtol=1e-5)
    np.testing.assert_allclose(fit.se, usual.se * size, rtol=1e-5)
    assert fit.sigma2 == pytest.approx(usual.sigma2 * size**2, rel=1e-5)
