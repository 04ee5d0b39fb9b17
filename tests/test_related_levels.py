"""Random terms whose levels are related, Σ ⊗ K, against dense algebra; what is refused."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import bayesv as bv
from bayesv.gram import draw_effects, eliminate, eliminate_many


def related(rng, J, rank=None, blocks=1):
    """Return a relationship of J levels: of that rank, or of unrelated families."""
    K = np.zeros((J, J))
    for family in np.array_split(np.arange(J), blocks):
        half = rng.normal(size=(len(family), rank or len(family) + 3))
        K[np.ix_(family, family)] = half @ half.T / half.shape[1]
    names = [f"a{i}" for i in range(J)]
    return pd.DataFrame(K, names, names)


def data_of(rng, J=9, n=70, balanced=False):
    """Return rows with an animal, a dam, a pen within a farm, and covariates."""
    animal = np.repeat(np.arange(J), n // J) if balanced else rng.integers(0, J, n)
    animal[:J] = animal[:J] if balanced else np.arange(J)
    n = len(animal)
    pen = rng.integers(0, 6, n)
    return pd.DataFrame(
        {
            "animal": [f"a{i}" for i in animal],
            "pe": [f"a{i}" for i in animal],
            "dam": [f"a{i}" for i in animal // 3],
            "pen": [f"p{i}" for i in pen],
            "farm": [f"f{i}" for i in pen // 2],
            "t": np.tile(np.arange(n // J), J) if balanced else rng.normal(size=n),
            "x": rng.normal(size=n),
            "w": rng.uniform(0.5, 2.0, n),
            "y": rng.normal(size=n) + 0.8 * animal,
        }
    )


def dense(design, roots, sigma2=1.0):
    """Return V of λ by the definition: Z(K ⊗ σ²λλ')Z' + R, row by row."""
    V = sigma2 * design.residual.matrix.toarray()
    for term, lam in zip(design.terms, roots, strict=True):
        K = np.eye(term.n_levels)
        if term.relationship is not None:
            K = term.relationship.among(list(term.levels))
        G = np.kron(K, sigma2 * lam @ lam.T)
        V += term.Z @ G @ term.Z.toarray().T
    return V


def criterion(design, V, method="REML"):
    inverse = np.linalg.inv(V)
    information = design.X.T @ inverse @ design.X
    beta = np.linalg.solve(information, design.X.T @ inverse @ design.target)
    rest = design.target - design.X @ beta
    value = np.linalg.slogdet(V)[1] + rest @ inverse @ rest
    if method == "ML":
        return value + design.n * np.log(2 * np.pi)
    value += np.linalg.slogdet(information)[1]
    return value + (design.n - design.p) * np.log(2 * np.pi)


CASES = {
    "one term": ("y ~ x + (1 | animal)", {"animal": {}}),
    "rank below size": ("y ~ x + (1 | animal)", {"animal": {"rank": 4}}),
    "slopes": ("y ~ x + (t | animal)", {"animal": {}}),
    "slopes, low rank": ("y ~ x + (t || animal)", {"animal": {"rank": 3}}),
    "families": ("y ~ x + (t | animal)", {"animal": {"blocks": 3}}),
    "two of one factor": ("y ~ x + (1 | animal) + (1 | pe)", {"animal": {}}),
    "nested others": ("y ~ x + (t | animal) + (x | pen) + (1 | farm)", {"animal": {}}),
    "two relationships": (
        "y ~ x + (1 | animal) + (t | dam) + (1 | pen)",
        {"animal": {"blocks": 2}, "dam": {"rank": 2}},
    ),
    "none but related": ("y ~ x + (1 | animal) + (1 | dam)", {"animal": {}, "dam": {}}),
}


def case_of(name, seed=1, weights=None, balanced=False):
    rng = np.random.default_rng(seed)
    formula, relations = CASES[name]
    data = data_of(rng, balanced=balanced)
    relationship = {group: related(rng, 9, **how) for group, how in relations.items()}
    return bv.Model(formula, data, var_weights=weights, relationship=relationship)


def lambdas_of(design, rng):
    roots = []
    for term in design.terms:
        lam = np.tril(rng.normal(size=(term.n_columns,) * 2))
        roots.append(lam * term.structure.mask)
    return roots


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("balanced", [False, True])
def test_elimination_is_dense_algebra(name, balanced):
    model = case_of(name, weights="w" if not balanced else None, balanced=balanced)
    design, stats = model.design, model.statistics
    rng = np.random.default_rng(3)
    roots = lambdas_of(design, rng)
    done = eliminate(stats, stats.in_basis(roots))
    V = dense(design, roots)
    columns = np.column_stack([design.X, design.target])
    T = columns.T @ np.linalg.solve(V, columns)
    # Back from orthonormal columns: T of [X, y − X start] in units U
    U, start = stats.fixed.upper, stats.fixed.start
    back = np.eye(len(T))
    back[:-1, :-1], back[:-1, -1] = np.linalg.inv(U), -start
    np.testing.assert_allclose(done.T, back.T @ T @ back, rtol=1e-9, atol=1e-9)
    logdet = np.linalg.slogdet(V)[1]
    assert done.logdet - stats.log_weights == pytest.approx(logdet, abs=1e-9)
    many = eliminate_many(stats, [lam[None] for lam in stats.in_basis(roots)])
    assert many[0][0] == pytest.approx(done.logdet, abs=1e-9)
    np.testing.assert_allclose(many[1][0], done.T, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", CASES)
def test_gradient_is_that_of_differences(name):
    model = case_of(name)
    stats = model.statistics
    rng = np.random.default_rng(4)
    roots = stats.in_basis(lambdas_of(model.design, rng))
    half = rng.normal(size=(stats.p + 1,) * 2)
    T_bar = half + half.T
    slopes = eliminate(stats, roots).gradient(T_bar)
    for f, lam in enumerate(roots):
        for place in zip(*np.nonzero(np.tril(np.ones_like(lam))), strict=True):
            ends = []
            for step in (1e-5, -1e-5):
                moved = [root.copy() for root in roots]
                moved[f][place] += step
                done = eliminate(stats, moved)
                ends.append(done.logdet + (T_bar * done.T).sum())
            difference = (ends[0] - ends[1]) / 2e-5
            assert slopes[f][place] == pytest.approx(difference, rel=1e-5, abs=1e-5)


@pytest.mark.parametrize("name", CASES)
def test_fits_are_optima_of_the_dense_criterion(name):
    model = case_of(name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fit = model.reml("ML" if name == "slopes" else "REML")
    design, vc = model.design, fit.components
    roots = [vc.relative_root(term) for term in design.terms]
    V = dense(design, roots, vc.sigma2)
    assert fit.criterion == pytest.approx(criterion(design, V, fit.method), abs=1e-7)
    for step in (1e-4, -1e-4):  # a minimum
        other = dense(design, [root * (1 + step) for root in roots], vc.sigma2)
        assert criterion(design, other, fit.method) > fit.criterion - 1e-9
    operator = bv.MarginalCovariance(design, vc)
    np.testing.assert_allclose(operator.to_dense(), V, atol=1e-10)
    np.testing.assert_allclose(operator.solve(V), np.eye(design.n), atol=1e-8)
    assert operator.logdet() == pytest.approx(np.linalg.slogdet(V)[1], abs=1e-8)
    G = bv.expand_G(design, vc).toarray()
    u = G @ design.Z.toarray().T @ np.linalg.solve(V, design.target - design.X @ fit.beta)
    np.testing.assert_allclose(fit.blup, u, atol=1e-8)


@pytest.mark.parametrize("name", ["one term", "nested others", "none but related"])
def test_other_responses_share_the_statistics(name):
    model = case_of(name)
    y = np.random.default_rng(8).normal(size=model.design.n)
    stats = model.with_response(y).statistics
    fresh = bv.Model.from_design(model.design.with_response(y)).statistics
    lambdas = [np.tril(np.ones((t.n_columns,) * 2)) for t in model.design.terms]
    one, two = (eliminate(s, s.in_basis(lambdas)) for s in (stats, fresh))
    assert one.logdet == pytest.approx(two.logdet, abs=1e-9)
    np.testing.assert_allclose(one.T, two.T, atol=1e-9)


def test_identity_is_no_relationship():
    data = data_of(np.random.default_rng(0))
    names = sorted(set(data["animal"]))
    identity = pd.DataFrame(np.eye(len(names)), names, names)
    formula = "y ~ x + (t | animal) + (1 | pen)"
    plain, with_K = (
        bv.Model(formula, data),
        bv.Model(formula, data, relationship={"animal": identity}),
    )
    assert plain.elimination == with_K.elimination
    for one, two in zip(plain.statistics.sums, with_K.statistics.sums, strict=True):
        np.testing.assert_array_equal(one, two)
    assert plain.reml().criterion == with_K.reml().criterion


def test_rotation_makes_a_chain_of_one_term():
    model = case_of("one term")
    assert model.statistics.layout.border == ()
    assert "independent" in model.elimination
    slopes = case_of("slopes", balanced=True)
    assert slopes.statistics.layout.border == ()
    assert case_of("slopes").statistics.layout.chain == ()


@pytest.mark.parametrize("name", ["one term", "nested others", "families"])
def test_conditional_effects_are_those_of_dense_algebra(name):
    """Means and variances of u given β, which for the chain is also given the border."""
    model = case_of(name)
    design, stats = model.design, model.statistics
    rng = np.random.default_rng(5)
    roots, sigma = lambdas_of(design, rng), 0.7
    gamma = rng.normal(size=stats.p)
    draws = [
        draw_effects(stats, stats.in_basis(roots), sigma, gamma, np.random.default_rng(i))
        for i in range(4000)
    ]
    V = dense(design, roots, sigma**2)
    beta = stats.fixed.to_beta(gamma)
    rest = design.target - design.X @ beta
    for f, term in enumerate(design.terms):
        K = np.eye(term.n_levels) if term.related is None else term.related.K
        ZG = term.Z @ np.kron(K, sigma**2 * roots[f] @ roots[f].T)
        mean = ZG.T @ np.linalg.solve(V, rest)
        cov = np.kron(K, sigma**2 * roots[f] @ roots[f].T) - ZG.T @ np.linalg.solve(V, ZG)
        u = np.array([draw.u[f].ravel() for draw in draws])
        error = np.sqrt(np.diagonal(cov) / len(draws))
        assert (np.abs(u.mean(axis=0) - mean) < 5 * error + 1e-10).all()
        np.testing.assert_allclose(np.cov(u.T), cov, atol=0.12 * np.diagonal(cov).max())
        if term.relationship is not None:
            np.testing.assert_allclose(draws[0].mean[f].ravel(), mean, atol=1e-8)
            np.testing.assert_allclose(draws[0].var[f].ravel(), np.diagonal(cov), atol=1e-8)


def test_rows_and_labels_in_any_order():
    rng = np.random.default_rng(2)
    data, K = data_of(rng), related(rng, 9)
    formula = "y ~ x + (1 | animal) + (1 | pen)"
    fit = bv.Model(formula, data, relationship={"animal": K}).reml()
    shuffled = data.sample(frac=1, random_state=1)
    order = rng.permutation(9)
    K = K.iloc[order, order[::-1]].rename(
        index=lambda a: f"z{a[::-1]}", columns=lambda a: f"z{a[::-1]}"
    )
    shuffled["animal"] = [f"z{a[::-1]}" for a in shuffled["animal"]]
    again = bv.Model(formula, shuffled, relationship={"animal": K}).reml()
    assert again.criterion == pytest.approx(fit.criterion, abs=1e-9)
    np.testing.assert_allclose(again.components["animal"], fit.components["animal"], rtol=1e-5)


def test_relationships_may_have_more_levels_and_other_forms():
    rng = np.random.default_rng(2)
    data, K = data_of(rng), related(rng, 12)
    data["animal"] = pd.Categorical(data["animal"])
    forms = [K, (K.to_numpy(), list(K.index)), (sparse.csr_array(K.to_numpy()), K.index)]
    criteria = [
        bv.Model("y ~ x + (1 | animal)", data, relationship={"animal": form}).reml().criterion
        for form in forms
    ]
    np.testing.assert_allclose(criteria, criteria[0], rtol=1e-12)
    design = bv.Model("y ~ x + (1 | animal)", data, relationship={"animal": K}).design
    plain = bv.Model("y ~ x + (1 | animal)", data).design
    relation = design.terms[0].relationship
    by_hand = replace(plain, terms=(replace(plain.terms[0], relationship=relation),))
    assert bv.Model.from_design(by_hand).reml().criterion == pytest.approx(criteria[0], abs=1e-9)


def test_one_row_a_level_is_legal_with_a_relationship():
    rng = np.random.default_rng(7)
    data = data_of(rng, J=40, n=40)
    K = related(rng, 40, rank=15)
    fit = bv.Model("y ~ x + (1 | animal)", data, relationship={"animal": K}).reml()
    V = dense(fit.design, [fit.components.relative_root(fit.design.terms[0])], fit.sigma2)
    assert fit.criterion == pytest.approx(criterion(fit.design, V), abs=1e-8)


@pytest.mark.parametrize(
    ("relationship", "message"),
    [
        ({"animl": "K"}, "relationship names 'animl', which is no grouping factor.*did you mean"),
        ({"animal": "few"}, "has no row for 2 of 9 levels: 'a7', 'a8'"),
        ({"animal": "twice"}, "more than one row for 'a0'"),
        ({"animal": "negative"}, "not positive semi-definite"),
        ({"animal": "bare"}, "needs the labels of its rows"),
    ],
)
def test_relationships_that_do_not_fit(relationship, message):
    rng = np.random.default_rng(2)
    data, K = data_of(rng), related(rng, 9)
    forms = {
        "K": K,
        "few": K.iloc[:7, :7],
        "twice": K.rename(index={"a1": "a0"}, columns={"a1": "a0"}),
        "negative": K - 2.0 * (1 - np.eye(9)),
        "bare": K.to_numpy(),
    }
    given = {name: forms[what] for name, what in relationship.items()}
    with pytest.raises(bv.DataError, match=message):
        bv.Model("y ~ x + (1 | animal)", data, relationship=given)


BESIDE = {
    "strata": ("y ~ x + (1 | animal)", {"residual_sd": "strata(half)"}),
    "strata and pens": ("y ~ x + (1 | animal) + (1 | pen)", {"residual_sd": "strata(half)"}),
    "chain": ("y ~ x + (t | animal)", {"residual": "ar1(day | animal)"}),
    "times": ("y ~ x + (1 | animal)", {"residual": "car1(day | animal)"}),
    "family of Σ": ("y ~ x + cs(0 + half | animal)", {}),
}


@pytest.mark.parametrize("name", BESIDE)
def test_beside_structured_residuals_and_families(name):
    rng = np.random.default_rng(1)
    data = data_of(rng, n=80)
    data["day"] = data.groupby("animal").cumcount()
    data["half"] = np.where(data["x"] > 0, "a", "b")
    formula, options = BESIDE[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fit = bv.Model(formula, data, relationship={"animal": related(rng, 9)}, **options).reml()
    design, vc = fit.design.at(fit.components), fit.components
    V = dense(design, [vc.relative_root(term) for term in design.terms], vc.sigma2)
    assert fit.criterion == pytest.approx(criterion(design, V), abs=1e-8)
    np.testing.assert_allclose(fit.gls.V.to_dense(), V, atol=1e-9)
