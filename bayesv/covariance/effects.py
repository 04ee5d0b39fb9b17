"""Predicted random effects with their standard errors, β known or estimated."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import sparse

from bayesv.covariance.effect_errors import conditional_variances
from bayesv.covariance.effects_of_sums import EffectsOfSums
from bayesv.covariance.gls import GLSFit
from bayesv.linalg import Array
from bayesv.support.shown import WholeFrame

__all__ = ["effects_of_sums", "effects_table"]


def effects_table(estimates: GLSFit, group: str | None = None) -> pd.DataFrame:
    """Return û with standard errors of û − u; see `RemlFit.random_effects`.

    Parameters
    ----------
    estimates : GLSFit
    group : str, optional
        A grouping factor; all if left out.

    Notes
    -----
    At the V that is given, with D = Var(û − u | β): as β̂ is estimated, that of û − u is
    D + GZ'V⁻¹X (X'V⁻¹X)⁻¹ X'V⁻¹ZG.
    """
    design = estimates.V.design
    labels = design.effect_labels
    chosen = np.arange(design.q)
    if group is not None:
        chosen = np.flatnonzero(labels.get_level_values(0) == design.term(group).group)
    given = conditional_variances(estimates.V, sparse.eye_array(design.q, format="csr")[chosen])
    by_beta = np.zeros(len(chosen))
    if design.p:
        half = np.linalg.cholesky(estimates.cov.to_numpy())
        by_beta = ((estimates.blup_of_X[chosen] @ half) ** 2).sum(axis=1)
    return _table(estimates.blup.to_numpy()[chosen], given, by_beta, labels[chosen])


def effects_of_sums(effects: EffectsOfSums, group: str | None = None) -> pd.DataFrame:
    """Return the same of a design whose rows are gone."""
    labels = effects.design.effect_labels
    chosen = np.ones(len(labels), dtype=bool)
    if group is not None:
        chosen = labels.get_level_values(0) == effects.design.term(group).group
    given, by_beta = effects.given_beta[chosen], effects.by_beta[chosen]
    return _table(effects.blup[chosen], given, by_beta, labels[chosen])


def _table(estimate: Array, given: Array, by_beta: Array, labels: pd.MultiIndex) -> pd.DataFrame:
    columns = {
        "estimate": estimate,
        "se": np.sqrt(given + by_beta),
        "se_given_beta": np.sqrt(given),
    }
    return WholeFrame(columns, index=labels)
