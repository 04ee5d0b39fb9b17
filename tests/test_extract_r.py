"""Fits that `bayesv_export.R` wrote in R, frozen with the script that made them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import bayesv as bv
from bayesv.extract import read_data
from bayesv.extract.r_design import RLabels
from bayesv.names import canonical, factors_of
from bayesv.structures import Diagonal

EXPORTS = Path(__file__).parent / "references" / "r_export"
POINT = {
    "lmer_sleepstudy": ("REML (lme4)", "Reaction ~ Days + (Days | Subject)"),
    "lmer_nested_ml": ("ML (lme4)", "strength ~ 1 + (1 | batch/cask)"),
    "lmer_crossed": ("REML (lme4)", "diameter ~ 1 + (1 | plate) + (1 | sample)"),
    "lmer_singular": ("REML (lme4)", "Yield ~ 1 + (1 | Batch)"),
    "lmer_double_bar": (
        "REML (lme4)",
        "Reaction ~ Days + (1 | Subject) + (0 + Days | Subject)",
    ),
    "lmer_mixed": (
        "REML (lme4)",
        "log(y) ~ poly(o, 2) + kind * x + on + offset(o/10) + (x | site.no) + (1 | item)",
    ),
    "lmer_contrasts": ("REML (lme4)", "y ~ kind + (0 + kind | item) + (1 | site.no)"),
    "lmer_labels": (
        "REML (lme4)",
        "y ~ feed * half + feed1 + depth + rain + soil + (1 | row) + (1 | col)",
    ),
    "lmer_no_fixed": ("ML (lme4)", "Yield ~ 0 + (1 | Batch)"),
    "lme_nested": ("REML (nlme)", "strength ~ 1 + (1 | batch) + (1 | cask:batch)"),
    "lme_diagonal": ("ML (nlme)", "Reaction ~ Days + (1 + Days || Subject)"),
    "lme_shuffled": ("REML (nlme)", "y ~ kind + x + (1 | site.no) + (1 | item:site.no)"),
    "lme_machines": ("REML (nlme)", "score ~ Machine + (1 | Worker) + (1 | Machine:Worker)"),
    "glmmtmb_reml": (
        "REML (glmmTMB)",
        "y ~ kind + x + offset(o) + diag(x | site.no) + (1 | item)",
    ),
    "glmmtmb_ml": ("ML (glmmTMB)", "Reaction ~ Days + (Days | Subject)"),
    "glmmtmb_offset": ("ML (glmmTMB)", "y ~ feed + (1 | row)"),
}
DRAWS = ("brms", "brms_double_bar", "rstanarm")


@pytest.fixture(scope="module", params=POINT)
def exported(request) -> tuple[str, bv.RemlFit, dict]:
    """Name, fit, and what R wrote."""
    record = json.loads((EXPORTS / request.param / "fit.json").read_text())
    return request.param, bv.read_fit(EXPORTS / request.param), record


@pytest.fixture(scope="module", params=DRAWS)
def posterior(request) -> tuple[str, bv.Posterior]:
    with pytest.warns(bv.SamplingWarning):  # so few draws are too few
        return request.param, bv.read_fit(EXPORTS / request.param)


# --- estimates ------------------------------------------------------------------------------------


def test_estimates_are_those_of_R(exported):
    name, fit, record = exported
    assert (fit.label, fit.design.formula) == POINT[name]
    assert fit.converged
    assert fit.design.n == record["n_rows"]
    assert fit.sigma2 == pytest.approx(record["sigma"] ** 2, rel=1e-14)
    np.testing.assert_allclose(fit.beta, record["beta"]["values"], rtol=1e-5, atol=1e-6)
    blocks = {}
    for term in record["terms"]:
        blocks.setdefault(term["group"], []).append(term)
    assert set(fit.components.groups) == set(blocks)
    for group, terms in blocks.items():
        found = fit.components[group].rename(index=canonical, columns=canonical)
        for term in terms:
            own = [canonical(column) for column in term["columns"]]
            np.testing.assert_allclose(found.loc[own, own], term["cov"], rtol=1e-9, atol=1e-12)
        trace = sum(np.trace(term["cov"]) for term in terms)
        assert np.trace(found) == pytest.approx(trace)  # and nothing else


def test_likelihood_of_V_is_that_of_R(exported):
    _, fit, record = exported
    assert fit.log_likelihood == pytest.approx(record["log_likelihood"], abs=2e-6)
    # The same number by dense algebra.
    design, V = fit.design, bv.MarginalCovariance(fit.design, fit.components).to_dense()
    X, e = design.X, design.target - design.X @ fit.beta.to_numpy()
    value = design.n * np.log(2 * np.pi) + np.linalg.slogdet(V)[1] + e @ np.linalg.solve(V, e)
    if fit.method == "REML":
        value += np.linalg.slogdet(X.T @ np.linalg.solve(V, X))[1] - design.p * np.log(2 * np.pi)
    assert -value / 2 == pytest.approx(record["log_likelihood"], abs=2e-6)


def test_sleepstudy_has_the_published_numbers():
    fit = bv.read_fit(EXPORTS / "lmer_sleepstudy")
    # ?sleepstudy in lme4
    np.testing.assert_allclose(
        fit.components["Subject"], [[612.1, 9.604], [9.604, 35.07]], rtol=1e-3
    )
    assert fit.beta.round(3).to_dict() == {"Intercept": 251.405, "Days": 10.467}
    assert fit.se.round(3).to_dict() == {"Intercept": 6.825, "Days": 1.546}


def test_random_effects_belong_to_their_levels():
    effects = pd.read_csv(EXPORTS / "effects.csv.gz", dtype=str, keep_default_na=False)
    assert set(effects["fit"]) == {n for n in POINT if not n.startswith("lme_")}
    for name, own in effects.groupby("fit"):
        fit = bv.read_fit(EXPORTS / str(name))
        modes = {
            (factors_of(g), level, canonical(c)): value for (g, level, c), value in fit.blup.items()
        }
        keys = [
            (factors_of(group), level, canonical(column))
            for group, level, column in own[["group", "level", "column"]].itertuples(index=False)
        ]
        assert sorted(keys) == sorted(modes)
        expected = own["mode"].astype(float).to_numpy()
        scale = np.abs(expected).max() or 1.0
        np.testing.assert_allclose([modes[k] for k in keys], expected, atol=1e-5 * scale)


def test_rows_and_labels():
    design = bv.read_fit(EXPORTS / "lmer_mixed").design
    assert design.fixed_names == (
        "Intercept", "poly(o, 2)[1]", "poly(o, 2)[2]", "kind[mid]", "kind[high]", "x",
        'on[yes, "très"]', "kind[mid]:x", "kind[high]:x",
    )  # fmt: skip
    assert design.response == "log(y)"
    assert (design.n, design.n_rows_given, design.n_dropped) == (147, 150, 3)
    missing = sorted(set(range(150)) - set(design.rows))
    assert missing == [4, 16, 59]
    assert list(design.row_labels) == [f"row{i + 1}" for i in design.rows]
    assert set(design.residual.weights) == {0.5, 1.0, 3.0}
    data = read_data(EXPORTS / "lmer_mixed")
    np.testing.assert_allclose(design.offset, data["o"] / 10)
    np.testing.assert_allclose(design.y, np.log(data["y"]))
    # Contrasts other than treatment do not name levels.
    contrasts = bv.read_fit(EXPORTS / "lmer_contrasts").design
    assert contrasts.fixed_names == ("Intercept", "kind1", "kind2")
    assert set(contrasts.X[:, 1]) == {-1.0, 0.0, 1.0}


def test_awkward_names_and_labels():
    design = bv.read_fit(EXPORTS / "lmer_labels").design
    assert design.fixed_names == (
        "Intercept", "feed[p:q]", "feed[x/y]", "half[TRUE]", "feed1", "depth", "rainmay",
        "rainjune", "soil[sand]", "soil[NA]", "feed[p:q]:half[TRUE]", "feed[x/y]:half[TRUE]",
    )  # fmt: skip
    assert design.groups == ("col", "row")
    data = read_data(EXPORTS / "lmer_labels")
    np.testing.assert_allclose(design.X[:, 5], data["depth"])  # scale() makes a matrix of a column
    assert "rain" not in data  # a matrix of two
    own = bv.Model("y ~ feed * half + feed1 + depth + soil + (1 | row) + (1 | col)", data).design
    assert set(map(canonical, own.fixed_names)) < set(map(canonical, design.fixed_names))
    for term in own.terms:
        theirs = design.term(term.group)
        assert list(term.levels[term.codes]) == list(theirs.levels[theirs.codes])


def test_a_logical_variable_is_pandas_bool():
    fit = bv.read_fit(EXPORTS / "lmer_labels")
    data = read_data(EXPORTS / "lmer_labels")
    data["half"] = np.asarray(data["half"] == "TRUE")
    for name in ("may", "june"):
        data[f"rain{name}"] = fit.design.X[:, fit.design.fixed_names.index(f"rain{name}")]
    text = "y ~ feed * half + feed1 + depth + rainmay + rainjune + soil + (1 | row) + (1 | col)"
    own = bv.Model(text, data).design
    assert "half[True]" in own.fixed_names
    moved = bv.extract(fit, design=own)  # labels are matched by meaning
    assert moved.beta["half[True]"] == pytest.approx(fit.beta["half[TRUE]"])


def test_variables_are_not_levels():
    factors, coding = {"f": ("1", "2", "2:b")}, {"f": "contr.treatment"}
    labels = RLabels(factors, coding, frozenset({"y", "f", "f1", "b"}))
    assert [labels.of(name) for name in ("f1", "f2", "f2:b", "f2:f1", "b:f2:b:x")] == [
        "f1", "f[2]", "f[2:b]", "f[2]:f1", "b:f[2:b]:x",
    ]  # fmt: skip


def test_an_argument_offset_of_glmmTMB_counts_once():
    """Its model frame has ``offset = o`` in two columns; what it fitted is one of them."""
    design = bv.read_fit(EXPORTS / "glmmtmb_offset").design
    assert 0.9 < design.offset.max() < 1  # o is uniform on (0, 1)


def test_labels_of_levels_that_brms_writes_without_punctuation():
    labels = RLabels({"on": ("no", 'yes, "très"')}, {"on": "contr.treatment"})
    assert labels.of("onyestrès:x") == labels.of('onyes, "très":x') == 'on[yes, "très"]:x'
    assert RLabels({"k": ("1", "2")}, {"k": "contr.sum"}).of("k1") == "k1"  # no level's column


def test_known_weights_of_nlme():
    design = bv.read_fit(EXPORTS / "lme_diagonal").design  # varFixed(~ size): R = σ² size
    assert set(design.residual.weights) == {1.0, 0.5, 0.25}
    assert design.term("Subject").structure == Diagonal(2)


def test_singular_fit_is_flagged():
    fit = bv.read_fit(EXPORTS / "lmer_singular")
    assert fit.singular
    assert fit.components["Batch"].iloc[0, 0] == 0
    assert any("singular" in note for note in fit.design.notes)


NO_SUCH_FORMULA = ("lmer_contrasts", "lmer_labels", "glmmtmb_reml")


@pytest.mark.parametrize("name", [n for n in POINT if n not in NO_SUCH_FORMULA])
def test_the_formula_on_the_exported_data_gives_R_s_matrices(name):
    ours = bv.read_fit(EXPORTS / name).design
    data = read_data(EXPORTS / name)
    theirs = bv.Model(ours.formula, data, var_weights=ours.residual.weights).design
    np.testing.assert_allclose(theirs.y, ours.y)
    X = {
        canonical(name): column for name, column in zip(theirs.fixed_names, theirs.X.T, strict=True)
    }
    assert sorted(X) == sorted(map(canonical, ours.fixed_names))
    for name, column in zip(ours.fixed_names, ours.X.T, strict=True):  # R sorts by order
        if not name.startswith("poly"):
            np.testing.assert_allclose(X[canonical(name)], column, atol=1e-12)
    # R evaluates poly() before it drops incomplete rows: another basis of the same space.
    fitted = theirs.X @ np.linalg.lstsq(theirs.X, ours.X)[0]
    np.testing.assert_allclose(fitted, ours.X, atol=1e-12)
    assert theirs.groups == ours.groups
    for a, b in zip(theirs.terms, ours.terms, strict=True):
        assert (a.columns, a.structure) == (b.columns, b.structure)
        np.testing.assert_allclose(a.values, b.values)
        assert list(a.levels[a.codes]) == list(b.levels[b.codes])


@pytest.mark.parametrize("name", ["lmer_mixed", "lme_machines", "glmmtmb_reml", "lmer_nested_ml"])
def test_refitting_finds_R_s_optimum(name):
    fit = bv.read_fit(EXPORTS / name)
    own = bv.Model.from_design(fit.design).reml(fit.method)
    assert own.criterion == pytest.approx(fit.criterion, abs=1e-4)
    assert own.criterion <= fit.criterion + 1e-7
    for group in fit.components.groups:
        scale = np.abs(fit.components[group].to_numpy()).max()
        np.testing.assert_allclose(own.components[group], fit.components[group], atol=5e-3 * scale)


def test_an_lmer_fit_alone_gives_posterior_V_and_comparison():
    fit = bv.read_fit(EXPORTS / "lmer_sleepstudy")
    post = bv.Model.from_design(fit.design).sample(seed=1, draws=500)
    comparison = bv.compare(fit, post)
    assert "REML (lme4): criterion 1743.6283" in repr(comparison)
    V = bv.MarginalCovariance(fit.design, post.estimate("mean"))
    assert list(V.block("Subject", "308").index) == list(range(1, 11))  # R's row names
    with pytest.raises(bv.DataError, match="data frame"):
        bv.to_bambi(bv.Model.from_design(fit.design))


# --- draws ----------------------------------------------------------------------------------------


def test_draws_have_the_means_that_R_reports(posterior):
    name, post = posterior
    means = pd.read_csv(EXPORTS / "means.csv", keep_default_na=False)
    own = means[means["fit"] == name]
    assert (post.engine, post.priors) == (name.split("_")[0], None)
    beta = {canonical(k): v for k, v in post.beta_mean.items()}
    fixed = own[own["group"] == "fixed"]
    assert sorted(map(canonical, fixed["a"])) == sorted(beta)
    for row in fixed.itertuples():
        assert beta[canonical(row.a)] == pytest.approx(row.mean, rel=1e-9)
    groups = {factors_of(g) for g in own["group"]} - {("fixed",)}
    assert groups == {factors_of(g) for g in post.design.groups}
    for row in own[own["group"] != "fixed"].itertuples():
        term = post.design.term(row.group)
        columns = list(map(canonical, term.columns))
        i = columns.index(canonical(row.a))
        cov = post.cov(term.group)
        if row.b == "sd":
            found = np.sqrt(cov[..., i, i]).mean()
        else:
            found = cov[..., i, columns.index(canonical(row.b))].mean()
        assert found == pytest.approx(row.mean, rel=1e-9, abs=1e-12)


def test_draws_keep_chains_and_stay_legal(posterior):
    name, post = posterior
    assert post.draws["posterior"].sizes["chain"] == 2
    for term in post.design.terms:
        cov = post.cov(term.group)
        assert np.linalg.eigvalsh(cov).min() > 0
        assert (cov[..., ~term.structure.mask] == 0).all()
    table = pd.read_csv(EXPORTS / name / "draws.csv.gz")
    second = table[table["chain"] == 2].sort_values("draw")
    np.testing.assert_allclose(np.sqrt(post.sigma2[1]), second["sigma"])


def test_draws_belong_to_their_design(posterior):
    """E[β | y] is the mean of GLS over V under flat priors; R's are wide, and the draws few."""
    _, post = posterior
    at = bv.gls(post.design, post.estimate("mean"))
    assert (np.abs(post.beta_mean - at.beta) < 0.5 * at.se).all()
    reml = bv.Model.from_design(post.design).reml()
    assert f"Posterior '{post.engine}'" in repr(bv.compare(reml, post))


def test_brms_design():
    with pytest.warns(bv.SamplingWarning):
        post = bv.read_fit(EXPORTS / "brms")
    design = post.design
    data = read_data(EXPORTS / "brms")
    assert design.groups == ("item:on", "site.no", "item")
    assert design.fixed_names == ("Intercept", "kind[mid]", "kind[high]", "x")
    np.testing.assert_allclose(design.X[:, 3], data["x"])  # as it is, not centred
    np.testing.assert_allclose(design.offset, data["o"])
    term = design.term("item:on")
    assert list(term.levels[term.codes]) == [
        f"{a}:{b}" for a, b in zip(data["item"], data["on"], strict=True)
    ]
