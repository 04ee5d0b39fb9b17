"""One model per meaning of a column, however it is stored."""

from __future__ import annotations

import datetime
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import bayesv as bv
from bayesv.formula.columns import as_factor, as_numbers, finite_rows, kind, plain_column
from bayesv.formula.frame import take_columns

DAY = datetime.date(2020, 1, 31)


def plain(values, **options) -> pd.Series:
    return plain_column(pd.Series(values, name="c", **options))


# Ways to store the same values with one gap, and what they are.
STORED = {
    "number": (
        [1.0, np.nan, 200.0],
        [1, None, 200],
        pd.array([1, None, 200], "Int16"),
        [1, pd.NA, np.int8(100) * 2.0],
        [Decimal(1), Decimal("sNaN"), Decimal(200)],
        [Fraction(1), pd.NaT, 200],
        np.array([1, np.nan, 200], ">f4"),
        np.array([1, np.nan, 200], np.float16),
        np.array([1, np.nan, 200], np.longdouble),
        pd.arrays.SparseArray([1, np.nan, 200]),
        pd.array([1, None, 200], pd.ArrowDtype(pa.int16())),
        pd.array([Decimal(1), None, Decimal(200)], pd.ArrowDtype(pa.decimal128(5, 2))),
    ),
    "logical": (
        [True, None, False],
        [True, np.nan, np.bool_(False)],
        [True, pd.NA, False],
        pd.array([True, None, False], "boolean"),
        pd.array([True, None, False], pd.ArrowDtype(pa.bool_())),
    ),
    "time": (
        [DAY, None, DAY + datetime.timedelta(days=1)],
        pd.to_datetime(["2020-01-31", None, "2020-02-01"]),
        pd.to_datetime(["2020-01-31", None, "2020-02-01"], utc=True),
        [np.datetime64(DAY), np.datetime64("NaT", "D"), datetime.datetime(2020, 2, 1)],
        pd.array([DAY, None, DAY + datetime.timedelta(days=1)], pd.ArrowDtype(pa.date32())),
    ),
    "factor": (
        ["b", None, "a"],
        ["b", np.nan, "a"],
        ["b", pd.NaT, "a"],
        pd.array(["b", None, "a"], "string"),
        pd.array(["b", None, "a"], pd.ArrowDtype(pa.string())),
        pd.Categorical(["b", None, "a"], categories=["a", "b"]),
    ),
}
NUMBERS = {"number": [1, np.nan, 200], "logical": [1, np.nan, 0], "time": [18292, np.nan, 18293]}
LEVELS = {
    "number": ["1", "200"],
    "logical": ["False", "True"],
    "time": ["2020-01-31", "2020-02-01"],
    "factor": ["a", "b"],
}


@pytest.mark.parametrize(
    ("what", "values"), [(what, values) for what, ways in STORED.items() for values in ways]
)
def test_what_a_column_means_does_not_depend_on_its_storage(what, values):
    column = plain(values)
    assert kind(column) == what
    assert finite_rows(column).tolist() == [True, False, True]
    assert list(as_factor(column).categories) == LEVELS[what]
    assert as_factor(column).codes[1] == -1
    if what in NUMBERS:
        np.testing.assert_array_equal(as_numbers(column), NUMBERS[what])
    else:
        with pytest.raises(bv.DataError, match="cannot be used as a number"):
            as_numbers(column)
    whole = plain_column(column[[0, 2]])
    kinds = ("float64", "int64", "bool", "datetime64[us]", "object", "category")
    assert str(whole.dtype) in kinds
    assert as_factor(whole).tolist() == as_factor(column[[0, 2]]).tolist()


@pytest.mark.parametrize("dtype", ["int8", ">i2", "uint32", "Int64", "float16", "int8[pyarrow]"])
def test_no_number_wraps_around(dtype):
    column = plain(pd.Series([100, 120, 7]).astype(dtype))
    assert (column * column).tolist() == [10000, 14400, 49]


@pytest.mark.parametrize(
    "values",
    [
        np.array([10**17, 10**17 + 1, None], dtype=object),
        [10**25, 10**25 + 1, None],
        [2**63, 2**63 + 1, 2**63 + 2],
        pd.array([10**17, 10**17 + 1, None], "Int64"),
    ],
)
def test_identifiers_keep_their_digits(values):
    column = plain(values)
    assert kind(column) == "number"
    assert list(as_factor(column).categories)[:2] == [str(values[0]), str(values[1])]
    assert as_numbers(column)[0] == float(values[0])


