"""What follows from a fit of data in batches: as of a data frame, or refused with what to do."""

from __future__ import annotations

import inspect
import itertools
import pickle
import warnings

import numpy as np
import pandas as pd
import pytest

import bayesv as bv
from bayesv.covariance.effects import effects_of_sums
from bayesv.covariance.effects_of_sums import EffectsOfSums
from bayesv.covariance.prediction import predicted_of_sums
from bayesv.covariance.summed import at_v
from bayesv.formula import sources
from bayesv.formula.prediction import rows_of

pa = pytest.importorskip("pyarrow")

FORMULA = "y ~ x + f + offset(o) + (x | g) + (1 | h)"


def made() -> pd.DataFrame:
    """Return crossed and weighted rows, some incomplete, with x far from 0."""
    rng = np.random.default_rng(3)
    n = 360
    frame = pd.DataFrame(
        {
            "x": 50.0 + rng.exponential(size=n),
            "f": rng.choice(["b", "a", "c"], n),
            "o": rng.normal(size=n),
            "g": rng.integers(0, 25, n) * 1.0,
            "h": rng.choice(list("zyxwv"), n),
            "w": rng.uniform(0.5, 2.0, n),
        }
    )
    u = rng.normal(size=(25, 2))[frame["g"].astype(int)]
    frame["y"] = u[:, 0] + 0.3 * u[:, 1] * (frame["x"] - 50.0) + rng.normal(size=n)
    frame.loc[5, "x"], frame.loc[7, "h"] = np.nan, None
    return frame


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """Return the models of the frame and of Parquet with their fits, and the frame."""
    import pyarrow.parquet as pq

    frame = made()
    path = tmp_path_factory.mktemp("batches") / "data.parquet"
    pq.write_table(pa.Table.from_pandas(frame, preserve_index=False), path, row_group_size=90)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sources, "_BATCH_ROWS", 100)
        models = [bv.Model(FORMULA, data, var_weights="w") for data in (frame, path)]
        fits = [model.reml() for model in models]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", bv.SamplingWarning)
            posts = [model.sample(draws=250, seed=1) for model in models]
        yield models, fits, posts, frame


def test_functionals_are_of_rows_that_are_read_again(both):
    models, fits, posts, _ = both
    one, two = (fit.functionals() for fit in fits)
    assert list(one.index) == list(two.index)
    np.testing.assert_allclose(two, one, rtol=1e-5)
    at = fits[0].components  # the same point: to rounding
    same = [bv.Model(FORMULA, both[3], var_weights="w").design, models[1].design]
    from bayesv.covariance import ComponentDraws
    from bayesv.covariance.functionals import functionals

    values = [
        functionals(ComponentDraws.of(d, at, fits[0].beta.to_numpy()).flat, fits[1].statistics)
        for d in same
    ]
    for name, x in values[0].items():
        np.testing.assert_allclose(values[1][name], x, rtol=1e-10, err_msg=name)
    drawn = posts[1].functionals()
    assert set(drawn) == set(posts[0].functionals())
    prior = models[1].prior_predictive(200, seed=1)
    np.testing.assert_allclose(
        prior["ICC g"], models[0].prior_predictive(200, seed=1)["ICC g"], rtol=1e-6
    )


@pytest.mark.parametrize(("group", "level"), [("g", 3.0), ("h", "x")])
def test_V_of_a_level_is_of_rows_that_are_read_again(both, group, level):
    _, fits, posts, _ = both
    one, two = (fit.V(group, level) for fit in fits)
    assert list(two.index) == list(one.index) == list(two.columns)
    np.testing.assert_allclose(two, one, rtol=1e-4)
    np.testing.assert_allclose(one, fits[0].gls.V.block(group, level))
    a, b = (post.V(group, level) for post in posts)
    assert list(a.labels) == list(b.labels)
    again = posts[1].V(newdata=both[3].iloc[list(a.labels)], weights="w")
    np.testing.assert_array_equal(b.mean(), again.mean())
    with pytest.raises(bv.DataError, match="no level"):
        fits[1].V(group, "nobody")


