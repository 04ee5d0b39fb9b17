"""Images of Z, G, R, V and of one cluster show the matrices, at any size."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from scipy import sparse

import bayesv as bv
from bayesv.plots.raster import MOST_PIXELS, pixels
from tests.pictures import drawn, inside

P = bv.plots
pytestmark = pytest.mark.usefixtures("_closed")


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
    assert "rows 0–29 of 180" in ax.get_title(loc="left")


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


def test_an_image_of_fewer_pixels_says_how_many_elements_are_not_0():
    ax = drawn(P.image(sparse.eye_array(5000, format="csr"), title="I"))
    words = [text.get_text() for text in ax.texts]
    assert any("0.02 % of all are not 0" in text for text in words)
    assert "A pixel: the largest of" in P.describe(ax)
    assert not drawn(P.image(np.eye(3))).texts


def test_a_map_of_sds_does_not_start_at_0(sleepstudy_posterior):
    sd = sleepstudy_posterior.V("Subject", "308").sd().to_numpy()
    axes = drawn(P.block(sleepstudy_posterior, "Subject", "308"))
    assert axes[1].images[0].get_clim() == pytest.approx((0.98 * sd.min(), sd.max()))


def test_a_matrix_of_zeros_says_so_and_has_no_scale():
    from bayesv import plots

    fit = bv.Model("Yield ~ 1 + (1 | Batch)", bv.load_dataset("dyestuff2")).reml()
    ax = plots.image_G(fit.design, fit.components)
    assert [text.get_text() for text in ax.texts] == ["all elements are 0"]
    assert not ax.child_axes
    gaps = plots.image(np.array([[1.0, np.nan], [2.0, 3.0]]))
    assert "grey where 1 are not known" in plots.describe(gaps)
