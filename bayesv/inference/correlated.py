"""Correlated group effects for Bambi, through the public `Prior(dist=…)`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bayesv.inference.pymc_priors import prior_vector, sd_scalar

__all__ = ["CorrelatedEffects", "SharedSds", "Sibling"]


@dataclass(frozen=True)
class Sibling:
    """One Bambi term of a correlated block.

    Attributes
    ----------
    name : str
        Bambi's.
    coords : tuple of (str, tuple of labels)
        Its dims, of levels and, if it has several columns, of these.
    width : int
        Number of columns.
    sds : tuple of SdPrior
        Prior of each column's SD.
    """

    name: str
    coords: tuple[tuple[str, tuple[Any, ...]], ...]
    width: int
    sds: tuple[Any, ...]

    @property
    def dims(self) -> list[str]:
        """Names of the dims."""
        return [name for name, _ in self.coords]


@dataclass(frozen=True)
class CorrelatedEffects:
    """Group effects of one Bambi term, correlated with those of its siblings.

    Bambi calls it as ``dist(name, dims=…)`` when it builds the term. The first call creates what
    siblings share: the Cholesky factor L of the correlation matrix, every SD (``<term>_sigma``, see
    `SharedSds`) and every standard normal offset (``<term>_offset``), found by name in the PyMC
    model that is being built. Then c_i = σ_i Σ_{j ≤ i} L_ij z_j are the effects that priors speak
    of, and u = A⁻¹c.

    Attributes
    ----------
    block : str
        Name of the correlated block; L is ``<block>_chol``.
    siblings : tuple of Sibling
        In the order in which they are built.
    place : int
        Of this term among them.
    labels : tuple of str
        Names of the block's columns.
    eta : float
        Of the LKJ prior.
    back : tuple of tuple of float
        A⁻¹ of the block's columns, see `bayesv.priors.basis.Basis`.
    """

    block: str
    siblings: tuple[Sibling, ...]
    place: int
    labels: tuple[str, ...]
    eta: float
    back: tuple[tuple[float, ...], ...]

    @property
    def chol(self) -> str:
        """Name of the Cholesky factor."""
        return f"{self.block}_chol"

    def __call__(self, name: str, dims: Any = None, **_: Any) -> Any:
        """Build the term in the PyMC model that Bambi is building."""
        import pymc as pm
        import pytensor.tensor as pt

        model = pm.modelcontext(None)
        if self.chol not in model.named_vars:
            self._share(model)
        L = model.named_vars[self.chol]
        z, sd = [], []
        for sibling in self.siblings:
            offset = model.named_vars[f"{sibling.name}_offset"]
            sigma = model.named_vars[f"{sibling.name}_sigma"]
            alone = len(sibling.coords) == 1
            z += [offset] if alone else [offset[:, i] for i in range(sibling.width)]
            sd += [sigma] if alone else [sigma[i] for i in range(sibling.width)]
        centred = [
            sd[i] * sum(L[i, j] * z[j] for j in range(i + 1)) for i in range(len(self.labels))
        ]
        start = sum(sibling.width for sibling in self.siblings[: self.place])
        draws = [
            sum(weight * c for weight, c in zip(self.back[i], centred, strict=True) if weight)
            for i in range(start, start + self.siblings[self.place].width)
        ]
        return pm.Deterministic(
            name, draws[0] if len(dims) == 1 else pt.stack(draws, axis=1), dims=dims
        )

    def _share(self, model: Any) -> None:
        """Create the variables of all siblings."""
        import pymc as pm

        axes = (f"{self.block}_coef", f"{self.block}_coef_bis")
        model.add_coords({axis: list(self.labels) for axis in axes})
        L = pm.LKJCorr(self.chol, n=len(self.labels), eta=self.eta, dims=axes)
        pm.Deterministic(f"{self.block}_corr", L @ L.T, dims=axes)
        for sibling in self.siblings:
            for dim, labels in sibling.coords:
                if dim not in model.coords:
                    model.add_coords({dim: list(labels)})
            pm.Normal(f"{sibling.name}_offset", 0, 1, dims=sibling.dims)
            dims = [dim for dim in sibling.dims if not dim.endswith("__factor_dim")]
            SharedSds(sibling.sds)(f"{sibling.name}_sigma", dims)


@dataclass(frozen=True)
class SharedSds:
    """SDs of one term's columns, created once: by Bambi for the term, or before by a sibling.

    Attributes
    ----------
    priors : tuple of SdPrior
    """

    priors: tuple[Any, ...]

    def __call__(self, name: str, dims: Any = None, **_: Any) -> Any:
        """Return the variable of this name; create it if there is none."""
        import pymc as pm

        variables = pm.modelcontext(None).named_vars
        if name in variables:
            return variables[name]
        if dims:
            return prior_vector(name, self.priors, dims[0], flat="HalfFlat")
        return sd_scalar(name, self.priors[0])
