"""No mode of the posterior is missed in silence."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import bayesv as bv
from bayesv.inference import collapsed
from bayesv.inference.ascent import climb
from bayesv.inference.density import MarginalDensity
from bayesv.inference.modes import Mode, find_modes, laplace_shares, unvisited
from bayesv.inference.proposal import Mixture
from bayesv.inference.target import Target
from bayesv.inference.teams import Proposed, evidence_gap
from tests.modes import LEAST_MASS, examine, random_case

# Priors of the user's columns, so that days far from 0 make prior and likelihood contradict.
PRIORS = bv.Priors(
    sd={"Subject": {"Intercept": bv.HalfStudentT(3, 56.33), "Days": bv.HalfStudentT(3, 19.56)}},
    sigma=bv.HalfStudentT(3, 56.33),
)


def shifted(offset: float) -> bv.Model:
    data = bv.load_dataset("sleepstudy")
    data = data.assign(Days=data.Days + offset)
    return bv.Model("Reaction ~ Days + (Days | Subject)", data, PRIORS)


@pytest.mark.parametrize(
    ("offset", "mass"), [(0, 0.0), (300, 0.0507), (600, 0.5685), (1990, 0.9977)]
)
def test_both_modes_are_drawn(offset, mass):
    """Mass of slope SDs of at most 0.5 by importance sampling with 400,000 points (MCSE 0.001)."""
    post = shifted(offset).sample(seed=1)
    drawn = (np.sqrt(post.cov("Subject")[..., 1, 1]) <= 0.5).mean()
    assert abs(drawn - mass) < 4 * np.sqrt(mass * (1 - mass) / 1000) + 0.002
    assert not post.problems


def test_nuts_says_that_there_are_two_modes():
    with warnings.catch_warnings(record=True):
        warnings.simplefilter("always")
        post = shifted(600).sample("nuts", seed=1, draws=100, tune=100, progressbar=False)
    assert post.draws["posterior"].attrs["n_modes"] > 1
    assert post.problems


def test_an_unvisited_mode_is_named():
    modes = [Mode(np.zeros(2), np.eye(2), 0.0, 0.0), Mode(np.full(2, 50.0), np.eye(2), 0.0, 0.0)]
    x = np.random.default_rng(1).normal(size=(100, 2))
    assert "50% of its mass" in unvisited(modes, x)[0]
    assert not unvisited(modes, np.concatenate([x, x + 50.0]))


def test_climbs_find_all_summits():
    """Two narrow hills and a broad one, from starts all over."""
    hills = Mixture(
        np.full(3, 1 / 3),
        np.array([[0.0, 0.0], [4.0, 4.0], [-5.0, 3.0]]),
        np.array([np.eye(2), 0.1 * np.eye(2), [[0.3, 0.0], [0.28, 0.1]]]),
        0.0,
    )
    starts = np.random.default_rng(2).uniform(-7, 7, size=(100, 2))
    summits, values = climb(hills.log_density, starts)
    for summit in hills.means:
        assert np.abs(summits - summit).sum(axis=1).min() < 0.05
    assert (np.diff(values) <= 0).all()


@pytest.mark.parametrize("engine", ["collapsed", "nuts"])
def test_a_density_that_is_nowhere_is_named(monkeypatch, engine):
    nothing = property(lambda self: np.array([[np.inf] * self.size, [-np.inf] * self.size]))
    monkeypatch.setattr(Target, "_limits", nothing)
    model = bv.Model("Yield ~ 1 + (1 | Batch)", bv.load_dataset("dyestuff"))
    with pytest.raises(bv.BayesvError, match="cannot be evaluated around its mode"):
        model.sample(engine, draws=50, chains=2, seed=1, progressbar=False)


def test_modes_have_their_laplace_mass():
    model = bv.Model("Yield ~ 1 + (1 | Batch)", bv.load_dataset("dyestuff"))
    target = Target(MarginalDensity(model.statistics, model.priors))
    (mode,) = find_modes(target, model.reml().components, np.random.default_rng(0))
    slope = target.value_and_gradient(mode.x)[1]
    assert np.abs(mode.root.T @ slope).max() < 0.1
    assert laplace_shares([mode]) == pytest.approx([1.0])


def test_evidences_that_disagree_are_named(monkeypatch):
    """A team that sees one of two modes only: the gap of the evidences is far beyond its error."""
    rng = np.random.default_rng(3)
    one = Mixture(np.ones(1), np.zeros((1, 1)), np.ones((1, 1, 1)), 0.0)
    two = Mixture(np.full(2, 0.5), np.array([[0.0], [30.0]]), np.ones((2, 1, 1)), 0.0)

    def proposed(law: Mixture) -> Proposed:
        x = law.sample(rng, 4000)
        return Proposed(x, two.log_density(x), two.log_density(x) - law.log_density(x), None)

    assert evidence_gap([proposed(two), proposed(two)]) < 4.5
    assert evidence_gap([proposed(one), proposed(two)]) > 10
    assert evidence_gap([proposed(one)]) == 0
    monkeypatch.setattr(collapsed, "_MAX_GAP_SE", -1.0)
    model = bv.Model("Yield ~ 1 + (1 | Batch)", bv.load_dataset("dyestuff"))
    with pytest.warns(bv.SamplingWarning, match="log evidences"):
        assert "a mode may have been missed" in model.sample(seed=1).problems[0]


@pytest.mark.parametrize("k", range(6))
def test_random_models_against_many_starts(k):
    """The trial in small; ``python -m tests.modes 1000`` runs it in large."""
    result = examine(random_case(np.random.default_rng([11, k])), k)
    assert result["said"] or result["missed"] < LEAST_MASS, result
