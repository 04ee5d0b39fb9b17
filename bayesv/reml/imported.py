"""A REML or ML fit that another program made, as a `RemlFit`."""

from __future__ import annotations

import numpy as np
import pandas as pd

from bayesv.covariance import VarianceComponents, gls
from bayesv.design.design import Design
from bayesv.gram import GramStatistics, statistics_of
from bayesv.reml.fit import RemlFit
from bayesv.reml.identification import unidentified

__all__ = ["fit_from_components"]

_MOST_COLUMNS = 24  # of a term: identification takes their squares to the third power
_SINGULAR = 1e-8  # variance relative to σ², in column units of rms 1: θ below 1e-4, lme4's rule


def fit_from_components(
    design: Design,
    components: VarianceComponents,
    method: str,
    origin: str,
    *,
    converged: bool = True,
    stats: GramStatistics | None = None,
) -> RemlFit:
    """Return estimates of Σ_f and σ² made elsewhere as a fit of this design.

    Parameters
    ----------
    design : Design
    components : VarianceComponents
        Of the same design; aligned by name.
    method : {"REML", "ML"}
    origin : str
        What made them, such as ``"lme4"``.
    converged : bool
        What that program says of it.
    stats : GramStatistics, optional
        Of the design, if they are known.

    Returns
    -------
    RemlFit
        β̂, its covariance and the criterion are computed from V at the components, by the code
        that all other fits use.
    """
    aligned = components.aligned(design)
    estimates = gls(design, aligned)
    if stats is None and design.parametric_residual is None and design.terms:
        stats = statistics_of(design)
    wide = [term.group for term in design.terms if term.n_columns > _MOST_COLUMNS]
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    if wide:
        notes = (
            f"whether the data identify all variances was not looked at: {', '.join(wide)} has "
            f"more than {_MOST_COLUMNS} columns",
        )
    elif stats is not None:
        problems = unidentified(design, stats, method)
    smallest = [
        np.linalg.eigvalsh(aligned.block_for(term) * np.outer(term.rms, term.rms))[0]
        for term in design.terms
    ]
    return RemlFit(
        design=design,
        method=method,
        components=aligned,
        beta=pd.Series(estimates.beta, name="beta"),
        cov_beta=estimates.cov,
        criterion=estimates.criterion(method),
        singular=bool(min(smallest, default=np.inf) < _SINGULAR * aligned.sigma2),
        converged=converged,
        n_evaluations=0,
        gradient_norm=float("nan"),
        _stats=stats,
        origin=origin,
        problems=problems,
        notes=notes,
    )
