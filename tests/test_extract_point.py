"""REML and ML fits of statsmodels, mixedlm and interlace: the same V, or refused."""

from __future__ import annotations

import warnings
from copy import copy

import interlace
import mixedlm
import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
import statsmodels.formula.api as smf
from statsmodels.base._penalties import L2
from statsmodels.regression.mixed_linear_model import MixedLMParams, VCSpec

import bayesv as bv
from bayesv.names import canonical, factors_of
from bayesv.structures import Diagonal

pytestmark = pytest.mark.filterwarnings("ignore:c is text though:bayesv.DesignWarning")


def quiet(function, *args, **kwargs):
    """Call another package, which warns of what is no concern here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return function(*args, **kwargs)


def fitted(formula, data, reml=True, **kwargs):
    return quiet(lambda: smf.mixedlm(formula, data, **kwargs).fit(reml=reml))


@pytest.fixture(scope="module")
def data() -> pd.DataFrame:
    """Unsorted rows, incomplete rows, text levels that look like numbers, re-used labels."""
    rng = np.random.default_rng(5)
    n = 180
    frame = pd.DataFrame(
        {"g": rng.choice(list("fedcba"), n), "c": rng.choice(["1", "2", "10"], n),
         "k": rng.integers(1, 5, n) * 1.0, "x": rng.normal(size=n), "f": rng.choice(list("abz"), n)}
    )  # fmt: skip
    g, gc = pd.factorize(frame["g"])[0], pd.factorize(frame["g"] + frame["c"])[0]
    frame["y"] = (
        2 + frame["x"] + (frame["f"] == "b") + rng.normal(size=6)[g] + 1.5 * rng.normal(size=18)[gc]
        + rng.normal(size=6)[g] * frame["x"] + 0.8 * rng.normal(size=n)
        + rng.normal(size=5)[frame["k"].astype(int)]
    )  # fmt: skip
    frame.index = rng.permutation(n) + 100
    frame.loc[frame.index[[4, 9]], "x"] = np.nan
    return frame


@pytest.fixture(scope="module")
def full(data) -> pd.DataFrame:
    return data.dropna()


def their_V(results) -> np.ndarray:
    """V of statsmodels' own arrays, group by group."""
    model = results.model
    V = results.scale * np.eye(len(model.endog))
    for i, label in enumerate(model.group_labels):
        rows = np.ix_(model.row_indices[label], model.row_indices[label])
        if results.k_re:
            Z = model.exog_re_li[i]
            V[rows] += Z @ np.asarray(results.cov_re) @ Z.T
        for k, variance in enumerate(results.vcomp):
            Z = model.exog_vc.mats[k][i]
            Z = Z.toarray() if hasattr(Z, "toarray") else np.asarray(Z)
            V[rows] += variance * Z @ Z.T
    return V


# --- statsmodels ----------------------------------------------------------------------------------

STATSMODELS = {
    "slopes": ({"re_formula": "~x"}, {"g": ("Intercept", "x")}),
    "nested": (
        {"re_formula": "1", "vc_formula": {"cls": "0 + C(c)"}},
        {"c:g": ("Intercept",), "g": ("Intercept",)},
    ),
    "independent": (
        {"re_formula": "1", "vc_formula": {"slope": "0 + x"}, "reml": False},
        {"g": ("Intercept", "x")},
    ),
    "two of a factor": (
        {"vc_formula": {"a": "0 + C(c)", "b": "0 + C(c):x"}, "use_sparse": True},
        {"c:g": ("Intercept", "x")},
    ),
    "categories": ({"re_formula": "~C(c)"}, {"g": ("Intercept", "c[10]", "c[2]")}),
}


