"""The restricted likelihood ratio test of a variance of 0: exact null distribution, or refits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bayesv.comparison.without_effect import Effect
from bayesv.design.design import Design, RandomTerm
from bayesv.errors import BayesvError, DataError
from bayesv.linalg import Array
from bayesv.reml import RemlFit
from bayesv.reml.bootstrap import simulated_refits

__all__ = [
    "RestrictedRatio",
    "eigenvalues_of",
    "null_ratios",
    "refitted_ratio",
    "restricted_ratio",
]

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
        that of the model without the other random effects, an approximation, or of refits.
    refits : int
        How many times both models were fitted to data simulated without the variance, where `null`
        are the ratios of these; 0 where it follows from eigenvalues.
    """

    statistic: float
    p_value: float
    null: Array
    exact: bool
    refits: int = 0

    @property
    def kind(self) -> str:
        """Where the null distribution is from, in words."""
        if self.refits:
            return f"null of {self.refits} refits"
        return f"{'exact' if self.exact else 'approximate'} null"

    @property
    def p_text(self) -> str:
        """The p-value, or what it is below: simulations see no smaller one."""
        return f"p = {self.p_value:.4g}" if self.p_value else f"p < {1 / len(self.null):.1g}"

    @property
    def share_of_zeros(self) -> float:
        """Probability of a statistic of 0 under the null; ½ is for very many levels."""
        return float((self.null <= 0).mean())


def is_exact(design: Design, term: RandomTerm) -> bool:
    """Whether the effect of a term is the only one beside the residual."""
    return len(design.terms) == 1 and term.n_columns == 1


def null_is_unknown(design: Design, effect: Effect) -> str:
    """Return why there is no null distribution by eigenvalues; empty if there is one."""
    if not effect.is_alone:
        return (
            f"{effect.label!r} is correlated with other effects, and a covariance goes with its "
            "variance."
        )
    if design.parametric_residual is not None or design.residual.clusters is not None:
        return (
            "the null distribution is known for independent residuals with known weights; these "
            "residuals have a structure."
        )
    if effect.term.n_levels > _MOST_LEVELS:
        return (
            f"the eigenvalues of {effect.term.n_levels} levels are not computed (at most "
            f"{_MOST_LEVELS}); for so many levels the null is ½χ²₀ + ½χ²₁."
        )
    return ""


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

    Notes
    -----
    Where `null_is_unknown` has nothing to say.
    """
    mu = eigenvalues_of(design, term, values)
    null = null_ratios(mu, design.n - design.p, simulations, rng)
    p_value = float((null >= statistic).mean())
    return RestrictedRatio(statistic, p_value, null, is_exact(design, term))


def refitted_ratio(
    smaller: RemlFit, larger: RemlFit, refits: int, rng: np.random.Generator
) -> tuple[RestrictedRatio, int]:
    """Return the test by parametric bootstrap, and how many refits failed.

    Parameters
    ----------
    smaller, larger : RemlFit
        Without and with the variance, of the same rows.
    refits : int
    rng : Generator

    Notes
    -----
    Data are simulated from the smaller fit, and both models fitted to them: whatever else there is
    to estimate, correlations of residuals among it, is estimated anew. The p-value is (1 + number
    of ratios at or above the statistic)/(1 + number of refits), never 0.
    """
    null = np.array([
        max(found[0].criterion - found[1].criterion, 0.0)
        for found in simulated_refits([smaller, larger], refits, rng)
        if not isinstance(found, BayesvError)
    ])  # fmt: skip
    if not len(null):
        raise DataError(f"All {refits} refits under the null failed.")
    statistic = max(smaller.criterion - larger.criterion, 0.0)
    p_value = float((1 + (null >= statistic).sum()) / (1 + len(null)))
    return RestrictedRatio(statistic, p_value, null, False, len(null)), refits - len(null)


def eigenvalues_of(design: Design, term: RandomTerm, values: Array) -> Array:
    """Return the positive eigenvalues of L'Z'P₀ZL, P₀ = W − WX(X'WX)⁻¹X'W, largest first.

    LL' is the relationship of the levels, I without one. From sums over levels alone: Z'WZ is
    diagonal and Z'WX of p columns.
    """
    J, p = term.n_levels, design.p
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
