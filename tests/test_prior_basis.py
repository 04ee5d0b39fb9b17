"""Default priors do not depend on where covariates have their zero, nor on units of weights."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import bayesv as bv
from bayesv.covariance import ComponentDraws
from bayesv.design.scales import ColumnFacts
from bayesv.inference.coordinates import Coordinates
from bayesv.inference.density import MarginalDensity
from bayesv.inference.log_prior import LogPrior
from bayesv.inference.target import Target
from bayesv.priors.basis import _inverse
from bayesv.priors.draws import draw_prior
from bayesv.priors.text import priors_from_dict, priors_to_dict

RNG = np.random.default_rng(3)
N = 120
FRAME = pd.DataFrame(
    {
        "g": RNG.integers(0, 9, N),
        "f": pd.Categorical(RNG.choice(["a", "b", "c"], N, p=[0.5, 0.4, 0.1])),
        "t": RNG.integers(0, 2, N).astype(float),
        "x": RNG.normal(size=N),
        "z": np.exp(RNG.normal(size=N)),
        "w": np.exp(RNG.normal(size=N)),
    }
)
FRAME["y"] = 3 * FRAME.x + RNG.normal(size=9)[FRAME.g] + RNG.normal(size=N)


def density(formula: str, data: pd.DataFrame, priors: bv.Priors | None = None, **more):
    model = bv.Model(formula, data, priors, **more)
    return MarginalDensity(model.statistics, model.priors)


def log_posterior(of: MarginalDensity, covs: dict[str, np.ndarray], sigma2: float) -> float:
    return float(of.log_posterior(ComponentDraws(of.priors.design, covs, sigma2)))


def covariances(r: int, rng: np.random.Generator, n: int = 3) -> list[np.ndarray]:
    roots = rng.normal(size=(n, r, r + 1))
    return list(roots @ np.swapaxes(roots, 1, 2))


def change_of_basis(old: bv.Design, new: bv.Design) -> np.ndarray:
    """A with Z_old = Z_new A, so that Σ_new = A Σ_old A'."""
    return np.linalg.lstsq(new.terms[0].values, old.terms[0].values)[0]


# Formula, and what is done to the data; the space of X and of Z's columns stays the same.
SHIFTS = [
    ("y ~ x + (x | g)", lambda d, c: d.assign(x=d.x + c)),
    ("y ~ x + (x | g)", lambda d, c: d.assign(x=c * d.x + c)),
    ("y ~ x * z + (x * z | g)", lambda d, c: d.assign(x=d.x + c, z=2 * d.z - c)),
    ("y ~ x + I(x ** 2) + (x + I(x ** 2) | g)", lambda d, c: d.assign(x=d.x + c)),
    ("y ~ t * x + (t * x | g)", lambda d, c: d.assign(t=d.t + c, x=d.x - c)),
    ("y ~ f * x + (f * x | g)", lambda d, c: d.assign(x=d.x + c)),
    ("y ~ f + x + (0 + f + x | g)", lambda d, c: d.assign(x=d.x + c)),
    ("y ~ f / x + (0 + f + f:x | g)", lambda d, c: d.assign(x=d.x + c)),
    ("y ~ f / x + (f / x | g)", lambda d, c: d.assign(x=d.x + c)),
    (
        "y ~ f / (x + I(x ** 2)) + (z + f / (x + I(x ** 2)) | g)",
        lambda d, c: d.assign(x=d.x + c / 20, z=d.z - c),
    ),
]


@pytest.mark.parametrize("c", [10.0, 100.0, 1990.0])
@pytest.mark.parametrize(("formula", "move"), SHIFTS, ids=[f for f, _ in SHIFTS])
def test_the_posterior_of_default_priors_does_not_move_with_zeros(formula, move, c):
    here, there = density(formula, FRAME), density(formula, move(FRAME, c))
    A = change_of_basis(here.priors.design, there.priors.design)
    # |A| is a constant of the change of units; it cancels in differences.
    gaps = [
        log_posterior(here, {"g": cov}, 0.7) - log_posterior(there, {"g": A @ cov @ A.T}, 0.7)
        for cov in covariances(len(A), np.random.default_rng(1))
    ]
    # Σ at a zero 1990 SDs away keeps fewer digits: the tolerance is that of its rounding.
    assert np.ptp(gaps) < 1e-9 * max(1.0, np.abs(A).max() ** 2 / 1e3)


