"""Kenward–Roger with any V against an independent dense twin: V(θ) written out, differentiated
by differences, and the paper's formulas with n × n matrices."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cached_property

import numpy as np
import pandas as pd
import pytest

import bayesv as bv
from bayesv.covariance.adjustment import routed
from bayesv.covariance.frame import frame_of
from bayesv.covariance.moments import f_moments
from bayesv.covariance.row_information import row_information


class Dense:
    """Kenward and Roger (1997) with n × n matrices; derivatives of V by central differences."""

    def __init__(self, X, y, V: Callable, theta) -> None:
        self.X, self.y, self.theta = X, y, np.array(theta, dtype=float)
        self.V = V(self.theta)
        steps = 1e-4 * np.maximum(np.abs(self.theta), 0.05)
        m = len(self.theta)
        E = np.diag(steps)
        self.first = [(V(self.theta + e) - V(self.theta - e)) / (2 * s)
                      for e, s in zip(E, steps, strict=True)]  # fmt: skip
        self.second = np.zeros((m, m, *self.V.shape))
        for i in range(m):
            for j in range(i + 1):
                a, b = 10 * E[i], 10 * E[j]
                corners = V(self.theta + a + b) + V(self.theta - a - b)
                corners = corners - V(self.theta + a - b) - V(self.theta - a + b)
                self.second[i, j] = self.second[j, i] = corners / (400 * steps[i] * steps[j])
        inverse = np.linalg.inv(self.V)
        self.Phi = np.linalg.inv(X.T @ inverse @ X)
        self.inverse, self.to = inverse, inverse @ X
        self.projector = inverse - self.to @ self.Phi @ self.to.T

    @cached_property
    def expected(self):
        """Expected information."""
        moved = [self.projector @ V for V in self.first]
        return 0.5 * np.array([[np.sum(a * b.T) for b in moved] for a in moved])

    @cached_property
    def observed(self):
        """Observed information of REML."""
        r, m = self.projector @ self.y, len(self.theta)
        total = -self.expected
        for i in range(m):
            for j in range(m):
                total[i, j] += r @ self.first[i] @ self.projector @ self.first[j] @ r
                bend = self.second[i, j]
                total[i, j] += 0.5 * (np.sum(self.projector * bend) - r @ bend @ r)
        return total

    def adjusted(self, W, linear):
        """Covariance of β̂."""
        P = [-self.to.T @ V @ self.to for V in self.first]
        inner = np.zeros_like(self.Phi)
        for i, V in enumerate(self.first):
            for j, U in enumerate(self.first):
                one = self.to.T @ V @ self.inverse @ U @ self.to - P[i] @ self.Phi @ P[j]
                if not linear:
                    one = one - 0.25 * self.to.T @ self.second[i, j] @ self.to
                inner += W[i, j] * one
        return self.Phi + 2 * self.Phi @ inner @ self.Phi

    def df(self, W):
        """Degrees of freedom of each coefficient."""
        slopes = [np.diagonal(self.Phi @ self.to.T @ V @ self.to @ self.Phi) for V in self.first]
        return 2 * np.diagonal(self.Phi) ** 2 / np.einsum("ik,ij,jk->k", slopes, W, slopes)

    def test(self, L, beta, W, adjusted):
        """Scaled F with its denominator degrees of freedom."""
        inside = L.T @ np.linalg.inv(L @ self.Phi @ L.T) @ L
        moved = [inside @ self.Phi @ self.to.T @ V @ self.to @ self.Phi for V in self.first]
        traces = np.array([np.trace(M) for M in moved])
        twice = np.array([[np.trace(a @ b) for b in moved] for a in moved])
        scale, df, _ = f_moments(len(L), traces @ W @ traces, np.sum(W * twice))
        rest = L @ beta
        return scale * rest @ np.linalg.solve(L @ adjusted @ L.T, rest) / len(L), df


def rows(seed=1, groups=8, visits=5):
    """Series with gaps, unsorted, a covariate, two strata, a crossed factor."""
    rng = np.random.default_rng(seed)
    g, t = np.divmod(np.arange(groups * visits), visits)
    frame = pd.DataFrame({"g": g, "t": t, "x": rng.normal(size=len(g))})
    frame["s"] = np.array(["a", "b"])[g % 2]
    frame["k"] = rng.integers(0, 4, len(g))
    frame["time"] = t + rng.uniform(0, 0.8, len(g))
    frame["w"] = rng.uniform(0.5, 2.0, len(g))
    frame["size"] = rng.uniform(1.0, 3.0, len(g))
    e = rng.normal(size=len(g))
    for i in range(1, len(g)):
        if g[i] == g[i - 1]:
            e[i] = 0.5 * e[i - 1] + 0.9 * e[i]
    sd = frame["size"] ** 0.4 * np.where(frame["s"] == "a", 1.0, 1.5)
    effects = rng.normal(size=(groups, 2)) @ np.diag([1.0, 0.4])
    frame["y"] = 2 + frame.x + effects[g, 0] + effects[g, 1] * t + 1.5 * sd * e
    frame["y"] += rng.normal(size=4)[frame["k"]]
    keep = rng.random(len(g)) > 0.12
    return frame[keep].sample(frac=1, random_state=2).reset_index(drop=True)


def same(code):
    code = np.asarray(code)
    return (code[:, None] == code).astype(float)


def lag(frame, name="t"):
    return np.abs(np.subtract.outer(frame[name].to_numpy(), frame[name].to_numpy()))


def slopes_of(frame, theta, group=None):
    """Z G Z' of (t | g), or of other shared levels, for θ = (Σ₁₁, Σ₂₁, Σ₂₂)."""
    Z, S = np.column_stack([np.ones(len(frame)), frame.t]), theta
    shared = same(frame.g) if group is None else group
    return (Z @ np.array([[S[0], S[1]], [S[1], S[2]]]) @ Z.T) * shared