def test_comparisons(both):
    _, fits, posts, _ = both
    one, two = (bv.compare(fit, post) for fit, post in zip(fits, posts, strict=True))
    close = {"rtol": 1e-4, "atol": 1e-3}
    np.testing.assert_allclose(two.fixed["gls_posterior"], one.fixed["gls_posterior"], **close)
    np.testing.assert_allclose(two.marginal["log_det"], one.marginal["log_det"], **close)
    assert two.marginal["trace"].isna().all()  # known weights do not sum up to it
    a, b = (bv.beta_uncertainty(*pair) for pair in zip(fits, posts, strict=True))
    of_posterior = ["GLS at E[V | y]", "posterior", "REML plug-in"]
    tables = [t.table[t.table["method"].isin(of_posterior)]["se"].to_numpy() for t in (a, b)]
    np.testing.assert_allclose(tables[1], tables[0], rtol=1e-3)
    assert any("Kenward–Roger" in note and "batches" in note for note in b.notes)
    with pytest.raises(bv.BayesvError, match="of one model"):
        bv.compare(fits[0], fits[1])


def test_the_trace_of_V_without_weights(tmp_path):
    import pyarrow.parquet as pq

    star = bv.load_dataset("star_k20")
    path = tmp_path / "star.parquet"
    pq.write_table(pa.Table.from_pandas(star, preserve_index=False), path)
    formula = "read ~ sx + (sx | sch/tch)"
    fit, rows = bv.Model(formula, path).reml(), bv.Model(formula, star).reml()
    from bayesv.covariance.summed import at_v

    at = at_v(fit.design, fit.components, fit.statistics)
    V = bv.MarginalCovariance(rows.design, fit.components)
    assert at.trace == pytest.approx(V.trace(), rel=1e-10)
    assert at.log_det == pytest.approx(V.logdet(), rel=1e-10)
    gls = bv.gls(rows.design, fit.components)
    np.testing.assert_allclose(at.beta, gls.beta, rtol=1e-9)
    np.testing.assert_allclose(at.cov, gls.cov, rtol=1e-8, atol=1e-12)
    smaller = bv.Model("read ~ sx + (1 | sch/tch)", path).reml()
    table = bv.lrt(smaller, fit)
    twin = bv.lrt(bv.Model("read ~ sx + (1 | sch/tch)", star).reml(), rows)
    np.testing.assert_allclose(table["statistic"].iloc[1], twin["statistic"].iloc[1], atol=1e-5)
    by_ml = bv.lrt(bv.Model("read ~ 1 + (sx | sch/tch)", path).reml(), fit)
    assert by_ml["method"].to_list() == ["ML", "ML"]  # other fixed effects
    with pytest.raises(bv.DataError, match="other data"):
        bv.lrt(smaller, rows)


def test_intervals():
    data, formula = bv.load_dataset("dyestuff"), "Yield ~ 1 + (1 | Batch)"
    models = [bv.Model(formula, x) for x in (data, pa.Table.from_pandas(data).to_reader())]
    one, two = (model.reml().confint("profile") for model in models)
    np.testing.assert_allclose(two, one, rtol=1e-5)
    wald = models[1].reml().confint()
    np.testing.assert_allclose(wald.iloc[:2], models[0].reml().confint().iloc[:2], rtol=1e-5)
    fit = models[1].reml()
    half = 1.959964 * fit.se.iloc[0]  # Kenward–Roger's needs the rows
    assert wald["high"].iloc[2] - wald["estimate"].iloc[2] == pytest.approx(half, rel=1e-6)


