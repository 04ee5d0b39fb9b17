"""Pictures of one series, of lags and of what the data say against a fit."""

from __future__ import annotations

import warnings

import matplotlib.pyplot as plt
import numpy as np
import pytest

import bayesv as bv


@pytest.fixture(scope="module")
def fit() -> bv.RemlFit:
    formula = "Reaction ~ Days + (1 | Subject)"
    data = bv.load_dataset("sleepstudy").sample(frac=1.0, random_state=1)
    return bv.Model(formula, data, residual="ar1(Days | Subject)").reml()


def test_series_has_R_and_V_in_the_order_of_its_visits(fit):
    axes = bv.plots.series(fit, "308", corr=True)
    said = bv.plots.describe(axes)
    assert "matrix of 10 rows by Days; correlation of neighbours" in said
    rho = fit.components.residual.corr["rho"]
    lag = np.abs(np.subtract.outer(np.arange(10), np.arange(10)))
    np.testing.assert_allclose(axes[0].images[0].get_array(), rho**lag, rtol=1e-9)
    share = float(fit.components["Subject"].to_numpy()[0, 0])
    V = (share + fit.sigma2 * rho**lag) / (share + fit.sigma2)
    np.testing.assert_allclose(axes[1].images[0].get_array(), V, rtol=1e-9)
    assert [text.get_text() for text in axes[0].get_xticklabels()] == [str(k) for k in range(10)]
    assert axes[0].get_xlabel() == "Days"
    plt.close(bv.plots.figure_of(axes))


def test_lags_are_those_of_the_table(fit):
    axes = bv.plots.lags(fit)
    table = fit.by_lag()
    np.testing.assert_allclose(axes[0].lines[0].get_ydata(), table["corr_V"])
    np.testing.assert_allclose(axes[1].lines[0].get_ydata(), table["semivariance"])
    assert "at lag 1" in bv.plots.describe(axes)
    plt.close(bv.plots.figure_of(axes))


def test_check_shows_effects_over_their_sds_and_names_the_farthest_cluster():
    data = bv.load_dataset("sleepstudy")
    fit = bv.Model("Reaction ~ Days + (Days | Subject)", data).reml()
    axes = bv.plots.check(fit)
    squares = fit.residuals("scaled").to_numpy() ** 2
    worst = data.assign(s=squares).groupby("Subject")["s"].mean().idxmax()
    assert str(worst) in [text.get_text() for text in axes[-1].texts]
    assert f"farthest: {worst}" in bv.plots.describe(axes[-1])
    # Var(û) of the model, by simulation: effects over it have variance 1.
    drawn = axes[2].collections[-1].get_offsets()[:, 1]
    u = fit.blup.to_numpy()[::2]
    B = (fit.design.Z @ fit.gls.V.G).toarray()
    P = fit.gls.V.solve(B) - fit.gls.V.solve(fit.design.X) @ fit.cov_beta.to_numpy() @ (
        fit.gls.V.solve(fit.design.X).T @ B
    )
    np.testing.assert_allclose(drawn, np.sort(u / np.sqrt(np.diagonal(B.T @ P)[::2])), rtol=1e-6)
    plt.close(bv.plots.figure_of(axes))


def test_rows_of_one_fitted_value_have_one_local_mean():
    """One point a group; no line through one value or few rows."""
    data = bv.load_dataset("sleepstudy")
    many = bv.plots.check(bv.Model("Reaction ~ 1 + (1 | Subject)", data).reml())
    (mean, low, high) = many[0].lines[:3]
    assert (np.diff(mean.get_xdata()) > 1e-6).all()
    assert 10 <= len(mean.get_xdata()) <= 18
    assert (low.get_ydata() < high.get_ydata()).all()
    assert "local mean (line)" in bv.plots.describe(many)
    one = bv.plots.check(bv.Model("Yield ~ 1 + (1 | Batch)", bv.load_dataset("dyestuff2")).reml())
    few = bv.plots.check(bv.Model("Reaction ~ 1 + (1 | Subject)", data[:16]).reml())
    for axes in (one, few):
        assert len(axes[0].lines) == 1
        assert "local mean" not in bv.plots.describe(axes)
    for axes in (many, one, few):
        plt.close(bv.plots.figure_of(axes))


