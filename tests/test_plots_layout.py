"""Panels, titles and labels: none over another, whatever names and units are."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest

import bayesv as bv
from bayesv.plots.layout import PanelLayout
from tests.pictures import drawn, inside

P = bv.plots
pytestmark = pytest.mark.usefixtures("_closed")

LONG = "weeks since the first treatment"


@pytest.fixture(scope="module")
def long_names() -> bv.RemlFit:
    rng = np.random.default_rng(3)
    g, x = np.repeat(np.arange(20), 5), np.tile(np.linspace(0, 1, 5), 20)
    u = rng.normal(size=(20, 2))
    y = 5 + x + u[g, 0] + u[g, 1] * x + 0.5 * rng.normal(size=100)
    names = np.array([f"School for the Deaf No. {k:03d}, district Ω" for k in range(20)])
    frame = pd.DataFrame({"pressure at rest (mmHg)": y, LONG: x, "hospital_in_region": names[g]})
    formula = f"`pressure at rest (mmHg)` ~ `{LONG}` + (`{LONG}` | hospital_in_region)"
    return bv.Model(formula, frame).reml()


@pytest.fixture(scope="module")
def tiny() -> bv.Model:
    """Return a model of numbers of 1e-9, whose random effects have no variance."""
    x, g = np.tile(np.arange(6.0), 10), np.arange(60) // 6
    X = np.stack([np.ones(6), np.arange(6.0)], axis=1)
    y = np.random.default_rng(8).normal(size=(10, 6))
    y -= y @ X @ np.linalg.solve(X.T @ X, X.T)  # neither mean nor slope of a group differ
    frame = pd.DataFrame({"y": 1e-9 * (y.ravel() + x), "x": x, "g": g})
    return bv.Model("y ~ x + (x | g)", frame)


def test_long_names_stay_in_their_panels(long_names):
    fit = long_names
    for picture in (
        P.caterpillar(fit, "hospital_in_region"),
        P.check(fit),
        P.block(fit.gls.V, "hospital_in_region", fit.design.terms[0].levels[0]),
        P.matrices(fit.design, fit.components),
    ):
        assert inside(picture)
        renderer = P.figure_of(picture).canvas.get_renderer()
        rows = {}
        for ax in P.figure_of(picture).axes:
            title = ax._left_title.get_window_extent(renderer)
            rows.setdefault(ax.get_subplotspec().rowspan.start, []).append(title)
        for titles in rows.values():
            assert not any(a.overlaps(b) for a, b in pairwise(titles))


def test_levels_that_differ_in_the_middle_are_told_apart(long_names):
    ax = drawn(P.caterpillar(long_names, "hospital_in_region"))[0]
    texts = [label.get_text() for label in ax.get_yticklabels()]
    assert len(set(texts)) == 20
    assert {text.split("No. ")[1][:3] for text in texts} == {f"{k:03d}" for k in range(20)}


def test_powers_of_ten_leave_the_title_free(tiny):
    ax = drawn(P.chains(tiny.sample(seed=1), scales=("sd",)))[0, 0]
    power = ax.yaxis.get_offset_text()
    assert power.get_text()
    renderer = P.figure_of(ax).canvas.get_renderer()
    title = ax._left_title.get_window_extent(renderer)
    assert not power.get_window_extent(renderer).overlaps(title)


def test_an_estimate_of_zero_is_seen_among_ellipses(tiny):
    fit, post = tiny.reml(), tiny.sample(seed=1)
    assert fit.singular
    ax = drawn(P.ellipses(post, "g", fit))[0]
    ratio = np.abs(next(one for one in ax.lines if one.get_label() == "REML").get_xydata()).max(0)
    small = (ratio < 0.01 * np.array([ax.get_xlim()[1], ax.get_ylim()[1]])).all()
    assert small == any(one.get_marker() == "o" for one in ax.lines)
    assert small


def test_panels_are_as_wide_as_their_texts_allow():
    axes = P.check(bv.Model("Yield ~ 1 + (1 | Batch)", bv.load_dataset("dyestuff")).reml())
    figure = P.figure_of(drawn(axes))
    layout = figure.get_layout_engine()
    assert isinstance(layout, PanelLayout)
    boxes = [layout.outer_boxes()[ax] for ax in axes]
    # The texts of the first panel begin at the pad, those of the last column end at it.
    pad = 0.08 * figure.dpi
    assert min(box.x0 for box in boxes) == pytest.approx(pad, abs=2)
    assert max(box.x1 for box in boxes) == pytest.approx(figure.bbox.width - pad, abs=2)
    assert max(box.y1 for box in boxes) == pytest.approx(figure.bbox.height - pad * 1.25, abs=2)
