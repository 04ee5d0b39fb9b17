"""Families of covariance matrices, shared by random effects (G) and residuals (R)."""

from bayesv.structures.direct_sum import Diagonal, DirectSum, direct_sum, of_blocks, of_linked
from bayesv.structures.structure import CovarianceStructure
from bayesv.structures.unstructured import Unstructured

__all__ = [
    "CovarianceStructure",
    "Diagonal",
    "DirectSum",
    "Unstructured",
    "direct_sum",
    "of_blocks",
    "of_linked",
]
