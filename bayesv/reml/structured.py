"""REML and ML of designs whose residuals have a structure."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from bayesv.covariance import VarianceComponents, gls
from bayesv.design.design import Design
from bayesv.design.structured import Parameters, StructuredResidual
from bayesv.errors import DataError, FitWarning, warn
from bayesv.gram import digits_reproduced, statistics_by_residual
from bayesv.gram.threads import one_blas_thread
from bayesv.linalg import Array
from bayesv.reml.by_visit import VisitCriterion, search_by_visit
from bayesv.reml.descent import refuse_many
from bayesv.reml.fit import RemlFit
from bayesv.reml.fitting import search_from
from bayesv.reml.joint import JointCriterion, starts_of
from bayesv.reml.ridges import refuse_ridges, refuse_unseen
from bayesv.reml.search import Search
from bayesv.structures.spatial import Spatial

__all__ = ["fit_structured"]

_TOLERANCE = 1e-5  # of a correlation, near the end of its range
_BOUNDARY = float(np.arctanh(1.0 - _TOLERANCE))  # size of its coordinate there
_MAX_ITERATIONS = 500  # of the quasi-Newton search from each start
# Share of a variance left to chance, below which too few digits are; of where a search stuck, too.
_LEFT, _LEFT_STUCK = 1e-10, 1e-7


def fit_structured(design: Design, method: str = "REML") -> RemlFit:
    """Fit by REML or ML where residuals have parameters, or there is no random term.

    Parameters
    ----------
    design : Design
        With a `StructuredResidual`; or with known R/σ² and no random term.
    method : {"REML", "ML"}

    Raises
    ------
    DataError
        If there is no way yet to fit such residuals, or nothing tells their parameters: a free
        covariance of visits that no series has both.

    Warns
    -----
    FitWarning
        If the search did not converge, or an estimate is at the end of its range.
    """
    form = design.residual
    if not isinstance(form, StructuredResidual):
        return _of_known(design, method)
    refuse_unseen(form)
    with one_blas_thread():
        by_visit = form.by_visit and not design.terms
        return _by_visit(design, form, method) if by_visit else _joint(design, form, method)


def _joint(design: Design, form: StructuredResidual, method: str) -> RemlFit:
    """Search over λ and the parameters of the residuals together."""
    refuse_ridges(design)
    by_residual = statistics_by_residual(design)
    criterion = JointCriterion(design, by_residual, method)
    if digits := digits_reproduced(by_residual.stats):
        raise criterion.reproduced(digits)
    fit = search_from(Search(criterion, _MAX_ITERATIONS), starts_of(form, design))
    components = fit.components.aligned(design)
    z = form.parameters(components.residual, components.sigma2).z
    problems = _problems(form, z)
    for problem in problems:
        warn(f"{method}: {problem}", FitWarning)
    singular = fit.singular or _at_end(form, z)
    problems = [*fit.problems, *problems]
    # The statistics are those of this R alone: they are no statistics of the design.
    return replace(
        fit, components=components, problems=tuple(problems), singular=singular, _stats=None
    )


def _of_known(design: Design, method: str) -> RemlFit:
    """Return the fit of a design without anything to search for: no random terms, R/σ² known."""
    if design.terms:
        raise DataError("This design has random terms and no structured residuals.")
    if design.sigma_is_known:
        vc = VarianceComponents({}, 1.0)
    else:
        vc = VarianceComponents({}, _variance(design, method))
    estimates = gls(design, vc)
    return RemlFit(
        design=design,
        method=method,
        components=vc,
        beta=estimates.beta,
        cov_beta=estimates.cov,
        criterion=estimates.criterion(method),
        singular=False,
        converged=True,
        n_evaluations=0,
        gradient_norm=0.0,
    )


def _variance(design: Design, method: str) -> float:
    """Return σ² at the optimum, where R/σ² is known and no term is random."""
    Q, _ = np.linalg.qr(design.X)
    rest = design.target - Q @ (Q.T @ design.target)
    white = design.residual.whiten(np.column_stack([Q, rest]))
    square = float(np.linalg.qr(white, mode="r")[-1, -1] ** 2)
    if design.n <= design.p or square <= 0:
        raise DataError(
            f"{design.n} rows leave nothing to estimate a variance from beside {design.p} fixed "
            "effects."
        )
    return square / (design.n - (design.p if method == "REML" else 0))


def _by_visit(design: Design, form: StructuredResidual, method: str) -> RemlFit:
    """Search with sums by missingness pattern."""
    assert form.sequential is not None
    series, structure = form.sequential.series, form.sequential.structure
    refuse_many(form.sequential.n_groups * (structure.n_sds + structure.n_corrs))
    unit = _unit(design.target)
    criterion = VisitCriterion(
        series, design.X, design.target / unit, structure, form.known, method
    )
    end = search_by_visit(criterion)
    if end.left < (_LEFT if end.converged else _LEFT_STUCK):
        raise DataError(
            f"Residuals {form.text}: the criterion falls on until a visit leaves {end.left:.1g} of "
            "its variance to chance once those before it are known, where double precision has "
            "no digits left and the criterion may have no minimum. Series that hardly change, or "
            "fewer of them than visits, do that: check the response, or use a family with fewer "
            "parameters; of series that do not change, fit one row of each."
        )
    _, slopes = criterion(end.x)
    log_sds, z = criterion.parts(end.x)
    sds = unit * np.exp(log_sds).ravel()
    values, sigma2 = form.values_of(Parameters(sds, z, np.zeros(0)), 1.0)
    components = VarianceComponents({}, sigma2, values).aligned(design)
    (beta, cov_beta), problems = criterion.fixed(end.x), _problems(form, z)
    if end.falls_elsewhere:
        problems.append(
            "the criterion falls without end towards residuals of which some visits determine "
            "another; the estimate is the lowest of its minima. Series are few: fit a family with "
            "fewer parameters"
        )
    names = design.fixed_index
    gradient = float(np.abs(slopes * criterion.units()).max())
    if not end.converged:
        warn(
            f"{method} did not converge: gradient {gradient:.2g}. The data may say too little of "
            f"{form.text}; fit a family with fewer parameters.",
            FitWarning,
        )
    for problem in problems:
        warn(f"{method}: {problem}", FitWarning)
    return RemlFit(
        design=design,
        method=method,
        components=components,
        beta=pd.Series(unit * beta, names, name="beta"),
        cov_beta=pd.DataFrame(unit**2 * cov_beta, names, names),
        criterion=end.criterion + 2.0 * criterion.df * float(np.log(unit)),
        singular=_at_end(form, z),
        converged=end.converged,
        n_evaluations=end.n_evaluations,
        gradient_norm=gradient,
        problems=tuple(problems),
    )


def _unit(y: Array) -> float:
    """Return a unit of a response whose squares are no numbers of double precision; 1 of others."""
    size = float(np.abs(y).max())
    return 1.0 if 1e-60 < size < 1e60 else float(2.0 ** np.round(np.log2(size)))


def _at_end(form: StructuredResidual, z: Array) -> bool:
    """Return whether a correlation is at the end of its range.

    One that falls with distance is if no two rows of a series are correlated, or if neighbours, as
    they usually are, are the same.
    """
    part = form.sequential
    if part is None:
        return False
    far = np.abs(z) > _BOUNDARY
    if isinstance(part.structure, Spatial) and len(near := part.series.nearest):
        first = part.structure.natural(z)[:, :1]
        decayed = part.structure.decay.value(first, np.array([near.min(), np.median(near)]))
        far[:, 0] = (decayed[:, 0] < _TOLERANCE) | (decayed[:, 1] > 1.0 - _TOLERANCE)
    return bool(far.any())


def _problems(form: StructuredResidual, z: Array) -> list[str]:
    """Return what the data say too little of."""
    problems: list[str] = []
    if _at_end(form, z):
        problems.append("a correlation of the residuals is at the end of its range")
    part = form.sequential
    if part is None or not part.series.by_visit:
        return problems
    unseen = [
        name
        for name, there in zip(part.series.visits, np.diagonal(part.series.met), strict=True)
        if not there
    ]
    if unseen and part.structure.n_sds > 1:
        problems.append(
            f"no row is at visit {', '.join(unseen)}: its SD is arbitrary. Drop the level"
        )
    return problems