@pytest.mark.parametrize(
    ("values", "part"),
    [
        ([True, 2], "mixes logical and number"),
        ([DAY, 2], "mixes number and time"),
        ([1j, 2], "complex"),
        (np.array([1j]), "complex"),
        ([10**400, 0.5], "1.8e308"),
        ([10**400, 1], "1.8e308"),
        (np.array([np.longdouble("1e400")]), "1.8e308"),
        (np.array([1, 1 + np.longdouble(2) ** -60]), "equal as doubles"),
        ([Decimal("0.1"), Decimal("0.1000000000000000000001")], "equal as doubles"),
        ([b"a"], "bytes"),
        ([[1], [2]], "list"),
        ([{}], "dict"),
        (["1", 1], "the same text"),
    ],
)
def test_what_means_nothing_is_refused_by_name(values, part):
    with pytest.raises(bv.DataError, match=part) as caught:
        as_numbers(plain(values))
    assert "'c'" in str(caught.value)


def test_times_are_days_whatever_their_unit():
    for unit in ("s", "ms", "us", "ns"):
        times = pd.Series(np.array(["1066-01-01T12", "2020-01-31T06"], f"datetime64[{unit}]"))
        if unit != "ns":  # which do not reach 1066
            np.testing.assert_array_equal(as_numbers(plain(times)), [-330178.5, 18292.25])
        assert as_numbers(plain(times))[1] == 18292.25
    assert plain(pd.to_timedelta(["36h", None])).tolist()[0] == 1.5


def stored(frame: pd.DataFrame) -> dict[str, object]:
    """Return one table in many kinds of frames."""
    columns = {name: frame[name].tolist() for name in frame}
    return {
        "pandas": frame,
        "objects": frame.astype(object),
        "nullable": frame.convert_dtypes(),
        "pyarrow-backed": frame.convert_dtypes(dtype_backend="pyarrow"),
        "polars": pl.DataFrame(columns),
        "pyarrow": pa.table(columns),
        "mapping": columns,
    }


@pytest.mark.parametrize(
    "formula", ["y ~ t + x + (1 | g)", "y ~ d + k + (1 | g)", "y ~ f + (t + f | g)"]
)
@pytest.mark.parametrize("gaps", [False, True])
def test_frames_of_every_kind_give_one_design(formula, gaps):
    rng = np.random.default_rng(3)
    n = 60
    frame = pd.DataFrame(
        {
            "y": rng.normal(size=n),
            "x": rng.normal(size=n),
            "k": rng.integers(0, 100, n),
            "t": rng.random(n) > 0.5,
            "d": [DAY + datetime.timedelta(days=int(i)) for i in rng.integers(0, 99, n)],
            "f": rng.choice(list("cab"), n),
            "g": rng.integers(0, 6, n),
        }
    )
    if gaps:
        frame = frame.astype(object)
        for i, name in enumerate(frame):
            frame.loc[i, name] = None
    want = bv.Model(formula, frame).design
    for name, data in stored(frame).items():
        got = bv.Model(formula, data).design
        assert got.fixed_names == want.fixed_names, name
        np.testing.assert_array_equal(got.rows, want.rows, name)
        np.testing.assert_array_equal(got.X, want.X, name)
        for a, b in zip(got.terms, want.terms, strict=True):
            assert list(a.levels) == list(b.levels), name
            np.testing.assert_array_equal(a.codes, b.codes, name)
            np.testing.assert_array_equal(a.values, b.values, name)


def test_logicals_are_factors_as_in_r():
    """lme4 1.1-31: deviance(lmer(Reaction ~ Days + (0 + logic | Subject), d, REML = FALSE))."""
    sleep = bv.load_dataset("sleepstudy")
    sleep["logic"] = sleep["Days"] > 5
    fit = bv.Model("Reaction ~ Days + (0 + logic | Subject)", sleep).reml("ML")
    assert fit.criterion == pytest.approx(1771.096448, abs=1e-5)
    assert fit.design.terms[0].columns == ("logic[False]", "logic[True]")
    assert bv.Model("Reaction ~ logic + (1 | Subject)", sleep).design.fixed_names == (
        "Intercept",
        "logic[True]",
    )


@pytest.mark.parametrize(
    ("data", "part"),
    [
        (pd.Series([1.0, 2.0]), "a Series, which is one column"),
        (pl.Series([1.0, 2.0]), "a Series, which is one column"),
        (pl.DataFrame({"y": [1.0]}).lazy(), "a LazyFrame, whose rows are not there yet"),
        (np.ones((3, 2)), "found ndarray"),
        ([1, 2], "found list"),
        (None, "found NoneType"),
        ({"y": 1}, "no table of columns"),
        ({"y": [1, 2], "x": [1]}, "no table of columns"),
        (pa.table([[1], [2]], names=["y", "y"]), "more than one column|cannot be read as a table"),
    ],
)
def test_what_is_no_table_is_refused(data, part):
    with pytest.raises(bv.DataError, match=part):
        take_columns(data, ["y"])


