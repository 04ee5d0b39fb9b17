"""Pictures of models: what they draw is what results say."""

from __future__ import annotations

import numpy as np
import pytest

import bayesv as bv
from tests.test_zero_variance import weak

pytest.importorskip("matplotlib")

pytestmark = [
    pytest.mark.usefixtures("_closed"),
    pytest.mark.filterwarnings("ignore::bayesv.SamplingWarning"),
]


@pytest.fixture(scope="module")
def comparison() -> bv.ModelComparison:
    terms = ("(1 | g)", "(x || g)", "(x | g)")
    posts = [bv.Model(f"y ~ x + {term}", weak()).sample(draws=200, seed=1) for term in terms]
    return bv.compare_models(*posts)


def test_bars_are_weights(comparison):
    from bayesv import plots

    axes = plots.models(comparison)
    table = comparison.to_frame()
    widths = [bar.get_width() for bar in axes[0].patches]
    assert widths == pytest.approx([*table["probability"], *table["stacking"]])
    assert table["model"][0] in plots.describe(axes)


def test_lines_are_probabilities(comparison):
    from bayesv import plots

    result = bv.sensitivity(comparison, factors=[0.5, 1.0, 2.0])
    ax = plots.prior_sensitivity(result)
    for line, name in zip(ax.lines, result.names, strict=False):
        table = result.table[result.table["model"] == name]
        assert np.asarray(line.get_ydata()) == pytest.approx(table["probability"].to_numpy())


@pytest.mark.parametrize(("term", "panels"), [("(x || g)", 2), ("(x | g)", 1)])
def test_ratio_of_points_is_the_bayes_factor(term, panels):
    from bayesv import plots

    post = bv.Model(f"y ~ x + {term}", weak()).sample(draws=200, seed=1)
    result = bv.zero_variance(post, "g", "x", simulations=500)
    axes = plots.zero_variance(result)
    assert len(axes) == panels
    prior, posterior = axes[0].lines[-1].get_ydata()
    assert np.log(prior / posterior) == pytest.approx(result.log_bf)
    assert f"{result.log_bf:.2f}" in plots.describe(axes)


def test_models_without_stacking_and_of_long_names(comparison):
    """Names that begin alike are told apart; what was not computed is not a bar of 0."""
    from bayesv import plots

    posts = [
        bv.Model(f"y ~ x + {t}", weak()).sample(draws=200, seed=1) for t in ("(1 | g)", "(x || g)")
    ]
    names = [f"{'a structure of a long name ' * 2}{k}{' that goes on' * 3}" for k in range(2)]
    found = bv.compare_models(*posts, names=names, leave_out=False)
    axes = plots.models(found)
    assert len(axes[0].patches) == 2
    assert [text.get_text() for text in axes[1].texts] == ["no cluster was left out"]
    assert len({label.get_text() for label in axes[0].get_yticklabels()}) == 2
    lines = plots.prior_sensitivity(bv.sensitivity(found, factors=[0.9, 1.0, 1.1])).lines
    assert len({line.get_label() for line in lines[:2]}) == 2


@pytest.mark.parametrize(("low", "high", "ticks"), [(0.9, 1.1, 3), (0.125, 8, 7), (2e-6, 5e5, 7)])
def test_scales_of_priors_have_ticks_that_can_be_read(comparison, low, high, ticks):
    from bayesv import plots

    result = bv.sensitivity(comparison, factors=[low, 1.0, high])
    assert len(plots.prior_sensitivity(result).get_xticks()) == ticks