def in_b(frame):
    return (frame.s == "b").to_numpy().astype(int)


def strata_sds(f, variances):
    return np.sqrt(variances)[in_b(f)]


def heterogeneous(correlation):
    def V(f, theta):
        s = np.sqrt(theta[:5])[f.t]
        return np.outer(s, s) * correlation(f, theta[5:]) * same(f.g)

    return V


def toeph(f, theta):
    return np.array([1.0, *theta])[lag(f).astype(int)]


def antedependence(f, theta):
    logs = np.concatenate([[0.0], np.cumsum(np.log(np.abs(theta)))])
    signs = np.concatenate([[1.0], np.cumprod(np.sign(theta))])
    t = f.t.to_numpy()
    return np.exp(-np.abs(np.subtract.outer(logs[t], logs[t]))) * np.outer(signs[t], signs[t])


def arma(f, theta):
    phi, first = theta
    return np.where(lag(f) == 0, 1.0, first * phi ** np.maximum(lag(f) - 1, 0))


def us(f, theta):
    S = np.zeros((5, 5))
    S[np.tril_indices(5)] = theta
    S = S + np.tril(S, -1).T
    return S[np.ix_(f.t, f.t)] * same(f.g)


VISITS = np.abs(np.subtract.outer(np.arange(5), np.arange(5)))
SLOPES = [[1.2, -0.2], [-0.2, 0.3]]
SDS = {str(t): 1.0 + 0.2 * t for t in range(5)}
VARIANCES = [sd**2 for sd in SDS.values()]
LAGS = {"lag 1": 0.5, "lag 2": 0.3, "lag 3": 0.2, "lag 4": 0.1}
ROOT = np.tril(np.random.default_rng(3).normal(size=(5, 5)), -1) * 0.4 + np.diag(list(SDS.values()))
FULL = ROOT @ ROOT.T
LINEAGE = np.random.default_rng(7).normal(size=(8, 8))
RELATED = pd.DataFrame(0.3 * np.eye(8) + LINEAGE @ LINEAGE.T / 8, *[[str(g) for g in range(8)]] * 2)

