"""Sums over parts of the rows, each in units of its own: brought to units of all, and added."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from bayesv.gram.moments import Moments, Pairs, merge
from bayesv.gram.scaling import Scaling, times_inverse
from bayesv.linalg import Array, psd_root

__all__ = ["in_scaling", "joined"]

_INDEPENDENT = 1e-3  # of its size that the columns before leave of a column in a part's units
_EXACT = 1e-13  # such a column is known to all digits, and its factor over all parts is, too
_DETERMINED = 1e-7  # as in `Scaling.of`
Blocks = Sequence[Sequence[Sequence[int]]]  # for each term, which columns are correlated


def joined(
    a: tuple[Moments, Scaling], b: tuple[Moments, Scaling], blocks: Blocks
) -> tuple[Moments, Scaling]:
    """Add the sums of two parts with the same codes; return them with units that suit both.

    Parameters
    ----------
    a, b : tuple of Moments and Scaling
        Sums over a part of the rows, and the units they are in.
    blocks : sequence
        For each random term, which of its columns are correlated with each other.

    Notes
    -----
    Units found on one part may be far from those of another: with rows sorted by a covariate, its
    columns grow from part to part, and the response less a slope of the first part becomes huge,
    so that sums in units of the first part lose digits. Sums of a part in its own units have them
    all, and a change of units is a product of small matrices: with LL' = C, the rows of
    L'[[U, γ], [0, 1]] have the products of [X y], whose triangular factor over all parts is that
    of all rows (Chan, Golub and LeVeque 1983, https://doi.org/10.1080/00031305.1983.10483115, for
    means and variances; here for all columns).
    """
    scaling = _scaling_of((a, b), blocks)
    return merge(in_scaling(*a, scaling), in_scaling(*b, scaling)), scaling


def in_scaling(moments: Moments, old: Scaling, new: Scaling) -> Moments:
    """Return the same sums in other units."""
    p = len(new.upper)
    fixed = np.eye(p + 1)
    fixed[:p, :p] = times_inverse(old.upper, new.upper)
    fixed[:p, p] = old.gamma - fixed[:p, :p] @ new.gamma
    random = [times_inverse(o, n) for o, n in zip(old.bases, new.bases, strict=True)]
    return replace(
        moments,
        C=fixed.T @ moments.C @ fixed,
        A=tuple(S.T @ A @ S for S, A in zip(random, moments.A, strict=True)),
        B=tuple(S.T @ B @ fixed for S, B in zip(random, moments.B, strict=True)),
        pairs={
            (f, g): Pairs(pairs.i, pairs.j, random[f].T @ pairs.blocks @ random[g])
            for (f, g), pairs in moments.pairs.items()
        },
    )


def _scaling_of(parts: Sequence[tuple[Moments, Scaling]], blocks: Blocks) -> Scaling:
    """Return good units for the rows of all parts together."""
    n = sum(moments.n for moments, _ in parts)
    roots = [(psd_root(moments.C), scaling) for moments, scaling in parts]
    rows = np.vstack([root.T @ _as_given(scaling) for root, scaling in roots])
    upper = _mean_triangle(rows[:, :-1], n, [root[:-1, :-1] for root, _ in roots])
    E = times_inverse(rows[:, :-1], upper)
    gamma = np.zeros(len(upper))
    for _ in range(2):  # the second pass removes the rounding of the first
        gamma += np.linalg.lstsq(E, rows[:, -1] - E @ gamma)[0]
    bases = []
    for f, correlated in enumerate(blocks):
        squares = [psd_root(moments.A[f].sum(axis=0)) for moments, _ in parts]
        values = [
            root.T @ scaling.bases[f] for root, (_, scaling) in zip(squares, parts, strict=True)
        ]
        together, basis = np.vstack(values), np.eye(len(squares[0]))
        for block in correlated:
            columns = np.array(block)
            place = np.ix_(columns, columns)
            roots_of_block = [root[place] for root in squares]
            basis[place] = _mean_triangle(together[:, columns], n, roots_of_block)
        bases.append(basis)
    return Scaling(upper, gamma, tuple(bases))


def _mean_triangle(rows: Array, n: int, roots: Sequence[Array]) -> Array:
    """Return U of QU = rows, which stand for n, with columns of mean square 1.

    A column that those before it determine is only scaled. How many digits are known of what they
    leave of it, the roots of the parts in their own units say.
    """
    full = np.linalg.qr(rows, mode="r") / np.sqrt(n)
    full *= np.where(np.diagonal(full) < 0, -1.0, 1.0)[:, None]
    size = np.sqrt((full**2).sum(axis=0))
    sizes = [np.sqrt((root**2).sum(axis=1)) for root in roots]
    exact = np.all(
        [np.diagonal(r) >= _INDEPENDENT * s for r, s in zip(roots, sizes, strict=True)], axis=0
    )
    determined = np.where(exact, _EXACT, _DETERMINED)
    for j in np.flatnonzero(np.diagonal(full) <= determined * size):
        full[j] = 0.0
        full[:, j] = 0.0
        full[j, j] = size[j] if size[j] > 0 else 1.0
    return np.asarray(full)


def _as_given(scaling: Scaling) -> Array:
    """Return [[U, γ], [0, 1]], with which [E y] in units are [X y]."""
    p = len(scaling.upper)
    back = np.eye(p + 1)
    back[:p, :p] = scaling.upper
    back[:p, p] = scaling.gamma
    return back
