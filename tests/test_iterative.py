"""Elimination by Krylov spaces and probes against the exact one: values, gradients, fits, draws."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import bayesv as bv
from bayesv.covariance import functionals
from bayesv.covariance.draws import ComponentDraws
from bayesv.design.residual import Residual
from bayesv.errors import BayesvError, FitWarning, MemoryNeededError
from bayesv.gram import (
    column_sets,
    draw_effects,
    eliminate,
    eliminate_many,
    gram_statistics,
    inner,
    threads,
)
from bayesv.gram.of_design import groupings_of
from bayesv.gram.scaling import RowBatch
from tests.test_gram import random_lambdas, random_rows


def ratings(seed: int = 0, *, users: int = 300, items: int = 120, n: int = 3000) -> pd.DataFrame:
    """Ratings with uneven margins: slopes of users over x, of users in regions."""
    rng = np.random.default_rng(seed)
    margins = [1.0 / np.arange(1, size + 1) ** 0.7 for size in (users, items)]
    user, item = (rng.choice(len(m), n, p=m / m.sum()) for m in margins)
    user[:users], item[:items] = np.arange(users), np.arange(items)
    x = rng.normal(size=n)
    u, v = (rng.normal(size=(size, 2)) * [0.5, 0.3] for size in (users, items))
    team = rng.integers(0, 60, n)
    u[:, 0] += 0.5 * rng.normal(size=30)[np.arange(users) % 30]
    y = (
        3.0
        + 0.2 * x
        + u[user, 0]
        + u[user, 1] * x
        + v[item, 0]
        + v[item, 1] * x
        + 0.4 * rng.normal(size=60)[team]
    )
    y += rng.normal(size=n)
    return pd.DataFrame({"y": y, "x": x, "user": user, "item": item, "region": user % 30,
                         "team": team})  # fmt: skip


DATA, TOLERANCE = ratings(), 0.05
FORMULAS = {
    "intercepts": "y ~ x + (1 | user) + (1 | item)",
    "slopes": "y ~ x + (x | user) + (x | item)",
    "three factors": "y ~ x + (1 | user) + (1 | item) + (1 | team)",
    "nested in crossed": "y ~ x + (1 | region / user) + (1 | item)",
}


@pytest.fixture(scope="module", autouse=True)
def levels_alone():
    """Levels are not joined to sets, which of so few would be exact, unless a test asks for it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(column_sets, "_WIDEST", ())
        yield


@pytest.fixture(scope="module")
def fits() -> dict[str, tuple[bv.RemlFit, bv.RemlFit]]:
    """Exact and iterative fits of the same data."""
    return {
        name: tuple(
            bv.Model(formula, DATA, elimination=elimination).reml(tolerance=TOLERANCE)
            for elimination in ("auto", "iterative")
        )
        for name, formula in FORMULAS.items()
    }


@pytest.fixture(params=[1, 5, 32])
def widest(request, monkeypatch) -> int:
    """How many columns a set of close levels has at most: none, some, or all are joined."""
    monkeypatch.setattr(column_sets, "_OF_SET", 0.0)
    monkeypatch.setattr(column_sets, "_WIDEST", (request.param,))
    return request.param


@pytest.mark.usefixtures("widest")
@pytest.mark.parametrize("structure", ["crossed", "chain and crossed", "many"])
@pytest.mark.parametrize("seed", [0, 1])
def test_elimination_agrees_with_the_exact_one(structure, seed):
    rng = np.random.default_rng(seed)
    rows = random_rows(structure, rng, 2, 2, weighted=seed == 1)
    exact, iterative = gram_statistics(rows), gram_statistics(rows, "iterative")
    lambdas = random_lambdas(rows, rng)
    want, got = (eliminate(s, s.in_basis(lambdas)) for s in (exact, iterative))
    assert np.allclose(got.T, want.T, rtol=1e-10, atol=1e-10 * np.abs(want.T).max())
    assert abs(got.logdet - want.logdet) < 5.0 * got.logdet_se + 1e-9
    logdet, T = eliminate_many(iterative, [lam[None] for lam in iterative.in_basis(lambdas)])
    assert logdet[0] == pytest.approx(got.logdet, rel=1e-10, abs=1e-10)
    assert np.allclose(T[0], got.T, rtol=1e-10, atol=1e-10 * np.abs(want.T).max())
    for one, other in zip(iterative.squares, exact.squares, strict=True):
        assert np.allclose(one, other, atol=1e-12)


