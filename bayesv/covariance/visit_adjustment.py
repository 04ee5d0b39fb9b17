"""Kenward and Roger's adjustment where V = R is a family of covariances over visits."""

from __future__ import annotations

import numpy as np
import pandas as pd

from bayesv.covariance.components import VarianceComponents
from bayesv.covariance.pattern_information import PatternInformation, pattern_information
from bayesv.covariance.small_sample import Adjustment, KenwardRoger
from bayesv.design.design import Design
from bayesv.design.structured import Sequential, StructuredResidual
from bayesv.errors import DataError, FitWarning, warn
from bayesv.gram.patterns import visit_sums
from bayesv.linalg import Array, symmetrize

__all__ = ["adjusted_by_visit"]

_MAX_SECOND = 1 << 28  # bytes of second derivatives


def adjusted_by_visit(
    design: Design, vc: VarianceComponents, information: str, *, linear: bool, method: str
) -> KenwardRoger:
    """Return Kenward and Roger's numbers; see `bayesv.kenward_roger`.

    Parameters
    ----------
    design : Design
        With a `SeriesResidual` over visits and no random terms.
    vc : VarianceComponents
        Aligned with the design.
    information : {"expected", "observed"}
    linear : bool
    method : str
        By which the components were estimated.

    Raises
    ------
    DataError
        If the design is another, or second derivatives take too much memory.
    """
    form = design.residual
    part = form.sequential if isinstance(form, StructuredResidual) else None
    if (
        not isinstance(form, StructuredResidual)
        or part is None
        or design.terms
        or not form.by_visit
    ):
        raise DataError(
            "Kenward–Roger with structured residuals is there for correlations over visits in "
            "models without random terms only."
        )
    sums, upper, start, _ = visit_sums(
        part.series, part.structure.size, design.X, design.target, form.known
    )
    R, first, second = _derivatives(form, part, vc)
    info = pattern_information(sums, R, first, second)
    names, parameters = list(design.fixed_names), _labels(part)
    expected, observed = (_inverse(matrix) for matrix in (info.expected, info.observed))
    W, notes = (expected, []) if information == "expected" else (observed, [])
    if np.isnan(W).any():
        notes.append(
            f"the {information} information on the residual covariance is singular: no adjustment"
        )
    if method == "ML":
        notes.append(
            "Kenward–Roger at ML estimates: its theory is REML's. ML's variances are too small, "
            "and so are these standard errors; fit by REML"
        )
    for note in notes:
        warn(note, FitWarning)
    parts = _parts(info, W, observed, np.linalg.inv(upper), linear=linear)
    return KenwardRoger(
        cov_plugin=pd.DataFrame(parts.Phi, names, names),
        cov=pd.DataFrame(parts.adjusted, names, names),
        beta=pd.Series(np.linalg.solve(upper, start + info.beta), names, name="beta"),
        W=W,
        W_observed=observed,
        parameters=parameters,
        aliased=np.zeros((len(parameters), 0)),
        notes=tuple(notes),
        _parts=parts,
    )


def _derivatives(
    form: StructuredResidual, part: Sequential, vc: VarianceComponents
) -> tuple[Array, Array, Array | None]:
    """Return R of all visits of all groups, and derivatives by the natural parameters."""
    structure, G, v = part.structure, part.n_groups, part.structure.size
    relative, z, _ = form.parameters(vc.residual, vc.sigma2)
    table = np.broadcast_to(relative.reshape(-1, structure.n_sds), (G, structure.n_sds))
    theta = [structure.theta(vc.sigma * sds, row) for sds, row in zip(table, z, strict=True)]
    h = len(theta[0])
    # The observed information, and with it Satterthwaite's degrees of freedom, takes them even
    # where the adjustment leaves them out.
    bends = not structure.is_linear
    if bends and 8.0 * (G * h * G * v) ** 2 > _MAX_SECOND:
        raise DataError(
            f"Second derivatives of {form.text} by {G * h} parameters take too much memory; state "
            "a family with fewer parameters, or compare groups of series by fits of their own."
        )
    R, first = np.zeros((G * v, G * v)), np.zeros((G * h, G * v, G * v))
    second = np.zeros((G * h, G * h, G * v, G * v)) if bends else None
    for k, natural in enumerate(theta):
        visits, part_rows = slice(k * v, (k + 1) * v), slice(k * h, (k + 1) * h)
        R[visits, visits] = structure.natural_covariance(natural)
        first[part_rows, visits, visits] = structure.first(natural)
        if second is not None:
            second[part_rows, part_rows, visits, visits] = structure.second(natural)
    return R, first, second


def _labels(part: Sequential) -> tuple[str, ...]:
    labels = part.structure.theta_labels(part.series.visits)
    groups = [f"{group}: " for group in part.series.groups] or [""]
    return tuple(f"Residual: {group}{label}" for group in groups for label in labels)


def _parts(
    info: PatternInformation, W: Array, observed: Array, back: Array, *, linear: bool
) -> Adjustment:
    """Return the adjustment in the user's coefficients, β = back γ."""
    p, Phi = len(back), info.Phi
    return Adjustment(
        Phi=symmetrize(back @ Phi @ back.T),
        adjusted=symmetrize(back @ info.adjusted(W, linear=linear) @ back.T),
        slopes=np.asarray(back @ Phi @ info.P @ Phi @ back.T),
        W=W,
        W_observed=observed,
        lost_slopes=np.zeros((0, p, p)),
        lost_squares=np.zeros((0, p, p)),
    )


def _inverse(information: Array) -> Array:
    """Return the inverse of information on parameters of different units; NaN if not positive."""
    unit = np.sqrt(np.abs(np.diagonal(information)))
    unit = np.where(unit > 0, unit, 1.0)
    try:
        half = np.linalg.inv(np.linalg.cholesky(information / np.outer(unit, unit)))
    except np.linalg.LinAlgError:
        return np.full_like(information, np.nan)
    half = half / unit
    return np.asarray(half.T @ half)
