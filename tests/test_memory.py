"""Memory is refused before it is taken, with the size and a way out."""

from __future__ import annotations

import gzip
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile

import numpy as np
import pandas as pd
import pyarrow
import pytest
from pyarrow import parquet

import bayesv as bv
from bayesv.data.tables import read_table
from bayesv.extract.r_files import read_columns
from bayesv.gram.threads import run
from bayesv.support import memory


@pytest.fixture
def little(monkeypatch):
    """A machine with 200 MiB to spare; what is asked of it must not be taken."""
    monkeypatch.setattr(memory, "available", lambda: 200 << 20)


def crossed(J: int, K: int) -> pd.DataFrame:
    rng = np.random.default_rng(1)
    n = 2 * J
    df = pd.DataFrame({"y": rng.normal(size=n), "x": rng.normal(size=n)})
    return df.assign(g=np.arange(n) % J, h=rng.permutation(np.arange(n) % K))


def test_what_there_is_is_known():
    assert memory.available() > 1 << 20
    assert memory.size(3) == "3 bytes"
    assert memory.size(3 * 2**30) == "3.0 GiB"
    assert memory.size(5 * 2**20) == "5 MiB"


def test_a_limit_of_the_process_counts(monkeypatch):
    resource = pytest.importorskip("resource")
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1 << 40, -1))
    assert memory.available() <= 1 << 40


@pytest.mark.usefixtures("little")
@pytest.mark.parametrize("K", [20_000, 50_000, 100_000])
def test_a_dense_block_too_large_is_refused_by_its_size(K):
    model = bv.Model("y ~ x + (1 | g) + (1 | h)", crossed(110_000, K), elimination="crossed")
    for work in (model.reml, lambda: model.sample(draws=10, chains=1)):
        with pytest.raises(bv.MemoryNeededError, match=f"{K:,} × 1.* GiB of memory; 200 MiB"):
            work()
    text = model.describe()
    assert f"{K:,} columns" in text
    assert "elimination='iterative'" in text


def packed_text(path: Path) -> None:
    with gzip.open(path, "wb") as file:
        file.write(b"y,x\n")
        for _ in range(40):
            file.write(b"1,2\n" * (1 << 18))


def packed_columns(path: Path) -> None:
    column = pyarrow.array(np.zeros(30_000_000, dtype=np.int8))
    parquet.write_table(pyarrow.table({"x": column}), path, compression="gzip")


def packed_workbook(path: Path) -> None:
    with ZipFile(path, "w", ZIP_DEFLATED) as file:
        file.writestr("xl/worksheets/sheet1.xml", b" " * (40 << 20))


@pytest.mark.usefixtures("little")
@pytest.mark.parametrize(
    ("name", "write"),
    [("d.csv.gz", packed_text), ("d.parquet", packed_columns), ("d.xlsx", packed_workbook)],
)
def test_small_files_that_unpack_to_much_are_refused(name, write, tmp_path):
    path = tmp_path / name
    write(path)
    assert path.stat().st_size < 1 << 20
    with pytest.raises(bv.MemoryNeededError, match=r"Reading .* needs .* of memory; 200 MiB"):
        read_table(path)


@pytest.mark.usefixtures("little")
def test_a_table_of_an_export_from_r_that_unpacks_to_much_is_refused(tmp_path):
    packed_text(tmp_path / "design.csv.gz")
    with pytest.raises(bv.MemoryNeededError, match=r"design.csv.gz, .* bytes of text"):
        read_columns(tmp_path, "design.csv.gz")


@pytest.mark.usefixtures("little")
def test_many_levels_of_many_slopes_are_refused():
    rng = np.random.default_rng(2)
    J, k = 20_000, 50
    X = rng.normal(size=(2 * J, k))
    df = pd.DataFrame(X, columns=[f"x{i}" for i in range(k)])
    df = df.assign(y=rng.normal(size=2 * J), g=np.arange(2 * J) % J)
    model = bv.Model(f"y ~ 1 + (0 + {' + '.join(df.columns[:k])} | g)", df)
    assert "20,000 levels × 50 columns" in model.describe()
    with pytest.raises(bv.MemoryNeededError, match="fewer columns"):
        model.reml()


