"""Fuzzers in small; in large they are run by ``python -m tests.fuzz NAME COUNT SEED``."""

from __future__ import annotations

import importlib.util
import tracemalloc
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import bayesv as bv
from bayesv.priors.text import prior_from_text
from bayesv.study import Scenario
from bayesv.support import memory

_spec = importlib.util.spec_from_file_location("fuzz", Path(__file__).parent / "fuzz.py")
fuzzers = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(fuzzers)


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("priors", 200),
        ("varcorr", 100),
        ("toml", 60),
        ("frames", 40),
        ("structures", 150),
        ("r_folders", 60),
        ("residuals", 60),
        ("pedigrees", 100),
        ("known", 60),
        ("predictions", 60),
        ("formulas", 200),
    ],
)
def test_all_is_read_or_refused(name, count, monkeypatch):
    monkeypatch.setattr(memory, "available", lambda: 1 << 30)
    ends, reports = fuzzers.fuzz(name, count, seed=5)
    assert not reports, reports[0]
    assert ends["read"]
    assert ends["refused"]


@pytest.mark.parametrize(
    "text", ["HalfNormal(" + "-" * 5000 + "1)", "HalfNormal(" + "(" * 400 + "1" + ")" * 400 + ")",
             "HalfNormal(" + "9" * 400 + ")", "HalfNormal(" + "9" * 5000 + ")", "\x00"],
)  # fmt: skip
def test_priors_too_deep_or_long_are_refused(text):
    with pytest.raises(bv.PriorError, match="is not a prior") as refused:
        prior_from_text(text)
    assert len(str(refused.value)) < 600


@pytest.mark.parametrize("cell", [[], [1.0], 10**400, {"a": 1}, np.zeros(2)])
def test_cells_of_a_listing_are_numbers_and_names(cell):
    frame = pd.DataFrame(
        {"grp": ["g", "Residual"], "var1": ["a", None], "var2": None, "vcov": [1.0, 2.0]}
    ).astype(object)
    frame.at[0, "vcov"] = cell
    with pytest.raises(bv.ComponentsError, match="This line of the data frame"):
        bv.VarianceComponents.from_varcorr(frame)


@pytest.mark.parametrize("number", ["6121e40010", "62.1e3080", "1e200", "1e" + "9" * 5000])
def test_numbers_of_a_listing_that_no_float_has(number):
    with pytest.raises(bv.ComponentsError, match="listing cannot be read"):
        bv.VarianceComponents.from_varcorr(fuzzers.LISTING.replace("612.10", number))
    with pytest.raises(bv.ComponentsError, match="listing cannot be read"):
        bv.VarianceComponents.from_varcorr(fuzzers.LISTING.replace("25.592", number))


def test_the_scenario_that_is_damaged_is_sound():
    assert Scenario.from_toml(fuzzers.TOML).prepare(seed=1).replicate(0).model.design.n > 12


@pytest.mark.parametrize(
    "line", ["sigma = " + "9" * 5000, "sigma = " + "[" * 3000 + "]" * 3000, "sigma = " + "9" * 400]
)
def test_toml_too_deep_or_long_is_refused(line):
    text = fuzzers.TOML.replace("sigma = 25.0", line)
    with pytest.raises(bv.ScenarioError):
        Scenario.from_toml(text)


def test_rows_take_no_more_memory_than_was_asked_for(monkeypatch):
    asked = []
    monkeypatch.setattr(
        "bayesv.study.simulation.groups.refuse_unless", lambda needed, *_: asked.append(needed)
    )
    text = fuzzers.TOML.replace('{law = "poisson", mean = 4.0, least = 2}', "10000")
    tracemalloc.start()
    Scenario.from_toml(text).prepare(seed=1).replicate(0).model.reml()
    taken = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert 0.3 * max(asked) < taken < max(asked)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("levels = {g = 12}", "levels = {g = 100000000}"),
        ('rows = {law = "poisson", mean = 4.0, least = 2}', "rows = 10000000"),
        ("levels = {g = 12}", "levels = {g = 100000, h = 100000}"),
    ],
)
def test_sizes_too_large_are_refused_before_rows_are_drawn(old, new, monkeypatch):
    monkeypatch.setattr(memory, "available", lambda: 1 << 30)
    text = fuzzers.TOML.replace(old, new)
    if "h =" in new:
        text = text.replace("(x | g)", "(x | g) + (1 | h)")
        text = text.replace("sd = {", "sd = {h = {Intercept = 1.0}, ")
    scenario = Scenario.from_toml(text)
    with pytest.raises(bv.MemoryNeededError, match=r"GiB of memory.*fewer"):
        scenario.prepare(seed=1)
