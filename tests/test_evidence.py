"""The evidence: against quadrature, one method against the other, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import logsumexp

import bayesv as bv
from bayesv.inference.bridge import by_bridge
from bayesv.inference.evidence import by_importance
from bayesv.inference.proposal import Mixture

pytestmark = pytest.mark.filterwarnings("ignore::bayesv.SamplingWarning")

# Exact quadrature (dyestuff) and 12,000 importance draws of dense likelihoods in NumPy, with their
# Monte Carlo errors (sleepstudy): half-t(3, sd y) of SDs, half-t(3, sd y/sd x) of slopes, LKJ(1).
KNOWN = {
    "(1 | Subject)": (-898.0546937, 0.0026896),
    "(Days || Subject)": (-878.9575679, 0.0031386),
    "(Days | Subject)": (-879.8462163, 0.0041001),
}


def stated(data, response: str, group: str, slope: str | None = None) -> bv.Priors:
    """Half-t(3) priors with the SD of y as their scale."""
    s = float(data[response].std())
    sd = {"Intercept": bv.HalfStudentT(3, s)}
    if slope:
        sd[slope] = bv.HalfStudentT(3, s / float(data[slope].std()))
    return bv.Priors(sd={group: sd}, sigma=bv.HalfStudentT(3, s))


@pytest.fixture(scope="module")
def dyestuff() -> bv.Posterior:
    data = bv.load_dataset("dyestuff")
    priors = stated(data, "Yield", "Batch")
    return bv.Model("Yield ~ 1 + (1 | Batch)", data, priors).sample(seed=1)


def quadrature(post: bv.Posterior) -> float:
    """log ∫∫ p(y | τ, σ) p(τ) p(σ) dτ dσ by dense algebra on a grid of logs, flat mean."""
    design, priors = post.design, post.priors
    y, X = design.y, design.X
    ZZ = (design.Z @ design.Z.T).toarray()
    log_s = np.log(y.std())
    log_tau, log_sigma = log_s + np.linspace(-14, 5, 191), log_s + np.linspace(-1.5, 1.5, 61)
    values = np.empty((len(log_tau), len(log_sigma)))
    for i, tau in enumerate(np.exp(log_tau)):
        for j, sigma in enumerate(np.exp(log_sigma)):
            V = sigma**2 * np.eye(len(y)) + tau**2 * ZZ
            V_inv = np.linalg.inv(V)
            S = X.T @ V_inv @ X
            r = y - X @ np.linalg.solve(S, X.T @ V_inv @ y)
            value = (len(y) - X.shape[1]) * np.log(2 * np.pi) + np.linalg.slogdet(V)[1]
            value += np.linalg.slogdet(S)[1] + r @ V_inv @ r
            values[i, j] = -0.5 * value + np.log(tau) + np.log(sigma)
            values[i, j] += priors.sd["Batch"][0].log_density(tau) + priors.sigma.log_density(sigma)
    steps = (log_tau[1] - log_tau[0]) * (log_sigma[1] - log_sigma[0])
    return float(logsumexp(values) + np.log(steps))


def test_dyestuff_equals_quadrature(dyestuff):
    exact = quadrature(dyestuff)
    assert exact == pytest.approx(-162.7100199, abs=1e-3)
    for method in ("importance", "bridge"):
        evidence = dyestuff.evidence(method)
        assert evidence.method == method
        assert evidence.mcse < 0.01
        assert abs(evidence.log - exact) < 4 * evidence.mcse
        assert evidence.flat == ("Intercept",)
        assert evidence.problems == ()


@pytest.mark.parametrize("term", list(KNOWN))
def test_sleepstudy_equals_dense_importance_sampling(term):
    data = bv.load_dataset("sleepstudy")
    slope = "Days" if "Days" in term else None
    priors = stated(data, "Reaction", "Subject", slope)
    post = bv.Model(f"Reaction ~ Days + {term}", data, priors).sample(seed=2)
    log, mcse = KNOWN[term]
    weighed, bridged = post.evidence("importance"), post.evidence("bridge")
    for evidence in (weighed, bridged):
        assert abs(evidence.log - log) < 4 * np.hypot(evidence.mcse, mcse)
    assert abs(weighed.log - bridged.log) < 4 * np.hypot(weighed.mcse, bridged.mcse)


def test_nuts_is_bridged():
    pytest.importorskip("nutpie")
    data = bv.load_dataset("sleepstudy")
    priors = stated(data, "Reaction", "Subject", "Days")
    model = bv.Model("Reaction ~ Days + (Days || Subject)", data, priors)
    post = model.sample("nuts", draws=500, seed=1, progressbar=False)
    evidence = post.evidence()
    assert evidence.method == "bridge"
    log, mcse = KNOWN["(Days || Subject)"]
    assert abs(evidence.log - log) < 4 * np.hypot(evidence.mcse, mcse)
    with pytest.raises(bv.BayesvError, match="no proposals"):
        post.evidence("importance")


def test_proper_beta_and_weights_count():
    """With everything proper the evidence is a density of y: its constants are held by scaling."""
    data = bv.load_dataset("dyestuff").assign(w=np.tile([1.0, 2.0, 0.5], 10))
    s = float(data["Yield"].std())

    def evidence(unit: float) -> bv.Evidence:
        priors = bv.Priors(
            sd=bv.HalfStudentT(3, s * unit),
            sigma=bv.HalfStudentT(3, s * unit),
            beta=bv.Normal(1500.0 * unit, 100.0 * unit),
        )
        scaled = data.assign(Yield=data["Yield"] * unit)
        return bv.Model("Yield ~ 1 + (1 | Batch)", scaled, priors, "w").sample(seed=3).evidence()

    one, kilo = evidence(1.0), evidence(1e-3)
    assert one.flat == ()
    # p(cy) d(cy) = p(y) dy: log p falls by n log c.
    assert kilo.log - one.log == pytest.approx(30 * np.log(1e3), abs=1e-6)


def test_same_seed_gives_the_same_evidence(dyestuff):
    again = bv.Model.from_design(dyestuff.design, dyestuff.priors.stated()).sample(seed=1)
    assert again.evidence().log == pytest.approx(dyestuff.evidence().log, abs=1e-12)
    assert dyestuff.evidence("bridge", seed=3).log == dyestuff.evidence("bridge", seed=3).log
    assert dyestuff.evidence("bridge", seed=3).log != dyestuff.evidence("bridge", seed=4).log


def test_saved_and_loaded(dyestuff, tmp_path):
    again = bv.load(dyestuff.save(tmp_path / "dyestuff.nc"))
    assert again.evidence() == dyestuff.evidence()


def test_estimated_determinants_are_named():
    formula = "diameter ~ 1 + (1 | plate) + (1 | sample)"
    model = bv.Model(formula, bv.load_dataset("penicillin"), elimination="iterative")
    (problem,) = model.sample(seed=1, draws=50).evidence().problems
    assert "probes" in problem


def test_flat_sd_is_refused():
    model = bv.Model(
        "Yield ~ 1 + (1 | Batch)", bv.load_dataset("dyestuff"), bv.Priors(sd=bv.Flat())
    )
    with pytest.raises(bv.PriorError, match="Batch: Intercept is flat"):
        model.sample(seed=1).evidence()


def test_draws_without_priors_are_refused(dyestuff):
    bare = bv.extract(dyestuff.draws, design=dyestuff.design)
    with pytest.raises(bv.BayesvError, match="priors"):
        bare.evidence()


class _Normal:
    """A target with known mass e^5: two normal modes in two dimensions."""

    expensive = False

    def __init__(self) -> None:
        root = np.array([[1.0, 0.0], [0.8, 0.6]])
        self.law = [np.zeros(2), np.array([4.0, 4.0])], root

    def evaluate(self, x):
        means, L = self.law
        parts = [-0.5 * (((x - m) @ np.linalg.inv(L).T) ** 2).sum(axis=1) for m in means]
        constant = -np.log(2 * np.pi) - np.log(np.diagonal(L)).sum() - np.log(2)
        return logsumexp(parts, axis=0) + constant + 5.0, None

    def draws(self, rng, chains, n):
        means, L = self.law
        which = rng.integers(2, size=(chains, n))
        return np.array(means)[which] + rng.normal(size=(chains, n, 2)) @ L.T


def test_bridge_error_is_honest():
    """Over repetitions the estimate is unbiased and its standard error is its SD."""
    target, rng = _Normal(), np.random.default_rng(5)
    z = []
    for _ in range(25):
        evidence = by_bridge(target, target.draws(rng, 4, 100), rng)
        z.append((evidence.log - 5.0) / evidence.mcse)
    assert abs(np.mean(z)) < 4 / np.sqrt(25)
    assert 0.6 < np.std(z) < 1.6


def test_importance_error_is_honest():
    target, rng = _Normal(), np.random.default_rng(6)
    proposal = Mixture(np.ones(1), np.array([[2.0, 2.0]]), 3.0 * np.eye(2)[None], 0.0)
    z = []
    for _ in range(100):
        x = proposal.sample(rng, 500)
        evidence = by_importance(target.evaluate(x)[0] - proposal.log_density(x))
        z.append((evidence.log - 5.0) / evidence.mcse)
    assert abs(np.mean(z)) < 0.4
    assert 0.8 < np.std(z) < 1.25


def test_weights_without_variance_are_named():
    rng = np.random.default_rng(7)
    evidence = by_importance(0.8 * rng.exponential(size=4000))
    assert evidence.pareto_k > 0.6
    assert "Pareto" in evidence.problems[0]
    assert "Pareto" in repr(evidence)
