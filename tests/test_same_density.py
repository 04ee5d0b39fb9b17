"""The library's PyMC model, the hand-written one and both Bambi models have one log density."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import bayesv as bv
from bayesv.covariance import ComponentDraws
from bayesv.inference.density import MarginalDensity

pytensor = pytest.importorskip("pytensor")

SEEDS = ("sleepstudy", "three_level", "star")


@pytest.fixture(autouse=True)
def fast_compile():
    with pytensor.config.change_flags(mode="FAST_COMPILE"):
        yield


def points(model: bv.Model, n: int = 3) -> list[dict[str, Any]]:
    """Random parameters by meaning: beta, sigma, sd, chol and z of each group."""
    rng = np.random.default_rng(7)
    out = []
    for _ in range(n):
        point: dict[str, Any] = {
            "beta": rng.normal(size=model.design.p) * 10,
            "sigma": np.exp(rng.normal()) * 10,
        }
        for term in model.design.terms:
            point[f"sd_{term.group}"] = np.exp(rng.normal(size=term.n_columns))
            point[f"z_{term.group}"] = rng.normal(size=(term.n_levels, term.n_columns))
            if term.n_columns == 2:
                rho = rng.uniform(-0.9, 0.9)
                point[f"chol_{term.group}"] = np.array([[1.0, 0.0], [rho, np.sqrt(1 - rho**2)]])
        out.append(point)
    return out


def log_density(pymc_model: Any, point: dict[str, Any]) -> float:
    """Evaluate on the scale of the parameters themselves, without Jacobians."""
    values = {}
    for variable in pymc_model.free_RVs:
        transform = pymc_model.rvs_to_transforms[variable]
        given = pytensor.tensor.as_tensor(np.asarray(point[variable.name], dtype=float))
        if transform is not None:
            given = transform.forward(given, *variable.owner.inputs)
        values[pymc_model.rvs_to_values[variable].name] = given.eval()
    return float(pymc_model.compile_logp(jacobian=False)(values))


def in_bambi(
    point: dict[str, Any],
    model: bv.Model,
    groups: dict[str, str],
    chol: str,
    by_columns: bool = False,
) -> dict:
    """Name parameters as Bambi does; ``groups`` maps our groups to Bambi's factors.

    The library hands Bambi numeric columns, each a term of its own; by hand factors are one term.
    """
    out = {"sigma": point["sigma"]}
    names = model.design.fixed_names
    if by_columns:
        out |= dict(zip(names, point["beta"], strict=True))
    at = 0
    widths: dict[str, int] = {}
    for name in () if by_columns else names:
        widths[name.split("[")[0]] = widths.get(name.split("[")[0], 0) + 1
    for name, width in widths.items():
        value = point["beta"][at : at + width]
        out[name] = value if "[" in names[at] else value[0]
        at += width
    for term in model.design.terms:
        factor = groups[term.group]
        for i, column in enumerate(term.columns):
            wide = "[" in column and not by_columns
            name = column.split("[")[0] if wide else column
            own = f"{'1' if column == 'Intercept' else name}|{factor}"
            sd, z = point[f"sd_{term.group}"][i], point[f"z_{term.group}"][:, i]
            out[f"{own}_sigma"] = np.array([sd]) if wide else sd
            out[f"{own}_offset"] = z[:, None] if wide else z
        if term.n_columns == 2:
            out[chol.format(factor=factor, group=term.group)] = point[f"chol_{term.group}"]
    return out


BY_HAND = {
    "sleepstudy": {"Subject": "Subject"},
    "three_level": {"tch.cl:sch.cl": "teacher", "sch.cl": "school"},
    "star": {"tch:sch": "teacher", "sch": "sch"},
}
BY_LIBRARY = {
    "sleepstudy": {"Subject": "Subject"},
    "three_level": {"tch.cl:sch.cl": "tch_cl_sch_cl", "sch.cl": "sch.cl"},
    "star": {"tch:sch": "tch_sch", "sch": "sch"},
}


@pytest.fixture(params=SEEDS)
def seed(request) -> tuple[str, ModuleType, bv.Model]:
    module = importlib.import_module(f"models.{request.param}")
    return request.param, module, bv.Model(module.FORMULA, module.data())


def test_four_statements_of_one_model(seed):
    name, module, model = seed
    ours = bv.to_pymc(model)
    by_hand = module.pymc_model()
    bambi = bv.to_bambi(model)
    bambi.build()
    bambi_by_hand = module.bambi_model()
    bambi_by_hand.build()
    for point in points(model):
        want = log_density(ours, point)
        assert log_density(by_hand, point) == pytest.approx(want, rel=1e-10)
        theirs = in_bambi(point, model, BY_LIBRARY[name], "{group}_chol", by_columns=True)
        assert log_density(bambi.backend.model, theirs) == pytest.approx(want, rel=1e-10)
        theirs = in_bambi(point, model, BY_HAND[name], "chol_{factor}")
        assert log_density(bambi_by_hand.backend.model, theirs) == pytest.approx(want, rel=1e-10)


def test_published_numbers(seed):
    _, module, model = seed
    fit = model.reml()
    assert fit.criterion == pytest.approx(module.PUBLISHED["REML"], abs=1e-4)
    for name, value in module.PUBLISHED["beta"].items():
        # star's likelihood is flat: the listing's optimum and ours differ in the fifth digit.
        assert fit.beta[name] == pytest.approx(value, rel=2e-4)


CASES = {
    "default": None,
    "as written": bv.Priors(sd=bv.HalfNormal(40.0), corr=bv.LKJ(2)),
    "at a value": bv.Priors(
        sd={"Subject": {"Days": bv.InverseGamma(2.0, 30.0)}},
        corr=bv.LKJ(2),
        center={"Subject": {"Days": 1990.0}},
    ),
}


@pytest.mark.parametrize("given", CASES.values(), ids=CASES)
def test_twins_of_a_covariate_far_from_zero(given):
    """PyMC, marginal PyMC, Bambi and the collapsed density of the same SDs and correlations."""
    data = bv.load_dataset("sleepstudy").assign(Days=lambda d: d.Days + 1990.0)
    model = bv.Model("Reaction ~ Days + (Days | Subject)", data, given)
    density = MarginalDensity(model.statistics, model.priors)
    ours, marginal = bv.to_pymc(model), bv.to_pymc(model, marginal=True)
    bambi = bv.to_bambi(model)
    bambi.build()
    back = model.priors.basis(model.design.terms[0]).back
    gaps = []
    for point in points(model, 2):
        sd, L = point["sd_Subject"], point["chol_Subject"]
        if given is not None and given.center:  # two families of priors: one variable for each
            point |= {"sd_Subject_0": sd[0], "sd_Subject_1_variance": sd[1] ** 2}
        want = log_density(ours, point)
        theirs = in_bambi(point, model, {"Subject": "Subject"}, "{group}_chol")
        theirs["Days|Subject_sigma_variance"] = sd[1] ** 2
        assert log_density(bambi.backend.model, theirs) == pytest.approx(want, rel=1e-10)
        root = back @ (sd[:, None] * L)
        covs = {"Subject": root @ root.T}
        values = ComponentDraws(model.design, covs, point["sigma"] ** 2)
        posterior = float(density.log_posterior(values))
        if given is not None and given.center:
            posterior -= float(np.log(2 * sd[1]))  # stated for the variance
        gaps.append(log_density(marginal, point) - posterior)
        if given is None:
            # The same as at Days from 0 to 9, whose intercept is 1990 slopes higher.
            by_hand = importlib.import_module("models.sleepstudy").pymc_model()
            moved = point | {"beta": point["beta"] + [1990 * point["beta"][1], 0]}
            assert log_density(by_hand, moved) == pytest.approx(want, rel=1e-8)
    assert np.ptp(gaps) < 1e-6


TWINS = ("fev", "growth", "meta_analysis")


@pytest.fixture(params=TWINS)
def twin(request) -> tuple[ModuleType, bv.Model]:
    module = importlib.import_module(f"models.{request.param}")
    return module, bv.Model(module.FORMULA, module.data(), **module.OPTIONS)


def structured_points(model: bv.Model, n: int = 2) -> list[dict[str, Any]]:
    """Random parameters, of the residuals too."""
    rng = np.random.default_rng(11)
    made = points(model, n)
    for point in made:
        point["rho"] = rng.uniform(-0.8, 0.8)
        point["chol_Residual_share"] = np.array([0.5 + 0.5 * point["rho"]])
        point["sd_Residual"] = 8.0 * np.exp(0.3 * rng.normal(size=4))
        root = np.linalg.cholesky(np.cov(rng.normal(size=(4, 9))))
        point["chol_Residual"] = root / np.linalg.norm(root, axis=1, keepdims=True)
    return made


@pytest.mark.filterwarnings("ignore:PyTensor could not link")
def test_structures_by_hand_have_the_density_of_the_library(twin):
    module, model = twin
    ours, by_hand = bv.to_pymc(model), module.pymc_model()
    for point in structured_points(model):
        want = log_density(ours, point)
        if "rho" in by_hand.named_vars:
            want -= np.log(2.0)  # by the correlation, not by its place between -1 and 1
        rows = dict(point)
        for term in model.design.terms:
            if term.group == "school:district":  # by hand in the order of the rows
                rows[f"z_{term.group}"] = point[f"z_{term.group}"][term.codes]
        assert log_density(by_hand, rows) == pytest.approx(want, rel=1e-10)


def test_published_numbers_of_structures(twin):
    module, model = twin
    fit = model.reml()
    assert fit.criterion == pytest.approx(module.PUBLISHED["REML"], abs=1e-4)
    for name, value in module.PUBLISHED["beta"].items():
        assert fit.beta[name] == pytest.approx(value, rel=1e-5)
