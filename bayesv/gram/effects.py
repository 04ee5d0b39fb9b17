"""Random effects given (β, σ, λ): exact draws, conditional means and variances."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bayesv.gram.dense import Border, flat_lambdas, times_lambda
from bayesv.gram.elimination import Eliminated, eliminate_chain, eliminate_units
from bayesv.gram.iterative_draws import draw_iteratively
from bayesv.gram.layout import Layout
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
    layout, known = stats.layout, np.append(gamma, -1.0)
    back = [np.linalg.inv(basis) for basis in layout.bases]
    effects = Effects(*([np.empty(0)] * len(lambdas) for _ in range(3)))
    u_border = np.zeros(0)
    if layout.iteration is not None:
        done = eliminate_chain(layout, layout.apart, stats.sums, lambdas)
        u_border = _draw_by_iteration(layout, done, lambdas, back, sigma, known, rng, effects)
    else:
        done = eliminate_units(layout, layout.apart, stats.sums, lambdas)
    if isinstance(done.border, Border):
        u_border = _draw_border(layout, done.border, lambdas, back, sigma, known, rng, effects,
                                moments=moments)  # fmt: skip
    _draw_chain(layout, done, back, sigma, known, rng, u_border, effects)
    return effects


def _draw_border(
    layout: Layout,
    border: Border,
    lambdas: Sequence[Array],
    back: Sequence[Array],
    sigma: float,
    known: Array,
    rng: np.random.Generator,
    effects: Effects,
    *,
    moments: bool,
) -> Array:
    """Fill in the effects of the border; return them in the basis of the statistics."""
    mean = -border.W @ known
    z = rng.normal(size=len(mean))
    u_border = mean + sigma * _apply(layout, lambdas, border.noise(z)[:, None])[:, 0]
    to_user = [b @ lam for b, lam in zip(back, lambdas, strict=True)]
    half = np.zeros((len(mean), 1))
    if moments:
        half = _apply(layout, to_user, border.inverse_root())
    _fill(layout, back, u_border, mean, sigma * half, effects)
    return np.asarray(u_border)


def _draw_by_iteration(
    layout: Layout,
    done: Eliminated,
    lambdas: Sequence[Array],
    back: Sequence[Array],
    sigma: float,
    known: Array,
    rng: np.random.Generator,
    effects: Effects,
) -> Array:
    """Fill in the effects of a border without a dense block, as `_draw_border` does.

    Variances are means of a few squares: good on average over many draws.
    """
    drawn = draw_iteratively(layout, layout.apart.tables, done.left, done.lam, lambdas, known, rng)
    u_border = drawn.mean + sigma * drawn.noise
    half = _apply(layout, back, drawn.others) * (sigma / np.sqrt(drawn.others.shape[1]))
    _fill(layout, back, u_border, drawn.mean, half, effects)
    return u_border


def _fill(
    layout: Layout, back: Sequence[Array], u: Array, mean: Array, half: Array, effects: Effects
) -> None:
    """Put the effects of the border where they belong.

    u and mean are in the basis of the statistics; the squares of a row of ``half``, by the user's
    columns, add up to a variance.
    """
    u, mean = (_apply(layout, back, x[:, None])[:, 0] for x in (u, mean))
    for term in layout.border:
        shape = (term.n_levels, term.k, -1)
        for values, parts in ((u, effects.u), (mean, effects.mean)):
            of_term = values[term.slice].reshape(shape)
            parts[term.term] = layout.to_levels(term.term, of_term)[:, :, 0]
        roots = layout.to_levels(term.term, half[term.slice].reshape(shape))
        effects.var[term.term] = (roots**2).sum(axis=2)


def _draw_chain(
    layout: Layout,
    done: Eliminated,
    back: Sequence[Array],
    sigma: float,
    known: Array,
    rng: np.random.Generator,
    u_border: Array,
    effects: Effects,
) -> None:
    """Fill in the effects of the chain, given those of the border."""
    from bayesv.gram.kernels import draw_units  # compiled: loaded when it is needed

    sizes = [factor.n_units * factor.k for factor in layout.chain]
    starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.intp)
    u, mean, var = np.empty(starts[-1]), np.empty(starts[-1]), np.empty(starts[-1])
    front = np.zeros(layout.apart.width)
    front[-len(known) :] = known
    draw_units(
        layout.apart.tables, done.left, done.lam, flat_lambdas(back, layout.chain_terms), sigma,
        front, rng.normal(size=starts[-1]), u_border, starts, (u, mean, var),
    )  # fmt: skip
    for f, factor in enumerate(layout.chain):
        for values, parts in ((u, effects.u), (mean, effects.mean), (var, effects.var)):
            of_levels = np.empty((factor.n_units, factor.k))
            of_levels[factor.order] = values[starts[f] : starts[f + 1]].reshape(-1, factor.k)
            parts[factor.term] = layout.to_levels(factor.term, of_levels)
        if (L := layout.loadings[factor.term]) is not None:
            effects.var[factor.term] = np.asarray(L.power(2) @ of_levels)  # independent, given β


def _apply(layout: Layout, blocks: Sequence[Array], B: Array) -> Array:
    """Return blockdiag(block of each level) B for the border."""
    return times_lambda(layout, [np.transpose(block) for block in blocks], B)