@pytest.mark.usefixtures("widest")
@pytest.mark.parametrize("structure", ["crossed", "chain and crossed", "many"])
def test_gradient_is_that_of_the_estimate(structure):
    """Central differences with the same probes: far closer than the probes' own error."""
    rng = np.random.default_rng(3)
    stats = gram_statistics(random_rows(structure, rng, 2, 2, weighted=False), "iterative")
    k = [len(basis) for basis in stats.bases]
    lambdas = [0.5 * np.eye(n) + 0.2 * np.tril(np.ones((n, n)), -1) for n in k]
    T_bar = rng.normal(size=(3, 3))
    T_bar = T_bar + T_bar.T

    def value(at):
        done = eliminate(stats, at)
        return done.logdet + float((T_bar * done.T).sum())

    bars, h = eliminate(stats, lambdas).gradient(T_bar), 1e-5
    for f, lam in enumerate(lambdas):
        for i, j in np.ndindex(lam.shape):
            up, down = [m.copy() for m in lambdas], [m.copy() for m in lambdas]
            up[f][i, j] += h
            down[f][i, j] -= h
            slope = (value(up) - value(down)) / (2 * h)
            assert bars[f][i, j] == pytest.approx(slope, rel=1e-7, abs=3e-7)


@pytest.mark.usefixtures("widest")
def test_derivative_by_sums():
    rng = np.random.default_rng(5)
    rows = random_rows("many", rng, 2, 2, weighted=False)
    weights = np.exp(rng.normal(size=len(rows.y)))
    stats, other = (
        gram_statistics(replace(rows, residual=Residual.of_weights(w, len(w))), "iterative")
        for w in (np.ones(len(rows.y)), weights)
    )
    stats = replace(stats, parts=(stats.sums, other.sums), totals=(stats.total, other.total))
    lambdas, T_bar = [0.4 * np.eye(len(b)) for b in stats.bases], np.eye(3)

    def value(c):
        done = eliminate(stats.at(c), lambdas)
        return done.logdet + float((T_bar * done.T).sum())

    c = np.array([0.7, 0.3])
    adjoint = eliminate(stats.at(c), lambdas).adjoint(T_bar)
    for i, part in enumerate(stats.parts):
        step = 1e-5 * np.eye(2)[i]
        slope = (value(c + step) - value(c - step)) / 2e-5
        assert inner(adjoint.sums, part) == pytest.approx(slope, rel=1e-6)


@pytest.mark.parametrize("name", FORMULAS)
def test_fits_agree_within_the_certificate(fits, name):
    exact, iterative = fits[name]
    certificate = iterative.certificate
    assert exact.certificate is None
    assert certificate.met
    assert iterative.converged
    assert abs(iterative.criterion - exact.criterion) < 5.0 * certificate.criterion_se
    # Errors of the probes, judged by the exact fit and its own standard errors: covered with 95 %.
    table = exact.confint()
    rows = [name for name in table.index if name.startswith(("sd ", "sigma"))]
    widths = np.log(table.loc[rows, "high"] / table.loc[rows, "low"]).to_numpy()
    sds = [
        np.append(
            np.concatenate(
                [np.sqrt(np.diagonal(fit.components.block_for(t))) for t in exact.design.terms]
            ),
            fit.components.sigma,
        )
        for fit in (iterative, exact)
    ]
    off = np.abs(np.log(sds[0] / sds[1])) / (widths / (2.0 * 1.959964))
    assert len(off) == len(certificate.shift)
    assert (off < 2.0 * certificate.shift).all()
    assert np.abs(iterative.beta - exact.beta).max() < 0.02 * exact.se.max()
    assert np.allclose(iterative.se, exact.se, rtol=0.01)


def test_threads_change_nothing():
    model = bv.Model(FORMULAS["slopes"], DATA, elimination="iterative")
    criteria = []
    for limit in (1, 2):
        with threads(limit):
            criteria.append(model.reml(tolerance=TOLERANCE).criterion)
    assert criteria[0] == criteria[1]


def test_more_probes_until_the_tolerance_is_met(fits, monkeypatch):
    monkeypatch.setattr("bayesv.reml.fitting._MOST_PROBES", 8)
    model = bv.Model(FORMULAS["slopes"], DATA, elimination="iterative")
    coarse = fits["slopes"][1].certificate
    fine = model.reml(tolerance=coarse.largest / 2.0).certificate
    assert fine.n_probes > coarse.n_probes
    assert fine.met
    with pytest.warns(FitWarning, match="stochastic part of the log-determinant"):
        rough = model.reml(tolerance=1e-7)
    assert not rough.certificate.met
    assert any("tolerance" in problem for problem in rough.problems)


