"""Elements of V = Z G Z' + R for many values of its parameters at once."""

from __future__ import annotations

import numpy as np

from bayesv.covariance import ComponentDraws
from bayesv.linalg import Array

__all__ = ["element_of_v"]


def element_of_v(values: ComponentDraws, i: int, k: int) -> Array:
    """Return V_ik of rows i and k, shape (S,).

    Parameters
    ----------
    values : ComponentDraws, shape (S,)
        Of a design with its rows.
    i, k : int
    """
    return values.sigma2 * _of_residual(values, i, k) + _through_levels(values, i, k)


def _through_levels(values: ComponentDraws, i: int, k: int) -> Array:
    """Return the covariance of rows i and k through the levels they share, shape (S,)."""
    total = np.zeros(values.size)
    for term in values.design.terms:
        shared = float(term.shared(term.codes[i], term.codes[k]))
        total += shared * np.einsum(
            "a,sab,b->s", term.values[i], values.covs[term.group], term.values[k]
        )
    return total


def _of_residual(values: ComponentDraws, i: int, k: int) -> Array:
    """Return R_ik/σ², shape (S,)."""
    form, rows = values.design.structured_residual, np.array([[i]] if i == k else [[i, k]])
    if form is None or values.residual is None:
        return np.full(values.size, values.design.residual.block(rows)[0, 0, -1])
    return np.asarray(form.covariance(values.residual, rows)[:, 0, 0, -1])
