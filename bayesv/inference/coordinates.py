"""Unconstrained coordinates of (Σ_f, σ): log relative SDs, those of correlations, log σ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from bayesv.covariance import ComponentDraws
from bayesv.design.design import Design, RandomTerm
from bayesv.design.residual_coordinates import ResidualCoordinates
from bayesv.design.structured import Parameters
from bayesv.errors import BayesvError
from bayesv.linalg import Array, cov_to_sd_corr, psd_root
from bayesv.priors.basis import Basis, centred_basis

__all__ = ["Coordinates", "Part"]

_SHRUNK = 0.98  # correlations of a start: one of ±1 has no finite coordinate
_INSIDE = 3.0  # coordinate of a residual correlation to start from, at most
_SMALLEST = 1e-6  # SD of a start, relative to σ and the size of its column


@dataclass(frozen=True, eq=False)
class Part:
    """One term's part of the coordinates.

    Attributes
    ----------
    term : RandomTerm
    basis : Basis
        The effects that the coordinates are of.
    sds, corrs : slice
        Where log SDs and the coordinates of the correlation stand.
    log_units : ndarray, shape (n_sds,)
        Log size of the column of each standard deviation.
    """

    term: RandomTerm
    basis: Basis
    sds: slice
    corrs: slice
    log_units: Array

    def relative_sds(self, x: Array) -> Array:
        """Return SD/σ of each effect of the basis, (..., d) → (..., r)."""
        return self.term.structure.sds(np.exp(x[..., self.sds] - self.log_units))


@dataclass(frozen=True, eq=False)
class Coordinates:
    """The map between x and (λ_f, σ), vectorised over leading axes of x.

    Parameters
    ----------
    design : Design
    bases : tuple of Basis
        Of each term, the effects that coordinates are of.

    Notes
    -----
    For each term: log(SD · size of column/σ) of its basis, then the coordinates of the correlation
    that its structure has; last log(σ/s) with s the residual SD of y after X. These are free of
    units and, with bases at the centre of covariates, of their zeros, and SDs relative to σ are
    nearly uncorrelated with σ. λ_f is of the user's columns: A⁻¹ times the root of these, not
    triangular. Before log σ come the coordinates of structured residuals, and σ is then their first
    labelled SD. Where R is known, σ is 1 and no coordinate.
    """

    design: Design
    bases: tuple[Basis, ...]

    @classmethod
    def centred(cls, design: Design) -> Coordinates:
        """Return coordinates of the effects at the centre of the covariates."""
        return cls(design, tuple(centred_basis(term) for term in design.terms))

    @classmethod
    def as_written(cls, design: Design) -> Coordinates:
        """Return coordinates of the user's columns."""
        return cls(design, tuple(Basis.as_written(term) for term in design.terms))

    @cached_property
    def parts(self) -> tuple[Part, ...]:
        """The coordinates of each term."""
        parts, start = list[Part](), 0
        for term, basis in zip(self.design.terms, self.bases, strict=True):
            structure = term.structure
            middle = start + structure.n_sds
            stop = middle + structure.n_corrs
            log_units = np.log(structure.free_sds(basis.units))
            parts.append(Part(term, basis, slice(start, middle), slice(middle, stop), log_units))
            start = stop
        return tuple(parts)

    @cached_property
    def residual(self) -> ResidualCoordinates | None:
        """Coordinates of structured residuals, in the place of `residuals`."""
        form = self.design.structured_residual
        return None if form is None else ResidualCoordinates(form)

    @cached_property
    def residuals(self) -> slice:
        """Where the coordinates of structured residuals stand."""
        start = self.parts[-1].corrs.stop if self.parts else 0
        return slice(start, start + (0 if self.residual is None else self.residual.size))

    @cached_property
    def has_sigma(self) -> bool:
        """Whether σ is a coordinate, the last one."""
        return not self.design.sigma_is_known

    @cached_property
    def size(self) -> int:
        """Number of coordinates."""
        return int(self.residuals.stop) + int(self.has_sigma)

    def log_sigma(self, x: Array) -> Array:
        """Return log σ, (..., d) → (...)."""
        return x[..., -1] + self.log_scale if self.has_sigma else np.zeros(x.shape[:-1])

    def parameters(self, x: Array) -> Parameters | None:
        """Return the parameters of structured residuals, with SDs over σ; None without them."""
        return None if self.residual is None else self.residual.parameters(x[..., self.residuals])

    @cached_property
    def log_scale(self) -> float:
        """Log residual SD of the response after X."""
        return float(np.log(self.design.response_scale.sigma))

    @cached_property
    def is_sd(self) -> NDArray[np.bool_]:
        """Which coordinates are log SDs of random effects."""
        mask = np.zeros(self.size, dtype=bool)
        for part in self.parts:
            mask[part.sds] = True
        return mask

    @cached_property
    def names(self) -> tuple[str, ...]:
        """What each coordinate is of, in the labels of the user's columns."""
        names: list[str] = []
        for term in self.design.terms:
            structure, group = term.structure, term.group
            names += [f"log sd {group}: {label}" for label in structure.sd_labels(term.columns)]
            names += [f"z {group}: {label}" for label in structure.corr_labels(term.columns)]
        if self.residual is not None:
            names += self.residual.names
        return (*names, "log sd Residual") if self.has_sigma else tuple(names)

    def to_lambdas(self, x: Array) -> tuple[list[Array], Array]:
        """Return λ_f of each term, shapes (..., r, r), and σ, shape (...)."""
        lambdas = []
        for part in self.parts:
            root = part.term.structure.root(x[..., part.corrs])
            root *= part.relative_sds(x)[..., :, None]
            lambdas.append(part.basis.back @ root if part.basis.centred else root)
        return lambdas, np.exp(self.log_sigma(x))

    def to_values(self, x: Array) -> ComponentDraws:
        """Return (Σ_f, σ²) and parameters of the residuals, shape (...), β left out."""
        lambdas, sigma = self.to_lambdas(x)
        covs = {
            term.group: sigma[..., None, None] ** 2 * lam @ np.swapaxes(lam, -1, -2)
            for term, lam in zip(self.design.terms, lambdas, strict=True)
        }
        residual = self.parameters(x)
        if residual is None:
            return ComponentDraws(self.design, covs, sigma**2)
        # σ² of values is the mean of the labelled variances, and SDs are relative to that.
        mean = (residual.sds**2).mean(axis=-1)
        residual = residual._replace(sds=residual.sds / np.sqrt(mean)[..., None])
        return ComponentDraws(self.design, covs, sigma**2 * mean, residual=residual)

    def near(self, point: ComponentDraws) -> Array:
        """Return x of one (Σ_f, σ²), pulled a little inside where it is on the boundary."""
        x, sigma = np.empty(self.size), self._first_sigma(point)
        self._put_residual(x, point, sigma)
        if self.residual is not None:
            corrs = np.arange(self.size)[self.residuals][self.residual.corrs]
            x[corrs] = np.clip(x[corrs], -_INSIDE, _INSIDE)
        for part in self.parts:
            structure = part.term.structure
            # By a root: AΣA' of a covariate far from 0 cancels, and must stay a covariance.
            root = part.basis.map @ psd_root(point.covs[part.term.group])
            sd, corr = cov_to_sd_corr(root @ root.T)
            relative = structure.free_sds(sd) / sigma * np.exp(part.log_units)
            x[part.sds] = np.log(np.maximum(relative, _SMALLEST))
            corr = _SHRUNK * np.nan_to_num(corr)
            np.fill_diagonal(corr, 1.0)
            x[part.corrs] = structure.coordinates(corr)
        return x

    def from_values(self, values: ComponentDraws) -> Array:
        """Return x of (Σ_f, σ²), shape (..., d): the inverse of `to_values`.

        An SD of 0 is at −∞; a correlation of ±1 is as far out as numbers go.
        """
        sigma = self._first_sigma(values)
        log_sigma = np.log(sigma)
        x = np.empty((*log_sigma.shape, self.size))
        self._put_residual(x, values, sigma)
        for part in self.parts:
            structure, cov = part.term.structure, values.covs[part.term.group]
            if part.basis.centred:
                cov = part.basis.map @ cov @ part.basis.map.T
            sd, corr = cov_to_sd_corr(cov)
            with np.errstate(divide="ignore"):
                log_sd = np.log(structure.free_sds(sd))
            x[..., part.sds] = log_sd - log_sigma[..., None] + part.log_units
            x[..., part.corrs] = structure.coordinates(np.nan_to_num(corr))
        return x

    def _first_sigma(self, values: ComponentDraws) -> Array:
        """Return the σ that coordinates are relative to, shape (...)."""
        if values.residual is None:
            return values.sigma
        return np.asarray(values.sigma * values.residual.sds[..., 0])

    def _put_residual(self, x: Array, values: ComponentDraws, sigma: Array) -> None:
        """Write the coordinates of the residuals of values, (..., d)."""
        if self.has_sigma:
            x[..., -1] = np.log(sigma) - self.log_scale
        if self.residual is not None:
            if values.residual is None:
                raise BayesvError(
                    "These values say nothing of the parameters of the residuals "
                    f"{self.residual.form.text}."
                )
            x[..., self.residuals] = self.residual.of(values.residual)

    def lambda_gradient(self, x: Array, lambdas: Sequence[Array], bars: Sequence[Array]) -> Array:
        """Return the derivative by x, shape (d,), of what has derivative ``bars`` by each λ_f."""
        gradient = np.zeros(len(x))
        for part, lam, bar in zip(self.parts, lambdas, bars, strict=True):
            structure = part.term.structure
            if part.basis.centred:
                lam, bar = part.basis.map @ lam, part.basis.back.T @ bar
            gradient[part.sds] = structure.sds_pullback((bar * lam).sum(axis=1))
            if structure.n_corrs:
                root_bar = part.relative_sds(x)[:, None] * bar
                gradient[part.corrs] = structure.pullback(x[part.corrs], root_bar)
        return gradient