@pytest.mark.filterwarnings("ignore::bayesv.SamplingWarning")
def test_models_of_the_same_batches_compare(both, tmp_path):
    _, _, posts, frame = both
    import pyarrow.parquet as pq

    path = tmp_path / "data.parquet"
    pq.write_table(pa.Table.from_pandas(frame, preserve_index=False), path)
    smaller = FORMULA.replace("(x | g)", "(1 | g)")
    other = bv.Model(smaller, path, var_weights="w").sample(draws=250, seed=1)
    of_frame = bv.Model(smaller, frame, var_weights="w").sample(draws=250, seed=1)
    one = bv.compare_models(of_frame, posts[0], leave_out=False)
    two = bv.compare_models(other, posts[1])
    assert any("nothing is left out" in note for note in two.notes)
    tables = [c.to_frame().set_index("model") for c in (one, two)]
    np.testing.assert_allclose(tables[1]["aic"], tables[0].loc[tables[1].index, "aic"], rtol=1e-9)
    assert tables[1]["bic_clusters"].isna().all()
    assert "nan" in str(two)
    factors = [c.bayes_factor(c.names[0], c.names[1])[0] for c in (one, two)]
    assert factors[1] == pytest.approx(factors[0], abs=0.05)
    fewer = bv.Model("y ~ x + offset(o) + (x | g) + (1 | h)", path, var_weights="w")
    with pytest.raises(bv.BayesvError, match="Flat priors have no constant"):
        bv.compare_models(fewer.sample(draws=100, seed=1), posts[1])


def test_predictions_of_new_rows(both):
    _, fits, posts, frame = both
    new = frame.iloc[[1, 20, 41]].assign(g=[3.0, 7.0, 99.0])
    for of, include in itertools.product(("mean", "response"), ("fixed", "random", None)):
        options = {"of": of, "include": include, "weights": "w", "prob": 0.8}
        one, two = (fit.predict(new, **options) for fit in fits)
        np.testing.assert_allclose(two, one, rtol=2e-4)
    a, b = (post.predict(new, weights="w", seed=2) for post in posts)
    assert a.dims == b.dims
    np.testing.assert_allclose(b.mean("sample"), a.mean("sample"), atol=0.15)
    with pytest.raises(bv.DataError, match=r"the rows are needed.*fit\.predict\(newdata\)"):
        fits[1].predict()


FORMULAS = {
    "single": "y ~ x + (x | g)",
    "crossed": FORMULA,
    "nested": "y ~ x + f + (x | h / g)",
    "nested in a crossed one": "y ~ x + (1 | a / h / g) + (x || f)",
    "no fixed effects": "y ~ 0 + (1 | g) + (1 | h)",
}


@pytest.mark.parametrize("formula", FORMULAS.values(), ids=FORMULAS)
def test_random_effects_and_their_errors_are_those_of_rows(formula):
    """From the sums of the same fit, so that nothing but rounding lies between."""
    frame = made().dropna()
    frame["a"] = frame["h"].isin(["x", "y"])
    fit = bv.Model(formula, frame, var_weights="w").reml()
    sums = EffectsOfSums.at(fit.design, fit.components, fit.statistics)
    pd.testing.assert_frame_equal(effects_of_sums(sums), fit.random_effects(), rtol=1e-8)
    new = frame.iloc[[0, 20, 41]].assign(g=[3.0, 7.0, 99.0], h=["x", "z", "v"])
    rows = rows_of(fit.design, new, "w")
    there = at_v(fit.design, fit.components, fit.statistics)
    found = predicted_of_sums(there, fit.design, fit.components, rows, "mean", 0.9, sums)
    want = fit.predict(new, weights="w", prob=0.9)
    pd.testing.assert_frame_equal(found, want, rtol=1e-8)


def test_random_effects_of_batches(both):
    _, fits, _, _ = both
    one, two = (fit.random_effects() for fit in fits)
    pd.testing.assert_index_equal(one.index, two.index)
    np.testing.assert_allclose(two, one, rtol=1e-3, atol=1e-5)
    of_h = fits[1].random_effects("h")
    pd.testing.assert_frame_equal(of_h, two.loc[["h"]])


