"""Designs and fits that several tests share."""

from __future__ import annotations

import numpy as np
import pytest

import bayesv as bv


@pytest.fixture(scope="session")
def sleepstudy() -> bv.Model:
    return bv.Model("Reaction ~ Days + (Days | Subject)", bv.load_dataset("sleepstudy"))


@pytest.fixture(scope="session")
def sleepstudy_posterior(sleepstudy) -> bv.Posterior:
    return sleepstudy.sample(seed=1, keep_u=True, draws=500)


@pytest.fixture(scope="session")
def star() -> bv.Model:
    return bv.Model("read ~ cltype + sx + (sx | sch/tch)", bv.load_dataset("star_k20"))


def random_components(design: bv.Design, rng: np.random.Generator) -> bv.VarianceComponents:
    """Components of a design with a random rank: full, one short, or zero."""
    blocks = {}
    for term in design.terms:
        r = term.n_columns
        root = np.zeros((r, r))
        for block in term.blocks:
            rank = int(rng.integers(0, len(block) + 1))
            part = rng.normal(size=(len(block), rank))
            root[np.ix_(block, block[:rank])] = part
        blocks[term.group] = root @ root.T
    return bv.VarianceComponents(blocks, sigma2=float(np.exp(rng.normal())))
