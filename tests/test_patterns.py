"""Sums by missingness pattern against dense algebra and central differences."""

from __future__ import annotations

import numpy as np
import pytest

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