def test_random_effects_by_iteration_say_what_has_them():
    model = bv.Model(FORMULA, made(), elimination="iterative")
    with pytest.raises(bv.DataError, match=r"a dense block holds.*post\.random_effects"):
        EffectsOfSums.at(model.design, model.reml().components, model.statistics)


def test_data_that_cannot_be_read_again(both, tmp_path):
    _, fits, posts, frame = both
    saved = bv.load(bv.save(posts[1], tmp_path / "post.nc"))
    twin = pickle.loads(pickle.dumps(fits[1]))
    reader = pa.Table.from_pandas(frame.drop(columns="f")).to_reader()
    once = bv.Model("y ~ x + (1 | g)", reader).reml()
    for fit in (saved, twin, once):
        with pytest.raises(bv.DataError, match=r"V\(newdata=frame of them\)"):
            fit.V("g", 3.0)
        with pytest.raises(bv.DataError, match="cannot be"):
            fit.functionals()


def test_dask_reads_again():
    dask = pytest.importorskip("dask")
    dd = pytest.importorskip("dask.dataframe")
    frame = made().dropna()
    with dask.config.set(scheduler="synchronous"):
        two = bv.Model("y ~ x + (1 | g)", dd.from_pandas(frame, npartitions=3)).reml()
        V, found = two.V("g", 3.0), two.functionals()
    one = bv.Model("y ~ x + (1 | g)", frame.reset_index(drop=True)).reml()
    np.testing.assert_allclose(V, one.V("g", 3.0), rtol=1e-5)
    assert list(V.index) == list(one.V("g", 3.0).index)
    np.testing.assert_allclose(found, one.functionals(), rtol=1e-5)


# Arguments of methods that need some; what is not here is called without.
_GIVEN = {
    "V": ("g", 3.0), "cov": ("g",), "components": (0, 0), "with_priors": (None,),
    "with_response": (np.ones(358),),
    "curves": ({"x": [50.0, 51.0]},), "term": ("g",), "level": ("g", 3.0),
    "rows_of": ("g", 3.0), "map": (lambda vc: vc.sigma2,),
}  # fmt: skip
_OF_GRID = ("marginal_means", "contrasts")
_ROWS = {"x": [50.0, 51.0], "o": [0.5, -0.1]}
_NOT_HERE = {"save", "from_design", "from_draws", "at", "criterion_at", "distance", "sample"}
_WITHOUT_ROWS = {  # what answers, as of a data frame
    "fit": {"V", "confint", "functionals", "summary", "se", "aic", "bic", "statistics"},
    "post": {"V", "functionals", "marginal_means", "contrasts", "random_effects", "gls_draws",
             "check", "estimate", "curves", "map", "evidence", "summary"},
    "model": {"describe", "prior_predictive", "reml", "with_priors", "density"},
}  # fmt: skip


@pytest.mark.parametrize("name", ["fit", "post", "model"])
def test_each_public_method_answers_or_says_what_to_do(both, name):
    """No method fails in other words than those of a refusal, and none of these is bare."""
    models, fits, posts, _ = both
    thing = {"fit": fits[1], "post": posts[1], "model": models[1]}[name]
    answered, refused = set(), {}
    for method in dir(type(thing)):
        if method.startswith("_") or method in _NOT_HERE:
            continue
        try:
            value = getattr(thing, method)
            if inspect.ismethod(value):
                given = {"specs": "f", "over": _ROWS} if method in _OF_GRID else {}
                value(*_GIVEN.get(method, ()), **given)
        except bv.DataError as error:
            refused[method] = str(error)
        else:
            answered.add(method)
    bare = [m for m, words in refused.items() if "batches" not in words or "frame" not in words]
    assert not bare
    assert answered >= _WITHOUT_ROWS[name]


@pytest.mark.parametrize("method", _OF_GRID)
def test_means_of_a_fit_are_refused_before_anything_else_is_asked_for(both, method):
    """Not for the mean of x, whose answer would lead to the next refusal."""
    fit = both[1][1]
    with pytest.raises(bv.DataError, match=r"post\.marginal_means"):
        getattr(fit, method)("f")
