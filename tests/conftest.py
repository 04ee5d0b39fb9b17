"""Designs and fits that several tests share."""

from __future__ import annotations

from collections import Counter

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

import bayesv as bv


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files of long tests first, then those of many: workers then end at the same time."""
    n_tests = Counter(item.path for item in items)
    items.sort(
        key=lambda item: (
            item.path.name != "test_readme.py",  # builds the documentation, all in one test
            item.path.suffix != ".ipynb",
            -n_tests[item.path],
        )
    )


@pytest.fixture(scope="session")
def sleepstudy() -> bv.Model:
    return bv.Model("Reaction ~ Days + (Days | Subject)", bv.load_dataset("sleepstudy"))


@pytest.fixture(scope="session")
def sleepstudy_posterior(sleepstudy) -> bv.Posterior:
    return sleepstudy.sample(seed=1, keep_u=True, draws=500)


@pytest.fixture(scope="session")
def star() -> bv.Model:
    return bv.Model("read ~ cltype + sx + (sx | sch/tch)", bv.load_dataset("star_k20"))


@pytest.fixture(scope="session")
def sleepstudy_fit(sleepstudy) -> bv.RemlFit:
    return sleepstudy.reml()


@pytest.fixture(scope="session")
def star_fit(star) -> bv.RemlFit:
    return star.reml()


@pytest.fixture(scope="session")
def large() -> bv.Model:
    """A hundred thousand rows, shuffled, in five thousand groups."""
    rng = np.random.default_rng(8)
    n, J = 100_000, 5_000
    g = rng.integers(0, J, n)
    y = rng.normal(size=J)[g] + rng.normal(size=n)
    return bv.Model("y ~ 1 + (1 | g)", pd.DataFrame({"g": g, "y": y}))


@pytest.fixture(autouse=True, scope="module")
def _closed_after_each_file():
    """Files are run in any order: what one leaves open is no matter of the next."""
    yield
    plt.close("all")


@pytest.fixture
def _closed():
    """No figure is open before, and none afterwards."""
    assert not plt.get_fignums()
    yield
    plt.close("all")


def random_components(design: bv.Design, rng: np.random.Generator) -> bv.VarianceComponents:
    """Components of a design with a random rank: full, one short, or zero."""
    blocks = {}
    for term in design.terms:
        r = term.n_columns
        root = np.zeros((r, r))
        for block in term.structure.blocks:
            rank = int(rng.integers(0, len(block) + 1))
            part = rng.normal(size=(len(block), rank))
            root[np.ix_(block, block[:rank])] = part
        blocks[term.group] = root @ root.T
    return bv.VarianceComponents(blocks, sigma2=float(np.exp(rng.normal())))
