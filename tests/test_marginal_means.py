"""Analysis of variance, marginal means and contrasts: lmerTest, car, emmeans; posteriors."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm, studentized_range
from scipy.stats import t as student

import bayesv as bv
from bayesv.covariance.joint_t import LargestT
from bayesv.covariance.student import range_quantile, range_tail

FOLDER = Path(__file__).parent / "references" / "small_sample"
WANT = json.loads((FOLDER / "means.json").read_text())
SPLIT = pd.DataFrame(
    {
        "block": np.repeat([1, 2, 3, 4], 6),
        "a": np.tile(np.repeat([1, 2, 3], 2), 4),
        "b": np.tile([1, 2], 12),
        "y": [56, 41, 50, 36, 39, 35, 30, 25, 36, 28, 33, 30,
              32, 24, 31, 27, 15, 19, 30, 25, 35, 30, 17, 18],
    }
)  # fmt: skip
UNEVEN = pd.read_csv(FOLDER / "uneven.csv")
DATA = {
    "oats": pd.read_csv(FOLDER / "oats.csv"),
    "split": SPLIT,
    "uneven": UNEVEN,
    "slopes": UNEVEN,
}
SPECS = {"oats": ("nitro", "variety"), "split": ("a", "b")}
CASES = list(DATA)


@pytest.fixture(scope="module")
def fits():
    return {name: bv.Model(WANT[name]["formula"], data).reml() for name, data in DATA.items()}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize(
    ("key", "options"),
    [("type3", {}), ("type3_satterthwaite", {"ddf": "satterthwaite"}), ("type2", {"type": 2})],
)
def test_analysis_of_variance_is_that_of_lmertest_and_car(fits, name, key, options):
    want, found = WANT[name][key], fits[name].anova(**options)
    assert found.index.to_list() == want["term"]
    np.testing.assert_allclose(found["F"], want["F"], rtol=2e-4)
    # Satterthwaite's degrees of freedom of several contrasts depend on which rows state them.
    rtol = 5e-3 if options.get("ddf") else 2e-4
    np.testing.assert_allclose(found["df2"], want["df2"], rtol=rtol)
    np.testing.assert_allclose(found["p"], want["p"], rtol=2e-3)


def test_the_split_plot_has_its_published_table(fits):
    assert fits["split"].anova()["F"].round(2).to_list() == [4.07, 19.39, 4.02]


def test_means_of_oats_have_their_published_numbers():
    fit = bv.Model("y ~ variety + factor(nitro) + (1 | block/variety)", DATA["oats"]).reml()
    table = fit.marginal_means("nitro")
    assert table["se"].round(2).to_list() == [7.13] * 4
    assert table["df"].round(2).to_list() == [6.64] * 4
    assert table["estimate"].round(1).to_list() == [79.4, 98.9, 114.2, 123.4]


def compare(found, want, names=(("estimate", "estimate"), ("se", "SE"))):
    for own, theirs in names:
        np.testing.assert_allclose(found[own], want[theirs], rtol=2e-4, atol=1e-6)


@pytest.mark.parametrize("name", CASES)
def test_means_and_contrasts_are_those_of_emmeans(fits, name):
    want, fit = WANT[name], fits[name]
    first, by = SPECS.get(name, ("a", "b"))
    mean = (("estimate", "emmean"), ("se", "SE"), ("df", "df"), ("low", "lower.CL"),
            ("high", "upper.CL"))  # fmt: skip
    compare(fit.marginal_means(first), want["means"], mean)
    compare(fit.marginal_means(first, ddf="satterthwaite"), want["satterthwaite"], mean[1:3])
    test = (("estimate", "estimate"), ("se", "SE"), ("df", "df"), ("t", "t.ratio"),
            ("p", "p.value"), ("low", "lower.CL"), ("high", "upper.CL"))  # fmt: skip
    for adjust in (
        *("tukey", "holm", "bonferroni", "sidak", "fdr", "scheffe", "hochberg", "hommel"),
        *("by",),
    ):
        key = "by_rank" if adjust == "by" else adjust
        compare(fit.contrasts(first, adjust=adjust), want[key], test)
    by_level = fit.contrasts(first, by=by)
    compare(by_level, want["by"], test)
    assert by_level[by].astype(str).to_list() == [str(level) for level in want["by"][by]]


@pytest.mark.parametrize("name", CASES)
def test_tests_of_one_side_and_of_margins_are_those_of_emmeans(fits, name):
    want, fit, first = WANT[name], fits[name], SPECS.get(name, ("a", "b"))[0]
    test = (("t", "t.ratio"), ("p", "p.value"), ("low", "lower.CL"), ("high", "upper.CL"))
    for side in ("greater", "less"):
        found = fit.contrasts(first, side=side, null=0.3)
        compare(found, real(want["sided"][side]), test)
    for side in ("greater", "less", "two-sided"):
        found = fit.contrasts(first, side=side, null=0.3, delta=0.8, adjust="none")
        compare(found, real(want["margins"][side]), test)


def test_means_have_the_offset_in_them_and_contrasts_have_not():
    data = UNEVEN.assign(o=lambda d: 2.0 + d.index % 7 / 3)
    fit = bv.Model("y ~ a + x + offset(o) + (1 | g)", data).reml()
    without = bv.Model("I(y - o) ~ a + x + (1 | g)", data).reml()
    for options in ({}, {"over": data.iloc[:9]}):
        rows = options.get("over", data)
        want = without.marginal_means("a", **options)
        want[["estimate", "low", "high"]] += rows["o"].mean()  # as emmeans
        found = fit.marginal_means("a", **options)
        np.testing.assert_allclose(found.drop(columns="a"), want.drop(columns="a"), rtol=1e-6)
    level = data["a"].iloc[0]
    predicted = fit.predict(data.assign(a=level), include="fixed")["mean"].mean()
    found = fit.marginal_means("a", over=data).set_index("a")["estimate"]
    assert found[level] == pytest.approx(predicted, rel=1e-8)
    for options in ({}, {"slope": "x"}):
        pd.testing.assert_frame_equal(
            fit.contrasts("a", **options), without.contrasts("a", **options), rtol=1e-5
        )
    alone = fit.contrasts("a", {"first": [1, *[0] * (data["a"].nunique() - 1)]})
    assert alone["estimate"][0] == pytest.approx(fit.marginal_means("a")["estimate"][0])
    with pytest.raises(bv.DataError, match="offset has gaps"):
        fit.marginal_means("a", over=data.assign(o=np.nan))


def test_an_adjustment_in_tukey_s_place_is_said_under_the_table(fits):
    fit = fits["oats"]
    assert "Holm's" in repr(fit.contrasts("nitro", side="greater", adjust="tukey"))
    assert "Holm&#x27;s" in fit.contrasts("nitro", "consecutive")._repr_html_()
    assert "Dunnett's" in repr(fit.contrasts("nitro", "reference"))
    for options in ({}, {"side": "less", "adjust": "holm"}, {"method": "mean", "adjust": "none"}):
        assert "note" not in fit.contrasts("nitro", **options).attrs
    one = {"last less first": (-1, 0, 0, 1)}
    assert "note" not in fit.contrasts("nitro", one, side="greater").attrs  # nothing to adjust


def real(table):
    """Return a table whose infinite limits are texts, as JSON has them."""
    return {
        name: [float(v) for v in values] if name.endswith(".CL") else values
        for name, values in table.items()
    }


@pytest.mark.parametrize("name", CASES)
def test_means_over_rows_are_those_of_proportional_weights(fits, name):
    """Emmeans keeps covariates at their mean; rows that all have it average to the same."""
    data = DATA[name]
    rows = data.assign(x=data.x.mean()) if "x" in data else data
    found = fits[name].marginal_means(SPECS.get(name, ("a", "b"))[0], over=rows)
    compare(found, WANT[name]["proportional"], (("estimate", "emmean"), ("se", "SE"), ("df", "df")))


def test_means_and_slopes_over_rows_are_averages_of_predictions(fits):
    """Each row at each level in turn, predicted without its group, and averaged."""
    fit = fits["slopes"]
    means = fit.marginal_means("b", over=UNEVEN)["estimate"]
    own = [fit.predict(UNEVEN.assign(b=b), include="fixed")["mean"].mean() for b in ("u", "v")]
    np.testing.assert_allclose(means, own, rtol=1e-9)
    difference = fit.contrasts("b", over=UNEVEN)
    assert difference["estimate"].item() == pytest.approx(own[0] - own[1])
    up, down = (
        fit.predict(UNEVEN.assign(x=UNEVEN.x + h), include="fixed")["mean"] for h in (0.5, -0.5)
    )
    slope = fit.marginal_means(slope="x", over=UNEVEN)
    assert slope["estimate"].item() == pytest.approx((up - down).mean())
    holes = UNEVEN.assign(x=UNEVEN.x.where(UNEVEN.index != 5))
    complete = fit.marginal_means("b", over=UNEVEN.drop(index=5))
    pd.testing.assert_frame_equal(fit.marginal_means("b", over=holes), complete)


def test_coding_and_order_of_rows_do_not_matter(fits):
    moved = UNEVEN.sample(frac=1, random_state=1)
    summed = bv.Model(
        "y ~ C(a, contr.sum) * C(b, contr.helmert) + x * C(b, contr.helmert) + (1 | g)", moved
    ).reml()
    for type in (2, 3):
        np.testing.assert_allclose(
            summed.anova(type), fits["uneven"].anova(type), rtol=1e-5, atol=1e-10
        )
    pd.testing.assert_frame_equal(
        summed.contrasts("a", by="b"), fits["uneven"].contrasts("a", by="b"), rtol=1e-5
    )


def test_structured_residuals_have_means_too():
    frame = DATA["oats"].assign(k=lambda d: (10 * d.nitro).round().astype(int) // 2)
    frame["plot"] = frame.block + frame.variety
    fit = bv.Model("y ~ variety * factor(k) + (1 | block)", frame, residual="cs(k | plot)").reml()
    same = bv.Model("y ~ variety * factor(k) + (1 | block/variety)", frame).reml()
    np.testing.assert_allclose(fit.anova(), same.anova(), rtol=1e-3, atol=1e-12)
    np.testing.assert_allclose(
        fit.marginal_means("variety")[["se", "df"]], same.marginal_means("variety")[["se", "df"]],
        rtol=1e-3,
    )  # fmt: skip


def test_covariates_are_at_their_mean_or_where_they_are_put(fits):
    fit = fits["slopes"]
    beta, mean = fit.beta, UNEVEN.x.mean()
    at_mean, at_two = (fit.marginal_means("b", at=at)["estimate"] for at in (None, {"x": 2.0}))
    names = dict(zip(fit.beta.index, range(len(beta)), strict=True))
    slopes = beta.iloc[names["x"]] + np.array([0.0, beta.iloc[names["x:b[v]"]]])
    np.testing.assert_allclose(at_two - at_mean, slopes * (2.0 - mean), rtol=1e-9)
    along = fit.marginal_means("x", by="b", at={"x": [0.0, 1.0]})
    np.testing.assert_allclose(np.diff(along["estimate"])[[0, 2]], slopes, rtol=1e-9)


def test_a_posterior_has_means_and_contrasts():
    model = bv.Model("y ~ a * b + x * b + (1 | g)", UNEVEN)
    post = model.sample(draws=400, chains=2, seed=1)
    fit = model.reml()
    means, want = post.marginal_means("a"), fit.marginal_means("a")
    assert (np.abs(means["estimate"] - want["estimate"]) < 0.25 * want["se"]).all()
    np.testing.assert_allclose(means["se"], want["se"], rtol=0.25)
    table = post.contrasts("a", by="b", prob=0.9)
    draws = np.asarray(post.beta).reshape(-1, fit.design.p)
    first = -draws[:, list(fit.beta.index).index("a[q]")]
    assert table["estimate"].iloc[0] == pytest.approx(first.mean())
    assert table["low"].iloc[0] == pytest.approx(np.quantile(first, 0.05))
    assert table["positive"].iloc[0] == pytest.approx((first > 0).mean())
    assert "p" not in table
    near = post.contrasts("a", by="b", null=0.2, delta=0.5)
    assert near["within"].iloc[0] == pytest.approx((np.abs(first - 0.2) < 0.5).mean())
    assert near["positive"].iloc[0] == pytest.approx((first > 0.2).mean())
    with pytest.raises(bv.BayesvError, match="side= is of tests"):
        post.contrasts("a", side="less")


def test_own_weights_and_a_reference(fits):
    fit = fits["uneven"]
    table = fit.contrasts("a", {"q and r less p": [-1, 0.5, 0.5]}, adjust="none")
    means = fit.marginal_means("a")["estimate"]
    assert table["estimate"].iloc[0] == pytest.approx(means[1:].mean() - means[0])
    against = fit.contrasts("a", "reference", adjust="none")
    assert against["contrast"].to_list() == ["q - p", "r - p"]
    pairs = fit.contrasts("a", adjust="none")
    np.testing.assert_allclose(against["p"], pairs["p"][:2])
    np.testing.assert_allclose(against["estimate"], -pairs["estimate"][:2])


@pytest.mark.parametrize("name", CASES)
def test_differences_to_a_reference_have_their_joint_t(fits, name):
    """R integrates over s with the real degrees of freedom, where emmeans truncates them."""
    fit, (first, _) = fits[name], SPECS.get(name, ("a", "b"))
    want, found = WANT[name]["reference"], fits[name].contrasts(first, "reference")
    np.testing.assert_allclose(found["t"], want["t.ratio"], rtol=2e-4)
    np.testing.assert_allclose(found["p"], want["joint"], rtol=2e-3, atol=2e-6)
    # An interval ends at 0 where p is 1 − prob.
    for i, p in enumerate(found["p"]):
        ends = fit.contrasts(first, "reference", prob=1.0 - p).iloc[i]
        assert min(abs(ends["low"]), abs(ends["high"])) < 1e-3 * ends["se"]


def test_the_largest_of_several_t_has_its_distribution():
    """Against one-dimensional integrals: independent z, Tukey's pairs, and rows that repeat."""
    df, t = np.array([4.3, 30.0, np.inf]), np.array([3.0, 2.5, 2.2])
    k = 5
    pairs = np.array([np.eye(k)[i] - np.eye(k)[j] for i in range(k) for j in range(i)])
    largest = LargestT(pairs @ pairs.T / 2.0)
    np.testing.assert_allclose(largest.tail(df, t), range_tail(df, np.sqrt(2.0) * t, k), rtol=2e-3)
    alone = LargestT(np.eye(7)).tail(np.inf, t)
    np.testing.assert_allclose(alone, 1.0 - (1.0 - 2.0 * norm.sf(t)) ** 7, rtol=1e-5)
    signs = np.outer([1, -1, 1], [1, -1, 1])
    np.testing.assert_allclose(LargestT(signs).tail(df, t), 2.0 * student.sf(t, df), rtol=1e-6)
    assert largest.tail(np.inf, 9.5) >= 2.0 * norm.sf(9.5) > 0