def test_crossed_rows_have_no_panel_of_clusters():
    model = bv.Model("diameter ~ 1 + (1 | plate) + (1 | sample)", bv.load_dataset("penicillin"))
    axes = bv.plots.check(model.reml())
    assert len(axes) == 4
    assert "clusters" not in bv.plots.describe(axes)
    plt.close(bv.plots.figure_of(axes))


def test_residuals_without_series_have_no_picture_of_one():
    fit = bv.Model("Yield ~ 1 + (1 | Batch)", bv.load_dataset("dyestuff")).reml()
    with pytest.raises(bv.DataError, match="no series"):
        bv.plots.series(fit)


def test_slopes_far_from_zero_are_noted():
    data = bv.load_dataset("sleepstudy").assign(age=lambda d: d["Days"] + 8)
    far = bv.Model("Reaction ~ age + (age | Subject)", data).design.notes
    assert any("0 lies far outside age (8 to 17)" in note for note in far)
    near = bv.Model("Reaction ~ Days + (Days | Subject)", data).design.notes
    assert not any("far outside" in note for note in near)
    assert not bv.Model("Reaction ~ age + (0 + age | Subject)", data).design.notes


@pytest.fixture(scope="module")
def posterior(fit) -> bv.Posterior:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bv.SamplingWarning)
        return bv.Model.from_design(fit.design).sample(seed=1, draws=60, chains=2)


def test_bands_by_lag_are_quantiles_over_draws(fit, posterior):
    axes = bv.plots.lags(posterior, prob=0.8)
    days = bv.load_dataset("sleepstudy")["Days"].loc[posterior.design.row_labels].to_numpy()
    code = posterior.design.terms[0].codes
    pairs = (code[:, None] == code) & (days[:, None] + 3 == days)  # lag 3
    of_draws = []
    for point in posterior.values.flat:
        V = bv.MarginalCovariance(posterior.design, point.components()).to_dense()
        sd = np.sqrt(V.diagonal())
        of_draws.append(((V / np.outer(sd, sd))[pairs].mean(), (V.diagonal() - V[pairs][0])[0]))
    low, middle, high = np.quantile(of_draws, [0.1, 0.5, 0.9], axis=0)
    for ax, which in zip(axes, (0, 1), strict=True):
        assert ax.lines[0].get_ydata()[2] == pytest.approx(middle[which])
        band = ax.collections[0].get_paths()[0].vertices
        ends = np.unique(band[band[:, 0] == 3.0][:, 1])
        np.testing.assert_allclose(ends[[0, -1]], (low[which], high[which]))
    assert "with 80 % bands" in bv.plots.describe(axes)
    assert len(bv.plots.lags(posterior, "Subject", days)[1].collections) == 2
    plt.close("all")


def test_series_of_a_posterior_has_means_over_draws(posterior):
    axes = bv.plots.series(posterior, "308")
    assert axes[1].get_title(loc="left") == "E[V | y], Subject 308"
    blocks = [
        bv.MarginalCovariance(posterior.design, point.components()).block("Subject", "308")
        for point in posterior.values.flat
    ]
    mean = np.mean([block.sort_index().sort_index(axis=1).to_numpy() for block in blocks], axis=0)
    np.testing.assert_allclose(axes[1].images[0].get_array(), mean, rtol=1e-9)
    plt.close("all")


def test_one_lag_is_a_mark():
    two = bv.load_dataset("sleepstudy").query("Days < 2")
    fit = bv.Model("Reaction ~ Days", two, residual="cs(Days | Subject)").reml()
    for ax in bv.plots.lags(fit):
        assert "_" in [line.get_marker() for line in ax.lines]
        assert all(float(tick).is_integer() for tick in ax.get_xticks())