@pytest.mark.parametrize("c", [0.0, 100.0, 1990.0])
def test_coordinates_are_the_same_at_every_zero(c):
    data = FRAME.assign(x=FRAME.x + c)
    target = Target(density("y ~ x + (x | g)", data))
    base = Target(density("y ~ x + (x | g)", FRAME))
    x = np.array([0.3, -0.4, 0.5, -0.2])
    value, gradient = target.value_and_gradient(x)
    assert value == pytest.approx(base.value_and_gradient(x)[0], abs=1e-6)
    steps = 1e-5 * np.eye(4)
    numeric = [
        (target.value_and_gradient(x + e)[0] - target.value_and_gradient(x - e)[0]) / 2e-5
        for e in steps
    ]
    np.testing.assert_allclose(gradient, numeric, atol=2e-6)
    back = target.coordinates.near(target.coordinates.to_values(x))
    np.testing.assert_allclose(np.tanh(back[2]), 0.98 * np.tanh(x[2]), rtol=1e-6)
    np.testing.assert_allclose(back[[0, 1, 3]], x[[0, 1, 3]], atol=1e-6)


def test_the_map_has_jacobian_one():
    """Log density by x = that of Σ_f in the user's basis plus log |dΣ/dx|."""
    model = bv.Model("y ~ x * z + (x + z | g)", FRAME)
    coordinates = Coordinates.centred(model.design)
    log_prior = LogPrior(model.priors, coordinates)
    lower = np.tril_indices(3)

    def elements(x: np.ndarray) -> np.ndarray:
        values = coordinates.to_values(x)
        return np.array([*values.covs["g"][lower], values.sigma])

    def log_jacobian(x: np.ndarray) -> float:
        h = 1e-6 * np.eye(len(x))
        J = [(elements(x + e) - elements(x - e)) / 2e-6 for e in h]
        return float(np.linalg.slogdet(np.array(J))[1])

    def by_cov(x: np.ndarray) -> float:
        values = coordinates.to_values(x)
        A = model.priors.basis(model.design.terms[0]).map
        # Density by Σ_c = density by (SDs, correlations) / Π 2 sd_i³, for three columns.
        sds = np.sqrt(np.diagonal(A @ values.covs["g"] @ A.T))
        by_sd = model.priors.log_density(values)
        return float(by_sd - np.log(2 * sds**3).sum())

    rng = np.random.default_rng(5)
    points = 0.4 * rng.normal(size=(4, coordinates.size))
    gaps = [float(log_prior(x)) - by_cov(x) - log_jacobian(x) for x in points]
    assert gaps == pytest.approx([0.0] * 4, abs=1e-6)


@pytest.mark.parametrize("formula", ["y ~ x + (x | g)", "y ~ x + (x || g) + (1 | f)"])
def test_weights_a_hundred_times_as_large_change_nothing(formula):
    one = density(formula, FRAME, var_weights="w")
    many = density(formula, FRAME.assign(w=100 * FRAME.w), var_weights="w")
    covs = {"g": np.diag([0.5, 0.2]), "f": np.array([[0.3]])}
    gaps = [
        log_posterior(one, covs, s2) - log_posterior(many, covs, 100 * s2) for s2 in (0.3, 1.0, 2.0)
    ]
    assert np.ptp(gaps) < 1e-9
    np.testing.assert_allclose(many.priors.sigma.scale, 10 * one.priors.sigma.scale)
    assert [p.scale for p in many.priors.sd["g"]] == pytest.approx(
        [p.scale for p in one.priors.sd["g"]]
    )


def test_what_x_explains_is_no_part_of_a_scale():
    far = FRAME.assign(y=FRAME.y + 50 * FRAME.z)
    here = bv.Model("y ~ x + z + (1 | g)", FRAME).priors
    there = bv.Model("y ~ x + z + (1 | g)", far).priors
    assert there.sd["g"][0].scale == pytest.approx(here.sd["g"][0].scale)
    assert there.sigma.scale == pytest.approx(here.sigma.scale)


def test_sizes_of_columns():
    s = 2.5 * bv.Model("y ~ x + (1 | g)", FRAME).priors.sigma.scale

    def scales(side: str, data: pd.DataFrame = FRAME) -> list[float]:
        return [p.scale / s for p in bv.Model(f"y ~ x + ({side} | g)", data).priors.sd["g"]]

    assert scales("0 + f") == pytest.approx([1, 1, 1])  # one of them in 12 of 120 rows
    assert scales("f") == pytest.approx([1, 1, 1])
    assert scales("t") == pytest.approx([1, 1])
    assert scales("k", FRAME.assign(k=5 + 4 * FRAME.t)) == pytest.approx([1, 1 / 4])
    assert scales("0 + k", FRAME.assign(k=1000.0)) == pytest.approx([1 / 1000])
    rms = np.sqrt((FRAME.x**2).mean())
    assert scales("0 + x") == pytest.approx([1 / rms])
    assert scales("x * z")[3] == pytest.approx(1 / (FRAME.x.std() * FRAME.z.std()))


