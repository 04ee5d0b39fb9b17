"""Bring sums over rows into the order of elimination."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bayesv.errors import BayesvError
from bayesv.gram.chain import merging_of
from bayesv.gram.elimination_order import EliminationOrder
from bayesv.gram.fixed import FixedCoordinates
from bayesv.gram.layout import Layout
from bayesv.gram.moments import Moments, accumulate, spread, weighted
from bayesv.gram.related import independent_effects, loadings_of
from bayesv.gram.scaling import RowBatch, Scaling
from bayesv.gram.statistics import GramStatistics
from bayesv.gram.tables import combined
from bayesv.linalg import Array, independent_columns, psd_root
from bayesv.structures.level_root import LevelRoot

__all__ = ["after_fixed", "arrange", "gram_statistics"]

_DIFFERS = 1e-7  # root mean square, of columns in their units


def gram_statistics(
    rows: RowBatch, elimination: str = "auto", *, dedupe: bool = True
) -> GramStatistics:
    """Accumulate the statistics of all rows at once; rows are not needed afterwards.

    Parameters
    ----------
    rows : RowBatch
    elimination : {"auto", "single", "nested", "crossed", "iterative"}
    dedupe : bool
        Whether levels with equal rows are eliminated once.
    """
    scaling = Scaling.of(rows)
    roots = [grouping.root for grouping in rows.groupings]
    return arrange(accumulate(rows, scaling), scaling, elimination, dedupe=dedupe, roots=roots)


def arrange(
    moments: Moments | Sequence[Moments],
    scaling: Scaling,
    elimination: str = "auto",
    *,
    dedupe: bool = True,
    reference: Sequence[float] | None = None,
    roots: Sequence[LevelRoot | None] | None = None,
) -> GramStatistics:
    """Bring sums over rows into the form that is eliminated.

    Parameters
    ----------
    moments : Moments, or sequence of Moments
        Of all rows, in ``scaling``; or K sums with the same levels, whose linear combinations are
        eliminated (see `GramStatistics.at`). n and log w add up: of sums over rows that others
        count already they are 0.
    scaling : Scaling
    elimination : {"auto", "single", "nested", "crossed", "iterative"}
        ``crossed`` eliminates the largest factor and puts all others into the dense block, even if
        they are nested; ``auto`` chooses the longest chain from the largest factor. ``iterative``
        does, too, and has Krylov spaces and probes in place of the dense block, as ``auto`` beyond
        some thousand columns.
    dedupe : bool
        Whether levels of the finest factor with equal rows of (z, w), in all sums, are eliminated
        once.
    reference : sequence of float, optional
        Coefficients at which X is orthonormal and y a residual, for all sums; ones if left out.
    roots : sequence of LevelRoot or None, optional
        Of each term whose levels are related.

    Raises
    ------
    BayesvError
        If the design does not allow the order asked for.
    """
    parts = [moments] if isinstance(moments, Moments) else list(moments)
    coefficients = [1.0] * len(parts) if reference is None else list(reference)
    whole = parts[0] if len(parts) == 1 and reference is None else weighted(parts, coefficients)
    one = whole is parts[0]
    transform, fixed = _orthonormal(whole, scaling)
    loadings, rotated = loadings_of(whole, roots or [None] * len(whole.A), rotate=one)
    effects = independent_effects(whole, loadings, rotated=rotated)
    related = any(L is not None for L in loadings)
    if related and elimination == "iterative":
        raise BayesvError("elimination='iterative' is not for levels that are related. Use 'auto'.")
    order = EliminationOrder(effects, elimination, len(fixed.kept) + 1, dense=related or not one)
    of_parts = [effects]
    if not one:
        of_parts = [
            independent_effects(spread(part, whole), loadings, rotated=False) for part in parts
        ]
    several = [order.sums(part, transform) for part in of_parts]
    sums = several[0] if one else combined(several, coefficients)
    merging = None
    # With a border, equal rows of the finest factor meet different columns of it.
    if dedupe and order.chain and not order.border:
        finest = order.chain[0]
        hashes = [part.hashes[finest.term][finest.order] for part in of_parts]
        merging = merging_of(finest, np.hstack(hashes))
    layout = Layout(
        n=whole.n,
        p=len(fixed.kept),
        chain=order.chain,
        border=order.border,
        merging=merging,
        scales=tuple(_rms(a, whole.n) for a in whole.A),
        bases=scaling.bases,
        iteration=order.iteration,
        connected=order.connected,
        loadings=loadings,
    )
    return GramStatistics(
        layout,
        fixed,
        sums,
        log_weights=whole.log_weights,
        total=whole.total,
        parts=() if one else tuple(several),
        totals=() if one else tuple(part.total for part in parts),
    )


def _orthonormal(moments: Moments, scaling: Scaling) -> tuple[Array, FixedCoordinates]:
    """Return the transform that makes [X y] orthonormal and a residual, and its coordinates."""
    # With LL' = S of the columns E = X U₀⁻¹, L'U₀ = QU has the U of the columns themselves.
    p = len(scaling.upper)
    L = psd_root(moments.C[:p, :p])
    # In these units columns that differ have mean square 1, wherever their zero was.
    differs = np.diagonal(moments.C)[:p] > _DIFFERS**2 * moments.n
    kept = independent_columns(L.T * differs, np.zeros(p))
    triangle = L.T @ scaling.upper[:, kept]
    Q, upper = (np.eye(p), triangle) if len(kept) == p else np.linalg.qr(triangle)
    to_orthonormal = np.linalg.solve(upper.T, scaling.upper[:, kept].T).T
    gamma = to_orthonormal.T @ moments.C[:p, p]
    taken = Q.T @ (L.T @ scaling.gamma)
    transform = np.zeros((p + 1, len(kept) + 1))
    transform[:p, :-1] = to_orthonormal
    transform[:p, -1] = -to_orthonormal @ gamma
    if len(kept) < p:
        # What the units took off the response along a dropped column is put back: that column may
        # be determined to 7 digits only, and the response still depend on the others.
        transform[:p, -1] += scaling.gamma - scaling.upper[:, kept] @ np.linalg.solve(upper, taken)
    transform[p, -1] = 1.0
    return transform, FixedCoordinates(upper, np.linalg.solve(upper, taken + gamma), kept)


def after_fixed(moments: Moments, scaling: Scaling) -> float:
    """Return Σ w r² of the response after X."""
    last = _orthonormal(moments, scaling)[0][:, -1]
    return float(last @ moments.C @ last)


def _rms(A: Array, n: int) -> Array:
    """Root mean square of a term's columns, from the sums over its levels."""
    rms = np.sqrt(np.einsum("jaa->a", A) / n)
    return np.where(rms > 0, rms, 1.0)
