"""Statistics by residual parameters equal dense algebra, and their reverse central differences."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import bayesv as bv
from bayesv.design.design import Design
from bayesv.design.structured import Parameters, StructuredResidual
from bayesv.gram import eliminate, statistics_by_residual
from bayesv.gram.by_pattern import ByPattern
from bayesv.gram.kept_rows import KeptRows
from bayesv.gram.pieces import pieces_of
from bayesv.gram.residual_rows import ByResidual
from bayesv.gram.summed_classes import SummedClasses

CASES = [
    ("ar1(day | series)", None),
    ("ar1h(day | series)", None),
    ("adh(day | series)", None),
    ("cs(day | series)", None),
    ("csh(day | series)", None),
    ("toep(day | series)", None),
    ("us(day | series)", None),
    ("car1(time | series)", None),
    ("sp_gau(time + day | series, nugget=True)", None),
    ("ar1(day | sex / series)", None),
    ("ar1(day | series)", "strata(sex)"),
    ("arma11(day | series)", "strata(day)"),
    ("car1(time | series)", "power(time) * strata(sex)"),
    (None, "strata(sex) * exp(x)"),
]
SIGMA2 = 2.3


@pytest.fixture(scope="module")
def data() -> pd.DataFrame:
    """Four days of series, some missing, in shuffled rows; several series in each group."""
    rng = np.random.default_rng(4)
    frame = pd.DataFrame({"series": np.repeat(np.arange(12), 5), "day": np.tile(np.arange(5), 12)})
    frame = frame[rng.uniform(size=len(frame)) < 0.8].sample(frac=1.0, random_state=1)
    frame = frame[frame["day"] != 2]
    n = len(frame)
    return frame.assign(
        group=frame["series"] // 3,
        sex=np.where(frame["series"] % 2, "f", "m"),
        time=1.0 + frame["day"] + rng.uniform(0, 0.5, n).round(1),
        x=rng.uniform(size=n),
        w=rng.uniform(0.5, 2.0, n),
        y=100.0 + rng.normal(size=n),
    )


def design_of(data: pd.DataFrame, fixed_and_random: str, residual, residual_sd) -> Design:
    options = {"residual": residual, "residual_sd": residual_sd}
    given = {name: text for name, text in options.items() if text is not None}
    return bv.Model(fixed_and_random, data, var_weights="w", **given).design


def random_parameters(form: StructuredResidual, rng: np.random.Generator) -> Parameters:
    part, n_sds = form.sequential, len(form.sd_labels)
    shape = (0, 0) if part is None else (part.n_groups, part.structure.n_corrs)
    sds = np.exp(0.2 * rng.normal(size=n_sds)) if n_sds else np.ones(1)
    return Parameters(
        sds, 0.4 * rng.normal(size=shape), 0.3 * rng.normal(size=len(form.scales.powers))
    )


def criterion(design: Design, by_residual: ByResidual, parameters: Parameters, lambdas):
    """REML's criterion at σ², and its derivative by the parameters."""
    weighted = by_residual.at(parameters)
    stats, p = weighted.stats, weighted.stats.p
    done = eliminate(stats, stats.in_basis(lambdas))
    S, c = done.T[:p, :p], done.T[:p, p]
    e = np.append(-np.linalg.solve(S, c), 1.0)
    value = done.logdet - stats.log_weights + np.linalg.slogdet(S)[1] + stats.fixed.logdet
    T_bar = np.outer(e, e) / SIGMA2
    value += float((T_bar * done.T).sum())
    T_bar[:p, :p] += np.linalg.inv(S)
    return value, weighted.pullback(done.adjoint(T_bar).sums, 1.0)


def dense_criterion(design: Design, parameters: Parameters, lambdas) -> float:
    form = design.residual
    assert isinstance(form, StructuredResidual)
    V = form.member_of(parameters).matrix.toarray()
    roots = [np.kron(np.eye(t.n_levels), lam) for t, lam in zip(design.terms, lambdas, strict=True)]
    for term, root in zip(design.terms, roots, strict=True):
        half = term.Z.toarray() @ root
        V = V + half @ half.T
    white = np.linalg.solve(np.linalg.cholesky(V), np.column_stack([design.X, design.target]))
    triangle = np.linalg.qr(white, mode="r")
    logs = 2.0 * np.log(np.abs(np.diagonal(triangle)[:-1])).sum()
    return float(np.linalg.slogdet(V)[1] + logs + triangle[-1, -1] ** 2 / SIGMA2)


@pytest.mark.parametrize("way", [SummedClasses, KeptRows])
@pytest.mark.parametrize("random", ["", " + (x | series)", " + (1 | group / series)"])
@pytest.mark.parametrize(("residual", "residual_sd"), CASES)
def test_criterion_and_derivative(residual, residual_sd, random, way, data):
    rng = np.random.default_rng(5)
    design = design_of(data, f"y ~ x{random}", residual, residual_sd)
    form = design.residual
    by_residual = way.of(design, pieces_of(replace(form, known=None)))
    parameters = random_parameters(form, rng)
    lambdas = [np.tril(rng.normal(size=(t.n_columns,) * 2)) for t in design.terms]
    value, bar = criterion(design, by_residual, parameters, lambdas)
    assert value == pytest.approx(dense_criterion(design, parameters, lambdas), abs=1e-8)
    flat = np.concatenate([np.log(parameters.sds), parameters.z.ravel(), parameters.exponents])
    stops = np.cumsum([len(parameters.sds), parameters.z.size])

    def along(h: float, direction: np.ndarray) -> float:
        sds, z, exponents = np.split(flat + h * direction, stops)
        point = Parameters(np.exp(sds), z.reshape(parameters.z.shape), exponents)
        return criterion(design, by_residual, point, lambdas)[0]

    slopes = np.concatenate([bar.sds, bar.z.ravel(), bar.exponents])
    direction = rng.normal(size=len(flat))
    if not form.sd_labels:
        direction[0] = 0.0
    numeric = (along(1e-4, direction) - along(-1e-4, direction)) / 2e-4
    assert slopes @ direction == pytest.approx(numeric, rel=1e-5, abs=1e-4)


