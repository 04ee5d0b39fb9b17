"""Data in batches: the same sums, fits and draws as from a data frame."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import bayesv as bv
from bayesv.formula import sources

pa = pytest.importorskip("pyarrow")

STAR = "read ~ cltype + sx + (sx | sch/tch)"


@pytest.fixture
def parquet(tmp_path, monkeypatch):
    """Write a frame to Parquet, to be read a few hundred rows at a time."""
    monkeypatch.setattr(sources, "_ROWS", 200)

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
        assert a.blocks == b.blocks
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
