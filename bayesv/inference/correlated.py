"""Correlated group effects for Bambi, through the public `Prior(dist=…)`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = ["CorrelatedEffects"]


@dataclass(frozen=True)
class CorrelatedEffects:
    """Group effects of one Bambi term, correlated with those of its siblings.

    Bambi calls it as ``dist(name, sigma=…, dims=…)`` when it builds the term. Siblings share one
    Cholesky factor L of the correlation matrix and each other's standard normal offsets, both found
    by name in the PyMC model that is being built: u_i = σ_i Σ_{j ≤ i} L_ij z_j.

    Attributes
    ----------
    block : str
        Name of the correlated block; L is ``<block>_chol``.
    terms : tuple of (str, int)
        Bambi's names of the block's terms, in the order in which they are built, and their widths.
    start : int
        Position of this term's first column in the block.
    labels : tuple of str
        Names of the block's columns.
    eta : float
        Of the LKJ prior.
    """

    block: str
    terms: tuple[tuple[str, int], ...]
    start: int
    labels: tuple[str, ...]
    eta: float

    @property
    def chol(self) -> str:
        """Name of the Cholesky factor."""
        return f"{self.block}_chol"

    def __call__(self, name: str, sigma: Any, dims: Any = None, **_: Any) -> Any:
        """Build the term in the PyMC model that Bambi is building."""
        import pymc as pm
        import pytensor.tensor as pt

        model = pm.modelcontext(None)
        if self.chol not in model.named_vars:
            axes = (f"{self.block}_coef", f"{self.block}_coef_bis")
            model.add_coords({axis: list(self.labels) for axis in axes})
            L = pm.LKJCorr(self.chol, n=len(self.labels), eta=self.eta, dims=axes)
            pm.Deterministic(f"{self.block}_corr", L @ L.T, dims=axes)
        L = model.named_vars[self.chol]
        offsets: list[Any] = []
        start = 0
        for term, width in self.terms:
            if start > self.start:
                break
            own = f"{term}_offset"
            z = model.named_vars[own] if start < self.start else pm.Normal(own, 0, 1, dims=dims)
            offsets += [z] if z.ndim == 1 else [z[:, i] for i in range(width)]
            start += width
        columns = [
            sum(L[i, j] * offsets[j] for j in range(i + 1)) for i in range(self.start, len(offsets))
        ]
        if len(dims) == 1:
            return pm.Deterministic(name, sigma * columns[0], dims=dims)
        return pm.Deterministic(name, pt.stack(columns, axis=1) * sigma, dims=dims)
