"""G, σ² and V for fits made elsewhere: Bambi models and PyMC draws, and what is refused."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import bayesv as bv
from bayesv.structures import Diagonal

bmb = pytest.importorskip("bambi")
xr = pytest.importorskip("xarray")

pytestmark = pytest.mark.filterwarnings("ignore::bayesv.SamplingWarning")

CHAINS, DRAWS = 2, 50


def posterior(variables: dict, coords: dict | None = None):
    data = {name: (("chain", "draw", *dims), values) for name, (dims, values) in variables.items()}
    base = {"chain": np.arange(CHAINS), "draw": np.arange(DRAWS)}
    return xr.DataTree.from_dict({"posterior": xr.Dataset(data, coords={**base, **(coords or {})})})


@pytest.fixture(scope="module")
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def positive(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return np.exp(rng.normal(size=(CHAINS, DRAWS, *shape)))


# --- Bambi ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def data() -> pd.DataFrame:
    rng = np.random.default_rng(1)
    n = 60
    return pd.DataFrame(
        {
            "y": rng.normal(size=n), "x": rng.normal(size=n), "w": rng.uniform(1, 2, n),
            "g": rng.choice(list("abcd"), n), "h": rng.choice(["p", "q"], n),
            "m": rng.choice(["A", "B", "C"], n),
        }
    )  # fmt: skip


def test_bambi_alone_has_independent_effects(rng, data):
    model = bmb.Model("y ~ x + (x | g)", data)
    model.build()
    s0, s1, sigma = positive(rng), positive(rng), positive(rng)
    b = rng.normal(size=(CHAINS, DRAWS))
    draws = posterior(
        {"Intercept": ((), b), "x": ((), 2 * b), "1|g_sigma": ((), s0), "x|g_sigma": ((), s1),
         "sigma": ((), sigma)}
    )  # fmt: skip
    post = bv.extract(model, draws)
    design = post.design
    assert design.groups == ("g",)
    assert design.term("g").structure == Diagonal(2)
    want = np.zeros((CHAINS, DRAWS, 2, 2))
    want[..., 0, 0], want[..., 1, 1] = s0**2, s1**2
    assert np.allclose(post.cov("g"), want)
    assert np.allclose(post.sigma2, sigma**2)
    assert np.allclose(post.beta[..., 1], 2 * b)
    ours = bv.Model("y ~ x + (x || g)", data).design
    assert np.allclose(design.Z.toarray(), ours.Z.toarray())
    V = bv.MarginalCovariance(design, post.estimate("mean")).to_dense()
    dense = bv.MarginalCovariance(ours, post.estimate("mean")).to_dense()
    assert np.allclose(V, dense)


def test_a_bambi_fit_is_enough(rng, data):
    """Its V, its formula in lme4's language, and the comparison with REML of the same model."""
    model = bmb.Model("y ~ x + (x | g) + (1 | h) + offset(w)", data)
    model.build()
    names = ("Intercept", "x", "1|g_sigma", "x|g_sigma", "1|h_sigma", "sigma")
    draws = posterior({name: ((), positive(rng)) for name in names})
    post = bv.extract(model, draws)
    assert post.V("g", "a").mean().shape == ((data["g"] == "a").sum(),) * 2
    assert post.design.formula == "y ~ x + offset(w) + (x || g) + (1 | h)"
    assert any("independent" in note for note in post.design.notes)
    again = bv.Model(post.design.formula, data).design
    assert np.allclose(bv.extract(model, draws, design=again).cov("g"), post.cov("g"))
    alone, model_too = bv.compare(post), bv.Model.from_design(post.design)
    assert alone.fits[0].criterion == pytest.approx(model_too.reml().criterion)
    with pytest.raises(bv.ExtractionError, match="model comes first"):
        bv.extract(draws, model)
    with pytest.raises(bv.ExtractionError, match="what the model's fit"):
        bv.extract(model, draws["posterior"])


