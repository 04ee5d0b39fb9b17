"""Standard errors and intervals of β by each method, for one structure of V and for several."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import scipy  # .optimize is loaded when it is used
from scipy.special import ndtr, ndtri, stdtr, stdtrit

from bayesv.comparison.averaged import weighted_quantile
from bayesv.covariance import KenwardRoger, kenward_roger
from bayesv.covariance.sandwich import robust
from bayesv.errors import BayesvError
from bayesv.linalg import Array
from bayesv.study.estimation.estimate import Estimate

__all__ = ["Approximation", "FixedEffects", "approximation", "combined", "drawn", "of_reml"]

_FAR = 1e3  # standard errors around the estimates within which an end of an interval is looked for


class Approximation(NamedTuple):
    """(β − β̂)/se has a t distribution, in the eyes of a method.

    Attributes
    ----------
    beta, se, df : ndarray, shape (p,)
        NaN where a method has none; df may be infinite.
    why : str
        Why there is none.
    """

    beta: Array
    se: Array
    df: Array
    why: str = ""


class FixedEffects(NamedTuple):
    """What is scored of β: arrays of shape (p,)."""

    beta: Array
    se: Array
    df: Array
    low: Array
    high: Array
    why: str = ""


def of_reml(estimate: Estimate) -> KenwardRoger | str | None:
    """Return what follows from REML's information, or why it does not exist."""
    if not (estimate.reml and estimate.model.design.p):
        return None
    try:
        return kenward_roger(estimate.model.design, estimate.components)
    except BayesvError as error:
        return str(error)


def approximation(
    method: str, estimate: Estimate, kr: KenwardRoger | str | None
) -> Approximation | None:
    """Return the approximation of a method; None if it is not for such an estimate."""
    p = estimate.model.design.p
    cov, df, why = estimate.cov_beta, np.full(p, np.inf), ""
    nothing = np.full((p, p), np.nan)
    if method in ("Satterthwaite", "Kenward–Roger"):
        if kr is None:
            return None
        if isinstance(kr, str):
            cov, why = nothing, kr
        elif method == "Satterthwaite":
            cov, df = kr.cov_plugin.to_numpy(), kr.df_satterthwaite.to_numpy()
        else:
            cov, df = kr.cov.to_numpy(), kr.df.to_numpy()
    elif method == "CR2":
        if estimate.draws is not None:
            return None
        try:
            cr = robust(estimate.model.design, estimate.components)
            cov, df = cr.cov.to_numpy(), cr.df.to_numpy()
        except BayesvError as error:
            cov, why = nothing, str(error)
    with np.errstate(invalid="ignore"):
        return Approximation(estimate.beta, np.sqrt(np.diagonal(cov)), df, why)


def combined(parts: Sequence[Approximation], weights: Array, prob: float) -> FixedEffects:
    """Return the estimate and interval of a weighted mean of approximations.

    Of one it is the t interval. Of several the tails of the mixture of their distributions beyond
    the ends are (1 − prob)/2 each, and the variance is that of the mixture of estimates; see
    `bayesv.study.Averaged`.
    """
    beta, se, df = (np.array([part[i] for part in parts]) for i in range(3))
    why = "; ".join(dict.fromkeys(part.why for part in parts if part.why))
    if len(parts) == 1:
        finite = np.where(np.isinf(df[0]), 1.0, df[0])
        q = (1 + prob) / 2
        half = se[0] * np.where(np.isinf(df[0]), ndtri(q), stdtrit(finite, q))
        return FixedEffects(beta[0], se[0], df[0], beta[0] - half, beta[0] + half, why)
    mean = weights @ beta
    spread = np.sqrt(weights @ (se**2 + (beta - mean) ** 2))
    ends = np.array(
        [
            _ends(b, s, v, weights, prob)
            for b, s, v in zip(beta.T, se.T, df.T, strict=True)
        ]
    ).reshape(-1, 2)  # fmt: skip
    return FixedEffects(mean, spread, np.full(len(mean), np.nan), ends[:, 0], ends[:, 1], why)


def drawn(draws: Sequence[Array], weights: Array, prob: float) -> FixedEffects:
    """Return mean, SD and quantiles of draws of β, or of a mixture of those of several models.

    Parameters
    ----------
    draws : sequence of ndarray, shapes (S, p)
    weights : ndarray, shape (K,)
    prob : float
    """
    tails = [(1 - prob) / 2, (1 + prob) / 2]
    p = draws[0].shape[1]
    if len(draws) == 1:
        low, high = np.quantile(draws[0], tails, axis=0)
        mean, sd = draws[0].mean(axis=0), draws[0].std(axis=0, ddof=1)
    else:
        ends = [weighted_quantile([x[:, j] for x in draws], weights, tails) for j in range(p)]
        low, high = np.array(ends).reshape(p, 2).T
        means = np.array([x.mean(axis=0) for x in draws])
        mean = weights @ means
        within = np.array([x.var(axis=0, ddof=1) for x in draws])
        sd = np.sqrt(weights @ (within + (means - mean) ** 2))
    return FixedEffects(mean, sd, np.full(p, np.nan), low, high)


def _ends(beta: Array, se: Array, df: Array, weights: Array, prob: float) -> tuple[float, float]:
    """Return the quantiles of a mixture of t distributions; NaN if one of them is not known."""
    if not (np.isfinite(beta) & np.isfinite(se)).all() or np.isnan(df).any():
        return np.nan, np.nan

    def below(x: float) -> float:
        z = (x - beta) / se
        tails = np.where(np.isinf(df), ndtr(z), stdtr(np.where(np.isinf(df), 1.0, df), z))
        return float(weights @ tails)

    low, high = (beta - _FAR * se).min(), (beta + _FAR * se).max()
    ends = []
    for q in ((1 - prob) / 2, (1 + prob) / 2):
        if not below(low) < q < below(high):  # next to no degrees of freedom
            return -np.inf, np.inf
        ends.append(float(scipy.optimize.brentq(lambda x, q=q: below(x) - q, low, high)))
    return ends[0], ends[1]
