"""Posterior density of (Σ_f, σ) with u and β integrated out, on Gram statistics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from bayesv.gram import GramStatistics, eliminate
from bayesv.linalg import Array, cov_to_sd_corr, psd_root
from bayesv.priors import Normal, ResolvedPriors

__all__ = ["MarginalDensity"]


@dataclass(frozen=True, eq=False)
class MarginalDensity:
    """log p(y | Σ, σ) and log p(Σ, σ | y) up to a constant, for flat and normal β.

    Notes
    -----
    For flat β the likelihood is the restricted likelihood; for β ~ N(b₀, P₀⁻¹) with P = S/σ² + P₀
    and m = P⁻¹c/σ², −2ℓ = n log 2πσ² + log|M| − Σ log w + log|P| − log|P₀| + t/σ² − c'm/σ².
    A flat element of β beside normal ones has precision 0 in P₀ and no log|P₀| part.
    """

    stats: GramStatistics
    priors: ResolvedPriors

    @cached_property
    def _beta_prior(self) -> tuple[Array, Array, float]:
        """Precision of γ, its mean, and log|P₀| over normal elements; β = start + R⁻¹γ."""
        sds = np.array([b.sd if isinstance(b, Normal) else np.inf for b in self.priors.beta])
        means = np.array([b.mean if isinstance(b, Normal) else 0.0 for b in self.priors.beta])
        R_inv = np.linalg.inv(self.stats.R)
        normal = np.isfinite(sds)
        precision = np.where(normal, 1.0 / sds**2, 0.0)
        shift = np.where(normal, means - self.stats.start, 0.0)
        P0 = R_inv.T @ (precision[:, None] * R_inv)
        h0 = R_inv.T @ (precision * shift)
        constant = float((precision * shift**2).sum() - np.log(precision[normal]).sum())
        return P0, h0, constant

    def log_likelihood(self, covs: Mapping[str, Array], sigma2: float) -> float:
        """Return log p(y | Σ, σ²) with u and β integrated out."""
        stats, p = self.stats, self.stats.p
        terms = self.priors.design.terms
        done = eliminate(stats, [psd_root(covs[term.group]) / np.sqrt(sigma2) for term in terms])
        S, c, t = done.T[:p, :p], done.T[:p, p], done.T[p, p]
        P0, h0, constant = self._beta_prior
        P, h = S / sigma2 + P0, c / sigma2 + h0
        L = np.linalg.cholesky(P)
        half = np.linalg.solve(L, h)
        n_flat = sum(not isinstance(b, Normal) for b in self.priors.beta)
        logdet = 2.0 * np.log(np.diagonal(L)).sum()
        logdet += 2.0 * np.log(np.abs(np.diagonal(stats.R))).sum()
        value = (stats.n - n_flat) * np.log(2 * np.pi) + stats.n * np.log(sigma2)
        value += done.logdet - stats.log_weights + logdet + constant + t / sigma2 - half @ half
        return -0.5 * float(value)

    def log_prior(self, covs: Mapping[str, Array], sigma2: float) -> float:
        """Return the log prior density by (SDs, correlations, σ)."""
        priors = self.priors
        total = float(priors.sigma.log_density(np.sqrt(sigma2)))
        for term in priors.design.terms:
            sd, corr = cov_to_sd_corr(np.asarray(covs[term.group]))
            for value, prior in zip(sd, priors.sd[term.group], strict=True):
                total += float(prior.log_density(value))
            for block in term.blocks:
                if len(block) > 1:
                    _, logdet = np.linalg.slogdet(np.nan_to_num(corr[np.ix_(block, block)]))
                    total += float(priors.corr[term.group].log_density(logdet, len(block)))
        return total

    def log_posterior(self, covs: Mapping[str, Array], sigma2: float) -> float:
        """Return log p(SDs, correlations, σ | y) up to a constant."""
        return self.log_likelihood(covs, sigma2) + self.log_prior(covs, sigma2)
