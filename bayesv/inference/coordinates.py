"""Unconstrained coordinates of (Σ_f, σ): log relative SDs, partial correlations, log σ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from bayesv.design import RandomTerm
from bayesv.linalg import Array, cov_to_sd_corr, psd_root
from bayesv.prior_basis import Basis
from bayesv.priors import ResolvedPriors

__all__ = ["Coordinates"]


@dataclass(frozen=True, eq=False)
class Coordinates:
    """The map between x and (λ_f, σ), vectorised over leading axes of x.

    Notes
    -----
    For each term: log(SD · size of column/σ) of the effects that its priors speak of (`Basis`:
    those at the centre of the covariates), then the atanh of their canonical partial correlations
    in each correlated block, row by row; last log(σ/s) with s the residual SD of y after X. These
    are free of units and of the zeros of covariates, and SDs relative to σ are nearly uncorrelated
    with σ. λ_f is of the user's columns: A⁻¹ times the root of these, not triangular.

    The partial correlation of columns i and j given the columns before j has density
    ∝ (1 − c²)^(η − 1 + (r − 2 − j)/2) under LKJ(η), independently of the others (Lewandowski,
    Kurowicka and Joe 2009, https://doi.org/10.1016/j.jmva.2009.04.008).
    """

    priors: ResolvedPriors

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
        """The effects that the priors of each term speak of."""
        return [self.priors.basis(term) for term in self.terms]

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

    def from_covs(self, covs: dict[str, Array], sigma2: float) -> Array:
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

    def prior_draws(self, rng: np.random.Generator, size: int) -> Array:
        """Draw x from the priors, shape (size, d)."""
        from bayesv.prior_draws import _draw_sd

        log_sigma = np.log(_draw_sd(self.priors.sigma, size, rng))
        columns = []
        for term, log_rms in zip(self.terms, self.log_rms, strict=True):
            for prior, shift in zip(self.priors.sd[term.group], log_rms, strict=True):
                columns.append(np.log(_draw_sd(prior, size, rng)) + shift - log_sigma)
            for block in term.blocks:
                r = len(block)
                for i in range(1, r):
                    for j in range(i):
                        a = self.priors.corr[term.group].eta + 0.5 * (r - 2 - j)
                        columns.append(np.arctanh(2.0 * rng.beta(a, a, size) - 1.0))
        return np.column_stack([*columns, log_sigma - self.log_scale])

    def log_prior(self, x: Array, jacobian: bool = True) -> Array:
        """Return the log prior density, shape (...), by x or (without Jacobian) by parameter."""
        log_sigma = x[..., -1] + self.log_scale
        total = self.priors.sigma.log_density(np.exp(log_sigma))
        if jacobian:
            total = total + log_sigma
        at = 0
        for term, log_rms in zip(self.terms, self.log_rms, strict=True):
            for prior, shift in zip(self.priors.sd[term.group], log_rms, strict=True):
                log_sd = x[..., at] - shift + log_sigma
                at += 1
                total = total + prior.log_density(np.exp(log_sd))
                if jacobian:
                    total = total + log_sd
            for block in term.blocks:
                r = len(block)
                if r == 1:
                    continue
                eta = self.priors.corr[term.group].eta
                for i in range(1, r):
                    for j in range(i):
                        # log(1 − tanh²) without cancellation
                        z = np.abs(x[..., at])
                        log_rest = 2.0 * (np.log(2.0) - z - np.log1p(np.exp(-2.0 * z)))
                        power = eta + 0.5 * (r - 2 - j) if jacobian else eta - 1.0
                        total = total + power * log_rest
                        at += 1
        return np.asarray(total)

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
        out, at = np.zeros(len(x)), 0
        log_sigma = x[-1] + self.log_scale
        out[-1] = 1.0 + self.priors.sigma.slope(float(np.exp(log_sigma)))
        for term, log_rms in zip(self.terms, self.log_rms, strict=True):
            for prior, shift in zip(self.priors.sd[term.group], log_rms, strict=True):
                out[at] = 1.0 + prior.slope(float(np.exp(x[at] - shift + log_sigma)))
                out[-1] += out[at]
                at += 1
            for block in term.blocks:
                r = len(block)
                for i in range(1, r):
                    for j in range(i):
                        power = self.priors.corr[term.group].eta + 0.5 * (r - 2 - j)
                        out[at] = -2.0 * power * np.tanh(x[at])
                        at += 1
        return out


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
    r = len(corr)
    # Shrunk a little towards independence: a correlation of ±1 has no finite coordinate.
    inner = 0.98 * np.nan_to_num(corr)
    np.fill_diagonal(inner, 1.0)
    root = np.linalg.cholesky(inner)
    out = []
    for i in range(1, r):
        left = 1.0
        for j in range(i):
            out.append(root[i, j] / np.sqrt(left))
            left -= root[i, j] ** 2
    return np.asarray(out)
