"""Structures that ask for more memory than there is are refused by name before any is taken."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import bayesv as bv
from bayesv.gram.pieces import whole_series
from bayesv.structures.coordinate_priors import RangePC
from bayesv.structures.kinds import family
from bayesv.support import memory

N = 600


@pytest.fixture
def little(monkeypatch):
    """Two megabytes are left."""
    monkeypatch.setattr(memory, "available", lambda: 1 << 21)


def data(n: int = N) -> pd.DataFrame:
    rng = np.random.default_rng(11)
    numbers = {name: rng.normal(size=n) for name in ("y", "x", "z")}
    return pd.DataFrame({**numbers, "f": 0, "s": np.arange(n) % 10})


@pytest.mark.parametrize("residual", ["sp_exp(x + z | f)", "sp_mat(x | f, nugget=True)"])
def test_a_field_of_many_places(residual, little):
    with pytest.raises(bv.MemoryNeededError, match="of memory"):
        bv.Model("y ~ x", data(), residual=residual).reml()


def test_fields_of_many_places(little):
    with pytest.raises(bv.MemoryNeededError, match=r"distances of sp_exp.* 10 series of 60 rows"):
        bv.Model("y ~ x", data(), residual="sp_exp(x + z | s)").reml()


def test_patterns_of_fields_are_found_whole():
    """Far more lags than series: alike where all lags are, at the first series that has them."""
    frame = data().assign(s=lambda d: d.index // 60)
    frame.loc[240:299, ["x", "z"]] = frame.loc[60:119, ["x", "z"]].to_numpy() + 3.0
    form = bv.Model("y ~ 1", frame, residual="sp_exp(x + z | s)").design.residual
    (pieces,) = whole_series(form)
    np.testing.assert_array_equal(pieces.pattern, [0, 1, 2, 3, 1, 4, 5, 6, 7, 8])
    np.testing.assert_array_equal(pieces.first, [0, 1, 2, 3, 5, 6, 7, 8, 9])


@pytest.mark.parametrize(
    ("formula", "residual"), [("y ~ 1", "us(t | s)"), ("y ~ 1 + us(0 + t | s)", None)]
)
def test_a_free_covariance_of_many_visits(formula, residual, monkeypatch):
    frame = data().assign(t=[f"visit {k // 10}" for k in range(N)])
    model = bv.Model(formula, frame, residual=residual)
    monkeypatch.setattr(memory, "available", lambda: 100 << 20)
    said = r"The search over 1,8\d\d parameters.*such as toep or ar1"
    for work in (model.reml, lambda: model.sample(draws=10, chains=1)):
        with pytest.raises(bv.MemoryNeededError, match=said):
            work()


@pytest.mark.parametrize(
    ("kind", "said"),
    [("us", "The search over 180,300 parameters"), ("cs", "pairs of the 600 visits")],
)
def test_visits_in_text_without_number(kind, said, little):
    frame = data().assign(t=[f"visit {k}" for k in range(N)], s=0)
    with pytest.raises(bv.MemoryNeededError, match=said):
        bv.Model("y ~ 1", pd.concat([frame, frame.assign(s=1)]), residual=f"{kind}(t | s)").reml()


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (np.broadcast_to(1.0, (3 * N, 3 * N)), "dense"),
        (sparse.csr_array(np.ones((N, N))), "covariances"),
        (sparse.diags_array([0.2, 1.0, 0.2], offsets=[-1, 0, 1], shape=(N, N)), "sets of rows"),
    ],
)
def test_a_known_covariance(values, said, little):
    frame = data(values.shape[0])
    with pytest.raises(bv.MemoryNeededError, match=said):
        bv.Model("y ~ x + (1 | s)", frame, residual=bv.Known(values))


@pytest.mark.parametrize("made", ["dense", "sparse", "pedigree"])
def test_relationships_of_many_levels(made, little):
    frame = data().assign(s=np.arange(N))
    names = [str(i) for i in range(N)]
    K = {
        "dense": lambda: (np.broadcast_to(1.0, (N, N)), names),
        "sparse": lambda: (sparse.eye_array(N), names),
        "pedigree": lambda: bv.pedigree({"id": names, "sire": [""] * N, "dam": [""] * N}),
    }[made]()
    with pytest.raises(bv.MemoryNeededError, match="600 related levels"):
        bv.Model("y ~ x + (1 | s)", frame, relationship={"s": K}).reml()


def test_the_prior_of_a_range_needs_no_table_of_distances():
    """Half the median distance to the nearest neighbour, as from all distances."""
    places = np.random.default_rng(5).normal(size=(40, 2))
    apart = np.sqrt(((places[:, None] - places) ** 2).sum(axis=2))
    np.fill_diagonal(apart, np.inf)
    expected = 0.5 * float(np.median(apart.min(axis=1)))
    assert family("sp_exp", places).range_prior == RangePC.below(expected, dimension=2)
