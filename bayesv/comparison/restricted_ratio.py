"""The restricted likelihood ratio test of a variance of 0, with its exact null distribution."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bayesv.design.design import Design, RandomTerm
from bayesv.errors import DataError
from bayesv.linalg import Array

__all__ = ["RestrictedRatio", "eigenvalues_of", "null_ratios", "restricted_ratio"]

_GRID_POINTS = 200
_SMALLEST, _LARGEST = 1e-4, 1e6  # variance ratio times largest eigenvalue, of the grid
_ZERO_EIGENVALUE = 1e-10
_MOST_LEVELS = 5000
_AT_ONCE = 2e7  # numbers in memory


@dataclass(frozen=True, eq=False)
class RestrictedRatio:
    """A restricted likelihood ratio and its distribution where the variance is 0.

    Attributes
    ----------
    statistic : float
        −2 log restricted likelihood without the variance, less with it.
    p_value : float
        Share of `null` at or above it.
    null : ndarray, shape (simulations,)
        Draws of the statistic if the variance is 0.
    exact : bool
        Whether `null` is exact: the tested effect is the only one beside the residual. Else it is
        that of the model without the other random effects, an approximation.
    """

    statistic: float
    p_value: float
    null: Array
    exact: bool

    @property
    def p_text(self) -> str:
        """The p-value, or what it is below: simulations see no smaller one."""
        return f"p = {self.p_value:.4g}" if self.p_value else f"p < {1 / len(self.null):.1g}"

    @property
    def share_of_zeros(self) -> float:
        """Probability of a statistic of 0 under the null; ½ is for very many levels."""
        return float((self.null <= 0).mean())


def restricted_ratio(
    design: Design,
    term: RandomTerm,
    values: Array,
    statistic: float,
    simulations: int,
    rng: np.random.Generator,
) -> RestrictedRatio:
    """Return the test of a variance of one column of a term.

    Parameters
    ----------
    design : Design
        With known R/σ².
    term : RandomTerm
    values : ndarray, shape (n,)
        Column of the effect.
    statistic : float
    simulations : int
    rng : Generator

    Raises
    ------
    DataError
        If R is not known up to σ², or there are too many levels.
    """
    mu = eigenvalues_of(design, term, values)
    null = null_ratios(mu, design.n - design.p, simulations, rng)
    exact = len(design.terms) == 1 and term.n_columns == 1
    return RestrictedRatio(statistic, float((null >= statistic).mean()), null, exact)


def eigenvalues_of(design: Design, term: RandomTerm, values: Array) -> Array:
    """Return the positive eigenvalues of L'Z'P₀ZL, P₀ = W − WX(X'WX)⁻¹X'W, largest first.

    LL' is the relationship of the levels, I without one. From sums over levels alone: Z'WZ is
    diagonal and Z'WX of p columns.
    """
    if design.parametric_residual is not None or design.residual.clusters is not None:
        raise DataError(
            "The null distribution of a restricted likelihood ratio is known for independent "
            "residuals with known weights; these residuals have a structure."
        )
    J, p = term.n_levels, design.p
    if J > _MOST_LEVELS:
        raise DataError(
            f"The eigenvalues of {J} levels are not computed (at most {_MOST_LEVELS}); for so many "
            "levels the null is ½χ²₀ + ½χ²₁."
        )
    w = design.residual.weights
    Q = np.linalg.qr(design.X * np.sqrt(w)[:, None])[0] if p else np.zeros((design.n, 0))
    z = values * np.sqrt(w)
    ZQ = np.zeros((J, p))
    np.add.at(ZQ, term.codes, z[:, None] * Q)
    inner = np.diag(np.bincount(term.codes, z**2, J)) - ZQ @ ZQ.T
    if term.related is not None:
        L = term.related.root.matrix
        inner = L.T @ (L.T @ inner).T
    mu = np.linalg.eigvalsh(inner)[::-1]
    return np.asarray(mu[mu > _ZERO_EIGENVALUE * max(float(mu[0]), 0.0)])


def null_ratios(mu: Array, df: int, simulations: int, rng: np.random.Generator) -> Array:
    """Draw the restricted likelihood ratio where the variance is 0, shape (simulations,).

    Parameters
    ----------
    mu : ndarray, shape (K,)
        Positive eigenvalues of Z'P₀Z.
    df : int
        n − p.
    simulations : int
    rng : Generator

    Notes
    -----
    sup over λ ≥ 0 of df log(1 + N/D) − Σ log(1 + λμ_s), N = Σ λμ_s w_s²/(1 + λμ_s), D = Σ w_s²/(1 +
    λμ_s) + χ² of df − K (Crainiceanu and Ruppert 2004,
    https://doi.org/10.1111/j.1467-9868.2004.00438.x), on a grid of λ as RLRsim has it.
    """
    K = len(mu)
    lam = np.append(0.0, np.geomspace(_SMALLEST, _LARGEST, _GRID_POINTS)) / mu[0]
    shrunk = 1.0 / (1.0 + lam[:, None] * mu)  # (grid, K)
    log_det = np.log1p(lam[:, None] * mu).sum(axis=1)
    size = max(1, int(_AT_ONCE / (K + len(lam))))
    parts = []
    for start in range(0, simulations, size):
        count = min(size, simulations - start)
        w2 = rng.chisquare(1.0, (K, count))
        rest = rng.chisquare(df - K, count) if df > K else np.zeros(count)
        D = shrunk @ w2 + rest
        N = w2.sum(axis=0) + rest - D
        parts.append((df * np.log1p(N / D) - log_det[:, None]).max(axis=0))
    return np.concatenate(parts)
