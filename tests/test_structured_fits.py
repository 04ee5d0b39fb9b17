"""REML and ML of structured residuals equal nlme, glmmTMB and SAS, Kenward–Roger included."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import bayesv as bv

FOLDER = Path(__file__).parent / "references" / "structures"
SIMULATED = json.loads((FOLDER / "structures.json").read_text())["cases"]
PUBLISHED = (
    "fev_us_reml",
    "fev_ar1_reml",
    "fev_cs_reml",
    "orthodont_un_ml",
    "orthodont_varident_reml",
    "ovary_ar1_reml",
    "bodyweight_power_car1_reml",
    "wheat2_exp_reml",
    "konstantopoulos_reml",
)
FIRST = {"Sex": ["Male", "Female"], "ARMCD": ["PBO", "TRT"]}  # levels in R's order
FACTORS = ("Mare", "Rat", "Diet")


def fitted(call: dict[str, Any], data: pd.DataFrame) -> bv.RemlFit:
    """Return bayesv's fit of the same model, which says nothing against itself."""
    options = {name: call[name] for name in ("residual", "residual_sd") if name in call}
    if isinstance(options.get("residual"), dict):
        options["residual"] = bv.Known(options["residual"]["known"])
    fit = bv.Model(call["formula"], data, **options).reml(call["method"])
    assert fit.converged
    assert not fit.problems
    return fit


def plain(name: str) -> str:
    """Return a coefficient's name without the signs that R's programs and bayesv set."""
    name = {"intrcpt": "Intercept"}.get(name, name)
    return ":".join(sorted(re.sub(r"[\s\[\]()]", "", name).split(":")))


def assert_as_dense(fit: bv.RemlFit, beta, cov, head, criterion: float) -> None:
    """An optimum no worse, and at it estimates within a thousandth of their standard errors."""
    gap = fit.criterion - criterion
    assert -1e-4 < gap < 2e-6
    se = np.sqrt(np.diagonal(cov))
    np.testing.assert_array_less(np.abs(fit.beta.to_numpy() - beta), 2e-3 * se)
    np.testing.assert_array_less(np.abs(fit.cov_beta.to_numpy() - cov), 2e-3 * np.outer(se, se))
    V = fit.gls.V.rows(np.arange(len(head))).to_numpy()
    sds = np.sqrt(np.diagonal(head))
    np.testing.assert_array_less(np.abs(V - head), 3e-3 * np.outer(sds, sds))


@pytest.fixture(scope="module")
def simulated() -> pd.DataFrame:
    return pd.read_csv(FOLDER / "simulated.csv")


@pytest.mark.parametrize("name", SIMULATED)
def test_simulated_data_are_fitted_as_in_r(name, simulated):
    case = SIMULATED[name]
    fit = fitted(case["bayesv"], simulated)
    parts = (np.array(case[key]) for key in ("beta", "cov", "V_head"))
    assert_as_dense(fit, *parts, case["criterion"])


@pytest.mark.parametrize(
    ("name", "label", "expected"),
    [
        ("ar1_gaps", "rho", ("corStruct", "Phi1")),
        ("cs_strata", "rho", ("corStruct", "Rho")),
        ("power_intercepts", "power x", ("varStruct", "power")),
        ("exp_nugget", "range", ("corStruct", "range")),
        ("exp_nugget", "nugget", ("corStruct", "nugget")),
        ("arma11", "phi", ("corStruct", "Phi1")),
        ("ar1_slopes", "rho", ("corStruct", "Phi1")),
    ],
)
def test_parameters_are_those_that_r_prints(name, label, expected, simulated):
    case, (part, symbol) = SIMULATED[name], expected
    corr = fitted(case["bayesv"], simulated).components.residual.corr
    assert corr[label] == pytest.approx(case["parameters"][part][symbol], abs=2e-4)


@pytest.fixture(scope="module")
def published():
    """Each published fit, made when it is first asked for."""
    fits: dict[str, tuple[dict, bv.RemlFit]] = {}

    def get(name: str) -> tuple[dict, bv.RemlFit]:
        if name not in fits:
            reference = json.loads((FOLDER / f"{name}.json").read_text())
            data = pd.read_csv(FOLDER / reference["data"]["file"])
            for column, levels in FIRST.items():
                if column in data:
                    data[column] = pd.Categorical(data[column], levels)
            for column in set(FACTORS) & set(data):
                data[column] = data[column].astype("category")
            fits[name] = reference, fitted(reference["bayesv"], data)
        return fits[name]

    return get


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_data_are_fitted_as_elsewhere(name, published):
    reference, fit = published(name)
    names = [plain(label) for label in reference["beta"]]
    own = [plain(label) for label in fit.beta.index]
    order = [names.index(label) for label in own]
    assert sorted(own) == sorted(names)
    beta = np.array(list(reference["beta"].values()))[order]
    cov = np.array(reference["vcov_gls"]["cov"])[np.ix_(order, order)]
    head = np.array(reference["V_head"]["V"])
    assert_as_dense(fit, beta, cov, head, reference["criterion"])


@pytest.mark.parametrize("name", ["fev_us_reml", "fev_ar1_reml", "fev_cs_reml"])
def test_kenward_roger_is_that_of_sas(name, published):
    reference, fit = published(name)
    expected = reference["kr"]
    observed = bv.kenward_roger(fit, information="observed")
    assert observed.se["ARMCD[TRT]"] == pytest.approx(expected["se_kr"], rel=2e-4)
    assert observed.df["ARMCD[TRT]"] == pytest.approx(expected["df"], rel=5e-4)
    linear = bv.kenward_roger(fit, information="observed", linear=True)
    assert linear.se["ARMCD[TRT]"] == pytest.approx(expected["se_kr_linear"], rel=2e-4)


def test_the_likelihood_of_a_known_table_is_reproduced(published):
    _, fit = published("orthodont_un_ml")  # Jennrich & Schluchter 1986, model 2
    assert round(fit.criterion, 3) == 419.477


@pytest.mark.parametrize("kind", ["car1", "sp_pow"])
def test_times_in_a_unit_that_hides_their_correlation(kind):
    """Of days in parts of a century the correlation over 1 is 0, and no search can move it."""
    rng = np.random.default_rng(8)
    frame = pd.DataFrame({"y": rng.normal(size=60), "t": np.tile(np.arange(6), 10)})
    frame["g"] = np.arange(60) // 6
    fitted = bv.Model("y ~ 1", frame, residual=f"{kind}(t | g)").reml()
    assert fitted.converged
    with pytest.raises(bv.DataError, match=r"another unit, such as multiples of 2\.7e-05"):
        bv.Model("y ~ 1", frame.assign(t=frame.t / 36525), residual=f"{kind}(t | g)").reml()