@pytest.mark.parametrize("case", STATSMODELS)
def test_statsmodels_fits_have_their_own_V(full, case):
    kwargs, labels = STATSMODELS[case]
    theirs = fitted("y ~ x + C(f)", full, groups="g", **kwargs)
    fit = bv.extract(theirs) if theirs.converged else quiet(bv.extract, theirs)
    V = bv.MarginalCovariance(fit.design, fit.components).to_dense()
    np.testing.assert_allclose(V, their_V(theirs), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(fit.criterion, -2 * theirs.llf, rtol=1e-8)
    found = {factors_of(t.group): [canonical(c) for c in t.columns] for t in fit.design.terms}
    assert found == {factors_of(g): [canonical(c) for c in own] for g, own in labels.items()}
    assert fit.label == f"{theirs.method} (statsmodels)"
    assert list(fit.design.row_labels) == list(full.index)


def test_a_statsmodels_fit_is_reml_of_the_same_model(full):
    theirs = fitted(
        "y ~ x + C(f)", full, groups="g", re_formula="~x", vc_formula={"cls": "0 + C(c)"}
    )
    model = bv.Model("y ~ x + f + (x | g) + (1 | c:g)", full)
    ours, fit = model.reml(), bv.extract(theirs, design=model.design)
    assert fit.design is model.design
    assert ours.criterion <= fit.criterion + 1e-6
    assert fit.criterion - ours.criterion < 1e-3
    np.testing.assert_allclose(fit.components["g"], ours.components["g"], rtol=0.02, atol=1e-3)
    np.testing.assert_allclose(fit.beta, ours.beta, rtol=1e-3)
    again = bv.Model(bv.extract(theirs).design.formula, full).design
    assert bv.extract(theirs, design=again).criterion == pytest.approx(fit.criterion)
    post = quiet(model.sample, draws=20, chains=2, seed=1)
    table = bv.compare(bv.extract(theirs), fit, ours, post)
    assert list(table.points) == ["REML (statsmodels)", "REML (statsmodels) 2", "REML"]
    gap = table.marginal["criterion"].to_numpy()[:3] - ours.criterion
    np.testing.assert_allclose(gap, [fit.criterion - ours.criterion] * 2 + [0], atol=1e-7)


def test_crossed_components_of_one_statsmodels_group(full):
    one = np.ones(len(full))
    theirs = fitted("y ~ x", full, groups=one, vc_formula={"a": "0 + C(g)", "b": "0 + C(k)"})
    fit = bv.extract(theirs) if theirs.converged else quiet(bv.extract, theirs)
    assert set(fit.design.groups) == {"g", "k"}
    assert sorted(fit.design.term("k").levels) == ["1", "2", "3", "4"]
    V = bv.MarginalCovariance(fit.design, fit.components).to_dense()
    np.testing.assert_allclose(V, their_V(theirs), rtol=1e-10, atol=1e-12)
    model = bv.Model("y ~ x + (1 | g) + (1 | k)", full)
    moved = bv.extract(fit, design=model.design)
    np.testing.assert_allclose(
        bv.MarginalCovariance(model.design, moved.components).to_dense(), V, rtol=1e-10
    )


def test_dotted_names_and_three_levels():
    data = bv.load_dataset("three_level")
    theirs = fitted(
        "y ~ x1", data, groups="sch.cl", re_formula="1", vc_formula={"t": "0 + C(Q('tch.cl'))"}
    )
    model = bv.Model("y ~ x1 + (1 | sch.cl/tch.cl)", data)
    ours, fit = model.reml(), bv.extract(theirs, design=model.design)
    assert fit.criterion == pytest.approx(ours.criterion, abs=1e-3)
    own = bv.extract(theirs)
    assert {factors_of(g) for g in own.design.groups} == {("sch.cl",), ("sch.cl", "tch.cl")}
    assert bv.compare(own, ours, fit).marginal["criterion"].std() < 1e-3


def test_rows_that_statsmodels_dropped(data, full):
    theirs = fitted("y ~ x", data, groups="g", missing="drop")
    fit = bv.extract(theirs)
    assert fit.design.groups == ("g",)
    assert list(fit.design.row_labels) == list(full.index)
    assert bv.extract(theirs, design=bv.Model("y ~ x + (1 | g)", data).design).design.n == len(full)
    with pytest.raises(bv.ExtractionError, match="178 rows, the design 180"):
        bv.extract(theirs, design=bv.Model("y ~ 1 + (1 | g)", data).design)


def test_statsmodels_arrays(full):
    X = sm.add_constant(full[["x"]])
    theirs = quiet(lambda: sm.MixedLM(full["y"], X, full["g"], exog_re=X).fit())
    assert bv.extract(theirs).design.term("g").columns == ("Intercept", "x")
    plain = quiet(
        lambda: sm.MixedLM(full["y"].to_numpy(), X.to_numpy(), full["g"].to_numpy()).fit()
    )
    assert bv.extract(plain).design.groups == ("Group",)
    design = bv.Model("y ~ x + (1 | g)", full).design
    with pytest.raises(bv.ExtractionError, match=r"the fit alone has x1, the design alone x\."):
        bv.extract(plain, design=design)
    renamed = bv.extract(plain, design=design, names={"x1": "x"})
    np.testing.assert_allclose(renamed.criterion, -2 * plain.llf)
    with pytest.raises(bv.ExtractionError, match=r"'x9'.*labels of the statsmodels fit are"):
        bv.extract(plain, design=design, names={"x9": "x"})


def test_a_column_that_is_called_Group(full):
    """``Group`` is also what statsmodels writes where it knows no name."""
    frame = full.assign(twin=full["g"], Group=full["g"])
    assert bv.extract(fitted("y ~ x", frame, groups="Group")).design.groups == ("Group",)
    assert bv.extract(fitted("y ~ x", frame, groups="g")).design.groups == ("g",)


def test_statsmodels_components_by_hand(full):
    labels = sorted(full["g"].unique())
    by_group = [full[full["g"] == g] for g in labels]
    mats = [pd.get_dummies(rows["c"]).to_numpy(float) for rows in by_group]
    spec = VCSpec(["cls"], [[["1", "10", "2"]] * len(labels)], [mats])
    X = sm.add_constant(full[["x"]])
    theirs = quiet(
        lambda: sm.MixedLM(full["y"], X, full["g"], exog_re=X[["const"]], exog_vc=spec).fit()
    )
    fit = bv.extract(theirs)
    assert set(fit.design.groups) == {"cls:g", "g"}
    V = bv.MarginalCovariance(fit.design, fit.components).to_dense()
    np.testing.assert_allclose(V, their_V(theirs), rtol=1e-10)
    # A model that writes the nesting otherwise is still the same model.
    design = bv.Model("y ~ x + (1 | g) + (1 | gc)", full.assign(gc=full["g"] + full["c"])).design
    assert set(bv.extract(theirs, design=design).design.groups) == {"gc", "g"}


def test_independent_slopes_by_free_parameters(full):
    free = MixedLMParams.from_components(np.ones(2), cov_re=np.eye(2))
    model = smf.mixedlm("y ~ x", full, groups="g", re_formula="~x")
    theirs = quiet(model.fit, free=free, method="bfgs")
    assert theirs.cov_re.iloc[0, 1] == 0
    fit = bv.extract(theirs) if theirs.converged else quiet(bv.extract, theirs)
    assert fit.design.term("g").structure == Diagonal(2)


def test_singular_fits():
    """The batches of dyestuff2 differ by less than chance: a variance of 0 everywhere."""
    data = bv.load_dataset("dyestuff2")
    ours = bv.Model("Yield ~ 1 + (1 | Batch)", data).reml()
    for theirs in (
        fitted("Yield ~ 1", data, groups="Batch"),
        quiet(mixedlm.lmer, "Yield ~ 1 + (1 | Batch)", data),
        quiet(interlace.fit, "Yield ~ 1", data, groups="Batch"),
    ):
        fit = bv.extract(theirs)
        assert fit.singular
        assert float(fit.components["Batch"].iloc[0, 0]) == pytest.approx(0, abs=1e-6)
        assert fit.criterion == pytest.approx(ours.criterion, abs=1e-6)


def test_a_fit_whose_algebra_broke_down_is_refused():
    """At a covariance of exactly 0 statsmodels' own β̂ and log likelihood are not those of V."""
    theirs = fitted("Yield ~ 1", bv.load_dataset("dyestuff2"), groups="Batch")
    broken = copy(theirs._results)
    broken.cov_re, broken._cache = 0 * theirs.cov_re, {}
    broken.params_object = MixedLMParams.from_components(theirs.fe_params, cov_re=np.zeros((1, 1)))
    with pytest.raises(bv.ExtractionError, match=r"-2 log L is -inf.*another optimiser"):
        quiet(bv.extract, broken)


def test_labels_of_categories_and_their_order(full):
    """Patsy's C(f)[T.b] is R's fb, whatever the order of columns and levels of the design."""
    theirs = fitted("y ~ C(f) + x", full, groups="g", re_formula="~x")
    levels = pd.Categorical(full["g"], list("fdbace"))
    model = bv.Model("y ~ x + f + (x | g)", full.assign(g=levels))
    fit = bv.extract(theirs, design=model.design)
    assert list(fit.beta.index) == ["Intercept", "x", "f[b]", "f[z]"]
    assert fit.beta["f[b]"] == pytest.approx(theirs.fe_params["C(f)[T.b]"])
    assert bv.compare(bv.extract(theirs), model.reml()).points.shape[1] == 2  # levels reordered
    other = full.assign(f=pd.Categorical(full["f"], list("zba")))
    with pytest.raises(bv.ExtractionError, match=r"C\(f\)\[T.z\], the design alone f\[a\]"):
        bv.extract(theirs, design=bv.Model("y ~ x + f + (x | g)", other).design)


@pytest.mark.parametrize(
    ("formula", "change", "message"),
    [
        ("y ~ x + (x | g)", lambda d: d.sample(frac=1, random_state=0), "in another order"),
        ("y ~ x + (x | g)", lambda d: d.assign(y=d["y"] + 1), "is not the design's 'y': row 0"),
        ("y ~ x + (x | g)", lambda d: d.iloc[1:], "178 rows, the design 177"),
        ("y ~ x + (1 | g)", lambda d: d, "2×2; the design has 1 columns"),
        ("y ~ x + (f | g)", lambda d: d, "2×2; the design has 3 columns"),
        ("y ~ x + (x | c)", lambda d: d, "Variance components for g"),
        ("y ~ x + (k | g)", lambda d: d, "Labels of Σ of 'g' do not match.*Intercept, x"),
        ("y ~ x + (x | g)", lambda d: d.assign(x=2 * d["x"]), "beta of x is"),
        ("y ~ x + (x | g)", lambda d: d.assign(g=d["g"].to_numpy()[::-1]), "-2 log L is"),
    ],
)
def test_other_designs_are_refused(full, formula, change, message):
    theirs = fitted("y ~ x", full, groups="g", re_formula="~x")
    with pytest.raises(bv.ExtractionError, match=message):
        bv.extract(theirs, design=bv.Model(formula, change(full)).design)


def test_wrong_units_are_found_unless_the_fit_did_not_converge(full):
    theirs = fitted("y ~ x", full, groups="g", re_formula="~x")
    wrong = copy(theirs._results)
    wrong.cov_re = theirs.cov_re_unscaled  # relative to scale
    with pytest.raises(bv.ExtractionError, match=r"-2 log L is .* in the fit, .* from V"):
        bv.extract(wrong)
    wrong.converged = False
    with pytest.warns(bv.FitWarning, match="did not converge.*-2 log L"):
        fit = bv.extract(wrong)
    assert not fit.converged
    assert "NOT CONVERGED: statsmodels says so" in fit.summary()


def test_statsmodels_results_without_such_a_V_are_refused(full):
    removed = copy(fitted("y ~ x", full, groups="g")._results)
    removed.model = copy(removed.model)
    removed.model.endog = None
    cases = [
        (smf.gee("y ~ x", "g", full).fit(), "GEE has a working correlation"),
        (smf.ols("y ~ x", full).fit(), "no random effects"),
        (smf.glm("y ~ x", full).fit(), "no random effects"),
        (smf.mixedlm("y ~ x", full, groups="g"), "result of its fit"),
        (removed, "data were removed"),
        (
            fitted("y ~ x", full, groups="g", re_formula="1", vc_formula={"v": "C(c)"}),
            "'v' gives one variance to several columns .*0 \\+ C\\(factor\\)",
        ),
        (
            fitted("y ~ x", full, groups="g", re_formula="1", vc_formula={"v": "1"}),
            "Intercept has two variances in 'g'",
        ),
    ]
    penalised = quiet(smf.mixedlm("y ~ x", full, groups="g").fit, fe_pen=L2())
    cases.append((penalised, "is penalised"))
    for theirs, message in cases:
        with pytest.raises(bv.ExtractionError, match=message):
            quiet(bv.extract, theirs)


# --- mixedlm --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("formula", "kwargs"),
    [
        ("y ~ x + f + (x | g) + (1 | g:c)", {}),
        ("y ~ 0 + c + (x || g) + (1 | k)", {"REML": False}),
        ("y ~ x * f + (0 + c | g)", {"weighted": True}),
        ("y ~ x + (1 | g) + (0 + x | g)", {"shifted": True}),
    ],
)
def test_mixedlm_fits(data, formula, kwargs):
    rng = np.random.default_rng(0)
    w, o = rng.uniform(1, 2, len(data)), rng.normal(size=len(data))
    options = {"REML": kwargs.get("REML", True)}
    options |= {"weights": w} if "weighted" in kwargs else {}
    options |= {"offset": o} if "shifted" in kwargs else {}
    theirs = quiet(mixedlm.lmer, formula, data, **options)
    fit = bv.extract(theirs)
    text = formula + (" + offset(o)" if "shifted" in kwargs else "")
    weights = "w" if "weighted" in kwargs else None
    model = bv.Model(text, data.assign(w=w, o=o), var_weights=weights)
    ours = model.reml(fit.method)
    np.testing.assert_allclose(fit.criterion, theirs.get_deviance(), rtol=1e-9)
    assert abs(fit.criterion - ours.criterion) < 1e-4
    np.testing.assert_array_equal(fit.design.rows, model.design.rows)
    np.testing.assert_allclose(fit.design.Z.toarray(), model.design.Z.toarray())
    for group in fit.components:
        scale = np.abs(ours.components[group].to_numpy()).max()
        np.testing.assert_allclose(
            fit.components[group], ours.components[group], atol=0.02 * scale + 1e-4
        )
    assert bv.extract(theirs, design=model.design).label == f"{fit.method} (mixedlm)"
    assert "mixedlm" in repr(bv.compare(fit, bv.extract(theirs, design=model.design)))


