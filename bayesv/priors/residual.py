"""Priors of the parameters of structured residuals."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from bayesv.design.structured import Parameters, StructuredResidual
from bayesv.errors import PriorError
from bayesv.linalg import Array
from bayesv.priors.draws_of_sds import draw_sd
from bayesv.priors.families import LKJ, CorrelationAbove, Normal, RangeBelow, SdPrior
from bayesv.structures.antedependence import ChainRoot
from bayesv.structures.coordinate_maps import CORRELATION
from bayesv.structures.coordinate_priors import CorrelationPC, RangePC
from bayesv.structures.spatial import Ranged
from bayesv.structures.structure import CovarianceStructure

__all__ = ["CorrPrior", "ResidualPriors", "structure_under"]

CorrPrior = LKJ | CorrelationAbove | RangeBelow


@dataclass(frozen=True, eq=False)
class ResidualPriors:
    """Priors of structured residuals.

    Attributes
    ----------
    form : StructuredResidual
    sds : tuple of SdPrior
        Of each labelled SD, or of the one that all rows have.
    corr : LKJ, CorrelationAbove, RangeBelow or None
        Of the correlation; None where there is none.
    exponents : tuple of Normal
        Of each exponent δ.

    Notes
    -----
    Where SDs are σ|x|^δ or σ exp(δx), the prior of σ is that of the SD at the mean of log|x| or of
    x: σ itself is the SD at x = 1 or 0, which may be far from all rows.
    """

    form: StructuredResidual
    sds: tuple[SdPrior, ...]
    corr: CorrPrior | None
    exponents: tuple[Normal, ...]

    @cached_property
    def structure(self) -> CovarianceStructure | None:
        """The family of the correlation, under its prior."""
        if self.form.sequential is None:
            return None
        return structure_under(self.form.sequential.structure, self.corr)

    @property
    def eta(self) -> float:
        """η of LKJ(η); 1 for others."""
        return self.corr.eta if isinstance(self.corr, LKJ) else 1.0

    @cached_property
    def _centres(self) -> Array:
        """Means of log|x| or x, shape (e,)."""
        return np.array([power.log_x.mean() for power in self.form.scales.powers])

    def _log_shift(self, exponents: Array) -> Array:
        return np.asarray(exponents @ self._centres if len(self._centres) else 0.0)

    def log_densities(
        self, parameters: Parameters, *, by_coordinates: bool = False
    ) -> dict[str, Array]:
        """Return log prior densities by name, shapes (...).

        Parameters
        ----------
        parameters : Parameters
            With SDs in units of the response.
        by_coordinates : bool
            Whether densities of correlations are by their coordinates.
        """
        shift = np.exp(self._log_shift(parameters.exponents))
        sds = parameters.sds * np.asarray(shift)[..., None]
        each = [prior.log_density(sds[..., i]) for i, prior in enumerate(self.sds)]
        # |∂(SD at the mean)/∂SD|
        more = len(self.sds) * self._log_shift(parameters.exponents)
        densities = {
            "sd_Residual" if self.form.sd_labels else "sigma": np.asarray(sum(each) + more)
        }
        if self.structure is not None and self.structure.n_corrs:
            by_group = self.structure.log_density(
                parameters.z, self.eta, by_coordinates=by_coordinates
            )
            densities["corr_Residual"] = np.asarray(by_group.sum(axis=-1))
        if self.exponents:
            parts = [
                p.log_density(parameters.exponents[..., i]) for i, p in enumerate(self.exponents)
            ]
            densities["exponents_Residual"] = np.asarray(sum(parts))
        return densities

    def gradient(self, parameters: Parameters) -> Parameters:
        """Return the derivative by log SDs, z and exponents of the density by SDs, z, exponents."""
        shift = float(np.exp(self._log_shift(parameters.exponents)))
        slopes = np.array(
            [p.slope(float(sd) * shift) for p, sd in zip(self.sds, parameters.sds, strict=True)]
        )
        by_z = np.zeros(parameters.z.shape)
        if self.structure is not None and self.structure.n_corrs:
            by_z = np.array(
                [self.structure.log_density_gradient(z, self.eta) for z in parameters.z]
            )
        deltas = zip(self.exponents, parameters.exponents, strict=True)
        by_exponent = np.array([-(d - p.mean) / p.sd**2 for p, d in deltas]).reshape(-1)
        if self.exponents:
            by_exponent = by_exponent + (slopes.sum() + len(self.sds)) * self._centres
        return Parameters(slopes, by_z, by_exponent)

    def draw(self, rng: np.random.Generator, size: int) -> Parameters:
        """Draw parameters with SDs in units of the response, shapes (size, …).

        Raises
        ------
        PriorError
            If the prior of an SD is flat.
        """
        exponents = np.array([rng.normal(p.mean, p.sd, size) for p in self.exponents])
        exponents = exponents.reshape(-1, size).T
        shift = np.exp(np.broadcast_to(self._log_shift(exponents), (size,)))
        sds = np.stack([draw_sd(prior, size, rng) for prior in self.sds], axis=-1)
        z = np.zeros((size, 0, 0))
        if self.structure is not None and self.form.sequential is not None:
            groups = range(self.form.sequential.n_groups)
            z = np.stack([self.structure.draw(rng, size, self.eta) for _ in groups], axis=1)
        return Parameters(sds / shift[:, None], z, exponents)

    def lines(self) -> list[str]:
        """Return one line of text for each prior."""
        labels = self.form.sd_labels or ("",)
        named = [f"sd   Residual: {label}" if label else "sd   residual" for label in labels]
        lines = [f"{name} ~ {prior}" for name, prior in zip(named, self.sds, strict=True)]
        if self.corr is not None:
            lines.append(f"corr Residual ~ {self.corr}")
        pairs = zip(self.form.scales.exponent_labels, self.exponents, strict=True)
        return lines + [f"{label} ~ {prior}" for label, prior in pairs]


def structure_under(structure: CovarianceStructure, prior: CorrPrior | None) -> CovarianceStructure:
    """Return a family with the prior of its correlation, where that is not an LKJ's.

    Raises
    ------
    PriorError
        If the family has no correlation, or no range, that such a prior is of.
    """
    if prior is None or isinstance(prior, LKJ):
        return structure
    if isinstance(prior, CorrelationAbove) and isinstance(structure, ChainRoot):
        own = CorrelationPC.above(prior.size, prior.probability)
        if all(one == CORRELATION for one in structure.maps):
            return replace(structure, priors=(own,) * structure.n_corrs)
    if isinstance(prior, RangeBelow) and isinstance(structure, Ranged):
        first = structure.positions[0]
        dimension = len(first) if isinstance(first, tuple) else 1
        return replace(
            structure, range_prior=RangePC.below(prior.span, prior.probability, dimension)
        )
    raise PriorError(
        f"{prior} is no prior for {structure.kind!r}: CorrelationAbove is for ar1, ad and their "
        "heterogeneous forms, RangeBelow for sp_exp, sp_gau and sp_mat. LKJ(η) suits every family."
    )
