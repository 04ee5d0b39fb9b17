"""Fits of brms with structured residuals or effects, frozen with their script."""

from __future__ import annotations

import json
import shutil
import warnings
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import bayesv as bv
from bayesv.extract import read_data
from tests.test_extract_structures import residual_text

EXPORTS = Path(__file__).parent / "references" / "r_brms"

# What brms's words are in bayesv's: the residuals, the families of the terms, words of the notes.
FITS = {
    "ar": ("ar1(`order of week` | g) × strata(arm)", {"site": "us(1)"}, ""),
    "ar_past": ("adh(`order of week` | g)", {}, "more parameters than were fitted"),
    "ma": ("ma1(seen | g)", {}, ""),
    "arma": ("arma11(`order of week` | g) × strata(arm) × exp(z)", {}, ""),
    "cosy": ("cs(1 | g)", {}, ""),
    "unstr": ("us(visit | g)", {}, ""),
    "gr": ("σ²I", {"g": "us(2)"}, ""),
    "sigma": ("strata(site:arm) × power(week)", {"g": "us(1)"}, ""),
    "se": ("known", {"g": "us(1)"}, ""),
    "se_sigma": ("known", {"row": "diag(2)", "g": "us(1)"}, "the random effect of row"),
    "places": ("known", {"g": "us(4)", "site": "us(1)"}, "the random effect of g"),
    "fcor": ("weights", {"g": "us(1)"}, ""),
}
REFUSED = {
    "ar(p = 2)": r"ar\(week, g, p = 2\); p and q of at most 1",
    "ma past": "no family here has that covariance; fit it with cov = TRUE",
    "sar": r"autocorrelation sar\(M\)",
    "car": r"autocorrelation car\(K, gr = g\)",
    "fcor": "that is not diagonal",
    "sigma of effects": "sigma is modelled with group-level effects",
    "sigma of a smooth": "sigma is modelled with smooth terms",
    "sigma of a product": r"modelled by arm:z \(sigma ~\)",
    "sigma of another link": "link identity, not log",
    "sigma fixed": "fixed or tied",
    "ar past beside sigma": "with a modelled sigma; fit it with cov = TRUE",
    "se beside ar and strata": "without autocorrelation",
    "no groups": "no group-level effects, and independent residuals",
    "weights": "powers of the likelihood",
}


def read(path: Path) -> bv.Posterior:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bv.SamplingWarning)  # twenty draws are few
        return bv.read_fit(path)


@pytest.fixture(scope="module")
def fits() -> dict[str, bv.Posterior]:
    return {name: read(EXPORTS / name) for name in FITS}


@pytest.mark.parametrize("name", FITS)
def test_density_of_V_at_every_draw_is_that_of_brms(fits, name):
    """log N(y | Xβ, V): R in V by brms's own functions, u integrated out by dense algebra."""
    post = fits[name]
    design, values = post.design, post.values
    residual, families, note = FITS[name]
    assert residual_text(design) == residual
    assert {t.group: str(t.structure) for t in design.terms} == families
    assert note in " ".join(design.notes)
    stated = pd.read_csv(EXPORTS / "density.csv").query("fit == @name")
    assert len(stated) == values.size
    for row in stated.itertuples():
        point = values.take((row.chain - 1, row.draw - 1))
        V = bv.MarginalCovariance(design, point.components()).to_dense()
        e = design.target - design.X @ point.beta
        value = design.n * np.log(2 * np.pi) + np.linalg.slogdet(V)[1] + e @ np.linalg.solve(V, e)
        assert -0.5 * value == pytest.approx(row.value, abs=1e-8)


def test_all_are_listed():
    assert {path.name for path in EXPORTS.iterdir() if path.is_dir()} == set(FITS)


def test_brms_refuses_by_name():
    messages = pd.read_csv(EXPORTS / "refused.csv").set_index("fit")["message"]
    assert set(messages.index) == set(REFUSED)
    assert messages.str.startswith("bayesv_export cannot write this fit: ").all()
    for name, reason in REFUSED.items():
        assert pd.Series(messages[name]).str.contains(reason).all(), name


