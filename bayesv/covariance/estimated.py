"""Variance components as a fit computed them, labelled when they are first looked at."""

from __future__ import annotations

from collections.abc import Sequence

from bayesv.covariance.blocks import Block
from bayesv.covariance.components import VarianceComponents
from bayesv.design.design import RandomTerm
from bayesv.design.parametric import ResidualValues
from bayesv.linalg import Array

__all__ = ["estimated"]


def estimated(
    terms: Sequence[RandomTerm],
    blocks: Sequence[Array],
    sigma2: float,
    residual: ResidualValues | None = None,
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
    labelled = {
        term.group: Block(block, term.columns) for term, block in zip(terms, blocks, strict=True)
    }
    return VarianceComponents._valid(labelled, sigma2, residual or ResidualValues())
