"""Tables as spreadsheets and statistics programs write them."""

from __future__ import annotations

import io

import numpy as np
import pandas as pd
import pytest

import bayesv as bv
from bayesv.data.tables import read_csv, read_table

DATA = pd.DataFrame({"y": [1.5, -2.25, 3.0], "x": [0.5, 1e-3, 7.25], "g": ["a", "b", "a"]})


def read(text: str | bytes, separator: str | None = None, **options) -> pd.DataFrame:
    raw = text.encode() if isinstance(text, str) else text
    return read_csv(io.BytesIO(raw), "d", separator, **options)


@pytest.mark.parametrize("decimal", [".", ","])
def test_semicolons_and_decimal_commas(decimal):
    pd.testing.assert_frame_equal(read(DATA.to_csv(index=False, sep=";", decimal=decimal)), DATA)


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ('a,b\n1,2\n3,"4\n5,6\n', "Row 2"),
        ('\n\na,b\n1,2\n3,"4\n', "Row 2"),
        ('a,"b\n1,2\n', "The header"),  # else the rows were part of the header, without a word
        ('a,b\n1,"' + 140_000 * "x", "The header or the first row"),
    ],
)
def test_an_open_quotation_is_named_with_its_row(text, where):
    with pytest.raises(bv.DataError, match=f"{where} has a quotation mark that is not closed"):
        read(text.encode())


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


@pytest.mark.parametrize(
    "text", ['"y","x"\n"1",1.5,2.5\n"2",3.5,4.5\n', 'y x\n"a b" 1.5 2.5\n"c" 3.5 4.5']
)
def test_labels_of_rows_as_r_writes_them(text):
    """write.table has no name for them, and puts them in quotes."""
    named_rows = read(text, None if "," in text else " ")
    assert named_rows["x"].tolist() == [2.5, 4.5]


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("y,x\n1,1.5,2.5\n2,3.5,4.5\n", "row 1 has 3 values for 2 names"),
        ("y,x\n1,1.5\n2,3.5,4.5\n", "row 2 has 3 values for 2 names"),
        ("y,x\n1,1.5\n2,3.5,,4.5\n", "line 3 has 4 values for 2 names"),
        ('y,x\n"1","1.5","2"\n', "row 1 has 3 values"),
        ("y,g,g\n1,2,3\n", "more than one column named 'g'"),
        ("y,g, g \n1,2,3\n", "more than one column named 'g'"),
        ("", "is empty"),
        ("\n\n", "is empty"),
        (b"y,g\n1,\xe9\n", "not text in UTF-8"),
        ("y,g\n1,é\n".encode("utf-16"), "not text in UTF-8"),
        (b"y,g\n" + b"1,a\n" * 400_000 + b"1,\xe9\n", "not text in UTF-8"),
        ('y,g\n1,"a\n', "cannot be read"),
    ],
)
def test_what_would_be_read_wrong_is_refused(text, part):
    with pytest.raises(bv.DataError, match=part):
        read(text)


@pytest.mark.parametrize("option", [{"separator": "ab"}, {"decimal": ";"}])
def test_signs_are_single_characters(option):
    with pytest.raises(bv.DataError, match=r"found '(ab|;)'"):
        read("y,x\n1,2\n", **option)


def test_only_na_and_empty_are_missing():
    """A control arm called None keeps its rows."""
    words = ["None", "n/a", "null", "nan", "NaN", "N/A", "<NA>", "na", "-"]
    got = read("y,arm\n" + "\n".join(f"{i},{w}" for i, w in enumerate([*words, "NA", "", "x"])))
    assert got["arm"].dropna().tolist() == [*words, "x"]
    assert got["y"].tolist() == list(range(len(words) + 3))
    named = read("y,arm\n1,-9\n2,-\n-9,x\n", na=["-9", "-"])
    assert named.isna().to_numpy().tolist() == [[False, True], [False, True], [True, False]]


def test_what_other_programs_write_for_missing_is_named():
    for mark in (".", "NaN", "n/a", "#N/A"):
        text = f"y,x\n1,{mark}\n2,3\n3,4\n4,3"
        with pytest.warns(bv.DesignWarning, match=f"such as '{mark}'.*--na '{mark}'"):
            got = read(text)
        assert not pd.api.types.is_numeric_dtype(got["x"])
        assert read(text, na=[mark])["x"].tolist()[1:] == [3, 4, 3]


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("y;x\n1;1,234\n2;5,678\n", "'x' is text, because the comma.*'1,234' may be a decimal"),
        ("y;x\n1,5;1.234\n2;5.678\n", "decimal commas beside numbers with a point .*'x'"),
        ('y,x\n1,"1,234"\n2,"12,345.5"\n', "'x' is text, because of values such as '1,234'"),
        ("y,x\n1,1 234\n2,12 345\n", "'x' is text, because of values such as '1 234'"),
        ("y,x\n1,5 %\n2,12%\n", "'x' is text, because of values such as '5 %'"),
        ("y;x\n1;1.234,5\n2;5.678,5\n", "'x' is text, because of values such as '1.234,5'"),
    ],
)
def test_signs_that_may_mean_two_things_are_named(text, part):
    with pytest.warns(bv.DesignWarning, match=part):
        read(text)