def test_rows_are_those_of_the_data(fits):
    """brms sorts rows by series and time for Stan; here they stand as the user's."""
    for name in ("ar", "se_sigma"):
        design, data = fits[name].design, read_data(EXPORTS / name)
        assert list(design.row_labels) == list(data.index)
        assert list(data.index) != sorted(data.index, key=lambda label: data["g"][label])
        np.testing.assert_allclose(design.y, data["y"])
        np.testing.assert_allclose(design.X[:, 1], data["x"])


def test_residuals_conditional_on_the_past_have_this_V(fits):
    """Y_t − μ_t = φ (Y_{t−1} − μ_{t−1}) + e_t from e_1 on: R = L⁻¹ σ² L⁻ᵀ, L bidiagonal."""
    post = fits["ar_past"]
    series = post.design.residual.series
    for chain, draw in ((0, 0), (1, 7)):
        components = post.values.components((chain, draw))
        R = bv.residual_R(post.design, components).toarray()
        sigma = components.residual.sd["1"]
        phi = components.residual.corr["1, 2"] * components.residual.sd["2"] / sigma
        for code in range(len(series.sizes)):
            rows = np.flatnonzero(series.codes == code)
            rows = rows[np.argsort(series.visit[rows])]
            m = len(rows)
            inverse = np.linalg.inv(np.eye(m) - phi * np.eye(m, k=-1))
            np.testing.assert_allclose(R[np.ix_(rows, rows)], sigma**2 * inverse @ inverse.T)


@pytest.mark.parametrize("name", ["ar", "unstr", "gr", "se_sigma"])
def test_what_comes_after_knows_them(fits, name, tmp_path):
    post = fits[name]
    vc = post.estimate("mean")
    V = bv.MarginalCovariance(post.design, vc)
    np.testing.assert_allclose(V @ V.solve(post.design.y), post.design.y, rtol=1e-9)
    # Four series have all visits: an unstructured covariance has no highest restricted likelihood.
    says = pytest.warns(bv.FitWarning, match="falls without end")
    with says if name == "unstr" else nullcontext():
        fit = bv.Model.from_design(post.design).reml()
    assert "Posterior 'brms'" in repr(bv.compare(fit, post))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bv.SamplingWarning)
        again = bv.load(post.save(tmp_path / "fit.nc"))
    assert again.estimate("mean").to_frame().equals(vc.to_frame())


def changed(tmp_path: Path, name: str, column: str, change) -> Path:
    """Return a copy of an export one of whose columns of draws is changed."""
    folder = Path(shutil.copytree(EXPORTS / name, tmp_path / name))
    table = pd.read_csv(folder / "draws.csv.gz")
    if change is None:
        table = table.drop(columns=column)
    else:
        table[column] = change(table[column])
    table.to_csv(folder / "draws.csv.gz", index=False)
    return folder


@pytest.mark.parametrize(
    ("name", "column", "change", "message"),
    [
        ("ar", "residual sd[2]", None, r"no column 'residual sd\[2\]'"),
        ("ar", "residual sd[2]", lambda x: -x, "SDs of residuals must be positive"),
        ("ar", "residual corr[1]", lambda x: x + 1, "Draws of the residuals ar1"),
        ("unstr", "residual corr[6]", lambda x: x + 5, "Draws of the residuals us"),
        ("sigma", "residual corr[1]", lambda x: x / 0, "no finite numbers"),
        ("cosy", "sigma", None, "no column 'sigma'"),
    ],
)
def test_damaged_draws(tmp_path, name, column, change, message):
    with pytest.raises(bv.ExtractionError, match=message):
        read(changed(tmp_path, name, column, change))


def test_a_point_fit_needs_its_parameters(tmp_path):
    """What only draws may leave out is asked for by name."""
    folder = EXPORTS.parent / "r_structures" / "gls_ar1"
    copy = Path(shutil.copytree(folder, tmp_path / "a"))
    record = json.loads((copy / "fit.json").read_text())
    record["residual"]["corr"] = None
    (copy / "fit.json").write_text(json.dumps(record))
    with pytest.raises(bv.ExtractionError, match="'corr' must be numbers"):
        bv.read_fit(copy)