BY_VISIT = ["us", "csh", "toep", "ar1", "adh"]
GROUPS = ["day | series", "day | sex / series"]


@pytest.mark.parametrize("positions", GROUPS)
@pytest.mark.parametrize("kind", BY_VISIT)
def test_sums_by_pattern_are_those_of_kept_rows(kind, positions, data):
    rng = np.random.default_rng(8)
    days = data.assign(day=pd.Categorical(data["day"].map("d{}".format)))
    design = design_of(days, "y ~ x + day + sex", f"{kind}({positions})", None)
    form = design.residual
    ways = ByPattern.of(design), KeptRows.of(design, pieces_of(replace(form, known=None)))
    points = [random_parameters(form, rng) for _ in range(3)]
    for point in points:
        (value, bar), (other, others) = (criterion(design, way, point, []) for way in ways)
        assert value == pytest.approx(other, abs=1e-8)
        for one, two in zip(bar, others, strict=True):
            np.testing.assert_allclose(one, two, rtol=1e-8, atol=1e-8)
    several = Parameters(*(np.stack(parts) for parts in zip(*points, strict=True)))
    logdet, T = ways[0].eliminate_many(several, [], lambda _: None)
    for s, point in enumerate(points):
        stats = ways[1].at(point).stats
        assert logdet[s] == pytest.approx(-stats.log_weights)
        np.testing.assert_allclose(T[s], stats.sums.C, atol=1e-8)


def test_many_patterns_are_summed_up_where_no_term_is_random():
    rng = np.random.default_rng(9)
    there = rng.uniform(size=(300, 8)) < 0.7
    frame = pd.DataFrame(np.argwhere(there), columns=["series", "visit"])
    frame = frame.assign(visit=frame["visit"].map("v{}".format), y=rng.normal(size=len(frame)))
    design = bv.Model("y ~ visit", frame, residual="us(visit | series)").design
    by_residual = statistics_by_residual(design)
    assert isinstance(by_residual, ByPattern)
    bad = random_parameters(design.residual, rng)._replace(sds=np.full(8, np.nan))
    with pytest.raises(np.linalg.LinAlgError):
        by_residual.at(bad)
    several = Parameters(*(np.stack([part, part]) for part in bad))
    assert np.isnan(by_residual.eliminate_many(several, [], lambda _: None)[0]).all()


def test_few_gaps_are_summed_up_and_many_are_kept(data):
    few = design_of(data, "y ~ x + (x | series)", "ar1(day | series)", None)
    assert isinstance(statistics_by_residual(few), SummedClasses)
    times = data.assign(time=data["time"] + np.random.default_rng(0).uniform(size=len(data)))
    many = design_of(times, "y ~ x + (x | series)", "car1(time | series)", None)
    assert isinstance(statistics_by_residual(many), KeptRows)


def test_a_chain_takes_few_sums():
    """AR(1) without gaps: firsts, seconds and differences of neighbours, and inner rows."""
    frame = bv.load_dataset("sleepstudy")
    model = bv.Model("Reaction ~ Days + (Days | Subject)", frame, residual="ar1(Days | Subject)")
    by_residual = statistics_by_residual(model.design)
    assert len(by_residual.stats.parts) == 4
    assert by_residual.stats.layout.plan.n_leaves == 1  # all subjects are alike


@pytest.mark.parametrize("random", ["", " + (x | series)", " + (1 | group / series)"])
@pytest.mark.parametrize("way", [SummedClasses, KeptRows])
def test_many_points_are_those_of_one_each(way, random, data):
    rng = np.random.default_rng(6)
    design = design_of(data, f"y ~ x{random}", "ar1(day | series)", "strata(sex)")
    form = design.residual
    by_residual = way.of(design, pieces_of(replace(form, known=None)))
    points = [random_parameters(form, rng) for _ in range(3)]
    lambdas = [rng.normal(size=(3, t.n_columns, t.n_columns)) for t in design.terms]
    lambdas = by_residual.stats.in_basis(lambdas)
    several = Parameters(*(np.stack(parts) for parts in zip(*points, strict=True)))
    logdet, T = by_residual.eliminate_many(several, lambdas, lambda _: None)
    for s, point in enumerate(points):
        stats = by_residual.at(point).stats
        done = eliminate(stats, [lam[s] for lam in lambdas])
        assert logdet[s] == pytest.approx(done.logdet - stats.log_weights)
        assert np.allclose(T[s], done.T, rtol=1e-10, atol=1e-10 * np.abs(done.T).max())
