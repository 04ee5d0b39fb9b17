"""Random effects given (β, σ, λ): exact draws, conditional means and variances."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import lapack, solve_triangular

from bayesv.gram.dense import flat_lambdas, times_lambda
from bayesv.gram.elimination import eliminate_units
from bayesv.gram.statistics import GramStatistics
from bayesv.linalg import Array

__all__ = ["Effects", "draw_effects"]


@dataclass(frozen=True, eq=False)
class Effects:
    """Random effects of the user's columns, one array of shape (J, k) for each term.

    Attributes
    ----------
    u : list of ndarray
        A draw.
    mean, var : list of ndarray
        Mean and variance given what was drawn before: β and the effects of coarser factors.
        Averages over draws of them have less noise than averages of u.
    """

    u: list[Array]
    mean: list[Array]
    var: list[Array]


def draw_effects(
    stats: GramStatistics,
    lambdas: Sequence[Array],
    sigma: float,
    gamma: Array,
    rng: np.random.Generator,
    *,
    moments: bool = True,
) -> Effects:
    """Draw all random effects given λ, σ and γ.

    Parameters
    ----------
    stats : GramStatistics
    lambdas : sequence of ndarray, shape (k, k)
        λ_f in the basis of the statistics.
    sigma : float
    gamma : ndarray, shape (p,)
        Fixed effects in the coordinates of the statistics.
    rng : Generator
    moments : bool
        Whether variances of the border are wanted, which costs an inverse of it.
    """
    from bayesv.gram.kernels import draw_units  # compiled: loaded when it is needed

    chain = stats.apart
    done = eliminate_units(stats, chain, lambdas)
    known = np.append(gamma, -1.0)
    back = [np.linalg.inv(basis) for basis in stats.bases]
    out = Effects(*([np.empty(0)] * len(lambdas) for _ in range(3)))
    u_border = np.zeros(0)
    if done.border is not None:
        mean = -done.border.W @ known
        z = rng.normal(size=len(mean))
        noise = solve_triangular(done.border.factor, z, trans="T", lower=True, check_finite=False)
        u_border = mean + sigma * _apply(stats, lambdas, noise[:, None])[:, 0]
        to_user = [b @ lam for b, lam in zip(back, lambdas, strict=True)]
        var = np.zeros_like(mean)
        if moments:
            inverse = np.triu(lapack.dtrtri(done.border.factor.T, lower=0)[0])
            var = sigma**2 * (_apply(stats, to_user, inverse) ** 2).sum(axis=1)
        u, mean = (_apply(stats, back, x[:, None])[:, 0] for x in (u_border, mean))
        for term in stats.border:
            for values, to in ((u, out.u), (mean, out.mean), (var, out.var)):
                to[term.term] = values[term.slice].reshape(term.n_levels, term.k)
    sizes = [level.A.shape[0] * level.k for level in stats.levels]
    starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.intp)
    u, mean, var = np.empty(starts[-1]), np.empty(starts[-1]), np.empty(starts[-1])
    front = np.zeros(chain.width)
    front[-len(known) :] = known
    draw_units(
        chain.table, done.A, done.H, chain.factor, chain.unit, done.lam,
        flat_lambdas(back, [level.term for level in stats.levels]), sigma, front,
        rng.normal(size=starts[-1]), chain.edges, chain.columns, done.E, u_border, starts,
        mean, var, u,
    )  # fmt: skip
    for f, level in enumerate(stats.levels):
        for values, to in ((u, out.u), (mean, out.mean), (var, out.var)):
            to[level.term] = np.empty((len(level.A), level.k))
            # From units to levels.
            to[level.term][level.order] = values[starts[f] : starts[f + 1]].reshape(-1, level.k)
    return out


def _apply(stats: GramStatistics, blocks: Sequence[Array], B: Array) -> Array:
    """Return blockdiag(block of each level) B for the border."""
    return times_lambda(stats, [np.transpose(block) for block in blocks], B)
