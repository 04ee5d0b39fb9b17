"""Unconstrained coordinates of (Σ_f, σ): log relative SDs, partial correlations, log σ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from bayesv.design.design import RandomTerm
from bayesv.linalg import Array, cov_to_sd_corr, psd_root
from bayesv.priors.basis import Basis, centred_basis
from bayesv.priors.draws import draw_prior
from bayesv.priors.priors import ResolvedPriors

__all__ = ["Coordinates"]

_FAR = 3.0  # distance of the stated effects from the centre, in SDs of the covariate


@dataclass(frozen=True, eq=False)
class Coordinates:
    """The map between x and (λ_f, σ), vectorised over leading axes of x.

    Parameters
    ----------
    priors : ResolvedPriors
    stated : bool
        Whether coordinates are of the effects that the priors speak of, instead of those at the
        centre of the covariates: for who holds one of their SDs or correlations.

    Notes
    -----
    For each term: log(SD · size of column/σ) of the effects at the centre of the covariates
    (`centred_basis`), then the atanh of their canonical partial correlations in each correlated
    block, row by row; last log(σ/s) with s the residual SD of y after X. These are free of units
    and of the zeros of covariates, and SDs relative to σ are nearly uncorrelated with σ. λ_f is of
    the user's columns: A⁻¹ times the root of these, not triangular.

    The partial correlation of columns i and j given the columns before j has density
    ∝ (1 − c²)^(η − 1 + (r − 2 − j)/2) under LKJ(η), independently of the others (Lewandowski,
    Kurowicka and Joe 2009, https://doi.org/10.1016/j.jmva.2009.04.008).
    """

    priors: ResolvedPriors
    stated: bool = False

    @classmethod
    def choices(cls, priors: ResolvedPriors) -> tuple[Coordinates, ...]:
        """Return the coordinates that fit a posterior, the likelier first.

        Where priors speak of other effects than those at the centre, the density has a spike in
        centred coordinates (at an SD of 0 of a stated effect) and a bent ridge in stated ones (of
        the likelihood, sharper the farther covariates are from 0).
        """
        centred, stated = cls(priors), cls(priors, stated=True)
        if all(M is None for M in centred.stated_maps):
            return (centred,)
        distance = max(
            float(np.abs((b.map @ s.back - np.eye(len(b.map))) * b.units[:, None] / b.units).max())
            for b, s in zip(centred.bases, stated.bases, strict=True)
        )
        return (stated, centred) if distance <= _FAR else (centred, stated)

    @property
    def terms(self) -> tuple[RandomTerm, ...]:
        """The design's terms."""
        return self.priors.design.terms

    @property
    def size(self) -> int:
        """Number of coordinates."""
        return 1 + sum(
            term.n_columns + sum(len(b) * (len(b) - 1) // 2 for b in term.blocks)
            for term in self.terms
        )

    @cached_property
    def bases(self) -> list[Basis]:
        """The effects that coordinates are of, for each term."""
        if self.stated:
            return [self.priors.basis(term) for term in self.terms]
        return [centred_basis(term) for term in self.terms]

    @cached_property
    def stated_maps(self) -> list[Array | None]:
        """For each term the map to the effects its priors speak of; None if ``bases`` has them."""
        maps = [self.priors.basis(term).map for term in self.terms]
        return [
            None if np.array_equal(stated, basis.map) else stated
            for stated, basis in zip(maps, self.bases, strict=True)
        ]

    @cached_property
    def log_rms(self) -> list[Array]:
        """Log size of the column of each of these effects."""
        return [np.log(basis.units) for basis in self.bases]

    @cached_property
    def log_scale(self) -> float:
        """Log residual SD of the response after X."""
        return float(np.log(self.priors.design.response_scale.sigma))

    @cached_property
    def is_sd(self) -> NDArray[np.bool_]:
        """Which coordinates are log SDs of random effects."""
        out = np.zeros(self.size, dtype=bool)
        at = 0
        for term in self.terms:
            out[at : at + term.n_columns] = True
            at += term.n_columns + sum(len(b) * (len(b) - 1) // 2 for b in term.blocks)
        return out

    def to_lambdas(self, x: Array) -> tuple[list[Array], Array]:
        """Return λ_f of each term, shapes (..., r, r), and σ, shape (...)."""
        lambdas, at = [], 0
        for term, basis, log_rms in zip(self.terms, self.bases, self.log_rms, strict=True):
            r = term.n_columns
            sd = np.exp(x[..., at : at + r] - log_rms)
            at += r
            root = np.zeros((*x.shape[:-1], r, r))
            for block in term.blocks:
                size = len(block) * (len(block) - 1) // 2
                rows = np.array(block)
                part = partial_root(np.tanh(x[..., at : at + size]), len(block))
                root[..., rows[:, None], rows] = part
                at += size
            root *= sd[..., :, None]
            lambdas.append(basis.back @ root if basis.centred else root)
        return lambdas, np.exp(x[..., -1] + self.log_scale)

    def to_covs(self, x: Array) -> tuple[dict[str, Array], Array]:
        """Return Σ_f by group, shapes (..., r, r), and σ², shape (...)."""
        lambdas, sigma = self.to_lambdas(x)
        covs = {
            term.group: sigma[..., None, None] ** 2 * lam @ np.swapaxes(lam, -1, -2)
            for term, lam in zip(self.terms, lambdas, strict=True)
        }
        return covs, sigma**2

    def from_covs(self, covs: Mapping[str, Array], sigma2: float) -> Array:
        """Return x of one (Σ_f, σ²), pulled a little inside where it is on the boundary."""
        x: list[float] = []
        for term, basis, log_rms in zip(self.terms, self.bases, self.log_rms, strict=True):
            # By a root: AΣA' of a covariate far from 0 cancels, and must stay a covariance.
            root = basis.map @ psd_root(covs[term.group])
            sd, corr = cov_to_sd_corr(root @ root.T)
            x += list(np.log(np.maximum(sd / np.sqrt(sigma2) * np.exp(log_rms), 1e-6)))
            for block in term.blocks:
                x += list(np.arctanh(_partials(corr[np.ix_(block, block)])))
        return np.array([*x, 0.5 * np.log(sigma2) - self.log_scale])

    def from_draws(self, covs: Mapping[str, Array], sigma2: Array) -> Array:
        """Return x of many (Σ_f, σ²), shape (..., d): the inverse of `to_covs`.

        An SD of 0 is at −∞; a correlation of ±1 is as far out as numbers go.
        """
        log_sigma = 0.5 * np.log(np.asarray(sigma2))
        columns: list[Array] = []
        for term, basis, log_rms in zip(self.terms, self.bases, self.log_rms, strict=True):
            cov = np.asarray(covs[term.group])
            if basis.centred:
                cov = basis.map @ cov @ basis.map.T
            sd, corr = cov_to_sd_corr(cov)
            with np.errstate(divide="ignore"):
                columns += list(np.moveaxis(np.log(sd) - log_sigma[..., None] + log_rms, -1, 0))
            for block in term.blocks:
                rows = np.array(block)
                partials = _all_partials(np.nan_to_num(corr[..., rows[:, None], rows]))
                columns += [np.arctanh(c) for c in partials]
        return np.stack([*columns, log_sigma - self.log_scale], axis=-1)

    def log_prior(self, x: Array, jacobian: bool = True) -> Array:
        """Return the log prior density, shape (...), by x or (without Jacobian) by parameter.

        Notes
        -----
        Where priors speak of other effects than coordinates are of, Σ_stated = M Σ_c M' with
        |M| = 1, so that densities by Σ are equal; |∂Σ/∂(SDs, correlations)| = 2^r Π SD^r gives
        p(SD_c, corr_c) = p(SD_stated, corr_stated) Π (SD_c/SD_stated)^r, and the determinant of
        the correlations changes by Π (SD_c/SD_stated)².
        """
        log_sigma = x[..., -1] + self.log_scale
        total = self.priors.sigma.log_density(np.exp(log_sigma))
        if jacobian:
            total = total + log_sigma
        at = 0
        roots = self._stated_roots(x)
        for term, log_rms, root in zip(self.terms, self.log_rms, roots, strict=True):
            log_sd = x[..., at : at + term.n_columns] - log_rms + log_sigma[..., None]
            at += term.n_columns
            log_stated = log_sd
            if root is not None:
                log_stated = log_sigma[..., None] + np.log(np.linalg.norm(root, axis=-1))
            for i, prior in enumerate(self.priors.sd[term.group]):
                total = total + prior.log_density(np.exp(log_stated[..., i]))
            if jacobian:
                total = total + log_sd.sum(axis=-1)
            if root is not None:
                powers = self._volume_powers(term, jacobian)
                total = total + (powers * (log_sd - log_stated)).sum(axis=-1)
            for eta, r, j in self._partials_of(term):
                # log(1 − tanh²) without cancellation
                z = np.abs(x[..., at])
                log_rest = 2.0 * (np.log(2.0) - z - np.log1p(np.exp(-2.0 * z)))
                power = eta + 0.5 * (r - 2 - j) if jacobian else eta - 1.0
                total = total + power * log_rest
                at += 1
        return np.asarray(total)

    def _partials_of(self, term: RandomTerm) -> Iterator[tuple[float, int, int]]:
        """Yield (η, size of block, column) of each partial correlation of a term, in order."""
        for block in term.blocks:
            for i in range(1, len(block)):
                for j in range(i):
                    yield self.priors.corr[term.group].eta, len(block), j

    def _volume_powers(self, term: RandomTerm, jacobian: bool) -> Array:
        """Powers of SD_c/SD_stated, shape (r,): r and 2(η − 1) for columns of a block of r."""
        powers = np.zeros(term.n_columns)
        for block in term.blocks:
            if len(block) > 1:
                eta = self.priors.corr[term.group].eta
                powers[list(block)] = 2.0 * (eta - 1.0) + (len(block) if jacobian else 0.0)
        return powers

    def _stated_roots(self, x: Array) -> list[Array | None]:
        """Roots of Σ/σ² of the effects that priors speak of, (..., r, r), where they are others."""
        if all(stated is None for stated in self.stated_maps):
            return [None] * len(self.terms)
        lambdas, _ = self.to_lambdas(x)
        return [
            None if stated is None else stated @ lam
            for stated, lam in zip(self.stated_maps, lambdas, strict=True)
        ]

    def lambda_gradient(self, x: Array, lambdas: Sequence[Array], bars: Sequence[Array]) -> Array:
        """Return the derivative by x, shape (d,), of what has derivative ``bars`` by each λ_f."""
        out, at = np.zeros(len(x)), 0
        for term, basis, lam, bar in zip(self.terms, self.bases, lambdas, bars, strict=True):
            if basis.centred:
                lam, bar = basis.map @ lam, basis.back.T @ bar
            out[at : at + term.n_columns] = (bar * lam).sum(axis=1)
            at += term.n_columns
            for block in term.blocks:
                for i in range(1, len(block)):
                    row = np.array(block)
                    own, own_bar = lam[block[i], row], bar[block[i], row]
                    rest = np.sqrt(np.cumsum((own**2)[::-1])[::-1])  # of the row, from j on
                    for j in range(i):
                        c, s = np.tanh(x[at]), 1.0 / np.cosh(x[at])
                        out[at] = own_bar[j] * rest[j] * s**2 - c * (own_bar * own)[j + 1 :].sum()
                        at += 1
        return out

    def prior_gradient(self, x: Array) -> Array:
        """Return the derivative of `log_prior`, with Jacobian, by x, shape (d,)."""
        slopes, at = np.zeros(len(x)), 0
        log_sigma = x[-1] + self.log_scale
        slopes[-1] = 1.0 + self.priors.sigma.slope(float(np.exp(log_sigma)))
        bars: list[Array] = []
        roots = self._stated_roots(x)
        for term, log_rms, root, stated in zip(
            self.terms, self.log_rms, roots, self.stated_maps, strict=True
        ):
            r = term.n_columns
            norms = np.exp(x[at : at + r] - log_rms)
            if root is not None:
                norms = np.linalg.norm(root, axis=-1)
            by_log_sd = np.array(
                [
                    prior.slope(float(sd))
                    for prior, sd in zip(
                        self.priors.sd[term.group], norms * np.exp(log_sigma), strict=True
                    )
                ]
            )
            slopes[-1] += r + by_log_sd.sum()
            if root is None or stated is None:
                slopes[at : at + r] = 1.0 + by_log_sd
                bars.append(np.zeros((r, r)))
            else:
                powers = self._volume_powers(term, jacobian=True)
                slopes[at : at + r] = 1.0 + powers
                bars.append(stated.T @ (((by_log_sd - powers) / norms**2)[:, None] * root))
            at += r
            for eta, size, j in self._partials_of(term):
                slopes[at] = -2.0 * (eta + 0.5 * (size - 2 - j)) * np.tanh(x[at])
                at += 1
        if any(root is not None for root in roots):
            slopes += self.lambda_gradient(x, self.to_lambdas(x)[0], bars)
        return slopes

    def prior_draws(self, rng: np.random.Generator, size: int) -> Array:
        """Draw x from the priors, shape (size, d); a flat prior is replaced by the default."""
        drawn = draw_prior(self.priors.with_proper_sds(), size, rng)
        x = self.from_draws(drawn.covs, drawn.sigma2)
        limits = np.where(self.is_sd, 30.0, 15.0)
        return np.clip(np.nan_to_num(x, neginf=-30.0, posinf=30.0), -limits, limits)


def partial_root(partials: Array, r: int) -> Array:
    """Return the Cholesky factor of the correlation with given canonical partial correlations.

    Parameters
    ----------
    partials : ndarray, shape (..., r (r − 1)/2)
        Row by row of the lower triangle.
    r : int
    """
    root = np.zeros((*partials.shape[:-1], r, r))
    root[..., 0, 0] = 1.0
    at = 0
    for i in range(1, r):
        left = np.ones(partials.shape[:-1])
        for j in range(i):
            root[..., i, j] = partials[..., at] * np.sqrt(left)
            left = left * (1.0 - partials[..., at]) * (1.0 + partials[..., at])
            at += 1
        root[..., i, i] = np.sqrt(left)
    return root


def _partials(corr: Array) -> Array:
    # Shrunk a little towards independence: a correlation of ±1 has no finite coordinate.
    inner = 0.98 * np.nan_to_num(corr)
    np.fill_diagonal(inner, 1.0)
    return np.array(_all_partials(inner))


def _all_partials(corr: Array) -> list[Array]:
    """Canonical partial correlations of many correlation matrices, row by row, inside (−1, 1)."""
    r, inside = corr.shape[-1], 1.0 - np.finfo(float).eps
    root, partials = np.zeros_like(corr), []
    root[..., 0, 0] = 1.0
    for i in range(1, r):
        left = np.ones(corr.shape[:-2])
        for j in range(i):
            rest = corr[..., i, j] - (root[..., i, :j] * root[..., j, :j]).sum(axis=-1)
            c = rest / np.maximum(root[..., j, j] * np.sqrt(left), np.finfo(float).tiny)
            c = np.clip(c, -inside, inside)
            partials.append(c)
            root[..., i, j] = c * np.sqrt(left)
            left = left * (1.0 - c) * (1.0 + c)
        root[..., i, i] = np.sqrt(left)
    return partials
