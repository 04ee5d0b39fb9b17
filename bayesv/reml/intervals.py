"""Intervals of every parameter of a fit: Wald's, of the profile likelihood, of refits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import ndtr, ndtri

from bayesv.covariance import kenward_roger
from bayesv.covariance.clusters import refuse_slow
from bayesv.covariance.quantities import point_quantities
from bayesv.errors import BayesvError, FitWarning, MemoryNeededError, warn
from bayesv.linalg import Array, Mask
from bayesv.reml.profile import profiled
from bayesv.reml.surface import Surface
from bayesv.structures import CovarianceStructure
from bayesv.support.shown import WholeFrame

__all__ = ["METHODS", "confint", "fixed_table", "wald_intervals"]

METHODS = ("Wald", "profile", "bootstrap")
_STEP = 1e-4  # of a coordinate, for second derivatives
_FREE = np.log(1e2)  # half an interval of log SD that says nothing
_FAR = 9.0  # log SD below σ, or coordinate of a correlation, that is on the boundary


def confint(fit: Any, method: str, prob: float, refits: Any) -> pd.DataFrame:
    """Return intervals of SDs, correlations, parameters of residuals and β; see `RemlFit.confint`.

    Parameters
    ----------
    fit : RemlFit
    method : {"Wald", "profile", "bootstrap"}
    prob : float
    refits : Bootstrap or None
    """
    if (method == "bootstrap") != (refits is not None):
        raise BayesvError(
            "Intervals of a bootstrap are of its refits: fit.confint('bootstrap', "
            "refits=bv.bootstrap(fit, draws=500, seed=1))."
        )
    if method == "bootstrap":
        table = refits.interval(prob)[["estimate", "low", "high"]]
        return WholeFrame(table[table.index.str.startswith(("sd ", "corr ", "beta "))])
    if method == "profile":
        return WholeFrame(profiled(fit, "ML", prob, None, fixed=True))
    fixed = fixed_table(fit, prob)[["estimate", "low", "high"]]
    fixed.index = pd.Index([f"beta {name}" for name in fit.design.fixed_names])
    return WholeFrame(pd.concat([wald_intervals(fit, prob), fixed]))


def fixed_table(fit: Any, prob: float) -> pd.DataFrame:
    """Return Kenward–Roger's tests and intervals of β; normal ones of ML, or without rows.

    Parameters
    ----------
    fit : RemlFit
    prob : float

    Warns
    -----
    FitWarning
        If there are too many effects for Kenward–Roger's degrees of freedom.
    """
    half, z = ndtri((1 + prob) / 2) * fit.se, fit.beta / fit.se
    table = pd.DataFrame(
        {"estimate": fit.beta, "se": fit.se, "df": np.inf, "t": z, "p": 2.0 * ndtr(-np.abs(z)),
         "low": fit.beta - half, "high": fit.beta + half}
    )  # fmt: skip
    is_known = fit.design.sigma_is_known and not fit.design.terms  # V has no parameters
    if fit.method == "REML" and fit.design.p and fit.design.has_rows and not is_known:
        try:
            refuse_slow(fit.design)
            table = pd.DataFrame(kenward_roger(fit).table(prob=prob))
        except MemoryNeededError as error:
            said = "Intervals of β are normal ones, without Kenward–Roger's degrees of freedom."
            warn(f"{said} {error}", FitWarning)
    return table


def wald_intervals(fit: Any, prob: float = 0.95) -> pd.DataFrame:
    """Return intervals that are symmetric in log SD, and in atanh of a correlation."""
    if fit.design.sigma_is_known and not fit.design.terms:
        return pd.DataFrame(columns=["estimate", "low", "high"])
    surface = Surface(fit, fit.method)
    point, quantile = surface.exact(fit), float(ndtri((1 + prob) / 2))
    cov, inside = _covariance(surface, point)
    names = list(surface.scalars(point))
    families = surface.places()[1]
    spans = {
        name: _transformed(name, surface.scalars(point)[name], families.get(name, (0, None))[1])
        for name in names
    }

    def transformed(y: Array) -> Array:
        values = surface.scalars(y)
        return np.array([spans[name][0](values[name]) for name in names])

    steps = _STEP * np.eye(surface.size)
    with np.errstate(all="ignore"):
        slopes = np.stack([(transformed(point + h) - transformed(point - h)) / (2 * _STEP)
                           for h in steps], axis=1)  # fmt: skip
        reach = np.abs(slopes[:, ~inside]).max(axis=1, initial=0.0)
        part = slopes[:, inside]
        half = quantile * np.sqrt(np.einsum("ki,ij,kj->k", part, cov, part))
        middle = transformed(point)
        # What depends on a parameter at its boundary has no interval of this kind, nor an SD
        # whose logarithm the curvature leaves free.
        free = np.array([name.startswith("sd ") for name in names]) & (half > _FREE)
        at_one = np.array([name.startswith("corr ") for name in names]) & (np.abs(middle) > _FAR)
        half[(reach > 1e-6) | ~(half > 0) | free | at_one] = np.nan
        back = [spans[name][1] for name in names]
        low = [f(v) for f, v in zip(back, middle - half, strict=True)]
        high = [f(v) for f, v in zip(back, middle + half, strict=True)]
    exact = {q.label: float(q.values) for q in point_quantities(fit.design, fit.components)}
    estimates = [exact[name] for name in names]
    return pd.DataFrame({"estimate": estimates, "low": low, "high": high}, index=pd.Index(names))


def _covariance(surface: Surface, point: Array) -> tuple[Array, Mask]:
    """Return the inverse of half the second derivatives, and which coordinates it is of."""
    log_sds = surface.log_relative_sds(point)
    inside = np.where(surface.relative, log_sds > -_FAR, np.abs(point) < _FAR)
    inside[-1] = not surface.scale_is_known
    for part in surface.coordinates.parts:  # correlations of an effect that is 0 are nothing
        inside[part.corrs] &= bool(inside[part.sds].all())
    steps = _STEP * np.eye(surface.size)[inside]
    slopes = [
        (surface.value_and_gradient(point + h)[1] - surface.value_and_gradient(point - h)[1])
        / (2 * _STEP)
        for h in steps
    ]
    hessian = np.array(slopes)[:, inside]
    try:
        root = np.linalg.cholesky(0.25 * (hessian + hessian.T))
    except np.linalg.LinAlgError:
        return np.full(hessian.shape, np.nan), inside
    inverse = np.linalg.inv(root)
    return inverse.T @ inverse, inside


def _transformed(
    name: str, value: float, family: CovarianceStructure | None
) -> tuple[Callable[[float], float], Callable[[float], float]]:
    """Return the scale on which an interval is symmetric, and the way back."""
    if family is not None:  # the coordinate of its one parameter
        return (
            lambda v: float(family.from_natural(np.array([v]))[0]),
            lambda z: float(family.natural(np.array([z]))[0]),
        )
    if name.startswith("sd ") or name.endswith("range"):
        return (lambda v: float(np.log(v))), (lambda v: float(np.exp(v)))
    if "power" in name or "exp " in name or not -1.0 < value < 1.0:
        return (lambda v: v), (lambda v: v)
    return (lambda v: float(np.arctanh(v))), (lambda v: float(np.tanh(v)))
