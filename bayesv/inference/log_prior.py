"""The prior of (Σ_f, σ) as a density of unconstrained coordinates."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from bayesv.inference.coordinates import Coordinates, Part
from bayesv.linalg import Array
from bayesv.priors.draws import draw_parameters, draw_prior
from bayesv.priors.priors import ResolvedPriors

__all__ = ["LogPrior", "coordinates_for"]

_FAR = 3.0  # distance of the stated effects from the centre, in SDs of the covariate
_LARGEST_SD, _LARGEST_CORR = 30.0, 15.0  # of log SDs and the coordinates of correlations drawn


def coordinates_for(priors: ResolvedPriors) -> tuple[Coordinates, ...]:
    """Return the coordinates that fit a posterior, the likelier first.

    Where priors speak of other effects than those at the centre, the density has a spike in
    centred coordinates (at an SD of 0 of a stated effect) and a bent ridge in stated ones (of
    the likelihood, sharper the farther covariates are from 0).
    """
    design = priors.design
    centred = Coordinates.centred(design)
    stated = Coordinates(design, tuple(priors.basis(term) for term in design.terms))
    if LogPrior(priors, centred).is_stated:
        return (centred,)
    distance = max(
        float(np.abs((b.map @ s.back - np.eye(len(b.map))) * b.units[:, None] / b.units).max())
        for b, s in zip(centred.bases, stated.bases, strict=True)
    )
    return (stated, centred) if distance <= _FAR else (centred, stated)


@dataclass(frozen=True, eq=False)
class LogPrior:
    """Log prior density of (Σ_f, σ) at coordinates, with its normalising constants.

    Parameters
    ----------
    priors : ResolvedPriors
    coordinates : Coordinates
        Of any effects; the priors may speak of others.
    """

    priors: ResolvedPriors
    coordinates: Coordinates

    @cached_property
    def stated_maps(self) -> list[Array | None]:
        """For each term the map to the effects its priors speak of; None if coordinates are."""
        maps = []
        for part in self.coordinates.parts:
            stated = self.priors.basis(part.term).map
            maps.append(None if np.array_equal(stated, part.basis.map) else stated)
        return maps

    @property
    def is_stated(self) -> bool:
        """Whether the coordinates are of the effects that the priors speak of."""
        return all(M is None for M in self.stated_maps)

    def __call__(self, x: Array, jacobian: bool = True) -> Array:
        """Return the log prior density, shape (...), by x or (without Jacobian) by parameter.

        Notes
        -----
        Where priors speak of other effects than coordinates are of, Σ_stated = M Σ_c M' with
        |M| = 1, so that densities by Σ are equal; |∂Σ/∂(SDs, correlations)| = 2^r Π SD^r gives
        p(SD_c, corr_c) = p(SD_stated, corr_stated) Π (SD_c/SD_stated)^r, and the determinant of
        the correlations changes by Π (SD_c/SD_stated)².
        """
        log_sigma, residual = self.coordinates.log_sigma(x), self.coordinates.parameters(x)
        more = np.zeros_like(log_sigma)
        if jacobian and self.coordinates.has_sigma:
            more = log_sigma
            if residual is not None:
                more = (np.log(residual.sds) + log_sigma[..., None]).sum(axis=-1)
        sds, corrs = [], []
        for part, root in zip(self.coordinates.parts, self._stated_roots(x), strict=True):
            log_sd = x[..., part.sds] - part.log_units + log_sigma[..., None]
            log_stated = log_sd
            if root is not None:
                norms = part.term.structure.free_sds(np.linalg.norm(root, axis=-1))
                log_stated = log_sigma[..., None] + np.log(norms)
                powers = self.volume_powers(part, jacobian)
                more = more + (powers * (log_sd - log_stated)).sum(axis=-1)
            if jacobian:
                more = more + log_sd.sum(axis=-1)
            sds.append(np.exp(log_stated))
            corrs.append(x[..., part.corrs])
        densities = self.priors.by_parameter(
            sds, corrs, np.exp(log_sigma), residual, by_coordinates=jacobian
        )
        return np.asarray(sum(densities.values()) + more)

    def volume_powers(self, part: Part, jacobian: bool) -> Array:
        """Powers of SD_c/SD_stated, (n_sds,): r and 2(η − 1) for columns of a free block of r."""
        structure = part.term.structure
        powers = np.zeros(structure.n_sds)
        for block in structure.free_blocks:
            if len(block) > 1:
                eta = self.priors.eta(part.term)
                own = structure.sd_of_row[list(block)]
                powers[own] = 2.0 * (eta - 1.0) + (len(block) if jacobian else 0.0)
        return powers

    def _stated_roots(self, x: Array) -> list[Array | None]:
        """Roots of Σ/σ² of the effects that priors speak of, (..., r, r), where they are others."""
        if self.is_stated:
            return [None] * len(self.stated_maps)
        lambdas, _ = self.coordinates.to_lambdas(x)
        return [
            None if stated is None else stated @ lam
            for stated, lam in zip(self.stated_maps, lambdas, strict=True)
        ]

    def gradient(self, x: Array) -> Array:
        """Return the derivative of the log density by x, with Jacobian, shape (d,)."""
        slopes = np.zeros(len(x))
        sigma = float(np.exp(self.coordinates.log_sigma(x)))
        by_log_sigma = 1.0 + self.priors.sigma.slope(sigma)
        if self.priors.residual is not None:
            by_log_sigma = self._put_residual(slopes, x, sigma)
        bars: list[Array] = []
        roots = self._stated_roots(x)
        for part, root, stated in zip(self.coordinates.parts, roots, self.stated_maps, strict=True):
            term, structure = part.term, part.term.structure
            norms = np.exp(x[part.sds] - part.log_units)
            if root is not None:
                norms = structure.free_sds(np.linalg.norm(root, axis=-1))
            by_log_sd = np.array(
                [
                    prior.slope(float(sd))
                    for prior, sd in zip(self.priors.sd[term.group], norms * sigma, strict=True)
                ]
            )
            by_log_sigma += structure.n_sds + float(by_log_sd.sum())
            if root is None or stated is None:
                slopes[part.sds] = 1.0 + by_log_sd
                bars.append(np.zeros((term.n_columns, term.n_columns)))
            else:
                powers = self.volume_powers(part, jacobian=True)
                slopes[part.sds] = 1.0 + powers
                counts = np.bincount(structure.sd_of_row, minlength=structure.n_sds)
                by_row = structure.sds((by_log_sd - powers) / norms**2 / counts)
                bars.append(stated.T @ (by_row[:, None] * root))
            if structure.n_corrs:
                slopes[part.corrs] = structure.log_density_gradient(
                    x[part.corrs], self.priors.eta(term)
                )
        if any(root is not None for root in roots):
            lambdas, _ = self.coordinates.to_lambdas(x)
            slopes += self.coordinates.lambda_gradient(x, lambdas, bars)
        if self.coordinates.has_sigma:
            slopes[-1] += by_log_sigma
        return slopes

    def _put_residual(self, slopes: Array, x: Array, sigma: float) -> float:
        """Write the derivative by coordinates of the residuals; return that by log σ."""
        coordinates, residual = self.coordinates, self.coordinates.parameters(x)
        assert self.priors.residual is not None
        assert coordinates.residual is not None
        assert residual is not None
        bar = self.priors.residual.gradient(residual._replace(sds=sigma * residual.sds))
        bar = bar._replace(sds=bar.sds + 1.0)  # by log SDs
        slopes[coordinates.residuals] = coordinates.residual.gradient(bar)
        return float(bar.sds.sum())

    def draws(self, rng: np.random.Generator, size: int) -> Array:
        """Draw x from the priors, shape (size, d); a flat prior is replaced by the default."""
        priors = self.priors.with_proper_sds()
        if self.is_stated and priors.residual is None:
            x = self._as_drawn(*draw_parameters(priors, size, rng)[:3])
        else:
            x = self.coordinates.from_values(draw_prior(priors, size, rng))
        limits = np.where(self.coordinates.is_sd, _LARGEST_SD, _LARGEST_CORR)
        return np.clip(np.nan_to_num(x, neginf=-30.0, posinf=30.0), -limits, limits)

    def _as_drawn(self, sigma: Array, corrs: list[Array], sds: list[Array]) -> Array:
        """Return x of draws, where coordinates are of the effects that the priors speak of."""
        x, log_sigma = np.empty((len(sigma), self.coordinates.size)), np.log(sigma)
        if self.coordinates.has_sigma:
            x[:, -1] = log_sigma - self.coordinates.log_scale
        with np.errstate(divide="ignore"):
            for part, z, sd in zip(self.coordinates.parts, corrs, sds, strict=True):
                x[:, part.sds] = np.log(sd) - log_sigma[:, None] + part.log_units
                x[:, part.corrs] = z
        return x