@pytest.mark.parametrize("design", ["nested in the border", "disconnected"])
def test_levels_that_move_together_cost_no_probes(design):
    """Directions that few classes of levels span are exact, whatever couples them."""
    data = ratings(2, users=400, items=200, n=4000)
    data["genre"] = data["item"] % 10
    formula = "y ~ x + (1 | user) + (1 | genre / item)"
    if design == "disconnected":
        block = np.arange(len(data)) % 6
        data["user"], data["item"] = (
            6 * (data["user"] // 6) + block,
            6 * (data["item"] // 6) + block,
        )
        formula = "y ~ x + (1 | user) + (1 | item)"
    design = bv.Model(formula, data).design
    rows = RowBatch(design.X, design.target, design.residual, groupings_of(design))
    stats = gram_statistics(rows, "iterative")
    done = eliminate(stats, stats.in_basis([0.6 * np.eye(1)] * len(design.terms)))
    want = eliminate(gram_statistics(rows), stats.in_basis([0.6 * np.eye(1)] * len(design.terms)))
    assert done.logdet_se < 0.5
    assert abs(done.logdet - want.logdet) < 5.0 * done.logdet_se


def test_blocks_that_are_alike_have_complete_spaces(widest):
    """Equal blocks have few eigenvalues: a Krylov space ends before rounding is taken for one.

    Joined, they are exact.
    """
    block, place = np.divmod(np.arange(800), 4)
    data = pd.DataFrame({"user": 2 * block + place // 2, "item": 2 * block + place % 2})
    rng = np.random.default_rng(5)
    data["x"] = rng.normal(size=800)
    effects = (s * rng.normal(size=400)[data[g]] for g, s in (("user", 0.6), ("item", 0.5)))
    data["y"] = sum(effects) + rng.normal(size=800)
    exact, iterative = (
        bv.Model(FORMULAS["intercepts"], data, elimination=elimination).reml(tolerance=0.5)
        for elimination in ("auto", "iterative")
    )
    assert iterative.certificate.met
    error = 5.0 * iterative.certificate.criterion_se if widest == 1 else 1e-8
    assert abs(iterative.criterion - exact.criterion) < error
    assert iterative.sigma2 == pytest.approx(exact.sigma2, rel=0.5 * np.sqrt(2.0 / 400))


def test_what_a_search_found_is_not_searched_again(monkeypatch):
    """Where gradients are as small as the search makes them, no tolerance begins another round."""
    model = bv.Model(FORMULAS["intercepts"], DATA, elimination="iterative")
    once = model.reml(tolerance=0.5).n_evaluations
    monkeypatch.setattr("bayesv.reml.free._SETTLED", 0.0)
    assert model.reml(tolerance=0.5).n_evaluations <= once + 1


@pytest.mark.usefixtures("widest")
def test_a_space_that_is_complete_at_once_is_taken_for_it():
    """Of thousands of equal blocks a probe is nearly an eigenvector: what is left is rounding."""
    block, place = np.divmod(np.arange(27_000), 9)
    data = pd.DataFrame({"user": 3 * block + place // 3, "item": 3 * block + place % 3})
    data["y"] = np.random.default_rng(0).normal(size=len(data))
    stats = bv.Model("y ~ 1 + (1 | user) + (1 | item)", data, elimination="iterative").statistics
    for size in (0.3, 1.0, 10.0):
        done = eliminate(stats, stats.in_basis([size * np.eye(1)] * 2))
        Z = [np.kron(np.eye(3), np.ones((3, 1))), np.kron(np.ones((3, 1)), np.eye(3))]
        V = np.eye(9) + size**2 * sum(z @ z.T for z in Z)
        assert abs(done.logdet - 3000 * np.linalg.slogdet(V)[1]) < 5.0 * done.logdet_se + 1e-6
        assert all(np.isfinite(bar).all() for bar in done.gradient(np.eye(2)))


def test_what_was_chosen_is_said(fits):
    text = bv.Model(FORMULAS["intercepts"], DATA, elimination="iterative").describe()
    assert "elimination: crossed: user (300×1); 120 columns by iteration, 13 probes" in text
    assert "by iteration with 13 probes" in fits["intercepts"][1].summary()
    with pytest.raises(BayesvError, match="is for crossed grouping factors"):
        bv.Model("y ~ x + (1 | user)", DATA, elimination="iterative").reml()


def test_levels_that_few_rows_join_with_others_are_eliminated_together(monkeypatch):
    """Teachers of schools that few students leave: one probe says what dozens did."""
    rng = np.random.default_rng(2)
    school = rng.integers(0, 40, 1200)
    there = np.where(rng.random((1200, 4)) < 0.03, rng.integers(0, 40, (1200, 4)), school[:, None])
    teacher = (8 * there + 2 * np.arange(4) + rng.integers(0, 2, there.shape)).ravel()
    data = pd.DataFrame({"student": np.repeat(np.arange(1200), 4), "teacher": teacher})
    data["y"] = rng.normal(size=320)[teacher] + rng.normal(size=len(data))
    formula, errors = "y ~ 1 + (1 | student) + (1 | teacher)", []
    exact = bv.Model(formula, data).statistics
    for most in (32, 1):
        monkeypatch.setattr(column_sets, "_WIDEST", (most,))
        model = bv.Model(formula, data, elimination="iterative")
        assert ("sets of close columns" in model.elimination) == (most > 1)
        lambdas = model.statistics.in_basis([np.eye(1)] * 2)
        done = eliminate(model.statistics, lambdas)
        want = eliminate(exact, lambdas)
        assert abs(done.logdet - want.logdet) < 5.0 * done.logdet_se
        errors.append(done.logdet_se)
    assert errors[0] < 0.3 * errors[1]


def test_levels_that_rows_join_with_all_others_stay_alone():
    iteration = bv.Model(
        FORMULAS["slopes"], DATA, elimination="iterative"
    ).statistics.layout.iteration
    assert iteration.sets.width == 2


def test_effects_have_their_conditional_moments(fits):
    """Means and variances over many draws, against the exact ones, in Monte Carlo errors."""
    exact, iterative = fits["slopes"]
    rng, sigma = np.random.default_rng(0), exact.components.sigma
    lambdas = [exact.components.relative_root(term) for term in exact.design.terms]
    draws = {}
    for name, stats in (("exact", exact.statistics), ("iterative", iterative.statistics)):
        gamma, inside = np.zeros(2), stats.in_basis(lambdas)
        n = 1 if name == "exact" else 100
        draws[name] = [draw_effects(stats, inside, sigma, gamma, rng) for _ in range(n)]
    item, n = 1, len(draws["iterative"])
    want = draws["exact"][0]
    u = np.array([drawn.u[item] for drawn in draws["iterative"]])
    assert np.allclose(draws["iterative"][0].mean[item], want.mean[item], atol=1e-7)
    z = (u.mean(axis=0) - want.mean[item]) / np.sqrt(want.var[item] / n)
    assert np.abs(z).max() < 4.5
    ratio = u.var(axis=0, ddof=1) / want.var[item]
    assert np.abs(ratio - 1.0).max() < 4.5 * np.sqrt(2.0 / n)
    assert np.abs(ratio.mean() - 1.0) < 4.5 * np.sqrt(2.0 / (n * ratio.size))
    var = np.mean([drawn.var[item] for drawn in draws["iterative"]], axis=0)
    assert np.allclose(var, want.var[item], rtol=0.1)


def test_v_is_solved_with_where_its_factor_would_fill(fits, monkeypatch):
    exact = fits["three factors"][0]
    want, b = exact.gls, np.random.default_rng(0).normal(size=(len(DATA), 2))
    monkeypatch.setattr("bayesv.covariance.marginal.DENSE_COLUMNS", 50)
    got = bv.gls(exact.design, exact.components)
    assert np.allclose(got.beta, want.beta, rtol=1e-9)
    assert np.allclose(got.cov, want.cov, rtol=1e-8)
    assert np.allclose(got.blup, want.blup, atol=1e-9)
    assert np.allclose(got.V.solve(b), want.V.solve(b), atol=1e-9)
    assert got.V.logdet() == pytest.approx(want.V.logdet(), rel=1e-10)


@pytest.mark.filterwarnings("ignore:log.V. of crossed:bayesv.FitWarning")
def test_crossed_factors_beyond_a_dense_block_are_compared(monkeypatch):
    """log|V| is a mean over probes there, which is said with its standard error."""
    model = bv.Model(FORMULAS["intercepts"], DATA)
    fit, post = model.reml(), model.sample(draws=400, chains=4, seed=1)
    want = bv.compare(fit, post)
    for room in ("covariance.marginal", "gram.elimination_order"):
        monkeypatch.setattr(f"bayesv.{room}.DENSE_COLUMNS", 50)
    again = bv.Model(FORMULAS["intercepts"], DATA)
    V = bv.MarginalCovariance(again.design, fit.components)
    with pytest.warns(FitWarning, match="mean over 13 probes, with a standard error of") as told:
        value = V.logdet()
    error = float(str(told[0].message).rsplit(" ", 1)[1].rstrip("."))
    assert abs(value - fit.gls.V.logdet()) < 5.0 * error
    got = bv.compare(again.reml(), again.sample(draws=400, chains=4, seed=1))
    both = (each.marginal["log_det"] for each in (got, want))
    np.testing.assert_allclose(*both, atol=5.0 * (error + 0.5))  # draws have an error, too


def test_posterior_agrees_and_says_what_probes_do():
    few = ratings(1, users=200, items=80, n=1500)  # items so many that probes are needed
    posts = [
        bv.Model(FORMULAS["intercepts"], few, elimination=elimination).sample(
            draws=400, chains=4, seed=1
        )
        for elimination in ("auto", "iterative")
    ]
    exact, iterative = posts
    attrs = iterative.draws.posterior.attrs
    assert attrs["n_probes"] >= 13
    assert 0.0 < attrs["probe_shift"] < 0.02
    assert "n_probes" not in exact.draws.posterior.attrs
    effects = [post.random_effects(draws=60) for post in posts]
    sd = effects[0]["sd"]
    z = (effects[1]["mean"] - effects[0]["mean"]) / sd
    assert np.abs(z).max() < 4.5 / np.sqrt(30)
    assert (effects[1]["sd"] / sd).mean() == pytest.approx(1.0, abs=0.02)


def test_log_determinants_of_many_draws_are_polynomials(fits, monkeypatch):
    """They are those of one draw at a time, and take less than half the evaluations."""
    fit, sizes = fits["intercepts"][1], np.exp(0.1 * np.random.default_rng(0).normal(size=(400, 3)))
    terms = fit.design.terms
    covs = {
        term.group: np.asarray(fit.components.block_for(term)) * sizes[:, k, None, None]
        for k, term in enumerate(terms)
    }
    draws = ComponentDraws(fit.design, covs, fit.sigma2 * sizes[:, 2])
    counts, many = [], functionals.eliminate_many

    def counted(stats, lambdas, step):
        counts.append(len(lambdas[0]))
        return many(stats, lambdas, step)

    monkeypatch.setattr(functionals, "eliminate_many", counted)
    got = functionals.log_determinant(draws, fit.statistics)
    assert sum(counts) < 200
    few = functionals.log_determinant(draws.take(slice(0, 40)), fit.statistics)
    assert np.abs(got[:40] - few).max() < 3e-3


def test_the_certificate_is_saved(fits, tmp_path):
    fit = fits["intercepts"][1]
    again = bv.load(bv.save(fit, tmp_path / "fit.nc"))
    assert again.certificate.describe() == fit.certificate.describe()
    assert again.certificate.shift.equals(fit.certificate.shift)
    assert again.summary() == fit.summary()


def test_an_iteration_that_runs_out_of_steps_is_named(monkeypatch):
    monkeypatch.setattr("bayesv.gram.iterative._MOST_STEPS", 3)
    model = bv.Model(FORMULAS["intercepts"], DATA, elimination="iterative")
    with pytest.warns(FitWarning, match="ran out of steps"):
        fit = model.reml(tolerance=TOLERANCE)
    assert not fit.certificate.met
    assert "ran out of steps" in fit.problems[-1]


def test_intervals_where_no_matrix_of_all_effects_fits(fits, monkeypatch):
    fit = fits["intercepts"][1]
    want = fit.confint()
    monkeypatch.setattr("bayesv.covariance.clusters._MOST_EFFECTS", 100)
    with pytest.raises(MemoryNeededError, match="420 random effects"):
        bv.kenward_roger(fit)
    monkeypatch.setattr("bayesv.covariance.clusters._QUICK_EFFECTS", 400)
    with pytest.warns(FitWarning, match=r"Intervals of β are normal ones.* beyond 400"):
        table = fit.confint()
    sds = [name for name in want.index if name.startswith("sd ")]
    pd.testing.assert_frame_equal(table.loc[sds], want.loc[sds])
    assert (table["high"] - table["low"])["beta x"] == pytest.approx(2 * 1.959964 * fit.se["x"])


def test_memory_that_is_not_there_is_refused_with_what_to_do(monkeypatch):
    data = ratings(3, users=25_000, items=20_000, n=60_000)
    model = bv.Model(FORMULAS["intercepts"], data)
    assert "20000 columns by iteration, 13 probes" in model.describe()
    monkeypatch.setattr("bayesv.support.memory.available", lambda: 20 << 20)
    with pytest.raises(MemoryNeededError, match=r"20,000 columns .* tolerance= .* 13 at least"):
        model.reml()
    monkeypatch.setattr("bayesv.support.memory.available", lambda: 1 << 30)
    dense = bv.Model(FORMULAS["intercepts"], data, elimination="crossed")
    with pytest.raises(MemoryNeededError, match="Use elimination='iterative'"):
        dense.reml()
