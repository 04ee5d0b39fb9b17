"""REML and ML of designs whose residuals have parameters."""

from __future__ import annotations

import numpy as np

from bayesv.covariance import VarianceComponents, gls
from bayesv.design.design import Design
from bayesv.design.series_residual import SeriesResidual
from bayesv.errors import DataError, FitWarning, warn
from bayesv.gram.threads import one_blas_thread
from bayesv.linalg import Array
from bayesv.reml.by_visit import VisitCriterion, search_by_visit
from bayesv.reml.fit import RemlFit

__all__ = ["fit_structured"]

_BOUNDARY = 1e-5  # of 1 less the size of a partial correlation
_SHOWN = 5  # pairs of visits that a message names


def fit_structured(design: Design, method: str = "REML") -> RemlFit:
    """Fit by REML or ML where residuals are correlated over visits.

    Parameters
    ----------
    design : Design
        With a `SeriesResidual`.
    method : {"REML", "ML"}

    Raises
    ------
    DataError
        If there is no way yet to fit such residuals.

    Warns
    -----
    FitWarning
        If the search did not converge, visits never meet in a series so that their correlation is
        not known, or an estimate is at the end of its range.
    """
    form = design.residual
    if not isinstance(form, SeriesResidual) or design.terms or not form.series.by_visit:
        raise DataError(
            f"Residuals {getattr(form, 'text', form)!r} of {design.formula!r} cannot be fitted: "
            "REML and ML know correlations over visits (us, cs, ar1, toep, ad, ma1, arma11, and "
            "with an SD for each visit) in models without random terms. V and GLS at given "
            "components are there: bv.MarginalCovariance(design, components)."
        )
    with one_blas_thread():
        criterion = VisitCriterion(
            form.series, design.X, design.target, form.structure, form.known, method
        )
        end = search_by_visit(criterion)
        _, slopes = criterion(end.x)
    log_sds, z = criterion.parts(end.x)
    values, sigma2 = form.values_of(np.exp(log_sds), z)
    components = VarianceComponents({}, sigma2, values).aligned(design)
    estimates = gls(design, components)
    problems = tuple(_problems(form, z))
    fit = RemlFit(
        design=design,
        method=method,
        components=components,
        beta=estimates.beta,
        cov_beta=estimates.cov,
        criterion=end.criterion,
        singular=bool((np.abs(z) > np.arctanh(1.0 - _BOUNDARY)).any()),
        converged=end.converged,
        n_evaluations=end.n_evaluations,
        gradient_norm=float(np.abs(slopes * criterion.units()).max()),
        problems=problems,
    )
    if not end.converged:
        warn(
            f"{method} did not converge: another step would lower the criterion by "
            f"{end.decrement:.2g}. The data may say too little of {form.text}; fit a family with "
            "fewer parameters.",
            FitWarning,
            stacklevel=3,
        )
    for problem in problems:
        warn(f"{method}: {problem}", FitWarning, stacklevel=3)
    return fit


def _problems(form: SeriesResidual, z: Array) -> list[str]:
    """Return what the data say too little of."""
    problems = []
    if pairs := form.series.never_met:
        names = "; ".join(" and ".join(pair) for pair in pairs[:_SHOWN])
        more = f" and {len(pairs) - _SHOWN} pairs more" if len(pairs) > _SHOWN else ""
        what = "say nothing of their correlation"
        if form.structure.free_blocks:
            problems.append(
                f"no series has both visits {names}{more}: the data {what}, and the estimate of it "
                "is arbitrary. Fit a family with fewer parameters, such as toeph or ar1h"
            )
    unseen = [
        name
        for name, there in zip(form.series.visits, np.diagonal(form.series.met), strict=True)
        if not there
    ]
    if unseen and form.structure.n_sds > 1:
        problems.append(
            f"no row is at visit {', '.join(unseen)}: its SD is arbitrary. Drop the level"
        )
    if (np.abs(z) > np.arctanh(1.0 - _BOUNDARY)).any():
        problems.append("a correlation of the residuals is at the end of its range")
    return problems
