"""Sums by missingness pattern against dense algebra, central differences and SAS."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bayesv.covariance.pattern_information import pattern_information
from bayesv.gram.patterns import pattern_sums


def _dense(visits, series, R):
    return R[visits[:, None], visits] * (series[:, None] == series)


def _data(seed, n_series, n_visits, m=4, kept=0.6):
    rng = np.random.default_rng(seed)
    series, visits = np.divmod(np.arange(n_series * n_visits), n_visits)
    rows = rng.permutation(np.flatnonzero(rng.random(len(series)) < kept))
    root = np.tril(rng.normal(size=(n_visits, n_visits))) + 2 * np.eye(n_visits)
    return visits[rows], series[rows], rng.normal(size=(len(rows), m)), root @ root.T


# Few series of many visits are kept by their rows, many of few are summed.
CASES = [(40, 4, 0.6), (400, 3, 0.8), (6, 30, 0.5), (30, 1, 0.9), (60, 5, 1.0)]


@pytest.mark.parametrize("case", CASES)
def test_sums_are_those_of_dense_algebra(case):
    n_series, n_visits, kept = case
    visits, series, W, R = _data(1, n_series, n_visits, kept=kept)
    sums = pattern_sums(visits, series, W, n_visits)
    done = sums.whiten(R)
    V = _dense(visits, series, R)
    np.testing.assert_allclose(done.T, W.T @ np.linalg.solve(V, W), rtol=1e-10, atol=1e-10)
    assert done.logdet == pytest.approx(np.linalg.slogdet(V)[1], rel=1e-12)
    np.testing.assert_allclose(sums.trace(sums.blocks(R)), np.trace(V))


def test_both_ways_are_taken_among_the_cases():
    ways = [pattern_sums(*_data(1, n, v, kept=k)[:3], v) for n, v, k in CASES]
    assert any(len(sums.products) for sums in ways)
    assert any(len(part.series) for sums in ways for part in sums.patterns)


@pytest.mark.parametrize("case", CASES)
def test_gradient_is_that_of_central_differences(case):
    n_series, n_visits, kept = case
    visits, series, W, R = _data(2, n_series, n_visits, kept=kept)
    sums = pattern_sums(visits, series, W, n_visits)
    rng = np.random.default_rng(3)
    T_bar = rng.normal(size=(W.shape[1],) * 2)
    T_bar += T_bar.T
    direction = rng.normal(size=R.shape)
    direction += direction.T
    step = 1e-6

    def value(R):
        done = sums.whiten(R)
        return done.logdet + (T_bar * done.T).sum()

    slope = (value(R + step * direction) - value(R - step * direction)) / (2 * step)
    gradient = sums.whiten(R).gradient(T_bar)
    np.testing.assert_allclose(gradient, gradient.T, atol=1e-9)
    assert (gradient * direction).sum() == pytest.approx(slope, rel=1e-6)
    assert not gradient[~sums.met].any()


def test_order_of_rows_does_not_matter():
    visits, series, W, R = _data(4, 50, 4)
    shuffled = np.random.default_rng(0).permutation(len(W))
    first = pattern_sums(visits, series, W, 4).whiten(R)
    second = pattern_sums(visits[shuffled], series[shuffled], W[shuffled], 4).whiten(R)
    np.testing.assert_allclose(first.T, second.T, rtol=1e-12)


def test_visits_never_seen_together_are_known():
    visits, series = np.array([0, 1, 0, 2]), np.array([0, 0, 1, 1])
    met = pattern_sums(visits, series, np.ones((4, 1)), 4).met
    assert met.tolist() == [
        [True, True, True, False], [True, True, False, False],
        [True, False, True, False], [False, False, False, False],
    ]  # fmt: skip


# --- Kenward and Roger's numbers of SAS PROC MIXED, repeated / type=… ddfm=kr, of fev.csv --------

FOLDER = Path(__file__).parent / "references" / "structures"
SAS = {  # −2 log restricted likelihood of nlme's gls, and the coefficient of ARMCD
    "un": {"criterion": 3667.96275618014, "se": 0.66124382270307, "se_linear": 0.66124382270307,
           "df": 160.733266403768},
    "ar1": {"criterion": 3855.12433950821, "se": 0.95865439662225, "se_linear": 0.96058142305176,
            "df": 188.46934887972},
    "cs": {"criterion": 3890.97896858931, "se": 0.7964696053595, "se_linear": 0.7964696053595,
           "df": 177.038485931223},
}  # fmt: skip
LAGS = np.abs(np.subtract.outer(np.arange(4), np.arange(4)))
ELEMENTS = list(zip(*np.tril_indices(4), strict=True))


def _un(theta):
    first = np.zeros((10, 4, 4))
    for k, (i, j) in enumerate(ELEMENTS):
        first[k, i, j] = first[k, j, i] = 1.0
    return np.tensordot(theta, first, 1), first, np.zeros((10, 10, 4, 4))


def _ar1(theta):
    variance, rho = theta
    slope = LAGS * rho ** np.maximum(LAGS - 1, 0)
    bend = LAGS * (LAGS - 1) * rho ** np.maximum(LAGS - 2, 0)
    corr = rho**LAGS
    second = np.array([[0 * corr, slope], [slope, variance * bend]])
    return variance * corr, np.stack([corr, variance * slope]), second


def _cs(theta):
    first = np.stack([np.ones((4, 4)), np.eye(4)])
    return np.tensordot(theta, first, 1), first, np.zeros((2, 2, 4, 4))


FAMILIES = {"un": (_un, np.array([80.0 * (i == j) for i, j in ELEMENTS])),
            "ar1": (_ar1, np.array([80.0, 0.3])), "cs": (_cs, np.array([1.0, 80.0]))}  # fmt: skip


def _fev():
    frame = pd.read_csv(FOLDER / "fev.csv").dropna(subset="FEV1")
    rows = np.column_stack([np.ones(len(frame)), frame.ARMCD == "TRT", frame.FEV1])
    series = frame.USUBJID.astype("category").cat.codes.to_numpy()
    return frame.VISITN.to_numpy() - 1, series, rows.astype(float)


@pytest.mark.parametrize("kind", SAS)
def test_reml_and_kenward_roger_are_those_of_nlme_and_sas(kind):
    family, theta = FAMILIES[kind]
    visits, series, W = _fev()
    sums = pattern_sums(visits, series, W, 4)
    for _ in range(60):  # Fisher scoring
        info = pattern_information(sums, *family(theta))
        step = np.linalg.solve(info.expected, -0.5 * info.gradient)
        theta = theta + step
    assert np.abs(info.gradient).max() < 1e-6
    R = family(theta)[0]
    done = sums.whiten(R)
    p = sums.m - 1
    rest = done.T[p, p] - done.T[:p, p] @ info.beta
    constant = (sums.n - p) * np.log(2 * np.pi) - np.linalg.slogdet(info.Phi)[1]
    assert done.logdet + rest + constant == pytest.approx(SAS[kind]["criterion"], abs=1e-6)
    covariance = np.linalg.inv(info.observed)
    assert np.sqrt(info.adjusted(covariance)[1, 1]) == pytest.approx(SAS[kind]["se"], rel=2e-4)
    linear = np.sqrt(info.adjusted(covariance, linear=True)[1, 1])
    assert linear == pytest.approx(SAS[kind]["se_linear"], rel=2e-4)
    slope = (info.Phi @ info.P @ info.Phi)[:, 1, 1]
    df = 2 * info.Phi[1, 1] ** 2 / (slope @ covariance @ slope)
    assert df == pytest.approx(SAS[kind]["df"], rel=5e-4)


def test_information_is_that_of_dense_algebra():
    visits, series, W, _ = _data(6, 30, 4)
    sums = pattern_sums(visits, series, W, 4)
    theta = np.array([2.0, 0.4])
    R, first, second = _ar1(theta)
    info = pattern_information(sums, R, first, second)
    V, V1 = _dense(visits, series, R), np.stack([_dense(visits, series, f) for f in first])
    V2 = np.array([[_dense(visits, series, s) for s in row] for row in second])
    X, y, inverse = W[:, :-1], W[:, -1], np.linalg.inv(V)
    Phi = np.linalg.inv(X.T @ inverse @ X)
    projection = inverse - inverse @ X @ Phi @ X.T @ inverse
    PV = projection @ V1
    squares = np.einsum("iab,jba->ij", PV, PV)
    np.testing.assert_allclose(info.expected, 0.5 * squares, rtol=1e-9)
    curvatures = np.einsum("a,iab,jbc,c->ij", y, PV, PV @ projection, y)
    traces = np.einsum("ab,ijba->ij", projection, V2)
    bent = np.einsum("a,ijab,b->ij", projection @ y, V2, projection @ y)
    observed = 0.5 * (2 * curvatures - squares + traces - bent)
    np.testing.assert_allclose(info.observed, observed, rtol=1e-9, atol=1e-9)
    slopes = np.trace(PV, axis1=1, axis2=2) - np.einsum(
        "a,iab,b->i", projection @ y, V1, projection @ y
    )
    np.testing.assert_allclose(info.gradient, slopes, rtol=1e-9)
    np.testing.assert_allclose(info.Phi, Phi, rtol=1e-10)
    np.testing.assert_allclose(info.P, -X.T @ inverse @ V1 @ inverse @ X, rtol=1e-9, atol=1e-12)
