"""Random effects at given λ from sums alone: what they are of [X y], their variances, Z'WZ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from bayesv.gram.elimination import eliminate_units, reverse_units
from bayesv.gram.statistics import GramStatistics
from bayesv.linalg import Array

__all__ = ["PredictedEffects", "predicted_effects", "squares_of_effects"]


@dataclass(frozen=True, eq=False)
class PredictedEffects:
    """Best linear predictions of the effects of the user's columns, as functions of [X y].

    Attributes
    ----------
    of_xy : list of ndarray, shape (J, k, p + 1)
        GZ'V⁻¹[X y] by term, X in the coordinates of the statistics: û = of y − of X γ̂.
    var : list of ndarray, shape (J, k)
        Var(û − u | β)/σ².
    T : ndarray, shape (p + 1, p + 1)
        As of `eliminate`.
    """

    of_xy: list[Array]
    var: list[Array]
    T: Array


def predicted_effects(stats: GramStatistics, lambdas: Sequence[Array]) -> PredictedEffects:
    """Predict all random effects at λ, exactly.

    Parameters
    ----------
    stats : GramStatistics
        Of levels that are not related, with a border that is dense or empty.
    lambdas : sequence of ndarray, shape (k, k)
        λ_f in the basis of the statistics.

    Notes
    -----
    With B = Z'W[X y] and M = I + Λ'Z'WZΛ, both are derivatives, which the reverse pass has:
    ∂tr(TS)/∂B = −2ΛM⁻¹Λ'B S, and ∂log|M|/∂(Z'WZ) = ΛM⁻¹Λ'.
    """
    layout, m = stats.layout, stats.p + 1
    back = [np.linalg.inv(basis) for basis in layout.bases]
    sums = []
    for T_bar in (np.eye(m), np.zeros((m, m))):
        done = eliminate_units(layout, layout.apart, stats.sums, lambdas)
        sums.append(reverse_units(layout, layout.apart, lambdas, done, T_bar, of_sums=True)[1])
    by_products, by_squares = sums
    of_xy, var = ([np.zeros(0)] * len(back) for _ in range(2))
    parts = zip(
        layout.chain, layout.by_factor(by_products), layout.by_factor(by_squares), strict=True
    )
    for factor, products, squares in parts:
        own = back[factor.term]
        of_units = own @ (-0.5 * products.H[:, :, -m:])
        blocks = np.einsum("ia,jab,ib->ji", own, squares.A, own)
        of_xy[factor.term], var[factor.term] = np.empty_like(of_units), np.empty_like(blocks)
        of_xy[factor.term][factor.order], var[factor.term][factor.order] = of_units, blocks
    for term in layout.border:
        own, shape = back[term.term], (term.n_levels, term.k, -1)
        of_xy[term.term] = own @ (-0.5 * by_products.B_border[term.slice].reshape(shape))
        lower = np.tril(layout.of_levels(term, by_squares.A_border))
        full = lower + np.swapaxes(np.tril(lower, -1), 1, 2)
        var[term.term] = np.einsum("ia,jab,ib->ji", own, full, own)
    return PredictedEffects(of_xy, var, done.T)


def squares_of_effects(stats: GramStatistics) -> sparse.csc_array:
    """Return Z'WZ of the user's columns, term by term and level by level, shape (q, q).

    Parameters
    ----------
    stats : GramStatistics
        As `predicted_effects` takes.
    """
    layout, m = stats.layout, stats.p + 1
    sizes = [0] * len(layout.bases)
    for factor in layout.chain:
        sizes[factor.term] = factor.n_units * factor.k
    for term in layout.border:
        sizes[term.term] = term.n_levels * term.k
    starts, q = np.concatenate([[0], np.cumsum(sizes)]), sum(sizes)
    of_border = np.concatenate(
        [np.zeros(0, int), *(starts[t.term] + np.arange(sizes[t.term]) for t in layout.border)]
    )
    half = sparse.coo_array((q, q)).tocsc()  # A and what stands above it, each product once

    def add(values: Array, rows: Array, columns: Array) -> None:
        nonlocal half
        places = (np.broadcast_to(i, values.shape).ravel() for i in (rows, columns))
        half = half + sparse.coo_array((values.ravel(), tuple(places)), shape=(q, q)).tocsc()

    columns_of = [  # of the units of each factor of the chain, (J, k)
        starts[f.term] + f.order[:, None] * f.k + np.arange(f.k) for f in layout.chain
    ]
    for f, (factor, part) in enumerate(
        zip(layout.chain, layout.by_factor(stats.sums), strict=True)
    ):
        own = columns_of[f]
        add(0.5 * part.A, own[:, :, None], own[:, None, :])
        above, place = factor.parent, 0
        coupled = part.H[:, :, :-m]
        for g in range(f + 1, len(layout.chain)):
            k = layout.chain[g].k
            other = columns_of[g][above]
            add(coupled[:, :, place : place + k], own[:, :, None], other[:, None, :])
            above, place = layout.chain[g].parent[above], place + k
        unit = np.repeat(np.arange(factor.n_units), np.diff(factor.edges))
        if len(unit):
            add(part.E, own[unit], of_border[factor.columns][:, None])
    if len(of_border):
        rows, columns, values = layout.products(stats.sums.A_border)
        once = np.where(rows > columns, 1.0, np.where(rows == columns, 0.5, 0.0))
        add(once * values, of_border[rows], of_border[columns])
    in_basis = sparse.block_diag(
        [
            sparse.kron(sparse.eye_array(size // len(basis)), basis)
            for size, basis in zip(sizes, layout.bases, strict=True)
        ],
        format="csc",
    )
    return sparse.csc_array(in_basis.T @ (half + half.T) @ in_basis)
