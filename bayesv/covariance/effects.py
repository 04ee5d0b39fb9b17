"""Predicted random effects with their standard errors, β known or estimated."""

from __future__ import annotations

import numpy as np
import pandas as pd

from bayesv.covariance.gls import GLSFit

__all__ = ["effects_table"]

_NUMBERS = 2e7  # of a batch of columns


def effects_table(estimates: GLSFit, group: str | None = None) -> pd.DataFrame:
    """Return û with standard errors of û − u; see `RemlFit.random_effects`.

    Parameters
    ----------
    estimates : GLSFit
    group : str, optional
        A grouping factor; all if left out.

    Notes
    -----
    With B = Z G: Var(û − u | β) = G − B'V⁻¹B, and as β̂ is estimated
    + (X'V⁻¹B)' (X'V⁻¹X)⁻¹ X'V⁻¹B, at the V that is given.
    """
    V, design = estimates.V, estimates.V.design
    B, prior = (design.Z @ V.G).tocsc(), V.G.diagonal()
    explained, by_beta = np.zeros(design.q), np.zeros(design.q)
    half = np.linalg.cholesky(estimates.cov.to_numpy()) if design.p else np.zeros((0, 0))
    width = max(1, int(_NUMBERS / design.n))
    labels = design.effect_labels
    chosen = np.arange(design.q)
    if group is not None:
        chosen = np.flatnonzero(labels.get_level_values(0) == design.term(group).group)
    for first in range(0, len(chosen), width):
        batch = chosen[first : first + width]
        columns = B[:, batch].toarray()
        solved = V.solve(columns)
        explained[batch] = (columns * solved).sum(axis=0)
        if design.p:
            by_beta[batch] = ((half.T @ (design.X.T @ solved)) ** 2).sum(axis=0)
    given = np.clip(prior - explained, 0.0, None)
    table = pd.DataFrame(
        {
            "estimate": estimates.blup.to_numpy(),
            "se": np.sqrt(given + by_beta),
            "se_given_beta": np.sqrt(given),
        },
        index=labels,
    )
    return table.iloc[chosen]
