"""What follows from V where levels are related: all of it against dense algebra."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from scipy.stats import multivariate_normal

import bayesv as bv
from bayesv.cli import main
from bayesv.covariance import ComponentDraws
from bayesv.covariance.functionals import functionals
from bayesv.covariance.pointwise import Pointwise
from bayesv.covariance.reliability import reliability
from bayesv.design.simulation import StandardScores, normal_scores, simulate
from bayesv.formula.prediction import rows_of
from bayesv.inference.density import MarginalDensity
from bayesv.posterior.covariance_draws import v_of_rows
from tests.test_related_levels import case_of, dense, lambdas_of

NAMES = ["families", "slopes, low rank", "two relationships"]


@pytest.fixture(scope="module", params=NAMES)
def case(request):
    """Design, components, point, and V, K ⊗ Σ of each term by the definition."""
    design = case_of(request.param).design
    rng = np.random.default_rng(6)
    roots = [0.5 * np.eye(t.n_columns) + lam for t, lam in
             zip(design.terms, lambdas_of(design, rng), strict=True)]  # fmt: skip
    blocks = {t.group: 0.7 * lam @ lam.T for t, lam in zip(design.terms, roots, strict=True)}
    vc = bv.VarianceComponents(blocks, 0.7)
    point = ComponentDraws.of(design, vc, rng.normal(size=design.p)).reshape(1)
    return design, vc, point, dense(design, roots, 0.7)


def relation(term):
    return np.eye(term.n_levels) if term.related is None else term.related.K


def test_functionals(case):
    design, vc, point, V = case
    model = bv.Model.from_design(design)
    values = functionals(point, model.statistics)
    assert values["log|V|"][0] == pytest.approx(np.linalg.slogdet(V)[1])
    assert values["tr V"][0] == pytest.approx(np.trace(V))
    effect = V.sum() / np.trace(V)
    assert values["design effect"][0] == pytest.approx(effect)
    for term in design.terms:
        K = relation(term)[np.ix_(term.codes, term.codes)]
        part = term.values @ vc.block_for(term) @ term.values.T * K
        assert values[f"VPC {term.group}"][0] == pytest.approx(np.trace(part) / np.trace(V))
        same = (term.codes[:, None] == term.codes) & ~np.eye(design.n, dtype=bool)
        within = V[same].mean() / (np.trace(V) / design.n)
        assert values[f"correlation within {term.group}"][0] == pytest.approx(within)
        shares = []
        for level in range(term.n_levels):
            rows = np.ix_(term.codes == level, term.codes == level)
            shares.append(part[rows].sum() / V[rows].sum())
        assert values[f"reliability of mean {term.group}"][0] == pytest.approx(np.mean(shares))


def test_rows_and_clusters_by_themselves(case):
    design, _, point, V = case
    of_rows, of_clusters = Pointwise(design)(point)
    rest = design.target - design.X @ point.beta[0]
    precision = np.linalg.inv(V)
    g, q = precision @ rest, np.diagonal(precision)
    np.testing.assert_allclose(of_rows[0], 0.5 * (np.log(q) - g**2 / q - np.log(2 * np.pi)))
    wanted = [
        multivariate_normal(cov=V[np.ix_(rows, rows)]).logpdf(rest[rows])
        for rows in (design.clusters == c for c in range(design.clusters.max() + 1))
    ]
    np.testing.assert_allclose(of_clusters[0], wanted)


def test_reliability(case):
    design, vc, point, V = case
    precision = np.linalg.inv(V)
    Phi = np.linalg.inv(design.X.T @ precision @ design.X)
    projected = precision - precision @ design.X @ Phi @ design.X.T @ precision
    wanted = []
    for term in design.terms:
        G = np.kron(relation(term), vc.block_for(term))
        ZG = term.Z @ G
        left = np.diagonal(G - ZG.T @ projected @ ZG).reshape(term.n_levels, -1)
        wanted += list(1 - left.sum(axis=0) / np.diagonal(G).reshape(term.n_levels, -1).sum(axis=0))
    np.testing.assert_allclose(reliability(point)[0], wanted)


def test_posterior_of_v(case):
    design, _, point, V = case
    twice = ComponentDraws(design, {g: np.stack([c, c]) for g, c in point.covs.items()},
                           np.stack([point.sigma2] * 2), np.stack([point.beta] * 2))  # fmt: skip
    rows = [3, 0, 11]
    of_rows = v_of_rows(twice, None, None, rows=rows, newdata=None, weights=None)
    np.testing.assert_allclose(of_rows.mean(), V[np.ix_(rows, rows)])


def test_kenward_roger(case):
    design, vc, _, V = case
    X, inverse, parts = design.X, np.linalg.inv(V), []
    for term in design.terms:
        K = relation(term)[np.ix_(term.codes, term.codes)]
        for a, b in zip(*np.nonzero(np.tril(term.structure.mask)), strict=True):
            E = np.zeros((term.n_columns,) * 2)
            E[a, b] = E[b, a] = 1.0
            parts.append(term.values @ E @ term.values.T * K)
    parts.append(np.eye(design.n))
    Phi = np.linalg.inv(X.T @ inverse @ X)
    P = [-X.T @ inverse @ part @ inverse @ X for part in parts]
    projected = inverse - inverse @ X @ Phi @ X.T @ inverse
    twice = np.array([[np.trace(projected @ a @ projected @ b) for b in parts] for a in parts])
    W = 2 * np.linalg.inv(twice)
    inner = sum(
        W[i, j] * (X.T @ inverse @ a @ inverse @ b @ inverse @ X - P[i] @ Phi @ P[j])
        for i, a in enumerate(parts)
        for j, b in enumerate(parts)
    )
    kr = bv.kenward_roger(design, vc)
    np.testing.assert_allclose(kr.W, W, rtol=1e-6, atol=1e-9 * np.abs(W).max())
    np.testing.assert_allclose(kr.cov, Phi + 2 * Phi @ inner @ Phi, rtol=1e-6)


def test_distances(case):
    design, vc, _, V = case
    other = bv.VarianceComponents({g: 1.5 * vc[g] for g in vc}, 0.9)
    roots = [other.relative_root(term) for term in design.terms]
    wanted = bv.distances(V, dense(design, roots, 0.9))
    values = bv.v_distances(design, vc, other)
    assert values == pytest.approx(wanted, rel=1e-6)


def test_responses_have_the_covariance(case):
    """The map of standard scores to responses, column by column."""
    design, _, point, V = case
    zero = normal_scores(design, np.random.default_rng(0))
    sizes = [e.size for e in zero.effects] + [design.n]
    columns = []
    for i in range(sum(sizes)):
        unit = np.split(np.eye(sum(sizes))[i], np.cumsum(sizes)[:-1])
        effects = [u.reshape(e.shape) for u, e in zip(unit, zero.effects, strict=False)]
        columns.append(simulate(design, point.take(0), StandardScores(effects, unit[-1]))[0])
    M = np.array(columns) - design.X @ point.beta[0]
    np.testing.assert_allclose(M.T @ M, V, atol=1e-10)


def test_robust_covariances_are_by_family():
    model = case_of("families")
    fit = model.reml()
    design, V = model.design, bv.MarginalCovariance(model.design, fit.components).to_dense()
    assert design.clusters.max() + 1 == 3
    solved = np.linalg.solve(V, design.X)
    rest = design.target - design.X @ fit.beta.to_numpy()
    scores = [solved[design.clusters == c].T @ rest[design.clusters == c] for c in range(3)]
    Phi = fit.cov_beta.to_numpy()
    wanted = Phi @ sum(np.outer(s, s) for s in scores) @ Phi
    np.testing.assert_allclose(bv.cluster_robust(design, fit.components, "CR0"), wanted, atol=1e-10)
    with pytest.raises(bv.DataError, match="not independent under V: they are related"):
        bv.cluster_robust(design, fit.components, cluster="animal")


# --- new levels -----------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=[None, 5])
def more_levels(request):
    """A model of 9 animals, of K of 12, and K, (1 | animal) being of full or of lower rank."""
    rng = np.random.default_rng(11)
    half = rng.normal(size=(12, request.param or 15))
    names = [f"a{i}" for i in range(12)]
    K = pd.DataFrame(half @ half.T / half.shape[1], names, names)
    data = pd.DataFrame({"animal": np.tile(names[:9], 5), "t": rng.normal(size=45)})
    data["y"] = data["animal"].str[1:].astype(int) + data["t"] + rng.normal(size=45)
    return bv.Model("y ~ t + (t | animal)", data, relationship={"animal": K}), K


NEW = pd.DataFrame({"animal": ["a11", "a2", "a9", "a11"], "t": [0.5, 1.0, -1.0, 2.0]})


def test_predictions_of_new_levels_are_those_of_the_joint_normal(more_levels):
    model, K = more_levels
    fit = model.reml()
    design, term = model.design, model.design.terms[0]
    z = np.column_stack([np.ones(4), NEW["t"]])
    codes = [K.index.get_loc(a) for a in NEW["animal"]]
    old = [K.index.get_loc(a) for a in term.levels[term.codes]]
    Sigma = fit.components.block_for(term)
    across = z @ Sigma @ term.values.T * K.to_numpy()[np.ix_(codes, old)]
    V = bv.MarginalCovariance(design, fit.components).to_dense()
    mean = z @ fit.beta + across @ np.linalg.solve(V, design.y - design.X @ fit.beta)
    own = np.diagonal(z @ Sigma @ z.T * K.to_numpy()[np.ix_(codes, codes)])
    D = z - across @ np.linalg.solve(V, design.X)
    error = own - np.diagonal(across @ np.linalg.solve(V, across.T))
    error = error + np.diagonal(D @ fit.cov_beta.to_numpy() @ D.T)
    table = fit.predict(NEW)
    np.testing.assert_allclose(table["mean"], mean, atol=1e-8)
    np.testing.assert_allclose(table["se"], np.sqrt(error), atol=1e-6)


def test_effects_of_new_levels_are_drawn_given_the_fitted_ones(more_levels):
    model, K = more_levels
    (term,) = rows_of(model.design, NEW).terms
    levels, fitted = list(term.kin.levels), list(model.design.terms[0].levels)
    rng, root = np.random.default_rng(1), np.array([[1.0, 0.0], [0.4, 0.7]])
    both = K.loc[levels + fitted, levels + fitted].to_numpy()
    joint = np.linalg.cholesky(both + 1e-12 * np.eye(len(both)))
    u = (joint @ rng.normal(size=(len(both), 2)) @ root.T)[3:]
    weights = both[:3, 3:] @ np.linalg.pinv(both[3:, 3:], rcond=1e-9)
    rest = both[:3, :3] - weights @ both[3:, :3]
    draws = np.array([term.effects(u, root, rng).ravel() for _ in range(4000)])
    np.testing.assert_allclose(draws.mean(axis=0), (weights @ u).ravel(), atol=0.12)
    np.testing.assert_allclose(np.cov(draws.T), np.kron(rest, root @ root.T), atol=0.12)
    free = np.array([term.effects(None, root, rng).ravel() for _ in range(4000)])
    np.testing.assert_allclose(np.cov(free.T), np.kron(both[:3, :3], root @ root.T), atol=0.25)


@pytest.mark.parametrize(
    ("animal", "message"), [("b1", "no row for 1 of 1 levels: 'b1'"), (None, "has no level of")]
)
def test_new_rows_of_unknown_levels_are_refused(more_levels, animal, message):
    model, _ = more_levels
    with pytest.raises(bv.DataError, match=message):
        model.reml().predict(pd.DataFrame({"animal": [animal], "t": [0.0]}))


# --- posterior ------------------------------------------------------------------------------------


def test_density_is_that_of_dense_algebra():
    """Log posterior density less log prior at some points: the dense restricted likelihood."""
    model = case_of("two relationships")
    design, density = model.design, MarginalDensity(model.statistics, model.priors)
    rng, gaps = np.random.default_rng(1), []
    for _ in range(3):
        roots = [np.eye(len(lam)) + 0.4 * lam for lam in lambdas_of(design, rng)]
        V = dense(design, roots, 0.5)
        likelihood = density.conditional([lam[None] for lam in roots], np.array([0.5]))
        inverse = np.linalg.inv(V)
        information = design.X.T @ inverse @ design.X
        beta = np.linalg.solve(information, design.X.T @ inverse @ design.target)
        rest = design.target - design.X @ beta
        value = -0.5 * (
            np.linalg.slogdet(V)[1]
            + np.linalg.slogdet(information)[1]
            + rest @ inverse @ rest
            + (design.n - design.p) * np.log(2 * np.pi)
        )
        gaps.append(likelihood.log_likelihood[0] - value)
    np.testing.assert_allclose(gaps, 0.0, atol=1e-8)


@pytest.fixture(scope="module")
def sampled():
    """The posterior of a small animal model, with a pedigree."""
    rng = np.random.default_rng(3)
    names = [f"a{i}" for i in range(24)]
    parents = [
        [""] * 6 + list(rng.choice(names[:3], 18)),
        [""] * 6 + list(rng.choice(names[3:6], 18)),
    ]
    ped = bv.pedigree({"id": names, "sire": parents[0], "dam": parents[1]})
    u = np.linalg.cholesky(ped.among(names)) @ rng.normal(size=24)
    data = pd.DataFrame({"animal": np.repeat(names[6:], 3)})
    data["y"] = 2.0 + np.repeat(u[6:], 3) + 0.7 * rng.normal(size=54)
    model = bv.Model("y ~ 1 + (1 | animal)", data, relationship={"animal": ped})
    return model, model.sample(draws=400, chains=2, seed=1, keep_u=True, progressbar=False)


def test_posterior_is_that_of_quadrature(sampled):
    model, post = sampled
    density = MarginalDensity(model.statistics, model.priors)
    V_of = model.design.terms[0].shared(model.design.terms[0].codes[:, None],
                                        model.design.terms[0].codes)  # fmt: skip
    taus, sigmas = np.linspace(0.02, 4.0, 70), np.linspace(0.45, 1.2, 50)
    tau, sigma = (x.ravel() for x in np.meshgrid(taus, sigmas, indexing="ij"))
    values, vectors = np.linalg.eigh(V_of)
    one, y = vectors.T @ np.ones(54), vectors.T @ model.design.y
    d = tau[:, None] ** 2 * values + sigma[:, None] ** 2
    information, product = (one**2 / d).sum(axis=1), (one * y / d).sum(axis=1)
    square = (y**2 / d).sum(axis=1) - product**2 / information
    log = -0.5 * (np.log(d).sum(axis=1) + np.log(information) + square)
    prior = model.priors.log_density(
        ComponentDraws(model.design, {"animal": (tau**2)[:, None, None]}, sigma**2)
    )
    weights = np.exp(log + prior - (log + prior).max())
    weights /= weights.sum()
    assert density.stats.layout.border == ()
    for drawn, exact in ((np.sqrt(post.cov("animal")[..., 0, 0]), tau), (post.sigma2**0.5, sigma)):
        mean = float(weights @ exact)
        sd = float(np.sqrt(weights @ (exact - mean) ** 2))
        assert drawn.mean() == pytest.approx(mean, abs=4 * sd / np.sqrt(400))
        assert drawn.std() == pytest.approx(sd, rel=0.15)


def test_draws_of_effects_belong_to_v(sampled):
    _, post = sampled
    check = post.check()
    assert check.passed, check
    assert "second moments of u given (β, V, y)" in set(check.table["identity"])


def test_fits_and_posteriors_are_saved_with_the_relationship(sampled, tmp_path):
    model, post = sampled
    fit = model.reml()
    for kept in (fit, post):
        again = bv.load(kept.save(tmp_path / f"{type(kept).__name__}.nc"))
        relationship = again.design.terms[0].relationship
        assert isinstance(relationship, bv.Pedigree)
        np.testing.assert_array_equal(
            relationship.among(["a3", "a20"]),
            model.design.terms[0].relationship.among(["a3", "a20"]),
        )
    levels = list(model.design.terms[0].levels)
    K = sparse.csr_array(model.design.terms[0].related.K)
    matrix = bv.Model.from_design(model.design).design.terms[0]
    related = bv.Model("y ~ 1 + (1 | animal)", pd.DataFrame(
        {"y": model.design.y, "animal": matrix.levels[matrix.codes]}),
        relationship={"animal": (K, levels)}).reml()  # fmt: skip
    again = bv.load(related.save(tmp_path / "sparse.nc"))
    assert sparse.issparse(again.design.terms[0].relationship.matrix)
    assert again.criterion_at(fit.components) == pytest.approx(fit.criterion, abs=1e-9)


def test_pymc_has_related_effects_and_bambi_refuses(sampled):
    model, _ = sampled
    with pytest.raises(bv.BayesvError, match="known relationship of the levels of 'animal'"):
        bv.to_bambi(model)
    pytest.importorskip("pymc")
    import pytensor

    stated = bv.to_pymc(model)
    z = np.random.default_rng(0).normal(size=(18, 1))
    with pytensor.config.change_flags(mode="FAST_COMPILE"):
        u = stated["u_animal"].eval({stated["z_animal"]: z, stated["sd_animal"]: np.array([1.5])})
    L = model.design.terms[0].related.root.matrix.toarray()
    np.testing.assert_allclose(u, L @ z * 1.5)


def test_comparisons_see_other_relationships(sampled):
    model, post = sampled
    fit = model.reml()
    term = model.design.terms[0]
    other = replace(model.design, terms=(replace(term, relationship=None),))
    bv.compare(fit, post)
    with pytest.raises(bv.BayesvError, match="relationships of the levels of animal"):
        bv.compare(bv.Model.from_design(other).reml(), post)


def test_words_name_the_relationship(sampled, tmp_path):
    model, _ = sampled
    fit = model.reml()
    assert "related by a pedigree of 24" in model.describe()
    assert "animal 18 (pedigree of 24)" in str(fit)
    bv.report(fit, path=tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert "correlated as the pedigree says" in page
    assert "relationship={" in page


def test_command_line(tmp_path, capsys):
    rng = np.random.default_rng(5)
    names = [f"a{i}" for i in range(8)]
    ped = pd.DataFrame(
        {"id": names, "sire": [None, None, "a0", "a0", "a1", "a2", "a2", "a3"], "dam": None}
    )
    ped.to_csv(tmp_path / "ped.csv", index=False)
    K = pd.DataFrame(bv.pedigree(ped).among(names), names, names)
    K.to_csv(tmp_path / "K.csv")
    K.to_csv(tmp_path / "bare.csv", index=False)
    data = pd.DataFrame({"animal": np.tile(names, 4), "y": rng.normal(size=32)})
    data["y"] += np.tile(np.arange(8), 4)
    data.to_csv(tmp_path / "d.csv", index=False)
    call = [
        "fit",
        str(tmp_path / "d.csv"),
        "y ~ 1 + (1 | animal)",
        "--engine",
        "none",
        "--json",
        "-",
    ]
    criteria = []
    for option in (
        "--pedigree=animal=ped.csv",
        "--relationship=animal=K.csv",
        "--relationship=animal=bare.csv",
    ):
        start, _, name = option.rpartition("=")
        assert main([*call, f"{start}={tmp_path / name}"]) == 0
        result = json.loads(capsys.readouterr().out)
        criteria.append(result["reml"]["criterion"])
    assert result["relationships"] == {"animal": "relationship matrix of 8"}
    plain = bv.Model("y ~ 1 + (1 | animal)", data, relationship={"animal": K}).reml()
    np.testing.assert_allclose(criteria, plain.criterion, atol=1e-8)
    assert main([*call, "--pedigree", "ped.csv"]) != 0
    assert "write the grouping factor and the file" in capsys.readouterr().err


HERE = Path(__file__).parent / "references" / "structures"


def test_animal_model_is_that_of_lme4():
    reference = json.loads((HERE / "animal_model.json").read_text())
    ped = bv.pedigree(pd.read_csv(HERE / "pedigree.csv"))
    data = pd.read_csv(HERE / "animals.csv")
    for name in ("animal", "dam", "pe"):
        data[name] = data[name].astype(str)
    model = bv.Model(reference["bayesv"]["formula"], data, relationship={"animal": ped})
    fit = model.reml()
    assert fit.criterion == pytest.approx(reference["criterion"], abs=2e-6)
    assert fit.sigma2 == pytest.approx(reference["sigma2"], rel=1e-4)
    for term in reference["G"]:
        assert fit.components[term["group"]].iloc[0, 0] == pytest.approx(
            term["Sigma"][0][0], rel=1e-3
        )
