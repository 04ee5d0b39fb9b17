"""The quasi-Newton search of REML, and the lattice that other starts come from."""

from __future__ import annotations

import numpy as np
import pytest

import bayesv as bv
from bayesv.reml import free
from bayesv.reml.criterion import Criterion
from bayesv.reml.descent import minimize
from bayesv.reml.search import Search
from bayesv.reml.starts import Screen, lattice_of


def _rosenbrock(x):
    a, b = 1.0 - x[0], x[1] - x[0] ** 2
    value = a**2 + 100.0 * b**2
    return value, np.array([-2.0 * a - 400.0 * x[0] * b, 200.0 * b])


@pytest.mark.parametrize("start", [(-1.2, 1.0), (3.0, -4.0), (0.0, 0.0), (1.0, 1.0)])
def test_minimize_follows_a_bent_valley_to_its_end(start):
    tolerance = np.full(2, 1e-6)
    x, value, gradient = minimize(
        _rosenbrock, np.array(start), np.array([800.0, 200.0]), tolerance, 200
    )
    assert x == pytest.approx([1.0, 1.0], abs=1e-5)
    assert value == _rosenbrock(x)[0]
    assert (np.abs(gradient) <= tolerance).all()


def test_minimize_does_not_depend_on_units_of_coordinates():
    units = np.array([1e-4, 1e3])

    def rescaled(x):
        value, gradient = _rosenbrock(x * units)
        return value, gradient * units

    curvature, start = np.array([800.0, 200.0]), np.array([-1.2, 1.0])
    tolerance = np.full(2, 1e-6)
    plain = minimize(_rosenbrock, start, curvature, tolerance, 12)[0]
    other = minimize(rescaled, start / units, curvature * units**2, tolerance * units, 12)[0]
    assert other * units == pytest.approx(plain, rel=1e-6)


def test_minimize_comes_back_from_where_there_is_no_value():
    def log_barrier(x):
        if x[0] <= 0:
            return 1e300, np.zeros(1)
        return float(x[0] - np.log(x[0])), 1.0 - 1.0 / x

    x, *_ = minimize(log_barrier, np.array([2.0]), np.array([0.05]), np.array([1e-8]), 100)
    assert x[0] == pytest.approx(1.0, abs=1e-7)


def test_minimize_ends_where_it_is_told_to():
    seen = []

    def arrived(x):
        seen.append(x)
        return len(seen) == 3

    x, *_ = minimize(
        _rosenbrock, np.array([-1.2, 1.0]), np.array([800.0, 200.0]), np.zeros(2), 200,
        arrived=arrived,
    )  # fmt: skip
    assert len(seen) == 3
    assert (x == seen[-1]).all()


def test_a_small_lattice_is_seen_whole():
    # Two lone SDs: valleys at small first and large second ones, and the other way round.
    def values(x):
        log = np.log(x)
        one = ((log - np.log([0.15, 5.0])) ** 2).sum(axis=1)
        other = ((log - np.log([5.0, 0.15])) ** 2).sum(axis=1) + 0.5
        return np.minimum(one, other)

    evaluated = []

    def counted(x):
        evaluated.append(len(x))
        return values(x)

    screen = Screen(counted, lattice_of((0, 1), (0, 1)))
    starts = screen.starts(24, np.array([1.5, 1.5]), 2.0, boundary=False)
    assert evaluated == [49]
    assert starts == pytest.approx(np.array([[0.15, 5.0], [5.0, 0.15]]))
    # Climbing from lattice points one by one finds the same.
    assert screen._valleys(24)[1] == pytest.approx(starts)


def test_long_descents_come_back_to_be_interrupted(monkeypatch):
    model = bv.Model("Reaction ~ Days + (Days | Subject)", bv.load_dataset("sleepstudy"))
    whole, steps = model.reml(), []
    monkeypatch.setattr(free, "UNINTERRUPTED", 0.0)

    def interrupt(evaluations):
        steps.append(evaluations)
        if len(steps) > 3:
            raise KeyboardInterrupt

    search = Search(Criterion(model.design, model.statistics, "REML"), 500)
    assert search.run(search.start(1.0)).value == whole.criterion
    search.criterion.step = interrupt
    with pytest.raises(KeyboardInterrupt):
        search.run(search.start(1.0))
    assert steps == [1, 1, 1, 1]