def test_draws_of_another_bambi_model_are_refused(rng, data):
    names = ("Intercept", "x", "1|g_sigma", "x|g_sigma", "sigma")
    draws = posterior({name: ((), positive(rng)) for name in names})
    draws["posterior"] = draws["posterior"].to_dataset().assign(mu=draws["posterior"]["sigma"])
    full = bmb.Model("y ~ x + (x | g)", data.assign(mu=1.0))
    bv.extract(full, draws)  # what predict() adds is no coefficient
    for formula, missing in (("y ~ x + (1 | g)", r"x\|g_sigma"), ("y ~ 1 + (x | g)", "x")):
        with pytest.raises(bv.ExtractionError, match=f"The draws have {missing}, the Bambi model"):
            bv.extract(bmb.Model(formula, data), draws)
    draws["observed_data"] = xr.Dataset({"y": (("__obs__",), data["y"].to_numpy())})
    bv.extract(full, draws)
    with pytest.raises(bv.ExtractionError, match="another response"):
        bv.extract(bmb.Model("y ~ x + (x | g)", data.assign(y=data["y"] + 1)), draws)


def test_warnings_name_the_line_of_the_user(rng, data):
    model = bmb.Model("y ~ x + (1 | g)", data)
    names = ("Intercept", "x", "1|g_sigma", "sigma")
    with pytest.warns(bv.SamplingWarning) as caught:
        bv.extract(model, posterior({name: ((), positive(rng)) for name in names}))
    assert caught[0].filename == __file__


def test_bambi_with_aliases_nesting_and_categories(rng, data):
    model = bmb.Model("y ~ x + (1 | g/h) + (m | h)", data)
    model.set_alias({"1|g": "school", "y": "outcome", "x": "slope"})
    model.build()
    s = {name: positive(rng) for name in ("school_sigma", "1|g:h_sigma", "1|h_sigma")}
    sm, sigma = positive(rng, 2), positive(rng)
    b = rng.normal(size=(CHAINS, DRAWS))
    variables = {name: ((), value) for name, value in s.items()}
    variables |= {
        "m|h_sigma": (("m__expr_dim",), sm),
        "sigma": ((), sigma),
        "Intercept": ((), b),
        "slope": ((), b),
    }
    post = bv.extract(model, posterior(variables))
    assert np.allclose(post.cov("g")[..., 0, 0], s["school_sigma"] ** 2)
    assert np.allclose(post.cov("g:h")[..., 0, 0], s["1|g:h_sigma"] ** 2)
    assert np.allclose(post.cov("h")[..., 2, 2], sm[..., 1] ** 2)
    assert post.design.term("g:h").n_levels == data.groupby(["g", "h"]).ngroups


def test_our_bambi_model_comes_back_with_its_correlation(rng):
    model = bv.Model("Reaction ~ Days + (Days | Subject)", bv.load_dataset("sleepstudy"))
    stated = bv.to_bambi(model)
    s0, s1, sigma = positive(rng), positive(rng), positive(rng)
    rho = np.tanh(rng.normal(size=(CHAINS, DRAWS)))
    L = np.zeros((CHAINS, DRAWS, 2, 2))
    L[..., 0, 0], L[..., 1, 0], L[..., 1, 1] = 1, rho, np.sqrt(1 - rho**2)
    b = rng.normal(size=(CHAINS, DRAWS))
    draws = posterior(
        {"Intercept": ((), b), "Days": ((), b), "1|Subject_sigma": ((), s0),
         "Days|Subject_sigma": ((), s1), "sigma": ((), sigma),
         "Subject_chol": (("Subject_coef", "Subject_coef_bis"), L)}
    )  # fmt: skip
    for design in (None, model.design):
        post = bv.extract(stated, draws, design=design)
        # The SDs and the correlation are of the intercept at mean Days.
        root = np.array([[1.0, -4.5], [0.0, 1.0]]) @ (np.stack([s0, s1], -1)[..., None] * L)
        assert np.allclose(post.cov("Subject"), root @ np.swapaxes(root, -1, -2))
    with pytest.raises(bv.ExtractionError, match="no variable 'sigma'"):
        bv.extract(stated, posterior({"Intercept": ((), b)}))
    shuffled = bv.load_dataset("sleepstudy").sample(frac=1, random_state=0)
    other = bv.Model(model.design.formula, shuffled).design
    with pytest.raises(bv.ExtractionError, match="differ in y or X"):
        bv.extract(stated, draws, design=other)
    with pytest.raises(bv.ExtractionError, match="Pass the draws"):
        bv.extract(stated)


