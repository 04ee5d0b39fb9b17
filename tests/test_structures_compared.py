"""Lists of structures: what is fitted, with which priors, and what is refused."""

from __future__ import annotations

import pytest

import bayesv as bv
from bayesv.comparison.structures import candidates_of, variant
from tests.test_zero_variance import weak

pytestmark = pytest.mark.filterwarnings("ignore::bayesv.SamplingWarning")


@pytest.fixture(scope="module")
def model() -> bv.Model:
    priors = bv.Priors(
        sd={"g": {"Intercept": bv.HalfNormal(2.0), "x": bv.HalfNormal(0.5)}},
        corr={"g": bv.LKJ(2)},
        beta=bv.Normal(0.0, 5.0),
    )
    return bv.Model("y ~ x + (x | g)", weak(), priors)


def test_candidates_keep_rows_fixed_part_and_priors(model):
    comparison = bv.structures(
        model, {"one": "(1 | g)", "two": {"random": "(x || g)"}, "three": "(x | g)"},
        draws=200, seed=1, prior={"one": 2, "two": 1, "three": 1}, leave_out=False,
    )  # fmt: skip
    assert comparison.names == ("one", "two", "three")
    assert comparison.prior.tolist() == [0.5, 0.25, 0.25]
    one, two, three = comparison.posteriors
    assert one.priors.sd["g"] == (bv.HalfNormal(2.0),)
    assert two.priors.sd["g"] == three.priors.sd["g"] == (bv.HalfNormal(2.0), bv.HalfNormal(0.5))
    assert three.priors.corr["g"] == bv.LKJ(2)
    assert all(post.priors.beta[0] == bv.Normal(0.0, 5.0) for post in comparison.posteriors)
    whole = model.sample(draws=200, seed=1).evidence()
    assert comparison.evidences[2].log == pytest.approx(whole.log, abs=1e-9)


def test_candidates_side_by_side_are_those_of_one_after_the_other(model):
    stated = ["(1 | g)", "(x || g)", "(x | g)"]
    one, two = (
        bv.structures(model, stated, draws=100, seed=1, leave_out=False, cores=cores)
        for cores in (1, 2)
    )
    assert [e.log for e in one.evidences] == [e.log for e in two.evidences]


def test_growth_takes_time_and_series_from_the_slope(model):
    labels = list(candidates_of(model, "growth"))
    assert labels == [
        "(1 | g)", "(x || g)", "(x | g)",
        "(1 | g), ar1(x | g)", "(x || g), ar1(x | g)", "(x | g), ar1(x | g)",
    ]  # fmt: skip
    uneven = bv.Model("y ~ x + (x | g)", weak().assign(x=lambda d: d["x"] * 0.5))
    assert "(1 | g), car1(x | g)" in candidates_of(uneven, "growth")


def test_mmrm_takes_visits_from_the_residual():
    frame = weak().assign(v=lambda d: d["x"].map(lambda x: f"v{x:.0f}"))
    model = bv.Model("y ~ v", frame, residual="us(v | g)")
    stated = candidates_of(model, "mmrm")
    assert list(stated)[:3] == ["us(v | g)", "toeph(v | g)", "adh(v | g)"]
    assert all(candidate.random == "" for candidate in stated.values())
    other = variant(model, stated["ar1h(v | g)"])
    assert other.design.parametric_residual.text == "ar1h(v | g)"
    assert other.design.formula == "y ~ v"


def test_weights_and_offsets_are_kept():
    frame = weak().assign(w=1.5, o=0.1)
    frame["x"] += 1.0
    model = bv.Model("log(y + 9) ~ x + offset(o) + (x | g)", frame, var_weights="w")
    (candidate,) = candidates_of(model, ["(1 | g)"]).values()
    other = variant(model, candidate)
    assert other.design.fixed_names == model.design.fixed_names
    assert (other.design.offset == model.design.offset).all()
    assert (other.design.weights == model.design.weights).all()


def test_refusals(model):
    for candidates, text in (
        ("best", "Lists of candidates"),
        ("mmrm", "visits"),
        (["(1 | g)", "(1 | g)"], "twice"),
        ([{"residuals": "ar1(x | g)"}], "some of the keys"),
        (["(1 | g)", "(1 | nobody)"], "nobody"),
    ):
        with pytest.raises(bv.BayesvError, match=text):
            bv.structures(model, candidates, draws=100, seed=1)
    made = bv.Model.from_design(model.design)
    with pytest.raises(bv.BayesvError, match="data frame"):
        bv.structures(made, ["(1 | g)", "(x | g)"], seed=1)
    with pytest.raises(bv.BayesvError, match="time"):
        bv.structures(bv.Model("y ~ x + (1 | g)", weak()), "growth")


def test_the_function_stays_when_the_room_of_its_name_is_imported():
    import bayesv.structures.kinds

    assert bayesv.structures is bv.structures
    assert callable(bv.structures)
    assert bayesv.comparison.structures.structures is bv.structures