@pytest.mark.parametrize("method", ["consecutive", "mean", "polynomial"])
def test_further_contrasts_are_those_of_their_weights(fits, method):
    weights = {
        "consecutive": [[-1, 1, 0], [0, -1, 1]],
        "mean": [[2 / 3, -1 / 3, -1 / 3], [-1 / 3, 2 / 3, -1 / 3], [-1 / 3, -1 / 3, 2 / 3]],
        "polynomial": [np.array([-1, 0, 1]) / np.sqrt(2), np.array([1, -2, 1]) / np.sqrt(6)],
    }[method]
    named = {f"c{i}": row for i, row in enumerate(weights)}
    found, want = (fits["uneven"].contrasts("a", m, adjust="none") for m in (method, named))
    np.testing.assert_allclose(found.iloc[:, 1:], want.iloc[:, 1:], rtol=1e-9)


def test_slopes_are_derivatives_of_means(fits):
    """Of a line its coefficients, of curves what calculus says, with the errors of these sums."""
    fit = fits["slopes"]
    names = list(fit.beta.index)
    L = np.zeros((2, len(names)))
    L[:, names.index("x")] = 1.0
    L[1, names.index("x:b[v]")] = 1.0
    kr, table = bv.kenward_roger(fit), fit.marginal_means("b", slope="x")
    np.testing.assert_allclose(table["estimate"], L @ fit.beta, rtol=1e-9)
    np.testing.assert_allclose(table["se"], [np.sqrt(kr.variance_of(row)) for row in L], rtol=1e-9)
    np.testing.assert_allclose(table["df"], [kr.df_of(row) for row in L], rtol=1e-7)
    test = kr.test({"x:b[v]": 1.0})
    difference = fit.contrasts("b", slope="x")
    assert difference["p"].iloc[0] == pytest.approx(test["p"], rel=1e-6)
    frame = UNEVEN.assign(z=np.exp(UNEVEN.x))
    curved = bv.Model("y ~ z + I(z^2) + log(z) + sqrt(z) + (1 | g)", frame).reml()
    _, one, two, log, root = curved.beta
    places = np.array([0.5, 2.0])
    along = curved.marginal_means("z", slope="z", at={"z": places})
    want = one + 2 * two * places + log / places + root / (2 * np.sqrt(places))
    np.testing.assert_allclose(along["estimate"], want, rtol=1e-8)
    everywhere = curved.marginal_means(slope="z", at={"z": places})
    assert everywhere["estimate"].item() == pytest.approx(want.mean(), rel=1e-8)


