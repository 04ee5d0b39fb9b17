"""Bambi gets the columns of the design, whatever the formula says."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import bayesv as bv
from bayesv.inference.bambi_reading import read_bambi

pytest.importorskip("bambi")
pytestmark = [
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


def frame() -> pd.DataFrame:
    rng = np.random.default_rng(6)
    n = 60
    return pd.DataFrame(
        {
            "y": rng.normal(20, 3, n),
            "x": rng.normal(size=n),
            "z": rng.uniform(0.5, 2, n),
            "t": rng.random(n) > 0.5,
            "f": rng.choice(list("abc"), n),
            "g": np.tile(np.arange(6), n // 6),
            "my g": rng.choice(list("pqrst"), n),
        }
    )


@pytest.mark.parametrize(
    "text",
    [
        "y ~ f/x + (f/x | g)",
        "log(y) - log(z) ~ poly(x, 2)*t + (poly(x, 2) || g)",
        "y ~ 0 + t + C(f, contr.sum):z + offset(z) + (0 + t | `my g`)",
        "y ~ x + I(2 * x) + (1 | g:`my g`) + (scale(z) | g)",
        "y ~ x*z - z:x + (x*z - z:x || g)",
    ],
)
def test_the_columns_are_those_of_the_design(text):
    design = bv.Model(text, frame()).design
    parts = read_bambi(bv.to_bambi(bv.Model(text, frame())))
    np.testing.assert_allclose(parts.y, design.y)
    np.testing.assert_allclose(parts.X, design.X)
    assert parts.fixed_names == design.fixed_names
    if design.offset is not None:
        np.testing.assert_allclose(parts.offset, design.offset)
    again = parts.design()
    for term in design.terms:
        (other,) = [t for t in again.terms if t.splits_as(term.codes)]
        np.testing.assert_allclose(other.values, term.values)
        assert other.structure == term.structure
