"""How well the data tell the levels of a grouping factor apart."""

from __future__ import annotations

import numpy as np

from bayesv.covariance.draws import ComponentDraws
from bayesv.covariance.effects import effects_table
from bayesv.covariance.gls import gls
from bayesv.covariance.pointwise import Pointwise
from bayesv.errors import DataError
from bayesv.linalg import Array

__all__ = ["reliability"]


def reliability(values: ComponentDraws) -> Array:
    """Return 1 − Var(û − u)/Var(u), averaged over levels, for every column of every term.

    Of related levels both variances are averaged, Var(u_j) being K_jj Σ.

    Parameters
    ----------
    values : ComponentDraws, shape (S,)
        Of a design with its rows.

    Returns
    -------
    ndarray, shape (S, Σ r_f)
        NaN where Var(u) is 0. Var(û − u) allows for the estimation of β.
    """
    if not values.design.terms:
        raise DataError(
            "There are no random effects, of which reliabilities are. V of the rows of a series is "
            "all of the residuals: see by_lag() of a fit."
        )
    structured = values.residual is not None  # R over σ² is another at each draw, not diagonal
    left = _by_gls(values) if structured else Pointwise(values.design).unexplained(values)
    sizes = [
        1.0 if term.related is None else term.related.variances.mean()
        for term in values.design.terms
    ]
    with np.errstate(invalid="ignore"):
        each = [
            1.0 - mean / (size * np.diagonal(cov, axis1=1, axis2=2))
            for mean, size, cov in zip(left, sizes, values.covs.values(), strict=True)
        ]
    return np.concatenate(each, axis=1)


def _by_gls(values: ComponentDraws) -> list[Array]:
    """Return the mean over levels of Var(û − u) of each draw, (S, r) for each term."""
    squares = [
        effects_table(gls(point.design, point.components()))["se"].to_numpy() ** 2
        for point in values.known()
    ]
    ends = np.cumsum([term.n_levels * term.n_columns for term in values.design.terms])
    return [
        part.reshape(len(squares), -1, term.n_columns).mean(axis=1)
        for part, term in zip(
            np.split(np.stack(squares), ends[:-1], axis=1), values.design.terms, strict=True
        )
    ]
