"""REML and ML of designs whose residuals have a structure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bayesv.covariance import VarianceComponents, gls
from bayesv.design.design import Design
from bayesv.design.structured import Parameters, StructuredResidual
from bayesv.errors import DataError, FitWarning, warn
from bayesv.gram.threads import one_blas_thread
from bayesv.linalg import Array
from bayesv.reml.by_visit import VisitCriterion, search_by_visit
from bayesv.reml.fit import RemlFit
from bayesv.reml.nested import of_known_residual, search_nested
from bayesv.reml.ridges import refuse_unseen

__all__ = ["fit_structured"]

_BOUNDARY = float(np.arctanh(1.0 - 1e-5))  # size of a coordinate near the end of its range


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
        end = _by_visit(design, form, method) if _is_by_visit(design, form) else _nested(
            design, form, method
        )  # fmt: skip
    components = end.components.aligned(design)
    estimates = gls(design, components)
    problems = (*end.problems, *_problems(form, end.z))
    fit = RemlFit(
        design=design,
        method=method,
        components=components,
        beta=estimates.beta,
        cov_beta=estimates.cov,
        criterion=end.criterion,
        singular=end.singular,
        converged=end.converged,
        n_evaluations=end.n_evaluations,
        gradient_norm=end.gradient_norm,
        problems=problems,
    )
    if not end.converged:
        warn(
            f"{method} did not converge: gradient {end.gradient_norm:.2g}. The data may say too "
            f"little of {form.text}; fit a family with fewer parameters.",
            FitWarning,
        )
    for problem in problems:
        warn(f"{method}: {problem}", FitWarning)
    return fit


def _of_known(design: Design, method: str) -> RemlFit:
    """Return the fit of a design without anything to search for: no random terms, R/σ² known."""
    if design.terms:
        raise DataError("This design has random terms and no structured residuals.")
    if design.sigma_is_known:
        vc = VarianceComponents({}, 1.0)
    else:
        vc = of_known_residual(design, method)[0]
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


@dataclass(frozen=True, eq=False)
class _End:
    """What either search says of its end."""

    components: VarianceComponents
    z: Array
    criterion: float
    converged: bool
    singular: bool
    n_evaluations: int
    gradient_norm: float
    problems: tuple[str, ...] = ()


def _is_by_visit(design: Design, form: StructuredResidual) -> bool:
    return form.by_visit and not design.terms


def _by_visit(design: Design, form: StructuredResidual, method: str) -> _End:
    """Search with sums by missingness pattern."""
    assert form.sequential is not None
    series, structure = form.sequential.series, form.sequential.structure
    criterion = VisitCriterion(series, design.X, design.target, structure, form.known, method)
    end = search_by_visit(criterion)
    _, slopes = criterion(end.x)
    log_sds, z = criterion.parts(end.x)
    sds = np.exp(log_sds).ravel()
    parameters = Parameters(sds, z, np.zeros(0))
    values, sigma2 = form.values_of(parameters, 1.0)
    return _End(
        components=VarianceComponents({}, sigma2, values),
        z=z,
        criterion=end.criterion,
        converged=end.converged,
        singular=bool((np.abs(z) > _BOUNDARY).any()),
        n_evaluations=end.n_evaluations,
        gradient_norm=float(np.abs(slopes * criterion.units()).max()),
    )


def _nested(design: Design, form: StructuredResidual, method: str) -> _End:
    """Search over the parameters of the residuals, all else profiled."""
    end = search_nested(design, method)
    values, sigma2 = form.values_of(end.parameters, end.components.sigma2)
    blocks = {term.group: end.components.block_for(term) for term in design.terms}
    return _End(
        components=VarianceComponents(blocks, sigma2, values),
        z=end.parameters.z,
        criterion=end.criterion,
        converged=end.converged,
        singular=end.singular or bool((np.abs(end.parameters.z) > _BOUNDARY).any()),
        n_evaluations=end.n_evaluations,
        gradient_norm=float(np.abs(end.gradient).max(initial=0.0)),
        problems=end.problems,
    )


def _problems(form: StructuredResidual, z: Array) -> list[str]:
    """Return what the data say too little of."""
    problems: list[str] = []
    if (np.abs(z) > _BOUNDARY).any():
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
