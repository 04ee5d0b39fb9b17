"""Posterior density of (Σ_f, σ) with u and β integrated out, on Gram statistics."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from bayesv.covariance import ComponentDraws
from bayesv.design.design import Design
from bayesv.design.structured import Parameters
from bayesv.errors import BayesvError
from bayesv.gram import (
    ByResidual,
    GramStatistics,
    eliminate,
    eliminate_many,
    keeps_digits,
    statistics_by_residual,
    statistics_of,
)
from bayesv.linalg import Array
from bayesv.priors.families import Flat, Normal
from bayesv.priors.priors import ResolvedPriors

__all__ = ["Conditional", "MarginalDensity", "MarginalLikelihood", "joined"]


@dataclass(frozen=True, eq=False)
class Conditional:
    """log p(y | λ, σ) for S values, and the conditional of β, which is normal.

    Attributes
    ----------
    log_likelihood : ndarray, shape (S,)
    mean : ndarray, shape (S, p)
        E[γ | λ, σ, y] in the coordinates of the Gram statistics.
    root : ndarray, shape (S, p, p)
        Lower Cholesky root of the precision of γ.
    """

    log_likelihood: Array
    mean: Array
    root: Array

    def take(self, positions: NDArray[np.intp]) -> Conditional:
        """Return the conditionals at some of the values."""
        return Conditional(
            self.log_likelihood[positions], self.mean[positions], self.root[positions]
        )


def joined(parts: Sequence[Conditional]) -> Conditional:
    """Return the conditionals of all parts, one after the other."""
    return Conditional(
        np.concatenate([part.log_likelihood for part in parts]),
        np.concatenate([part.mean for part in parts]),
        np.concatenate([part.root for part in parts]),
    )


@dataclass(frozen=True, eq=False)
class MarginalLikelihood:
    """log p(y | Σ, σ), u and β integrated out, for flat and normal β.

    Parameters
    ----------
    stats : GramStatistics
        With structured residuals those at R = σ²I, whose coordinates are those at any R.
    beta : sequence of Flat or Normal
        The prior of each fixed effect.
    by_residual : ByResidual, optional
        Statistics by the parameters of structured residuals.

    Notes
    -----
    For flat β the likelihood is the restricted likelihood; for β ~ N(b₀, P₀⁻¹) with P = S/σ² + P₀
    and m = P⁻¹c/σ², −2ℓ = n log 2πσ² + log|M| − Σ log w + log|P| − log|P₀| + t/σ² − c'm/σ².
    A flat element of β beside normal ones has precision 0 in P₀ and no log|P₀| part.
    """

    stats: GramStatistics
    beta: Sequence[Flat | Normal]
    by_residual: ByResidual | None = None

    @classmethod
    def of_flat_beta(
        cls, stats: GramStatistics, by_residual: ByResidual | None = None
    ) -> MarginalLikelihood:
        """Return the restricted likelihood."""
        return cls(stats, (Flat(),) * stats.p, by_residual)

    @classmethod
    def restricted(cls, design: Design) -> MarginalLikelihood:
        """Return the restricted likelihood of a design that keeps its rows."""
        if design.structured_residual is not None:
            by_residual = statistics_by_residual(design)
            return MarginalLikelihood.of_flat_beta(by_residual.stats, by_residual)
        return MarginalLikelihood.of_flat_beta(statistics_of(design))

    @cached_property
    def beta_prior(self) -> tuple[Array, Array, float]:
        """Prior precision of γ, precision × mean, and the constants of the likelihood."""
        sds = np.array([b.sd if isinstance(b, Normal) else np.inf for b in self.beta])
        means = np.array([b.mean if isinstance(b, Normal) else 0.0 for b in self.beta])
        fixed = self.stats.fixed
        normal = np.isfinite(sds)
        precision = np.where(normal, 1.0 / sds**2, 0.0)
        shift = np.where(normal, means - fixed.start, 0.0)
        P0 = fixed.precision_gamma(np.diag(precision))
        h0 = fixed.inverse.T @ (precision * shift)
        constant = float((precision * shift**2).sum() - np.log(precision[normal]).sum())
        n_flat = int((~normal).sum())
        constant += (self.stats.n - n_flat) * np.log(2 * np.pi) - self.stats.log_weights
        constant += fixed.logdet
        return P0, h0, constant

    def eliminated(
        self,
        lambdas: Sequence[Array],
        step: Callable[[int], None] = lambda _: None,
        residual: Parameters | None = None,
    ) -> tuple[Array, Array]:
        """Return log|M|, shape (S,), and T, shape (S, p + 1, p + 1); ``step`` hears of progress.

        With structured residuals log|R/σ²| at ``residual``, SDs over σ, is part of the first.
        """
        in_basis = self.stats.in_basis(lambdas)
        if self.by_residual is None:
            return eliminate_many(self.stats, in_basis, step)
        return self.by_residual.eliminate_many(self._needed(residual), in_basis, step)

    def _needed(self, residual: Parameters | None) -> Parameters:
        if residual is None:
            raise BayesvError("The likelihood needs the parameters of the residuals.")
        return residual

    def conditional(
        self,
        lambdas: Sequence[Array],
        sigma2: Array,
        eliminated: tuple[Array, Array] | None = None,
        residual: Parameters | None = None,
    ) -> Conditional:
        """Return log p(y | λ, σ²) with u and β integrated out, and β's conditional.

        NaN where λ is so large that rounding leaves no information on β (n_j λ² near 1e16), or
        fewer than 3 digits of what V⁻¹ leaves of y.

        Parameters
        ----------
        lambdas : sequence of ndarray, shape (S, k, k)
            λ_f of each term.
        sigma2 : ndarray, shape (S,)
        eliminated : tuple of ndarray, optional
            log|M| and T at λ, if they are known.
        residual : Parameters, optional
            Of structured residuals, with a leading axis (S, ...), and SDs over σ.
        """
        from bayesv.gram.small import solve_many  # compiled: loaded when it is needed

        p = self.stats.p
        if eliminated is None:
            eliminated = self.eliminated(lambdas, residual=residual)
        logdet, T = eliminated
        S, c, t = T[:, :p, :p], T[:, :p, p], T[:, p, p]
        P0, h0, constant = self.beta_prior
        h = c / sigma2[:, None] + h0
        P = S / sigma2[:, None, None] + P0
        L, mean = np.empty_like(P), np.empty_like(h)
        logdet_P, explained = solve_many(P, h, L, mean).T
        if self.by_residual is None:  # else NaN is in log|M|
            logdet = np.where(keeps_digits(t, self.stats.rounding), logdet, np.nan)
        value = constant + self.stats.n * np.log(sigma2) + logdet + t / sigma2
        return Conditional(-0.5 * (value + logdet_P - explained), mean, L)

    def value_and_gradient(
        self, lambdas: Sequence[Array], sigma: float, residual: Parameters | None = None
    ) -> tuple[float, list[Array], float, Parameters | None]:
        """Return log p(y | λ, σ), its derivative by each λ_f, shape (k, k), and by σ.

        Last comes that by log SDs, z and exponents of structured residuals.

        Raises
        ------
        numpy.linalg.LinAlgError
            If R is not positive definite, or rounding leaves fewer than 3 digits of y'V⁻¹y.

        Notes
        -----
        With g = (−m; 1), the derivative by T = [X y]'V_r⁻¹[X y] is −½ gg'/σ², less ½P⁻¹/σ² in the
        block of X; the elimination takes it back to λ.
        """
        p, n, precision = self.stats.p, self.stats.n, 1.0 / sigma**2
        weighted = None
        if self.by_residual is not None:
            weighted = self.by_residual.at(self._needed(residual))
        stats = self.stats if weighted is None else weighted.stats
        done = eliminate(stats, stats.in_basis(lambdas))
        S, c, t = done.T[:p, :p], done.T[:p, p], done.T[p, p]
        if not keeps_digits(t, stats.rounding):
            raise np.linalg.LinAlgError("rounding leaves fewer than 3 digits of y'V⁻¹y")
        P0, h0, constant = self.beta_prior
        P = S * precision + P0
        P_inv = np.linalg.inv(P)
        m = P_inv @ (c * precision + h0)
        value = constant - n * np.log(precision) + done.logdet + np.linalg.slogdet(P)[1]
        value += t * precision - (c * precision + h0) @ m
        g = np.append(-m, 1.0)
        T_bar = np.outer(g, g) * precision
        T_bar[:p, :p] += P_inv * precision
        by_residual = None
        if weighted is None:
            by_lambdas = done.gradient(T_bar)
        else:
            value -= stats.log_weights
            by_lambdas, by_sums = done.adjoint(T_bar)
            bar = weighted.pullback(by_sums, 1.0)
            by_residual = Parameters(*(-0.5 * part for part in bar))
        pairs = zip(self.stats.bases, by_lambdas, strict=True)
        bars = [-0.5 * basis.T @ bar_f for basis, bar_f in pairs]
        by_precision = -0.5 * (-n / precision + np.trace(P_inv @ S) + t - 2 * c @ m + m @ S @ m)
        return -0.5 * float(value), bars, float(by_precision * -2.0 / sigma**3), by_residual

    def statistics(self, point: ComponentDraws) -> GramStatistics:
        """Return the statistics at one point, whatever its R."""
        if self.by_residual is None:
            return self.stats
        return self.by_residual.at(self._needed(point.residual)).stats

    def at(self, values: ComponentDraws) -> Conditional:
        """Return log p(y | Σ, σ²) and β's conditional at values, shape (S,)."""
        lambdas = values.relative_roots()
        return self.conditional(lambdas, values.sigma2, residual=values.residual)

    def log_likelihood(self, values: ComponentDraws) -> Array:
        """Return log p(y | Σ, σ²), shape (...)."""
        return self.at(values.flat).log_likelihood.reshape(values.shape)


