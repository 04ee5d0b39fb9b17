"""Structures that ask for more memory than there is are refused by name before any is taken."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import bayesv as bv
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