def test_a_posterior_has_slopes():
    post = bv.Model("y ~ a + x * b + (1 | g)", UNEVEN).sample(draws=400, chains=2, seed=1)
    draws = np.asarray(post.beta).reshape(-1, post.design.p)
    table = post.contrasts("b", slope="x")
    own = -draws[:, list(post.design.fixed_names).index("x:b[v]")]
    assert table["estimate"].item() == pytest.approx(own.mean())
    assert table["se"].item() == pytest.approx(own.std(ddof=1))


def test_inflation_is_that_of_the_inverse_correlations_whatever_the_coding(fits):
    fit = fits["uneven"]
    table = fit.collinearity()
    sd = np.sqrt(np.diag(fit.cov_beta))[1:]
    C = fit.cov_beta.to_numpy()[1:, 1:] / np.outer(sd, sd)
    names, vif = list(fit.beta.index[1:]), np.diag(np.linalg.inv(C))
    single = table.index[table["df"] == 1]
    assert len(single) >= 2
    for name in single:
        own = [i for i, n in enumerate(names) if n == name or n.startswith(f"{name}[")]
        if len(own) == 1:
            assert table.loc[name, "gvif"] == pytest.approx(vif[own[0]], rel=1e-9)
    additive = [
        bv.Model(f"y ~ {a} + b + x + (1 | g)", UNEVEN).reml().collinearity()["gvif"].to_numpy()
        for a in ("a", "C(a, contr.helmert)")
    ]
    np.testing.assert_allclose(additive[0], additive[1], rtol=1e-6)
    np.testing.assert_allclose(table["se_factor"], table["gvif"] ** (0.5 / table["df"]))
    with pytest.raises(bv.DataError, match=r"Collinearity is between terms.*two are needed"):
        bv.Model("y ~ x + (1 | g)", UNEVEN).reml().collinearity()


