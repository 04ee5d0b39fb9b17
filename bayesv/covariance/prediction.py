"""Best linear unbiased predictions of rows, at given variance components."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import sparse
from scipy.special import ndtri

from bayesv.covariance.components import VarianceComponents
from bayesv.covariance.effect_errors import conditional_variances, quadratic_forms
from bayesv.covariance.effects_of_sums import EffectsOfSums
from bayesv.covariance.gls import GLSFit
from bayesv.covariance.summed import AtV
from bayesv.design.design import Design
from bayesv.errors import DataError
from bayesv.formula.new_residuals import Across
from bayesv.formula.prediction import PredictedRows
from bayesv.linalg import Array

__all__ = ["INCLUDED", "OF", "predicted", "predicted_of_sums"]

INCLUDED = ("all", "random", "fixed")
OF = ("mean", "response")


def predicted(
    estimates: GLSFit, rows: PredictedRows, include: str, of: str, prob: float
) -> pd.DataFrame:
    """Return predictions of rows, their errors and intervals.

    Parameters
    ----------
    estimates : GLSFit
    rows : PredictedRows
        m rows.
    include : {"all", "random", "fixed"}
        What of the fitted rows is used beside β̂; see `RemlFit.predict`.
    of : {"mean", "response"}
        What the interval is of.
    prob : float

    Returns
    -------
    DataFrame, shape (m, 5)
        Columns mean, se, sd, low, high.

    Notes
    -----
    With C the covariance of what is predicted, e.g. Zu + ε of new rows, with y, the prediction is
    Xβ̂ + CV⁻¹(y − Xβ̂), and its error has the variance v − CV⁻¹C' + DΦD', where v is the variance
    of Zu + ε, D = X − CV⁻¹X and Φ = (X'V⁻¹X)⁻¹ (Robinson 1991, doi:10.1214/ss/1177011926).
    """
    V, design = estimates.V, estimates.V.design
    if design.sigma_is_known and rows.residual.iid and of == "response":
        raise DataError(
            "The residual variances of the fit are known, and those of the new rows are not: name "
            "the column of their reciprocals, weights='…'."
        )
    beta, phi = estimates.beta.to_numpy(), estimates.cov.to_numpy()
    mean, slopes = rows.X @ beta, rows.X
    of_levels = _of_levels(estimates, rows)
    parts, of_residuals, left = _residuals(estimates, rows)
    related = any(new.kin is not None for new in rows.terms)
    if include == "fixed":
        unknown = np.zeros(len(rows.labels))
    elif related or (include == "all" and parts):
        across = _levels(estimates, rows)
        if include == "all":
            across = sparse.csr_array(across + _joined(parts, across.shape))
        mean = mean + across @ V.solve(estimates.left)
        slopes = rows.X - across @ V.solve(design.X) if design.p else rows.X
        unknown = of_levels - quadratic_forms(V.solve, across)
    else:
        A, of_new = _effects(estimates, rows)
        mean = mean + A @ estimates.blup.to_numpy()
        slopes = rows.X - A @ estimates.blup_of_X if design.p else rows.X
        unknown = of_new + conditional_variances(V, A)
    error = unknown + ((slopes @ phi) * slopes).sum(axis=1)
    if include == "all":  # what is not known of new residuals is independent of fitted ones
        error += np.where(np.isnan(left), 0.0, of_residuals - left)
        response = error + left
    else:
        response = error + of_residuals + (of_levels if include == "fixed" else 0.0)
    return _table(rows, mean, error, response, of, prob)


def predicted_of_sums(
    fit: AtV,
    design: Design,
    vc: VarianceComponents,
    rows: PredictedRows,
    of: str,
    prob: float,
    effects: EffectsOfSums | None = None,
) -> pd.DataFrame:
    """Return predictions of rows where the rows of the fit are gone.

    Parameters
    ----------
    fit : AtV
        At the estimates.
    design : Design
    vc : VarianceComponents
        Aligned with it.
    rows, of, prob
        As of `predicted`.
    effects : EffectsOfSums, optional
        Of fitted levels; left out, all groups are new ones.
    """
    mean = rows.X @ fit.beta.to_numpy()
    of_levels = np.zeros(len(rows.labels))
    for term, new in zip(design.terms, rows.terms, strict=True):
        unseen = effects is None or new.fitted[new.codes] < 0
        of_levels += np.where(unseen, new.variances(vc.block_for(term)), 0.0)
    if effects is None:
        error = ((rows.X @ fit.cov.to_numpy()) * rows.X).sum(axis=1)
        response = error + of_levels
    else:
        parts = zip(design.terms, rows.terms, strict=True)
        A = sparse.csr_array(sparse.hstack([new.matrix(t.n_levels) for t, new in parts]))
        mean = mean + A @ effects.blup
        response = error = effects.errors(rows.X, A) + of_levels
    response = response + vc.sigma2 * np.asarray(rows.residual.diagonal)
    return _table(rows, mean, error, response, of, prob)


def _table(
    rows: PredictedRows, mean: Array, error: Array, response: Array, of: str, prob: float
) -> pd.DataFrame:
    """Return means, the roots of both variances, and intervals."""
    se, sd = (np.sqrt(np.maximum(part, 0.0)) for part in (error, response))
    if of == "response" and np.isnan(sd).any():
        raise DataError(
            "Residual variances of the fit are known, and those of the new rows are not: name a "
            "column with their reciprocals as weights=, or predict of='mean'."
        )
    if rows.offset is not None:
        mean = mean + rows.offset
    half = ndtri(0.5 + prob / 2.0) * (se if of == "mean" else sd)
    values = {"mean": mean, "se": se, "sd": sd, "low": mean - half, "high": mean + half}
    return pd.DataFrame(values, index=pd.Index(rows.labels, name="row"))


def _of_levels(estimates: GLSFit, rows: PredictedRows) -> Array:
    """Return the variances of Zu of the rows, (m,)."""
    V, variances = estimates.V, np.zeros(len(rows.labels))
    for term, new in zip(V.design.terms, rows.terms, strict=True):
        variances += new.variances(V.vc.block_for(term))
    return variances


def _levels(estimates: GLSFit, rows: PredictedRows) -> sparse.csr_array:
    """Return covariances of Zu of the rows with y, (m, n)."""
    V, design = estimates.V, estimates.V.design
    across = sparse.csr_array((len(rows.labels), design.n))
    for term, new in zip(design.terms, rows.terms, strict=True):
        across = across + new.across(term, V.vc.block_for(term))
    return sparse.csr_array(across)


def _effects(estimates: GLSFit, rows: PredictedRows) -> tuple[sparse.csr_array, Array]:
    """Return Z of the rows over fitted levels, (m, q), and the variances of Zu of new levels."""
    V, design = estimates.V, estimates.V.design
    parts, of_new = [sparse.csr_array((len(rows.labels), 0))], np.zeros(len(rows.labels))
    for term, new in zip(design.terms, rows.terms, strict=True):
        parts.append(new.matrix(term.n_levels))
        unseen = new.fitted[new.codes] < 0
        of_new += np.where(unseen, new.variances(V.vc.block_for(term)), 0.0)
    return sparse.csr_array(sparse.hstack(parts, format="csr")), of_new


def _residuals(estimates: GLSFit, rows: PredictedRows) -> tuple[list[Across], Array, Array]:
    """Return covariances with the residuals of fitted rows, variances, and what is left of them."""
    V, design = estimates.V, estimates.V.design
    if rows.continued is not None:
        return rows.continued.given_fitted(V.vc.residual, V.vc.sigma2)
    if design.sigma_is_known and rows.residual.iid:
        unknown = np.full(len(rows.labels), np.nan)
        return [], unknown, unknown
    variances = V.vc.sigma2 * np.asarray(rows.residual.diagonal)
    return [], variances, variances


def _joined(parts: list[Across], shape: tuple[int, int]) -> sparse.csr_array:
    """Return covariances of the residuals of new rows with those of fitted ones, (m, n)."""
    if not parts:
        return sparse.csr_array(shape)
    values = [across.ravel() for _, _, across in parts]
    places = [
        np.stack(np.broadcast_arrays(new[:, :, None], old[:, None, :])).reshape(2, -1)
        for new, old, _ in parts
    ]
    i, j = np.concatenate(places, axis=1)
    return sparse.csr_array(sparse.coo_array((np.concatenate(values), (i, j)), shape=shape))
