"""PyMC models of structured residuals have the density of dense algebra and of the library."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import multivariate_normal

import bayesv as bv
from bayesv.design.structured import Parameters
from bayesv.inference.coordinates import Coordinates
from bayesv.inference.log_prior import LogPrior
from bayesv.inference.pymc_likelihood import Chain

pytest.importorskip("pymc")
pytensor = pytest.importorskip("pytensor")

pytestmark = pytest.mark.filterwarnings("ignore:PyTensor could not link")

VISITS = ("us", "cs", "csh", "ar1", "ar1h", "toep", "toeph", "ad", "adh", "ma1", "arma11")
REAL = ("car1", "sp_exp", "sp_gau", "sp_pow", "sp_mat")
KIN = pd.DataFrame(0.5 * np.eye(8) + 0.5, index=range(8), columns=range(8))
CASES: dict[str, dict[str, Any]] = {
    **{kind: {"residual": f"{kind}(day | g)"} for kind in VISITS},
    **{kind: {"residual": f"{kind}(time | g)"} for kind in REAL},
    "nugget": {"residual": "sp_exp(time | g, nugget=True)"},
    "field": {"residual": "sp_gau(time + east | g)"},
    "us by group": {"residual": "us(day | sex / g)"},
    "ar1h by group": {"residual": "ar1h(day | sex / g)"},
    "toep by group": {"residual": "toep(day | sex / g)"},
    "ad by group": {"residual": "ad(day | sex / g)"},
    "strata": {"residual_sd": "strata(sex)"},
    "power and exp": {"residual_sd": "power(time) * exp(x)"},
    "ar1 and strata": {"residual": "ar1(day | g)", "residual_sd": "strata(sex)"},
    "cs, power, weights": {
        "residual": "cs(day | g)", "residual_sd": "power(time)", "var_weights": "v",
    },
    "known": {"residual": bv.Known("v")},
    "related": {"residual": "car1(time | g)", "relationship": {"g": KIN}},
    "even days": {"residual": "ar1(even | g)", "priors": bv.Priors(corr={"Residual": bv.LKJ(2)})},
    "away from 0": {
        "residual": "ad(day | g)",
        "priors": bv.Priors(
            sd={"g": bv.InverseGamma(2.0, 1.0)}, corr={"Residual": bv.CorrelationAbove(0.7, 0.1)}
        ),
    },
    "ranges": {
        "residual": "sp_mat(time | g)",
        "priors": bv.Priors(
            corr={"Residual": bv.RangeBelow(0.4, 0.1)}, sigma=bv.HalfNormal(2.0)
        ),
    },
}  # fmt: skip
# The likelihood is the library's own: what differs between these is how it hears of parameters.
MARGINAL = ("us", "csh", "toep by group", "ar1h by group", "adh", "arma11", "nugget", "field",
            "power and exp", "cs, power, weights", "known", "away from 0", "ranges")  # fmt: skip
WITHOUT_TERM = ("us", "cs", "csh", "ad", "adh", "toep", "toeph", "us by group", "toep by group")


@pytest.fixture(scope="module")
def data() -> pd.DataFrame:
    """Eight series of up to four days, rows in no order."""
    rng = np.random.default_rng(8)
    frame = pd.DataFrame({"g": np.repeat(np.arange(8), 4), "day": np.tile(np.arange(4), 8)})
    frame = frame.assign(
        sex=np.where(frame["g"] % 2, "f", "m"),
        even=2 * frame["day"],
        time=(1.0 + frame["day"] + rng.uniform(0, 0.4, len(frame))).round(1),
        east=rng.uniform(size=len(frame)),
        x=rng.uniform(size=len(frame)),
        v=rng.uniform(0.3, 1.5, len(frame)),
        y=rng.normal(size=len(frame)) + 3.0,
    )
    return frame.drop([3, 9, 10, 21]).sample(frac=1.0, random_state=1).reset_index(drop=True)


def model_of(name: str, data: pd.DataFrame) -> bv.Model:
    random = "" if name in WITHOUT_TERM or name.endswith("group") else " + (1 | g)"
    return bv.Model(f"y ~ x{random}", data, **CASES[name])


def scale_names(model: bv.Model, stated: Any) -> list[str]:
    """Return the variables that coordinates are of: SDs of terms, and what R depends on."""
    names = ["sigma", "sd_Residual", "corr_Residual", "exponent_Residual"]
    names += [f"sd_{term.group}" for term in model.design.terms]
    return [name for name in names if name in stated.named_vars]


def coordinates_at(model: bv.Model, values: dict[str, Any]) -> np.ndarray:
    """Return the library's coordinates of values by the names of PyMC's variables."""
    coordinates, design = Coordinates.as_written(model.design), model.design
    x = np.zeros(coordinates.size)
    sigma = values.get("sigma", np.array(1.0))
    if (form := design.structured_residual) is not None:
        sds = values.get("sd_Residual", np.atleast_1d(sigma))
        empty = [values[n] for n in ("corr_Residual", "exponent_Residual") if n in values]
        numbers = np.concatenate([*empty, np.zeros(0)])
        x[coordinates.residuals] = coordinates.residual.of(form.of_numbers(sds, numbers))
        sigma = sds[0]
    for part in coordinates.parts:
        x[part.sds] = np.log(values[f"sd_{part.term.group}"] / sigma) + part.log_units
    if coordinates.has_sigma:
        x[-1] = np.log(sigma) - coordinates.log_scale
    return x


class Stated:
    """A PyMC model as a function of its unconstrained values."""

    def __init__(self, model: bv.Model, marginal: bool) -> None:
        self.model, self.pymc = model, bv.to_pymc(model, marginal=marginal)
        self.names = scale_names(model, self.pymc)
        more = [n for n in self.pymc.named_vars if n[:2] == "u_"] + ["beta"] * (not marginal)
        self.outputs = [*self.names, *more]
        tensors = [self.pymc[name] for name in self.outputs]
        graph = self.pymc.replace_rvs_by_values([*tensors])
        logp = self.pymc.logp()
        inputs = self.pymc.value_vars
        self.function = pytensor.function(inputs, [logp, *graph], mode="FAST_COMPILE")
        self.small = [v for v in inputs if not v.name.startswith(("z_", "beta"))]

    def point(self, seed: int) -> dict[str, np.ndarray]:
        rng, point = np.random.default_rng(seed), {}
        for variable, value in self.pymc.rvs_to_values.items():
            if variable in self.pymc.free_RVs:
                dims = self.pymc.named_vars_to_dims.get(variable.name)
                shape = value.type.shape
                if dims:
                    shape = tuple(len(self.pymc.coords[dim]) for dim in dims)
                point[value.name] = 0.4 * rng.normal(size=shape)
        return point

    def __call__(self, point: dict[str, np.ndarray]) -> tuple[float, dict[str, np.ndarray]]:
        value, *rest = self.function(**point)
        return float(value), dict(zip(self.outputs, map(np.asarray, rest), strict=True))

    def log_volume(self, point: dict[str, np.ndarray]) -> float:
        """Log of |∂(the library's coordinates)/∂(PyMC's)|, by central differences."""
        step, columns = 1e-4, []
        for variable in self.small:
            for place in np.ndindex(np.shape(point[variable.name])):
                ends = []
                for shift in (2, 1, -1, -2):
                    moved = {k: np.array(v) for k, v in point.items()}
                    moved[variable.name][place] += shift * step
                    ends.append(coordinates_at(self.model, self(moved)[1]))
                columns.append((8 * (ends[1] - ends[2]) - ends[0] + ends[3]) / (12 * step))
        return float(np.linalg.slogdet(np.array(columns))[1]) if columns else 0.0


@pytest.mark.parametrize("name", CASES)
def test_conditional_model_has_the_density_of_dense_algebra(name, data):
    model = model_of(name, data)
    stated = Stated(model, marginal=False)
    design, coordinates = model.design, Coordinates.as_written(model.design)
    for seed in (1, 2):
        point = stated.point(seed)
        value, values = stated(point)
        x = coordinates_at(model, values)
        want = float(LogPrior(model.priors, coordinates)(x)) + stated.log_volume(point)
        mean = design.X @ values["beta"]
        for term in design.terms:
            mean = mean + term.apply(values[f"u_{term.group}"])
            want += float((-0.5 * point[f"z_{term.group}"] ** 2 - 0.5 * np.log(2 * np.pi)).sum())
        sigma = np.exp(coordinates.log_sigma(x))
        residual = design.residual
        if design.structured_residual is not None:
            residual = design.structured_residual.member_of(coordinates.parameters(x))
        R = sigma**2 * residual.matrix.toarray()
        want += multivariate_normal(mean, R).logpdf(design.y)
        assert value == pytest.approx(want, rel=1e-7, abs=1e-6)


@pytest.mark.parametrize("name", MARGINAL)
def test_marginal_model_has_the_density_of_the_collapsed_engine(name, data):
    model = model_of(name, data)
    stated = Stated(model, marginal=True)
    coordinates = Coordinates.as_written(model.design)
    point = stated.point(3)
    value, values = stated(point)
    x = coordinates_at(model, values)
    want = float(LogPrior(model.priors, coordinates)(x)) + stated.log_volume(point)
    lambdas, sigma = coordinates.to_lambdas(x)
    residual = coordinates.parameters(x)
    if residual is not None:
        residual = Parameters(*(part[None] for part in residual))
    stacked = [lam[None] for lam in lambdas]
    found = model.density.conditional(stacked, np.array([sigma**2]), residual=residual)
    assert value == pytest.approx(want + found.log_likelihood[0], rel=1e-7, abs=1e-6)


@pytest.mark.parametrize("name", ["ar1h by group", "us"])
def test_marginal_model_has_the_gradient_of_its_value(name, data):
    model = model_of(name, data)
    stated = Stated(model, marginal=True)
    logp, inputs = stated.pymc.logp(), stated.pymc.value_vars
    function = pytensor.function(inputs, pytensor.grad(logp, inputs), mode="FAST_COMPILE")
    point = stated.point(4)
    for variable, slopes in zip(inputs, function(**point), strict=True):
        for place in np.ndindex(np.shape(slopes)):
            ends = []
            for shift in (1e-5, -1e-5):
                moved = {k: np.array(v) for k, v in point.items()}
                moved[variable.name][place] += shift
                ends.append(stated(moved)[0])
            assert slopes[place] == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("name", ["strata", "power and exp"])
def test_bambi_has_the_density_of_pymc(name, data):
    pytest.importorskip("bambi")
    model = model_of(name, data)
    stated, bambi = Stated(model, marginal=False), bv.to_bambi(model)
    bambi.build()
    theirs = bambi.backend.model
    point = stated.point(5)
    values = stated(point)[1]
    sds = values.get("sd_Residual", values["sigma"])
    place = {"1|g_sigma": values["sd_g"][0], "1|g_offset": point["z_g"][:, 0]}
    place |= dict(zip(("Intercept", "x"), values["beta"], strict=True))
    exponents = values.get("exponent_Residual", np.zeros(0))
    for exponent, power in zip(exponents, model.design.residual.scales.powers, strict=True):
        sds = sds * np.exp(exponent * power.log_x.mean())
    place["sd_Residual"] = sds
    place |= dict(zip(("sigma_power_time", "sigma_exp_x"), exponents, strict=False))
    point = {}
    for variable in theirs.free_RVs:
        given = pytensor.tensor.as_tensor(np.asarray(place[variable.name], dtype=float))
        if (transform := theirs.rvs_to_transforms[variable]) is not None:
            given = transform.forward(given, *variable.owner.inputs)
        point[theirs.rvs_to_values[variable].name] = given.eval(mode="FAST_COMPILE")
    ours = stated.pymc.compile_logp(mode="FAST_COMPILE")
    want = float(ours(stated.point(5)))
    found = float(theirs.compile_logp(mode="FAST_COMPILE")(point))
    assert found == pytest.approx(want, rel=1e-9)


@pytest.mark.parametrize(
    ("name", "match"),
    [("ar1", "by series"), ("known", "R is known"), ("cs, power, weights", "by series")],
)
def test_bambi_refuses_what_it_cannot_state(name, match, data):
    with pytest.raises(bv.BayesvError, match=match) as error:
        bv.to_bambi(model_of(name, data))
    assert "to_pymc" in str(error.value)


def test_draws_of_a_chain_have_its_covariance(data):
    """What PyMC's predictions are made of, and the density that they then have."""
    form = model_of("ar1", data).design.structured_residual
    series, rho = form.sequential.series, 0.6
    chain = Chain.of(series.codes, series.times[series.visit])
    gap = series.times[series.visit] - series.times[series.visit][chain.before]
    adjacent = np.where(chain.before == np.arange(series.n), 0.0, rho**gap)
    sd, rng = np.linspace(1.0, 2.0, series.n), np.random.default_rng(2)
    draws = chain.draw(np.full(series.n, 3.0), sd, adjacent, rng, size=(40_000,))
    R = form.member_of(Parameters(np.ones(1), np.arctanh([[rho]]), np.zeros(0))).matrix.toarray()
    R = R * sd[:, None] * sd
    error = np.sqrt((R**2 + np.outer(np.diag(R), np.diag(R))) / 40_000)
    assert (np.abs(np.cov(draws.T) - R) < 5 * error).all()
    assert (np.abs(draws.mean(axis=0) - 3.0) < 5 * sd / 200).all()
    value = chain.logp(draws[0], 3.0, sd, adjacent).eval(mode="FAST_COMPILE")
    want = multivariate_normal(np.full(series.n, 3.0), R).logpdf(draws[0])
    assert float(value) == pytest.approx(want, rel=1e-10)


def test_many_related_levels_are_refused_before_their_root_is_dense(data, monkeypatch):
    model = bv.Model("y ~ x + (1 | g)", data, relationship={"g": KIN})
    _ = model.design.terms[0].related.root
    monkeypatch.setattr("bayesv.support.memory.available", lambda: 100)
    monkeypatch.setattr("bayesv.support.memory._NOT_WORTH_ASKING", 0)
    with pytest.raises(bv.BayesvError, match="marginal=True"):
        bv.to_pymc(model)