@pytest.mark.parametrize("in_batches", [False, True])
def test_text_that_reads_as_numbers_is_said(in_batches, tmp_path):
    rng = np.random.default_rng(1)
    frame = pd.DataFrame({"y": rng.normal(size=60), "g": np.tile(list("abcdef"), 10)})
    frame["dose"] = rng.choice(["1", "2.5", "10"], 60)
    frame["arm"] = rng.choice(["0", "1"], 60)
    frame["id"] = np.tile(["1", "2", "3"], 20)
    data = frame
    if in_batches:
        data = tmp_path / "d.parquet"
        frame.to_parquet(data)
    with pytest.warns(bv.DesignWarning, match="dose is text though it reads as numbers"):
        model = bv.Model("y ~ dose + (1 | g)", data)
    assert any("dose is text" in note and "3 levels" in note for note in model.design.notes)
    two = bv.Model("y ~ arm + (1 | g) + (1 | id)", data)  # the same model either way, but noted
    assert sum("is text" in note for note in two.design.notes) == 1


@pytest.mark.parametrize("form", ["%Y-%m-%d", "%d.%m.%Y", "%m/%d/%y", "%Y-%m-%d %H:%M"])
def test_text_that_reads_as_dates_is_said(form):
    days = pd.date_range("2020-01-01", periods=12, freq="40D")
    frame = pd.DataFrame({"y": np.random.default_rng(1).normal(size=60), "day": np.tile(days, 5)})
    frame["g"] = np.repeat(list("abcde"), 12)
    with pytest.warns(bv.DesignWarning, match="day is text though it reads as dates"):
        model = bv.Model("y ~ day + (1 | g)", frame.assign(day=frame["day"].dt.strftime(form)))
    assert any("12 levels" in note and "to_datetime" in note for note in model.design.notes)
    bv.Model("y ~ day + (1 | g)", frame)  # days as they are, of which nothing is to be said
    visits = frame.assign(day=["v" + str(d.month) for d in frame["day"]])
    bv.Model("y ~ day + (1 | g)", visits)


def coarse_notes(model: bv.Model) -> list[str]:
    return [note for note in model.design.notes if "it is stored in" in note]


def test_covariates_that_were_rounded_are_named():
    rng = np.random.default_rng(3)
    data = pd.DataFrame(
        {"y": rng.normal(size=60), "x": rng.normal(size=60), "g": np.arange(60) % 6}
    )

    def notes(x):
        return coarse_notes(bv.Model("y ~ x + (1 | g)", data.assign(x=x)))

    for exact in (data.x, data.x + 1e6, data.x.astype("f4"), np.arange(60) + 1e13,
                  (np.arange(60) / 2 + 1e6).astype("f4"), data.x * 1e-150,
                  data.x * 1e150):  # fmt: skip
        assert not notes(exact)
    (double,) = notes(data.x + 1e14)
    assert "x reaches 1e+14" in double
    assert "0.02 apart" in double
    (single,) = notes((data.x + 1e6).astype("f4"))
    assert "0.06 apart" in single


def test_what_was_rounded_is_named_in_batches():
    pa = pytest.importorskip("pyarrow")
    rng = np.random.default_rng(3)
    data = pd.DataFrame(
        {"y": rng.normal(size=60), "x": rng.normal(size=60), "g": np.arange(60) % 6}
    )

    def notes(frame):
        batches = pa.Table.from_pandas(frame, preserve_index=False).to_batches(max_chunksize=25)
        reader = pa.RecordBatchReader.from_batches(batches[0].schema, batches)
        return coarse_notes(bv.Model("y ~ x + (1 | g)", reader))

    assert not notes(data.assign(x=data.x + 1e6, y=data.y + 1e6))
    both = notes(data.assign(x=data.x + 1e14, y=data.y + 1e12))
    assert [note.split(" reaches")[0] for note in both] == ["the response 'y'", "x"]


@pytest.mark.filterwarnings("ignore::bayesv.FitWarning")
def test_a_response_of_too_few_digits_beside_sigma_is_a_problem_of_the_fit_in_batches_too():
    """Where its SD is large because a covariate moves it, only σ tells."""
    pa = pytest.importorskip("pyarrow")
    rng = np.random.default_rng(3)
    data = pd.DataFrame({"x": rng.normal(size=60), "g": np.arange(60) % 6})
    data["x"] += np.repeat([0.0, 1e12], [40, 20])
    data["y"] = data["x"] + rng.normal(size=60)
    batches = pa.Table.from_pandas(data, preserve_index=False).to_batches(max_chunksize=25)
    reader = pa.RecordBatchReader.from_batches(batches[0].schema, batches)
    for rows in (data, reader):
        fit = bv.Model("y ~ x + (1 | g)", rows).reml()
        assert any("the response 'y' reaches 1e+12" in problem for problem in fit.problems)
