"""Tables as spreadsheets and statistics programs write them."""

from __future__ import annotations

import io

import numpy as np
import pandas as pd
import pytest

import bayesv as bv
from bayesv.tables import read_csv, read_table

DATA = pd.DataFrame({"y": [1.5, -2.25, 3.0], "x": [0.5, 1e-3, 7.25], "g": ["a", "b", "a"]})


def read(text: str | bytes, separator: str = ",") -> pd.DataFrame:
    raw = text.encode() if isinstance(text, str) else text
    return read_csv(io.BytesIO(raw), "d", separator)


@pytest.mark.parametrize("decimal", [".", ","])
def test_semicolons_and_decimal_commas(decimal):
    pd.testing.assert_frame_equal(read(DATA.to_csv(index=False, sep=";", decimal=decimal)), DATA)


def test_byte_order_mark_quotes_and_spaces_after_commas():
    pd.testing.assert_frame_equal(
        read(DATA.to_csv(index=False, quoting=1).encode("utf-8-sig")), DATA
    )
    got = read('y, "x.ü 1", g\n1, 2, a\n')
    assert list(got) == ["y", "x.ü 1", "g"]
    assert got["g"].tolist() == ["a"]


@pytest.mark.parametrize(("name", "separator"), [("d.csv.gz", ","), ("d.TSV", "\t")])
def test_endings(name, separator, tmp_path):
    DATA.to_csv(tmp_path / name, index=False, sep=separator)
    pd.testing.assert_frame_equal(read_table(tmp_path / name), DATA)


def test_columns_that_pandas_set_aside_in_parquet_come_back(tmp_path):
    DATA.set_index("g").to_parquet(tmp_path / "d.parquet")
    assert set(read_table(tmp_path / "d.parquet")) == set(DATA)


@pytest.mark.parametrize(
    ("values", "named"),
    [(["1", "2", "3", "4", "5", "6", "7", "8", "9", "."], "'.'"), (['"1,5"', '"2,5"'], "'1,5'")],
)
def test_numbers_that_stay_text_are_warned_of(values, named):
    with pytest.warns(bv.DesignWarning, match=f"'x' is text, because of values such as {named}"):
        got = read("x\n" + "\n".join(values))
    assert not pd.api.types.is_numeric_dtype(got["x"])


def test_a_separator_at_the_end_of_rows_does_not_shift_columns():
    ended = read("id,x,g\n0,2,a,\n1,4,b,\n")
    assert (ended["x"].tolist(), ended["g"].tolist()) == ([2, 4], ["a", "b"])
    named_rows = read("y,x\n1,1.5,2.5\n2,3.5,4.5\n")  # R's write.table
    assert named_rows["x"].tolist() == [2.5, 4.5]


def test_columns_of_one_name_are_refused_when_used():
    data = read("y,g,g\n" + "\n".join(f"{i},{i % 3},{i % 2}" for i in range(12)))
    with pytest.raises(bv.DataError, match="more than one column named 'g'"):
        bv.Model("y ~ 1 + (1 | g)", data)


@pytest.mark.parametrize("start", [10**17, 10**25])
def test_large_identifiers_stay_apart(start):
    rng = np.random.default_rng(1)
    rows = [f"{y},{start + i // 4}" for i, y in enumerate(rng.normal(size=24))]
    data = read("y,g\n" + "\n".join(rows))
    levels = bv.Model("y ~ 1 + (1 | g)", data).design.terms[0].levels
    assert list(levels) == [str(start + i) for i in range(6)]
    gap = read("y,g\n" + "\n".join([*rows, "1,"]))
    if start == 10**17:  # pandas makes floats of integers with a gap
        with pytest.raises(bv.DataError, match="cannot tell neighbours apart"):
            bv.Model("y ~ 1 + (1 | g)", gap)
