"""Unconstrained coordinates of (Σ_f, σ): log relative SDs, partial correlations, log σ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from bayesv.design import RandomTerm
from bayesv.linalg import Array, cov_to_sd_corr
from bayesv.priors import ResolvedPriors

__all__ = ["Coordinates"]


@dataclass(frozen=True, eq=False)
class Coordinates:
    """The map between x and (λ_f, σ), vectorised over leading axes of x.

    Notes
    -----
    For each term: log(SD · rms(column)/σ) of its columns, then the atanh of the canonical partial
    correlations of each correlated block, row by row; last log(σ/sd(y)). These are free of units,
    and SDs relative to σ are nearly uncorrelated with σ. The partial correlation of columns i and
    j given the columns before j has density
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
    def log_rms(self) -> list[Array]:
        """Log root mean square of each term's columns."""
        out = []
        for term in self.terms:
            out.append(np.log(np.where(term.rms > 0, term.rms, 1.0)))
        return out

    @cached_property
    def log_scale(self) -> float:
        """Log standard deviation of the response."""
        return float(np.log(self.priors.design.response_sd))

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
        out, at = [], 0
        for term, log_rms in zip(self.terms, self.log_rms, strict=True):
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
            out.append(sd[..., :, None] * root)
        return out, np.exp(x[..., -1] + self.log_scale)

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
        for term, log_rms in zip(self.terms, self.log_rms, strict=True):
            sd, corr = cov_to_sd_corr(np.asarray(covs[term.group]))
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
        for term, log_rms in zip(self.terms, self.log_rms, strict=True):
            sd, corr = cov_to_sd_corr(np.asarray(covs[term.group]))
            with np.errstate(divide="ignore"):
                columns += list(np.moveaxis(np.log(sd) - log_sigma[..., None] + log_rms, -1, 0))
            for block in term.blocks:
                rows = np.array(block)
                partials = _all_partials(np.nan_to_num(corr[..., rows[:, None], rows]))
                columns += [np.arctanh(c) for c in partials]
        return np.stack([*columns, log_sigma - self.log_scale], axis=-1)

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
        for term, lam, bar in zip(self.terms, lambdas, bars, strict=True):
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
