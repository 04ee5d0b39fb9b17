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
