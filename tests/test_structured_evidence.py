"""Evidence of structured residuals: six structures of sleepstudy, held against dense algebra."""

from __future__ import annotations

import numpy as np
import pytest

import bayesv as bv
from bayesv.comparison.restricted_ratio import null_is_unknown
from bayesv.comparison.without_effect import Effect
from tests.test_evidence import KNOWN, stated

pytestmark = pytest.mark.filterwarnings("ignore::bayesv.SamplingWarning")

# As in test_evidence: 12,000 draws of dense likelihoods in NumPy; ρ uniform on (−1, 1).
SERIAL = {
    "(1 | Subject), ar1(Days | Subject)": (-874.6370414, 0.0081162),
    "(Days || Subject), ar1(Days | Subject)": (-871.5527117, 0.0090435),
    "(Days | Subject), ar1(Days | Subject)": (-871.5405705, 0.0121937),
}


@pytest.fixture(scope="module")
def six() -> bv.ModelComparison:
    data = bv.load_dataset("sleepstudy")
    priors = stated(data, "Reaction", "Subject", "Days")
    model = bv.Model("Reaction ~ Days + (Days | Subject)", data, priors)
    return bv.structures(model, "growth", seed=3, leave_out=False)


@pytest.mark.parametrize("name", [*KNOWN, *SERIAL])
def test_six_structures(six, name):
    log, mcse = (KNOWN | SERIAL)[name]
    evidence = six.evidences[six.names.index(name)]
    assert evidence.mcse < 0.05
    assert abs(evidence.log - log) < 4 * np.hypot(evidence.mcse, mcse)


def test_probabilities(six):
    """Serial correlation wins by e^8; slopes correlated or not is open."""
    table = six.to_frame().set_index("model")["probability"]
    assert table.loc[list(SERIAL)].to_numpy() == pytest.approx([0.0222, 0.4857, 0.4916], abs=0.02)
    assert table.loc[list(KNOWN)].max() < 1e-3


def test_bridge_agrees(six):
    post = six.posteriors[six.names.index("(Days || Subject), ar1(Days | Subject)")]
    weighed, bridged = post.evidence("importance"), post.evidence("bridge")
    assert abs(weighed.log - bridged.log) < 4 * np.hypot(weighed.mcse, bridged.mcse)


def test_average_over_six(six):
    mixed = bv.average(*six.posteriors, weights=six.probabilities)
    V = mixed.V("Subject", "308")
    assert np.allclose(V.within() + V.between(), V.sd() ** 2, rtol=1e-10)
    assert V.share_between().to_numpy().max() > 0.001
    assert np.isfinite(mixed.fixed().to_numpy()).all()
    assert mixed.predict(draws=50, seed=1).shape == (50, 180)


def test_variance_beside_serial_correlation(six):
    post = six.posteriors[six.names.index("(Days || Subject), ar1(Days | Subject)")]
    result = bv.zero_variance(post, "Subject", "Days", refits=6)
    without = six.evidences[six.names.index("(1 | Subject), ar1(Days | Subject)")]
    assert abs(result.without_effect.log - without.log) < 4 * np.hypot(
        result.without_effect.mcse, without.mcse
    )
    (term,) = post.design.terms
    why = null_is_unknown(post.design, Effect(term, 1, "Days", term.values[:, 1]))
    assert "these residuals have a structure" in why
    smaller = bv.Model(
        "Reaction ~ Days + (1 | Subject)",
        bv.load_dataset("sleepstudy"),
        residual="ar1(Days | Subject)",
    )
    # nlme's criterion of the larger model
    assert result.ratio.statistic == pytest.approx(
        smaller.reml().criterion - 1726.19611238, abs=1e-5
    )
    assert len(result.ratio.null) == result.ratio.refits == 6
    assert result.ratio.null.max() < result.ratio.statistic
    assert result.ratio.p_value == pytest.approx(1 / 7)
    assert "null of 6 refits" in str(result)
