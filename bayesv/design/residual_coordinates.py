"""Unconstrained coordinates of the parameters of structured residuals."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from bayesv.design.design import Design
from bayesv.design.structured import Parameters, StructuredResidual
from bayesv.linalg import Array

__all__ = ["ResidualCoordinates", "parameter_count"]


@dataclass(frozen=True, eq=False)
class ResidualCoordinates:
    """Logs of SDs over the first, coordinates z of the correlation group by group, exponents.

    The first SD is the scale σ of what they are beside.

    Attributes
    ----------
    form : StructuredResidual
    """

    form: StructuredResidual

    @cached_property
    def n_ratios(self) -> int:
        """Number of SDs beside the first."""
        return max(len(self.form.sd_labels) - 1, 0)

    @cached_property
    def n_exponents(self) -> int:
        """Number of exponents."""
        return len(self.form.scales.powers)

    @cached_property
    def z_shape(self) -> tuple[int, int]:
        """Number of groups, and of coordinates of the correlation of each."""
        part = self.form.sequential
        return (0, 0) if part is None else (part.n_groups, part.structure.n_corrs)

    @cached_property
    def corrs(self) -> slice:
        """Where coordinates of correlations stand."""
        return slice(self.n_ratios, self.n_ratios + int(np.prod(self.z_shape)))

    @cached_property
    def size(self) -> int:
        """Number of coordinates."""
        return int(self.corrs.stop) + self.n_exponents

    @cached_property
    def names(self) -> tuple[str, ...]:
        """What each coordinate is of."""
        form = self.form
        first, *others = form.sd_labels or ("",)
        numbers = form.corr_labels
        stop = len(numbers) - self.n_exponents
        return (
            *(f"log sd Residual: {label} over {first}" for label in others),
            *(f"z Residual: {label}" for label in numbers[:stop]),
            *numbers[stop:],
        )

    def parameters(self, x: Array) -> Parameters:
        """Return the parameters of coordinates, (..., d); the first SD is 1."""
        ratios = np.exp(x[..., : self.n_ratios])
        sds = np.concatenate([np.ones((*x.shape[:-1], 1)), ratios], axis=-1)
        z = x[..., self.corrs].reshape(*x.shape[:-1], *self.z_shape)
        return Parameters(sds, z, x[..., self.corrs.stop :])

    def of(self, parameters: Parameters) -> Array:
        """Return the coordinates of parameters, (..., d)."""
        logs = np.log(parameters.sds)
        ratios = logs[..., 1:] - logs[..., :1] if self.n_ratios else logs[..., :0]
        z = parameters.z.reshape(*logs.shape[:-1], -1)
        return np.concatenate([ratios, z, parameters.exponents], axis=-1)

    def gradient(self, bar: Parameters) -> Array:
        """Return the derivative by coordinates of that by log SDs, z and exponents."""
        ratios = bar.sds[1:] if self.n_ratios else bar.sds[:0]
        return np.concatenate([ratios, bar.z.ravel(), bar.exponents])


def parameter_count(design: Design) -> int:
    """Return the number of fixed effects and of variance parameters of G and R."""
    of_terms = sum(t.structure.n_sds + t.structure.n_corrs for t in design.terms)
    form = design.parametric_residual
    more = (
        0
        if form is None or not isinstance(form, StructuredResidual)
        else (ResidualCoordinates(form).size)
    )
    return design.p + of_terms + more + (0 if design.sigma_is_known else 1)
