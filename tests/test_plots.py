"""Pictures show the numbers they say, at any size, and leave nothing behind."""

from __future__ import annotations

import subprocess
import sys
import warnings
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from scipy.stats import chi2

import bayesv as bv
from bayesv.plots.densities import density
from bayesv.plots.effects import conditional_sd
from bayesv.plots.style import COLORS, label_ticks
from tests.pictures import drawn, inside, line

P = bv.plots
pytestmark = pytest.mark.usefixtures("_closed")


@pytest.fixture(scope="module")
def star_post(star):
    return star.sample(seed=1)


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
    panels = drawn(P.chains(sleepstudy_posterior, scales=("sd", "corr")))
    assert panels.shape == (4, 2)
    axes = panels.ravel()
    draws = np.sqrt(sleepstudy_posterior.cov("Subject")[..., 0, 0])
    for c, item in enumerate(axes[0].lines[:4]):
        np.testing.assert_allclose(item.get_ydata(), draws[c])
    assert "sd Subject: Intercept" in axes[0].get_title(loc="left")
    assert "4 chains of 500 draws" in P.describe(panels)
    assert inside(panels)


def test_ranks_of_sticky_chains_are_not_marked(sleepstudy_posterior):
    """Chains that agree but move slowly: no test that takes draws for independent is drawn."""
    rng = np.random.default_rng(0)
    x = np.zeros((4, 500))
    for i in range(1, 500):
        x[:, i] = 0.97 * x[:, i - 1] + 0.24 * rng.normal(size=4)
    draws = sleepstudy_posterior.draws.copy(deep=True)
    draws["posterior"]["sigma2"].values[:] = np.exp(x)
    axes = P.figure_of(P.chains(replace(sleepstudy_posterior, draws=draws), scales=("sd",))).axes
    for ax in axes[1::2]:
        assert not ax.collections
        assert len({item.get_color() for item in ax.lines[:4]}) == 4


def test_chains_draws_as_many_scalars_as_can_be_read():
    rng = np.random.default_rng(1)
    data = pd.DataFrame({f"x{i}": rng.normal(size=80) for i in range(26)})
    data["g"], data["y"] = np.tile(np.arange(8), 10), rng.normal(size=80)
    formula = f"y ~ {' + '.join(data.columns[:26])} + (1 | g)"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bv.SamplingWarning)
        post = bv.Model(formula, data).sample(seed=1, draws=20, chains=2)
    panels = P.chains(post)
    assert panels.shape == (24, 2)
    plt.close(P.figure_of(panels))


def test_chains_of_many_scalars_shows_the_worst(star_post):
    panels = P.chains(star_post, most=3)
    assert panels.shape == (3, 2)
    assert "3 of 11 quantities" in P.describe(panels)


def test_ranks_are_those_of_all_draws(sleepstudy_posterior):
    ranks = P.chains(sleepstudy_posterior, scales=("corr",))[0, 1]
    cov = sleepstudy_posterior.cov("Subject")
    draws = cov[..., 0, 1] / np.sqrt(cov[..., 0, 0] * cov[..., 1, 1])
    share = np.array([(draws[0] <= cut).mean() for cut in np.quantile(draws, [0.25, 0.5, 0.75])])
    away = np.interp([0.25, 0.5, 0.75], *ranks.lines[0].get_data())
    np.testing.assert_allclose(away, share - [0.25, 0.5, 0.75], atol=1e-12)
    plt.close(ranks.figure)


def test_columns_of_panels_are_cut_between_panels(sleepstudy_posterior):
    """Side by side they are the whole picture; a picture of one column stays whole."""
    from bayesv.plots.png import tiles

    columns, legends = tiles(P.chains(sleepstudy_posterior, scales=("sd",)), 50.0, 256)
    data, width, height = P.png(P.chains(sleepstudy_posterior, scales=("sd",)), 50.0)
    assert len(columns) == 2
    assert sum(tile.width for tile in columns) == width
    assert len({tile.height for tile in columns}) == 1
    assert columns[0].height + legends[0].height == height
    assert sum(len(tile.data) for tile in [*columns, *legends]) < len(data)
    assert len(tiles(P.image([[1.0]]), 50.0, 256)[0]) == 1


def test_a_chain_of_its_own_leaves_the_band_of_ranks(sleepstudy_posterior):
    def outside(post):
        ax = P.figure_of(P.chains(post, scales=("sd",))).axes[1]
        band = ax.patches[0].get_extents().transformed(ax.transData.inverted())
        return max(np.abs(item.get_ydata()).max() for item in ax.lines) / band.y1

    assert outside(sleepstudy_posterior) < 1
    draws = sleepstudy_posterior.draws.copy(deep=True)
    draws["posterior"]["cov_Subject"][{"chain": 0}] *= 4.0
    assert outside(replace(sleepstudy_posterior, draws=draws)) > 1


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
    with pytest.raises(bv.DataError, match="seconds above 0"):
        P.scaling(table.assign(reml_s=np.nan, posterior_s=0.0))
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


def test_long_names_of_levels_are_told_apart():
    rng = np.random.default_rng(0)
    names = [f"a level with a long name, number {k}" for k in range(12)]
    data = pd.DataFrame({"g": np.repeat(names, 4), "y": rng.normal(size=48)})
    data["y"] += np.repeat(rng.normal(size=12), 4)
    (ax,) = drawn(P.caterpillar(bv.Model("y ~ 1 + (1 | g)", data).reml(), "g"))
    labels = [label.get_text() for label in ax.get_yticklabels()]
    assert len(set(labels)) == len(labels) > 5
    assert inside(ax)
