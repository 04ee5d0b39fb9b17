"""Order and numbers of whole numbers, as NumPy's slower functions find them."""

from __future__ import annotations

import numpy as np
import pytest

from bayesv.support.integers import distinct, n_distinct, order_of


@pytest.mark.parametrize("most", [1, 3, 10**6, 2**62])
@pytest.mark.parametrize("n", [0, 1, 5, 1000])
def test_they_are_those_of_numpy(n, most):
    keys = np.random.default_rng(n).integers(0, most, n)
    for some in (keys, np.sort(keys), keys[::-1]):
        assert np.array_equal(order_of(some), np.argsort(some, kind="stable"))
        values, numbers = distinct(some)
        wanted = np.unique(some, return_inverse=True)
        assert np.array_equal(values, wanted[0])
        assert np.array_equal(numbers, wanted[1])
        assert n_distinct(some) == len(values)