@dataclass(frozen=True, eq=False, init=False)
class MarginalDensity(MarginalLikelihood):
    """log p(Σ, σ | y) up to a constant: the marginal likelihood and the prior.

    Parameters
    ----------
    stats : GramStatistics
    priors : ResolvedPriors
    by_residual : ByResidual, optional
    """

    priors: ResolvedPriors = field(kw_only=True)

    def __init__(
        self,
        stats: GramStatistics,
        priors: ResolvedPriors,
        by_residual: ByResidual | None = None,
    ) -> None:
        super().__init__(stats, priors.beta, by_residual)
        object.__setattr__(self, "priors", priors)

    @classmethod
    def of(
        cls,
        design: Design,
        priors: ResolvedPriors,
        elimination: str = "auto",
        *,
        dedupe: bool = True,
    ) -> MarginalDensity:
        """Return the density of a design that keeps its rows; see `gram_statistics`."""
        if design.structured_residual is not None:
            by_residual = statistics_by_residual(design, elimination)
            return cls(by_residual.stats, priors, by_residual)
        return cls(statistics_of(design, elimination, dedupe=dedupe), priors)

    def log_posterior(self, values: ComponentDraws) -> Array:
        """Return log p(SDs, correlations, σ | y) up to a constant, shape (...)."""
        return self.log_likelihood(values) + self.priors.log_density(values)