# Model, options, blocks of G, σ² (None: the mean of the variances), R's sd and corr; then θ in the
# order of bayesv's parameters, and V of it.
CASES = {
    "ar1 beside slopes": (
        "y ~ x + s + (t | g)", {"residual": "ar1(t | g)"},
        {"g": SLOPES}, 1.7, {}, {"rho": -0.4},
        [1.2, -0.2, 0.3, 1.7, -0.4],
        lambda f, t: slopes_of(f, t) + t[3] * t[4] ** lag(f) * same(f.g),
    ),
    "strata and ar1": (
        "y ~ x + s", {"residual": "ar1(t | g)", "residual_sd": "strata(s)"},
        {}, None, {"a": 1.0, "b": 1.6}, {"rho": 0.5},
        [1.0, 2.56, 0.5],
        lambda f, t: np.outer(strata_sds(f, t[:2]), strata_sds(f, t[:2])) * t[2] ** lag(f)
        * same(f.g),
    ),
    "power and car1 beside intercepts": (
        "y ~ x + s + (1 | g)", {"residual": "car1(time | g)", "residual_sd": "power(size)"},
        {"g": [[0.8]]}, 1.5, {}, {"phi": 0.45, "power size": 0.6},
        [0.8, 0.6, 1.5, 0.45],
        lambda f, t: (t[0] + t[2] * np.outer(f["size"] ** t[1], f["size"] ** t[1])
                      * t[3] ** lag(f, "time")) * same(f.g),
    ),
    "exp and weights": (
        "y ~ x + s + (1 | g)", {"residual_sd": "exp(x)", "var_weights": "w"},
        {"g": [[0.8]]}, 1.5, {}, {"exp x": 0.3},
        [0.8, 1.5, 0.3],
        lambda f, t: t[0] * same(f.g) + np.diag(t[1] * np.exp(2 * t[2] * f.x) / f.w),
    ),
    "strata beside crossed factors": (
        "y ~ x + s + (1 | g) + (1 | k)", {"residual_sd": "strata(s)"},
        {"g": [[0.8]], "k": [[0.5]]}, None, {"a": 1.0, "b": 1.6}, {},
        [0.8, 0.5, 1.0, 2.56],
        lambda f, t: t[0] * same(f.g) + t[1] * same(f.k) + np.diag(t[2:][in_b(f)]),
    ),
    "toep": (
        "y ~ x + s", {"residual": "toep(t | g)"},
        {}, 2.0, {}, LAGS,
        [2.0, 1.0, 0.6, 0.4, 0.2],
        lambda f, t: t[lag(f).astype(int)] * same(f.g),
    ),
    "toeph": (
        "y ~ x + s", {"residual": "toeph(t | g)"},
        {}, None, SDS, LAGS,
        [*VARIANCES, 0.5, 0.3, 0.2, 0.1], heterogeneous(toeph),
    ),
    "adh": (
        "y ~ x + s", {"residual": "adh(t | g)"}, {}, None, SDS, (0.5, 0.7, -0.3, 0.4),
        [*VARIANCES, 0.5, 0.7, -0.3, 0.4], heterogeneous(antedependence),
    ),
    "csh": (
        "y ~ x + s", {"residual": "csh(t | g)"}, {}, None, SDS, {"rho": 0.3},
        [*VARIANCES, 0.3],
        heterogeneous(lambda f, t: np.where(lag(f) == 0, 1.0, t[0])),
    ),
    "ar1h beside intercepts": (
        "y ~ x + s + (1 | k)", {"residual": "ar1h(t | g)"}, {"k": [[0.7]]}, None, SDS,
        {"rho": 0.3}, [0.7, *VARIANCES, 0.3],
        lambda f, t: t[0] * same(f.k)
        + heterogeneous(lambda f, t: t[0] ** lag(f))(f, t[1:]),
    ),
    "arma11": (
        "y ~ x + s", {"residual": "arma11(t | g)"}, {}, 2.0, {}, None, [2.0, 0.6, 0.4],
        lambda f, t: t[0] * arma(f, t[1:]) * same(f.g),
    ),
    "ar1 by group": (
        "y ~ x + s", {"residual": "ar1(t | s / g)"},
        {}, None, {"a": 1.0, "b": 1.6}, {"a: rho": 0.5, "b: rho": -0.2},
        [1.0, 0.5, 2.56, -0.2],
        lambda f, t: (t[[0, 2]][in_b(f)] * (t[[1, 3]][in_b(f)] ** lag(f))) * same(f.g),
    ),
    "us": (
        "y ~ x + s", {"residual": "us(t | g)"}, {}, None, SDS, None,
        list(FULL[np.tril_indices(5)]), us,
    ),
    "ar1 of effects": (
        "y ~ x + s + ar1(0 + factor(t) | g)", {},
        {"g": 1.3 * 0.6**VISITS}, 0.9, {}, {}, [1.3, 0.6, 0.9],
        lambda f, t: t[0] * t[1] ** lag(f) * same(f.g) + t[2] * np.eye(len(f)),
    ),
    "cs of effects beside ar1": (
        "y ~ x + s + cs(t | k)", {"residual": "ar1(t | g)"},
        {"k": [[1.44, 0.18], [0.18, 0.25]]}, 2.0, {}, {"rho": 0.4}, [1.44, 0.25, 0.3, 2.0, 0.4],
        lambda f, t: slopes_of(f, [t[0], t[2] * np.sqrt(t[0] * t[1]), t[1]], same(f.k))
        + t[3] * t[4] ** lag(f) * same(f.g),
    ),
    "ar1h of effects and intercepts beside exp": (
        "y ~ x + s + ar1(0 + factor(t) | g, hom=False) + (1 | k)", {"residual_sd": "exp(x)"},
        {"g": np.sqrt(np.outer(VARIANCES, VARIANCES)) * 0.6**VISITS, "k": [[0.6]]}, 0.8, {},
        {"exp x": 0.3}, [*VARIANCES, 0.6, 0.6, 0.8, 0.3],
        lambda f, t: heterogeneous(lambda f, t: t[0] ** lag(f))(f, t[:6])
        + t[6] * same(f.k) + np.diag(t[7] * np.exp(2 * t[8] * f.x)),
    ),
    "related levels": (
        "y ~ x + s + (t | g)", {"relationship": {"g": RELATED}}, {"g": SLOPES}, 1.7, {}, {},
        [1.2, -0.2, 0.3, 1.7],
        lambda f, t: slopes_of(f, t, RELATED.to_numpy()[np.ix_(f.g, f.g)]) + t[3] * np.eye(len(f)),
    ),
    "related levels beside ar1": (
        "y ~ x + s + (1 | g)", {"residual": "ar1(t | g)", "relationship": {"g": RELATED}},
        {"g": [[0.8]]}, 1.7, {}, {"rho": 0.4}, [0.8, 1.7, 0.4],
        lambda f, t: t[0] * RELATED.to_numpy()[np.ix_(f.g, f.g)]
        + t[1] * t[2] ** lag(f) * same(f.g),
    ),
    "a field with a nugget": (
        "y ~ x + s", {"residual": "sp_exp(x + time | k, nugget=True)"},
        {}, 2.0, {}, {"range": 1.5, "nugget": 0.3},
        [1.4, 1.5, 0.6],
        lambda f, t: (t[0] * np.exp(-np.hypot(lag(f, "x"), lag(f, "time")) / t[1])
                      + t[2] * np.eye(len(f))) * same(f.k),
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def frame():
    return rows()


def at_components(name, frame):
    """A design, its components, and the dense twin."""
    formula, options, blocks, sigma2, sd, corr, theta, V = CASES[name]
    design = bv.Model(formula, frame, **options).design
    form, theta = design.parametric_residual, np.array(theta)
    if name == "us":
        s = np.sqrt(np.diagonal(FULL))
        sd, corr = dict(zip(SDS, s, strict=True)), (FULL / np.outer(s, s))[np.tril_indices(5, -1)]
    if name == "arma11":
        phi, first = theta[1:]  # the lag-1 correlation is SAS's gamma
        corr = (phi, first)
    if not isinstance(corr, dict):
        corr = dict(zip(form.corr_labels, corr, strict=True))
    sigma2 = float(np.mean(np.square(list(sd.values())))) if sigma2 is None else sigma2
    residual = {"sd": sd, "corr": corr} if form else None
    vc = bv.VarianceComponents(blocks, sigma2, residual)
    dense = Dense(design.X, design.y, lambda t: V(frame, t), theta)
    np.testing.assert_allclose(bv.MarginalCovariance(design, vc).to_dense(), dense.V, rtol=1e-9)
    return design, vc.aligned(design), dense


@pytest.mark.parametrize("name", CASES)
def test_numbers_are_those_of_dense_algebra(name, frame):
    design, vc, dense = at_components(name, frame)
    W, L = np.linalg.inv(dense.expected), np.eye(3)[1:]
    for linear in (False, True):
        found = bv.kenward_roger(design, vc, linear=linear)
        want = dense.adjusted(W, linear)
        scale = np.sqrt(np.outer(*[np.diagonal(dense.Phi)] * 2))
        np.testing.assert_allclose(found.cov / scale, want / scale, rtol=1e-5, atol=1e-6)
    assert len(found.parameters) == len(dense.theta)
    units = np.sqrt(np.diagonal(W))
    np.testing.assert_allclose(found.W / np.outer(units, units), W / np.outer(units, units),
                               rtol=1e-5, atol=1e-6)  # fmt: skip
    np.testing.assert_allclose(found.df, dense.df(W), rtol=1e-6)
    test = found.test(L)
    F, df = dense.test(L, found.beta.to_numpy(), W, found.cov.to_numpy())
    assert test["F"] == pytest.approx(F, rel=1e-6)
    assert test["df2"] == pytest.approx(df, rel=1e-6)
    # The curvature of the likelihood, which SAS's information and Satterthwaite's df are.
    space = frame_of(design, vc)
    to = np.linalg.inv(space.to_user)
    observed = to.T @ (0.5 * routed(space)(None).hessian("REML")) @ to
    scale = np.outer(units, units)
    np.testing.assert_allclose(observed * scale, dense.observed * scale, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("formula", ["y ~ x + s + (t | g)", "y ~ x + s + (1 | g) + (x || k)"])
def test_rows_have_the_numbers_of_sums(formula, frame):
    fit = bv.Model(formula, frame, var_weights="w").reml()
    space = frame_of(fit.design, fit.components)
    one, other = routed(space)(None), row_information(space)
    for name in ("Phi", "delta", "P", "traces", "products", "projected", "squares", "curvatures"):
        want = getattr(one, name)
        np.testing.assert_allclose(
            getattr(other, name), want, rtol=1e-8, atol=1e-9 * abs(want).max()
        )
    W = np.linalg.inv(one.projected)
    np.testing.assert_allclose(other.inner(W, False), one.inner(W, False), rtol=1e-7, atol=1e-10)


def test_known_residuals_have_no_variance_to_estimate(frame):
    design = bv.Model("y ~ x + s + (1 | g)", frame, residual=bv.Known("w")).design
    vc = bv.VarianceComponents({"g": [[0.8]]}, 1.0)
    dense = Dense(design.X, design.y,
                  lambda t: t[0] * same(frame.g) + np.diag(frame.w), [0.8])  # fmt: skip
    found = bv.kenward_roger(design, vc)
    assert found.parameters == ("g: Intercept",)
    W = np.linalg.inv(dense.expected)
    np.testing.assert_allclose(found.cov, dense.adjusted(W, False), rtol=1e-5)
    np.testing.assert_allclose(found.df, dense.df(W), rtol=1e-6)
    alone = bv.kenward_roger(bv.Model("y ~ x", frame, residual=bv.Known("w")).reml())
    assert np.isinf(alone.df).all()
    np.testing.assert_allclose(alone.cov, alone.cov_plugin)


def test_least_squares_have_their_t(frame):
    design = bv.Model("y ~ x + s + (1 | g)", frame, var_weights="w").design
    design = replace(design, terms=())
    fit = bv.gls(design, bv.VarianceComponents({}, 1.0))
    rest = fit.residuals.to_numpy()
    sigma2 = float(rest @ (frame.w * rest)) / (len(frame) - 3)
    found = bv.kenward_roger(design, bv.VarianceComponents({}, sigma2))
    np.testing.assert_allclose(found.df, len(frame) - 3)
    np.testing.assert_allclose(found.cov, sigma2 * fit.cov, rtol=1e-9)
    np.testing.assert_allclose(found.df_satterthwaite, len(frame) - 3, rtol=1e-6)


def test_units_order_and_repeats_do_not_matter(frame):
    formula, options, blocks, sigma2, sd, corr, *_ = CASES["power and car1 beside intercepts"]
    other = frame.sample(frac=1, random_state=8).assign(y=lambda d: 1e3 * d.y)
    found, scaled = (
        bv.kenward_roger(
            bv.Model(formula, data, **options).design,
            bv.VarianceComponents({"g": np.array(blocks["g"]) * unit}, sigma2 * unit,
                                  {"sd": sd, "corr": corr}),
        )
        for data, unit in ((frame, 1.0), (other, 1e6))
    )  # fmt: skip
    np.testing.assert_allclose(1e6 * found.cov, scaled.cov, rtol=1e-9)
    np.testing.assert_allclose(found.df, scaled.df, rtol=1e-9)
    # Series that are there twice share their V: half the covariance of one, if W were known.
    twice = pd.concat([frame, frame.assign(g=frame.g + 100)])
    design = bv.Model("y ~ x + s", twice, residual="ar1(t | g)").design
    vc = bv.VarianceComponents({}, 2.0, {"corr": {"rho": 0.4}})
    both = bv.kenward_roger(design, vc)
    one = bv.kenward_roger(bv.Model("y ~ x + s", frame, residual="ar1(t | g)").design, vc)
    np.testing.assert_allclose(2 * both.cov_plugin, one.cov_plugin, rtol=1e-9)


def test_a_cluster_that_does_not_fit_is_refused_with_its_size():
    n = 20_000
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"g": rng.integers(0, 500, n), "k": rng.integers(0, 500, n)})
    frame["s"], frame["y"] = np.array(["a", "b"])[frame.g % 2], rng.normal(size=n)
    design = bv.Model("y ~ 1 + (1 | g) + (1 | k)", frame, residual_sd="strata(s)").design
    vc = bv.VarianceComponents({"g": 1.0, "k": 1.0}, 1.0, {"sd": {"a": 1.0, "b": 1.0}})
    with pytest.raises(bv.DataError, match=r"20000 rows are connected.*GiB.*bv.bootstrap"):
        bv.kenward_roger(design, vc)


def test_visits_that_never_meet_leave_the_rest_as_it_is(frame):
    apart = frame[~((frame.t == 4) & (frame.g % 2 == 0)) & ~((frame.t == 3) & (frame.g % 2 == 1))]
    design = bv.Model("y ~ x", apart, residual="us(t | g)").design
    s = np.sqrt(np.diagonal(FULL))
    corr = (FULL / np.outer(s, s))[np.tril_indices(5, -1)]
    labels = design.parametric_residual.corr_labels
    results = []
    for lonely in (0.0, 0.2):
        values = dict(zip(labels, corr, strict=True))
        values["3, 4"] = lonely
        parameters = {"sd": dict(zip(SDS, s, strict=True)), "corr": values}
        vc = bv.VarianceComponents({}, float(np.mean(s**2)), parameters)
        results.append(bv.kenward_roger(design, vc))
    one, other = results
    np.testing.assert_allclose(one.cov, other.cov, rtol=1e-9)
    np.testing.assert_allclose(one.df, other.df, rtol=1e-9)
    assert "covariance 3, 4" in " ".join(one.notes)