def test_cells_are_those_of_a_factor_with_columns_in_all_of_them():
    """One column alone may be 0 in a cell by where its zero is: it is centred over all rows."""
    f = FRAME.assign(dose=np.where(FRAME.f == "b", FRAME.z, 0.0), b=1.0 * (FRAME.f == "b"))
    alone = bv.Model("y ~ x + (b + dose | g)", f)
    centres = alone.priors.basis(alone.design.terms[0]).centres
    assert centres["dose"] == pytest.approx(f.dose.mean())
    cells = bv.Model("y ~ f / x + (f / x | g)", FRAME)
    basis, mean = cells.priors.basis(cells.design.terms[0]), FRAME.x.groupby(FRAME.f, observed=True)
    for level in "abc":
        assert basis.centres[f"f[{level}]:x"] == pytest.approx(mean.mean()[level])
    # A rare level of another factor in a cell has the prior of any level.
    rare = FRAME.assign(r=pd.Categorical(np.where(np.arange(N) % 40 == 0, "few", "many")))
    for formula in ("y ~ f * r + (f / r | g)", "y ~ f * r + (0 + f + f:r | g)"):
        assert len(set(bv.Model(formula, rare).priors.sd["g"])) == 1


def test_explicit_priors_speak_of_the_columns_as_written():
    formula = "y ~ x + (x | g)"
    cases = {
        "slope": (bv.Priors(sd={"g": {"x": bv.HalfNormal(2)}}), True),
        "intercept": (bv.Priors(sd={"g": {"Intercept": bv.HalfNormal(2)}}), False),
        "all": (bv.Priors(sd=bv.HalfNormal(2)), False),
        "corr": (bv.Priors(corr=bv.LKJ(2)), False),
        "corr of another": (bv.Priors(corr={"f": bv.LKJ(2)}), True),
        "centre": (bv.Priors(sd=bv.HalfNormal(2), center={"g": {"x": 3.0}}), True),
        "none": (bv.Priors(center={"g": {}}), False),
    }
    for name, (priors, centred) in cases.items():
        more = " + (z | f)" if "another" in name else ""
        found = bv.Model(formula + more, FRAME, priors).priors
        term = found.design.term("g")
        assert found.basis(term).centred == centred, name
        where = f"g: Intercept at x = {3.0 if name == 'centre' else FRAME.x.mean():.6g} ~"
        assert (where in str(found)) == centred, name


def test_an_explicit_prior_is_the_density_of_the_users_sd():
    found = density("y ~ x + (x | g)", FRAME, bv.Priors(sd=bv.HalfNormal(2), corr=bv.LKJ(2)))
    cov = np.array([[1.3, 0.4], [0.4, 0.6]])
    sd = np.sqrt(np.diagonal(cov))
    rho = 0.4 / sd.prod()
    want = bv.HalfNormal(2).log_density(sd).sum() + bv.LKJ(2).log_density(np.log1p(-(rho**2)), 2)
    parts = found.priors.log_densities(ComponentDraws(found.priors.design, {"g": cov}, 1.0))
    assert float(parts["sd_g"] + parts["corr_g"]) == pytest.approx(float(want))


@pytest.mark.parametrize(
    "given",
    [None, bv.Priors(corr=bv.LKJ(2)), bv.Priors(sd=bv.Exponential(2.0), center={"g": {"x": 1.0}})],
    ids=str,
)
def test_stated_priors_are_the_same_for_other_data_and_as_text(given):
    formula = "y ~ x + (x * z | g) + (0 + f | t)"
    model = bv.Model(formula, FRAME, given)
    stated = model.priors.stated()
    again = priors_from_dict(priors_to_dict(stated))
    assert again == stated
    other = FRAME.assign(y=7 * FRAME.y)
    for priors in (stated, again):
        found = bv.Model(formula, other, priors).priors
        assert str(found) == str(model.priors)
        for term in found.design.terms:
            np.testing.assert_array_equal(
                found.basis(term).map, model.priors.basis(term).map, strict=True
            )


def test_draws_from_the_prior_are_of_the_centred_effects():
    far = FRAME.assign(x=FRAME.x + 50.0)
    model = bv.Model("y ~ x + (x | g)", far, bv.Priors(corr=bv.LKJ(3), center={"g": {"x": 50.0}}))
    covs = draw_prior(model.priors, 20_000, np.random.default_rng(1)).covs
    A = model.priors.basis(model.design.terms[0]).map
    cov = A @ covs["g"] @ A.T
    sd = np.sqrt(np.diagonal(cov, axis1=1, axis2=2))
    rho = cov[:, 0, 1] / sd.prod(axis=1)
    for i, prior in enumerate(model.priors.sd["g"]):
        # The median of a half-t with 3 degrees of freedom is 0.7649 scales.
        assert np.median(sd[:, i]) == pytest.approx(0.7649 * prior.scale, rel=0.03)
    assert rho.var() == pytest.approx(1 / 7, rel=0.05)  # Beta(3, 3) on (−1, 1)


