"""Variance components as a fit computed them, labelled when they are first looked at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from bayesv.covariance.components import VarianceComponents
from bayesv.design.design import RandomTerm
from bayesv.linalg import Array
from bayesv.support.deferred import later

__all__ = ["estimated"]


def estimated(
    terms: Sequence[RandomTerm], blocks: Sequence[Array], sigma2: float, residual: Any = None
) -> VarianceComponents:
    """Return components that are valid as they were computed: each block is a root squared.

    Parameters
    ----------
    terms : sequence of RandomTerm
    blocks : sequence of ndarray, shape (k, k)
        Σ_f of each term.
    sigma2 : float
    residual : ResidualValues, optional
    """
    new = VarianceComponents({}, sigma2, residual)
    object.__setattr__(new, "_blocks", later(_labelled, terms, blocks))
    return new


def _labelled(terms: Sequence[RandomTerm], blocks: Sequence[Array]) -> dict[str, pd.DataFrame]:
    return {
        term.group: pd.DataFrame(block, term.column_index, term.column_index)
        for term, block in zip(terms, blocks, strict=True)
    }