def _refused(data: pd.DataFrame):
    heavy = bmb.Prior("StudentT", nu=4, mu=0, sigma=bmb.Prior("HalfNormal", sigma=1))
    return {
        "weighted": bmb.Model("weighted(y, w) ~ x + (1 | g)", data),
        "sigma is modelled": bmb.Model(bmb.Formula("y ~ x + (1 | g)", "sigma ~ x"), data),
        "family": bmb.Model("y ~ x + (1 | g)", data, family="t"),
        "link": bmb.Model("y ~ x + (1 | g)", data.assign(y=data["w"]), link="log"),
        "not Normal": bmb.Model("y ~ x + (1 | g)", data, priors={"1|g": heavy}),
        "no group-specific": bmb.Model("y ~ x", data),
    }


@pytest.mark.parametrize(
    "reason",
    ["weighted", "sigma is modelled", "family", "link", "not Normal", "no group-specific"],
)
def test_bambi_models_without_a_v_are_refused(data, reason):
    with pytest.raises(bv.ExtractionError, match=reason):
        bv.extract(_refused(data)[reason], posterior({}))


def test_missing_rows_keep_their_labels(rng, data):
    holes = data.copy()
    holes.loc[[3, 10], "x"] = np.nan
    model = bmb.Model("y ~ x + (1 | g)", holes, dropna=True)
    model.build()
    values = {n: ((), positive(rng)) for n in ("Intercept", "x", "1|g_sigma", "sigma")}
    post = bv.extract(model, posterior(values))
    assert post.design.n == 58
    assert 3 not in post.design.row_labels
    ours = bv.Model("y ~ x + (1 | g)", holes).design
    assert list(ours.row_labels) == list(post.design.row_labels)


@pytest.mark.parametrize(
    ("formula", "other", "weights", "message"),
    [
        ("y ~ x + (x | g) + (1 | h)", "y ~ x + (x || g)", None, "random columns"),
        ("y ~ x + (x | g) + (1 | h)", "y ~ x + (1 | g) + (1 | h)", None, "random columns"),
        ("y ~ x + (1 | g)", "y ~ x + offset(w) + (1 | g)", None, "offsets"),
        ("y ~ x + offset(w) + (1 | g)", "y ~ x + (1 | g)", None, "offsets"),
        ("y ~ x + (1 | g)", "y ~ x + (1 | g)", "w", "var_weights"),
        ("y ~ x + (1 | g)", "y ~ x + (1 | m)", None, "no group effects for 'm'"),
        ("y ~ x + (x | g)", "y ~ x + (x | g)", None, "no correlation"),
    ],
)
def test_designs_of_another_model_are_refused(rng, data, formula, other, weights, message):
    model = bmb.Model(formula, data)
    model.build()
    names = ("Intercept", "x", "1|g_sigma", "x|g_sigma", "1|h_sigma", "sigma")
    draws = posterior({name: ((), positive(rng)) for name in names})
    with pytest.raises(bv.ExtractionError, match=message):
        bv.extract(model, draws, design=bv.Model(other, data, var_weights=weights).design)


def test_another_order_of_levels_is_the_same_model(rng, data):
    model = bmb.Model("y ~ x + (1 | g)", data)
    model.build()
    u = rng.normal(size=(CHAINS, DRAWS, 4))
    variables = {n: ((), positive(rng)) for n in ("Intercept", "x", "1|g_sigma", "sigma")}
    draws = posterior(variables | {"1|g": (("g__factor_dim",), u)})
    turned = data.assign(g=pd.Categorical(data["g"], list("dcba")))
    design = bv.Model("y ~ x + (1 | g)", turned).design
    post = bv.extract(model, draws, design=design, keep_u=True)
    assert list(design.terms[0].levels) == list("dcba")
    assert np.allclose(post.draws["posterior"]["u_g"].to_numpy()[..., 0], u[..., ::-1])


def test_bambi_cannot_state_weights(data):
    with pytest.raises(bv.BayesvError, match="power"):
        bv.to_bambi(bv.Model("y ~ x + (1 | g)", data, var_weights="w"))


# --- PyMC -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def design() -> bv.Design:
    return bv.Model("Reaction ~ Days + (Days | Subject)", bv.load_dataset("sleepstudy")).design