@pytest.mark.parametrize(
    ("formula", "data"),
    [
        ("Reaction ~ Days + (Days | Subject)", "sleepstudy"),
        ("distance ~ age + (age || Subject)", "orthodont"),
        ("distance ~ age + cs(1 + age | Subject)", "orthodont"),
    ],
)
def test_coordinates_of_prior_draws_are_those_of_the_covariances_drawn(formula, data):
    prior = Target(bv.Model(formula, bv.load_dataset(data)).density).log_prior
    own = prior.draws(np.random.default_rng(3), 200)
    drawn = draw_prior(prior.priors, 200, np.random.default_rng(3))
    want = prior.coordinates.from_values(drawn)
    inside = np.abs(want) < 4.0  # correlations next to ±1 lose digits in a covariance
    assert inside.mean() > 0.9
    assert own[inside] == pytest.approx(want[inside], abs=1e-6)


def test_centres_that_cannot_be_are_refused():
    for center in ({"g": {"Intercept": 1.0}}, {"g": {"q": 1.0}}, {"g": {"x:z": 1.0}}):
        with pytest.raises(bv.PriorError, match="no centre of its own"):
            bv.Model("y ~ x + (x * z | g)", FRAME, bv.Priors(center=center))
    with pytest.raises(bv.PriorError, match="grouping factors"):
        bv.Model("y ~ x + (x | g)", FRAME, bv.Priors(center={"h": {}}))
    for center in (3.0, {"g": 1.0}, {"g": {"x": "mean"}}, {"g": {"x": np.nan}}):
        with pytest.raises(bv.PriorError, match="center needs"):
            bv.Priors(center=center)


def test_where_x_leaves_no_residual_the_scale_is_named():
    exact = FRAME.assign(y=2 + 3 * FRAME.x)
    found = bv.Model("y ~ x + (1 | g)", exact).priors
    assert found.sigma.scale == pytest.approx(exact.y.std())
    assert "note: default scales are sd(y)" in str(found)


@pytest.mark.parametrize("parts", [1, 3, 40])
def test_facts_of_parts_add_up(parts):
    values = np.column_stack(
        [np.ones(N), FRAME.x, FRAME.z, FRAME.x * FRAME.z, FRAME.t, FRAME.f == "a", FRAME.t + 3]
    ).astype(float)
    whole = ColumnFacts.of(values)
    some = [ColumnFacts.of(part) for part in np.array_split(values, parts)]
    total = sum(some[1:], some[0])
    for name in ("n", "low", "high", "two", "together", "products"):
        np.testing.assert_array_equal(getattr(total, name), getattr(whole, name), err_msg=name)
    np.testing.assert_allclose(total.mean, whole.mean)
    np.testing.assert_allclose(total.spread, whole.spread)
    assert (3, 1, 2) in whole.products
    np.testing.assert_allclose(whole.spread, np.std(values, axis=0, ddof=1), atol=1e-12)


def test_a_stream_has_the_priors_of_the_frame(tmp_path):
    pa = pytest.importorskip("pyarrow")
    formula = "y ~ x + z + (x * z | g) + (t | w2)"
    frame = FRAME.assign(w2=FRAME.g % 4, f=FRAME.f.astype(str))
    table = pa.Table.from_pandas(frame)
    reader = pa.RecordBatchReader.from_batches(table.schema, table.to_batches(max_chunksize=17))
    one = bv.Model(formula, frame, var_weights="w").priors
    two = bv.Model(formula, reader, var_weights="w").priors
    assert str(two) == str(one)
    assert two.sigma.scale == pytest.approx(one.sigma.scale, rel=1e-10)
    for term in one.design.terms:
        np.testing.assert_allclose(two.bases[term.group].map, one.bases[term.group].map)


def test_a_covariate_centred_already_stays():
    """Its mean is 0 but for rounding, which no prior is to speak of."""
    rng = np.random.default_rng(4)
    data = pd.DataFrame({"x": rng.normal(9.0, 2.0, 80), "g": np.tile(np.arange(8), 10)})
    data["y"] = rng.normal(size=80)
    priors = bv.Model("y ~ x + (scale(x) | g)", data).priors
    assert " at " not in str(priors)
    assert " at x = " in str(bv.Model("y ~ x + (x | g)", data).priors)


def test_the_basis_of_hundreds_of_columns_is_quick_to_invert():
    a = np.eye(300)
    a[0, 1:] = np.linspace(-1.0, 1.0, 299)
    products = []

    class Counted(np.ndarray):
        def __matmul__(self, other):
            products.append(1)
            return np.asarray(self) @ np.asarray(other)

    inverse = _inverse(a.view(Counted))
    assert inverse @ a == pytest.approx(np.eye(300))
    assert len(products) < 4