@pytest.mark.usefixtures("little")
def test_draws_are_refused_before_any_is_made(sleepstudy):
    with pytest.raises(bv.MemoryNeededError, match="Draw fewer"):
        sleepstudy.sample(draws=10**9)
    with pytest.raises(bv.MemoryNeededError, match=r"36 random effects.* without keep_u"):
        sleepstudy.sample(draws=100_000, keep_u=True)


@pytest.mark.usefixtures("little")
def test_draws_of_priors_are_refused_before_any_is_made(sleepstudy):
    with pytest.raises(bv.MemoryNeededError, match="Draw fewer"):
        sleepstudy.prior_predictive(10**9)
    with pytest.raises(bv.MemoryNeededError, match=r"refits of \d+ numbers .* Draw fewer"):
        bv.bootstrap(sleepstudy.reml(), draws=10**10)


def test_predictions_are_refused_before_any_is_made(sleepstudy, monkeypatch):
    post = sleepstudy.sample(draws=500, chains=2, seed=1)
    new = {"Days": np.zeros(30_000), "Subject": ["308"] * 30_000}
    monkeypatch.setattr(memory, "available", lambda: 200 << 20)
    with pytest.raises(bv.MemoryNeededError, match="30,000 rows from 1,000 draws"):
        post.predict(new)


@pytest.mark.usefixtures("little")
def test_columns_that_cannot_be_orthogonalised_are_refused():
    n = 30_000
    df = pd.DataFrame({"y": np.arange(n) % 7.0, "g": np.arange(n) // 150, "f": np.arange(n) % 150})
    model = bv.Model("y ~ 1 + (0 + factor(f) | g)", df)
    with pytest.raises(bv.MemoryNeededError, match="150 columns of 30,000 rows"):
        model.reml()


@pytest.mark.usefixtures("little")
def test_v_is_not_formed_where_it_does_not_fit():
    n = 6_000
    df = pd.DataFrame({"y": np.random.default_rng(3).normal(size=n), "g": np.arange(n) % 2})
    model = bv.Model("y ~ 1 + (1 | g)", df)
    V = bv.MarginalCovariance(model.design, bv.VarianceComponents({"g": [[1.0]]}, sigma2=2.0))
    with pytest.raises(bv.MemoryNeededError, match="dense"):
        V.to_dense(limit=n)
    with pytest.raises(bv.MemoryNeededError, match="V @ x"):
        V.to_sparse()
    assert V.diagonal()[0] == 3.0


@pytest.mark.usefixtures("little")
def test_no_more_run_side_by_side_than_memory_holds():
    import threading

    count, most, lock = 0, 0, threading.Lock()

    def task(_):
        nonlocal count, most
        with lock:
            count += 1
            most = max(most, count)
        threading.Event().wait(0.01)
        with lock:
            count -= 1

    run(task, range(6), bytes_each=150 << 20)
    assert most == 1


@pytest.mark.usefixtures("little")
@pytest.mark.parametrize(
    ("formula", "said"),
    [
        ("y ~ f + (1 | g)", r"8,999 columns for 9,000 rows.*\(1 \| f\)"),
        ("y ~ x + (f | g)", "9,000 rows"),
        ("y ~ x * f:g + (1 | g)", "columns for"),
        ("y ~ poly(x, 5000) + (1 | g)", "degree=5,000"),
        ("y ~ bs(x, df=5000) + (1 | g)", "df=5,000"),
        ("y ~ ns(x, df=1e300) + (1 | g)", "Choose a smaller one"),
    ],
)
def test_columns_too_many_are_refused_before_they_are_made(formula, said):
    n = 9_000
    df = pd.DataFrame({"y": np.arange(n) % 7.0, "x": np.arange(n) / n, "g": np.arange(n) % 5})
    df["f"] = [f"L{i}" for i in range(n)]
    with pytest.raises(bv.BayesvError, match=said):
        bv.Model(formula, df)