def test_mixedlm_fits_without_such_a_V_are_refused(full):
    counts = full.assign(y=np.random.default_rng(0).integers(0, 2, len(full)))
    glmer = quiet(mixedlm.glmer, "y ~ x + (1 | g)", counts, family=mixedlm.families.Binomial())
    with pytest.raises(bv.ExtractionError, match="GlmerResult cannot be extracted"):
        bv.extract(glmer)
    formula = mixedlm.set_cov_type(mixedlm.parse_formula("y ~ 1 + (x | g)"), "cs")
    with pytest.raises(bv.ExtractionError, match="covariance type cs"):
        bv.extract(quiet(mixedlm.lmer, formula, full))


# --- interlace ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("random", "kwargs", "formula"),
    [
        (["(1 + x | g)", "(1 | c)"], {}, "(x | g) + (1 | c)"),
        (["(1 | g/c)"], {"method": "ML"}, "(1 | g) + (1 | g:c)"),
        (["(1 | g)", "(x | g)"], {"df_method": "kenward-roger"}, "(x || g)"),
    ],
)
def test_interlace_fits(full, random, kwargs, formula):
    theirs = quiet(interlace.fit, "y ~ x + f", full, random=random, **kwargs)
    fit = bv.extract(theirs)
    np.testing.assert_allclose(fit.criterion, -2 * theirs.llf, rtol=1e-8)
    model = bv.Model(f"y ~ x + f + {formula}", full)
    assert abs(fit.criterion - model.reml(fit.method).criterion) < 0.01
    np.testing.assert_allclose(fit.design.Z.toarray(), model.design.Z.toarray())
    assert fit.label == f"{theirs.method} (interlace)"
    assert list(fit.design.row_labels) == list(full.index)


