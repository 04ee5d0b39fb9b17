"""Scenarios: structures and sizes, covariates, grids, files, and what every refusal says."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

import bayesv as bv
from bayesv.study.declared.laws import draw_counts
from bayesv.study.simulation.rows import draw_rows

Scenario = bv.study.Scenario

BASE: dict[str, Any] = {
    "name": "base",
    "formula": "y ~ x + (x | g)",
    "levels": {"g": 12},
    "rows": 5,
    "covariates": {"x": {"law": "normal"}},
    "beta": {"Intercept": 1.0, "x": 0.5},
    "sd": {"g": [1.0, 0.5]},
    "sigma": 2.0,
}
NESTED: dict[str, Any] = {
    "name": "nested",
    "formula": "y ~ 1 + (1 | a/b/c)",
    "levels": {"a": 4, "b": 3, "c": 2},
    "nested": {"b": "a", "c": "b"},
    "rows": 3,
    "sd": {"a": 1, "a:b": 1, "a:b:c": 1},
    "sigma": 1,
}
CROSSED: dict[str, Any] = {
    "name": "crossed",
    "formula": "y ~ 1 + (1 | s) + (1 | d)",
    "levels": {"s": 30, "d": 20},
    "rows": 2,
    "sd": {"s": 1, "d": 1},
    "sigma": 1,
}


def frame_of(base: dict[str, Any], seed: int = 0, **more: Any) -> pd.DataFrame:
    return draw_rows(Scenario(**(base | more)), np.random.default_rng(seed)).frame


def counts(frame: pd.DataFrame, *factors: str) -> Any:
    return frame.groupby(list(factors), observed=True).size().to_numpy()


# --- structures -----------------------------------------------------------------------------------


def test_balanced_nesting():
    frame = frame_of(NESTED)
    assert [frame[f].nunique() for f in "abc"] == [4, 12, 24]
    assert (counts(frame, "c") == 3).all()
    assert len(counts(frame, "a", "b", "c")) == 24  # each c in one b, each b in one a
    design = Scenario(**NESTED).prepare(1).replicate(0).model.design
    assert [t.n_levels for t in design.terms] == [24, 12, 4]


def test_unbalanced_nesting_siblings_and_lists():
    frame = frame_of(NESTED, levels={"a": 4, "b": [1, 2, 3, 4], "c": {"law": "poisson", "mean": 3}})
    assert list(counts(frame.drop_duplicates(["a", "b"]), "a")) == [1, 2, 3, 4]
    assert len(counts(frame, "a", "b", "c")) == frame["c"].nunique()
    siblings = frame_of(
        NESTED,
        formula="y ~ (1 | a) + (1 | b) + (1 | c)",
        nested={"b": "a", "c": "a"},
        sd={"a": 1, "b": 1, "c": 1},
    )
    assert len(counts(siblings, "b", "c")) == 4 * 3 * 2  # crossed within a
    assert len(counts(siblings, "a", "b")) == 12


def test_full_and_partial_crossing():
    assert len(counts(frame_of(CROSSED), "s", "d")) == 600
    some = frame_of(CROSSED, crossing=0.1)
    assert len(counts(some, "s", "d")) == 60
    assert (some["s"].nunique(), some["d"].nunique()) == (30, 20)
    fewest = frame_of(CROSSED, crossing=0.001)  # no level is lost
    assert (fewest["s"].nunique(), fewest["d"].nunique()) == (30, 20)
    rated = frame_of(CROSSED, crossing={"per": "s", "cells": 4})
    assert (counts(rated.drop_duplicates(["s", "d"]), "s") == 4).all()
    with pytest.raises(
        bv.ScenarioError, match=r"crossing\.cells: found 21; allowed: at most the 20"
    ):
        frame_of(CROSSED, crossing={"per": "s", "cells": 21})
    law = {"per": "s", "cells": {"law": "poisson", "mean": 90}}
    assert len(counts(frame_of(CROSSED, crossing=law), "s", "d")) == 600


@pytest.mark.parametrize(
    ("law", "mean", "sd"),
    [
        ({"law": "poisson", "mean": 6, "least": 0}, 6, np.sqrt(6)),
        ({"law": "geometric", "mean": 4}, 4, np.sqrt(0.75) * 4),
        ({"law": "negative_binomial", "mean": 5, "size": 2, "least": 0}, 5, np.sqrt(5 + 25 / 2)),
        ({"law": "uniform", "low": 2, "high": 8}, 5, 2.0),
        ({"law": "singletons", "share": 0.25, "size": 9}, 7, np.sqrt(3) / 4 * 8),
        ({"law": "dirichlet", "total": 5000, "concentration": 1e6, "least": 0}, 5, np.sqrt(5)),
        (7, 7, 0),
    ],
)
def test_sizes_follow_their_law(law, mean, sd):
    sizes = draw_counts("rows", law, 1000, np.random.default_rng(1), least=1)
    assert abs(sizes.mean() - mean) <= 4 * sd / np.sqrt(1000)
    assert sizes.std() == pytest.approx(sd, rel=0.15)


def test_sizes_keep_totals_and_the_least():
    rng = np.random.default_rng(2)
    law = {"law": "dirichlet", "total": 200, "concentration": 0.1}
    sizes = draw_counts("rows", law, 50, rng, least=1)
    assert (sizes.sum(), sizes.min()) == (200, 1)
    alone = frame_of(BASE, rows={"law": "singletons", "share": 0.5, "size": 9})
    assert sorted(counts(alone, "g")) == [1] * 6 + [9] * 6


# --- covariates -----------------------------------------------------------------------------------


def test_between_within_and_mixed_covariates():
    frame = frame_of(
        BASE,
        levels={"g": 400},
        formula="y ~ x + z + m + (1 | g)",
        sd={"g": 1},
        covariates={
            "x": {"law": "normal", "group": "g"},
            "z": {"law": "normal", "mean": 10, "sd": 2},
            "m": {"law": "normal", "group": "g", "between": 0.3},
        },
        correlations={"z:m": 0.6},
    )
    assert (frame.groupby("g", observed=True)["x"].nunique() == 1).all()
    assert frame["z"].mean() == pytest.approx(10, abs=4 * 2 / np.sqrt(2000))
    between = frame.groupby("g", observed=True)["m"].mean().var() - 0.7 / 5
    assert between == pytest.approx(0.3, abs=0.12)
    within = frame.groupby("g", observed=True)["m"].var().mean()
    assert within == pytest.approx(0.7, abs=4 * 0.7 * np.sqrt(2 / 1600))
    # z has no part between groups: the correlation of the scores counts for the rest of m.
    assert np.corrcoef(frame["z"], frame["m"])[0, 1] == pytest.approx(0.6 * np.sqrt(0.7), abs=0.08)


def test_correlated_covariates_of_one_level():
    frame = frame_of(
        BASE | {"formula": "y ~ x + z + (1 | g)", "sd": {"g": 1}},
        levels={"g": 3000},
        rows=1,
        covariates={"x": {"law": "normal", "group": "g"}, "z": {"law": "uniform", "group": "g"}},
        correlations={"x:z": -0.5},
    )
    score = np.sqrt(3 / np.pi) * -0.5  # Pearson correlation of a normal and a uniform score
    assert np.corrcoef(frame["x"], frame["z"])[0, 1] == pytest.approx(score, abs=0.06)


def test_categories_grids_and_cycles():
    frame = frame_of(
        BASE | {"formula": "y ~ t + f + arm + k + (t | g)"},
        levels={"g": 300},
        covariates={
            "t": {"law": "grid", "start": 1, "step": 0.5},
            "f": {"law": "categorical", "levels": {"small": 0.2, "reg": 0.5, "aide": 0.3}},
            "arm": {"law": "cycle", "values": ["control", "drug"], "group": "g"},
            "k": {"law": "bernoulli", "p": 0.3},
        },
        beta={"f[reg]": 1, "arm[drug]": 2},
    )
    assert list(frame["t"][:5]) == [1, 1.5, 2, 2.5, 3]
    assert list(frame["f"].cat.categories) == ["small", "reg", "aide"]
    shares = frame["f"].value_counts(normalize=True)
    assert abs(shares["small"] - 0.2) < 4 * np.sqrt(0.16 / 1500)
    assert frame.groupby("g", observed=True)["arm"].first().tolist()[:3] == [
        "control",
        "drug",
        "control",
    ]
    assert (frame.groupby("g", observed=True)["arm"].nunique() == 1).all()
    assert abs(frame["k"].mean() - 0.3) < 4 * np.sqrt(0.21 / 1500)


def test_time_runs_on_within_a_coarser_factor():
    time = {"t": {"law": "grid", "within": "a"}}
    frame = frame_of(NESTED, formula="y ~ t + (1 | a/b/c)", covariates=time)
    assert (np.sort(frame[frame["a"] == "2"]["t"]) == np.arange(18)).all()


def test_missing_and_shuffled_rows():
    whole = Scenario(**(BASE | {"levels": {"g": 400}}))
    full = draw_rows(whole, np.random.default_rng(0)).frame
    assert len(frame_of(BASE, levels={"g": 400}, missing=0.25)) == 1500
    at_random = {"share": 0.25, "column": "x", "slope": 2.0}
    kept = frame_of(BASE, levels={"g": 400}, missing=at_random)
    assert abs(len(kept) - 1500) < 4 * np.sqrt(2000 * 0.25 * 0.75)
    assert kept["x"].mean() < full["x"].mean() - 0.2  # large x are missing more often
    shuffled = frame_of(BASE, levels={"g": 400}, shuffle=True)
    assert not shuffled["g"].equals(full["g"])
    pd.testing.assert_frame_equal(
        shuffled.sort_values(["g", "x"], ignore_index=True),
        full.sort_values(["g", "x"], ignore_index=True),
    )


# --- files and grids ------------------------------------------------------------------------------


def test_toml_and_dict_round_trip():
    rich = Scenario(
        **(BASE | {"rows": {"law": "poisson", "mean": 4}, "corr": {"g": -0.3}, "missing": 0.1,
                   "errors": {"law": "t", "df": 5}, "ar1": {"rho": 0.4, "group": "g", "time": "x"},
                   "weights": {"law": "lognormal"}, "shuffle": True, "design": "redrawn"})
    )  # fmt: skip
    again = Scenario.from_toml(rich.to_toml())
    assert again.to_dict() == rich.to_dict() == Scenario.from_dict(rich.to_dict()).to_dict()
    np.testing.assert_array_equal(
        again.prepare(3).replicate(5).model.design.y, rich.prepare(3).replicate(5).model.design.y
    )


def test_values_of_numpy_and_pandas_mean_the_same():
    same = Scenario(**(BASE | {"sd": {"g": np.array([1.0, 0.5])}, "beta": pd.Series(BASE["beta"])}))
    assert same.crc == Scenario(**BASE).crc
    assert Scenario(**(BASE | {"sigma": 2})).crc == Scenario(**(BASE | {"sigma": 2.0})).crc


def test_grid_is_factorial_and_keeps_its_values(tmp_path):
    path = tmp_path / "study.toml"
    text = Scenario(**BASE).to_toml()
    path.write_text(
        text + '\n[grid]\n"levels.g" = [4, 8]\n\n[grid.errors]\nnormal = {law = "normal"}\n'
        't5 = {law = "t", df = 5}\n'
    )
    found = bv.study.read_scenarios(path)
    assert [s.factors for s in found] == [
        {"levels.g": j, "errors": e} for j in (4, 8) for e in ("normal", "t5")
    ]
    assert found[3].name == "base: levels.g=8, errors=t5"
    assert found[3].levels == {"g": 8}
    assert found[3].errors == {"law": "t", "df": 5}
    made = bv.study.grid(Scenario(**BASE), **{"levels.g": [4, 8], "sd.g": [[1, 0], [1, 1]]})
    assert [s.levels["g"] for s in made] == [4, 4, 8, 8]
    assert made[0].crc != made[1].crc
    assert Scenario(**(BASE | {"name": "other"})).crc == Scenario(**BASE).crc


def test_data_of_ones_own_from_a_file(tmp_path):
    bv.load_dataset("sleepstudy").to_csv(tmp_path / "sleep.csv", index=False)
    (tmp_path / "own.toml").write_text(
        '[scenario]\nname = "own"\nformula = "Reaction ~ Days + (Days | Subject)"\n'
        'data = "sleep.csv"\nparameters = "REML"\n'
    )
    (scenario,) = bv.study.read_scenarios(tmp_path / "own.toml")
    truth = scenario.prepare(1).replicate(0).truth
    assert truth.components["Subject"].iloc[0, 0] == pytest.approx(612.1, abs=0.1)
    bundled = Scenario(**(scenario.to_dict() | {"data": "sleepstudy"}))
    frame = bv.load_dataset("sleepstudy")
    given = Scenario(**(scenario.to_dict() | {"data": frame}))
    assert bundled.crc == given.crc
    assert given.to_dict()["data"].startswith("<DataFrame, checksum")
    with pytest.raises(bv.ScenarioError, match="data: found a DataFrame"):
        given.to_toml()


# --- refusals -------------------------------------------------------------------------------------

BAD = [
    ({"formula": "y ~ x + (x | g"}, "formula: .*never closed"),
    ({"formula": "y ~ x + (z | g)"}, "formula: .*no column 'z'"),
    ({"formula": "y ~ (1 | g)"}, r"covariates\.x: found, but nothing uses it; .* name g, y"),
    ({"formula": "g ~ x + (x | g)"}, "formula"),
    ({"formula": "log(y) ~ x + (x | g)"}, "formula: found .*a response that is a name"),
    ({"truth_formula": "z ~ x + (x | g)"}, "truth_formula: found .*the response of the formula"),
    ({"name": ""}, "name: found ''; allowed: a text"),
    ({"design": "fix"}, "design: found 'fix'; allowed: 'fixed', 'redrawn'; did you mean 'fixed'"),
    ({"shuffle": 1}, "shuffle: found 1; allowed: true or false"),
    ({"levels": {}}, "levels: at least one"),
    ({"levels": {"g": 1}}, r"levels\.g: found 1; allowed: a whole number in \[2, inf\)"),
    ({"levels": {"g": 4.5}}, r"levels\.g: found 4\.5"),
    ({"levels": {"g": 4, "h": 3}}, r"levels\.h: found, but nothing uses it"),
    ({"levels": 4}, "levels: found 4; allowed: a table"),
    ({"nested": {"h": "g"}}, "nested: its keys: found 'h'; allowed: 'g'"),
    ({"nested": {"g": "g"}}, r"nested\.g: found 'g'; allowed: a factor that is not nested in it"),
    ({"rows": None}, "rows: the number of rows"),
    ({"rows": 0}, "rows: found 0; allowed: a whole number from 1"),
    ({"rows": [1, -2]}, r"rows\[1\]: found -2"),
    ({"rows": {"law": "poison", "mean": 2}}, r"rows\.law: found 'poison'.*did you mean 'poisson'"),
    ({"rows": {"law": "poisson"}}, "rows: the law 'poisson' needs 'mean'"),
    ({"rows": {"law": "poisson", "mean": 0}}, r"rows\.mean: found 0; allowed: a number in \(0"),
    ({"rows": {"law": "poisson", "mean": 2, "max": 3}}, "rows: its keys: found 'max'"),
    ({"rows": {"law": "uniform", "low": 3, "high": 2}}, r"rows\.high: found 2.*above low = 3"),
    ({"crossing": 0}, r"crossing: found 0; allowed: a number in \(0, 1\]"),
    ({"crossing": {"per": ["g"], "cells": 2}}, r"crossing\.per: found \['g'\]"),
    ({"factors": 3}, "factors: found 3; allowed: a table"),
    ({"correlations": 3}, "correlations: found 3; allowed: a table"),
    ({"sd": None, "cov": {"g": {"x": 3}}}, r"^cov\.g\.x: found 3; allowed: a table"),
    ({"covariates": {"x": {"law": "cycle", "values": [[1], 2]}}}, r"covariates\.x\.values: found"),
    ({"crossing": {"per": "h", "cells": 2}}, r"crossing\.per: found 'h'"),
    ({"covariates": {"x": {"law": "nrmal"}}}, r"covariates\.x\.law: found 'nrmal'.*'normal'"),
    ({"covariates": {"x": 3}}, r"covariates\.x: found 3; allowed: a table"),
    ({"covariates": {"x": {"law": "normal", "sd": -1}}}, r"covariates\.x\.sd: found -1"),
    ({"covariates": {"x": {"law": "normal", "group": "h"}}}, r"covariates\.x\.group: found 'h'"),
    ({"covariates": {"x": {"law": "normal", "between": 0.5}}}, "key 'group' is missing"),
    ({"covariates": {"x": {"law": "grid", "by": 2}}}, r"covariates\.x: its keys: found 'by'"),
    ({"covariates": {"x": {"law": "cycle", "values": []}}}, r"covariates\.x\.values: found \[\]"),
    ({"covariates": {"x": {"law": "categorical", "levels": {"a": 0.5, "b": 0.6}}}}, "sum 1"),
    ({"covariates": {"x": {"law": "normal"}, "g": {"law": "normal"}}}, r"covariates\.g: found 'g'"),
    ({"correlations": {"x:z": 0.5}}, "correlations: found 'x:z'; allowed: 'a:b' of two"),
    ({"beta": {"Intercpt": 1}}, "beta: its keys: found 'Intercpt'.*did you mean 'Intercept'"),
    ({"beta": {"x": "a"}}, r"beta\.x: found 'a'; allowed: a number"),
    ({"sd": {}}, r"sd\.g: found nothing of 'g'; needed"),
    ({"sd": {"h": 1, "g": [1, 1]}}, "sd: its keys: found 'h'; allowed: 'g'"),
    ({"sd": {"g": [1]}}, r"sd\.g: "),
    ({"sd": {"g": {"Intercept": 1, "z": 1}}}, r"sd\.g: .*z"),
    ({"corr": {"g": 1.5}}, r"sd\.g: .*not positive semi-definite"),
    ({"cov": {"g": [[1, 0], [0, 1]]}}, r"sd\.g: found sd, cov of 'g'"),
    ({"formula": "y ~ x + (x || g)", "corr": {"g": 0.5}}, r"corr\.g: .*uncorrelated"),
    ({"sigma": None}, "sigma: found None; allowed: a number"),
    ({"sigma": 0}, r"sigma: found 0; allowed: a number in \(0, inf\)"),
    ({"weights": "v"}, "weights: found 'v'"),
    ({"weights": {"law": "uniform", "low": -1, "high": 1}}, r"weights\.low: found -1"),
    ({"missing": 1}, r"missing: found 1; allowed: a number in \[0, 1\)"),
    ({"missing": {"share": 0.1}}, "missing: the key 'column' is missing"),
    ({"errors": {"law": "t", "df": 2}}, r"errors\.df: found 2; allowed: a number in \(2, inf\)"),
    ({"effects": {"law": "cauchy"}}, r"effects\.law: found 'cauchy'"),
    ({"heteroscedastic": {"by": "x"}}, "heteroscedastic: found .*'by' and one of"),
    ({"heteroscedastic": {"by": "z", "rate": 1}}, r"heteroscedastic\.by: found 'z'"),
    ({"heteroscedastic": {"by": "g", "ratios": {"1": 0}}}, r"heteroscedastic\.ratios\.1: found 0"),
    ({"ar1": {"rho": 1, "group": "g"}}, r"ar1\.rho: found 1; allowed: a number in \(-1, 1\)"),
    ({"ar1": {"rho": 0.5, "group": "h"}}, r"ar1\.group: found 'h'"),
    ({"parameters": "REML"}, "beta: found .*nothing beside 'parameters'"),
    ({"data": "sleepstudy", "levels": None, "rows": None, "covariates": None, "crossing": 0.5},
     "crossing: found 0.5; allowed: nothing beside data"),
    ({"data": "sleepstudy"}, "levels: found .*nothing beside data of your own"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "message"), BAD, ids=lambda v: str(v)[:40])
def test_refusals_name_the_key(change, message):
    with pytest.raises(bv.ScenarioError, match=message):
        Scenario(**(BASE | change))


OWN = {"name": "own", "formula": "Reaction ~ Days + (Days | Subject)"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"data": "no.csv", "parameters": "REML"}, r"data: There is no file no\.csv"),
        ({"data": "sleepstud", "parameters": "REML"}, "data: found 'sleepstud'.*'sleepstudy'"),
        ({"data": 3, "parameters": "REML"}, "data: found 3"),
        ({"data": "sleepstudy", "parameters": "no.nc"}, r"parameters: no\.nc cannot be read"),
        ({"data": "sleepstudy", "parameters": 3}, "parameters: found 3"),
        ({"data": "sleepstudy"}, "sigma: found None"),
        ({"data": "sleepstudy", "parameters": "REML", "formula": "Reaction ~ Dayz + (1|Subject)"},
         "formula: .*'Dayz'"),
    ],
)  # fmt: skip
def test_refusals_about_data_of_ones_own(change, message):
    with pytest.raises(bv.ScenarioError, match=message):
        Scenario(**(OWN | change))


def test_fits_must_have_the_coefficients_of_the_formula(sleepstudy):
    fit = sleepstudy.reml()
    for formula, message in (
        ("Reaction ~ Days + I(Days^2) + (Days | Subject)", "parameters: the fit has no coeff"),
        ("Reaction ~ 1 + (Days | Subject)", "parameters: the fit has Intercept, Days; the formula"),
        ("Reaction ~ Days + (1 | Subject)", "parameters: Σ of 'Subject'"),
    ):
        with pytest.raises(bv.ScenarioError, match=message):
            Scenario(name="own", formula=formula, data="sleepstudy", parameters=fit)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[scenario", r"bad\.toml is no TOML"),
        ("[scenari]\nname = 1", r"bad\.toml: its keys: found 'scenari'.*did you mean 'scenario'"),
        ("[grid]\nrows = [1]", r"bad\.toml: the key 'scenario' is missing"),
        ('[scenario]\nname = "a"', "scenario: the key 'formula' is missing"),
        ('[scenario]\nname = "a"\nformula = "y ~ 1"\nlevel = 3', "found 'level'.*'levels'"),
    ],
)
def test_bad_files(tmp_path, text, message):
    path = tmp_path / "bad.toml"
    path.write_text(text)
    with pytest.raises(bv.ScenarioError, match=message):
        bv.study.read_scenarios(path)
    with pytest.raises(bv.ScenarioError, match=r"no\.toml cannot be read"):
        bv.study.read_scenarios(tmp_path / "no.toml")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"level.g": [4]}, r"grid\.level\.g: found 'level'.*did you mean 'levels'"),
        ({"rows": 4}, r"grid\.rows: found 4; allowed: a list of values"),
        ({"rows": []}, r"grid\.rows: found \[\]; allowed: at least one"),
        ({"rows.g": [4]}, r"grid\.rows\.g: found 5; allowed: a table"),
        ({"levels.h": [4]}, r"grid \(levels\.h=4\): levels\.h"),
        ({"name": ["a"]}, r"grid\.name: found 'name'"),
    ],
)
def test_bad_grids(values, message):
    with pytest.raises(bv.ScenarioError, match=message):
        bv.study.grid(Scenario(**BASE), **values)
