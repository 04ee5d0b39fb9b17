"""Families of covariances equal those of nlme and of base R."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from bayesv.structures.durbin import autocorrelations, reflections
from bayesv.structures.kinds import family

REFERENCE = json.loads(
    (Path(__file__).parent / "references" / "structures" / "correlations.json").read_text()
)
CASES = REFERENCE["correlations"]


@pytest.mark.parametrize("case", CASES, ids=[f"{c['kind']}-{i}" for i, c in enumerate(CASES)])
def test_correlations_are_those_of_nlme(case):
    options = {"nugget": True} if case["nugget"] else {}
    structure = family(case["kind"], case["positions"], **options)
    expected = np.array(case["corr"])
    psi = np.array(case["psi"])
    np.testing.assert_allclose(structure.correlations(psi), expected, atol=1e-12)
    np.testing.assert_allclose(structure.corr(structure.from_natural(psi)), expected, atol=1e-12)
    np.testing.assert_allclose(structure.corr(structure.coordinates(expected)), expected, atol=1e-8)


def test_partial_autocorrelations_are_those_of_r():
    rho, r = (np.array(REFERENCE["toeplitz"][k]) for k in ("autocorrelations", "partial"))
    np.testing.assert_allclose(autocorrelations(r), rho, atol=1e-12)
    np.testing.assert_allclose(reflections(rho), r, atol=1e-12)


@pytest.mark.parametrize("case", REFERENCE["matern"], ids=lambda c: str(c["smoothness"]))
def test_matern_is_that_of_sas(case):
    distances = np.array(case["distances"])
    structure = family("sp_mat", [0.0, *distances], smoothness=case["smoothness"])
    corr = structure.at_lags(np.array([case["range"]]), distances)
    np.testing.assert_allclose(corr, case["corr"], rtol=1e-10)