def test_interlace_keeps_no_weights(full):
    w = np.random.default_rng(0).uniform(1, 2, len(full))
    theirs = quiet(interlace.fit, "y ~ x", full, groups="g", weights=w)
    with pytest.raises(bv.ExtractionError, match="other data, weights or offset"):
        bv.extract(theirs)
    model = bv.Model("y ~ x + (1 | g)", full, var_weights=w)
    fit = bv.extract(theirs, design=model.design)
    assert abs(fit.criterion - model.reml().criterion) < 1e-3


def test_interlace_fits_without_such_a_V_are_refused(full):
    dated = full.assign(t=full.groupby("g").cumcount() * 1.0)
    ar1 = quiet(interlace.fit, "y ~ x", dated, groups="g", correlation=interlace.AR1("t"))
    with pytest.raises(bv.ExtractionError, match="correlated residuals"):
        bv.extract(ar1)
    heavy = quiet(interlace.fit, "y ~ x", full, groups="g", family="student_t", nu=4.0)
    with pytest.raises(bv.ExtractionError, match="StudentTResult cannot be extracted"):
        bv.extract(heavy)
    modelled = copy(quiet(interlace.fit, "y ~ x", full, groups="g"))
    modelled.disp_params = pd.Series({"Intercept": 0.1})
    with pytest.raises(bv.ExtractionError, match="dispformula"):
        bv.extract(modelled)


# --- anything else --------------------------------------------------------------------------------


def test_what_cannot_be_extracted():
    with pytest.raises(
        bv.ExtractionError, match=r"or a fit of statsmodels.*found dict of builtins"
    ):
        bv.extract({})
    with pytest.raises(bv.ExtractionError, match=r"must be a bv\.Design.*found str"):
        bv.extract({}, design="y ~ x")
    model = bv.Model("Yield ~ 1 + (1 | Batch)", bv.load_dataset("dyestuff"))
    with pytest.raises(bv.ExtractionError, match="pass design= too"):
        bv.extract(model.reml(), names={"Batch": "batch"})
    with pytest.raises(bv.ExtractionError, match="has its own design"):
        bv.extract(quiet(model.sample, draws=20, chains=1, seed=1), design=model.design)