def test_empty_cells_leave_no_mean():
    holes = UNEVEN[~((UNEVEN.a == "r") & (UNEVEN.b == "v"))]
    fit = bv.Model("y ~ a * b + (1 | g)", holes).reml()
    with pytest.raises(bv.DataError, match=r"Type III.*every cell.*type=2"):
        fit.anova()
    assert fit.anova(type=2)["df1"].to_list() == [2.0, 1.0, 1.0]
    means = fit.marginal_means("a", by="b")
    assert means["estimate"].isna().to_list() == [False] * 5 + [True]
    for adjust in ("tukey", "sidak", "fdr", "mvt", "scheffe", "holm", "hommel"):
        found = fit.contrasts("a", by="b", adjust=adjust)
        assert found["p"].isna().to_list() == [False] * 4 + [True] * 2


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        (lambda fit: fit.anova(type=1), "type must be 2 or 3"),
        (lambda fit: fit.anova(ddf="wald"), "ddf must be"),
        (lambda fit: fit.marginal_means("aa"), "no column 'aa'; they use a, b, x"),
        (lambda fit: fit.marginal_means("a", at={"z": 1}), "at: the fixed effects use no"),
        (lambda fit: fit.marginal_means("a", at={"a": "t"}), "t"),
        (lambda fit: fit.contrasts("a", "poly"), "method must be 'pairwise'"),
        (lambda fit: fit.contrasts("a", {"one": [1, 2]}), "a weight for each of p, q, r"),
        (lambda fit: fit.contrasts("a", adjust="lsd"), "adjust must be"),
        (
            lambda fit: fit.contrasts("a", adjust="mvt", side="less"),
            "adjust='mvt' is of tests of two",
        ),
        (lambda fit: fit.contrasts("a", side="upper"), "side must be"),
        (lambda fit: fit.contrasts("a", delta=-1), "delta is at least 0"),
        (lambda fit: fit.marginal_means("a", over=UNEVEN[["a"]]), "no column for 'b'"),
        (lambda fit: fit.marginal_means("a", over=UNEVEN.assign(x=np.nan)), "over: no row has"),
        (lambda fit: fit.contrasts("x"), "There is one mean"),
        (lambda fit: fit.marginal_means("a", slope="b"), "slope: b is a factor"),
        (lambda fit: fit.marginal_means("a", slope="z"), "slope: the fixed effects use no .*x"),
    ],
)
def test_what_cannot_be_asked_is_refused(fits, ask, words):
    with pytest.raises(bv.BayesvError, match=words):
        ask(fits["uneven"])