def test_decimal_commas_that_are_asked_for():
    got = read("y;x\n1;1,234\n2;5,678\n", decimal=",")
    assert got["x"].tolist() == [1.234, 5.678]


def test_numbers_are_read_to_the_last_digit():
    values = np.random.default_rng(1).normal(size=500) * 10.0 ** np.arange(-250, 250)
    got = read("x\n" + "\n".join(map(repr, values.tolist())))
    np.testing.assert_array_equal(got["x"], values)


def test_types_of_columns_with_gaps():
    got = read("i,t,s,x\n1,TRUE,a,1.5\n,,,\n3,FALSE,b,2\n")
    assert got["i"].dtype == float
    assert got["t"].tolist()[::2] == [True, False]
    assert got.isna().sum().tolist() == [1, 1, 1, 1]
    whole = read("i,t\n1,TRUE\n3,FALSE\n")
    assert [str(dtype) for dtype in whole.dtypes] == ["int64", "bool"]


@pytest.mark.parametrize("between", ["\t", " ", "   ", ";", ","])
def test_txt(between, tmp_path):
    path = tmp_path / "d.txt"
    path.write_text(f"y{between}g\n1.5{between}a\n2.5{between}b\n")
    got = read_table(path)
    assert (got["y"].tolist(), got["g"].tolist()) == ([1.5, 2.5], ["a", "b"])
    path.write_text("y|g\n1.5|a b\n")
    assert read_table(path, separator="|")["g"].tolist() == ["a b"]


OWN = pd.DataFrame({"y": [1.5, 2.5, -9.0, 4.0], "k": [1, 2, 3, 4], "g": ["a", "NA", "None", ""]})


def test_workbooks(tmp_path):
    openpyxl = pytest.importorskip("openpyxl")
    path = tmp_path / "d.xlsx"
    book = openpyxl.Workbook()
    for row in [list(OWN), *OWN.to_numpy(object).tolist()]:
        book.active.append([*row, None])
    book.save(path)
    got = read_table(path, na=["-9"])
    assert got["g"].isna().tolist() == [False, True, False, True]
    assert got["y"].isna().tolist() == [False, False, True, False]
    assert got["k"].tolist() == [1, 2, 3, 4]
    book.active["D3"] = 7
    book.save(path)
    with pytest.raises(bv.DataError, match="column 4 of the sheet has values and no name"):
        read_table(path)
    book.active["D1"] = "y"
    book.save(path)
    with pytest.raises(bv.DataError, match="more than one column named 'y'"):
        read_table(path)
    book.active["D1"] = "z"
    book.create_sheet("more").append(["a"])
    book["more"].append([1])
    book.save(path)
    with pytest.warns(bv.DesignWarning, match="'Sheet' was read; the others .more. were not"):
        read_table(path)
    path.write_bytes(b"PK")
    with pytest.raises(bv.DataError, match="cannot be read as a workbook"):
        read_table(path)


@pytest.mark.parametrize("ending", ["sav", "dta"])
def test_files_of_statistics_programs(ending, tmp_path):
    pyreadstat = pytest.importorskip("pyreadstat")
    path = tmp_path / f"d.{ending}"
    write = getattr(pyreadstat, f"write_{ending}")
    write(OWN, str(path))
    got = read_table(path, na=["-9"])
    assert got["g"].isna().tolist() == [False, True, False, True]
    assert got["y"].isna().tolist() == [False, False, True, False]
    write(OWN, str(path), variable_value_labels={"k": {1: "one", 2: "two"}})
    with pytest.warns(bv.DesignWarning, match="k have labels for their numbers and were read as"):
        assert read_table(path)["k"].tolist() == [1, 2, 3, 4]
    path.write_bytes(b"no such file")
    with pytest.raises(bv.DataError, match="cannot be read as"):
        read_table(path)


@pytest.mark.parametrize("start", [10**17, 10**25])
def test_large_identifiers_stay_apart(start):
    rng = np.random.default_rng(1)
    rows = [f"{y},{start + i // 4}" for i, y in enumerate(rng.normal(size=24))]
    data = read("y,g\n" + "\n".join(rows))
    levels = bv.Model("y ~ 1 + (1 | g)", data).design.terms[0].levels
    assert list(levels) == [str(start + i) for i in range(6)]
    gap = read("y,g\n" + "\n".join([*rows, "1,"]))
    assert list(bv.Model("y ~ 1 + (1 | g)", gap).design.terms[0].levels) == list(levels)
