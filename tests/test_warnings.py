"""Warnings name the line that called bayesv, through whatever decorators the call went."""

from __future__ import annotations

import functools
import re
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import bayesv as bv
from bayesv.data.tables import read_table
from bayesv.errors import warn

PACKAGE = Path(bv.__file__).parent


def nested() -> pd.DataFrame:
    return bv.load_dataset("dyestuff").assign(again=lambda d: d["Batch"])


def unidentified() -> None:
    bv.Model("Yield ~ 1 + (1 | Batch) + (1 | again)", nested()).reml()


def few_draws() -> None:
    bv.Model("Yield ~ 1 + (1 | Batch)", nested()).sample(draws=10, chains=2, seed=1)


def text_for_numbers() -> None:
    data = nested().assign(z=[f"{i}.5" for i in range(30)])
    bv.Model("Yield ~ z + (1 | Batch)", data)


def rounded_listing() -> None:
    bv.VarianceComponents.from_varcorr(
        """ Groups   Name        Std.Dev. Corr
 g        (Intercept) 1.000
          x           1.000     1.00
          z           1.000     0.00 0.10
 Residual             1.000
"""
    )


def decorated() -> None:
    @np.errstate(all="ignore")
    def said() -> None:
        warn("x", bv.FitWarning)

    said()


def cached() -> None:
    class Thing:
        @functools.cached_property
        def said(self) -> int:
            warn("x", bv.FitWarning)
            return 1

    assert Thing().said


@pytest.mark.parametrize(
    "call", [unidentified, few_draws, text_for_numbers, rounded_listing, decorated, cached]
)
def test_the_line_of_the_user_is_named(call):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call()
    assert caught
    assert {warning.filename for warning in caught} == {__file__}


def test_a_table_that_is_read(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("y,x\n1,2\n2,-\n3,4\n")
    with pytest.warns(bv.DesignWarning) as caught:
        read_table(path)
    assert caught[0].filename == __file__


def test_one_place_warns():
    call = re.compile(r"warnings\.warn\(|stacklevel")
    found = [p.name for p in PACKAGE.rglob("*.py") if call.search(p.read_text(encoding="utf-8"))]
    assert found == ["errors.py"]