def test_functions_of_a_covariate_are_taken_at_its_mean():
    """As emmeans: log(z) at the mean of z over the rows used, not at the mean of log(z)."""
    frame = UNEVEN.assign(z=np.exp(UNEVEN.x), w=UNEVEN.x * 2)
    frame.loc[3, "y"], frame.loc[3, "z"] = np.nan, 1e6
    fit = bv.Model("y ~ a + log(z) + w:x + (z | g)", frame).reml()
    used = frame.drop(index=3)
    at = {name: used[name].mean() for name in ("z", "w", "x")}
    pd.testing.assert_frame_equal(fit.marginal_means("a"), fit.marginal_means("a", at=at))
    mean = (
        fit.beta.iloc[0]
        + fit.beta["log(z)"] * np.log(at["z"])
        + (fit.beta["w:x"] * at["w"] * at["x"])
    )
    assert fit.marginal_means("a")["estimate"].iloc[0] == pytest.approx(mean)
    assert fit.anova().index.to_list() == ["a", "log(z)", "w:x"]


def test_batches_ask_for_the_mean_of_a_covariate(tmp_path):
    rows = UNEVEN.assign(z=np.exp(UNEVEN.x), o=1.0)
    rows.to_parquet(tmp_path / "rows.parquet")
    model = bv.Model("y ~ a + log(z) + offset(o) + (1 | g)", tmp_path / "rows.parquet")
    post = model.sample(seed=1)
    with pytest.raises(bv.DataError, match=r"The mean of 'z' is not known.*at="):
        post.marginal_means("a")
    with pytest.raises(bv.DataError, match=r"mean of the offset is not known.*over=df"):
        post.marginal_means("a", at={"z": 1.0})
    known = post.marginal_means("a", over=rows)["estimate"]
    less = post.marginal_means("a", over=rows.assign(o=0.0))["estimate"]
    np.testing.assert_allclose(known - less, 1.0)