def test_pymc_draws_by_every_naming(rng, design):
    sd, sigma = positive(rng, 2), positive(rng)
    rho = np.tanh(rng.normal(size=(CHAINS, DRAWS)))
    beta = rng.normal(size=(CHAINS, DRAWS, 2))
    cov = np.empty((CHAINS, DRAWS, 2, 2))
    cov[..., 0, 0], cov[..., 1, 1] = sd[..., 0] ** 2, sd[..., 1] ** 2
    cov[..., 0, 1] = cov[..., 1, 0] = rho * sd.prod(axis=-1)
    root = np.linalg.cholesky(cov)
    common = {"b": (("c",), beta), "s": ((), sigma)}
    names = {"beta": "b", "sigma": "s"}
    cases = [
        ({"Sigma": (("i", "j"), cov)}, {"Subject": {"cov": "Sigma"}}),
        ({"tau": (("i",), sd), "rho": ((), rho)}, {"Subject": {"sd": "tau", "corr": "rho"}}),
        (
            {"t0": ((), sd[..., 0]), "t1": ((), sd[..., 1]), "rho": ((), rho)},
            {"Subject": {"sd": ["t0", "t1"], "corr": "rho"}},
        ),
        ({"L": (("i", "j"), root)}, {"Subject": {"chol": "L"}}),
        ({"L": (("k",), root[..., *np.tril_indices(2)])}, {"Subject": {"chol": "L"}}),
        (
            {"tau": (("i",), sd), "L": (("i", "j"), root / sd[..., None])},
            {"Subject": {"sd": "tau", "chol": "L"}},
        ),
    ]
    for variables, own in cases:
        post = bv.extract(posterior({**common, **variables}), design=design, names=names | own)
        assert np.allclose(post.cov("Subject"), cov)
        assert np.allclose(post.beta, beta)
    ours = posterior(
        {"beta": (("k",), beta), "sigma": ((), sigma), "cov_Subject": (("i", "j"), cov)}
    )
    assert np.allclose(bv.extract(ours, design=design).cov("Subject"), cov)


def test_pymc_draws_of_structured_and_known_residuals(rng):
    """By the names of `bv.to_pymc`; V of a draw is that of its components."""
    data = bv.load_dataset("sleepstudy").assign(
        late=lambda d: np.where(d["Days"] > 4, "late", "early"), known=400.0
    )
    sd, sigma = positive(rng, 1), positive(rng)
    rho = np.tanh(rng.normal(size=(CHAINS, DRAWS, 1)))
    strata = positive(rng, 2)
    common = {"beta": (("k",), rng.normal(size=(CHAINS, DRAWS, 2))), "sd_Subject": (("i",), sd)}
    formula = "Reaction ~ Days + (1 | Subject)"
    ar1 = bv.Model(formula, data, residual="ar1(Days | Subject)", residual_sd="strata(late)")
    draws = {**common, "sd_Residual": (("s",), strata), "corr_Residual": (("c",), rho)}
    post = bv.extract(posterior(draws), design=ar1.design)
    days = np.arange(10)
    scale = np.where(days > 4, strata[0, 3, 1], strata[0, 3, 0])
    V = sd[0, 3, 0] ** 2 + np.outer(scale, scale) * rho[0, 3, 0] ** np.abs(
        np.subtract.outer(days, days)
    )
    found = post.V("Subject", "308").draws()[0, 3]
    np.testing.assert_allclose(found, V, rtol=1e-9)
    known = bv.Model(formula, data, residual=bv.Known("known"))
    post = bv.extract(posterior(common), design=known.design)
    np.testing.assert_allclose(
        post.V("Subject", "308").draws()[0, 3], sd[0, 3, 0] ** 2 + 400.0 * np.eye(10), rtol=1e-9
    )
    plain = bv.Model(formula, data, residual="ar1(Days | Subject)")
    with pytest.raises(bv.ExtractionError, match="corr_Residual"):
        bv.extract(posterior({**common, "sigma": ((), sigma)}), design=plain.design)


def test_what_pm_LKJCholeskyCov_stores(rng):
    data = bv.load_dataset("sleepstudy").assign(square=lambda d: d["Days"] ** 2)
    design = bv.Model("Reaction ~ Days + (Days + square | Subject)", data).design
    # A draw of PyMC 6.4's LKJCholeskyCov("L", n=3): the packed factor, SDs, correlations.
    packed = [0.6403185284, 0.3613730479, 0.1538828329, -0.1761261158, -0.2907743784, 0.197480756]
    stds = [0.6403185284, 0.3927727154, 0.3931523837]
    a, b, c = 0.9200563931, -0.4479843519, -0.7019346377
    one = np.ones((CHAINS, DRAWS))
    draws = posterior(
        {
            "beta": (("k",), rng.normal(size=(CHAINS, DRAWS, 2))),
            "sigma": ((), one),
            "L": (("L_dim_0",), np.multiply.outer(one, packed)),
            "L_stds": (("i",), np.multiply.outer(one, stds)),
            "L_corr": (("i", "j"), np.multiply.outer(one, [[1, a, b], [a, 1, c], [b, c, 1]])),
        }
    )
    by_root, by_parts = (
        bv.extract(draws, design=design, names={"Subject": own}).cov("Subject")
        for own in ({"chol": "L"}, {"sd": "L_stds", "corr": "L_corr"})
    )
    np.testing.assert_allclose(by_root, by_parts, atol=1e-9)


