"""Responses drawn from a Gaussian mixed model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bayesv.design.design import Design
from bayesv.linalg import Array

__all__ = ["simulate"]


def simulate(
    design: Design, beta: Array, roots: Sequence[Array], sigma: float, rng: np.random.Generator
) -> tuple[Array, dict[str, Array]]:
    """Draw y = offset + Xβ + Zu + e with u_j ~ N(0, Σ_f) and e_i ~ N(0, σ²/w_i).

    Parameters
    ----------
    design : Design
    beta : ndarray, shape (p,)
    roots : sequence of ndarray, shapes (r_f, r_f)
        Λ_f with Σ_f = Λ_f Λ_f', in the order of the design's terms.
    sigma : float
    rng : Generator

    Returns
    -------
    ndarray, dict of str to ndarray
        y, shape (n,), and u by group, shapes (J_f, r_f).
    """
    w = np.ones(design.n) if design.weights is None else design.weights
    offset = np.zeros(design.n) if design.offset is None else design.offset
    y = offset + design.X @ beta
    y += sigma * rng.normal(size=design.n) / np.sqrt(w)
    effects = {}
    for term, root in zip(design.terms, roots, strict=True):
        u = rng.normal(size=(term.n_levels, term.n_columns)) @ root.T
        y += term.apply(u)
        effects[term.group] = u
    return y, effects