def test_variance_parameters_have_standard_errors(sleepstudy_fit):
    table = sleepstudy_fit.variance_parameters()
    assert table.index.to_list() == [
        "Subject: Intercept", "Subject: Intercept, Days", "Subject: Days", "sigma2",
    ]  # fmt: skip
    assert table["estimate"].round(2).to_list() == [612.09, 9.60, 35.07, 654.94]
    # σ² beside a balanced random slope: 2σ⁴/144.
    assert table.loc["sigma2", "se"] == pytest.approx(654.941 * np.sqrt(2 / 144), rel=1e-4)
    np.testing.assert_allclose(table["se"], table["se_expected"], rtol=1e-4)
    assert not table["note"].any()
    zero = bv.Model("Yield ~ 1 + (1 | Batch)", bv.load_dataset("dyestuff2")).reml()
    table = zero.variance_parameters()
    assert table.loc["Batch: Intercept", "note"] == "at its boundary"
    assert np.isnan(table.loc["Batch: Intercept", "se"])
    assert table.loc["sigma2", "se"] == pytest.approx(zero.sigma2 * np.sqrt(2 / 29), rel=1e-6)


@pytest.mark.parametrize("k", [3, 7])
def test_the_studentized_range_is_scipys(k):
    df, q = np.array([2.5, 6.6, 40.0, 1e9]), np.array([3.0, 4.2, 5.0, 2.0])
    np.testing.assert_allclose(range_tail(df, q, k), studentized_range.sf(q, k, df), atol=1e-7)
    assert range_tail(np.inf, 2.0, k) == pytest.approx(range_tail(1e9, 2.0, k), abs=1e-7)
    assert range_tail(df, range_quantile(df, 0.9, k), k) == pytest.approx(0.1, abs=1e-9)
    assert np.isnan(range_quantile([np.nan], 0.9, k)).all()
