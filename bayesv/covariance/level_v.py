"""V of the rows of one level, of designs with rows and of those that were summed up in batches."""

from __future__ import annotations

from typing import cast

import numpy as np
import pandas as pd

from bayesv.covariance.components import VarianceComponents
from bayesv.covariance.marginal import MarginalCovariance
from bayesv.design.design import Design, DesignSummary
from bayesv.formula.new_rows import new_rows
from bayesv.linalg import Array

__all__ = ["v_of_level", "v_of_new_rows"]


def v_of_level(design: Design, vc: VarianceComponents, group: str, level: object) -> pd.DataFrame:
    """Return V of the rows of a level, labelled; rows that are gone are read again.

    Parameters
    ----------
    design : Design
        With its rows, or whose rows can be read again.
    vc : VarianceComponents
    group, level : str, object
    """
    if design.has_rows:
        return MarginalCovariance(design, vc).block(group, level)
    data, weights = cast(DesignSummary, design).rows_of(group, level)
    return v_of_new_rows(design, vc, data, weights)


def v_of_new_rows(
    design: Design, vc: VarianceComponents, data: pd.DataFrame, weights: str | None = None
) -> pd.DataFrame:
    """Return V of rows that the design does not have, of independent residuals, labelled.

    Parameters
    ----------
    design : Design
    vc : VarianceComponents
    data : DataFrame
        As `bayesv.formula.new_rows.new_rows` takes it.
    weights : str, optional
        Column of known weights.
    """
    rows = new_rows(design, data, weights)
    V: Array = vc.sigma2 * np.diag(rows.residual.diagonal)
    for term, new in zip(design.terms, rows.terms, strict=True):
        shared = new.shared(new.codes[:, None], new.codes)
        V = V + shared * (new.values @ vc.block_for(term) @ new.values.T)
    return pd.DataFrame(V, rows.row_labels, rows.row_labels)
