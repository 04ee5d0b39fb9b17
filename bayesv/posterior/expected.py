"""E[V | y] of all rows, as an operator."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from bayesv.covariance import ComponentDraws, MarginalCovariance
from bayesv.design.blockwise import Blockwise
from bayesv.design.residual import Independent, Residual
from bayesv.design.row_covariances import RowCovariances
from bayesv.design.structured import Parameters, StructuredResidual
from bayesv.gram.pieces import whole_series
from bayesv.linalg import Array

__all__ = ["expected_v"]

_NUMBERS = 1e7  # of draws of R in memory


def expected_v(values: ComponentDraws) -> MarginalCovariance:
    """Return E[V | y], V at the means of (Σ, R).

    Parameters
    ----------
    values : ComponentDraws, shape (S,)
    """
    means = {group: cov.mean(axis=0) for group, cov in values.covs.items()}
    sigma2, design = float(values.sigma2.mean()), values.design
    if values.residual is not None and (form := design.structured_residual) is not None:
        design = design.with_residual(_expected(form, values.residual, values.sigma2 / sigma2))
    point = ComponentDraws(design, means, sigma2)
    return MarginalCovariance(design, point.components())


def _expected(form: StructuredResidual, residual: Parameters, shares: Array) -> Residual:
    """Return the mean over draws of R times a number each."""
    plain = replace(form, known=None)
    pieces = whole_series(plain)
    rows = RowCovariances.of(plain, [part.rows[part.first] for part in pieces])
    means = _means(rows, residual, shares)
    root = np.ones(form.n) if form.known is None else 1.0 / np.sqrt(form.known)
    if form.sequential is None:
        (part,), (mean,) = pieces, means
        variances = np.empty(form.n)
        variances[part.rows[:, 0]] = mean[part.pattern, 0, 0]
        return Independent(1.0 / (variances * root**2))
    _, codes = np.unique(form.sequential.series.codes, return_inverse=True)
    blocks = [
        mean[part.pattern] * root[part.rows][:, :, None] * root[part.rows][:, None, :]
        for part, mean in zip(pieces, means, strict=True)
    ]
    return Blockwise(codes.ravel(), tuple(part.rows for part in pieces), tuple(blocks))


def _means(rows: RowCovariances, residual: Parameters, shares: Array) -> list[Array]:
    """Return weighted means over draws of the covariances of sets of rows."""
    numbers = sum(part.size * part.shape[1] for part in rows.sets)
    step, totals = max(1, int(_NUMBERS / max(numbers, 1))), list[Array]()
    for start in range(0, len(shares), step):
        some = slice(start, start + step)
        each = rows.at(Parameters(*(part[some] for part in residual)))
        sums = [np.tensordot(shares[some], cov, axes=1) for cov in each]
        totals = [a + b for a, b in zip(totals, sums, strict=True)] if totals else sums
    return [total / len(shares) for total in totals]
