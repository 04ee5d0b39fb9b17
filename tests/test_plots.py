"""Pictures show the numbers they say, at any size, and leave nothing behind."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from scipy import sparse
from scipy.stats import chi2

import bayesv as bv
from bayesv.plots.densities import density
from bayesv.plots.effects import conditional_sd
from bayesv.plots.raster import MOST_PIXELS, pixels
from bayesv.plots.style import COLORS, label_ticks

P = bv.plots


@pytest.fixture(autouse=True)
def _closed():
    assert not plt.get_fignums()
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def sleepstudy_fit(sleepstudy):
    return sleepstudy.reml()


@pytest.fixture(scope="module")
def star_fit(star):
    return star.reml()


@pytest.fixture(scope="module")
def star_post(star):
    return star.sample(seed=1)


@pytest.fixture(scope="module")
def large():
    """A hundred thousand rows, shuffled, in five thousand groups."""
    rng = np.random.default_rng(8)
    n, J = 100_000, 5_000
    g = rng.integers(0, J, n)
    y = rng.normal(size=J)[g] + rng.normal(size=n)
    return bv.Model("y ~ 1 + (1 | g)", pd.DataFrame({"g": g, "y": y}))


def drawn(picture):
    """Lay out and draw, so that every warning of matplotlib is raised here."""
    P.figure_of(picture).canvas.draw()
    return picture


def line(ax, label):
    return next(item for item in ax.lines if item.get_label() == label)


def inside(picture):
    """Whether no text leaves the figure, and no two tick labels of an axis overlap."""
    figure = P.figure_of(picture)
    figure.canvas.draw()  # a second layout, with the texts of the first
    box = figure.bbox
    renderer = figure.canvas.get_renderer()
    for ax in figure.axes:
        ticks = {}
        for which, axis in (("x", ax.xaxis), ("y", ax.yaxis)):
            low, high = sorted(axis.get_view_interval())
            labels = [
                label
                for at, label in zip(axis.get_majorticklocs(), axis.get_ticklabels(), strict=True)
                if low <= at <= high and label.get_text() and label.get_visible()
            ]
            ticks[which] = [label.get_window_extent(renderer) for label in labels]
        names = [ax._left_title, ax.xaxis.label, ax.yaxis.label]
        extents = [t.get_window_extent(renderer) for t in names if t.get_text()]
        for extent in [*extents, *ticks["x"], *ticks["y"]]:
            assert extent.x0 >= -1, ax.get_title(loc="left")
            assert extent.y0 >= -1
            assert extent.x1 <= box.x1 + 1
            assert extent.y1 <= box.y1 + 1
        for boxes in ticks.values():
            for a, b in pairwise(boxes):
                assert not a.overlaps(b), ax.get_title(loc="left")
    return True


# --- pixels ---------------------------------------------------------------------------------------


def test_small_matrices_are_their_own_pixels():
    a = np.random.default_rng(1).normal(size=(7, 5))
    np.testing.assert_array_equal(pixels(a), a)
    np.testing.assert_array_equal(pixels(sparse.csr_array(a)), a)


@pytest.mark.parametrize("shape", [(1_000, 1_000), (5, 3_000), (1_999, 40)])
def test_pixels_have_the_largest_element_that_falls_on_them(shape):
    a = sparse.random_array(shape, density=0.02, rng=np.random.default_rng(2)).toarray() - 0.0
    a *= np.where(np.random.default_rng(3).random(shape) < 0.5, -1.0, 1.0)
    most = 100
    found = pixels(sparse.coo_array(a), most)
    m, k = shape
    height, width = min(m, most), min(k, most)
    expected = np.zeros((height, width))
    for i, j in zip(*np.nonzero(a), strict=True):
        at = i * height // m, j * width // k
        if abs(a[i, j]) > abs(expected[at]):
            expected[at] = a[i, j]
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(pixels(a, most), expected)


@pytest.mark.parametrize("bad", [np.zeros((0, 3)), np.zeros(3), [["a"]]])
def test_what_is_no_matrix_is_refused(bad):
    with pytest.raises(bv.DataError, match="An image needs a matrix"):
        pixels(bad)


# --- Z, G, R, V -----------------------------------------------------------------------------------


def test_images_show_the_matrices(sleepstudy, sleepstudy_fit):
    design, vc = sleepstudy.design, sleepstudy_fit.components
    V = bv.MarginalCovariance(design, vc)
    wanted = [
        design.Z.toarray(),
        bv.expand_G(design, vc).toarray(),
        bv.residual_R(design, vc).toarray(),
        V.to_dense(),
    ]
    axes = drawn(P.matrices(design, vc))
    for ax, matrix in zip(axes, wanted, strict=True):
        np.testing.assert_allclose(ax.images[0].get_array(), matrix)
    assert inside(axes)


def test_rows_of_Z_are_those_of_R(sleepstudy):
    ax = drawn(P.image_Z(sleepstudy.design, rows=slice(0, 30)))
    np.testing.assert_array_equal(ax.images[0].get_array(), sleepstudy.design.Z[:30].toarray())
    assert [label.get_text() for label in ax.get_xticklabels()] == list(
        sleepstudy.design.terms[0].levels
    )
    # A boundary between any two levels, at the column where the next one starts.
    found = sorted(item.get_xdata()[0] for item in ax.lines)
    np.testing.assert_allclose(found, np.arange(2, 36, 2) - 0.5)
    assert "rows 1–30 of 180" in ax.get_title(loc="left")


def test_rows_sorted_by_cluster_make_V_block_diagonal(star, star_fit):
    design, vc = star.design, star_fit.components
    ax = drawn(P.image_V(design, vc, rows=slice(0, 200), by_cluster=True))
    shown = np.asarray(ax.images[0].get_array())
    sch = design.term("sch").codes[:200]
    order = np.sort(sch)
    assert not shown[order[:, None] != order].any()
    np.testing.assert_allclose(
        np.sort(np.diagonal(shown)), np.sort(bv.MarginalCovariance(design, vc).diagonal()[:200])
    )
    unsorted = P.image_V(design, vc, rows=slice(0, 200))
    V = bv.MarginalCovariance(design, vc).rows(np.arange(200)).to_numpy()
    np.testing.assert_allclose(unsorted.images[0].get_array(), V)


def test_correlations_have_a_scale_to_one(sleepstudy, sleepstudy_fit):
    ax = P.image_V(sleepstudy.design, sleepstudy_fit.components, rows=slice(0, 20), corr=True)
    np.testing.assert_allclose(np.diagonal(ax.images[0].get_array()), 1.0)
    assert ax.images[0].get_clim()[1] == 1.0


def test_zero_is_white_and_the_smallest_element_is_not():
    a = np.array([[0.0, 1e-3], [1.0, 2.0]])
    shown = P.image(a).images[0]
    colors = [to_hex(shown.cmap(shown.norm(v))) for v in a.ravel()]
    assert colors[0] == "#ffffff"
    assert "#ffffff" not in colors[1:]
    signed = P.image(-a).images[0]
    assert to_hex(signed.cmap(signed.norm(0.0))) == "#ffffff"


def test_large_designs_are_binned(large):
    vc = bv.VarianceComponents({"g": [[1.0]]}, sigma2=1.0)
    axes = drawn(P.matrices(large.design, vc, by_cluster=True))
    assert all(max(ax.images[0].get_array().shape) <= MOST_PIXELS for ax in axes)
    assert all(len(ax.lines) <= 60 for ax in axes)
    # Sorted by cluster, V is a band around the diagonal: the far corner is empty.
    shown = np.asarray(axes[3].images[0].get_array())
    assert not shown[-20:, :20].any()
    assert (np.diagonal(shown) == 2.0).all()
    assert inside(axes)


def test_V_with_too_many_elements_is_shown_by_some_rows():
    n = 20_000
    data = pd.DataFrame({"g": np.repeat(["a", "b"], n // 2), "y": np.sin(np.arange(n))})
    design = bv.Model("y ~ 1 + (1 | g)", data).design
    vc = bv.VarianceComponents({"g": [[1.0]]}, sigma2=3.0)
    ax = drawn(P.image_V(design, vc))
    assert "2,000 evenly spaced of 20,000 rows" in ax.get_title(loc="left")
    assert np.asarray(ax.images[0].get_array()).max() == 4.0


@pytest.mark.parametrize("rows", [slice(9, 3), [500]])
def test_rows_that_are_not_there_are_refused(sleepstudy, rows):
    with pytest.raises(bv.DataError, match="180"):
        P.image_Z(sleepstudy.design, rows=rows)


# --- one cluster ----------------------------------------------------------------------------------


def test_block_prints_the_elements(sleepstudy, sleepstudy_fit):
    V = bv.MarginalCovariance(sleepstudy.design, sleepstudy_fit.components)
    ax = drawn(P.block(V, "Subject", "308"))
    block = V.block("Subject", "308").to_numpy()
    np.testing.assert_allclose(ax.images[0].get_array(), block)
    texts = np.array([float(t.get_text()) for t in ax.texts]).reshape(10, 10)
    np.testing.assert_allclose(texts, block, atol=0.5)
    corr = P.block(V, "Subject", 308, corr=True)
    np.testing.assert_allclose(
        corr.images[0].get_array(), V.corr_block("Subject", "308"), atol=1e-12
    )


@pytest.mark.parametrize("corr", [False, True])
def test_block_of_a_posterior_has_means_and_sds(sleepstudy_posterior, corr):
    axes = drawn(P.block(sleepstudy_posterior, "Subject", "309", corr=corr))
    V = sleepstudy_posterior.V("Subject", "309")
    draws = (V.corr() if corr else V.draws()).to_numpy().reshape(-1, 10, 10)
    np.testing.assert_allclose(axes[0].images[0].get_array(), draws.mean(axis=0), rtol=1e-10)
    np.testing.assert_allclose(
        axes[1].images[0].get_array(), draws.std(axis=0, ddof=1), rtol=1e-6, atol=1e-12
    )
    assert inside(axes)


def test_large_clusters_are_thinned_and_not_printed(large):
    vc = bv.VarianceComponents({"g": [[1.0]]}, sigma2=1.0)
    V = bv.MarginalCovariance(large.design, vc)
    ax = P.block(V, "g", large.design.terms[0].levels[0])
    assert not ax.texts
    n = 1_500
    one = bv.Model(
        "y ~ 1 + (1 | g)",
        pd.DataFrame({"g": np.repeat(list("abc"), n), "y": np.cos(np.arange(3 * n))}),
    )
    ax = P.block(bv.MarginalCovariance(one.design, vc), "g", "a")
    assert ax.images[0].get_array().shape == (200, 200)
    assert "200 of 1,500 rows" in ax.get_title(loc="left")


def test_block_says_what_it_needs(sleepstudy_fit):
    with pytest.raises(bv.BayesvError, match="build V with"):
        P.block(sleepstudy_fit, "Subject", "308")


# --- densities ------------------------------------------------------------------------------------


def test_lines_stand_at_the_REML_estimates(sleepstudy_fit, sleepstudy_posterior):
    axes = drawn(P.variance_densities(sleepstudy_fit, sleepstudy_posterior))
    vc = sleepstudy_fit.components
    block, s2 = vc["Subject"].to_numpy(), vc.sigma2
    sd = np.sqrt(np.diagonal(block))
    wanted = [*sd, *np.diagonal(block), block[0, 1] / sd.prod(), np.sqrt(s2), s2]
    found = [line(ax, "REML").get_xdata()[0] for ax in axes]
    np.testing.assert_allclose(found, wanted)
    for ax, q in zip(axes, ["sd Subject: Intercept", "sd Subject: Days"], strict=False):
        assert ax.get_title(loc="left") == q
    bar = line(axes[0], "95 % interval").get_xdata()
    draws = np.sqrt(sleepstudy_posterior.cov("Subject")[..., 0, 0])
    np.testing.assert_allclose(bar, np.quantile(draws, [0.025, 0.975]))
    assert inside(axes)


def test_boundary_estimates_stay_visible(star_fit, star_post):
    axes = drawn(P.variance_densities(star_fit, star_post, scales=("corr",)))
    for ax in axes:
        x = line(ax, "REML").get_xdata()[0]
        assert x == pytest.approx(-1.0, abs=1e-3)
        assert ax.get_xlim()[0] < x
    assert inside(axes)


def test_priors_are_densities(sleepstudy, sleepstudy_fit):
    data = bv.load_dataset("sleepstudy")
    priors = bv.Priors(sd=bv.HalfNormal(30.0), sigma=bv.Flat(), corr=bv.LKJ(3.0))
    model = bv.Model("Reaction ~ Days + (Days | Subject)", data, priors)
    post = model.sample(seed=1)
    axes = {ax.get_title(loc="left"): ax for ax in P.variance_densities(sleepstudy_fit, post)}
    x, height = line(axes["sd Subject: Intercept"], "prior").get_data()
    wanted = np.sqrt(2 / np.pi) / 30 * np.exp(-0.5 * (x / 30) ** 2)
    np.testing.assert_allclose(height, wanted, rtol=1e-10)
    # P(var ≤ v) = P(sd ≤ √v): slope by finite differences of the distribution function of χ²₁.
    x, height = line(axes["var Subject: Intercept"], "prior").get_data()
    h = 1e-4 * x
    slope = (chi2.cdf((x + h) / 900, 1) - chi2.cdf((x - h) / 900, 1)) / (2 * h)
    np.testing.assert_allclose(height, slope, rtol=1e-5)
    # LKJ(η) of two columns is (1 − ρ²)^(η − 1) up to a constant.
    x, height = line(axes["corr Subject: Intercept, Days"], "prior").get_data()
    np.testing.assert_allclose(height, 15 / 16 * (1 - x**2) ** 2, atol=1e-10)
    labels = axes["sd Residual"].get_legend_handles_labels()[1]
    assert "prior" not in labels


@pytest.mark.parametrize("scale", ["sd", "var", "corr"])
def test_densities_hold_all_mass_within_the_bounds(scale):
    rng = np.random.default_rng(5)
    draws = {"sd": np.abs(rng.normal(size=4000)), "var": rng.normal(3, 0.5, size=4000) ** 2,
             "corr": 2 * rng.beta(1, 1, size=4000) - 1}[scale]  # fmt: skip
    x, height = density(draws, scale)
    assert x[0] >= (-1 if scale == "corr" else 0)
    assert np.trapezoid(height, x) == pytest.approx(1.0, abs=0.02)
    # Not bent down at the bound: the half-normal is 0.8 there, the uniform 0.5.
    if scale != "var":
        assert height[0] == pytest.approx({"sd": 0.798, "corr": 0.5}[scale], rel=0.12)


def test_draws_that_are_all_the_same_have_no_density():
    x, height = density(np.full(100, 2.0), "sd")
    assert not height.any()
    assert x[0] < 2.0 < x[-1]


def test_distance_density_has_its_quantiles(sleepstudy_fit, sleepstudy_posterior):
    ax = drawn(P.distance_density(sleepstudy_posterior, sleepstudy_fit, every=50))
    values = sleepstudy_posterior.distance(sleepstudy_fit.components, every=50).to_numpy()
    assert line(ax, "median").get_xdata()[0] == pytest.approx(np.median(values))
    assert ax.get_xlim()[0] == 0
    with pytest.raises(bv.BayesvError, match="kind must be"):
        P.distance_density(sleepstudy_posterior, sleepstudy_fit, "nearness")


# --- Σ_f and curves -------------------------------------------------------------------------------


def test_ellipses_are_level_sets_of_the_normal(sleepstudy_fit, sleepstudy_posterior):
    (ax,) = drawn(P.ellipses(sleepstudy_posterior, "Subject", sleepstudy_fit, prob=0.9))
    for label, vc in (
        ("REML", sleepstudy_fit.components),
        ("E[Σ | y]", sleepstudy_posterior.estimate("mean")),
    ):
        u = np.stack(line(ax, label).get_data())
        inverse = np.linalg.inv(vc["Subject"].to_numpy())
        np.testing.assert_allclose(np.einsum("ak,ab,bk->k", u, inverse, u), chi2.ppf(0.9, 2))
    assert len(ax.collections[0].get_paths()) == 120
    assert inside(ax)


def test_ellipse_of_a_correlation_of_one_is_a_line(star_fit, star_post):
    (ax,) = drawn(P.ellipses(star_post, "sch", star_fit))
    x, y = line(ax, "REML").get_data()
    assert np.abs(np.corrcoef(x, y)[0, 1]) > 0.999


def test_ellipses_need_two_columns(large):
    post = bv.Model("Yield ~ 1 + (1 | Batch)", bv.load_dataset("dyestuff")).sample(seed=1)
    with pytest.raises(bv.BayesvError, match="one column"):
        P.ellipses(post, "Batch")


def test_curves_are_the_model_s(sleepstudy_fit, sleepstudy_posterior):
    at = np.arange(10.0)
    axes = drawn(P.curves(sleepstudy_posterior, at, "Days", fit=sleepstudy_fit))
    z = np.column_stack([np.ones(10), at])
    vc = sleepstudy_fit.components
    between = z @ vc["Subject"].to_numpy() @ z.T
    variance = np.diagonal(between) + vc.sigma2
    np.testing.assert_allclose(line(axes[0], "REML").get_ydata(), variance)
    dashed = [item for item in axes[1].lines if item.get_linestyle() == "--"]
    corr = between / np.sqrt(np.outer(variance, variance))
    for item, j in zip(dashed, (0, 5, 9), strict=True):
        np.testing.assert_allclose(item.get_ydata(), corr[:, j])
    found = sleepstudy_posterior.curves(pd.DataFrame({"Days": at}))["variance"]
    np.testing.assert_allclose(axes[0].lines[0].get_ydata(), found.median(("chain", "draw")))
    assert inside(axes)


def test_curves_name_what_is_missing(sleepstudy_posterior):
    with pytest.raises(bv.BayesvError, match="no column 'Days'"):
        P.curves(sleepstudy_posterior, pd.DataFrame({"x": [0, 1]}), "Days")
    with pytest.raises(bv.BayesvError, match="at least two values"):
        P.curves(sleepstudy_posterior, [1.0], "Days")


# --- effects --------------------------------------------------------------------------------------


def test_caterpillar_of_a_fit_is_sorted_BLUPs(sleepstudy, sleepstudy_fit):
    axes = drawn(P.caterpillar(sleepstudy_fit, "Subject"))
    u = sleepstudy_fit.blup.xs("Days", level="coefficient").sort_values()
    np.testing.assert_allclose(axes[1].lines[0].get_xdata(), u)
    assert [t.get_text() for t in axes[1].get_yticklabels()] == list(
        u.index.get_level_values("level")
    )
    assert inside(axes)


def test_conditional_sd_equals_dense_algebra(star_fit, sleepstudy_fit):
    for fit in (star_fit, sleepstudy_fit):
        V = bv.MarginalCovariance(fit.design, fit.components)
        Z, G = fit.design.Z, V.G.toarray()
        ZG = Z @ G
        wanted = np.diagonal(G) - np.einsum("nq,nq->q", ZG, V.solve(ZG))
        np.testing.assert_allclose(
            conditional_sd(fit), np.sqrt(wanted.clip(0)), rtol=1e-6, atol=1e-5
        )


def test_caterpillar_of_a_posterior(sleepstudy_posterior):
    axes = P.caterpillar(sleepstudy_posterior, "Subject", prob=0.9)
    table = sleepstudy_posterior.random_effects()
    own = table.xs("Intercept", level="coefficient").sort_values("mean")
    np.testing.assert_allclose(axes[0].lines[0].get_xdata(), own["mean"])
    segments = np.array(axes[0].collections[0].get_segments())
    half = (segments[:, 1, 0] - segments[:, 0, 0]) / 2
    np.testing.assert_allclose(half, 1.6448536 * own["sd"], rtol=1e-6)


def test_caterpillar_of_many_levels_has_no_labels(large):
    (ax,) = drawn(P.caterpillar(large.reml(), "g"))
    assert not len(ax.get_yticks())
    assert "5,000 levels" in ax.get_ylabel()
    assert inside(ax)


def test_forest_has_the_table(sleepstudy_fit, sleepstudy_posterior):
    table = bv.beta_uncertainty(sleepstudy_fit, sleepstudy_posterior, {"at 10": [1, 10]})
    axes = drawn(P.forest(table))
    assert [ax.get_title(loc="left") for ax in axes] == ["Intercept", "Days", "at 10"]
    rows = table.table[table.table["coefficient"] == "Days"].set_index("method")
    labels = [t.get_text() for t in axes[1].get_yticklabels()]
    bars = [item for item in axes[1].lines if len(item.get_xdata()) == 2 and item.get_lw() == 2.2]
    assert len(bars) == len(labels) == 4
    for label, bar in zip(labels, bars, strict=True):
        np.testing.assert_allclose(bar.get_xdata(), rows.loc[label, ["low", "high"]])
    assert to_hex(bars[-1].get_color()) == COLORS["posterior"].lower()
    assert inside(axes)


def test_forest_says_what_it_needs(sleepstudy_fit, sleepstudy_posterior):
    with pytest.raises(bv.BayesvError, match="posterior is needed"):
        P.forest(sleepstudy_fit)
    with pytest.raises(bv.BayesvError, match="Kenward–Roger"):
        P.forest(sleepstudy_fit, sleepstudy_posterior, methods=["jackknife"])


# --- chains and timings ---------------------------------------------------------------------------


def test_chains_draws_every_chain(sleepstudy_posterior):
    pc = drawn(P.chains(sleepstudy_posterior, scales=("sd", "corr")))
    axes = P.figure_of(pc).axes
    assert len(axes) == 2 * 4
    draws = np.sqrt(sleepstudy_posterior.cov("Subject")[..., 0, 0])
    for c, item in enumerate(axes[0].lines[:4]):
        np.testing.assert_allclose(item.get_ydata(), draws[c])
    assert "sd Subject: Intercept" in axes[0].get_title(loc="left")
    assert "4 chains of 500 draws" in P.describe(pc)
    assert inside(pc)


def test_chains_of_many_scalars_shows_the_worst(star_post):
    pc = P.chains(star_post, most=3)
    axes = P.figure_of(pc).axes
    assert len(axes) == 6
    assert "3 of 11 quantities" in P.describe(pc)


def test_acceptance_counts_runs(sleepstudy_posterior):
    axes = drawn(P.acceptance(sleepstudy_posterior))
    s2 = sleepstudy_posterior.sigma2
    runs = [len(list(run)) for c in s2 for run in np.split(c, np.flatnonzero(np.diff(c)) + 1)]
    heights = [bar.get_height() for bar in axes[2].patches]
    np.testing.assert_array_equal(heights, np.bincount(runs)[1:])
    assert axes[0].lines[0].get_xdata().size == sleepstudy_posterior.n_draws
    assert inside(axes)


def test_scaling_draws_what_was_measured():
    table = pd.DataFrame(
        {"series": ["rows"] * 3 + ["depth"] * 2 + ["alone"], "x": [100, 1000, 10, 1, 2, 5],
         "reml_s": [0.2, 0.3, 0.1, 0.4, 0.5, 1.0], "posterior_s": [2.0, np.nan, 1.0, 3.0, 4.0, 1.0]}
    )  # fmt: skip
    axes = drawn(P.scaling(table, {"depth": "levels", "rows": "number of rows"}))
    assert [ax.get_xlabel() for ax in axes] == ["levels", "number of rows"]
    assert [ax.get_xscale() for ax in axes] == ["linear", "log"]
    x, seconds = line(axes[1], "REML").get_data()
    np.testing.assert_allclose([x, seconds], [[10, 100, 1000], [0.1, 0.2, 0.3]])
    np.testing.assert_allclose(line(axes[1], "posterior").get_data(), [[10, 100], [1.0, 2.0]])
    assert len(P.scaling(table)) == 2
    with pytest.raises(bv.DataError, match="no curve"):
        P.scaling(table[table["series"] == "alone"])
    with pytest.raises(bv.DataError, match="found x"):
        P.scaling([{"x": 1}])


# --- all of them ----------------------------------------------------------------------------------


def pictures(model, fit, post):
    """Every function, as a call with the axes it is given."""
    design, vc = model.design, fit.components
    V = bv.MarginalCovariance(design, vc)
    return {
        "image": (1, lambda ax: P.image(np.eye(3), ax)),
        "image_Z": (1, lambda ax: P.image_Z(design, ax=ax)),
        "image_G": (1, lambda ax: P.image_G(design, vc, ax)),
        "image_R": (1, lambda ax: P.image_R(design, vc, ax=ax)),
        "image_V": (1, lambda ax: P.image_V(design, vc, ax=ax)),
        "matrices": (4, lambda ax: P.matrices(design, vc, axes=ax)),
        "block": (1, lambda ax: P.block(V, "Subject", "308", ax=ax)),
        "block of a posterior": (2, lambda ax: P.block(post, "Subject", "308", ax=ax)),
        "variance_densities": (4, lambda ax: P.variance_densities(
            fit, post, scales=("sd", "corr"), axes=ax)),
        "distance_density": (1, lambda ax: P.distance_density(post, fit, every=50, ax=ax)),
        "ellipses": (1, lambda ax: P.ellipses(post, "Subject", axes=ax)),
        "curves": (2, lambda ax: P.curves(post, [0, 5, 9], "Days", axes=ax)),
        "caterpillar": (2, lambda ax: P.caterpillar(fit, "Subject", axes=ax)),
        "forest": (2, lambda ax: P.forest(fit, post, axes=ax)),
        "acceptance": (3, lambda ax: P.acceptance(post, ax)),
        "scaling": (1, lambda ax: P.scaling(
            [{"series": "rows", "x": x, "reml_s": x} for x in (1, 2)], axes=ax)),
    }  # fmt: skip


def test_given_axes_are_drawn_on_and_returned(sleepstudy, sleepstudy_fit, sleepstudy_posterior):
    every = pictures(sleepstudy, sleepstudy_fit, sleepstudy_posterior)
    assert {name.split()[0] for name in every} <= set(P.__all__)
    for name, (count, call) in every.items():
        figure, axes = plt.subplots(1, count, squeeze=False)
        given = axes[0, 0] if count == 1 else axes[0]
        found = call(given)
        assert plt.get_fignums() == [figure.number], name
        assert all(a is b for a, b in zip(np.ravel(found), np.ravel(given), strict=True)), name
        for ax in np.ravel(found):
            assert P.describe(ax).endswith("."), name
            assert ax.get_title(loc="left") or name == "scaling"
        assert P.describe(found) == P.describe(figure)
        plt.close(figure)


def test_another_number_of_axes_is_refused(sleepstudy, sleepstudy_fit, sleepstudy_posterior):
    every = pictures(sleepstudy, sleepstudy_fit, sleepstudy_posterior)
    axes = plt.subplots(1, 5)[1]
    for name, (count, call) in every.items():
        with pytest.raises(bv.BayesvError, match=f"{count} panels|must be matplotlib axes"):
            call(axes)
        assert len(plt.get_fignums()) == 1, name


def test_nothing_global_changes(sleepstudy, sleepstudy_fit):
    before = dict(plt.rcParams)
    P.matrices(sleepstudy.design, sleepstudy_fit.components)
    assert dict(plt.rcParams) == before


def test_dollars_are_no_mathematics():
    data = pd.DataFrame(
        {"g$1$": np.repeat([f"a$_{i}$" for i in range(6)], 4), "y": np.sin(np.arange(24.0))}
    )
    model = bv.Model("y ~ 1 + (1 | `g$1$`)", data)
    ax = drawn(P.image_Z(model.design))
    assert r"\$" in ax.get_xlabel()
    assert all(r"\$" in t.get_text() for t in ax.get_xticklabels())


def test_labels_are_thinned_to_what_fits():
    ax = plt.subplots(figsize=(4, 3))[1]
    ax.set_xlim(-0.5, 999.5)
    label_ticks(ax, "x", list(range(1000)), [f"level {i}" for i in range(1000)])
    assert 5 < len(ax.get_xticks()) < 40
    assert isinstance(ax, Axes)


def test_descriptions_belong_to_our_pictures():
    with pytest.raises(bv.BayesvError, match="not drawn by"):
        P.describe(plt.subplots()[1])
    with pytest.raises(bv.BayesvError, match="found str"):
        P.figure_of("a picture")


def test_without_matplotlib_the_line_that_installs_it():
    code = (
        "import sys; sys.modules['matplotlib'] = None\n"
        "import bayesv as bv\n"
        "try: bv.plots\n"
        "except bv.MissingPackageError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 'python3 -m pip install "bayesv[plots]"' in done.stdout
