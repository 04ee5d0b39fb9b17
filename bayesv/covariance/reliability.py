"""How well the data tell the levels of a grouping factor apart."""

from __future__ import annotations

import numpy as np

from bayesv.covariance.draws import ComponentDraws
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
    if values.residual is not None:
        raise DataError(
            "Reliabilities of BLUPs are not there for residuals with parameters: Var(û − u) of one "
            "draw is bv.gls(design, components) with post.components(chain, draw)."
        )
    left = Pointwise(values.design).unexplained(values)
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