def test_labels_are_matched_by_name_not_position(rng):
    design = bv.Model("Reaction ~ Days + (Days || Subject)", bv.load_dataset("sleepstudy")).design
    sd, sigma = positive(rng, 2), positive(rng)
    beta = rng.normal(size=(CHAINS, DRAWS, 2))
    draws = posterior(
        {"beta": (("coef",), beta), "sigma": ((), sigma), "sd_Subject": (("term",), sd)},
        {"coef": ["Days", "(Intercept)"], "term": ["Days", "Intercept"]},
    )
    post = bv.extract(draws, design=design)
    assert np.allclose(post.beta, beta[..., ::-1])
    assert np.allclose(post.cov("Subject")[..., 0, 0], sd[..., 1] ** 2)
    wrong = posterior(
        {"beta": (("coef",), beta), "sigma": ((), sigma), "sd_Subject": (("term",), sd)},
        {"coef": ["Days", "Weeks"], "term": ["Days", "Intercept"]},
    )
    with pytest.raises(bv.ExtractionError, match="labels Days, Weeks"):
        bv.extract(wrong, design=design)


def test_bad_draws_are_refused(rng, design):
    sd, sigma = positive(rng, 2), positive(rng)
    beta = rng.normal(size=(CHAINS, DRAWS, 2))
    good = {"beta": (("k",), beta), "sigma": ((), sigma), "sd_Subject": (("i",), sd)}
    unit = np.broadcast_to(np.eye(2), (CHAINS, DRAWS, 2, 2))
    indefinite = np.broadcast_to([[1.0, 2.0], [2.0, 1.0]], (CHAINS, DRAWS, 2, 2))
    cases = [
        ({"sigma": (("m",), positive(rng, 3))}, {}, "one number"),
        ({"sd_Subject": (("i",), positive(rng, 3))}, {}, "2 are needed"),
        ({"sd_Subject": (("i",), -sd)}, {}, "negative"),
        ({"sigma": ((), -sigma * 0)}, {}, "not positive"),
        ({"S": (("i", "j"), indefinite)}, {"Subject": {"cov": "S"}}, "positive semi-definite"),
        ({}, {"Subject": {"sd": "tua"}}, "no variable 'tua'"),
        ({}, {"Subjct": {"sd": "sd_Subject"}}, "did you mean 'Subject'"),
        ({}, {"Subject": "sd_Subject"}, "must be"),
        # A correlation that is not read would be 0 without a word.
        ({}, {"Subject": {"sd": "sd_Subject"}}, "but the design correlates Intercept, Days"),
        ({}, {"Subject": {"sd": "sd_Subject", "cor": "R"}}, "must be"),
        ({"R": (("i", "j"), 4 * unit)}, {"Subject": {"sd": "sd_Subject", "corr": "R"}}, "not 1"),
        ({"R": (("i", "j"), 2 * unit)}, {"Subject": {"sd": "sd_Subject", "chol": "R"}}, "not 1"),
        ({"S": (("i", "j"), unit * np.nan)}, {"Subject": {"cov": "S"}}, "are not finite"),
        ({}, {"sigma": "sigma", "sigma2": "sigma"}, "sigma and sigma2"),
    ]
    for change, names, message in cases:
        with pytest.raises(bv.ExtractionError, match=message):
            bv.extract(posterior(good | change), design=design, names=names)
    apart = bv.Model("Reaction ~ Days + (Days || Subject)", bv.load_dataset("sleepstudy")).design
    linked = posterior(good | {"S": (("i", "j"), np.ones_like(indefinite) + unit)})
    with pytest.raises(bv.ExtractionError, match="covariances where the design has none"):
        bv.extract(linked, design=apart, names={"Subject": {"cov": "S"}})
    with pytest.raises(bv.ExtractionError, match="design="):
        bv.extract(posterior(good))
    with pytest.raises(bv.ExtractionError, match="takes"):
        bv.extract(object())
