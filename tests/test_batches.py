"""Data in batches: the same sums, fits and draws as from a data frame."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import bayesv as bv
from bayesv.formula import sources

pa = pytest.importorskip("pyarrow")
pytest.importorskip("pyarrow.parquet")

STAR = "read ~ cltype + sx + (sx | sch/tch)"


@pytest.fixture
def parquet(tmp_path, monkeypatch):
    """Write a frame to Parquet, to be read a few hundred rows at a time."""
    monkeypatch.setattr(sources, "_BATCH_ROWS", 200)

    def write(frame: pd.DataFrame):
        import pyarrow.parquet as pq

        path = tmp_path / "data.parquet"
        table = pa.Table.from_pandas(frame, preserve_index=False)
        pq.write_table(table, path, row_group_size=150)
        return path

    return write


def same(one: bv.Model, two: bv.Model) -> None:
    assert two.design.fixed_names == one.design.fixed_names
    assert two.design.groups == one.design.groups
    for a, b in zip(one.design.terms, two.design.terms, strict=True):
        assert list(a.levels) == list(b.levels)
        assert a.columns == b.columns
        assert a.structure == b.structure
    assert str(two.priors) == str(one.priors)
    first, second = one.reml(), two.reml()
    assert second.criterion == pytest.approx(first.criterion, abs=1e-7)
    assert np.allclose(second.beta, first.beta, rtol=1e-6)
    a, b = (model.sample(seed=1, draws=100).beta for model in (one, two))
    assert (np.abs(a - b) < 1e-3 * a.std(axis=(0, 1))).all()


@pytest.mark.filterwarnings("ignore::bayesv.SamplingWarning")
def test_parquet_equals_the_frame(parquet):
    star = bv.load_dataset("star_k20")
    path = parquet(star)
    same(bv.Model(STAR, star), bv.Model(STAR, path))


@pytest.mark.filterwarnings("ignore::bayesv.SamplingWarning")
def test_weights_offsets_functions_and_gaps(parquet):
    rng = np.random.default_rng(0)
    n = 900
    frame = pd.DataFrame(
        {
            "x": rng.exponential(size=n) + 1e3,
            "kind": rng.choice(["b", "a", "c"], n),
            "number": rng.choice([3.0, 10.0, 2.0], n),
            "g": rng.integers(0, 30, n) * 1.0,
            "h": rng.choice(list("zyxwv"), n),
            "w": rng.uniform(0.5, 2.0, n),
            "off": rng.normal(size=n),
        }
    )
    frame["y"] = frame["x"] + rng.normal(size=30)[frame["g"].astype(int)] + rng.normal(size=n)
    frame.loc[5, "x"] = np.nan
    frame.loc[7, "h"] = None
    formula = "y ~ log(x) + kind * x + C(number) + offset(off) + (x | g) + (1 | h)"
    one = bv.Model(formula, frame, var_weights="w")
    two = bv.Model(formula, parquet(frame), var_weights="w")
    assert two.design.n == one.design.n == 898
    same(one, two)
    assert "898 of 900" in two.describe()


def test_a_reader_is_read_once():
    sleep = bv.load_dataset("sleepstudy")
    formula = "Reaction ~ Days + (Days | Subject)"
    reader = pa.Table.from_pandas(sleep).to_reader(max_chunksize=17)
    fit = bv.Model(formula, reader).reml()
    assert fit.criterion == pytest.approx(1743.6282719, abs=1e-6)
    star = pa.Table.from_pandas(bv.load_dataset("star_k20"))
    with pytest.raises(bv.DataError, match="read once"):
        bv.Model(STAR, star.to_reader())


def test_determined_columns_and_unlike_batches(parquet):
    """A column that is constant in the first batches, and one that others determine."""
    rng = np.random.default_rng(1)
    n = 800
    frame = pd.DataFrame({"x": np.repeat([0.0, 1.0], 400) * rng.normal(size=n)})
    frame["z"] = np.arange(n) * 1.0
    frame["twice"] = 2.0 * frame["x"] + 1.0
    frame["g"] = rng.integers(0, 20, n)
    frame["y"] = rng.normal(size=n) + rng.normal(size=20)[frame["g"]]
    formula = "y ~ x + twice + z + (1 | g)"
    one, two = bv.Model(formula, frame), bv.Model(formula, parquet(frame))
    assert two.design.aliased == one.design.aliased == ("twice",)
    assert np.allclose(one.reml().beta, two.reml().beta, rtol=1e-6, atol=1e-9)


def test_an_offset_is_no_part_of_what_must_vary(parquet):
    """A constant response less an offset has a variance; one less its like has none."""
    sleep = bv.load_dataset("sleepstudy")
    level = sleep.assign(Reaction=1.0, half=0.5 * sleep["Reaction"])
    formula = "Reaction ~ Days + offset(half) + (1 | Subject)"
    one, two = bv.Model(formula, level).reml(), bv.Model(formula, parquet(level)).reml()
    assert one.criterion == pytest.approx(two.criterion, abs=1e-8)
    assert one.beta["Days"] == pytest.approx(-0.5 * 10.46729)
    like = sleep.assign(half=sleep["Reaction"] - 7.0)
    for data in (like, parquet(like)):
        with pytest.raises(bv.DataError, match="constant"):
            bv.Model(formula, data)


@pytest.mark.parametrize("scheduler", ["threads", "processes", "synchronous"])
def test_dask_equals_the_frame(scheduler):
    dask = pytest.importorskip("dask")
    dd = pytest.importorskip("dask.dataframe")
    star = bv.load_dataset("star_k20")
    with dask.config.set(scheduler=scheduler, **{"multiprocessing.context": "spawn"}):
        two = bv.Model(STAR, dd.from_pandas(star, npartitions=4))
    one = bv.Model(STAR, star)
    assert two.reml().criterion == pytest.approx(one.reml().criterion, abs=1e-8)
    assert [list(t.levels) for t in two.design.terms] == [list(t.levels) for t in one.design.terms]


def test_what_needs_rows_says_so(parquet):
    model = bv.Model(STAR, parquet(bv.load_dataset("star_k20")))
    fit = model.reml()
    assert "REML criterion" in fit.summary()
    for ask in (
        lambda: model.design.Z,
        lambda: bv.MarginalCovariance(model.design, fit.components),
        lambda: bv.gls(model.design, fit.components),
        lambda: fit.blup,
        lambda: bv.to_pymc(model),
        lambda: bv.to_bambi(model),
    ):
        with pytest.raises(bv.DataError, match="keeps no rows"):
            ask()
    frame = model.sample(seed=1, draws=500).random_effects(draws=50)
    assert frame.shape == (model.design.q, 2)


def test_bad_sources(tmp_path, parquet):
    path = parquet(bv.load_dataset("sleepstudy"))
    with pytest.raises(bv.FormulaError, match="looks at all rows at once"):
        bv.Model("Reaction ~ scale(Days) + (1 | Subject)", path)
    with pytest.raises(bv.FormulaError, match="as a number and as a factor"):
        bv.Model("Reaction ~ Days + C(Days) + (1 | Subject)", path)
    with pytest.raises(bv.FormulaError, match="no column 'Dys'"):
        bv.Model("Reaction ~ Dys + (1 | Subject)", path)
    with pytest.raises(bv.DataError, match="no file"):
        bv.Model("Reaction ~ Days + (1 | Subject)", tmp_path / "missing.parquet")
    text = tmp_path / "data.csv"
    text.write_text("a,b\n1,2\n")
    with pytest.raises(bv.DataError, match="is not Parquet"):
        bv.Model("a ~ b + (1 | c)", text)
    with pytest.raises(bv.DataError, match="name of a column"):
        bv.Model("Reaction ~ Days + (1 | Subject)", path, var_weights=np.ones(180))
    broken = tmp_path / "broken.parquet"
    broken.write_bytes(b"not parquet")
    with pytest.raises(bv.DataError, match="cannot be read"):
        bv.Model("Reaction ~ Days + (1 | Subject)", broken)


def sorted_files() -> list[tuple[str, str, pd.DataFrame]]:
    """Return tables whose batches differ: in levels, categories, gaps and sizes of numbers."""
    rng = np.random.default_rng(2)
    n = 800
    frame = pd.DataFrame(
        {
            "x": rng.normal(size=n),
            "k": rng.integers(0, 4, n),
            "t": rng.random(n) > 0.5,
            "f": rng.choice(list("cab"), n),
            "g": rng.integers(0, 12, n),
            "d": np.datetime64("2020-01-01") + rng.integers(0, 900, n).astype("timedelta64[D]"),
        }
    )
    u = rng.normal(size=(12, 3))[frame["g"]]
    frame["y"] = u[:, 0] + u[:, 1] * frame["t"] + u[:, 2] * (frame["f"] == "b")
    frame["y"] += frame["x"] + rng.normal(size=n)
    skewed = frame.assign(x=np.exp(6 * rng.normal(size=n)))
    skewed["y"] += skewed["x"] / skewed["x"].std()
    late = frame.assign(x=np.where(np.arange(n) < 500, 0.0, 1e8 * frame["x"]))
    gap = frame.astype({"t": object})
    gap.loc[300, "t"] = gap.loc[301, "f"] = None
    unseen = frame.copy()
    unseen.loc[7, "f"] = "a level whose only row has a gap"
    unseen.loc[7, "y"] = np.nan
    return [
        ("number as factor", "y ~ factor(k) + (1 | g)", frame.sort_values("k")),
        ("logical as factor", "y ~ C(t) + (1 | g)", frame.sort_values("t")),
        ("logical", "y ~ t + (0 + t | g)", frame.sort_values("t")),
        ("text", "y ~ f + (f | g)", frame.sort_values("f")),
        ("logical with a gap", "y ~ t + (0 + t | g)", gap),
        ("text with a gap", "y ~ f + (1 | g)", gap),
        ("a level without a complete row", "y ~ f + (1 | g)", unseen),
        ("dates", "y ~ d + (1 | g)", frame.sort_values("d")),
        ("skewed", "y ~ x + (1 | g)", skewed.sort_values("x")),
        ("skewed slopes", "y ~ x + (x | g) + (1 | k)", skewed.sort_values("x")),
        ("skewed, falling", "y ~ x * f + (x || g)", skewed.sort_values("x", ascending=False)),
        ("first 0, then large", "y ~ x + (x | g)", late),
        ("offset", "y ~ x + (x | g)", frame.assign(x=1e6 + frame["x"]).sort_values("x")),
        ("response", "y ~ x + (1 | g)", frame.assign(y=np.sinh(3 * frame["y"])).sort_values("y")),
    ]


@pytest.mark.parametrize(
    ("formula", "frame"), [pytest.param(f, d, id=name) for name, f, d in sorted_files()]
)
def test_no_batch_is_like_the_whole(formula, frame, parquet):
    one = bv.Model(formula, frame.reset_index(drop=True))
    two = bv.Model(formula, parquet(frame))
    assert two.design.fixed_names == one.design.fixed_names
    assert two.design.aliased == one.design.aliased
    assert [(t.columns, list(t.levels)) for t in two.design.terms] == [
        (t.columns, list(t.levels)) for t in one.design.terms
    ]
    first, second = one.reml(), two.reml()
    assert second.criterion == pytest.approx(first.criterion, abs=1e-6)
    assert second.sigma2 == pytest.approx(first.sigma2, rel=1e-6)
    se = np.sqrt(np.diagonal(first.cov_beta))
    assert (np.abs(second.beta - first.beta) < 1e-5 * se).all()


@pytest.mark.parametrize("batch", [1, 3, 7])
@pytest.mark.parametrize("how", ["parquet", "dask"])
def test_no_digit_is_lost_in_batches_that_determine_columns(batch, how, tmp_path, monkeypatch):
    """Batches with fewer rows than columns, levels that are missing, and an x far from its zero."""
    monkeypatch.setattr(sources, "_BATCH_ROWS", batch)
    rng = np.random.default_rng(6)
    n = 42
    frame = pd.DataFrame({"x": rng.normal(size=n), "z": rng.normal(size=n)})
    frame["k"] = np.repeat(list("aabcab"), 7)
    frame["g"] = rng.integers(0, 6, n)
    frame["y"] = frame["x"] + rng.normal(size=6)[frame["g"]] + rng.normal(size=n)
    frame.loc[n // 3 :, "x"] += 1e8
    formula = "y ~ x * z + k + (x | g)"
    data = tmp_path / "data.parquet"
    if how == "parquet":
        pa.parquet.write_table(pa.Table.from_pandas(frame), data, row_group_size=batch)
    else:
        dd = pytest.importorskip("dask.dataframe")
        data = dd.from_pandas(frame, npartitions=n // batch)
    one, two = bv.Model(formula, frame).reml(), bv.Model(formula, data).reml()
    assert two.design.fixed_names == one.design.fixed_names
    assert two.criterion == pytest.approx(one.criterion, abs=1e-6)
    se = np.sqrt(np.diagonal(one.cov_beta))
    assert (np.abs(two.beta - one.beta) < 1e-5 * se).all()


def test_columns_that_others_determine_are_seen_in_batches(tmp_path, monkeypatch):
    """Of random columns the rounding that is left over is no direction of its own."""
    monkeypatch.setattr(sources, "_BATCH_ROWS", 5)
    rng = np.random.default_rng(7)
    frame = pd.DataFrame({"x": rng.normal(size=40) + 7, "g": np.repeat(np.arange(10), 4)})
    frame["twice"] = 2 * frame["x"]
    frame["y"] = rng.normal(size=40)
    pa.parquet.write_table(pa.Table.from_pandas(frame), path := tmp_path / "a.parquet")
    for data in (frame, path):
        with pytest.warns(bv.FitWarning, match="not identified: one of these columns"):
            fit = bv.Model("y ~ x + (0 + x + twice | g)", data).reml()
        assert np.abs(fit.components["g"].to_numpy()).max() < 1e3


def in_files(folder, *columns):
    """Write the same rows with a column of each type, one file for each."""
    rng = np.random.default_rng(8)
    frames = []
    for k, column in enumerate(columns):
        frame = pd.DataFrame({"y": rng.normal(size=len(column)), "g": np.arange(len(column)) % 4})
        table = pa.Table.from_pandas(frame).append_column("x", column)
        pa.parquet.write_table(table, folder / f"{k}.parquet")
        frames.append(frame.assign(x=column.to_pandas().to_numpy(dtype=object)))
    return pd.concat(frames, ignore_index=True)


WIDE = pa.array(np.random.default_rng(9).normal(1e8, 1.0, 20))  # of which 4 bytes hold no digit


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (pa.array([1.5, -0.25] * 10, pa.float32()), WIDE),
        (pa.nulls(20), WIDE),
        (pa.array(range(20), pa.int8()), pa.array([10**6 + i**2 for i in range(20)])),
        (pa.array(range(20), pa.int16()), WIDE),
    ],
    ids=["shorter", "empty", "small", "whole"],
)
def test_files_of_other_types_lose_no_digit(first, second, tmp_path):
    import pyarrow.dataset as ds

    frame = in_files(tmp_path, first, second)
    one, two = (bv.Model("y ~ x + (1 | g)", data).reml() for data in (frame, tmp_path))
    assert two.design.n == one.design.n
    assert two.criterion == pytest.approx(one.criterion, abs=1e-6)
    np.testing.assert_allclose(two.beta, one.beta, rtol=1e-5)
    with pytest.raises(bv.DataError, match=r"'x' is read as .*, which does not hold"):
        bv.Model("y ~ x + (1 | g)", ds.dataset(tmp_path))
    assert bv.Model("y ~ 1 + (1 | g)", ds.dataset(tmp_path)).design.n == 40


def test_files_that_no_type_holds_are_refused(tmp_path):
    in_files(tmp_path, WIDE, pa.array(["1.5"] * 20))
    with pytest.raises(bv.DataError, match="'x' is double in one file, string in another"):
        bv.Model("y ~ x + (1 | g)", tmp_path)


def test_a_damaged_file_among_others_is_said(tmp_path):
    in_files(tmp_path, WIDE, WIDE)
    damaged = bytearray((tmp_path / "1.parquet").read_bytes())
    damaged[8:400] = bytes(392)
    (tmp_path / "1.parquet").write_bytes(damaged)
    with pytest.raises(bv.DataError, match="cannot be read"):
        bv.Model("y ~ x + (1 | g)", tmp_path)


def test_categories_keep_their_order_across_batches(tmp_path, monkeypatch):
    """Dictionaries of Arrow batches differ; identifiers of 17 digits have a gap in one of them."""
    monkeypatch.setattr(sources, "_BATCH_ROWS", 1)
    rng = np.random.default_rng(4)
    parts = []
    for levels in (["c", "a"], ["a", "b"]):
        ids = [10**17 + int(i) for i in rng.integers(0, 6, 40)]
        table = {
            "y": rng.normal(size=40),
            "f": pa.array(rng.choice(levels, 40)).cast(pa.dictionary(pa.int32(), pa.string())),
            "h": pa.DictionaryArray.from_arrays(rng.integers(0, 2, 40), levels),
            "g": pa.array([None, *ids[1:]] if levels[0] == "a" else ids),
        }
        parts.append(pa.record_batch(table))
    import pyarrow.dataset as ds

    table = pa.Table.from_batches(parts)
    dataset = ds.InMemoryDataset(table)
    formula = "y ~ h + (1 | g) + (1 | f)"
    one, two = bv.Model(formula, table), bv.Model(formula, dataset)
    assert one.design.fixed_names == two.design.fixed_names == ("Intercept", "h[a]", "h[b]")
    assert [list(t.levels) for t in two.design.terms] == [list(t.levels) for t in one.design.terms]
    assert two.reml().criterion == pytest.approx(one.reml().criterion, abs=1e-8)


def test_dask_objects_are_what_their_values_are():
    dd = pytest.importorskip("dask.dataframe")
    import dask

    rng = np.random.default_rng(5)
    frame = pd.DataFrame({"y": rng.normal(size=90), "g": np.tile(np.arange(9), 10)})
    frame["t"] = pd.Series(rng.random(90) > 0.5, dtype=object)
    frame["n"] = pd.Series([int(v) for v in rng.integers(0, 9, 90)], dtype=object)
    frame["f"] = pd.Series(rng.choice(list("ab"), 90), dtype=object)
    frame.loc[50, ["t", "n", "f"]] = None
    with dask.config.set({"dataframe.convert-string": False, "scheduler": "synchronous"}):
        formula = "y ~ t + n + f + (1 | g)"
        two = bv.Model(formula, dd.from_pandas(frame, npartitions=3))
    one = bv.Model(formula, frame)
    assert two.design.fixed_names == one.design.fixed_names
    assert two.reml().criterion == pytest.approx(one.reml().criterion, abs=1e-8)


def test_a_constant_response_is_refused_in_the_same_words(parquet):
    """With its value, and less its offset where there is one."""
    frame = pd.DataFrame({"y": 7.0, "x": np.arange(12.0), "g": list("abc") * 4})
    frame["z"] = frame["y"] + frame["x"]
    path = parquet(frame)
    for formula in ("y ~ x + (1 | g)", "z ~ 1 + offset(x) + (1 | g)"):
        said = []
        for data in (frame, path):
            with pytest.raises(bv.DataError, match=r"is constant \(7\) in the 12 rows") as refusal:
                bv.Model(formula, data)
            said.append(str(refusal.value))
        assert said[0] == said[1]
